//! `standalone serve`: every function on one port, and the jobs on their schedules.

use std::{error::Error, process::ExitCode, sync::Arc};

use admin::{AdminParts, Store};
use axum::Router;
use clap::Args;
use jobs::{JobSettings, RetentionSettings, ScheduleSettings, cron, job};
use kms::RootSettings;
use platform::{
    db::{Database, Role},
    domain::{SystemClock, Vouching},
    seats::{Limiter, RedisLink},
    signing::PublishedKeys,
    web::{self, AcquireParts, AcquireSettings, HttpSettings, Parts, Public, ValidateParts},
};
use prometheus_client::registry::Registry;

use crate::local_issuer::LocalIssuerSettings;

/// Seconds between two looks at the keys, and at licenses that have changed since their documents were signed.
const SIGNING_INTERVAL: u64 = 5;

#[derive(Args, Clone, Debug)]
pub(super) struct Settings {
    #[command(flatten)]
    http: HttpSettings,
    #[command(flatten)]
    local_issuer: LocalIssuerSettings,
    #[command(flatten)]
    everything: EverythingSettings,
}

/// What functions and jobs need to know.
#[derive(Args, Clone, Debug)]
struct EverythingSettings {
    #[command(flatten)]
    function: AcquireSettings,
    #[command(flatten)]
    root: RootSettings,
    #[command(flatten)]
    schedule: ScheduleSettings,
    #[command(flatten)]
    retention: RetentionSettings,
    /// Seconds between two sweeps: at most a twelfth of the shortest session TTL in use, and so at most 7200
    #[arg(long, env = "SWEEP_INTERVAL", default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=7200))]
    sweep_interval: u64,
}

/// The parts of every function, and of the jobs.
#[derive(Clone, Debug)]
struct Everything {
    functions: AcquireParts,
    public: Public,
    admin: AdminParts,
    jobs: job::Context,
    sweep_interval: u64,
}

impl Parts for Everything {
    type Settings = EverythingSettings;

    fn open(settings: &EverythingSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let EverythingSettings { function, root, schedule, retention, sweep_interval } = settings.clone();
        let functions = AcquireParts::open(&function, registry)?;
        let (seats, seat_settings) = (&functions.signed.seats, function.signed.seats);
        let keys = Arc::new(PublishedKeys::new(seats.database().clone(), Arc::new(SystemClock)));
        let public = Public { keys, limiter: functions.limiter() };
        let redis = RedisLink::new(&seat_settings.redis)?;
        let admin = Database::new(&seat_settings.database, Role::Admin)?;
        let (database, redis_settings, sealing) = (seat_settings.database, seat_settings.redis, function.signed.sealing);
        let jobs = JobSettings { database, redis: redis_settings, sealing: sealing.clone(), root, schedule, retention };
        let jobs = jobs.open_with(redis, Arc::clone(seats))?;
        jobs.meter.register(registry);
        let admin = AdminParts {
            store: Store::new(admin),
            seats: Arc::clone(seats),
            callers: Arc::clone(&functions.callers),
            root: Arc::clone(&jobs.root),
            sealing: sealing.sealing_key,
            clock: Arc::clone(&jobs.clock),
        };
        Ok(Self { functions, public, admin, jobs, sweep_interval })
    }

    async fn unreachable(&self) -> Vec<&'static str> {
        self.functions.unreachable().await
    }

    fn limiter(&self) -> Arc<Limiter> {
        self.functions.limiter()
    }
}

pub(super) fn run(settings: Settings) -> ExitCode {
    let Settings { http, local_issuer, mut everything } = settings;
    match local_issuer.open(http.host) {
        Ok(None) => {}
        // Whoever may read its key file may read the database's password, too.
        Ok(Some(issuer)) => everything.function.authentication.oidc_issuers.push(issuer.vouching_for(Vouching::everybody())),
        Err(error) => {
            web::print_error(&format!("error: {error}"));
            return ExitCode::FAILURE;
        }
    }
    web::run("standalone", http, everything, |everything: Everything| {
        cron::start(&everything.jobs, &[("sweep-sessions", everything.sweep_interval), ("rotate-keys", SIGNING_INTERVAL)]);
        router(everything.functions, everything.public).merge(admin::router(everything.admin))
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
