//! What can go wrong, told so that a program can act on it.

use std::time::{Duration, SystemTime};

use serde::Deserialize;

use crate::{ClockTurnedBack, Ending, MemoryError, Refusal, Rejected, rfc3339};

/// Why there is no seat. [`code`](Self::code) is a stable name for each.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// Every seat is taken. Try again after `retry_after`, or show who could leave.
    #[error("every seat is taken: {seats_used} of {seats_total}{}", when(*next_expiry_at, *retry_after))]
    NoSeats {
        /// Seats in use.
        seats_used: u32,
        /// Seats bought.
        seats_total: u32,
        /// When the earliest may fall free.
        next_expiry_at: Option<SystemTime>,
        /// How long to wait before it is worth asking again.
        retry_after: Option<Duration>,
    },
    /// The license has run out: it must be renewed.
    #[error("the license has run out")]
    Expired,
    /// The license is suspended.
    #[error("the license is suspended")]
    Suspended,
    /// The license is revoked for good.
    #[error("the license is revoked")]
    Revoked,
    /// The license has not begun yet.
    #[error("the license has not begun yet")]
    NotStarted,
    /// The organization that owns the license is suspended.
    #[error("the organization that owns the license is suspended")]
    TenantSuspended,
    /// This device may not take a seat for now.
    #[error("this device is blocked from the license")]
    Blocked,
    /// There is no such license key: it was mistyped, or exchanged for another.
    #[error("there is no such license key")]
    UnknownKey,
    /// The platform refuses what was sent: a mistyped key, hardware id or email.
    #[error("what was sent is not as it must be: {}", told(fields))]
    InvalidRequest {
        /// Every field that is wrong.
        fields: Vec<FieldFault>,
    },
    /// The session that was to be carried on is over. Acquire again.
    #[error("{0}")]
    SessionEnded(Ending),
    /// No useful answer came, but the last lease still proves a seat on this machine: go on, and try again before it ends.
    #[error("{why}; but the last lease holds until {}", rfc3339(*until))]
    OfflineButValid {
        /// Until when the last lease holds.
        until: SystemTime,
        /// What stood in the way.
        why: String,
    },
    /// No useful answer came within the client's patience: no network, a server that is down, or one that asks for fewer requests.
    #[error("{why}")]
    Unreachable {
        /// What stood in the way at last.
        why: String,
        /// The HTTP status, if the platform, or a proxy before it, was reached: 429 for too many requests.
        status: Option<u16>,
        /// How long the platform asks to be left alone, if it said so.
        retry_after: Option<Duration>,
    },
    /// What came back does not stem from the platform whose root is pinned, or is an old answer.
    #[error("the answer is not to be trusted: {0}")]
    Forged(#[from] Rejected),
    /// The lease is genuine, but this machine's clock is so wrong that the lease cannot be judged by it.
    #[error("this machine's clock is {} s {}: set it right", by.as_secs(), if *ahead { "ahead" } else { "behind" })]
    WrongClock {
        /// By how much.
        by: Duration,
        /// Whether it shows a later time than the platform's.
        ahead: bool,
    },
    /// The clock shows an earlier time than was seen before, so that nothing can be proven offline.
    #[error(transparent)]
    ClockTurnedBack(#[from] ClockTurnedBack),
    /// Nothing is kept on this machine by which a seat could be proven offline.
    #[error("nothing is kept here that proves a seat without the platform")]
    NothingKept,
    /// The lease that is kept on this machine has ended: only the platform can give a new one.
    #[error("the lease that is kept here ended at {}", rfc3339(*at))]
    LeaseEnded {
        /// When.
        at: SystemTime,
    },
    /// An answer that the contract does not foresee.
    #[error("the platform answers {status}{}", code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default())]
    Server {
        /// The HTTP status.
        status: u16,
        /// The code of the problem document, if there was one.
        code: Option<String>,
        /// The request's id, for the platform's support.
        request_id: Option<String>,
    },
    /// The client was built wrong.
    #[error("{0}")]
    Settings(String),
    /// The state file cannot be read or written.
    #[error(transparent)]
    State(#[from] MemoryError),
}

impl Error {
    /// A stable name for it, in snake case.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoSeats { .. } => "no_seats_available",
            Self::Expired => "license_expired",
            Self::Suspended => "license_suspended",
            Self::Revoked => "license_revoked",
            Self::NotStarted => "license_not_started",
            Self::TenantSuspended => "tenant_suspended",
            Self::Blocked => "hardware_blocked",
            Self::UnknownKey => "license_not_found",
            Self::InvalidRequest { .. } => "invalid_request",
            Self::SessionEnded(ending) => ending.code(),
            Self::OfflineButValid { .. } => "offline_but_valid",
            Self::Unreachable { status: None, .. } => "unreachable",
            Self::Unreachable { status: Some(429), .. } => "too_many_requests",
            Self::Unreachable { status: Some(_), .. } => "unavailable",
            Self::Forged(_) => "forged",
            Self::WrongClock { .. } => "wrong_clock",
            Self::ClockTurnedBack(_) => "clock_turned_back",
            Self::NothingKept => "nothing_kept",
            Self::LeaseEnded { .. } => "lease_ended",
            Self::Server { .. } => "server_error",
            Self::Settings(_) => "settings",
            Self::State(_) => "state",
        }
    }

    /// What to say to somebody who has no seat yet.
    pub(crate) fn refused(why: Refusal) -> Self {
        match why {
            Refusal::Expired => Self::Expired,
            Refusal::Suspended => Self::Suspended,
            Refusal::Revoked => Self::Revoked,
            Refusal::NotStarted => Self::NotStarted,
            Refusal::TenantSuspended => Self::TenantSuspended,
            Refusal::Blocked => Self::Blocked,
            Refusal::Other(code) => Self::Server { status: 403, code: Some(code), request_id: None },
        }
    }
}

/// One thing that is wrong with a request.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
pub struct FieldFault {
    /// The field, or header, as the contract names it.
    pub field: String,
    /// What is wanted of it.
    pub message: String,
}

/// When it is worth asking again.
fn when(next_expiry_at: Option<SystemTime>, retry_after: Option<Duration>) -> String {
    let expiry = next_expiry_at.map(|at| format!("; the next falls free by {}", rfc3339(at)));
    let pause = retry_after.map(|pause| format!("; try again in {} s", pause.as_secs()));
    expiry.into_iter().chain(pause).collect()
}

fn told(fields: &[FieldFault]) -> String {
    let told: Vec<String> = fields.iter().map(|fault| format!("{} {}", fault.field, fault.message)).collect();
    if told.is_empty() { "it does not say why".to_owned() } else { told.join("; ") }
}
