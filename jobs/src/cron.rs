//! The jobs on their schedules inside one process, without Pub/Sub: for a laptop, and on premises.

use std::{sync::Arc, time::Duration};

use apalis_core::worker::builder::WorkerBuilder;
use apalis_cron::{CronScheduler, Schedule as CronSchedule, Tick, timezone::Utc};
use futures_util::FutureExt;
use platform::domain::{Clock, Timestamp, from_millis, rfc3339};
use serde_json::Map;
use tokio::{sync::Mutex, time::sleep};

use crate::{
    job::{Context, Failure, Job},
    jobs::JOBS,
    perform::perform,
    schedule::Schedule,
};

/// How long to wait before a scheduler that has ended is started again.
const PAUSE: Duration = Duration::from_secs(1);

/// Starts every job on its schedule, in the background; `periods` has those, in seconds, that a setting has changed.
pub fn start(context: &Context, periods: &[(&str, u64)]) {
    for job in JOBS {
        let period = periods.iter().find(|(name, _)| *name == job.name);
        let schedule = period.map_or(job.schedule, |(_, seconds)| job.schedule.with_period(*seconds));
        let timetable = Arc::new(Timetable { context: context.clone(), job, schedule, at_it: Mutex::new(()) });
        tokio::spawn(timetable.keep());
    }
}

struct Timetable {
    context: Context,
    job: &'static Job,
    schedule: Schedule,
    at_it: Mutex<()>,
}

impl Timetable {
    /// A scheduler ends if the machine's clock is set while it waits.
    async fn keep(self: Arc<Self>) {
        loop {
            let due = Due { schedule: self.schedule, clock: Arc::clone(&self.context.clock), last: None };
            let timetable = Arc::clone(&self);
            let worker = WorkerBuilder::new(self.job.name)
                .backend(CronScheduler::new(due))
                .build(move |tick: Tick| Arc::clone(&timetable).run(tick).boxed());
            if let Err(error) = worker.run().await {
                tracing::warn!(job = self.job.name, %error, "a schedule was lost; it starts again");
            }
            sleep(PAUSE).await;
        }
    }

    /// A run that takes longer than the period is not overtaken by the next.
    async fn run(self: Arc<Self>, tick: Tick) -> Result<(), Failure> {
        let Ok(_one) = self.at_it.try_lock() else { return Ok(()) };
        let due = self.schedule.slot(from_millis(tick.get_timestamp().cast_signed() * 1000));
        let done = perform(&self.context, self.job, Some(&rfc3339(due)), Map::new()).await;
        if let Err(Failure::GiveUp(why)) = &done {
            tracing::error!(job = self.job.name, why, "cannot be done");
        }
        done.map(drop)
    }
}

/// When a job is due: at once, for what was missed while the process did not run, and then on its schedule.
#[derive(Debug)]
struct Due {
    schedule: Schedule,
    clock: Arc<dyn Clock>,
    last: Option<Timestamp>,
}

impl CronSchedule<Utc> for Due {
    fn next_tick(&mut self, _: &Utc) -> Option<Tick> {
        let now = self.clock.now();
        // A timer may fire a little early: the same tick must not come twice.
        let next = self.last.map_or(now + Duration::from_secs(1), |last| self.schedule.after(now.max(last)));
        self.last = Some(next);
        Some(Tick::new(next.timestamp().unsigned_abs()))
    }
}
