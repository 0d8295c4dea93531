#![doc = include_str!("../README.md")]

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
    routing::post,
};
use platform::{
    domain::{Email, HardwareId, IdempotencyKey, LicenseData, LicenseKey, Nonce, SessionId, Timestamp, rfc3339_millis},
    seats::{Acquired, Applicant, Seat},
    signing::{Leaf, Lease},
    web::{ApiError, Checked, Fields, JsonObject, SignedSeats},
};
use serde::Serialize;

const REPLAYED: HeaderName = HeaderName::from_static("idempotent-replayed");

/// The function's one route.
pub fn router(parts: SignedSeats) -> Router {
    Router::new().route("/api/v1/licenses/acquire", post(acquire)).with_state(parts)
}

struct Request {
    license_key: LicenseKey,
    hardware_id: HardwareId,
    user_email: Email,
    nonce: Option<Nonce>,
}

impl Request {
    fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let mut fields = Fields::parse(body, &["license_key", "hardware_id", "user_email", "nonce"])?;
        let license_key = fields.required("license_key", LicenseKey::parse);
        let hardware_id = fields.required("hardware_id", HardwareId::parse);
        let user_email = fields.required("user_email", Email::parse);
        let nonce = fields.optional("nonce", Nonce::parse);
        let (Some(license_key), Some(hardware_id), Some(user_email)) = (license_key, hardware_id, user_email) else {
            return Err(fields.into_error());
        };
        fields.finish()?;
        Ok(Self { license_key, hardware_id, user_email, nonce })
    }
}

#[derive(Serialize)]
struct Answer<'a> {
    session_id: SessionId,
    license_data: LicenseData<'a>,
    lease: String,
    seat: u32,
    /// The seat is one of the extra ones beyond `seats_total`.
    overage: bool,
    #[serde(with = "rfc3339_millis")]
    expires_at: Timestamp,
    /// Seconds.
    heartbeat_after: u64,
    seats_used: u32,
    seats_total: u32,
}

async fn acquire(State(parts): State<SignedSeats>, headers: HeaderMap, JsonObject(body): JsonObject) -> Result<Response, ApiError> {
    let SignedSeats { seats, keys } = parts;
    let idempotency_key = idempotency_key(&headers)?;
    let request = Request::parse(&body)?;
    // Before a seat is taken: without a key there is no answer to give.
    let leaf = keys.leaf().await?;
    let applicant = Applicant::new(request.hardware_id, request.user_email, idempotency_key.clone(), &body);
    let (acquired, verdict) = seats.acquire(&request.license_key, applicant).await?.passed()?;
    let answer = match acquired {
        Acquired::Granted(seat) => {
            let answer = answer(&seat, &leaf, request.nonce.as_ref())?;
            if let Some(key) = &idempotency_key {
                seats.remember(key, &seat, &answer).await;
            }
            Ok(json(StatusCode::CREATED, answer))
        }
        Acquired::Held(seat) => Ok(json(StatusCode::OK, answer(&seat, &leaf, request.nonce.as_ref())?)),
        Acquired::Replayed(answer) => {
            let mut response = json(StatusCode::CREATED, answer);
            response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
            Ok(response)
        }
        Acquired::InFlight => Err(ApiError::RequestInFlight),
        Acquired::KeyReused => Err(ApiError::IdempotencyKeyReused),
        Acquired::Full { occupancy, next_expiry, retry_after } => Err(ApiError::NoSeats {
            seats_used: occupancy.used,
            seats_total: occupancy.total,
            next_expiry_at: Some(next_expiry),
            retry_after_secs: retry_after,
        }),
        Acquired::Refused(why) => Err(ApiError::refused(why)),
        Acquired::Unknown => Err(ApiError::LicenseNotFound),
    };
    Ok(Checked(verdict, answer).into_response())
}

fn idempotency_key(headers: &HeaderMap) -> Result<Option<IdempotencyKey>, ApiError> {
    let Some(value) = headers.get("idempotency-key") else { return Ok(None) };
    let fault = |message: &str| ApiError::invalid("Idempotency-Key", message);
    let text = value.to_str().map_err(|_| fault("must be visible ASCII"))?;
    IdempotencyKey::parse(text).map(Some).map_err(|error| fault(&error.to_string()))
}

fn answer(seat: &Seat, leaf: &Leaf, nonce: Option<&Nonce>) -> Result<Vec<u8>, ApiError> {
    let lease = Lease {
        tenant: seat.license.tenant,
        session: seat.session,
        seat: seat.number,
        hardware: &seat.hardware,
        nonce,
        at: seat.at,
        expires_at: seat.expires_at,
    };
    let answer = Answer {
        session_id: seat.session,
        license_data: LicenseData::of(&seat.license),
        lease: leaf.sign(&lease)?,
        seat: seat.number.get(),
        overage: seat.number.get() > seat.occupancy.total,
        expires_at: seat.expires_at,
        heartbeat_after: seat.heartbeat_after,
        seats_used: seat.occupancy.used,
        seats_total: seat.occupancy.total,
    };
    serde_json::to_vec(&answer).map_err(|error| ApiError::Internal(error.into()))
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    (status, [(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response()
}
