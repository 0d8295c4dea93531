//! How long to try, and how often.

use std::time::{Duration, Instant};

use crate::{Error, random, wire::Failure};

const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// Pauses that double up to a limit, each shortened by chance, so that clients who failed together do not come back together.
#[derive(Debug)]
pub(crate) struct Backoff {
    next: Duration,
    most: Duration,
}

impl Backoff {
    pub(crate) fn up_to(most: Duration) -> Self {
        Self { next: FIRST_PAUSE.min(most), most }
    }

    /// The next pause. What the platform asks for is the least, with a little jitter upon it.
    pub(crate) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.most);
        random::between(pause / 2, pause) + asked.unwrap_or_default()
    }
}

/// Tries of one operation, up to a moment.
#[derive(Debug)]
pub(crate) struct Patience {
    whole: Duration,
    ends: Instant,
    backoff: Backoff,
}

impl Patience {
    const LONGEST_PAUSE: Duration = Duration::from_secs(5);

    pub(crate) fn of(patience: Duration) -> Self {
        Self { whole: patience, ends: Instant::now() + patience, backoff: Backoff::up_to(Self::LONGEST_PAUSE) }
    }

    pub(crate) fn left(&self) -> Duration {
        self.ends.saturating_duration_since(Instant::now())
    }

    /// Waits before the next try; an error if the failure will not pass, or not in time.
    pub(crate) async fn pause(&mut self, failure: Failure) -> Result<(), Error> {
        if !failure.may_pass() {
            return Err(failure.into());
        }
        let pause = self.backoff.pause(failure.retry_after());
        if pause >= self.left() {
            return Err(match failure.unreachable() {
                Error::Unreachable { why, status, retry_after: Some(asked) } if asked >= self.left() => {
                    let why = format!("{why}, which is longer than the patience ({} s)", self.whole.as_secs());
                    Error::Unreachable { why, status, retry_after: Some(asked) }
                }
                error => error,
            });
        }
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_their_limit_and_never_undercut_what_was_asked() {
        let mut backoff = Backoff::up_to(Duration::from_secs(1));
        for most in [200, 400, 800, 1000, 1000] {
            let most = Duration::from_millis(most);
            let pause = backoff.pause(None);
            assert!(most / 2 <= pause && pause <= most, "{pause:?} of {most:?}");
        }
        assert!(backoff.pause(Some(Duration::from_secs(7))) >= Duration::from_secs(7));
    }
}
