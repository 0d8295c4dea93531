//! What an error of Redis means: the word for it, what to say of it, and whether another
//! connection may help.

use std::{error::Error, io, sync::Arc};

use redis::{ErrorKind, RedisError, ServerErrorKind};

use crate::domain::UnreadyReason;

/// The most that is said of an error, in characters.
const MOST_SAID: usize = 200;

/// Returns the word for an error.
pub(in crate::seats) fn reason(error: &RedisError) -> UnreadyReason {
    match error.kind() {
        ErrorKind::AuthenticationFailed => UnreadyReason::WrongPassword,
        ErrorKind::Server(ServerErrorKind::ReadOnly | ServerErrorKind::MasterDown) => UnreadyReason::ReadOnly,
        ErrorKind::Server(ServerErrorKind::BusyLoading) => UnreadyReason::Loading,
        // The answer to a long command on a connection without a password.
        ErrorKind::Server(ServerErrorKind::ResponseError) if says(error, "unauthenticated") => UnreadyReason::WrongPassword,
        ErrorKind::Extension => match error.code() {
            Some("NOAUTH" | "WRONGPASS") => UnreadyReason::WrongPassword,
            Some("OOM") => UnreadyReason::Full,
            // A primary that has lost its replicas, and may have been replaced by one of them.
            Some("NOREPLICAS") => UnreadyReason::ReadOnly,
            _ => UnreadyReason::Refused,
        },
        // A cluster's connection says so in words if no node has accepted the password.
        ErrorKind::Io if says(error, "AuthenticationFailed") || says(error, "NOAUTH") => UnreadyReason::WrongPassword,
        ErrorKind::Io if is_of_tls(error) => UnreadyReason::Refused,
        ErrorKind::Io | ErrorKind::ClusterConnectionNotFound => UnreadyReason::Unreachable,
        _ => UnreadyReason::Refused,
    }
}

/// Returns whether the name may lead to a better server by now: after a failover the old primary
/// is a replica, loads its data, or has another password.
pub(super) fn leads_elsewhere(error: &RedisError) -> bool {
    match reason(error) {
        UnreadyReason::ReadOnly | UnreadyReason::WrongPassword | UnreadyReason::Loading => true,
        UnreadyReason::Refused => error.kind() == ErrorKind::Server(ServerErrorKind::ClusterDown),
        UnreadyReason::Unreachable
        | UnreadyReason::NoSuchDatabase
        | UnreadyReason::Full
        | UnreadyReason::Missing
        | UnreadyReason::Pooler
        | UnreadyReason::SchemaMissing
        | UnreadyReason::SchemaOlder => false,
    }
}

/// Returns whether the connection has failed, and not a call.
pub(super) fn is_of_connection(error: &RedisError) -> bool {
    matches!(error.kind(), ErrorKind::Io | ErrorKind::Parse | ErrorKind::ClusterConnectionNotFound)
}

/// Returns the server's own words, or those of the operating system. They name no secret.
pub(in crate::seats) fn words(error: &RedisError) -> String {
    let said = match (error.code(), error.detail()) {
        (Some(code), Some(detail)) => format!("{code} {detail}"),
        (Some(code), None) => code.to_owned(),
        (None, _) => error.to_string(),
    };
    // Redis quotes the arguments of a command that it does not know.
    let said = said.split(", with args").next().unwrap_or_default();
    said.chars().take(MOST_SAID).collect()
}

/// Returns the error of a call that has missed its deadline.
pub(super) fn timed_out(waited_for: &'static str) -> RedisError {
    io::Error::new(io::ErrorKind::TimedOut, format!("no {waited_for} by the deadline")).into()
}

fn says(error: &RedisError, word: &str) -> bool {
    error.detail().is_some_and(|detail| detail.contains(word))
}

/// Returns whether the server's certificate or its TLS was not accepted.
fn is_of_tls(error: &RedisError) -> bool {
    // The crate shares the cause.
    let shared = error.source().and_then(|source| source.downcast_ref::<Arc<dyn Error + Send + Sync>>());
    let io = shared.and_then(|cause| cause.downcast_ref::<io::Error>());
    io.is_some_and(|io| io.kind() == io::ErrorKind::InvalidData)
}

#[cfg(test)]
mod tests {
    use redis::{Value, parse_redis_value};

    use super::*;

    fn answer(line: &str) -> RedisError {
        match parse_redis_value(format!("-{line}\r\n").as_bytes()).unwrap() {
            Value::ServerError(error) => error.into(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn server_error_has_a_word_and_may_lead_elsewhere() {
        for (line, word, elsewhere) in [
            ("READONLY You can't write against a read only replica.", "read_only", true),
            ("MASTERDOWN Link with MASTER is down", "read_only", true),
            ("NOREPLICAS Not enough good replicas to write.", "read_only", true),
            ("LOADING Redis is loading the dataset in memory", "loading", true),
            ("NOAUTH Authentication required.", "wrong_password", true),
            ("WRONGPASS invalid username-password pair", "wrong_password", true),
            ("ERR Protocol error: unauthenticated multibulk length", "wrong_password", true),
            ("CLUSTERDOWN The cluster is down", "refused", true),
            ("OOM command not allowed when used memory > 'maxmemory'.", "full", false),
            ("MISCONF Redis is configured to save RDB snapshots", "refused", false),
            ("NOPERM this user has no permissions", "refused", false),
            ("ERR unknown command", "refused", false),
        ] {
            let error = answer(line);
            assert_eq!((reason(&error).as_str(), leads_elsewhere(&error)), (word, elsewhere), "{line}");
            assert_eq!(words(&error), line);
        }
    }

    #[test]
    fn error_of_the_connection_is_unreachable() {
        for kind in [io::ErrorKind::BrokenPipe, io::ErrorKind::ConnectionRefused, io::ErrorKind::TimedOut] {
            let error = RedisError::from(io::Error::from(kind));
            assert_eq!(reason(&error), UnreadyReason::Unreachable, "{kind}");
            assert!(!leads_elsewhere(&error));
        }
        let certificate = RedisError::from(io::Error::new(io::ErrorKind::InvalidData, "invalid peer certificate"));
        assert_eq!(reason(&certificate), UnreadyReason::Refused);
    }

    #[test]
    fn arguments_of_an_unknown_command_are_not_repeated() {
        let error = answer("ERR unknown command 'AUTH2', with args beginning with: 'secret' ");
        assert_eq!(words(&error), "ERR unknown command 'AUTH2'");
        assert_eq!(words(&answer(&format!("ERR {}", "x".repeat(1000)))).len(), MOST_SAID);
    }
}
