//! Leaf keys: Ed25519, a day long, certified by the root. They sign the leases.

use std::fmt;

use aws_lc_rs::{
    digest,
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::Serialize;
use zeroize::Zeroizing;

use super::{Error, SealingKey, jws};
use crate::domain::{HardwareHash, LicenseId, Nonce, SeatNumber, SessionId, TenantId, Timestamp};

/// The JWS algorithm of every leaf (RFC 8037, section 3.1).
const ALGORITHM: &str = "EdDSA";

/// An Ed25519 key as a JWK (RFC 8037, section 2).
#[derive(Clone, Debug, Serialize)]
pub struct LeafJwk {
    kty: &'static str,
    crv: &'static str,
    x: String,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
}

impl LeafJwk {
    /// The JWK of a public key of 32 bytes.
    #[must_use]
    pub fn of(public_key: &[u8]) -> Self {
        Self { kty: "OKP", crv: "Ed25519", x: BASE64URL.encode(public_key), alg: ALGORITHM, usage: "sig", kid: thumbprint(public_key) }
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }
}

/// RFC 7638, with the members that RFC 8037 (appendix A.3) names.
fn thumbprint(public_key: &[u8]) -> String {
    let canonical = format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, BASE64URL.encode(public_key));
    BASE64URL.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
}

/// What a lease says.
#[derive(Clone, Copy, Debug)]
pub struct Lease<'a> {
    /// Whose license it is.
    pub tenant: TenantId,
    /// Which session has the seat, and so of which license.
    pub session: SessionId,
    /// The seat.
    pub seat: SeatNumber,
    /// Which device has it.
    pub hardware: &'a HardwareHash,
    /// What the client wants to see again.
    pub nonce: Option<&'a Nonce>,
    /// When it was given, by the clock that rules expiry.
    pub at: Timestamp,
    /// When it is over: with the session, if no further heartbeat comes.
    pub expires_at: Timestamp,
    /// The version of the license: at an acquire of the document that comes with it, at a heartbeat of the policy in force.
    pub license_version: i64,
}

#[derive(Serialize)]
struct LeaseClaims<'a> {
    tenant_id: TenantId,
    license_id: LicenseId,
    license_version: i64,
    session_id: SessionId,
    seat: u32,
    hardware_sha256: &'a HardwareHash,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    iat: i64,
    nbf: i64,
    exp: i64,
}

/// A leaf that signs.
pub struct Leaf {
    key: Ed25519KeyPair,
    kid: String,
    head: String,
    /// By the root, a compact JWS: what a verifier needs beside a lease.
    certificate: String,
    /// When another leaf should take over.
    pub(super) signs_until: Timestamp,
    /// When its certificate is over: no lease may last longer.
    pub(super) expires_at: Timestamp,
}

impl Leaf {
    /// Reads a leaf from its record.
    pub(super) fn open(
        sealing: &SealingKey,
        kid: &str,
        sealed: &[u8],
        signs_until: Timestamp,
        expires_at: Timestamp,
        certificate: String,
    ) -> Result<Self, Error> {
        let secret = Zeroizing::new(sealing.unseal(&sealed_as(kid), sealed)?);
        let key = Ed25519KeyPair::from_pkcs8(&secret).map_err(|_| Error::Crypto("a leaf's key"))?;
        let head = jws::head(ALGORITHM, kid, jws::Kind::Lease);
        Ok(Self { key, kid: kid.to_owned(), head, certificate, signs_until, expires_at })
    }

    /// The key's id.
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// The root's certificate for it, as a compact JWS: what a verifier needs beside a lease.
    #[must_use]
    pub fn certificate(&self) -> &str {
        &self.certificate
    }

    /// The lease as a compact JWS.
    ///
    /// # Errors
    /// [`Error::NoLeaf`] if the lease outlasts the leaf's certificate: the key rotation has not run for a day.
    pub fn sign(&self, lease: &Lease<'_>) -> Result<String, Error> {
        if lease.expires_at > self.expires_at {
            return Err(Error::NoLeaf);
        }
        let claims = LeaseClaims {
            tenant_id: lease.tenant,
            license_id: lease.session.license,
            license_version: lease.license_version,
            session_id: lease.session,
            seat: lease.seat.get(),
            hardware_sha256: lease.hardware,
            nonce: lease.nonce.map(Nonce::as_str),
            iat: lease.at.timestamp(),
            nbf: lease.at.timestamp(),
            exp: lease.expires_at.timestamp(),
        };
        let mut json = Vec::with_capacity(512);
        serde_json::to_writer(&mut json, &claims)?;
        let mut signed = String::with_capacity(self.head.len() + json.len().div_ceil(3) * 4 + 87);
        signed.push_str(&self.head);
        BASE64URL.encode_string(&json, &mut signed);
        let signature = self.key.sign(signed.as_bytes());
        Ok(jws::finish(signed, signature.as_ref()))
    }
}

impl fmt::Debug for Leaf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Leaf(…)")
    }
}

/// Binds a private half to its leaf: in another leaf's row it does not open.
fn sealed_as(kid: &str) -> String {
    format!("coditect leaf key\n{kid}")
}

/// A leaf just made, its private half sealed.
#[derive(Debug)]
pub(super) struct NewLeaf {
    pub(super) jwk: LeafJwk,
    pub(super) public_key: Vec<u8>,
    pub(super) sealed: Vec<u8>,
}

impl NewLeaf {
    pub(super) fn make(sealing: &SealingKey) -> Result<Self, Error> {
        // The document wipes its memory when it is dropped.
        let secret = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| Error::Crypto("a new leaf"))?;
        let key = Ed25519KeyPair::from_pkcs8(secret.as_ref()).map_err(|_| Error::Crypto("a new leaf"))?;
        let public_key = key.public_key().as_ref().to_vec();
        let jwk = LeafJwk::of(&public_key);
        let sealed = sealing.seal(&sealed_as(jwk.kid()), secret.as_ref()).map_err(|_| Error::Crypto("sealing a new leaf"))?;
        Ok(Self { jwk, public_key, sealed })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thumbprint_is_that_of_rfc_8037() {
        let public_key = BASE64URL.decode("11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo").unwrap();
        assert_eq!(LeafJwk::of(&public_key).kid(), "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k");
    }
}
