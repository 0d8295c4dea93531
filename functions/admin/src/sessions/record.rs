//! The statements on sessions.

use std::time::Duration;

use platform::{
    db::{self, Transaction},
    domain::{
        Email, EndReason, HardwareId, LicenseId, SeatNumber, SessionKey, SessionRef, SessionState, TenantId, Timestamp, rfc3339_millis,
        rfc3339_millis_option,
    },
};
use serde::Serialize;
use tokio_postgres::{Row, types::ToSql};
use utoipa::ToSchema;

use crate::{
    page::{Page, Position},
    read::{id, whole},
};

/// A seat that somebody has, or had.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub(crate) struct Session {
    /// Its name here. Not the `session_id` that its holder has, who alone may renew and release it.
    #[schema(value_type = String, example = "ses_5v5r9yb9w14dq8jk6c3y5fb2nc000r9yb9w14dq8jk6c3y5f")]
    pub(super) id: SessionRef,
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) tenant_id: TenantId,
    #[schema(value_type = String, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) license_id: LicenseId,
    /// The number of its seat.
    #[schema(minimum = 1)]
    pub(super) seat: u32,
    /// Other live sessions are on the same seat: programs or users of one device. The seat is free when the last of them has ended.
    pub(super) shares_seat: bool,
    #[schema(example = "7c:50:79:3e:f2:01")]
    pub(super) hardware_id: String,
    #[schema(format = Email)]
    pub(super) user_email: String,
    pub(super) state: SessionState,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) started_at: Timestamp,
    /// When it beat last: `expires_at` less the TTL of its license as it is now. Null once it has ended.
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) last_heartbeat: Option<Timestamp>,
    /// When it is lost if no heartbeat comes. Where the seat engine cannot be asked, or knows no better, it is at least this. A live one
    /// whose time is past is about to be ended. Of one that has ended: when it would have been lost, as last recorded.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) expires_at: Timestamp,
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) ended_at: Option<Timestamp>,
    pub(super) ended_reason: Option<EndReason>,
}

/// A session with what only the engine is told.
#[derive(Clone, Debug)]
pub(super) struct Found {
    pub(super) key: SessionKey,
    ttl: Duration,
    pub(super) session: Session,
}

impl Found {
    /// The same, with what the seat engine knows of its expiry: the later one is true, for neither is ever too late.
    pub(super) fn alive_until(mut self, told: Option<Timestamp>) -> Self {
        let session = &mut self.session;
        if session.state == SessionState::Live {
            session.expires_at = told.map_or(session.expires_at, |told| told.max(session.expires_at));
            session.last_heartbeat = Some((session.expires_at - self.ttl).max(session.started_at));
        }
        self
    }

    /// The same as it was before it was ended.
    pub(super) fn as_it_lived(&self) -> Self {
        let session = Session { state: SessionState::Live, ended_at: None, ended_reason: None, ..self.session.clone() };
        Self { session, ..self.clone() }.alive_until(None)
    }
}

pub(super) fn found(row: &Row) -> Result<Found, db::Error> {
    let (key, license_id) = (id(row, "id", SessionKey::from_uuid)?, id(row, "license_id", LicenseId::from_uuid)?);
    let (started_at, ended_at) = (row.try_get("started_at")?, row.try_get::<_, Option<Timestamp>>("ended_at")?);
    let reason: Option<&str> = row.try_get("ended_reason")?;
    let ended_reason = reason.map(|word| word.parse().map_err(|_| db::Error::Record(format!("ended_reason is {word}")))).transpose()?;
    let session = Session {
        id: SessionRef::of(license_id, started_at, key),
        tenant_id: id(row, "tenant_id", TenantId::from_uuid)?,
        license_id,
        seat: SeatNumber::new(whole(row, "seat")?).map(SeatNumber::get).ok_or_else(|| db::Error::Record("seat is 0".to_owned()))?,
        shares_seat: row.try_get("shares_seat")?,
        hardware_id: row.try_get("hardware_id")?,
        user_email: row.try_get("user_email")?,
        state: if ended_at.is_none() { SessionState::Live } else { SessionState::Ended },
        started_at,
        last_heartbeat: None,
        expires_at: row.try_get("expires_at")?,
        ended_at,
        ended_reason,
    };
    let ttl = Duration::from_secs(whole(row, "session_ttl_seconds")?.into());
    Ok(Found { key, ttl, session }.alive_until(None))
}

/// Where a row stands in its list.
pub(super) fn position(row: &Row) -> Result<Position, db::Error> {
    Ok(Position { at: row.try_get("started_at")?, id: row.try_get("id")? })
}

/// What is told of a session beside its own row. Its seat is looked for by the index of seats.
macro_rules! told {
    ($session:literal) => {
        concat!(
            "(SELECT session_ttl_seconds FROM licenses WHERE licenses.id = ",
            $session,
            ".license_id),
       ",
            $session,
            ".ended_at IS NULL AND EXISTS (SELECT FROM sessions AS other WHERE other.license_id = ",
            $session,
            ".license_id AND other.ended_reason IS NULL
         AND other.seat = ",
            $session,
            ".seat AND other.id <> ",
            $session,
            ".id) AS shares_seat"
        )
    };
}

/// The sessions of some that live, or ended in one way: read by an index that has them in the list's order. Of those that are not wanted
/// none is read: a condition would be planned as a scan of the whole table by several processes, which are started to find nothing.
macro_rules! run {
    ($whose:literal, $state:literal, $is_so:literal) => {
        concat!(
            "(SELECT id, tenant_id, license_id, seat, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason FROM sessions
  WHERE ",
            $whose,
            " AND ",
            $is_so,
            " AND ($1::timestamptz IS NULL OR (started_at, id) < ($1, $2::uuid))
    AND ($5::timestamptz IS NULL OR started_at >= $5) AND ($6::timestamptz IS NULL OR started_at < $6)
  ORDER BY started_at DESC, id DESC LIMIT CASE WHEN '",
            $state,
            "' = ANY ($4::text[]) THEN $3::bigint ELSE 0 END)"
        )
    };
}
macro_rules! list {
    ($name:literal, $whose:literal, $is_live:literal) => {
        concat!(
            "-- sessions::",
            $name,
            "
SELECT page.*, ",
            told!("page"),
            " FROM (",
            run!($whose, "live", $is_live),
            "
  UNION ALL ",
            run!($whose, "expired", "ended_at IS NOT NULL AND ended_reason = 'expired'"),
            "
  UNION ALL ",
            run!($whose, "released", "ended_at IS NOT NULL AND ended_reason = 'released'"),
            "
  UNION ALL ",
            run!($whose, "revoked", "ended_at IS NOT NULL AND ended_reason = 'revoked'"),
            "
  ORDER BY started_at DESC, id DESC LIMIT $3) AS page ORDER BY started_at DESC, id DESC"
        )
    };
}

const LIST: &str = list!("list", "tenant_id = current_tenant()", "ended_at IS NULL");
// Of a license that the caller does not see nothing is read: not even to be hidden, row by row. Who lives is in the index of its seats.
const LIST_OF_LICENSE: &str =
    list!("list_of_license", "license_id = $7 AND EXISTS (SELECT FROM licenses WHERE id = $7)", "ended_reason IS NULL");

/// The sessions of a person or on a device that live, or that have ended: by indexes of their own, in the list's order.
macro_rules! run_of_somebody {
    ($whose:literal, $is_so:literal) => {
        concat!(
            "(SELECT id, tenant_id, license_id, seat, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason FROM sessions
  WHERE ",
            $whose,
            " AND ",
            $is_so,
            " AND ($8::text IS NULL OR user_email = $8) AND ($9::text IS NULL OR user_email = $9) AND ($10::text IS NULL OR hardware_id = $10)
    AND ($7::uuid IS NULL OR (license_id = $7 AND EXISTS (SELECT FROM licenses WHERE id = $7)))
    AND ($1::timestamptz IS NULL OR (started_at, id) < ($1, $2::uuid))
    AND ($5::timestamptz IS NULL OR started_at >= $5) AND ($6::timestamptz IS NULL OR started_at < $6)
  ORDER BY started_at DESC, id DESC LIMIT $3)"
        )
    };
}
macro_rules! list_of_somebody {
    ($name:literal, $whose:literal) => {
        concat!(
            "-- sessions::",
            $name,
            "
SELECT page.*, ",
            told!("page"),
            " FROM (",
            run_of_somebody!($whose, "ended_at IS NULL AND 'live' = ANY ($4::text[])"),
            "
  UNION ALL ",
            run_of_somebody!($whose, "ended_at IS NOT NULL AND ended_reason = ANY ($4::text[])"),
            "
  ORDER BY started_at DESC, id DESC LIMIT $3) AS page ORDER BY started_at DESC, id DESC"
        )
    };
}

// The tenant stands beside the person in the index: how much somebody of another tenant does is not to be told by the time it takes.
const LIST_OF_SOMEBODY: &str = list_of_somebody!("list_of_somebody", "tenant_id = current_tenant()");

// The license and the moment lead to a row, or to a few.
const FIND: &str = concat!(
    "-- sessions::find
SELECT found.*, ",
    told!("found"),
    " FROM (
  SELECT id, tenant_id, license_id, seat, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason FROM sessions
  WHERE license_id = $1 AND started_at = $2 AND ended_reason IS NULL
  UNION ALL
  SELECT id, tenant_id, license_id, seat, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason FROM sessions
  WHERE license_id = $1 AND started_at = $2 AND ended_at IS NOT NULL AND ended_reason IN ('expired', 'released', 'revoked')) AS found"
);

// Not before it began: the engine's clock is another one.
const REVOKE: &str = concat!(
    "-- sessions::revoke
UPDATE sessions SET ended_at = greatest($2, started_at), ended_reason = 'revoked' WHERE id = $1 AND ended_at IS NULL
RETURNING id, tenant_id, license_id, seat, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason,
          ",
    told!("sessions")
);

// In the order of their ids, as all who end several sessions lock them. Addresses are compared as they are when a seat is acquired.
const REVOKE_OF_USER: &str = concat!(
    "-- sessions::revoke_of_user
WITH live AS (
    SELECT s.id FROM sessions s JOIN licenses l ON l.id = s.license_id
    WHERE l.tenant_id = current_tenant() AND l.requires_token AND s.ended_reason IS NULL AND lower(s.user_email) = lower($1)
    ORDER BY s.id FOR NO KEY UPDATE OF s
)
UPDATE sessions SET ended_at = greatest($2, started_at), ended_reason = 'revoked'
FROM live WHERE sessions.id = live.id AND sessions.ended_reason IS NULL
RETURNING sessions.id, tenant_id, license_id, seat, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason,
          ",
    told!("sessions")
);

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, LIST_OF_LICENSE, LIST_OF_SOMEBODY, FIND, REVOKE, REVOKE_OF_USER];

/// Which sessions are wanted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) state: Option<SessionState>,
    pub(super) reason: Option<EndReason>,
    pub(super) license: Option<LicenseId>,
    pub(super) email: Option<Email>,
    /// Whose sessions the caller sees, where it does not see those of others.
    pub(super) own: Option<String>,
    pub(super) hardware: Option<HardwareId>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

impl Filter {
    fn states(&self) -> &'static [&'static str] {
        match (self.reason, self.state) {
            (Some(EndReason::Expired), _) => &["expired"],
            (Some(EndReason::Released), _) => &["released"],
            (Some(EndReason::Revoked), _) => &["revoked"],
            (None, Some(SessionState::Live)) => &["live"],
            (None, Some(SessionState::Ended)) => &["expired", "released", "revoked"],
            (None, None) => &["live", "expired", "released", "revoked"],
        }
    }
}

pub(super) async fn list(transaction: &Transaction, page: &Page, filter: &Filter) -> Result<Vec<Row>, db::Error> {
    let (email, hardware) = (filter.email.as_ref().map(Email::as_str), filter.hardware.as_ref().map(HardwareId::as_str));
    let license = filter.license.map(LicenseId::as_uuid);
    let params: [&(dyn ToSql + Sync); 10] =
        [&page.at(), &page.id(), &page.rows(), &filter.states(), &filter.from, &filter.until, &license, &email, &filter.own, &hardware];
    if email.is_some() || filter.own.is_some() || hardware.is_some() {
        transaction.query(LIST_OF_SOMEBODY, &params).await
    } else if license.is_some() {
        transaction.query(LIST_OF_LICENSE, &params[..7]).await
    } else {
        transaction.query(LIST, &params[..6]).await
    }
}

/// The session of that name.
pub(super) async fn find(transaction: &Transaction, name: &SessionRef) -> Result<Option<Found>, db::Error> {
    let Some(started_at) = name.started_at() else { return Ok(None) };
    let rows = transaction.query(FIND, &[&name.license.as_uuid(), &started_at]).await?;
    let candidates = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    Ok(candidates.into_iter().find(|found| name.is_of(found.key)))
}

/// Ends the live sessions of an address on licenses of the transaction's tenant that require a token.
pub(super) async fn revoke_of_user(transaction: &Transaction, email: &str, now: Timestamp) -> Result<Vec<Found>, db::Error> {
    transaction.query(REVOKE_OF_USER, &[&email, &now]).await?.iter().map(found).collect()
}

/// Ends a session. None: it has ended already.
pub(super) async fn revoke(transaction: &Transaction, key: SessionKey, now: Timestamp) -> Result<Option<Found>, db::Error> {
    transaction.first(REVOKE, &[&key.as_uuid(), &now]).await?.as_ref().map(found).transpose()
}
