//! Who signs what in the vectors, and when.

use serde_json::{Map, Value, json};

use super::{
    Published, Root,
    keys::{Key, sha256},
};

pub(super) const LICENSE: &str = "coditect-license+jwt";
pub(super) const CERTIFICATE: &str = "coditect-certificate+jwt";
pub(super) const REVOCATIONS: &str = "coditect-revocations+jwt";
pub(super) const LEASE: &str = "coditect-lease+jwt";

/// The time that it is in the vectors: 2027-01-15T08:00:00Z.
pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const HOUR: u64 = 3600;
/// The window of the leaf's certificate.
pub(super) const CERTIFIED: (u64, u64) = (NOW - HOUR, NOW + 47 * HOUR);
/// The life of the lease.
pub(super) const LEASED: (u64, u64) = (NOW - 60, NOW + 300);
/// The machine's id; accents, because it is hashed as UTF-8.
pub(super) const HARDWARE: &str = "Büro-PC 7";
pub(super) const NONCE: &str = "n-5f2b7c0a";

/// All the keys.
pub(super) struct World {
    /// Pinned; signs with RS256.
    pub(super) root: Key,
    /// The one that follows it; signs with PS256.
    pub(super) next_root: Key,
    /// The one before it.
    pub(super) retired_root: Key,
    pub(super) leaf: Key,
    /// Certified too, but has not signed the lease.
    pub(super) other_leaf: Key,
}

impl World {
    pub(super) fn new() -> Self {
        let [root, next_root, retired_root] = ["RS256", "PS256", "RS256"].map(Key::root);
        Self { root, next_root, retired_root, leaf: Key::leaf(), other_leaf: Key::leaf() }
    }

    pub(super) fn roots(&self) -> Vec<(String, Root)> {
        let named = [("root", &self.root), ("next_root", &self.next_root)];
        named.map(|(name, key)| (name.to_owned(), Root { jwk: key.jwk.clone(), pem: key.pem() })).to_vec()
    }

    pub(super) fn endless_license(&self) -> String {
        let mut claims = license_claims();
        claims["starts_at"] = Value::Null;
        claims["expires_at"] = Value::Null;
        self.root.token(LICENSE, &claims)
    }

    pub(super) fn certificate(&self) -> Value {
        certificate_of(&self.leaf, "lease", CERTIFIED)
    }

    /// The certificate of a leaf that is certified too.
    pub(super) fn other_certificate(&self) -> String {
        self.root.token(CERTIFICATE, &certificate_of(&self.other_leaf, "lease", CERTIFIED))
    }

    /// The leaf's certificate, another's, and a list that revokes neither.
    pub(super) fn published(&self) -> Published {
        Published {
            certificates: vec![self.other_certificate(), self.root.token(CERTIFICATE, &self.certificate())],
            revocations: Some(self.root.token(REVOCATIONS, &revocation_claims(1, &[]))),
        }
    }
}

pub(super) fn certificate_of(leaf: &Key, usage: &str, (nbf, exp): (u64, u64)) -> Value {
    json!({"iat": nbf, "nbf": nbf, "exp": exp, "use": usage, "jwk": leaf.jwk})
}

pub(super) fn license_claims() -> Value {
    json!({
        "license_id": "lic_01", "tenant_id": "ten_01", "version": 3, "tier": "enterprise", "features": ["sso", "audit"],
        "seats_total": 25, "overage": 2, "seat_unit": "device", "session_ttl_seconds": 360,
        "starts_at": "2026-01-01T00:00:00.000Z", "expires_at": "2028-01-01T00:00:00.000Z", "issued_at": "2026-11-02T10:20:30.400Z",
    })
}

pub(super) fn revocation_claims(version: u64, revoked: &[&Key]) -> Value {
    let revoked: Vec<Value> = revoked.iter().map(|key| json!({"kid": key.kid, "revoked_at": NOW - HOUR})).collect();
    json!({"iat": NOW - HOUR, "version": version, "revoked": revoked})
}

/// A lease with a nonce, given a minute ago for six minutes.
pub(super) fn lease_claims() -> Value {
    json!({
        "tenant_id": "ten_01", "license_id": "lic_01", "session_id": "ses_01", "seat": 7, "hardware_sha256": sha256(HARDWARE),
        "nonce": NONCE, "iat": LEASED.0, "nbf": LEASED.0, "exp": LEASED.1,
    })
}

/// All that the holder of the lease knows about it.
pub(super) fn all_expected() -> Map<String, Value> {
    let all = json!({
        "tenant_id": "ten_01", "license_id": "lic_01", "session_id": "ses_01", "hardware_id": HARDWARE, "nonce": NONCE,
    });
    all.as_object().expect("an object").clone()
}
