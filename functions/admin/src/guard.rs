//! The guard before every operation: who calls, for which tenant, and whether the table permits it.

use axum::{
    extract::{MatchedPath, Request, State},
    http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header::CONTENT_DISPOSITION},
    middleware::Next,
    response::{IntoResponse, Response},
};
use platform::{
    db::{Rows, Scope},
    domain::{Account, NotAdmitted, Principal, Standing, TenantId},
    web::{ApiError, Checked, ClientAddress, REQUEST_ID},
};

use crate::{AdminParts, Operation, Whose, audit, caller::Caller, operations, tenants};

const TENANT: HeaderName = HeaderName::from_static("x-tenant-id");
/// In the place of a tenant's id: what is no tenant's.
const NO_TENANT: &str = "none";

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
    let (mut caller, is_admitted) = caller(parts, operation, request.headers(), address).await?;
    let verdict = parts.seats.limiter().count_person(&caller.principal).await?;
    if !is_admitted || !caller.may(operation.permission) {
        audit::refused(parts, &caller, &path).await?;
        let error = if is_admitted { ApiError::not_permitted(&caller.principal, operation.permission) } else { ApiError::Forbidden };
        return Ok(Checked(verdict, error).into_response());
    }
    if caller.principal.standing == Standing::Staff {
        match staffs_tenant(parts, &caller.principal, operation, request.headers(), &path).await {
            Ok(tenant) => caller.tenant = tenant,
            Err(error) => return Ok(Checked(verdict, error).into_response()),
        }
    }
    request.extensions_mut().insert(caller.clone());
    let response = next.run(request).await;
    if response.status() == StatusCode::FORBIDDEN {
        audit::refused(parts, &caller, &path).await?;
    } else if operation.is_read() && caller.foreign_tenant().is_some() {
        // What is sent to be saved is a whole list.
        let is_whole = response.headers().contains_key(CONTENT_DISPOSITION);
        audit::looked(parts, &caller, &path, is_whole).await?;
    }
    Ok(Checked(verdict, response).into_response())
}

/// Who calls, and whether it may act for the tenant that it names. The tenant of staff is found later: see [`staffs_tenant`].
async fn caller(
    parts: &AdminParts,
    operation: &'static Operation,
    headers: &HeaderMap,
    address: ClientAddress,
) -> Result<(Caller, bool), ApiError> {
    let named = named(headers);
    // What is kept here may be ten seconds old, and decides on reads alone.
    let account = if operation.is_read() {
        parts.callers.authenticate_for(headers, address, named.as_ref().and_then(|named| named.as_ref().ok().copied())).await?
    } else {
        parts.callers.authenticate_anew(headers, address).await?
    };
    let account = account.ok_or(ApiError::Unauthenticated)?;
    let (principal, tenant, is_admitted) = if let Some(staff) = account.staff() {
        (staff.clone(), None, true)
    } else {
        let (member, is_admitted) = member(parts, &account, named).await?;
        let own = member.tenant.ok_or_else(|| ApiError::Internal("a user without a tenant".into()))?;
        (member, Some(own), is_admitted)
    };
    let id = headers.get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    Ok((Caller { principal, operation, request_id: id.to_owned(), address, tenant }, is_admitted))
}

/// The tenant that staff act for, if the operation is about one.
async fn staffs_tenant(
    parts: &AdminParts,
    staff: &Principal,
    operation: &Operation,
    headers: &HeaderMap,
    path: &str,
) -> Result<Option<TenantId>, ApiError> {
    let is_none = || headers.get(TENANT).is_some_and(|value| value == NO_TENANT);
    let (tenant, missing) = match operation.whose {
        Whose::TenantOrNone if is_none() => return Ok(None),
        Whose::Tenant | Whose::TenantOrNone => (named(headers).ok_or(ApiError::TenantRequired)??, None),
        Whose::All => match named(headers) {
            None => return Ok(None),
            Some(tenant) => (tenant?, None),
        },
        Whose::PathsTenant => {
            let of_path = operation.id_in(path).and_then(|id| id.parse().ok()).ok_or(ApiError::NotFound)?;
            if named(headers).transpose()?.is_some_and(|named| named != of_path) {
                return Err(ApiError::NotFound);
            }
            (of_path, Some(ApiError::NotFound))
        }
    };
    let transaction = parts.store.look(Scope::new(Rows::Tenant(tenant), staff)).await?;
    let is_there = tenants::is_there(&transaction, tenant).await?;
    transaction.commit().await?;
    let missing = || missing.unwrap_or_else(|| ApiError::invalid("x-tenant-id", "must be the id of a tenant"));
    if is_there { Ok(Some(tenant)) } else { Err(missing()) }
}

/// The tenant that the header names, if it is there.
fn named(headers: &HeaderMap) -> Option<Result<TenantId, ApiError>> {
    let wrong = || ApiError::invalid("x-tenant-id", "must be the id of a tenant");
    let read = |value: &HeaderValue| value.to_str().ok().and_then(|text| text.parse().ok()).ok_or_else(wrong);
    headers.get(TENANT).map(read)
}

/// As which member somebody calls. Whoever names a tenant that is not theirs is refused, which one of their own tenants keeps.
async fn member(parts: &AdminParts, account: &Account, named: Option<Result<TenantId, ApiError>>) -> Result<(Principal, bool), ApiError> {
    let chosen = match named {
        Some(Err(_)) => account.principals().and(Err(NotAdmitted::OtherTenant)),
        Some(Ok(tenant)) => account.choose(Some(tenant)),
        None => account.choose(None),
    };
    match chosen {
        Ok(membership) => {
            parts.callers.note_use(account, membership).await;
            Ok((membership.principal.clone(), true))
        }
        Err(NotAdmitted::OtherTenant) => {
            let own = account.of_tenants().next().ok_or(ApiError::Forbidden)?;
            Ok((own.principal.clone(), false))
        }
        Err(why) => Err(why.into()),
    }
}
