//! Readiness, asked for at most once a second: `/ready/` must not be a way to load the servers
//! behind.

use std::time::Duration;

use tokio::{sync::Mutex, time::Instant};

/// How long what was found is told again.
const MAX_AGE: Duration = Duration::from_secs(1);

/// What a function needs and cannot reach, as it was a second ago at the most.
#[derive(Debug)]
pub(super) struct Readiness<F> {
    ask: F,
    /// Held by the one that asks; the others wait for its answer.
    last: Mutex<Option<(Instant, Vec<&'static str>)>>,
}

impl<F, R> Readiness<F>
where
    F: Fn() -> R,
    R: Future<Output = Vec<&'static str>>,
{
    pub(super) fn new(ask: F) -> Self {
        Self { ask, last: Mutex::default() }
    }

    /// Names what is down.
    pub(super) async fn down(&self) -> Vec<&'static str> {
        let mut last = self.last.lock().await;
        if let Some((at, down)) = &*last
            && at.elapsed() < MAX_AGE
        {
            return down.clone();
        }
        let down = (self.ask)().await;
        *last = Some((Instant::now(), down.clone()));
        down
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;
    use tokio::time::{advance, sleep};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn readiness_asked_often_asks_once_a_second() {
        let asked = AtomicUsize::new(0);
        let readiness = Readiness::new(async || {
            sleep(Duration::from_millis(100)).await;
            if asked.fetch_add(1, Ordering::Relaxed) == 0 { vec!["redis"] } else { Vec::new() }
        });
        let together = join_all((0..100).map(|_| readiness.down())).await;
        assert!(together.iter().all(|down| *down == ["redis"]));
        advance(Duration::from_millis(999)).await;
        assert_eq!(readiness.down().await, ["redis"]);
        assert_eq!(asked.load(Ordering::Relaxed), 1);
        advance(Duration::from_millis(1)).await;
        assert!(readiness.down().await.is_empty());
        assert_eq!(asked.load(Ordering::Relaxed), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn readiness_whose_caller_left_is_asked_again() {
        let asked = AtomicUsize::new(0);
        let readiness = Readiness::new(async || {
            if asked.fetch_add(1, Ordering::Relaxed) == 0 {
                std::future::pending::<()>().await;
            }
            Vec::new()
        });
        assert!(tokio::time::timeout(Duration::from_secs(5), readiness.down()).await.is_err());
        assert!(readiness.down().await.is_empty());
    }
}
