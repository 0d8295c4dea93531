//! `reconcile-seats`: Compares the seats in Redis with the record, license by license, and mends what differs.

use std::time::Duration;

use futures_util::FutureExt;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(600);

pub(super) const JOB: Job = Job {
    name: "reconcile-seats",
    summary: "Compares the seats in Redis with the record, license by license, and mends what differs.",
    schedule: Schedule::every_minutes(15),
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

pub(super) const STATEMENTS: &[&str] = &[];

#[expect(clippy::unused_async, reason = "a stub")]
async fn work(_context: &Context, _run: &Run) -> Result<Counts, Failure> {
    Ok(Counts::default())
}
