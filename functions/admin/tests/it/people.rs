//! People of tests, and the identity provider that vouches for them.

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use platform::{
    domain::{Clock, Standing, TenantId, UserId, Vouching},
    web::{Algorithm, AuthenticationSettings, Issuer},
};
use serde_json::json;
use testkit::ManualClock;
use tokio_postgres::Client;
use uuid::Uuid;

const ISSUER: &str = "https://id.test.example";
const AUDIENCE: &str = "coditect";

/// Somebody with a row, and an identity of the provider's.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) id: UserId,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) standing: Standing,
    pub(crate) email: String,
    subject: String,
}

impl Person {
    /// Makes somebody active who stands so; staff if there is no tenant.
    pub(crate) async fn make(owner: &Client, tenant: Option<TenantId>, standing: Standing) -> Self {
        let id = UserId::random();
        let subject = Uuid::new_v4().simple().to_string();
        let email = format!("{}-{subject}@test.example", standing.as_str());
        let row = id.as_uuid();
        match tenant {
            None => {
                let sql = "INSERT INTO staff (id, email, status, provider_issuer, provider_subject, created_at, updated_at)
                           VALUES ($1, $2, 'active', $3, $4, now(), now())";
                owner.execute(sql, &[&row, &email, &ISSUER, &subject]).await.unwrap();
            }
            Some(tenant) => {
                let sql =
                    "INSERT INTO users (id, tenant_id, email, role, status, provider_issuer, provider_subject, created_at, updated_at)
                           VALUES ($1, $2, $3, $4, 'active', $5, $6, now(), now())";
                owner.execute(sql, &[&row, &tenant.as_uuid(), &email, &standing.as_str(), &ISSUER, &subject]).await.unwrap();
            }
        }
        Self { id, tenant, standing, email, subject }
    }
}

impl Person {
    /// Its name at the provider.
    pub(crate) fn subject(&self) -> &str {
        &self.subject
    }
}

/// Vouches for people.
#[derive(Debug)]
pub(crate) struct Provider(Ed25519KeyPair);

impl Provider {
    pub(crate) fn new() -> Self {
        Self(Ed25519KeyPair::generate().unwrap())
    }

    pub(crate) fn settings(&self) -> AuthenticationSettings {
        let x = BASE64URL.encode(self.0.public_key().as_ref());
        let keys = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "kid": "test", "x": x }] }).to_string();
        let mut settings = AuthenticationSettings::default();
        let issuer = Issuer::with_keys(ISSUER, AUDIENCE, Algorithm::EdDsa, &keys).unwrap();
        settings.oidc_issuers.push(issuer.vouching_for(Vouching::everybody()));
        settings
    }

    /// A token that is good for five minutes.
    pub(crate) fn token(&self, person: &Person, clock: &ManualClock) -> String {
        self.vouch(&person.subject, None, clock)
    }

    /// The same for somebody who may not be known yet, with an email that the provider has verified.
    pub(crate) fn vouch(&self, subject: &str, email: Option<&str>, clock: &ManualClock) -> String {
        let now = clock.now().timestamp();
        let mut claims = json!({ "iss": ISSUER, "aud": AUDIENCE, "sub": subject, "iat": now, "exp": now + 300 });
        if let Some(email) = email {
            claims["email"] = json!(email);
            claims["email_verified"] = json!(true);
        }
        let header = BASE64URL.encode(json!({ "alg": "EdDSA", "kid": "test", "typ": "JWT" }).to_string());
        let signed = format!("{header}.{}", BASE64URL.encode(claims.to_string()));
        let signature = BASE64URL.encode(self.0.sign(signed.as_bytes()));
        format!("{signed}.{signature}")
    }
}
