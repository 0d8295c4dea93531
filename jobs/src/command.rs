//! The command line.

use std::{error::Error, net::IpAddr, process::ExitCode, sync::Arc};

use clap::{Args, Parser, Subcommand};
use platform::{
    db::{self, DatabaseSettings},
    web::{self, Metrics},
};
use prometheus_client::registry::Registry;
use serde_json::{Map, Value, json};
use tokio::signal::unix::{SignalKind, signal};

use crate::{
    JobSettings,
    job::{Failure, Job},
    jobs::JOBS,
    order,
    perform::{Outcome, perform, rehearse},
    pubsub::PubSubSettings,
    worker::Worker,
};

/// Runs what happens on a schedule.
#[derive(Debug, Parser)]
#[command(name = "jobs", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Does what the messages of a Pub/Sub subscription ask for, until SIGTERM
    Worker(WorkerSettings),
    /// Runs one job once, now, and prints what it has done
    Run(RunSettings),
    /// Prints every job and when it is due
    List {
        /// Print JSON instead of a table in Markdown
        #[arg(long)]
        json: bool,
    },
    /// Brings the database up to date; does nothing if it is
    Migrate(DatabaseSettings),
}

#[derive(Args, Debug)]
struct WorkerSettings {
    #[command(flatten)]
    jobs: JobSettings,
    #[command(flatten)]
    pubsub: PubSubSettings,
    /// Address of the metrics page: whoever reads it from another machine or container needs another one than this machine's own
    #[arg(long, env = "METRICS_HOST", default_value = "127.0.0.1")]
    metrics_host: IpAddr,
    /// Port of the metrics page; 0 picks a free one and logs it
    #[arg(long, env = "METRICS_PORT", default_value_t = 9090)]
    metrics_port: u16,
    #[command(flatten)]
    telemetry: web::TelemetrySettings,
}

#[derive(Args, Debug)]
struct RunSettings {
    /// The job, as `jobs list` names it
    #[arg(value_parser = |name: &str| order::job(name).ok_or("there is no such job: `jobs list` names them"))]
    job: &'static Job,
    /// Tell what it would do, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Business key: a run that was done for it is not done again
    #[arg(long, conflicts_with = "dry_run")]
    key: Option<String>,
    /// What else the job should know: a JSON object
    #[arg(long, value_parser = |text: &str| serde_json::from_str::<Map<String, Value>>(text), default_value = "{}")]
    args: Map<String, Value>,
    #[command(flatten)]
    settings: JobSettings,
    #[command(flatten)]
    telemetry: web::TelemetrySettings,
}

/// Runs the command line; the exit code is 0 if it did what it was asked, 2 for a wrong call, else 1.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match web::command_line::<CommandLine>().command {
        Command::Worker(settings) => web::block_on(work(settings)),
        Command::Run(settings) => web::block_on(web::reported(run_once(settings))),
        Command::List { json } => list(json),
        Command::Migrate(settings) => web::block_on(migrate(settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            web::print_error(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}

async fn work(settings: WorkerSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    web::start_logging(&settings.telemetry);
    let work = async { work_until_told(settings).await.inspect_err(|error| tracing::error!(%error, "cannot work")) };
    web::reported(Box::pin(work)).await
}

async fn work_until_told(settings: WorkerSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let mut registry = Registry::default();
    web::start_reporting("worker", &settings.telemetry, &mut registry)?;
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let stop = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    let context = settings.jobs.open()?;
    context.meter.register(&mut registry);
    context.engine.register(&mut registry);
    let metrics = web::serve_metrics(settings.metrics_host, settings.metrics_port, Arc::new(Metrics::new(registry))).await?;
    tracing::info!(%metrics, subscription = settings.pubsub.pubsub_subscription, "ready to work");
    Worker::new(context, JOBS).run(&settings.pubsub, stop).await
}

async fn run_once(settings: RunSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    web::start_reporting("jobs", &settings.telemetry, &mut Registry::default())?;
    let (job, dry_run) = (settings.job.name, settings.dry_run);
    print_run(settings).await.inspect_err(|error| {
        // Faults of ours are in the log of the run.
        if dry_run || !matches!(error.downcast_ref(), Some(Failure::Panic(_) | Failure::Ours(_))) {
            tracing::error!(job, %error, "cannot be done");
        }
    })
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
async fn print_run(settings: RunSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let RunSettings { job, dry_run, key, args, settings, .. } = settings;
    let context = settings.open()?;
    let (state, counts) = if dry_run {
        ("would be done", Some(rehearse(&context, job, args).await?))
    } else {
        match perform(&context, job, key.as_deref(), args).await? {
            Outcome::Done(counts) => ("done", Some(counts)),
            Outcome::DoneBefore => ("done before", None),
        }
    };
    println!("{}", json!({ "job": job.name, "state": state, "counts": counts }));
    Ok(())
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
fn list(as_json: bool) -> Result<(), Box<dyn Error + Send + Sync>> {
    if as_json {
        let jobs: Vec<Value> = JOBS.iter().map(|job| described(job)).collect();
        println!("{}", serde_json::to_string_pretty(&jobs)?);
    } else {
        print!("{}", table());
    }
    Ok(())
}

/// What a scheduler needs to know.
fn described(job: &Job) -> Value {
    let mut message = json!({ "job": job.name });
    if job.schedule.runs_a_tick() > 1 {
        message["args"] = json!({ "times": job.schedule.runs_a_tick() });
    }
    json!({
        "job": job.name, "summary": job.summary, "cron": job.schedule.cron(), "message": message,
        "period_seconds": job.schedule.period().as_secs(), "deadline_seconds": job.deadline.as_secs(),
    })
}

/// The table of the runbook.
fn table() -> String {
    let line = |job: &&Job| format!("| `{}` | {} | {} s | {} |\n", job.name, job.schedule, job.deadline.as_secs(), job.summary);
    let lines: String = JOBS.iter().map(line).collect();
    format!("| job | due | at most | what it does |\n|---|---|---|---|\n{lines}")
}

/// Brings the database up to date and says so, as whoever owns the tables.
///
/// # Errors
/// Whatever keeps it from being so.
#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub async fn migrate(settings: DatabaseSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let report = db::migrate(&mut db::connect_as_login(&settings).await?).await?;
    for migration in report.applied_migrations() {
        println!("applied {migration}");
    }
    println!("the database is up to date");
    Ok(())
}
