//! `standalone serve`: every function on one port, and the jobs on timers.

use std::{process::ExitCode, sync::Arc, time::Duration};

use axum::Router;
use clap::Args;
use platform::{
    db::{Database, Role},
    domain::{Clock, SystemClock},
    seats::Sweeper,
    signing::{self, KeyRotation, PublishedKeys, RootSigner},
    web::{self, AcquireParts, AcquireSettings, HttpSettings, Public, ValidateParts},
};
use tokio::time::{MissedTickBehavior, interval};

use jobs::{RootSettings, ScheduleSettings};

use crate::local_issuer::LocalIssuerSettings;

/// Seconds between two looks at the keys, and at licenses that have changed since their documents were signed.
const SIGNING_INTERVAL: u64 = 10;

#[derive(Args, Clone, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    function: AcquireSettings,
    #[command(flatten)]
    root: RootSettings,
    #[command(flatten)]
    schedule: ScheduleSettings,
    #[command(flatten)]
    local_issuer: LocalIssuerSettings,
    /// Seconds between two sweeps: at most a twelfth of the shortest session TTL in use
    #[arg(long, env = "SWEEP_INTERVAL", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..))]
    sweep_interval: u64,
}

pub(super) fn run(settings: Settings) -> ExitCode {
    let Settings { http, mut function, root, schedule, local_issuer, sweep_interval } = settings;
    let opened = || {
        let jobs = Database::new(&function.signed.seats.database, Role::Jobs).map_err(|error| error.to_string())?;
        let root = root.open().map_err(|error| error.to_string())?;
        Ok::<_, String>((jobs, root, local_issuer.open(http.host)?))
    };
    let (jobs, root) = match opened() {
        Ok((jobs, root, local)) => {
            if let Some(issuer) = local {
                function.authentication.oidc_issuers.push(issuer);
            }
            (jobs, root)
        }
        Err(error) => {
            eprintln!("error: {error}");
            return ExitCode::FAILURE;
        }
    };
    let sealing = function.signed.sealing.sealing_key.clone();
    web::run("standalone", http, function, move |parts: AcquireParts| {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let rotation = KeyRotation::new(jobs.clone(), Arc::clone(&root), sealing, schedule.into(), Arc::clone(&clock));
        let keys = Arc::new(PublishedKeys::new(parts.signed.seats.database().clone(), clock));
        let public = Public { keys, limiter: Arc::clone(parts.signed.seats.limiter()) };
        tokio::spawn(sweep(Sweeper::new(Arc::clone(&parts.signed.seats), jobs.clone()), Duration::from_secs(sweep_interval)));
        tokio::spawn(sign(rotation, jobs, root));
        router(parts, public)
    })
}

fn router(parts: AcquireParts, public: Public) -> Router {
    let AcquireParts { signed, callers } = parts.clone();
    Router::new()
        .merge(acquire::router(parts))
        .merge(heartbeat::router(signed.clone()))
        .merge(release::router(Arc::clone(&signed.seats)))
        .merge(validate::router(ValidateParts { seats: signed.seats, callers }))
        .merge(discovery::router(public))
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

async fn sign(rotation: KeyRotation, jobs: Database, root: Arc<dyn RootSigner>) {
    // A leaf that signs for less than the interval is a test's: then the keys are looked at more often.
    let mut timer = interval(rotation.schedule().signs_for.min(Duration::from_secs(SIGNING_INTERVAL)) / 2);
    timer.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        timer.tick().await;
        if let Err(error) = rotation.rotate().await {
            tracing::error!(%error, "the keys could not be rotated; it is tried again");
        }
        match signing::sign_changed(&jobs, &*root, SystemClock.now()).await {
            Ok(0) => {}
            Ok(licenses) => tracing::info!(licenses, "license documents signed"),
            Err(error) => tracing::error!(%error, "license documents could not be signed; it is tried again"),
        }
    }
}
