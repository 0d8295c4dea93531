//! Audit events: what happened, for good.

mod record;

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Json, Response},
};
use platform::{
    db::Rows,
    domain::{EventId, Permission},
    web::{ApiError, Fields},
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation, Whose,
    asked::Nothing,
    caller::Caller,
    export::{BATCH, Batch, Form},
    named::Named,
    page::{Items, Page, PageParams, Position, moment},
};
use record::{AuditEvent, Filter, event};

/// The rows of the table.
pub(crate) const OPERATIONS: &[Operation] = &[
    Operation::new("list_audit_events", "GET", "/api/v1/audit-events", Permission::ReadAudit).about(Whose::TenantOrNone),
    Operation::new("get_audit_event", "GET", "/api/v1/audit-events/{id}", Permission::ReadAudit).about(Whose::TenantOrNone),
];

const NDJSON: Form = Form { name: "ndjson", kind: "application/x-ndjson", file: "attachment; filename=\"audit-events.ndjson\"" };

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(get))
}

/// What a list of events can be narrowed to.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct EventFilter {
    /// What this person did, or tried.
    actor_id: Option<String>,
    /// What was done, as `license.changed`.
    #[param(max_length = 100)]
    action: Option<String>,
    /// What was done to this. What the seat engine tells of a session is not found by it.
    #[param(max_length = 100)]
    subject_id: Option<String>,
    /// What was refused alone, or what was not.
    refused: Option<bool>,
    /// What happened then or later.
    #[param(format = DateTime)]
    from: Option<String>,
    /// What happened earlier.
    #[param(format = DateTime)]
    until: Option<String>,
    /// `json`: a page. `ndjson`: everything that fits the filters, an event a line, and neither `limit` nor `cursor` counts. Without it
    /// `accept` decides.
    #[param(pattern = "^(json|ndjson)$")]
    format: Option<String>,
}

/// Lists what happened
///
/// The newest first: every change, every refused attempt, and what the seat engine tells of sessions. Nobody can change or delete an event.
#[utoipa::path(
    get,
    path = "/api/v1/audit-events",
    operation_id = "list_audit_events",
    tag = "administration",
    params(PageParams, EventFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of events, or as NDJSON all of them.",
               content((Items<AuditEvent> = "application/json"), (AuditEvent = "application/x-ndjson"))))
)]
async fn list(
    State(parts): State<AdminParts>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "audit-events");
    let filter = Filter {
        actor: fields.optional("actor_id", str::parse),
        action: fields.optional("action", word),
        subject: fields.optional("subject_id", word),
        refused: fields.optional("refused", |text| text.parse().map_err(|_| "must be true or false")),
        from: fields.optional("from", moment),
        until: fields.optional("until", moment),
    };
    let is_ndjson = NDJSON.is_wanted(&mut fields, &headers);
    fields.finish()?;
    if is_ndjson {
        return NDJSON.answer("", move |after| batch(parts.clone(), caller.clone(), filter.clone(), after)).await;
    }
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, &filter, page.after(), page.rows(), caller.rows() == Rows::Staff).await?;
    transaction.commit().await?;
    Ok(Json(page.items(&parts, &rows, event, record::position)?).into_response())
}

/// Shows an event
#[utoipa::path(
    get,
    path = "/api/v1/audit-events/{id}",
    operation_id = "get_audit_event",
    tag = "administration",
    params(("id" = String, Path, description = "The event.")),
    security(("bearer" = [])),
    responses((status = 200, description = "The event.", body = AuditEvent))
)]
async fn get(State(parts): State<AdminParts>, caller: Caller, Named(id): Named<EventId>, _: Nothing) -> Result<Response, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let found = record::find(&transaction, id).await?.ok_or(ApiError::NotFound)?;
    transaction.commit().await?;
    Ok(Json(found).into_response())
}

/// An action, or an id of any kind.
fn word(text: &str) -> Result<String, &'static str> {
    let is_word = (1..=100).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
    if is_word { Ok(text.to_owned()) } else { Err("must be letters, digits, dots, dashes and underscores: at most 100") }
}

/// Lines of NDJSON after a position.
async fn batch(parts: AdminParts, caller: Caller, filter: Filter, after: Option<Position>) -> Result<Batch, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, &filter, after, BATCH, caller.rows() == Rows::Staff).await?;
    transaction.commit().await?;
    let mut text = String::new();
    for row in &rows {
        text.push_str(&serde_json::to_string(&event(row)?).map_err(|error| ApiError::Internal(error.into()))?);
        text.push('\n');
    }
    Batch::of(text, &rows, record::position)
}
