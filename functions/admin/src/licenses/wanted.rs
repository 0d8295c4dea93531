//! What a license is to be, as requests say it.

use platform::{
    domain::{DEFAULT_SESSION_TTL, LicenseId, LicenseStatus, Name, SeatUnit, TenantId, Tier, Timestamp},
    web::{ApiError, Change, Fields, text, texts, truth, whole},
};
use utoipa::ToSchema;

use super::record::License;
use crate::page::moment;

/// Seats that a license may have at the most, and seats in overage.
const MOST_SEATS: u32 = 1_000_000;
/// Seconds that a session may live without a heartbeat.
const SHORTEST_TTL: u32 = 3;
const LONGEST_TTL: u32 = 86_400;
/// Features, which go into every document.
const MOST_FEATURES: usize = 64;
const LONGEST_FEATURE: usize = 64;

/// A license to be.
#[derive(ToSchema)]
pub(super) struct NewLicense {
    #[schema(value_type = String, min_length = 1, max_length = 200, example = "Drafting room")]
    name: Name,
    /// The tenant's where it is left out.
    tier: Option<Tier>,
    #[schema(maximum = 1_000_000)]
    seats_total: u32,
    /// Extra seats that may be used, and are flagged.
    #[schema(value_type = Option<u32>, maximum = 1_000_000, default = 0)]
    overage: u32,
    /// How long a session lives without a heartbeat.
    #[schema(value_type = Option<u32>, minimum = 3, maximum = 86_400, default = 360)]
    session_ttl_seconds: u32,
    #[schema(value_type = Option<SeatUnit>, default = "device")]
    seat_unit: SeatUnit,
    /// Whether only those get a seat who come with a bearer token, each under its own address.
    #[schema(value_type = Option<bool>, default = false)]
    requires_token: bool,
    /// When it begins, if it does not begin at once.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Option<Timestamp>,
    /// When it is over, if ever: later than it begins.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<Timestamp>,
    /// What the customer's program may unlock: each 1 to 64 letters, digits, dots, hyphens and underscores.
    #[schema(value_type = Option<Vec<String>>, max_items = 64)]
    features: Vec<String>,
}

impl NewLicense {
    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, ApiError> {
        let usual_ttl = u32::try_from(DEFAULT_SESSION_TTL.as_secs()).unwrap_or(LONGEST_TTL);
        let (name, tier) = (fields.required("name", Name::parse), fields.optional("tier", str::parse));
        let seats_total = fields.must("seats_total", whole(0..=MOST_SEATS));
        let overage = fields.may("overage", whole(0..=MOST_SEATS)).unwrap_or(0);
        let session_ttl_seconds = fields.may("session_ttl_seconds", whole(SHORTEST_TTL..=LONGEST_TTL)).unwrap_or(usual_ttl);
        let seat_unit = fields.optional("seat_unit", str::parse).unwrap_or(SeatUnit::Device);
        let requires_token = fields.may("requires_token", truth).unwrap_or(false);
        let (starts_at, expires_at) = (fields.optional("starts_at", moment), fields.optional("expires_at", moment));
        let features = fields.may("features", texts(MOST_FEATURES, feature)).unwrap_or_default();
        if !is_window(starts_at, expires_at) {
            fields.fault::<()>("expires_at", NO_WINDOW.to_owned());
        }
        let (Some(name), Some(seats_total)) = (name, seats_total) else { return Err(fields.into_error()) };
        fields.finish()?;
        Ok(Self { name, tier, seats_total, overage, session_ttl_seconds, seat_unit, requires_token, starts_at, expires_at, features })
    }

    pub(super) const fn seats_total(&self) -> u32 {
        self.seats_total
    }

    /// The license as it is issued. `tier` is the tenant's.
    pub(super) fn license(&self, tenant_id: TenantId, tier: Tier, key_last_four: String, now: Timestamp) -> License {
        License {
            id: LicenseId::random(),
            tenant_id,
            name: self.name.as_str().to_owned(),
            key_last_four,
            tier: self.tier.unwrap_or(tier),
            status: LicenseStatus::Active,
            seats_total: self.seats_total,
            overage: self.overage,
            session_ttl_seconds: self.session_ttl_seconds,
            seat_unit: self.seat_unit,
            requires_token: self.requires_token,
            starts_at: self.starts_at,
            expires_at: self.expires_at,
            features: self.features.clone(),
            version: 1,
            created_at: now,
            updated_at: now,
        }
    }
}

/// What a change of a license may say.
#[derive(ToSchema)]
pub(super) struct LicenseChange {
    #[schema(value_type = Option<String>, min_length = 1, max_length = 200)]
    name: Option<Name>,
    tier: Option<Tier>,
    /// Fewer throw nobody out: who has a seat keeps it.
    #[schema(maximum = 1_000_000)]
    seats_total: Option<u32>,
    #[schema(maximum = 1_000_000)]
    overage: Option<u32>,
    #[schema(minimum = 3, maximum = 86_400)]
    session_ttl_seconds: Option<u32>,
    seat_unit: Option<SeatUnit>,
    /// Where it becomes true, those who have a seat keep it: from then on a token is needed to take one.
    requires_token: Option<bool>,
    /// Null: it always has begun.
    #[schema(value_type = Option<String>, format = DateTime)]
    starts_at: Change<Timestamp>,
    /// Null: it is never over.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Change<Timestamp>,
    /// All of them: a list takes the place of the one before.
    #[schema(max_items = 64)]
    features: Option<Vec<String>>,
}

impl LicenseChange {
    pub(super) fn read(mut fields: Fields<'_>) -> Result<Self, ApiError> {
        let change = Self {
            name: fields.change("name", text(Name::parse)),
            tier: fields.change("tier", text(str::parse)),
            seats_total: fields.change("seats_total", whole(0..=MOST_SEATS)),
            overage: fields.change("overage", whole(0..=MOST_SEATS)),
            session_ttl_seconds: fields.change("session_ttl_seconds", whole(SHORTEST_TTL..=LONGEST_TTL)),
            seat_unit: fields.change("seat_unit", text(str::parse)),
            requires_token: fields.change("requires_token", truth),
            starts_at: fields.change_or_clear("starts_at", text(moment)),
            expires_at: fields.change_or_clear("expires_at", text(moment)),
            features: fields.change("features", texts(MOST_FEATURES, feature)),
        };
        fields.finish()?;
        Ok(change)
    }

    /// The license with what is named changed.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] if it would be over before it begins.
    pub(super) fn apply(self, before: &License) -> Result<License, ApiError> {
        let (starts_at, expires_at) = (self.starts_at.apply(before.starts_at), self.expires_at.apply(before.expires_at));
        if !is_window(starts_at, expires_at) {
            return Err(ApiError::invalid("expires_at", NO_WINDOW));
        }
        Ok(License {
            name: self.name.map_or_else(|| before.name.clone(), |name| name.as_str().to_owned()),
            tier: self.tier.unwrap_or(before.tier),
            seats_total: self.seats_total.unwrap_or(before.seats_total),
            overage: self.overage.unwrap_or(before.overage),
            session_ttl_seconds: self.session_ttl_seconds.unwrap_or(before.session_ttl_seconds),
            seat_unit: self.seat_unit.unwrap_or(before.seat_unit),
            requires_token: self.requires_token.unwrap_or(before.requires_token),
            starts_at,
            expires_at,
            features: self.features.unwrap_or_else(|| before.features.clone()),
            ..before.clone()
        })
    }
}

const NO_WINDOW: &str = "must be later than starts_at";

fn is_window(starts_at: Option<Timestamp>, expires_at: Option<Timestamp>) -> bool {
    starts_at.zip(expires_at).is_none_or(|(start, end)| start < end)
}

/// Reads the name of a feature.
fn feature(text: &str) -> Result<String, &'static str> {
    let is_name = (1..=LONGEST_FEATURE).contains(&text.len())
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_'));
    if is_name { Ok(text.to_owned()) } else { Err("is not 1 to 64 letters, digits, dots, hyphens and underscores") }
}

/// Reads the end of a license key, in either case.
pub(super) fn key_end(text: &str) -> Result<String, &'static str> {
    let is_end = text.len() == 4 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_end { Ok(text.to_ascii_uppercase()) } else { Err("must be the last four letters and digits of a license key") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 10] = [
        "name",
        "tier",
        "seats_total",
        "overage",
        "session_ttl_seconds",
        "seat_unit",
        "requires_token",
        "starts_at",
        "expires_at",
        "features",
    ];

    fn new(body: &str) -> Result<NewLicense, ApiError> {
        NewLicense::read(Fields::strict(body.as_bytes()).unwrap())
    }

    fn change(body: &str) -> Result<LicenseChange, ApiError> {
        LicenseChange::read(Fields::strict(body.as_bytes()).unwrap())
    }

    fn faults(parsed: Result<impl Sized, ApiError>) -> Vec<std::borrow::Cow<'static, str>> {
        match parsed {
            Err(ApiError::Invalid(faults)) => faults.into_iter().map(|fault| fault.field).collect(),
            Err(error) => panic!("{error:?}"),
            Ok(_) => vec![],
        }
    }

    #[test]
    fn what_is_left_out_has_its_usual_value() {
        let wanted = new(r#"{"name": " A ", "seats_total": 3, "tier": null}"#).map_err(|_| ()).unwrap();
        let license = wanted.license(TenantId::random(), Tier::Starter, "ABCD".to_owned(), platform::domain::from_millis(0));
        assert_eq!((license.name.as_str(), license.tier, license.seats_total, license.overage), ("A", Tier::Starter, 3, 0));
        assert_eq!((license.session_ttl_seconds, license.seat_unit, license.requires_token), (360, SeatUnit::Device, false));
        assert_eq!((license.starts_at, license.expires_at, license.features.len(), license.version), (None, None, 0, 1));
    }

    #[test]
    fn every_wrong_member_is_named() {
        let wrong = r#"{"name": "", "tier": "x", "seats_total": 1000001, "overage": -1, "session_ttl_seconds": 2, "seat_unit": "chair",
                        "requires_token": "yes", "starts_at": "today", "expires_at": "+12026-01-01T00:00:00Z", "features": ["a b"]}"#;
        assert_eq!(faults(new(wrong)), NAMES);
        assert_eq!(faults(change(wrong)), NAMES);
        assert_eq!(faults(new("{}")), ["name", "seats_total"]);
        assert_eq!(faults(change("{}")), Vec::<&str>::new());
        assert_eq!(faults(change(r#"{"seat_total": 1, "expiry_at": "2026-01-01T00:00:00Z"}"#)), ["seat_total", "expiry_at"]);
        let (ends, nulls) =
            (["starts_at", "expires_at"], NAMES.iter().map(|name| format!("\"{name}\": null")).collect::<Vec<_>>().join(", "));
        let cannot: Vec<&str> = NAMES.iter().copied().filter(|name| !ends.contains(name)).collect();
        assert_eq!(faults(change(&format!("{{{nulls}}}"))), cannot);
        for (member, value) in [
            ("session_ttl_seconds", "86401".to_owned()),
            ("features", format!("[\"{}\"]", "x".repeat(65))),
            ("features", "[\"\"]".to_owned()),
            ("features", format!("[{}]", (0..65).map(|n| format!("\"f{n}\"")).collect::<Vec<_>>().join(","))),
            ("starts_at", "\"1969-12-31T23:59:59.999Z\"".to_owned()),
            ("expires_at", "\"2026-01-01\"".to_owned()),
        ] {
            assert_eq!(faults(change(&format!("{{\"{member}\": {value}}}"))), [member], "{value}");
        }
    }

    #[test]
    fn a_license_is_over_after_it_has_begun() {
        let window = |start: &str, end: &str| {
            faults(new(&format!(r#"{{"name": "A", "seats_total": 1, "starts_at": "{start}", "expires_at": "{end}"}}"#)))
        };
        assert_eq!(window("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.001Z"), Vec::<&str>::new());
        assert_eq!(window("2026-01-01T00:00:00Z", "2026-01-01T01:00:00+01:00"), ["expires_at"]);
        assert_eq!(key_end("d29k").as_deref(), Ok("D29K"));
        assert!(["", "ABC", "ABCDE", "AB-D", "ÄBC"].iter().all(|text| key_end(text).is_err()));
    }
}
