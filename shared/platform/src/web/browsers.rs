//! What browsers must be told: whose scripts may call (CORS), and what no page may do with an answer.

use std::str::FromStr;

use axum::{
    http::{
        HeaderMap, HeaderValue, Method, StatusCode,
        header::{
            ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
            ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, CONTENT_SECURITY_POLICY, ORIGIN,
            REFERRER_POLICY, STRICT_TRANSPORT_SECURITY, VARY, X_CONTENT_TYPE_OPTIONS, X_FRAME_OPTIONS,
        },
    },
    response::{IntoResponse, Response},
};

/// Two years.
const HSTS: HeaderValue = HeaderValue::from_static("max-age=63072000; includeSubDomains");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const DENY: HeaderValue = HeaderValue::from_static("DENY");
const NO_FRAMES: HeaderValue = HeaderValue::from_static("frame-ancestors 'none'");
const NO_REFERRER: HeaderValue = HeaderValue::from_static("no-referrer");

const METHODS: HeaderValue = HeaderValue::from_static("GET, HEAD, POST, PUT, PATCH, DELETE");
const ACCEPTED: HeaderValue = HeaderValue::from_static("authorization, content-type, idempotency-key, if-match, x-request-id, x-tenant-id");
const EXPOSED: HeaderValue =
    HeaderValue::from_static("etag, location, ratelimit, ratelimit-policy, retry-after, x-request-id, idempotent-replayed");
/// Two hours, the longest that any browser keeps a permission.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const TRUE: HeaderValue = HeaderValue::from_static("true");
const ORIGIN_VARIES: HeaderValue = HeaderValue::from_static("origin");

/// Tells browsers what every answer of ours wants of them.
pub(super) fn protect(headers: &mut HeaderMap) {
    headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
    headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
    headers.insert(X_FRAME_OPTIONS, DENY);
    headers.insert(REFERRER_POLICY, NO_REFERRER);
    // A page of ours may say more of what it may do.
    headers.entry(CONTENT_SECURITY_POLICY).or_insert(NO_FRAMES);
}

/// Origins whose scripts may call, with credentials: exactly these.
#[derive(Clone, Debug, Default)]
pub struct Origins(Vec<HeaderValue>);

impl FromStr for Origins {
    type Err = String;

    fn from_str(list: &str) -> Result<Self, String> {
        list.split(',').map(str::trim).filter(|origin| !origin.is_empty()).map(origin).collect::<Result<_, _>>().map(Self)
    }
}

/// An origin as browsers write it (RFC 6454, section 6.1): otherwise it would never be found equal to one.
fn origin(text: &str) -> Result<HeaderValue, String> {
    let fault = || format!("{text} is no origin: scheme://host or scheme://host:port is wanted, in small letters and without a path");
    let (scheme, host) = text.split_once("://").ok_or_else(fault)?;
    let default_port = match scheme {
        "https" => ":443",
        "http" => ":80",
        _ => return Err(fault()),
    };
    let is_well_formed = !host.is_empty()
        && !host.ends_with(default_port)
        && host.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b".-:[]_".contains(&byte));
    if is_well_formed { HeaderValue::from_str(text).map_err(|_| fault()) } else { Err(fault()) }
}

impl Origins {
    /// The origin that a request comes from, if it is one of these.
    pub(super) fn find(&self, request: &HeaderMap) -> Option<&HeaderValue> {
        if self.0.is_empty() {
            return None;
        }
        let from = request.get(ORIGIN)?;
        self.0.iter().find(|origin| *origin == from)
    }

    /// Lets scripts of an origin read an answer.
    pub(super) fn admit(&self, origin: Option<&HeaderValue>, headers: &mut HeaderMap) {
        if self.0.is_empty() {
            return;
        }
        // Also where the answer went to nobody in particular: a cache must not hand it to somebody else.
        headers.append(VARY, ORIGIN_VARIES);
        if let Some(origin) = origin {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            headers.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, TRUE);
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, EXPOSED);
        }
    }
}

/// Whether a browser asks what a script may send (a preflight).
pub(super) fn is_preflight(method: &Method, headers: &HeaderMap) -> bool {
    *method == Method::OPTIONS && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// Answers it, the same for every route: which of these methods a route has, the request itself will find out.
pub(super) fn preflight() -> Response {
    let head = [(ACCESS_CONTROL_ALLOW_METHODS, METHODS), (ACCESS_CONTROL_ALLOW_HEADERS, ACCEPTED), (ACCESS_CONTROL_MAX_AGE, MAX_AGE)];
    (StatusCode::NO_CONTENT, head).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_listed_as_browsers_write_them() {
        assert!("".parse::<Origins>().unwrap().0.is_empty());
        let two: Origins = "https://console.example, http://localhost:3000,".parse().unwrap();
        assert_eq!(two.0, ["https://console.example", "http://localhost:3000"]);
        let odd = ["*", "null", "console.example", "https://", "https://console.example/", "https://Console.example", "https://*.example"];
        for odd in odd.into_iter().chain(["https://console.example:443", "ftp://console.example", "https://user@console.example"]) {
            assert!(odd.parse::<Origins>().is_err(), "{odd}");
        }
    }

    #[test]
    fn an_origin_is_found_if_it_is_exactly_one_of_these() {
        let origins: Origins = "https://console.example".parse().unwrap();
        let found = |from: &str| origins.find(&HeaderMap::from_iter([(ORIGIN, from.parse().unwrap())])).is_some();
        assert!(found("https://console.example"));
        let strangers =
            ["https://console.example.evil", "https://evil-console.example", "http://console.example", "https://console.example:8443"];
        for stranger in strangers.into_iter().chain(["null", "", "https://a.console.example", "https://console.example, https://evil"]) {
            assert!(!found(stranger), "{stranger}");
        }
        assert!(origins.find(&HeaderMap::new()).is_none() && Origins::default().find(&HeaderMap::new()).is_none());
    }
}
