#![doc = include_str!("../README.md")]

use std::sync::Arc;

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
    routing::get,
};
use platform::{
    signing::{CACHE_SECONDS, Published, PublishedKeys},
    web::{ApiError, Public, limited_by_address},
};

/// The function's two routes.
pub fn router(parts: Public) -> Router {
    let routes = Router::new().route("/.well-known/jwks.json", get(jwks)).route("/api/v1/keys", get(published)).with_state(parts.keys);
    limited_by_address(routes, parts.limiter)
}

async fn jwks(State(keys): State<Arc<PublishedKeys>>, headers: HeaderMap) -> Result<Response, ApiError> {
    Ok(answer(&*keys.jwks().await?, "application/jwk-set+json", &headers))
}

async fn published(State(keys): State<Arc<PublishedKeys>>, headers: HeaderMap) -> Result<Response, ApiError> {
    Ok(answer(&*keys.keys().await?, "application/json", &headers))
}

fn answer(document: &Published, kind: &'static str, headers: &HeaderMap) -> Response {
    let head = [(ETAG, document.etag.clone()), (CACHE_CONTROL, format!("public, max-age={CACHE_SECONDS}"))];
    if headers.get_all(IF_NONE_MATCH).iter().any(|tags| tags.to_str().is_ok_and(|tags| names(tags, &document.etag))) {
        return (StatusCode::NOT_MODIFIED, head).into_response();
    }
    (head, [(CONTENT_TYPE, kind)], document.body.clone()).into_response()
}

/// Whether `If-None-Match` names this tag (RFC 9110, section 13.1.2: compared weakly).
fn names(tags: &str, etag: &str) -> bool {
    tags.split(',').map(str::trim).any(|tag| tag == "*" || tag.strip_prefix("W/").unwrap_or(tag) == etag)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_found_among_others_weak_or_strong() {
        assert!(names(r#""a", W/"b""#, r#""b""#) && names("*", r#""b""#));
        assert!(!names(r#""a""#, r#""b""#) && !names("b", r#""b""#));
    }
}
