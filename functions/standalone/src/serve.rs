//! `standalone serve`: every function on one port, and the sweep on a timer.

use std::{process::ExitCode, sync::Arc, time::Duration};

use axum::Router;
use clap::Args;
use platform::{
    db::{Database, Role},
    seats::{Engine, Sweeper},
    web::{self, FunctionSettings},
};
use tokio::time::{MissedTickBehavior, interval};

#[derive(Args, Clone, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    function: FunctionSettings,
    /// Seconds between two sweeps: at most a twelfth of the shortest session TTL in use
    #[arg(long, env = "SWEEP_INTERVAL", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    sweep_interval: u64,
}

pub(super) fn run(settings: Settings) -> ExitCode {
    let Settings { function, sweep_interval } = settings;
    let jobs = match Database::new(&function.database, Role::Jobs) {
        Ok(jobs) => jobs,
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    web::run("standalone", function, move |engine| {
        tokio::spawn(sweep(Sweeper::new(Arc::clone(&engine), jobs), Duration::from_secs(sweep_interval)));
        router(&engine)
    })
}

fn router(engine: &Arc<Engine>) -> Router {
    Router::new()
        .merge(acquire::router(Arc::clone(engine)))
        .merge(heartbeat::router(Arc::clone(engine)))
        .merge(release::router(Arc::clone(engine)))
        .merge(validate::router(Arc::clone(engine)))
}

async fn sweep(sweeper: Sweeper, every: Duration) {
    let mut timer = interval(every);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        match sweeper.sweep().await {
            Ok(report) => tracing::debug!(?report, "swept"),
            Err(error) => tracing::warn!(%error, "a sweep failed; the next one goes on"),
        }
    }
}
