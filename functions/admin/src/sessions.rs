//! Sessions: who sits where, and revocations.

mod record;

use std::{collections::HashMap, time::Duration};

use axum::{
    extract::{RawQuery, State},
    response::{IntoResponse, Json, Response},
};
use futures_util::{StreamExt, stream};
use platform::{
    domain::{Email, EndReason, HardwareId, LicenseId, Permission, SessionKey, SessionRef, SessionState, Timestamp},
    web::{ApiError, Fields},
};
use serde::Serialize;
use tokio::time::timeout;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation,
    answer::written,
    asked::{MaybeAsked, Nothing},
    audit::{self, Event},
    caller::Caller,
    change::{Change, Changer, Lock},
    hardware_blocks::{self, HardwareBlock},
    named::Named,
    page::{Items, Page, PageParams, moment},
};
use record::{Filter, Found, Session, found, position};

/// The rows of the table. Whoever may not see the tenant sees the sessions of its own address.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_sessions", "GET", "/api/v1/sessions", Permission::SeeOwnSessions),
    Operation::new("get_session", "GET", "/api/v1/sessions/{id}", Permission::SeeOwnSessions),
    Operation::new("revoke_session", "POST", "/api/v1/sessions/{id}/revoke", Permission::RevokeSessions),
];

/// Licenses that the seat engine is asked about at the same time.
const ABREAST: usize = 16;
/// How long the seat engine may take to say until when the sessions of a page live. Beyond it the record has to do.
const ASKING: Duration = Duration::from_millis(500);

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get)).routes(routes!(revoke))
}

/// Which sessions a list shows.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct SessionFilter {
    state: Option<SessionState>,
    /// How it ended; not with `state=live`.
    ended_reason: Option<EndReason>,
    #[param(value_type = Option<String>, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    license_id: Option<LicenseId>,
    /// The whole address, to the letter.
    #[param(value_type = Option<String>)]
    user_email: Option<Email>,
    /// The whole id, to the letter.
    #[param(value_type = Option<String>)]
    hardware_id: Option<HardwareId>,
    /// Started then or later.
    #[param(value_type = Option<String>, format = DateTime)]
    started_from: Option<Timestamp>,
    /// Started before.
    #[param(value_type = Option<String>, format = DateTime)]
    started_until: Option<Timestamp>,
}

impl Filter {
    fn read(fields: &mut Fields<'_>, caller: &Caller) -> Self {
        let state = fields.optional("state", str::parse);
        let reason = fields.optional("ended_reason", str::parse);
        if state == Some(SessionState::Live) && reason.is_some() {
            fields.fault::<()>("ended_reason", "must be left out with state=live".to_owned());
        }
        Self {
            state,
            reason,
            license: fields.optional("license_id", str::parse),
            email: fields.optional("user_email", Email::parse_pasted),
            own: own(caller).map(str::to_owned),
            hardware: fields.optional("hardware_id", HardwareId::parse),
            from: fields.optional("started_from", moment),
            until: fields.optional("started_until", moment),
        }
    }
}

/// The address whose sessions a caller sees, where it does not see those of others.
fn own(caller: &Caller) -> Option<&str> {
    (!caller.may(Permission::SeeTenant)).then_some(caller.principal.email.as_str())
}

/// Lists sessions: every one of the tenant, or for those who may not see them, one's own
#[utoipa::path(
    get,
    path = "/api/v1/sessions",
    operation_id = "list_sessions",
    tag = "administration",
    params(PageParams, SessionFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of sessions, those that started last first.", body = Items<Session>))
)]
async fn list(State(parts): State<AdminParts>, caller: Caller, RawQuery(query): RawQuery) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "sessions");
    let filter = Filter::read(&mut fields, &caller);
    fields.finish()?;
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, &page, &filter).await?;
    transaction.commit().await?;
    let sessions = rows.iter().map(found).collect::<Result<Vec<_>, _>>()?;
    let told = expiries(&parts, &sessions).await;
    let view = |row: &_| found(row).map(|found| with_told(found, &told).session);
    Ok(Json(page.items(&parts, &rows, view, position)?).into_response())
}

/// Shows a session
#[utoipa::path(
    get,
    path = "/api/v1/sessions/{id}",
    operation_id = "get_session",
    tag = "administration",
    params(("id" = String, Path, description = "The session, by the name that lists have for it.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The session.", body = Session))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(name): Named<SessionRef>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let found = record::find(&transaction, &name).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    if own(&caller).is_some_and(|own| found.session.user_email != own) {
        return Err(ApiError::NotFound);
    }
    let told = expiries(&parts, std::slice::from_ref(&found)).await;
    Ok(Json(with_told(found, &told).session).into_response())
}

/// What a revocation may say.
#[derive(ToSchema)]
struct NewRevocation {
    /// Until when its device may not take another seat of the license. Without it the device may do so at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    block_hardware_until: Option<Timestamp>,
}

impl NewRevocation {
    fn read(mut fields: Fields<'_>, now: Timestamp) -> Result<Self, ApiError> {
        let block_hardware_until = fields.optional("block_hardware_until", hardware_blocks::until(now));
        fields.finish()?;
        Ok(Self { block_hardware_until })
    }
}

/// A session that has ended, and what became of its device.
#[derive(Serialize, ToSchema)]
struct Revocation {
    #[serde(flatten)]
    session: Session,
    /// The block of its device, if one was asked for.
    hardware_block: Option<HardwareBlock>,
}

/// Revokes a session: its next heartbeat is answered 410, and its seat is free at once if no other session shares it
///
/// One that has ended stays ended as it was; its device is blocked all the same.
#[utoipa::path(
    post,
    path = "/api/v1/sessions/{id}/revoke",
    operation_id = "revoke_session",
    tag = "administration",
    params(("id" = String, Path, description = "The session, by the name that lists have for it.")),
    security(("bearer" = [])),
    request_body = Option<NewRevocation>,
    responses((status = 200, description = "The session as it is now.", body = Revocation))
)]
async fn revoke(
    State(parts): State<AdminParts>,
    changer: Changer,
    Named(name): Named<SessionRef>,
    MaybeAsked(asked): MaybeAsked,
) -> Result<Response, ApiError> {
    let wanted = NewRevocation::read(asked.fields()?, parts.clock.now())?;
    let change = changer.begin(&parts, Lock::Nothing).await?;
    let before = record::find(&change, &name).await?.ok_or(ApiError::NotFound)?;
    let session = match record::revoke(&change, before.key, change.now()).await? {
        Some(after) => {
            tell_revoked(&change, &before.session, &after.session).await?;
            after.session
        }
        // As it is by now: it may have ended just before.
        None => record::find(&change, &name).await?.ok_or(ApiError::NotFound)?.session,
    };
    let hardware_block = match wanted.block_hardware_until {
        Some(until) => Some(hardware_blocks::block(&change, (&session).into(), until).await?),
        None => None,
    };
    change.commit().await?;
    if session.ended_reason == Some(EndReason::Revoked) {
        // If this fails it is a 503, and to be asked for again: until then the holder might be renewed.
        parts.seats.take_out(name.license, before.key).await?;
    }
    Ok(Json(Revocation { session, hardware_block }).into_response())
}

async fn tell_revoked(change: &Change, before: &Session, after: &Session) -> Result<(), ApiError> {
    let event = Event::of("session.revoked", after.tenant_id, "session", &after.id).license(after.license_id);
    audit::record(change, event.changed(written(before)?, written(after)?)).await?;
    Ok(())
}

/// Revokes the live sessions of an address on licenses that require a token. Whoever commits the change has the seat engine take them out.
///
/// # Errors
/// Any [`ApiError`]: the change must not be committed then.
pub(crate) async fn revoke_of_user(change: &Change, email: &str) -> Result<Vec<(LicenseId, SessionKey)>, ApiError> {
    let mut ended = Vec::new();
    for found in record::revoke_of_user(change, email, change.now()).await? {
        tell_revoked(change, &found.as_it_lived().session, &found.session).await?;
        ended.push((found.session.license_id, found.key));
    }
    Ok(ended)
}

impl<'a> From<&'a Session> for hardware_blocks::Device<'a> {
    fn from(session: &'a Session) -> Self {
        Self { tenant: session.tenant_id, license: session.license_id, hardware: &session.hardware_id }
    }
}

/// Until when the live ones among these sessions live, by the seat engine: one round trip for each license.
async fn expiries(parts: &AdminParts, sessions: &[Found]) -> HashMap<SessionKey, Timestamp> {
    let mut licenses: HashMap<LicenseId, Vec<SessionKey>> = HashMap::new();
    for found in sessions.iter().filter(|found| found.session.state == SessionState::Live) {
        licenses.entry(found.session.license_id).or_default().push(found.key);
    }
    let ask = async |(license, keys): (LicenseId, Vec<SessionKey>)| match parts.seats.expiries(license, &keys).await {
        Ok(told) => keys.into_iter().zip(told).filter_map(|(key, until)| Some((key, until?))).collect(),
        Err(error) => {
            tracing::warn!(%license, %error, "the seat engine does not say until when sessions live; the record has to do");
            Vec::new()
        }
    };
    let all = stream::iter(licenses).map(ask).buffer_unordered(ABREAST).concat();
    timeout(ASKING, all).await.unwrap_or_default().into_iter().collect()
}

fn with_told(found: Found, told: &HashMap<SessionKey, Timestamp>) -> Found {
    let until = told.get(&found.key).copied();
    found.alive_until(until)
}
