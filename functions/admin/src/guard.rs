//! The guard before every operation: who calls, for which tenant, and whether the table permits it.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, Method, StatusCode},
    middleware::Next,
    response::{IntoResponse, Response},
};
use platform::{
    domain::{Standing, TenantId},
    web::{ApiError, Checked, ClientAddress, REQUEST_ID},
};

use crate::{AdminParts, Operation, audit, caller::Caller, operations, tenants};

const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");

/// Lets an operation be done by those who may. A change runs to its end even if its caller hangs up: what is committed is always told.
pub(crate) async fn guard(State(parts): State<AdminParts>, address: ClientAddress, request: Request, next: Next) -> Response {
    if matches!(*request.method(), Method::GET | Method::HEAD) {
        return answer(parts, address, request, next).await;
    }
    let work = tokio::spawn(answer(parts, address, request, next));
    work.await.unwrap_or_else(|error| ApiError::Internal(error.into()).into_response())
}

async fn answer(parts: AdminParts, address: ClientAddress, request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map(|path| path.as_str().to_owned());
    let operation = route.and_then(|route| operations::find(request.method().as_str(), &route));
    // A method that the path does not know, which the router says. A route that is not in the table has no caller, and fails for want of one.
    let Some(operation) = operation else { return next.run(request).await };
    admit(&parts, address, operation, request, next).await.unwrap_or_else(IntoResponse::into_response)
}

async fn admit(
    parts: &AdminParts,
    address: ClientAddress,
    operation: &'static Operation,
    mut request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    let path = request.uri().path().to_owned();
    let (caller, is_admitted) = caller(parts, request.headers(), address).await?;
    let verdict = parts.seats.limiter().count_person(&caller.principal).await?;
    if !is_admitted || !caller.may(operation.permission) {
        audit::refused(parts, &caller, operation, &path).await?;
        return Ok(Checked(verdict, ApiError::Forbidden).into_response());
    }
    if let Some(tenant) = caller.foreign_tenant()
        && let Err(error) = tenants::must_exist(parts, &caller, tenant).await
    {
        return Ok(Checked(verdict, error).into_response());
    }
    request.extensions_mut().insert(caller.clone());
    let response = next.run(request).await;
    if response.status() == StatusCode::FORBIDDEN {
        audit::refused(parts, &caller, operation, &path).await?;
    } else if operation.is_read() && caller.foreign_tenant().is_some() {
        audit::looked(parts, &caller, operation, &path).await?;
    }
    Ok(Checked(verdict, response).into_response())
}

/// Who calls, and whether it may act for the tenant that it names.
async fn caller(parts: &AdminParts, headers: &HeaderMap, address: ClientAddress) -> Result<(Caller, bool), ApiError> {
    let principal = parts.callers.authenticate(headers).await?.ok_or(ApiError::Unauthenticated)?;
    let named = headers.get(TENANT).map(|value| value.to_str().ok().and_then(|text| text.parse::<TenantId>().ok()));
    let (tenant, is_admitted) = match (principal.standing, named) {
        (Standing::Staff, None) => (None, true),
        (Standing::Staff, Some(None)) => return Err(ApiError::invalid("x-tenant-id", "must be the id of a tenant")),
        (Standing::Staff, Some(Some(tenant))) => (Some(tenant), true),
        (Standing::Guest | Standing::Member | Standing::Admin | Standing::Owner, named) => {
            let own = principal.tenant.ok_or_else(|| ApiError::Internal("a user without a tenant".into()))?;
            (Some(own), named.is_none_or(|named| named == Some(own)))
        }
    };
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    Ok((Caller::new(principal, tenant, id, address), is_admitted))
}
