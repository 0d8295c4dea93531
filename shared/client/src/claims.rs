//! What is signed, read.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

/// The license document: what was sold.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LicenseClaims {
    /// The license (`lic_…`).
    pub license_id: String,
    /// Whose it is (`ten_…`).
    pub tenant_id: String,
    /// Grows by one with every change of the license.
    pub version: u64,
    /// The tier that was bought.
    pub tier: String,
    /// The features it switches on.
    pub features: Vec<String>,
    /// Seats that were bought.
    pub seats_total: u32,
    /// Seats that may be taken beyond them.
    pub overage: u32,
    /// What takes a seat.
    pub seat_unit: SeatUnit,
    /// Seconds that a session lives without a heartbeat.
    pub session_ttl_seconds: u64,
    /// From when it holds (RFC 3339), if not from its issue.
    #[serde(deserialize_with = "present")]
    pub starts_at: Option<String>,
    /// From when it holds no longer (RFC 3339), if it ends at all.
    #[serde(deserialize_with = "present")]
    pub expires_at: Option<String>,
    /// When this version was issued (RFC 3339).
    pub issued_at: String,
}

/// What takes a seat of a license.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SeatUnit {
    /// A device, however many programs run on it.
    Device,
    /// Every process.
    Process,
}

/// A root's word that a leaf may sign leases for a while.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct Certificate {
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// The first second in which it holds.
    pub nbf: u64,
    /// The first second in which it holds no longer.
    pub exp: u64,
    /// What the leaf may sign: `lease`, the only use there is.
    #[serde(rename = "use")]
    pub usage: String,
    /// The leaf's public key.
    pub jwk: LeafJwk,
}

/// A leaf's public key as a JWK (RFC 8037).
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeafJwk {
    /// `OKP`.
    pub kty: String,
    /// `Ed25519`.
    pub crv: String,
    /// The public key, base64url.
    pub x: String,
    /// `EdDSA`.
    pub alg: String,
    /// `sig`.
    #[serde(rename = "use")]
    pub usage: String,
    /// The key's thumbprint (RFC 7638).
    pub kid: String,
}

/// The leaves that a root has taken its word back from.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevocationList {
    /// When it was made, in seconds since 1970.
    pub iat: u64,
    /// Starts at 1 and grows by one. Of two lists the one with the higher version counts.
    pub version: u64,
    /// Every leaf revoked so far whose certificate could still hold.
    pub revoked: Vec<RevokedLeaf>,
}

impl RevocationList {
    /// Whether the leaf with this `kid` is revoked.
    #[must_use]
    pub fn names(&self, kid: &str) -> bool {
        self.revoked.iter().any(|leaf| leaf.kid == kid)
    }
}

/// One leaf on a [`RevocationList`].
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct RevokedLeaf {
    /// Its thumbprint.
    pub kid: String,
    /// When it was revoked, in seconds since 1970.
    pub revoked_at: u64,
}

/// A leaf's word that a seat is taken. Whoever knows its session id may release the seat, so that is not printed.
#[derive(Clone, Deserialize, Eq, PartialEq, Serialize)]
pub struct LeaseClaims {
    /// Whose license it is (`ten_…`).
    pub tenant_id: String,
    /// The license (`lic_…`).
    pub license_id: String,
    /// The version of the license: at an acquire, of the document that comes with the lease. Absent from older platforms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub license_version: Option<u64>,
    /// The session (`ses_…`).
    pub session_id: String,
    /// Which seat of the license.
    pub seat: u32,
    /// The machine it was given to: see [`hardware_sha256`](crate::hardware_sha256).
    pub hardware_sha256: String,
    /// What the caller sent to know the answer from an older one; absent if nothing was sent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nonce: Option<String>,
    /// When it was given, in seconds since 1970.
    pub iat: u64,
    /// The first second in which it holds.
    pub nbf: u64,
    /// The first second in which it holds no longer.
    pub exp: u64,
}

impl fmt::Debug for LeaseClaims {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LeaseClaims")
            .field("license_id", &self.license_id)
            .field("seat", &self.seat)
            .field("exp", &self.exp)
            .finish_non_exhaustive()
    }
}

/// A member that may be null, but must be there.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(deserializer)
}
