//! The statements on usage.

use std::time::Duration;

use platform::{
    db::{self, Transaction},
    domain::{LicenseId, TenantId, Timestamp, rfc3339, rfc3339_millis},
};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;
use uuid::Uuid;

use crate::{
    page::{Position, in_order},
    read::id,
};

/// How a license, or a tenant's licenses together, were used in an hour or a day.
#[derive(Clone, Debug, PartialEq, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// When the hour or day begins; days are those of UTC.
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) starts_at: Timestamp,
    #[schema(value_type = String, example = "ten_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) tenant_id: TenantId,
    /// Null where this is the tenant's licenses together.
    #[schema(value_type = Option<String>, example = "lic_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) license_id: Option<LicenseId>,
    /// Whether it is over and counted to its end. If not, the numbers are what has been counted so far, and seats that are held now count as
    /// held to the end of the current hour.
    pub(super) complete: bool,
    /// Seats granted.
    pub(super) acquired: i64,
    /// Applications turned away because every seat was taken.
    pub(super) denied: i64,
    /// Seats granted beyond those bought.
    pub(super) overage: i64,
    pub(super) heartbeats: i64,
    /// The most seats held at once.
    pub(super) peak: i64,
    /// Seats held, on an average of the hour, or of the hours of the day that are over.
    pub(super) average: f64,
    /// Hours for which seats were held, together.
    pub(super) seat_hours: f64,
    pub(super) distinct_users: i64,
    pub(super) distinct_hardware: i64,
}

/// The first line of CSV.
pub(super) const CSV_HEAD: &str = "starts_at,tenant_id,license_id,acquired,denied,overage,heartbeats,peak,average,seat_hours,distinct_users,\
    distinct_hardware,complete\r\n";

impl Usage {
    /// A line of CSV (RFC 4180). No cell is anybody's text: times, ids, truths and numbers that are never negative, which no program takes
    /// for a formula, and which need no quotes.
    pub(super) fn csv(&self) -> String {
        let license = self.license_id.map(|license| license.to_string()).unwrap_or_default();
        format!(
            "{},{},{license},{},{},{},{},{},{},{},{},{},{}\r\n",
            rfc3339(self.starts_at),
            self.tenant_id,
            self.acquired,
            self.denied,
            self.overage,
            self.heartbeats,
            self.peak,
            self.average,
            self.seat_hours,
            self.distinct_users,
            self.distinct_hardware,
            self.complete,
        )
    }
}

const HOUR: Duration = Duration::from_secs(3600);

/// An hour or a day.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Span {
    Hour,
    Day,
}

impl Span {
    pub(super) fn parse(text: &str) -> Result<Self, &'static str> {
        match text {
            "hour" => Ok(Self::Hour),
            "day" => Ok(Self::Day),
            _ => Err("must be hour or day"),
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    const fn hours(self) -> u32 {
        match self {
            Self::Hour => 1,
            Self::Day => 24,
        }
    }

    /// Seconds of it that are counted: of a day the hours that have begun.
    fn seconds(self, start: Timestamp, now: Timestamp) -> f64 {
        let past = (now - start).to_std().unwrap_or_default();
        let begun = past.as_millis().div_ceil(HOUR.as_millis());
        HOUR.as_secs_f64() * f64::from(u32::try_from(begun).unwrap_or(u32::MAX).clamp(1, self.hours()))
    }

    /// Whether it is over by our clock and by the roll-up, which has totaled every hour before a moment for good.
    fn is_complete(self, start: Timestamp, now: Timestamp, closed_until: Timestamp) -> bool {
        start + HOUR * self.hours() <= now.min(closed_until)
    }
}

/// Which usage is wanted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Filter {
    pub(super) span: Span,
    /// Tenants rather than licenses.
    pub(super) is_of_tenants: bool,
    pub(super) license: Option<LicenseId>,
    pub(super) from: Option<Timestamp>,
    pub(super) until: Option<Timestamp>,
}

const LIST: &str = "-- usage::list
SELECT tenant_id, subject_id, is_of_tenant, starts_at, acquired, denied, overage, heartbeats, peak, seat_seconds, users, devices,
       (SELECT closed_until FROM usage_closing) AS closed_until
FROM usage_totals
WHERE tenant_id = current_tenant() AND ($1::timestamptz IS NULL OR (starts_at, subject_id) < ($1, $2::uuid))
  AND span = $4 AND is_of_tenant = $5 AND ($6::uuid IS NULL OR subject_id = $6)
  AND ($7::timestamptz IS NULL OR starts_at >= $7) AND ($8::timestamptz IS NULL OR starts_at < $8)
ORDER BY starts_at DESC, subject_id DESC LIMIT $3";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST];

/// Rows after a position, the newest first.
pub(super) async fn list(transaction: &Transaction, filter: Filter, after: Option<Position>, rows: i64) -> Result<Vec<Row>, db::Error> {
    in_order(transaction).await?;
    let (at, id): (Option<Timestamp>, Option<Uuid>) = (after.map(|after| after.at), after.map(|after| after.id));
    let license = filter.license.map(LicenseId::as_uuid);
    transaction.query(LIST, &[&at, &id, &rows, &filter.span.as_str(), &filter.is_of_tenants, &license, &filter.from, &filter.until]).await
}

pub(super) fn usage(row: &Row, span: Span, now: Timestamp) -> Result<Usage, db::Error> {
    let starts_at = row.try_get("starts_at")?;
    let license = id(row, "subject_id", LicenseId::from_uuid)?;
    let is_of_tenant: bool = row.try_get("is_of_tenant")?;
    let seat_seconds: f64 = row.try_get("seat_seconds")?;
    let thousandths = |number: f64| (number * 1000.0).round() / 1000.0;
    Ok(Usage {
        starts_at,
        tenant_id: id(row, "tenant_id", TenantId::from_uuid)?,
        license_id: (!is_of_tenant).then_some(license),
        complete: span.is_complete(starts_at, now, row.try_get("closed_until")?),
        acquired: row.try_get("acquired")?,
        denied: row.try_get("denied")?,
        overage: row.try_get("overage")?,
        heartbeats: row.try_get("heartbeats")?,
        peak: row.try_get("peak")?,
        average: thousandths(seat_seconds / span.seconds(starts_at, now)),
        seat_hours: thousandths(seat_seconds / 3600.0),
        distinct_users: row.try_get("users")?,
        distinct_hardware: row.try_get("devices")?,
    })
}

/// The position of a row.
pub(super) fn position(row: &Row) -> Result<Position, db::Error> {
    Ok(Position { at: row.try_get("starts_at")?, id: row.try_get("subject_id")? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn day_that_is_not_over_is_averaged_over_the_hours_begun() {
        let start: Timestamp = "2026-01-05T00:00:00Z".parse().unwrap();
        let hours = |span: Span, now: &str| span.seconds(start, now.parse().unwrap()) / 3600.0;
        for (now, expected) in [
            ("2026-01-05T00:00:00Z", 1.0),
            ("2026-01-05T00:30:00Z", 1.0),
            ("2026-01-05T07:59:59Z", 8.0),
            ("2026-01-05T08:00:00Z", 8.0),
            ("2026-01-05T08:00:01Z", 9.0),
            ("2026-03-01T00:00:00Z", 24.0),
        ] {
            assert!((hours(Span::Day, now) - expected).abs() < 1e-9, "{now}");
        }
        assert!((hours(Span::Hour, "2026-03-01T00:00:00Z") - 1.0).abs() < 1e-9);
    }

    #[test]
    fn hour_or_day_is_complete_once_over_and_totaled_for_good() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let is_complete = |span: Span, now: &str, closed: &str| span.is_complete(at("2026-01-05T10:00:00Z"), at(now), at(closed));
        assert!(is_complete(Span::Hour, "2026-01-05T11:03:00Z", "2026-01-05T11:00:00Z"));
        assert!(!is_complete(Span::Hour, "2026-01-05T11:03:00Z", "2026-01-05T10:00:00Z"), "its last minutes are not rolled up");
        assert!(!is_complete(Span::Hour, "2026-01-05T10:59:59Z", "2026-02-01T00:00:00Z"));
        let is_complete = |now: &str, closed: &str| Span::Day.is_complete(at("2026-01-05T00:00:00Z"), at(now), at(closed));
        assert!(
            is_complete("2026-01-06T00:03:00Z", "2026-01-06T00:00:00Z") && !is_complete("2026-01-06T00:03:00Z", "2026-01-05T23:00:00Z")
        );
    }
}
