//! Batching: callers that come while a call is under way share the next one, as in the group commit of a database.
//!
//! A caller who comes alone is served alone and at once. Under load the servers behind see fewer, larger calls, and the
//! price of a call (a system call, a plan to start, a commit) is shared by everyone in it.

use std::{
    collections::HashMap,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::FutureExt;
use tokio::sync::oneshot;

use super::Error;

/// What is done in batches.
pub(super) trait Work: Send + Sync + 'static {
    /// What the calls of one batch have in common.
    type Key: Clone + Eq + Hash + Send + Sync;
    /// One caller's part.
    type Item: Send;
    /// What one caller is told.
    type Outcome: Send;

    /// Most callers in one batch.
    const MOST: usize;
    /// Batches of one key under way at the same time.
    const ABREAST: usize;

    /// Does it. An error is everybody's; outcomes come in the order of the items.
    fn run(&self, key: &Self::Key, items: Vec<Self::Item>) -> impl Future<Output = Result<Vec<Self::Outcome>, Error>> + Send;
}

type Caller<W> = (<W as Work>::Item, oneshot::Sender<Result<<W as Work>::Outcome, Error>>);

/// The callers of one key.
struct Lane<W: Work> {
    waiting: Vec<Caller<W>>,
    under_way: usize,
}

impl<W: Work> Default for Lane<W> {
    fn default() -> Self {
        Self { waiting: Vec::new(), under_way: 0 }
    }
}

/// Gathers callers into batches. Cheap to clone.
pub(super) struct Batcher<W: Work>(Arc<Shared<W>>);

struct Shared<W: Work> {
    work: W,
    /// Locked for moments only; lanes where nothing happens are taken out.
    lanes: Mutex<HashMap<W::Key, Lane<W>>>,
}

impl<W: Work> std::fmt::Debug for Batcher<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Batcher")
    }
}

impl<W: Work> Batcher<W> {
    pub(super) fn new(work: W) -> Self {
        Self(Arc::new(Shared { work, lanes: Mutex::default() }))
    }

    /// Has one thing done. It is done even if the caller goes away.
    pub(super) async fn ask(&self, key: W::Key, item: W::Item) -> Result<W::Outcome, Error> {
        let (answer, outcome) = oneshot::channel();
        let begin = {
            let mut lanes = self.0.lanes();
            let lane = lanes.entry(key.clone()).or_default();
            lane.waiting.push((item, answer));
            let begin = lane.under_way < W::ABREAST;
            lane.under_way += usize::from(begin);
            begin
        };
        if begin {
            tokio::spawn(Arc::clone(&self.0).drain(key));
        }
        outcome.await.unwrap_or_else(|_| Err(Error::Unexpected("a batch broke off".to_owned())))
    }
}

impl<W: Work> Shared<W> {
    fn lanes(&self) -> MutexGuard<'_, HashMap<W::Key, Lane<W>>> {
        // Nothing that may panic is done under the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves batch after batch until nobody waits.
    async fn drain(self: Arc<Self>, key: W::Key) {
        loop {
            // Requests that are ready to be read go first, and may join.
            tokio::task::yield_now().await;
            let Some(callers) = self.next(&key) else { return };
            let (items, answers): (Vec<_>, Vec<_>) = callers.into_iter().unzip();
            // A panic is a bug, and its callers are told so as their channels close; the lane goes on.
            match AssertUnwindSafe(self.work.run(&key, items)).catch_unwind().await {
                Ok(Ok(outcomes)) => {
                    for (answer, outcome) in answers.into_iter().zip(outcomes) {
                        // Whoever has gone away need not know.
                        let _ = answer.send(Ok(outcome));
                    }
                }
                Ok(Err(error)) => {
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                }
                Err(_) => drop(answers),
            }
        }
    }

    /// The next batch. None: nobody waits, and this drain is at its end.
    fn next(&self, key: &W::Key) -> Option<Vec<Caller<W>>> {
        let mut lanes = self.lanes();
        let lane = lanes.get_mut(key)?;
        if lane.waiting.is_empty() {
            lane.under_way -= 1;
            if lane.under_way == 0 {
                lanes.remove(key);
            }
            return None;
        }
        let size = lane.waiting.len().min(W::MOST);
        Some(lane.waiting.drain(..size).collect())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    /// Doubles numbers, fails where a 13 is among them, and panics over a 14.
    struct Doubling(Arc<AtomicUsize>);

    impl Work for Doubling {
        type Key = u8;
        type Item = u32;
        type Outcome = u32;
        const MOST: usize = 8;
        const ABREAST: usize = 1;

        async fn run(&self, _: &u8, items: Vec<u32>) -> Result<Vec<u32>, Error> {
            self.0.fetch_add(1, Ordering::Relaxed);
            assert!(items.len() <= Self::MOST && !items.contains(&14));
            tokio::task::yield_now().await;
            if items.contains(&13) { Err(Error::Unexpected("13".to_owned())) } else { Ok(items.iter().map(|n| 2 * n).collect()) }
        }
    }

    #[tokio::test]
    async fn callers_share_batches_and_each_gets_its_own_answer() {
        let runs = Arc::new(AtomicUsize::new(0));
        let batcher = Batcher::new(Doubling(Arc::clone(&runs)));
        let answers = futures_util::future::join_all((100..140).map(|n| batcher.ask(1, n))).await;
        assert!(answers.into_iter().zip(100..).all(|(answer, n)| answer.unwrap() == 2 * n));
        assert_eq!(runs.load(Ordering::Relaxed), 5);
        tokio::task::yield_now().await;
        assert!(batcher.0.lanes().is_empty(), "nobody waits, nothing is kept");
    }

    #[tokio::test]
    async fn a_failed_batch_is_told_to_all_in_it_and_the_next_goes_on() {
        let batcher = Batcher::new(Doubling(Arc::default()));
        for bad in [13, 14] {
            let (one, other, elsewhere) = tokio::join!(batcher.ask(1, bad), batcher.ask(1, 5), batcher.ask(2, 5));
            assert!(one.is_err() && other.is_err());
            assert_eq!(elsewhere.unwrap(), 10);
            assert_eq!(batcher.ask(1, 5).await.unwrap(), 10);
        }
    }
}
