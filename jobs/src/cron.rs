//! The jobs on their schedules inside one process, without Pub/Sub: for a laptop, and on premises.

use std::{sync::Arc, time::Duration};

use apalis_core::worker::builder::WorkerBuilder;
use apalis_cron::{CronScheduler, Schedule as CronSchedule, Tick, timezone::Utc};
use chrono::TimeDelta;
use futures_util::FutureExt;
use platform::{
    domain::{Clock, Timestamp, from_millis, rfc3339},
    web::TraceContext,
};
use serde_json::Map;
use tokio::{sync::Mutex, time::sleep};

use crate::{
    job::{Context, Failure, Job},
    jobs::JOBS,
    perform::perform,
    schedule::Schedule,
};

/// When a job is first due, after the start.
const AT_ONCE: TimeDelta = TimeDelta::seconds(2);
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
        TraceContext::continuing(None).scope(self.perform(due)).await
    }

    async fn perform(&self, due: Timestamp) -> Result<(), Failure> {
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
        let next = match self.last {
            // At once is in whole seconds, and not before the scheduler has looked at the time.
            None => now + AT_ONCE,
            // A timer may fire a little early: the same tick must not come twice. A clock that was set back is another matter.
            Some(last) if last - now < TimeDelta::seconds(1) => self.schedule.after(now.max(last)),
            Some(_) => self.schedule.after(now),
        };
        self.last = Some(next);
        Some(Tick::new(next.timestamp().unsigned_abs()))
    }
}

#[cfg(test)]
mod tests {
    use testkit::ManualClock;

    use super::*;

    #[test]
    fn a_job_is_due_at_once_and_then_on_its_schedule_whatever_happens_to_the_clock() {
        let clock = Arc::new(ManualClock::at(from_millis(1_700_000_000_120)));
        let mut due = Due { schedule: Schedule::every_seconds(30), clock: Arc::<ManualClock>::clone(&clock), last: None };
        let mut next = |clock_at: i64| {
            clock.set(from_millis(1_700_000_000_000 + clock_at));
            due.next_tick(&Utc).unwrap().get_timestamp() - 1_700_000_000
        };
        assert_eq!(next(120), 2, "at once");
        assert_eq!(next(2_001), 10, "half a minute is full in UTC");
        assert_eq!(next(9_999), 40, "the timer was early");
        assert_eq!(next(40_003), 70);
        assert_eq!(next(3_600_500), 3_610, "the machine slept");
        assert_eq!(next(11_000), 40, "the clock was set back");
    }
}
