//! `expire-licenses`: ends licenses and trials that have run out, and warns of their end ahead.
//!
//! The seat engine refuses a license from its end on, whatever this job does. Here its end is marked and audited once, its sessions
//! are ended in the record, and Redis forgets its seats, so that whoever still sits is told at the very next call.
//!
//! Marks and warnings are columns of the license that name the end that they are about: a license whose end was moved later is a
//! license that was never marked. Each is written in one statement with its event, under the license's lock.

use std::time::Duration;

use futures_util::FutureExt;
use platform::{
    db::Database,
    domain::{LicenseId, Timestamp},
};
use tokio_postgres::types::ToSql;
use uuid::Uuid;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    schedule::Schedule,
};

/// How soon after its end a license is marked; it is refused from its end on.
const SCHEDULE: Schedule = Schedule::every_minutes(5);
/// How long one run may take.
const DEADLINE: Duration = Duration::from_secs(120);
/// How many days ahead there is a warning.
const WARNINGS: [i32; 3] = [30, 7, 1];
/// Licenses marked or warned of in one statement.
const BATCH: i64 = 200;
/// Sessions ended in one statement.
const SESSIONS: i64 = 1000;
/// When nobody finishes a seat any more whom a license was still open to: longer than a call lasts and than clocks differ.
const SETTLED: Duration = Duration::from_secs(30);

pub(super) const JOB: Job = Job {
    name: "expire-licenses",
    summary: "Ends licenses and trials that have run out, and warns 30, 7 and 1 days ahead.",
    schedule: SCHEDULE,
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

const MARK: &str = "-- expire_licenses::mark
WITH due AS (
    SELECT id FROM licenses WHERE expires_at <= $1 AND settled_for IS DISTINCT FROM expires_at AND expired_for IS DISTINCT FROM expires_at
    ORDER BY expires_at, id LIMIT $2 FOR NO KEY UPDATE SKIP LOCKED
), marked AS (
    UPDATE licenses l SET expired_for = l.expires_at, expired_at = $1 FROM due WHERE l.id = due.id
    RETURNING l.tenant_id, l.id, l.tier, l.expires_at
)
INSERT INTO audit_events (tenant_id, at, actor, action, license_id, subject_type, subject_id, details)
SELECT tenant_id, $1, 'system', 'license.expired', id, 'license', shown_id('lic_', id), jsonb_build_object('expires_at', expires_at, 'tier', tier)
FROM marked";

const MARKED: &str = "-- expire_licenses::marked
SELECT id FROM licenses WHERE expires_at <= $1 AND settled_for IS DISTINCT FROM expires_at AND expired_for = expires_at AND id > $2
ORDER BY id LIMIT $3";

// The license is locked against whoever would move its end: its sessions are ended before that, or not at all.
const END: &str = "-- expire_licenses::end
WITH over AS (
    SELECT id FROM licenses WHERE id = $1 AND expires_at <= $2 AND expired_for = expires_at FOR SHARE
), those AS (
    SELECT s.id FROM sessions s JOIN over ON over.id = s.license_id WHERE s.ended_reason IS NULL LIMIT $3 FOR UPDATE OF s SKIP LOCKED
), ended AS (
    UPDATE sessions s SET ended_at = greatest($2, s.started_at), ended_reason = 'expired' FROM those WHERE s.id = those.id
    RETURNING s.tenant_id, s.license_id, s.id, s.ended_at
)
INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id, details)
SELECT tenant_id, ended_at, 'system', 'session.expired', license_id, id, '{\"because\": \"license_expired\"}'::jsonb FROM ended";

const SETTLE: &str = "-- expire_licenses::settle
UPDATE licenses l SET settled_for = l.expires_at WHERE l.id = $1 AND l.expires_at <= $2 AND l.expired_for = l.expires_at
  AND NOT EXISTS (SELECT FROM sessions s WHERE s.license_id = l.id AND s.ended_reason IS NULL)";

// Of several warnings that are due, the last alone: the others are late.
const WARN: &str = "-- expire_licenses::warn
WITH due AS (
    SELECT l.id FROM licenses l JOIN tenants t ON t.id = l.tenant_id
    WHERE l.expires_at > $1 AND l.expires_at <= $1::timestamptz + make_interval(hours => 24 * ($3::int[])[1])
      AND l.settled_for IS DISTINCT FROM l.expires_at AND l.status = 'active' AND t.status = 'active'
      AND (l.warned_for IS DISTINCT FROM l.expires_at
           OR l.warned_days > (SELECT min(days) FROM unnest($3::int[]) AS days WHERE l.expires_at <= $1 + make_interval(hours => 24 * days)))
    ORDER BY l.expires_at, l.id LIMIT $2 FOR NO KEY UPDATE OF l SKIP LOCKED
), warned AS (
    UPDATE licenses l SET warned_for = l.expires_at,
        warned_days = (SELECT min(days) FROM unnest($3::int[]) AS days WHERE l.expires_at <= $1 + make_interval(hours => 24 * days))
    FROM due WHERE l.id = due.id
    RETURNING l.tenant_id, l.id, l.tier, l.expires_at, l.warned_days
)
INSERT INTO audit_events (tenant_id, at, actor, action, license_id, subject_type, subject_id, details)
SELECT tenant_id, $1, 'system', 'license.expires_soon', id, 'license', shown_id('lic_', id),
       jsonb_build_object('expires_at', expires_at, 'tier', tier, 'days', warned_days)
FROM warned";

const PREVIEW: &str = "-- expire_licenses::preview
SELECT (SELECT count(*) FROM licenses WHERE expires_at <= $1 AND settled_for IS DISTINCT FROM expires_at AND expired_for IS DISTINCT FROM expires_at),
       (SELECT count(*) FROM licenses l JOIN sessions s ON s.license_id = l.id AND s.ended_reason IS NULL
        WHERE l.expires_at <= $1 AND l.settled_for IS DISTINCT FROM l.expires_at),
       (SELECT count(*) FROM licenses l JOIN tenants t ON t.id = l.tenant_id
        WHERE l.expires_at > $1 AND l.expires_at <= $1::timestamptz + make_interval(hours => 24 * ($2::int[])[1])
          AND l.settled_for IS DISTINCT FROM l.expires_at AND l.status = 'active' AND t.status = 'active'
          AND (l.warned_for IS DISTINCT FROM l.expires_at
               OR l.warned_days > (SELECT min(days) FROM unnest($2::int[]) AS days WHERE l.expires_at <= $1 + make_interval(hours => 24 * days))))";

pub(super) const STATEMENTS: &[&str] = &[MARK, MARKED, END, SETTLE, WARN, PREVIEW];

async fn work(context: &Context, run: &Run) -> Result<Counts, Failure> {
    // Who is refused for the time is refused by this clock.
    let now = context.engine.now().await?;
    if run.dry_run {
        return preview(&context.database, now).await;
    }
    let expired = all(&context.database, MARK, &[&now, &BATCH]).await?;
    let ended = end_sessions(context, now).await?;
    let warned = all(&context.database, WARN, &[&now, &BATCH, &&WARNINGS[..]]).await?;
    Ok([("expired", expired), ("sessions_ended", ended), ("warned", warned)].into())
}

async fn preview(database: &Database, now: Timestamp) -> Result<Counts, Failure> {
    let rows = database.query(PREVIEW, &[&now, &&WARNINGS[..]]).await?;
    let [row] = &rows[..] else { return Ok(Counts::default()) };
    let count = |at| row.try_get::<_, i64>(at).map(i64::unsigned_abs);
    Ok([("expired", count(0)?), ("sessions_ended", count(1)?), ("warned", count(2)?)].into())
}

/// Runs a statement until it finds nothing more; answers how many rows it has written.
async fn all(database: &Database, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Failure> {
    let client = database.client().await?;
    let statement = client.prepare_cached(sql).await?;
    let mut sum = 0;
    loop {
        match client.execute(&statement, params).await? {
            0 => return Ok(sum),
            written => sum += written,
        }
    }
}

/// Ends what sits on licenses that are marked. A run that was cut off is gone on with here: what was ended may still be in Redis.
async fn end_sessions(context: &Context, now: Timestamp) -> Result<u64, Failure> {
    let (mut from, mut ended, mut failed) = (Uuid::nil(), 0, None);
    loop {
        let rows = context.database.query(MARKED, &[&now, &from, &BATCH]).await?;
        let Some(last) = rows.last() else { break };
        from = last.try_get(0)?;
        for row in &rows {
            let license: Uuid = row.try_get(0)?;
            ended += all(&context.database, END, &[&license, &now, &SESSIONS]).await?;
            // One that cannot be closed now keeps no other waiting.
            match context.engine.close(LicenseId::from_uuid(license)).await {
                Ok(()) => drop(context.database.query(SETTLE, &[&license, &(now - SETTLED)]).await?),
                Err(error) => failed = Some(error),
            }
        }
    }
    failed.map_or(Ok(ended), |error| Err(error.into()))
}
