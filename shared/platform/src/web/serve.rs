//! Runs a function: settings, telemetry, engine, server. Nothing here waits for a server: listen first, connect lazily.

use std::{process::ExitCode, sync::Arc};

use axum::Router;
use clap::{Args, CommandFactory, FromArgMatches, Parser};

use super::{HttpSettings, Metrics, server, telemetry};
use crate::{
    db::{Database, DatabaseSettings, Role},
    domain::SystemClock,
    seats::{Engine, RedisLink, RedisSettings},
};

/// What every function on the seats needs to know.
#[derive(Args, Clone, Debug)]
pub struct FunctionSettings {
    /// The HTTP server.
    #[command(flatten)]
    pub http: HttpSettings,
    /// PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisSettings,
}

#[derive(Parser)]
#[command(version)]
struct CommandLine {
    #[command(flatten)]
    settings: FunctionSettings,
}

/// Serves one function until SIGTERM, with its settings from the environment. The exit code is 0 after a graceful end.
pub fn serve(name: &'static str, router: fn(Arc<Engine>) -> Router) -> ExitCode {
    let matches = CommandLine::command().name(name).get_matches();
    match CommandLine::from_arg_matches(&matches) {
        Ok(line) => run(name, line.settings, router),
        Err(error) => error.exit(),
    }
}

/// The same with settings that are there already; `router` is called inside the runtime.
pub fn run(name: &'static str, settings: FunctionSettings, router: impl FnOnce(Arc<Engine>) -> Router + Send + 'static) -> ExitCode {
    telemetry::init();
    let outcome = block_on(async move {
        let redis = RedisLink::new(&settings.redis)?;
        let database = Database::new(&settings.database, Role::Functions)?;
        let engine = Arc::new(Engine::new(redis, database, Arc::new(SystemClock)));
        let metrics = Arc::new(Metrics::new(|registry| engine.register(registry)));
        let ready = {
            let engine = Arc::clone(&engine);
            move || {
                let engine = Arc::clone(&engine);
                async move { engine.unreachable().await }
            }
        };
        server::run(router(engine), &settings.http, metrics, ready).await?;
        Ok::<(), Box<dyn std::error::Error + Send + Sync>>(())
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!(function = name, %error, "cannot serve");
            ExitCode::FAILURE
        }
    }
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
        assert!(ended.recv_timeout(std::time::Duration::from_secs(10)).is_ok());
        drop(release);
    }
}
