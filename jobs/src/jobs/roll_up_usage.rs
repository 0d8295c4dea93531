//! `roll-up-usage`: writes what Redis counts of each license and hour to the record, and totals each hour and day.
//!
//! What Redis says of an hour is written down as it is, and never added to what is there: the greater of the two numbers stays.
//! So it does not matter how often it is written, by how many workers, or whether a copy of Redis comes back from the past.
//! A counter leaves Redis hours after its hour is over, and only if the record has it.
//!
//! The database totals an hour whenever a number of it changes. Who sat there may change without one, so each hour is totaled once
//! more when it is over, for every tenant of whom somebody sat in it; how far that has come is a row of its own.

use std::time::Duration;

use deadpool_postgres::Transaction;
use futures_util::FutureExt;
use platform::{
    db::Database,
    domain::{LicenseId, Timestamp},
    seats::HourOfUse,
};
use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use crate::{
    job::{Context, Counts, Failure, Job, Repetition},
    order::Run,
    pace::Pace,
    schedule::Schedule,
};

/// Redis may be wiped: what it has counted since the last run is then lost.
const SCHEDULE: Schedule = Schedule::every_minutes(15);
/// How long one run may take; less than until the next.
const DEADLINE: Duration = Duration::from_secs(840);
/// Licenses a second: a million in one run.
const RATE: u32 = 2000;
/// Licenses looked at together, and tenants whose hour is closed together.
const BATCH: i64 = 500;
/// How long the counters of an hour stay in Redis: for a record that is restored from a backup of some hours ago.
const KEPT: Duration = Duration::from_secs(6 * 3600);
/// When nobody writes of an hour any more: longer than clocks differ and than a grant takes.
const SETTLED: Duration = Duration::from_secs(120);
const HOUR: Duration = Duration::from_secs(3600);

pub(super) const JOB: Job = Job {
    name: "roll-up-usage",
    summary: "Writes the hourly counters of Redis to the record, and totals hours and days.",
    schedule: SCHEDULE,
    deadline: DEADLINE,
    repetition: Repetition::Once,
    work: |context, run| work(context, run).boxed(),
};

const LICENSES: &str = "-- roll_up_usage::licenses
SELECT tenant_id, id FROM licenses WHERE (tenant_id, id) > ($1, $2) ORDER BY tenant_id, id LIMIT $3";

// One worker writes at a time: else two could total the same tenants in another order, and wait for each other. A batch of many
// tenants takes longer than a statement usually may.
const TURN: &str = "-- roll_up_usage::turn
SELECT set_config('statement_timeout', '60s', true), pg_advisory_xact_lock(hashtextextended('roll-up-usage', 0))";

const RECORD: &str = "-- roll_up_usage::record
INSERT INTO usage_hourly AS known (tenant_id, license_id, hour, acquired, denied, overage, heartbeats, peak)
SELECT l.tenant_id, l.id, hour, counted.acquired, counted.denied, counted.overage, counted.heartbeats, counted.peak
FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[])
     AS counted (license_id, hour, acquired, denied, overage, heartbeats, peak) JOIN licenses l ON l.id = license_id
ORDER BY l.id, hour
ON CONFLICT (license_id, hour) DO UPDATE SET acquired = greatest(known.acquired, excluded.acquired),
    denied = greatest(known.denied, excluded.denied), overage = greatest(known.overage, excluded.overage),
    heartbeats = greatest(known.heartbeats, excluded.heartbeats), peak = greatest(known.peak, excluded.peak)
WHERE excluded.acquired > known.acquired OR excluded.denied > known.denied OR excluded.overage > known.overage
   OR excluded.heartbeats > known.heartbeats OR excluded.peak > known.peak
RETURNING 1";

// How many rows that would write.
const WOULD_RECORD: &str = "-- roll_up_usage::would_record
SELECT count(*) FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::int[])
     AS counted (license_id, hour, acquired, denied, overage, heartbeats, peak) JOIN licenses l ON l.id = license_id
LEFT JOIN usage_hourly known ON known.license_id = counted.license_id AND known.hour = counted.hour
WHERE known.hour IS NULL OR counted.acquired > known.acquired OR counted.denied > known.denied OR counted.overage > known.overage
   OR counted.heartbeats > known.heartbeats OR counted.peak > known.peak";

const CLOSED: &str = "-- roll_up_usage::closed
SELECT closed_until FROM usage_closing";

// Those of whom somebody sat in an hour, open or ended.
const PRESENT: &str = "-- roll_up_usage::present
SELECT id FROM tenants t WHERE id > $1 AND (
    EXISTS (SELECT FROM sessions s WHERE s.tenant_id = t.id AND s.ended_at IS NULL AND s.started_at < $3)
    OR EXISTS (SELECT FROM sessions s WHERE s.tenant_id = t.id AND s.ended_at > $2 AND s.started_at < $3)
) ORDER BY id LIMIT $4";

const TOTAL: &str = "-- roll_up_usage::total
SELECT total_usage(id, $2) FROM (SELECT id FROM unnest($1::uuid[]) AS tenant (id) ORDER BY id) AS present";

const CLOSE: &str = "-- roll_up_usage::close
UPDATE usage_closing SET closed_until = greatest(closed_until, $1)";

pub(super) const STATEMENTS: &[&str] = &[LICENSES, TURN, RECORD, WOULD_RECORD, CLOSED, PRESENT, TOTAL, CLOSE];

async fn work(context: &Context, run: &Run) -> Result<Counts, Failure> {
    let mut counts = Counts::from([("licenses", 0), ("hours_written", 0), ("counters_forgotten", 0), ("hours_totaled", 0)]);
    let (mut last, mut pace) = ((Uuid::nil(), Uuid::nil()), Pace::per_second(RATE));
    loop {
        let rows = context.database.query(LICENSES, &[&last.0, &last.1, &BATCH]).await?;
        let Some(row) = rows.last() else { break };
        last = (row.try_get(0)?, row.try_get(1)?);
        pace.wait_for(rows.len()).await;
        let licenses = rows.iter().map(|row| Ok(LicenseId::from_uuid(row.try_get(1)?))).collect::<Result<Vec<_>, Failure>>()?;
        counts.add(&batch(context, run, &licenses).await?);
    }
    counts.add(&[("hours_totaled", close(context, run).await?)].into());
    Ok(counts)
}

async fn batch(context: &Context, run: &Run, licenses: &[LicenseId]) -> Result<Counts, Failure> {
    let (now, hours) = context.engine.usage(licenses).await?;
    let long_past: Vec<HourOfUse> = hours.iter().filter(|counted| counted.hour + HOUR + KEPT <= now).copied().collect();
    let (written, forgotten) = if hours.is_empty() {
        (0, 0)
    } else if run.dry_run {
        let rows = context.database.query(WOULD_RECORD, &Columns::of(&hours).params()).await?;
        (rows.first().map_or(Ok(0), |row| row.try_get::<_, i64>(0))?.try_into().unwrap_or(0), would_forget(&long_past))
    } else {
        let written = record(&context.database, &hours).await?;
        // Only now, for it is committed. Who dies in between leaves what the next run finds written, and takes out.
        (written, context.engine.forget_usage(&long_past).await?)
    };
    let looked_at = u64::try_from(licenses.len()).unwrap_or(u64::MAX);
    Ok([("licenses", looked_at), ("hours_written", written), ("counters_forgotten", forgotten)].into())
}

fn would_forget(long_past: &[HourOfUse]) -> u64 {
    long_past.iter().map(HourOfUse::counted).sum()
}

async fn record(database: &Database, hours: &[HourOfUse]) -> Result<u64, Failure> {
    let (mut client, columns) = (database.client().await?, Columns::of(hours));
    let transaction = client.transaction().await?;
    query(&transaction, TURN, &[]).await?;
    let written = query(&transaction, RECORD, &columns.params()).await?.len();
    transaction.commit().await?;
    Ok(u64::try_from(written).unwrap_or(u64::MAX))
}

/// Totals the hours that are over, each once. Answers how many it was, each for each tenant.
async fn close(context: &Context, run: &Run) -> Result<u64, Failure> {
    let rows = context.database.query(CLOSED, &[]).await?;
    let mut hour: Timestamp = rows.first().ok_or_else(|| Failure::Retry("usage_closing is empty".into()))?.try_get(0)?;
    let mut totaled = 0;
    while hour + HOUR + SETTLED <= context.clock.now() {
        let mut last = Uuid::nil();
        loop {
            let rows = context.database.query(PRESENT, &[&last, &hour, &(hour + HOUR), &BATCH]).await?;
            let present = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<Uuid>, _>>()?;
            let Some(latest) = present.last() else { break };
            last = *latest;
            totaled += u64::try_from(present.len()).unwrap_or(u64::MAX);
            if !run.dry_run {
                total(&context.database, &present, hour).await?;
            }
        }
        hour += HOUR;
        if !run.dry_run {
            context.database.query(CLOSE, &[&hour]).await?;
        }
    }
    Ok(totaled)
}

async fn total(database: &Database, tenants: &[Uuid], hour: Timestamp) -> Result<(), Failure> {
    let mut client = database.client().await?;
    let transaction = client.transaction().await?;
    query(&transaction, TURN, &[]).await?;
    query(&transaction, TOTAL, &[&tenants, &hour]).await?;
    transaction.commit().await?;
    Ok(())
}

async fn query(transaction: &Transaction<'_>, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Failure> {
    let statement = transaction.prepare_cached(sql).await?;
    Ok(transaction.query(&statement, params).await?)
}

/// Hours as PostgreSQL takes them.
struct Columns {
    licenses: Vec<Uuid>,
    hours: Vec<Timestamp>,
    numbers: [Vec<i64>; 4],
    peaks: Vec<i32>,
}

impl Columns {
    fn of(hours: &[HourOfUse]) -> Self {
        let column = |number: fn(&HourOfUse) -> i64| hours.iter().map(number).collect();
        Self {
            licenses: hours.iter().map(|counted| counted.license.as_uuid()).collect(),
            hours: hours.iter().map(|counted| counted.hour).collect(),
            numbers: [
                column(|counted| counted.acquired),
                column(|counted| counted.denied),
                column(|counted| counted.overage),
                column(|counted| counted.heartbeats),
            ],
            peaks: hours.iter().map(|counted| counted.peak).collect(),
        }
    }

    fn params(&self) -> [&(dyn ToSql + Sync); 7] {
        let [acquired, denied, overage, heartbeats] = &self.numbers;
        [&self.licenses, &self.hours, acquired, denied, overage, heartbeats, &self.peaks]
    }
}
