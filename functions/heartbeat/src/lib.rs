#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{Router, extract::State, response::IntoResponse};
use platform::{
    domain::{Nonce, SessionId, Timestamp, pasted, rfc3339_millis},
    seats::{Claim, Heartbeat, Renewal},
    signing::{self, Keyring, Leaf, Lease},
    web::{ApiError, Checked, ClientAddress, Fields, JsonAnswer, JsonObject, SignedSeats},
};
use serde::{Serialize, Serializer};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The function's one route.
pub fn router(parts: SignedSeats) -> Router {
    api().with_state(parts).into()
}

/// The route and its description.
#[must_use]
pub fn api() -> OpenApiRouter<SignedSeats> {
    OpenApiRouter::new().routes(routes!(heartbeat))
}

/// Whose life is to be renewed.
#[derive(ToSchema)]
#[schema(as = HeartbeatRequest)]
#[expect(dead_code, reason = "describes what is read field by field, so that every fault is named")]
struct Request {
    #[schema(example = "ses_p3e9rj36jx0ab04ynd6vc32qg6nc5x5hf1yzdfx4mj44xmk8ktn0")]
    session_id: String,
    /// Comes again in the lease, to tell a fresh answer from a replayed one: visible ASCII.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    nonce: Option<String>,
    /// The `kid` of the key that signed the last lease that the client has verified: while that key signs, the answer goes without its
    /// certificate.
    #[schema(min_length = 1, max_length = 128, pattern = "^[!-~]+$", example = "kPrK_qmxVWaYVA9wwBF6Iuo3vVzz7TxHCTwXBygrS4k")]
    known_leaf: Option<String>,
}

/// A session renewed.
#[derive(Serialize, ToSchema)]
#[schema(as = Renewal)]
struct Answer {
    #[schema(value_type = String)]
    session_id: SessionId,
    /// When this heartbeat was taken.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    last_heartbeat: Timestamp,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Seconds after which to send the next.
    heartbeat_after: u64,
    /// None if no key can be had just now: the session is renewed all the same, and the next heartbeat brings one.
    lease: Option<String>,
    /// A compact JWS by the root that vouches for the key of the lease; absent without a lease, and if the request says `known_leaf` and
    /// that key has signed it.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    certificate: Option<Certificate>,
    seats_used: u32,
    seats_total: u32,
}

/// The certificate of a leaf.
struct Certificate(Arc<Leaf>);

impl Serialize for Certificate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.0.certificate())
    }
}

/// Keeps a session alive for another TTL of its license
#[utoipa::path(
    post,
    path = "/api/v1/licenses/heartbeat",
    operation_id = "heartbeat",
    tag = "seats",
    request_body = Request,
    responses(
        (status = 200, description = "The session lives on.", body = Answer),
        (status = 403, description = "The license may no longer be used: the client must stop by `stop_by`. The codes of acquire."),
        (status = 404, description = "`session_not_found`: there never was such a session."),
        (status = 410, description = "`session_expired`, `session_released` or `session_revoked`: it does not come back; acquire again."),
    )
)]
async fn heartbeat(
    State(parts): State<SignedSeats>,
    client: ClientAddress,
    JsonObject(body): JsonObject,
) -> Result<impl IntoResponse, ApiError> {
    let mut fields = Fields::parse(&body, &["session_id", "nonce", "known_leaf"])?;
    let session_id = fields.required("session_id", |text| pasted(text).parse::<SessionId>());
    let nonce = fields.optional("nonce", Nonce::parse);
    let known_leaf = fields.optional("known_leaf", Nonce::parse);
    let Some(session_id) = session_id else { return Err(fields.into_error()) };
    fields.finish()?;
    let (beat, verdict) = parts.seats.heartbeat(Claim::from_network(session_id, client.network())).await?.passed()?;
    let answer = match beat {
        Heartbeat::Renewed(renewal) => {
            let (lease, leaf) = lease(&parts.keys, session_id, &renewal, nonce.as_ref()).await.ok().unzip();
            let unknown = leaf.filter(|leaf| known_leaf.is_none_or(|known| known.as_str() != leaf.kid()));
            Ok(JsonAnswer(Answer {
                session_id,
                last_heartbeat: renewal.at,
                expires_at: renewal.expires_at,
                heartbeat_after: renewal.heartbeat_after,
                lease,
                certificate: unknown.map(Certificate),
                seats_used: renewal.seats_used,
                seats_total: renewal.seats_total,
            }))
        }
        Heartbeat::Refused { why, stop_by } => Err(ApiError::Refused { refusal: why, stop_by: Some(stop_by) }),
        Heartbeat::Ended(reason) => Err(ApiError::SessionEnded(reason)),
        Heartbeat::Unknown => Err(ApiError::SessionNotFound),
    };
    Ok(Checked(verdict, answer))
}

/// A lease, and the leaf that has signed it.
async fn lease(
    keys: &Arc<Keyring>,
    session: SessionId,
    renewal: &Renewal,
    nonce: Option<&Nonce>,
) -> Result<(String, Arc<Leaf>), signing::Error> {
    let leaf = keys.leaf().await?;
    let lease = leaf.sign(&Lease {
        tenant: renewal.tenant,
        session,
        seat: renewal.seat,
        hardware: &renewal.hardware,
        nonce,
        at: renewal.at,
        expires_at: renewal.expires_at,
        license_version: renewal.license_version,
    })?;
    Ok((lease, leaf))
}
