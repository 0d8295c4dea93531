#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{Json, Router, extract::State, response::IntoResponse, routing::post};
use platform::{
    domain::{SessionId, Timestamp, rfc3339_millis},
    seats::Engine,
    web::{ApiError, Checked, Fields, JsonObject},
};
use serde::Serialize;

/// The function's one route.
pub fn router(seats: Arc<Engine>) -> Router {
    Router::new().route("/api/v1/licenses/release", post(release)).with_state(seats)
}

#[derive(Serialize)]
struct Answer {
    session_id: SessionId,
    #[serde(with = "rfc3339_millis")]
    released_at: Timestamp,
    seats_used: u32,
}

async fn release(State(seats): State<Arc<Engine>>, JsonObject(body): JsonObject) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(&body, &["session_id"])?;
    let session_id = fields.required("session_id", str::parse::<SessionId>);
    let Some(session_id) = session_id else { return Err(fields.into_error()) };
    let (released, verdict) = seats.release(session_id).await?.passed()?;
    let released = released.ok_or(ApiError::SessionNotFound)?;
    Ok(Checked(verdict, Json(Answer { session_id, released_at: released.at, seats_used: released.seats_used })))
}
