//! The statements on `sessions`: PostgreSQL's record of who sits where. One function each.

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Error, scripts::Place};
use crate::{
    db::Database,
    domain::{EndReason, License, SessionKey, Timestamp},
    seats::Applicant,
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
    pub(super) idempotency_key: Option<Vec<u8>>,
    pub(super) request_hash: Option<Vec<u8>>,
}

// The condition matters after the limit was lowered. Within it, the unique index on the number is enough. A session on a
// number above it counts too, even if Redis has forgotten it; and a half-done grant of such a number is finished only if
// there is room all the same.
pub(super) const GRANT: &str = "-- seats::grant
WITH granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1::uuid, $2::uuid, $3::uuid, $4::int, $5::bytea, $6, $7, $8::bytea, $9::bytea, $10::timestamptz, $11::timestamptz
    WHERE $4 <= $12 AND NOT EXISTS (SELECT FROM sessions WHERE license_id = $2 AND ended_at IS NULL AND seat > $12 AND expires_at > $10)
    ON CONFLICT DO NOTHING
    RETURNING id
), audited AS (
    INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
    SELECT $1, $10, 'client', 'session.acquired', $2, id FROM granted
)
SELECT id FROM granted";

// The same where something stood in the way: dead sessions are ended first, in the same statement.
pub(super) const GRANT_OVER_DEAD: &str = "-- seats::grant_over_dead
WITH dead AS (
    UPDATE sessions SET ended_at = $10, ended_reason = 'expired'
    WHERE license_id = $2 AND ended_at IS NULL AND expires_at <= $10 AND (seat = $4 OR holder = $5) AND id <> $3
    RETURNING id
), cleared AS (
    SELECT count(*) FROM dead
), granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM cleared
    WHERE ($4 <= $12 AND NOT EXISTS (SELECT FROM sessions WHERE license_id = $2 AND ended_at IS NULL AND seat > $12 AND expires_at > $10))
       OR $12 > (SELECT count(*) FROM sessions WHERE license_id = $2 AND ended_at IS NULL AND expires_at > $10)
    ON CONFLICT DO NOTHING
    RETURNING id
), audited AS (
    INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
    SELECT $1, $10, 'client', 'session.acquired', $2, id FROM granted
    UNION ALL
    SELECT $1, $10, 'system', 'session.expired', $2, id FROM dead
)
SELECT id FROM granted";

/// Records a grant and ends the dead sessions in its way. False: someone sits on that seat, or that holder sits already.
pub(super) async fn grant(database: &Database, license: &License, place: &Place, applicant: &Applicant) -> Result<bool, Error> {
    let idempotency = applicant.idempotency_digest();
    let (key, hash) = match &idempotency {
        Some(key) => (Some(&key[..]), Some(&applicant.request_hash[..])),
        None => (None, None),
    };
    let number = |value: u32| i32::try_from(value).map_err(|error| Error::Unexpected(error.to_string()));
    let (seat, limit) = (number(place.seat.get())?, number(license.policy.seat_limit())?);
    let (tenant, license_id, session) = (license.tenant.as_uuid(), license.id.as_uuid(), place.session.as_uuid());
    let holder = &applicant.holder.as_bytes()[..];
    let (hardware, email) = (applicant.hardware_id.as_str(), applicant.user_email.as_str());
    let params: [&(dyn ToSql + Sync); 12] =
        [&tenant, &license_id, &session, &seat, &holder, &hardware, &email, &key, &hash, &place.now, &place.expires_at, &limit];
    if !database.query_as(license.tenant, GRANT, &params).await?.is_empty() {
        return Ok(true);
    }
    Ok(!database.query_as(license.tenant, GRANT_OVER_DEAD, &params).await?.is_empty())
}

pub(super) const FIND: &str = "-- seats::find
SELECT expires_at, ended_at, ended_reason FROM sessions WHERE id = $1 AND license_id = $2";

pub(super) async fn find(database: &Database, license: &License, session: SessionKey) -> Result<Option<Record>, Error> {
    let rows = database.query_as(license.tenant, FIND, &[&session.as_uuid(), &license.id.as_uuid()]).await?;
    rows.first().map(record).transpose()
}

pub(super) const RELEASE: &str = "-- seats::release
WITH released AS (
    UPDATE sessions SET ended_at = $3, ended_reason = 'released'
    WHERE id = $1 AND license_id = $2 AND ended_at IS NULL RETURNING id, ended_at
), audited AS (
    INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
    SELECT $4, $3, 'client', 'session.released', $2, id FROM released
)
SELECT ended_at FROM released";

/// Ends a session. None: there was nothing to end.
pub(super) async fn release(
    database: &Database,
    license: &License,
    session: SessionKey,
    at: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    end(database, RELEASE, license, session, at).await
}

pub(super) const EXPIRE: &str = "-- seats::expire
WITH expired AS (
    UPDATE sessions SET ended_at = $3, ended_reason = 'expired'
    WHERE id = $1 AND license_id = $2 AND ended_at IS NULL AND expires_at <= $3 RETURNING id, ended_at
), audited AS (
    INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
    SELECT $4, $3, 'system', 'session.expired', $2, id FROM expired
)
SELECT ended_at FROM expired";

/// Ends a session that Redis has found dead, if its record has fallen due. None: it had not, or was ended before.
pub(super) async fn expire(
    database: &Database,
    license: &License,
    session: SessionKey,
    now: Timestamp,
) -> Result<Option<Timestamp>, Error> {
    end(database, EXPIRE, license, session, now).await
}

async fn end(database: &Database, sql: &str, license: &License, session: SessionKey, at: Timestamp) -> Result<Option<Timestamp>, Error> {
    let rows = database.query_as(license.tenant, sql, &[&session.as_uuid(), &license.id.as_uuid(), &at, &license.tenant.as_uuid()]).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

pub(super) const LIVE: &str = "-- seats::live
SELECT id, expires_at, seat, holder, idempotency_key, request_hash FROM sessions
WHERE license_id = $1 AND ended_at IS NULL AND expires_at > $2";

/// The sessions of a license that have not ended and whose record falls due after `since`.
pub(super) async fn live(database: &Database, license: &License, since: Timestamp) -> Result<Vec<LiveSession>, Error> {
    let rows = database.query_as(license.tenant, LIVE, &[&license.id.as_uuid(), &since]).await?;
    rows.iter().map(live_session).collect()
}

fn live_session(row: &Row) -> Result<LiveSession, Error> {
    Ok(LiveSession {
        key: SessionKey::from_uuid(row.try_get::<_, Uuid>(0)?),
        expires_at: row.try_get(1)?,
        seat: row.try_get(2)?,
        holder: row.try_get(3)?,
        idempotency_key: row.try_get(4)?,
        request_hash: row.try_get(5)?,
    })
}

fn record(row: &Row) -> Result<Record, Error> {
    let ended_at: Option<Timestamp> = row.try_get(1)?;
    let reason: Option<&str> = row.try_get(2)?;
    let ended = match (ended_at, reason) {
        (Some(at), Some(reason)) => {
            let reason = reason.parse().map_err(|_| Error::Unexpected(format!("a session ended for {reason}")))?;
            Some((at, reason))
        }
        _ => None,
    };
    Ok(Record { expires_at: row.try_get(0)?, ended })
}
