//! PostgreSQL: the record. Connections, roles, tenants, and the migrations.
//!
//! Every connection acts as a [`Role`] that owns nothing, from its very first statement: the role is one of the
//! connection's start-up options. Row-level security does the rest: a statement sees the rows of the tenant that its
//! transaction has named last, and none where it has named none.

mod bootstrap;
mod connect;
mod enrolment;
mod error;
mod health;
mod licenses;
mod migrate;
mod people;
mod pool;
pub mod read;
mod schema;
mod settings;
mod tls;
mod transaction;
mod url;
mod work;

use std::{
    future::poll_fn,
    task::Poll,
    time::{Duration, Instant},
};

use deadpool_postgres::ClientWrapper;
use futures_util::future::maybe_done;
use prometheus_client::metrics::counter::Counter;
use tokio::time::timeout;
use tokio_postgres::{Row, config::SslMode, types::ToSql};

pub(crate) use bootstrap::bootstrap;
pub use bootstrap::{Issued, NewCustomer};
pub use enrolment::{DemoPerson, enrol, invite_staff};
pub use error::{Error, NoConnection};
pub use licenses::license;
pub use migrate::{MIGRATIONS_HASH, migrate};
pub use people::{ACTOR, AnswerSource, Invitation, InvitationAnswer, PEOPLE, actor};
pub(crate) use people::{Person, account_of, account_of_token, actor_in_force, answer_invitation, invitations_for, member_seen};
pub use pool::Client;
pub use settings::DatabaseSettings;
pub(crate) use tls::client_config;
pub use transaction::{Access, Asking, Rows, Scope, Transaction};
pub use work::Work;

use crate::domain::{TenantId, UnreadyReason};
use connect::Connector;
use pool::Pool;

/// Names the tenant of a transaction.
const SET_TENANT: &str = "-- db::set_tenant\nSELECT set_config('coditect.tenant', $1, true)";

/// Takes a lock that only a server which takes writes gives, on no row: a replica refuses it, and so does one that was set to be read-only.
const WRITABLE: &str = "-- db::writable\nSELECT FROM public.sessions WHERE false FOR UPDATE";

/// A statement and its parameters, and the tenant whose rows it sees.
pub type Statement<'a> = (TenantId, &'a str, &'a [&'a (dyn ToSql + Sync)]);

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

/// A pool of connections that act as one [`Role`]. Cheap to clone.
#[derive(Clone)]
pub struct Database {
    pool: Pool,
    timeout: Duration,
    statement_timeout: Duration,
    uses: Counter,
    discarded: Counter,
}

impl std::fmt::Debug for Database {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Database").field("pool", &self.pool_state()).finish_non_exhaustive()
    }
}

impl Database {
    /// A pool that opens its first connection when it is first used.
    ///
    /// # Errors
    /// [`Error::Settings`] if the URL or the certificates cannot be read.
    pub fn new(settings: &DatabaseSettings, role: Role) -> Result<Self, Error> {
        let (uses, discarded) = (Counter::default(), Counter::default());
        let pool = pool::pool(settings, Connector::new(settings, role)?, discarded.clone())?;
        Ok(Self { pool, timeout: settings.timeout(), statement_timeout: settings.statement_timeout(), uses, discarded })
    }

    /// A connection for work that needs more than one statement, each of which PostgreSQL ends after `DATABASE_TIMEOUT_MS` and three seconds.
    ///
    /// # Errors
    /// [`Error::Busy`] if none comes free, [`Error::Connect`] if PostgreSQL cannot be reached, within half of `DATABASE_TIMEOUT_MS`.
    pub async fn client(&self) -> Result<Client, Error> {
        self.uses.inc();
        Client::take(&self.pool, self.statement_timeout).await
    }

    /// A connection for one operation, which has its limit from now on.
    async fn client_within(&self) -> Result<Client, Error> {
        self.uses.inc();
        Client::take_until(&self.pool, Instant::now() + self.timeout, self.timeout).await
    }

    /// Returns how often this pool was used: nothing asks PostgreSQL without it.
    #[must_use]
    pub const fn uses(&self) -> &Counter {
        &self.uses
    }

    /// Returns how many connections were closed because they were stuck, broken or out of date.
    #[must_use]
    pub const fn discarded(&self) -> &Counter {
        &self.discarded
    }

    /// Migrations that the schema has beyond those that this program knows.
    #[must_use]
    pub fn schema_ahead(&self) -> i64 {
        self.pool.manager().connector.schema_ahead()
    }

    /// Runs one statement that needs no tenant.
    ///
    /// # Errors
    /// Any [`Error`]; after [`Error::Deadline`] it is not known whether the statement took effect.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let once = || {
            within(self.timeout, async {
                let client = self.client_within().await?;
                let answer = query(&client, sql, params).await;
                client.conclude(answer)
            })
        };
        fresh_if_outdated(once().await, once).await
    }

    /// Runs one statement that needs no tenant, and answers how many rows it has written.
    ///
    /// # Errors
    /// As [`Self::query`].
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        let once = || {
            within(self.timeout, async {
                let client = self.client_within().await?;
                let answer = execute(&client, sql, params).await;
                client.conclude(answer)
            })
        };
        fresh_if_outdated(once().await, once).await
    }

    /// Runs one statement as `coditect_authenticator`, which the login must be a member of, in one round trip.
    ///
    /// # Errors
    /// Any [`Error`]; after [`Error::Deadline`] it is not known whether the statement took effect.
    pub(crate) async fn query_as_authenticator(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        let once = || {
            within(self.timeout, async {
                let client = self.client_within().await?;
                let answer = as_authenticator(&client, sql, params).await;
                client.conclude(answer)
            })
        };
        fresh_if_outdated(once().await, once).await
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
        let once = || {
            within(self.timeout, async {
                let client = self.client_within().await?;
                let answers = all_as(&client, statements, patience).await;
                client.conclude(answers)
            })
        };
        fresh_if_outdated(once().await, once).await
    }

    /// Whether PostgreSQL can be used: it answers, and takes writes. Says in the log if that has changed.
    ///
    /// # Errors
    /// Why it cannot.
    pub async fn probe(&self) -> Result<(), UnreadyReason> {
        let health = &self.pool.manager().connector.health;
        match self.query(WRITABLE, &[]).await {
            Ok(_) if health.is_full() => Err(UnreadyReason::Full),
            Ok(_) => {
                health.works();
                Ok(())
            }
            Err(error) => {
                let reason = error.reason().unwrap_or(UnreadyReason::Refused);
                health.fails(reason, &error.to_string());
                Err(reason)
            }
        }
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

/// Asks once more if the connection was out of date and nothing was done: that connection is closed by now, and those that were opened before.
async fn fresh_if_outdated<T, F: Future<Output = Result<T, Error>>>(
    answer: Result<T, Error>,
    again: impl FnOnce() -> F,
) -> Result<T, Error> {
    match answer {
        Err(error) if error.is_outdated() => again().await,
        answer => answer,
    }
}

async fn query(client: &ClientWrapper, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.query(&statement, params).await?)
}

async fn execute(client: &ClientWrapper, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
    let statement = client.prepare_cached(sql).await?;
    Ok(client.execute(&statement, params).await?)
}

async fn as_authenticator(client: &ClientWrapper, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
    let statement = client.prepare_cached(sql).await?;
    let begin = sent(client.batch_execute("BEGIN; SET LOCAL ROLE coditect_authenticator")).await;
    let answer = sent(client.query(&statement, params)).await;
    let commit = sent(client.batch_execute("COMMIT")).await;
    begin.await?;
    let rows = answer.await?;
    commit.await?;
    Ok(rows)
}

async fn all_as(client: &ClientWrapper, statements: &[Statement<'_>], patience: Patience) -> Result<Vec<Vec<Row>>, Error> {
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
}

/// Polls what asks PostgreSQL once, by which its message leaves, so that messages leave in the order of these calls. What is answered is the rest.
async fn sent<T>(asking: impl Future<Output = T>) -> impl Future<Output = T> {
    let mut asking = Box::pin(maybe_done(asking));
    poll_fn(|context| Poll::Ready(asking.as_mut().poll(context).is_ready())).await;
    async move {
        asking.as_mut().await;
        asking.as_mut().take_output().expect("nobody else takes it")
    }
}

/// Gives work a limit. In a box, because what a driver keeps while it works is large, and would be carried about in every future that may
/// come to this.
fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Error>>) -> impl Future<Output = Result<T, Error>> {
    let work = Box::pin(timeout(limit, work));
    async { work.await.unwrap_or(Err(Error::Deadline)) }
}
