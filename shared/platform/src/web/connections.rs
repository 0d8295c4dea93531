//! How many connections are open, and which one is closed where there are too many.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};
use tokio::{
    sync::Notify,
    task::AbortHandle,
    time::{Instant, timeout},
};

use super::connection::Phase;

/// How often to look for one that has become idle.
const LOOK: Duration = Duration::from_millis(50);
/// How often to say that there is no room.
const TELL: Duration = Duration::from_secs(60);
/// How long nothing may come on a new connection before it makes room for another.
const SILENT_FOR: Duration = Duration::from_secs(1);

/// What is counted of connections.
#[derive(Clone, Debug, Default)]
pub(super) struct ConnectionMeter {
    /// Those that are open.
    open: Gauge,
    /// Those for which there was no room when they came.
    crowded: Counter,
}

impl ConnectionMeter {
    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register("coditect_http_connections", "Connections that are open", self.open.clone());
        let help = "Connections that came when as many were open as may be: an idle one was closed for them, or they waited";
        registry.register("coditect_http_connections_crowded", help, self.crowded.clone());
    }
}

/// The connections of one listener.
#[derive(Debug)]
pub(super) struct Connections {
    most: usize,
    meter: ConnectionMeter,
    open: Mutex<Open>,
    freed: Notify,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    known: HashMap<u64, Known>,
    /// When it was last said that there is no room.
    told: Option<Instant>,
}

/// A connection that is open.
#[derive(Debug)]
struct Known {
    phase: Arc<Phase>,
    since: Instant,
    /// What serves it, once that is known.
    task: Option<AbortHandle>,
}

impl Connections {
    pub(super) fn new(most: usize, meter: ConnectionMeter) -> Arc<Self> {
        Arc::new(Self { most, meter, open: Mutex::default(), freed: Notify::new() })
    }

    /// Waits until there is room for one more. If there is none, the one that has been idle for the
    /// longest time is closed; while none is idle, the new one waits. Before idle ones goes a
    /// connection on which nothing has come for a second: clients send as soon as they are connected.
    pub(super) async fn room(&self) {
        if !self.has_room() {
            self.meter.crowded.inc();
            self.warn();
        }
        while !self.has_room() {
            self.close_idle();
            let _ = timeout(LOOK, self.freed.notified()).await;
        }
    }

    /// Closes the connection that has been silent since it was opened, or idle, for the longest time, if any is.
    pub(super) fn close_idle(&self) {
        self.with(|open| {
            let silent = open.known.iter().filter(|(_, known)| known.phase.is_silent() && known.since.elapsed() >= SILENT_FOR);
            let silent = silent.min_by_key(|(number, _)| **number).map(|(_, known)| known);
            let idle = || open.known.values().filter_map(|known| Some((known.phase.idle_since()?, known)));
            let chosen = silent.or_else(|| idle().min_by_key(|(since, _)| *since).map(|(_, known)| known));
            if let Some(Known { phase, task: Some(task), .. }) = chosen
                && phase.close_if_idle()
            {
                task.abort();
            }
        });
    }

    /// Counts a connection until its slot is dropped.
    pub(super) fn add(self: &Arc<Self>, phase: &Arc<Phase>) -> Slot {
        let number = self.with(|open| {
            open.next += 1;
            open.known.insert(open.next, Known { phase: Arc::clone(phase), since: Instant::now(), task: None });
            open.next
        });
        self.meter.open.inc();
        Slot { connections: Arc::clone(self), number }
    }

    /// Tells which task serves a connection.
    pub(super) fn attend(&self, number: u64, task: AbortHandle) {
        self.with(|open| {
            if let Some(known) = open.known.get_mut(&number) {
                known.task = Some(task);
            }
        });
    }

    /// Says once a minute that there is no room.
    fn warn(&self) {
        let is_due = self.with(|open| {
            let is_due = open.told.is_none_or(|told| told.elapsed() > TELL);
            if is_due {
                open.told = Some(Instant::now());
            }
            is_due
        });
        if is_due {
            tracing::warn!(most = self.most, "as many connections are open as MAX_CONNECTIONS allows: idle ones are closed for new ones");
        }
    }

    fn has_room(&self) -> bool {
        self.with(|open| open.known.len() < self.most)
    }

    fn with<T>(&self, work: impl FnOnce(&mut Open) -> T) -> T {
        work(&mut self.open.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// The place of one connection among those that may be open.
#[derive(Debug)]
pub(super) struct Slot {
    connections: Arc<Connections>,
    number: u64,
}

impl Slot {
    pub(super) const fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.connections.with(|open| open.known.remove(&self.number));
        self.connections.meter.open.dec();
        self.connections.freed.notify_one();
    }
}
