//! The statements on `sessions`: PostgreSQL's record of who sits where. One function each.

use std::sync::Arc;

use tokio_postgres::{Row, types::ToSql};
use uuid::Uuid;

use super::{Applicant, Error, answer::Place};
use crate::{
    db::{Database, Patience},
    domain::{EndReason, HardwareHash, License, SeatUnit, SessionKey, SessionRef, Timestamp},
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

// One row for each grant of the batch with nothing in its way: nobody on the seat, the holder on none. The guards themselves speak
// only where two grant the same seat at the same moment; to let them speak each time, with `ON CONFLICT`, takes PostgreSQL longer than to look.
// The limit matters after it was lowered: a session on a number above it counts too, even if Redis has forgotten it; and a half-done grant of
// such a number is finished only if there is room all the same. A blocked device gets none. Whoever asks sorts by license and seat, so that
// two batches wait for each other in one direction only.
pub(super) const GRANT: &str = "-- seats::grant
WITH granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1::uuid, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash, at, expires_at
    FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::bytea[], $6::text[], $7::text[], $8::bytea[], $9::bytea[],
                $10::timestamptz[], $11::timestamptz[], $12::int[])
         AS asked (license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash, at, expires_at, seat_limit)
    WHERE seat <= seat_limit AND (
        SELECT s.id FROM sessions s WHERE s.license_id = asked.license_id AND s.ended_reason IS NULL AND s.seat = asked.seat LIMIT 1
    ) IS NULL AND (
        SELECT s.id FROM sessions s WHERE s.license_id = asked.license_id AND s.ended_reason IS NULL AND s.holder = asked.holder LIMIT 1
    ) IS NULL AND (
        SELECT s.id FROM sessions s
        WHERE s.license_id = asked.license_id AND s.ended_reason IS NULL AND s.seat > asked.seat_limit AND s.expires_at > asked.at
        ORDER BY s.license_id, s.seat LIMIT 1
    ) IS NULL AND NOT EXISTS (
        SELECT FROM hardware_blocks b WHERE b.license_id = asked.license_id AND b.hardware_id = asked.hardware_id AND b.until > asked.at
    )
    RETURNING id, license_id, started_at
), audited AS (
    INSERT INTO audit_events_of_seats (tenant_id, at, actor, action, license_id, session_id)
    SELECT $1, started_at, 'client', 'session.acquired', license_id, id FROM granted
)
SELECT license_id, id FROM granted";

// One grant where something stood in the way: dead sessions are ended first, in the same statement. Where Redis has live sessions of
// the holder on the seat ($13), those there that are due are not dead.
pub(super) const GRANT_OVER_DEAD: &str = "-- seats::grant_over_dead
WITH dead AS (
    UPDATE sessions SET ended_at = $10, ended_reason = 'expired'
    WHERE license_id = $2 AND ended_reason IS NULL AND expires_at <= $10 AND (seat = $4 OR holder = $5) AND id <> $3
      AND NOT ($13::boolean AND seat = $4 AND holder = $5)
    RETURNING id
), cleared AS (
    SELECT count(*) FROM dead
), granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11 FROM cleared
    WHERE (($4 <= $12 AND NOT EXISTS (SELECT FROM sessions WHERE license_id = $2 AND ended_reason IS NULL AND seat > $12 AND expires_at > $10))
           OR $12 > (SELECT count(DISTINCT seat) FROM sessions WHERE license_id = $2 AND ended_reason IS NULL AND expires_at > $10))
      AND NOT EXISTS (SELECT FROM hardware_blocks WHERE license_id = $2 AND hardware_id = $6 AND until > $10)
    ON CONFLICT DO NOTHING
    RETURNING id
), audited AS (
    INSERT INTO audit_events (tenant_id, at, actor, action, license_id, session_id)
    SELECT $1, $10, 'client', 'session.acquired', $2, id FROM granted
    UNION ALL
    SELECT $1, $10, 'system', 'session.expired', $2, id FROM dead
)
SELECT id FROM granted";

// Another session on a seat that its holder has. The seat's primary is locked and marked, and gives the number: so the seat stays guarded
// however it ends. One that has fallen due counts if the seat lives otherwise, or if there is room for it anew.
pub(super) const SHARE: &str = "-- seats::share
WITH shared AS (
    UPDATE sessions SET shares_given = shares_given + 1
    WHERE license_id = $2 AND holder = $5 AND share = 0 AND ended_reason IS NULL AND seat = $4
      AND (expires_at > $10
           OR EXISTS (SELECT FROM sessions WHERE license_id = $2 AND holder = $5 AND share > 0 AND ended_reason IS NULL AND expires_at > $10)
           OR $12::integer > (SELECT count(DISTINCT seat) FROM sessions WHERE license_id = $2 AND ended_reason IS NULL AND expires_at > $10))
      AND NOT EXISTS (SELECT FROM hardware_blocks WHERE license_id = $2 AND hardware_id = $6 AND until > $10)
    RETURNING shares_given
), granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, share, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1, $2, $3, shares_given, $4, $5, $6, $7, $8, $9, $10, $11 FROM shared
    ON CONFLICT DO NOTHING
    RETURNING id
), audited AS (
    INSERT INTO audit_events_of_seats (tenant_id, at, actor, action, license_id, session_id, details)
    SELECT $1, $10, 'client', 'session.acquired', $2, id, '{\"shares_seat\": true}'::jsonb FROM granted
)
SELECT id FROM granted";

// The end of a session that the one before has replaced, if that one was recorded.
pub(super) const REPLACE: &str = "-- seats::replace
WITH replaced AS (
    UPDATE sessions SET ended_at = greatest($4, started_at), ended_reason = 'released'
    WHERE id = $3 AND license_id = $2 AND coalesce(ended_reason, '') = ''
      AND EXISTS (SELECT FROM sessions AS new WHERE new.id = $5 AND new.license_id = $2 AND coalesce(new.ended_reason, '') = '')
    RETURNING id, ended_at
), audited AS (
    INSERT INTO audit_events_of_seats (tenant_id, at, actor, action, license_id, session_id, details)
    SELECT $1, ended_at, 'client', 'session.released', $2, id, jsonb_build_object('replaced_by', $6::text, 'user_email', $7::text)
    FROM replaced
)
SELECT id FROM replaced";

pub(super) const REPLACEABLE: &str = "-- seats::replaceable
SELECT FROM sessions WHERE id = $1 AND license_id = $2 AND coalesce(ended_reason, '') = '' AND expires_at > $3
  AND ($4::bytea IS NULL OR holder = $4)";

// Redis alone has the holder's seat: the record has ended it, never had it, or it has fallen due
// there; and there is no room for it anew. Where the record has a live session on the seat or of
// the holder, Redis has forgotten that one.
pub(super) const FULL: &str = "-- seats::full
SELECT WHERE NOT EXISTS (
    SELECT FROM sessions WHERE license_id = $1 AND ended_reason IS NULL AND holder = $2
      AND expires_at > $4
) AND NOT EXISTS (
    SELECT FROM sessions WHERE license_id = $1 AND ended_reason IS NULL AND seat = $3
      AND expires_at > $4
) AND $5::integer <= (
    SELECT count(DISTINCT seat) FROM sessions
    WHERE license_id = $1 AND ended_reason IS NULL AND expires_at > $4
)";

/// A seat that Redis has chosen, to be recorded.
#[derive(Clone, Debug)]
pub(super) struct Grant {
    pub(super) license: Arc<License>,
    pub(super) place: Place,
    pub(super) applicant: Applicant,
}

/// The columns of a grant, as PostgreSQL takes them.
pub(super) struct GrantRow<'a> {
    pub(super) license: Uuid,
    pub(super) session: Uuid,
    pub(super) seat: i32,
    pub(super) holder: &'a [u8],
    pub(super) hardware: &'a str,
    pub(super) email: &'a str,
    pub(super) idempotency_key: Option<[u8; 16]>,
    pub(super) request_hash: Option<&'a [u8]>,
    pub(super) at: Timestamp,
    pub(super) expires_at: Timestamp,
    pub(super) limit: i32,
}

fn number(value: u32) -> Result<i32, Error> {
    i32::try_from(value).map_err(|error| Error::Unexpected(error.to_string()))
}

impl Grant {
    /// The session that it replaces.
    pub(super) fn replaced(&self) -> Option<SessionKey> {
        self.applicant.replaced_on(self.license.id).filter(|_| self.place.replaces)
    }

    pub(super) fn row(&self) -> Result<GrantRow<'_>, Error> {
        let idempotency_key = self.applicant.idempotency_digest();
        Ok(GrantRow {
            license: self.license.id.as_uuid(),
            session: self.place.session.as_uuid(),
            seat: number(self.place.seat.get())?,
            holder: &self.place.holder.as_bytes()[..],
            hardware: self.applicant.hardware_id.as_str(),
            email: self.applicant.user_email.as_str(),
            idempotency_key,
            request_hash: idempotency_key.map(|_| &self.applicant.request_hash[..]),
            at: self.place.now,
            expires_at: self.place.expires_at,
            limit: number(self.license.policy.seat_limit())?,
        })
    }
}

/// Which of the two statements records a grant by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Way {
    /// On a seat that is the holder's anew; dead sessions in its way are ended.
    OverDead,
    /// On the seat that the holder has.
    Shared,
}

/// Records a grant by itself, and with it the end of the session that it replaces. False: something else is in its way.
pub(super) async fn record_apart(database: &Database, grant: &Grant, way: Way) -> Result<bool, Error> {
    let row = grant.row()?;
    let (license, at, tenant) = (&grant.license, row.at, grant.license.tenant.as_uuid());
    let key = row.idempotency_key.as_ref().map(|key| &key[..]);
    let params: [&(dyn ToSql + Sync); 13] = [
        &tenant,
        &row.license,
        &row.session,
        &row.seat,
        &row.holder,
        &row.hardware,
        &row.email,
        &key,
        &row.request_hash,
        &at,
        &row.expires_at,
        &row.limit,
        &grant.place.is_shared,
    ];
    let (sql, params) = match way {
        Way::OverDead => (GRANT_OVER_DEAD, &params[..]),
        Way::Shared => (SHARE, &params[..12]),
    };
    let replaced = grant.replaced().map(SessionKey::as_uuid);
    let name = SessionRef::of(license.id, at, grant.place.session).to_string();
    let replacement: [&(dyn ToSql + Sync); 7] = [&tenant, &row.license, &replaced, &at, &row.session, &name, &row.email];
    let mut statements = vec![(license.tenant, sql, params)];
    if replaced.is_some() {
        statements.push((license.tenant, REPLACE, &replacement[..]));
    }
    match database.query_all_as(&statements, Patience::UntilDeadline).await {
        Ok(answers) => Ok(!answers[0].is_empty()),
        // The seat of a dead session was shared by live ones, who have it now; or two came at the same moment.
        Err(error) if error.is_unique_violation() => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Whether the session that the applicant asks to replace lives by the record, and may be replaced.
pub(super) async fn is_replaceable(database: &Database, license: &License, applicant: &Applicant, now: Timestamp) -> Result<bool, Error> {
    let Some(replaced) = applicant.replaced_on(license.id) else { return Ok(false) };
    let holder = match license.policy.seat_unit {
        SeatUnit::Device => Some(&applicant.holder.as_bytes()[..]),
        SeatUnit::Process => None,
    };
    let params: [&(dyn ToSql + Sync); 4] = [&replaced.as_uuid(), &license.id.as_uuid(), &now, &holder];
    Ok(!database.query_as(license.tenant, REPLACEABLE, &params).await?.is_empty())
}

/// Whether the seat that Redis has for a holder is none by the record, which has no room for it.
pub(super) async fn is_full(database: &Database, license: &License, place: &Place) -> Result<bool, Error> {
    let (seat, holder) = (number(place.seat.get())?, &place.holder.as_bytes()[..]);
    let (id, limit) = (license.id.as_uuid(), number(license.policy.seat_limit())?);
    let params: [&(dyn ToSql + Sync); 5] = [&id, &holder, &seat, &place.now, &limit];
    Ok(!database.query_as(license.tenant, FULL, &params).await?.is_empty())
}

pub(super) const BLOCKED: &str = "-- seats::blocked
SELECT FROM hardware_blocks WHERE license_id = $1 AND hardware_id = $2 AND until > $3";

/// Whether the applicant's device may not take a seat now.
pub(super) async fn is_blocked(database: &Database, license: &License, applicant: &Applicant, now: Timestamp) -> Result<bool, Error> {
    let params: [&(dyn ToSql + Sync); 3] = [&license.id.as_uuid(), &applicant.hardware_id.as_str(), &now];
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
WITH renewed AS (
    UPDATE sessions SET expires_at = $3 WHERE id = $1 AND license_id = $2 AND coalesce(ended_reason, '') = '' AND expires_at < $3
    AND (expires_at > $4 OR $5 > (SELECT count(DISTINCT seat) FROM sessions WHERE license_id = $2 AND ended_reason IS NULL AND expires_at > $4))
)
SELECT expires_at, ended_at, ended_reason FROM sessions WHERE id = $1 AND license_id = $2";

/// Finds a session that Redis has, and renews its record.
pub(super) async fn hold(database: &Database, license: &License, place: &Place) -> Result<Option<Record>, Error> {
    let limit = i64::from(license.policy.seat_limit());
    let params: [&(dyn ToSql + Sync); 5] = [&place.session.as_uuid(), &license.id.as_uuid(), &place.expires_at, &place.now, &limit];
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

pub(super) const EXPIRE: &str = "-- seats::expire
WITH expired AS (
    UPDATE sessions SET ended_at = $3, ended_reason = 'expired'
    WHERE id = $1 AND license_id = $2 AND coalesce(ended_reason, '') = '' AND expires_at <= $3 RETURNING id, ended_at
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
    let params: [&(dyn ToSql + Sync); 4] = [&session.as_uuid(), &license.id.as_uuid(), &now, &license.tenant.as_uuid()];
    let rows = database.query_as(license.tenant, EXPIRE, &params).await?;
    Ok(rows.first().map(|row| row.try_get(0)).transpose()?)
}

pub(super) const LIVE: &str = "-- seats::live
SELECT id, expires_at, seat, holder, idempotency_key, request_hash, hardware_id FROM sessions
WHERE license_id = $1 AND ended_reason IS NULL AND expires_at > $2 ORDER BY license_id, seat";

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
        hardware: HardwareHash::of(row.try_get(6)?),
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
