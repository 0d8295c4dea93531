//! An issuer's public keys, read from its JWK set (RFC 7517). What a key verifies is fixed when it is read, not by a token.

use std::collections::HashMap;

use aws_lc_rs::{
    error::KeyRejected,
    signature::{ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::Deserialize;
use serde_json::Value;

/// How an issuer signs (RFC 7518, section 3.1, and RFC 8037): pinned in its settings.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
pub enum Algorithm {
    /// RSA with PKCS#1 v1.5 and SHA-256; keys of 2048 bits at least.
    #[default]
    #[serde(rename = "RS256")]
    Rs256,
    /// ECDSA over P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// Ed25519.
    #[serde(rename = "EdDSA")]
    EdDsa,
}

impl Algorithm {
    /// Its name in headers and keys.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Es256 => "ES256",
            Self::EdDsa => "EdDSA",
        }
    }
}

/// The keys of an issuer that can verify its tokens, by their ids.
#[derive(Clone, Debug)]
pub(super) struct Keys(HashMap<String, ParsedPublicKey>);

/// A text that is no JWK set, or has no key in it that could verify anything.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no JWK set with a key for {}", .0.as_str())]
pub struct InvalidKeys(Algorithm);

#[derive(Deserialize)]
struct JwkSet {
    keys: Vec<Value>,
}

/// The members of a key that matter here; others are passed over.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: String,
    alg: Option<String>,
    #[serde(rename = "use")]
    usage: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Keys {
    /// Reads a set. Keys for something else are passed over; of two that share an id neither is taken.
    pub(super) fn read(text: &[u8], algorithm: Algorithm) -> Result<Self, InvalidKeys> {
        let set: JwkSet = serde_json::from_slice(text).map_err(|_| InvalidKeys(algorithm))?;
        let mut keys = HashMap::new();
        for key in set.keys {
            let Ok(jwk) = Jwk::deserialize(key) else { continue };
            let Some(key) = jwk.key(algorithm) else { continue };
            keys.entry(jwk.kid).and_modify(|twice| *twice = None).or_insert(Some(key));
        }
        let keys: HashMap<_, _> = keys.into_iter().filter_map(|(kid, key)| Some((kid, key?))).collect();
        if keys.is_empty() { Err(InvalidKeys(algorithm)) } else { Ok(Self(keys)) }
    }

    /// The key of this id.
    pub(super) fn get(&self, kid: &str) -> Option<&ParsedPublicKey> {
        self.0.get(kid)
    }
}

impl Jwk {
    fn key(&self, algorithm: Algorithm) -> Option<ParsedPublicKey> {
        let fits =
            self.alg.as_deref().is_none_or(|alg| alg == algorithm.as_str()) && self.usage.as_deref().is_none_or(|usage| usage == "sig");
        let (kty, crv) = match algorithm {
            Algorithm::Rs256 => ("RSA", None),
            Algorithm::Es256 => ("EC", Some("P-256")),
            Algorithm::EdDsa => ("OKP", Some("Ed25519")),
        };
        if !fits || self.kty != kty || self.crv.as_deref() != crv {
            return None;
        }
        let key: Result<_, KeyRejected> = match algorithm {
            Algorithm::Rs256 => {
                let (n, e) = (bytes(self.n.as_ref())?, bytes(self.e.as_ref())?);
                RsaPublicKeyComponents { n: whole(&n), e: whole(&e) }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256)
            }
            Algorithm::Es256 => {
                let (x, y) = (coordinate(self.x.as_ref())?, coordinate(self.y.as_ref())?);
                ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, [&[4], &x[..], &y[..]].concat())
            }
            Algorithm::EdDsa => ParsedPublicKey::new(&ED25519, coordinate(self.x.as_ref())?),
        };
        key.ok()
    }
}

fn bytes(member: Option<&String>) -> Option<Vec<u8>> {
    BASE64URL.decode(member?).ok()
}

fn coordinate(member: Option<&String>) -> Option<[u8; 32]> {
    bytes(member)?.try_into().ok()
}

/// Some issuers write a number with zeros in front of it.
fn whole(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}
