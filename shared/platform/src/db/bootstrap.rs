//! A first customer: tenant, owner and license in one transaction.

use tokio_postgres::Client;

use super::Error;
use crate::domain::{Email, License, LicenseId, LicenseKey, LicenseStatus, Policy, TenantId, TenantStatus, Tier, Timestamp, UserId};

/// A customer to be.
#[derive(Clone, Debug)]
pub struct NewCustomer {
    /// The organization's name.
    pub name: String,
    /// Tier of the tenant and its first license.
    pub tier: Tier,
    /// Who owns the tenant.
    pub owner: Email,
    /// What the license allows.
    pub policy: Policy,
}

/// What has been made. The license key is nowhere else: it is stored as a hash.
#[derive(Clone, Debug)]
pub struct Issued {
    /// The organization.
    pub tenant: TenantId,
    /// Its owner.
    pub owner: UserId,
    /// Its license.
    pub license: LicenseId,
    /// The license's key.
    pub key: LicenseKey,
}

impl Issued {
    /// Ids and a key for a customer to be.
    pub(crate) fn new() -> Self {
        Self { tenant: TenantId::random(), owner: UserId::random(), license: LicenseId::random(), key: LicenseKey::generate() }
    }
}

impl NewCustomer {
    /// The license as it will be.
    pub(crate) fn license(&self, issued: &Issued) -> License {
        License {
            id: issued.license,
            tenant: issued.tenant,
            version: 1,
            key_last_four: issued.key.last_four(),
            tier: self.tier,
            status: LicenseStatus::Active,
            tenant_status: TenantStatus::Active,
            policy: self.policy.clone(),
            requires_token: false,
            document: None,
        }
    }
}

const TENANT: &str = "-- bootstrap::tenant
INSERT INTO tenants (id, name, tier, seat_limit, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)";

const OWNER: &str = "-- bootstrap::owner
INSERT INTO users (id, tenant_id, email, role, created_at, updated_at) VALUES ($1, $2, $3, 'owner', $4, $4)";

const LICENSE: &str = "-- bootstrap::license
INSERT INTO licenses (id, tenant_id, key_hash, key_last_four, tier, seats_total, overage, session_ttl_seconds, seat_unit,
                      starts_at, expires_at, features, created_at, updated_at, signed_document, signed_version, signed_by)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $13, $14, 1, $15)";

const AUDIT: &str = "-- bootstrap::audit
INSERT INTO audit_events (tenant_id, at, actor, action, license_id) VALUES ($1, $2, 'bootstrap', 'license.issued', $3)";

/// Makes a customer, as the login that owns the tables. `document` is the license's, signed by the root of the id `signed_by`.
///
/// # Errors
/// [`Error::Query`] if PostgreSQL refuses, for one because a number is out of its range; nothing is then made.
pub(crate) async fn bootstrap(
    client: &mut Client,
    customer: &NewCustomer,
    issued: &Issued,
    document: &str,
    signed_by: &str,
    now: Timestamp,
) -> Result<(), Error> {
    let (tenant, license) = (issued.tenant.as_uuid(), issued.license.as_uuid());
    let policy = &customer.policy;
    let number = |value: u32| i32::try_from(value).map_err(|_| Error::Settings(format!("{value} is too large")));
    let seats = number(policy.seats_total)?;
    let ttl = i32::try_from(policy.session_ttl.as_secs()).map_err(|_| Error::Settings("the session TTL is too long".to_owned()))?;

    let transaction = client.transaction().await?;
    transaction.query(super::SET_TENANT, &[&tenant.to_string()]).await?;
    transaction.execute(TENANT, &[&tenant, &customer.name, &customer.tier.as_str(), &seats, &now]).await?;
    transaction.execute(OWNER, &[&issued.owner.as_uuid(), &tenant, &customer.owner.as_str(), &now]).await?;
    transaction
        .execute(
            LICENSE,
            &[
                &license,
                &tenant,
                &&issued.key.hash().as_bytes()[..],
                &issued.key.last_four(),
                &customer.tier.as_str(),
                &seats,
                &number(policy.overage)?,
                &ttl,
                &policy.seat_unit.as_str(),
                &policy.starts_at,
                &policy.expires_at,
                &policy.features,
                &now,
                &document,
                &signed_by,
            ],
        )
        .await?;
    transaction.execute(AUDIT, &[&tenant, &now, &license]).await?;
    transaction.commit().await?;
    Ok(())
}
