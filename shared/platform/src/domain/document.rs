//! The license document: what a client may know of its license, in the form that will be signed.

use serde::Serialize;

use super::{License, LicenseId, SeatUnit, TenantId, Tier, Timestamp, rfc3339_millis_option};

/// The claims of a license.
#[derive(Clone, Debug, Serialize)]
pub struct LicenseDocument<'a> {
    license_id: LicenseId,
    tenant_id: TenantId,
    version: i64,
    tier: Tier,
    features: &'a [String],
    seats_total: u32,
    overage: u32,
    seat_unit: SeatUnit,
    session_ttl_seconds: u64,
    #[serde(with = "rfc3339_millis_option")]
    starts_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis_option")]
    expires_at: Option<Timestamp>,
}

impl<'a> LicenseDocument<'a> {
    /// The document of a license as it is now.
    #[must_use]
    pub fn of(license: &'a License) -> Self {
        let policy = &license.policy;
        Self {
            license_id: license.id,
            tenant_id: license.tenant,
            version: license.version,
            tier: license.tier,
            features: &policy.features,
            seats_total: policy.seats_total,
            overage: policy.overage,
            seat_unit: policy.seat_unit,
            session_ttl_seconds: policy.session_ttl.as_secs(),
            starts_at: policy.starts_at,
            expires_at: policy.expires_at,
        }
    }
}
