//! A transaction of several statements on a connection of one's own, for jobs.

use std::time::Duration;

use deadpool_postgres::ClientWrapper;
use tokio_postgres::{Row, types::ToSql};

use super::{Error, pool::Notes, within};

/// A transaction. Dropped before it is committed, it leaves nothing behind.
pub struct Work<'a> {
    transaction: deadpool_postgres::Transaction<'a>,
    notes: Notes<'a>,
    limit: Duration,
}

impl std::fmt::Debug for Work<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Work").finish_non_exhaustive()
    }
}

impl<'a> Work<'a> {
    pub(super) async fn begin(client: &'a mut ClientWrapper, notes: Notes<'a>, limit: Duration) -> Result<Self, Error> {
        notes.asked();
        match within(limit, async { Ok(client.transaction().await?) }).await {
            Ok(transaction) => Ok(Self { transaction, notes, limit }),
            Err(error) => {
                notes.note(&error);
                Err(error)
            }
        }
    }

    /// Runs a statement.
    ///
    /// # Errors
    /// Any [`Error`]; nothing more can then be done in this transaction.
    pub async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, Error> {
        self.noted(within(self.limit, async {
            let statement = self.transaction.prepare_cached(sql).await?;
            Ok(self.transaction.query(&statement, params).await?)
        }))
        .await
    }

    /// Runs a statement, and answers its first row.
    ///
    /// # Errors
    /// As [`Work::query`].
    pub async fn first(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, Error> {
        Ok(self.query(sql, params).await?.into_iter().next())
    }

    /// Runs a statement, and answers how many rows it has written.
    ///
    /// # Errors
    /// As [`Work::query`].
    pub async fn execute(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<u64, Error> {
        self.noted(within(self.limit, async {
            let statement = self.transaction.prepare_cached(sql).await?;
            Ok(self.transaction.execute(&statement, params).await?)
        }))
        .await
    }

    /// Makes it so.
    ///
    /// # Errors
    /// Any [`Error`]; after [`Error::Deadline`] it is not known whether it is.
    pub async fn commit(self) -> Result<(), Error> {
        let outcome = within(self.limit, async { Ok(self.transaction.commit().await?) }).await;
        match &outcome {
            Ok(()) => self.notes.settled(),
            Err(error) => self.notes.note(error),
        }
        outcome
    }

    async fn noted<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
        work.await.inspect_err(|error| self.notes.note(error))
    }
}
