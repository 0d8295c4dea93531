//! The client: takes seats, carries them on, and proves them offline.

mod acquire;
mod builder;
mod left;
mod offline;
mod published;
mod renew;

use std::{
    fmt,
    io::ErrorKind,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

pub use builder::Builder;
pub use offline::{Kept, Offline};

use crate::{
    Error, Memory, MemoryError, Released, SavedSession, Seat, SeatUnit, Verifier,
    clock::Clock,
    patience::Patience,
    presence::{Place, Presence},
    seat,
    secret::Secret,
    wire::Http,
};
use acquire::Attempt;
pub(crate) use acquire::{NotTaken, Taken};
use published::Published;
pub(crate) use renew::{Doubt, Lease, Renewal, Session};

/// A customer of the platform on one machine. Cheap to clone; all clones are one client.
///
/// The crate's documentation shows a whole program.
#[derive(Clone)]
pub struct Client {
    core: Arc<Core>,
}

/// What all clones, and all seats, share.
pub(crate) struct Core {
    http: Http,
    license_key: Secret,
    hardware_id: String,
    user_email: Option<String>,
    verifier: Verifier,
    pub(crate) clock: Clock,
    /// How long one operation keeps trying.
    pub(crate) patience: Duration,
    published: Mutex<Published>,
    /// Held by the one that asks for the keys.
    asking: tokio::sync::Mutex<()>,
    state: Option<State>,
    /// Acquires that may have taken a seat without our learning of it.
    unsettled: Mutex<Vec<Attempt>>,
    /// Sessions that are not wanted and could not be released.
    left: Mutex<Vec<Secret>>,
    /// Sessions that are in the caller's hands.
    saved: Mutex<Vec<Secret>>,
    /// Why the last change of the state file failed, if it did.
    unwritten: Mutex<Option<String>>,
}

/// What is kept on this machine.
struct State {
    memory: Arc<Mutex<Memory>>,
    place: Place,
}

impl Client {
    /// Starts a client for the platform at `api_url` (such as `https://licenses.example.com`) with a license key.
    pub fn builder(api_url: impl Into<String>, license_key: impl Into<String>) -> Builder {
        Builder::new(api_url.into(), Secret::new(license_key))
    }

    /// Takes a seat, or the one that this device has already, and keeps it until the [`Seat`] is released or dropped.
    ///
    /// What may pass (no network, a busy server) is tried again for as long as the client's patience lasts. Tries are one acquire to the
    /// platform: an answer that was lost on the way takes no second seat, not even if this was cancelled or gave up in between.
    ///
    /// # Errors
    /// See [`Error`]. If the platform cannot be reached and the lease in the state file still holds, [`Error::OfflineButValid`].
    pub async fn acquire(&self) -> Result<Seat, Error> {
        match self.core.acquire().await {
            Err(Error::Unreachable { why, status, retry_after }) => match self.verify_offline() {
                Ok(Offline { until, .. }) => Err(Error::OfflineButValid { until, why }),
                Err(_) => Err(Error::Unreachable { why, status, retry_after }),
            },
            outcome => outcome,
        }
    }

    /// Carries on a session that another process began, or this one before it restarted: sends a heartbeat, and keeps the seat from
    /// then on.
    ///
    /// # Errors
    /// [`Error::SessionEnded`] if the session is over, else as [`acquire`](Self::acquire).
    pub async fn attach(&self, saved: &SavedSession) -> Result<Seat, Error> {
        self.core.attach(saved).await
    }

    /// Gives a saved session's seat back, unless another process on this machine has the same session. [`Released`] tells what came of it.
    ///
    /// # Errors
    /// If the platform cannot be reached or answers otherwise.
    pub async fn release(&self, saved: &SavedSession) -> Result<Released, Error> {
        self.core.release(saved).await
    }

    /// Marks a saved session as in the caller's hands, so that this client does not take it for one that a program has left behind when
    /// it died between saving the session and [`Seat::detach`].
    pub fn keep(&self, saved: &SavedSession) {
        lock(&self.core.saved).push(saved.session_id.clone());
    }

    /// Why the state file could not be written when it was last to be, if it could not. A seat is held all the same; what is missing is
    /// its proof offline, and what another program needs to find a session that was left behind.
    #[must_use]
    pub fn unwritten(&self) -> Option<String> {
        lock(&self.core.unwritten).clone()
    }

    /// Releases the sessions that programs on this machine have taken and left behind: they died, also while they waited for the answer to
    /// an acquire, or refused what the platform answered and could not release it at once. Answers how many were released. The next
    /// [`acquire`](Self::acquire) does it by itself.
    ///
    /// # Errors
    /// If the platform cannot be reached or answers otherwise.
    pub async fn release_left_behind(&self) -> Result<usize, Error> {
        self.core.release_left_behind().await
    }

    /// What proves a seat on this machine without the platform: the license, lease and keys of the state file.
    ///
    /// # Errors
    /// What a program can act on: [`Error::NothingKept`], [`Error::LeaseEnded`] and [`Error::Expired`] ask for the platform,
    /// [`Error::ClockTurnedBack`] for the right time; [`Error::Forged`] means that the state file was tampered with.
    pub fn verify_offline(&self) -> Result<Offline, Error> {
        self.core.verify_offline()
    }

    /// What the state file keeps, for a program that verifies it in its own way or shows how (see
    /// [`Verifier::explain_lease`](crate::Verifier::explain_lease)).
    #[must_use]
    pub fn kept(&self) -> Kept {
        self.core.kept()
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is are secrets, persons, and pages of keys.
        f.debug_struct("Client").field("patience", &self.core.patience).finish_non_exhaustive()
    }
}

impl Core {
    /// Enters the place that processes of this device share.
    async fn enter(&self) -> Result<Option<Presence>, Error> {
        let Some(State { place, .. }) = &self.state else { return Ok(None) };
        place.enter(self.patience).await.map(Some).map_err(|error| match error.kind() {
            ErrorKind::TimedOut => {
                let why = "another process is still giving the seat back".to_owned();
                Error::Unreachable { why, status: None, retry_after: None }
            }
            _ => Error::Settings(format!("the seat's lock beside the state file cannot be had: {error}")),
        })
    }

    /// The session that was saved, its license verified.
    fn session(&self, saved: &SavedSession) -> Result<Session, Error> {
        let license = self.verifier.license(&saved.license, &crate::Expected::default())?;
        Ok(Session { id: saved.session_id.clone(), license, license_token: saved.license.clone(), own: saved.own })
    }

    async fn attach(self: &Arc<Self>, saved: &SavedSession) -> Result<Seat, Error> {
        let session = self.session(saved)?;
        let presence = self.enter().await?;
        let mut patience = Patience::of(self.patience);
        let (renewal, lease) = match self.renew_now(&session, None, &mut patience).await {
            Ok(renewed) => renewed,
            Err(error) => {
                if matches!(error, Error::SessionEnded(_)) {
                    // Its lease proves nothing any more.
                    self.forget_id(&session.id).await;
                }
                return Err(error);
            }
        };
        // Without a slot: whoever saved the session keeps it, and finds it again after a crash.
        Ok(Seat::begin(Arc::clone(self), Taken { session, lease, renewal }, seat::Place { presence, slot: None }))
    }

    async fn release(&self, saved: &SavedSession) -> Result<Released, Error> {
        let presence = self.enter().await?;
        let unit = self.verifier.license(&saved.license, &crate::Expected::default()).map(|license| license.seat_unit);
        // A document that is refused is no reason to keep the seat.
        let shared = !saved.own && unit != Ok(SeatUnit::Process);
        self.give_back_id(&saved.session_id, shared, presence, self.patience).await
    }

    /// Changes the state file, if there is one. Answers whether that holds what it should.
    async fn remember(&self, change: impl FnOnce(&mut Memory) -> Result<(), MemoryError> + Send + 'static) -> bool {
        let Some(State { memory, .. }) = &self.state else { return true };
        let memory = Arc::clone(memory);
        // A disk that is full must not cost the seat. What is lost is the proof offline, and whoever asks for that is told.
        let changed = tokio::task::spawn_blocking(move || change(&mut lock(&memory))).await;
        let fault = match changed {
            Ok(Ok(())) => None,
            Ok(Err(error)) => Some(error.to_string()),
            Err(error) => Some(error.to_string()),
        };
        let is_written = fault.is_none();
        *lock(&self.unwritten) = fault;
        is_written
    }

    /// Which moment to measure a leap of the machine's clock by.
    pub(crate) fn wall(&self) -> SystemTime {
        self.clock.wall()
    }
}

/// The lock, also after a panic in another thread: nothing is left half done under it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
