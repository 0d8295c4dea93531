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

/// How many bytes a business key may have.
const LONGEST_KEY: usize = 200;

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

impl Order {
    /// Reads the body of a message.
    ///
    /// # Errors
    /// What is wrong with it, without repeating much of it.
    pub fn read(body: &[u8]) -> Result<Self, String> {
        let order: Self = serde_json::from_slice(body).map_err(|error| format!("not an order: {error}"))?;
        match &order.key {
            Some(key) if !(1..=LONGEST_KEY).contains(&key.len()) || key.contains('\0') => {
                Err("the key is empty, too long, or no text".to_owned())
            }
            _ => Ok(order),
        }
    }
}

/// The job of a name.
#[must_use]
pub fn job(name: &str) -> Option<&'static Job> {
    JOBS.iter().find(|job| job.name == name).copied()
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_is_a_job_and_what_else_it_should_know() {
        let order = Order::read(br#"{"job": "sweep-sessions", "key": "k", "args": {"times": 2}}"#).unwrap();
        assert_eq!((order.job.as_str(), order.key.as_deref(), &order.args["times"]), ("sweep-sessions", Some("k"), &2.into()));
        assert_eq!(Order::read(br#"{"job": "purge"}"#).unwrap(), Order { job: "purge".to_owned(), key: None, args: Map::new() });
        let long = format!(r#"{{"job": "purge", "key": "{}"}}"#, "k".repeat(201));
        for poison in [
            "",
            "null",
            "[]",
            "{}",
            r#"{"job": 1}"#,
            r#"{"job": "purge", "more": 1}"#,
            r#"{"job": "purge", "args": [1]}"#,
            "\u{1f4a9}",
            r#"{"job": "purge", "key": ""}"#,
            r#"{"job": "purge", "key": "a\u0000"}"#,
            &long,
        ] {
            assert!(Order::read(poison.as_bytes()).is_err(), "{poison}");
        }
    }
}
