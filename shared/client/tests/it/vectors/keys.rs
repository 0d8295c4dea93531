//! Keys that sign, made anew each time vectors are made.

use std::fmt::Write;

use aws_lc_rs::{
    digest, hmac,
    rand::SystemRandom,
    rsa::{self, KeySize},
    signature::{self, Ed25519KeyPair, KeyPair, RsaPssSaltLength, RsaSignatureEncoding},
};
use base64::{
    Engine,
    prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

/// PS256 as it must not be.
static SHORT_SALT: RsaSignatureEncoding = signature::RSA_PSS_SHA256.with_pss_salt_length(RsaPssSaltLength::Custom(20));

/// A key pair with all its faces.
pub(super) struct Key {
    pub(super) alg: &'static str,
    pub(super) kid: String,
    pub(super) jwk: Value,
    /// `SubjectPublicKeyInfo`.
    pub(super) der: Vec<u8>,
    pair: Pair,
}

enum Pair {
    Rsa(rsa::KeyPair),
    Ed25519(Ed25519KeyPair),
}

impl Key {
    pub(super) fn root(alg: &'static str) -> Self {
        let pair = rsa::KeyPair::generate(KeySize::Rsa4096).expect("an RSA key");
        // RSAPublicKey: nine bytes before the modulus, five for the exponent after it.
        let public = pair.public_key().as_ref();
        let n = base64url(&public[9..521]);
        let kid = thumbprint(&json!({"e": "AQAB", "kty": "RSA", "n": n}));
        let mut der = vec![0x30, 0x82, 0x02, 0x22, 0x30, 0x0d, 0x06, 0x09];
        der.extend([0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01, 0x05, 0x00, 0x03, 0x82, 0x02, 0x0f, 0x00]);
        der.extend(public);
        let jwk = json!({"kty": "RSA", "n": n, "e": "AQAB", "alg": alg, "use": "sig", "kid": kid});
        Self { alg, kid, jwk, der, pair: Pair::Rsa(pair) }
    }

    pub(super) fn leaf() -> Self {
        let pair = Ed25519KeyPair::generate().expect("an Ed25519 key");
        let x = base64url(pair.public_key().as_ref());
        let kid = thumbprint(&json!({"crv": "Ed25519", "kty": "OKP", "x": x}));
        let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
        der.extend(pair.public_key().as_ref());
        let jwk = json!({"kty": "OKP", "crv": "Ed25519", "x": x, "alg": "EdDSA", "use": "sig", "kid": kid});
        Self { alg: "EdDSA", kid, jwk, der, pair: Pair::Ed25519(pair) }
    }

    pub(super) fn pem(&self) -> String {
        let text = BASE64_STANDARD.encode(&self.der);
        let lines = text.as_bytes().chunks(64).fold(String::new(), |mut lines, line| {
            writeln!(lines, "{}", str::from_utf8(line).expect("base64 is ASCII")).expect("memory");
            lines
        });
        format!("-----BEGIN PUBLIC KEY-----\n{lines}-----END PUBLIC KEY-----\n")
    }

    pub(super) fn header(&self, typ: &str) -> String {
        format!(r#"{{"alg":"{}","kid":"{}","typ":"{typ}"}}"#, self.alg, self.kid)
    }

    /// A token as the platform makes it.
    pub(super) fn token(&self, typ: &str, claims: &Value) -> String {
        self.seal(&self.header(typ), claims.to_string().as_bytes())
    }

    /// A true signature over any header and payload.
    pub(super) fn seal(&self, header: &str, payload: &[u8]) -> String {
        let signed = signing_input(header, payload);
        let signature = base64url(&self.sign(self.alg, &signed));
        format!("{signed}.{signature}")
    }

    /// A signature with a given algorithm; an RSA key knows several.
    pub(super) fn sign(&self, alg: &str, message: &str) -> Vec<u8> {
        match &self.pair {
            Pair::Ed25519(pair) => pair.sign(message.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                let padding = match alg {
                    "PS256" => &signature::RSA_PSS_SHA256,
                    "PS256 with a salt of 20 bytes" => &SHORT_SALT,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                pair.sign(padding, &SystemRandom::new(), message.as_bytes(), &mut signature).expect("an RSA signature");
                signature
            }
        }
    }
}

/// A token "signed" with a text that everybody knows.
pub(super) fn hs256(header: &str, payload: &[u8], secret: &[u8]) -> String {
    let signed = signing_input(header, payload);
    let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", base64url(tag.as_ref()))
}

pub(super) fn signing_input(header: &str, payload: &[u8]) -> String {
    format!("{}.{}", base64url(header.as_bytes()), base64url(payload))
}

pub(super) fn base64url(bytes: &[u8]) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes)
}

/// RFC 7638, of a JWK whose members are in order.
fn thumbprint(jwk: &Value) -> String {
    sha256(&jwk.to_string())
}

pub(super) fn sha256(text: &str) -> String {
    base64url(digest::digest(&digest::SHA256, text.as_bytes()).as_ref())
}
