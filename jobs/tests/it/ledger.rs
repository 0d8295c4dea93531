//! What is done once for each key, whoever is killed or comes again.

use std::{
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use futures_util::{FutureExt, future::join_all};
use jobs::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    perform::{Outcome, perform},
    schedule::Schedule,
};
use serde_json::Map;
use testkit::eventually;

use crate::rig::{OPEN_GATE, Rig, gate};

/// Leaves a row behind in the transaction that finishes the run.
const EFFECT: Job = Job {
    name: "effect",
    summary: "",
    schedule: Schedule::every_minutes(1),
    deadline: Duration::from_secs(600),
    repetition: Repetition::Once,
    work: |context, run| effect(context, run).boxed(),
};

async fn effect(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let (mut client, counts) = (context.database.client().await?, [("effects", 1)].into());
    let transaction = client.transaction().await?;
    transaction.execute("INSERT INTO effects DEFAULT VALUES", &[]).await?;
    if run.args.contains_key("gated") {
        gate(context).await?;
    }
    run.finish_in(&transaction, &counts).await?;
    transaction.commit().await?;
    Ok(counts)
}

async fn rig() -> Rig {
    let rig = Rig::new().await;
    rig.owner.batch_execute("CREATE TABLE effects (); GRANT INSERT ON effects TO coditect_jobs").await.unwrap();
    rig
}

const EFFECTS: &str = "SELECT count(*) FROM effects";

#[tokio::test]
async fn however_many_are_asked_at_once_a_key_is_done_once() {
    let rig = rig().await;
    let workers: Vec<Context> = (0..5).map(|_| rig.another()).collect();
    let came = join_all(workers.iter().map(|context| perform(context, &EFFECT, Some("monday"), Map::new()))).await;
    let done = came.iter().filter(|came| matches!(came, Ok(Outcome::Done(_)))).count();
    assert!(came.iter().all(|came| matches!(came, Ok(_) | Err(Failure::Busy))), "{came:?}");
    assert_eq!((done, rig.number(EFFECTS).await), (1, 1));
    assert_eq!(perform(&rig.context, &EFFECT, Some("monday"), Map::new()).await.unwrap(), Outcome::DoneBefore);
    assert_eq!(perform(&rig.context, &EFFECT, Some("tuesday"), Map::new()).await.unwrap(), Outcome::Done([("effects", 1)].into()));
    assert_eq!(rig.number(EFFECTS).await, 2);
    assert_eq!(rig.number("SELECT count(*) FROM job_runs WHERE done_at IS NOT NULL AND counts = '{\"effects\": 1}'").await, 2);
}

#[tokio::test]
async fn a_worker_that_is_not_heard_of_is_replaced_and_cannot_commit_any_more() {
    let rig = rig().await;
    let (slow, gated) = (rig.another(), serde_json::from_str(r#"{"gated": true}"#).unwrap());
    let late = tokio::spawn(async move { perform(&slow, &EFFECT, Some("monday"), gated).await });
    eventually("it has begun", async || rig.number("SELECT count(*) FROM job_runs").await == 1).await;
    assert!(matches!(perform(&rig.context, &EFFECT, Some("monday"), Map::new()).await, Err(Failure::Busy)));
    // Its claim runs out before it renews it: if it has just done so, once more.
    let replaced = async || {
        rig.clock.advance(Duration::from_secs(21));
        match perform(&rig.context, &EFFECT, Some("monday"), Map::new()).await {
            Err(Failure::Busy) => false,
            other => matches!(other.unwrap(), Outcome::Done(_)),
        }
    };
    eventually("another has done it", replaced).await;
    rig.owner.batch_execute(OPEN_GATE).await.unwrap();
    assert!(matches!(late.await.unwrap(), Err(Failure::Superseded)));
    assert_eq!(rig.number(EFFECTS).await, 1);
}

#[tokio::test]
async fn a_worker_that_lives_keeps_its_claim_for_as_long_as_it_takes() {
    let rig = rig().await;
    let (slow, gated) = (rig.another(), serde_json::from_str(r#"{"gated": true}"#).unwrap());
    let first = tokio::spawn(async move { perform(&slow, &EFFECT, Some("monday"), gated).await });
    eventually("it has begun", async || rig.number("SELECT count(*) FROM job_runs").await == 1).await;
    let until = async || rig.number("SELECT extract(epoch FROM leased_until)::bigint FROM job_runs").await;
    for _ in 0..2 {
        let before = until().await;
        rig.clock.advance(Duration::from_secs(19));
        eventually("the claim is renewed", async || until().await > before).await;
    }
    assert!(matches!(perform(&rig.context, &EFFECT, Some("monday"), Map::new()).await, Err(Failure::Busy)));
    rig.owner.batch_execute(OPEN_GATE).await.unwrap();
    assert!(matches!(first.await.unwrap(), Ok(Outcome::Done(_))));
}

#[tokio::test]
async fn what_has_failed_or_taken_too_long_can_be_tried_again_at_once() {
    static TRIES: AtomicU32 = AtomicU32::new(0);
    const SHAKY: Job = Job { deadline: Duration::from_secs(5), work: |_, _| shaky().boxed(), ..EFFECT };
    async fn shaky() -> Result<Counts, Failure> {
        match TRIES.fetch_add(1, Ordering::SeqCst) {
            0 => Err(Failure::Retry("the first try fails".into())),
            1 => std::future::pending().await,
            _ => Ok(Counts::default()),
        }
    }
    let rig = rig().await;
    let mut came = Vec::new();
    for _ in 0..4 {
        came.push(perform(&rig.context, &SHAKY, Some("monday"), Map::new()).await);
    }
    assert!(matches!(came[0], Err(Failure::Retry(_))) && matches!(came[1], Err(Failure::Deadline(_))), "{came:?}");
    assert!(matches!(came[2], Ok(Outcome::Done(_))) && matches!(came[3], Ok(Outcome::DoneBefore)), "{came:?}");
}
