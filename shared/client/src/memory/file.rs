//! The file: read whole, replaced whole, changed under a lock.

use std::{
    fs::{DirBuilder, File},
    io::{self, ErrorKind, Read},
    path::{Path, PathBuf},
};

use super::{MemoryError, state::State};
use crate::private_file::{beside, private, replace_private_file};

/// The largest file that is read. A full one has a few hundred kilobytes.
const MAX_BYTES: u64 = 4 * 1024 * 1024;

/// What is at the path.
pub(super) enum Found {
    State(State),
    Nothing,
    /// Something that is no state, or not one that this version can read.
    Damage,
}

/// Held while the file is changed.
pub(super) struct Lock(#[expect(dead_code, reason = "the lock lasts as long as the file is open")] File);

/// Where the state is kept.
#[derive(Debug)]
pub(super) struct StateFile {
    path: PathBuf,
}

impl StateFile {
    pub(super) fn at(path: PathBuf) -> Result<Self, MemoryError> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            make_folder(folder).map_err(|cause| MemoryError { doing: "make the folder", path: folder.to_owned(), cause })?;
        }
        Ok(Self { path })
    }

    pub(super) fn read(&self) -> Result<Found, MemoryError> {
        let mut bytes = Vec::new();
        match File::open(&self.path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes)) {
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(cause) => return Err(self.failed("read", cause)),
        }
        if bytes.len() as u64 > MAX_BYTES {
            return Ok(Found::Damage);
        }
        Ok(serde_json::from_slice(&bytes).map_or(Found::Damage, Found::State))
    }

    /// Waits until no other process or thread changes the file. The lock is a file beside it, which stays: if it were removed, two could
    /// hold a lock at once.
    pub(super) fn lock(&self) -> Result<Lock, MemoryError> {
        let file = private().create(true).write(true).truncate(false).open(beside(&self.path, ".lock"));
        let locked = file.and_then(|file| file.lock().map(|()| Lock(file)));
        locked.map_err(|cause| self.failed("lock", cause))
    }

    /// Replaces the file in one step: a reader, and whoever starts after a power cut, finds the old state or the new one, whole.
    pub(super) fn replace(&self, state: &State, _: &Lock) -> Result<(), MemoryError> {
        let replaced = serde_json::to_vec_pretty(state).map_err(io::Error::from).and_then(|bytes| replace_private_file(&self.path, &bytes));
        replaced.map_err(|cause| self.failed("write", cause))
    }

    fn failed(&self, doing: &'static str, cause: io::Error) -> MemoryError {
        MemoryError { doing, path: self.path.clone(), cause }
    }
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}
