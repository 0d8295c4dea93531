//! What is written down of every change and of every refused attempt: in the change's own transaction, for good.

use std::time::Duration;

use platform::{
    db::{self, Transaction},
    domain::{LicenseId, TenantId, Timestamp},
    web::ApiError,
};
use serde_json::{Value, json};

use crate::{AdminParts, Operation, caller::Caller, change::Change};

pub(crate) const RECORD: &str = "-- audit::record
INSERT INTO audit_events (tenant_id, at, actor, action, actor_id, token_id, subject_type, subject_id, license_id, before, after, details,
                          address, request_id, is_refused)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15)";

/// Whether somebody has looked at something of the transaction's tenant since a moment, as an event tells.
pub(crate) const LOOKED: &str = "-- audit::looked
SELECT EXISTS (
    SELECT FROM audit_events WHERE tenant_id = current_tenant() AND actor_id = $1 AND at > $2 AND action = $3
      AND subject_id IS NOT DISTINCT FROM $4 AND NOT is_refused AND details->>'whole' IS NULL)";

/// Characters of a path that are kept of an attempt.
const PATH: usize = 200;
/// Who looks at the same thing again within this time, page by page or to refresh a view, does so under the same event.
const ONE_LOOK: Duration = Duration::from_secs(600);

/// What has happened.
#[derive(Debug)]
pub(crate) struct Event {
    /// What was done, as `tenant.suspended`.
    pub(crate) action: &'static str,
    /// Whose affair it is.
    pub(crate) tenant: Option<TenantId>,
    /// To what: its kind, and its id as clients know it.
    pub(crate) subject: Option<(&'static str, String)>,
    /// The license that it concerns.
    pub(crate) license: Option<LicenseId>,
    /// As it was. Never a secret.
    pub(crate) before: Option<Value>,
    /// As it is.
    pub(crate) after: Option<Value>,
}

impl Event {
    /// Something of this kind was done to this subject of a tenant's.
    pub(crate) fn of(action: &'static str, tenant: TenantId, kind: &'static str, id: &impl ToString) -> Self {
        Self { action, tenant: Some(tenant), subject: Some((kind, id.to_string())), license: None, before: None, after: None }
    }

    /// It is new.
    pub(crate) fn created(self, after: Value) -> Self {
        Self { after: Some(after), ..self }
    }

    /// It was so, and is so.
    pub(crate) fn changed(self, before: Value, after: Value) -> Self {
        Self { before: Some(before), after: Some(after), ..self }
    }

    /// It was so, and is gone.
    pub(crate) fn removed(self, before: Value) -> Self {
        Self { before: Some(before), ..self }
    }

    /// It concerns this license.
    pub(crate) fn license(self, license: LicenseId) -> Self {
        Self { license: Some(license), ..self }
    }
}

/// Writes an event down, in the transaction of the change.
///
/// # Errors
/// Any [`db::Error`]: the change must not be committed then.
pub(crate) async fn record(change: &Change, event: Event) -> Result<(), db::Error> {
    write(change, change.caller(), change.now(), event, None, false).await
}

/// Writes down that somebody tried what it may not.
///
/// # Errors
/// [`ApiError::Unavailable`] if that cannot be done now.
pub(crate) async fn refused(parts: &AdminParts, caller: &Caller, path: &str) -> Result<(), ApiError> {
    let (details, event) = attempt(caller, path);
    let transaction = parts.store.unchecked(caller.scope()).await?;
    write(&transaction, caller, parts.clock.now(), event, Some(details), true).await?;
    Ok(transaction.commit().await?)
}

/// Writes down that staff have looked at a tenant's affairs. What one person looks at within ten minutes of an event that tells so is no
/// further event, except where it is a whole list.
///
/// # Errors
/// [`ApiError::Unavailable`] if that cannot be done now.
pub(crate) async fn looked(parts: &AdminParts, caller: &Caller, path: &str, is_whole: bool) -> Result<(), ApiError> {
    let (mut details, event) = attempt(caller, path);
    let (now, actor) = (parts.clock.now(), caller.principal.id.to_string());
    let transaction = parts.store.unchecked(caller.scope()).await?;
    if is_whole {
        details["whole"] = json!(true);
    } else {
        let subject = event.subject.as_ref().map(|(_, id)| id);
        let known = transaction.first(LOOKED, &[&actor, &(now - ONE_LOOK), &event.action, &subject]).await?;
        if known.is_some_and(|row| row.get(0)) {
            return Ok(());
        }
    }
    write(&transaction, caller, now, event, Some(details), false).await?;
    Ok(transaction.commit().await?)
}

/// What an attempt at an operation is told by.
fn attempt(caller: &Caller, path: &str) -> (Value, Event) {
    let operation = caller.operation;
    let details = json!({ "method": operation.method, "path": path.chars().take(PATH).collect::<String>() });
    let (action, tenant, subject) = (operation.name, caller.tenant, named(operation, path));
    (details, Event { action, tenant, subject, license: None, before: None, after: None })
}

/// The id that an attempt's path names, if it looks like one.
fn named(operation: &Operation, path: &str) -> Option<(&'static str, String)> {
    let id = operation.id_in(path)?;
    let is_id = id.len() <= 64 && id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_');
    let kind = match id.split_once('_')?.0 {
        "ten" => "tenant",
        "usr" => "user",
        "lic" => "license",
        "ses" => "session",
        "tok" => "access_token",
        "blk" => "hardware_block",
        "evt" => "audit_event",
        _ => return None,
    };
    is_id.then(|| (kind, id.to_owned()))
}

async fn write(
    transaction: &Transaction,
    caller: &Caller,
    at: Timestamp,
    event: Event,
    details: Option<Value>,
    is_refused: bool,
) -> Result<(), db::Error> {
    let principal = &caller.principal;
    let (kind, id) = event.subject.unzip();
    transaction
        .query(
            RECORD,
            &[
                &event.tenant.map(TenantId::as_uuid),
                &at,
                &principal.kind(),
                &event.action,
                &principal.id.to_string(),
                &principal.token.as_ref().map(|(id, _)| *id),
                &kind,
                &id,
                &event.license.map(LicenseId::as_uuid),
                &event.before,
                &event.after,
                &details,
                &caller.address.ip().to_string(),
                &caller.request_id,
                &is_refused,
            ],
        )
        .await
        .map(drop)
}

#[cfg(test)]
mod tests {
    use platform::domain::Permission;

    use super::*;

    #[test]
    fn an_attempt_is_kept_by_what_it_was_at() {
        let suspend = Operation::new("suspend_tenant", "POST", "/api/v1/tenants/{id}/suspend", Permission::ManageTenants);
        let tenant = TenantId::random().to_string();
        assert_eq!(named(&suspend, &format!("/api/v1/tenants/{tenant}/suspend")), Some(("tenant", tenant)));
        assert_eq!(named(&suspend, "/api/v1/tenants/ten_%27/suspend"), None);
        assert_eq!(named(&suspend, "/api/v1/tenants/x_y/suspend"), None);
        let list = Operation::new("list_tenants", "GET", "/api/v1/tenants", Permission::SeeTenant);
        assert_eq!(named(&list, "/api/v1/tenants"), None);
    }
}
