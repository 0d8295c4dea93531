//! Licenses: issued, changed, suspended, reinstated, given a new key, revoked.

mod document;
mod record;
mod wanted;

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{LicenseId, LicenseKey, LicenseStatus, Permission, SignedDocument, TenantId, Timestamp},
    web::{ApiError, Conflict, Fields},
};
use utoipa::IntoParams;
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
    page::{self, Items, Page, PageParams, moment},
    version::{IfMatch, IfMatchParam},
};
use document::{Details, WithKey, shown, sign};
use record::{Filter, License, license};
use wanted::{LicenseChange, NewLicense, key_end};

/// The rows of the table.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_licenses", "GET", "/api/v1/licenses", Permission::SeeTenant),
    Operation::new("get_license", "GET", "/api/v1/licenses/{id}", Permission::SeeTenant),
    Operation::new("issue_license", "POST", "/api/v1/licenses", Permission::ManageLicenses),
    Operation::new("change_license", "PATCH", "/api/v1/licenses/{id}", Permission::ManageLicenses),
    Operation::new("suspend_license", "POST", "/api/v1/licenses/{id}/suspend", Permission::ManageLicenses),
    Operation::new("reinstate_license", "POST", "/api/v1/licenses/{id}/reinstate", Permission::ManageLicenses),
    Operation::new("rotate_license_key", "POST", "/api/v1/licenses/{id}/rotate-key", Permission::ManageLicenses),
    Operation::new("revoke_license", "POST", "/api/v1/licenses/{id}/revoke", Permission::ManageLicenses),
];

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    let api = OpenApiRouter::new().routes(routes!(list, issue)).routes(routes!(get, change));
    api.routes(routes!(suspend)).routes(routes!(reinstate)).routes(routes!(rotate_key)).routes(routes!(revoke))
}

/// Which licenses a list shows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct LicenseFilter {
    /// Of this tenant, which is the one that the call is about.
    #[param(value_type = Option<String>)]
    tenant_id: Option<TenantId>,
    status: Option<LicenseStatus>,
    /// The end of the license key.
    #[param(min_length = 4, max_length = 4)]
    key_last_four: Option<String>,
    /// Those that are over before this moment.
    #[param(value_type = Option<String>, format = DateTime)]
    expires_before: Option<Timestamp>,
}

/// Lists licenses, without their documents
#[utoipa::path(
    get,
    path = "/api/v1/licenses",
    operation_id = "list_licenses",
    tag = "administration",
    params(PageParams, LicenseFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of licenses.", body = Items<License>))
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "licenses");
    let filter = Filter {
        tenant: fields.optional("tenant_id", str::parse).unwrap_or(caller.tenant()?),
        status: fields.optional("status", str::parse),
        key_last_four: fields.optional("key_last_four", key_end),
        expires_before: fields.optional("expires_before", moment),
    };
    fields.finish()?;
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, &page, &filter).await?;
    transaction.commit().await?;
    Ok(Json(page.items(&parts, &rows, license, page::by_creation)?).into_response())
}

/// Shows a license, with its document
#[utoipa::path(
    get,
    path = "/api/v1/licenses/{id}",
    operation_id = "get_license",
    tag = "administration",
    params(("id" = String, Path, description = "The license.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The license.", body = Details, headers(("etag" = String, description = "Its version."))))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<LicenseId>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let (license, document) = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    Ok(versioned(license.version, &shown(&license, document, None)?))
}

/// Issues a license, whose key is shown this once
#[utoipa::path(
    post,
    path = "/api/v1/licenses",
    operation_id = "issue_license",
    tag = "administration",
    params(IdempotencyParam),
    security(("bearer" = [])),
    request_body = NewLicense,
    responses(
        (status = 201, description = "The license.", body = WithKey, headers(("etag" = String, description = "Its version."), ("location" = String, description = "Its path."))),
        (status = 409, description = "`seat_limit`: the tenant's licenses would have more seats together than its `seat_limit`; `tenant_closed`; `request_in_flight`."),
    )
)]
async fn issue(State(parts): State<AdminParts>, changer: Changer, creation: Creation, asked: Asked) -> Result<Response, ApiError> {
    let new = NewLicense::read(asked.fields()?)?;
    let tenant = changer.tenant()?;
    let make = async |change: &Change| {
        let (tier, room) = record::room(change, tenant, None).await?;
        must_fit(new.seats_total(), room)?;
        let key = LicenseKey::generate();
        let license = new.license(tenant, tier, key.last_four(), change.now());
        let signature = sign(&*parts.root, &license, change.now()).await;
        record::insert(change, &license, &key, signature.as_ref()).await?;
        let event = Event::of("license.issued", tenant, "license", &license.id).license(license.id).created(written(&license)?);
        audit::record(change, event).await?;
        let document = signature.and_then(|signature| SignedDocument::read(signature.jws));
        let body = shown(&license, document, Some(&key))?;
        Ok(Created { location: format!("/api/v1/licenses/{}", license.id), version: Some(license.version), body })
    };
    creation.run(&parts, &changer, Lock::Tenant, &asked, make).await
}

/// Changes what a license allows; whoever has a seat keeps it
#[utoipa::path(
    patch,
    path = "/api/v1/licenses/{id}",
    operation_id = "change_license",
    tag = "administration",
    params(("id" = String, Path, description = "The license."), IfMatchParam),
    security(("bearer" = [])),
    request_body(content((LicenseChange = "application/merge-patch+json"), (LicenseChange = "application/json"))),
    responses(
        (status = 200, description = "The license as it is now.", body = Details, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`license_revoked`, `seat_limit`, `tenant_closed`."),
    )
)]
async fn change(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<LicenseId>,
    version: IfMatch,
    asked: Asked,
) -> Result<Response, ApiError> {
    let wanted = LicenseChange::read(asked.fields()?)?;
    alter(&parts, &changer, id, &version, Alteration::of("license.changed"), |before| wanted.apply(unrevoked(before)?)).await
}

/// Suspends a license: it is not served
#[utoipa::path(
    post,
    path = "/api/v1/licenses/{id}/suspend",
    operation_id = "suspend_license",
    tag = "administration",
    params(("id" = String, Path, description = "The license."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The license as it is now.", body = Details, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`license_revoked`, `tenant_closed`."),
    )
)]
async fn suspend(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<LicenseId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    let decide = |before: &License| Ok(License { status: LicenseStatus::Suspended, ..unrevoked(before)?.clone() });
    alter(&parts, &changer, id, &version, Alteration::of("license.suspended"), decide).await
}

/// Serves a suspended license again
#[utoipa::path(
    post,
    path = "/api/v1/licenses/{id}/reinstate",
    operation_id = "reinstate_license",
    tag = "administration",
    params(("id" = String, Path, description = "The license."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The license as it is now.", body = Details, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`license_revoked`, `tenant_closed`."),
    )
)]
async fn reinstate(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<LicenseId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    let decide = |before: &License| Ok(License { status: LicenseStatus::Active, ..unrevoked(before)?.clone() });
    alter(&parts, &changer, id, &version, Alteration::of("license.reinstated"), decide).await
}

/// Gives a license a new key, which is shown this once; the old one opens nothing any more
///
/// Whoever has a seat keeps it.
#[utoipa::path(
    post,
    path = "/api/v1/licenses/{id}/rotate-key",
    operation_id = "rotate_license_key",
    tag = "administration",
    params(("id" = String, Path, description = "The license."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The license with its new key.", body = WithKey, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`license_revoked`, `tenant_closed`."),
    )
)]
async fn rotate_key(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<LicenseId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    let key = LicenseKey::generate();
    let decide = |before: &License| Ok(License { key_last_four: key.last_four(), ..unrevoked(before)?.clone() });
    let alteration = Alteration { action: "license.key_rotated", key: Some(&key) };
    alter(&parts, &changer, id, &version, alteration, decide).await
}

/// Revokes a license for good
#[utoipa::path(
    post,
    path = "/api/v1/licenses/{id}/revoke",
    operation_id = "revoke_license",
    tag = "administration",
    params(("id" = String, Path, description = "The license."), IfMatchParam),
    security(("bearer" = [])),
    responses(
        (status = 200, description = "The license as it is now.", body = Details, headers(("etag" = String, description = "Its version."))),
        (status = 409, description = "`tenant_closed`."),
    )
)]
async fn revoke(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(id): Named<LicenseId>,
    version: IfMatch,
    _: Nothing,
) -> Result<Response, ApiError> {
    let decide = |before: &License| Ok(License { status: LicenseStatus::Revoked, ..before.clone() });
    alter(&parts, &changer, id, &version, Alteration::of("license.revoked"), decide).await
}

/// What is done to a license: by its name among audit events, and the new key if it gets one.
struct Alteration<'a> {
    action: &'static str,
    key: Option<&'a LicenseKey>,
}

impl Alteration<'_> {
    const fn of(action: &'static str) -> Self {
        Self { action, key: None }
    }
}

/// Makes of a license what is decided, and tells the seat engine.
async fn alter(
    parts: &AdminParts,
    changer: &Changer,
    id: LicenseId,
    version: &IfMatch,
    Alteration { action, key }: Alteration<'_>,
    decide: impl FnOnce(&License) -> Result<License, ApiError>,
) -> Result<Response, ApiError> {
    // Behind the tenant's lock, as whoever suspends it; and its licenses' seats are counted one change after another.
    let change = changer.begin(parts, Lock::Tenant).await?;
    let (before, document) = record::lock(&change, id).await?.ok_or(ApiError::NotFound)?;
    version.must_name(before.version)?;
    let after = decide(&before)?;
    if after == before && key.is_none() {
        return Ok(versioned(before.version, &shown(&before, document, None)?));
    }
    if after.seats_total > before.seats_total {
        must_fit(after.seats_total, record::room(&change, before.tenant_id, Some(id)).await?.1)?;
    }
    let after = License { version: before.version + 1, updated_at: change.now(), ..after };
    let signature = sign(&*parts.root, &after, change.now()).await;
    record::update(&change, &after, key, signature.as_ref()).await?;
    let event = Event::of(action, after.tenant_id, "license", &id).license(id).changed(written(&before)?, written(&after)?);
    audit::record(&change, event).await?;
    change.commit().await?;
    parts.tell_seats(vec![id]).await;
    let document = signature.and_then(|signature| SignedDocument::read(signature.jws));
    Ok(versioned(after.version, &shown(&after, document, key)?))
}

/// What is revoked stays as it is.
fn unrevoked(license: &License) -> Result<&License, ApiError> {
    if license.status == LicenseStatus::Revoked { Err(ApiError::Conflict(Conflict::LicenseRevoked)) } else { Ok(license) }
}

/// Whether a license may have so many seats.
fn must_fit(seats: u32, room: i64) -> Result<(), ApiError> {
    if i64::from(seats) <= room { Ok(()) } else { Err(ApiError::Conflict(Conflict::SeatLimit)) }
}
