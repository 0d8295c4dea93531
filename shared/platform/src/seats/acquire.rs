//! Acquire: one Lua call chooses the seat, one PostgreSQL round trip makes it so.

use std::sync::Arc;

use super::{
    Acquired, Applicant, Counted, Engine, Error, Looked, Reply, Seat, TRIES,
    answer::{Place, Taken},
    beat_after,
    entries::Entry,
    rebuild::Why,
    records::{self, Grant, Way},
    scripts::Caller,
};
use crate::domain::{IdempotencyKey, License, LicenseKey, LimitKind, Refusal, SessionId, SessionKey, Timestamp, Verdict};

/// How often an acquire looks whether Redis has forgotten the session that is to be replaced.
const LOOKS: usize = 3;

impl Engine {
    /// Takes a seat. Runs to its end even if the caller goes away, so that no grant is left half done. Counts against the limit
    /// of the license key on this device, except where there is no such key.
    ///
    /// # Errors
    /// Any [`Error`]; no seat is then held for longer than its TTL, and trying again finds it if it was granted.
    pub async fn acquire(self: &Arc<Self>, key: &LicenseKey, applicant: Applicant) -> Result<Counted<Acquired>, Error> {
        let (engine, key) = (Arc::clone(self), key.clone());
        let work = tokio::spawn(async move { engine.acquire_to_the_end(&key, applicant).await });
        work.await.map_err(|error| Error::Unexpected(error.to_string()))?
    }

    async fn acquire_to_the_end(&self, key: &LicenseKey, mut applicant: Applicant) -> Result<Counted<Acquired>, Error> {
        let hash = key.hash();
        // Staff have none: for whoever is no member anywhere there is no license.
        let tenants = applicant.callers.as_deref().map(|callers| callers.iter().filter_map(|caller| caller.tenant).collect::<Vec<_>>());
        let (mut limit, mut verdict) = (self.limiter.limit(LimitKind::Principal), Verdict::Uncounted);
        let mut tries = 0;
        let unsettled = loop {
            let license = match self.open(&hash, tenants.as_deref(), applicant.network.as_ref()).await? {
                Looked::Found(license) => license,
                Looked::Unknown(unknown) if verdict == Verdict::Uncounted => return Ok(Counted::Served(Acquired::Unknown, unknown)),
                Looked::Unknown(_) => return Ok(Counted::Served(Acquired::Unknown, verdict)),
                Looked::Refused(allowance) => return Ok(Counted::Beyond(allowance)),
            };
            let refused = match applicant.is_admitted(&license) {
                Err(unadmitted) => Some(Acquired::Unadmitted(unadmitted)),
                Ok(()) => license.may_be_used(self.clock.now()).err().map(Acquired::Refused),
            };
            if let Some(refused) = refused {
                if tries == 0 && self.may_have_changed(&license).await {
                    self.licenses.forget(&license);
                    tries += 1;
                    continue;
                }
                if verdict == Verdict::Uncounted && matches!(refused, Acquired::Refused(_)) {
                    verdict = self.count(license.id, &Caller::Device(&applicant.hardware)).await;
                }
                return Ok(Counted::under(verdict, refused));
            }
            if tries == TRIES {
                break license.id;
            }
            tries += 1;
            applicant.sit_as(license.policy.seat_unit);
            let taken = match self.scripts.acquire(&license, SessionKey::random(), &applicant, limit).await? {
                Reply::Cold => {
                    self.rebuild(&license, Why::Cold).await?;
                    continue;
                }
                Reply::Done(Counted::Beyond(allowance)) => return Ok(Counted::Beyond(allowance)),
                Reply::Done(Counted::Served(taken, counted)) => {
                    if counted != Verdict::Uncounted {
                        // Whatever it takes from here on, it is one request.
                        (limit, verdict) = (limit.off(), counted);
                    }
                    taken
                }
            };
            if tries <= LOOKS && self.has_forgotten(&license, &applicant, &taken).await? {
                continue;
            }
            let outcome = match taken {
                Taken::Stale => {
                    self.licenses.forget(&license);
                    None
                }
                Taken::Granted(place) | Taken::Shared(place) => self.confirm_grant(license, place, &applicant).await?,
                Taken::Resumed(place) => self.confirm_resumed(license, place, &applicant).await?,
                Taken::Crowded { now, next_expiry } => Some(Acquired::Crowded { retry_after: seconds_until(now, next_expiry) }),
                Taken::Full { now, used, next_expiry } => {
                    self.counters.denied.inc();
                    Some(full(&license, now, used, next_expiry))
                }
                Taken::Replayed { answer, is_shared } => Some(Acquired::Replayed { answer, is_shared }),
                Taken::InFlight => Some(Acquired::InFlight),
                Taken::Reused => Some(Acquired::KeyReused),
            };
            if let Some(outcome) = outcome {
                return Ok(Counted::Served(outcome, verdict));
            }
        };
        Err(Error::Unsettled(unsettled))
    }

    /// Whether Redis had forgotten the session that is to be replaced, and has been reminded of it: choose again.
    async fn has_forgotten(&self, license: &License, applicant: &Applicant, taken: &Taken) -> Result<bool, Error> {
        let (now, place) = match taken {
            Taken::Granted(place) | Taken::Shared(place) if !place.replaces => (place.now, Some(place)),
            Taken::Full { now, .. } => (*now, None),
            Taken::Granted(_)
            | Taken::Shared(_)
            | Taken::Stale
            | Taken::Resumed(_)
            | Taken::Crowded { .. }
            | Taken::Replayed { .. }
            | Taken::InFlight
            | Taken::Reused => return Ok(false),
        };
        if !records::is_replaceable(&self.database, license, applicant, now).await? {
            return Ok(false);
        }
        if let Some(place) = place {
            self.give_back(license, place.session).await;
        }
        self.rebuild(license, Why::Drift).await?;
        Ok(true)
    }

    /// Redis has chosen a seat: record it. None: Redis had forgotten something, now mended; choose again.
    async fn confirm_grant(&self, license: Arc<License>, place: Place, applicant: &Applicant) -> Result<Option<Acquired>, Error> {
        let recorded = match self.record(&license, place, applicant).await {
            Ok(recorded) => recorded,
            Err(error) => {
                self.give_back(&license, place.session).await;
                return Err(error);
            }
        };
        match recorded {
            Some(is_shared) => {
                if !is_shared {
                    self.counters.granted.inc();
                }
                Ok(Some(acquired(license, &place, applicant, is_shared)))
            }
            // Another request with the same idempotency key may have recorded this very session for us.
            None if self.is_alive(&license, place.session).await? => Ok(Some(acquired(license, &place, applicant, place.is_shared))),
            None => self.take_back(&license, &place, applicant).await,
        }
    }

    /// Records a grant, over the dead where they are in the way or beside the holder's other sessions, and ends the session that it
    /// replaces. Answers whether it shares the seat. None: the seat or the holder is taken, or the device is blocked.
    async fn record(&self, license: &Arc<License>, place: Place, applicant: &Applicant) -> Result<Option<bool>, Error> {
        let grant = Arc::new(Grant { license: Arc::clone(license), place, applicant: applicant.clone() });
        // Nearly always there is nothing in the way of a seat that Redis finds free, and it is recorded with others.
        if !place.is_shared && self.entries.record(license.tenant, Entry::Grant(Arc::clone(&grant))).await?.is_some() {
            return Ok(Some(false));
        }
        let part = usize::from(place.holder.as_bytes()[0]) % self.adding.len();
        let _turn = self.adding[part].lock().await;
        let ways: &[Way] = if place.is_shared { &[Way::Shared, Way::OverDead, Way::Shared] } else { &[Way::OverDead, Way::Shared] };
        for way in ways {
            if records::record_apart(&self.database, &grant, *way).await? {
                if let Some(replaced) = grant.replaced() {
                    self.counters.released.inc();
                    self.give_back(license, replaced).await;
                }
                return Ok(Some(place.is_shared || *way == Way::Shared));
            }
        }
        Ok(None)
    }

    /// Redis has a session that this very request has begun: that counts only if PostgreSQL has it too. None: choose again.
    async fn confirm_resumed(&self, license: Arc<License>, place: Place, applicant: &Applicant) -> Result<Option<Acquired>, Error> {
        match records::hold(&self.database, &license, &place).await? {
            Some(record) if record.ended.is_none() => Ok(Some(acquired(license, &place, applicant, place.is_shared))),
            // A release that was cut in half has left it in Redis.
            Some(_) => {
                self.give_back(&license, place.session).await;
                Ok(None)
            }
            // A grant is half done: by a request that is still at it, or by one that died. Either way it can be finished.
            None => self.confirm_grant(license, place, applicant).await,
        }
    }

    /// The record refuses a seat that Redis has chosen: the device is blocked, Redis alone has the
    /// seat and there is no room for it, or Redis had forgotten something, now mended.
    async fn take_back(&self, license: &License, place: &Place, applicant: &Applicant) -> Result<Option<Acquired>, Error> {
        self.give_back(license, place.session).await;
        if records::is_blocked(&self.database, license, applicant, place.now).await? {
            return Ok(Some(Acquired::Refused(Refusal::HardwareBlocked)));
        }
        if place.is_shared && records::is_full(&self.database, license, place).await? {
            self.counters.denied.inc();
            return Ok(Some(full(license, place.now, place.used, place.expires_at)));
        }
        self.rebuild(license, Why::Drift).await?;
        Ok(None)
    }

    async fn is_alive(&self, license: &License, session: SessionKey) -> Result<bool, Error> {
        let record = records::find(&self.database, license, session).await?;
        Ok(record.is_some_and(|record| record.ended.is_none()))
    }

    /// Takes a session out of Redis alone. If that fails the number stays held until its TTL: lost time, never a seat twice.
    async fn give_back(&self, license: &License, session: SessionKey) {
        let uncounted = self.limiter.limit(LimitKind::Principal).off();
        if let Err(error) = self.scripts.release(license.id, session, uncounted).await {
            tracing::warn!(license = %license.id, %error, "a seat could not be given back and is held until it expires");
        }
    }

    /// Keeps the answer to a granted request, so that the same request is answered the same while its session lives.
    /// If it fails the same request finds its session all the same.
    pub async fn remember(&self, key: &IdempotencyKey, seat: &Seat, answer: &[u8]) {
        let remembered = self.scripts.remember(&key.digest(), seat, answer).await;
        if let Err(error) = remembered {
            tracing::warn!(license = %seat.license.id, %error, "an answer could not be kept for replay");
        }
    }
}

fn acquired(license: Arc<License>, place: &Place, applicant: &Applicant, is_shared: bool) -> Acquired {
    let seat = Seat {
        session: SessionId { license: license.id, key: place.session },
        number: place.seat,
        hardware: applicant.hardware,
        is_shared,
        at: place.now,
        expires_at: place.expires_at,
        heartbeat_after: beat_after(place.now, place.expires_at),
        occupancy: license.policy.occupancy(place.used),
        license,
    };
    if is_shared { Acquired::Shared(seat) } else { Acquired::Granted(seat) }
}

fn full(license: &License, now: Timestamp, used: u32, next_expiry: Timestamp) -> Acquired {
    Acquired::Full { occupancy: license.policy.occupancy(used), next_expiry, retry_after: seconds_until(now, next_expiry) }
}

/// Whole seconds until then, at least one.
fn seconds_until(now: Timestamp, then: Timestamp) -> u64 {
    let wait = (then - now).num_milliseconds().max(0);
    u64::try_from(wait).unwrap_or(0).div_ceil(1000).max(1)
}
