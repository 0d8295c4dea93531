//! License documents: what a license allows, signed by the root when the license is issued or changed.

use tokio_postgres::Client;

use super::{
    Error, RootPublicKey, RootSigner,
    jws::{self, Kind},
};
use crate::{
    db::{self, Database, Issued, NewCustomer},
    domain::{License, LicenseDocument, Timestamp},
};

/// Licenses signed at a time.
const BATCH: i64 = 100;

// Changed since it was signed, or signed by a root that is no longer ours.
pub(super) const CHANGED: &str = "-- signing::changed
SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status AS tenant_status, l.seats_total, l.overage,
       l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document, l.requires_token
FROM licenses l JOIN tenants t ON t.id = l.tenant_id
WHERE l.signed_version IS DISTINCT FROM l.version OR l.signed_by < $1 OR l.signed_by > $1
LIMIT $2";

pub(super) const COUNT_CHANGED: &str = "-- signing::count_changed
SELECT count(*) FROM licenses WHERE signed_version IS DISTINCT FROM version OR signed_by < $1 OR signed_by > $1";

pub(super) const SIGNED: &str = "-- signing::signed
UPDATE licenses SET signed_document = $3, signed_version = $2, signed_by = $4 WHERE id = $1 AND version = $2";

/// Issues a first license to a new customer, with its document, as the login that owns the tables.
///
/// # Errors
/// [`Error::Root`] if the document cannot be signed, [`Error::Database`] if PostgreSQL refuses; nothing is then made.
pub async fn issue(client: &mut Client, customer: &NewCustomer, root: &dyn RootSigner, now: Timestamp) -> Result<Issued, Error> {
    let issued = Issued::new();
    let key = root.public_key().await?;
    let document = sign(root, &key, &customer.license(&issued), now).await?;
    db::bootstrap(client, customer, &issued, &document, &key.kid(), now).await?;
    Ok(issued)
}

/// Signs the documents of all licenses that have changed since theirs was signed; answers how many. `database` must act as
/// [`crate::db::Role::Jobs`].
///
/// # Errors
/// Any [`Error`]: what was signed until then stays so.
pub async fn sign_changed(database: &Database, root: &dyn RootSigner, now: Timestamp) -> Result<u64, Error> {
    let key = root.public_key().await?;
    let mut signed = 0;
    loop {
        let rows = database.query(CHANGED, &[&key.kid(), &BATCH]).await?;
        let mut progress = 0;
        for row in &rows {
            let license = db::license(row)?;
            let document = sign(root, &key, &license, now).await?;
            let client = database.client().await?;
            progress += client.execute(SIGNED, &[&license.id.as_uuid(), &license.version, &document, &key.kid()]).await?;
        }
        signed += progress;
        if progress == 0 {
            return Ok(signed);
        }
    }
}

/// Counts the licenses whose documents [`sign_changed`] would sign now.
///
/// # Errors
/// Any [`Error`].
pub async fn count_changed(database: &Database, root: &dyn RootSigner) -> Result<u64, Error> {
    let key = root.public_key().await?;
    let rows = database.query(COUNT_CHANGED, &[&key.kid()]).await?;
    let count: i64 = rows.first().map_or(Ok(0), |row| row.try_get(0))?;
    Ok(count.unsigned_abs())
}

/// Signs the document of a license as it is now.
///
/// # Errors
/// [`Error::Root`] if the root does not sign.
pub async fn sign(root: &dyn RootSigner, key: &RootPublicKey, license: &License, now: Timestamp) -> Result<String, Error> {
    jws::sign_by_root(root, key, Kind::License, &LicenseDocument::of(license, Some(now))).await
}
