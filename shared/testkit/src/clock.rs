//! A clock that stands still until a test moves it.

use std::{
    sync::atomic::{AtomicI64, Ordering},
    time::Duration,
};

use platform::domain::{Clock, SystemClock, Timestamp, from_millis};

/// Stands still until it is moved.
#[derive(Debug)]
pub struct ManualClock(AtomicI64);

impl Default for ManualClock {
    fn default() -> Self {
        Self(AtomicI64::new(SystemClock.now().timestamp_millis()))
    }
}

impl ManualClock {
    /// One that stands at a moment.
    #[must_use]
    pub const fn at(moment: Timestamp) -> Self {
        Self(AtomicI64::new(moment.timestamp_millis()))
    }

    /// Sets it, forward or back.
    pub fn set(&self, moment: Timestamp) {
        self.0.store(moment.timestamp_millis(), Ordering::SeqCst);
    }

    /// Moves it forward.
    ///
    /// # Panics
    /// If it is moved by more than an age.
    pub fn advance(&self, by: Duration) {
        self.0.fetch_add(i64::try_from(by.as_millis()).expect("a test moves time by less than an age"), Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        from_millis(self.0.load(Ordering::SeqCst))
    }
}
