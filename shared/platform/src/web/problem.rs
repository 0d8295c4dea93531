//! Errors on the wire: RFC 9457 problem documents, from one table.

mod causes;
mod denial;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, error::Error, sync::Arc};

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE},
    },
    response::{IntoResponse, Response},
};
use serde::Serialize;
use serde_json::{Map, Value, json};

use crate::domain::{Allowance, EndReason, Permission, Refusal, TenantChoice, Timestamp, rfc3339};

use super::{Conflict, limits};
pub use denial::{Denial, none_may};

type Cause = Box<dyn Error + Send + Sync>;

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct FieldFault {
    /// The field, parameter or header, as the contract names it; an unknown one as it was sent.
    pub field: Cow<'static, str>,
    /// What is wanted of it; never repeats what was sent.
    pub message: String,
}

/// Every error that an answer can carry.
#[derive(Debug)]
pub enum ApiError {
    /// Fields are missing or malformed: all of them are named.
    Invalid(Vec<FieldFault>),
    /// The body is no JSON object.
    MalformedBody(String),
    /// Staff have not named the tenant that the call is about.
    TenantRequired,
    /// No bearer token was sent.
    Unauthenticated,
    /// A token that is not good: whatever is wrong with it looks the same.
    InvalidToken,
    /// Every seat is taken.
    NoSeats {
        /// Seats in use.
        seats_used: u32,
        /// Seats bought.
        seats_total: u32,
        /// When the earliest may fall free.
        next_expiry_at: Option<Timestamp>,
        /// Seconds until then.
        retry_after_secs: u64,
    },
    /// So many sessions share the seat of the device that it takes no further one.
    TooManySessions {
        /// Seconds until the first of them may have expired.
        retry_after_secs: u64,
    },
    /// The credential is good, and does not allow this.
    Forbidden,
    /// The personal access token lacks the scope for this; its owner may do it.
    InsufficientScope(Permission),
    /// The credential is good, and stands for nobody who is served.
    NotAdmitted(Denial),
    /// The caller is a member of several tenants, and has named none.
    TenantChoiceRequired(Vec<TenantChoice>),
    /// The license may not be used.
    Refused {
        /// Why.
        refusal: Refusal,
        /// When a client that has a seat must stop.
        stop_by: Option<Timestamp>,
    },
    /// Unknown license key.
    LicenseNotFound,
    /// There never was such a session.
    SessionNotFound,
    /// The session is over.
    SessionEnded(EndReason),
    /// No such path.
    NotFound,
    /// The path does not know the method.
    MethodNotAllowed,
    /// The same request is being worked on.
    RequestInFlight,
    /// What is asked for does not go with how things stand.
    Conflict(Conflict),
    /// What was read has changed since.
    StaleVersion,
    /// A change does not say which version it is a change of.
    VersionRequired,
    /// The body is too large.
    PayloadTooLarge,
    /// The body is not said to be JSON.
    UnsupportedMediaType,
    /// The body is compressed, or coded in another way.
    UnsupportedContentEncoding,
    /// The idempotency key has served for another request.
    IdempotencyKeyReused,
    /// The caller has asked too often.
    TooManyRequests(Allowance),
    /// A server that this one needs does not answer.
    Unavailable(Cause),
    /// What `/ready/` found to be down.
    NotReady(Vec<&'static str>),
    /// The request took too long.
    Timeout,
    /// A fault of ours.
    Internal(Cause),
}

/// What an error shows: its status, its stable code, its title.
type Face = (StatusCode, &'static str, &'static str);

impl ApiError {
    /// One fault of one field.
    #[must_use]
    pub fn invalid(field: &'static str, message: &str) -> Self {
        Self::Invalid(vec![FieldFault { field: field.into(), message: message.to_owned() }])
    }

    /// A refusal to somebody who has no seat.
    #[must_use]
    pub const fn refused(refusal: Refusal) -> Self {
        Self::Refused { refusal, stop_by: None }
    }

    /// Whether the request has shown no good credential: none, none that can be read, or a worthless one.
    pub(super) const fn lacks_credential(&self) -> bool {
        let is_worthless = matches!(self, Self::Unauthenticated | Self::InvalidToken | Self::LicenseNotFound | Self::SessionNotFound)
            || matches!(self, Self::NotAdmitted(_));
        let is_unread = matches!(self, Self::Invalid(_) | Self::MalformedBody(_) | Self::PayloadTooLarge)
            || matches!(self, Self::UnsupportedMediaType | Self::UnsupportedContentEncoding);
        is_worthless || is_unread || matches!(self, Self::NotFound | Self::MethodNotAllowed)
    }

    /// The table of the contract.
    const fn face(&self) -> Face {
        match self {
            Self::Invalid(_) => (StatusCode::BAD_REQUEST, "invalid_request", "The request is invalid"),
            Self::MalformedBody(_) => (StatusCode::BAD_REQUEST, "malformed_body", "The body is not a JSON object"),
            Self::TenantRequired => (StatusCode::BAD_REQUEST, "tenant_required", "The tenant must be named"),
            Self::Unauthenticated | Self::InvalidToken => (StatusCode::UNAUTHORIZED, "unauthenticated", "A good bearer token is wanted"),
            Self::NoSeats { .. } => (StatusCode::PAYMENT_REQUIRED, "no_seats_available", "Every seat is taken"),
            Self::TooManySessions { .. } => {
                (StatusCode::TOO_MANY_REQUESTS, "too_many_sessions", "Too many sessions share the seat of this device")
            }
            Self::Forbidden | Self::InsufficientScope(_) => (StatusCode::FORBIDDEN, "forbidden", "You may not do this"),
            Self::NotAdmitted(denial) => {
                let (code, title, _) = denial.face();
                (StatusCode::FORBIDDEN, code, title)
            }
            Self::TenantChoiceRequired(_) => (StatusCode::CONFLICT, "tenant_choice_required", "You are a member of several organizations"),
            Self::Refused { refusal, .. } => (StatusCode::FORBIDDEN, refusal.code(), "The license may not be used"),
            Self::LicenseNotFound => (StatusCode::NOT_FOUND, "license_not_found", "There is no such license key"),
            Self::SessionNotFound => (StatusCode::NOT_FOUND, "session_not_found", "There is no such session"),
            Self::SessionEnded(EndReason::Expired) => (StatusCode::GONE, "session_expired", "The session has expired"),
            Self::SessionEnded(EndReason::Released) => (StatusCode::GONE, "session_released", "The session was released"),
            Self::SessionEnded(EndReason::Revoked) => (StatusCode::GONE, "session_revoked", "The session was revoked"),
            Self::NotFound => (StatusCode::NOT_FOUND, "not_found", "There is nothing here"),
            Self::MethodNotAllowed => (StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", "The method is not allowed here"),
            Self::RequestInFlight => (StatusCode::CONFLICT, "request_in_flight", "The same request is being worked on"),
            Self::Conflict(conflict) => (StatusCode::CONFLICT, conflict.as_str(), conflict.title()),
            Self::StaleVersion => (StatusCode::PRECONDITION_FAILED, "stale_version", "It has changed since it was read"),
            Self::VersionRequired => (StatusCode::PRECONDITION_REQUIRED, "version_required", "The version that was read must be named"),
            Self::PayloadTooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "payload_too_large", "The body is too large"),
            Self::UnsupportedMediaType => (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", "The body must be JSON"),
            Self::UnsupportedContentEncoding => {
                (StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_content_encoding", "The body must not be compressed")
            }
            Self::IdempotencyKeyReused => {
                (StatusCode::UNPROCESSABLE_ENTITY, "idempotency_key_reused", "The idempotency key has served for another request")
            }
            Self::TooManyRequests(_) => (StatusCode::TOO_MANY_REQUESTS, "too_many_requests", "The caller asks too often"),
            Self::Unavailable(_) => (StatusCode::SERVICE_UNAVAILABLE, "service_unavailable", "Try again in a moment"),
            Self::NotReady(_) => (StatusCode::SERVICE_UNAVAILABLE, "not_ready", "A server that this function needs is down"),
            Self::Timeout => (StatusCode::SERVICE_UNAVAILABLE, "deadline_exceeded", "The request took too long"),
            Self::Internal(_) => (StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "Something went wrong on our side"),
        }
    }

    fn detail(&self) -> String {
        match self {
            Self::Invalid(faults) => {
                let fields: Vec<&str> = faults.iter().map(|fault| &*fault.field).collect();
                format!("Wrong, missing or unknown: {}.", fields.join(", "))
            }
            Self::MalformedBody(why) => why.clone(),
            Self::TenantRequired => "Staff see and change one tenant at a time: name it in x-tenant-id.".to_owned(),
            Self::Unauthenticated | Self::InvalidToken => "Send authorization: Bearer with a token that is in force.".to_owned(),
            Self::Forbidden => "The token is good, and what it stands for may not do this.".to_owned(),
            Self::InsufficientScope(permission) => {
                format!("The token lacks the scope {}. Make a token that has it.", permission.as_str())
            }
            Self::NotAdmitted(denial) => denial.face().2.to_owned(),
            Self::TenantChoiceRequired(_) => "Name one of `tenants` in the header x-tenant-id.".to_owned(),
            Self::NoSeats { seats_used, seats_total, .. } => format!("{seats_used} seats are in use; the license has {seats_total}."),
            Self::TooManySessions { .. } => "Release sessions of this device, or wait until some have expired.".to_owned(),
            Self::Refused { stop_by: Some(stop_by), .. } => format!("Stop by {}.", rfc3339(*stop_by)),
            Self::Refused { refusal, stop_by: None } => match refusal {
                Refusal::NotStarted => "The license has not begun yet.".to_owned(),
                Refusal::Expired => "The license has run out.".to_owned(),
                Refusal::Suspended => "The license is suspended.".to_owned(),
                Refusal::Revoked => "The license is revoked for good. Ask the vendor for another license.".to_owned(),
                Refusal::TenantSuspended => "The organization that owns the license is suspended.".to_owned(),
                Refusal::HardwareBlocked => "An administrator has blocked this device for now.".to_owned(),
            },
            Self::SessionEnded(_) => "It does not come back: acquire a seat again.".to_owned(),
            Self::RequestInFlight => "Ask again in a moment for its answer.".to_owned(),
            Self::StaleVersion => "Read it again, and send If-Match with its new ETag.".to_owned(),
            Self::VersionRequired => "Send If-Match with the ETag of what was read.".to_owned(),
            Self::PayloadTooLarge => format!("At most {} bytes are read.", super::body::MOST),
            Self::UnsupportedMediaType => "Send content-type: application/json, in UTF-8.".to_owned(),
            Self::UnsupportedContentEncoding => "Send the body as it is, without content-encoding.".to_owned(),
            Self::IdempotencyKeyReused => "Use a new key for a new request.".to_owned(),
            Self::TooManyRequests(allowance) => {
                format!("{} requests an hour may be made; wait {} s for the next.", allowance.limit().per_hour(), allowance.next_after())
            }
            Self::NotReady(down) => format!("Down: {}.", down.join(", ")),
            Self::Unavailable(_) => "Nothing is wrong with the request: send it again after retry-after.".to_owned(),
            Self::Timeout => {
                "The request was not finished in time: its body was too slow to come, or the service is. Send it again after retry-after."
                    .to_owned()
            }
            Self::LicenseNotFound
            | Self::SessionNotFound
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict(_)
            | Self::Internal(_) => self.face().2.to_owned() + ".",
        }
    }

    fn retry_after(&self) -> Option<u64> {
        match self {
            Self::NoSeats { retry_after_secs, .. } | Self::TooManySessions { retry_after_secs } => Some(*retry_after_secs),
            Self::TooManyRequests(allowance) => Some(allowance.next_after().max(1)),
            Self::Unavailable(_) | Self::NotReady(_) | Self::Timeout | Self::RequestInFlight => Some(1),
            Self::Invalid(_)
            | Self::MalformedBody(_)
            | Self::TenantRequired
            | Self::Unauthenticated
            | Self::InvalidToken
            | Self::Forbidden
            | Self::InsufficientScope(_)
            | Self::NotAdmitted(_)
            | Self::TenantChoiceRequired(_)
            | Self::Refused { .. }
            | Self::LicenseNotFound
            | Self::SessionNotFound
            | Self::SessionEnded(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::Conflict(_)
            | Self::StaleVersion
            | Self::VersionRequired
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::UnsupportedContentEncoding
            | Self::IdempotencyKeyReused
            | Self::Internal(_) => None,
        }
    }

    fn extend(&self, document: &mut Map<String, Value>) {
        match self {
            Self::Invalid(faults) => {
                document.insert("errors".to_owned(), json!(faults));
            }
            Self::TenantRequired => {
                document.insert("errors".to_owned(), json!([{ "field": "x-tenant-id", "message": "is missing" }]));
            }
            Self::NoSeats { seats_used, seats_total, next_expiry_at, .. } => {
                document.insert("seats_used".to_owned(), json!(seats_used));
                document.insert("seats_total".to_owned(), json!(seats_total));
                document.insert("next_expiry_at".to_owned(), json!(next_expiry_at.map(rfc3339)));
            }
            Self::Refused { stop_by: Some(stop_by), .. } => {
                document.insert("stop_by".to_owned(), json!(rfc3339(*stop_by)));
            }
            Self::NotReady(down) => {
                document.insert("down".to_owned(), json!(down));
            }
            Self::TenantChoiceRequired(tenants) => {
                document.insert("tenants".to_owned(), json!(tenants));
            }
            Self::Refused { stop_by: None, .. }
            | Self::MalformedBody(_)
            | Self::Unauthenticated
            | Self::InvalidToken
            | Self::TooManySessions { .. }
            | Self::Forbidden
            | Self::InsufficientScope(_)
            | Self::NotAdmitted(_)
            | Self::LicenseNotFound
            | Self::SessionNotFound
            | Self::SessionEnded(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::RequestInFlight
            | Self::Conflict(_)
            | Self::StaleVersion
            | Self::VersionRequired
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::UnsupportedContentEncoding
            | Self::IdempotencyKeyReused
            | Self::TooManyRequests(_)
            | Self::Unavailable(_)
            | Self::Timeout
            | Self::Internal(_) => {}
        }
    }

    /// Tells the log, once, what the client is not told.
    fn log(&self, request_id: &str) {
        let (status, code, _) = self.face();
        match self {
            Self::Internal(cause) => tracing::error!(request_id, error = %cause, "internal error"),
            Self::Unavailable(cause) => tracing::warn!(request_id, error = %cause, "unavailable"),
            Self::NotReady(down) => tracing::warn!(request_id, ?down, "not ready"),
            Self::Timeout => tracing::warn!(request_id, "a request took too long"),
            Self::Invalid(_)
            | Self::MalformedBody(_)
            | Self::TenantRequired
            | Self::Unauthenticated
            | Self::InvalidToken
            | Self::Forbidden
            | Self::InsufficientScope(_)
            | Self::NotAdmitted(_)
            | Self::TenantChoiceRequired(_)
            | Self::NoSeats { .. }
            | Self::TooManySessions { .. }
            | Self::Refused { .. }
            | Self::LicenseNotFound
            | Self::SessionNotFound
            | Self::SessionEnded(_)
            | Self::NotFound
            | Self::MethodNotAllowed
            | Self::RequestInFlight
            | Self::Conflict(_)
            | Self::StaleVersion
            | Self::VersionRequired
            | Self::PayloadTooLarge
            | Self::UnsupportedMediaType
            | Self::UnsupportedContentEncoding
            | Self::IdempotencyKeyReused
            | Self::TooManyRequests(_) => tracing::debug!(request_id, status = status.as_u16(), code, "refused"),
        }
    }

    /// The whole answer. Causes go to the log, here and nowhere else, and never to the client.
    pub(super) fn render(&self, request_id: &str) -> Response {
        let (status, code, title) = self.face();
        self.log(request_id);
        let mut document = Map::new();
        document.insert("type".to_owned(), json!(format!("urn:coditect:problem:{code}")));
        document.insert("title".to_owned(), json!(title));
        document.insert("status".to_owned(), json!(status.as_u16()));
        document.insert("detail".to_owned(), json!(self.detail()));
        document.insert("code".to_owned(), json!(code));
        document.insert("request_id".to_owned(), json!(request_id));
        self.extend(&mut document);
        let body = Value::Object(document).to_string();
        let mut response = (status, [(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"))], body).into_response();
        if let Some(seconds) = self.retry_after() {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        if matches!(self, Self::UnsupportedContentEncoding) {
            response.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(challenge) = self.challenge() {
            response.headers_mut().insert(WWW_AUTHENTICATE, challenge);
        }
        if let Self::TooManyRequests(allowance) = self {
            limits::tell(response.headers_mut(), *allowance);
        }
        response
    }
}

/// The error rides to the edge, which knows the request's id and renders it.
#[derive(Clone, Debug)]
pub(super) struct Raised(pub(super) Arc<ApiError>);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = self.face().0.into_response();
        response.extensions_mut().insert(Raised(Arc::new(self)));
        response
    }
}
