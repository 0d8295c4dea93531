//! Spans of requests and of runs of jobs, sent by OTLP over HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>), if there is a
//! collector. Written out here: OpenTelemetry's own crates and the client that they bring weigh more than all the rest of a function.

use std::{sync::OnceLock, time::Duration};

use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};

use super::{TelemetrySettings, TraceContext, outgoing::post};
use crate::domain::{Clock, SystemClock};

/// Spans that wait to be sent; more are lost, for a function must not wait for its collector.
const WAITING: usize = 2048;
/// So many go at once, or what there is after a while.
const BATCH: usize = 256;
const PAUSE: Duration = Duration::from_secs(5);
/// How long the last ones may take when a process ends.
const LAST: Duration = Duration::from_millis(500);
/// Kinds of spans.
const INTERNAL: u8 = 1;
const SERVER: u8 = 2;
const CONSUMER: u8 = 5;

static EXPORTER: OnceLock<Exporter> = OnceLock::new();

#[derive(Debug)]
struct Exporter {
    queue: mpsc::Sender<Queued>,
    /// Of so many in a million traces that begin here, spans are made.
    kept: u32,
}

#[derive(Debug)]
enum Queued {
    Span(Value),
    Flush(oneshot::Sender<()>),
}

/// Starts sending, if there is somebody to send to. Once for each process, inside its runtime.
pub(super) fn start(service: &'static str, settings: &TelemetrySettings) {
    let Some(url) = settings.otel_exporter_otlp_endpoint.as_ref().map(|url| url.below("/v1/traces")) else { return };
    let (queue, mut waiting) = mpsc::channel(WAITING);
    if EXPORTER.set(Exporter { queue, kept: settings.otel_traces_per_million }).is_err() {
        return;
    }
    let send = move |spans: Vec<Value>| {
        let url = url.clone();
        async move {
            if !spans.is_empty()
                && let Err(error) = post(&url, &[("content-type", "application/json")], export(service, &spans)).await
            {
                tracing::debug!(%error, "spans could not be sent");
            }
        }
    };
    tokio::spawn(async move {
        let mut batch = Vec::with_capacity(BATCH);
        let mut pause = interval(PAUSE);
        pause.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                queued = waiting.recv() => match queued {
                    Some(Queued::Span(span)) => {
                        batch.push(span);
                        if batch.len() >= BATCH {
                            send(std::mem::take(&mut batch)).await;
                        }
                    }
                    Some(Queued::Flush(done)) => {
                        send(std::mem::take(&mut batch)).await;
                        let _ = done.send(());
                    }
                    None => return,
                },
                _ = pause.tick() => send(std::mem::take(&mut batch)).await,
            }
        }
    });
}

/// Sends what is left, if that takes no longer than a moment.
pub(super) async fn finish() {
    let Some(exporter) = EXPORTER.get() else { return };
    let (done, sent) = oneshot::channel();
    if exporter.queue.try_send(Queued::Flush(done)).is_ok() {
        let _ = timeout(LAST, sent).await;
    }
}

/// Whether spans are made of a trace that begins here.
pub(super) fn are_kept_of(trace: u128) -> bool {
    EXPORTER.get().is_some_and(|exporter| trace % 1_000_000 < exporter.kept.into())
}

/// Tells of a request that has just been answered.
pub(super) fn record(context: TraceContext, method: &str, route: &str, status: u16, took: Duration) {
    keep(context, || {
        let attributes = json!([
            { "key": "http.request.method", "value": { "stringValue": method } },
            { "key": "http.route", "value": { "stringValue": route } },
            { "key": "http.response.status_code", "value": { "intValue": status.to_string() } },
        ]);
        // What a client did wrong is no error of the server's.
        span(context, &format!("{method} {route}"), SERVER, &attributes, status >= 500, took)
    });
}

/// Tells of a run of a job that has just ended: one that somebody asked for, or one that was due.
pub fn record_run(context: TraceContext, job: &str, has_failed: bool, took: Duration) {
    keep(context, || {
        let kind = if context.parent.is_some() { CONSUMER } else { INTERNAL };
        let attributes = json!([{ "key": "job.name", "value": { "stringValue": job } }]);
        span(context, &format!("job {job}"), kind, &attributes, has_failed, took)
    });
}

fn keep(context: TraceContext, span: impl FnOnce() -> Value) {
    if context.is_sampled
        && let Some(exporter) = EXPORTER.get()
    {
        // A full queue loses it.
        let _ = exporter.queue.try_send(Queued::Span(span()));
    }
}

fn span(context: TraceContext, name: &str, kind: u8, attributes: &Value, has_failed: bool, took: Duration) -> Value {
    let end = SystemClock.now().timestamp_nanos_opt().unwrap_or_default();
    let begin = end.saturating_sub(i64::try_from(took.as_nanos()).unwrap_or(0));
    json!({
        "traceId": context.trace_id(),
        "spanId": context.span_id(),
        "parentSpanId": context.parent.map_or_else(String::new, |parent| format!("{parent:016x}")),
        "name": name,
        "kind": kind,
        "startTimeUnixNano": begin.to_string(),
        "endTimeUnixNano": end.to_string(),
        "attributes": attributes,
        // Unset, or an error.
        "status": { "code": if has_failed { 2 } else { 0 } },
    })
}

fn export(service: &str, spans: &[Value]) -> Vec<u8> {
    let attribute = json!({ "key": "service.name", "value": { "stringValue": service } });
    let scope = json!({ "scope": { "name": "coditect" }, "spans": spans });
    json!({ "resourceSpans": [{ "resource": { "attributes": [attribute] }, "scopeSpans": [scope] }] }).to_string().into_bytes()
}

#[cfg(test)]
mod tests {
    use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};

    use super::*;

    #[tokio::test]
    async fn a_collector_hears_of_sampled_requests_and_of_no_others() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = format!("http://{}", listener.local_addr().unwrap());
        let (tell, mut ear) = mpsc::unbounded_channel::<(HeaderMap, Value)>();
        let collect = async |State(tell): State<mpsc::UnboundedSender<(HeaderMap, Value)>>, head: HeaderMap, body: Bytes| {
            tell.send((head, serde_json::from_slice(&body).unwrap())).unwrap();
        };
        let collector = Router::new().route("/v1/traces", post(collect)).with_state(tell);
        tokio::spawn(async move { axum_serve(listener, collector).await });

        let settings = TelemetrySettings {
            google_cloud_project: None,
            otel_exporter_otlp_endpoint: Some(endpoint.parse().unwrap()),
            otel_traces_per_million: 0,
            ..TelemetrySettings::default()
        };
        start("acquire", &settings);
        let theirs = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let took = Duration::from_millis(2);
        record(TraceContext::continuing(None), "GET", "/not-sampled", 200, took);
        record(TraceContext::continuing(Some(theirs)), "POST", "/api/v1/licenses/acquire", 503, took);
        record_run(TraceContext::continuing(None), "not-sampled", true, took);
        record_run(TraceContext::continuing(Some(theirs)), "purge", false, took);
        finish().await;

        let (head, told) = ear.recv().await.unwrap();
        assert_eq!(head["content-type"], "application/json");
        let told = &told["resourceSpans"][0];
        assert_eq!(told["resource"]["attributes"][0]["value"]["stringValue"], "acquire");
        let spans = told["scopeSpans"][0]["spans"].as_array().unwrap();
        assert_eq!(spans.len(), 2);
        assert_eq!(spans[0]["traceId"], "0af7651916cd43dd8448eb211c80319c");
        assert_eq!(spans[0]["parentSpanId"], "b7ad6b7169203331");
        assert_eq!((&spans[0]["name"], &spans[0]["status"]["code"]), (&json!("POST /api/v1/licenses/acquire"), &json!(2)));
        assert_eq!((&spans[1]["name"], &spans[1]["parentSpanId"]), (&json!("job purge"), &json!("b7ad6b7169203331")));
        assert_eq!(spans[1]["attributes"], json!([{ "key": "job.name", "value": { "stringValue": "purge" } }]));
        let nanos = |member: &str| spans[0][member].as_str().unwrap().parse::<i64>().unwrap();
        assert_eq!(nanos("endTimeUnixNano") - nanos("startTimeUnixNano"), 2_000_000);
    }

    /// One connection after the other, as many as come.
    async fn axum_serve(listener: tokio::net::TcpListener, app: Router) {
        while let Ok((stream, _)) = listener.accept().await {
            let app = hyper_util::service::TowerToHyperService::new(app.clone());
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), app).await;
        }
    }
}
