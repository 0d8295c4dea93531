//! What time it is: by this machine, and by the platform.

use std::{
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

type WallClock = Box<dyn Fn() -> SystemTime + Send + Sync>;

/// The machine's clock, and a second one that nobody can turn: the time in the last lease that answered a nonce of ours, carried on by
/// the monotonic clock.
///
/// The second stands still while a machine sleeps, and the first can be turned. A lease is good if it holds by either.
pub(crate) struct Clock {
    wall: WallClock,
    proven: Mutex<Option<(SystemTime, Instant)>>,
}

impl Clock {
    pub(crate) fn new(wall: WallClock) -> Self {
        Self { wall, proven: Mutex::new(None) }
    }

    /// The machine's time.
    pub(crate) fn wall(&self) -> SystemTime {
        (self.wall)()
    }

    /// Every reading that a lease may be judged by, the machine's first.
    pub(crate) fn readings(&self) -> impl Iterator<Item = SystemTime> {
        [Some(self.wall()), self.proven_now()].into_iter().flatten()
    }

    /// Takes the platform's word for the time at which a call was made.
    pub(crate) fn prove(&self, moment: SystemTime, at: Instant) {
        *self.proven() = Some((moment, at));
    }

    fn proven_now(&self) -> Option<SystemTime> {
        self.proven().and_then(|(moment, at)| moment.checked_add(at.elapsed()))
    }

    fn proven(&self) -> MutexGuard<'_, Option<(SystemTime, Instant)>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Clock {
    #[expect(clippy::disallowed_methods, reason = "the one place where the machine is asked for the time")]
    fn default() -> Self {
        Self::new(Box::new(SystemTime::now))
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("proven", &self.proven).finish_non_exhaustive()
    }
}

/// Until when something holds: as the platform tells it, for people, and on this process's monotonic clock, for programs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadline {
    /// By the platform's clock.
    pub at: SystemTime,
    /// On the monotonic clock: nobody can turn it.
    pub instant: Instant,
}

impl Deadline {
    /// How long it is until then; zero once it has passed.
    #[must_use]
    pub fn left(&self) -> Duration {
        self.instant.saturating_duration_since(Instant::now())
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::UNIX_EPOCH};

    use super::*;

    #[test]
    fn a_clock_that_is_turned_leaves_the_proven_time_alone() {
        let wall = Arc::new(Mutex::new(UNIX_EPOCH + Duration::from_secs(1000)));
        let clock = Clock::new(Box::new({
            let wall = Arc::clone(&wall);
            move || *wall.lock().unwrap()
        }));
        assert_eq!(clock.readings().collect::<Vec<_>>(), [UNIX_EPOCH + Duration::from_secs(1000)]);
        clock.prove(UNIX_EPOCH + Duration::from_secs(1002), Instant::now());
        *wall.lock().unwrap() = UNIX_EPOCH + Duration::from_secs(10);
        let readings: Vec<_> = clock.readings().collect();
        assert_eq!(readings[0], UNIX_EPOCH + Duration::from_secs(10));
        assert!(readings[1] >= UNIX_EPOCH + Duration::from_secs(1002));
    }
}
