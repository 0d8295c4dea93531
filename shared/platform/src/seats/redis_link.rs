//! The way to Redis: one server or a cluster, opened when first used, kept up by itself.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use clap::Args;
use redis::{
    Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, RedisError, RedisResult, TlsCertificates, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use rustls::pki_types::{CertificateDer, pem::PemObject};
use tokio::sync::OnceCell;

use super::redis_url::{nodes, redis_url};
use crate::Secret;

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
        let nodes = nodes(self.redis_url.expose()).map_err(|why| refused("REDIS_URL", why))?;
        let is_encrypted = |node: &ConnectionInfo| matches!(node.addr(), ConnectionAddr::TcpTls { .. });
        if self.redis_ca_file.is_some() && !nodes.iter().all(is_encrypted) {
            return Err(refused("REDIS_CA_FILE", "REDIS_URL must begin with rediss://".to_owned()));
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

/// A client that trusts what `authority` has signed, whatever name is in it: a managed Redis has a CA of its own, which signs for nobody else,
/// and the certificate has the server's address in its common name, where rustls does not look. All else about the certificate is checked.
fn single(node: ConnectionInfo, authority: Option<TlsCertificates>) -> RedisResult<Client> {
    let Some(authority) = authority else { return Client::open(node) };
    let client = Client::build_with_tls(node, authority)?;
    let mut address = client.get_connection_info().addr().clone();
    address.set_danger_accept_invalid_hostnames(true);
    Client::open(client.get_connection_info().clone().set_addr(address))
}

/// A connection to Redis that many callers share. Cheap to clone.
#[derive(Clone)]
pub struct RedisLink {
    kind: Kind,
    timeout: Duration,
}

#[derive(Clone)]
enum Kind {
    Single(ConnectionManager),
    Cluster(Arc<ClusterClient>, Arc<OnceCell<ClusterConnection>>),
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.kind {
            Kind::Single(_) => "RedisLink(single)",
            Kind::Cluster(..) => "RedisLink(cluster)",
        })
    }
}

impl RedisLink {
    /// A link that connects when it is first used. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If a URL or the file with the CA's certificates cannot be read.
    pub fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let (mut nodes, authority) = (settings.nodes()?, settings.authority()?);
        let timeout = settings.timeout();
        if nodes.len() == 1 {
            // A lost connection is opened again at once, then at most every 250 ms, for as long as it takes: calls
            // meanwhile fail promptly.
            let config = ConnectionManagerConfig::new()
                .set_response_timeout(Some(timeout))
                .set_connection_timeout(Some(timeout))
                .set_min_delay(Duration::from_millis(20))
                .set_max_delay(Duration::from_millis(250))
                .set_number_of_retries(2);
            let manager = ConnectionManager::new_lazy_with_config(single(nodes.remove(0), authority)?, config)?;
            return Ok(Self { kind: Kind::Single(manager), timeout });
        }
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(timeout)
            .response_timeout(timeout)
            .overall_response_timeout(Some(timeout * 2))
            .retries(3);
        if let Some(authority) = authority {
            builder = builder.certs(authority).danger_accept_invalid_hostnames(true);
        }
        let client = builder.build()?;
        Ok(Self { kind: Kind::Cluster(Arc::new(client), Arc::new(OnceCell::new())), timeout })
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.kind, Kind::Cluster(..))
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match &self.kind {
            Kind::Single(manager) => request(manager.clone(), command).await,
            Kind::Cluster(client, connection) => {
                let connection = if let Some(connection) = connection.get() {
                    connection
                } else {
                    let connect = Box::pin(connection.get_or_try_init(|| client.get_async_connection()));
                    let connected = tokio::time::timeout(self.timeout, connect).await;
                    connected.map_err(|_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??
                };
                request(connection.clone(), command).await
            }
        }
    }
}

async fn request(mut connection: impl ConnectionLike, command: &Cmd) -> RedisResult<Value> {
    match connection.req_packed_command(command).await? {
        Value::ServerError(error) => Err(error.into()),
        value => Ok(value),
    }
}
