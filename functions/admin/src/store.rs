//! The record, as operations reach it: only by a transaction that reads, or by one that has looked at its actor.

use platform::{
    db::{self, Access, Asking, Database, Scope, Transaction},
    web::ApiError,
};
use tokio_postgres::Row;

use crate::caller::Caller;

/// PostgreSQL with the rights to change what tenants have: [`db::Role::Admin`]. Operations get transactions of it in two ways:
///
/// - `Store::read`, in which PostgreSQL refuses every change;
/// - `Changer::begin`, which first locks and reads the actor's row.
#[derive(Clone, Debug)]
pub struct Store(Database);

impl Store {
    /// The record behind this pool of connections.
    #[must_use]
    pub const fn new(database: Database) -> Self {
        Self(database)
    }

    /// Begins a transaction that reads what the caller sees. What is known of the caller may be ten seconds old.
    ///
    /// # Errors
    /// Any [`db::Error`].
    pub(crate) async fn read(&self, caller: &Caller) -> Result<Transaction, db::Error> {
        self.look(caller.scope()).await
    }

    /// Begins a transaction that reads, for the guard.
    ///
    /// # Errors
    /// Any [`db::Error`].
    pub(crate) async fn look(&self, scope: Scope) -> Result<Transaction, db::Error> {
        Ok(self.0.begin(scope, Access::Read, &[]).await?.0)
    }

    /// Begins a transaction that changes something, with the statements that decide whether it may. For [`crate::change`] alone.
    ///
    /// # Errors
    /// Any [`db::Error`].
    pub(crate) async fn change(&self, scope: Scope, first: &[Asking<'_>]) -> Result<(Transaction, Vec<Vec<Row>>), ApiError> {
        Ok(self.0.begin(scope, Access::Change, first).await?)
    }

    /// Begins a transaction that writes without a look at the actor's row. For the audit log, which also keeps what people tried who may
    /// not act, and for what somebody does who has no row yet.
    ///
    /// # Errors
    /// Any [`db::Error`].
    pub(crate) async fn unchecked(&self, scope: Scope) -> Result<Transaction, db::Error> {
        Ok(self.0.begin(scope, Access::Change, &[]).await?.0)
    }
}
