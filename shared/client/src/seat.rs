//! A seat that is kept for as long as the program wants it.

mod keeper;
mod status;

use std::{
    fmt,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    sync::{oneshot, watch},
    task::JoinHandle,
};

pub use status::{Ending, Loss, Refusal, SeatStatus, Trouble};

use crate::{
    Deadline, Error, LeaseClaims, LicenseClaims, SavedSession,
    client::{Core, Lease, Renewal, Session},
    presence::Presence,
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

/// What the seat and its keeper share.
struct Held {
    session: Session,
    latest: Mutex<Latest>,
    presence: Mutex<Option<Presence>>,
    status: watch::Sender<SeatStatus>,
}

/// What the last answer said.
struct Latest {
    lease: Lease,
    until: Deadline,
    seats_used: u32,
    seats_total: u32,
}

impl Seat {
    pub(crate) fn begin(core: Arc<Core>, session: Session, lease: Lease, renewal: Renewal, presence: Option<Presence>) -> Self {
        let (sender, status) = watch::channel(SeatStatus::Held { until: renewal.until });
        let latest = Latest { lease, until: renewal.until, seats_used: renewal.seats_used, seats_total: renewal.seats_total };
        let held = Arc::new(Held { session, latest: Mutex::new(latest), presence: Mutex::new(presence), status: sender });
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

    /// The license, as it was when the seat was taken. Verified.
    #[must_use]
    pub fn license(&self) -> &LicenseClaims {
        &self.held.session.license
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

    /// The session's id: a secret, by which anybody could renew and release the seat.
    #[must_use]
    pub fn session_id(&self) -> &str {
        self.held.session.id.expose()
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

    /// Gives the seat back, unless another process on this device sits on it as well.
    ///
    /// # Errors
    /// If the platform could not be told within the client's patience: the seat then falls free when it expires.
    pub async fn release(self) -> Result<(), Error> {
        let patience = self.core.patience;
        self.release_within(patience).await
    }

    /// The same, with a patience of its own: for programs that are about to end.
    ///
    /// # Errors
    /// As [`release`](Self::release).
    pub async fn release_within(self, patience: Duration) -> Result<(), Error> {
        let Self { core, held, status, task, stop } = self;
        end(task, stop).await;
        let presence = held.leave();
        if matches!(*status.borrow(), SeatStatus::Lost { .. }) {
            return Ok(());
        }
        core.give_back(&held.session, presence, patience).await.map(|_| ())
    }

    /// Stops the heartbeats and leaves the session as it is, for [`Client::attach`](crate::Client::attach) before it expires.
    pub async fn detach(self) -> SavedSession {
        let Self { held, task, stop, .. } = self;
        end(task, stop).await;
        SavedSession { session_id: held.session.id.clone(), license: held.session.license_token.clone() }
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

    /// Takes this process off the seat that the device's processes share.
    fn leave(&self) -> Option<Presence> {
        self.presence.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for Seat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let license = &self.held.session.license.license_id;
        let seat = self.held.latest().lease.claims.seat;
        f.debug_struct("Seat")
            .field("license_id", license)
            .field("seat", &seat)
            .field("status", &*self.status.borrow())
            .finish_non_exhaustive()
    }
}
