//! Migrations: numbered SQL files beside this module, each run once, in order, in a transaction.

use refinery::Report;

refinery::embed_migrations!("src/db/migrations");

/// Names the set of migrations: it changes with any of them. Test databases are cloned from a template of this name.
pub const MIGRATIONS_HASH: &str = env!("MIGRATIONS_HASH");

// Rights on a database are no part of a copy or of a backup, so a migration alone would not do.
const REVOKE_PUBLIC_RIGHTS: &str = "-- db::revoke_public_rights\nSELECT public.revoke_public_rights()";

/// Brings a database up to date. Does nothing to one that is; two at once wait for each other.
///
/// # Errors
/// The first migration that fails, by name; those before it stay. Or that the login may not revoke what PUBLIC is granted.
pub async fn migrate(client: &mut tokio_postgres::Client) -> Result<Report, Box<dyn std::error::Error + Send + Sync>> {
    // Any constant will do: it only has to be the same for everyone who migrates.
    client.query("-- db::lock_migrations\nSELECT pg_advisory_lock(7205759403)", &[]).await?;
    let report = migrations::runner().run_async(client).await;
    let revoked = if report.is_ok() { client.execute(REVOKE_PUBLIC_RIGHTS, &[]).await } else { Ok(0) };
    client.query("-- db::unlock_migrations\nSELECT pg_advisory_unlock(7205759403)", &[]).await?;
    revoked?;
    Ok(report?)
}
