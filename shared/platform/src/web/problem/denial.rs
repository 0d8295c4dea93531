//! What callers are told who are not let in, or not let do something.

use axum::http::HeaderValue;

use super::ApiError;
use crate::domain::{NotAdmitted, Permission, Principal, Unadmitted};

/// Why a good credential stands for nobody who is served.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Denial {
    /// It has no membership.
    NoAccount,
    /// It has no membership, and no verified address by which to accept an invitation.
    EmailNotVerified,
    /// Its organization is closed.
    TenantSuspended,
    /// Its membership is deactivated.
    Deactivated,
}

impl Denial {
    /// Its code, its title, and what to do about it.
    pub(super) const fn face(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::NoAccount => (
                "no_account",
                "You have no account here",
                "Nobody has invited this identity, or it has not accepted. List your invitations with GET /api/v1/invitations and accept one.",
            ),
            Self::EmailNotVerified => (
                "email_not_verified",
                "Your email address is not verified",
                "Verify your address at your identity provider, sign in again, and accept your invitation.",
            ),
            Self::TenantSuspended => {
                ("tenant_suspended", "Your organization is not served", "Your organization is closed. Ask the vendor to serve it again.")
            }
            Self::Deactivated => {
                ("deactivated", "Your account is deactivated", "Ask an administrator of your organization to reactivate it.")
            }
        }
    }
}

impl ApiError {
    /// Why a principal may not do this: only its token's scope is lacking, or its role does not permit it.
    #[must_use]
    pub fn not_permitted(principal: &Principal, permission: Permission) -> Self {
        if principal.lacks_only_scope(permission) { Self::InsufficientScope(permission) } else { Self::Forbidden }
    }

    /// To a caller who was let in by what is kept, and turns out not to be in force any more: it, or its token.
    #[must_use]
    pub fn no_longer(principal: &Principal) -> Self {
        if principal.token.is_some() { Self::InvalidToken } else { NotAdmitted::Deactivated.into() }
    }

    /// What `WWW-Authenticate` says (RFC 6750, section 3): no error where no bearer token was sent.
    pub(super) fn challenge(&self) -> Option<HeaderValue> {
        if let Self::InsufficientScope(permission) = self {
            let challenge = format!("Bearer error=\"insufficient_scope\", scope=\"{}\"", permission.as_str());
            return challenge.try_into().ok();
        }
        if matches!(self, Self::InvalidToken) {
            return Some(HeaderValue::from_static("Bearer error=\"invalid_token\""));
        }
        matches!(self, Self::Unauthenticated).then(|| HeaderValue::from_static("Bearer"))
    }
}

/// Returns why a caller may do nothing of this as any of its members, and the one to count the request against.
#[must_use]
pub fn none_may<'a>(members: &'a [Principal], permissions: &[Permission]) -> Option<(&'a Principal, ApiError)> {
    let may = |member: &Principal| permissions.iter().any(|permission| member.may(*permission));
    let (first, permission) = (members.first()?, *permissions.first()?);
    if members.iter().any(may) { None } else { Some((first, ApiError::not_permitted(first, permission))) }
}

impl From<NotAdmitted> for ApiError {
    fn from(why: NotAdmitted) -> Self {
        match why {
            NotAdmitted::NoAccount => Self::NotAdmitted(Denial::NoAccount),
            NotAdmitted::EmailNotVerified => Self::NotAdmitted(Denial::EmailNotVerified),
            NotAdmitted::TenantSuspended => Self::NotAdmitted(Denial::TenantSuspended),
            NotAdmitted::Deactivated => Self::NotAdmitted(Denial::Deactivated),
            NotAdmitted::OtherTenant => Self::Forbidden,
            NotAdmitted::ChoiceRequired(tenants) => Self::TenantChoiceRequired(tenants),
        }
    }
}

impl From<Unadmitted> for ApiError {
    fn from(why: Unadmitted) -> Self {
        match why {
            Unadmitted::NotPermitted => Self::Forbidden,
            Unadmitted::NoToken => Self::Unauthenticated,
            Unadmitted::OtherEmail => Self::invalid("user_email", "must be the address that the token stands for"),
        }
    }
}
