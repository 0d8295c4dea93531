//! The pool: which connections are used again, and which are closed.
//!
//! A connection is put back once everything that was asked on it has been answered. One that missed its deadline, broke, or is out of date
//! is closed. What a caller who left has asked may still be under way: then it is waited for beside everybody else.

use std::{
    ops::{Deref, DerefMut},
    sync::atomic::{AtomicU8, AtomicU64, Ordering},
    time::{Duration, Instant},
};

use deadpool::managed::{self, Metrics, Object, PoolError, QueueMode, RecycleError, RecycleResult, Timeouts};
use deadpool_postgres::{ClientWrapper, Runtime};
use futures_util::FutureExt;
use prometheus_client::metrics::counter::Counter;
use tokio::{runtime::Handle, time::timeout};

use super::{
    DatabaseSettings, Error,
    connect::Connector,
    error::{NoConnection, Verdict, verdict},
    work::Work,
};

pub(super) type Pool = managed::Pool<Manager>;

/// Opens connections and judges those that come back.
pub(super) struct Manager {
    pub(super) connector: Connector,
    /// Connections of an earlier generation are out of date.
    generation: AtomicU64,
    /// Connections that were closed because they were stuck, broken or out of date.
    discarded: Counter,
}

/// A connection, with what decides whether it is used again.
pub(super) struct Connection {
    client: ClientWrapper,
    generation: u64,
    /// When PostgreSQL was last known to answer on it.
    answered: Instant,
}

impl managed::Manager for Manager {
    type Type = Connection;
    type Error = NoConnection;

    async fn create(&self) -> Result<Connection, NoConnection> {
        let generation = self.generation.load(Ordering::Acquire);
        // Its type would be named in that of every future that may come to this.
        let client = self.connector.open().boxed().await?;
        Ok(Connection { client, generation, answered: Instant::now() })
    }

    async fn recycle(&self, connection: &mut Connection, _: &Metrics) -> RecycleResult<NoConnection> {
        if connection.client.is_closed() || connection.generation != self.generation.load(Ordering::Acquire) {
            self.discarded.inc();
            return Err(RecycleError::message("closed, or out of date"));
        }
        Ok(())
    }
}

/// A pool that opens its first connection when it is first used.
pub(super) fn pool(settings: &DatabaseSettings, connector: Connector, discarded: Counter) -> Result<Pool, Error> {
    let manager = Manager { connector, generation: AtomicU64::new(0), discarded };
    Pool::builder(manager)
        .max_size(settings.database_pool_size as usize)
        // The one used last, whose server process has everything at hand still: taken by turns, each would find its caches cold.
        .queue_mode(QueueMode::Lifo)
        .runtime(Runtime::Tokio1)
        // A new connection has its own limit, which says why it was missed.
        .timeouts(Timeouts { wait: Some(settings.connect_timeout()), create: None, recycle: None })
        .build()
        .map_err(|error| Error::Settings(error.to_string()))
}

impl From<PoolError<NoConnection>> for Error {
    fn from(error: PoolError<NoConnection>) -> Self {
        match error {
            PoolError::Backend(none) => Self::Connect(none),
            PoolError::Timeout(_) | PoolError::Closed | PoolError::NoRuntimeSpecified | PoolError::PostCreateHook(_) => Self::Busy,
        }
    }
}

/// What becomes of a connection that is given back.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
enum Fate {
    /// Something may be under way: it is used again once PostgreSQL has answered that.
    Unsettled,
    /// Everything is answered: it is used again at once.
    Settled,
    /// It broke, and is closed.
    Lost,
    /// It missed a deadline: it is closed, and with it those that have not answered since it was asked.
    Late,
    /// It is out of date: it is closed, and all others that were opened before.
    Outdated,
}

impl Fate {
    const ALL: [Self; 5] = [Self::Unsettled, Self::Settled, Self::Lost, Self::Late, Self::Outdated];

    fn of(fate: &AtomicU8) -> Self {
        let number = fate.load(Ordering::Relaxed);
        Self::ALL.into_iter().find(|fate| *fate as u8 == number).unwrap_or(Self::Lost)
    }
}

/// A connection that a caller has for itself.
pub struct Client {
    /// None once it was given back.
    object: Option<Object<Manager>>,
    taken: Instant,
    /// How long an answer may take.
    limit: Duration,
    /// When all that is asked on it must have been answered. None: each question has its own limit.
    until: Option<Instant>,
    /// What is asked on it before it is used again, if something may be under way: nothing, or to roll back.
    last: &'static str,
    fate: AtomicU8,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client").field("fate", &Fate::of(&self.fate)).finish_non_exhaustive()
    }
}

impl Client {
    /// Takes a connection from the pool for several questions, each of which may take `limit`.
    pub(super) async fn take(pool: &Pool, limit: Duration) -> Result<Self, Error> {
        let object = pool.get().await?;
        Ok(Self { object: Some(object), taken: Instant::now(), limit, until: None, last: "", fate: AtomicU8::new(Fate::Unsettled as u8) })
    }

    /// Takes a connection from the pool for what must be answered by then.
    pub(super) async fn take_until(pool: &Pool, until: Instant, limit: Duration) -> Result<Self, Error> {
        let mut client = Self::take(pool, limit).await?;
        client.until = Some(until);
        Ok(client)
    }

    /// From now on each question has its own limit.
    pub(super) const fn keep(&mut self) {
        self.until = None;
    }

    /// Begins a transaction, which is rolled back unless it is committed.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn transaction(&mut self) -> Result<Work<'_>, Error> {
        let object = there(&mut self.object);
        let pool = Object::pool(object);
        Work::begin(&mut object.client, Notes { fate: &self.fate, pool }, self.limit).await
    }

    /// Looks at how something ended that was asked on it.
    pub(super) fn note<T>(&self, outcome: &Result<T, Error>) {
        if let Err(error) = outcome {
            let pool = self.object.as_ref().and_then(Object::pool);
            Notes { fate: &self.fate, pool }.note(error);
        }
    }

    /// Gives it back, after all that was asked on it has ended in this way.
    pub(super) fn conclude<T>(self, outcome: Result<T, Error>) -> Result<T, Error> {
        self.note(&outcome);
        if outcome.is_ok() {
            self.fate.store(Fate::Settled as u8, Ordering::Relaxed);
        }
        outcome
    }

    /// Whatever becomes of the transaction that is about to begin on it, it is not left open.
    pub(super) const fn will_be_rolled_back(&mut self) {
        self.last = "ROLLBACK";
    }

    /// Puts it back, has it settled, or closes it.
    fn give_back(&mut self) {
        let Some(mut object) = self.object.take() else { return };
        let now = Instant::now();
        let (since, left) = match self.until {
            Some(until) => (self.taken, until.saturating_duration_since(now)),
            None => (now, self.limit),
        };
        match Fate::of(&self.fate) {
            Fate::Settled => object.answered = now,
            Fate::Lost => close(object),
            Fate::Outdated => renew(object),
            Fate::Late => close_late(object, self.taken),
            Fate::Unsettled => match Handle::try_current() {
                Ok(runtime) if !left.is_zero() => drop(runtime.spawn(settle(object, self.last, since, left))),
                // It missed its deadline.
                _ => close_late(object, since),
            },
        }
    }
}

const GIVEN_BACK: &str = "a connection is given back at its end alone";

fn there(object: &mut Option<Object<Manager>>) -> &mut Object<Manager> {
    object.as_mut().expect(GIVEN_BACK)
}

impl Drop for Client {
    fn drop(&mut self) {
        self.give_back();
    }
}

impl Deref for Client {
    type Target = ClientWrapper;

    fn deref(&self) -> &ClientWrapper {
        &self.object.as_ref().expect(GIVEN_BACK).client
    }
}

impl DerefMut for Client {
    fn deref_mut(&mut self) -> &mut ClientWrapper {
        &mut there(&mut self.object).client
    }
}

/// What is written down of a connection while it is used.
pub(super) struct Notes<'a> {
    fate: &'a AtomicU8,
    pool: Option<Pool>,
}

impl Notes<'_> {
    /// Everything that was asked was answered.
    pub(super) fn settled(&self) {
        self.fate.store(Fate::Settled as u8, Ordering::Relaxed);
    }

    /// Something is asked.
    pub(super) fn asked(&self) {
        let asked = (Fate::Settled as u8, Fate::Unsettled as u8);
        let _ = self.fate.compare_exchange(asked.0, asked.1, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn note(&self, error: &Error) {
        let fate = match error {
            Error::Deadline => Fate::Late,
            Error::Query(query) => match verdict(query) {
                Verdict::Usable => Fate::Unsettled,
                Verdict::Lost => Fate::Lost,
                Verdict::Outdated => Fate::Outdated,
            },
            Error::Connect(_) | Error::Busy | Error::Record(_) | Error::Settings(_) => Fate::Unsettled,
        };
        if fate != Fate::Unsettled {
            self.fate.store(fate as u8, Ordering::Relaxed);
        }
        if let Some(pool) = &self.pool {
            pool.manager().connector.health.meets(error);
        }
    }
}

/// Waits until what is under way on a connection is answered, and puts it back. If that takes too long, closes it.
async fn settle(mut object: Object<Manager>, last: &'static str, since: Instant, left: Duration) {
    match timeout(left, object.client.simple_query(last)).await {
        Ok(Ok(_)) => object.answered = Instant::now(),
        Ok(Err(_)) => close(object),
        Err(_) => close_late(object, since),
    }
}

fn close(object: Object<Manager>) {
    if let Some(pool) = Object::pool(&object) {
        pool.manager().discarded.inc();
    }
    drop(Object::take(object));
}

/// Closes a connection that was asked then and has not answered in time, and the idle ones that have not answered since: whatever
/// it was that has stopped the one may have stopped them. Those that have answered meanwhile stay, as where one statement waits for a lock.
fn close_late(object: Object<Manager>, since: Instant) {
    let pool = Object::pool(&object);
    close(object);
    if let Some(pool) = pool {
        close_idle(&pool, |connection| connection.answered < since);
    }
}

/// Closes a connection that is out of date, and all that were opened before.
fn renew(object: Object<Manager>) {
    let (pool, generation) = (Object::pool(&object), object.generation);
    close(object);
    if let Some(pool) = pool {
        // Not those that were opened since another one was found out of date.
        let _ = pool.manager().generation.compare_exchange(generation, generation + 1, Ordering::AcqRel, Ordering::Relaxed);
        close_idle(&pool, |connection| connection.generation <= generation);
    }
}

fn close_idle(pool: &Pool, is_bad: impl Fn(&Connection) -> bool) {
    let closed = pool.retain(|connection, _| !is_bad(connection)).removed;
    pool.manager().discarded.inc_by(u64::try_from(closed.len()).unwrap_or(u64::MAX));
}
