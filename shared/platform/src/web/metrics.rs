//! Metrics, in the text format of Prometheus and `OpenMetrics`, on a port of their own.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use axum::{Router, extract::State, http::header::CONTENT_TYPE, response::IntoResponse, routing::get};
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, exemplar::HistogramWithExemplars, family::Family},
    registry::{Registry, Unit},
};

use super::{TraceContext, connections::ConnectionMeter};

/// Seconds; most answers take a millisecond or two.
const BUCKETS: [f64; 12] = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0];

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    route: String,
    method: &'static str,
    status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RouteLabels {
    route: String,
}

/// Leads from a number to one request that made it.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Exemplar {
    trace_id: String,
}

type Requests = Family<RequestLabels, Counter>;
type Histogram = HistogramWithExemplars<Exemplar>;
type Durations = Family<RouteLabels, Histogram, fn() -> Histogram>;

/// What a process counts and shows.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    requests: Requests,
    durations: Durations,
    pub(super) connections: ConnectionMeter,
}

/// What is counted of one route: whoever serves it keeps this, and need not look it up for each request.
#[derive(Debug)]
pub(super) struct RouteMeter {
    route: String,
    durations: Histogram,
    requests: Requests,
    /// Those of them that were counted before, by method and status.
    known: RwLock<Vec<(&'static str, u16, Counter)>>,
}

impl Metrics {
    /// Metrics of HTTP, besides those that are registered already.
    #[must_use]
    pub fn new(mut registry: Registry) -> Self {
        let requests = Family::default();
        let durations = Family::new_with_constructor((|| HistogramWithExemplars::new(BUCKETS.into_iter())) as fn() -> _);
        registry.register("coditect_http_requests", "Requests by route, method and status", requests.clone());
        registry.register_with_unit(
            "coditect_http_request_duration",
            "Time from a request's head to its answer",
            Unit::Seconds,
            durations.clone(),
        );
        let connections = ConnectionMeter::default();
        connections.register(&mut registry);
        Self { registry, requests, durations, connections }
    }

    pub(super) fn of_route(&self, route: &str) -> RouteMeter {
        let durations = self.durations.get_or_create_owned(&RouteLabels { route: route.to_owned() });
        RouteMeter { route: route.to_owned(), durations, requests: self.requests.clone(), known: RwLock::default() }
    }

    /// The page.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        // Writing to a string cannot fail.
        let _ = encode(&mut page, &self.registry);
        page
    }

    pub(super) fn router(self: Arc<Self>) -> Router {
        Router::new().route("/metrics", get(page)).with_state(self)
    }
}

impl RouteMeter {
    pub(super) fn observe(&self, method: &'static str, status: u16, took: Duration, trace: TraceContext) {
        let exemplar = trace.is_sampled.then(|| Exemplar { trace_id: trace.trace_id() });
        self.durations.observe(took.as_secs_f64(), exemplar, None);
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, count)) = known.iter().find(|known| (known.0, known.1) == (method, status)) {
            count.inc();
            return;
        }
        drop(known);
        let count = self.requests.get_or_create_owned(&RequestLabels { route: self.route.clone(), method, status });
        count.inc();
        // One that stands there twice is the same count.
        self.known.write().unwrap_or_else(PoisonError::into_inner).push((method, status, count));
    }
}

async fn page(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(CONTENT_TYPE, "application/openmetrics-text; version=1.0.0; charset=utf-8")], metrics.page())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sampled_request_leads_from_its_bucket_to_its_trace() {
        let metrics = Metrics::new(Registry::default());
        let sampled = TraceContext::continuing(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        metrics.of_route("/thing").observe("GET", 200, Duration::from_millis(3), sampled);
        metrics.of_route("/other").observe("GET", 200, Duration::from_millis(3), TraceContext::continuing(None));
        let page = metrics.page();
        let exemplars: Vec<_> = page.lines().filter(|line| line.contains(" # {")).collect();
        assert_eq!(exemplars.len(), 1);
        assert!(exemplars[0].contains(r#"route="/thing""#) && exemplars[0].contains(r#"trace_id="0af7651916cd43dd8448eb211c80319c""#));
    }

    #[test]
    fn requests_are_counted_by_route_method_and_status() {
        let metrics = Metrics::new(Registry::default());
        let (one, again, other) = (metrics.of_route("/one"), metrics.of_route("/one"), metrics.of_route("/other"));
        for (meter, method, status) in
            [(&one, "GET", 200), (&one, "GET", 200), (&again, "GET", 200), (&one, "GET", 404), (&other, "POST", 200)]
        {
            meter.observe(method, status, Duration::from_millis(3), TraceContext::continuing(None));
        }
        let page = metrics.page();
        for (route, method, status, count) in [("/one", "GET", 200, 3), ("/one", "GET", 404, 1), ("/other", "POST", 200, 1)] {
            let line = format!(r#"coditect_http_requests_total{{route="{route}",method="{method}",status="{status}"}} {count}"#);
            assert!(page.lines().any(|at| at == line), "{line}\n{page}");
        }
        assert!(page.contains("coditect_http_request_duration_seconds_count{route=\"/one\"} 4"));
    }
}
