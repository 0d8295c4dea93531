//! Calls over HTTP to others: an issuer is asked for its keys, a collector is told of spans, Sentry of errors. No redirects, no proxies, no
//! connection that is kept: keys are asked for once an hour or so, spans go a batch at a time, and errors are seldom.

mod url;

use std::{
    error::Error,
    io,
    sync::{Arc, LazyLock},
    time::Duration,
};

use axum::{
    body::Bytes,
    http::{
        HeaderMap, Request, StatusCode,
        header::{ACCEPT, HOST, RETRY_AFTER, USER_AGENT},
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

use super::trace::{TRACEPARENT, TraceContext};
use crate::db;

pub use url::InvalidOutgoingUrl;
pub(super) use url::OutgoingUrl;

/// How long the whole of a call may take.
const DEADLINE: Duration = Duration::from_secs(2);
/// Bytes of an answer that are read at the most; sets of keys have some thousands.
const MOST: usize = 256 * 1024;

/// An answer that is 200.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Why a call came to nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum CannotCall {
    #[error("no answer in time")]
    Deadline,
    #[error("{0}")]
    Connection(#[from] io::Error),
    #[error("{0}")]
    Tls(String),
    #[error("{0}")]
    Http(#[from] hyper::Error),
    #[error("the answer is {0}")]
    Status(StatusCode),
    /// Whoever was called wants to be left alone, and may say for how long.
    #[error("the answer is 429 Too Many Requests")]
    TooMany(Option<Duration>),
    #[error("{0}")]
    Other(Box<dyn Error + Send + Sync>),
}

/// Asks for something in JSON. Takes two seconds at the most.
pub(super) async fn get(url: &OutgoingUrl) -> Result<Answer, CannotCall> {
    call(url, Request::get(&url.path), Bytes::new()).await
}

/// Tells something, with these headers besides those that every call has. Takes two seconds at the most.
pub(super) async fn post(url: &OutgoingUrl, headers: &[(&str, &str)], body: Vec<u8>) -> Result<(), CannotCall> {
    let request = headers.iter().fold(Request::post(&url.path), |request, (name, value)| request.header(*name, *value));
    call(url, request, body.into()).await.map(drop)
}

async fn call(url: &OutgoingUrl, request: Builder, body: Bytes) -> Result<Answer, CannotCall> {
    let mut request = request.header(HOST, &url.authority).header(ACCEPT, "application/json").header(USER_AGENT, "coditect");
    if let Some(trace) = TraceContext::current() {
        request = request.header(TRACEPARENT, trace.traceparent());
    }
    let request = request.body(Full::new(body)).map_err(|error| CannotCall::Other(error.into()))?;
    let work = async {
        let stream = TcpStream::connect((url.host.as_str(), url.port)).await?;
        if !url.is_secure {
            return ask(TokioIo::new(stream), request).await;
        }
        let name = ServerName::try_from(url.host.clone()).map_err(|error| CannotCall::Other(error.into()))?;
        ask(TokioIo::new(tls()?.connect(name, stream).await?), request).await
    };
    timeout(DEADLINE, work).await.unwrap_or(Err(CannotCall::Deadline))
}

/// The system's certificates are read when they are first needed.
fn tls() -> Result<TlsConnector, CannotCall> {
    static CONFIG: LazyLock<Result<Arc<ClientConfig>, String>> =
        LazyLock::new(|| db::client_config(None).map(Arc::new).map_err(|error| error.to_string()));
    CONFIG.as_ref().map(|config| Arc::clone(config).into()).map_err(|error| CannotCall::Tls(error.clone()))
}

async fn ask<S: Read + Write + Unpin + Send + 'static>(stream: S, request: Request<Full<Bytes>>) -> Result<Answer, CannotCall> {
    let (mut sender, connection) = http1::handshake(stream).await?;
    // It ends with this call, however that ends.
    let mut driver = JoinSet::new();
    driver.spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    if head.status == StatusCode::TOO_MANY_REQUESTS {
        let wait = head.headers.get(RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok()).map(Duration::from_secs);
        return Err(CannotCall::TooMany(wait));
    }
    if head.status != StatusCode::OK {
        return Err(CannotCall::Status(head.status));
    }
    let body = Limited::new(body, MOST).collect().await.map_err(CannotCall::Other)?.to_bytes();
    Ok(Answer { headers: head.headers, body })
}
