//! Answers.

use axum::{
    http::{
        HeaderValue, StatusCode,
        header::{ETAG, LOCATION},
    },
    response::{IntoResponse, Json, Response},
};
use platform::web::ApiError;
use serde::Serialize;
use serde_json::Value;

use crate::version::etag;

/// Something with a version, told with its tag.
pub(crate) fn versioned<T: Serialize>(version: i64, view: &T) -> Response {
    ([(ETAG, etag(version))], Json(view)).into_response()
}

/// Something new, told with where it is.
pub(crate) fn created(location: &str, version: Option<i64>, view: &Value) -> Result<Response, ApiError> {
    let mut response = (StatusCode::CREATED, Json(view)).into_response();
    let value = |text: &str| HeaderValue::from_str(text).map_err(|error| ApiError::Internal(error.into()));
    response.headers_mut().insert(LOCATION, value(location)?);
    if let Some(version) = version {
        response.headers_mut().insert(ETAG, value(&etag(version))?);
    }
    Ok(response)
}

/// A view as it is written down.
///
/// # Errors
/// [`ApiError::Internal`] if it cannot be written: a bug.
pub(crate) fn written<T: Serialize>(view: &T) -> Result<Value, ApiError> {
    serde_json::to_value(view).map_err(|error| ApiError::Internal(error.into()))
}
