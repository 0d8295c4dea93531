#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse};
use platform::{
    domain::{EndReason, SessionId, Timestamp, pasted, rfc3339_millis},
    seats::{Claim, Engine},
    web::{ApiError, Checked, ClientAddress, Fields, JsonAnswer, JsonObject},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The function's one route.
pub fn router(seats: Arc<Engine>) -> Router {
    api().with_state(seats).into()
}

/// The route and its description.
#[must_use]
pub fn api() -> OpenApiRouter<Arc<Engine>> {
    OpenApiRouter::new().routes(routes!(release))
}

/// Which session is over.
#[derive(ToSchema)]
#[schema(as = ReleaseRequest)]
#[expect(dead_code, reason = "describes what is read field by field, so that every fault is named")]
struct Request {
    #[schema(example = "ses_p3e9rj36jx0ab04ynd6vc32qg6nc5x5hf1yzdfx4mj44xmk8ktn0")]
    session_id: String,
}

/// A session that is over.
#[derive(Serialize, ToSchema)]
#[schema(as = Released)]
struct Answer {
    #[schema(value_type = String)]
    session_id: SessionId,
    /// When it ended: now, or before in whatever way.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    released_at: Timestamp,
    /// How it ended: `released` if this request or an earlier one released it, `expired` or `revoked` if it had ended before.
    ended_reason: EndReason,
    seats_used: u32,
}

/// Gives a seat back; a session that has ended already stays as it is
#[utoipa::path(
    post,
    path = "/api/v1/licenses/release",
    operation_id = "release",
    tag = "seats",
    request_body = Request,
    responses(
        (status = 200, description = "The session is over.", body = Answer),
        (status = 404, description = "`session_not_found`: there never was such a session."),
    )
)]
async fn release(
    State(seats): State<Arc<Engine>>,
    client: ClientAddress,
    JsonObject(body): JsonObject,
) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(&body, &["session_id"])?;
    let session_id = fields.required("session_id", |text| pasted(text).parse::<SessionId>());
    let Some(session_id) = session_id else { return Err(fields.into_error()) };
    let (released, verdict) = seats.release(Claim::from_network(session_id, client.network())).await?.passed()?;
    let released = released.ok_or(ApiError::SessionNotFound)?;
    let answer = Answer { session_id, released_at: released.at, ended_reason: released.reason, seats_used: released.seats_used };
    Ok(Checked(verdict, JsonAnswer(answer)))
}
