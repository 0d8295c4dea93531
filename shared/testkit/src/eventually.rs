//! Waits for events instead of sleeping. The time limit is a hang guard: it judges no speed.

use std::time::{Duration, Instant};

/// How long a test waits for an event before it fails. No test measures time against it.
pub const HANG_GUARD: Duration = Duration::from_secs(600);

/// How often a condition is checked.
const INTERVAL: Duration = Duration::from_millis(10);

/// Checks a condition until it is true.
///
/// # Panics
/// If it is still false after [`HANG_GUARD`].
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    eventually_some(what, async || condition().await.then_some(())).await;
}

/// Checks a condition that needs no waiting until it is true: for tasks, whose futures must be `Send`.
///
/// # Panics
/// If it is still false after [`HANG_GUARD`].
pub async fn eventually_is(what: &str, mut condition: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !condition() {
        assert!(begun.elapsed() < HANG_GUARD, "still not: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Calls a function until it returns a value.
///
/// # Panics
/// If it has returned none after [`HANG_GUARD`].
pub async fn eventually_some<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let begun = Instant::now();
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(begun.elapsed() < HANG_GUARD, "still not: {what}");
        tokio::time::sleep(INTERVAL).await;
    }
}

/// Waits for a future that must complete, such as the end of a process or the next line of its output.
///
/// # Panics
/// If it has not completed after [`HANG_GUARD`].
pub async fn must_complete<T>(what: &str, work: impl Future<Output = T>) -> T {
    let Ok(result) = tokio::time::timeout(HANG_GUARD, work).await else { panic!("still not: {what}") };
    result
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn eventually_checks_until_the_condition_is_true() {
        let mut checks = 0;
        eventually("the third check", async || {
            checks += 1;
            checks == 3
        })
        .await;
        assert_eq!(checks, 3);
        let mut values = [None, Some("value")].into_iter();
        assert_eq!(eventually_some("a value", async || values.next().flatten()).await, "value");
        eventually_is("what is so", || true).await;
        assert_eq!(must_complete("a future that is ready", async { 7 }).await, 7);
    }
}
