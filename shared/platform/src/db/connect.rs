//! Opens the connections of a pool: each host of the URL in turn, and a look at where it has led before it is used.

use std::{
    net::IpAddr,
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use deadpool_postgres::ClientWrapper;
use tokio::time::{Instant, timeout};
use tokio_postgres::{
    Client, Config, NoTls, SimpleQueryMessage, SimpleQueryRow, Socket,
    config::{Host, SslMode, TargetSessionAttrs},
    tls::{MakeTlsConnect, TlsConnect},
};
use tokio_postgres_rustls::MakeRustlsConnect;
use uuid::Uuid;

use super::{
    DatabaseSettings, Error, Role,
    error::{NoConnection, reason, words},
    health::Health,
    schema::{self, Schema},
    tls,
};
use crate::domain::UnreadyReason;

/// What a new connection is asked. A pooler that keeps start-up options from the server, or lends one server connection to several clients,
/// gives itself away by the setting, which every connection has with a value of its own.
const CHECK: &str =
    "SELECT current_user, coalesce(current_setting('coditect.connection', true), ''), current_setting('transaction_read_only')";

/// Opens connections that act as one role.
pub(super) struct Connector {
    /// All but the servers and the options of a connection.
    config: Config,
    options: String,
    servers: Vec<Server>,
    tls: Option<MakeRustlsConnect>,
    role: Role,
    limit: Duration,
    /// The server that a connection led to last: the others are tried after it.
    preferred: AtomicUsize,
    schema: Schema,
    pub(super) health: Health,
}

/// One of the servers that the URL names.
#[derive(Clone)]
struct Server {
    host: Option<Host>,
    address: Option<IpAddr>,
    port: u16,
}

impl Connector {
    pub(super) fn new(settings: &DatabaseSettings, role: Role) -> Result<Self, Error> {
        let config = settings.config()?;
        let tls = match config.get_ssl_mode() {
            SslMode::Disable => None,
            _ => Some(tls::connector(settings.database_ca_file.as_deref())?),
        };
        let longest = settings.statement_timeout().as_millis();
        // The server, too, gives up clients who are gone: those that wait within a second, those that are lost without a word within half
        // a minute. Else their connections would count against its limit for hours.
        let options = format!(
            "{} -c role={} -c statement_timeout={longest} -c jit=off -c client_connection_check_interval=1000 -c tcp_keepalives_idle=15 \
             -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3 {}",
            config.get_options().unwrap_or_default(),
            role.name(),
            role.planning()
        );
        let (servers, preferred) = (servers(&config)?, AtomicUsize::new(0));
        let (schema, health) = (Schema::default(), Health::new(role));
        Ok(Self {
            config: without_servers(&config),
            options,
            servers,
            tls,
            role,
            limit: settings.connect_timeout(),
            preferred,
            schema,
            health,
        })
    }

    /// Opens a connection to the first server that can serve it. The time is divided among those that are still to be tried, so that one
    /// that does not answer keeps nobody from the next.
    pub(super) async fn open(&self) -> Result<ClientWrapper, NoConnection> {
        let opened = self.open_any().await;
        match &opened {
            Ok(_) => self.health.works(),
            Err(none) => self.health.fails(none.reason, &none.words),
        }
        opened
    }

    async fn open_any(&self) -> Result<ClientWrapper, NoConnection> {
        let until = Instant::now() + self.limit;
        let mut failed: Option<NoConnection> = None;
        let first = self.preferred.load(Ordering::Relaxed);
        let mut tries = Vec::with_capacity(self.servers.len());
        for step in 0..self.servers.len() {
            let at = (first + step) % self.servers.len();
            match self.servers[at].addresses(self.limit / 2).await {
                Ok(addresses) => tries.extend(addresses.into_iter().map(|address| (at, address))),
                Err(none) => failed = Some(worse(failed, none)),
            }
        }
        let count = u32::try_from(tries.len()).unwrap_or(u32::MAX);
        for (left, (at, address)) in (1..=count).rev().zip(tries) {
            let share = until.saturating_duration_since(Instant::now()) / left;
            let opening = Box::pin(self.open_on(&self.servers[at], address));
            let opened = timeout(share, opening).await.unwrap_or_else(|_| Err(NoConnection::silent()));
            match opened {
                Ok(client) => {
                    self.preferred.store(at, Ordering::Relaxed);
                    return Ok(client);
                }
                Err(none) => failed = Some(worse(failed, none.of(&self.servers[at], self.servers.len()))),
            }
        }
        Err(failed.unwrap_or_else(NoConnection::silent))
    }

    async fn open_on(&self, server: &Server, address: Option<IpAddr>) -> Result<ClientWrapper, NoConnection> {
        let mark = Uuid::new_v4().simple().to_string();
        let mut config = self.config.clone();
        server.put(address, &mut config);
        config.options(format!("{} -c coditect.connection={mark}", self.options));
        let client = match &self.tls {
            None => connected(&config, NoTls).await?,
            Some(tls) => connected(&config, tls.clone()).await?,
        };
        self.check(&client, &mark).await?;
        Ok(client)
    }

    /// Looks, in one round trip, whether the connection acts as its role, takes writes, and leads to a schema that this program can work with.
    async fn check(&self, client: &Client, mark: &str) -> Result<(), NoConnection> {
        let version = async { if self.schema.is_known() { None } else { Some(client.simple_query(schema::VERSION).await) } };
        let (state, version) = tokio::join!(client.simple_query(CHECK), version);
        let state = state?;
        let column = |at| first_row(&state).and_then(|row| row.get(at)).unwrap_or_default();
        let (user, set, read_only) = (column(0), column(1), column(2));
        if user != self.role.name() || set != mark {
            let role = self.role.name();
            let words = format!(
                "the connection acts as {user} and not as {role}: a pooler keeps start-up options from PostgreSQL. Name PostgreSQL itself in DATABASE_URL"
            );
            return Err(NoConnection { reason: UnreadyReason::Pooler, words });
        }
        if read_only == "on" && self.config.get_target_session_attrs() == TargetSessionAttrs::ReadWrite {
            let words = "the server takes no writes: it is a replica, or default_transaction_read_only is on".to_owned();
            return Err(NoConnection { reason: UnreadyReason::ReadOnly, words });
        }
        version.map_or(Ok(()), |version| self.schema.check(version))
    }

    /// Migrations that the schema has and this program does not know.
    pub(super) fn schema_ahead(&self) -> i64 {
        self.schema.ahead()
    }
}

impl NoConnection {
    fn silent() -> Self {
        Self { reason: UnreadyReason::Unreachable, words: "no answer in time".to_owned() }
    }

    /// Names the server, if there are several.
    fn of(self, server: &Server, servers: usize) -> Self {
        if servers == 1 { self } else { Self { words: format!("{server}: {}", self.words), ..self } }
    }
}

impl From<tokio_postgres::Error> for NoConnection {
    fn from(error: tokio_postgres::Error) -> Self {
        let reason = reason(&error);
        let words = words(&error);
        let hint = match reason {
            UnreadyReason::Pooler => ": a pooler is in the way. Name PostgreSQL itself in DATABASE_URL",
            UnreadyReason::SchemaMissing => ": the migrations have not run on this server",
            _ => "",
        };
        Self { reason, words: format!("{words}{hint}") }
    }
}

/// Of two servers that cannot be used, the one that has said more; the words of both.
fn worse(before: Option<NoConnection>, now: NoConnection) -> NoConnection {
    match before {
        None => now,
        Some(before) => {
            let reason = if rank(before.reason) > rank(now.reason) { before.reason } else { now.reason };
            NoConnection { reason, words: format!("{}; {}", before.words, now.words) }
        }
    }
}

const fn rank(reason: UnreadyReason) -> u8 {
    if matches!(reason, UnreadyReason::Unreachable) {
        0
    } else if matches!(reason, UnreadyReason::Refused) {
        1
    } else {
        2
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match (&self.host, self.address) {
            (Some(Host::Tcp(name)), _) => write!(f, "{name}:{}", self.port),
            #[cfg(unix)]
            (Some(Host::Unix(path)), _) => write!(f, "{}:{}", path.display(), self.port),
            (None, Some(address)) => write!(f, "{address}:{}", self.port),
            (None, None) => Ok(()),
        }
    }
}

impl Server {
    /// Its addresses: a name that leads to several is tried at each of them.
    async fn addresses(&self, limit: Duration) -> Result<Vec<Option<IpAddr>>, NoConnection> {
        let (Some(Host::Tcp(name)), None) = (&self.host, self.address) else { return Ok(vec![self.address]) };
        if let Ok(address) = name.parse() {
            return Ok(vec![Some(address)]);
        }
        let unknown = |why: &dyn std::fmt::Display| NoConnection { reason: UnreadyReason::Unreachable, words: format!("{self}: {why}") };
        let found = timeout(limit, tokio::net::lookup_host((name.as_str(), self.port))).await;
        let found = found.map_err(|_| unknown(&"the name was not resolved in time"))?.map_err(|error| unknown(&error))?;
        Ok(found.map(|address| Some(address.ip())).collect())
    }

    fn put(&self, address: Option<IpAddr>, config: &mut Config) {
        match &self.host {
            Some(Host::Tcp(name)) => config.host(name),
            #[cfg(unix)]
            Some(Host::Unix(path)) => config.host_path(path),
            None => config,
        };
        if let Some(address) = address {
            config.hostaddr(address);
        }
        config.port(self.port);
    }
}

fn servers(config: &Config) -> Result<Vec<Server>, Error> {
    let (hosts, addresses, ports) = (config.get_hosts(), config.get_hostaddrs(), config.get_ports());
    let count = hosts.len().max(addresses.len());
    let fits = |number: usize| number == 0 || number == count;
    if !fits(hosts.len()) || !fits(addresses.len()) || !(fits(ports.len()) || ports.len() == 1) {
        return Err(Error::Settings("DATABASE_URL does not name as many ports or addresses as hosts".to_owned()));
    }
    let port = |at| ports.get(at).or_else(|| ports.first()).copied().unwrap_or(5432);
    Ok((0..count).map(|at| Server { host: hosts.get(at).cloned(), address: addresses.get(at).copied(), port: port(at) }).collect())
}

fn without_servers(from: &Config) -> Config {
    let mut config = Config::new();
    if let Some(user) = from.get_user() {
        config.user(user);
    }
    if let Some(password) = from.get_password() {
        config.password(password);
    }
    if let Some(database) = from.get_dbname() {
        config.dbname(database);
    }
    if let Some(name) = from.get_application_name() {
        config.application_name(name);
    }
    if let Some(limit) = from.get_connect_timeout() {
        config.connect_timeout(*limit);
    }
    if let Some(limit) = from.get_tcp_user_timeout() {
        config.tcp_user_timeout(*limit);
    }
    if let Some(interval) = from.get_keepalives_interval() {
        config.keepalives_interval(interval);
    }
    if let Some(retries) = from.get_keepalives_retries() {
        config.keepalives_retries(retries);
    }
    config.keepalives(from.get_keepalives()).keepalives_idle(from.get_keepalives_idle());
    config.ssl_mode(from.get_ssl_mode()).ssl_negotiation(from.get_ssl_negotiation()).channel_binding(from.get_channel_binding());
    config.target_session_attrs(from.get_target_session_attrs());
    config
}

async fn connected<T>(config: &Config, tls: T) -> Result<ClientWrapper, tokio_postgres::Error>
where
    T: MakeTlsConnect<Socket>,
    T::Stream: Send + 'static,
    T::TlsConnect: Send,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    // What the server is for is looked at in the same round trip as the rest.
    let mut config = config.clone();
    config.target_session_attrs(TargetSessionAttrs::Any);
    let (client, connection) = config.connect(tls).await?;
    let attended = tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(error = words(&error), "a connection to PostgreSQL broke");
        }
    });
    Ok(ClientWrapper::new(client, attended))
}

pub(super) fn first_row(messages: &[SimpleQueryMessage]) -> Option<&SimpleQueryRow> {
    messages.iter().find_map(|message| if let SimpleQueryMessage::Row(row) = message { Some(row) } else { None })
}
