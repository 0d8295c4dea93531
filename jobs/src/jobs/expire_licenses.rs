//! `expire-licenses`: Ends licenses and trials that have run out, and warns 30, 7 and 1 days ahead.

use std::time::Duration;

use futures_util::FutureExt;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(120);

pub(super) const JOB: Job = Job {
    name: "expire-licenses",
    summary: "Ends licenses and trials that have run out, and warns 30, 7 and 1 days ahead.",
    schedule: Schedule::every_minutes(5),
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

pub(super) const STATEMENTS: &[&str] = &[];

#[expect(clippy::unused_async, reason = "a stub")]
async fn work(_context: &Context, _run: &Run) -> Result<Counts, Failure> {
    Ok(Counts::default())
}
