//! The statements on hardware blocks.

use platform::{
    db::{self, Transaction},
    domain::{BlockId, HardwareId, LicenseId, TenantId, Timestamp, rfc3339_millis},
};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use crate::{page::Page, read::id};

/// A device that may not take a seat of a license for a time.
#[derive(Clone, Debug, Eq, PartialEq, Serialize, ToSchema)]
pub(crate) struct HardwareBlock {
    #[schema(value_type = String, example = "blk_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) id: BlockId,
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) tenant_id: TenantId,
    #[schema(value_type = String, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) license_id: LicenseId,
    #[schema(example = "7c:50:79:3e:f2:01")]
    pub(super) hardware_id: String,
    /// From then on it may take one again.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) until: Timestamp,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
}

pub(super) fn hardware_block(row: &Row) -> Result<HardwareBlock, db::Error> {
    Ok(HardwareBlock {
        id: id(row, "id", BlockId::from_uuid)?,
        tenant_id: id(row, "tenant_id", TenantId::from_uuid)?,
        license_id: id(row, "license_id", LicenseId::from_uuid)?,
        hardware_id: row.try_get("hardware_id")?,
        until: row.try_get("until")?,
        created_at: row.try_get("created_at")?,
    })
}

const LIST: &str = "-- hardware_blocks::list
SELECT id, tenant_id, license_id, hardware_id, until, created_at FROM hardware_blocks
WHERE tenant_id = current_tenant() AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
  AND ($4::uuid IS NULL OR license_id = $4) AND ($5::text IS NULL OR hardware_id = $5)
ORDER BY created_at DESC, id DESC LIMIT $3";

const FIND: &str = "-- hardware_blocks::find
SELECT id, tenant_id, license_id, hardware_id, until, created_at FROM hardware_blocks WHERE id = $1";

const OF_DEVICE: &str = "-- hardware_blocks::of_device
SELECT id, tenant_id, license_id, hardware_id, until, created_at FROM hardware_blocks
WHERE license_id = $1 AND hardware_id = $2 FOR NO KEY UPDATE";

// A device has one block: the last word holds, and it is a new one.
const BLOCK: &str = "-- hardware_blocks::block
INSERT INTO hardware_blocks (id, tenant_id, license_id, hardware_id, until, created_at) VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (license_id, hardware_id) DO UPDATE SET id = EXCLUDED.id, until = EXCLUDED.until, created_at = EXCLUDED.created_at
RETURNING id, tenant_id, license_id, hardware_id, until, created_at";

const DELETE: &str = "-- hardware_blocks::delete
DELETE FROM hardware_blocks WHERE id = $1 RETURNING id, tenant_id, license_id, hardware_id, until, created_at";

// A foreign key looks past row-level security: whether the license is one that the caller sees must be asked.
const LICENSE: &str = "-- hardware_blocks::license
SELECT tenant_id FROM licenses WHERE id = $1";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, FIND, OF_DEVICE, BLOCK, DELETE, LICENSE];

/// A device, as a license knows it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Device<'a> {
    pub(crate) tenant: TenantId,
    pub(crate) license: LicenseId,
    pub(crate) hardware: &'a str,
}

/// Which blocks are wanted.
#[derive(Debug, Default)]
pub(super) struct Filter {
    pub(super) license: Option<LicenseId>,
    pub(super) hardware: Option<HardwareId>,
}

pub(super) async fn list(transaction: &Transaction, page: &Page, filter: &Filter) -> Result<Vec<Row>, db::Error> {
    let (license, hardware) = (filter.license.map(LicenseId::as_uuid), filter.hardware.as_ref().map(HardwareId::as_str));
    transaction.query(LIST, &[&page.at(), &page.id(), &page.rows(), &license, &hardware]).await
}

pub(super) async fn find(transaction: &Transaction, id: BlockId) -> Result<Option<HardwareBlock>, db::Error> {
    transaction.first(FIND, &[&id.as_uuid()]).await?.as_ref().map(hardware_block).transpose()
}

/// The block of a device, which nobody else changes until the transaction's end.
pub(super) async fn of_device(transaction: &Transaction, device: Device<'_>) -> Result<Option<HardwareBlock>, db::Error> {
    let found = transaction.first(OF_DEVICE, &[&device.license.as_uuid(), &device.hardware]).await?;
    found.as_ref().map(hardware_block).transpose()
}

/// Blocks a device until a time, whatever was said before.
pub(super) async fn block(
    transaction: &Transaction,
    device: Device<'_>,
    until: Timestamp,
    now: Timestamp,
) -> Result<HardwareBlock, db::Error> {
    let (id, tenant, license) = (BlockId::random().as_uuid(), device.tenant.as_uuid(), device.license.as_uuid());
    let made = transaction.first(BLOCK, &[&id, &tenant, &license, &device.hardware, &until, &now]).await?;
    made.as_ref().map_or_else(|| Err(db::Error::Record("a block that was written is not there".to_owned())), hardware_block)
}

pub(super) async fn delete(transaction: &Transaction, id: BlockId) -> Result<Option<HardwareBlock>, db::Error> {
    transaction.first(DELETE, &[&id.as_uuid()]).await?.as_ref().map(hardware_block).transpose()
}

/// Whose a license is, if the caller sees it.
pub(super) async fn tenant_of(transaction: &Transaction, license: LicenseId) -> Result<Option<TenantId>, db::Error> {
    transaction.first(LICENSE, &[&license.as_uuid()]).await?.map(|row| id(&row, "tenant_id", TenantId::from_uuid)).transpose()
}
