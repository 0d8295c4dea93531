//! Pure rules, typed values and the clock. No I/O.

mod access;
mod access_token;
mod base32;
mod bech32m;
mod document;
mod identity;
mod ids;
mod license;
mod license_key;
mod limits;
mod membership;
mod name;
mod pasted;
mod session_ref;
mod time;
mod vouching;

pub use access::{Permission, Principal, Standing, UserStatus};
pub use access_token::{AccessToken, InvalidAccessToken};
pub use document::{LicenseData, LicenseDocument, SignedDocument};
pub use identity::{Email, Fault, HardwareHash, HardwareId, Holder, IdempotencyKey, Nonce, SeatNumber, fingerprint};
pub use ids::{BlockId, EventId, InvalidId, InvitationId, LicenseId, SessionId, SessionKey, TenantId, TokenId, UserId};
pub use license::{
    DEFAULT_SESSION_TTL, EndReason, License, LicenseStatus, Occupancy, Policy, Refusal, SeatUnit, TenantStatus, Tier, Unadmitted,
    UnknownWord,
};
pub use license_key::{InvalidLicenseKey, LicenseKey, LicenseKeyHash};
pub use limits::{Allowance, Limit, LimitKind, Verdict};
pub use membership::{Account, Identity, Membership, NotAdmitted, TenantChoice};
pub use name::Name;
pub use pasted::pasted;
pub use session_ref::{SessionRef, SessionState};
pub use time::{Clock, SystemClock, Timestamp, from_millis, recorded_at, rfc3339, rfc3339_millis, rfc3339_millis_option};
pub use vouching::{InvalidDomain, Vouching};
