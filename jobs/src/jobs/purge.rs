//! `purge`: deletes what nobody needs any longer, and moves old sessions to the archive.
//!
//! Every batch is one statement: cut off anywhere, the next run goes on, and any number of workers may run at once.

use std::{collections::HashSet, time::Duration};

use futures_util::FutureExt;
use platform::domain::Timestamp;
use tokio_postgres::Row;
use uuid::Uuid;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// At night.
const SCHEDULE: Schedule = Schedule::daily(3, 10);
/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(1800);
/// Rows deleted or moved at a time.
const BATCH: i64 = 2000;
/// Tenants gone through at a time.
const TENANTS: i64 = 1000;
/// How much time must be left for another batch.
const RESERVE: Duration = Duration::from_secs(10);
/// Answers to creations are told again for a day; a day more for clocks and whoever is at it.
const ANSWERS: Duration = Duration::from_secs(2 * 86_400);
/// A run is known for longer than any message that asks for it can live (31 days at the most).
const RUNS: Duration = Duration::from_secs(40 * 86_400);
/// Leaves that have gone are kept for those who look into what was.
const KEYS: Duration = Duration::from_secs(400 * 86_400);

pub(super) const JOB: Job = Job {
    name: "purge",
    summary: "Deletes what nobody needs any longer, and moves old sessions to the archive.",
    schedule: SCHEDULE,
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

const FORGET_ANSWERS: &str = "-- purge::forget_answers
DELETE FROM idempotent_answers WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotent_answers WHERE created_at < $1 ORDER BY created_at LIMIT $2
)) RETURNING 1";

const FORGET_RUNS: &str = "-- purge::forget_runs
DELETE FROM job_runs WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM job_runs WHERE claimed_at < $1 AND leased_until < $1 ORDER BY claimed_at LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING 1";

const FORGET_KEYS: &str = "-- purge::forget_keys
DELETE FROM signing_keys WHERE kid = ANY (ARRAY(
    SELECT kid FROM signing_keys WHERE state = 'gone' AND revoked_at IS NULL AND expires_at < $1 ORDER BY kid LIMIT $2 FOR UPDATE SKIP LOCKED
)) RETURNING 1";

const COUNT: &str = "-- purge::count
SELECT (SELECT count(*) FROM idempotent_answers WHERE created_at < $1),
       (SELECT count(*) FROM job_runs WHERE claimed_at < $2 AND leased_until < $2),
       (SELECT count(*) FROM signing_keys WHERE state = 'gone' AND revoked_at IS NULL AND expires_at < $3)";

const TENANT_PAGE: &str = "-- purge::tenant_page
SELECT id FROM tenants WHERE id > $1 ORDER BY id LIMIT $2";

const COUNT_SESSIONS: &str = "-- purge::count_sessions
SELECT count(*) FROM sessions WHERE tenant_id = $1 AND ended_at < $2";

// Tenant by tenant, because that is the index there is.
const OLD_SESSIONS: &str = "-- purge::old_sessions
SELECT id, date_trunc('month', ended_at, 'UTC') FROM sessions WHERE tenant_id = $1 AND ended_at < $2
ORDER BY ended_at LIMIT $3 FOR UPDATE SKIP LOCKED";

const MAKE_ARCHIVE: &str = "-- purge::make_archive
SELECT make_archive_of($1)";

const ARCHIVE: &str = "-- purge::archive
WITH moved AS (
    DELETE FROM sessions WHERE id = ANY ($1) AND ended_at IS NOT NULL
    RETURNING id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason
)
INSERT INTO sessions_archive (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason)
SELECT id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason FROM moved";

pub(super) const STATEMENTS: &[&str] =
    &[FORGET_ANSWERS, FORGET_RUNS, FORGET_KEYS, COUNT, TENANT_PAGE, COUNT_SESSIONS, OLD_SESSIONS, MAKE_ARCHIVE, ARCHIVE];

async fn work(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let now = context.clock.now();
    let (answers, runs, keys) = (now - ANSWERS, now - RUNS, now - KEYS);
    let [answers, runs, keys] = if run.dry_run {
        count(&context.database.query(COUNT, &[&answers, &runs, &keys]).await?)?
    } else {
        [
            forget(context, run, FORGET_ANSWERS, answers).await?,
            forget(context, run, FORGET_RUNS, runs).await?,
            forget(context, run, FORGET_KEYS, keys).await?,
        ]
    };
    let sessions = sessions(context, run, now - context.session_retention).await?;
    Ok([("answers", answers), ("job_runs", runs), ("signing_keys", keys), ("sessions_archived", sessions)].into())
}

fn count<const N: usize>(rows: &[Row]) -> Result<[u64; N], Failure> {
    let mut counts = [0; N];
    if let [row] = rows {
        for (at, count) in counts.iter_mut().enumerate() {
            *count = row.try_get::<_, i64>(at)?.unsigned_abs();
        }
    }
    Ok(counts)
}

/// Deletes what is older, a batch at a time.
async fn forget(context: &Context, run: &Run, sql: &str, before: Timestamp) -> Result<u64, Failure> {
    let mut sum = 0;
    while run.time_left() > RESERVE {
        match context.database.query(sql, &[&before, &BATCH]).await?.len() {
            0 => break,
            deleted => sum += deleted as u64,
        }
    }
    Ok(sum)
}

/// Goes through all tenants. What there is no time for is left for the next run.
async fn sessions(context: &Context, run: &Run, before: Timestamp) -> Result<u64, Failure> {
    let (mut from, mut sum, mut made) = (Uuid::nil(), 0, HashSet::new());
    loop {
        let page = context.database.query(TENANT_PAGE, &[&from, &TENANTS]).await?;
        let Some(last) = page.last() else { return Ok(sum) };
        from = last.try_get(0)?;
        for tenant in &page {
            let tenant: Uuid = tenant.try_get(0)?;
            if run.dry_run {
                let [old] = count(&context.database.query(COUNT_SESSIONS, &[&tenant, &before]).await?)?;
                sum += old;
                continue;
            }
            loop {
                if run.time_left() <= RESERVE {
                    return Ok(sum);
                }
                match archive(context, tenant, before, &mut made).await? {
                    0 => break,
                    moved => sum += moved,
                }
            }
        }
    }
}

/// Moves a batch of one tenant's sessions; the months that they go to are made where they are missing.
async fn archive(context: &Context, tenant: Uuid, before: Timestamp, made: &mut HashSet<Timestamp>) -> Result<u64, Failure> {
    let mut client = context.database.client().await?;
    let transaction = client.transaction().await?;
    let old = transaction.prepare_cached(OLD_SESSIONS).await?;
    let rows = transaction.query(&old, &[&tenant, &before, &BATCH]).await?;
    let (mut ids, mut months) = (Vec::<Uuid>::with_capacity(rows.len()), HashSet::<Timestamp>::new());
    for row in &rows {
        ids.push(row.try_get(0)?);
        months.insert(row.try_get(1)?);
    }
    if ids.is_empty() {
        return Ok(0);
    }
    for month in months.difference(made) {
        let statement = transaction.prepare_cached(MAKE_ARCHIVE).await?;
        transaction.query(&statement, &[month]).await?;
    }
    let archive = transaction.prepare_cached(ARCHIVE).await?;
    let moved = transaction.execute(&archive, &[&ids]).await?;
    transaction.commit().await?;
    made.extend(months);
    Ok(moved)
}
