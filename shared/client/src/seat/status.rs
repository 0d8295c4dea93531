//! How a seat stands.

use crate::{Deadline, Rejected};

/// How a seat stands. It goes back and forth until it is [`Lost`](Self::Lost), which is the end.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum SeatStatus {
    /// The seat is held. Each heartbeat moves its end further.
    Held {
        /// When it would end without another heartbeat.
        until: Deadline,
    },
    /// The session had expired, because this machine was asleep or cut off for longer than it lives, and another seat was taken at
    /// once. [`Seat::session_id`](crate::Seat::session_id) and [`Seat::license`](crate::Seat::license) are the new ones.
    Regained {
        /// When it would end without another heartbeat.
        until: Deadline,
        /// The number of the seat, which may be another one.
        seat: u32,
    },
    /// The last heartbeat did not succeed. The seat is still held, and heartbeats go on.
    InDanger {
        /// When the seat is lost unless a heartbeat succeeds.
        until: Deadline,
        /// What stands in the way.
        why: Trouble,
    },
    /// The license may no longer be used: save what there is and stop by then, unless the status changes back.
    StopBy {
        /// When the seat is lost.
        at: Deadline,
        /// Why.
        why: Refusal,
    },
    /// There is no seat any more, and no further heartbeat. A program may acquire again.
    Lost {
        /// Why.
        why: Loss,
    },
}

/// Why a heartbeat did not succeed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Trouble {
    /// No useful answer: the text says whether the platform could not be reached, or what it answers.
    #[error("{0}")]
    Unreachable(String),
    /// The answer is not to be trusted, and was not counted.
    #[error("the answer is not to be trusted: {0}")]
    Forged(Rejected),
    /// The answer is genuine, but this machine's clock is too wrong to judge it by.
    #[error("this machine's clock is wrong: set it right")]
    WrongClock,
}

/// Why a license may not be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// It has run out.
    #[error("the license has run out")]
    Expired,
    /// It is suspended.
    #[error("the license is suspended")]
    Suspended,
    /// It is revoked for good.
    #[error("the license is revoked")]
    Revoked,
    /// It has not begun yet.
    #[error("the license has not begun yet")]
    NotStarted,
    /// The organization that owns it is suspended.
    #[error("the organization that owns the license is suspended")]
    TenantSuspended,
    /// The device is blocked for now.
    #[error("this device is blocked from the license")]
    Blocked,
    /// A reason that this version does not know, by its code.
    #[error("the license may not be used ({0})")]
    Other(String),
}

impl Refusal {
    pub(crate) fn of(code: Option<String>) -> Self {
        match code.as_deref() {
            Some("license_expired") => Self::Expired,
            Some("license_suspended") => Self::Suspended,
            Some("license_revoked") => Self::Revoked,
            Some("license_not_started") => Self::NotStarted,
            Some("tenant_suspended") => Self::TenantSuspended,
            Some("hardware_blocked") => Self::Blocked,
            Some(_) | None => Self::Other(code.unwrap_or_else(|| "no reason given".to_owned())),
        }
    }
}

/// How a session ended on the platform's side.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Ending {
    /// It was silent for too long.
    #[error("the session has expired")]
    Expired,
    /// It was released.
    #[error("the session was released")]
    Released,
    /// An administrator took it away.
    #[error("the session was revoked")]
    Revoked,
    /// The platform does not know it.
    #[error("there is no such session")]
    Unknown,
}

impl Ending {
    pub(crate) fn of(code: Option<&str>) -> Self {
        match code {
            Some("session_released") => Self::Released,
            Some("session_revoked") => Self::Revoked,
            Some("session_not_found") => Self::Unknown,
            Some(_) | None => Self::Expired,
        }
    }

    /// The platform's name for it.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Expired => "session_expired",
            Self::Released => "session_released",
            Self::Revoked => "session_revoked",
            Self::Unknown => "session_not_found",
        }
    }
}

/// Why a seat is lost.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Loss {
    /// The platform says that the session is over.
    #[error("{0}")]
    Ended(Ending),
    /// The session had ended while this machine was asleep or cut off, and no seat could be taken again.
    #[error("{ending} while this machine was asleep or cut off, and no seat could be taken again: {why}")]
    NotRegained {
        /// How the session had ended.
        ending: Ending,
        /// Why no other seat could be taken.
        why: String,
        /// The same, as [`Error::code`](crate::Error::code).
        code: &'static str,
    },
    /// No heartbeat succeeded until the seat ended.
    #[error("no heartbeat succeeded in time: {0}")]
    Silent(Trouble),
    /// The license may no longer be used, and the time to stop has come.
    #[error("{0}")]
    Refused(Refusal),
}
