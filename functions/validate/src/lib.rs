#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::{LicenseData, LicenseKey},
    seats::{Engine, Inspected},
    web::{ApiError, Fields, JsonObject},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The function's one route.
pub fn router(seats: Arc<Engine>) -> Router {
    api().with_state(seats).into()
}

/// The route and its description.
#[must_use]
pub fn api() -> OpenApiRouter<Arc<Engine>> {
    OpenApiRouter::new().routes(routes!(validate))
}

/// Which license.
#[derive(ToSchema)]
#[schema(as = ValidateRequest)]
#[expect(dead_code, reason = "describes what is read field by field, so that every fault is named")]
struct Request {
    #[schema(example = "CODI-0D15-BREP-TSB5-V76W-306E-ZF21-0DYK-J3DF")]
    license_key: String,
}

/// A license, and how full it is.
#[derive(Serialize, ToSchema)]
#[schema(as = Validated)]
struct Answer<'a> {
    license_data: LicenseData<'a>,
    #[schema(example = "active")]
    status: &'static str,
    seats_used: u32,
    seats_total: u32,
}

/// Says what a license key opens, and takes no seat
#[utoipa::path(
    post,
    path = "/api/v1/licenses/validate",
    operation_id = "validate",
    tag = "seats",
    request_body = Request,
    responses(
        (status = 200, description = "The license may be used.", body = Answer),
        (status = 403, description = "`license_expired`, `license_suspended`, `license_not_started`, `tenant_suspended`."),
        (status = 404, description = "`license_not_found`."),
    )
)]
async fn validate(State(seats): State<Arc<Engine>>, JsonObject(body): JsonObject) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(&body, &["license_key"])?;
    let license_key = fields.required("license_key", LicenseKey::parse);
    let Some(license_key) = license_key else { return Err(fields.into_error()) };
    match seats.inspect(&license_key).await? {
        Inspected::Usable(license, occupancy) => Ok(Json(Answer {
            license_data: LicenseData::of(&license),
            status: license.status.as_str(),
            seats_used: occupancy.used,
            seats_total: occupancy.total,
        })
        .into_response()),
        Inspected::Refused(why) => Err(ApiError::refused(why)),
        Inspected::Unknown => Err(ApiError::LicenseNotFound),
    }
}
