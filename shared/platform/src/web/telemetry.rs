//! Logs: JSON lines in Cloud Logging's field names on a pipe, readable lines on a terminal. `LOG_LEVEL` filters them, or
//! `RUST_LOG` where that is not set.
//!
//! No line carries a license key, a session id, an email address or a password.

use std::io::{IsTerminal, stdout};

use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    registry::LookupSpan,
};

use crate::domain::{Clock, SystemClock, rfc3339};

/// Starts logging, once for each process.
pub fn init() {
    let filter =
        EnvFilter::try_from_env("LOG_LEVEL").or_else(|_| EnvFilter::try_from_default_env()).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // A second start in one process (a test) keeps the first.
    let _ = if stdout().is_terminal() { log.with_target(false).try_init() } else { log.event_format(CloudLogging).try_init() };
}

/// One JSON object a line (<https://cloud.google.com/logging/docs/structured-logging>).
struct CloudLogging;

impl<S, N> FormatEvent<S, N> for CloudLogging
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(&self, _: &FmtContext<'_, S, N>, mut writer: Writer<'_>, event: &Event<'_>) -> std::fmt::Result {
        let mut fields = Fields(Map::new());
        fields.0.insert("severity".to_owned(), json!(severity(*event.metadata().level())));
        fields.0.insert("time".to_owned(), json!(rfc3339(SystemClock.now())));
        fields.0.insert("target".to_owned(), json!(event.metadata().target()));
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

fn severity(level: Level) -> &'static str {
    match level {
        Level::ERROR => "ERROR",
        Level::WARN => "WARNING",
        Level::INFO => "INFO",
        _ => "DEBUG",
    }
}

struct Fields(Map<String, Value>);

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.0.insert(field.name().to_owned(), json!(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), json!(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), json!(value));
    }
}
