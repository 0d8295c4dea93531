//! The JSON of Cloud KMS' REST API: bytes are base64, 64-bit numbers are strings, and enums are numbers, as the client asks.

use aws_lc_rs::{
    digest::{Digest, SHA256},
    rsa::KeyPair,
    signature::{RSA_PKCS1_SHA256, RSA_PSS_SHA256, RsaEncoding},
};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};
use platform::signing::{RootAlgorithm, pem};
use serde_json::{Value, json};

use crate::key::spki;

/// `HSM` of `ProtectionLevel`.
const HSM: u32 = 2;

/// The answer to `getPublicKey`.
pub(crate) fn public_key(name: &str, key: &KeyPair, algorithm: RootAlgorithm) -> Value {
    let pem = pem::encode("PUBLIC KEY", &spki(key));
    // `RSA_SIGN_PKCS1_4096_SHA256` and `RSA_SIGN_PSS_4096_SHA256` of `CryptoKeyVersionAlgorithm`.
    let number = match algorithm {
        RootAlgorithm::Rs256 => 7,
        RootAlgorithm::Ps256 => 4,
    };
    json!({
        "pem": pem,
        "algorithm": number,
        "pemCrc32c": checksum(pem.as_bytes()),
        "name": name,
        "protectionLevel": HSM,
        "publicKeyFormat": 1,
    })
}

/// What `asymmetricSign` was asked, if the digest has its checksum.
pub(crate) struct Asked {
    pub(crate) digest: Vec<u8>,
    pub(crate) verified: bool,
}

/// Reads the question of `asymmetricSign`.
pub(crate) fn asked(question: &Value) -> Option<Asked> {
    let digest = BASE64.decode(question["digest"]["sha256"].as_str()?).ok()?;
    match question.get("digestCrc32c") {
        None => Some(Asked { digest, verified: false }),
        Some(sent) => (*sent == checksum(&digest)).then_some(Asked { digest, verified: true }),
    }
}

/// The answer to `asymmetricSign`.
pub(crate) fn signature(name: &str, key: &KeyPair, algorithm: RootAlgorithm, asked: &Asked) -> Value {
    let encoding: &'static dyn RsaEncoding = match algorithm {
        RootAlgorithm::Rs256 => &RSA_PKCS1_SHA256,
        RootAlgorithm::Ps256 => &RSA_PSS_SHA256,
    };
    let mut signature = vec![0; key.public_modulus_len()];
    let digest = Digest::import_less_safe(&asked.digest, &SHA256).unwrap();
    key.sign_digest(encoding, &digest, &mut signature).unwrap();
    json!({
        "signature": BASE64.encode(&signature),
        "signatureCrc32c": checksum(&signature),
        "verifiedDigestCrc32c": asked.verified,
        "name": name,
        "protectionLevel": HSM,
    })
}

/// A `google.rpc.Status`.
pub(crate) fn status(code: u16, status: &str) -> Value {
    json!({ "error": { "code": code, "message": format!("the test says {status}"), "status": status } })
}

/// CRC32C as the API writes it, by table: not the way of the code under test.
pub(crate) fn checksum(bytes: &[u8]) -> Value {
    let table: Vec<u32> =
        (0..256).map(|index| (0..8).fold(index, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })).collect();
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| (crc >> 8) ^ table[usize::from(crc.to_le_bytes()[0] ^ byte)]);
    (crc ^ u32::MAX).to_string().into()
}
