//! Logs: JSON lines in Cloud Logging's field names on a pipe, readable lines on a terminal. `LOG_LEVEL` filters them, or
//! `RUST_LOG` where that is not set.
//!
//! A line that belongs to a request names its trace.
//!
//! No line carries a license key, a session id, an email address or a password.

use std::io::{IsTerminal, stdout};

use clap::Args;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::{TraceContext, outgoing::OutgoingUrl, sentry::Reports};
use crate::{
    Secret,
    domain::{Clock, SystemClock, rfc3339},
};

/// Where traces go, and what log lines say of them.
#[derive(Args, Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// Google Cloud project, so that Cloud Logging shows each line with its trace
    #[arg(long, env = "GOOGLE_CLOUD_PROJECT")]
    pub google_cloud_project: Option<String>,
    /// Collector of spans, by OTLP over HTTP, such as `http://localhost:4318`; without one none are made
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub(in crate::web) otel_exporter_otlp_endpoint: Option<OutgoingUrl>,
    /// Of so many in a million traces that begin here spans are made; of those that others begin, if they say so
    #[arg(long, env = "OTEL_TRACES_PER_MILLION", default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(..=1_000_000))]
    pub(in crate::web) otel_traces_per_million: u32,
    /// Sentry, told of errors and panics: `https://key@host/project`; without one nobody is told
    #[arg(long, env = "SENTRY_DSN", hide_env_values = true)]
    pub(in crate::web) sentry_dsn: Option<Secret>,
    /// Environment that Sentry is told; the Google Cloud project if it is not set
    #[arg(long, env = "SENTRY_ENVIRONMENT")]
    pub(in crate::web) sentry_environment: Option<String>,
    /// Release that Sentry is told, such as the commit; the version if it is not set
    #[arg(long, env = "SENTRY_RELEASE")]
    pub(in crate::web) sentry_release: Option<String>,
}

/// Starts logging, once for each process.
pub fn init(settings: &TelemetrySettings) {
    let filter =
        EnvFilter::try_from_env("LOG_LEVEL").or_else(|_| EnvFilter::try_from_default_env()).unwrap_or_else(|_| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter);
    // A second start in one process (a test) keeps the first.
    let _ = if stdout().is_terminal() {
        log.with_target(false).finish().with(Reports).try_init()
    } else {
        log.event_format(CloudLogging { project: settings.google_cloud_project.clone() }).finish().with(Reports).try_init()
    };
}

/// One JSON object a line (<https://cloud.google.com/logging/docs/structured-logging>).
struct CloudLogging {
    project: Option<String>,
}

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
        if let Some(trace) = TraceContext::current() {
            let id = trace.trace_id();
            let name = self.project.as_ref().map_or_else(|| id.clone(), |project| format!("projects/{project}/traces/{id}"));
            fields.0.insert("logging.googleapis.com/trace".to_owned(), json!(name));
            fields.0.insert("logging.googleapis.com/spanId".to_owned(), json!(trace.span_id()));
            fields.0.insert("logging.googleapis.com/trace_sampled".to_owned(), json!(trace.is_sampled));
        }
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

/// What an event says.
pub(super) struct Fields(pub(super) Map<String, Value>);

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

#[cfg(test)]
mod tests {
    use std::{
        io::{Result, Write},
        sync::{Arc, Mutex},
    };

    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> Result<()> {
            Ok(())
        }
    }

    #[tokio::test]
    async fn a_line_that_belongs_to_a_request_names_its_trace_as_cloud_logging_wants_it() {
        let written = Written::default();
        let log = written.clone();
        let format = CloudLogging { project: Some("coditect-dev".to_owned()) };
        let subscriber = tracing_subscriber::fmt().event_format(format).with_writer(move || log.clone()).finish();
        let guard = tracing::subscriber::set_default(subscriber);
        let trace = TraceContext::continuing(Some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"));
        trace.scope(async { tracing::warn!(seats = 3, "full") }).await;
        tracing::info!("outside");
        drop(guard);

        let bytes = written.0.lock().unwrap().clone();
        let lines: Vec<Value> = String::from_utf8(bytes).unwrap().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!((&lines[0]["severity"], &lines[0]["message"], &lines[0]["seats"]), (&json!("WARNING"), &json!("full"), &json!(3)));
        assert_eq!(lines[0]["logging.googleapis.com/trace"], "projects/coditect-dev/traces/0af7651916cd43dd8448eb211c80319c");
        assert_eq!(lines[0]["logging.googleapis.com/spanId"], trace.span_id());
        assert_eq!(lines[0]["logging.googleapis.com/trace_sampled"], true);
        assert!(lines[1].get("logging.googleapis.com/trace").is_none());
    }
}
