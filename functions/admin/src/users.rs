//! Users: who belongs to a tenant, and how they stand.

mod record;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use platform::{
    db::Transaction,
    domain::{Email, Permission, Standing, Timestamp, UserId, UserStatus},
    web::{ApiError, Conflict, Fields, JsonObject, text},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation,
    answer::{versioned, written},
    audit::{self, Event},
    caller::Caller,
    creation::{Created, Creation, IdempotencyParam},
    named::Named,
    page::{self, Items, Page, PageParams},
    tenants,
    version::{IfMatch, IfMatchParam},
};
use record::{Filter, User, user};

/// The rows of the table. Within them everybody manages those whom its standing manages: see [`Standing::manages`].
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_users", "GET", "/api/v1/users", Permission::ManageUsers),
    Operation::new("get_user", "GET", "/api/v1/users/{id}", Permission::ManageUsers),
    Operation::new("invite_user", "POST", "/api/v1/users", Permission::ManageUsers),
    Operation::new("change_user", "PATCH", "/api/v1/users/{id}", Permission::ManageTenant),
    Operation::new("deactivate_user", "POST", "/api/v1/users/{id}/deactivate", Permission::ManageUsers),
    Operation::new("reactivate_user", "POST", "/api/v1/users/{id}/reactivate", Permission::ManageUsers),
];

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list, invite)).routes(routes!(get, change)).routes(routes!(deactivate)).routes(routes!(reactivate))
}

/// Which users a list shows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct UserFilter {
    role: Option<Standing>,
    status: Option<UserStatus>,
    /// The whole address.
    #[param(value_type = Option<String>)]
    email: Option<Email>,
}

/// Lists users
#[utoipa::path(
    get,
    path = "/api/v1/users",
    operation_id = "list_users",
    tag = "administration",
    params(PageParams, UserFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of users.", body = Items<User>))
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref(), &["limit", "cursor", "role", "status", "email"]);
    let page = Page::read(&mut fields, &parts, &caller, "users");
    let role = fields.optional("role", role);
    let (status, email) = (fields.optional("status", str::parse), fields.optional("email", Email::parse));
    fields.finish()?;
    let transaction = parts.database.begin(caller.scope()).await?;
    let rows = record::list(&transaction, &page, &Filter { role, status, email }).await?;
    transaction.commit().await?;
    Ok(Json(page.items(&parts, &rows, user, page::by_creation)?).into_response())
}

/// Shows a user
#[utoipa::path(
    get,
    path = "/api/v1/users/{id}",
    operation_id = "get_user",
    tag = "administration",
    params(("id" = String, Path, description = "The user.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The user.", body = User, headers(("etag" = String, description = "Its version."))))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<UserId>) -> Result<Response, ApiError> {
    let transaction = parts.database.begin(caller.scope()).await?;
    let user = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    Ok(versioned(user.version, &user))
}

/// A user to be.
#[derive(ToSchema)]
struct NewUser {
    #[schema(value_type = String, format = Email, max_length = 254, example = "grace@example.com")]
    email: Email,
    /// `owner`, `admin`, `member` or `guest`: one that the caller manages.
    role: Standing,
}

impl NewUser {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body, &["email", "role"])?;
        let (email, role) = (fields.required("email", Email::parse), fields.required("role", role));
        let (Some(email), Some(role)) = (email, role) else { return Err(fields.into_error()) };
        fields.finish()?;
        Ok(Self { email, role })
    }
}

/// Invites a person, who becomes this user by accepting
///
/// The person signs in with that address, verified, and accepts by `POST /api/v1/invitations/{id}/accept`. A user who has declined is
/// invited again.
#[utoipa::path(
    post,
    path = "/api/v1/users",
    operation_id = "invite_user",
    tag = "administration",
    params(IdempotencyParam),
    security(("bearer" = [])),
    request_body = NewUser,
    responses(
        (status = 201, description = "The user.", body = User, headers(("etag" = String, description = "Its version."), ("location" = String, description = "Its path."))),
        (status = 409, description = "`email_taken`: the tenant has a user of that address; `tenant_closed`; `request_in_flight`."),
    )
)]
async fn invite(
    State(parts): State<AdminParts>,
    caller: Caller,
    creation: Creation,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let new = NewUser::parse(&body)?;
    caller.must_manage(new.role)?;
    let tenant = caller.tenant()?;
    let make = async |transaction: &_, now| {
        tenants::lock_open(transaction, tenant).await?;
        let by = caller.member();
        let declined = record::lock_declined(transaction, tenant, &new.email).await?;
        let user = match &declined {
            Some(declined) => record::invite_again(transaction, declined.id, new.role, by, now).await?,
            None => record::insert(transaction, UserId::random(), tenant, &new.email, new.role, by, now)
                .await?
                .ok_or(ApiError::Conflict(Conflict::EmailTaken))?,
        };
        let (id, body) = (user.id, written(&user)?);
        let event = Event::of("user.invited", tenant, "user", &id);
        let event = match &declined {
            Some(declined) => event.changed(written(declined)?, body.clone()),
            None => event.created(body.clone()),
        };
        audit::record(transaction, &caller, now, event).await?;
        Ok(Created { location: format!("/api/v1/users/{id}"), version: Some(user.version), body })
    };
    creation.run(&parts, &caller, &body, make).await
}

/// What a change of a user may say.
#[derive(ToSchema)]
struct UserChange {
    /// `owner`, `admin`, `member` or `guest`.
    role: Option<Standing>,
}

impl UserChange {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body, &["role"])?;
        let role = fields.change("role", text(role));
        fields.finish()?;
        Ok(Self { role })
    }
}

/// Changes a user's role
#[utoipa::path(
    patch,
    path = "/api/v1/users/{id}",
    operation_id = "change_user",
    tag = "administration",
    params(("id" = String, Path, description = "The user."), IfMatchParam),
    security(("bearer" = [])),
    request_body(content((UserChange = "application/merge-patch+json"), (UserChange = "application/json"))),
    responses(
        (status = 200, description = "The user as it is now.", body = User, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`last_owner`, `user_deactivated`, `tenant_closed`."),
    )
)]
async fn change(
    State(parts): State<AdminParts>,
    caller: Caller,
    Named(id): Named<UserId>,
    version: IfMatch,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let wanted = UserChange::parse(&body)?;
    let decide = |before: &User| {
        let role = wanted.role.unwrap_or(before.role);
        caller.must_manage(role)?;
        if matches!(before.status, UserStatus::Deactivated | UserStatus::Declined) {
            return Err(ApiError::Conflict(Conflict::UserDeactivated));
        }
        Ok((role, before.status))
    };
    alter(&parts, &caller, id, &version, "user.changed", decide).await
}

/// Shuts a user out, and revokes its tokens
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/deactivate",
    operation_id = "deactivate_user",
    tag = "administration",
    params(("id" = String, Path, description = "The user."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user as it is now.", body = User, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`last_owner`, `tenant_closed`."),
    )
)]
async fn deactivate(
    State(parts): State<AdminParts>,
    caller: Caller,
    Named(id): Named<UserId>,
    version: IfMatch,
) -> Result<Response, ApiError> {
    alter(&parts, &caller, id, &version, "user.deactivated", |before| Ok((before.role, UserStatus::Deactivated))).await
}

/// Lets a user in again; a user who never accepted, or who declined, is invited again
#[utoipa::path(
    post,
    path = "/api/v1/users/{id}/reactivate",
    operation_id = "reactivate_user",
    tag = "administration",
    params(("id" = String, Path, description = "The user."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The user as it is now.", body = User, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`tenant_closed`."),
    )
)]
async fn reactivate(
    State(parts): State<AdminParts>,
    caller: Caller,
    Named(id): Named<UserId>,
    version: IfMatch,
) -> Result<Response, ApiError> {
    let decide = |before: &User| {
        let is_out = matches!(before.status, UserStatus::Deactivated | UserStatus::Declined);
        let status = if is_out { UserStatus::Active } else { before.status };
        Ok((before.role, status))
    };
    alter(&parts, &caller, id, &version, "user.reactivated", decide).await
}

/// Makes of a user what is decided, unless the tenant would be left without an owner.
async fn alter(
    parts: &AdminParts,
    caller: &Caller,
    id: UserId,
    version: &IfMatch,
    action: &'static str,
    decide: impl FnOnce(&User) -> Result<(Standing, UserStatus), ApiError>,
) -> Result<Response, ApiError> {
    let now = parts.clock.now();
    let transaction = parts.database.begin(caller.scope()).await?;
    let tenant = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?.tenant_id;
    tenants::lock_open(&transaction, tenant).await?;
    let before = record::lock(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    caller.must_manage(before.role)?;
    version.must_name(before.version)?;
    let (role, status) = decide(&before)?;
    if (role, status) == (before.role, before.status) {
        return Ok(versioned(before.version, &before));
    }
    let is_owner = |role, status| role == Standing::Owner && matches!(status, UserStatus::Invited | UserStatus::Active);
    if is_owner(before.role, before.status) && !is_owner(role, status) && !record::has_other_owner(&transaction, &before).await? {
        return Err(ApiError::Conflict(Conflict::LastOwner));
    }
    let after = record::update(&transaction, id, role, status, now).await?;
    let event = Event::of(action, tenant, "user", &id).changed(written(&before)?, written(&after)?);
    audit::record(&transaction, caller, now, event).await?;
    if after.status == UserStatus::Deactivated {
        revoke_tokens(&transaction, caller, &after, now).await?;
    }
    transaction.commit().await?;
    parts.callers.forget();
    Ok(versioned(after.version, &after))
}

async fn revoke_tokens(transaction: &Transaction, caller: &Caller, user: &User, now: Timestamp) -> Result<(), ApiError> {
    for token in record::revoke_tokens(transaction, user.id, now).await? {
        audit::record(transaction, caller, now, Event::of("access_token.revoked", user.tenant_id, "access_token", &token)).await?;
    }
    Ok(())
}

/// A role that a user can have: staff belong to no tenant.
fn role(text: &str) -> Result<Standing, &'static str> {
    text.parse().ok().filter(|role| *role != Standing::Staff).ok_or("must be owner, admin, member or guest")
}
