//! Transactions of several statements, in the eyes of one tenant or of staff.

use std::time::Duration;

use futures_util::FutureExt;
use tokio_postgres::{Row, types::ToSql};

use super::{Database, Error, sent, within};
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
    client: deadpool_postgres::Client,
    is_open: bool,
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
        within(self.timeout, async {
            let client = self.client().await?;
            let set_scope = client.prepare_cached(SET_SCOPE).await?;
            let mut prepared = Vec::with_capacity(first.len());
            for (sql, _) in first {
                prepared.push(client.prepare_cached(sql).await?);
            }
            let transaction = Transaction { client, is_open: true, timeout: self.timeout };
            let scope_params: [&(dyn ToSql + Sync); 3] = [&tenant, &staff, &scope.actor];
            let begin = sent(transaction.client.batch_execute(access.begin())).await;
            let set = sent(transaction.client.query(&set_scope, &scope_params)).await;
            let mut answers = Vec::with_capacity(first.len());
            for (statement, (_, params)) in prepared.iter().zip(first) {
                answers.push(sent(transaction.client.query(statement, params)).await);
            }
            begin.await?;
            set.await?;
            let mut rows = Vec::with_capacity(first.len());
            for answer in answers {
                rows.push(answer.await?);
            }
            Ok((transaction, rows))
        })
        .await
    }
}

impl Transaction {
    /// Runs a statement.
    ///
    /// # Errors
    /// Any [`Error`]; nothing more can then be done in this transaction.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        within(self.timeout, async {
            let statement = self.client.prepare_cached(sql).await?;
            Ok(self.client.query(&statement, params).await?)
        })
        .await
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
    pub async fn commit(mut self) -> Result<(), Error> {
        within(self.timeout, async { Ok(self.client.batch_execute("COMMIT").await?) }).await?;
        self.is_open = false;
        Ok(())
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        if self.is_open {
            // Asked once, it is on its way, ahead of whatever the connection is used for next; nobody need wait for the answer.
            let _ = self.client.batch_execute("ROLLBACK").now_or_never();
        }
    }
}
