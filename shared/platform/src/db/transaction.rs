//! Transactions of several statements, in the eyes of one tenant or of staff.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Row, error::SqlState, types::ToSql};

use super::{Client, Database, Error, fresh_if_outdated, query, sent, within};
use crate::domain::{Principal, TenantId};

/// Names the tenant of a transaction, or says that it is for staff; and names the person who acts.
const SET_SCOPE: &str = "-- db::set_scope
SELECT set_config('coditect.tenant', $1, true), set_config('coditect.staff', $2, true),
       set_config('coditect.actor', $3, true)";

/// Which rows a transaction sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Rows {
    /// Those of one tenant.
    Tenant(TenantId),
    /// Those of every tenant: for the vendor's own people alone, and only where the role is [`super::Role::Admin`].
    Staff,
}

/// What a transaction may see, and as whom it may write audit events.
#[derive(Clone, Debug)]
pub struct Scope {
    rows: Rows,
    actor: String,
}

impl Scope {
    /// These rows, in the name of this person: PostgreSQL refuses an audit event of anybody else.
    #[must_use]
    pub fn new(rows: Rows, actor: &Principal) -> Self {
        let token = actor.token.as_ref().map(|(id, _)| format!(" {id}")).unwrap_or_default();
        Self { rows, actor: format!("{} {}{token}", actor.kind(), actor.id) }
    }
}

/// A transaction. Dropped before it is committed, it leaves nothing behind.
#[derive(Debug)]
pub struct Transaction {
    client: Client,
    access: Access,
    timeout: Duration,
}

/// What a transaction may do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Access {
    /// It reads: PostgreSQL refuses every change in it.
    Read,
    /// It reads and changes.
    Change,
}

impl Access {
    const fn begin(self) -> &'static str {
        match self {
            Self::Read => "BEGIN READ ONLY",
            Self::Change => "BEGIN",
        }
    }

    /// Whether it is this transaction that refuses a change, and not the server.
    fn refuses(self, error: &Error) -> bool {
        self == Self::Read && matches!(error, Error::Query(query) if query.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION))
    }
}

/// A statement with its parameters.
pub type Asking<'a> = (&'a str, &'a [&'a (dyn ToSql + Sync)]);

impl Database {
    /// Begins a transaction of this scope and runs its first statements, in one round trip. Answers the rows of each.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn begin(&self, scope: Scope, access: Access, first: &[Asking<'_>]) -> Result<(Transaction, Vec<Vec<Row>>), Error> {
        let tenant = match scope.rows {
            Rows::Tenant(tenant) => tenant.as_uuid().to_string(),
            Rows::Staff => String::new(),
        };
        let staff = if scope.rows == Rows::Staff { "yes" } else { "" };
        let once = || {
            within(self.timeout, async {
                let mut client = self.client_within().await?;
                client.will_be_rolled_back();
                let transaction = Transaction { client, access, timeout: self.timeout };
                let params: [&(dyn ToSql + Sync); 3] = [&tenant, &staff, &scope.actor];
                let rows = transaction.noted(begin(&transaction.client, access, &params, first).await)?;
                Ok((transaction.kept(), rows))
            })
        };
        match once().await {
            Err(error) if access.refuses(&error) => Err(error),
            answer => fresh_if_outdated(answer, once).await,
        }
    }
}

async fn begin(
    client: &ClientWrapper,
    access: Access,
    scope: &[&(dyn ToSql + Sync); 3],
    first: &[Asking<'_>],
) -> Result<Vec<Vec<Row>>, Error> {
    let set_scope = client.prepare_cached(SET_SCOPE).await?;
    let mut prepared = Vec::with_capacity(first.len());
    for (sql, _) in first {
        prepared.push(client.prepare_cached(sql).await?);
    }
    let begin = sent(client.batch_execute(access.begin())).await;
    let set = sent(client.query(&set_scope, scope)).await;
    let mut answers = Vec::with_capacity(first.len());
    for (statement, (_, params)) in prepared.iter().zip(first) {
        answers.push(sent(client.query(statement, params)).await);
    }
    begin.await?;
    set.await?;
    let mut rows = Vec::with_capacity(first.len());
    for answer in answers {
        rows.push(answer.await?);
    }
    Ok(rows)
}

impl Transaction {
    /// Runs a statement.
    ///
    /// # Errors
    /// Any [`Error`]; nothing more can then be done in this transaction.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.noted(within(self.timeout, query(&self.client, sql, params)).await)
    }

    /// Runs a statement, and answers its first row.
    ///
    /// # Errors
    /// As [`Transaction::query`].
    pub async fn first(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Makes it so.
    ///
    /// # Errors
    /// Any [`Error`]; after [`Error::Deadline`] it is not known whether it is.
    pub async fn commit(self) -> Result<(), Error> {
        let outcome = within(self.timeout, async { Ok(self.client.batch_execute("COMMIT").await?) }).await;
        self.client.conclude(outcome)
    }

    fn noted<T>(&self, outcome: Result<T, Error>) -> Result<T, Error> {
        if !matches!(&outcome, Err(error) if self.access.refuses(error)) {
            self.client.note(&outcome);
        }
        outcome
    }

    /// It goes on beyond the statements with which it has begun.
    fn kept(mut self) -> Self {
        self.client.keep();
        self
    }
}
