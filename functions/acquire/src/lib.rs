#![doc = include_str!("../README.md")]

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    response::{IntoResponse, Response},
};
use platform::{
    domain::{
        Account, Email, HardwareId, IdempotencyKey, LicenseData, LicenseKey, Nonce, Permission, Principal, SessionId, Timestamp,
        rfc3339_millis,
    },
    seats::{Acquired, Applicant, Seat},
    signing::{Leaf, Lease},
    web::{AcquireParts, ApiError, Authenticator, Checked, ClientAddress, Fields, JsonObject, SignedSeats, json, none_may},
};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::{router::OpenApiRouter, routes};

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The function's one route.
pub fn router(parts: AcquireParts) -> Router {
    api().with_state(parts).into()
}

/// The route and its description.
#[must_use]
pub fn api() -> OpenApiRouter<AcquireParts> {
    OpenApiRouter::new().routes(routes!(acquire))
}

/// Who wants a seat.
#[derive(ToSchema)]
#[schema(as = AcquireRequest)]
struct Request {
    #[schema(value_type = String, example = "CODI-0D15-BREP-TSB5-V76W-306E-ZF21-0DYK-J3DF")]
    license_key: LicenseKey,
    /// The device, as the program names it.
    #[schema(value_type = String, min_length = 1, max_length = 256, pattern = "^[A-Za-z0-9._:+/=@{}-]+$", example = "my-laptop")]
    hardware_id: HardwareId,
    #[schema(value_type = String, format = Email, max_length = 254, example = "ada@example.com")]
    user_email: Email,
    /// Comes again in the lease, to tell a fresh answer from a replayed one: visible ASCII.
    #[schema(value_type = Option<String>, min_length = 1, max_length = 128, pattern = "^[!-~]+$")]
    nonce: Option<Nonce>,
    /// The session that this program had before, as after a crash. If it lives, on this license and (unless a seat is a process) this
    /// device, the new session is on its seat, also when every seat is taken, and it is released. Else this is passed over.
    #[schema(value_type = Option<String>, example = "ses_p3e9rj36jx0ab04ynd6vc32qg6nc5x5hf1yzdfx4mj44xmk8ktn0")]
    replaces: Option<SessionId>,
}

impl Request {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body, &["license_key", "hardware_id", "user_email", "nonce", "replaces"])?;
        let license_key = fields.required("license_key", LicenseKey::parse);
        let hardware_id = fields.required("hardware_id", HardwareId::parse);
        let user_email = fields.required("user_email", Email::parse_pasted);
        let nonce = fields.optional("nonce", Nonce::parse);
        let replaces = fields.optional("replaces", str::parse::<SessionId>);
        let (Some(license_key), Some(hardware_id), Some(user_email)) = (license_key, hardware_id, user_email) else {
            return Err(fields.into_error());
        };
        fields.finish()?;
        Ok(Self { license_key, hardware_id, user_email, nonce, replaces })
    }
}

/// A seat.
#[derive(Serialize, ToSchema)]
#[schema(as = Seat)]
struct Answer<'a> {
    /// Names the session, and is a secret: whoever has it may renew and release the session.
    #[schema(value_type = String, example = "ses_p3e9rj36jx0ab04ynd6vc32qg6nc5x5hf1yzdfx4mj44xmk8ktn0")]
    session_id: SessionId,
    license_data: LicenseData<'a>,
    /// A compact JWS that proves the seat offline until `expires_at`.
    lease: String,
    /// A compact JWS by the root that vouches for the key of the lease: with the root, all that verifies it.
    certificate: &'a str,
    /// The number of the seat, from 1.
    seat: u32,
    /// The seat is one of the extra ones beyond `seats_total`.
    overage: bool,
    /// When the seat is lost if no heartbeat comes.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    expires_at: Timestamp,
    /// Seconds after which to send the next heartbeat.
    heartbeat_after: u64,
    seats_used: u32,
    seats_total: u32,
}

/// Takes a seat, or shares the one that this device has
#[utoipa::path(
    post,
    path = "/api/v1/licenses/acquire",
    operation_id = "acquire",
    tag = "seats",
    params(("Idempotency-Key" = Option<String>, Header, description = "With it the request can be repeated safely: the same answer comes again while its session lives.", max_length = 255)),
    security((), ("bearer" = [])),
    request_body = Request,
    responses(
        (status = 201, description = "A seat was taken. `idempotent-replayed: true` marks an answer that was given before.", body = Answer),
        (status = 200, description = "This device has a seat already: another session on it. The seat is free when the last of its sessions has ended. `idempotent-replayed` as above.", body = Answer),
        (status = 402, description = "`no_seats_available`: with `seats_used`, `seats_total` and `next_expiry_at`."),
        (status = 403, description = "`license_expired`, `license_suspended`, `license_revoked`, `license_not_started`, `tenant_suspended`; `forbidden` for a guest's or a staff member's token; `no_account`, `email_not_verified`, `deactivated` for one of nobody who is served."),
        (status = 404, description = "`license_not_found`."),
        (status = 409, description = "`request_in_flight`: the same request is being worked on."),
        (status = 422, description = "`idempotency_key_reused`: the key has served for another request."),
    )
)]
async fn acquire(
    State(parts): State<AcquireParts>,
    client: ClientAddress,
    headers: HeaderMap,
    JsonObject(body): JsonObject,
) -> Result<Response, ApiError> {
    let AcquireParts { signed: SignedSeats { seats, keys }, callers } = parts;
    // As which of its members a caller acts is for the license to say, which has one tenant.
    let account = callers.authenticate(&headers, client).await?;
    let members = account.as_ref().map(Account::principals).transpose()?;
    if let Some((member, error)) = members.as_deref().and_then(|members| none_may(members, &[Permission::AcquireWithToken])) {
        return Ok(Checked(seats.limiter().count_person(member).await?, error).into_response());
    }
    let idempotency_key = idempotency_key(&headers)?;
    let request = Request::parse(&body)?;
    // Before a seat is taken: without a key there is no answer to give.
    let leaf = keys.leaf().await?;
    let known = members.clone().unwrap_or_default();
    let applicant = Applicant::new(request.hardware_id, request.user_email, idempotency_key.clone(), &body)
        .known_as(members)
        .from_network(client.network())
        .replacing(request.replaces);
    let (acquired, verdict) = seats.acquire(&request.license_key, applicant).await?.passed()?;
    if let Acquired::Granted(seat) | Acquired::Shared(seat) = &acquired
        && let Err(error) = confirm(&callers, seat, &known).await
    {
        seats.release(seat.session).await?;
        return Ok(Checked(verdict, error).into_response());
    }
    let answer = match acquired {
        Acquired::Granted(seat) | Acquired::Shared(seat) => {
            let answer = answer(&seat, &leaf, request.nonce.as_ref())?;
            if let Some(key) = &idempotency_key {
                seats.remember(key, &seat, &answer).await;
            }
            Ok(json(status(seat.is_shared), answer))
        }
        Acquired::Replayed { answer, is_shared } => {
            let mut response = json(status(is_shared), answer);
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Acquired::Crowded { retry_after } => Err(ApiError::TooManySessions { retry_after_secs: retry_after }),
        Acquired::InFlight => Err(ApiError::RequestInFlight),
        Acquired::KeyReused => Err(ApiError::IdempotencyKeyReused),
        Acquired::Full { occupancy, next_expiry, retry_after } => Err(ApiError::NoSeats {
            seats_used: occupancy.used,
            seats_total: occupancy.total,
            next_expiry_at: Some(next_expiry),
            retry_after_secs: retry_after,
        }),
        Acquired::Refused(why) => Err(ApiError::refused(why)),
        Acquired::Unadmitted(why) => Err(why.into()),
        Acquired::Unknown => Err(ApiError::LicenseNotFound),
    };
    Ok(Checked(verdict, answer).into_response())
}

/// Whether who was just given a seat may have it: where a license requires a token, nobody keeps a seat by what this process knew of them
/// before they were deactivated. After the grant, because a deactivation ends every session that was granted before it.
async fn confirm(callers: &Authenticator, seat: &Seat, known: &[Principal]) -> Result<(), ApiError> {
    let holder = known.iter().find(|member| seat.license.requires_token && member.tenant == Some(seat.license.tenant));
    let Some(holder) = holder else { return Ok(()) };
    callers.confirm(holder, Permission::AcquireWithToken).await
}

const fn status(is_shared: bool) -> StatusCode {
    if is_shared { StatusCode::OK } else { StatusCode::CREATED }
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let fault = |message: &str| ApiError::invalid("Idempotency-Key", message);
    let text = value.to_str().map_err(|_| fault("must be visible ASCII"))?;
    IdempotencyKey::parse(text).map(Some).map_err(|error| fault(&error.to_string()))
}

fn answer(seat: &Seat, leaf: &Leaf, nonce: Option<&Nonce>) -> Result<Vec<u8>, ApiError> {
    let license_data = LicenseData::of(&seat.license);
    let lease = Lease {
        tenant: seat.license.tenant,
        session: seat.session,
        seat: seat.number,
        hardware: &seat.hardware,
        nonce,
        at: seat.at,
        expires_at: seat.expires_at,
        license_version: license_data.version(),
    };
    let answer = Answer {
        session_id: seat.session,
        license_data,
        lease: leaf.sign(&lease)?,
        certificate: leaf.certificate(),
        seat: seat.number.get(),
        overage: seat.number.get() > seat.occupancy.total,
        expires_at: seat.expires_at,
        heartbeat_after: seat.heartbeat_after,
        seats_used: seat.occupancy.used,
        seats_total: seat.occupancy.total,
    };
    serde_json::to_vec(&answer).map_err(|error| ApiError::Internal(error.into()))
}
