//! Devices that may not take a seat for a time.

mod record;

use axum::{
    extract::{RawQuery, State},
    http::StatusCode,
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{BlockId, HardwareId, LicenseId, Permission, Timestamp},
    web::{ApiError, Fields},
};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::{Device, HardwareBlock, STATEMENTS};

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
use record::{Filter, hardware_block};

/// The rows of the table.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_hardware_blocks", "GET", "/api/v1/hardware-blocks", Permission::SeeTenant),
    Operation::new("get_hardware_block", "GET", "/api/v1/hardware-blocks/{id}", Permission::SeeTenant),
    Operation::new("create_hardware_block", "POST", "/api/v1/hardware-blocks", Permission::RevokeSessions),
    Operation::new("delete_hardware_block", "DELETE", "/api/v1/hardware-blocks/{id}", Permission::RevokeSessions),
];

/// No block ends later, because a later year has five digits: 9999-12-31T00:00:00Z.
const LATEST: i64 = 253_402_214_400;

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list, create)).routes(routes!(get, delete))
}

/// Which blocks a list shows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct BlockFilter {
    #[param(value_type = Option<String>, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    license_id: Option<LicenseId>,
    /// The whole id, to the letter.
    #[param(value_type = Option<String>)]
    hardware_id: Option<HardwareId>,
}

/// Lists blocks of devices, those whose time is past too
#[utoipa::path(
    get,
    path = "/api/v1/hardware-blocks",
    operation_id = "list_hardware_blocks",
    tag = "administration",
    params(PageParams, BlockFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of blocks.", body = Items<HardwareBlock>))
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "hardware-blocks");
    let license = fields.optional("license_id", str::parse);
    let hardware = fields.optional("hardware_id", HardwareId::parse);
    fields.finish()?;
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, &page, &Filter { license, hardware }).await?;
    transaction.commit().await?;
    Ok(Json(page.items(&parts, &rows, hardware_block, page::by_creation)?).into_response())
}

/// Shows a block of a device
#[utoipa::path(
    get,
    path = "/api/v1/hardware-blocks/{id}",
    operation_id = "get_hardware_block",
    tag = "administration",
    params(("id" = String, Path, description = "The block.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The block.", body = HardwareBlock))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<BlockId>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let block = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    Ok(Json(block).into_response())
}

/// A block to be.
#[derive(ToSchema)]
struct NewHardwareBlock {
    /// The license of which the device may not take a seat.
    #[schema(value_type = String, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    license_id: LicenseId,
    #[schema(value_type = String, max_length = 256, example = "7c:50:79:3e:f2:01")]
    hardware_id: HardwareId,
    /// Later than now.
    #[schema(value_type = String, format = DateTime)]
    until: Timestamp,
}

impl NewHardwareBlock {
    fn read(mut fields: Fields<'_>, now: Timestamp) -> Result<Self, ApiError> {
        let license_id = fields.required("license_id", str::parse);
        let hardware_id = fields.required("hardware_id", HardwareId::parse);
        let until = fields.required("until", until(now));
        let (Some(license_id), Some(hardware_id), Some(until)) = (license_id, hardware_id, until) else {
            return Err(fields.into_error());
        };
        fields.finish()?;
        Ok(Self { license_id, hardware_id, until })
    }
}

/// Blocks a device until a time: it gets no new seat of the license
///
/// Whoever sits keeps its seat: its session must be revoked too. A device that is blocked already is blocked until the new time, by a new block.
#[utoipa::path(
    post,
    path = "/api/v1/hardware-blocks",
    operation_id = "create_hardware_block",
    tag = "administration",
    params(IdempotencyParam),
    security(("bearer" = [])),
    request_body = NewHardwareBlock,
    responses(
        (status = 201, description = "The block.", body = HardwareBlock, headers(("location" = String, description = "Its path."))),
        (status = 409, description = "`request_in_flight`."),
    )
)]
async fn create(State(parts): State<AdminParts>, changer: Changer, creation: Creation, asked: Asked) -> Result<Response, ApiError> {
    let new = NewHardwareBlock::read(asked.fields()?, parts.clock.now())?;
    let make = async |change: &Change| {
        let tenant = record::tenant_of(change, new.license_id).await?;
        let tenant = tenant.ok_or_else(|| ApiError::invalid("license_id", "must be the id of a license"))?;
        let device = Device { tenant, license: new.license_id, hardware: new.hardware_id.as_str() };
        let block = block(change, device, new.until).await?;
        Ok(Created { location: format!("/api/v1/hardware-blocks/{}", block.id), version: None, body: written(&block)? })
    };
    creation.run(&parts, &changer, Lock::Nothing, &asked, make).await
}

/// Ends a block of a device before its time
#[utoipa::path(
    delete,
    path = "/api/v1/hardware-blocks/{id}",
    operation_id = "delete_hardware_block",
    tag = "administration",
    params(("id" = String, Path, description = "The block.")),
    security(("bearer" = [])),
    responses((status = 204, description = "The device may take a seat again."))
)]
async fn delete(State(parts): State<AdminParts>, changer: Changer, Named(id): Named<BlockId>, _: Nothing) -> Result<Response, ApiError> {
    let change = changer.begin(&parts, Lock::Nothing).await?;
    let block = record::delete(&change, id).await?.ok_or(ApiError::NotFound)?;
    let event = Event::of("hardware.unblocked", block.tenant_id, "hardware_block", &id).license(block.license_id);
    audit::record(&change, event.removed(written(&block)?)).await?;
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Blocks a device until a time, and writes that down, unless it is so already.
///
/// # Errors
/// [`ApiError::Unavailable`] if it cannot be done now.
pub(crate) async fn block(change: &Change, device: Device<'_>, until: Timestamp) -> Result<HardwareBlock, ApiError> {
    let before = record::of_device(change, device).await?.filter(|before| before.until > change.now());
    if let Some(before) = before.as_ref().filter(|before| before.until == until) {
        return Ok(before.clone());
    }
    let after = record::block(change, device, until, change.now()).await?;
    let event = Event::of("hardware.blocked", device.tenant, "hardware_block", &after.id).license(device.license);
    let event = match before {
        Some(before) => event.changed(written(&before)?, written(&after)?),
        None => event.created(written(&after)?),
    };
    audit::record(change, event).await?;
    Ok(after)
}

/// Reads until when a device is to be blocked.
pub(crate) fn until(now: Timestamp) -> impl FnOnce(&str) -> Result<Timestamp, String> {
    move |text| {
        let until = moment(text)?;
        if until > now && until.timestamp() <= LATEST {
            Ok(until)
        } else {
            Err("must be later than now, by the year 9999 at the latest".to_owned())
        }
    }
}
