#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::post};
use platform::{
    domain::{Nonce, SessionId, Timestamp, rfc3339_millis},
    seats::{Heartbeat, Renewal},
    signing::{self, Keyring, Lease},
    web::{ApiError, Checked, Fields, JsonObject, SignedSeats},
};
use serde::Serialize;

/// The function's one route.
pub fn router(parts: SignedSeats) -> Router {
    Router::new().route("/api/v1/licenses/heartbeat", post(heartbeat)).with_state(parts)
}

#[derive(Serialize)]
struct Answer {
    session_id: SessionId,
    #[serde(with = "rfc3339_millis")]
    last_heartbeat: Timestamp,
    #[serde(with = "rfc3339_millis")]
    expires_at: Timestamp,
    /// Seconds.
    heartbeat_after: u64,
    /// None if no key can be had just now: the session is renewed all the same, and the next heartbeat brings one.
    lease: Option<String>,
    seats_used: u32,
    seats_total: u32,
}

async fn heartbeat(State(parts): State<SignedSeats>, JsonObject(body): JsonObject) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(&body, &["session_id", "nonce"])?;
    let session_id = fields.required("session_id", str::parse::<SessionId>);
    let nonce = fields.optional("nonce", Nonce::parse);
    let Some(session_id) = session_id else { return Err(fields.into_error()) };
    fields.finish()?;
    let (beat, verdict) = parts.seats.heartbeat(session_id).await?.passed()?;
    let answer = match beat {
        Heartbeat::Renewed(renewal) => Ok(Json(Answer {
            session_id,
            last_heartbeat: renewal.at,
            expires_at: renewal.expires_at,
            heartbeat_after: renewal.heartbeat_after,
            lease: lease(&parts.keys, session_id, &renewal, nonce.as_ref()).await.ok(),
            seats_used: renewal.seats_used,
            seats_total: renewal.seats_total,
        })),
        Heartbeat::Refused { why, stop_by } => Err(ApiError::Refused { refusal: why, stop_by: Some(stop_by) }),
        Heartbeat::Ended(reason) => Err(ApiError::SessionEnded(reason)),
        Heartbeat::Unknown => Err(ApiError::SessionNotFound),
    };
    Ok(Checked(verdict, answer))
}

async fn lease(keys: &Arc<Keyring>, session: SessionId, renewal: &Renewal, nonce: Option<&Nonce>) -> Result<String, signing::Error> {
    keys.leaf().await?.sign(&Lease {
        tenant: renewal.tenant,
        session,
        seat: renewal.seat,
        hardware: &renewal.hardware,
        nonce,
        at: renewal.at,
        expires_at: renewal.expires_at,
    })
}
