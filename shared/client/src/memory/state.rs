//! What is remembered, and how it may change.

use std::{
    collections::BTreeMap,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};

use crate::{LeaseClaims, LicenseClaims, PublishedKeys, RevocationList, secret::Secret};

/// Certificates kept. The platform publishes two or three; two processes that fetched at different times may know a few more.
const MAX_CERTIFICATES: usize = 16;

/// Sessions kept of one program. It has one at a time; more are those that could not be given back.
const MAX_TAKEN: usize = 8;

/// Leases kept of other sessions on the same devices.
const MAX_OTHERS: usize = 32;

/// Licenses kept, the one changed last among them in any case.
const MAX_LICENSES: usize = 64;

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct State {
    /// The latest time seen, in milliseconds since 1970.
    pub(super) highest_time_ms: u64,
    pub(super) revocations_version: u64,
    revocations: Option<String>,
    /// Those published last come first.
    certificates: Vec<String>,
    /// By license id.
    pub(super) licenses: BTreeMap<String, KeptLicense>,
    /// Sessions that programs have taken and not given back, the latest last, by the program's slot.
    #[serde(default)]
    pub(super) taken: BTreeMap<String, Vec<String>>,
    /// Acquires that programs were about to send, and of which it is not known what became of them, by the program's slot.
    #[serde(default)]
    pub(super) asked: BTreeMap<String, Vec<Asked>>,
}

/// What makes an acquire the same when it is sent once more: with the license key and the hardware id, all that it says.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Asked {
    pub(crate) idempotency_key: String,
    pub(crate) nonce: String,
    pub(crate) user_email: String,
    pub(crate) replaces: Option<Secret>,
}

#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct KeptLicense {
    pub(super) version: u64,
    pub(super) token: Option<String>,
    /// The last lease of each device, by the SHA-256 of the hardware id.
    pub(super) leases: BTreeMap<String, KeptLease>,
    /// Leases of other sessions on these devices.
    #[serde(default)]
    others: Vec<OtherLease>,
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
struct OtherLease {
    hardware_sha256: String,
    lease: KeptLease,
}

impl KeptLicense {
    /// Takes in a lease; one that another session of the device has given way to it, or the other way round, is kept beside it.
    fn keep_lease(&mut self, hardware: &str, lease: KeptLease) {
        self.others.retain(|other| other.lease.session_id != lease.session_id);
        let Some(earlier) = self.leases.get_mut(hardware) else {
            self.leases.insert(hardware.to_owned(), lease);
            return;
        };
        let is_same = earlier.session_id == lease.session_id;
        // Two heartbeats may come back in the other order.
        let beside = if earlier.iat <= lease.iat { std::mem::replace(earlier, lease) } else { lease };
        if !is_same {
            self.others.push(OtherLease { hardware_sha256: hardware.to_owned(), lease: beside });
            let too_many = self.others.len().saturating_sub(MAX_OTHERS);
            self.others.drain(..too_many);
        }
    }

    /// Drops the leases of a session; of other sessions on its device, the one that holds longest takes its place.
    fn forget_session(&mut self, session_id: &str) {
        self.others.retain(|other| other.lease.session_id != session_id);
        let gone: Vec<String> =
            self.leases.iter().filter(|(_, lease)| lease.session_id == session_id).map(|(hardware, _)| hardware.clone()).collect();
        for hardware in gone {
            self.leases.remove(&hardware);
            let next = self.others.iter().enumerate().filter(|(_, other)| other.hardware_sha256 == hardware);
            if let Some(at) = next.max_by_key(|(_, other)| other.lease.exp).map(|(at, _)| at) {
                self.leases.insert(hardware, self.others.remove(at).lease);
            }
        }
    }
}

#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(super) struct KeptLease {
    session_id: String,
    iat: u64,
    exp: u64,
    pub(super) token: String,
}

impl State {
    /// This state, but with time and revocations no older than in `other`.
    pub(super) fn not_before(mut self, other: &Self) -> Self {
        self.highest_time_ms = self.highest_time_ms.max(other.highest_time_ms);
        if other.revocations_version > self.revocations_version {
            self.revocations_version = other.revocations_version;
            self.revocations.clone_from(&other.revocations);
        }
        self
    }

    pub(super) fn see_time(&mut self, now: SystemTime, lease: &LeaseClaims) {
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let seen = now.min(Duration::from_secs(lease.exp)).max(Duration::from_secs(lease.iat));
        self.highest_time_ms = self.highest_time_ms.max(u64::try_from(seen.as_millis()).unwrap_or(u64::MAX));
    }

    pub(super) fn keep_lease(&mut self, token: &str, lease: &LeaseClaims) {
        let kept = KeptLease { session_id: lease.session_id.clone(), iat: lease.iat, exp: lease.exp, token: token.to_owned() };
        self.license(&lease.license_id).keep_lease(&lease.hardware_sha256, kept);
        self.drop_ended();
    }

    pub(super) fn forget_session(&mut self, session_id: &str) {
        for license in self.licenses.values_mut() {
            license.forget_session(session_id);
        }
        for slot in self.taken.keys().cloned().collect::<Vec<_>>() {
            self.leave_slot(&slot, session_id);
        }
    }

    pub(super) fn forget_others(&mut self, license_id: &str, hardware_sha256: &str, session_id: &str) {
        let Some(license) = self.licenses.get_mut(license_id) else { return };
        license.others.retain(|other| other.hardware_sha256 != hardware_sha256 || other.lease.session_id == session_id);
        license.leases.retain(|hardware, lease| hardware != hardware_sha256 || lease.session_id == session_id);
    }

    pub(super) fn note_taken(&mut self, slot: &str, session_id: &str) {
        note(&mut self.taken, slot, session_id.to_owned(), |id| id == session_id);
    }

    pub(super) fn note_asked(&mut self, slot: &str, asked: Asked) {
        let key = asked.idempotency_key.clone();
        note(&mut self.asked, slot, asked, |other| other.idempotency_key == key);
    }

    pub(super) fn forget_asked(&mut self, slot: &str, idempotency_key: &str) {
        forget(&mut self.asked, slot, |asked| asked.idempotency_key == idempotency_key);
    }

    pub(super) fn leave_slot(&mut self, slot: &str, session_id: &str) {
        forget(&mut self.taken, slot, |id| id == session_id);
    }

    pub(super) fn keep_certificate(&mut self, certificate: &str) {
        self.certificates.retain(|kept| kept != certificate);
        self.certificates.insert(0, certificate.to_owned());
        self.certificates.truncate(MAX_CERTIFICATES);
    }

    pub(super) fn keep_license(&mut self, token: &str, license: &LicenseClaims) {
        let kept = self.license(&license.license_id);
        if kept.version <= license.version {
            kept.version = license.version;
            kept.token = Some(token.to_owned());
        }
    }

    pub(super) fn keep_published(&mut self, published: &PublishedKeys, revocations: Option<&RevocationList>) {
        let older = std::mem::replace(&mut self.certificates, published.certificates.clone());
        let older = older.into_iter().filter(|certificate| !published.certificates.contains(certificate));
        self.certificates.extend(older);
        self.certificates.truncate(MAX_CERTIFICATES);
        // The same version once more may be the same list signed by the next root.
        if let (Some(token), Some(list)) = (&published.revocations, revocations)
            && list.version >= self.revocations_version
        {
            self.revocations_version = list.version;
            self.revocations = Some(token.clone());
        }
    }

    pub(super) fn published(&self) -> PublishedKeys {
        PublishedKeys { certificates: self.certificates.clone(), revocations: self.revocations.clone() }
    }

    /// The place for a license. One that has no lease makes room for it if there are too many.
    fn license(&mut self, license_id: &str) -> &mut KeptLicense {
        if self.licenses.len() >= MAX_LICENSES && !self.licenses.contains_key(license_id) {
            let idle = self.licenses.iter().find(|(_, license)| license.leases.is_empty()).map(|(id, _)| id.clone());
            let leaving = idle.or_else(|| self.licenses.keys().next().cloned());
            leaving.and_then(|id| self.licenses.remove(&id));
        }
        self.licenses.entry(license_id.to_owned()).or_default()
    }

    /// Drops the leases that ended long before the latest time seen: every process may have a hardware id of its own.
    fn drop_ended(&mut self) {
        let a_day_ago = (self.highest_time_ms / 1000).saturating_sub(24 * 60 * 60);
        for license in self.licenses.values_mut() {
            license.leases.retain(|_, lease| lease.exp > a_day_ago);
            license.others.retain(|other| other.lease.exp > a_day_ago);
        }
    }
}

/// Puts an item last in a slot's list, once. The oldest make room where there are too many.
fn note<T>(lists: &mut BTreeMap<String, Vec<T>>, slot: &str, item: T, is_same: impl Fn(&T) -> bool) {
    let list = lists.entry(slot.to_owned()).or_default();
    list.retain(|other| !is_same(other));
    list.push(item);
    let too_many = list.len().saturating_sub(MAX_TAKEN);
    list.drain(..too_many);
}

/// Takes an item off a slot's list, and the list off the slots if nothing is left of it.
fn forget<T>(lists: &mut BTreeMap<String, Vec<T>>, slot: &str, is_it: impl Fn(&T) -> bool) {
    if let Some(list) = lists.get_mut(slot) {
        list.retain(|item| !is_it(item));
        if list.is_empty() {
            lists.remove(slot);
        }
    }
}
