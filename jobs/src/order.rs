//! What is asked for, and one run of it.

use std::time::Duration;

use deadpool_postgres::Transaction;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::Instant;

use crate::{
    job::{Counts, Failure, Job},
    jobs::JOBS,
    ledger::Claim,
};

/// What a message asks for. Its body is this in JSON: `{"job": "purge", "key": "2026-11-24", "args": {}}`.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub struct Order {
    /// The job.
    pub job: String,
    /// What makes it this run and no other: it is done once for each key. Where there is none, the time it was due serves.
    #[serde(default)]
    pub key: Option<String>,
    /// What else the job should know.
    #[serde(default)]
    pub args: Map<String, Value>,
}

/// The job of a name, among `jobs`.
#[must_use]
pub fn find<'a>(jobs: &'a [&'static Job], name: &str) -> Option<&'a &'static Job> {
    jobs.iter().find(|job| job.name == name)
}

/// The job of a name.
#[must_use]
pub fn job(name: &str) -> Option<&'static Job> {
    find(JOBS, name).copied()
}

/// One run of a job, as the job sees it.
#[derive(Debug)]
pub struct Run {
    /// What else it was told.
    pub args: Map<String, Value>,
    /// To tell what would be done, and change nothing.
    pub dry_run: bool,
    /// When it is given up.
    pub until: Instant,
    pub(crate) claim: Option<Claim>,
}

impl Run {
    /// The time left before it is given up.
    #[must_use]
    pub fn time_left(&self) -> Duration {
        self.until.saturating_duration_since(Instant::now())
    }

    /// Marks the run as done in the transaction of its effect: both are committed, or neither is. A job whose effect is one
    /// transaction calls this last in it, and its effect happens once, whatever dies. Does nothing in a run without a key.
    ///
    /// # Errors
    /// [`Failure::Superseded`] if another worker has taken over: the transaction must then be rolled back.
    pub async fn finish_in(&self, transaction: &Transaction<'_>, counts: &Counts) -> Result<(), Failure> {
        match &self.claim {
            Some(claim) => claim.finish_in(transaction, counts).await,
            None => Ok(()),
        }
    }
}
