//! Personal access tokens, by which machines act for people.

mod record;

use std::time::Duration;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{AccessToken, Name, Permission, Standing, Timestamp, TokenId, UserId},
    web::{ApiError, Fields, texts},
};
use serde::Serialize;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation,
    answer::written,
    asked::{Asked, Nothing},
    audit::{self, Event},
    caller::Caller,
    change::{Change, Changer, Lock},
    creation::{Created, Creation, IdempotencyParam},
    named::Named,
    page::{self, Items, Page, PageParams, moment},
};
use record::{NewToken, Token, token};

/// The rows of the table. Tokens are one's own; whoever manages users may also see and revoke those of the users that it manages: see [`must_see`].
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
    /// A user other than the caller, whom the caller manages.
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
    responses(
        (status = 200, description = "A page of tokens, without their secrets.", body = Items<Token>),
        (status = 404, description = "`not_found`: there is no such user."),
    )
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "access-tokens");
    let user = fields.optional("user_id", str::parse).unwrap_or(caller.principal.id);
    fields.finish()?;
    let transaction = parts.store.read(&caller).await?;
    if user != caller.principal.id {
        caller.must_be_permitted(Permission::ManageUsers)?;
        caller.must_manage(record::role_of(&transaction, user).await?.ok_or(ApiError::NotFound)?)?;
    }
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
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<TokenId>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let (token, role) = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    must_see(&caller, &token, role)?;
    Ok(Json(token).into_response())
}

/// A token is seen and revoked by its owner, and by those who manage its owner. Who manages nobody is not told that it is there.
fn must_see(caller: &Caller, token: &Token, role: Standing) -> Result<(), ApiError> {
    if token.user_id == caller.principal.id {
        return Ok(());
    }
    if caller.may(Permission::ManageUsers) { caller.must_manage(role) } else { Err(ApiError::NotFound) }
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
    fn read(mut fields: Fields<'_>, now: Timestamp) -> Result<Self, ApiError> {
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
async fn create(State(parts): State<AdminParts>, changer: Changer, creation: Creation, asked: Asked) -> Result<Response, ApiError> {
    let wanted = Wanted::read(asked.fields()?, parts.clock.now())?;
    let tenant = changer.tenant()?;
    let make = async |change: &Change| {
        let caller = change.caller();
        if caller.principal.token.is_some() || !wanted.scopes.iter().all(|scope| caller.may(*scope)) {
            return Err(ApiError::Forbidden);
        }
        let secret = AccessToken::generate();
        let (name, scopes, expires_at) = (wanted.name.as_str(), &wanted.scopes[..], wanted.expires_at);
        let new = NewToken { tenant, user: caller.principal.id, name, scopes, secret: &secret, expires_at };
        let access_token = record::insert(change, &new, change.now()).await?;
        let id = access_token.id;
        let event = Event::of("access_token.created", tenant, "access_token", &id).created(written(&access_token)?);
        audit::record(change, event).await?;
        let body = written(&Issued { access_token, token: secret.reveal() })?;
        Ok(Created { location: format!("/api/v1/access-tokens/{id}"), version: None, body })
    };
    creation.run(&parts, &changer, Lock::Tenant, &asked, make).await
}

/// Revokes a token for good
#[utoipa::path(
    post,
    path = "/api/v1/access-tokens/{id}/revoke",
    operation_id = "revoke_access_token",
    tag = "administration",
    params(("id" = String, Path, description = "The token's id.")),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The token as it is now.", body = Token),
        (status = 409, description = "`tenant_closed`."),
    )
)]
async fn revoke(State(parts): State<AdminParts>, changer: Changer, Named(id): Named<TokenId>, _: Nothing) -> Result<Response, ApiError> {
    let tenant = changer.tenant()?;
    // Behind the tenant's lock, so that the owner's role, by which the caller may or may not, stays as it is.
    let change = changer.begin(&parts, Lock::Tenant).await?;
    let (before, role) = record::lock(&change, id).await?.ok_or(ApiError::NotFound)?;
    must_see(change.caller(), &before, role)?;
    if before.revoked_at.is_some() {
        return Ok(Json(before).into_response());
    }
    let after = record::revoke(&change, id, change.now()).await?;
    let event = Event::of("access_token.revoked", tenant, "access_token", &id).changed(written(&before)?, written(&after)?);
    audit::record(&change, event).await?;
    change.commit().await?;
    parts.callers.forget();
    Ok(Json(after).into_response())
}
