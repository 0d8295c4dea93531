//! Tenants: customers' organizations.

mod record;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use platform::{
    db::Rows,
    domain::{Email, Name, Permission, TenantId, TenantStatus, Tier, UserId},
    web::{ApiError, Conflict, Fields, text, whole},
};
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::{LOCK, STATEMENTS, is_there, must_be_open};

use crate::{
    AdminParts, Operation, Whose,
    answer::{versioned, written},
    asked::{Asked, Nothing},
    audit::{self, Event},
    caller::Caller,
    change::{Change, Changer, Lock},
    creation::{Created, Creation, IdempotencyParam},
    named::Named,
    page::{self, Items, Page, PageParams},
    version::{IfMatch, IfMatchParam},
};
use record::{Tenant, tenant};

/// The rows of the table. Of what a change can change, tier and seat limit are staff's alone.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_tenants", "GET", "/api/v1/tenants", Permission::SeeTenant).about(Whose::All),
    Operation::new("get_tenant", "GET", "/api/v1/tenants/{id}", Permission::SeeTenant).about(Whose::PathsTenant),
    Operation::new("create_tenant", "POST", "/api/v1/tenants", Permission::ManageTenants).about(Whose::All),
    Operation::new("change_tenant", "PATCH", "/api/v1/tenants/{id}", Permission::ManageTenant).about(Whose::PathsTenant),
    Operation::new("suspend_tenant", "POST", "/api/v1/tenants/{id}/suspend", Permission::ManageTenants).about(Whose::PathsTenant),
    Operation::new("reinstate_tenant", "POST", "/api/v1/tenants/{id}/reinstate", Permission::ManageTenants).about(Whose::PathsTenant),
];

/// Seats that a tenant may have at the most.
const MOST_SEATS: u32 = 1_000_000;

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, change)).routes(routes!(suspend)).routes(routes!(reinstate))
}

/// Lists the tenants that the caller sees: its own, or for staff all
#[utoipa::path(
    get,
    path = "/api/v1/tenants",
    operation_id = "list_tenants",
    tag = "administration",
    params(PageParams),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of tenants.", body = Items<Tenant>))
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "tenants");
    fields.finish()?;
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, &page, caller.rows() == Rows::Staff).await?;
    transaction.commit().await?;
    Ok(Json(page.items(&parts, &rows, tenant, page::by_creation)?).into_response())
}

/// Shows a tenant
#[utoipa::path(
    get,
    path = "/api/v1/tenants/{id}",
    operation_id = "get_tenant",
    tag = "administration",
    params(("id" = String, Path, description = "The tenant.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The tenant.", body = Tenant, headers(("etag" = String, description = "Its version."))))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<TenantId>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let tenant = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    Ok(versioned(tenant.version, &tenant))
}

/// A tenant to be.
#[derive(ToSchema)]
struct NewTenant {
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "Example Ltd")]
    name: Name,
    tier: Tier,
    /// Seats that its licenses may have together.
    #[schema(maximum = 1_000_000)]
    seat_limit: u32,
    /// Who is invited as its first owner.
    #[schema(value_type = String, format = Email, max_length = 254, example = "ada@example.com")]
    owner_email: Email,
}

impl NewTenant {
    fn read(mut fields: Fields<'_>) -> Result<Self, ApiError> {
        let name = fields.required("name", Name::parse);
        let tier = fields.required("tier", str::parse);
        let seat_limit = fields.must("seat_limit", whole(0..=MOST_SEATS));
        let owner_email = fields.required("owner_email", Email::parse_pasted);
        let (Some(name), Some(tier), Some(seat_limit), Some(owner_email)) = (name, tier, seat_limit, owner_email) else {
            return Err(fields.into_error());
        };
        fields.finish()?;
        Ok(Self { name, tier, seat_limit, owner_email })
    }
}

/// Creates a tenant and invites its first owner
#[utoipa::path(
    post,
    path = "/api/v1/tenants",
    operation_id = "create_tenant",
    tag = "administration",
    params(IdempotencyParam),
    security(("bearer" = [])),
    request_body = NewTenant,
    responses((status = 201, description = "The tenant.", body = Tenant, headers(("etag" = String, description = "Its version."), ("location" = String, description = "Its path."))))
)]
async fn create(State(parts): State<AdminParts>, changer: Changer, creation: Creation, asked: Asked) -> Result<Response, ApiError> {
    let new = NewTenant::read(asked.fields()?)?;
    if changer.tenant().is_ok() {
        return Err(ApiError::invalid("x-tenant-id", "must be left out: the tenant is not there yet"));
    }
    let make = async |change: &Change| {
        let now = change.now();
        let (id, owner) = (TenantId::random(), UserId::random());
        let tenant = record::insert(change, id, &new.name, new.tier, new.seat_limit, now).await?;
        record::insert_owner(change, owner, id, &new.owner_email, now).await?;
        let body = written(&tenant)?;
        audit::record(change, Event::of("tenant.created", id, "tenant", &id).created(body.clone())).await?;
        let invited = serde_json::json!({ "email": new.owner_email.as_str(), "role": "owner", "status": "invited" });
        audit::record(change, Event::of("user.invited", id, "user", &owner).created(invited)).await?;
        Ok(Created { location: format!("/api/v1/tenants/{id}"), version: Some(tenant.version), body })
    };
    creation.run(&parts, &changer, Lock::Nothing, &asked, make).await
}

/// What a change of a tenant may say.
#[derive(ToSchema)]
struct TenantChange {
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    name: Option<Name>,
    /// Staff's alone.
    tier: Option<Tier>,
    /// Staff's alone.
    #[schema(maximum = 1_000_000)]
    seat_limit: Option<u32>,
}

impl TenantChange {
    fn read(mut fields: Fields<'_>) -> Result<Self, ApiError> {
        let name = fields.change("name", text(Name::parse));
        let tier = fields.change("tier", text(str::parse));
        let seat_limit = fields.change("seat_limit", whole(0..=MOST_SEATS));
        fields.finish()?;
        Ok(Self { name, tier, seat_limit })
    }
}

/// Changes a tenant's settings
#[utoipa::path(
    patch,
    path = "/api/v1/tenants/{id}",
    operation_id = "change_tenant",
    tag = "administration",
    params(("id" = String, Path, description = "The tenant."), IfMatchParam),
    security(("bearer" = [])),
    request_body(content((TenantChange = "application/merge-patch+json"), (TenantChange = "application/json"))),
    responses(
        (status = 200, description = "The tenant as it is now.", body = Tenant, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`tenant_closed`."),
    )
)]
async fn change(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<TenantId>,
    version: IfMatch,
    asked: Asked,
) -> Result<Response, ApiError> {
    let wanted = TenantChange::read(asked.fields()?)?;
    let change = changer.begin(&parts, Lock::Tenant).await?;
    if wanted.tier.is_some() || wanted.seat_limit.is_some() {
        change.caller().must_be_permitted(Permission::ManageTenants)?;
    }
    let before = open(record::lock(&change, id).await?, &version)?;
    let after = before.clone().with(wanted.name.as_ref(), wanted.tier, wanted.seat_limit);
    if after == before {
        return Ok(versioned(before.version, &before));
    }
    let after = record::update(&change, &after, change.now()).await?;
    let event = Event::of("tenant.changed", id, "tenant", &id).changed(written(&before)?, written(&after)?);
    audit::record(&change, event).await?;
    change.commit().await?;
    Ok(versioned(after.version, &after))
}

/// Suspends a tenant: none of its licenses is served
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{id}/suspend",
    operation_id = "suspend_tenant",
    tag = "administration",
    params(("id" = String, Path, description = "The tenant."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The tenant as it is now.", body = Tenant, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`tenant_closed`."),
    )
)]
async fn suspend(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<TenantId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    set_status(&parts, &changer, id, &version, TenantStatus::Suspended, "tenant.suspended").await
}

/// Serves a suspended tenant again
#[utoipa::path(
    post,
    path = "/api/v1/tenants/{id}/reinstate",
    operation_id = "reinstate_tenant",
    tag = "administration",
    params(("id" = String, Path, description = "The tenant."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The tenant as it is now.", body = Tenant, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`tenant_closed`."),
    )
)]
async fn reinstate(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<TenantId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    set_status(&parts, &changer, id, &version, TenantStatus::Active, "tenant.reinstated").await
}

async fn set_status(
    parts: &AdminParts,
    changer: &Changer,
    id: TenantId,
    version: &IfMatch,
    status: TenantStatus,
    action: &'static str,
) -> Result<Response, ApiError> {
    let change = changer.begin(parts, Lock::Tenant).await?;
    let before = open(record::lock(&change, id).await?, version)?;
    if before.status == status {
        return Ok(versioned(before.version, &before));
    }
    let after = record::update(&change, &Tenant { status, ..before.clone() }, change.now()).await?;
    let event = Event::of(action, id, "tenant", &id).changed(written(&before)?, written(&after)?);
    audit::record(&change, event).await?;
    let licenses = record::licenses(&change, id).await?;
    change.commit().await?;
    parts.callers.forget();
    parts.tell_seats(licenses).await;
    Ok(versioned(after.version, &after))
}

/// The tenant that is to be changed: there, as it was read, and not gone for good.
fn open(found: Option<Tenant>, version: &IfMatch) -> Result<Tenant, ApiError> {
    let tenant = found.ok_or(ApiError::NotFound)?;
    version.must_name(tenant.version)?;
    if tenant.status == TenantStatus::Closed { Err(ApiError::Conflict(Conflict::TenantClosed)) } else { Ok(tenant) }
}
