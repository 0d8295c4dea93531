//! Public keys: the pinned roots, and the leaves that roots certify.

use aws_lc_rs::{
    digest,
    signature::{self, RsaPublicKeyComponents, UnparsedPublicKey},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use rustls_pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};
use serde::{Deserialize, Serialize};

use crate::{claims::LeafJwk, json};

/// All that stands before the modulus in the `SubjectPublicKeyInfo` (RFC 5280) of an RSA key of 4096 bits whose exponent is 65537.
/// DER allows one encoding only, so nothing needs to be parsed.
const SPKI_START: [u8; 33] = [
    0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x02,
    0x0f, 0x00, 0x30, 0x82, 0x02, 0x0a, 0x02, 0x82, 0x02, 0x01, 0x00,
];

/// All that stands after it: the exponent.
const SPKI_END: [u8; 5] = [0x02, 0x03, 0x01, 0x00, 0x01];

/// The one exponent there is: 65537.
const EXPONENT: [u8; 3] = [0x01, 0x00, 0x01];

/// Bytes in the modulus of a root.
const MODULUS_BYTES: usize = 512;

/// Why something is not a root key that could be pinned.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// There is no `PUBLIC KEY` section in the text.
    #[error("no PEM section PUBLIC KEY can be read: {0}")]
    Pem(String),
    /// The text is not the JWK (RFC 7517) of a key that signs.
    #[error("not the JWK of a root key: {0}")]
    Jwk(String),
    /// A public key, but not one that a root may have.
    #[error("not an RSA key of 4096 bits with the exponent 65537")]
    NotRsa4096,
}

/// How a root signs. A root has one algorithm for all its life; no token may choose another.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum Algorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes.
    Ps256,
}

impl Algorithm {
    /// Its name in JWS and JWK (RFC 7518).
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }
}

/// A root's public key: RSA-4096, bound to its algorithm. What a program pins, and all that it trusts.
///
/// ```
/// use coditect_license::{Algorithm, KeyError, RootKey};
///
/// let pem = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA\n-----END PUBLIC KEY-----\n";
/// assert_eq!(RootKey::from_pem(pem, Algorithm::Rs256).unwrap_err(), KeyError::NotRsa4096);
/// ```
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RootKey {
    kid: String,
    algorithm: Algorithm,
    modulus: Vec<u8>,
}

impl RootKey {
    /// The key in the first `PUBLIC KEY` section (`SubjectPublicKeyInfo`) of a PEM text, which signs with `algorithm`: PEM does not
    /// tell.
    ///
    /// # Errors
    /// If there is no such section, or it is of another kind of key.
    pub fn from_pem(pem: &str, algorithm: Algorithm) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|error| KeyError::Pem(error.to_string()))?;
        let modulus = spki.strip_prefix(&SPKI_START).and_then(|rest| rest.strip_suffix(&SPKI_END)).ok_or(KeyError::NotRsa4096)?;
        Self::new(modulus, algorithm)
    }

    /// The key of a JWK (RFC 7517) as `GET /api/v1/keys` shows it under `root.jwk`: `alg` must be there, and `kid`, if it is there,
    /// must be the key's thumbprint.
    ///
    /// # Errors
    /// If the text is not such a JWK, or has a private part.
    pub fn from_jwk(jwk: &str) -> Result<Self, KeyError> {
        let jwk: RootJwk = json::claims(jwk.as_bytes()).map_err(KeyError::Jwk)?;
        let wrong = |what: &str| Err(KeyError::Jwk(what.to_owned()));
        if jwk.d.is_some() {
            return wrong("it has a private part, which belongs nowhere near a client");
        }
        if jwk.kty != "RSA" || jwk.e != "AQAB" {
            return Err(KeyError::NotRsa4096);
        }
        if jwk.usage.is_some_and(|usage| usage != "sig") {
            return wrong("its use is not sig");
        }
        let Some(modulus) = from_base64url(&jwk.n) else { return wrong("n is not base64url") };
        let key = Self::new(&modulus, jwk.alg)?;
        if jwk.kid.is_some_and(|kid| kid != key.kid) {
            return wrong("kid is not the thumbprint of the key");
        }
        Ok(key)
    }

    fn new(modulus: &[u8], algorithm: Algorithm) -> Result<Self, KeyError> {
        // The highest bit makes it a number of 4096 bits; an even number is no product of two large primes.
        let fits = modulus.len() == MODULUS_BYTES && modulus[0] & 0x80 != 0 && modulus[MODULUS_BYTES - 1] & 1 == 1;
        if !fits {
            return Err(KeyError::NotRsa4096);
        }
        let kid = thumbprint(&format!(r#"{{"e":"AQAB","kty":"RSA","n":"{}"}}"#, to_base64url(modulus)));
        Ok(Self { kid, algorithm, modulus: modulus.to_vec() })
    }

    /// Its id: the thumbprint of its JWK (RFC 7638, SHA-256, base64url).
    #[must_use]
    pub fn kid(&self) -> &str {
        &self.kid
    }

    /// How it signs.
    #[must_use]
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// Whether the root made `signature` over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        let parameters = match self.algorithm {
            Algorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        };
        RsaPublicKeyComponents { n: &self.modulus, e: &EXPONENT.to_vec() }.verify(parameters, message, signature).is_ok()
    }
}

/// A root's JWK as it comes in.
#[derive(Deserialize)]
struct RootJwk {
    kty: String,
    n: String,
    e: String,
    alg: Algorithm,
    #[serde(rename = "use")]
    usage: Option<String>,
    kid: Option<String>,
    d: Option<serde::de::IgnoredAny>,
}

/// A leaf's public key: Ed25519.
#[derive(Clone, Debug)]
pub(crate) struct LeafKey([u8; signature::ED25519_PUBLIC_KEY_LEN]);

impl LeafKey {
    /// The algorithm of every leaf, as a JWS header names it.
    pub(crate) const ALGORITHM: &str = "EdDSA";

    /// The key of a certificate's `jwk` member, or what is wrong with it.
    pub(crate) fn from_jwk(jwk: &LeafJwk) -> Result<Self, &'static str> {
        if [&*jwk.kty, &*jwk.crv, &*jwk.alg, &*jwk.usage] != ["OKP", "Ed25519", Self::ALGORITHM, "sig"] {
            return Err("jwk is not an Ed25519 key that signs");
        }
        if jwk.kid != thumbprint(&format!(r#"{{"crv":"Ed25519","kty":"OKP","x":"{}"}}"#, jwk.x)) {
            return Err("jwk.kid is not the thumbprint of the key");
        }
        let point = from_base64url(&jwk.x).and_then(|bytes| bytes.try_into().ok());
        point.map(Self).ok_or("jwk.x is not 32 bytes in base64url")
    }

    /// Whether the leaf made `signature` over `message`.
    pub(crate) fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&signature::ED25519, self.0).verify(message, signature).is_ok()
    }
}

/// How a lease names a hardware id: base64url of the SHA-256 of its UTF-8 bytes.
///
/// ```
/// assert_eq!(coditect_license::hardware_sha256("abc"), "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0");
/// ```
#[must_use]
pub fn hardware_sha256(hardware_id: &str) -> String {
    to_base64url(digest::digest(&digest::SHA256, hardware_id.as_bytes()).as_ref())
}

/// RFC 7638, of a JWK already brought into the form that is hashed.
fn thumbprint(canonical_jwk: &str) -> String {
    to_base64url(digest::digest(&digest::SHA256, canonical_jwk.as_bytes()).as_ref())
}

fn to_base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// The bytes of a base64url text in its one canonical form: no padding, no stray bits at the end.
pub(crate) fn from_base64url(text: &str) -> Option<Vec<u8>> {
    BASE64_URL_SAFE_NO_PAD.decode(text).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_leafs_id_is_the_thumbprint_that_rfc_8037_has() {
        let jwk = LeafJwk {
            kty: "OKP".into(),
            crv: "Ed25519".into(),
            x: "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo".into(),
            alg: "EdDSA".into(),
            usage: "sig".into(),
            kid: "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k".into(),
        };
        assert!(LeafKey::from_jwk(&jwk).is_ok());
        assert!(LeafKey::from_jwk(&LeafJwk { kid: jwk.x.clone(), ..jwk }).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}", base64 in "[A-Za-z0-9+/=\n]{0,200}") {
            let _ = RootKey::from_jwk(&text);
            let _ = RootKey::from_pem(&text, Algorithm::Rs256);
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{base64}\n-----END PUBLIC KEY-----\n");
            prop_assert!(RootKey::from_pem(&pem, Algorithm::Ps256).is_err());
        }
    }
}
