//! Versions: a change says which version it is a change of (RFC 9110, section 13.1.1).

use axum::{
    extract::FromRequestParts,
    http::{HeaderValue, header::IF_MATCH, request::Parts},
};
use platform::web::ApiError;
use utoipa::IntoParams;

/// The header, for the descriptions of operations.
#[derive(IntoParams)]
#[into_params(parameter_in = Header)]
#[expect(dead_code, reason = "describes a header")]
pub(crate) struct IfMatchParam {
    /// The `etag` of what was read.
    #[param(rename = "If-Match", example = "\"1\"")]
    if_match: String,
}

/// The versions that a caller has read. `*` is none: whoever changes something has looked at it.
#[derive(Clone, Debug)]
pub(crate) struct IfMatch(Vec<HeaderValue>);

impl IfMatch {
    /// Whether what is to be changed is as it was read.
    ///
    /// # Errors
    /// [`ApiError::StaleVersion`].
    pub(crate) fn must_name(&self, version: i64) -> Result<(), ApiError> {
        let wanted = etag(version);
        let mut tags = self.0.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
        if tags.any(|tag| tag.trim() == wanted) { Ok(()) } else { Err(ApiError::StaleVersion) }
    }
}

impl<S: Sync> FromRequestParts<S> for IfMatch {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        let values: Vec<HeaderValue> = parts.headers.get_all(IF_MATCH).iter().cloned().collect();
        if values.is_empty() || values.iter().any(|value| value.as_bytes() == b"*") {
            return Err(ApiError::VersionRequired);
        }
        Ok(Self(values))
    }
}

/// The tag of a version: strong.
pub(crate) fn etag(version: i64) -> String {
    format!("\"{version}\"")
}

#[cfg(test)]
mod tests {
    use axum::http::Request;

    use super::*;

    async fn read(values: &[&str]) -> Result<IfMatch, ApiError> {
        let mut request = Request::builder();
        for value in values {
            request = request.header(IF_MATCH, *value);
        }
        IfMatch::from_request_parts(&mut request.body(()).unwrap().into_parts().0, &()).await
    }

    #[tokio::test]
    async fn a_version_must_be_named_to_the_letter() {
        assert!(matches!(read(&[]).await, Err(ApiError::VersionRequired)));
        assert!(matches!(read(&["*"]).await, Err(ApiError::VersionRequired)));
        for (values, fits) in [
            (&["\"7\""][..], true),
            (&["\"6\", \"7\""], true),
            (&["\"6\"", "\"7\""], true),
            (&["W/\"7\""], false),
            (&["7"], false),
            (&["\"70\""], false),
            (&[""], false),
        ] {
            assert_eq!(read(values).await.unwrap().must_name(7).is_ok(), fits, "{values:?}");
        }
    }
}
