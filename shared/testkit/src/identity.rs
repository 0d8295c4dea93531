//! An identity provider of a test's own, as a real HTTP peer: its keys, what it publishes, and tokens good and bad.

use std::{
    fmt::Display,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use aws_lc_rs::{
    encoding::{AsDer, PublicKeyX509Der},
    hmac,
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use axum::{
    Router,
    extract::State,
    http::{StatusCode, header::CACHE_CONTROL},
    response::{IntoResponse, Response},
    routing::get,
};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use platform::domain::Timestamp;
use serde_json::{Value, json};
use tokio::{net::TcpListener, task::JoinHandle};

use crate::eventually_is;

/// Whom the tokens of tests are for.
pub const AUDIENCE: &str = "coditect-test";

/// An RSA key of an issuer.
#[derive(Debug)]
pub struct IssuerKey {
    /// Its id.
    pub kid: String,
    pair: KeyPair,
}

impl IssuerKey {
    /// A new key of 2048 bits.
    ///
    /// # Panics
    /// If none can be made.
    #[must_use]
    pub fn generate(kid: &str) -> Self {
        Self { kid: kid.to_owned(), pair: KeyPair::generate(KeySize::Rsa2048).expect("a key can be made") }
    }

    /// Its public half as DER (X.509's `SubjectPublicKeyInfo`).
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn spki(&self) -> Vec<u8> {
        let der: PublicKeyX509Der<'_> = self.pair.public_key().as_der().expect("a public key can be written");
        der.as_ref().to_vec()
    }

    /// Its public half as a JWK.
    #[must_use]
    pub fn jwk(&self) -> Value {
        // In the DER of a key of 2048 bits the modulus stands at a fixed place, and the exponent 65537 behind it.
        let n = BASE64URL.encode(&self.spki()[33..289]);
        json!({ "kty": "RSA", "alg": "RS256", "use": "sig", "kid": self.kid, "n": n, "e": "AQAB" })
    }

    /// A token with any header and claims, JSON or not, signed as RS256.
    ///
    /// # Panics
    /// If the key cannot sign.
    #[must_use]
    pub fn sign(&self, header: &impl Display, claims: &impl Display) -> String {
        let signed = unsigned(header, claims);
        let mut signature = vec![0; self.pair.public_modulus_len()];
        self.pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature).expect("the key signs");
        format!("{signed}.{}", BASE64URL.encode(signature))
    }

    /// The header of a good token.
    #[must_use]
    pub fn header(&self) -> Value {
        json!({ "alg": "RS256", "kid": self.kid, "typ": "JWT" })
    }
}

/// The first two parts of a token.
#[must_use]
pub fn unsigned(header: &impl Display, claims: &impl Display) -> String {
    format!("{}.{}", BASE64URL.encode(header.to_string()), BASE64URL.encode(claims.to_string()))
}

/// A token signed as HS256, with whatever an attacker takes for the secret.
#[must_use]
pub fn hs256(secret: &[u8], header: &impl Display, claims: &impl Display) -> String {
    let signed = unsigned(header, claims);
    let signature = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), signed.as_bytes());
    format!("{signed}.{}", BASE64URL.encode(signature))
}

/// A JSON object with some members changed; null takes one out.
///
/// # Panics
/// If one of them is no object.
#[must_use]
pub fn with(object: &Value, changes: &Value) -> Value {
    let mut object = object.as_object().expect("it is an object").clone();
    for (name, value) in changes.as_object().expect("it is an object") {
        object.remove(name);
        object.extend((!value.is_null()).then(|| (name.clone(), value.clone())));
    }
    Value::Object(object)
}

/// How the provider answers.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// What it says of caching.
    pub cache_control: String,
    /// Whether it lets its callers wait until this is false.
    pub is_held: bool,
    /// The body.
    pub body: String,
}

#[derive(Debug)]
struct Desk {
    answer: Answer,
    fetches: usize,
    answers: usize,
}

/// A running provider with one key; gone when dropped.
#[derive(Debug)]
pub struct IdentityProvider {
    /// Its name in tokens.
    pub issuer: String,
    /// The key that it has published and signs with.
    pub key: IssuerKey,
    /// Where it publishes its keys.
    pub jwks_url: String,
    desk: Arc<Mutex<Desk>>,
    server: JoinHandle<()>,
}

impl IdentityProvider {
    /// Starts one whose key has this id.
    ///
    /// # Panics
    /// If it cannot listen.
    pub async fn start(kid: &str) -> Self {
        let key = IssuerKey::generate(kid);
        let answer = Answer { status: 200, cache_control: "public, max-age=3600".to_owned(), is_held: false, body: set(&[&key]) };
        let desk = Arc::new(Mutex::new(Desk { answer, fetches: 0, answers: 0 }));
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let host = listener.local_addr().expect("it has an address");
        let routes = Router::new().route("/keys", get(publish)).with_state(Arc::clone(&desk));
        let server = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, routes).await;
        });
        Self { issuer: format!("https://{host}.id.example"), key, jwks_url: format!("http://{host}/keys"), desk, server }
    }

    /// It as a value of `OIDC_ISSUERS`, with others of its kind.
    #[must_use]
    pub fn setting(providers: &[&Self]) -> String {
        let item = |provider: &&Self| json!({ "issuer": provider.issuer, "audience": AUDIENCE, "jwks_url": provider.jwks_url, "algorithm": "RS256" });
        providers.iter().map(item).collect::<Value>().to_string()
    }

    /// The same, each with further members, such as what it may vouch for.
    ///
    /// # Panics
    /// If they are no object.
    #[must_use]
    pub fn setting_with(providers: &[(&Self, Value)]) -> String {
        let item = |(provider, more): &(&Self, Value)| {
            let item = json!({ "issuer": provider.issuer, "audience": AUDIENCE, "jwks_url": provider.jwks_url });
            with(&item, more)
        };
        providers.iter().map(item).collect::<Value>().to_string()
    }

    /// Changes how it answers.
    pub fn answer(&self, change: impl FnOnce(&mut Answer)) {
        self.with(|desk| change(&mut desk.answer));
    }

    /// Publishes these keys and no others.
    pub fn publish(&self, keys: &[&IssuerKey]) {
        self.answer(|answer| answer.body = set(keys));
    }

    /// How often it was asked.
    #[must_use]
    pub fn fetches(&self) -> usize {
        self.with(|desk| desk.fetches)
    }

    /// How often it has answered.
    #[must_use]
    pub fn answers(&self) -> usize {
        self.with(|desk| desk.answers)
    }

    /// The claims of a good token for an hour.
    #[must_use]
    pub fn claims(&self, subject: &str, email: &str, now: Timestamp) -> Value {
        let at = now.timestamp();
        json!({
            "iss": self.issuer, "aud": AUDIENCE, "sub": subject, "email": email, "email_verified": true,
            "iat": at, "auth_time": at, "exp": at + 3600,
        })
    }

    /// A good token for an hour.
    #[must_use]
    pub fn token(&self, subject: &str, email: &str, now: Timestamp) -> String {
        self.key.sign(&self.key.header(), &self.claims(subject, email, now))
    }

    fn with<T>(&self, work: impl FnOnce(&mut Desk) -> T) -> T {
        work(&mut self.desk.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for IdentityProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn set(keys: &[&IssuerKey]) -> String {
    json!({ "keys": keys.iter().map(|key| key.jwk()).collect::<Vec<_>>() }).to_string()
}

fn look(desk: &Mutex<Desk>) -> MutexGuard<'_, Desk> {
    desk.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn publish(State(desk): State<Arc<Mutex<Desk>>>) -> Response {
    let answer = {
        let mut desk = look(&desk);
        desk.fetches += 1;
        desk.answer.clone()
    };
    if answer.is_held {
        eventually_is("the issuer may answer", || !look(&desk).answer.is_held).await;
    }
    look(&desk).answers += 1;
    let status = StatusCode::from_u16(answer.status).unwrap_or_default();
    (status, [(CACHE_CONTROL, answer.cache_control)], answer.body).into_response()
}
