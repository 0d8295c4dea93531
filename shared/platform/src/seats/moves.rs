//! Moves: while Redis does not answer, heartbeats renew the record instead.
//!
//! What counts against a client is its own silence, and never that of Redis. The record then runs ahead of Redis, which has the
//! session expired when it is back: the next heartbeat finds that the record is not due, and the license is rebuilt. Seats are
//! neither given nor taken here, and a session that has ended or fallen due stays as it is.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Asker, Claim, Counted, Engine, Error, Heartbeat, Renewal, batcher::Work, beat_after, clocks::Clocks, records};
use crate::{
    db::{Database, Patience, Statement},
    domain::{EndReason, HardwareHash, License, SeatNumber, SessionId, TenantId, Timestamp, Verdict},
};

// A record with two thirds of its TTL left is late enough: a client that beats every third of it costs one write or none.
pub(super) const MOVE: &str = "-- seats::move
WITH clock AS MATERIALIZED (
    SELECT coalesce($4::timestamptz, statement_timestamp()) AS now
), asked AS MATERIALIZED (
    SELECT id, license_id, make_interval(secs => ttl) AS ttl FROM unnest($1::uuid[], $2::uuid[], $3::float8[]) AS asked (id, license_id, ttl)
), moved AS (
    UPDATE sessions s SET expires_at = (SELECT now FROM clock) + asked.ttl FROM asked
    WHERE s.id = asked.id AND s.license_id = asked.license_id AND coalesce(s.ended_reason, '') = ''
      AND s.expires_at > (SELECT now FROM clock) AND s.expires_at < (SELECT now FROM clock) + asked.ttl * 2 / 3
    RETURNING s.id, s.expires_at
), usage AS MATERIALIZED (
    SELECT license_id, (SELECT count(DISTINCT seat) FROM sessions s WHERE s.license_id = licenses.license_id AND s.ended_reason IS NULL
                        AND s.expires_at > (SELECT now FROM clock)) AS used
    FROM (SELECT DISTINCT license_id FROM asked) AS licenses
)
SELECT s.license_id, s.id, coalesce(moved.expires_at, s.expires_at), s.ended_reason, s.seat, s.hardware_id, usage.used, clock.now
FROM asked JOIN usage USING (license_id) JOIN sessions s ON s.id = asked.id AND s.license_id = asked.license_id
LEFT JOIN moved ON moved.id = s.id CROSS JOIN clock";

/// The sessions of one tenant: their ids, licenses and TTLs.
type Columns = (TenantId, Vec<Uuid>, Vec<Uuid>, Vec<f64>);

/// A session as its record has it after the move.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    /// PostgreSQL's time.
    now: Timestamp,
    expires_at: Timestamp,
    ended: Option<EndReason>,
    seat: SeatNumber,
    hardware: HardwareHash,
    used: u32,
}

/// Moves records together, one batch at a time: so many heartbeats in need must not keep PostgreSQL from all else.
pub(super) struct Moves {
    pub(super) database: Database,
    pub(super) clocks: Arc<Clocks>,
}

impl Work for Moves {
    type Key = ();
    type Item = (Arc<License>, SessionId);
    type Outcome = Option<Moved>;
    const MOST: usize = 256;
    const ABREAST: usize = 1;
    const BESIDE: usize = 1;

    async fn run(&self, (): &(), asked: Vec<Self::Item>) -> Result<Vec<Option<Moved>>, Error> {
        let mut parts: BTreeMap<TenantId, Vec<(Uuid, Uuid, f64)>> = BTreeMap::new();
        for (license, session) in &asked {
            let row = (session.key.as_uuid(), license.id.as_uuid(), license.policy.session_ttl.as_secs_f64());
            parts.entry(license.tenant).or_default().push(row);
        }
        let moved = self.clocks.moved();
        let columns: Vec<Columns> = parts
            .into_iter()
            .map(|(tenant, mut rows)| {
                // In the order of their ids, as all who lock several sessions, and each of them once.
                rows.sort_unstable_by_key(|(id, license, _)| (*id, *license));
                rows.dedup_by_key(|(id, license, _)| (*id, *license));
                let (ids, licenses) = (rows.iter().map(|row| row.0).collect(), rows.iter().map(|row| row.1).collect());
                (tenant, ids, licenses, rows.iter().map(|row| row.2).collect())
            })
            .collect();
        let params: Vec<[&(dyn ToSql + Sync); 4]> =
            columns.iter().map(|(_, ids, licenses, ttls)| [ids as _, licenses as _, ttls as _, &moved as _]).collect();
        let statements: Vec<Statement<'_>> =
            columns.iter().zip(&params).map(|((tenant, ..), params)| (*tenant, MOVE, &params[..])).collect();
        let rows = self.database.query_all_as(&statements, Patience::UntilDeadline).await?;
        let mut found = HashMap::new();
        for row in rows.iter().flatten() {
            found.insert((row.try_get::<_, Uuid>(0)?, row.try_get::<_, Uuid>(1)?), read(row)?);
        }
        Ok(asked.iter().map(|(license, session)| found.get(&(license.id.as_uuid(), session.key.as_uuid())).cloned()).collect())
    }
}

fn read(row: &Row) -> Result<Moved, Error> {
    let ended = row.try_get::<_, Option<&str>>(3)?.map(records::reason).transpose()?;
    let seat = u32::try_from(row.try_get::<_, i32>(4)?).ok().and_then(SeatNumber::new);
    Ok(Moved {
        expires_at: row.try_get(2)?,
        ended,
        seat: seat.ok_or_else(|| Error::Unexpected("seat 0".to_owned()))?,
        hardware: HardwareHash::of(row.try_get(5)?),
        used: u32::try_from(row.try_get::<_, i64>(6)?).unwrap_or(u32::MAX),
        now: row.try_get(7)?,
    })
}

impl Engine {
    /// Renews a session by its record, because Redis has failed. None: the record does not say that it lives, nor that it has ended.
    pub(super) async fn move_record(&self, claim: Claim) -> Result<Option<Counted<Heartbeat>>, Error> {
        let Claim { session, network } = claim;
        let asker = network.as_ref().map(|network| Asker { network, known: None });
        if let Some(allowance) = asker.and_then(|asker| self.limiter.screen(asker)).filter(|_| !self.licenses.exists(session.license)) {
            return Ok(Some(Counted::Beyond(allowance)));
        }
        let served = |heartbeat| Some(Counted::Served(heartbeat, Verdict::Uncounted));
        let Some(license) = self.licenses.by_id(&self.database, session.license).await? else {
            return Ok(served(Heartbeat::Unknown));
        };
        if let Err(why) = license.may_be_used(self.clock.now()) {
            let record = records::find(&self.database, &license, session.key).await?;
            return Ok(served(match record.map(|record| (record.ended, record.expires_at)) {
                None => Heartbeat::Unknown,
                Some((Some((_, reason)), _)) => Heartbeat::Ended(reason),
                Some((None, stop_by)) => Heartbeat::Refused { why, stop_by },
            }));
        }
        let Some(moved) = self.moves.ask((), (Arc::clone(&license), session)).await? else { return Ok(served(Heartbeat::Unknown)) };
        if let Some(reason) = moved.ended {
            return Ok(served(Heartbeat::Ended(reason)));
        }
        // It takes Redis to say whether a session lives whose record is due.
        if moved.expires_at <= moved.now {
            return Ok(None);
        }
        self.counters.moved.inc();
        let at = self.clocks.told_by_database(moved.now);
        Ok(served(Heartbeat::Renewed(Renewal {
            tenant: license.tenant,
            seat: moved.seat,
            hardware: moved.hardware,
            at,
            expires_at: at + (moved.expires_at - moved.now),
            heartbeat_after: beat_after(moved.now, moved.expires_at),
            seats_used: moved.used,
            seats_total: license.policy.seats_total,
            license_version: license.version,
        })))
    }
}
