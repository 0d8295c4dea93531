//! The way to Redis: one server or a cluster, opened when first used, kept up by itself.

use std::{sync::Arc, time::Duration};

use clap::Args;
use redis::{
    Client, Cmd, RedisResult, Value,
    aio::{ConnectionLike, ConnectionManager, ConnectionManagerConfig},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
};
use tokio::sync::OnceCell;

use crate::Secret;

/// How long Redis may take to answer one call.
const RESPONSE: Duration = Duration::from_millis(800);
/// How long a new connection may take.
const CONNECT: Duration = Duration::from_millis(800);

/// Where Redis is.
#[derive(Args, Clone, Debug)]
pub struct RedisSettings {
    /// Redis, as redis://:password@host:port or rediss://…; several, with commas between them, name the nodes of a cluster
    #[arg(long, env = "REDIS_URL", hide_env_values = true)]
    pub redis_url: Secret,
}

/// A connection to Redis that many callers share. Cheap to clone.
#[derive(Clone)]
pub struct RedisLink(Kind);

#[derive(Clone)]
enum Kind {
    Single(ConnectionManager),
    Cluster(Arc<ClusterClient>, Arc<OnceCell<ClusterConnection>>),
}

impl std::fmt::Debug for RedisLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self.0 {
            Kind::Single(_) => "RedisLink(single)",
            Kind::Cluster(..) => "RedisLink(cluster)",
        })
    }
}

impl RedisLink {
    /// A link that connects when it is first used. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If a URL cannot be read.
    pub fn new(settings: &RedisSettings) -> RedisResult<Self> {
        let urls: Vec<&str> = settings.redis_url.expose().split(',').map(str::trim).collect();
        if let [url] = urls[..] {
            // A lost connection is opened again at once, then at most every 250 ms, for as long as it takes: calls
            // meanwhile fail promptly.
            let config = ConnectionManagerConfig::new()
                .set_response_timeout(Some(RESPONSE))
                .set_connection_timeout(Some(CONNECT))
                .set_min_delay(Duration::from_millis(20))
                .set_max_delay(Duration::from_millis(250))
                .set_number_of_retries(2);
            return Ok(Self(Kind::Single(ConnectionManager::new_lazy_with_config(Client::open(url)?, config)?)));
        }
        let client = ClusterClient::builder(urls)
            .connection_timeout(CONNECT)
            .response_timeout(RESPONSE)
            .overall_response_timeout(Some(RESPONSE * 2))
            .retries(3)
            .build()?;
        Ok(Self(Kind::Cluster(Arc::new(client), Arc::new(OnceCell::new()))))
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self.0, Kind::Cluster(..))
    }

    /// Sends one command.
    pub(super) async fn send(&self, command: &Cmd) -> RedisResult<Value> {
        match &self.0 {
            Kind::Single(manager) => request(manager.clone(), command).await,
            Kind::Cluster(client, connection) => {
                let connect = tokio::time::timeout(CONNECT, connection.get_or_try_init(|| client.get_async_connection()));
                let connection =
                    connect.await.map_err(|_| redis::RedisError::from(std::io::Error::from(std::io::ErrorKind::TimedOut)))??;
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
