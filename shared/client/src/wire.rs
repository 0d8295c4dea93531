//! The platform's HTTP interface.

mod answers;

use std::time::{Duration, Instant};

use reqwest::{
    RequestBuilder, Response, StatusCode, Url,
    header::{CACHE_CONTROL, ETAG, HeaderMap, IF_NONE_MATCH, RETRY_AFTER},
    redirect::Policy,
};
use serde::{Serialize, de::DeserializeOwned};

pub(crate) use answers::{Acquired, Keys, Problem, Released, Renewed};

use crate::{Ending, Error, Refusal};

/// Bytes of an answer that are read. What the platform sends is a hundredth of it.
const MAX_ANSWER: usize = 1024 * 1024;

/// How long a connection is kept for the next call. Most servers and proxies keep theirs for longer.
const IDLE: Duration = Duration::from_secs(20);

/// Where each operation is.
#[derive(Clone, Debug)]
pub(crate) struct Endpoints {
    pub(crate) acquire: Url,
    pub(crate) heartbeat: Url,
    pub(crate) release: Url,
    pub(crate) keys: Url,
}

impl Endpoints {
    fn all_plain(&self) -> bool {
        [&self.acquire, &self.heartbeat, &self.release, &self.keys].iter().all(|url| url.scheme() == "http")
    }
}

/// A connection pool to the platform.
#[derive(Clone, Debug)]
pub(crate) struct Http {
    client: reqwest::Client,
    endpoints: Endpoints,
    /// How long one request may take.
    timeout: Duration,
}

/// What an acquire says.
#[derive(Serialize)]
pub(crate) struct Application<'a> {
    pub(crate) license_key: &'a str,
    pub(crate) hardware_id: &'a str,
    pub(crate) user_email: &'a str,
    pub(crate) nonce: &'a str,
    /// A session of this device whose program is dead: its place on the seat is this one's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) replaces: Option<&'a str>,
}

/// What a heartbeat or a release says.
#[derive(Serialize)]
struct OfSession<'a> {
    session_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    nonce: Option<&'a str>,
    /// The key that signed the last lease: its certificate need not be sent again.
    #[serde(skip_serializing_if = "Option::is_none")]
    known_leaf: Option<&'a str>,
}

/// An answer, and when its request was sent: nothing it says began earlier.
#[derive(Debug)]
pub(crate) struct Received<A> {
    pub(crate) answer: A,
    pub(crate) sent: Instant,
    /// It is a repetition of an earlier answer to the same idempotency key.
    pub(crate) replayed: bool,
}

/// What is published, unless it is still what an `ETag` names.
#[derive(Debug)]
pub(crate) enum Published {
    Changed { keys: Keys, etag: Option<String> },
    Unchanged,
}

/// Why a call brought nothing.
#[derive(Debug)]
pub(crate) enum Failure {
    /// No connection: the request was not sent.
    NoConnection(String),
    /// No answer, or none that can be understood: whether the request was carried out is not known.
    NoAnswer(String),
    /// The platform said no.
    Problem(Box<Problem>),
}

impl Failure {
    /// Whether another try may succeed.
    pub(crate) fn may_pass(&self) -> bool {
        match self {
            Self::NoConnection(_) | Self::NoAnswer(_) => true,
            Self::Problem(problem) => problem.status >= 500 || matches!(problem.status, 408 | 409 | 425 | 429),
        }
    }

    /// How long the platform asks to be left alone.
    pub(crate) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::NoConnection(_) | Self::NoAnswer(_) => None,
            Self::Problem(problem) => problem.retry_after,
        }
    }

    /// Whether the platform may have done what was asked for.
    pub(crate) fn may_be_done(&self) -> bool {
        match self {
            Self::NoConnection(_) => false,
            Self::NoAnswer(_) => true,
            // A request over a limit goes no further. Any other may have been cut short by a proxy.
            Self::Problem(problem) => problem.status >= 500 || matches!(problem.status, 408 | 409 | 425),
        }
    }

    /// The HTTP status, if the platform was reached.
    pub(crate) fn status(&self) -> Option<u16> {
        match self {
            Self::NoConnection(_) | Self::NoAnswer(_) => None,
            Self::Problem(problem) => Some(problem.status),
        }
    }

    /// What happened, in one clause.
    pub(crate) fn why(&self) -> String {
        let (problem, code) = match self {
            Self::NoConnection(why) | Self::NoAnswer(why) => return why.clone(),
            Self::Problem(problem) => (problem, problem.code.as_ref().map(|code| format!(" ({code})")).unwrap_or_default()),
        };
        let what = match problem.status {
            429 => "too many requests from this address or for this license".to_owned(),
            status => format!("the platform answers {status}{code}"),
        };
        match problem.retry_after {
            Some(pause) => format!("{what}: try again in {} s", pause.as_secs()),
            None => what,
        }
    }

    /// The error once there is no more time to try.
    pub(crate) fn unreachable(&self) -> Error {
        Error::Unreachable { why: self.why(), status: self.status(), retry_after: self.retry_after() }
    }
}

impl From<Failure> for Error {
    fn from(failure: Failure) -> Self {
        if failure.may_pass() {
            return failure.unreachable();
        }
        match failure {
            Failure::NoConnection(_) | Failure::NoAnswer(_) => failure.unreachable(),
            Failure::Problem(problem) => match (problem.status, problem.code.as_deref()) {
                (400, _) => Self::InvalidRequest { fields: problem.errors },
                (402, _) => Self::NoSeats {
                    seats_used: problem.seats_used,
                    seats_total: problem.seats_total,
                    next_expiry_at: problem.next_expiry_at,
                    retry_after: problem.retry_after,
                },
                (403, Some(_)) => Self::refused(Refusal::of(problem.code)),
                (404, Some("license_not_found")) => Self::UnknownKey,
                (410, _) | (404, Some("session_not_found")) => Self::SessionEnded(Ending::of(problem.code.as_deref())),
                (status, _) => Self::Server { status, code: problem.code, request_id: problem.request_id },
            },
        }
    }
}

impl Http {
    pub(crate) fn new(endpoints: Endpoints, timeout: Duration) -> Result<Self, Error> {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("coditect-license/", env!("CARGO_PKG_VERSION")))
            // A redirect would carry the license key to wherever it says.
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE);
        // Without TLS no certificates are needed, and a machine may have none.
        let builder = if endpoints.all_plain() { builder.tls_certs_only([]) } else { builder };
        let client = builder.build().map_err(|error| Error::Settings(format!("HTTP cannot be set up: {}", reason(error))))?;
        Ok(Self { client, endpoints, timeout })
    }

    pub(crate) async fn acquire(
        &self,
        application: &Application<'_>,
        idempotency_key: &str,
        limit: Duration,
    ) -> Result<Received<Acquired>, Failure> {
        let request = self.client.post(self.endpoints.acquire.clone()).header("idempotency-key", idempotency_key).json(application);
        self.call(request, limit).await
    }

    pub(crate) async fn heartbeat(
        &self,
        session_id: &str,
        nonce: &str,
        known_leaf: Option<&str>,
        limit: Duration,
    ) -> Result<Received<Renewed>, Failure> {
        let session = OfSession { session_id, nonce: Some(nonce), known_leaf };
        self.call(self.client.post(self.endpoints.heartbeat.clone()).json(&session), limit).await
    }

    pub(crate) async fn release(&self, session_id: &str, limit: Duration) -> Result<Received<Released>, Failure> {
        let session = OfSession { session_id, nonce: None, known_leaf: None };
        self.call(self.client.post(self.endpoints.release.clone()).json(&session), limit).await
    }

    /// What is published, if it is not what the `ETag` names; `latest` is what no cache on the way has kept.
    pub(crate) async fn keys(&self, known: Option<&str>, latest: bool, limit: Duration) -> Result<Published, Failure> {
        let mut request = self.client.get(self.endpoints.keys.clone()).timeout(self.timeout.min(limit));
        if latest {
            request = request.header(CACHE_CONTROL, "no-cache");
        }
        if let Some(etag) = known {
            request = request.header(IF_NONE_MATCH, etag);
        }
        let response = send(request).await?;
        if response.status() == StatusCode::NOT_MODIFIED {
            return Ok(Published::Unchanged);
        }
        let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
        Ok(Published::Changed { keys: understood(response).await?, etag })
    }

    /// Sends a request, for as long as one may take, but never longer than `limit`.
    async fn call<A: DeserializeOwned>(&self, request: RequestBuilder, limit: Duration) -> Result<Received<A>, Failure> {
        let sent = Instant::now();
        let response = send(request.timeout(self.timeout.min(limit))).await?;
        let replayed = response.headers().get("idempotent-replayed").is_some_and(|value| value == "true");
        Ok(Received { answer: understood(response).await?, sent, replayed })
    }
}

async fn send(request: RequestBuilder) -> Result<Response, Failure> {
    request.send().await.map_err(|error| {
        let failure = if error.is_connect() { Failure::NoConnection } else { Failure::NoAnswer };
        failure(unreachable(error))
    })
}

/// The answer in a success, the problem in anything else.
async fn understood<A: DeserializeOwned>(response: Response) -> Result<A, Failure> {
    let status = response.status();
    let retry_after = retry_after(response.headers());
    if status.is_success() {
        let body = read(response).await?;
        return serde_json::from_slice(&body).map_err(|error| Failure::NoAnswer(format!("the platform's answer cannot be read: {error}")));
    }
    // A proxy's error page is no problem document, but its status says enough.
    let problem: Problem = read(response).await.ok().and_then(|body| serde_json::from_slice(&body).ok()).unwrap_or_default();
    Err(Failure::Problem(Box::new(Problem { status: status.as_u16(), retry_after, ..problem })))
}

async fn read(mut response: Response) -> Result<Vec<u8>, Failure> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| Failure::NoAnswer(unreachable(error)))? {
        body.extend_from_slice(&chunk);
        if body.len() > MAX_ANSWER {
            return Err(Failure::NoAnswer("the platform's answer does not end".to_owned()));
        }
    }
    Ok(body)
}

/// Seconds in `Retry-After`. The platform never sends a date.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get(RETRY_AFTER)?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds))
}

fn unreachable(error: reqwest::Error) -> String {
    format!("the platform cannot be reached: {}", reason(error))
}

/// The error with its causes, which is where reqwest says what happened, and without the URL, which may hold a password.
fn reason(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(next) = cause {
        let text = next.to_string();
        if !reason.contains(&text) {
            reason = format!("{reason}: {text}");
        }
        cause = next.source();
    }
    reason
}
