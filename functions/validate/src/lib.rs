#![doc = include_str!("../README.md")]

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Json, Response},
    routing::post,
};
use platform::{
    domain::{LicenseData, LicenseKey, Permission},
    seats::Inspected,
    web::{ApiError, Fields, JsonObject, ValidateParts},
};
use serde::Serialize;

/// The function's one route.
pub fn router(parts: ValidateParts) -> Router {
    Router::new().route("/api/v1/licenses/validate", post(validate)).with_state(parts)
}

#[derive(Serialize)]
struct Answer<'a> {
    license_data: LicenseData<'a>,
    status: &'static str,
    seats_used: u32,
    seats_total: u32,
}

async fn validate(State(parts): State<ValidateParts>, headers: HeaderMap, JsonObject(body): JsonObject) -> Result<Response, ApiError> {
    let caller = parts.callers.authenticate(&headers).await?;
    let may_see = [Permission::SeeTenant, Permission::AcquireWithToken];
    if caller.as_ref().is_some_and(|caller| !may_see.iter().any(|permission| caller.may(*permission))) {
        return Err(ApiError::Forbidden);
    }
    let mut fields = Fields::parse(&body, &["license_key"])?;
    let license_key = fields.required("license_key", LicenseKey::parse);
    let Some(license_key) = license_key else { return Err(fields.into_error()) };
    match parts.seats.inspect(&license_key, caller.as_ref()).await? {
        Inspected::Usable(license, occupancy) => Ok(Json(Answer {
            license_data: LicenseData::of(&license),
            status: license.status.as_str(),
            seats_used: occupancy.used,
            seats_total: occupancy.total,
        })
        .into_response()),
        Inspected::Refused(why) => Err(ApiError::refused(why)),
        Inspected::Unadmitted(why) => Err(why.into()),
        Inspected::Unknown => Err(ApiError::LicenseNotFound),
    }
}
