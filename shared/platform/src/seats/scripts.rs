//! The Lua scripts: one Rust caller each, keys built in one place.

use std::{mem, sync::Arc};

use redis::{Cmd, ErrorKind, RedisError, ServerErrorKind, cmd};
use uuid::Uuid;

use super::{
    Error, RedisLink,
    answer::{Answer, seated},
    records::LiveSession,
};
use crate::domain::{
    Clock, HardwareHash, Holder, License, LicenseId, Refusal, SeatNumber, SessionId, SessionKey, TenantId, Timestamp, from_millis,
};

/// What a script that needs a warm license answers.
#[derive(Debug)]
pub(super) enum Reply<T> {
    /// Redis does not know the license: rebuild it and ask again.
    Cold,
    /// It was done.
    Done(T),
}

/// What `acquire.lua` did.
#[derive(Debug)]
pub(super) enum Taken {
    Stale,
    Granted(Place),
    Held(Place),
    Full { now: Timestamp, used: u32, next_expiry: Timestamp },
    Replayed(Vec<u8>),
    InFlight,
    Reused,
}

/// A seat as Redis has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) session: SessionKey,
    pub(super) seat: SeatNumber,
    pub(super) now: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) used: u32,
}

/// What `heartbeat.lua` found.
#[derive(Debug)]
pub(super) enum Beat {
    Renewed {
        now: Timestamp,
        expires_at: Timestamp,
        tenant: TenantId,
        seat: SeatNumber,
        hardware: HardwareHash,
        used: u32,
        seats: u32,
        policy_is_old: bool,
    },
    Refused {
        expires_at: Timestamp,
        why: Refusal,
    },
    /// Redis lacks the session or has it expired: PostgreSQL has the last word.
    Missing {
        now: Timestamp,
    },
}

/// Who rebuilds.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Turn {
    Mine(Timestamp),
    AnotherFunction,
    AlreadyWarm,
}

/// What `sweep.lua` says of one session.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Found {
    Alive(Timestamp),
    Dead,
    Forgotten,
}

struct Script {
    code: &'static str,
    script: redis::Script,
}

macro_rules! script {
    ($name:literal) => {
        Script::new(concat!(include_str!("lua/prelude.lua"), include_str!(concat!("lua/", $name, ".lua"))))
    };
}

impl Script {
    fn new(code: &'static str) -> Self {
        Self { code, script: redis::Script::new(code) }
    }
}

/// Calls the scripts over one link.
pub(super) struct Scripts {
    link: RedisLink,
    /// Replaces Redis' clock; never in production.
    moved_time: Option<Arc<dyn Clock>>,
    acquire: Script,
    heartbeat: Script,
    release: Script,
    occupancy: Script,
    remember: Script,
    tell: Script,
    lock: Script,
    rebuild: Script,
    sweep: Script,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scripts({:?})", self.link)
    }
}

/// The keys of a license, in the order that every script expects; the braces put them all on one slot of a cluster.
const KEYS: [&str; 8] = ["policy", "expiry", "sessions", "holders", "taken", "replays", "usage", "lock"];

impl Scripts {
    pub(super) fn new(link: RedisLink, moved_time: Option<Arc<dyn Clock>>) -> Self {
        Self {
            link,
            moved_time,
            acquire: script!("acquire"),
            heartbeat: Script::new(include_str!("lua/heartbeat.lua")),
            release: script!("release"),
            occupancy: script!("occupancy"),
            remember: script!("remember"),
            tell: script!("tell"),
            lock: script!("lock"),
            rebuild: script!("rebuild"),
            sweep: script!("sweep"),
        }
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        self.link.send(&cmd("PING")).await?;
        Ok(())
    }

    pub(super) async fn acquire(
        &self,
        license: &License,
        session: SessionKey,
        holder: &Holder,
        hardware: &HardwareHash,
        idempotency: &[u8],
        request_hash: &[u8; 16],
    ) -> Result<Reply<Taken>, Error> {
        let mut call = self.call(&self.acquire, license.id);
        policy(&mut call, license);
        call.arg(session.as_bytes()).arg(holder.as_bytes()).arg(hardware.as_bytes()).arg(idempotency).arg(&request_hash[..]);
        let mut answer = self.run(&self.acquire, &call).await?;
        Ok(Reply::Done(match answer.word()?.as_str() {
            "cold" => return Ok(Reply::Cold),
            "stale" => Taken::Stale,
            "granted" => Taken::Granted(answer.place()?),
            "held" => Taken::Held(answer.place()?),
            "full" => Taken::Full { now: answer.time()?, used: answer.count()?, next_expiry: answer.time()? },
            "replayed" => Taken::Replayed(answer.bytes()?),
            "in_flight" => Taken::InFlight,
            "reused" => Taken::Reused,
            other => return Err(Error::Unexpected(format!("acquire.lua: {other}"))),
        }))
    }

    /// Renews sessions and answers in their order, which must have those of one license side by side. On a cluster they
    /// must all be of one license.
    pub(super) async fn heartbeat(&self, sessions: &[SessionId]) -> Result<Vec<Reply<Beat>>, Error> {
        let licenses = || sessions.chunk_by(|one, other| one.license == other.license);
        let count = licenses().count();
        let mut call = Cmd::with_capacity(5 * count + sessions.len() + 4, 210 * count + 24 * sessions.len() + 64);
        call.arg("EVALSHA").arg(self.heartbeat.script.get_hash()).arg(4 * count);
        for license in licenses() {
            keys(&mut call, license[0].license, &["policy", "expiry", "sessions", "usage"]);
        }
        self.time(&mut call);
        for license in licenses() {
            call.arg(license.len());
            for session in license {
                call.arg(session.key.as_bytes());
            }
        }
        let mut answer = self.run(&self.heartbeat, &call).await?;
        let now = answer.time()?;
        let mut beats = Vec::with_capacity(sessions.len());
        for license in licenses() {
            let mut found = answer.list()?;
            match found.word()?.as_str() {
                "cold" => beats.extend(license.iter().map(|_| Reply::Cold)),
                why => {
                    let refusal = if why.is_empty() { None } else { Some(refusal(why)?) };
                    let (used, seats, mut policy_is_old) = (found.count()?, found.count()?, found.count()? == 1);
                    let tenant = TenantId::from_uuid(Uuid::from_bytes(found.array()?));
                    for _ in license {
                        let (expires, record) = (found.number()?, found.bytes()?);
                        beats.push(Reply::Done(match (expires, refusal) {
                            (0, _) => Beat::Missing { now },
                            (expires, Some(why)) => Beat::Refused { expires_at: from_millis(expires), why },
                            (expires, None) => {
                                let expires_at = from_millis(expires);
                                let (seat, hardware) = seated(&record)?;
                                // One of them checks the policy for all.
                                let policy_is_old = mem::take(&mut policy_is_old);
                                Beat::Renewed { now, expires_at, tenant, seat, hardware, used, seats, policy_is_old }
                            }
                        }));
                    }
                }
            }
        }
        Ok(beats)
    }

    /// Takes a session out and says how many are left.
    pub(super) async fn release(&self, license: LicenseId, session: SessionKey) -> Result<Reply<u32>, Error> {
        let mut call = self.call(&self.release, license);
        call.arg(session.as_bytes());
        let mut answer = self.run(&self.release, &call).await?;
        match answer.word()?.as_str() {
            "cold" => Ok(Reply::Cold),
            _ => Ok(Reply::Done(answer.count()?)),
        }
    }

    /// How many seats are in use, and the version of the policy.
    pub(super) async fn occupancy(&self, license: LicenseId) -> Result<Reply<(u32, i64)>, Error> {
        let mut answer = self.run(&self.occupancy, &self.call(&self.occupancy, license)).await?;
        match answer.word()?.as_str() {
            "cold" => Ok(Reply::Cold),
            _ => Ok(Reply::Done((answer.count()?, answer.number()?))),
        }
    }

    pub(super) async fn remember(&self, license: LicenseId, idempotency: &[u8; 16], session: SessionKey, body: &[u8]) -> Result<(), Error> {
        let mut call = self.call(&self.remember, license);
        call.arg(&idempotency[..]).arg(session.as_bytes()).arg(body);
        self.run(&self.remember, &call).await?;
        Ok(())
    }

    pub(super) async fn tell(&self, license: &License) -> Result<(), Error> {
        let mut call = self.call(&self.tell, license.id);
        policy(&mut call, license);
        self.run(&self.tell, &call).await?;
        Ok(())
    }

    pub(super) async fn lock(&self, license: LicenseId, token: &[u8; 16], only_if_cold: bool) -> Result<Turn, Error> {
        let mut call = self.call(&self.lock, license);
        call.arg(&token[..]).arg(if only_if_cold { "cold" } else { "" });
        let mut answer = self.run(&self.lock, &call).await?;
        Ok(match answer.word()?.as_str() {
            "yours" => Turn::Mine(answer.time()?),
            "taken" => Turn::AnotherFunction,
            _ => Turn::AlreadyWarm,
        })
    }

    /// Gives the lock back before its time. If it fails, the lock runs out by itself.
    pub(super) async fn unlock(&self, license: LicenseId) {
        let _ = self.link.send(cmd("DEL").arg(format!("{{{license}}}:lock"))).await;
    }

    pub(super) async fn rebuild(&self, license: &License, token: &[u8; 16], sessions: &[LiveSession]) -> Result<u32, Error> {
        let mut call = self.call(&self.rebuild, license.id);
        call.arg(&token[..]);
        policy(&mut call, license);
        for session in sessions {
            call.arg(session.key.as_bytes())
                .arg(session.expires_at.timestamp_millis())
                .arg(session.seat)
                .arg(&session.holder[..])
                .arg(session.hardware.as_bytes())
                .arg(session.idempotency_key.as_deref().unwrap_or_default())
                .arg(session.request_hash.as_deref().unwrap_or_default());
        }
        let mut answer = self.run(&self.rebuild, &call).await?;
        answer.word()?;
        answer.count()
    }

    /// What Redis says of these sessions of one license, in their order, and when.
    pub(super) async fn sweep(
        &self,
        license: LicenseId,
        sessions: &[(SessionKey, Timestamp)],
    ) -> Result<Reply<(Timestamp, Vec<Found>)>, Error> {
        let mut call = self.call(&self.sweep, license);
        for (session, due) in sessions {
            call.arg(session.as_bytes()).arg(due.timestamp_millis());
        }
        let mut answer = self.run(&self.sweep, &call).await?;
        if answer.word()? == "cold" {
            return Ok(Reply::Cold);
        }
        let now = answer.time()?;
        let found = sessions.iter().map(|_| {
            Ok(match answer.number()? {
                0 => Found::Dead,
                -1 => Found::Forgotten,
                expires => Found::Alive(from_millis(expires)),
            })
        });
        Ok(Reply::Done((now, found.collect::<Result<_, Error>>()?)))
    }

    /// Redis' time, by the clock that rules expiry.
    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
        if let Some(clock) = &self.moved_time {
            return Ok(clock.now());
        }
        let (seconds, micros): (i64, i64) = redis::from_redis_value(self.link.send(&cmd("TIME")).await?).map_err(RedisError::from)?;
        Ok(from_millis(seconds * 1000 + micros / 1000))
    }

    fn call(&self, script: &Script, license: LicenseId) -> Cmd {
        let mut call = Cmd::with_capacity(KEYS.len() + 12, 600);
        call.arg("EVALSHA").arg(script.script.get_hash()).arg(KEYS.len());
        keys(&mut call, license, &KEYS);
        self.time(&mut call);
        call
    }

    fn time(&self, call: &mut Cmd) {
        match &self.moved_time {
            Some(clock) => call.arg(clock.now().timestamp_millis()),
            None => call.arg(""),
        };
    }

    /// Whether the keys of several licenses may go in one call.
    pub(super) const fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    /// Runs a script; where Redis does not know it (a fresh or restarted server), sends it along.
    async fn run(&self, script: &Script, call: &Cmd) -> Result<Answer, Error> {
        let answer = match self.link.send(call).await {
            Err(error) if error.kind() == ErrorKind::Server(ServerErrorKind::NoScript) => {
                self.link.send(cmd("SCRIPT").arg("LOAD").arg(script.code)).await?;
                self.link.send(call).await?
            }
            answer => answer?,
        };
        Answer::of(answer)
    }
}

fn keys(call: &mut Cmd, license: LicenseId, names: &[&str]) {
    let mut key = format!("{{{license}}}:");
    let tag = key.len();
    for name in names {
        key.truncate(tag);
        key.push_str(name);
        call.arg(&key);
    }
}

fn refusal(why: &str) -> Result<Refusal, Error> {
    why.parse().map_err(|_| Error::Unexpected(format!("heartbeat.lua: refused for {why}")))
}

fn policy(call: &mut Cmd, license: &License) {
    let policy = &license.policy;
    call.arg(license.version)
        .arg(policy.seats_total)
        .arg(policy.overage)
        .arg(u64::try_from(policy.session_ttl.as_millis()).unwrap_or(u64::MAX))
        .arg(license.standing().map_or("", Refusal::code));
    match policy.expires_at {
        Some(ends) => call.arg(ends.timestamp_millis()),
        None => call.arg(""),
    };
    call.arg(license.tenant.as_uuid().as_bytes());
}
