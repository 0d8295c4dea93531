//! Whether an answer of Cloud KMS is whole and about the key that was asked for.

use google_cloud_kms_v1::model::{AsymmetricSignResponse, PublicKey, crypto_key_version::CryptoKeyVersionAlgorithm};
use platform::signing::{RootAlgorithm, RootError, RootPublicKey};
use rustls::pki_types::{SubjectPublicKeyInfoDer, pem::PemObject};

use crate::{KeyVersion, crc32c::crc32c, fault::Fault};

/// The root's public half.
pub(crate) fn public_key(answer: &PublicKey, version: &KeyVersion) -> Result<RootPublicKey, Fault> {
    is_of(&answer.name, version)?;
    is_whole("public key", answer.pem.as_bytes(), answer.pem_crc32c)?;
    let algorithm = algorithm(&answer.algorithm).map_err(Fault::Final)?;
    let spki = SubjectPublicKeyInfoDer::from_pem_slice(answer.pem.as_bytes())
        .map_err(|_| Fault::Final(RootError::Refused("the public key is not PEM".to_owned())))?;
    RootPublicKey::from_spki(&spki, algorithm).map_err(Fault::Final)
}

/// The signature, which is yet to be verified.
pub(crate) fn signature(answer: AsymmetricSignResponse, version: &KeyVersion) -> Result<Vec<u8>, Fault> {
    is_of(&answer.name, version)?;
    if !answer.verified_digest_crc32c {
        return Err(Fault::Damaged("Cloud KMS has not checked the digest".to_owned()));
    }
    is_whole("signature", &answer.signature, answer.signature_crc32c)?;
    Ok(answer.signature.into())
}

fn is_of(name: &str, version: &KeyVersion) -> Result<(), Fault> {
    if name == version.as_str() { Ok(()) } else { Err(Fault::Damaged("the answer is about another key version".to_owned())) }
}

/// An answer without its checksum is no better than one with a wrong one.
fn is_whole(what: &str, bytes: &[u8], checksum: Option<i64>) -> Result<(), Fault> {
    if checksum == Some(crc32c(bytes)) { Ok(()) } else { Err(Fault::Damaged(format!("the {what} does not have its checksum"))) }
}

fn algorithm(algorithm: &CryptoKeyVersionAlgorithm) -> Result<RootAlgorithm, RootError> {
    match algorithm {
        CryptoKeyVersionAlgorithm::RsaSignPkcs14096Sha256 => Ok(RootAlgorithm::Rs256),
        CryptoKeyVersionAlgorithm::RsaSignPss4096Sha256 => Ok(RootAlgorithm::Ps256),
        other => Err(RootError::Refused(format!(
            "the key's algorithm is {other}; it must be RSA_SIGN_PKCS1_4096_SHA256 or RSA_SIGN_PSS_4096_SHA256"
        ))),
    }
}
