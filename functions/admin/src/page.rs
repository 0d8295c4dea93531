//! Pages of lists: the newest first, by the moment and id of what was shown last, so that what is added meanwhile moves nothing.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use platform::{
    db::{self, Rows, Transaction},
    domain::{Timestamp, from_millis, recorded_at, rfc3339},
    web::{ApiError, Fields, Member},
};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use crate::{AdminParts, caller::Caller};

/// Entries of a page where the caller does not say.
const USUAL: u32 = 50;
/// Entries of a page at the most.
const MOST: u32 = 200;

/// The parameters of every list, for the descriptions of operations.
#[derive(IntoParams)]
#[into_params(parameter_in = Query)]
#[expect(dead_code, reason = "describes what is read parameter by parameter, so that every fault is named")]
pub(crate) struct PageParams {
    /// Entries of the page at the most.
    #[param(minimum = 1, maximum = 200, default = 50)]
    limit: Option<u32>,
    /// The `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A page of a list.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Items<T> {
    /// The newest first.
    items: Vec<T>,
    /// For the next page; null on the last.
    next_cursor: Option<String>,
}

impl<T> Items<T> {
    /// A list that is one page.
    pub(crate) const fn all(items: Vec<T>) -> Self {
        Self { items, next_cursor: None }
    }
}

/// Where an entry stands in its list.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Position {
    pub(crate) at: Timestamp,
    pub(crate) id: Uuid,
}

/// Which page is asked for.
#[derive(Debug)]
pub(crate) struct Page {
    limit: u32,
    after: Option<Position>,
    seal: String,
}

impl Page {
    /// Reads `limit` and `cursor`. A cursor serves for the list and the tenant that it was made for.
    pub(crate) fn read(fields: &mut Fields<'_>, parts: &AdminParts, caller: &Caller, list: &'static str) -> Self {
        let seal = match caller.rows() {
            Rows::Tenant(tenant) => format!("coditect cursor\n{list}\n{tenant}"),
            Rows::Staff => format!("coditect cursor\n{list}"),
        };
        let limit = fields.may("limit", limit).unwrap_or(USUAL);
        let after = fields.optional("cursor", |text| open(parts, &seal, text).ok_or("must be the next_cursor of a page of this list"));
        Self { limit, after, seal }
    }

    /// Where the page before ended.
    pub(crate) fn after(&self) -> Option<Position> {
        self.after
    }

    /// The moment to begin after.
    pub(crate) fn at(&self) -> Option<Timestamp> {
        self.after.map(|after| after.at)
    }

    /// The id to begin after.
    pub(crate) fn id(&self) -> Option<Uuid> {
        self.after.map(|after| after.id)
    }

    /// How many rows to ask for: one more than are shown, to know whether there are more.
    pub(crate) fn rows(&self) -> i64 {
        i64::from(self.limit) + 1
    }

    /// Makes a page of those rows.
    ///
    /// # Errors
    /// [`ApiError::Internal`] if a row cannot be read.
    pub(crate) fn items<T>(
        &self,
        parts: &AdminParts,
        rows: &[Row],
        view: impl Fn(&Row) -> Result<T, db::Error>,
        position: impl Fn(&Row) -> Result<Position, db::Error>,
    ) -> Result<Items<T>, ApiError> {
        let shown = &rows[..rows.len().min(self.limit as usize)];
        let items = shown.iter().map(view).collect::<Result<_, _>>()?;
        let last = shown.last().filter(|_| rows.len() > shown.len());
        let next_cursor = last.map(|row| self.cursor(parts, position(row)?)).transpose()?;
        Ok(Items { items, next_cursor })
    }

    fn cursor(&self, parts: &AdminParts, position: Position) -> Result<String, ApiError> {
        let bytes = [&position.at.timestamp_micros().to_be_bytes()[..], position.id.as_bytes()].concat();
        let sealed = parts.sealing.seal(&self.seal, &bytes).map_err(|error| ApiError::Internal(error.into()))?;
        Ok(BASE64URL.encode(sealed))
    }
}

pub(crate) const IN_ORDER: &str = "-- page::in_order
SELECT set_config('enable_bitmapscan', 'off', true), set_config('random_page_cost', '1.1', true),
       set_config('max_parallel_workers_per_gather', '0', true)";

/// Has the rest of a transaction read rows in the order of an index, up to its limit. Left to itself the planner takes a deep page for the
/// last few rows of a list, and gathers and sorts all that are left.
///
/// # Errors
/// Any [`db::Error`].
pub(crate) async fn in_order(transaction: &Transaction) -> Result<(), db::Error> {
    transaction.query(IN_ORDER, &[]).await.map(drop)
}

/// The position of a row by its columns `created_at` and `id`, which most lists go by.
pub(crate) fn by_creation(row: &Row) -> Result<Position, db::Error> {
    Ok(Position { at: row.try_get("created_at")?, id: row.try_get("id")? })
}

fn limit(member: Member<'_>) -> Result<u32, String> {
    let Member::Text(text) = member else { return Err("must be a number".to_owned()) };
    text.parse().ok().filter(|limit| (1..=MOST).contains(limit)).ok_or_else(|| format!("must be a whole number from 1 to {MOST}"))
}

fn open(parts: &AdminParts, seal: &str, text: &str) -> Option<Position> {
    let bytes: [u8; 24] = parts.sealing.unseal(seal, &BASE64URL.decode(text).ok()?).ok()?.try_into().ok()?;
    let (at, id) = bytes.split_first_chunk::<8>()?;
    Some(Position { at: Timestamp::from_timestamp_micros(i64::from_be_bytes(*at))?, id: Uuid::from_slice(id).ok()? })
}

/// Reads a moment as RFC 3339 has it, from 1970 to 9999, to the millisecond.
///
/// # Errors
/// What is wanted.
pub(crate) fn moment(text: &str) -> Result<Timestamp, String> {
    let moment = text.parse().ok().and_then(|moment: Timestamp| recorded_at(moment.timestamp_micros()));
    let wanted = || format!("must be a moment of RFC 3339 from 1970 on, as {}", rfc3339(Timestamp::UNIX_EPOCH));
    moment.map(|moment| from_millis(moment.timestamp_millis())).ok_or_else(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_one_that_can_be_kept_and_told() {
        for (text, millis) in
            [("1970-01-01T00:00:00Z", 0), ("1970-01-01T01:00:00.0015+01:00", 1), ("9999-12-31T23:59:59.999Z", 253_402_300_799_999)]
        {
            assert_eq!(moment(text), Ok(from_millis(millis)), "{text}");
        }
        for wrong in [
            "",
            "1970-01-01",
            "now",
            "1969-12-31T23:59:59.999Z",
            "+10000-01-01T00:00:00Z",
            "-9999-01-01T00:00:00Z",
            "+262142-01-01T00:00:00Z",
        ] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
        assert!("-9999-01-01T00:00:00Z".parse::<Timestamp>().is_ok(), "the parser takes what PostgreSQL does not");
    }
}
