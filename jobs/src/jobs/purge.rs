//! `purge`: Deletes what nobody needs any longer, and moves old sessions to the archive.

use std::time::Duration;

use futures_util::FutureExt;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(1800);

pub(super) const JOB: Job = Job {
    name: "purge",
    summary: "Deletes what nobody needs any longer, and moves old sessions to the archive.",
    schedule: Schedule::daily(3, 10),
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

pub(super) const STATEMENTS: &[&str] = &[];

#[expect(clippy::unused_async, reason = "a stub")]
async fn work(_context: &Context, _run: &Run) -> Result<Counts, Failure> {
    Ok(Counts::default())
}
