#![doc = include_str!("../README.md")]

use std::sync::{Arc, LazyLock};

use axum::{
    Router,
    extract::State,
    http::{
        HeaderMap, StatusCode,
        header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, IF_NONE_MATCH},
    },
    response::{IntoResponse, Response},
};
use platform::{
    signing::{CACHE_SECONDS, Published, PublishedKeys},
    web::{ApiError, Public, limited_as_public},
};
use utoipa_axum::{router::OpenApiRouter, routes};

/// The whole API, in one document: made by `standalone openapi` from every function's own description, and tested to be that.
const OPENAPI: &str = include_str!("../openapi.json");
/// A page that shows it, with nothing from elsewhere.
const PAGE: &str = include_str!("docs.html");

/// The function's routes.
pub fn router(parts: Public) -> Router {
    limited_as_public(api().with_state(parts.keys).into(), parts.limiter)
}

/// The routes and their descriptions.
#[must_use]
pub fn api() -> OpenApiRouter<Arc<PublishedKeys>> {
    OpenApiRouter::new().routes(routes!(jwks)).routes(routes!(published)).routes(routes!(openapi)).routes(routes!(page))
}

/// The public keys, as a JWK set (RFC 7517)
#[utoipa::path(
    get,
    path = "/.well-known/jwks.json",
    operation_id = "jwks",
    tag = "discovery",
    responses(
        (status = 200, description = "The root, and every leaf whose leases may still live.", body = serde_json::Value, content_type = "application/jwk-set+json"),
        (status = 304, description = "It has not changed since the `etag` in `if-none-match`."),
    )
)]
async fn jwks(State(keys): State<Arc<PublishedKeys>>, headers: HeaderMap) -> Result<Response, ApiError> {
    Ok(answer(&*keys.jwks().await?, "application/jwk-set+json", &headers))
}

/// Root, certificates and revocation list
#[utoipa::path(
    get,
    path = "/api/v1/keys",
    operation_id = "keys",
    tag = "discovery",
    responses(
        (status = 200, description = "`root` as JWK and PEM, `certificates` and `revocations` as compact JWS.", body = serde_json::Value),
        (status = 304, description = "It has not changed since the `etag` in `if-none-match`."),
    )
)]
async fn published(State(keys): State<Arc<PublishedKeys>>, headers: HeaderMap) -> Result<Response, ApiError> {
    Ok(answer(&*keys.keys().await?, "application/json", &headers))
}

/// This description
#[utoipa::path(
    get,
    path = "/api/v1/openapi.json",
    operation_id = "openapi",
    tag = "discovery",
    responses(
        (status = 200, description = "An OpenAPI 3.1 document.", body = serde_json::Value),
        (status = 304, description = "It has not changed since the `etag` in `if-none-match`."),
    )
)]
async fn openapi(headers: HeaderMap) -> Response {
    static DOCUMENT: LazyLock<Published> = LazyLock::new(|| Published::new(OPENAPI));
    answer(&DOCUMENT, "application/json", &headers)
}

/// This description, as a page
#[utoipa::path(
    get,
    path = "/api/v1/docs",
    operation_id = "docs",
    tag = "discovery",
    responses(
        (status = 200, description = "A page.", body = String, content_type = "text/html"),
        (status = 304, description = "It has not changed since the `etag` in `if-none-match`."),
    )
)]
async fn page(headers: HeaderMap) -> Response {
    static DOCUMENT: LazyLock<Published> = LazyLock::new(|| Published::new(PAGE));
    // Only what is in the page itself may run, and it may ask this server alone.
    let policy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; base-uri 'none'; frame-ancestors 'none'";
    ([(CONTENT_SECURITY_POLICY, policy)], answer(&DOCUMENT, "text/html; charset=utf-8", &headers)).into_response()
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
