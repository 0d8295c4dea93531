//! `job_runs`: what was done, by job and business key, and who is at what now.
//!
//! A worker claims a run before it begins and renews the claim while it works. One that dies is not heard of any more: after
//! [`LEASE`] the next may claim the run, under a higher attempt, and what the first may still try to commit is refused.

use std::{sync::Arc, time::Duration};

use deadpool_postgres::Transaction;
use platform::{
    db::{self, Database},
    domain::Clock,
};
use serde_json::Value;
use tokio_postgres::Row;

use crate::job::{Context, Counts, Failure};

/// How long a claim holds unless it is renewed: longer than containers' clocks differ, and than a renewal may be late.
pub(crate) const LEASE: Duration = Duration::from_secs(20);
/// How often it is renewed.
pub(crate) const RENEWAL: Duration = Duration::from_secs(5);

const CLAIM: &str = "-- ledger::claim
INSERT INTO job_runs AS run (job, key, attempt, claimed_at, leased_until) VALUES ($1, $2, 1, $3, $4)
ON CONFLICT (job, key) DO UPDATE SET attempt = run.attempt + 1, claimed_at = $3, leased_until = $4
WHERE run.done_at IS NULL AND run.leased_until <= $3
RETURNING attempt";

const IS_DONE: &str = "-- ledger::is_done
SELECT done_at IS NOT NULL FROM job_runs WHERE job = $1 AND key = $2";

const RENEW: &str = "-- ledger::renew
UPDATE job_runs SET leased_until = $4 WHERE job = $1 AND key = $2 AND attempt = $3 AND done_at IS NULL";

const FINISH: &str = "-- ledger::finish
UPDATE job_runs SET done_at = coalesce(done_at, $4), counts = $5 WHERE job = $1 AND key = $2 AND attempt = $3 RETURNING attempt";

/// Every statement of the ledger.
pub(crate) const STATEMENTS: &[&str] = &[CLAIM, IS_DONE, RENEW, FINISH];

/// What came of a claim.
#[derive(Debug)]
pub(crate) enum Claimed {
    /// The run is this worker's.
    Ours(Claim),
    /// It was done before.
    Done,
    /// Another worker is at it.
    Busy,
}

/// A run that is this worker's for now.
#[derive(Clone, Debug)]
pub(crate) struct Claim {
    clock: Arc<dyn Clock>,
    job: &'static str,
    key: String,
    attempt: i32,
}

impl Claim {
    pub(crate) async fn make(context: &Context, job: &'static str, key: &str) -> Result<Claimed, db::Error> {
        let now = context.clock.now();
        let claimed = context.database.query(CLAIM, &[&job, &key, &now, &(now + LEASE)]).await?;
        if let Some(row) = claimed.first() {
            return Ok(Claimed::Ours(Self { clock: Arc::clone(&context.clock), job, key: key.to_owned(), attempt: row.try_get(0)? }));
        }
        let done = context.database.query(IS_DONE, &[&job, &key]).await?;
        // A row that is gone again was purged: then it was done long ago.
        let done = done.first().map_or(Ok(true), |row| row.try_get(0))?;
        Ok(if done { Claimed::Done } else { Claimed::Busy })
    }

    pub(crate) async fn renew(&self, database: &Database) -> Result<(), db::Error> {
        database.query(RENEW, &[&self.job, &self.key, &self.attempt, &(self.clock.now() + LEASE)]).await.map(drop)
    }

    /// Lets whoever comes next begin at once, after a failure.
    pub(crate) async fn give_back(&self, database: &Database) -> Result<(), db::Error> {
        database.query(RENEW, &[&self.job, &self.key, &self.attempt, &self.clock.now()]).await.map(drop)
    }

    pub(crate) async fn finish(&self, database: &Database, counts: &Counts) -> Result<(), Failure> {
        let counts = json(counts)?;
        ours(&database.query(FINISH, &[&self.job, &self.key, &self.attempt, &self.clock.now(), &counts]).await?)
    }

    pub(crate) async fn finish_in(&self, transaction: &Transaction<'_>, counts: &Counts) -> Result<(), Failure> {
        let counts = json(counts)?;
        let finish = transaction.prepare_cached(FINISH).await?;
        ours(&transaction.query(&finish, &[&self.job, &self.key, &self.attempt, &self.clock.now(), &counts]).await?)
    }
}

fn json(counts: &Counts) -> Result<Value, Failure> {
    serde_json::to_value(counts).map_err(|error| Failure::Retry(error.into()))
}

fn ours(rows: &[Row]) -> Result<(), Failure> {
    if rows.is_empty() { Err(Failure::Superseded) } else { Ok(()) }
}
