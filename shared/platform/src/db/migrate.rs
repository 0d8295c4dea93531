//! Migrations: numbered SQL files beside this module, each run once, in order, in a transaction.

use refinery::Report;

refinery::embed_migrations!("src/db/migrations");

/// Names the set of migrations: it changes with any of them. Test databases are cloned from a template of this name.
pub const MIGRATIONS_HASH: &str = env!("MIGRATIONS_HASH");

/// Brings a database up to date. Does nothing to one that is; two at once wait for each other.
///
/// # Errors
/// The first migration that fails, by name; those before it stay.
pub async fn migrate(client: &mut tokio_postgres::Client) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    // Any constant will do: it only has to be the same for everyone who migrates.
    client.query("-- db::lock_migrations\nSELECT pg_advisory_lock(7205759403)", &[]).await?;
    let report = migrations::runner().run_async(client).await;
    client.query("-- db::unlock_migrations\nSELECT pg_advisory_unlock(7205759403)", &[]).await?;
    Ok(report?)
}
