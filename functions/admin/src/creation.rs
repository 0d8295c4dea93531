//! Creations, which may be asked for twice: with an `Idempotency-Key` the same request is done once and answered the same for a day.

use aws_lc_rs::digest;
use axum::{
    extract::FromRequestParts,
    http::{HeaderName, HeaderValue, request::Parts},
    response::Response,
};
use platform::{
    db::{Rows, Transaction},
    domain::{IdempotencyKey, Timestamp},
    web::ApiError,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::time::Duration;
use utoipa::IntoParams;
use uuid::Uuid;

use crate::{
    AdminParts, answer,
    asked::Asked,
    change::{Change, Changer, Lock},
};

/// How long an answer is kept.
const KEPT: Duration = Duration::from_secs(86_400);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

pub(crate) const LOCK: &str = "-- creation::lock
SELECT pg_try_advisory_xact_lock(hashtextextended(encode($1::bytea, 'hex'), 0))";

pub(crate) const KNOWN: &str = "-- creation::known
SELECT request_hash, answer FROM idempotent_answers WHERE actor_id = $1 AND key_digest = $2 AND created_at > $3";

pub(crate) const FORGET: &str = "-- creation::forget
DELETE FROM idempotent_answers WHERE actor_id = $1 AND created_at <= $2";

pub(crate) const KEEP: &str = "-- creation::keep
INSERT INTO idempotent_answers (actor_id, key_digest, tenant_id, request_hash, answer, created_at) VALUES ($1, $2, $3, $4, $5, $6)";

/// The header, for the descriptions of operations.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct IdempotencyParam {
    /// With it the request can be repeated safely for a day: the same answer comes again.
    #[param(rename = "Idempotency-Key", max_length = 255)]
    idempotency_key: Option<String>,
}

/// What was made, as it is told once.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Created {
    /// The path of what was made.
    pub(crate) location: String,
    /// Its version, if it has any.
    pub(crate) version: Option<i64>,
    /// What its maker is told.
    pub(crate) body: Value,
}

/// A request to make something.
#[derive(Debug)]
pub(crate) struct Creation {
    key: Option<IdempotencyKey>,
    path: String,
}

impl<S: Sync> FromRequestParts<S> for Creation {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let fault = |message: &str| ApiError::invalid("Idempotency-Key", message);
        let read = |value: &HeaderValue| {
            let text = value.to_str().map_err(|_| fault("must be visible ASCII"))?;
            IdempotencyKey::parse(text).map_err(|error| fault(&error.to_string()))
        };
        let key = parts.headers.get(IDEMPOTENCY_KEY).map(read).transpose()?;
        Ok(Self { key, path: parts.uri.path().to_owned() })
    }
}

impl Creation {
    /// Makes something once: `make` does it and writes the audit event, in a change that is committed after it, unless the same request was
    /// answered before.
    ///
    /// # Errors
    /// [`ApiError::IdempotencyKeyReused`] if the key has served for another request, [`ApiError::RequestInFlight`] if the same one is being
    /// worked on, and those of [`Changer::begin`] and of `make`.
    pub(crate) async fn run(
        self,
        parts: &AdminParts,
        changer: &Changer,
        lock: Lock,
        asked: &Asked,
        make: impl AsyncFnOnce(&Change) -> Result<Created, ApiError>,
    ) -> Result<Response, ApiError> {
        let change = changer.begin(parts, lock).await?;
        let now = change.now();
        let Some(key) = &self.key else {
            let created = make(&change).await?;
            change.commit().await?;
            return answer::created(&created.location, created.version, &created.body);
        };
        let memory = Memory::of(changer, key, &self.path, asked.body());
        if let Some(created) = memory.recall(parts, &change, now).await? {
            let mut response = answer::created(&created.location, created.version, &created.body)?;
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            return Ok(response);
        }
        let created = make(&change).await?;
        memory.keep(parts, &change, &created, now).await?;
        change.commit().await?;
        answer::created(&created.location, created.version, &created.body)
    }
}

/// Where an answer is kept: by who asked, for which tenant, and under which key.
struct Memory {
    actor: Uuid,
    tenant: Option<Uuid>,
    key: [u8; 16],
    request: [u8; 16],
    seal: String,
}

impl Memory {
    fn of(changer: &Changer, key: &IdempotencyKey, path: &str, body: &[u8]) -> Self {
        let tenant = match changer.rows() {
            Rows::Tenant(tenant) => Some(tenant.as_uuid()),
            Rows::Staff => None,
        };
        let actor = changer.actor();
        let whose = tenant.unwrap_or_default();
        let key = hash(&[whose.as_bytes(), key.as_str().as_bytes()]);
        Self { actor, tenant, key, request: hash(&[path.as_bytes(), body]), seal: format!("coditect answer\n{actor}\n{whose}\n{key:x?}") }
    }

    /// What was answered, if anything was.
    async fn recall(&self, parts: &AdminParts, transaction: &Transaction, now: Timestamp) -> Result<Option<Created>, ApiError> {
        let lock = [&self.actor.as_bytes()[..], &self.key].concat();
        let is_ours = transaction.first(LOCK, &[&lock]).await?.is_some_and(|row| row.get(0));
        if !is_ours {
            return Err(ApiError::RequestInFlight);
        }
        let Some(row) = transaction.first(KNOWN, &[&self.actor, &&self.key[..], &(now - KEPT)]).await? else { return Ok(None) };
        if row.get::<_, &[u8]>("request_hash") != self.request {
            return Err(ApiError::IdempotencyKeyReused);
        }
        let internal = |error: Box<dyn std::error::Error + Send + Sync>| ApiError::Internal(error);
        let answer = parts.sealing.unseal(&self.seal, row.get("answer")).map_err(|error| internal(error.into()))?;
        serde_json::from_slice(&answer).map(Some).map_err(|error| internal(error.into()))
    }

    async fn keep(&self, parts: &AdminParts, transaction: &Transaction, created: &Created, now: Timestamp) -> Result<(), ApiError> {
        let text = serde_json::to_vec(created).map_err(|error| ApiError::Internal(error.into()))?;
        let sealed = parts.sealing.seal(&self.seal, &text).map_err(|error| ApiError::Internal(error.into()))?;
        transaction.query(FORGET, &[&self.actor, &(now - KEPT)]).await?;
        let (key, request) = (&self.key[..], &self.request[..]);
        transaction.query(KEEP, &[&self.actor, &key, &self.tenant, &request, &sealed, &now]).await?;
        Ok(())
    }
}

/// The first 128 bits of the SHA-256 of these texts, each told from the next by its length.
fn hash(texts: &[&[u8]]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&context.finish().as_ref()[..16]);
    first
}
