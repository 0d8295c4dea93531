//! Exit codes: the program's own, or why there was none.

use std::process::{ExitCode, ExitStatus};

use coditect_license::Error;

pub(crate) const HELP: &str = "\
Exit codes:
  0    done (run: the program's own exit code, 128 and the signal's number if a signal ended it)
  120  no seat is free
  121  the platform refuses: license expired, suspended, revoked or not begun, tenant suspended, machine blocked, unknown key, bad request
  122  the platform cannot be reached, asks to be asked later, or answers what nobody expects
  123  not to be trusted: a forged or old answer, a clock that is wrong or was turned back
  124  there is no seat, or no longer one
  125  the command itself failed: arguments, files
  126  the program cannot be run
  127  the program was not found";

/// What the command ends with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Code(u8);

impl Code {
    pub(crate) const DONE: Self = Self(0);
    pub(crate) const NO_SEATS: Self = Self(120);
    pub(crate) const REFUSED: Self = Self(121);
    pub(crate) const UNREACHABLE: Self = Self(122);
    pub(crate) const NOT_TRUSTED: Self = Self(123);
    pub(crate) const NO_SEAT: Self = Self(124);
    pub(crate) const FAILED: Self = Self(125);
    pub(crate) const CANNOT_RUN: Self = Self(126);
    pub(crate) const NOT_FOUND: Self = Self(127);

    /// What a shell would make of a program's end.
    pub(crate) fn of(status: ExitStatus) -> Self {
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        let code = status.code().or(signal.map(|signal| 128 + signal));
        Self(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(u8::MAX))
    }

    /// The end by a signal.
    pub(crate) fn by_signal(number: i32) -> Self {
        Self(u8::try_from(128 + number).unwrap_or(u8::MAX))
    }

    pub(crate) const fn of_error(error: &Error) -> Self {
        match error {
            Error::NoSeats { .. } => Self::NO_SEATS,
            Error::Expired
            | Error::Suspended
            | Error::Revoked
            | Error::NotStarted
            | Error::TenantSuspended
            | Error::Blocked
            | Error::UnknownKey
            | Error::InvalidRequest { .. } => Self::REFUSED,
            Error::OfflineButValid { .. } | Error::Unreachable { .. } | Error::Server { .. } => Self::UNREACHABLE,
            Error::Forged(_) | Error::WrongClock { .. } | Error::ClockTurnedBack(_) => Self::NOT_TRUSTED,
            Error::SessionEnded(_) | Error::NothingKept | Error::LeaseEnded { .. } => Self::NO_SEAT,
            // The library may learn of more; what a program has no name for is a failure.
            _ => Self::FAILED,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        Self::from(code.0)
    }
}
