//! The Lua scripts: one Rust caller each, keys built in one place.

use std::mem;

use redis::{Cmd, cmd};
use uuid::Uuid;

use super::{
    Applicant, Counted, Error, Seat,
    answer::{Answer, Beat, Found, Reply, Taken, Turn, expires, missing, seated},
    limiter::{take_limit, verdict},
    records::LiveSession,
    script::{Script, ScriptLink, lua},
};
use crate::domain::{
    HardwareHash, License, LicenseId, Limit, Refusal, SeatUnit, SessionId, SessionKey, TenantId, Timestamp, Verdict, fingerprint,
    from_millis,
};

/// Calls the scripts over one link.
pub(super) struct Scripts {
    link: ScriptLink,
    acquire: Script,
    heartbeat: Script,
    release: Script,
    occupancy: Script,
    remember: Script,
    tell: Script,
    lock: Script,
    rebuild: Script,
    sweep: Script,
    look: Script,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Scripts({:?})", self.link)
    }
}

/// Most live sessions on one seat.
const MOST_ON_A_SEAT: u32 = 1000;
/// How an answer that is kept for replay is marked: as on the wire.
const GRANTED_STATUS: i64 = 201;
const SHARED_STATUS: i64 = 200;

/// The keys of a license, in the order that every script expects; the braces put them all on one slot of a cluster.
pub(super) const KEYS: [&str; 8] = ["policy", "expiry", "sessions", "holders", "taken", "replays", "usage", "lock"];

impl Scripts {
    pub(super) fn new(link: ScriptLink) -> Self {
        Self {
            link,
            acquire: Script::new(lua!("clock", "prelude", "gcra", "acquire")),
            heartbeat: Script::new(lua!("heartbeat")),
            release: Script::new(lua!("clock", "prelude", "gcra", "release")),
            occupancy: Script::new(lua!("clock", "prelude", "gcra", "occupancy")),
            remember: Script::new(lua!("clock", "prelude", "remember")),
            tell: Script::new(lua!("clock", "prelude", "tell")),
            lock: Script::new(lua!("clock", "prelude", "lock")),
            rebuild: Script::new(lua!("clock", "prelude", "rebuild")),
            sweep: Script::new(lua!("clock", "prelude", "sweep")),
            look: Script::new(lua!("clock", "prelude", "look")),
        }
    }

    pub(super) async fn ping(&self) -> Result<(), Error> {
        self.link.send(&cmd("PING")).await?;
        Ok(())
    }

    /// Chooses a seat for a session that is to be: one that its holder has, or a free one. Beyond the limit of the license key on this
    /// device it gets none.
    pub(super) async fn acquire(
        &self,
        license: &License,
        session: SessionKey,
        applicant: &Applicant,
        limit: Limit,
    ) -> Result<Reply<Counted<Taken>>, Error> {
        let mut call = self.counted_call(&self.acquire, license.id, &Caller::Device(&applicant.hardware));
        policy(&mut call, license);
        let idempotency = applicant.idempotency_digest();
        call.arg(session.as_bytes())
            .arg(applicant.holder.as_bytes())
            .arg(applicant.hardware.as_bytes())
            .arg(idempotency.as_ref().map_or(&[][..], |key| &key[..]))
            .arg(&applicant.request_hash[..]);
        take_limit(&mut call, limit);
        let replaced = applicant.replaced_on(license.id);
        call.arg(replaced.as_ref().map_or(&[][..], |key| &key.as_bytes()[..])).arg(MOST_ON_A_SEAT);
        call.arg(match license.policy.seat_unit {
            SeatUnit::Device => "",
            SeatUnit::Process => "any",
        });
        let mut answer = self.link.run(&self.acquire, &call).await?;
        let word = answer.word()?;
        match word.as_str() {
            "cold" => Ok(Reply::Cold),
            "stale" => Ok(Reply::Done(Counted::Served(Taken::Stale, Verdict::Uncounted))),
            word => counted(limit, word, &mut answer, |answer| {
                Ok(match word {
                    "granted" => Taken::Granted(answer.place(applicant.holder)?),
                    "shared" => Taken::Shared(answer.shared_place(applicant.holder)?),
                    "resumed" => Taken::Resumed(answer.shared_place(applicant.holder)?),
                    "crowded" => Taken::Crowded { now: answer.time()?, next_expiry: answer.time()? },
                    "full" => Taken::Full { now: answer.time()?, used: answer.count()?, next_expiry: answer.time()? },
                    "replayed" => Taken::Replayed { answer: answer.bytes()?, is_shared: answer.number()? == SHARED_STATUS },
                    "in_flight" => Taken::InFlight,
                    "reused" => Taken::Reused,
                    other => return Err(Error::Unexpected(format!("acquire.lua: {other}"))),
                })
            }),
        }
    }

    /// Renews sessions and answers in their order, which must have those of one license side by side. On a cluster they
    /// must all be of one license. The same session may be there more than once, side by side too.
    pub(super) async fn heartbeat(&self, sessions: &[SessionId], limit: Limit) -> Result<Vec<Reply<Counted<Beat>>>, Error> {
        let licenses = || sessions.chunk_by(|one, other| one.license == other.license);
        let count = licenses().count();
        let mut call = ScriptLink::begin(&self.heartbeat, 4 * count, count + sessions.len() + 3, 210 * count + 24 * sessions.len() + 96);
        for license in licenses() {
            keys(&mut call, license[0].license, &["policy", "expiry", "sessions", "usage"]);
        }
        self.link.time(&mut call);
        take_limit(&mut call, limit);
        for license in licenses() {
            call.arg(license.len());
            for session in license {
                call.arg(session.key.as_bytes());
            }
        }
        let mut answer = self.link.run(&self.heartbeat, &call).await?;
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
                    let version = found.digits()?;
                    for _ in license {
                        let record = found.bytes()?;
                        let allowance = limit.allowance(missing(&record, now));
                        let verdict = if limit.interval() == 0 { Verdict::Uncounted } else { Verdict::Within(allowance) };
                        beats.push(Reply::Done(match (expires(Some(&record)), refusal) {
                            (None, _) => Counted::Served(Beat::Missing { now }, Verdict::Uncounted),
                            // Only the end of a record.
                            (Some(_), _) if record.len() == 8 => Counted::Beyond(allowance),
                            (Some(expires_at), Some(why)) => Counted::Served(Beat::Refused { expires_at, why }, verdict),
                            (Some(expires_at), None) => {
                                let (seat, hardware) = seated(&record)?;
                                // One of them checks the policy for all.
                                let policy_is_old = mem::take(&mut policy_is_old);
                                Counted::Served(
                                    Beat::Renewed { now, expires_at, tenant, version, seat, hardware, used, seats, policy_is_old },
                                    verdict,
                                )
                            }
                        }));
                    }
                }
            }
        }
        Ok(beats)
    }

    /// Takes a session out and says how many are left, unless it is asked too often.
    pub(super) async fn release(&self, license: LicenseId, session: SessionKey, limit: Limit) -> Result<Reply<Counted<u32>>, Error> {
        let mut call = self.counted_call(&self.release, license, &Caller::Session(session));
        call.arg(session.as_bytes());
        take_limit(&mut call, limit);
        let mut answer = self.link.run(&self.release, &call).await?;
        match answer.word()?.as_str() {
            "cold" => Ok(Reply::Cold),
            word => counted(limit, word, &mut answer, Answer::count),
        }
    }

    /// How many seats are in use, and the version of the policy, unless the address asks too often.
    pub(super) async fn occupancy(
        &self,
        license: LicenseId,
        network: &[u8; 16],
        limit: Limit,
    ) -> Result<Reply<Counted<(u32, i64)>>, Error> {
        let mut call = self.counted_call(&self.occupancy, license, &Caller::Network(network));
        take_limit(&mut call, limit);
        let mut answer = self.link.run(&self.occupancy, &call).await?;
        match answer.word()?.as_str() {
            "cold" => Ok(Reply::Cold),
            word => counted(limit, word, &mut answer, |answer| Ok((answer.count()?, answer.number()?))),
        }
    }

    /// Keeps the answer to the request with this idempotency key.
    pub(super) async fn remember(&self, idempotency: &[u8; 16], seat: &Seat, body: &[u8]) -> Result<(), Error> {
        let mut call = self.call(&self.remember, seat.license.id);
        let status = if seat.is_shared { SHARED_STATUS } else { GRANTED_STATUS };
        call.arg(&idempotency[..]).arg(seat.session.key.as_bytes()).arg(body).arg(status);
        self.link.run(&self.remember, &call).await?;
        Ok(())
    }

    pub(super) async fn tell(&self, license: &License) -> Result<(), Error> {
        let mut call = self.call(&self.tell, license.id);
        policy(&mut call, license);
        self.link.run(&self.tell, &call).await?;
        Ok(())
    }

    pub(super) async fn lock(&self, license: LicenseId, token: &[u8; 16], only_if_cold: bool) -> Result<Turn, Error> {
        let mut call = self.call(&self.lock, license);
        call.arg(&token[..]).arg(if only_if_cold { "cold" } else { "" });
        let mut answer = self.link.run(&self.lock, &call).await?;
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
        let mut answer = self.link.run(&self.rebuild, &call).await?;
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
        let mut answer = self.link.run(&self.sweep, &call).await?;
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

    /// When each of these sessions of one license expires, by its own record in Redis, in their order. None: Redis does not have it.
    pub(super) async fn expiries(&self, license: LicenseId, sessions: &[SessionKey]) -> Result<Vec<Option<Timestamp>>, Error> {
        let mut call = cmd("HMGET");
        keys(&mut call, license, &["sessions"]);
        for session in sessions {
            call.arg(session.as_bytes());
        }
        let mut records = Answer::of(self.link.send(&call).await?)?;
        sessions.iter().map(|_| Ok(expires(records.maybe_bytes()?.as_deref()))).collect()
    }

    /// Tells the same without changing anything.
    pub(super) async fn look(&self, license: LicenseId, sessions: &[(SessionKey, Timestamp)]) -> Result<Reply<Vec<Found>>, Error> {
        let mut call = self.call(&self.look, license);
        for (session, _) in sessions {
            call.arg(session.as_bytes());
        }
        let mut answer = self.link.run(&self.look, &call).await?;
        if answer.word()? == "cold" {
            return Ok(Reply::Cold);
        }
        let now = answer.time()?;
        let found = sessions.iter().map(|(_, due)| {
            let expires = from_millis(answer.number()?);
            Ok(if expires > now {
                Found::Alive(expires)
            } else if *due <= now {
                Found::Dead
            } else {
                Found::Forgotten
            })
        });
        Ok(Reply::Done(found.collect::<Result<_, Error>>()?))
    }

    /// Redis' time, by the clock that rules expiry.
    pub(super) async fn now(&self) -> Result<Timestamp, Error> {
        self.link.now().await
    }

    /// Whether the keys of several licenses may go in one call.
    pub(super) const fn is_cluster(&self) -> bool {
        self.link.is_cluster()
    }

    fn call(&self, script: &Script, license: LicenseId) -> Cmd {
        let mut call = ScriptLink::begin(script, KEYS.len(), 12, 600);
        keys(&mut call, license, &KEYS);
        self.link.time(&mut call);
        call
    }

    /// A call that counts: what it counts by is its ninth key.
    fn counted_call(&self, script: &Script, license: LicenseId, caller: &Caller<'_>) -> Cmd {
        let mut call = ScriptLink::begin(script, KEYS.len() + 1, 18, 800);
        keys(&mut call, license, &KEYS);
        call.arg(limit_key(license, caller));
        self.link.time(&mut call);
        call
    }
}

/// Who is counted on a license.
#[derive(Clone, Copy)]
pub(super) enum Caller<'a> {
    /// Its key, on this device.
    Device(&'a HardwareHash),
    /// Its key, at this network address.
    Network(&'a [u8; 16]),
    /// One of its sessions, from when it has ended on: before, the session's record has it.
    Session(SessionKey),
}

/// Where what is known of a caller's limit is kept, on the license's slot.
pub(super) fn limit_key(license: LicenseId, caller: &Caller<'_>) -> String {
    let (kind, subject) = match caller {
        Caller::Device(hardware) => ("device", fingerprint(&[hardware.as_bytes()])),
        Caller::Network(network) => ("network", fingerprint(&[&network[..]])),
        Caller::Session(session) => ("session", *session.as_bytes()),
    };
    format!("{{{license}}}:limit:{kind}:{}", Uuid::from_bytes(subject).simple())
}

/// What a script answers that counts: behind the word, what is missing of the allowance; then, unless the caller is beyond its
/// limit, what was done.
fn counted<T>(
    limit: Limit,
    word: &str,
    answer: &mut Answer,
    done: impl FnOnce(&mut Answer) -> Result<T, Error>,
) -> Result<Reply<Counted<T>>, Error> {
    Ok(Reply::Done(match verdict(limit, word != "limited", answer)? {
        Verdict::Beyond(allowance) => Counted::Beyond(allowance),
        verdict @ (Verdict::Uncounted | Verdict::Within(_)) => Counted::Served(done(answer)?, verdict),
    }))
}

pub(super) fn keys(call: &mut Cmd, license: LicenseId, names: &[&str]) {
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

pub(super) fn policy(call: &mut Cmd, license: &License) {
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
