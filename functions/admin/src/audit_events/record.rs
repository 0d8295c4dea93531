//! The statements on audit events. There is none that changes or deletes one.

use aws_lc_rs::digest;
use platform::{
    db::{self, Transaction},
    domain::{EventId, LicenseId, SessionKey, SessionRef, TenantId, Timestamp, TokenId, UserId, recorded_at, rfc3339_millis},
};
use serde::Serialize;
use serde_json::Value;
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::page::{Position, in_order};

/// Something that happened.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct AuditEvent {
    #[schema(value_type = String, example = "evt_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) id: EventId,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) at: Timestamp,
    /// Whose affair it is; null for what staff do that is no tenant's.
    #[schema(value_type = Option<String>, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) tenant_id: Option<TenantId>,
    /// `user`, `staff`, `client` (a running copy of a program), `system`, or who sets the platform up: `operator`, `bootstrap`.
    #[schema(example = "user")]
    pub(super) actor: String,
    /// Who it was, where it was a person.
    #[schema(example = "usr_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) actor_id: Option<String>,
    /// The personal access token by which it was done, if by one.
    #[schema(value_type = Option<String>, example = "tok_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) token_id: Option<TokenId>,
    /// What was done, as `tenant.suspended`; of what was refused or only looked at the operation's name, as `suspend_tenant`.
    #[schema(example = "tenant.suspended")]
    pub(super) action: String,
    /// To what.
    #[schema(example = "tenant")]
    pub(super) subject_type: Option<String>,
    #[schema(example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) subject_id: Option<String>,
    /// The license that it concerns.
    #[schema(value_type = Option<String>, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) license_id: Option<LicenseId>,
    /// The user of the session that it concerns, while the session is known.
    #[schema(format = Email)]
    pub(super) user_email: Option<String>,
    /// As it was; null for what is new.
    #[schema(value_type = Option<Object>)]
    pub(super) before: Option<Value>,
    /// As it was from then on.
    #[schema(value_type = Option<Object>)]
    pub(super) after: Option<Value>,
    /// What more there is to tell.
    #[schema(value_type = Option<Object>)]
    pub(super) details: Option<Value>,
    /// The address that it came from.
    #[schema(example = "192.0.2.1")]
    pub(super) address: Option<String>,
    /// The `x-request-id` of the answer.
    pub(super) request_id: Option<String>,
    /// It was tried by somebody who may not.
    pub(super) refused: bool,
}

/// An event's id: the moment that leads to its row, and a check of which one it is. How many rows there are is not in it.
pub(super) fn event_id(at: Timestamp, number: i64) -> EventId {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&at.timestamp_micros().to_be_bytes());
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"coditect event\0");
    context.update(&bytes[..8]);
    context.update(&number.to_be_bytes());
    bytes[8..].copy_from_slice(&context.finish().as_ref()[..8]);
    EventId::from_uuid(Uuid::from_bytes(bytes))
}

/// The moment that an event's id leads to. None if it is made up.
fn moment(id: EventId) -> Option<Timestamp> {
    recorded_at(id.as_uuid().as_u64_pair().0.cast_signed())
}

pub(super) fn event(row: &Row) -> Result<AuditEvent, db::Error> {
    let at = row.try_get("at")?;
    let (action, license): (String, Option<LicenseId>) = (row.try_get("action")?, optional(row, "license_id", LicenseId::from_uuid)?);
    // What the seat engine tells has the session's secret key, which is shown to nobody: who reads of it sees its name.
    let started_at = row.try_get::<_, Option<_>>("session_started_at")?;
    let session = match (optional(row, "session_id", SessionKey::from_uuid)?, license, started_at) {
        (Some(key), Some(license), Some(started_at)) => Some(SessionRef::of(license, started_at, key).to_string()),
        _ => None,
    };
    let subject_type: Option<String> = row.try_get("subject_type")?;
    Ok(AuditEvent {
        id: event_id(at, row.try_get("id")?),
        at,
        tenant_id: optional(row, "tenant_id", TenantId::from_uuid)?,
        actor: row.try_get("actor")?,
        actor_id: row.try_get("actor_id")?,
        token_id: optional(row, "token_id", TokenId::from_uuid)?,
        subject_type: subject_type.or_else(|| action.starts_with("session.").then(|| "session".to_owned())),
        subject_id: row.try_get::<_, Option<String>>("subject_id")?.or(session),
        action,
        license_id: license,
        user_email: row.try_get("session_user_email")?,
        before: row.try_get("before")?,
        after: row.try_get("after")?,
        details: row.try_get("details")?,
        address: row.try_get("address")?,
        request_id: row.try_get("request_id")?,
        refused: row.try_get("is_refused")?,
    })
}

fn optional<T>(row: &Row, column: &str, read: fn(Uuid) -> T) -> Result<Option<T>, db::Error> {
    Ok(row.try_get::<_, Option<Uuid>>(column)?.map(read))
}

/// Which events are wanted.
#[derive(Clone, Debug, Default)]
pub(super) struct Filter {
    pub(super) actor: Option<UserId>,
    pub(super) action: Option<String>,
    pub(super) subject: Option<String>,
    pub(super) refused: Option<bool>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

const LIST: &str = "-- audit_events::list
SELECT id, tenant_id, at, actor, actor_id, token_id, action, subject_type, subject_id, license_id, session_id, before, after, details, address,
       request_id, is_refused,
       CASE WHEN action = 'session.acquired' THEN at ELSE (SELECT started_at FROM sessions AS s WHERE s.id = session_id) END AS session_started_at,
       coalesce((SELECT user_email FROM sessions AS s WHERE s.id = session_id),
                (SELECT user_email FROM sessions_archive AS s WHERE s.id = session_id)) AS session_user_email
FROM audit_events
WHERE tenant_id = current_tenant() AND ($1::timestamptz IS NULL OR (at, id) < ($1, $2::bigint))
  AND ($4::text IS NULL OR actor_id = $4) AND ($5::text IS NULL OR action = $5) AND ($6::text IS NULL OR subject_id = $6)
  AND ($7::boolean IS NULL OR is_refused = $7) AND ($8::timestamptz IS NULL OR at >= $8) AND ($9::timestamptz IS NULL OR at < $9)
ORDER BY at DESC, id DESC LIMIT $3";

const LIST_OF_NO_TENANT: &str = "-- audit_events::list_of_no_tenant
SELECT id, tenant_id, at, actor, actor_id, token_id, action, subject_type, subject_id, license_id, session_id, before, after, details, address,
       request_id, is_refused,
       CASE WHEN action = 'session.acquired' THEN at ELSE (SELECT started_at FROM sessions AS s WHERE s.id = session_id) END AS session_started_at,
       coalesce((SELECT user_email FROM sessions AS s WHERE s.id = session_id),
                (SELECT user_email FROM sessions_archive AS s WHERE s.id = session_id)) AS session_user_email
FROM audit_events
WHERE tenant_id IS NULL AND ($1::timestamptz IS NULL OR (at, id) < ($1, $2::bigint))
  AND ($4::text IS NULL OR actor_id = $4) AND ($5::text IS NULL OR action = $5) AND ($6::text IS NULL OR subject_id = $6)
  AND ($7::boolean IS NULL OR is_refused = $7) AND ($8::timestamptz IS NULL OR at >= $8) AND ($9::timestamptz IS NULL OR at < $9)
ORDER BY at DESC, id DESC LIMIT $3";

const AT: &str = "-- audit_events::at
SELECT id FROM audit_events WHERE at = $1 AND tenant_id IS NOT DISTINCT FROM current_tenant()";

const FIND: &str = "-- audit_events::find
SELECT id, tenant_id, at, actor, actor_id, token_id, action, subject_type, subject_id, license_id, session_id, before, after, details, address,
       request_id, is_refused,
       CASE WHEN action = 'session.acquired' THEN at ELSE (SELECT started_at FROM sessions AS s WHERE s.id = session_id) END AS session_started_at,
       coalesce((SELECT user_email FROM sessions AS s WHERE s.id = session_id),
                (SELECT user_email FROM sessions_archive AS s WHERE s.id = session_id)) AS session_user_email
FROM audit_events WHERE at = $1 AND id = $2";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, LIST_OF_NO_TENANT, AT, FIND];

/// Rows after a position, the newest first: of the transaction's tenant, or for staff of no tenant.
pub(super) async fn list(
    transaction: &Transaction,
    filter: &Filter,
    after: Option<Position>,
    rows: i64,
    is_of_no_tenant: bool,
) -> Result<Vec<Row>, db::Error> {
    in_order(transaction).await?;
    let sql = if is_of_no_tenant { LIST_OF_NO_TENANT } else { LIST };
    let (at, number) = (after.map(|after| after.at), after.map(|after| after.id.as_u64_pair().1.cast_signed()));
    let actor = filter.actor.map(|actor| actor.to_string());
    let Filter { action, subject, refused, from, until, .. } = filter;
    transaction.query(sql, &[&at, &number, &rows, &actor, action, subject, refused, from, until]).await
}

/// The event of an id, if it is there for this transaction.
pub(super) async fn find(transaction: &Transaction, id: EventId) -> Result<Option<AuditEvent>, db::Error> {
    let Some(at) = moment(id) else { return Ok(None) };
    for row in transaction.query(AT, &[&at]).await? {
        let number = row.try_get("id")?;
        if event_id(at, number) == id {
            return transaction.first(FIND, &[&at, &number]).await?.as_ref().map(event).transpose();
        }
    }
    Ok(None)
}

/// The position of a row.
pub(super) fn position(row: &Row) -> Result<Position, db::Error> {
    let number: i64 = row.try_get("id")?;
    Ok(Position { at: row.try_get("at")?, id: Uuid::from_u64_pair(0, number.cast_unsigned()) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use platform::domain::from_millis;

    #[test]
    fn an_id_leads_to_its_moment_and_tells_events_of_one_moment_apart() {
        let at = from_millis(1_700_000_000_120);
        let (one, two) = (event_id(at, 1), event_id(at, 2));
        assert_ne!(one, two);
        assert_eq!((moment(one), moment(two)), (Some(at), Some(at)));
        assert_eq!(moment(EventId::from_uuid(Uuid::from_u64_pair(u64::MAX / 2, 0))), None);
    }
}
