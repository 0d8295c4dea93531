//! `sweep-sessions`: writes renewals back to the record, and ends zombies so that their seats are free.
//!
//! It must run at least every twelfth of the shortest TTL in use: then the record of a live session never falls due.
//! A scheduler that knows no seconds publishes one message a minute and asks for two sweeps in it: `{"times": 2}`.

use std::time::Duration;

use futures_util::FutureExt;
use platform::seats::Sweeper;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::time::{Instant, sleep_until};

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// A twelfth of the usual TTL of six minutes.
const SCHEDULE: Schedule = Schedule::every_seconds(30);
/// How long one run may take: a million live sessions are written back in less.
const DEADLINE: Duration = Duration::from_secs(120);
/// How many sweeps one message may ask for.
const MOST_TIMES: u32 = 12;

pub(super) const JOB: Job = Job {
    name: "sweep-sessions",
    summary: "Writes renewals of live sessions back to the record, ends zombies, and frees their seats.",
    schedule: SCHEDULE,
    deadline: DEADLINE,
    repetition: Repetition::Harmless,
    work: |context, run| work(context, run).boxed(),
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Args {
    times: u32,
}

async fn work(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let times = times(&run.args)?;
    let sweeper = Sweeper::new(context.engine.clone(), context.database.clone());
    if run.dry_run {
        let would = sweeper.preview().await?;
        return Ok([("renewed", would.renewed), ("expired", would.expired), ("rebuilt", would.rebuilt)].into());
    }
    let (begun, mut counts) = (Instant::now(), Counts::default());
    for sweep in 0..times {
        sleep_until(begun + SCHEDULE.period() * sweep).await;
        let report = sweeper.sweep().await?;
        counts.add(&[("renewed", report.renewed), ("expired", report.expired), ("rebuilt", report.rebuilt)].into());
    }
    Ok(counts)
}

fn times(args: &Map<String, Value>) -> Result<u32, Failure> {
    if args.is_empty() {
        return Ok(1);
    }
    match Args::deserialize(args) {
        Ok(Args { times: times @ 1..=MOST_TIMES }) => Ok(times),
        Ok(_) => Err(Failure::GiveUp(format!("times must be between 1 and {MOST_TIMES}"))),
        Err(error) => Err(Failure::GiveUp(format!("args: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(json: &str) -> Result<u32, Failure> {
        times(&serde_json::from_str(json).unwrap())
    }

    #[test]
    fn a_message_may_ask_for_several_sweeps_and_for_nothing_strange() {
        assert_eq!((asked("{}").unwrap(), asked(r#"{"times":2}"#).unwrap()), (1, 2));
        for strange in [r#"{"times":0}"#, r#"{"times":13}"#, r#"{"times":"2"}"#, r#"{"time":2}"#, r#"{"times":2,"more":1}"#] {
            assert!(matches!(asked(strange), Err(Failure::GiveUp(_))), "{strange}");
        }
    }
}
