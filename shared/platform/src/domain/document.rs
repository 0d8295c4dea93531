//! The license document: what a client may know of its license, and as the root has signed it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use utoipa::ToSchema;

use super::{License, LicenseId, SeatUnit, TenantId, Tier, Timestamp, rfc3339_millis_option};

/// The claims of a license.
#[derive(Clone, Debug, Serialize, ToSchema)]
pub struct LicenseDocument<'a> {
    #[schema(value_type = String, example = "lic_p3e9rj36jx0ab04ynd6vc32qg4")]
    license_id: LicenseId,
    #[schema(value_type = String, example = "ten_t5d5wn3ynx6tx6dqe7jc88jc2m")]
    tenant_id: TenantId,
    /// Grows with every change.
    version: i64,
    #[schema(value_type = String, example = "professional")]
    tier: Tier,
    /// What the program may unlock.
    #[schema(value_type = Vec<String>)]
    features: &'a [String],
    seats_total: u32,
    /// Extra seats that may be used, and are flagged.
    overage: u32,
    #[schema(value_type = String, example = "device")]
    seat_unit: SeatUnit,
    session_ttl_seconds: u64,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(with = "rfc3339_millis_option")]
    starts_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(with = "rfc3339_millis_option")]
    expires_at: Option<Timestamp>,
    /// When it was signed.
    #[schema(value_type = Option<String>, format = DateTime)]
    #[serde(with = "rfc3339_millis_option")]
    issued_at: Option<Timestamp>,
}

impl<'a> LicenseDocument<'a> {
    /// The document of a license as it is now; `issued_at` is when it is signed.
    #[must_use]
    pub fn of(license: &'a License, issued_at: Option<Timestamp>) -> Self {
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
            issued_at,
        }
    }
}

/// A document and its signature, as our own record has them: the text in the one is what the other signs.
#[derive(Clone, Debug)]
pub struct SignedDocument {
    claims: Box<RawValue>,
    version: i64,
    signature: String,
}

impl SignedDocument {
    /// Reads the claims out of a compact JWS (RFC 7515) that is known to be good. None if it is none.
    #[must_use]
    pub fn read(jws: String) -> Option<Self> {
        let claims = BASE64URL.decode(jws.split('.').nth(1)?).ok()?;
        let claims = RawValue::from_string(String::from_utf8(claims).ok()?).ok()?;
        let Version { version } = serde_json::from_str(claims.get()).ok()?;
        Some(Self { claims, version, signature: jws })
    }
}

#[derive(Deserialize)]
struct Version {
    version: i64,
}

impl PartialEq for SignedDocument {
    fn eq(&self, other: &Self) -> bool {
        self.signature == other.signature
    }
}

impl Eq for SignedDocument {}

/// What a client is given of its license.
#[derive(Debug, Serialize, ToSchema)]
pub struct LicenseData<'a> {
    #[schema(value_type = LicenseDocument)]
    document: Document<'a>,
    /// The JWS whose claims the document is. None for a license that was never signed.
    signature: Option<&'a str>,
    #[serde(skip)]
    version: i64,
}

#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Document<'a> {
    Signed(&'a RawValue),
    Unsigned(LicenseDocument<'a>),
}

impl<'a> LicenseData<'a> {
    /// What there is of this license.
    #[must_use]
    pub fn of(license: &'a License) -> Self {
        if let Some(signed) = &license.document {
            return Self { document: Document::Signed(&signed.claims), signature: Some(&signed.signature), version: signed.version };
        }
        let document = Document::Unsigned(LicenseDocument::of(license, None));
        Self { document, signature: None, version: license.version }
    }

    /// The version of the license that the document describes: behind the license's own until a change is signed.
    #[must_use]
    pub const fn version(&self) -> i64 {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signed_document_shows_the_very_claims_that_are_signed() {
        let signed = SignedDocument::read("x.eyJ2ZXJzaW9uIjogN30.y".to_owned()).unwrap();
        assert_eq!((signed.claims.get(), signed.version), (r#"{"version": 7}"#, 7));
        for no_jws in ["", "x", "x.!.y", "x.eyJh.y", "x.eyJhIjogMX0.y"] {
            assert!(SignedDocument::read(no_jws.to_owned()).is_none(), "{no_jws}");
        }
    }
}
