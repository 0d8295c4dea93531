//! Whoever is told of spans and of errors: a collector and a Sentry in one, as a real HTTP peer.

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, routing::post};
use serde_json::Value;
use tokio::{
    net::TcpListener,
    sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel},
    task::JoinHandle,
};

use crate::must_complete;

/// A server that takes what it is told, and remembers it.
#[derive(Debug)]
pub struct Listener {
    host: String,
    spans: UnboundedReceiver<Value>,
    errors: UnboundedReceiver<Value>,
    server: JoinHandle<()>,
}

type Ears = (UnboundedSender<Value>, UnboundedSender<Value>);

impl Listener {
    /// Starts to listen.
    ///
    /// # Panics
    /// If it cannot.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a port is free");
        let host = listener.local_addr().expect("it has an address").to_string();
        let ((tell_spans, spans), (tell_errors, errors)) = (unbounded_channel(), unbounded_channel());
        let routes = Router::new()
            .route("/v1/traces", post(take_spans))
            .route("/api/42/envelope/", post(take_error))
            .with_state((tell_spans, tell_errors));
        let server = tokio::spawn(async move {
            // It ends with the test.
            let _ = axum::serve(listener, routes).await;
        });
        Self { host, spans, errors, server }
    }

    /// The settings of a process that is to tell it of everything.
    #[must_use]
    pub fn settings(&self) -> [(&'static str, String); 3] {
        [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", self.host)),
            ("OTEL_TRACES_PER_MILLION", "1000000".to_owned()),
            ("SENTRY_DSN", format!("http://key@{}/42", self.host)),
        ]
    }

    /// The next span of this name, with `service`, whose it is, as one more member; others are passed over.
    ///
    /// # Panics
    /// If none comes.
    pub async fn span(&mut self, name: &str) -> Value {
        let wait = async {
            loop {
                let span = self.spans.recv().await.expect("the server lives");
                if span["name"] == name {
                    return span;
                }
            }
        };
        must_complete(&format!("a span {name}"), wait).await
    }

    /// What Sentry is told next.
    ///
    /// # Panics
    /// If nothing comes.
    pub async fn error(&mut self) -> Value {
        must_complete("an error", self.errors.recv()).await.expect("the server lives")
    }

    /// Whether it was told of an error that nobody has asked for.
    #[must_use]
    pub fn has_more_errors(&self) -> bool {
        !self.errors.is_empty()
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn take_spans(State((tell, _)): State<Ears>, body: Bytes) {
    let batch: Value = serde_json::from_slice(&body).expect("spans come in JSON");
    let batch = &batch["resourceSpans"][0];
    for span in batch["scopeSpans"][0]["spans"].as_array().expect("a list") {
        let mut span = span.clone();
        span["service"] = batch["resource"]["attributes"][0]["value"]["stringValue"].clone();
        let _ = tell.send(span);
    }
}

async fn take_error(State((_, tell)): State<Ears>, headers: HeaderMap, body: Bytes) {
    let auth = headers["x-sentry-auth"].to_str().expect("it is text");
    assert!(auth.ends_with("sentry_key=key"), "{auth}");
    let event = body.split(|byte| *byte == b'\n').nth(2).expect("an envelope has three lines");
    let _ = tell.send(serde_json::from_slice(event).expect("an event comes in JSON"));
}
