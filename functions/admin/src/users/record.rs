//! The statements on users.

use platform::{
    db::{self, Transaction},
    domain::{Email, Standing, TenantId, Timestamp, TokenId, UserId, UserStatus, rfc3339_millis, rfc3339_millis_option},
};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use crate::{
    page::Page,
    read::{id, word},
};

/// Somebody who belongs to a tenant.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub(crate) struct User {
    #[schema(value_type = String, example = "usr_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) id: UserId,
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) tenant_id: TenantId,
    #[schema(format = Email)]
    pub(super) email: String,
    pub(super) role: Standing,
    pub(super) status: UserStatus,
    pub(super) version: i64,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Timestamp,
    /// To the minute; null before the first sign-in.
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) last_seen_at: Option<Timestamp>,
}

pub(super) fn user(row: &Row) -> Result<User, db::Error> {
    Ok(User {
        id: id(row, "id", UserId::from_uuid)?,
        tenant_id: id(row, "tenant_id", TenantId::from_uuid)?,
        email: row.try_get("email")?,
        role: word(row, "role")?,
        status: word(row, "status")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
        last_seen_at: row.try_get("last_seen_at")?,
    })
}

const LIST: &str = "-- users::list
SELECT id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at FROM users
WHERE tenant_id = current_tenant() AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
  AND ($4::text IS NULL OR role = $4) AND ($5::text IS NULL OR shown_status = $5) AND ($6::text IS NULL OR lower(email) = lower($6))
ORDER BY created_at DESC, id DESC LIMIT $3";

const FIND: &str = "-- users::find
SELECT id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at FROM users WHERE id = $1";

const LOCK: &str = "-- users::lock
SELECT id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at FROM users WHERE id = $1 FOR NO KEY UPDATE";

const INSERT: &str = "-- users::insert
INSERT INTO users (id, tenant_id, email, role, invited_at, invited_by, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $6, $5, $5)
RETURNING id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at";

// Somebody who has declined may be invited again, and is the same user.
const LOCK_DECLINED: &str = "-- users::lock_declined
SELECT id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at FROM users
WHERE tenant_id = $1 AND lower(email) = lower($2) AND shown_status = 'declined' FOR NO KEY UPDATE";

const INVITE_AGAIN: &str = "-- users::invite_again
UPDATE users SET role = $2, status = 'invited', declined_at = NULL, invited_at = $3, invited_by = $4, version = version + 1, updated_at = $3
WHERE id = $1
RETURNING id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at";

// Somebody who comes back is known again if a provider has vouched before, and else invited again.
const UPDATE: &str = "-- users::update
UPDATE users SET role = $2, version = version + 1, updated_at = $4,
    status = CASE WHEN $3 = 'active' AND provider_subject IS NULL THEN 'invited' WHEN $3 = 'declined' THEN 'deactivated' ELSE $3 END,
    declined_at = CASE WHEN $3 = 'declined' THEN declined_at END,
    invited_at = CASE WHEN $3 = 'active' AND provider_subject IS NULL THEN $4 ELSE invited_at END
WHERE id = $1
RETURNING id, tenant_id, email, role, shown_status AS status, version, created_at, updated_at, last_seen_at";

// While one owner is active, an invitation that nobody has taken up does not stand in for it.
const OTHER_OWNER: &str = "-- users::other_owner
SELECT FROM users WHERE tenant_id = $1 AND id <> $2 AND role = 'owner' AND (status = 'active' OR ($3 AND status = 'invited')) LIMIT 1";

const REVOKE_TOKENS: &str = "-- users::revoke_tokens
UPDATE access_tokens SET revoked_at = $2 WHERE user_id = $1 AND revoked_at IS NULL AND expires_at > $2 AND (scopes <@ $3) IS NOT TRUE
RETURNING id";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, FIND, LOCK, LOCK_DECLINED, INSERT, INVITE_AGAIN, UPDATE, OTHER_OWNER, REVOKE_TOKENS];

/// Which users are wanted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) role: Option<Standing>,
    pub(super) status: Option<UserStatus>,
    pub(super) email: Option<Email>,
}

pub(super) async fn list(transaction: &Transaction, page: &Page, filter: &Filter) -> Result<Vec<Row>, db::Error> {
    let (role, status) = (filter.role.map(Standing::as_str), filter.status.map(UserStatus::as_str));
    let email = filter.email.as_ref().map(Email::as_str);
    transaction.query(LIST, &[&page.at(), &page.id(), &page.rows(), &role, &status, &email]).await
}

pub(super) async fn find(transaction: &Transaction, id: UserId) -> Result<Option<User>, db::Error> {
    transaction.first(FIND, &[&id.as_uuid()]).await?.as_ref().map(user).transpose()
}

/// The user, whom nobody else changes until the transaction's end.
pub(super) async fn lock(transaction: &Transaction, id: UserId) -> Result<Option<User>, db::Error> {
    transaction.first(LOCK, &[&id.as_uuid()]).await?.as_ref().map(user).transpose()
}

/// The user of this address who has declined, whom nobody else changes until the transaction's end.
pub(super) async fn lock_declined(transaction: &Transaction, tenant: TenantId, email: &Email) -> Result<Option<User>, db::Error> {
    transaction.first(LOCK_DECLINED, &[&tenant.as_uuid(), &email.as_str()]).await?.as_ref().map(user).transpose()
}

/// Invites a locked user again who has declined.
pub(super) async fn invite_again(
    transaction: &Transaction,
    id: UserId,
    role: Standing,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<User, db::Error> {
    let by = by.map(UserId::as_uuid);
    returned(&transaction.query(INVITE_AGAIN, &[&id.as_uuid(), &role.as_str(), &now, &by]).await?)
}

/// Invites somebody, `by` a user of the tenant. None: the tenant has a user of that address.
pub(super) async fn insert(
    transaction: &Transaction,
    id: UserId,
    tenant: TenantId,
    email: &Email,
    role: Standing,
    by: Option<UserId>,
    now: Timestamp,
) -> Result<Option<User>, db::Error> {
    let by = by.map(UserId::as_uuid);
    let made = transaction.query(INSERT, &[&id.as_uuid(), &tenant.as_uuid(), &email.as_str(), &role.as_str(), &now, &by]).await;
    match made {
        Ok(rows) => returned(&rows).map(Some),
        Err(error) if error.violates("users_tenant_email") => Ok(None),
        Err(error) => Err(error),
    }
}

/// Writes a locked user as it is to be; its version grows. Whoever is to be active and was never vouched for is invited.
pub(super) async fn update(
    transaction: &Transaction,
    id: UserId,
    role: Standing,
    status: UserStatus,
    now: Timestamp,
) -> Result<User, db::Error> {
    let rows = transaction.query(UPDATE, &[&id.as_uuid(), &role.as_str(), &status.as_str(), &now]).await?;
    returned(&rows)
}

/// Whether the tenant has an owner besides this one. The tenant is locked.
pub(super) async fn has_other_owner(transaction: &Transaction, owner: &User) -> Result<bool, db::Error> {
    let is_only_invited = owner.status == UserStatus::Invited;
    let other = transaction.first(OTHER_OWNER, &[&owner.tenant_id.as_uuid(), &owner.id.as_uuid(), &is_only_invited]).await?;
    Ok(other.is_some())
}

/// Revokes every token of a user that names more than the allowed scopes.
pub(super) async fn revoke_tokens(
    transaction: &Transaction,
    user: UserId,
    allowed: &[&str],
    now: Timestamp,
) -> Result<Vec<TokenId>, db::Error> {
    let rows = transaction.query(REVOKE_TOKENS, &[&user.as_uuid(), &now, &allowed]).await?;
    rows.iter().map(|row| id(row, "id", TokenId::from_uuid)).collect()
}

fn returned(rows: &[Row]) -> Result<User, db::Error> {
    rows.first().map_or_else(|| Err(db::Error::Record("a user that was written is not there".to_owned())), user)
}
