//! Where PostgreSQL is, and how much of it one process may use.

use std::time::Duration;

use clap::Args;
use tokio_postgres::{
    Config,
    config::{SslMode, TargetSessionAttrs},
};

use super::{Error, tls};
use crate::Secret;

/// What tokio-postgres takes where a URL says nothing: so long no server behind a firewall is kept in mind.
const DEFAULT_KEEPALIVES_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// Where PostgreSQL is, and how much of it one process may use.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// PostgreSQL, as postgres://user:password@host:port/database?sslmode=…; of several hosts (host1:port,host2:port) the
    /// first that takes writes is used
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = super::url::database_url)]
    pub database_url: Secret,
    /// File with the PEM certificates that PostgreSQL's server certificate must lead to, besides the system's
    #[arg(long, env = "DATABASE_CA_FILE")]
    pub database_ca_file: Option<std::path::PathBuf>,
    /// Connections that one process opens at the most
    #[arg(long, env = "DATABASE_POOL_SIZE", default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub database_pool_size: u32,
    /// Milliseconds that PostgreSQL may take for one operation, at most half of them to give a connection
    #[arg(long, env = "DATABASE_TIMEOUT_MS", default_value_t = 2000, value_parser = clap::value_parser!(u32).range(100..=20_000))]
    pub database_timeout_ms: u32,
}

impl DatabaseSettings {
    /// How long one operation may take, waiting for a connection included.
    pub(super) const fn timeout(&self) -> Duration {
        Duration::from_millis(self.database_timeout_ms as u64)
    }

    /// How long a connection may take, a new one or one from the pool.
    pub(super) fn connect_timeout(&self) -> Duration {
        self.timeout() / 2
    }

    /// How long PostgreSQL itself goes on with a statement that nobody may wait for any more.
    pub(super) fn statement_timeout(&self) -> Duration {
        self.timeout() + Duration::from_secs(3)
    }

    /// How to connect.
    pub(super) fn config(&self) -> Result<Config, Error> {
        let url = self.database_url.expose();
        let mut config: Config = url.parse().map_err(|_| Error::Settings("DATABASE_URL is not a PostgreSQL URL".to_owned()))?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err(Error::Settings("DATABASE_URL names no host".to_owned()));
        }
        config.connect_timeout(self.connect_timeout());
        // The kernel gives a connection up whose bytes or probes nobody acknowledges: a server that lost its power sends no end.
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(self.statement_timeout());
        }
        if config.get_keepalives_idle() == DEFAULT_KEEPALIVES_IDLE {
            config.keepalives_idle(Duration::from_secs(15)).keepalives_interval(Duration::from_secs(5)).keepalives_retries(3);
        }
        if config.get_application_name().is_none() {
            config.application_name("coditect");
        }
        if !url.contains("target_session_attrs=") {
            config.target_session_attrs(TargetSessionAttrs::ReadWrite);
        }
        // Where the URL leaves it open, a connection that never leaves the machine goes without TLS; any other must have it
        // if the server offers it, and what the server shows is checked.
        if config.get_ssl_mode() == SslMode::Prefer && tls::is_local(&config) {
            config.ssl_mode(SslMode::Disable);
        }
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Result<Config, Error> {
        let database_url = Secret::from(url.to_owned());
        DatabaseSettings { database_url, database_ca_file: None, database_pool_size: 1, database_timeout_ms: 2000 }.config()
    }

    #[test]
    fn sockets_get_user_timeout_and_keepalive_unless_the_url_sets_them() {
        let default = config("postgres://db/x").unwrap();
        assert_eq!(default.get_tcp_user_timeout(), Some(&Duration::from_secs(5)));
        assert_eq!(default.get_keepalives_idle(), Duration::from_secs(15));
        let own = config("postgres://db/x?tcp_user_timeout=7&keepalives_idle=8").unwrap();
        assert_eq!(own.get_tcp_user_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(own.get_keepalives_idle(), Duration::from_secs(8));
    }

    #[test]
    fn connections_must_take_writes_unless_the_url_says_otherwise() {
        assert_eq!(config("postgres://a,b/x").unwrap().get_target_session_attrs(), TargetSessionAttrs::ReadWrite);
        assert_eq!(config("postgres://a/x?target_session_attrs=any").unwrap().get_target_session_attrs(), TargetSessionAttrs::Any);
    }

    #[test]
    fn url_without_host_is_refused() {
        for url in ["", "postgres://", "postgres:///x"] {
            assert!(matches!(config(url), Err(Error::Settings(_))), "{url}");
        }
    }
}
