#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    response::{IntoResponse, Json, Response},
    routing::post,
};
use platform::{
    domain::{LicenseData, LicenseKey},
    seats::{Engine, Inspected},
    web::{ApiError, Checked, ClientAddress, Fields, JsonObject},
};
use serde::Serialize;

/// The function's one route.
pub fn router(seats: Arc<Engine>) -> Router {
    Router::new().route("/api/v1/licenses/validate", post(validate)).with_state(seats)
}

#[derive(Serialize)]
struct Answer<'a> {
    license_data: LicenseData<'a>,
    status: &'static str,
    seats_used: u32,
    seats_total: u32,
}

async fn validate(State(seats): State<Arc<Engine>>, client: ClientAddress, JsonObject(body): JsonObject) -> Result<Response, ApiError> {
    let mut fields = Fields::parse(&body, &["license_key"])?;
    let license_key = fields.required("license_key", LicenseKey::parse);
    let Some(license_key) = license_key else { return Err(fields.into_error()) };
    let (inspected, verdict) = seats.inspect(&license_key, &client.network()).await?.passed()?;
    let answer = match inspected {
        Inspected::Usable(license, occupancy) => Ok(Json(Answer {
            license_data: LicenseData::of(&license),
            status: license.status.as_str(),
            seats_used: occupancy.used,
            seats_total: occupancy.total,
        })
        .into_response()),
        Inspected::Refused(why) => Err(ApiError::refused(why)),
        Inspected::Unknown => Err(ApiError::LicenseNotFound),
    };
    Ok(Checked(verdict, answer).into_response())
}
