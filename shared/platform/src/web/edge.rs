//! The edge: what happens to every request, in one place. Its id, its deadline, its problem document, its metrics, what browsers
//! are told, and the counting of those who show no credential.

use std::{
    convert::Infallible,
    mem,
    pin::{Pin, pin},
    sync::{
        Arc, LazyLock, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use axum::{
    Router,
    extract::{MatchedPath, Request},
    http::{
        HeaderName, HeaderValue, Method, StatusCode,
        header::{CACHE_CONTROL, CONTENT_LENGTH},
    },
    response::{IntoResponse, Json, Response},
    routing::get,
};
use serde_json::json;
use tokio::time::timeout;
use tower::{Service, layer::layer_fn};
use uuid::Uuid;

use super::{
    ApiError, ClientAddress, HttpSettings, Metrics, Origins, TraceContext, browsers, metrics::RouteMeter, panics::caught, problem::Raised,
    readiness::Readiness, spans,
};
use crate::seats::Limiter;

/// The id of a request: within the edge every request has one.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

#[derive(Debug)]
struct Edge {
    metrics: Arc<Metrics>,
    limiter: Arc<Limiter>,
    origins: Origins,
    timeout: Duration,
}

/// Puts health, readiness and the edge around a function's routes. `ready` names what the function needs and cannot reach.
pub fn shell<F, R>(routes: Router, http: &HttpSettings, metrics: Arc<Metrics>, limiter: Arc<Limiter>, ready: F) -> Router
where
    F: Fn() -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Vec<&'static str>> + Send,
{
    let health = get(async || Json(json!({ "status": "ok" })));
    let readiness = Arc::new(Readiness::new(ready));
    let ready = get(move || {
        let readiness = Arc::clone(&readiness);
        async move {
            match readiness.down().await {
                down if down.is_empty() => Ok(Json(json!({ "status": "ok" }))),
                down => Err(ApiError::NotReady(down)),
            }
        }
    });
    let (origins, timeout) = (http.cors_origins.clone(), Duration::from_millis(http.request_timeout_ms));
    let edge = Arc::new(Edge { metrics, limiter, origins, timeout });
    routes
        .route("/health", health.clone())
        .route("/health/", health)
        .route("/ready", ready.clone())
        .route("/ready/", ready)
        .fallback(async || ApiError::NotFound)
        .layer(layer_fn(move |inner| WithEdge { edge: Arc::clone(&edge), meter: Arc::default(), inner }))
}

/// A route with the edge around it. A service by hand, because every request goes through it: axum's middleware from a function puts
/// more into boxes, and moves more about.
#[derive(Clone, Debug)]
struct WithEdge<S> {
    edge: Arc<Edge>,
    /// Of the one route that this is.
    meter: Arc<OnceLock<RouteMeter>>,
    inner: S,
}

impl<S> Service<Request> for WithEdge<S>
where
    S: Service<Request, Response = Response, Error = Infallible, Future: Send + 'static>,
{
    type Response = Response;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request) -> Self::Future {
        let (edge, meter) = (Arc::clone(&self.edge), Arc::clone(&self.meter));
        let trace = TraceContext::of(request.headers());
        let asked = Asked::of(&mut request, &edge.origins);
        let is_preflight = asked.origin.is_some() && browsers::is_preflight(request.method(), request.headers());
        // Only begins it: nothing of it runs before the future does.
        let work = (!is_preflight).then(|| self.inner.call(request));
        Box::pin(trace.scope(attend(edge, meter, trace, asked, work)))
    }
}

/// What is known of a request when it comes in.
#[derive(Debug)]
struct Asked {
    begun: Instant,
    id: HeaderValue,
    method: &'static str,
    route: Option<MatchedPath>,
    client: ClientAddress,
    origin: Option<HeaderValue>,
}

impl Asked {
    fn of(request: &mut Request, origins: &Origins) -> Self {
        let begun = Instant::now();
        let id = request_id(request);
        // Whoever writes down what was asked finds the id here, whoever chose it.
        request.headers_mut().insert(REQUEST_ID, id.clone());
        let (method, route) = (method_name(request.method()), request.extensions().get().cloned());
        let (client, origin) = (ClientAddress::found(request.extensions()), origins.find(request.headers()).cloned());
        Self { begun, id, method, route, client, origin }
    }
}

/// Has the work done, unless a browser only asks first.
async fn attend<W>(
    edge: Arc<Edge>,
    meter: Arc<OnceLock<RouteMeter>>,
    trace: TraceContext,
    asked: Asked,
    work: Option<W>,
) -> Result<Response, Infallible>
where
    W: Future<Output = Result<Response, Infallible>>,
{
    let Asked { begun, id, method, route, client, origin } = asked;
    let route = route.as_ref().map_or("unmatched", MatchedPath::as_str);
    let mut work = pin!(work);
    let work = pin!(async {
        let Some(work) = work.as_mut().as_pin_mut() else { return browsers::preflight() };
        let Ok(response) = work.await;
        edge.limiter.count_anonymous(client, name_wrong_method(response, method)).await
    });
    let response = match timeout(edge.timeout, caught(work)).await {
        Ok(Ok(response)) => response,
        Ok(Err(panic)) => ApiError::Internal(format!("panic: {panic}").into()).into_response(),
        Err(_) => ApiError::Timeout.into_response(),
    };
    let mut response = finish(response, &id);
    let (status, took) = (response.status().as_u16(), begun.elapsed());
    meter.get_or_init(|| edge.metrics.of_route(route)).observe(method, status, took, trace);
    spans::record(trace, method, route, status, took);
    let headers = response.headers_mut();
    headers.insert(REQUEST_ID, id);
    headers.entry(CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    browsers::protect(headers);
    edge.origins.admit(origin.as_ref(), headers);
    Ok(response)
}

/// Turns axum's bare 405 into an error of ours or, for OPTIONS, into an empty answer. To both axum adds `Allow` afterwards, with
/// the methods that the route has.
fn name_wrong_method(response: Response, method: &str) -> Response {
    if response.status() != StatusCode::METHOD_NOT_ALLOWED {
        return response;
    }
    if method == "OPTIONS" { StatusCode::NO_CONTENT.into_response() } else { ApiError::MethodNotAllowed.into_response() }
}

/// Turns what was answered into what leaves: errors into problem documents.
fn finish(mut response: Response, id: &HeaderValue) -> Response {
    let Some(Raised(error)) = response.extensions_mut().remove::<Raised>() else { return response };
    let mut rendered = error.render(id.to_str().unwrap_or_default());
    // What else was to be told with it.
    let headers = mem::take(response.headers_mut());
    rendered.headers_mut().extend(headers.into_iter().filter(|(name, _)| name.as_ref() != Some(&CONTENT_LENGTH)));
    rendered
}

/// Our ids are unique, and no secret: one random number for the process, and a count.
static PROCESS: LazyLock<u64> = LazyLock::new(|| Uuid::new_v4().as_u64_pair().0);
static COUNT: AtomicU64 = AtomicU64::new(0);

/// The caller's id if it is well-formed, else one of ours.
fn request_id(request: &Request) -> HeaderValue {
    let is_well_formed = |value: &&HeaderValue| {
        (8..=128).contains(&value.len()) && value.as_bytes().iter().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(byte))
    };
    if let Some(theirs) = request.headers().get(REQUEST_ID).filter(is_well_formed) {
        return theirs.clone();
    }
    let mut text = Uuid::encode_buffer();
    let ours = Uuid::from_u64_pair(*PROCESS, COUNT.fetch_add(1, Ordering::Relaxed));
    HeaderValue::from_str(ours.simple().encode_lower(&mut text)).expect("hexadecimal digits fit in a header")
}

/// Methods that nobody knows must not fill the metrics page.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        http::HeaderMap,
        routing::post,
    };
    use serde_json::Value;
    use tower::ServiceExt;

    use super::*;
    use crate::{
        Secret,
        seats::{LimitSettings, RedisLink, RedisSettings},
        web::TelemetrySettings,
    };

    fn settings() -> HttpSettings {
        HttpSettings {
            host: [127, 0, 0, 1].into(),
            port: 0,
            metrics_host: [127, 0, 0, 1].into(),
            metrics_port: 0,
            shutdown_grace_ms: 8000,
            request_timeout_ms: 60_000,
            max_connections: 10,
            keep_alive_seconds: 60,
            trusted_proxy_hops: 0,
            cors_origins: "https://console.example".parse().unwrap(),
            telemetry: TelemetrySettings::default(),
        }
    }

    async fn ask(method: &str, path: &str, id: Option<&str>) -> (StatusCode, HeaderMap, Value) {
        ask_with(method, path, &id.map_or(vec![], |id| vec![("x-request-id", id)])).await
    }

    async fn ask_with(method: &str, path: &str, headers: &[(&str, &str)]) -> (StatusCode, HeaderMap, Value) {
        let routes = Router::new()
            .route("/thing", post(async || "done"))
            .route("/slow", get(async || std::future::pending::<()>().await))
            .route("/broken", get(panics));
        let metrics = Arc::new(Metrics::new(prometheus_client::registry::Registry::default()));
        let limits = LimitSettings { limit_anonymous_per_hour: 0, limit_principal_per_hour: 0, limit_public_per_hour: 0 };
        let redis = RedisSettings { redis_url: Secret::from("redis://127.0.0.1:1".to_owned()), redis_ca_file: None, redis_timeout_ms: 800 };
        let limiter = Arc::new(Limiter::new(RedisLink::new(&redis).unwrap(), limits));
        // Short for the one that never answers; a slow machine must not miss it elsewhere.
        let request_timeout_ms = if path == "/slow" { 30 } else { 60_000 };
        let http = HttpSettings { request_timeout_ms, ..settings() };
        let app = shell(routes, &http, metrics, limiter, async || vec!["redis"]);
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let response = app.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
        let (head, body) = response.into_parts();
        let body = to_bytes(body, 10_000).await.unwrap();
        (head.status, head.headers, serde_json::from_slice(&body).unwrap_or_default())
    }

    async fn panics() {
        panic!("a bug");
    }

    #[tokio::test]
    async fn every_answer_has_an_id_the_callers_if_it_is_well_formed() {
        assert_eq!(ask("GET", "/health/", Some("my-request.1")).await.1["x-request-id"], "my-request.1");
        for odd in ["short", "with spaces in it", "\"quoted-quoted\""] {
            assert_ne!(ask("GET", "/health/", Some(odd)).await.1["x-request-id"], odd);
        }
    }

    #[tokio::test]
    async fn whatever_goes_wrong_is_a_problem_document_with_that_id() {
        for (method, path, status, code) in [
            ("GET", "/nowhere", 404, "not_found"),
            ("GET", "/thing", 405, "method_not_allowed"),
            ("GET", "/slow", 503, "deadline_exceeded"),
            ("GET", "/broken", 500, "internal_error"),
            ("GET", "/ready/", 503, "not_ready"),
        ] {
            let (answered, headers, body) = ask(method, path, Some("request-42")).await;
            assert_eq!((answered.as_u16(), body["code"].as_str()), (status, Some(code)));
            assert_eq!(
                (headers["content-type"].to_str().unwrap(), body["request_id"].as_str()),
                ("application/problem+json", Some("request-42"))
            );
            assert_eq!(headers.contains_key("retry-after"), status == 503);
            assert!(!body.to_string().contains("a bug"));
        }
    }

    #[tokio::test]
    async fn methods_behave() {
        assert_eq!(ask("HEAD", "/health/", None).await.0, 200);
        assert_eq!(ask("HEAD", "/thing", None).await.0, 405);
        let (status, headers, _) = ask("OPTIONS", "/thing", None).await;
        assert_eq!((status.as_u16(), headers["allow"].to_str().unwrap()), (204, "POST"));
        assert_eq!(ask("DELETE", "/health", None).await.1["allow"], "GET,HEAD");
    }

    #[tokio::test]
    async fn every_answer_tells_browsers_to_be_careful_with_it() {
        for (method, path) in
            [("GET", "/health/"), ("POST", "/thing"), ("GET", "/nowhere"), ("GET", "/slow"), ("GET", "/broken"), ("OPTIONS", "/thing")]
        {
            let (_, headers, _) = ask(method, path, None).await;
            for (name, value) in [
                ("strict-transport-security", "max-age=63072000; includeSubDomains"),
                ("x-content-type-options", "nosniff"),
                ("x-frame-options", "DENY"),
                ("content-security-policy", "frame-ancestors 'none'"),
                ("referrer-policy", "no-referrer"),
                ("cache-control", "no-store"),
            ] {
                assert_eq!(headers[name], value, "{method} {path}");
            }
            assert!(!headers.contains_key("set-cookie"));
        }
    }

    #[tokio::test]
    async fn scripts_of_a_listed_origin_may_call_and_read_and_no_others() {
        for path in ["/thing", "/nowhere", "/slow", "/broken"] {
            let (_, headers, _) = ask_with("POST", path, &[("origin", "https://console.example")]).await;
            assert_eq!(headers["access-control-allow-origin"], "https://console.example");
            assert_eq!(headers["access-control-allow-credentials"], "true");
            assert!(headers["access-control-expose-headers"].to_str().unwrap().contains("ratelimit-policy"));
            assert_eq!(headers["vary"], "origin");
        }
        for headers in [&[("origin", "https://evil.example")][..], &[("origin", "null")], &[]] {
            let (status, headers, _) = ask_with("POST", "/thing", headers).await;
            assert!(status == 200 && headers.keys().all(|name| !name.as_str().starts_with("access-control")));
            assert_eq!(headers["vary"], "origin");
        }
    }

    #[tokio::test]
    async fn a_browser_that_asks_first_is_told_what_its_script_may_send() {
        let asked = [("access-control-request-method", "PATCH"), ("access-control-request-headers", "authorization")];
        let from = |origin: &'static str| [asked[0], asked[1], ("origin", origin)];
        for path in ["/thing", "/broken", "/nowhere"] {
            let (status, headers, _) = ask_with("OPTIONS", path, &from("https://console.example")).await;
            assert_eq!(status, 204);
            assert_eq!(headers["access-control-allow-origin"], "https://console.example");
            assert!(headers["access-control-allow-methods"].to_str().unwrap().contains("PATCH"));
            let sent = "authorization, content-type, idempotency-key, if-match, x-request-id, x-tenant-id";
            assert_eq!(headers["access-control-allow-headers"], sent);
            assert_eq!(headers["access-control-max-age"], "7200");
        }
        let (status, headers, _) = ask_with("OPTIONS", "/thing", &from("https://evil.example")).await;
        assert!(status == 204 && headers.keys().all(|name| !name.as_str().starts_with("access-control")));
    }
}
