//! Proving a seat without the platform.

use std::{
    fmt,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use super::{Core, State, lock, published::Published};
use crate::{Error, Expected, LeaseClaims, LicenseClaims, PublishedKeys, Rejected, hardware_sha256, rfc3339};

/// A seat that is proven without the platform.
#[derive(Clone, Eq, PartialEq)]
pub struct Offline {
    /// What was sold.
    pub license: LicenseClaims,
    /// The last lease on this machine.
    pub lease: LeaseClaims,
    /// Until when it proves the seat, by this machine's clock.
    pub until: SystemTime,
}

/// What the state file keeps for one license key on this machine, as it was signed. Nothing of it is verified.
#[derive(Clone, Default, Eq, PartialEq)]
pub struct Kept {
    /// The license document.
    pub license: Option<String>,
    /// The last lease. It names its session, which is a secret.
    pub lease: Option<String>,
    /// The keys last published, with the newest revocation list.
    pub published: PublishedKeys,
}

impl Core {
    pub(super) fn kept(&self) -> Kept {
        let Some(State { memory, place }) = &self.state else { return Kept::default() };
        let mut memory = lock(memory);
        // Asking for the clock reads the file anew, in which another process may have written.
        let _ = memory.check_clock(self.clock.wall(), self.verifier.skew());
        let published = Published::kept(&memory, &self.verifier).into_keys();
        let Some(license_id) = place.license_id() else { return Kept { published, ..Kept::default() } };
        let license = memory.license(&license_id).map(str::to_owned);
        let lease = memory.lease(&license_id, &hardware_sha256(&self.hardware_id)).map(str::to_owned);
        Kept { license, lease, published }
    }

    pub(super) fn verify_offline(&self) -> Result<Offline, Error> {
        let State { memory, .. } = self.state.as_ref().ok_or(Error::NothingKept)?;
        let now = self.clock.wall();
        lock(memory).check_clock(now, self.verifier.skew())?;
        let Kept { license: Some(license), lease: Some(token), published } = self.kept() else { return Err(Error::NothingKept) };
        let license = self.verifier.license(&license, &Expected::default())?;
        let ends = license.expires_at.as_deref().and_then(rfc3339::parse);
        if ends.is_some_and(|ends| ends <= now) {
            return Err(Error::Expired);
        }

        let expected = Expected {
            tenant_id: Some(license.tenant_id.clone()),
            license_id: Some(license.license_id.clone()),
            hardware_id: Some(self.hardware_id.clone()),
            ..Expected::default()
        };
        let ended = |at| Err(Error::LeaseEnded { at });
        let lease = match self.verifier.lease(&token, &published, &expected, now) {
            // The skew is for clocks that differ, not for staying longer.
            Ok(lease) if moment(lease.exp) <= now => return ended(moment(lease.exp)),
            Ok(lease) => lease,
            Err(Rejected::Expired | Rejected::CertificateExpired) => {
                return ended(super::renew::claimed(&token).map_or(now, |claims| moment(claims.exp)));
            }
            Err(rejected) => return Err(rejected.into()),
        };
        // If it cannot be noted that it has been so late, the lease holds all the same.
        let _ = lock(memory).see_time(now, &lease);
        let until = moment(lease.exp).min(ends.unwrap_or(moment(lease.exp)));
        Ok(Offline { license, lease, until })
    }
}

impl fmt::Debug for Offline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The lease names its session, which is a secret.
        f.debug_struct("Offline").field("license", &self.license).field("until", &self.until).finish_non_exhaustive()
    }
}

/// The moment that a signed claim names.
pub(super) fn moment(seconds: u64) -> SystemTime {
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds)).unwrap_or(UNIX_EPOCH)
}
