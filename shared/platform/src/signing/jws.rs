//! Compact JWS (RFC 7515): three parts of base64url with dots between them. Only writing; whoever holds one reads it with the client's crate.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::Serialize;

use super::{Error, RootPublicKey, RootSigner};

/// What is signed says what it is (RFC 8725, section 3.11), so that one kind never passes for another.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Kind {
    License,
    Certificate,
    Revocations,
    Lease,
}

impl Kind {
    const fn typ(self) -> &'static str {
        match self {
            Self::License => "coditect-license+jwt",
            Self::Certificate => "coditect-certificate+jwt",
            Self::Revocations => "coditect-revocations+jwt",
            Self::Lease => "coditect-lease+jwt",
        }
    }
}

/// The first part, with the dot after it. A key's id has no character that JSON would have to escape.
pub(super) fn head(algorithm: &str, key_id: &str, kind: Kind) -> String {
    let header = format!(r#"{{"alg":"{algorithm}","kid":"{key_id}","typ":"{}"}}"#, kind.typ());
    BASE64URL.encode(header) + "."
}

/// Adds the third part.
pub(super) fn finish(mut signed: String, signature: &[u8]) -> String {
    signed.push('.');
    BASE64URL.encode_string(signature, &mut signed);
    signed
}

/// Has the root sign these claims.
pub(super) async fn sign_by_root(root: &dyn RootSigner, key: &RootPublicKey, kind: Kind, claims: &impl Serialize) -> Result<String, Error> {
    let mut signed = head(key.algorithm().as_str(), &key.kid(), kind);
    BASE64URL.encode_string(serde_json::to_vec(claims)?, &mut signed);
    let signature = root.sign(signed.as_bytes()).await?;
    Ok(finish(signed, &signature))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_those_of_rfc_7515_and_rfc_8037() {
        // RFC 8037, appendix A.4, but for our header's members.
        let signed = head("EdDSA", "k", Kind::Lease) + &BASE64URL.encode("{}");
        assert_eq!(finish(signed, b"\0\x01\xff").split('.').collect::<Vec<_>>()[1..], ["e30", "AAH_"]);
    }
}
