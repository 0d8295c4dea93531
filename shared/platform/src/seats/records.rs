//! The statements on `sessions`: PostgreSQL's record of who sits where. One function each.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Applicant, Error, answer::Place, clocks::Due};
use crate::{
    db::Database,
    domain::{EndReason, HardwareHash, License, SeatUnit, SessionKey, Timestamp},
};

/// A session as recorded.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) expires_at: Timestamp,
    pub(super) ended: Option<(Timestamp, EndReason)>,
}

/// A session that has not ended, as a rebuild needs it.
#[derive(Debug)]
pub(super) struct LiveSession {
    pub(super) key: SessionKey,
    pub(super) expires_at: Timestamp,
    pub(super) seat: i32,
    pub(super) holder: Vec<u8>,
    pub(super) hardware: HardwareHash,
    pub(super) idempotency_key: Option<Vec<u8>>,
    pub(super) request_hash: Option<Vec<u8>>,
}

// All of these are planned while the tables may be empty still. Who sits is asked by `ended_reason`, which the indexes of seats and
// holders know and those of lists do not; a row that is asked for by its id says it so that no index of many rows is taken for it.
// `ORDER BY` names the index that has that order.

pub(super) const REPLACEABLE: &str = "-- seats::replaceable
SELECT FROM sessions WHERE id = $1 AND license_id = $2 AND coalesce(ended_reason, '') = ''
  AND expires_at > due_by($3::timestamptz, make_interval(secs => $5), $6::timestamptz) AND ($4::bytea IS NULL OR holder = $4)";

// Redis alone has the holder's seat: the record has ended it, never had it, or it has fallen due
// there; and there is no room for it anew. Where the record has a live session on the seat or of
// the holder, Redis has forgotten that one.
pub(super) const FULL: &str = "-- seats::full
WITH clock AS MATERIALIZED (
    SELECT due_by($4::timestamptz, make_interval(secs => $6), $7::timestamptz) AS due
)
SELECT WHERE NOT EXISTS (
    SELECT FROM sessions WHERE license_id = $1 AND ended_reason IS NULL AND holder = $2
      AND expires_at > (SELECT due FROM clock)
) AND NOT EXISTS (
    SELECT FROM sessions WHERE license_id = $1 AND ended_reason IS NULL AND seat = $3
      AND expires_at > (SELECT due FROM clock)
) AND $5::integer <= (
    SELECT count(DISTINCT seat) FROM sessions
    WHERE license_id = $1 AND ended_reason IS NULL AND expires_at > (SELECT due FROM clock)
)";

pub(super) fn number(value: u32) -> Result<i32, Error> {
    i32::try_from(value).map_err(|error| Error::Unexpected(error.to_string()))
}

/// Whether the session that the applicant asks to replace lives by the record, and may be replaced.
pub(super) async fn is_replaceable(database: &Database, license: &License, applicant: &Applicant, due: &Due) -> Result<bool, Error> {
    let Some(replaced) = applicant.replaced_on(license.id) else { return Ok(false) };
    let holder = match license.policy.seat_unit {
        SeatUnit::Device => Some(&applicant.holder.as_bytes()[..]),
        SeatUnit::Process => None,
    };
    let params: [&(dyn ToSql + Sync); 6] = [&replaced.as_uuid(), &license.id.as_uuid(), &due.redis_now, &holder, &due.ttl, &due.moved];
    Ok(!database.query_as(license.tenant, REPLACEABLE, &params).await?.is_empty())
}

/// Whether the seat that Redis has for a holder is none by the record, which has no room for it.
pub(super) async fn is_full(database: &Database, license: &License, place: &Place, due: &Due) -> Result<bool, Error> {
    let (seat, holder) = (number(place.seat.get())?, &place.holder.as_bytes()[..]);
    let (id, limit) = (license.id.as_uuid(), number(license.policy.seat_limit())?);
    let params: [&(dyn ToSql + Sync); 7] = [&id, &holder, &seat, &due.redis_now, &limit, &due.ttl, &due.moved];
    Ok(!database.query_as(license.tenant, FULL, &params).await?.is_empty())
}

pub(super) const BLOCKED: &str = "-- seats::blocked
SELECT FROM hardware_blocks WHERE license_id = $1 AND hardware_id = $2
  AND until > least($3::timestamptz, coalesce($4::timestamptz, statement_timestamp()))";

/// Whether the applicant's device may not take a seat now.
pub(super) async fn is_blocked(
    database: &Database,
    license: &License,
    applicant: &Applicant,
    now: Timestamp,
    due: &Due,
) -> Result<bool, Error> {
    let params: [&(dyn ToSql + Sync); 4] = [&license.id.as_uuid(), &applicant.hardware_id.as_str(), &now, &due.moved];
    Ok(!database.query_as(license.tenant, BLOCKED, &params).await?.is_empty())
}

pub(super) const FIND: &str = "-- seats::find
SELECT expires_at, ended_at, ended_reason FROM sessions WHERE id = $1 AND license_id = $2";

pub(super) async fn find(database: &Database, license: &License, session: SessionKey) -> Result<Option<Record>, Error> {
    let rows = database.query_as(license.tenant, FIND, &[&session.as_uuid(), &license.id.as_uuid()]).await?;
    rows.first().map(record).transpose()
}

// The client is told anew that it sits, so the record must be as late as what it is told: were Redis then restored from an older
// copy, nothing else would know. A record that has fallen due belongs to a session that a rebuild has brought back: it lives on in
// Redis alone where the limit was lowered below what is in use, and takes nobody's place. What is answered is the row as it was.
pub(super) const HOLD: &str = "-- seats::hold
WITH clock AS MATERIALIZED (
    SELECT $3::timestamptz + clock_shift($4::timestamptz, $7::timestamptz) AS expires_at, due_by($6::timestamptz, $3 - $4, $7) AS due
), renewed AS (
    UPDATE sessions SET expires_at = (SELECT expires_at FROM clock)
    WHERE id = $1 AND license_id = $2 AND coalesce(ended_reason, '') = '' AND expires_at < (SELECT expires_at FROM clock)
      AND (expires_at > (SELECT due FROM clock)
           OR $5 > (SELECT count(DISTINCT seat) FROM sessions WHERE license_id = $2 AND ended_reason IS NULL
                    AND expires_at > (SELECT due FROM clock)))
)
SELECT expires_at, ended_at, ended_reason FROM sessions WHERE id = $1 AND license_id = $2";

/// Finds a session that Redis has, and renews its record.
pub(super) async fn hold(database: &Database, license: &License, place: &Place, due: &Due) -> Result<Option<Record>, Error> {
    let limit = i64::from(license.policy.seat_limit());
    let params: [&(dyn ToSql + Sync); 7] =
        [&place.session.as_uuid(), &license.id.as_uuid(), &place.expires_at, &place.now, &limit, &due.redis_now, &due.moved];
    let rows = database.query_as(license.tenant, HOLD, &params).await?;
    rows.first().map(record).transpose()
}

// One row for each release of the batch. The index is gone through in its own order, so that two batches wait for each other in
// one direction only.
pub(super) const RELEASE: &str = "-- seats::release
WITH released AS (
    UPDATE sessions SET ended_at = $4::timestamptz, ended_reason = 'released'
    WHERE id = ANY ($2::uuid[]) AND license_id = ($3::uuid[])[array_position($2, id)] AND coalesce(ended_reason, '') = ''
    RETURNING id, license_id, ended_at
), audited AS (
    INSERT INTO audit_events_of_seats (tenant_id, at, actor, action, license_id, session_id)
    SELECT $1, ended_at, 'client', 'session.released', license_id, id FROM released
)
SELECT license_id, id FROM released";

// What Redis has lost or has expired lives all the same unless its record is due; if it is, the session is ended here and now, so
// that no rebuild brings back what a client was told is over.
pub(super) const EXPIRE: &str = "-- seats::expire
WITH expired AS (
    UPDATE sessions SET ended_at = $3, ended_reason = 'expired'
    WHERE id = $1 AND license_id = $2 AND coalesce(ended_reason, '') = ''
      AND expires_at <= due_by($5::timestamptz, make_interval(secs => $6), $7::timestamptz)
    RETURNING id, ended_at
), audited AS (
    INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
    SELECT $4, ended_at, 'system', 'session.expired', $2, id FROM expired
)
SELECT ended_at FROM expired";

/// Ends a session that Redis has found dead, if its record has fallen due. False: it had not, or
/// was ended before.
pub(super) async fn expire(database: &Database, license: &License, session: SessionKey, now: Timestamp, due: &Due) -> Result<bool, Error> {
    let tenant = license.tenant.as_uuid();
    let params: [&(dyn ToSql + Sync); 7] = [&session.as_uuid(), &license.id.as_uuid(), &now, &tenant, &due.redis_now, &due.ttl, &due.moved];
    Ok(!database.query_as(license.tenant, EXPIRE, &params).await?.is_empty())
}

// While nobody expires, every session that has not ended is alive.
pub(super) const LIVE: &str = "-- seats::live
WITH clock AS MATERIALIZED (
    SELECT due_by($2::timestamptz, make_interval(secs => $3), $4::timestamptz) AS due
)
SELECT id, expires_at, seat, holder, idempotency_key, request_hash, hardware_id, (SELECT due = '-infinity' FROM clock) FROM sessions
WHERE license_id = $1 AND ended_reason IS NULL AND expires_at > (SELECT due FROM clock) - make_interval(secs => $3)
ORDER BY license_id, seat";

/// The sessions of a license that have not ended and whose record is due less than one TTL ago. Where nobody expires, each is due
/// one TTL from `now` on.
pub(super) async fn live(database: &Database, license: &License, now: Timestamp, due: &Due) -> Result<Vec<LiveSession>, Error> {
    let rows = database.query_as(license.tenant, LIVE, &[&license.id.as_uuid(), &due.redis_now, &due.ttl, &due.moved]).await?;
    let until = now + license.policy.session_ttl;
    rows.iter().map(|row| live_session(row, until)).collect()
}

fn live_session(row: &Row, until: Timestamp) -> Result<LiveSession, Error> {
    let (expires_at, is_protected): (Timestamp, bool) = (row.try_get(1)?, row.try_get(7)?);
    Ok(LiveSession {
        key: SessionKey::from_uuid(row.try_get::<_, Uuid>(0)?),
        expires_at: if is_protected { expires_at.max(until) } else { expires_at },
        seat: row.try_get(2)?,
        holder: row.try_get(3)?,
        idempotency_key: row.try_get(4)?,
        request_hash: row.try_get(5)?,
        hardware: HardwareHash::of(row.try_get(6)?),
    })
}

pub(super) fn reason(word: &str) -> Result<EndReason, Error> {
    word.parse().map_err(|_| Error::Unexpected(format!("a session ended for {word}")))
}

fn record(row: &Row) -> Result<Record, Error> {
    let ended_at: Option<Timestamp> = row.try_get(1)?;
    let reason: Option<&str> = row.try_get(2)?;
    let ended = match (ended_at, reason) {
        (Some(at), Some(reason)) => Some((at, self::reason(reason)?)),
        _ => None,
    };
    Ok(Record { expires_at: row.try_get(0)?, ended })
}
