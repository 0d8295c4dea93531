//! `reconcile-seats`: compares the seats in Redis with the record, license by license, and mends what differs.
//!
//! The engine mends by itself what anybody stumbles over. This finds what nobody does, and tells of damage: with Redis and PostgreSQL
//! in order every count but `licenses` is zero.

use std::time::Duration;

use futures_util::{FutureExt, TryStreamExt, stream, stream::StreamExt};
use platform::{
    domain::LicenseId,
    seats::{Drift, Error, Listed, Reconciler},
};
use uuid::Uuid;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    pace::Pace,
    schedule::Schedule,
};

/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(600);
/// When it begins no further batch: what it has counted until then is told.
const ENOUGH: Duration = Duration::from_secs(30);
/// Licenses a second: some hundred thousand in one run. Where there are more, each run begins somewhere else.
const RATE: u32 = 200;
/// Licenses looked at together.
const BATCH: i64 = 50;
/// Of these, at the same time.
const CONCURRENCY: usize = 8;

pub(super) const JOB: Job = Job {
    name: "reconcile-seats",
    summary: "Compares the seats in Redis with the record, license by license, and mends what differs.",
    schedule: Schedule::every_minutes(15),
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

async fn work(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let reconciler = Reconciler::new(context.engine.clone(), context.database.clone());
    let mut counts = counts(0, &Drift::default(), 0);
    let start = LicenseId::from_uuid(Uuid::new_v4());
    let (mut last, mut is_past_the_end, mut pace) = (start, false, Pace::per_second(RATE));
    while run.time_left() > ENOUGH {
        let mut licenses = reconciler.licenses(last, BATCH).await?;
        if is_past_the_end {
            licenses.retain(|license| license.id() <= start);
        }
        match licenses.last() {
            Some(license) => last = license.id(),
            None if is_past_the_end => break,
            None => {
                (last, is_past_the_end) = (LicenseId::from_uuid(Uuid::nil()), true);
                continue;
            }
        }
        pace.wait_for(licenses.len()).await;
        let calls: Vec<_> = licenses.iter().map(|license| reconcile(&reconciler, license, !run.dry_run)).collect();
        let batch: Vec<Counts> = stream::iter(calls).buffer_unordered(CONCURRENCY).try_collect().await?;
        for license in batch {
            counts.add(&license);
        }
    }
    Ok(counts)
}

async fn reconcile(reconciler: &Reconciler, license: &Listed, mend: bool) -> Result<Counts, Failure> {
    match reconciler.reconcile(license, mend).await {
        Ok(drift) => {
            if drift.is_some() {
                tracing::warn!(license = %license.id(), ?drift, mended = mend, "Redis differs from the record");
            }
            Ok(counts(1, &drift, 0))
        }
        // It is being rebuilt, or disputed: others are not kept waiting.
        Err(Error::Unsettled(_)) => Ok(counts(1, &Drift::default(), 1)),
        Err(error) => Err(error.into()),
    }
}

fn counts(licenses: u64, drift: &Drift, unsettled: u64) -> Counts {
    [
        ("licenses", licenses),
        ("forgotten", drift.forgotten),
        ("missing", drift.missing),
        ("ended", drift.ended),
        ("unfinished", drift.unfinished),
        ("unrecorded", drift.unrecorded),
        ("policy", drift.policy),
        ("index", drift.index),
        ("unsettled", unsettled),
    ]
    .into()
}
