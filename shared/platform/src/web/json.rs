//! Answers in JSON.

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, StatusCode, header::CONTENT_TYPE},
    response::{IntoResponse, Response},
};
use serde::Serialize;

use super::ApiError;

/// Headers of an answer, with what the edge and the limits put there: room for all of them from the start.
const HEADERS: usize = 11;
/// Bytes that hold any answer of the seats, its lease included, but not the certificate that comes with a new key.
const BODY: usize = 1024;

/// An answer in JSON, as axum's [`Json`](axum::Json) with room for all that goes into it, where that counts: on the way of every call that
/// takes, keeps or gives back a seat.
#[derive(Clone, Copy, Debug)]
pub struct JsonAnswer<T>(pub T);

impl<T: Serialize> IntoResponse for JsonAnswer<T> {
    fn into_response(self) -> Response {
        let mut body = Vec::with_capacity(BODY);
        match serde_json::to_writer(&mut body, &self.0) {
            Ok(()) => json(StatusCode::OK, body),
            Err(error) => ApiError::Internal(error.into()).into_response(),
        }
    }
}

/// An answer of JSON that was written before.
#[must_use]
pub fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let mut headers = HeaderMap::with_capacity(HEADERS);
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    let mut response = Response::new(Body::from(body));
    (*response.status_mut(), *response.headers_mut()) = (status, headers);
    response
}
