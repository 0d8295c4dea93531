//! Changes: each is decided by the actor's row as it is within the change's own transaction.
//!
//! Locks are taken in one order, so that no two changes wait for each other: the tenant's row, the actor's row and token, then what is
//! changed, several rows in the order of their ids.

use std::ops::Deref;

use axum::{extract::FromRequestParts, http::request::Parts};
use platform::{
    db::{self, Asking, Rows, Transaction},
    domain::{TenantId, Timestamp},
    web::ApiError,
};
use tokio_postgres::types::ToSql;

use crate::{
    AdminParts,
    caller::Caller,
    tenants::{LOCK, must_be_open},
};

/// What a change locks before it looks at its actor.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lock {
    /// The tenant's row: changes of its users, tokens, licenses and settings come one after another. The tenant must not be closed.
    Tenant,
    /// Nothing: what is changed is locked by itself.
    Nothing,
}

/// Somebody whom the guard has let in to change something. It says nothing of what the caller may do: a [`Change`] does.
#[derive(Clone, Debug)]
pub(crate) struct Changer(Caller);

impl Changer {
    /// The tenant that the change is for.
    ///
    /// # Errors
    /// [`ApiError::TenantRequired`] if it is for none.
    pub(crate) fn tenant(&self) -> Result<TenantId, ApiError> {
        self.0.tenant()
    }

    /// Begins a change: in one round trip locks what is to be locked and the actor's row, and reads the latter.
    ///
    /// # Errors
    /// [`ApiError::NotAdmitted`] if the actor is no longer in force, [`ApiError::InvalidToken`] if its token is not, [`ApiError::Forbidden`] if
    /// it may no longer do what the operation takes, and those of a tenant that is closed or not there.
    pub(crate) async fn begin(&self, parts: &AdminParts, lock: Lock) -> Result<Change, ApiError> {
        let (Self(caller), now) = (self, parts.clock.now());
        let tenant = if lock == Lock::Tenant { Some(caller.tenant()?.as_uuid()) } else { None };
        let (actor, token) = (caller.principal.id.as_uuid(), caller.principal.token.as_ref().map(|(id, _)| *id));
        let actor: Asking<'_> = (db::ACTOR, &[&actor, &token, &now]);
        let locked = tenant.as_ref().map(|tenant| (LOCK, [tenant as &(dyn ToSql + Sync)]));
        let first: Vec<Asking<'_>> = locked.iter().map(|(sql, params)| (*sql, &params[..])).chain([actor]).collect();
        let (transaction, answers) = parts.store.change(caller.scope(), &first).await?;
        let actor = answers.last().and_then(|rows| rows.first());
        let Some(principal) = db::actor(&caller.principal, actor)? else {
            // What is kept here of the person is not true any more.
            parts.callers.forget();
            return Err(ApiError::no_longer(&caller.principal));
        };
        let change = Change { transaction, caller: Caller { principal, ..caller.clone() }, now };
        if change.caller.principal != caller.principal {
            parts.callers.forget();
        }
        change.caller.must_be_permitted(caller.operation.permission)?;
        if lock == Lock::Tenant {
            must_be_open(answers[0].first())?;
        }
        Ok(change)
    }

    /// Which rows the change sees.
    pub(crate) fn rows(&self) -> Rows {
        self.0.rows()
    }

    /// Who makes it.
    pub(crate) fn actor(&self) -> uuid::Uuid {
        self.0.principal.id.as_uuid()
    }
}

impl<S: Sync> FromRequestParts<S> for Changer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, ApiError> {
        Caller::from_request_parts(parts, state).await.map(Self)
    }
}

/// A transaction that changes something, by an actor who may do what the operation takes until it ends. Dropped before it is committed, it
/// leaves nothing behind.
#[derive(Debug)]
pub(crate) struct Change {
    transaction: Transaction,
    caller: Caller,
    now: Timestamp,
}

impl Change {
    /// Who makes the change, as its row says within the transaction.
    pub(crate) const fn caller(&self) -> &Caller {
        &self.caller
    }

    /// When the change is made.
    pub(crate) const fn now(&self) -> Timestamp {
        self.now
    }

    /// Makes it so.
    ///
    /// # Errors
    /// Any [`db::Error`]; after [`db::Error::Deadline`] it is not known whether it is.
    pub(crate) async fn commit(self) -> Result<(), db::Error> {
        self.transaction.commit().await
    }
}

impl Deref for Change {
    type Target = Transaction;

    fn deref(&self) -> &Transaction {
        &self.transaction
    }
}
