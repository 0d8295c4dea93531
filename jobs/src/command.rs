//! The command line.

use std::{error::Error, process::ExitCode};

use clap::{Args, Parser, Subcommand};
use platform::{
    db::{self, DatabaseSettings},
    web,
};
use serde_json::{Map, Value, json};

use crate::{
    JobSettings,
    job::Job,
    jobs::JOBS,
    order,
    perform::{Outcome, perform, rehearse},
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
}

/// Runs the command line; the exit code is 0 if it did what it was asked, 2 for a wrong call, else 1.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match CommandLine::parse().command {
        Command::Run(settings) => web::block_on(run_once(settings)),
        Command::List { json } => list(json),
        Command::Migrate(settings) => web::block_on(migrate(settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
async fn run_once(settings: RunSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let RunSettings { job, dry_run, key, args, settings } = settings;
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
    let mut table = "| job | due | at most | what it does |\n|---|---|---|---|\n".to_owned();
    for Job { name, schedule, deadline, summary, .. } in JOBS {
        table += &format!("| `{name}` | {schedule} | {} s | {summary} |\n", deadline.as_secs());
    }
    table
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
async fn migrate(settings: DatabaseSettings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let report = db::migrate(&mut db::connect_as_login(&settings).await?).await?;
    for migration in report.applied_migrations() {
        println!("applied {migration}");
    }
    println!("the database is up to date");
    Ok(())
}
