//! One call over HTTP: a question for the keys of an issuer, or spans that are told to a collector. No redirects, no proxies, no connection
//! that is kept: keys are asked for once an hour or so, and spans go a batch at a time.

use std::{sync::Arc, sync::LazyLock, time::Duration};

use axum::{
    body::Bytes,
    http::{
        HeaderMap, Request, StatusCode,
        header::{ACCEPT, AGE, CACHE_CONTROL, CONTENT_TYPE, HOST, USER_AGENT},
        request::Builder,
    },
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    client::conn::http1,
    rt::{Read, Write},
};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::{net::TcpStream, task::JoinSet, time::timeout};
use tokio_rustls::TlsConnector;

use super::settings::KeysUrl;
use crate::{
    db,
    web::trace::{TRACEPARENT, TraceContext},
};

/// How long the whole of it may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read at the most; sets of keys have some thousands.
const MOST: usize = 256 * 1024;
/// How long keys stay fresh at least and at most, whatever is said, and if nothing is.
const FRESH: (Duration, Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400), Duration::from_secs(300));

/// What was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) body: Bytes,
    pub(super) fresh_for: Duration,
}

/// Why keys cannot be had.
#[derive(Debug, thiserror::Error)]
pub(in crate::web) enum CannotFetch {
    #[error("no answer in time")]
    Deadline,
    #[error("{0}")]
    Connection(#[from] std::io::Error),
    #[error("{0}")]
    Tls(#[from] db::Error),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    #[error("{0}")]
    Other(Box<dyn std::error::Error + Send + Sync>),
}

/// Fetches a set of keys.
pub(super) async fn fetch(url: &KeysUrl) -> Result<Published, CannotFetch> {
    call(url, Request::get(&url.path), Bytes::new()).await
}

/// Tells something in JSON, and takes any answer that is 200.
pub(in crate::web) async fn post(url: &KeysUrl, json: Vec<u8>) -> Result<(), CannotFetch> {
    call(url, Request::post(&url.path).header(CONTENT_TYPE, "application/json"), json.into()).await.map(|_| ())
}

async fn call(url: &KeysUrl, request: Builder, body: Bytes) -> Result<Published, CannotFetch> {
    let mut request = request.header(HOST, &url.authority).header(ACCEPT, "application/json").header(USER_AGENT, "coditect");
    if let Some(trace) = TraceContext::current() {
        request = request.header(TRACEPARENT, trace.traceparent());
    }
    let request = request.body(Full::new(body)).map_err(|error| CannotFetch::Other(error.into()))?;
    let work = async {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        if !url.is_secure {
            return ask(TokioIo::new(stream), request).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|error| CannotFetch::Other(error.into()))?;
        ask(TokioIo::new(tls()?.connect(name, stream).await?), request).await
    };
    timeout(DEADLINE, work).await.unwrap_or(Err(CannotFetch::Deadline))
}

/// The system's certificates are read when they are first needed.
fn tls() -> Result<TlsConnector, CannotFetch> {
    static CONFIG: LazyLock<Result<Arc<ClientConfig>, String>> =
        LazyLock::new(|| db::client_config(None).map(Arc::new).map_err(|error| error.to_string()));
    CONFIG.as_ref().map(|config| Arc::clone(config).into()).map_err(|error| CannotFetch::Other(error.as_str().into()))
}

async fn ask<S: Read + Write + Unpin + Send + 'static>(stream: S, request: Request<Full<Bytes>>) -> Result<Published, CannotFetch> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It ends with this question, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(CannotFetch::Status(head.status));
    }
    let body = Limited::new(body, MOST).collect().await.map_err(CannotFetch::Other)?.to_bytes();
    Ok(Published { body, fresh_for: fresh_for(&head.headers) })
}

/// How long an answer stays fresh (RFC 9111, section 4.2), within our bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let (least, most, otherwise) = FRESH;
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut said = None;
    for directive in directives.map(|directive| directive.trim().to_ascii_lowercase()) {
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return least;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            said = seconds.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    said.unwrap_or(otherwise).saturating_sub(age).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_fresh_for_as_long_as_is_said_within_bounds() {
        for (said, age, seconds) in [
            ("public, max-age=3600, must-revalidate", None, 3600),
            ("MAX-AGE=3600", Some("600"), 3000),
            ("max-age=3600", Some("5000"), 60),
            ("max-age=0", None, 60),
            ("max-age=99999999999", None, 86_400),
            ("max-age=99999999999999999999999", None, 300),
            ("no-store, max-age=3600", None, 60),
            ("s-maxage=7200", None, 300),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, said.parse().unwrap());
            if let Some(age) = age {
                headers.insert(AGE, age.parse().unwrap());
            }
            assert_eq!(fresh_for(&headers).as_secs(), seconds, "{said}");
        }
        assert_eq!(fresh_for(&HeaderMap::new()).as_secs(), 300);
    }
}
