//! Batching: callers that come while a call is under way share the next one, as in the group commit of a database.
//!
//! A caller who comes alone is served alone and at once. Under load the servers behind see fewer, larger calls, and the
//! price of a call (a system call, a plan to start, a commit) is shared by everyone in it. So that it is, a batch goes out beside
//! another only when it is worth a call of its own; else it waits for the other's end, but never long: a call that hangs holds up
//! nobody else.

use std::{
    collections::HashMap,
    hash::Hash,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    sync::oneshot,
    time::{Instant, sleep_until},
};

use super::Error;

/// How long callers wait at the most for a batch under way where another may go out beside it.
const PATIENCE: Duration = Duration::from_millis(10);

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
    /// Fewest callers of a batch that goes out while another is under way, unless they have waited for long.
    const BESIDE: usize;

    /// Does it. An error is everybody's; outcomes come in the order of the items.
    fn run(&self, key: &Self::Key, items: Vec<Self::Item>) -> impl Future<Output = Result<Vec<Self::Outcome>, Error>> + Send;
}

type Caller<W> = (<W as Work>::Item, oneshot::Sender<Result<<W as Work>::Outcome, Error>>);

/// The callers of one key.
struct Lane<W: Work> {
    waiting: Vec<Caller<W>>,
    /// When the first of them came.
    since: Instant,
    under_way: usize,
    /// Whether somebody looks again whether they have waited for too long.
    is_watched: bool,
}

impl<W: Work> Default for Lane<W> {
    fn default() -> Self {
        Self { waiting: Vec::new(), since: Instant::now(), under_way: 0, is_watched: false }
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
        let (begin, watch) = {
            let mut lanes = self.0.lanes();
            let lane = lanes.entry(key.clone()).or_default();
            if lane.waiting.is_empty() {
                lane.since = Instant::now();
            }
            lane.waiting.push((item, answer));
            let begin = lane.under_way == 0 || (lane.under_way < W::ABREAST && lane.waiting.len() >= W::BESIDE);
            lane.under_way += usize::from(begin);
            let watch = !begin && lane.under_way < W::ABREAST && !lane.is_watched;
            lane.is_watched |= watch;
            (begin, watch)
        };
        if begin || watch {
            tokio::spawn(Arc::clone(&self.0).serve(key, begin));
        }
        outcome.await.unwrap_or_else(|_| Err(Error::Unexpected("a batch broke off".to_owned())))
    }
}

impl<W: Work> Shared<W> {
    fn lanes(&self) -> MutexGuard<'_, HashMap<W::Key, Lane<W>>> {
        // Nothing that may panic is done under the lock.
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves batch after batch, as one of those under way if it counts as such, until it is not needed.
    async fn serve(self: Arc<Self>, key: W::Key, mut is_under_way: bool) {
        loop {
            // Requests that are ready to be read go first, and may join.
            tokio::task::yield_now().await;
            match self.next(&key, is_under_way) {
                Next::Batch(callers) => {
                    is_under_way = true;
                    self.run(&key, callers).await;
                }
                Next::Later(until) => {
                    is_under_way = false;
                    sleep_until(until).await;
                }
                Next::Nothing => return,
            }
        }
    }

    async fn run(&self, key: &W::Key, callers: Vec<Caller<W>>) {
        let (items, answers): (Vec<_>, Vec<_>) = callers.into_iter().unzip();
        // A panic is a bug, and its callers are told so as their channels close; the lane goes on.
        match AssertUnwindSafe(self.work.run(key, items)).catch_unwind().await {
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

    /// What comes next for one who is under way, or who watches over those that wait.
    fn next(&self, key: &W::Key, is_under_way: bool) -> Next<W> {
        let mut lanes = self.lanes();
        let Some(lane) = lanes.get_mut(key) else { return Next::Nothing };
        let others = lane.under_way - usize::from(is_under_way);
        let until = lane.since + PATIENCE;
        let fewest = if others == 0 || until <= Instant::now() { 1 } else { W::BESIDE };
        lane.is_watched &= is_under_way;
        if others < W::ABREAST && lane.waiting.len() >= fewest {
            lane.under_way = others + 1;
            let size = lane.waiting.len().min(W::MOST);
            return Next::Batch(lane.waiting.drain(..size).collect());
        }
        lane.under_way = others;
        if lane.waiting.is_empty() || others == W::ABREAST || lane.is_watched {
            if lane.waiting.is_empty() && others == 0 {
                lanes.remove(key);
            }
            return Next::Nothing;
        }
        lane.is_watched = true;
        Next::Later(until)
    }
}

/// What one who serves a lane does next.
enum Next<W: Work> {
    /// Serve these.
    Batch(Vec<Caller<W>>),
    /// Look again then: those who wait are too few to go out beside another batch, unless that one takes long.
    Later(Instant),
    /// Nobody waits, or others look after them.
    Nothing,
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Doubles numbers, fails where a 13 is among them, and panics over a 14.
    struct Doubling(Arc<AtomicUsize>);

    impl Work for Doubling {
        type Key = u8;
        type Item = u32;
        type Outcome = u32;
        const MOST: usize = 8;
        const ABREAST: usize = 1;
        const BESIDE: usize = 1;

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

    /// Tells how many came together, once it may.
    struct Gate(Arc<Semaphore>);

    impl Work for Gate {
        type Key = ();
        type Item = ();
        type Outcome = usize;
        const MOST: usize = 8;
        const ABREAST: usize = 2;
        const BESIDE: usize = 3;

        async fn run(&self, (): &(), items: Vec<()>) -> Result<Vec<usize>, Error> {
            self.0.acquire().await.unwrap().forget();
            Ok(vec![items.len(); items.len()])
        }
    }

    impl Batcher<Gate> {
        /// Batches under way, and callers who wait.
        fn state(&self) -> (usize, usize) {
            self.0.lanes().get(&()).map_or((0, 0), |lane| (lane.under_way, lane.waiting.len()))
        }
    }

    #[tokio::test]
    async fn a_batch_goes_out_beside_another_only_when_it_is_worth_it_and_nobody_is_forgotten() {
        let gate = Arc::new(Semaphore::new(0));
        let batcher = Arc::new(Batcher::new(Gate(Arc::clone(&gate))));
        let come = async |callers: usize| {
            let asked = (0..callers).map(|_| {
                let batcher = Arc::clone(&batcher);
                tokio::spawn(async move { batcher.ask((), ()).await.unwrap() })
            });
            let asked: Vec<_> = asked.collect();
            for _ in 0..callers + 3 {
                tokio::task::yield_now().await;
            }
            asked
        };
        let first = come(1).await;
        let few = come(2).await;
        assert_eq!(batcher.state(), (1, 2), "two are not worth a call of their own");
        let third = come(1).await;
        let late = come(2).await;
        assert_eq!(batcher.state(), (2, 2));
        gate.add_permits(3);
        let sizes = futures_util::future::join_all(first.into_iter().chain(few).chain(third).chain(late)).await;
        assert_eq!(sizes.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 3, 3, 3, 2, 2]);
        tokio::task::yield_now().await;
        assert!(batcher.0.lanes().is_empty());
    }

    #[tokio::test]
    async fn few_who_wait_for_a_call_that_hangs_are_served_beside_it() {
        let gate = Arc::new(Semaphore::new(0));
        let batcher = Arc::new(Batcher::new(Gate(Arc::clone(&gate))));
        let come = |callers: usize| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { futures_util::future::join_all((0..callers).map(|_| batcher.ask((), ()))).await })
        };
        let hangs = come(1);
        while batcher.state() != (1, 0) {
            tokio::task::yield_now().await;
        }
        let both = come(2);
        while batcher.state() != (2, 0) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        gate.add_permits(2);
        let served = hangs.await.unwrap().into_iter().chain(both.await.unwrap());
        assert_eq!(served.map(Result::unwrap).collect::<Vec<_>>(), [1, 2, 2]);
        while !batcher.0.lanes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn few_who_are_left_over_when_one_of_two_calls_hangs_are_served_too() {
        let gate = Arc::new(Semaphore::new(0));
        let batcher = Arc::new(Batcher::new(Gate(Arc::clone(&gate))));
        let come = |callers: usize| {
            let batcher = Arc::clone(&batcher);
            tokio::spawn(async move { futures_util::future::join_all((0..callers).map(|_| batcher.ask((), ()))).await })
        };
        let until = async |state: (usize, usize)| {
            while batcher.state() != state {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        let one = come(1);
        until((1, 0)).await;
        let other = come(3);
        until((2, 0)).await;
        let late = come(1);
        until((2, 1)).await;
        // One call ends, and the other one hangs.
        gate.add_permits(1);
        until((2, 0)).await;
        gate.add_permits(2);
        for (callers, size) in [(one, 1), (other, 3), (late, 1)] {
            assert!(callers.await.unwrap().into_iter().all(|outcome| outcome.unwrap() == size));
        }
        while !batcher.0.lanes().is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
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
