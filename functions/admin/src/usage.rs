//! Usage: by hour and day, license and tenant, as JSON and CSV.
//!
//! What the seat engine counts is rolled up every quarter of an hour. An hour or day that is not over is there as far as it was counted, and
//! not complete.

mod record;

use axum::{
    extract::{RawQuery, State},
    http::HeaderMap,
    response::{IntoResponse, Json, Response},
};
use platform::{
    domain::Permission,
    web::{ApiError, Fields},
};
use utoipa::IntoParams;
use utoipa_axum::{router::OpenApiRouter, routes};

pub(crate) use record::STATEMENTS;

use crate::{
    AdminParts, Operation,
    caller::Caller,
    export::{BATCH, Batch, Form},
    page::{Items, Page, PageParams, Position, moment},
};
use record::{CSV_HEAD, Filter, Span, Usage, usage};

/// The rows of the table.
pub(crate) const OPERATIONS: &[Operation] = &[Operation::new("list_usage", "GET", "/api/v1/usage", Permission::SeeTenant)];

const CSV: Form = Form { name: "csv", kind: "text/csv", file: "attachment; filename=\"usage.csv\"" };

/// The routes.
pub(crate) fn routes() -> OpenApiRouter<AdminParts> {
    OpenApiRouter::new().routes(routes!(list))
}

/// What a list of usage can be narrowed to.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
struct UsageFilter {
    /// `hour` or `day`.
    #[param(default = "hour", pattern = "^(hour|day)$")]
    interval: Option<String>,
    /// `license`: each license by itself. `tenant`: a tenant's licenses together, where somebody with two of them is one.
    #[param(default = "license", pattern = "^(license|tenant)$")]
    group: Option<String>,
    /// Of this license alone.
    license_id: Option<String>,
    /// Hours or days that begin then or later.
    #[param(format = DateTime)]
    from: Option<String>,
    /// Hours or days that begin earlier.
    #[param(format = DateTime)]
    until: Option<String>,
    /// `json`: a page. `csv`: everything that fits the filters, and neither `limit` nor `cursor` counts. Without it `accept` decides.
    #[param(pattern = "^(json|csv)$")]
    format: Option<String>,
}

/// Lists how licenses were used
///
/// By hour or day, the newest first. The seat engine's counters are rolled up every quarter of an hour. An hour or day whose numbers may
/// still grow is marked `"complete": false`.
#[utoipa::path(
    get,
    path = "/api/v1/usage",
    operation_id = "list_usage",
    tag = "administration",
    params(PageParams, UsageFilter),
    security(("bearer" = [])),
    responses((status = 200, description = "A page of usage, or as CSV all of it.", content((Items<Usage> = "application/json"), (String = "text/csv"))))
)]
async fn list(
    State(parts): State<AdminParts>,
    caller: Caller,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let mut fields = Fields::of_query(query.as_deref());
    let page = Page::read(&mut fields, &parts, &caller, "usage");
    let filter = filter(&mut fields);
    let is_csv = CSV.is_wanted(&mut fields, &headers);
    fields.finish()?;
    if is_csv {
        return CSV.answer(CSV_HEAD, move |after| batch(parts.clone(), caller.clone(), filter, after)).await;
    }
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, filter, page.after(), page.rows()).await?;
    transaction.commit().await?;
    let now = parts.clock.now();
    Ok(Json(page.items(&parts, &rows, |row| usage(row, filter.span, now), record::position)?).into_response())
}

fn filter(fields: &mut Fields<'_>) -> Filter {
    let span = fields.optional("interval", Span::parse).unwrap_or(Span::Hour);
    let is_of_tenants = fields.optional("group", |text| match text {
        "license" => Ok(false),
        "tenant" => Ok(true),
        _ => Err("must be license or tenant"),
    });
    let is_of_tenants = is_of_tenants.unwrap_or_default();
    let license = fields.optional("license_id", str::parse);
    if is_of_tenants && license.is_some() {
        fields.fault::<()>("license_id", "must be left out where whole tenants are asked for".to_owned());
    }
    let (from, until) = (fields.optional("from", moment), fields.optional("until", moment));
    Filter { span, is_of_tenants, license, from, until }
}

/// Lines of CSV after a position.
async fn batch(parts: AdminParts, caller: Caller, filter: Filter, after: Option<Position>) -> Result<Batch, ApiError> {
    let transaction = parts.store.read(&caller).await?;
    let rows = record::list(&transaction, filter, after, BATCH).await?;
    transaction.commit().await?;
    let now = parts.clock.now();
    let lines = rows.iter().map(|row| usage(row, filter.span, now).map(|usage| usage.csv()));
    Batch::of(lines.collect::<Result<_, _>>()?, &rows, record::position)
}
