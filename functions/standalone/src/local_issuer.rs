//! An identity provider for a laptop: a key in a file, and tokens for whoever may read it. It is no login, so it is trusted only where
//! nobody else can connect.

use std::{net::IpAddr, path::Path, path::PathBuf};

use aws_lc_rs::{
    rand::SystemRandom,
    signature::{Ed25519KeyPair, KeyPair},
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use clap::Args;
use platform::{
    domain::Timestamp,
    signing::{
        LeafJwk,
        key_file::{self, KeyFileError},
    },
    web::{Algorithm, Issuer},
};
use serde_json::{Value, json};

/// What it is called in tokens.
pub(super) const NAME: &str = "urn:coditect:local-issuer";
/// Whom its tokens are for.
const AUDIENCE: &str = "coditect-local";
/// Seconds that a token is in force.
const DAY: i64 = 86_400;

#[derive(Args, Clone, Debug)]
pub(super) struct LocalIssuerSettings {
    /// Take the tokens of a local issuer with its key in this file, which is made where there is none. For laptops: HOST must be a loopback address
    #[arg(long, env = "LOCAL_ISSUER", num_args = 0..=1, default_missing_value = ".local/issuer.pem")]
    local_issuer: Option<PathBuf>,
}

impl LocalIssuerSettings {
    /// The issuer, if it is wanted; `host` is where the process listens.
    pub(super) fn open(&self, host: IpAddr) -> Result<Option<Issuer>, String> {
        let Some(file) = &self.local_issuer else { return Ok(None) };
        if !host.is_loopback() {
            return Err(format!(
                "LOCAL_ISSUER (--local-issuer) works only where HOST (--host) is a loopback address, and it is {host}: its tokens make anybody anyone"
            ));
        }
        LocalIssuer::open(file).map_err(|error| format!("LOCAL_ISSUER (--local-issuer): {error}"))?.issuer().map(Some)
    }
}

/// The issuer itself.
pub(super) struct LocalIssuer {
    key: Ed25519KeyPair,
    jwk: LeafJwk,
}

impl LocalIssuer {
    /// Reads the key, or makes it.
    pub(super) fn open(file: &Path) -> Result<Self, KeyFileError> {
        let refused = |why| KeyFileError::of(file, why);
        if !file.exists() {
            let made = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).map_err(|_| refused("a key cannot be made"))?;
            let outcome = key_file::make(file, made.as_ref());
            // Somebody else may have made it just now.
            if !file.exists() {
                outcome?;
            }
        }
        let der = key_file::read(file)?;
        let key = Ed25519KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| refused("it holds no Ed25519 key"))?;
        let jwk = LeafJwk::of(key.public_key().as_ref());
        Ok(Self { key, jwk })
    }

    fn issuer(&self) -> Result<Issuer, String> {
        Issuer::with_keys(NAME, AUDIENCE, Algorithm::EdDsa, &json!({ "keys": [self.jwk] }).to_string()).map_err(|error| error.to_string())
    }

    /// A token for a day that vouches for this person.
    pub(super) fn token(&self, subject: &str, email: &str, now: Timestamp) -> String {
        let at = now.timestamp();
        let header = json!({ "alg": "EdDSA", "kid": self.jwk.kid(), "typ": "JWT" });
        let claims = json!({
            "iss": NAME, "aud": AUDIENCE, "sub": subject, "email": email, "email_verified": true,
            "iat": at, "auth_time": at, "exp": at + DAY,
        });
        let part = |part: &Value| BASE64URL.encode(part.to_string());
        let signed = format!("{}.{}", part(&header), part(&claims));
        let signature = BASE64URL.encode(self.key.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
