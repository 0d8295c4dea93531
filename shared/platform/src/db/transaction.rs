//! Transactions of several statements, in the eyes of one tenant or of staff.

use std::time::Duration;

use futures_util::FutureExt;
use tokio_postgres::{Row, types::ToSql};

use super::{Database, Error, within};
use crate::domain::TenantId;

/// Names the tenant of a transaction, or says that it is for staff.
const SET_SCOPE: &str = "-- db::set_scope
SELECT set_config('coditect.tenant', $1, true), set_config('coditect.staff', $2, true)";

/// Whose rows a transaction sees.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scope {
    /// Those of one tenant.
    Tenant(TenantId),
    /// Those of every tenant: for the vendor's own people alone, and only where the role is [`super::Role::Admin`].
    Staff,
}

/// A transaction. Dropped before it is committed, it leaves nothing behind.
#[derive(Debug)]
pub struct Transaction {
    client: deadpool_postgres::Client,
    is_open: bool,
    timeout: Duration,
}

impl Database {
    /// Begins a transaction that sees the rows of this scope, in one round trip.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn begin(&self, scope: Scope) -> Result<Transaction, Error> {
        let tenant = match scope {
            Scope::Tenant(tenant) => tenant.as_uuid().to_string(),
            Scope::Staff => String::new(),
        };
        let staff = if scope == Scope::Staff { "yes" } else { "" };
        within(self.timeout, async {
            let client = self.client().await?;
            let set_scope = client.prepare_cached(SET_SCOPE).await?;
            let transaction = Transaction { client, is_open: true, timeout: self.timeout };
            let params: [&(dyn ToSql + Sync); 2] = [&tenant, &staff];
            let (begin, set) = tokio::join!(
                biased;
                transaction.client.batch_execute("BEGIN"),
                transaction.client.query(&set_scope, &params),
            );
            begin?;
            set?;
            Ok(transaction)
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
