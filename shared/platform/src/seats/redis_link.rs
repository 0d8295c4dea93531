//! The way to Redis: one server or a cluster, opened when first used, kept up by itself.

mod connections;
mod fault;
mod keeper;
mod meter;
mod opener;
mod primaries;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use prometheus_client::registry::Registry;
use redis::{Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, RedisError, RedisResult, TlsCertificates, Value};
use rustls::pki_types::{CertificateDer, pem::PemObject};

use super::redis_url::redis_url;
use crate::{Secret, domain::UnreadyReason};
use connections::Connections;
pub(super) use fault::{reason, words};
use opener::Opener;

/// For how long a connection on which calls wait may be without any answer.
const SILENCE: Duration = Duration::from_secs(3);

/// Where Redis is.
#[derive(Args, Clone, Debug)]
pub struct RedisSettings {
    /// Redis, as redis://:password@host:port or rediss://…; several, with commas between them, name the nodes of a cluster
    #[arg(long, env = "REDIS_URL", hide_env_values = true, value_parser = redis_url)]
    pub redis_url: Secret,
    /// File with the PEM certificates of the CA that signed Redis' certificate: nothing else is trusted, and names in the certificate do not count
    #[arg(long, env = "REDIS_CA_FILE")]
    pub redis_ca_file: Option<PathBuf>,
    /// Milliseconds that Redis may take to answer a call or to accept a connection
    #[arg(long, env = "REDIS_TIMEOUT_MS", default_value_t = 800, value_parser = clap::value_parser!(u32).range(50..=20_000))]
    pub redis_timeout_ms: u32,
}

impl RedisSettings {
    const fn timeout(&self) -> Duration {
        Duration::from_millis(self.redis_timeout_ms as u64)
    }

    fn nodes(&self) -> RedisResult<Vec<ConnectionInfo>> {
        let nodes = self.redis_url.expose().split(',').map(|url| url.trim().into_connection_info()).collect::<RedisResult<Vec<_>>>()?;
        for node in &nodes {
            match node.addr() {
                // The crate takes a URL with #insecure to mean that any certificate will do.
                ConnectionAddr::TcpTls { insecure: true, .. } => return Err(refused("REDIS_URL", "#insecure is not accepted".to_owned())),
                ConnectionAddr::TcpTls { .. } => {}
                _ if self.redis_ca_file.is_some() => {
                    return Err(refused("REDIS_CA_FILE", "REDIS_URL must begin with rediss://".to_owned()));
                }
                _ => {}
            }
        }
        Ok(nodes)
    }

    /// What Redis' certificate must lead to, if it is not the system's certificates.
    fn authority(&self) -> RedisResult<Option<TlsCertificates>> {
        let Some(file) = &self.redis_ca_file else { return Ok(None) };
        let root_cert = std::fs::read(file).map_err(|error| unusable(file, &error))?;
        match CertificateDer::pem_slice_iter(&root_cert).collect::<Result<Vec<_>, _>>() {
            Ok(certificates) if certificates.is_empty() => Err(unusable(file, &"has no certificate")),
            Ok(_) => Ok(Some(TlsCertificates { client_tls: None, root_cert: Some(root_cert) })),
            Err(error) => Err(unusable(file, &error)),
        }
    }
}

fn refused(setting: &'static str, why: String) -> RedisError {
    RedisError::from((ErrorKind::InvalidClientConfig, setting, why))
}

fn unusable(file: &Path, why: &dyn std::fmt::Display) -> RedisError {
    refused("REDIS_CA_FILE", format!("{}: {why}", file.display()))
}

/// The way to one Redis, which many callers share. Cheap to clone.
#[derive(Clone)]
pub struct RedisLink {
    connections: Arc<Connections>,
    is_cluster: bool,
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("RedisLink").field(&self.connections.server).finish()
    }
}

impl RedisLink {
    /// A link that connects when it is first used, inside a tokio runtime.
    ///
    /// # Errors
    /// If a URL or the file with the CA's certificates cannot be read.
    pub fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let (nodes, authority) = (settings.nodes()?, settings.authority()?);
        let servers: Vec<_> = nodes.iter().map(|node| node.addr().to_string()).collect();
        let opener = Opener::new(nodes, authority, settings.timeout())?;
        let is_cluster = opener.is_cluster();
        let connections = Connections::new(opener, servers.join(","), settings.timeout());
        Ok(Self { connections: Arc::new(connections), is_cluster })
    }

    pub(super) const fn is_cluster(&self) -> bool {
        self.is_cluster
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        self.connections.send(command).await
    }

    /// Tries a write on every primary. Returns why Redis cannot be used.
    pub(super) async fn check(&self) -> Result<(), UnreadyReason> {
        let outcome = primaries::try_writes(&self.connections).await;
        self.connections.note(&outcome);
        outcome.map_err(|error| reason(&error))
    }

    /// Puts the state of the connections on a metrics page.
    pub(super) fn register(&self, registry: &mut Registry) {
        self.connections.meter.register(registry);
    }
}
