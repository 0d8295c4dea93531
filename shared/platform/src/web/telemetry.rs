//! Logs: JSON lines in Cloud Logging's field names on a pipe, readable lines on a terminal. `LOG_LEVEL` filters them, or
//! `RUST_LOG` where that is not set.
//!
//! A line that belongs to a request names its trace. Logging never waits and never fails (`log.rs`), and a line that says the same
//! again and again is not written each time (`repeats.rs`).
//!
//! No line carries a license key, a session id, an email address or a password.

use std::{
    io::{IsTerminal, stdout},
    panic::PanicHookInfo,
};

use clap::Args;
use serde_json::{Map, Value, json};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
    level_filters::LevelFilter,
};
use tracing_subscriber::{
    EnvFilter,
    fmt::{self, FmtContext, FormatEvent, FormatFields, format::Writer},
    layer::SubscriberExt,
    registry::LookupSpan,
    util::SubscriberInitExt,
};

use super::{
    TraceContext,
    log::{self, Log},
    outgoing::OutgoingUrl,
    panics,
    repeats::Limit,
    sentry::Reports,
};
use crate::{
    Secret,
    domain::{Clock, SystemClock, rfc3339},
};

/// Where traces go, and what log lines say of them.
#[derive(Args, Clone, Debug, Default)]
pub struct TelemetrySettings {
    /// Which log lines are written: off, error, warn, info, debug or trace, or targets with levels, such as `info,hyper=warn`; info if it
    /// is not set
    #[arg(long, env = "LOG_LEVEL", value_parser = levels)]
    pub(in crate::web) log_level: Option<String>,
    /// The same, where `LOG_LEVEL` is not set
    #[arg(long, env = "RUST_LOG", value_parser = levels)]
    pub(in crate::web) rust_log: Option<String>,
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

/// Starts logging, once for each process. From here on panics go to the log, too.
pub fn init(settings: &TelemetrySettings) {
    let log = log::open();
    let output = move || -> &'static Log { log };
    let project = settings.google_cloud_project.clone();
    // A second start in one process (a test) keeps the first.
    let is_started = if stdout().is_terminal() {
        let lines = fmt::layer().with_target(false).with_writer(output).log_internal_errors(false);
        tracing_subscriber::registry().with(filter(settings)).with(lines).with(Reports).with(Limit).try_init()
    } else {
        let lines = fmt::layer().event_format(CloudLogging { project }).with_writer(output).log_internal_errors(false);
        tracing_subscriber::registry().with(filter(settings)).with(lines).with(Reports).with(Limit).try_init()
    };
    if is_started.is_ok() {
        std::panic::set_hook(Box::new(log_panic));
    }
}

fn filter(settings: &TelemetrySettings) -> EnvFilter {
    let said = settings.log_level.as_deref().or(settings.rust_log.as_deref()).unwrap_or("info");
    // It was read when the settings were.
    EnvFilter::try_new(said).unwrap_or_else(|_| EnvFilter::new("info"))
}

/// Reads what lines are to be written: `info`, or targets with levels.
fn levels(text: &str) -> Result<String, String> {
    let directives: Vec<&str> = text.split(',').map(str::trim).filter(|directive| !directive.is_empty()).collect();
    for directive in &directives {
        // A word alone would be taken for a target, and silence all others.
        if !directive.contains(['=', '[']) && directive.parse::<LevelFilter>().is_err() {
            return Err(format!(
                "{directive} is no level: off, error, warn, info, debug or trace is wanted, or a target with one, as hyper=warn"
            ));
        }
    }
    let levels = directives.join(",");
    EnvFilter::try_new(&levels).map_err(|error| error.to_string())?;
    Ok(levels)
}

/// Puts a panic into the log. Never waits and never panics: the standard hook writes to the standard error, where nobody may read.
fn log_panic(panic: &PanicHookInfo<'_>) {
    let Some(log) = log::opened() else { return };
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if panics::is_caught() {
        // Whoever catches it puts it into the log.
        panics::place(place);
        return;
    }
    let words = panics::words(panic.payload());
    if !log.repeats().admit_panic(&place, words) {
        return;
    }
    let thread = std::thread::current().name().unwrap_or_default().to_owned();
    let line = if stdout().is_terminal() {
        format!("{} ERROR panic: {words}, at {place} thread={thread}\n", rfc3339(SystemClock.now()))
    } else {
        let mut line = head(Level::ERROR, "panic", None);
        line.insert("message".to_owned(), json!(format!("panic: {words}, at {place}")));
        line.insert("thread".to_owned(), json!(thread));
        format!("{}\n", Value::Object(line))
    };
    log.line(line.as_bytes());
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
        let metadata = event.metadata();
        let mut fields = Fields(head(*metadata.level(), metadata.target(), self.project.as_deref()));
        event.record(&mut fields);
        writeln!(writer, "{}", Value::Object(fields.0))
    }
}

/// What every line begins with.
fn head(level: Level, target: &str, project: Option<&str>) -> Map<String, Value> {
    let mut fields = Map::new();
    fields.insert("severity".to_owned(), json!(severity(level)));
    fields.insert("time".to_owned(), json!(rfc3339(SystemClock.now())));
    fields.insert("target".to_owned(), json!(target));
    if let Some(trace) = TraceContext::current() {
        let id = trace.trace_id();
        let name = project.map_or_else(|| id.clone(), |project| format!("projects/{project}/traces/{id}"));
        fields.insert("logging.googleapis.com/trace".to_owned(), json!(name));
        fields.insert("logging.googleapis.com/spanId".to_owned(), json!(trace.span_id()));
        fields.insert("logging.googleapis.com/trace_sampled".to_owned(), json!(trace.is_sampled));
    }
    fields
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

    #[test]
    fn misspelt_levels_are_refused() {
        for good in ["info", "WARN", "off", "info,hyper=warn"] {
            assert_eq!(levels(good).as_deref(), Ok(good));
        }
        assert_eq!(levels("debug, hyper=warn,").as_deref(), Ok("debug,hyper=warn"));
        for bad in ["inof", "info,hyper", "hyper=loud"] {
            assert!(levels(bad).is_err(), "{bad}");
        }
    }

    /// Set for the process that panics.
    const PANICS: &str = "CODITECT_TEST_PANICS";

    #[test]
    fn panic_goes_to_the_log_and_not_to_the_standard_error() {
        if std::env::var_os(PANICS).is_some() {
            init(&TelemetrySettings::default());
            assert_eq!(LevelFilter::current(), LevelFilter::INFO, "a line for debugging costs a request nothing");
            assert!(std::thread::spawn(|| panic!("a bug")).join().is_err());
            let caught = crate::web::block_on(panics::caught(async { panic!("a caught bug") }));
            assert!(caught.is_err_and(|panic: panics::Panicked| panic.to_string().contains("a caught bug, at ")));
            crate::web::block_on(log::finish());
            return;
        }
        let this = "web::telemetry::tests::panic_goes_to_the_log_and_not_to_the_standard_error";
        let mut process = std::process::Command::new(std::env::current_exe().unwrap());
        let output = process.args(["--exact", this, "--nocapture"]).env(PANICS, "1").output().unwrap();
        let (out, err) = (String::from_utf8(output.stdout).unwrap(), String::from_utf8(output.stderr).unwrap());
        assert!(output.status.success(), "{out}{err}");
        let lines: Vec<Value> = out.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len(), 1, "whoever catches a panic logs it: {out}");
        assert_eq!((&lines[0]["severity"], &lines[0]["target"]), (&json!("ERROR"), &json!("panic")));
        assert!(lines[0]["message"].as_str().unwrap().starts_with("panic: a bug, at "), "{out}");
        assert!(!err.contains("bug"), "{err}");
    }
}
