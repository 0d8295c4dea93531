//! The statements on tenants.

use platform::{
    db::{self, Transaction},
    domain::{Email, LicenseId, Name, TenantId, TenantStatus, Tier, Timestamp, UserId, rfc3339_millis},
    web::{ApiError, Conflict},
};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use crate::{
    page::Page,
    read::{id, number, whole, word},
};

/// A customer's organization.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub(crate) struct Tenant {
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) id: TenantId,
    pub(super) name: String,
    pub(super) tier: Tier,
    pub(super) status: TenantStatus,
    /// Seats that its licenses may have together.
    pub(super) seat_limit: u32,
    pub(super) version: i64,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) updated_at: Timestamp,
}

impl Tenant {
    /// The same, with what is named changed.
    pub(super) fn with(self, name: Option<&Name>, tier: Option<Tier>, seat_limit: Option<u32>) -> Self {
        Self {
            name: name.map_or(self.name, |name| name.as_str().to_owned()),
            tier: tier.unwrap_or(self.tier),
            seat_limit: seat_limit.unwrap_or(self.seat_limit),
            ..self
        }
    }
}

pub(super) fn tenant(row: &Row) -> Result<Tenant, db::Error> {
    Ok(Tenant {
        id: id(row, "id", TenantId::from_uuid)?,
        name: row.try_get("name")?,
        tier: word(row, "tier")?,
        status: word(row, "status")?,
        seat_limit: whole(row, "seat_limit")?,
        version: row.try_get("version")?,
        created_at: row.try_get("created_at")?,
        updated_at: row.try_get("updated_at")?,
    })
}

const LIST: &str = "-- tenants::list
SELECT id, name, tier, status, seat_limit, version, created_at, updated_at FROM tenants
WHERE id = current_tenant() AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
ORDER BY created_at DESC, id DESC LIMIT $3";

const LIST_OF_ALL: &str = "-- tenants::list_of_all
SELECT id, name, tier, status, seat_limit, version, created_at, updated_at FROM tenants
WHERE ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
ORDER BY created_at DESC, id DESC LIMIT $3";

const FIND: &str = "-- tenants::find
SELECT id, name, tier, status, seat_limit, version, created_at, updated_at FROM tenants WHERE id = $1";

// Whoever changes a tenant, or who owns it, comes one after another.
pub(crate) const LOCK: &str = "-- tenants::lock
SELECT id, name, tier, status, seat_limit, version, created_at, updated_at FROM tenants WHERE id = $1 FOR NO KEY UPDATE";

const INSERT: &str = "-- tenants::insert
INSERT INTO tenants (id, name, tier, seat_limit, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
RETURNING id, name, tier, status, seat_limit, version, created_at, updated_at";

const INSERT_OWNER: &str = "-- tenants::insert_owner
INSERT INTO users (id, tenant_id, email, role, invited_at, created_at, updated_at) VALUES ($1, $2, $3, 'owner', $4, $4, $4)";

const UPDATE: &str = "-- tenants::update
UPDATE tenants SET name = $2, tier = $3, seat_limit = $4, status = $5, version = version + 1, updated_at = $6 WHERE id = $1
RETURNING id, name, tier, status, seat_limit, version, created_at, updated_at";

const LICENSES: &str = "-- tenants::licenses
SELECT id FROM licenses WHERE tenant_id = $1";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, LIST_OF_ALL, FIND, LOCK, INSERT, INSERT_OWNER, UPDATE, LICENSES];

/// Rows of a page: the transaction's tenant, or for staff all of them.
pub(super) async fn list(transaction: &Transaction, page: &Page, is_of_all: bool) -> Result<Vec<Row>, db::Error> {
    transaction.query(if is_of_all { LIST_OF_ALL } else { LIST }, &[&page.at(), &page.id(), &page.rows()]).await
}

pub(super) async fn find(transaction: &Transaction, id: TenantId) -> Result<Option<Tenant>, db::Error> {
    transaction.first(FIND, &[&id.as_uuid()]).await?.as_ref().map(tenant).transpose()
}

/// The tenant, which nobody else changes until the transaction's end.
pub(super) async fn lock(transaction: &Transaction, id: TenantId) -> Result<Option<Tenant>, db::Error> {
    transaction.first(LOCK, &[&id.as_uuid()]).await?.as_ref().map(tenant).transpose()
}

/// Whether a tenant that was to be locked is there, and not closed for good.
///
/// # Errors
/// [`ApiError::NotFound`], or that the tenant is closed.
pub(crate) fn must_be_open(locked: Option<&Row>) -> Result<(), ApiError> {
    match locked.map(tenant).transpose()? {
        None => Err(ApiError::NotFound),
        Some(tenant) if tenant.status == TenantStatus::Closed => Err(ApiError::Conflict(Conflict::TenantClosed)),
        Some(_) => Ok(()),
    }
}

pub(super) async fn insert(
    transaction: &Transaction,
    id: TenantId,
    name: &Name,
    tier: Tier,
    seat_limit: u32,
    now: Timestamp,
) -> Result<Tenant, db::Error> {
    let rows = transaction.query(INSERT, &[&id.as_uuid(), &name.as_str(), &tier.as_str(), &number(seat_limit)?, &now]).await?;
    returned(&rows)
}

pub(super) async fn insert_owner(
    transaction: &Transaction,
    owner: UserId,
    id: TenantId,
    email: &Email,
    now: Timestamp,
) -> Result<(), db::Error> {
    transaction.query(INSERT_OWNER, &[&owner.as_uuid(), &id.as_uuid(), &email.as_str(), &now]).await.map(drop)
}

/// Writes a locked tenant as it is to be; its version grows.
pub(super) async fn update(transaction: &Transaction, wanted: &Tenant, now: Timestamp) -> Result<Tenant, db::Error> {
    let rows = transaction
        .query(
            UPDATE,
            &[&wanted.id.as_uuid(), &wanted.name, &wanted.tier.as_str(), &number(wanted.seat_limit)?, &wanted.status.as_str(), &now],
        )
        .await?;
    returned(&rows)
}

/// The licenses of a tenant.
pub(super) async fn licenses(transaction: &Transaction, id: TenantId) -> Result<Vec<LicenseId>, db::Error> {
    let rows = transaction.query(LICENSES, &[&id.as_uuid()]).await?;
    rows.iter().map(|row| crate::read::id(row, "id", LicenseId::from_uuid)).collect()
}

fn returned(rows: &[Row]) -> Result<Tenant, db::Error> {
    rows.first().map_or_else(|| Err(db::Error::Record("a tenant that was written is not there".to_owned())), tenant)
}

/// Whether there is such a tenant.
///
/// # Errors
/// Any [`db::Error`].
pub(crate) async fn is_there(transaction: &Transaction, id: TenantId) -> Result<bool, db::Error> {
    Ok(find(transaction, id).await?.is_some())
}
