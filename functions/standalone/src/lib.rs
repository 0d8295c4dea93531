//! Every function and job in one process: for a laptop, and for customers who run the platform on their own premises.

mod bootstrap;
mod keys;
mod local_issuer;
mod openapi;
mod people;
mod serve;

use std::{path::PathBuf, process::ExitCode};

use clap::{Parser, Subcommand};
use platform::{db::DatabaseSettings, signing::LocalRoot, web};

/// CODITECT's license platform in one process.
#[derive(Debug, Parser)]
#[command(name = "standalone", version)]
struct CommandLine {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Serves every function on one port, sweeps zombies and rotates keys
    Serve(Box<serve::Settings>),
    /// Brings the database up to date; does nothing if it is
    Migrate(DatabaseSettings),
    /// Makes a tenant, its owner and a license, and prints the license key, which is shown only this once
    Bootstrap(bootstrap::Settings),
    /// Invites somebody to the vendor's staff, who is over all tenants
    InviteStaff(people::InviteStaff),
    /// Makes a person of each standing in a tenant, and prints tokens for them that are good where `serve` has `--local-issuer`
    DemoPeople(people::DemoPeople),
    /// Makes a root key in a new file; it is never made anew where one is
    MakeRoot {
        /// The file
        file: PathBuf,
    },
    /// Prints the OpenAPI document of the whole API, made from every function's own description
    Openapi,
    /// Rotates or revokes leaf keys
    Keys(keys::Settings),
}

/// Runs the command line; the exit code is 0 if it did what it was asked, 2 for a wrong call, else 1.
#[must_use]
pub fn run() -> ExitCode {
    let outcome = match web::command_line::<CommandLine>().command {
        Command::Serve(settings) => return serve::run(*settings),
        Command::Migrate(settings) => web::block_on(jobs::migrate(settings)),
        Command::Bootstrap(settings) => web::block_on(bootstrap::run(settings)),
        Command::Openapi => openapi::print(),
        Command::InviteStaff(settings) => web::block_on(people::invite_staff(settings)),
        Command::DemoPeople(settings) => web::block_on(people::demo_people(settings)),
        Command::MakeRoot { file } => LocalRoot::make(&file).map_err(Into::into),
        Command::Keys(settings) => web::block_on(keys::run(settings)),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            web::print_error(&format!("error: {error}"));
            ExitCode::FAILURE
        }
    }
}
