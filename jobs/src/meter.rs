//! What is counted of jobs, for the metrics page.

use std::time::Duration;

use platform::domain::Timestamp;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::{job::Failure, perform::Outcome};

/// Seconds; a sweep with little to do takes some milliseconds, a purge many minutes.
const BUCKETS: [f64; 10] = [0.01, 0.05, 0.25, 1.0, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RunLabels {
    job_name: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct JobLabels {
    job_name: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ItemLabels {
    job_name: String,
    item: &'static str,
}

/// Counts runs and what they did. Cheap to clone; clones count together.
#[derive(Clone, Debug)]
pub struct Meter {
    runs: Family<RunLabels, Counter>,
    durations: Family<JobLabels, Histogram, fn() -> Histogram>,
    items: Family<ItemLabels, Counter>,
    last_done: Family<JobLabels, Gauge>,
    poison: Counter,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            runs: Family::default(),
            durations: Family::new_with_constructor((|| Histogram::new(BUCKETS)) as fn() -> Histogram),
            items: Family::default(),
            last_done: Family::default(),
            poison: Counter::default(),
        }
    }
}

impl Meter {
    /// Puts it on a metrics page.
    pub fn register(&self, registry: &mut Registry) {
        registry.register("coditect_job_runs", "Runs by job and what came of them", self.runs.clone());
        registry.register_with_unit("coditect_job_duration", "Time that runs took", Unit::Seconds, self.durations.clone());
        registry.register("coditect_job_items", "What runs did, by job and kind", self.items.clone());
        registry.register_with_unit(
            "coditect_job_last_done",
            "When a job was last done, in Unix time",
            Unit::Seconds,
            self.last_done.clone(),
        );
        registry.register("coditect_job_poison_messages", "Messages that can never be done, each counted once", self.poison.clone());
    }

    pub(crate) fn observe(&self, job: &'static str, came: &Result<Outcome, Failure>, took: Duration, now: Timestamp) {
        let outcome = match came {
            Ok(Outcome::Done(_)) => "done",
            Ok(Outcome::DoneBefore) => "done_before",
            Err(Failure::Retry(_) | Failure::Ours(_)) => "failed",
            Err(Failure::Deadline(_)) => "deadline",
            Err(Failure::Panic(_)) => "panic",
            Err(Failure::Busy) => "busy",
            Err(Failure::Superseded) => "superseded",
            Err(Failure::GiveUp(_)) => "given_up",
        };
        let of = JobLabels { job_name: job.to_owned() };
        self.runs.get_or_create(&RunLabels { job_name: job.to_owned(), outcome }).inc();
        if !matches!(came, Ok(Outcome::DoneBefore) | Err(Failure::Busy)) {
            self.durations.get_or_create(&of).observe(took.as_secs_f64());
        }
        if let Ok(Outcome::Done(counts)) = came {
            self.last_done.get_or_create(&of).set(now.timestamp());
            for (item, count) in counts.iter() {
                self.items.get_or_create(&ItemLabels { job_name: job.to_owned(), item }).inc_by(count);
            }
        }
    }

    pub(crate) fn poison(&self) {
        self.poison.inc();
    }
}
