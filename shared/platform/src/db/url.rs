//! Reads `DATABASE_URL`. Never repeats it.

use tokio_postgres::{Config, config::Host};

use crate::Secret;

/// Takes a URL that `tokio_postgres` reads and that says where PostgreSQL is.
pub(super) fn database_url(text: &str) -> Result<Secret, &'static str> {
    let text = text.trim();
    let config: Config = text.parse().map_err(
        |_| "must be postgres://user:password@host:port/database?sslmode=…; special characters of a password are percent-encoded",
    )?;
    let is_nowhere = config.get_hosts().iter().all(|host| matches!(host, Host::Tcp(name) if name.is_empty()));
    if is_nowhere && config.get_hostaddrs().is_empty() {
        return Err("names no host: postgres://user:password@host:port/database?sslmode=… is wanted");
    }
    Ok(Secret::from(text.to_owned()))
}
