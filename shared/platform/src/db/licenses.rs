//! How a license is read from its row.

use std::{str::FromStr, time::Duration};

use tokio_postgres::Row;

use super::Error;
use crate::domain::{License, LicenseId, Policy, SignedDocument, TenantId};

/// Reads a license, by the names of its columns; `tenant_status` is the tenant's.
///
/// # Errors
/// [`Error::Record`] if the row holds what it cannot hold, [`Error::Query`] if a column is not there.
pub fn license(row: &Row) -> Result<License, Error> {
    fn word<T: FromStr>(row: &Row, column: &str) -> Result<T, Error> {
        let text: &str = row.try_get(column)?;
        text.parse().map_err(|_| Error::Record(format!("{column} is {text}")))
    }
    fn count(row: &Row, column: &str) -> Result<u32, Error> {
        u32::try_from(row.try_get::<_, i32>(column)?).map_err(|error| Error::Record(format!("{column}: {error}")))
    }
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
            seats_total: count(row, "seats_total")?,
            overage: count(row, "overage")?,
            session_ttl: Duration::from_secs(u64::from(count(row, "session_ttl_seconds")?)),
            seat_unit: word(row, "seat_unit")?,
            starts_at: row.try_get("starts_at")?,
            expires_at: row.try_get("expires_at")?,
            features: row.try_get("features")?,
        },
        requires_token: row.try_get("requires_token")?,
        document: document.transpose()?,
    })
}
