//! `standalone keys`: what the key jobs do, by hand.

use std::{error::Error, sync::Arc};

use clap::{Args, Subcommand};
use kms::RootSettings;
use platform::{
    db::{Database, DatabaseSettings, Role},
    domain::{Clock, SystemClock},
    signing::{self, KeyRotation, SealingSettings},
};

use jobs::ScheduleSettings;

#[derive(Args, Debug)]
pub(super) struct Settings {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Makes, changes and retires leaf keys as is due, and signs license documents that have changed
    Rotate(With),
    /// Puts a leaf key on the revocation list, destroys it, and lets another one sign at once
    Revoke {
        /// The key's id
        kid: String,
        #[command(flatten)]
        with: With,
    },
}

#[derive(Args, Debug)]
struct With {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    sealing: SealingSettings,
    #[command(flatten)]
    root: RootSettings,
    #[command(flatten)]
    schedule: ScheduleSettings,
}

#[expect(clippy::print_stdout, reason = "this is what the command is for")]
pub(super) async fn run(settings: Settings) -> Result<(), Box<dyn Error + Send + Sync>> {
    let (with, kid) = match settings.command {
        Command::Rotate(with) => (with, None),
        Command::Revoke { kid, with } => (with, Some(kid)),
    };
    let database = Database::new(&with.database, Role::Jobs)?;
    let root = with.root.open()?;
    let rotation =
        KeyRotation::new(database.clone(), Arc::clone(&root), with.sealing.sealing_key, with.schedule.into(), Arc::new(SystemClock));
    if let Some(kid) = kid {
        if !rotation.revoke(&kid).await? {
            return Err(format!("there is no key {kid} that is not revoked already").into());
        }
        println!("revoked {kid}");
        return Ok(());
    }
    let rotated = rotation.rotate().await?;
    let signed = signing::sign_changed(&database, &*root, SystemClock.now()).await?;
    println!("{rotated:?}, {signed} license documents signed");
    Ok(())
}
