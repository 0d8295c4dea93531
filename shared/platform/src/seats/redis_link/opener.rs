//! Opens connections to Redis: one server or a cluster.

use std::time::Duration;

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionInfo, RedisResult, TlsCertificates, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cluster_routing::{MultipleNodeRoutingInfo, RoutingInfo},
    io::tcp::{TcpSettings, socket2::TcpKeepalive},
};
use tokio::time::timeout;

use super::{SILENCE, fault, primaries::write_probe};

/// After how long without traffic the kernel asks whether the other end is there, and how often.
const KEEP_ALIVE: (Duration, Duration) = (Duration::from_secs(10), Duration::from_secs(3));

/// Opens connections. The server's name is resolved anew for each of them.
pub(super) enum Opener {
    Single(Box<Client>, Duration),
    Cluster(Box<ClusterClient>, Duration),
}

/// A connection that many callers share: to one server, or to every node of a cluster.
#[derive(Clone)]
pub(super) enum Socket {
    Single(MultiplexedConnection),
    Cluster(ClusterConnection),
}

impl Opener {
    pub(super) fn new(mut nodes: Vec<ConnectionInfo>, authority: Option<TlsCertificates>, deadline: Duration) -> RedisResult<Self> {
        let keep_alive = TcpKeepalive::new().with_time(KEEP_ALIVE.0).with_interval(KEEP_ALIVE.1);
        let tcp = TcpSettings::default().set_keepalive(keep_alive).set_user_timeout(deadline.max(SILENCE));
        let limit = deadline.min(SILENCE);
        if nodes.len() == 1 {
            let client = single(nodes.remove(0), authority)?;
            let client = Client::open(client.get_connection_info().clone().set_tcp_settings(tcp))?;
            return Ok(Self::Single(Box::new(client), limit));
        }
        let mut builder = ClusterClient::builder(nodes)
            .connection_timeout(limit)
            .response_timeout(deadline)
            .overall_response_timeout(None)
            .retries(3)
            .tcp_settings(tcp);
        if let Some(authority) = authority {
            builder = builder.certs(authority).danger_accept_invalid_hostnames(true);
        }
        Ok(Self::Cluster(Box::new(builder.build()?), limit))
    }

    pub(super) const fn is_cluster(&self) -> bool {
        matches!(self, Self::Cluster(..))
    }

    /// Opens a connection that can be used: the one server takes writes, or one node of the
    /// cluster knows the others.
    pub(super) async fn open(&self) -> RedisResult<Socket> {
        match self {
            Self::Single(client, limit) => {
                let config = AsyncConnectionConfig::new().set_connection_timeout(Some(*limit)).set_response_timeout(None);
                let socket = Socket::Single(client.get_multiplexed_async_connection_with_config(&config).await?);
                match timeout(*limit, socket.request(&write_probe(0))).await {
                    Ok(Err(error)) if fault::leads_elsewhere(&error) || fault::is_of_connection(&error) => Err(error),
                    // A server that refuses a write for another reason may serve other calls.
                    Ok(_) => Ok(socket),
                    Err(_) => Err(fault::timed_out("answer")),
                }
            }
            Self::Cluster(client, limit) => {
                // A node that does not answer takes up the limit in each of three steps.
                let opened = timeout(*limit * 4, Box::pin(client.get_async_connection())).await;
                opened.map_err(|_| fault::timed_out("connection"))?.map(Socket::Cluster)
            }
        }
    }
}

/// A client that trusts what `authority` has signed, whatever name is in it: a managed Redis has a
/// CA of its own, which signs for nobody else, and the certificate has the server's address in its
/// common name, where rustls does not look. All else about the certificate is checked.
fn single(node: ConnectionInfo, authority: Option<TlsCertificates>) -> RedisResult<Client> {
    let Some(authority) = authority else { return Client::open(node) };
    let client = Client::build_with_tls(node, authority)?;
    let mut address = client.get_connection_info().addr().clone();
    address.set_danger_accept_invalid_hostnames(true);
    Client::open(client.get_connection_info().clone().set_addr(address))
}

impl Socket {
    /// Sends one command, and waits for its answer for as long as it takes.
    pub(super) async fn request(&self, command: &Cmd) -> RedisResult<Value> {
        let answer = match self.clone() {
            Self::Single(mut connection) => connection.send_packed_command(command).await?,
            Self::Cluster(mut connection) => connection.req_packed_command(command).await?,
        };
        match answer {
            Value::ServerError(error) => Err(error.into()),
            value => Ok(value),
        }
    }

    /// Sends one command to the server, or to each primary of the cluster; returns the answers.
    pub(super) async fn request_each(&self, command: Cmd) -> RedisResult<Vec<Value>> {
        let Self::Cluster(connection) = self else { return Ok(vec![self.request(&command).await?]) };
        let everywhere = RoutingInfo::MultiNode((MultipleNodeRoutingInfo::AllMasters, None));
        match connection.clone().route_command(command, everywhere).await? {
            Value::Map(answers) => Ok(answers.into_iter().map(|(_, answer)| answer).collect()),
            other => Ok(vec![other]),
        }
    }
}
