use super::*;
use crate::domain::{Limit, LimitKind};

#[test]
fn every_code_of_the_contract_has_its_status() {
    let cause = || Cause::from("cause");
    let full = ApiError::NoSeats { seats_used: 1, seats_total: 1, next_expiry_at: None, retry_after_secs: 1 };
    let limit = Limit::new(LimitKind::Anonymous, 100);
    let spent = limit.allowance(limit.tolerance() + limit.interval());
    let table = [
        (ApiError::Invalid(vec![]), 400, "invalid_request"),
        (ApiError::MalformedBody(String::new()), 400, "malformed_body"),
        (ApiError::TenantRequired, 400, "tenant_required"),
        (ApiError::Unauthenticated, 401, "unauthenticated"),
        (ApiError::InvalidToken, 401, "unauthenticated"),
        (full, 402, "no_seats_available"),
        (ApiError::Forbidden, 403, "forbidden"),
        (ApiError::InsufficientScope(Permission::SeeTenant), 403, "forbidden"),
        (ApiError::NotAdmitted(Denial::NoAccount), 403, "no_account"),
        (ApiError::NotAdmitted(Denial::EmailNotVerified), 403, "email_not_verified"),
        (ApiError::NotAdmitted(Denial::TenantSuspended), 403, "tenant_suspended"),
        (ApiError::NotAdmitted(Denial::Deactivated), 403, "deactivated"),
        (ApiError::refused(Refusal::Expired), 403, "license_expired"),
        (ApiError::refused(Refusal::Suspended), 403, "license_suspended"),
        (ApiError::refused(Refusal::Revoked), 403, "license_revoked"),
        (ApiError::refused(Refusal::NotStarted), 403, "license_not_started"),
        (ApiError::refused(Refusal::TenantSuspended), 403, "tenant_suspended"),
        (ApiError::refused(Refusal::HardwareBlocked), 403, "hardware_blocked"),
        (ApiError::LicenseNotFound, 404, "license_not_found"),
        (ApiError::SessionNotFound, 404, "session_not_found"),
        (ApiError::NotFound, 404, "not_found"),
        (ApiError::MethodNotAllowed, 405, "method_not_allowed"),
        (ApiError::RequestInFlight, 409, "request_in_flight"),
        (ApiError::Conflict(Conflict::LastOwner), 409, "last_owner"),
        (ApiError::Conflict(Conflict::EmailTaken), 409, "email_taken"),
        (ApiError::Conflict(Conflict::LicenseRevoked), 409, "license_revoked"),
        (ApiError::Conflict(Conflict::SeatLimit), 409, "seat_limit"),
        (ApiError::Conflict(Conflict::TenantClosed), 409, "tenant_closed"),
        (ApiError::Conflict(Conflict::UserDeactivated), 409, "user_deactivated"),
        (ApiError::Conflict(Conflict::AlreadyMember), 409, "already_member"),
        (ApiError::TenantChoiceRequired(vec![]), 409, "tenant_choice_required"),
        (ApiError::SessionEnded(EndReason::Expired), 410, "session_expired"),
        (ApiError::SessionEnded(EndReason::Released), 410, "session_released"),
        (ApiError::SessionEnded(EndReason::Revoked), 410, "session_revoked"),
        (ApiError::StaleVersion, 412, "stale_version"),
        (ApiError::PayloadTooLarge, 413, "payload_too_large"),
        (ApiError::UnsupportedMediaType, 415, "unsupported_media_type"),
        (ApiError::UnsupportedContentEncoding, 415, "unsupported_content_encoding"),
        (ApiError::IdempotencyKeyReused, 422, "idempotency_key_reused"),
        (ApiError::VersionRequired, 428, "version_required"),
        (ApiError::TooManySessions { retry_after_secs: 7 }, 429, "too_many_sessions"),
        (ApiError::TooManyRequests(spent), 429, "too_many_requests"),
        (ApiError::Internal(cause()), 500, "internal_error"),
        (ApiError::Unavailable(cause()), 503, "service_unavailable"),
        (ApiError::NotReady(vec![]), 503, "not_ready"),
        (ApiError::Timeout, 503, "deadline_exceeded"),
    ];
    for (error, status, code) in table {
        assert_eq!((error.face().0.as_u16(), error.face().1), (status, code));
        assert_eq!(status == 503, error.retry_after() == Some(1) && status != 409 && status != 402, "{code}");
    }
}
