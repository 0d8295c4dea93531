//! Users: who belongs to a tenant, and how they stand.

mod record;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{Email, Permission, Standing, UserId, UserStatus},
    web::{ApiError, Conflict, Fields, text},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation,
    answer::{versioned, written},
    asked::{Asked, Nothing},
    audit::{self, Event},
    caller::Caller,
    change::{Change, Changer, Lock},
    creation::{Created, Creation, IdempotencyParam},
    named::Named,
    page::{self, Items, Page, PageParams},
    sessions,
    version::{IfMatch, IfMatchParam},
};
use record::{Filter, User, user};

/// The rows of the table. Within them everybody manages those whom it may: see [`platform::domain::Principal::manages`].
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_users", "GET", "/api/v1/users", Permission::ManageUsers),
    Operation::new("get_user", "GET", "/api/v1/users/{id}", Permission::ManageUsers),
    Operation::new("invite_user", "POST", "/api/v1/users", Permission::ManageUsers),
    Operation::new("change_user", "PATCH", "/api/v1/users/{id}", Permission::ManageUsers),
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
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "users");
    let role = fields.optional("role", role);
    let (status, email) = (fields.optional("status", str::parse), fields.optional("email", Email::parse_pasted));
    fields.finish()?;
    let transaction = parts.store.read(&caller).await?;
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
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<UserId>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
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
    fn read(mut fields: Fields<'_>) -> Result<Self, ApiError> {
        let (email, role) = (fields.required("email", Email::parse_pasted), fields.required("role", role));
        let (Some(email), Some(role)) = (email, role) else { return Err(fields.into_error()) };
        fields.finish()?;
        Ok(Self { email, role })
    }
}

/// Invites a person, who becomes this user by accepting
///
/// The person signs in with that address, verified, and accepts by `POST /api/v1/invitations/{id}/accept`. A user who has declined is
/// invited again. To invite an owner or an admin also takes `manage_tenant`.
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
async fn invite(State(parts): State<AdminParts>, changer: Changer, creation: Creation, asked: Asked) -> Result<Response, ApiError> {
    let new = NewUser::read(asked.fields()?)?;
    let tenant = changer.tenant()?;
    let make = async |change: &Change| {
        change.caller().must_manage(new.role)?;
        let (by, now) = (change.caller().member(), change.now());
        let declined = record::lock_declined(change, tenant, &new.email).await?;
        let user = match &declined {
            Some(declined) => record::invite_again(change, declined.id, new.role, by, now).await?,
            None => record::insert(change, UserId::random(), tenant, &new.email, new.role, by, now)
                .await?
                .ok_or(ApiError::Conflict(Conflict::EmailTaken))?,
        };
        let (id, body) = (user.id, written(&user)?);
        let event = Event::of("user.invited", tenant, "user", &id);
        let event = match &declined {
            Some(declined) => event.changed(written(declined)?, body.clone()),
            None => event.created(body.clone()),
        };
        audit::record(change, event).await?;
        Ok(Created { location: format!("/api/v1/users/{id}"), version: Some(user.version), body })
    };
    creation.run(&parts, &changer, Lock::Tenant, &asked, make).await
}

/// What a change of a user may say.
#[derive(ToSchema)]
struct UserChange {
    /// `owner`, `admin`, `member` or `guest`.
    role: Option<Standing>,
}

impl UserChange {
    fn read(mut fields: Fields<'_>) -> Result<Self, ApiError> {
        let role = fields.change("role", text(role));
        fields.finish()?;
        Ok(Self { role })
    }
}

/// Changes a user's role
///
/// To change an owner or an admin, or to make one, also takes `manage_tenant`.
///
/// The tokens of the user whose scopes the new role does not allow are revoked. If the new role may not acquire seats with a token, so are the
/// user's sessions on licenses that require one.
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
    changer: Changer,
    Named(id): Named<UserId>,
    version: IfMatch,
    asked: Asked,
) -> Result<Response, ApiError> {
    let wanted = UserChange::read(asked.fields()?)?;
    let decide = |before: &User| {
        if matches!(before.status, UserStatus::Deactivated | UserStatus::Declined) {
            return Err(ApiError::Conflict(Conflict::UserDeactivated));
        }
        Ok(before.status)
    };
    alter(&parts, &changer, id, &version, "user.changed", wanted.role, decide).await
}

/// Shuts a user out, and revokes its tokens and its sessions on licenses that require a token
///
/// To deactivate an owner or an admin also takes `manage_tenant`.
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
    changer: Changer,
    Named(id): Named<UserId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    alter(&parts, &changer, id, &version, "user.deactivated", None, |_| Ok(UserStatus::Deactivated)).await
}

/// Lets a user in again; a user who never accepted, or who declined, is invited again
///
/// To reactivate an owner or an admin also takes `manage_tenant`.
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
    changer: Changer,
    Named(id): Named<UserId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    let decide = |before: &User| {
        let is_out = matches!(before.status, UserStatus::Deactivated | UserStatus::Declined);
        Ok(if is_out { UserStatus::Active } else { before.status })
    };
    alter(&parts, &changer, id, &version, "user.reactivated", None, decide).await
}

/// Gives a user another role or status, unless the tenant would be left without an owner. Revokes what the user may not keep.
async fn alter(
    parts: &AdminParts,
    changer: &Changer,
    id: UserId,
    version: &IfMatch,
    action: &'static str,
    role: Option<Standing>,
    decide: impl FnOnce(&User) -> Result<UserStatus, ApiError>,
) -> Result<Response, ApiError> {
    let change = changer.begin(parts, Lock::Tenant).await?;
    let before = record::lock(&change, id).await?.ok_or(ApiError::NotFound)?;
    let role = role.unwrap_or(before.role);
    change.caller().must_manage(before.role)?;
    change.caller().must_manage(role)?;
    version.must_name(before.version)?;
    let status = decide(&before)?;
    if (role, status) == (before.role, before.status) {
        return Ok(versioned(before.version, &before));
    }
    let is_owner = |role, status| role == Standing::Owner && matches!(status, UserStatus::Invited | UserStatus::Active);
    if is_owner(before.role, before.status) && !is_owner(role, status) && !record::has_other_owner(&change, &before).await? {
        return Err(ApiError::Conflict(Conflict::LastOwner));
    }
    let after = record::update(&change, id, role, status, change.now()).await?;
    let event = Event::of(action, after.tenant_id, "user", &id).changed(written(&before)?, written(&after)?);
    audit::record(&change, event).await?;
    revoke_tokens(&change, &after).await?;
    let sessions = if may_acquire(&after) { Vec::new() } else { sessions::revoke_of_user(&change, &after.email).await? };
    change.commit().await?;
    parts.callers.forget();
    parts.take_out(sessions).await;
    Ok(versioned(after.version, &after))
}

/// Whether a user may have a seat of a license that requires a token.
fn may_acquire(user: &User) -> bool {
    matches!(user.status, UserStatus::Invited | UserStatus::Active) && Permission::AcquireWithToken.holders().contains(&user.role)
}

/// Revokes the tokens of a user that name what its role does not allow, or all of them if it is deactivated.
async fn revoke_tokens(change: &Change, user: &User) -> Result<(), ApiError> {
    let allowed: Vec<&str> = match user.status {
        UserStatus::Deactivated | UserStatus::Declined => Vec::new(),
        UserStatus::Invited | UserStatus::Active => {
            Permission::all().filter(|permission| permission.holders().contains(&user.role)).map(Permission::as_str).collect()
        }
    };
    for token in record::revoke_tokens(change, user.id, &allowed, change.now()).await? {
        audit::record(change, Event::of("access_token.revoked", user.tenant_id, "access_token", &token)).await?;
    }
    Ok(())
}

/// A role that a user can have: staff belong to no tenant.
fn role(text: &str) -> Result<Standing, &'static str> {
    text.parse().ok().filter(|role| *role != Standing::Staff).ok_or("must be owner, admin, member or guest")
}
