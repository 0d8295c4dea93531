//! What must outlive the process: how late it has been, which leaves are revoked, and the last proof.
//!
//! It keeps an honest machine honest: a clock turned back or an old revocation list put forward is noticed, after a restart too.
//! Whoever owns the machine can delete the file, and starts anew like a first installation.

mod file;
mod state;

use std::{
    collections::BTreeMap,
    path::PathBuf,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use crate::{LeaseClaims, LicenseClaims, PublishedKeys, RevocationList};
use file::{Found, StateFile};
pub(crate) use state::Asked;
use state::State;

/// The file cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}: {cause}", path.display())]
pub struct MemoryError {
    doing: &'static str,
    path: PathBuf,
    #[source]
    cause: std::io::Error,
}

/// The clock shows an earlier time than was seen before: it was turned back, and no lease can be judged by it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the clock is {} s behind the latest time seen: set it right", behind.as_secs())]
pub struct ClockTurnedBack {
    /// How far it is behind the latest time seen.
    pub behind: Duration,
}

/// A file that remembers, shared by all processes that use it.
///
/// Each change is read, merged and written under a lock, and replaces the file in one step. Time and the version of the revocation
/// list only go forward. Every method that changes something blocks for a few milliseconds: from async code, call it where that is
/// allowed.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// use coditect_license::Memory;
///
/// # let folder = tempfile::tempdir().unwrap();
/// # let path = folder.path().join("license-memory.json");
/// let mut memory = Memory::open(&path).unwrap();
/// assert!(!memory.was_damaged());
/// assert_eq!(memory.license("lic_1"), None);
/// assert!(memory.check_clock(UNIX_EPOCH, Duration::from_secs(60)).is_ok(), "nothing has been seen yet");
/// ```
#[derive(Debug)]
pub struct Memory {
    file: StateFile,
    state: State,
    damaged: bool,
}

/// What programs have left in their slots, by the names of these.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    /// Acquires that were not answered.
    pub(crate) asked: Vec<(String, Vec<Asked>)>,
    /// Sessions that were taken.
    pub(crate) taken: Vec<(String, Vec<String>)>,
}

/// The lists of the slots whose names begin so.
fn of_slots<T: Clone>(lists: &BTreeMap<String, Vec<T>>, prefix: &str) -> Vec<(String, Vec<T>)> {
    lists.iter().filter(|(slot, _)| slot.starts_with(prefix)).map(|(slot, list)| (slot.clone(), list.clone())).collect()
}

impl Memory {
    /// Reads the file, which need not exist yet; its folder is made if it is missing. A file that cannot be understood counts as empty:
    /// [`was_damaged`](Self::was_damaged) tells.
    ///
    /// # Errors
    /// If the folder cannot be made or the file not be read.
    pub fn open(path: impl Into<PathBuf>) -> Result<Self, MemoryError> {
        let file = StateFile::at(path.into())?;
        let (state, damaged) = match file.read()? {
            Found::State(state) => (state, false),
            Found::Nothing => (State::default(), false),
            Found::Damage => (State::default(), true),
        };
        Ok(Self { file, state, damaged })
    }

    /// Whether the file was ever found in a state that could not be understood, so that what it knew is lost.
    #[must_use]
    pub const fn was_damaged(&self) -> bool {
        self.damaged
    }

    /// Refuses a clock that is more than `skew` behind the latest time that this or another process has seen. Ask before judging a
    /// lease by the clock.
    ///
    /// # Errors
    /// [`ClockTurnedBack`].
    pub fn check_clock(&mut self, now: SystemTime, skew: Duration) -> Result<(), ClockTurnedBack> {
        // If the file cannot be read just now, what this process has seen still counts.
        if let Ok(Found::State(on_disk)) = self.file.read() {
            self.state = on_disk.not_before(&self.state);
        }
        let now = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        match Duration::from_millis(self.state.highest_time_ms).checked_sub(now) {
            Some(behind) if behind > skew => Err(ClockTurnedBack { behind }),
            Some(_) | None => Ok(()),
        }
    }

    /// Notes that it was `now` when `lease` held. Call it whenever a lease has been verified, also an old one offline.
    ///
    /// Only a time in the lease's own life is taken (a later one counts as its end), so that a clock that is once far ahead locks nobody
    /// out for good.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn see_time(&mut self, now: SystemTime, lease: &LeaseClaims) -> Result<(), MemoryError> {
        self.change(|state| state.see_time(now, lease))
    }

    /// Keeps a lease that was verified `now`, in place of an earlier one of the same license and hardware.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_lease(&mut self, token: &str, lease: &LeaseClaims, now: SystemTime) -> Result<(), MemoryError> {
        self.change(|state| {
            state.see_time(now, lease);
            state.keep_lease(token, lease);
        })
    }

    /// Keeps the certificate that came with a lease and verifies it.
    pub(crate) fn keep_certificate(&mut self, certificate: &str) -> Result<(), MemoryError> {
        self.change(|state| state.keep_certificate(certificate))
    }

    /// Drops the leases that a device has of all sessions but one.
    pub(crate) fn forget_others(&mut self, license_id: &str, hardware_sha256: &str, session_id: &str) -> Result<(), MemoryError> {
        self.change(|state| state.forget_others(license_id, hardware_sha256, session_id))
    }

    /// Notes what the program in this slot is about to ask for.
    pub(crate) fn note_asked(&mut self, slot: &str, asked: Asked) -> Result<(), MemoryError> {
        self.change(|state| state.note_asked(slot, asked))
    }

    /// Notes that it is known what became of what was asked for.
    pub(crate) fn forget_asked(&mut self, slot: &str, idempotency_key: &str) -> Result<(), MemoryError> {
        self.change(|state| state.forget_asked(slot, idempotency_key))
    }

    /// Notes that the program in this slot has taken a session, by what it had asked for with this key.
    pub(crate) fn note_taken(&mut self, slot: &str, session_id: &str, idempotency_key: &str) -> Result<(), MemoryError> {
        self.change(|state| {
            state.note_taken(slot, session_id);
            state.forget_asked(slot, idempotency_key);
        })
    }

    /// Takes a session off the slot's list: it was given back, or handed to somebody else.
    pub(crate) fn leave_slot(&mut self, slot: &str, session_id: &str) -> Result<(), MemoryError> {
        self.change(|state| state.leave_slot(slot, session_id))
    }

    /// What stands in the slots whose names begin so, as the file has it now.
    pub(crate) fn slots(&mut self, prefix: &str) -> Slots {
        if let Ok(Found::State(on_disk)) = self.file.read() {
            self.state = on_disk.not_before(&self.state);
        }
        Slots { asked: of_slots(&self.state.asked, prefix), taken: of_slots(&self.state.taken, prefix) }
    }

    /// The highest version of a license's document that was verified; 0 if there was none.
    pub(crate) fn license_version(&self, license_id: &str) -> u64 {
        self.state.licenses.get(license_id).map_or(0, |license| license.version)
    }

    /// Forgets the lease of a session, which has been released or has ended.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn forget_session(&mut self, session_id: &str) -> Result<(), MemoryError> {
        self.change(|state| state.forget_session(session_id))
    }

    /// Keeps a license document that was verified, unless a later version of it is kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_license(&mut self, token: &str, license: &LicenseClaims) -> Result<(), MemoryError> {
        self.change(|state| state.keep_license(token, license))
    }

    /// Keeps what is published. `revocations` is the list in it, verified; it is taken unless a later version is kept.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn keep_published(&mut self, published: &PublishedKeys, revocations: Option<&RevocationList>) -> Result<(), MemoryError> {
        self.change(|state| state.keep_published(published, revocations))
    }

    /// The certificates last published, with the newest revocation list there ever was: what to verify leases with, online as well.
    #[must_use]
    pub fn published(&self) -> PublishedKeys {
        self.state.published()
    }

    /// The version of the newest revocation list; 0 if there was none.
    #[must_use]
    pub const fn revocations_version(&self) -> u64 {
        self.state.revocations_version
    }

    /// The signature of a license's document, to be verified.
    #[must_use]
    pub fn license(&self, license_id: &str) -> Option<&str> {
        self.state.licenses.get(license_id)?.token.as_deref()
    }

    /// The lease that a machine holds on a license, named as in [`hardware_sha256`](crate::hardware_sha256), to be verified.
    #[must_use]
    pub fn lease(&self, license_id: &str, hardware_sha256: &str) -> Option<&str> {
        Some(&self.state.licenses.get(license_id)?.leases.get(hardware_sha256)?.token)
    }

    /// The latest time seen, if there is one.
    #[must_use]
    pub fn highest_time(&self) -> Option<SystemTime> {
        let highest = Duration::from_millis(self.state.highest_time_ms);
        if highest.is_zero() { None } else { UNIX_EPOCH.checked_add(highest) }
    }

    fn change(&mut self, change: impl FnOnce(&mut State)) -> Result<(), MemoryError> {
        let lock = self.file.lock()?;
        let mut state = match self.file.read()? {
            Found::State(on_disk) => on_disk.not_before(&self.state),
            Found::Nothing => self.state.clone(),
            Found::Damage => {
                self.damaged = true;
                self.state.clone()
            }
        };
        change(&mut state);
        self.file.replace(&state, &lock)?;
        self.state = state;
        Ok(())
    }
}
