//! Who else on this machine sits on the same seat: the last one out gives it back.
//!
//! All processes of a device share one session, so whoever leaves first must not release it. Each holds a shared lock on one file for as
//! long as it has the seat; whoever gets the file for itself on leaving was the last. The operating system lets go of a lock when its
//! process dies, however it dies, so there is nothing to clean up.

use std::{
    ffi::OsString,
    fs::{File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

/// How often to look whether the last one out has gone.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// A place beside a state file for one license key and one hardware id.
#[derive(Clone, Debug)]
pub(crate) struct Place {
    path: OsString,
    name: String,
}

impl Place {
    /// `name` tells the license key and hardware id apart from others that share the state file.
    pub(crate) fn beside(state: &Path, name: &str) -> Self {
        let mut path = state.as_os_str().to_owned();
        path.push(format!(".{name}"));
        Self { path, name: name.to_owned() }
    }

    /// Enters, after whoever is just leaving as the last has left.
    pub(crate) async fn enter(&self, patience: Duration) -> io::Result<Presence> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(self.file(".seat"))?;
        let begun = Instant::now();
        loop {
            match file.try_lock_shared() {
                Ok(()) => return Ok(Presence(file)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => tokio::time::sleep(LOOK_AGAIN).await,
                Err(TryLockError::WouldBlock) => return Err(ErrorKind::TimedOut.into()),
                Err(TryLockError::Error(error)) => return Err(error),
            }
        }
    }

    /// The license that the key opened last.
    pub(crate) fn license_id(&self) -> Option<String> {
        std::fs::read_to_string(self.license_file()).ok().filter(|id| !id.is_empty())
    }

    /// Notes which license the key opens.
    pub(crate) fn note_license(&self, license_id: &str) -> io::Result<()> {
        if self.license_id().as_deref() == Some(license_id) { Ok(()) } else { std::fs::write(self.license_file(), license_id) }
    }

    /// Has the key open no license that is known, so that nothing is proven by what is kept of it.
    pub(crate) fn forget_license(&self) -> io::Result<()> {
        std::fs::remove_file(self.license_file())
    }

    /// What the names of its slots begin with.
    pub(crate) fn slots(&self) -> String {
        format!("{}.", self.name)
    }

    /// The file of a slot.
    pub(crate) fn slot(&self, name: &str) -> PathBuf {
        let number = name.rsplit('.').next().unwrap_or_default();
        self.file(&format!(".{number}.slot"))
    }

    fn license_file(&self) -> PathBuf {
        self.file(".license")
    }

    fn file(&self, ending: &str) -> PathBuf {
        let mut path = self.path.clone();
        path.push(ending);
        path.into()
    }
}

/// Being on the seat. Ends when dropped.
#[derive(Debug)]
pub(crate) struct Presence(File);

impl Presence {
    /// Leaves. What is returned to the last one out keeps everybody from entering until it is dropped.
    pub(crate) fn leave(self) -> io::Result<Option<Alone>> {
        // Letting go first: of two who leave at once, the one who lets go last finds nobody else.
        self.0.unlock()?;
        match self.0.try_lock() {
            Ok(()) => Ok(Some(Alone(self.0))),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }
}

/// Nobody else is there, and nobody enters.
#[derive(Debug)]
pub(crate) struct Alone(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_last_one_out_is_alone() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::beside(&folder.path().join("state.json"), "a");
        let (first, second) = (place.enter(Duration::ZERO).await.unwrap(), place.enter(Duration::ZERO).await.unwrap());
        assert!(first.leave().unwrap().is_none());
        let alone = second.leave().unwrap();
        assert!(alone.is_some());
        assert_eq!(place.enter(Duration::ZERO).await.unwrap_err().kind(), ErrorKind::TimedOut, "while the last one is leaving");
        drop(alone);
        assert!(place.enter(Duration::ZERO).await.is_ok());
    }

    #[tokio::test]
    async fn who_is_gone_without_leaving_is_not_there() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::beside(&folder.path().join("state.json"), "a");
        drop(place.enter(Duration::ZERO).await.unwrap());
        assert!(place.enter(Duration::ZERO).await.unwrap().leave().unwrap().is_some());
    }
}
