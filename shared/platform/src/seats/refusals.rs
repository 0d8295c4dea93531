//! Refusals that a process remembers, so that a caller beyond its limit costs no call until it may
//! come again.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use crate::domain::{Allowance, Clock, Timestamp};

/// How many are kept; some hundred bytes each.
const CAPACITY: usize = 10_000;

/// What Redis has refused, by the key under which it counts. A refusal changes nothing in Redis, so
/// what it said holds until the caller's retry delay is over.
#[derive(Debug)]
pub(super) struct Refusals {
    clock: Arc<dyn Clock>,
    known: Mutex<HashMap<String, (Timestamp, Allowance)>>,
}

impl Refusals {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { clock, known: Mutex::default() }
    }

    /// What is left to a caller that may not come again yet.
    pub(super) fn find(&self, key: &str) -> Option<Allowance> {
        self.with(|known| {
            // Nearly always: then the clock need not be asked.
            let (at, allowance) = known.get(key)?;
            remaining(*at, *allowance, self.clock.now())
        })
    }

    pub(super) fn keep(&self, key: &str, allowance: Allowance) {
        let now = self.clock.now();
        self.with(|known| {
            if known.len() >= CAPACITY {
                known.retain(|_, (at, allowance)| remaining(*at, *allowance, now).is_some());
                if known.len() >= CAPACITY {
                    known.clear();
                }
            }
            known.insert(key.to_owned(), (now, allowance));
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<String, (Timestamp, Allowance)>) -> T) -> T {
        work(&mut self.known.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn remaining(at: Timestamp, allowance: Allowance, now: Timestamp) -> Option<Allowance> {
    // A clock that was set back refuses nobody for longer.
    let passed = (now - at).num_microseconds().and_then(|passed| u64::try_from(passed).ok())?;
    allowance.after(passed).filter(|allowance| allowance.is_spent())
}
