//! Invitations: those that wait for the caller's verified address, in whichever tenant, and the answers to them.
//!
//! Signing in accepts nothing. Whoever is invited says so, or declines, and no tenant can make a member of somebody unasked.

use axum::{
    Extension,
    extract::State,
    http::{StatusCode, header::HeaderMap},
    response::{IntoResponse, Json, Response},
};
use platform::{
    db::{self, AnswerSource},
    domain::{InvitationId, Standing, Timestamp, rfc3339_millis},
    web::{ApiError, ClientAddress, REQUEST_ID},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{
    AdminParts,
    asked::Nothing,
    identity_guard::{IdentityOperation, SignedIn},
    me::{Member, Place},
    named::Named,
    page::Items,
};

/// What anybody may do whose identity is good, without being of any tenant.
pub(crate) const OPERATIONS: &[IdentityOperation] = &[
    IdentityOperation::new("list_invitations", "GET", "/api/v1/invitations"),
    IdentityOperation::new("accept_invitation", "POST", "/api/v1/invitations/{id}/accept"),
    IdentityOperation::new("decline_invitation", "POST", "/api/v1/invitations/{id}/decline"),
];

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(accept)).routes(routes!(decline))
}

/// An invitation that waits for an answer.
#[derive(Serialize, ToSchema)]
struct Invitation {
    #[schema(value_type = String, example = "inv_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    id: InvitationId,
    /// The tenant that invites; null: the vendor's staff.
    tenant: Option<Place>,
    /// The role that is offered.
    role: Standing,
    /// The address that was invited.
    #[schema(format = Email)]
    email: String,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    invited_at: Timestamp,
    /// The address of the user who made it; null where the vendor did.
    #[schema(format = Email)]
    invited_by: Option<String>,
}

impl From<db::Invitation> for Invitation {
    fn from(invitation: db::Invitation) -> Self {
        let db::Invitation { id, tenant, role, email, invited_at, invited_by } = invitation;
        Self { id, tenant: tenant.map(Place::from), role, email, invited_at, invited_by }
    }
}

/// Lists the invitations that wait for the caller's verified address, the newest first
///
/// At most 200 are shown, and there is no next page.
#[utoipa::path(
    get,
    path = "/api/v1/invitations",
    operation_id = "list_invitations",
    tag = "administration",
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The invitations.", body = Items<Invitation>),
        (status = 403, description = "`email_not_verified`; `forbidden` for a personal access token."),
    )
)]
async fn list(
    State(parts): State<AdminParts>,
    Extension(SignedIn(identity)): Extension<SignedIn>,
    _: Nothing,
) -> Result<Response, ApiError> {
    let waiting = parts.callers.invitations(&identity).await?;
    Ok(Json(Items::all(waiting.into_iter().map(Invitation::from).collect())).into_response())
}

/// Accepts an invitation: the caller becomes a member of the tenant
///
/// An answer that was given before is given again.
#[utoipa::path(
    post,
    path = "/api/v1/invitations/{id}/accept",
    operation_id = "accept_invitation",
    tag = "administration",
    params(("id" = String, Path, description = "The invitation.")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The membership.", body = Member),
        (status = 403, description = "`email_not_verified`; `forbidden` for a personal access token."),
        (status = 409, description = "`already_member`: the caller is of that tenant under another address."),
    )
)]
async fn accept(
    State(parts): State<AdminParts>,
    Extension(SignedIn(identity)): Extension<SignedIn>,
    address: ClientAddress,
    headers: HeaderMap,
    Named(id): Named<InvitationId>,
    _: Nothing,
) -> Result<Response, ApiError> {
    let address = address.ip().to_string();
    let source = AnswerSource { address: &address, request_id: request_id(&headers) };
    let membership = parts.callers.answer_invitation(&identity, id, true, source).await?;
    Ok(Json(Member::from(&membership)).into_response())
}

/// Declines an invitation; the tenant may invite again
///
/// An answer that was given before is given again.
#[utoipa::path(
    post,
    path = "/api/v1/invitations/{id}/decline",
    operation_id = "decline_invitation",
    tag = "administration",
    params(("id" = String, Path, description = "The invitation.")),
    security(("bearer" = [])),
    responses(
        (status = 204, description = "It is declined."),
        (status = 403, description = "`email_not_verified`; `forbidden` for a personal access token."),
    )
)]
async fn decline(
    State(parts): State<AdminParts>,
    Extension(SignedIn(identity)): Extension<SignedIn>,
    address: ClientAddress,
    headers: HeaderMap,
    Named(id): Named<InvitationId>,
    _: Nothing,
) -> Result<StatusCode, ApiError> {
    let address = address.ip().to_string();
    let source = AnswerSource { address: &address, request_id: request_id(&headers) };
    parts.callers.answer_invitation(&identity, id, false, source).await?;
    Ok(StatusCode::NO_CONTENT)
}

fn request_id(headers: &HeaderMap) -> &str {
    headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default()
}
