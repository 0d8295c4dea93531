//! The root key: RSA-4096, trusted by every verifier, and used for documents, certificates and revocation lists only.

use std::fmt;

use aws_lc_rs::{digest, signature};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use futures_util::future::BoxFuture;
use serde::Serialize;

use super::key_file::KeyFileError;

/// How the root signs; fixed by the key (RFC 7518, section 3.1).
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum RootAlgorithm {
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    Rs256,
    /// RSASSA-PSS with SHA-256, MGF1 with SHA-256, and a salt of 32 bytes.
    Ps256,
}

impl RootAlgorithm {
    /// Its name in a JWS header.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Rs256 => "RS256",
            Self::Ps256 => "PS256",
        }
    }

    /// The algorithm of that name.
    #[must_use]
    pub fn of(name: &str) -> Option<Self> {
        [Self::Rs256, Self::Ps256].into_iter().find(|algorithm| algorithm.as_str() == name)
    }
}

/// Why the root did not sign.
#[derive(Debug, thiserror::Error)]
pub enum RootError {
    /// The signer cannot be reached, is overloaded or slow: the same request may succeed later.
    #[error("the root key's signer is not available: {0}")]
    Unavailable(String),
    /// The signer refuses, or what it answered must not be trusted: asking again will not help.
    #[error("the root key's signer is not usable: {0}")]
    Refused(String),
}

impl RootError {
    /// What the signer said, or what is wrong with it.
    #[must_use]
    pub fn why(&self) -> &str {
        let (Self::Unavailable(why) | Self::Refused(why)) = self;
        why
    }
}

impl From<KeyFileError> for RootError {
    fn from(error: KeyFileError) -> Self {
        Self::Refused(error.to_string())
    }
}

/// The public half of the root.
#[derive(Clone, Eq, PartialEq)]
pub struct RootPublicKey {
    algorithm: RootAlgorithm,
    spki: Vec<u8>,
    modulus: Vec<u8>,
    exponent: Vec<u8>,
}

/// An RSA key as a JWK (RFC 7517, RFC 7518 section 6.3).
#[derive(Clone, Debug, Serialize)]
pub struct RootJwk {
    kty: &'static str,
    n: String,
    e: String,
    alg: &'static str,
    #[serde(rename = "use")]
    usage: &'static str,
    kid: String,
}

impl RootPublicKey {
    /// Reads a `SubjectPublicKeyInfo` (RFC 5280, section 4.1) in DER.
    ///
    /// # Errors
    /// [`RootError::Refused`] if it is not an RSA key of 4096 bits.
    pub fn from_spki(spki: &[u8], algorithm: RootAlgorithm) -> Result<Self, RootError> {
        let (modulus, exponent) =
            der::rsa_numbers(spki).ok_or_else(|| RootError::Refused("the public key is not an RSA key in DER".to_owned()))?;
        if modulus.len() != 512 {
            return Err(RootError::Refused(format!("the root has {} bits and must have 4096", modulus.len() * 8)));
        }
        Ok(Self { algorithm, spki: spki.to_vec(), modulus: modulus.to_vec(), exponent: exponent.to_vec() })
    }

    /// How the key signs.
    #[must_use]
    pub const fn algorithm(&self) -> RootAlgorithm {
        self.algorithm
    }

    /// The key as `SubjectPublicKeyInfo` in DER.
    #[must_use]
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The key as PEM (RFC 7468).
    #[must_use]
    pub fn pem(&self) -> String {
        super::pem::encode("PUBLIC KEY", &self.spki)
    }

    /// The key's id: its JWK thumbprint (RFC 7638) with SHA-256.
    #[must_use]
    pub fn kid(&self) -> String {
        let canonical = format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, BASE64URL.encode(&self.exponent), BASE64URL.encode(&self.modulus));
        BASE64URL.encode(digest::digest(&digest::SHA256, canonical.as_bytes()))
    }

    /// The key as a JWK.
    #[must_use]
    pub fn jwk(&self) -> RootJwk {
        RootJwk {
            kty: "RSA",
            n: BASE64URL.encode(&self.modulus),
            e: BASE64URL.encode(&self.exponent),
            alg: self.algorithm.as_str(),
            usage: "sig",
            kid: self.kid(),
        }
    }

    /// Whether the root has signed this message so.
    #[must_use]
    pub fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &dyn signature::VerificationAlgorithm = match self.algorithm {
            RootAlgorithm::Rs256 => &signature::RSA_PKCS1_2048_8192_SHA256,
            RootAlgorithm::Ps256 => &signature::RSA_PSS_2048_8192_SHA256,
        };
        signature::UnparsedPublicKey::new(algorithm, &self.spki).verify(message, signature).is_ok()
    }
}

impl fmt::Debug for RootPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RootPublicKey({} {})", self.algorithm.as_str(), self.kid())
    }
}

/// Signs with the root's private half, wherever that is: in Cloud KMS, or in a file.
///
/// Never called while a client waits for a seat: documents are signed when a license is issued or changed, certificates
/// when a leaf is made.
pub trait RootSigner: fmt::Debug + Send + Sync {
    /// The public half.
    ///
    /// # Errors
    /// [`RootError`].
    fn public_key(&self) -> BoxFuture<'_, Result<RootPublicKey, RootError>>;

    /// Signs a message (not its digest) with the key's own algorithm.
    ///
    /// # Errors
    /// [`RootError`].
    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, RootError>>;
}

/// As much of DER (X.690) as it takes to find the numbers of an RSA key in its `SubjectPublicKeyInfo`.
mod der {
    const SEQUENCE: u8 = 0x30;
    const INTEGER: u8 = 0x02;
    const BIT_STRING: u8 = 0x03;
    /// `rsaEncryption` (RFC 8017, appendix C) with its NULL parameters.
    const RSA: [u8; 13] = [0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00];

    pub(super) fn rsa_numbers(spki: &[u8]) -> Option<(&[u8], &[u8])> {
        let (spki, rest) = value(spki, SEQUENCE)?;
        let (algorithm, key) = value(spki, SEQUENCE)?;
        let (key, end) = value(key, BIT_STRING)?;
        let (key, after) = value(key.strip_prefix(&[0])?, SEQUENCE)?;
        let (modulus, exponent) = value(key, INTEGER)?;
        let (exponent, last) = value(exponent, INTEGER)?;
        let complete = rest.is_empty() && end.is_empty() && after.is_empty() && last.is_empty() && algorithm == RSA;
        complete.then_some((unsigned(modulus), unsigned(exponent)))
    }

    /// The value of the element of this kind that comes first, and what follows it.
    fn value(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
        let (length, rest) = bytes.strip_prefix(&[tag])?.split_first()?;
        let (length, rest) = match *length {
            short @ 0..=0x7f => (usize::from(short), rest),
            0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
            0x82 => (usize::from(u16::from_be_bytes([*rest.first()?, *rest.get(1)?])), rest.get(2..)?),
            _ => return None,
        };
        rest.split_at_checked(length)
    }

    /// Without the zero that keeps a number positive.
    fn unsigned(number: &[u8]) -> &[u8] {
        number.strip_prefix(&[0]).unwrap_or(number)
    }
}
