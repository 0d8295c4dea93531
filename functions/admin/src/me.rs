//! The caller itself: who it is, and its memberships, among which a console offers the choice.

use axum::{
    Extension,
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{
        Account, Membership, Permission, Standing, TenantId, TenantStatus, Timestamp, TokenId, UserId, UserStatus, rfc3339_millis_option,
    },
    web::ApiError,
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

use crate::{AdminParts, asked::Nothing, identity_guard::IdentityOperation};

/// What anybody may do whose credential is good.
pub(crate) const OPERATIONS: &[IdentityOperation] = &[IdentityOperation::new("get_me", "GET", "/api/v1/me")];

/// The route.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(get))
}

/// A tenant by id and name.
#[derive(Serialize, ToSchema)]
pub(crate) struct Place {
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    id: TenantId,
    name: String,
}

impl From<(TenantId, String)> for Place {
    fn from((id, name): (TenantId, String)) -> Self {
        Self { id, name }
    }
}

/// A membership: what `x-tenant-id` may choose, where it is active.
#[derive(Serialize, ToSchema)]
#[schema(as = Membership)]
pub(crate) struct Member {
    /// The user that the caller is in that tenant, or the member of the staff.
    #[schema(value_type = String, example = "usr_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    user_id: UserId,
    /// Null for the vendor's staff.
    tenant: Option<Place>,
    /// Null for the vendor's staff.
    tenant_status: Option<TenantStatus>,
    role: Standing,
    status: UserStatus,
    /// The address under which the caller is of it.
    #[schema(format = Email)]
    email: String,
    /// To the minute.
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    last_seen_at: Option<Timestamp>,
}

impl From<&Membership> for Member {
    fn from(membership: &Membership) -> Self {
        let Membership { principal, status, tenant, last_seen_at } = membership;
        let (name, tenant_status) = tenant.clone().unzip();
        Self {
            user_id: principal.id,
            tenant: principal.tenant.zip(name).map(Place::from),
            tenant_status,
            role: principal.standing,
            status: *status,
            email: principal.email.clone(),
            last_seen_at: *last_seen_at,
        }
    }
}

/// The personal access token of the call.
#[derive(Serialize, ToSchema)]
struct Token {
    #[schema(value_type = String, example = "tok_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    id: TokenId,
    scopes: Vec<Permission>,
}

/// The caller.
#[derive(Serialize, ToSchema)]
struct Me {
    /// The identity provider that vouches for the caller; null for a personal access token.
    issuer: Option<String>,
    /// The caller's name there.
    subject: Option<String>,
    /// The address that the provider has verified, if it has: invitations to it can be accepted.
    #[schema(format = Email)]
    verified_email: Option<String>,
    /// The personal access token of this call, if it is one.
    token: Option<Token>,
    /// Every membership, the deactivated ones too.
    memberships: Vec<Member>,
}

/// Shows the caller and its memberships
///
/// For everybody with a good credential, of whichever tenant or of none.
#[utoipa::path(
    get,
    path = "/api/v1/me",
    operation_id = "get_me",
    tag = "administration",
    security(("bearer" = [])),
    responses((status = 200, description = "The caller.", body = Me))
)]
async fn get(Extension(account): Extension<Account>, _: Nothing) -> Result<Response, ApiError> {
    let (identity, memberships) = (account.identity.as_ref(), account.memberships.iter().map(Member::from).collect());
    let token = account.memberships.iter().find_map(|membership| membership.principal.token.clone());
    let me = Me {
        issuer: identity.map(|identity| identity.issuer.clone()),
        subject: identity.map(|identity| identity.subject.clone()),
        verified_email: identity.and_then(|identity| Some(identity.verified_email.as_ref()?.as_str().to_owned())),
        token: token.map(|(id, scopes)| Token { id: TokenId::from_uuid(id), scopes }),
        memberships,
    };
    Ok(Json(me).into_response())
}
