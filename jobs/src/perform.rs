//! One run of a job, however it was asked for: claimed where it is done once, given up at its deadline, counted and logged.

use serde_json::{Map, Value};
use tokio::time::{Instant, MissedTickBehavior, interval, timeout};

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    ledger::{Claim, Claimed, RENEWAL},
    order::Run,
};

/// What came of a run that did not fail.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// It was done.
    Done(Counts),
    /// It had been done before.
    DoneBefore,
}

/// Runs a job for a business key, or without one.
///
/// # Errors
/// Any [`Failure`]. What the job has committed until then stays.
pub async fn perform(context: &Context, job: &Job, key: Option<&str>, args: Map<String, Value>) -> Result<Outcome, Failure> {
    let until = Instant::now() + job.deadline;
    let claim = match key.filter(|_| job.repetition == Repetition::Once) {
        None => None,
        Some(key) => match Claim::make(context, job.name, key).await? {
            Claimed::Ours(claim) => Some(claim),
            Claimed::Done => return Ok(Outcome::DoneBefore),
            Claimed::Busy => return Err(Failure::Busy),
        },
    };
    let run = Run { args, dry_run: false, until, claim };
    let done = tokio::select! {
        done = work(context, job, &run) => done,
        never = renew(context, &run) => match never {},
    };
    match (&run.claim, done) {
        (Some(claim), Ok(counts)) => {
            claim.finish(&context.database, &counts).await?;
            Ok(Outcome::Done(counts))
        }
        (Some(claim), Err(failure)) => {
            if let Err(error) = claim.give_back(&context.database).await {
                tracing::warn!(job = job.name, %error, "a claim could not be given back: the next try has to wait for its end");
            }
            Err(failure)
        }
        (None, done) => done.map(Outcome::Done),
    }
}

/// Tells what a job would do now, and changes nothing.
///
/// # Errors
/// Any [`Failure`].
pub async fn rehearse(context: &Context, job: &Job, args: Map<String, Value>) -> Result<Counts, Failure> {
    let run = Run { args, dry_run: true, until: Instant::now() + job.deadline, claim: None };
    work(context, job, &run).await
}

async fn work(context: &Context, job: &Job, run: &Run) -> Result<Counts, Failure> {
    timeout(run.time_left(), (job.work)(context, run)).await.unwrap_or(Err(Failure::Deadline(job.deadline)))
}

/// Keeps the claim while the job works. If it cannot be renewed in time another worker may take over; the job is not stopped,
/// for what it commits is then refused.
async fn renew(context: &Context, run: &Run) -> std::convert::Infallible {
    let mut timer = interval(RENEWAL);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    timer.tick().await;
    loop {
        timer.tick().await;
        if let Some(claim) = &run.claim
            && let Err(error) = claim.renew(&context.database).await
        {
            tracing::warn!(%error, "a claim could not be renewed");
        }
    }
}
