//! What goes wrong, told to Sentry (<https://develop.sentry.dev/sdk/data-model/envelopes/>), if there is a DSN: errors of the log, and
//! panics. Written out here, as spans are: an envelope is three lines, and `sentry` 0.49, with panics, tracing and reqwest, would bring
//! twenty-two crates that no function has, a second HTTP client and a reader of debug symbols among them.
//!
//! Nobody waits for Sentry: what finds the queue full is lost, and counted.

use std::{
    panic::PanicHookInfo,
    sync::OnceLock,
    time::{Duration, Instant},
};

use prometheus_client::{metrics::counter::Counter, registry::Registry};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, oneshot},
    time::timeout,
};
use tracing::level_filters::LevelFilter;
use tracing_subscriber::{layer::SubscriberExt, util::SubscriberInitExt};

use super::{
    TelemetrySettings,
    outgoing::{CannotCall, post},
};
use crate::domain::{Clock, SystemClock, rfc3339};

mod dsn;
mod event;

use dsn::Dsn;
pub use dsn::InvalidDsn;
pub(super) use event::Reports;
use event::{Origin, panicked};

/// Events that wait to be sent.
const WAITING: usize = 64;
/// How long the last ones may take when a process ends.
const LAST: Duration = Duration::from_millis(500);
/// How long to be silent if that is asked for and not said.
const SILENCE: Duration = Duration::from_secs(60);
/// How long to be silent at the most, whatever is said.
const LONGEST: Duration = Duration::from_secs(60 * 60);

static REPORTER: OnceLock<Reporter> = OnceLock::new();

#[derive(Debug)]
struct Reporter {
    queue: mpsc::Sender<Queued>,
    lost: Counter,
    origin: Origin,
}

#[derive(Debug)]
enum Queued {
    Event(Value),
    Flush(oneshot::Sender<()>),
}

impl Reporter {
    fn report(&self, event: Value) {
        if self.queue.try_send(Queued::Event(event)).is_err() {
            self.lost.inc();
        }
    }
}

/// Starts to tell, if there is somebody to tell. Once for each process, inside its runtime.
///
/// # Errors
/// [`InvalidDsn`], which shows nothing of it.
pub(super) fn start(service: &'static str, settings: &TelemetrySettings, registry: &mut Registry) -> Result<(), InvalidDsn> {
    let Some(text) = settings.sentry_dsn.as_ref().map(|dsn| dsn.expose().trim()).filter(|text| !text.is_empty()) else { return Ok(()) };
    let dsn: Dsn = text.parse()?;
    let (queue, waiting) = mpsc::channel(WAITING);
    let lost = Counter::default();
    let origin = Origin {
        service,
        release: settings.sentry_release.clone().unwrap_or_else(|| concat!("coditect@", env!("CARGO_PKG_VERSION")).to_owned()),
        environment: settings.sentry_environment.clone().or_else(|| settings.google_cloud_project.clone()),
    };
    if REPORTER.set(Reporter { queue, lost: lost.clone(), origin }).is_ok() {
        registry.register("coditect_sentry_lost", "Errors that Sentry was not told of", lost.clone());
        tokio::spawn(send_all(dsn, waiting, lost));
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            before(panic);
            report_panic(panic);
        }));
        // A process that keeps no log has errors, too.
        let _ = tracing_subscriber::registry().with(LevelFilter::ERROR).with(Reports).try_init();
    }
    Ok(())
}

fn report_panic(panic: &PanicHookInfo<'_>) {
    if let Some(reporter) = REPORTER.get()
        && let Some(event) = panicked(&reporter.origin, panic)
    {
        reporter.report(event);
    }
}

/// Sends what is left, if that takes no longer than a moment.
pub(super) async fn finish() {
    let Some(reporter) = REPORTER.get() else { return };
    let (done, sent) = oneshot::channel();
    let flush = async {
        if reporter.queue.send(Queued::Flush(done)).await.is_ok() {
            let _ = sent.await;
        }
    };
    let _ = timeout(LAST, flush).await;
}

async fn send_all(dsn: Dsn, mut waiting: mpsc::Receiver<Queued>, lost: Counter) {
    let mut silent_until = None;
    while let Some(queued) = waiting.recv().await {
        let event = match queued {
            Queued::Event(event) => event,
            Queued::Flush(done) => {
                let _ = done.send(());
                continue;
            }
        };
        if silent_until.is_some_and(|until| Instant::now() < until) {
            lost.inc();
            continue;
        }
        let header = [("x-sentry-auth", dsn.auth()), ("content-type", "application/x-sentry-envelope")];
        // It has a deadline of its own.
        if let Err(error) = post(&dsn.url, &header, envelope(&event)).await {
            lost.inc();
            if let CannotCall::TooMany(wait) = error {
                silent_until = Some(Instant::now() + wait.unwrap_or(SILENCE).min(LONGEST));
            }
            tracing::warn!(%error, lost = lost.get(), "Sentry could not be told of an error");
        }
    }
}

fn envelope(event: &Value) -> Vec<u8> {
    let payload = event.to_string();
    let head = json!({ "event_id": event["event_id"], "sent_at": rfc3339(SystemClock.now()) });
    let item = json!({ "type": "event", "length": payload.len(), "content_type": "application/json" });
    format!("{head}\n{item}\n{payload}\n").into_bytes()
}

#[cfg(test)]
mod tests;
