//! What a job is, what it is given, and what it answers.

use std::{error::Error, fmt, sync::Arc, time::Duration};

use futures_util::future::BoxFuture;
use platform::{
    db::{self, Database},
    domain::Clock,
    seats::{self, Engine, RedisLink},
    signing::{self, KeyRotation, RootSigner},
};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::{meter::Meter, order::Run, schedule::Schedule};

/// One kind of work. Every job may be given up at any point (it is a future that is dropped) and done again.
#[derive(Debug)]
pub struct Job {
    /// What messages and the command line call it.
    pub name: &'static str,
    /// What it does, in one sentence.
    pub summary: &'static str,
    /// When it is due.
    pub schedule: Schedule,
    /// How long one run may take before it is given up, to be tried again.
    pub deadline: Duration,
    /// How often it may be done.
    pub repetition: Repetition,
    /// Does it.
    pub work: for<'a> fn(&'a Context, &'a Run) -> BoxFuture<'a, Result<Counts, Failure>>,
}

/// How often a job may be done for one business key.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Repetition {
    /// As often as it is asked for: doing it again is harmless, and missing it is not.
    Harmless,
    /// Once: its row in `job_runs` says whether it was done.
    Once,
}

/// What jobs work with.
#[derive(Clone, Debug)]
pub struct Context {
    /// PostgreSQL, as [`db::Role::Jobs`].
    pub database: Database,
    /// Redis.
    pub redis: RedisLink,
    /// The seats.
    pub engine: Arc<Engine>,
    /// The keys.
    pub rotation: KeyRotation,
    /// The root.
    pub root: Arc<dyn RootSigner>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// How long ended sessions are kept before they are archived.
    pub session_retention: Duration,
    /// What counts runs.
    pub meter: Meter,
}

/// What a run has done, or would have done: names and numbers, for a log line and the metrics page.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Counts(Vec<(&'static str, u64)>);

impl<const N: usize> From<[(&'static str, u64); N]> for Counts {
    fn from(counts: [(&'static str, u64); N]) -> Self {
        Self(counts.into())
    }
}

impl Counts {
    /// Adds what another run has done.
    pub fn add(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            match self.0.iter_mut().find(|(known, _)| known == name) {
                Some((_, sum)) => *sum += count,
                None => self.0.push((name, *count)),
            }
        }
    }

    /// Each name with its number.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.0.iter().copied()
    }
}

impl Serialize for Counts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, count) in &self.0 {
            map.serialize_entry(name, count)?;
        }
        map.end()
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| fmt::Error)?)
    }
}

/// Why a job was not done. What it had committed until then stays; the next run goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something it needs is down or slow: try again later.
    #[error("{0}")]
    Retry(Box<dyn Error + Send + Sync>),
    /// Something refuses what was asked of it, or has answered what it cannot: a bug, or settings or rows that make no sense. Try again later.
    #[error("{0}")]
    Ours(Box<dyn Error + Send + Sync>),
    /// It took longer than it may: try again later.
    #[error("not done within {} s", .0.as_secs())]
    Deadline(Duration),
    /// It has met what it believed impossible: a bug, or a record that somebody has changed by hand.
    #[error("panicked: {0}")]
    Panic(String),
    /// Somebody else is at it: look again later whether it was done.
    #[error("another worker is at it")]
    Busy,
    /// Somebody else has taken over, because this worker was not heard of for too long.
    #[error("another worker has taken over")]
    Superseded,
    /// It can never be done as it was asked for.
    #[error("{0}")]
    GiveUp(String),
}

impl From<db::Error> for Failure {
    fn from(error: db::Error) -> Self {
        if error.is_ours() { Self::Ours(Box::new(error)) } else { Self::Retry(Box::new(error)) }
    }
}

impl From<tokio_postgres::Error> for Failure {
    fn from(error: tokio_postgres::Error) -> Self {
        db::Error::from(error).into()
    }
}

impl From<seats::Error> for Failure {
    fn from(error: seats::Error) -> Self {
        if error.is_ours() { Self::Ours(Box::new(error)) } else { Self::Retry(Box::new(error)) }
    }
}

impl From<signing::Error> for Failure {
    fn from(error: signing::Error) -> Self {
        if error.is_ours() { Self::Ours(Box::new(error)) } else { Self::Retry(Box::new(error)) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_by_name_and_print_as_json() {
        let mut counts = Counts::from([("renewed", 1), ("expired", 2)]);
        counts.add(&Counts::from([("expired", 3), ("rebuilt", 4)]));
        assert_eq!(counts.iter().collect::<Vec<_>>(), [("renewed", 1), ("expired", 5), ("rebuilt", 4)]);
        assert_eq!(serde_json::to_string(&counts).unwrap(), r#"{"renewed":1,"expired":5,"rebuilt":4}"#);
    }
}
