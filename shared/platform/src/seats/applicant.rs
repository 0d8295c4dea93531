//! Who asks for a seat, and what comes of it.

use std::sync::Arc;

use crate::domain::{
    Email, HardwareHash, HardwareId, Holder, IdempotencyKey, License, LicenseId, Occupancy, Permission, Principal, Refusal, SeatNumber,
    SeatUnit, SessionId, SessionKey, Timestamp, Unadmitted, fingerprint,
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
    pub(super) callers: Option<Arc<[Principal]>>,
    pub(super) network: Option<[u8; 16]>,
    replaces: Option<SessionId>,
}

impl Applicant {
    /// An applicant; `body` is the request as it came, to tell a repeated request from another one with the same
    /// idempotency key.
    #[must_use]
    pub fn new(hardware_id: HardwareId, user_email: Email, idempotency_key: Option<IdempotencyKey>, body: &[u8]) -> Self {
        let request_hash = if idempotency_key.is_some() { fingerprint(&[body]) } else { [0; 16] };
        let (holder, hardware) = (Holder::device(&hardware_id), hardware_id.hash());
        Self { hardware_id, hardware, user_email, idempotency_key, request_hash, holder, callers: None, network: None, replaces: None }
    }

    /// The same, known by a bearer token as these members: it is shown the licenses of their tenants alone.
    #[must_use]
    pub fn known_as(self, callers: Option<Vec<Principal>>) -> Self {
        Self { callers: callers.map(Arc::from), ..self }
    }

    /// Whether the license admits it, as the member of the license's tenant.
    pub(super) fn is_admitted(&self, license: &License) -> Result<(), Unadmitted> {
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

    /// The same, in the place of a session that it had before: if that one lives, on the same license and with the same holder (where a seat
    /// is a process: whichever), the new session is on its seat, and it is released.
    #[must_use]
    pub fn replacing(self, session: Option<SessionId>) -> Self {
        Self { replaces: session, ..self }
    }

    /// The session of this license that it asks to replace.
    pub(super) fn replaced_on(&self, license: LicenseId) -> Option<SessionKey> {
        self.replaces.filter(|session| session.license == license).map(|session| session.key)
    }

    pub(super) fn idempotency_digest(&self) -> Option<[u8; 16]> {
        self.idempotency_key.as_ref().map(IdempotencyKey::digest)
    }

    pub(super) fn sit_as(&mut self, unit: SeatUnit) {
        self.holder = match (unit, &self.idempotency_key) {
            (SeatUnit::Device, _) => Holder::device(&self.hardware_id),
            (SeatUnit::Process, Some(key)) => Holder::process(key),
            (SeatUnit::Process, None) => Holder::random(),
        };
    }
}

/// A seat that somebody has, alone or with others.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The session on it.
    pub session: SessionId,
    /// Its number, 1…N.
    pub number: SeatNumber,
    /// The device that has it.
    pub hardware: HardwareHash,
    /// Other sessions are on it.
    pub is_shared: bool,
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
    /// The applicant has a seat already: the new session shares it.
    Shared(Seat),
    /// This very request has been answered before.
    Replayed {
        /// Like this.
        answer: Vec<u8>,
        /// It was [`Acquired::Shared`], else [`Acquired::Granted`].
        is_shared: bool,
    },
    /// So many sessions share the applicant's seat that it takes no further one.
    Crowded {
        /// Whole seconds until the first of them may have expired.
        retry_after: u64,
    },
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
