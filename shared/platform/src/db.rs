//! PostgreSQL: the record. Connections, roles, tenants, and the migrations.
//!
//! Every connection acts as a [`Role`] that owns nothing, from its very first statement: the role is one of the
//! connection's start-up options. Row-level security does the rest: a statement sees the rows of the tenant that its
//! transaction has named last, and none where it has named none.

mod bootstrap;
mod enrolment;
mod licenses;
mod migrate;
mod people;
pub mod read;
mod tls;
mod transaction;
mod url;

use std::{future::poll_fn, task::Poll, time::Duration};

use clap::Args;
use deadpool_postgres::{Manager, ManagerConfig, Pool, PoolError, QueueMode, RecyclingMethod, Runtime, Timeouts};
use futures_util::future::maybe_done;
use prometheus_client::metrics::counter::Counter;
use tokio::time::timeout;
use tokio_postgres::{Config, Row, config::SslMode, types::ToSql};

pub(crate) use bootstrap::bootstrap;
pub use bootstrap::{Issued, NewCustomer};
pub use enrolment::{DemoPerson, enrol, invite_staff};
pub use licenses::license;
pub use migrate::{MIGRATIONS_HASH, migrate};
pub use people::{ACTOR, AnswerSource, Invitation, InvitationAnswer, PEOPLE, actor};
pub(crate) use people::{Person, account_of, account_of_token, actor_in_force, answer_invitation, invitations_for, member_seen};
pub(crate) use tls::client_config;
pub use transaction::{Access, Asking, Rows, Scope, Transaction};

use crate::{Secret, domain::TenantId};

/// Names the tenant of a transaction.
const SET_TENANT: &str = "-- db::set_tenant\nSELECT set_config('coditect.tenant', $1, true)";

/// A statement and its parameters, and the tenant whose rows it sees.
pub type Statement<'a> = (TenantId, &'a str, &'a [&'a (dyn ToSql + Sync)]);

/// Where PostgreSQL is, and how much of it one process may use.
#[derive(Args, Clone, Debug)]
pub struct DatabaseSettings {
    /// PostgreSQL, as postgres://user:password@host:port/database?sslmode=…
    #[arg(long, env = "DATABASE_URL", hide_env_values = true, value_parser = url::database_url)]
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
    const fn timeout(&self) -> Duration {
        Duration::from_millis(self.database_timeout_ms as u64)
    }

    /// How long a connection may take, a new one or one from the pool.
    fn connect_timeout(&self) -> Duration {
        self.timeout() / 2
    }

    /// How long PostgreSQL itself goes on with a statement that nobody may wait for any more.
    fn statement_timeout(&self) -> Duration {
        self.timeout() + Duration::from_secs(3)
    }

    /// How to connect.
    fn config(&self) -> Result<Config, Error> {
        let mut config = parse(self.database_url.expose())?;
        config.connect_timeout(self.connect_timeout());
        Ok(config)
    }
}

/// How long a transaction waits for what another has locked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Patience {
    /// As long as it may take at all.
    UntilDeadline,
    /// 50 ms, where it would hold up others to whom the lock is of no concern.
    Moments,
}

impl Patience {
    const fn begin(self) -> &'static str {
        match self {
            Self::UntilDeadline => "BEGIN",
            Self::Moments => "BEGIN; SET LOCAL lock_timeout = '50ms'",
        }
    }
}

/// What a connection may do: each is a role in the database with its own grants and policies.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Role {
    /// A function: the rows of one tenant, and of them only what serving needs.
    Functions,
    /// The sweep and other jobs: sessions of all tenants.
    Jobs,
    /// The administration: changes what one tenant has, and for staff what any has.
    Admin,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Functions => "coditect_functions",
            Self::Jobs => "coditect_jobs",
            Self::Admin => "coditect_admin",
        }
    }

    /// How PostgreSQL plans for this role. The statements of functions are few, look rows up by index and are planned once for
    /// each connection, perhaps while the tables are still empty: such a plan must serve when they are full.
    const fn planning(self) -> &'static str {
        match self {
            Self::Functions => "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off -c enable_hashjoin=off -c enable_mergejoin=off",
            Self::Jobs => "-c plan_cache_mode=force_generic_plan -c enable_seqscan=off",
            // Filters that may be there or not make many plans of one statement; and no page is worth the start of more processes.
            Self::Admin => "-c plan_cache_mode=force_custom_plan -c max_parallel_workers_per_gather=0",
        }
    }
}

/// Why PostgreSQL did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No connection could be had.
    #[error("no connection to PostgreSQL: {0}")]
    Pool(#[from] PoolError),
    /// The statement failed.
    #[error("PostgreSQL: {}", words(.0))]
    Query(#[from] tokio_postgres::Error),
    /// It took too long; what was asked may have been done or not.
    #[error("PostgreSQL did not answer in time")]
    Deadline,
    /// A row holds what it cannot hold: a bug, or somebody's hand.
    #[error("unexpected in the record: {0}")]
    Record(String),
    /// The settings make no sense.
    #[error("database settings: {0}")]
    Settings(String),
}

impl Error {
    /// Whether the fault is ours, PostgreSQL being neither down nor shut down, overloaded or locked: settings, rows or statements make no sense.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Settings(_) | Self::Record(_) => true,
            Self::Query(query) => query.code().is_some_and(|code| matches!(code.code().get(..2), Some("22" | "23" | "42" | "0A"))),
            Self::Pool(_) | Self::Deadline => false,
        }
    }

    /// Whether PostgreSQL refused because of a unique index, whichever.
    #[must_use]
    pub fn is_unique_violation(&self) -> bool {
        matches!(self, Self::Query(query) if query.code() == Some(&tokio_postgres::error::SqlState::UNIQUE_VIOLATION))
    }

    /// Whether PostgreSQL refused because of this constraint or unique index.
    #[must_use]
    pub fn violates(&self, constraint: &str) -> bool {
        match self {
            Self::Query(query) => query.as_db_error().and_then(tokio_postgres::error::DbError::constraint) == Some(constraint),
            Self::Pool(_) | Self::Deadline | Self::Record(_) | Self::Settings(_) => false,
        }
    }
}

/// A pool of connections that act as one [`Role`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
    timeout: Duration,
    uses: Counter,
}

impl Database {
    /// A pool that opens its first connection when it is first used.
    ///
    /// # Errors
    /// [`Error::Settings`] if the URL or the certificates cannot be read.
    pub fn new(settings: &DatabaseSettings, role: Role) -> Result<Self, Error> {
        let mut config = settings.config()?;
        let (options, longest) = (config.get_options().unwrap_or_default(), settings.statement_timeout().as_millis());
        config.options(format!("{options} -c role={} -c statement_timeout={longest} -c jit=off {}", role.name(), role.planning()));
        let recycle = ManagerConfig { recycling_method: RecyclingMethod::Fast };
        let manager = if config.get_ssl_mode() == SslMode::Disable {
            Manager::from_config(config, tokio_postgres::NoTls, recycle)
        } else {
            Manager::from_config(config, tls::connector(settings.database_ca_file.as_deref())?, recycle)
        };
        let connect = Some(settings.connect_timeout());
        let pool = Pool::builder(manager)
            .max_size(settings.database_pool_size as usize)
            // The one used last, whose server process has everything at hand still: taken by turns, each would find its caches cold.
            .queue_mode(QueueMode::Lifo)
            .runtime(Runtime::Tokio1)
            .timeouts(Timeouts { wait: connect, create: connect, recycle: connect })
            .build()
            .map_err(|error| Error::Settings(error.to_string()))?;
        Ok(Self { pool, timeout: settings.timeout(), uses: Counter::default() })
    }

    /// A connection for work that needs more than one statement.
    ///
    /// # Errors
    /// [`Error::Pool`] if none comes free, or PostgreSQL cannot be reached, within half of `DATABASE_TIMEOUT_MS`.
    pub async fn client(&self) -> Result<deadpool_postgres::Client, Error> {
        self.uses.inc();
        Ok(self.pool.get().await?)
    }

    /// Returns how often this pool was used: nothing asks PostgreSQL without it.
    #[must_use]
    pub const fn uses(&self) -> &Counter {
        &self.uses
    }

    /// Runs one statement that needs no tenant.
    ///
    /// # Errors
    /// Any [`Error`]; after [`Error::Deadline`] it is not known whether the statement took effect.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        within(self.timeout, async {
            let client = self.client().await?;
            let statement = client.prepare_cached(sql).await?;
            Ok(client.query(&statement, params).await?)
        })
        .await
    }

    /// Runs one statement as `coditect_authenticator`, which the login must be a member of, in one round trip.
    ///
    /// # Errors
    /// Any [`Error`]; after [`Error::Deadline`] it is not known whether the statement took effect.
    pub(crate) async fn query_as_authenticator(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        within(self.timeout, async {
            let client = self.client().await?;
            let statement = client.prepare_cached(sql).await?;
            let begin = sent(client.batch_execute("BEGIN; SET LOCAL ROLE coditect_authenticator")).await;
            let answer = sent(client.query(&statement, params)).await;
            let commit = sent(client.batch_execute("COMMIT")).await;
            begin.await?;
            let rows = answer.await?;
            commit.await?;
            Ok(rows)
        })
        .await
    }

    /// Runs one statement in a transaction of its own that sees the rows of `tenant`, in one round trip.
    ///
    /// # Errors
    /// As [`Self::query_all_as`].
    pub async fn query_as(&self, tenant: TenantId, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        Ok(self.query_all_as(&[(tenant, sql, params)], Patience::UntilDeadline).await?.swap_remove(0))
    }

    /// Runs statements in one transaction, each of which sees the rows of its tenant, in one round trip, and answers what each of them did.
    ///
    /// All messages (begin, tenants, statements, commit) leave together; if one fails, PostgreSQL turns the commit
    /// into a rollback. Dropping the future does not stop what has left: it is done whole or not at all.
    ///
    /// # Errors
    /// Any [`Error`], that of the first statement which failed; after [`Error::Deadline`] it is not known whether they took effect.
    pub async fn query_all_as(&self, statements: &[Statement<'_>], patience: Patience) -> Result<Vec<Vec<Row>>, Error> {
        within(self.timeout, async {
            let client = self.client().await?;
            let set_tenant = client.prepare_cached(SET_TENANT).await?;
            let mut prepared = Vec::with_capacity(statements.len());
            for (_, sql, _) in statements {
                prepared.push(client.prepare_cached(sql).await?);
            }
            let tenants: Vec<String> = statements.iter().map(|(tenant, ..)| tenant.as_uuid().to_string()).collect();
            let tenants: Vec<[&(dyn ToSql + Sync); 1]> = tenants.iter().map(|tenant| [tenant as _]).collect();
            let begin = sent(client.batch_execute(patience.begin())).await;
            let mut answers = Vec::with_capacity(statements.len());
            for (at, (tenant, _, params)) in statements.iter().enumerate() {
                let is_set = at > 0 && statements[at - 1].0 == *tenant;
                let set = if is_set { None } else { Some(sent(client.query(&set_tenant, &tenants[at])).await) };
                answers.push((set, sent(client.query(&prepared[at], params)).await));
            }
            let commit = sent(client.batch_execute("COMMIT")).await;
            begin.await?;
            let mut rows = Vec::with_capacity(statements.len());
            for (set, answer) in answers {
                if let Some(set) = set {
                    set.await?;
                }
                rows.push(answer.await?);
            }
            commit.await?;
            Ok(rows)
        })
        .await
    }

    /// Whether PostgreSQL answers.
    ///
    /// # Errors
    /// Any [`Error`] that keeps it from answering.
    pub async fn ping(&self) -> Result<(), Error> {
        self.query("-- db::ping\nSELECT 1", &[]).await.map(drop)
    }

    /// Connections of the pool: open, idle, and callers waiting for one.
    #[must_use]
    pub fn pool_state(&self) -> PoolState {
        let status = self.pool.status();
        let at_once = status.max_size.saturating_sub(status.size) + status.available;
        PoolState { open: status.size, idle: status.available, at_once, waiting: status.waiting }
    }
}

/// How busy a pool is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct PoolState {
    /// Connections that are open.
    pub open: usize,
    /// Of these, those that nobody uses.
    pub idle: usize,
    /// Connections that can be had without waiting for another caller, those included that are not open yet.
    pub at_once: usize,
    /// Callers that wait for one.
    pub waiting: usize,
}

/// Connects as the login that the URL names, with no role taken on: for migrations and `bootstrap`.
///
/// # Errors
/// [`Error::Settings`], or [`Error::Query`] if PostgreSQL cannot be reached.
pub async fn connect_as_login(settings: &DatabaseSettings) -> Result<tokio_postgres::Client, Error> {
    let config = settings.config()?;
    if config.get_ssl_mode() == SslMode::Disable {
        let (client, connection) = config.connect(tokio_postgres::NoTls).await?;
        tokio::spawn(connection);
        Ok(client)
    } else {
        let connector = tls::connector(settings.database_ca_file.as_deref())?;
        let (client, connection) = config.connect(connector).await?;
        tokio::spawn(connection);
        Ok(client)
    }
}

fn parse(url: &str) -> Result<Config, Error> {
    let mut config: Config = url.parse().map_err(|_| Error::Settings("DATABASE_URL is not a PostgreSQL URL".to_owned()))?;
    config.keepalives_idle(Duration::from_secs(30));
    if config.get_application_name().is_none() {
        config.application_name("coditect");
    }
    // Where the URL leaves it open, a connection that never leaves the machine goes without TLS; any other must have it
    // if the server offers it, and what the server shows is checked.
    if config.get_ssl_mode() == SslMode::Prefer && tls::is_local(&config) {
        config.ssl_mode(SslMode::Disable);
    }
    Ok(config)
}

/// What PostgreSQL itself said, without the values that it repeats in its details.
fn words(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(said) => format!("{} ({})", said.message(), said.code().code()),
        None => error.to_string(),
    }
}

/// In a box, because what a driver keeps while it works is large, and would be carried about in every future that may come to this.
/// Polls what asks PostgreSQL once, by which its message leaves, so that messages leave in the order of these calls. What is answered is the rest.
async fn sent<T>(asking: impl Future<Output = T>) -> impl Future<Output = T> {
    let mut asking = Box::pin(maybe_done(asking));
    poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_ready())).await;
    async move {
        asking.as_mut().await;
        asking.as_mut().take_output().expect("nobody else takes it")
    }
}

fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> impl Future<Output = Result<T, Error>> {
    let work = Box::pin(timeout(limit, work));
    async { work.await.unwrap_or(Err(Error::Deadline)) }
}
