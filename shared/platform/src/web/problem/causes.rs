//! What becomes of the errors of the modules below: the fault of a server that is down, or ours.

use std::sync::Arc;

use super::ApiError;
use crate::{db, seats, signing};

impl From<seats::Error> for ApiError {
    fn from(error: seats::Error) -> Self {
        let is_ours = match &error {
            seats::Error::Unexpected(_) => true,
            seats::Error::Database(database) => is_our_fault(database),
            seats::Error::Redis(_) | seats::Error::Unsettled(_) => false,
        };
        if is_ours { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<Arc<db::Error>> for ApiError {
    fn from(error: Arc<db::Error>) -> Self {
        if is_our_fault(&error) { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<db::Error> for ApiError {
    fn from(error: db::Error) -> Self {
        if is_our_fault(&error) { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<signing::Error> for ApiError {
    fn from(error: signing::Error) -> Self {
        let is_ours = match &error {
            signing::Error::Database(database) => is_our_fault(database),
            signing::Error::Root(signing::RootError::Unavailable(_)) | signing::Error::NoLeaf => false,
            signing::Error::Root(signing::RootError::Refused(_))
            | signing::Error::Unseal(_)
            | signing::Error::Claims(_)
            | signing::Error::Crypto(_) => true,
        };
        if is_ours { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

/// Whether PostgreSQL was asked something wrong, rather than being down, shut down, overloaded or locked.
fn is_our_fault(error: &db::Error) -> bool {
    match error {
        db::Error::Settings(_) | db::Error::Record(_) => true,
        db::Error::Query(query) => query.code().is_some_and(|code| matches!(code.code().get(..2), Some("22" | "23" | "42" | "0A"))),
        db::Error::Pool(_) | db::Error::Deadline => false,
    }
}
