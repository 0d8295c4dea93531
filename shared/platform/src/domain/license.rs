//! Licenses and the rules of using them.

use std::time::Duration;

use super::{Email, LicenseId, Principal, SignedDocument, TenantId, Timestamp};

/// How long a session lives without a heartbeat, unless its license says otherwise.
pub const DEFAULT_SESSION_TTL: Duration = Duration::from_secs(360);

/// A word that is none of those known.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be one of {0}")]
pub struct UnknownWord(&'static str);

impl UnknownWord {
    pub(super) const fn of(known: &'static str) -> Self {
        Self(known)
    }
}

macro_rules! words {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// The word for it, on the wire and in the database.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }
        }

        impl std::str::FromStr for $name {
            type Err = super::UnknownWord;

            fn from_str(word: &str) -> Result<Self, super::UnknownWord> {
                match word {
                    $($word => Ok(Self::$variant),)+
                    _ => Err(super::UnknownWord::of(&concat!($(", ", $word),+)[2..])),
                }
            }
        }

        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_str(self.as_str())
            }
        }

        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                let words = utoipa::openapi::ObjectBuilder::new().schema_type(utoipa::openapi::Type::String);
                words.enum_values(Some([$($word),+])).build().into()
            }
        }

        impl utoipa::ToSchema for $name {}
    };
}
pub(super) use words;

words! {
    /// What a customer has bought.
    Tier {
        /// To try it.
        Trial = "trial",
        /// The smallest.
        Starter = "starter",
        /// The usual.
        Professional = "professional",
        /// The largest.
        Enterprise = "enterprise",
    }
}
words! {
    /// How a tenant stands.
    TenantStatus {
        /// Served.
        Active = "active",
        /// Not served for now.
        Suspended = "suspended",
        /// Gone for good.
        Closed = "closed",
    }
}
words! {
    /// How a license stands.
    LicenseStatus {
        /// In force.
        Active = "active",
        /// Not in force for now.
        Suspended = "suspended",
        /// Not in force for good.
        Revoked = "revoked",
    }
}
words! {
    /// What takes a seat.
    SeatUnit {
        /// One seat for each hardware id.
        Device = "device",
        /// One seat for each acquire, told apart by its idempotency key.
        Process = "process",
    }
}
words! {
    /// Why a session has ended.
    EndReason {
        /// It fell silent.
        Expired = "expired",
        /// Its holder gave the seat back.
        Released = "released",
        /// An administrator took the seat.
        Revoked = "revoked",
    }
}
words! {
    /// Why a license may not be used, by anybody or on one device; the words are the codes of the contract.
    Refusal {
        /// Its window has not begun.
        NotStarted = "license_not_started",
        /// Its window is over.
        Expired = "license_expired",
        /// It is suspended.
        Suspended = "license_suspended",
        /// It is revoked, for good.
        Revoked = "license_revoked",
        /// Its tenant is suspended or closed.
        TenantSuspended = "tenant_suspended",
        /// The device is blocked for a time.
        HardwareBlocked = "hardware_blocked",
    }
}

impl Refusal {
    /// The code of the contract.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.as_str()
    }
}

/// What a license allows.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Policy {
    /// Seats that were bought.
    pub seats_total: u32,
    /// Extra seats that may be used, and are flagged.
    pub overage: u32,
    /// How long a session lives without a heartbeat.
    pub session_ttl: Duration,
    /// What takes a seat.
    pub seat_unit: SeatUnit,
    /// When the license begins, if it has not always been.
    pub starts_at: Option<Timestamp>,
    /// When it ends, if ever: it is over at this very moment.
    pub expires_at: Option<Timestamp>,
    /// What the customer's program may unlock.
    pub features: Vec<String>,
}

impl Policy {
    /// Seats that can be in use at once, overage included.
    #[must_use]
    pub const fn seat_limit(&self) -> u32 {
        self.seats_total.saturating_add(self.overage)
    }

    /// How full a license with this policy is.
    #[must_use]
    pub const fn occupancy(&self, used: u32) -> Occupancy {
        Occupancy { used, total: self.seats_total, limit: self.seat_limit() }
    }
}

/// A license as it stands.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct License {
    /// Which.
    pub id: LicenseId,
    /// Whose.
    pub tenant: TenantId,
    /// Grows with every change of it or of its tenant.
    pub version: i64,
    /// The end of its key, by which people tell it from others.
    pub key_last_four: String,
    /// What was bought.
    pub tier: Tier,
    /// How it stands.
    pub status: LicenseStatus,
    /// How its tenant stands.
    pub tenant_status: TenantStatus,
    /// What it allows.
    pub policy: Policy,
    /// Whether only those get a seat who come with a bearer token, each under its own address.
    pub requires_token: bool,
    /// Its document as the root has signed it, if it has.
    pub document: Option<SignedDocument>,
}

impl License {
    /// Why it may not be used whatever the time, if so.
    #[must_use]
    pub const fn standing(&self) -> Option<Refusal> {
        match (self.tenant_status, self.status) {
            (TenantStatus::Suspended | TenantStatus::Closed, _) => Some(Refusal::TenantSuspended),
            (TenantStatus::Active, LicenseStatus::Suspended) => Some(Refusal::Suspended),
            (TenantStatus::Active, LicenseStatus::Revoked) => Some(Refusal::Revoked),
            (TenantStatus::Active, LicenseStatus::Active) => None,
        }
    }

    /// Whether it may be used at this time.
    ///
    /// # Errors
    /// Why not.
    pub fn may_be_used(&self, now: Timestamp) -> Result<(), Refusal> {
        if let Some(refusal) = self.standing() {
            return Err(refusal);
        }
        if self.policy.starts_at.is_some_and(|start| now < start) {
            return Err(Refusal::NotStarted);
        }
        if self.is_expired(now) {
            return Err(Refusal::Expired);
        }
        Ok(())
    }

    /// As whom a caller comes to this license: as the member of its tenant, else as staff.
    #[must_use]
    pub fn caller<'a>(&self, callers: &'a [Principal]) -> Option<&'a Principal> {
        let of = |tenant| callers.iter().find(move |caller| caller.tenant == tenant);
        of(Some(self.tenant)).or_else(|| of(None))
    }

    /// Whether whoever comes with this token, or with none, may ask for a seat, and for whose address.
    ///
    /// # Errors
    /// Why not.
    pub fn admits(&self, caller: Option<&Principal>, email: Option<&Email>) -> Result<(), Unadmitted> {
        match (self.requires_token, caller) {
            (false, _) => Ok(()),
            (true, None) => Err(Unadmitted::NoToken),
            (true, Some(caller)) if email.is_none_or(|email| email.as_str().eq_ignore_ascii_case(&caller.email)) => Ok(()),
            (true, Some(_)) => Err(Unadmitted::OtherEmail),
        }
    }

    /// Whether its window is over.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.policy.expires_at.is_some_and(|end| end <= now)
    }

    /// Whether nothing keeps it from being used.
    #[must_use]
    pub fn is_valid(&self, now: Timestamp) -> bool {
        self.may_be_used(now).is_ok()
    }
}

/// Why a license does not admit somebody.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unadmitted {
    /// There is no token.
    NoToken,
    /// The address is not the token's.
    OtherEmail,
    /// The caller's role in the license's tenant does not permit it.
    NotPermitted,
}

/// How full a license is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Occupancy {
    /// Seats in use.
    pub used: u32,
    /// Seats bought.
    pub total: u32,
    /// Seats that can be in use, overage included.
    pub limit: u32,
}

impl Occupancy {
    /// Seats in use.
    #[must_use]
    pub const fn active(&self) -> u32 {
        self.used
    }

    /// Whether another seat would be granted.
    #[must_use]
    pub const fn has_available(&self) -> bool {
        self.used < self.limit
    }

    /// Seats in use by seats bought: above 1 in overage, 0 where none were bought.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        if self.total == 0 { 0.0 } else { f64::from(self.used) / f64::from(self.total) }
    }

    /// Whether more seats are in use than were bought.
    #[must_use]
    pub const fn is_overage(&self) -> bool {
        self.used > self.total
    }
}

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;
    use crate::domain::from_millis;

    fn license() -> License {
        License {
            id: LicenseId::random(),
            tenant: TenantId::random(),
            version: 1,
            key_last_four: "ABCD".to_owned(),
            tier: Tier::Starter,
            status: LicenseStatus::Active,
            tenant_status: TenantStatus::Active,
            policy: Policy {
                seats_total: 4,
                overage: 2,
                session_ttl: DEFAULT_SESSION_TTL,
                seat_unit: SeatUnit::Device,
                starts_at: None,
                expires_at: None,
                features: Vec::new(),
            },
            requires_token: false,
            document: None,
        }
    }

    #[test]
    fn a_license_is_valid_from_its_start_until_just_before_its_end() {
        let start = from_millis(1_000_000);
        let mut license = license();
        license.policy.starts_at = Some(start);
        license.policy.expires_at = Some(start + TimeDelta::seconds(10));
        assert_eq!(license.may_be_used(start - TimeDelta::milliseconds(1)), Err(Refusal::NotStarted));
        assert!(license.is_valid(start));
        assert!(license.is_valid(start + TimeDelta::milliseconds(9_999)));
        assert_eq!(license.may_be_used(start + TimeDelta::seconds(10)), Err(Refusal::Expired));
    }

    #[test]
    fn a_suspended_tenant_outweighs_everything_else() {
        let mut license = license();
        license.status = LicenseStatus::Revoked;
        assert_eq!(license.standing(), Some(Refusal::Revoked));
        license.tenant_status = TenantStatus::Closed;
        assert_eq!(license.standing(), Some(Refusal::TenantSuspended));
    }

    #[test]
    fn a_license_that_requires_a_token_admits_its_bearer_under_its_own_address_alone() {
        let mut license = license();
        let email = |text| Some(Email::parse(text).unwrap());
        let (own, other) = (email("Ada@x.example"), email("eve@x.example"));
        let caller = Principal {
            id: crate::domain::UserId::random(),
            standing: crate::domain::Standing::Member,
            tenant: Some(license.tenant),
            email: "ada@x.example".to_owned(),
            token: None,
        };
        assert_eq!(license.admits(None, other.as_ref()), Ok(()));
        license.requires_token = true;
        assert_eq!(license.admits(None, own.as_ref()), Err(Unadmitted::NoToken));
        assert_eq!(license.admits(Some(&caller), other.as_ref()), Err(Unadmitted::OtherEmail));
        assert_eq!(license.admits(Some(&caller), own.as_ref()), Ok(()));
        assert_eq!(license.admits(Some(&caller), None), Ok(()));
    }

    #[test]
    fn overage_seats_are_available_and_push_utilization_above_one() {
        let policy = license().policy;
        assert!(policy.occupancy(5).has_available());
        assert!(!policy.occupancy(6).has_available());
        assert!(policy.occupancy(5).is_overage() && !policy.occupancy(4).is_overage());
        assert!((policy.occupancy(6).utilization() - 1.5).abs() < f64::EPSILON);
        assert!(Occupancy { used: 0, total: 0, limit: 0 }.utilization().abs() < f64::EPSILON);
        assert_eq!(policy.occupancy(3).active(), 3);
    }

    #[test]
    fn words_are_read_as_they_are_written() {
        for refusal in [
            Refusal::NotStarted,
            Refusal::Expired,
            Refusal::Suspended,
            Refusal::Revoked,
            Refusal::TenantSuspended,
            Refusal::HardwareBlocked,
        ] {
            assert_eq!(refusal.code().parse(), Ok(refusal));
        }
        let error = "king".parse::<Tier>().unwrap_err();
        assert_eq!(error.to_string(), "must be one of trial, starter, professional, enterprise");
    }
}
