//! A bounded rate: jobs that go through everything leave most of the servers to those who wait for an answer.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Lets so many items a second pass. What was slow is not made up for.
#[derive(Debug)]
pub(crate) struct Pace {
    for_each: Duration,
    next: Instant,
}

impl Pace {
    pub(crate) fn per_second(items: u32) -> Self {
        Self { for_each: Duration::from_secs(1) / items.max(1), next: Instant::now() }
    }

    /// Waits until so many items more may be dealt with.
    pub(crate) async fn wait_for(&mut self, items: usize) {
        sleep_until(self.next).await;
        self.next = self.next.max(Instant::now()) + self.for_each * u32::try_from(items).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn items_pass_at_their_rate_and_time_that_was_lost_is_not_made_up_for() {
        let (begun, mut pace) = (Instant::now(), Pace::per_second(100));
        let mut at = async |items| {
            pace.wait_for(items).await;
            begun.elapsed().as_millis()
        };
        assert_eq!((at(50).await, at(50).await, at(1).await), (0, 500, 1000));
        tokio::time::advance(Duration::from_secs(9)).await;
        assert_eq!((at(100).await, at(1).await), (10_000, 11_000));
    }
}
