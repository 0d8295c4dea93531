//! Grants on `sessions`: the statements that record a seat which Redis has chosen.

use std::sync::Arc;

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{Applicant, Error, answer::Place, clocks::Due, records::number};
use crate::{
    db::{Database, Patience},
    domain::{License, SessionKey, SessionRef, Timestamp},
};

// One row for each grant of the batch with nothing in its way: nobody on the seat, the holder on none. The guards themselves speak
// only where two grant the same seat at the same moment; to let them speak each time, with `ON CONFLICT`, takes PostgreSQL longer than to look.
// The limit matters after it was lowered: a session on a number above it counts too, even if Redis has forgotten it; and a half-done grant of
// such a number is finished only if there is room all the same. A blocked device gets none. Whoever asks sorts by license and seat, so that
// two batches wait for each other in one direction only.
pub(super) const GRANT: &str = "-- seats::grant
WITH granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1::uuid, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
           at, expires_at + clock_shift(at, $13)
    FROM unnest($2::uuid[], $3::uuid[], $4::int[], $5::bytea[], $6::text[], $7::text[], $8::bytea[], $9::bytea[],
                $10::timestamptz[], $11::timestamptz[], $12::int[])
         AS asked (license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash, at, expires_at, seat_limit)
    WHERE seat <= seat_limit AND (
        SELECT s.id FROM sessions s WHERE s.license_id = asked.license_id AND s.ended_reason IS NULL AND s.seat = asked.seat LIMIT 1
    ) IS NULL AND (
        SELECT s.id FROM sessions s WHERE s.license_id = asked.license_id AND s.ended_reason IS NULL AND s.holder = asked.holder LIMIT 1
    ) IS NULL AND (
        SELECT s.id FROM sessions s
        WHERE s.license_id = asked.license_id AND s.ended_reason IS NULL AND s.seat > asked.seat_limit
          AND s.expires_at > due_by(asked.at, asked.expires_at - asked.at, $13::timestamptz)
        ORDER BY s.license_id, s.seat LIMIT 1
    ) IS NULL AND NOT EXISTS (
        SELECT FROM hardware_blocks b WHERE b.license_id = asked.license_id AND b.hardware_id = asked.hardware_id
          AND b.until > least(asked.at, coalesce($13, statement_timestamp()))
    )
    RETURNING id, license_id, started_at
), audited AS (
    INSERT INTO audit_events_of_seats (tenant_id, at, actor, action, license_id, session_id)
    SELECT $1, started_at, 'client', 'session.acquired', license_id, id FROM granted
)
SELECT license_id, id FROM granted";

// One grant where something stood in the way: dead sessions are ended first, in the same statement. Where Redis has live sessions of
// the holder on the seat ($15), those there that are due are not dead.
pub(super) const GRANT_OVER_DEAD: &str = "-- seats::grant_over_dead
WITH clock AS MATERIALIZED (
    SELECT $11::timestamptz + clock_shift($10::timestamptz, $14) AS expires_at,
           due_by($13::timestamptz, $11 - $10, $14::timestamptz) AS due
), dead AS (
    UPDATE sessions SET ended_at = $10, ended_reason = 'expired'
    WHERE license_id = $2 AND ended_reason IS NULL AND expires_at <= (SELECT due FROM clock) AND (seat = $4 OR holder = $5) AND id <> $3
      AND NOT ($15::boolean AND seat = $4 AND holder = $5)
    RETURNING id
), cleared AS (
    SELECT count(*) FROM dead
), granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1, $2, $3, $4, $5, $6, $7, $8, $9, $10, clock.expires_at FROM cleared, clock
    WHERE (($4 <= $12 AND NOT EXISTS (SELECT FROM sessions WHERE license_id = $2 AND ended_reason IS NULL AND seat > $12
                                      AND expires_at > (SELECT due FROM clock)))
           OR $12 > (SELECT count(DISTINCT seat) FROM sessions WHERE license_id = $2 AND ended_reason IS NULL
                     AND expires_at > (SELECT due FROM clock)))
      AND NOT EXISTS (SELECT FROM hardware_blocks WHERE license_id = $2 AND hardware_id = $6 AND until > least($10, coalesce($14, statement_timestamp())))
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
WITH clock AS MATERIALIZED (
    SELECT $11::timestamptz + clock_shift($10::timestamptz, $14) AS expires_at,
           due_by($13::timestamptz, $11 - $10, $14::timestamptz) AS due
), shared AS (
    UPDATE sessions SET shares_given = shares_given + 1
    WHERE license_id = $2 AND holder = $5 AND share = 0 AND ended_reason IS NULL AND seat = $4
      AND (expires_at > (SELECT due FROM clock)
           OR EXISTS (SELECT FROM sessions WHERE license_id = $2 AND holder = $5 AND share > 0 AND ended_reason IS NULL
                      AND expires_at > (SELECT due FROM clock))
           OR $12::integer > (SELECT count(DISTINCT seat) FROM sessions WHERE license_id = $2 AND ended_reason IS NULL
                              AND expires_at > (SELECT due FROM clock)))
      AND NOT EXISTS (SELECT FROM hardware_blocks WHERE license_id = $2 AND hardware_id = $6 AND until > least($10, coalesce($14, statement_timestamp())))
    RETURNING shares_given
), granted AS (
    INSERT INTO sessions (tenant_id, license_id, id, share, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                          started_at, expires_at)
    SELECT $1, $2, $3, shares_given, $4, $5, $6, $7, $8, $9, $10, clock.expires_at FROM shared, clock
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
pub(super) async fn record_apart(database: &Database, grant: &Grant, due: &Due, way: Way) -> Result<bool, Error> {
    let row = grant.row()?;
    let (license, at, tenant) = (&grant.license, row.at, grant.license.tenant.as_uuid());
    let key = row.idempotency_key.as_ref().map(|key| &key[..]);
    let params: [&(dyn ToSql + Sync); 15] = [
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
        &due.redis_now,
        &due.moved,
        &grant.place.is_shared,
    ];
    let (sql, params) = match way {
        Way::OverDead => (GRANT_OVER_DEAD, &params[..]),
        Way::Shared => (SHARE, &params[..14]),
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
