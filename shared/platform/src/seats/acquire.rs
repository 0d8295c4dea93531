//! Acquire: one Lua call chooses the seat, one PostgreSQL round trip makes it so.

use std::sync::Arc;

use super::{
    Counted, Engine, Error, Looked, Reply, TRIES,
    answer::{Place, Taken},
    beat_after,
    entries::Entry,
    rebuild::Why,
    records::{self, Grant},
    scripts::Caller,
};
use crate::domain::{
    Email, HardwareHash, HardwareId, Holder, IdempotencyKey, License, LicenseKey, LimitKind, Occupancy, Permission, Principal, Refusal,
    SeatNumber, SeatUnit, SessionId, SessionKey, Timestamp, Unadmitted, Verdict, fingerprint,
};

/// Who asks for a seat.
#[derive(Clone, Debug)]
pub struct Applicant {
    pub(super) hardware_id: HardwareId,
    pub(super) hardware: HardwareHash,
    pub(super) user_email: Email,
    pub(super) idempotency_key: Option<IdempotencyKey>,
    pub(super) request_hash: [u8; 16],
    pub(super) holder: Holder,
    callers: Option<Arc<[Principal]>>,
    network: Option<[u8; 16]>,
}

impl Applicant {
    /// An applicant; `body` is the request as it came, to tell a repeated request from another one with the same
    /// idempotency key.
    #[must_use]
    pub fn new(hardware_id: HardwareId, user_email: Email, idempotency_key: Option<IdempotencyKey>, body: &[u8]) -> Self {
        let request_hash = if idempotency_key.is_some() { fingerprint(&[body]) } else { [0; 16] };
        let (holder, hardware) = (Holder::device(&hardware_id), hardware_id.hash());
        Self { hardware_id, hardware, user_email, idempotency_key, request_hash, holder, callers: None, network: None }
    }

    /// The same, known by a bearer token as these members: it is shown the licenses of their tenants alone.
    #[must_use]
    pub fn known_as(self, callers: Option<Vec<Principal>>) -> Self {
        Self { callers: callers.map(Arc::from), ..self }
    }

    /// Whether the license admits it, as the member of the license's tenant.
    fn is_admitted(&self, license: &License) -> Result<(), Unadmitted> {
        let caller = self.callers.as_deref().and_then(|callers| license.caller(callers));
        if caller.is_some_and(|caller| !caller.may(Permission::AcquireWithToken)) {
            return Err(Unadmitted::NotPermitted);
        }
        license.admits(caller, Some(&self.user_email))
    }

    /// The same, calling from this address: if there is no such license key, it counts against the
    /// address's limit.
    #[must_use]
    pub fn from_network(self, network: [u8; 16]) -> Self {
        Self { network: Some(network), ..self }
    }

    pub(super) fn idempotency_digest(&self) -> Option<[u8; 16]> {
        self.idempotency_key.as_ref().map(IdempotencyKey::digest)
    }

    fn sit_as(&mut self, unit: SeatUnit) {
        self.holder = match (unit, &self.idempotency_key) {
            (SeatUnit::Device, _) => Holder::device(&self.hardware_id),
            (SeatUnit::Process, Some(key)) => Holder::process(key),
            (SeatUnit::Process, None) => Holder::random(),
        };
    }
}

/// A seat that somebody has.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The session that sits on it.
    pub session: SessionId,
    /// Its number, 1…N.
    pub number: SeatNumber,
    /// The device that has it.
    pub hardware: HardwareHash,
    /// When it was given, by the clock that rules expiry.
    pub at: Timestamp,
    /// When it is lost if no heartbeat comes.
    pub expires_at: Timestamp,
    /// Seconds after which to send the next heartbeat.
    pub heartbeat_after: u64,
    /// How full the license is.
    pub occupancy: Occupancy,
    /// What it is a seat of.
    pub license: Arc<License>,
}

/// What became of an application.
#[derive(Debug)]
pub enum Acquired {
    /// A seat was taken.
    Granted(Seat),
    /// The applicant has had a seat already; its life is renewed.
    Held(Seat),
    /// This very request has been answered before, like this.
    Replayed(Vec<u8>),
    /// This very request is being worked on.
    InFlight,
    /// The idempotency key has served for another request.
    KeyReused,
    /// Every seat is taken.
    Full {
        /// How full the license is.
        occupancy: Occupancy,
        /// When the earliest seat may fall free.
        next_expiry: Timestamp,
        /// Whole seconds until then.
        retry_after: u64,
    },
    /// The license may not be used now.
    Refused(Refusal),
    /// The license requires a token, and this is not one for it.
    Unadmitted(Unadmitted),
    /// There is no such license key, or not for whom the token stands.
    Unknown,
}

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
            let admitted = applicant.is_admitted(&license).map_err(Acquired::Unadmitted);
            let usable = admitted.and_then(|()| license.may_be_used(self.clock.now()).map_err(Acquired::Refused));
            if let Err(refused) = usable {
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
            let outcome = match taken {
                Taken::Stale => {
                    self.licenses.forget(&license);
                    None
                }
                Taken::Granted(place) => self.confirm_grant(license, place, &applicant).await?,
                Taken::Held(place) => self.confirm_held(license, place, &applicant).await?,
                Taken::Full { now, used, next_expiry } => {
                    self.counters.denied.inc();
                    let wait = (next_expiry - now).num_milliseconds().max(0);
                    let retry_after = u64::try_from(wait).unwrap_or(0).div_ceil(1000).max(1);
                    Some(Acquired::Full { occupancy: license.policy.occupancy(used), next_expiry, retry_after })
                }
                Taken::Replayed(answer) => Some(Acquired::Replayed(answer)),
                Taken::InFlight => Some(Acquired::InFlight),
                Taken::Reused => Some(Acquired::KeyReused),
            };
            if let Some(outcome) = outcome {
                return Ok(Counted::Served(outcome, verdict));
            }
        };
        Err(Error::Unsettled(unsettled))
    }

    /// Redis has chosen a seat: record it. None: Redis had forgotten something, now mended; choose again.
    async fn confirm_grant(&self, license: Arc<License>, place: Place, applicant: &Applicant) -> Result<Option<Acquired>, Error> {
        match self.record(&license, place, applicant).await {
            Ok(true) => {
                self.counters.granted.inc();
                Ok(Some(Acquired::Granted(seat(license, &place, applicant))))
            }
            Ok(false) => {
                // Another request of the same holder may have recorded this very session for us.
                if self.is_alive(&license, place.session).await? {
                    return Ok(Some(Acquired::Granted(seat(license, &place, applicant))));
                }
                self.take_back(&license, &place, applicant).await
            }
            Err(error) => {
                self.give_back(&license, place.session).await;
                Err(error)
            }
        }
    }

    /// Records a grant, over the dead where they are in the way. False: the seat or the holder is taken, or the device is blocked.
    async fn record(&self, license: &Arc<License>, place: Place, applicant: &Applicant) -> Result<bool, Error> {
        let grant = Grant { license: Arc::clone(license), place, applicant: applicant.clone() };
        let recorded = self.entries.record(license.tenant, Entry::Grant(grant.clone())).await?;
        Ok(recorded.is_some() || records::grant_over_dead(&self.database, &grant).await?)
    }

    /// Redis says that this holder sits: that counts only if PostgreSQL has it too. None: choose again.
    async fn confirm_held(&self, license: Arc<License>, place: Place, applicant: &Applicant) -> Result<Option<Acquired>, Error> {
        match records::hold(&self.database, &license, &place).await? {
            Some(record) if record.ended.is_none() => Ok(Some(Acquired::Held(seat(license, &place, applicant)))),
            // A release that was cut in half has left it in Redis.
            Some(_) => {
                self.give_back(&license, place.session).await;
                Ok(None)
            }
            // A grant is half done: by a request that is still at it, or by one that died. Either way it can be finished.
            None if self.record(&license, place, applicant).await? || self.is_alive(&license, place.session).await? => {
                Ok(Some(Acquired::Held(seat(license, &place, applicant))))
            }
            None => self.take_back(&license, &place, applicant).await,
        }
    }

    /// The record refuses a seat that Redis has chosen: the device is blocked, or Redis had forgotten something, now mended.
    async fn take_back(&self, license: &License, place: &Place, applicant: &Applicant) -> Result<Option<Acquired>, Error> {
        self.give_back(license, place.session).await;
        if records::is_blocked(&self.database, license, applicant, place.now).await? {
            return Ok(Some(Acquired::Refused(Refusal::HardwareBlocked)));
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
    /// If it fails the same request finds its seat all the same, as held.
    pub async fn remember(&self, key: &IdempotencyKey, seat: &Seat, answer: &[u8]) {
        let remembered = self.scripts.remember(seat.license.id, &key.digest(), seat.session.key, answer).await;
        if let Err(error) = remembered {
            tracing::warn!(license = %seat.license.id, %error, "an answer could not be kept for replay");
        }
    }
}

fn seat(license: Arc<License>, place: &Place, applicant: &Applicant) -> Seat {
    Seat {
        session: SessionId { license: license.id, key: place.session },
        number: place.seat,
        hardware: applicant.hardware,
        at: place.now,
        expires_at: place.expires_at,
        heartbeat_after: beat_after(place.now, place.expires_at),
        occupancy: license.policy.occupancy(place.used),
        license,
    }
}
