//! What the sweep is promised to bear at its full size. `scripts/bench` runs these and judges their figures.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use platform::domain::Clock;
use testkit::{Customer, measured, policy};
use tokio::{task::JoinSet, time::sleep};

use crate::{
    rig::{self, Rig},
    scale::filled,
};

/// Clients that beat, and clients that take a seat and give it back, each after a moment's pause.
const BEATING: usize = 48;
const COMING: usize = 16;
const PAUSE: Duration = Duration::from_millis(20);

/// What was served, since it was last asked.
#[derive(Default)]
struct Served {
    beats: AtomicU64,
    seats: AtomicU64,
}

impl Served {
    /// Heartbeats and seats a second since `begun`; begins anew.
    fn rates(&self, begun: Instant) -> [f64; 2] {
        let seconds = begun.elapsed().as_secs_f64();
        [&self.beats, &self.seats].map(|count| f64::from(u32::try_from(count.swap(0, Ordering::SeqCst)).unwrap()) / seconds)
    }
}

/// Serves clients of a license until it is dropped, through an engine of its own.
async fn serve(rig: &Rig, customer: &Arc<Customer>) -> (Arc<Served>, JoinSet<()>) {
    let (served, mut clients) = (Arc::new(Served::default()), JoinSet::new());
    let context = rig.another();
    for number in 0..BEATING {
        let session = rig.seat(customer, &format!("beating-{number}")).await.session;
        let (served, context) = (Arc::clone(&served), context.clone());
        clients.spawn(async move {
            loop {
                context.engine.heartbeat(session).await.unwrap();
                served.beats.fetch_add(1, Ordering::SeqCst);
                sleep(PAUSE).await;
            }
        });
    }
    for number in 0..COMING {
        let (served, context, customer) = (Arc::clone(&served), context.clone(), Arc::clone(customer));
        clients.spawn(async move {
            loop {
                let seat = match rig::acquire(&context, &customer, &format!("coming-{number}")).await {
                    platform::seats::Acquired::Granted(seat) => seat,
                    other => panic!("no seat: {other:?}"),
                };
                served.seats.fetch_add(1, Ordering::SeqCst);
                context.engine.release(seat.session).await.unwrap();
                sleep(PAUSE).await;
            }
        });
    }
    (served, clients)
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of scripts/bench"]
async fn a_hundred_thousand_zombies_are_swept_while_clients_are_served() {
    let rig = Rig::new().await;
    filled(&rig, 100, 999).await;
    rig.clock.advance(Duration::from_secs(400));
    let customer = Arc::new(rig.database.customer(policy(100)).await);
    let (served, _clients) = serve(&rig, &customer).await;
    sleep(Duration::from_secs(2)).await;
    served.rates(Instant::now());
    let begun = Instant::now();
    sleep(Duration::from_secs(5)).await;
    let alone = served.rates(begun);

    let begun = Instant::now();
    let counts = rig.counts("sweep-sessions").await;
    let (took, beside) = (begun.elapsed(), served.rates(begun));
    assert_eq!(counts.iter().find(|(name, _)| *name == "expired"), Some(("expired", 100_000)));
    measured("sweep of 100,000 zombies", took.as_secs_f64(), "s", "<= 10", "clients are served meanwhile");
    for (name, alone, beside) in [("heartbeats", alone[0], beside[0]), ("seats", alone[1], beside[1])] {
        let detail = format!("{beside:.0}/s beside {alone:.0}/s");
        measured(&format!("{name} beside that sweep / alone"), beside / alone, "x", ">= 0.80", &detail);
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "a measurement of scripts/bench"]
async fn a_million_live_sessions_are_written_back() {
    let rig = Rig::new().await;
    filled(&rig, 200, 4999).await;
    for sql in ["UPDATE sessions SET expires_at = expires_at - interval '200 s'", "VACUUM ANALYZE sessions"] {
        rig.owner.batch_execute(sql).await.unwrap();
    }
    let begun = Instant::now();
    let counts = rig.counts("sweep-sessions").await;
    let took = begun.elapsed();
    assert_eq!(counts, [("renewed", 1_000_000), ("expired", 0), ("rebuilt", 0)].into());
    measured("write-back of 1,000,000 live sessions", took.as_secs_f64(), "s", "<= 60", "one sweep");
    let late = "SELECT count(*) FROM sessions WHERE expires_at <= $1";
    assert_eq!(rig.owner.query_one(late, &[&(rig.clock.now() + Duration::from_secs(350))]).await.unwrap().get::<_, i64>(0), 0);
}
