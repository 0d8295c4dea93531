//! Why a function is not ready: what `/ready/` answers, and what the log says of a server.

use std::fmt;

/// A part that a function needs and cannot use now.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Unready {
    /// The part: `database`, `redis` or `signing_key`.
    pub part: &'static str,
    /// Why it cannot be used.
    pub reason: UnreadyReason,
}

impl fmt::Display for Unready {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.part, self.reason)
    }
}

/// Why a part cannot be used, as one stable word for people and programs.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum UnreadyReason {
    /// Nothing answers at its address: no such host, no connection, or no answer by the deadline.
    Unreachable,
    /// The server answers and refuses: see its words in the log.
    Refused,
    /// The server takes no writes: it is a replica, or was made read-only.
    ReadOnly,
    /// The server does not accept the login or the password.
    WrongPassword,
    /// The server has no database of this name.
    NoSuchDatabase,
    /// The server has no connection, memory or disk space left.
    Full,
    /// The server has started and still reads its data.
    Loading,
    /// There is none.
    Missing,
    /// A pooler between here and the server shares connections among clients.
    Pooler,
    /// The database has no schema: the migrations have not run.
    SchemaMissing,
    /// The schema is older than this program: migrations have not run.
    SchemaOlder,
}

impl UnreadyReason {
    /// Returns the word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
            Self::ReadOnly => "read_only",
            Self::WrongPassword => "wrong_password",
            Self::NoSuchDatabase => "no_such_database",
            Self::Full => "full",
            Self::Loading => "loading",
            Self::Missing => "missing",
            Self::Pooler => "pooler",
            Self::SchemaMissing => "schema_missing",
            Self::SchemaOlder => "schema_older",
        }
    }
}

impl fmt::Display for UnreadyReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
