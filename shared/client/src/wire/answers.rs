//! What the platform answers. Members that are not needed here are not read.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Deserializer};

use crate::{FieldFault, rfc3339};

/// Of an acquire.
#[derive(Debug, Deserialize)]
pub(crate) struct Acquired {
    pub(crate) session_id: String,
    pub(crate) license_data: LicenseData,
    pub(crate) lease: String,
    /// Of the key that signed the lease. A platform that sends it gives every acquire a session of its own; older ones know neither.
    pub(crate) certificate: Option<String>,
    /// Seconds.
    pub(crate) heartbeat_after: u64,
    pub(crate) seats_used: u32,
    pub(crate) seats_total: u32,
}

/// The license document, signed. The readable copy beside it proves nothing.
#[derive(Debug, Deserialize)]
pub(crate) struct LicenseData {
    pub(crate) signature: String,
}

/// Of a heartbeat.
#[derive(Debug, Deserialize)]
pub(crate) struct Renewed {
    #[serde(deserialize_with = "rfc3339::deserialize")]
    pub(crate) last_heartbeat: SystemTime,
    #[serde(deserialize_with = "rfc3339::deserialize")]
    pub(crate) expires_at: SystemTime,
    /// Seconds.
    pub(crate) heartbeat_after: u64,
    /// Absent while the platform has no key to sign with: the session is renewed all the same.
    pub(crate) lease: Option<String>,
    /// Of the key that signed the lease, unless the request has named that key.
    pub(crate) certificate: Option<String>,
    pub(crate) seats_used: u32,
    pub(crate) seats_total: u32,
}

/// Of a release.
#[derive(Debug, Deserialize)]
pub(crate) struct Released {
    /// How the session ended: `released`, also by an earlier request, `expired` or `revoked`. Absent from older platforms.
    pub(crate) ended_reason: Option<String>,
}

/// Of the keys.
#[derive(Debug, Deserialize)]
pub(crate) struct Keys {
    pub(crate) certificates: Vec<String>,
    pub(crate) revocations: Option<String>,
}

/// A problem document (RFC 9457), with what its answer's head says.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(crate) struct Problem {
    #[serde(skip)]
    pub(crate) status: u16,
    #[serde(skip)]
    pub(crate) retry_after: Option<Duration>,
    pub(crate) code: Option<String>,
    pub(crate) request_id: Option<String>,
    pub(crate) errors: Vec<FieldFault>,
    pub(crate) seats_used: u32,
    pub(crate) seats_total: u32,
    #[serde(deserialize_with = "moment")]
    pub(crate) next_expiry_at: Option<SystemTime>,
    #[serde(deserialize_with = "moment")]
    pub(crate) stop_by: Option<SystemTime>,
}

/// A moment that only informs: one that cannot be read counts as none.
fn moment<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<SystemTime>, D::Error> {
    let text: Option<String> = Option::deserialize(deserializer)?;
    Ok(text.as_deref().and_then(rfc3339::parse))
}
