//! `rotate-keys`: makes, changes and retires signing keys as is due, and signs license documents that have changed.

use std::time::Duration;

use futures_util::FutureExt;
use platform::signing::{self, Rotated};

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// How soon a changed license is signed anew; keys change far more seldom.
const SCHEDULE: Schedule = Schedule::every_minutes(1);
/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(60);

pub(super) const JOB: Job = Job {
    name: "rotate-keys",
    summary: "Makes the next signing key in time, changes and retires keys, and signs license documents that have changed.",
    schedule: SCHEDULE,
    deadline: DEADLINE,
    repetition: Repetition::Harmless,
    work: |context, run| work(context, run).boxed(),
};

async fn work(context: &Context, run: &Run) -> Result<Counts, Failure> {
    if run.dry_run {
        let would = context.rotation.preview().await?;
        let documents = signing::count_changed(&context.database, &*context.root).await?;
        return Ok(counts(&would, documents));
    }
    let rotated = context.rotation.rotate().await;
    // Whether or not that went well: how long the keys still last.
    let outlook = context.rotation.outlook().await?;
    if outlook.is_late {
        tracing::error!(?outlook, "the next signing key is late: leases are about to have no key, or have none");
    }
    let documents = signing::sign_changed(&context.database, &*context.root, context.clock.now()).await;
    Ok(counts(&rotated?, documents?))
}

fn counts(rotated: &Rotated, documents: u64) -> Counts {
    let purged = u64::try_from(rotated.purged.len()).unwrap_or(u64::MAX);
    let [made, activated, retired] = [&rotated.made, &rotated.activated, &rotated.retired].map(|key| u64::from(key.is_some()));
    [("made", made), ("activated", activated), ("retired", retired), ("purged", purged), ("documents_signed", documents)].into()
}
