//! How a license is read from its row.

use std::time::Duration;

use tokio_postgres::Row;

use super::{
    Error,
    read::{whole, word},
};
use crate::domain::{License, LicenseId, Policy, SignedDocument, TenantId};

/// Reads a license, by the names of its columns; `tenant_status` is the tenant's.
///
/// # Errors
/// [`Error::Record`] if the row holds what it cannot hold, [`Error::Query`] if a column is not there.
pub fn license(row: &Row) -> Result<License, Error> {
    let signature: Option<String> = row.try_get("signed_document")?;
    let document = signature.map(|text| SignedDocument::read(text).ok_or_else(|| Error::Record("signed_document is no JWS".to_owned())));
    Ok(License {
        id: LicenseId::from_uuid(row.try_get("id")?),
        tenant: TenantId::from_uuid(row.try_get("tenant_id")?),
        version: row.try_get("version")?,
        key_last_four: row.try_get("key_last_four")?,
        tier: word(row, "tier")?,
        status: word(row, "status")?,
        tenant_status: word(row, "tenant_status")?,
        policy: Policy {
            seats_total: whole(row, "seats_total")?,
            overage: whole(row, "overage")?,
            session_ttl: Duration::from_secs(u64::from(whole(row, "session_ttl_seconds")?)),
            seat_unit: word(row, "seat_unit")?,
            starts_at: row.try_get("starts_at")?,
            expires_at: row.try_get("expires_at")?,
            features: row.try_get("features")?,
        },
        requires_token: row.try_get("requires_token")?,
        document: document.transpose()?,
    })
}
