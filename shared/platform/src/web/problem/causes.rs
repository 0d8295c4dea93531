//! What becomes of the errors of the modules below: the fault of a server that is down, or ours.

use std::sync::Arc;

use super::ApiError;
use crate::{db, seats, signing};

impl From<seats::Error> for ApiError {
    fn from(error: seats::Error) -> Self {
        if error.is_ours() { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<Arc<db::Error>> for ApiError {
    fn from(error: Arc<db::Error>) -> Self {
        if error.is_ours() { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<db::Error> for ApiError {
    fn from(error: db::Error) -> Self {
        if error.is_ours() { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}

impl From<signing::Error> for ApiError {
    fn from(error: signing::Error) -> Self {
        if error.is_ours() { Self::Internal(error.into()) } else { Self::Unavailable(error.into()) }
    }
}
