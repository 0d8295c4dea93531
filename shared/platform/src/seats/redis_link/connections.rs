//! Keeps two connections to Redis: calls go to one of them, and the other is there if it fails.
//!
//! | what a call finds | what becomes of the connection |
//! |---|---|
//! | an answer | nothing |
//! | no answer by the deadline, or for half of [`SILENCE`] | calls go to the other one, and both are asked for a sign of life; a connection that misses this deadline too is replaced |
//! | the connection has closed or failed | it is replaced |
//! | an answer that [leads elsewhere](fault::leads_elsewhere) | it serves until another one is open |
//!
//! Calls under way on a connection that is replaced keep it until their own deadlines: so a server
//! that is only slow loses none of them.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use redis::{Arg, Cmd, RedisError, RedisResult, Value, cmd};
use tokio::{sync::watch, time::timeout};

use super::{
    SILENCE, fault, keeper,
    meter::Meter,
    opener::{Opener, Socket},
};
use crate::domain::UnreadyReason;

/// How many connections a process has.
pub(super) const CONNECTIONS: usize = 2;

/// The connections of one process to one Redis.
pub(super) struct Connections {
    pub(super) opener: Opener,
    /// Where Redis is, for the log.
    pub(super) server: String,
    /// How long a call waits for a connection.
    patience: Duration,
    /// How long a call waits for its answer before the connection is doubted, and how long after.
    deadline: (Duration, Duration),
    state: watch::Sender<State>,
    has_begun: AtomicBool,
    pub(super) meter: Meter,
}

/// One connection.
pub(super) struct Connection {
    slot: usize,
    pub(super) socket: Socket,
    answered: AtomicU64,
    /// It is being asked for a sign of life.
    is_probed: AtomicBool,
    /// Another one is to replace it.
    is_leaving: AtomicBool,
}

#[derive(Default)]
pub(super) struct State {
    slots: [Slot; CONNECTIONS],
    /// The slot that calls go to.
    chosen: usize,
    /// Attempts to connect that have begun.
    attempts: u64,
    /// The latest attempt, if it failed.
    failure: Option<Failure>,
    /// What the log was told last. `None`: that Redis can be used.
    told: Option<UnreadyReason>,
}

#[derive(Default)]
struct Slot {
    connection: Option<Arc<Connection>>,
    /// A call has missed its deadline, and no call was answered since.
    is_suspect: bool,
}

struct Failure {
    attempt: u64,
    error: RedisError,
}

impl Slot {
    fn holds(&self, connection: &Arc<Connection>) -> bool {
        self.connection.as_ref().is_some_and(|held| Arc::ptr_eq(held, connection))
    }

    fn is_good(&self) -> bool {
        !self.is_suspect && self.connection.as_ref().is_some_and(|connection| !connection.is_leaving())
    }
}

impl State {
    fn is_good(&self) -> bool {
        self.slots.iter().any(Slot::is_good)
    }

    fn current(&self) -> Option<&Arc<Connection>> {
        self.slots[self.chosen].connection.as_ref()
    }

    /// Whether a slot waits for a connection.
    pub(super) fn needs_another(&self, slot: usize) -> bool {
        self.slots[slot].connection.as_ref().is_none_or(|connection| connection.is_leaving())
    }

    /// Chooses the slot that calls go to: it stays while it is good.
    fn choose(&mut self) {
        if self.slots[self.chosen].is_good() {
            return;
        }
        let good = self.slots.iter().position(Slot::is_good);
        let open = || self.slots.iter().position(|slot| slot.connection.is_some());
        if let Some(slot) = good {
            self.chosen = slot;
        } else if self.current().is_none() {
            self.chosen = open().unwrap_or(self.chosen);
        }
    }

    /// Whether the log is to be told that Redis cannot be used.
    fn is_news(&mut self, reason: UnreadyReason) -> bool {
        !self.is_good() && self.told.replace(reason) != Some(reason)
    }
}

impl Connection {
    pub(super) fn answered(&self) -> u64 {
        self.answered.load(Ordering::Relaxed)
    }

    fn is_leaving(&self) -> bool {
        self.is_leaving.load(Ordering::Relaxed)
    }
}

impl Connections {
    pub(super) fn new(opener: Opener, server: String, timeout: Duration) -> Self {
        let doubt = timeout.min(SILENCE / 2);
        // A cluster's connection may find that a slot has moved, and asks again.
        let deadline = if opener.is_cluster() { timeout * 2 } else { timeout };
        Self {
            opener,
            server,
            patience: timeout,
            deadline: (doubt, deadline.saturating_sub(doubt)),
            state: watch::Sender::default(),
            has_begun: AtomicBool::new(false),
            meter: Meter::default(),
        }
    }

    pub(super) const fn is_cluster(&self) -> bool {
        self.opener.is_cluster()
    }

    /// Sends one command and returns its answer; an answer that is an error is an error.
    pub(super) async fn send(self: &Arc<Self>, command: &Cmd) -> RedisResult<Value> {
        let current = self.state.borrow().current().cloned();
        let connection = match current {
            Some(connection) => connection,
            None => Box::pin(self.wait()).await?,
        };
        let mut call = std::pin::pin!(connection.socket.request(command));
        let answer = if let Ok(answer) = timeout(self.deadline.0, call.as_mut()).await {
            answer
        } else {
            self.doubt(&connection, command);
            timeout(self.deadline.1, call).await.unwrap_or_else(|_| Err(fault::timed_out("answer")))
        };
        match &answer {
            Ok(_) => {
                connection.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.heed(&connection, error),
        }
        answer
    }

    /// Waits for a connection. Fails promptly where a server says no, and else with an attempt that
    /// began after the call came.
    #[cold]
    async fn wait(self: &Arc<Self>) -> RedisResult<Arc<Connection>> {
        if !self.has_begun.swap(true, Ordering::AcqRel) {
            for slot in 0..CONNECTIONS {
                tokio::spawn(keeper::keep(Arc::downgrade(self), slot));
            }
        }
        let mut changes = self.state.subscribe();
        let before = self.state.borrow().attempts;
        let is_over = |failure: &Failure| failure.attempt > before || fault::reason(&failure.error) != UnreadyReason::Unreachable;
        let found = changes.wait_for(|state| state.current().is_some() || state.failure.as_ref().is_some_and(is_over));
        let found = timeout(self.patience, found).await;
        let none = || fault::timed_out("connection");
        let state = found.map_err(|_| none())?.map_err(|_| none())?;
        match (state.current(), &state.failure) {
            (Some(connection), _) => Ok(Arc::clone(connection)),
            (None, Some(failure)) => Err(failure.error.clone()),
            (None, None) => Err(none()),
        }
    }

    /// Takes note of an error.
    fn heed(&self, connection: &Arc<Connection>, error: &RedisError) {
        if fault::leads_elsewhere(error) {
            self.leave(connection, error);
        } else if !self.is_cluster() && fault::is_of_connection(error) && !error.is_timeout() {
            // A cluster's connection replaces those to its nodes by itself.
            self.remove(connection, error);
        }
    }

    /// Has another connection opened in the place of one that still answers.
    fn leave(&self, connection: &Arc<Connection>, error: &RedisError) {
        if connection.is_leaving.swap(true, Ordering::Relaxed) {
            return;
        }
        // The others lead to the same server.
        let is_news = self.change(|state| {
            for other in state.slots.iter().filter_map(|slot| slot.connection.as_ref()) {
                other.is_leaving.store(true, Ordering::Relaxed);
            }
            state.is_news(fault::reason(error))
        });
        if is_news {
            self.warn(error);
        }
    }

    /// Takes a connection out that no longer answers.
    fn remove(&self, connection: &Arc<Connection>, error: &RedisError) {
        let (was_there, is_news) = self.change(|state| {
            let slot = &mut state.slots[connection.slot];
            let was_there = slot.holds(connection);
            if was_there {
                *slot = Slot::default();
            }
            (was_there, was_there && state.is_news(fault::reason(error)))
        });
        if was_there {
            self.meter.replaced.inc();
            tracing::info!(server = %self.server, error = fault::words(error), "a connection to Redis is replaced");
        }
        if is_news {
            self.warn(error);
        }
    }

    /// Has calls go to the other connection, and asks both for a sign of life.
    #[cold]
    fn doubt(self: &Arc<Self>, connection: &Arc<Connection>, command: &Cmd) {
        if connection.is_probed.load(Ordering::Acquire) {
            return;
        }
        self.set_suspect(connection, true);
        let call = sign_of_life(command, self.is_cluster());
        let others: Vec<_> = self.state.borrow().slots.iter().filter_map(|slot| slot.connection.clone()).collect();
        for other in others {
            // A missed deadline is behind the doubted one.
            let deadlines = if Arc::ptr_eq(&other, connection) { 1 } else { 2 };
            self.probe(&other, call.clone(), deadlines);
        }
    }

    /// Asks a connection for a sign of life. It is replaced if it misses so many deadlines in a row.
    fn probe(self: &Arc<Self>, connection: &Arc<Connection>, call: Cmd, deadlines: usize) {
        if connection.is_probed.swap(true, Ordering::AcqRel) {
            return;
        }
        let (this, connection) = (Arc::clone(self), Arc::clone(connection));
        tokio::spawn(async move {
            for _ in 0..deadlines {
                let before = connection.answered();
                let answer = timeout(this.deadline.0, connection.socket.request(&call)).await;
                if let Ok(Err(error)) = &answer {
                    this.heed(&connection, error);
                }
                // One server answers in order: whatever it answers is a sign of life.
                if answer.is_ok() || (!this.is_cluster() && connection.answered() != before) {
                    this.set_suspect(&connection, false);
                    connection.is_probed.store(false, Ordering::Release);
                    return;
                }
                this.set_suspect(&connection, true);
            }
            this.remove(&connection, &fault::timed_out("answer"));
        });
    }

    /// Asks a connection for a sign of life if nothing was answered on it since it was looked at
    /// last. Returns what has been answered by now.
    pub(super) fn probe_if_idle(self: &Arc<Self>, slot: usize, answered: u64) -> u64 {
        let connection = self.state.borrow().slots[slot].connection.clone();
        let Some(connection) = connection else { return 0 };
        if connection.answered() == answered {
            self.probe(&connection, cmd("PING"), 2);
        }
        connection.answered()
    }

    fn set_suspect(&self, connection: &Arc<Connection>, is_suspect: bool) {
        self.change(|state| {
            let slot = &mut state.slots[connection.slot];
            slot.is_suspect = if slot.holds(connection) { is_suspect } else { slot.is_suspect };
        });
    }

    /// Counts an attempt to connect, and returns its number.
    pub(super) fn begin_attempt(&self) -> u64 {
        self.change(|state| {
            state.attempts += 1;
            state.attempts
        })
    }

    /// Puts a new connection in its slot, and returns what tells of changes.
    pub(super) fn publish(&self, slot: usize, socket: Socket) -> watch::Receiver<State> {
        let connection =
            Connection { slot, socket, answered: AtomicU64::new(0), is_probed: AtomicBool::new(false), is_leaving: AtomicBool::new(false) };
        // A cluster's connection may be open although some primary still refuses.
        let is_proof = |told| !self.is_cluster() || told == UnreadyReason::Unreachable;
        let is_news = self.change(|state| {
            state.slots[slot] = Slot { connection: Some(Arc::new(connection)), is_suspect: false };
            state.failure = None;
            state.told.take_if(|told| is_proof(*told)).is_some()
        });
        if is_news {
            self.say_good();
        }
        self.state.subscribe()
    }

    /// Takes note of an attempt to connect that has failed.
    pub(super) fn fail(&self, attempt: u64, error: &RedisError) {
        let is_news = self.change(|state| {
            state.failure = Some(Failure { attempt, error: error.clone() });
            state.is_news(fault::reason(error))
        });
        if is_news {
            self.warn(error);
        }
    }

    /// Takes note of what a look at every primary has found.
    pub(super) fn note(&self, outcome: &RedisResult<()>) {
        match outcome {
            Ok(()) => {
                if self.change(|state| state.told.take()).is_some() {
                    self.say_good();
                }
            }
            Err(error) => {
                let reason = fault::reason(error);
                if self.change(|state| state.told.replace(reason)) != Some(reason) {
                    self.warn(error);
                }
            }
        }
    }

    fn change<T: Default>(&self, change: impl FnOnce(&mut State) -> T) -> T {
        let mut outcome = T::default();
        self.state.send_modify(|state| {
            outcome = change(state);
            state.choose();
        });
        outcome
    }

    fn warn(&self, error: &RedisError) {
        let (reason, error) = (fault::reason(error).as_str(), fault::words(error));
        tracing::warn!(server = %self.server, reason, error, "Redis cannot be used");
    }

    fn say_good(&self) {
        tracing::info!(server = %self.server, "Redis can be used again");
    }

    /// Returns what is open in a slot.
    pub(super) fn socket(&self, slot: usize) -> Option<Socket> {
        self.state.borrow().slots[slot].connection.as_ref().map(|connection| connection.socket.clone())
    }

    /// How long a call may take that nobody waits for.
    pub(super) const fn short(&self) -> Duration {
        self.deadline.0
    }
}

/// Returns a call that takes no time, and goes to the same node of a cluster as `command`.
fn sign_of_life(command: &Cmd, is_cluster: bool) -> Cmd {
    let mut arguments = command.args_iter().filter_map(|argument| match argument {
        Arg::Simple(bytes) => Some(bytes),
        _ => None,
    });
    let key = match arguments.next() {
        Some(b"EVALSHA" | b"EVAL") => arguments.nth(2),
        Some(b"EXISTS" | b"SET" | b"DEL") => arguments.next(),
        _ => None,
    };
    let mut call = cmd("PING");
    if let Some(key) = key.filter(|_| is_cluster) {
        call = cmd("EXISTS");
        call.arg(key);
    }
    call
}
