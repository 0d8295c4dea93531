//! Who calls, as operations see it: past the guard.

use axum::{extract::FromRequestParts, http::request::Parts};
use platform::{
    db::{Rows, Scope},
    domain::{Permission, Principal, Standing, TenantId, UserId},
    web::{ApiError, ClientAddress},
};

use crate::Operation;

/// Somebody whom the guard has let in.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) principal: Principal,
    pub(crate) operation: &'static Operation,
    pub(crate) request_id: String,
    pub(crate) address: ClientAddress,
    /// Its own tenant, or the one that staff act for. None: staff, for an operation that is about no one tenant.
    pub(crate) tenant: Option<TenantId>,
}

impl Caller {
    /// What its transactions see, and that they act in its name.
    pub(crate) fn scope(&self) -> Scope {
        Scope::new(self.rows(), &self.principal)
    }

    /// Which rows its transactions see.
    pub(crate) fn rows(&self) -> Rows {
        match (self.principal.standing, self.tenant) {
            (_, Some(tenant)) => Rows::Tenant(tenant),
            (Standing::Staff, None) => Rows::Staff,
            // The guard makes no such caller; were there one, it would see nothing.
            (Standing::Guest | Standing::Member | Standing::Admin | Standing::Owner, None) => {
                Rows::Tenant(TenantId::from_uuid(uuid::Uuid::nil()))
            }
        }
    }

    /// The tenant that the call is about.
    ///
    /// # Errors
    /// [`ApiError::TenantRequired`] if staff have not named one.
    pub(crate) fn tenant(&self) -> Result<TenantId, ApiError> {
        self.tenant.ok_or(ApiError::TenantRequired)
    }

    /// The caller as a user of its tenant. None: staff.
    pub(crate) fn member(&self) -> Option<UserId> {
        if self.principal.standing == Standing::Staff { None } else { Some(self.principal.id) }
    }

    /// The tenant that staff act for, not being of it.
    pub(crate) fn foreign_tenant(&self) -> Option<TenantId> {
        self.tenant.filter(|_| self.principal.standing == Standing::Staff)
    }

    /// Whether it may do this.
    pub(crate) fn may(&self, permission: Permission) -> bool {
        self.principal.may(permission)
    }

    /// For what a part of an operation takes beyond the operation's own permission.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], which the guard writes down.
    pub(crate) fn must_be_permitted(&self, permission: Permission) -> Result<(), ApiError> {
        if self.may(permission) { Ok(()) } else { Err(ApiError::not_permitted(&self.principal, permission)) }
    }

    /// For what concerns somebody who stands so.
    ///
    /// # Errors
    /// [`ApiError::Forbidden`], which the guard writes down.
    pub(crate) fn must_manage(&self, other: Standing) -> Result<(), ApiError> {
        if self.principal.manages(other) {
            return Ok(());
        }
        let is_scope = self.principal.standing.manages(other);
        Err(if is_scope { ApiError::not_permitted(&self.principal, Permission::ManageTenant) } else { ApiError::Forbidden })
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        parts.extensions.get().cloned().ok_or_else(|| ApiError::Internal("an operation that is not in the table".into()))
    }
}
