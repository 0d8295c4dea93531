//! The guard before the operations that take a good credential and no membership: those on one's own invitations and account.

use axum::{
    extract::{Request, State},
    http::Method,
    middleware::Next,
    response::{IntoResponse, Response},
};
use platform::{
    domain::{Account, Identity, LimitKind, Verdict},
    web::{ApiError, Checked, ClientAddress},
};

use crate::{AdminParts, invitations, me};

/// An operation that no role permits or forbids.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct IdentityOperation {
    /// Its name: the id in the OpenAPI document.
    pub name: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path as routes have it, with `{id}` where an id is.
    pub path: &'static str,
}

impl IdentityOperation {
    pub(crate) const fn new(name: &'static str, method: &'static str, path: &'static str) -> Self {
        Self { name, method, path }
    }
}

/// Every operation that takes a good credential and no membership.
pub fn identity_operations() -> impl Iterator<Item = &'static IdentityOperation> {
    [invitations::OPERATIONS, me::OPERATIONS].into_iter().flatten()
}

/// Somebody who has signed in at an identity provider, and not come with a personal access token.
#[derive(Clone, Debug)]
pub(crate) struct SignedIn(pub(crate) Identity);

/// Lets everybody in who signed in. An answer runs to its end even if its caller hangs up: what is committed is always told.
pub(crate) async fn guard(State(parts): State<AdminParts>, address: ClientAddress, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(parts, address, request, next).await;
    }
    let work = tokio::spawn(answer(parts, address, request, next));
    work.await.unwrap_or_else(|error| ApiError::Internal(error.into()).into_response())
}

async fn answer(parts: AdminParts, address: ClientAddress, request: Request, next: Next) -> Response {
    admit(&parts, address, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn admit(parts: &AdminParts, address: ClientAddress, mut request: Request, next: Next) -> Result<Response, ApiError> {
    // Nothing that is kept: the caller may have answered an invitation in another process just now.
    let account = parts.callers.authenticate_anew(request.headers(), address).await?.ok_or(ApiError::Unauthenticated)?;
    let verdict = count(parts, &account).await?;
    match &account.identity {
        Some(identity) => {
            let signed_in = SignedIn(identity.clone());
            request.extensions_mut().insert(signed_in);
        }
        None if request.uri().path().starts_with("/api/v1/invitations") => {
            return Ok(Checked(verdict, ApiError::Forbidden).into_response());
        }
        None => {}
    }
    request.extensions_mut().insert(account);
    Ok(Checked(verdict, next.run(request).await).into_response())
}

/// Counts a request of an identity, or of a token's owner.
async fn count(parts: &AdminParts, account: &Account) -> Result<Verdict, ApiError> {
    let limiter = parts.seats.limiter();
    match &account.identity {
        Some(identity) => {
            let key = ["identity", &identity.issuer, &identity.subject].join("\n");
            limiter.check(LimitKind::Principal, key.as_bytes()).await.passed()
        }
        None => limiter.count_person(&account.choose(None).map_err(ApiError::from)?.principal).await,
    }
}
