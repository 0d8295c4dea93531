//! What Sentry is told of an error (<https://develop.sentry.dev/sdk/data-model/event-payloads/>): what the log says of it, its trace and
//! its request. Nothing of what was asked: no body, no header.

use std::panic::PanicHookInfo;

use serde_json::{Map, Value, json};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::{Layer, layer::Context};
use uuid::Uuid;

use super::REPORTER;
use crate::{
    domain::{Clock, SystemClock, rfc3339},
    web::{TraceContext, panics, telemetry::Fields},
};

/// Characters that are told of one text.
const LENGTH: usize = 2000;

/// Who tells.
#[derive(Debug)]
pub(super) struct Origin {
    pub(super) service: &'static str,
    pub(super) release: String,
    pub(super) environment: Option<String>,
}

/// Reports errors of the log.
pub(in crate::web) struct Reports;

impl<S: Subscriber> Layer<S> for Reports {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        if *event.metadata().level() == Level::ERROR
            && let Some(reporter) = REPORTER.get()
        {
            let mut fields = Fields(Map::new());
            event.record(&mut fields);
            reporter.report(logged(&reporter.origin, event.metadata().target(), fields.0));
        }
    }
}

fn logged(origin: &Origin, target: &str, fields: Map<String, Value>) -> Value {
    let mut extra: Map<String, Value> = fields
        .into_iter()
        .map(|(name, value)| match value {
            Value::String(text) => (name, json!(clean(&text))),
            other => (name, other),
        })
        .collect();
    let message = extra.remove("message").unwrap_or_default();
    // So that each kind of error is an issue of its own.
    let error = extra.get("error").or_else(|| extra.get("why")).and_then(Value::as_str);
    let message = message.as_str().unwrap_or("an error");
    let text = error.map_or_else(|| message.to_owned(), |error| format!("{message}: {error}"));
    let request = extra.remove("request_id");
    let mut event = event(origin, "error", target, &text);
    if let Some(request) = request {
        event["tags"]["request_id"] = request;
    }
    event["extra"] = Value::Object(extra);
    event
}

/// A panic, unless it is caught: whoever catches it has the place from here, and puts an error into the log.
pub(super) fn panicked(origin: &Origin, panic: &PanicHookInfo<'_>) -> Option<Value> {
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if panics::is_caught() {
        panics::place(place);
        return None;
    }
    Some(event(origin, "fatal", "panic", &format!("panic: {}, at {place}", clean(panics::words(panic.payload())))))
}

fn event(origin: &Origin, level: &str, target: &str, text: &str) -> Value {
    let mut event = json!({
        "event_id": Uuid::new_v4().simple().to_string(),
        "timestamp": rfc3339(SystemClock.now()),
        "platform": "other",
        "level": level,
        "logger": target,
        "server_name": origin.service,
        "release": origin.release,
        "logentry": { "formatted": text },
        "tags": { "service": origin.service },
    });
    if let Some(environment) = &origin.environment {
        event["environment"] = json!(environment);
    }
    if let Some(trace) = TraceContext::current() {
        event["contexts"] = json!({ "trace": { "trace_id": trace.trace_id(), "span_id": trace.span_id() } });
    }
    event
}

/// The log has no secrets nor people. Should a cause that others word have some, they stay here: addresses of people, URLs with a user,
/// license keys, sessions, and tokens of ours (`cdt_`) and of others (a JWT begins with `eyJ`).
fn clean(text: &str) -> String {
    let is_private = |word: &str| {
        let lower = word.to_ascii_lowercase();
        lower.contains('@') || ["codi-", "ses_", "cdt_", "eyj"].iter().any(|mark| lower.contains(mark))
    };
    let is_url_with_user = |word: &str| word.contains("://") && word.contains('@');
    let mut cleaned = String::new();
    for word in text.split_inclusive(char::is_whitespace) {
        // A password may have any character.
        let parts = if is_url_with_user(word) { vec![word] } else { word.split_inclusive(|it| "\"'(),;<>=".contains(it)).collect() };
        cleaned.extend(parts.into_iter().map(|part| if is_private(part) { "[private] " } else { part }));
    }
    cleaned.trim_end().chars().take(LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_private_stays_here() {
        let text = "Key (email)=(ada@example.com) of CODI-0D15-BREP has postgres://app:hun,ter2@db/seats, token=eyJhbGciOi.x and ses_p3e9,
                    and \"cdt_0d15brep\"";
        let cleaned = clean(text);
        for private in ["ada", "0D15", "hun", "ter2", "eyJ", "ses_", "cdt_", "0d15"] {
            assert!(!cleaned.contains(private), "{cleaned}");
        }
        assert!(cleaned.starts_with("Key (email)=("));
        assert_eq!(clean("https://id.example/keys is away: 3 tries"), "https://id.example/keys is away: 3 tries");
        assert_eq!(clean(&"é".repeat(3000)).chars().count(), LENGTH);
    }
}
