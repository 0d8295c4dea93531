//! The sweep: ends zombies, and writes renewals of live sessions back to the record.
//!
//! It must run at least every twelfth of the shortest TTL: then the record of a live session never falls due. Any number
//! of sweepers may run at once; each takes rows that no other has.

use std::{collections::HashMap, iter::Sum, sync::Arc, time::Duration};

use chrono::TimeDelta;
use futures_util::{StreamExt, TryStreamExt, future::try_join_all, stream};
use tokio::sync::{Mutex, MutexGuard, Semaphore};
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Engine, Error, Reply, TRIES, answer::Found, rebuild::Why};
use crate::{
    db::Database,
    domain::{LicenseId, SessionKey, Timestamp},
};

/// Sessions taken at a time. Their rows are locked meanwhile, so that it must not take long.
const BATCH: i64 = 2000;
/// Licenses asked about at the same time.
const CONCURRENCY: usize = 64;
/// Licenses rebuilt at the same time. A rebuild keeps Redis busy for as long as the license is large, and whoever waits behind too
/// many of them gives up.
const REBUILDS: usize = 4;
/// Batches under way at the same time, while there are only renewals: one is read while the other is written down.
const ABREAST: usize = 2;
/// How long one batch may take before it is given up; its rows are then free for the next.
const BATCH_DEADLINE: Duration = Duration::from_secs(20);

/// How long revoked sessions are looked after: longer than any copy of Redis is old that may come back.
const REVOKED_SINCE: TimeDelta = TimeDelta::hours(1);

/// What a sweep did.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct SweepReport {
    /// Live sessions whose record was brought up to date.
    pub renewed: u64,
    /// Zombies ended.
    pub expired: u64,
    /// Licenses that Redis had forgotten, whole or in part, and that were rebuilt.
    pub rebuilt: u64,
}

impl Sum for SweepReport {
    fn sum<I: Iterator<Item = Self>>(reports: I) -> Self {
        reports.fold(Self::default(), |sum, one| Self {
            renewed: sum.renewed + one.renewed,
            expired: sum.expired + one.expired,
            rebuilt: sum.rebuilt + one.rebuilt,
        })
    }
}

/// Sweeps with the rights of a job, which reach over all tenants.
#[derive(Clone, Debug)]
pub struct Sweeper {
    engine: Arc<Engine>,
    database: Database,
    rebuilds: Arc<Semaphore>,
}

// Half a TTL by each license's own policy; rows are taken from the most urgent on, and a cursor goes past those that
// another batch of the same sweep has dealt with.
pub(super) const DUE: &str = "-- sweep::due
SELECT s.id, s.license_id, s.expires_at FROM sessions s JOIN licenses l ON l.id = s.license_id
WHERE s.ended_at IS NULL AND (s.expires_at, s.id) > ($2, $3) AND s.expires_at < $1::timestamptz + make_interval(secs => (SELECT max(session_ttl_seconds) FROM licenses) / 2.0)
  AND s.expires_at < $1::timestamptz + make_interval(secs => l.session_ttl_seconds / 2.0)
ORDER BY s.expires_at, s.id LIMIT $4
FOR UPDATE OF s SKIP LOCKED";

// The same rows, left alone.
pub(super) const PREVIEW: &str = "-- sweep::preview
SELECT s.id, s.license_id, s.expires_at FROM sessions s JOIN licenses l ON l.id = s.license_id
WHERE s.ended_at IS NULL AND (s.expires_at, s.id) > ($2, $3) AND s.expires_at < $1::timestamptz + make_interval(secs => (SELECT max(session_ttl_seconds) FROM licenses) / 2.0)
  AND s.expires_at < $1::timestamptz + make_interval(secs => l.session_ttl_seconds / 2.0)
ORDER BY s.expires_at, s.id LIMIT $4";

pub(super) const RENEW: &str = "-- sweep::renew
UPDATE sessions s SET expires_at = alive.until
FROM unnest($1::uuid[], $2::timestamptz[]) AS alive (id, until)
WHERE s.id = alive.id AND coalesce(s.ended_reason, '') = '' AND s.expires_at < alive.until";

pub(super) const END: &str = "-- sweep::end
WITH ended AS (
    UPDATE sessions s SET ended_at = dead.at, ended_reason = 'expired'
    FROM unnest($1::uuid[], $2::timestamptz[]) AS dead (id, at)
    WHERE s.id = dead.id AND coalesce(s.ended_reason, '') = '' AND s.expires_at <= dead.at
    RETURNING s.tenant_id, s.license_id, s.id, s.ended_at
)
INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
SELECT tenant_id, ended_at, 'system', 'session.expired', license_id, id FROM ended";

pub(super) const REVOKED: &str = "-- sweep::revoked
SELECT license_id, id FROM sessions WHERE ended_reason = 'revoked' AND ended_at > $1";

/// The last row that a sweep has taken, by the order of [`DUE`].
type Cursor = (Timestamp, Uuid);
/// Before every row.
const START: Cursor = (Timestamp::UNIX_EPOCH, Uuid::nil());

/// What Redis says of the sessions of one license.
struct Verdict {
    license: LicenseId,
    sessions: Vec<(Uuid, Timestamp, Found)>,
    was_cold: bool,
}

impl Sweeper {
    /// A sweeper; `database` must act as [`crate::db::Role::Jobs`].
    #[must_use]
    pub fn new(engine: Arc<Engine>, database: Database) -> Self {
        Self { engine, database, rebuilds: Arc::new(Semaphore::new(REBUILDS)) }
    }

    /// Goes once through every session that has less than half a TTL left by its record.
    ///
    /// # Errors
    /// Any [`Error`]: what was swept until then stays so, and the next sweep goes on.
    pub async fn sweep(&self) -> Result<SweepReport, Error> {
        let cursor = Mutex::new(START);
        let abreast = self.database.pool_state().at_once.clamp(1, ABREAST);
        let passes = (0..abreast).map(|_| self.pass(&cursor));
        let report = try_join_all(passes).await?.into_iter().sum::<SweepReport>();
        self.engine.counters.expired.inc_by(report.expired);
        self.take_out_revoked().await?;
        Ok(report)
    }

    /// Tells what a sweep would find now, and changes nothing. Licenses that Redis has forgotten are counted as such, and their
    /// sessions not at all.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn preview(&self) -> Result<SweepReport, Error> {
        let mut report = SweepReport::default();
        let mut from = START;
        loop {
            let now = self.engine.scripts.now().await?;
            let rows = self.database.query(PREVIEW, &[&now, &from.0, &from.1, &BATCH]).await?;
            let Some(last) = rows.last() else { return Ok(report) };
            from = (last.try_get(2)?, last.try_get(0)?);
            for (license, sessions) in by_license(&rows)? {
                let Reply::Done(found) = self.engine.scripts.look(LicenseId::from_uuid(license), &sessions).await? else {
                    report.rebuilt += 1;
                    continue;
                };
                let later = |(found, (_, due)): &(&Found, &(SessionKey, Timestamp))| matches!(found, Found::Alive(until) if until > due);
                report.renewed += found.iter().zip(&sessions).filter(later).map(|_| 1).sum::<u64>();
                report.expired += found.iter().map(|found| u64::from(matches!(found, Found::Dead))).sum::<u64>();
                report.rebuilt += u64::from(found.iter().any(|found| matches!(found, Found::Forgotten)));
            }
        }
    }

    /// A client whose session was revoked beats on until it is told: were the session back in Redis, it would live for good.
    async fn take_out_revoked(&self) -> Result<(), Error> {
        let since = self.engine.scripts.now().await? - REVOKED_SINCE;
        let rows = self.database.query(REVOKED, &[&since]).await?;
        let sessions = rows.iter().map(|row| Ok((LicenseId::from_uuid(row.try_get(0)?), SessionKey::from_uuid(row.try_get(1)?))));
        let sessions: Vec<_> = sessions.collect::<Result<_, tokio_postgres::Error>>()?;
        stream::iter(sessions)
            .map(|(license, session)| self.engine.forget_session(license, session))
            .buffer_unordered(CONCURRENCY)
            .try_collect()
            .await
    }

    /// Batch after batch, until none is left beyond the cursor.
    async fn pass(&self, cursor: &Mutex<Cursor>) -> Result<SweepReport, Error> {
        let mut report = SweepReport::default();
        while self.batch(cursor.lock().await, &mut report).await? {}
        Ok(report)
    }

    /// One batch, from the cursor on, which is moved past it. False if there was no row left.
    async fn batch(&self, mut cursor: MutexGuard<'_, Cursor>, report: &mut SweepReport) -> Result<bool, Error> {
        let work = async {
            let now = self.engine.scripts.now().await?;
            let mut client = self.database.client().await?;
            let transaction = client.transaction().await?;
            let due = transaction.prepare_cached(DUE).await?;
            let rows = transaction.query(&due, &[&now, &cursor.0, &cursor.1, &BATCH]).await?;
            let Some(last) = rows.last() else { return Ok(false) };
            *cursor = (last.try_get(2)?, last.try_get(0)?);
            let licenses = by_license(&rows)?;
            let verdicts: Vec<Verdict> = stream::iter(licenses)
                .map(|(license, sessions)| self.ask(LicenseId::from_uuid(license), sessions))
                .buffer_unordered(CONCURRENCY)
                .try_filter_map(async |verdict| Ok(verdict))
                .try_collect()
                .await?;
            // To end sessions costs PostgreSQL more than to renew them: the next batch waits, and clients do not.
            let mut all = verdicts.iter().flat_map(|verdict| &verdict.sessions);
            let _cursor = all.any(|(.., found)| matches!(found, Found::Dead)).then_some(cursor);
            let forgotten = write_down(&transaction, &verdicts, report).await?;
            transaction.commit().await?;
            // After the commit: the rebuild reads these rows, and nothing else waits for them meanwhile.
            self.mend(forgotten, report).await?;
            Ok(true)
        };
        tokio::time::timeout(BATCH_DEADLINE, work).await.unwrap_or(Err(crate::db::Error::Deadline.into()))
    }

    /// A cold license is rebuilt first and asked again in the same breath: what the rebuild has renewed must reach the record
    /// before Redis can forget it once more.
    ///
    /// None: the license cannot be settled now. Its sessions are left for the next sweep, and those of others are not kept waiting.
    async fn ask(&self, license: LicenseId, sessions: Vec<(SessionKey, Timestamp)>) -> Result<Option<Verdict>, Error> {
        let mut was_cold = false;
        for _ in 0..TRIES {
            match self.engine.scripts.sweep(license, &sessions).await? {
                Reply::Done((now, found)) => {
                    let told = sessions.iter().zip(found).map(|((session, _), found)| (session.as_uuid(), now, found));
                    return Ok(Some(Verdict { license, sessions: told.collect(), was_cold }));
                }
                Reply::Cold => {
                    was_cold = true;
                    let known = self.engine.licenses.by_id(self.engine.database(), license).await?;
                    let Some(known) = known else { break };
                    let _turn = self.rebuilds.acquire().await;
                    match self.engine.rebuild(&known, Why::Cold).await {
                        Ok(()) => {}
                        Err(Error::Unsettled(_)) => break,
                        Err(error) => return Err(error),
                    }
                }
            }
        }
        tracing::warn!(%license, "the sessions of a license could not be swept");
        Ok(None)
    }

    async fn mend(&self, forgotten: Vec<LicenseId>, report: &mut SweepReport) -> Result<(), Error> {
        for license in forgotten {
            if let Some(license) = self.engine.licenses.by_id(self.engine.database(), license).await? {
                self.engine.rebuild(&license, Why::Drift).await?;
                report.rebuilt += 1;
            }
        }
        Ok(())
    }
}

fn by_license(rows: &[Row]) -> Result<HashMap<Uuid, Vec<(SessionKey, Timestamp)>>, Error> {
    let mut licenses: HashMap<Uuid, Vec<(SessionKey, Timestamp)>> = HashMap::new();
    for row in rows {
        licenses.entry(row.try_get(1)?).or_default().push((SessionKey::from_uuid(row.try_get(0)?), row.try_get(2)?));
    }
    Ok(licenses)
}

/// Writes what Redis said to the locked rows, and names the licenses that Redis must be reminded of.
async fn write_down(
    transaction: &deadpool_postgres::Transaction<'_>,
    verdicts: &[Verdict],
    report: &mut SweepReport,
) -> Result<Vec<LicenseId>, Error> {
    let (mut alive, mut until, mut dead, mut at, mut forgotten) = (vec![], vec![], vec![], vec![], vec![]);
    for verdict in verdicts {
        report.rebuilt += u64::from(verdict.was_cold);
        for (session, now, found) in &verdict.sessions {
            match found {
                Found::Alive(expires_at) => {
                    alive.push(*session);
                    until.push(*expires_at);
                }
                Found::Dead => {
                    dead.push(*session);
                    at.push(*now);
                }
                Found::Forgotten => {
                    if forgotten.last() != Some(&verdict.license) {
                        forgotten.push(verdict.license);
                    }
                }
            }
        }
    }
    if !alive.is_empty() {
        let renew = transaction.prepare_cached(RENEW).await?;
        report.renewed += transaction.execute(&renew, &[&alive, &until]).await?;
    }
    if !dead.is_empty() {
        let end = transaction.prepare_cached(END).await?;
        report.expired += transaction.execute(&end, &[&dead, &at]).await?;
    }
    Ok(forgotten)
}
