//! The client: takes seats, carries them on, and proves them offline.

mod acquire;
mod builder;
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
    Error, Memory, MemoryError, SavedSession, Seat, SeatUnit, Verifier,
    clock::Clock,
    patience::Patience,
    presence::{Place, Presence},
    secret::Secret,
    wire::{Failure, Http},
};
use acquire::Attempt;
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
    published: tokio::sync::Mutex<Published>,
    state: Option<State>,
    /// Acquires that may have taken a seat without our learning of it.
    unsettled: Mutex<Vec<Attempt>>,
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
            Err(Error::Unreachable { why, retry_after }) => match self.verify_offline() {
                Ok(Offline { until, .. }) => Err(Error::OfflineButValid { until, why }),
                Err(_) => Err(Error::Unreachable { why, retry_after }),
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

    /// Gives a saved session's seat back, unless another process on this machine sits on it: `false` then. A session that has already
    /// ended counts as given back.
    ///
    /// # Errors
    /// If the platform cannot be reached or answers otherwise.
    pub async fn release(&self, saved: &SavedSession) -> Result<bool, Error> {
        let session = self.core.session(saved)?;
        let presence = self.core.enter().await?;
        self.core.give_back(&session, presence, self.core.patience).await
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
                Error::Unreachable { why: "another process is still giving the seat back".to_owned(), retry_after: None }
            }
            _ => Error::Settings(format!("the seat's lock beside the state file cannot be had: {error}")),
        })
    }

    /// The session that was saved, its license verified.
    fn session(&self, saved: &SavedSession) -> Result<Session, Error> {
        let license = self.verifier.license(&saved.license, &crate::Expected::default())?;
        Ok(Session { id: saved.session_id.clone(), license, license_token: saved.license.clone() })
    }

    async fn attach(self: &Arc<Self>, saved: &SavedSession) -> Result<Seat, Error> {
        let session = self.session(saved)?;
        let presence = self.enter().await?;
        let mut patience = Patience::of(self.patience);
        let (renewal, lease) = self.renew_now(&session, None, &mut patience).await?;
        Ok(Seat::begin(Arc::clone(self), session, lease, renewal, presence))
    }

    /// Releases a session, unless others on this device share it. Whether it was released.
    pub(crate) async fn give_back(&self, session: &Session, presence: Option<Presence>, patience: Duration) -> Result<bool, Error> {
        let shared = session.license.seat_unit == SeatUnit::Device;
        // If the lock fails us, the seat is rather left to expire than taken from somebody.
        let alone = match presence {
            Some(presence) if shared => match presence.leave() {
                Ok(Some(alone)) => Some(alone),
                Ok(None) | Err(_) => return Ok(false),
            },
            Some(_) | None => None,
        };
        let mut patience = Patience::of(patience);
        loop {
            match self.http.release(session.id.expose(), patience.left()).await {
                Ok(_) => break,
                Err(Failure::Problem(problem)) if matches!(problem.status, 404 | 410) && problem.code.is_some() => break,
                Err(failure) => patience.pause(failure).await?,
            }
        }
        self.forget(session).await;
        drop(alone);
        Ok(true)
    }

    /// Keeps nothing of a session that is over.
    pub(crate) async fn forget(&self, session: &Session) {
        let id = session.id.clone();
        self.remember(move |memory| memory.forget_session(id.expose())).await;
    }

    /// Changes the state file, if there is one.
    async fn remember(&self, change: impl FnOnce(&mut Memory) -> Result<(), MemoryError> + Send + 'static) {
        let Some(State { memory, .. }) = &self.state else { return };
        let memory = Arc::clone(memory);
        // A disk that is full must not cost the seat. What is lost is the proof offline, and whoever asks for that is told.
        let _ = tokio::task::spawn_blocking(move || change(&mut lock(&memory))).await;
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
