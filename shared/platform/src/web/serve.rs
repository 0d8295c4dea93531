//! Runs a function: settings, telemetry, engine, server. Nothing here waits for a server: listen first, connect lazily.

use std::{error::Error, process::ExitCode, sync::Arc};

use axum::Router;
use clap::{Args, CommandFactory, Parser};
use prometheus_client::registry::Registry;

use super::{
    HttpSettings, InvalidDsn, Metrics, Parts, TelemetrySettings, command_line, log, panics::caught, sentry, server, spans, telemetry,
};

type BoxError = Box<dyn Error + Send + Sync>;

#[derive(Parser)]
#[command(version)]
struct CommandLine<S: Args> {
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    parts: S,
}

/// Serves one function until SIGTERM, with its settings from the environment. The exit code is 0 after a graceful end.
pub fn serve<P: Parts>(name: &'static str, router: fn(P) -> Router) -> ExitCode {
    let line: CommandLine<P::Settings> = command_line::read(CommandLine::<P::Settings>::command().name(name));
    run(name, line.http, line.parts, router)
}

/// The same with settings that are there already; `router` is called inside the runtime.
pub fn run<P: Parts>(
    name: &'static str,
    http: HttpSettings,
    settings: P::Settings,
    router: impl FnOnce(P) -> Router + Send + 'static,
) -> ExitCode {
    telemetry::init(&http.telemetry);
    let outcome = block_on(reported(async move {
        let outcome = serve_until_told(name, &http, &settings, router).await;
        outcome.inspect_err(|error| tracing::error!(function = name, %error, "cannot serve"))
    }));
    if outcome.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

async fn serve_until_told<P: Parts>(
    name: &'static str,
    http: &HttpSettings,
    settings: &P::Settings,
    router: impl FnOnce(P) -> Router,
) -> Result<(), BoxError> {
    let mut registry = Registry::default();
    start_reporting(name, &http.telemetry, &mut registry)?;
    let parts = P::open(settings, &mut registry)?;
    let ready = {
        let parts = parts.clone();
        move || {
            let parts = parts.clone();
            async move { parts.unreachable().await }
        }
    };
    let limiter = parts.limiter();
    server::run(router(parts), http, Arc::new(Metrics::new(registry)), limiter, ready).await?;
    Ok(())
}

/// Starts to send spans and errors to whoever wants them, once for each process, inside its runtime.
///
/// # Errors
/// [`InvalidDsn`].
pub fn start_reporting(service: &'static str, settings: &TelemetrySettings, registry: &mut Registry) -> Result<(), InvalidDsn> {
    log::register(registry);
    spans::start(service, settings);
    sentry::start(service, settings, registry)
}

/// Does the work of a whole process, and then sends what is left to be told of it and writes what is left of the log, if that takes no
/// longer than half a second. What went wrong is in the log already.
///
/// # Errors
/// Those of the work, and its panic, which is logged here.
pub async fn reported(work: impl Future<Output = Result<(), BoxError>>) -> Result<(), BoxError> {
    let outcome = caught(work).await.unwrap_or_else(|panic| {
        tracing::error!(error = %panic, "the process has panicked");
        Err(format!("panic: {panic}").into())
    });
    tokio::join!(spans::finish(), sentry::finish(), log::finish());
    outcome
}

/// Runs a future on a runtime of its own, and returns with it: threads that still look up a host's name are left behind,
/// for they may outlast the time that is given to a process to end.
///
/// # Panics
/// If the operating system has no threads left.
pub fn block_on<T>(work: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a process can start its threads");
    let outcome = runtime.block_on(work);
    runtime.shutdown_background();
    outcome
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn the_end_does_not_wait_for_a_thread_that_hangs() {
        let (release, hang) = mpsc::channel::<()>();
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || {
            block_on(async {
                let (start, begun) = tokio::sync::oneshot::channel();
                tokio::task::spawn_blocking(move || start.send(()).map(|()| hang.recv()));
                begun.await
            })
            .unwrap();
            done.send(())
        });
        assert!(ended.recv_timeout(std::time::Duration::from_secs(180)).is_ok());
        drop(release);
    }
}
