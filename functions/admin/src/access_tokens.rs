//! Personal access tokens, by which machines act for people.

mod record;

use std::time::Duration;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{AccessToken, Name, Permission, Timestamp, TokenId, UserId},
    web::{ApiError, Fields, JsonObject, texts},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation,
    answer::written,
    audit::{self, Event},
    caller::Caller,
    creation::{Created, Creation, IdempotencyParam},
    named::Named,
    page::{self, Items, Page, PageParams, moment},
    tenants,
};
use record::{NewToken, Token, token};

/// The rows of the table. Tokens are one's own; whoever manages users may also see and revoke those of the users that it manages.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_access_tokens", "GET", "/api/v1/access-tokens", Permission::HaveTokens),
    Operation::new("get_access_token", "GET", "/api/v1/access-tokens/{id}", Permission::HaveTokens),
    Operation::new("create_access_token", "POST", "/api/v1/access-tokens", Permission::HaveTokens),
    Operation::new("revoke_access_token", "POST", "/api/v1/access-tokens/{id}/revoke", Permission::HaveTokens),
];

/// How long a token may live.
const LONGEST: Duration = Duration::from_secs(366 * 86_400);
/// Characters of a name.
const LONGEST_NAME: usize = 100;

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get)).routes(routes!(revoke))
}

/// Whose tokens a list shows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct TokenFilter {
    /// A user other than the caller, for those who manage users.
    #[param(value_type = Option<String>)]
    user_id: Option<UserId>,
}

/// Lists one's own tokens, or a user's, the revoked and the expired too
#[utoipa::path(
    get,
    path = "/api/v1/access-tokens",
    operation_id = "list_access_tokens",
    tag = "administration",
    params(PageParams, TokenFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of tokens, without their secrets.", body = Items<Token>))
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref(), &["limit", "cursor", "user_id"]);
    let page = Page::read(&mut fields, &parts, &caller, "access-tokens");
    let user = fields.optional("user_id", str::parse).unwrap_or(caller.principal.id);
    fields.finish()?;
    if user != caller.principal.id {
        caller.must_be_permitted(Permission::ManageUsers)?;
    }
    let transaction = parts.database.begin(caller.scope()).await?;
    let rows = record::list(&transaction, &page, user).await?;
    transaction.commit().await?;
    Ok(Json(page.items(&parts, &rows, token, page::by_creation)?).into_response())
}

/// Shows a token, without its secret
#[utoipa::path(
    get,
    path = "/api/v1/access-tokens/{id}",
    operation_id = "get_access_token",
    tag = "administration",
    params(("id" = String, Path, description = "The token's id.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The token.", body = Token))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<TokenId>) -> Result<Response, ApiError> {
    let transaction = parts.database.begin(caller.scope()).await?;
    let (token, _) = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    must_see(&caller, &token)?;
    Ok(Json(token).into_response())
}

/// Who manages nobody is not told which tokens others have.
fn must_see(caller: &Caller, token: &Token) -> Result<(), ApiError> {
    let may = token.user_id == caller.principal.id || caller.may(Permission::ManageUsers);
    if may { Ok(()) } else { Err(ApiError::NotFound) }
}

/// A token to be.
#[derive(ToSchema)]
#[schema(as = NewAccessToken)]
struct Wanted {
    #[schema(value_type = String, min_length = 1, max_length = 100, example = "nightly report")]
    name: Name,
    /// What it may do: nothing that its maker may not.
    #[schema(min_items = 1)]
    scopes: Vec<Permission>,
    /// At most 366 days from now.
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
}

impl Wanted {
    fn parse(body: &[u8], now: Timestamp) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body, &["name", "scopes", "expires_at"])?;
        let name = fields.required("name", |text| match Name::parse(text) {
            Ok(name) if name.as_str().chars().count() > LONGEST_NAME => Err(format!("must have at most {LONGEST_NAME} characters")),
            other => other.map_err(|fault| fault.to_string()),
        });
        let scopes = fields.must("scopes", texts(Permission::all().count(), str::parse));
        let expires_at = fields.required("expires_at", |text| {
            moment(text).and_then(|until| match (until - now).to_std() {
                Ok(life) if !life.is_zero() && life <= LONGEST => Ok(until),
                Ok(_) | Err(_) => Err("must be later than now, by 366 days at most".to_owned()),
            })
        });
        if scopes.as_ref().is_some_and(Vec::is_empty) {
            fields.fault::<()>("scopes", "must not be empty".to_owned());
        }
        let (Some(name), Some(scopes), Some(expires_at)) = (name, scopes, expires_at) else { return Err(fields.into_error()) };
        fields.finish()?;
        Ok(Self { name, scopes, expires_at })
    }
}

/// A token with its secret, which is shown only here.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedAccessToken)]
struct Issued {
    #[serde(flatten)]
    access_token: Token,
    /// The token itself: what `authorization: Bearer` takes. It cannot be shown again.
    #[schema(example = "cdt_000g40r40m30e209185gr38e1w8124gk7tbtz3")]
    token: String,
}

/// Makes a token, whose secret is shown this once
///
/// Only for somebody who has signed in: a token makes no others.
#[utoipa::path(
    post,
    path = "/api/v1/access-tokens",
    operation_id = "create_access_token",
    tag = "administration",
    params(IdempotencyParam),
    security(("bearer" = [])),
    request_body = Wanted,
    responses(
        (status = 201, description = "The token.", body = Issued, headers(("location" = String, description = "Its path."))),
        (status = 409, description = "`tenant_closed`; `request_in_flight`."),
    )
)]
async fn create(
    State(parts): State<AdminParts>,
    caller: Caller,
    creation: Creation,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let wanted = Wanted::parse(&body, parts.clock.now())?;
    if caller.principal.token.is_some() || !wanted.scopes.iter().all(|scope| caller.may(*scope)) {
        return Err(ApiError::Forbidden);
    }
    let tenant = caller.tenant()?;
    let make = async |transaction: &_, now| {
        tenants::lock_open(transaction, tenant).await?;
        let secret = AccessToken::generate();
        let (name, scopes, expires_at) = (wanted.name.as_str(), &wanted.scopes[..], wanted.expires_at);
        let new = NewToken { tenant, user: caller.principal.id, name, scopes, secret: &secret, expires_at };
        let access_token = record::insert(transaction, &new, now).await?;
        let id = access_token.id;
        let event = Event::of("access_token.created", tenant, "access_token", &id).created(written(&access_token)?);
        audit::record(transaction, &caller, now, event).await?;
        let body = written(&Issued { access_token, token: secret.reveal() })?;
        Ok(Created { location: format!("/api/v1/access-tokens/{id}"), version: None, body })
    };
    creation.run(&parts, &caller, &body, make).await
}

/// Revokes a token for good
#[utoipa::path(
    post,
    path = "/api/v1/access-tokens/{id}/revoke",
    operation_id = "revoke_access_token",
    tag = "administration",
    params(("id" = String, Path, description = "The token's id.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The token as it is now.", body = Token))
)]
async fn revoke(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<TokenId>) -> Result<Response, ApiError> {
    let now = parts.clock.now();
    let tenant = caller.tenant()?;
    let transaction = parts.database.begin(caller.scope()).await?;
    let (before, role) = record::lock(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    must_see(&caller, &before)?;
    if before.user_id != caller.principal.id {
        caller.must_manage(role)?;
    }
    if before.revoked_at.is_some() {
        return Ok(Json(before).into_response());
    }
    let after = record::revoke(&transaction, id, now).await?;
    let event = Event::of("access_token.revoked", tenant, "access_token", &id).changed(written(&before)?, written(&after)?);
    audit::record(&transaction, &caller, now, event).await?;
    transaction.commit().await?;
    parts.callers.forget();
    Ok(Json(after).into_response())
}
