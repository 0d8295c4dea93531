#![doc = include_str!("../README.md")]

use axum::{
    Router,
    extract::State,
    http::HeaderMap,
    response::{IntoResponse, Response},
};
use platform::{
    domain::{Account, LicenseData, LicenseKey, Permission},
    seats::Inspected,
    web::{ApiError, Checked, ClientAddress, Fields, JsonAnswer, JsonObject, ValidateParts, none_may},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

/// The function's one route.
pub fn router(parts: ValidateParts) -> Router {
    api().with_state(parts).into()
}

/// The route and its description.
#[must_use]
pub fn api() -> OpenApiRouter<ValidateParts> {
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
    security((), ("bearer" = [])),
    request_body = Request,
    responses(
        (status = 200, description = "The license may be used.", body = Answer),
        (status = 403, description = "`license_expired`, `license_suspended`, `license_revoked`, `license_not_started`, `tenant_suspended`; `forbidden`; `no_account`, `email_not_verified`, `deactivated` for the token of nobody who is served."),
        (status = 404, description = "`license_not_found`."),
    )
)]
async fn validate(
    State(parts): State<ValidateParts>,
    client: ClientAddress,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    // As which of its members a caller acts is for the license to say, which has one tenant.
    let account = parts.callers.authenticate(&headers, client).await?;
    let members = account.as_ref().map(Account::principals).transpose()?;
    let may_see = [Permission::SeeTenant, Permission::AcquireWithToken];
    if let Some((member, error)) = members.as_deref().and_then(|members| none_may(members, &may_see)) {
        return Ok(Checked(parts.seats.limiter().count_person(member).await?, error).into_response());
    }
    let mut fields = Fields::parse(&body, &["license_key"])?;
    let license_key = fields.required("license_key", LicenseKey::parse);
    let Some(license_key) = license_key else { return Err(fields.into_error()) };
    let (inspected, verdict) = parts.seats.inspect(&license_key, members.as_deref(), &client.network()).await?.passed()?;
    let answer = match inspected {
        Inspected::Usable(license, occupancy) => Ok(JsonAnswer(Answer {
            license_data: LicenseData::of(&license),
            status: license.status.as_str(),
            seats_used: occupancy.used,
            seats_total: occupancy.total,
        })
        .into_response()),
        Inspected::Refused(why) => Err(ApiError::refused(why)),
        Inspected::Unadmitted(why) => Err(why.into()),
        Inspected::Unknown => Err(ApiError::LicenseNotFound),
    };
    Ok(Checked(verdict, answer).into_response())
}
