//! One run of a job, however it was asked for: claimed where it is done once, given up at its deadline, counted and logged.

use std::fmt;

use platform::web::{TraceContext, caught, record_run};
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

/// Runs a job for a business key, or without one; logs and counts what came of it, as a span of the trace that it belongs to or of one
/// of its own.
///
/// # Errors
/// Any [`Failure`]. What the job has committed until then stays.
pub async fn perform(context: &Context, job: &Job, key: Option<&str>, args: Map<String, Value>) -> Result<Outcome, Failure> {
    let trace = TraceContext::current().unwrap_or_else(|| TraceContext::continuing(None));
    trace.scope(Box::pin(attend(trace, context, job, key, args))).await
}

async fn attend(
    trace: TraceContext,
    context: &Context,
    job: &Job,
    key: Option<&str>,
    args: Map<String, Value>,
) -> Result<Outcome, Failure> {
    let begun = Instant::now();
    let came = claim_and_work(context, job, key, args).await;
    let took = begun.elapsed();
    context.meter.observe(job.name, &came, took, context.clock.now());
    // That another worker is at it is no fault.
    record_run(trace, job.name, !matches!(came, Ok(_) | Err(Failure::Busy)), took);
    let (name, key, ms) = (job.name, key.unwrap_or_default(), u64::try_from(took.as_millis()).unwrap_or(u64::MAX));
    match &came {
        Ok(Outcome::Done(counts)) if counts.iter().all(|(_, count)| count == 0) => tracing::debug!(job = name, key, ms, "nothing to do"),
        Ok(Outcome::Done(counts)) => tracing::info!(job = name, key, ms, %counts, "done"),
        Ok(Outcome::DoneBefore) => tracing::debug!(job = name, key, "done before"),
        Err(Failure::Busy) => tracing::debug!(job = name, key, "another worker is at it"),
        Err(Failure::Retry(_) | Failure::Deadline(_) | Failure::Superseded) => {
            tracing::warn!(job = name, key, ms, error = %Why(&came), "not done; it is tried again");
        }
        Err(Failure::Panic(_) | Failure::Ours(_)) => {
            tracing::error!(job = name, key, ms, error = %Why(&came), "a bug; it is tried again");
        }
        // Whoever has asked is told.
        Err(Failure::GiveUp(_)) => {}
    }
    came
}

struct Why<'a>(&'a Result<Outcome, Failure>);

impl fmt::Display for Why<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.as_ref().err().map_or(Ok(()), |failure| failure.fmt(f))
    }
}

async fn claim_and_work(context: &Context, job: &Job, key: Option<&str>, args: Map<String, Value>) -> Result<Outcome, Failure> {
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
    // A panic must not take other jobs with it, nor keep the claim.
    match timeout(run.time_left(), caught((job.work)(context, run))).await {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => Err(Failure::Panic(panic.to_string())),
        Err(_) => Err(Failure::Deadline(job.deadline)),
    }
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
