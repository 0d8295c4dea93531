//! Keeps one slot filled: opens a connection, and another one whenever that one has gone.

use std::{sync::Weak, time::Duration};

use tokio::time::{Instant, sleep, timeout};

use super::{
    connections::Connections,
    fault,
    opener::Socket,
    primaries::{NO_EVICTION, eviction_policy},
};
use crate::domain::UnreadyReason;

/// How long to wait after the first attempt that failed. Each further wait is twice as long.
const FIRST_DELAY: Duration = Duration::from_millis(20);
/// The longest wait while nothing answers: calls wait for the next attempt.
const MOST_UNREACHABLE: Duration = Duration::from_millis(250);
/// The longest wait while a server answers and says no.
const MOST_REFUSED: Duration = Duration::from_secs(2);
/// How long a connection must have lasted to be replaced at once.
const LASTED: Duration = Duration::from_secs(5);
/// How often an idle connection is asked for a sign of life.
const IDLE: Duration = Duration::from_secs(10);
/// How often the eviction policy is read.
const POLICY_AGE: Duration = Duration::from_secs(3600);

/// Keeps a slot filled for as long as there is somebody who may call.
pub(super) async fn keep(connections: Weak<Connections>, slot: usize) {
    let mut policy = Policy::default();
    let mut delay = FIRST_DELAY;
    loop {
        let Some(this) = connections.upgrade() else { return };
        let attempt = this.begin_attempt();
        let socket = match this.opener.open().await {
            Ok(socket) => socket,
            Err(error) => {
                this.fail(attempt, &error);
                drop(this);
                sleep(delay).await;
                let is_silent = fault::reason(&error) == UnreadyReason::Unreachable;
                delay = (delay * 2).min(if is_silent { MOST_UNREACHABLE } else { MOST_REFUSED });
                continue;
            }
        };
        let begun = Instant::now();
        let mut changes = this.publish(slot, socket.clone());
        let mut answered = 0;
        // One of the slots looks for all of them.
        if slot == 0 {
            policy.look(&this, &socket).await;
        }
        // From here on only calls under way, and the slot, keep it open.
        drop((this, socket));
        loop {
            let gone = timeout(IDLE, changes.wait_for(|state| state.needs_another(slot))).await.map(|gone| gone.is_ok());
            match gone {
                Ok(true) => break,
                Ok(false) => return,
                Err(_) => {}
            }
            let Some(this) = connections.upgrade() else { return };
            answered = this.probe_if_idle(slot, answered);
            if slot == 0
                && let Some(socket) = this.socket(slot)
            {
                policy.look(&this, &socket).await;
            }
        }
        if begun.elapsed() >= LASTED {
            delay = FIRST_DELAY;
        } else {
            sleep(delay).await;
            delay = (delay * 2).min(MOST_REFUSED);
        }
    }
}

/// The eviction policy as it was last read.
#[derive(Default)]
struct Policy {
    read_at: Option<Instant>,
    last: Option<String>,
}

impl Policy {
    /// Reads it if it is old. Warns once for each policy under which Redis loses sessions.
    async fn look(&mut self, connections: &Connections, socket: &Socket) {
        if self.read_at.is_some_and(|at| at.elapsed() < POLICY_AGE) {
            return;
        }
        let Ok(policy) = timeout(connections.short(), eviction_policy(socket)).await else { return };
        self.read_at = Some(Instant::now());
        let Some(policy) = policy else { return };
        let evicts = policy != NO_EVICTION;
        connections.meter.evicts.set(i64::from(evicts));
        if evicts && self.last.as_ref() != Some(&policy) {
            let server = &connections.server;
            tracing::warn!(%server, policy, "Redis evicts sessions when it is full: set its maxmemory-policy to noeviction");
        }
        self.last = Some(policy);
    }
}
