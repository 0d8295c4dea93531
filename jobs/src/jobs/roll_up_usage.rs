//! `roll-up-usage`: Moves hourly counters from Redis to the record, and sums whole days up.

use std::time::Duration;

use futures_util::FutureExt;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(300);

pub(super) const JOB: Job = Job {
    name: "roll-up-usage",
    summary: "Moves hourly counters from Redis to the record, and sums whole days up.",
    schedule: Schedule::hourly(5),
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

pub(super) const STATEMENTS: &[&str] = &[];

#[expect(clippy::unused_async, reason = "a stub")]
async fn work(_context: &Context, _run: &Run) -> Result<Counts, Failure> {
    Ok(Counts::default())
}
