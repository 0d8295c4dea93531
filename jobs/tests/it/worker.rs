//! The worker against Google's in-memory Pub/Sub.

use std::{
    process::Stdio,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::FutureExt;
use jobs::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    pubsub::PubSubSettings,
    schedule::Schedule,
    worker::Worker,
};
use serde_json::Value;
use testkit::{eventually, must_complete};
use tokio::{sync::oneshot, task::JoinHandle, time::sleep};

use crate::{
    queue::{Proxy, Queue},
    rig::{OPEN_GATE, Rig, elsewhere, gate},
};

/// Leaves a row with its key behind, in the transaction that finishes the run.
static EFFECT: Job = Job {
    name: "effect",
    summary: "",
    schedule: Schedule::daily(0, 0),
    deadline: Duration::from_secs(600),
    repetition: Repetition::Once,
    work: |context, run| effect(context, run).boxed(),
};

/// The same, but fails as long as the table `obstacle` is there.
static HINDERED: Job = Job { name: "hindered", work: |context, run| hindered(context, run).boxed(), ..EFFECT };

/// The same, but panics at first.
static SHAKY: Job = Job { name: "shaky", work: |context, run| shaky(context, run).boxed(), ..EFFECT };

/// Takes until the gate is open.
static SLOW: Job = Job { name: "slow", work: |context, run| slow(context, run).boxed(), ..EFFECT };

static JOBS: &[&Job] = &[&EFFECT, &HINDERED, &SHAKY, &SLOW];

async fn effect(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let (mut client, counts) = (context.database.client().await?, [("effects", 1)].into());
    let transaction = client.transaction().await?;
    let text = run.args.get("is").and_then(Value::as_str).unwrap_or_default();
    transaction.execute("INSERT INTO effects (what) VALUES ($1)", &[&text]).await?;
    run.finish_in(&transaction, &counts).await?;
    transaction.commit().await?;
    Ok(counts)
}

async fn hindered(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let there = context.database.query("SELECT to_regclass('obstacle') IS NOT NULL", &[]).await?;
    if there[0].get(0) {
        return Err(Failure::Retry("there is an obstacle".into()));
    }
    effect(context, run).await
}

async fn shaky(context: &Context, run: &Run) -> Result<Counts, Failure> {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    assert!(TRIES.fetch_add(1, Ordering::SeqCst) > 0, "the first try panics");
    effect(context, run).await
}

async fn slow(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let mut client = context.database.client().await?;
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO effects (what) VALUES ('slow')", &[]).await?;
    gate(context).await?;
    run.finish_in(&transaction, &Counts::default()).await?;
    transaction.commit().await?;
    Ok(Counts::default())
}

/// A worker in this process.
struct Working {
    stop: oneshot::Sender<()>,
    done: JoinHandle<Result<(), String>>,
}

impl Working {
    fn start(context: Context, settings: PubSubSettings) -> Self {
        let (stop, stopped) = oneshot::channel();
        let done = async move {
            let stop = stopped.map(drop);
            Worker::new(context, JOBS).run(&settings, stop).await.map_err(|error| error.to_string())
        };
        Self { stop, done: tokio::spawn(done) }
    }

    async fn stop(self) {
        self.ask_to_stop().await;
    }

    /// Asks it to stop; what is answered is its end.
    fn ask_to_stop(self) -> impl Future<Output = ()> {
        self.stop.send(()).expect("it still works");
        async { must_complete("the worker ends", self.done).await.unwrap().unwrap() }
    }
}

async fn rig() -> (Rig, Queue) {
    let rig = Rig::new().await;
    rig.owner.batch_execute("CREATE TABLE effects (what text NOT NULL); GRANT INSERT ON effects TO coditect_jobs").await.unwrap();
    (rig, Queue::new().await)
}

async fn until_begun(rig: &Rig) {
    eventually("a job has begun", async || rig.number("SELECT count(*) FROM job_runs").await > 0).await;
}

const EFFECTS: &str = "SELECT count(*) FROM effects";

#[tokio::test]
async fn a_message_is_acknowledged_when_its_job_is_done() {
    let (rig, queue) = rig().await;
    let worker = Working::start(rig.another(), queue.settings());
    queue.publish(r#"{"job": "effect", "args": {"is": "here"}}"#).await;
    queue.until(|seen| seen[0].acks == 1).await;
    assert_eq!(rig.number("SELECT count(*) FROM effects WHERE what = 'here'").await, 1);
    worker.stop().await;
}

#[tokio::test]
async fn a_failed_job_is_never_acknowledged_and_done_as_soon_as_it_can_be() {
    let (rig, queue) = rig().await;
    rig.owner.batch_execute("CREATE TABLE obstacle (); GRANT SELECT ON obstacle TO coditect_jobs").await.unwrap();
    let worker = Working::start(rig.another(), queue.settings());
    queue.publish(r#"{"job": "hindered"}"#).await;
    queue.publish(r#"{"job": "shaky"}"#).await;
    queue.until(|seen| seen[0].deliveries >= 3 && seen[1].acks == 1).await;
    assert_eq!((queue.seen().await[0].acks, rig.number(EFFECTS).await), (0, 1), "the one that has panicked was done");
    rig.owner.batch_execute("DROP TABLE obstacle").await.unwrap();
    queue.until(|seen| seen.iter().all(|seen| seen.acks == 1)).await;
    assert_eq!(rig.number(EFFECTS).await, 2);
    worker.stop().await;
}

#[tokio::test]
async fn poison_is_never_acknowledged_and_does_not_stop_the_others() {
    let (rig, queue) = rig().await;
    let poison = ["", "no JSON", "{}", r#"{"job": "no such job"}"#, r#"{"job": "effect", "key": ""}"#, r#"{"job": "effect", "args": 1}"#];
    for body in poison {
        queue.publish(body).await;
    }
    let context = rig.another();
    let meter = context.meter.clone();
    let worker = Working::start(context, queue.settings());
    queue.publish(r#"{"job": "effect"}"#).await;
    queue.until(|seen| seen[poison.len()].acks == 1 && seen[..poison.len()].iter().all(|seen| seen.deliveries >= 3)).await;
    assert!(queue.seen().await[..poison.len()].iter().all(|seen| seen.acks == 0));
    let mut registry = prometheus_client::registry::Registry::default();
    meter.register(&mut registry);
    let page = platform::web::Metrics::new(registry).page();
    assert!(page.contains(&format!("coditect_job_poison_messages_total {}\n", poison.len())), "{page}");
    worker.stop().await;
}

#[tokio::test]
async fn a_schedule_that_is_published_five_times_has_one_effect() {
    let (rig, queue) = rig().await;
    let workers: Vec<_> = (0..2).map(|_| Working::start(rig.another(), queue.settings())).collect();
    for _ in 0..5 {
        queue.publish(r#"{"job": "effect"}"#).await;
    }
    queue.until(|seen| seen.iter().all(|seen| seen.acks == 1)).await;
    assert_eq!(rig.number(EFFECTS).await, 1);
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_thousand_messages_over_three_workers_have_one_effect_each() {
    let (rig, queue) = rig().await;
    for n in 0..1000 {
        queue.publish(format!(r#"{{"job": "effect", "key": "{n}", "args": {{"is": "{n}"}}}}"#)).await;
    }
    let workers: Vec<_> = (0..3).map(|_| Working::start(rig.another(), queue.settings())).collect();
    queue.until(|seen| seen.iter().all(|seen| seen.acks >= 1)).await;
    let row = rig.owner.query_one("SELECT count(*), count(DISTINCT what) FROM effects", &[]).await.unwrap();
    assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (1000, 1000));
    for worker in workers {
        worker.stop().await;
    }
}

#[tokio::test]
async fn a_worker_whose_connection_is_cut_carries_on_when_it_is_there_again() {
    let (rig, queue) = rig().await;
    let proxy = Proxy::to(queue.host.clone()).await;
    let settings = PubSubSettings { pubsub_emulator_host: Some(proxy.address.to_string()), ..queue.settings() };
    let worker = Working::start(rig.another(), settings);
    queue.publish(r#"{"job": "effect", "key": "before"}"#).await;
    queue.until(|seen| seen[0].acks == 1).await;
    for key in ["first", "second"] {
        proxy.cut();
        queue.publish(format!(r#"{{"job": "effect", "key": "{key}"}}"#)).await;
        proxy.refuses().await;
        assert!(!worker.done.is_finished());
        proxy.mend();
        queue.until(|seen| seen.iter().all(|seen| seen.acks == 1)).await;
    }
    assert_eq!(rig.number(EFFECTS).await, 3);
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_that_is_asked_to_stop_finishes_what_runs_and_takes_nothing_new() {
    let (rig, queue) = rig().await;
    let settings = PubSubSettings { jobs_concurrency: 1, ..queue.settings() };
    let worker = Working::start(rig.another(), settings);
    queue.publish(r#"{"job": "slow", "key": "1"}"#).await;
    until_begun(&rig).await;
    queue.publish(r#"{"job": "slow", "key": "2"}"#).await;
    let end = worker.ask_to_stop();
    rig.owner.batch_execute(OPEN_GATE).await.unwrap();
    end.await;
    let seen = queue.seen().await;
    assert_eq!((seen[0].acks, seen[1].acks, rig.number(EFFECTS).await), (1, 0, 1));
    let next = Working::start(rig.another(), queue.settings());
    queue.until(|seen| seen[1].acks == 1).await;
    next.stop().await;
}

#[tokio::test]
async fn a_job_that_does_not_end_in_time_is_given_up_and_done_by_the_next_worker() {
    let (rig, queue) = rig().await;
    let worker = Working::start(rig.another(), queue.settings());
    queue.publish(r#"{"job": "slow"}"#).await;
    until_begun(&rig).await;
    worker.stop().await;
    assert_eq!((queue.seen().await[0].acks, rig.number(EFFECTS).await), (0, 0));
    // The given-up run's claim is still there, as if the worker had been killed: it ends by itself.
    let next = Working::start(rig.another(), queue.settings());
    queue.until(|seen| seen[0].deliveries >= 2).await;
    rig.owner.batch_execute(OPEN_GATE).await.unwrap();
    rig.clock.advance(Duration::from_secs(21));
    queue.until(|seen| seen[0].acks == 1).await;
    assert_eq!(rig.number(EFFECTS).await, 1);
    next.stop().await;
}

#[tokio::test]
async fn a_message_stays_with_its_worker_for_as_long_as_the_job_takes() {
    let (rig, queue) = rig().await;
    let worker = Working::start(rig.another(), queue.settings());
    queue.publish(r#"{"job": "slow"}"#).await;
    until_begun(&rig).await;
    // Longer than a message stays with a worker that is not heard of.
    sleep(Duration::from_secs(13)).await;
    rig.owner.batch_execute(OPEN_GATE).await.unwrap();
    queue.until(|seen| seen[0].acks == 1).await;
    assert_eq!((queue.seen().await[0].deliveries, rig.number(EFFECTS).await), (1, 1));
    worker.stop().await;
}

#[tokio::test]
async fn a_worker_without_its_subscription_says_so_and_ends() {
    let (rig, queue) = rig().await;
    let settings = PubSubSettings { pubsub_subscription: "projects/test/subscriptions/none".to_owned(), ..queue.settings() };
    let ended = Working::start(rig.another(), settings).done.await.unwrap();
    assert!(ended.unwrap_err().contains("none"), "it names what is missing");
}

/// Names, to a test that is started again as a process of its own, the database and the queue to work on.
const DATABASE: &str = "WORKER_DATABASE_URL";
const SUBSCRIPTION: &str = "WORKER_SUBSCRIPTION";

#[tokio::test]
async fn a_worker_in_a_process_of_its_own_for_another_test_to_kill() {
    let (Ok(url), Ok(pubsub_subscription)) = (std::env::var(DATABASE), std::env::var(SUBSCRIPTION)) else { return };
    let settings = PubSubSettings { pubsub_subscription, ..Queue::new().await.settings() };
    Working::start(elsewhere(&url), settings).done.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_job_whose_worker_is_killed_in_the_middle_is_done_by_another_and_once() {
    let (rig, queue) = rig().await;
    let mut killed = tokio::process::Command::new(std::env::current_exe().unwrap());
    killed.args(["--exact", "worker::a_worker_in_a_process_of_its_own_for_another_test_to_kill"]);
    killed.env(DATABASE, rig.database.url()).env(SUBSCRIPTION, &queue.subscription).stdout(Stdio::null()).kill_on_drop(true);
    let mut killed = killed.spawn().unwrap();
    queue.publish(r#"{"job": "slow"}"#).await;
    until_begun(&rig).await;
    killed.kill().await.unwrap();
    rig.owner.batch_execute(OPEN_GATE).await.unwrap();

    let next = Working::start(elsewhere(rig.database.url()), queue.settings());
    queue.until(|seen| seen[0].acks == 1).await;
    assert!(queue.seen().await[0].deliveries >= 2);
    assert_eq!(rig.number(EFFECTS).await, 1);
    assert_eq!(rig.number("SELECT attempt::bigint FROM job_runs").await, 2);
    next.stop().await;
}
