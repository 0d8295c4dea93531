//! What goes wrong with PostgreSQL, what it says, and what that means for the connection.

use std::{error::Error as _, io};

use tokio_postgres::error::{DbError, SqlState};

use crate::domain::UnreadyReason;

/// Why PostgreSQL did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A connection could not be opened.
    #[error("no connection to PostgreSQL: {0}")]
    Connect(#[from] NoConnection),
    /// No connection came free in time: other callers have all of them.
    #[error("every connection to PostgreSQL is in use")]
    Busy,
    /// The statement failed.
    #[error("PostgreSQL: {}", words(.0))]
    Query(#[from] tokio_postgres::Error),
    /// It took too long; what was asked may have been done or not.
    #[error("PostgreSQL did not answer in time")]
    Deadline,
    /// A row holds what it cannot hold: a bug, or somebody's hand.
    #[error("unexpected in the record: {0}")]
    Record(String),
    /// The settings make no sense.
    #[error("database settings: {0}")]
    Settings(String),
}

/// Why a connection could not be opened.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{words} ({reason})")]
pub struct NoConnection {
    /// Of which kind it is.
    pub reason: UnreadyReason,
    /// What the server or the system said, without secrets.
    pub words: String,
}

impl Error {
    /// Whether the fault is ours, PostgreSQL being neither down nor shut down, overloaded or locked: settings, rows or statements make no sense.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Record(_) => true,
            Self::Query(query) if !is_outdated(query) => {
                query.code().is_some_and(|code| matches!(code.code().get(..2), Some("22" | "23" | "42" | "0A")))
            }
            Self::Query(_) | Self::Connect(_) | Self::Busy | Self::Deadline => false,
        }
    }

    /// Whether PostgreSQL refused because of a unique index, whichever.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Query(query) if query.code() == Some(&SqlState::UNIQUE_VIOLATION))
    }

    /// Whether PostgreSQL refused because of this constraint or unique index.
    #[must_use]
    pub fn violates(&self, constraint: &str) -> bool {
        match self {
            Self::Query(query) => query.as_db_error().and_then(DbError::constraint) == Some(constraint),
            Self::Connect(_) | Self::Busy | Self::Deadline | Self::Record(_) | Self::Settings(_) => false,
        }
    }

    /// Whether it was the connection's state that failed, and nothing was done: the same statement may succeed on a new connection.
    #[must_use]
    pub fn is_outdated(&self) -> bool {
        matches!(self, Self::Query(query) if is_outdated(query))
    }

    /// Of which kind it is. None: PostgreSQL works, and refuses this one statement.
    pub(super) fn reason(&self) -> Option<UnreadyReason> {
        match self {
            Self::Connect(none) => Some(none.reason),
            Self::Busy => Some(UnreadyReason::Full),
            Self::Deadline => Some(UnreadyReason::Unreachable),
            Self::Query(query) if query.as_db_error().is_none() => Some(reason(query)),
            Self::Query(query) => query.code().and_then(known_reason),
            Self::Record(_) | Self::Settings(_) => None,
        }
    }
}

/// What an error says of the connection on which it came.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Verdict {
    /// The connection is as good as before.
    Usable,
    /// The connection is lost.
    Lost,
    /// The connection is out of date, and so are all that were opened before now: the server takes no more writes, or plans that connections
    /// keep do not fit the schema any more.
    Outdated,
}

pub(super) fn verdict(error: &tokio_postgres::Error) -> Verdict {
    let Some(code) = error.code() else {
        // Without words of the server: its values could not be read or written, or the connection broke.
        let is_local = error.source().is_some_and(|source| !source.is::<io::Error>());
        return if is_local { Verdict::Usable } else { Verdict::Lost };
    };
    match code.code() {
        _ if is_outdated(error) => Verdict::Outdated,
        "57P01" | "57P02" | "57P03" => Verdict::Lost,
        other if other.starts_with("08") => Verdict::Lost,
        _ => Verdict::Usable,
    }
}

/// Refused before anything was done, because of what the connection is or keeps.
fn is_outdated(error: &tokio_postgres::Error) -> bool {
    let Some(said) = error.as_db_error() else { return false };
    match said.code().code() {
        "25006" | "26000" => true,
        // PostgreSQL's words are in the server's language, and the place in its source is not.
        "0A000" => said.routine() == Some("RevalidateCachedQuery"),
        _ => false,
    }
}

/// The kind that an error of a connection means.
pub(super) fn reason(error: &tokio_postgres::Error) -> UnreadyReason {
    if let Some(said) = error.as_db_error() {
        return match said.code().code() {
            "08P01" if said.message().contains("startup parameter") => UnreadyReason::Pooler,
            // The role that the connection is to act as is one of the options with which it starts.
            "22023" | "42704" if said.message().contains("\"coditect_") => UnreadyReason::SchemaMissing,
            _ => known_reason(said.code()).unwrap_or(UnreadyReason::Refused),
        };
    }
    let text = words(error);
    if text.contains("password") || text.contains("authentication") {
        return UnreadyReason::WrongPassword;
    }
    match io_kind(error) {
        Some(io::ErrorKind::ConnectionRefused) => UnreadyReason::Refused,
        None if text.contains("TLS") => UnreadyReason::Refused,
        _ => UnreadyReason::Unreachable,
    }
}

fn known_reason(code: &SqlState) -> Option<UnreadyReason> {
    Some(match code.code() {
        "25006" => UnreadyReason::ReadOnly,
        "28P01" => UnreadyReason::WrongPassword,
        "3D000" => UnreadyReason::NoSuchDatabase,
        "57P03" => UnreadyReason::Loading,
        "57P01" | "57P02" => UnreadyReason::Unreachable,
        "42P01" | "3F000" => UnreadyReason::SchemaMissing,
        other if other.starts_with("53") => UnreadyReason::Full,
        other if other.starts_with("28") => UnreadyReason::Refused,
        other if other.starts_with("08") => UnreadyReason::Unreachable,
        _ => return None,
    })
}

fn io_kind(error: &tokio_postgres::Error) -> Option<io::ErrorKind> {
    let mut source = error.source();
    while let Some(cause) = source {
        if let Some(io) = cause.downcast_ref::<io::Error>() {
            return Some(io.kind());
        }
        source = cause.source();
    }
    None
}

/// What PostgreSQL itself said, without the values that it repeats in its details, or what broke the connection.
pub(super) fn words(error: &tokio_postgres::Error) -> String {
    let Some(said) = error.as_db_error() else {
        let mut words = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            words = format!("{words}: {cause}");
            source = cause.source();
        }
        return words;
    };
    let code = said.code().code();
    // Errors of data quote the value.
    if code.starts_with("22") && !said.message().contains("\"coditect_") {
        return format!("SQLSTATE {code}");
    }
    format!("{} (SQLSTATE {code})", said.message())
}
