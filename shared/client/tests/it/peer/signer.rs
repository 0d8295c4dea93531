//! The platform's keys, real ones, in the hands of a test.

use std::{fs, path::Path};

use aws_lc_rs::{
    digest,
    encoding::{AsDer, Pkcs8V1Der},
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256},
};
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use serde_json::{Value, json};

/// A key that signs tokens.
pub(crate) struct Signer {
    pub(crate) kid: String,
    pub(crate) jwk: Value,
    alg: &'static str,
    pair: Pair,
}

enum Pair {
    Root(rsa::KeyPair),
    Leaf(Ed25519KeyPair),
}

impl Signer {
    /// A root. Making one takes seconds, so each `name` is made once for all tests of a build.
    pub(crate) fn root(name: &str) -> Self {
        let pair = root_pair(&Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.pk8")));
        // RSAPublicKey: nine bytes before the modulus, five for the exponent after it.
        let n = base64url(&pair.public_key().as_ref()[9..521]);
        let kid = base64url(&sha256(&json!({"e": "AQAB", "kty": "RSA", "n": n}).to_string()));
        let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": "RS256", "use": "sig", "kid": kid});
        Self { kid, jwk, alg: "RS256", pair: Pair::Root(pair) }
    }

    pub(crate) fn leaf() -> Self {
        let pair = Ed25519KeyPair::generate().unwrap();
        let x = base64url(pair.public_key().as_ref());
        let kid = base64url(&sha256(&json!({"crv": "Ed25519", "kty": "OKP", "x": x}).to_string()));
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig", "kid": kid});
        Self { kid, jwk, alg: "EdDSA", pair: Pair::Leaf(pair) }
    }

    pub(crate) fn token(&self, typ: &str, claims: &Value) -> String {
        let header = format!(r#"{{"alg":"{}","kid":"{}","typ":"{typ}"}}"#, self.alg, self.kid);
        let signed = format!("{}.{}", base64url(header.as_bytes()), base64url(claims.to_string().as_bytes()));
        let signature = match &self.pair {
            Pair::Leaf(pair) => base64url(pair.sign(signed.as_bytes()).as_ref()),
            Pair::Root(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).unwrap();
                base64url(&signature)
            }
        };
        format!("{signed}.{signature}")
    }
}

/// The key pair in a file, made if it is not there. Of tests that come first at once, one is believed by all.
fn root_pair(path: &Path) -> rsa::KeyPair {
    if !path.exists() {
        let pair = rsa::KeyPair::generate(KeySize::Rsa4096).unwrap();
        let der: Pkcs8V1Der<'_> = pair.as_der().unwrap();
        let draft = path.with_extension(std::process::id().to_string());
        fs::write(&draft, der.as_ref()).unwrap();
        // A link fails where there is one already.
        let _ = fs::hard_link(&draft, path);
        fs::remove_file(&draft).unwrap();
    }
    rsa::KeyPair::from_pkcs8(&fs::read(path).unwrap()).unwrap()
}

pub(crate) fn sha256(text: &str) -> Vec<u8> {
    digest::digest(&digest::SHA256, text.as_bytes()).as_ref().to_vec()
}

pub(crate) fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}
