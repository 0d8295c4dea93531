//! A seat that is kept for as long as the program wants it.

mod keeper;
mod status;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

pub use status::{Ending, Loss, Refusal, SeatStatus, Trouble};

use crate::{
    Deadline, Error, LeaseClaims, LicenseClaims, SavedSession,
    client::{Core, Lease, Session, Taken},
    presence::Presence,
    secret::Secret,
    slot::Slot,
};
use keeper::Keeper;

/// A seat of a license. A task in the background sends its heartbeats; [`status`](Self::status) tells how it stands.
///
/// Give it back with [`release`](Self::release). Dropping it does the same as well as it can: in the background, within two seconds, and
/// only if the tokio runtime goes on running meanwhile. A seat that is not given back stays taken until it expires (six minutes, unless
/// the license says otherwise).
#[must_use = "a seat that is dropped is given back"]
pub struct Seat {
    core: Arc<Core>,
    held: Arc<Held>,
    status: watch::Receiver<SeatStatus>,
    task: JoinHandle<()>,
    /// When this is dropped, the task gives the seat back.
    stop: oneshot::Sender<()>,
}

/// What became of a seat that was to be given back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Released {
    /// This program's session is released. The seat is free once no other program on this device has a session on it.
    Released,
    /// There was nothing to release: the session had ended before.
    AlreadyEnded,
    /// Another program on this device has the same session, and goes on with it.
    InUse,
}

/// What tells other processes on this machine of this one.
#[derive(Debug, Default)]
pub(crate) struct Place {
    pub(crate) presence: Option<Presence>,
    pub(crate) slot: Option<Arc<Slot>>,
}

/// What the seat and its keeper share.
struct Held {
    sessions: Sessions,
    latest: Mutex<Latest>,
    presence: Mutex<Option<Presence>>,
    slot: Option<Arc<Slot>>,
    /// The platform has ended the latest session.
    ended: AtomicBool,
    status: watch::Sender<SeatStatus>,
}

/// The session, and those that came after it when it had expired. The earlier ones stay, because a program may be looking at them.
struct Sessions {
    session: Session,
    next: OnceLock<Box<Self>>,
}

impl Sessions {
    const fn new(session: Session) -> Self {
        Self { session, next: OnceLock::new() }
    }

    fn latest(&self) -> &Session {
        let mut at = self;
        while let Some(next) = at.next.get() {
            at = next;
        }
        &at.session
    }

    fn add(&self, session: Session) {
        let mut at = self;
        while let Some(next) = at.next.get() {
            at = next;
        }
        // One keeper alone adds, so that the place is free.
        let _ = at.next.set(Box::new(Self::new(session)));
    }
}

/// What the last answer said.
struct Latest {
    lease: Lease,
    until: Deadline,
    seats_used: u32,
    seats_total: u32,
}

impl Seat {
    pub(crate) fn begin(core: Arc<Core>, taken: Taken, place: Place) -> Self {
        let Taken { session, lease, renewal } = taken;
        let (sender, status) = watch::channel(SeatStatus::Held { until: renewal.until });
        let latest = Latest { lease, until: renewal.until, seats_used: renewal.seats_used, seats_total: renewal.seats_total };
        let held = Arc::new(Held {
            sessions: Sessions::new(session),
            latest: Mutex::new(latest),
            presence: Mutex::new(place.presence),
            slot: place.slot,
            ended: AtomicBool::new(false),
            status: sender,
        });
        let (stop, stopped) = oneshot::channel();
        let keeper = Keeper::new(Arc::clone(&core), Arc::clone(&held), renewal);
        let task = tokio::spawn(keeper.run(stopped));
        Self { core, held, status, task, stop }
    }

    /// How the seat stands, now and whenever it changes. Nothing more comes once the seat is lost or given back.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<SeatStatus> {
        self.status.clone()
    }

    /// The license, as it was when the seat was taken, or regained. Verified.
    #[must_use]
    pub fn license(&self) -> &LicenseClaims {
        &self.held.sessions.latest().license
    }

    /// The latest lease. Verified; it changes with every heartbeat.
    #[must_use]
    pub fn lease(&self) -> LeaseClaims {
        self.held.latest().lease.claims.clone()
    }

    /// The latest lease as it was signed, for somebody else to verify.
    #[must_use]
    pub fn lease_token(&self) -> String {
        self.held.latest().lease.token.clone()
    }

    /// The session's id: a secret, by which anybody could renew and release the seat. It changes when the seat is regained.
    #[must_use]
    pub fn session_id(&self) -> &str {
        self.held.sessions.latest().id.expose()
    }

    /// Seats of the license in use at the last answer.
    #[must_use]
    pub fn seats_used(&self) -> u32 {
        self.held.latest().seats_used
    }

    /// Seats of the license at the last answer.
    #[must_use]
    pub fn seats_total(&self) -> u32 {
        self.held.latest().seats_total
    }

    /// When the seat ends without another heartbeat.
    #[must_use]
    pub fn until(&self) -> Deadline {
        self.held.latest().until
    }

    /// Gives the seat back. [`Released`] tells whether there was anything to give back.
    ///
    /// # Errors
    /// If the platform could not be told within the client's patience: the seat then falls free when it expires.
    pub async fn release(self) -> Result<Released, Error> {
        let patience = self.core.patience;
        self.release_within(patience).await
    }

    /// The same, with a patience of its own: for programs that are about to end.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn release_within(self, patience: Duration) -> Result<Released, Error> {
        let Self { core, held, task, stop, .. } = self;
        end(task, stop).await;
        held.give_back(&core, patience).await
    }

    /// What another process needs to carry the session on. A program that saves it before it calls [`detach`](Self::detach) leaves no
    /// session that nobody knows, wherever it dies.
    #[must_use]
    pub fn saved(&self) -> SavedSession {
        let session = self.held.sessions.latest();
        SavedSession { session_id: session.id.clone(), license: session.license_token.clone(), own: session.own }
    }

    /// Stops the heartbeats and leaves the session as it is, for [`Client::attach`](crate::Client::attach) before it expires.
    pub async fn detach(self) -> SavedSession {
        let Self { core, held, task, stop, .. } = self;
        end(task, stop).await;
        let session = held.sessions.latest();
        // From now on it is for whoever has what is returned.
        core.leave_slot(held.slot.as_ref(), &session.id).await;
        SavedSession { session_id: session.id.clone(), license: session.license_token.clone(), own: session.own }
    }
}

/// Ends the keeper's task before it could notice that it should give the seat back.
async fn end(task: JoinHandle<()>, stop: oneshot::Sender<()>) {
    task.abort();
    let _ = task.await;
    drop(stop);
}

impl Held {
    fn latest(&self) -> MutexGuard<'_, Latest> {
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Gives back what there is to give back.
    async fn give_back(&self, core: &Core, patience: Duration) -> Result<Released, Error> {
        let (session, presence) = (self.sessions.latest(), self.leave());
        if self.ended.load(Ordering::Acquire) {
            core.forget_id(&session.id).await;
            return Ok(Released::AlreadyEnded);
        }
        let released = core.give_back(session, presence, patience).await?;
        if released == Released::InUse {
            core.leave_slot(self.slot.as_ref(), &session.id).await;
        }
        Ok(released)
    }

    /// The sessions that another one is to be taken in place of.
    fn left(&self) -> Vec<Secret> {
        vec![self.sessions.latest().id.clone()]
    }

    /// Takes this process off the seat that the device's processes share.
    fn leave(&self) -> Option<Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let license = &self.held.sessions.latest().license.license_id;
        let seat = self.held.latest().lease.claims.seat;
        f.debug_struct("Seat")
            .field("license_id", license)
            .field("seat", &seat)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}
