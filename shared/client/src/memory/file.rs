//! The file: read whole, replaced whole, changed under a lock.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use super::{MemoryError, state::State};

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
        let file = private().create(true).write(true).truncate(false).open(self.beside(".lock"));
        let locked = file.and_then(|file| file.lock().map(|()| Lock(file)));
        locked.map_err(|cause| self.failed("lock", cause))
    }

    /// Replaces the file in one step: a reader, and whoever starts after a power cut, finds the old state or the new one, whole.
    pub(super) fn replace(&self, state: &State, _: &Lock) -> Result<(), MemoryError> {
        self.try_replace(state).map_err(|cause| self.failed("write", cause))
    }

    fn try_replace(&self, state: &State) -> io::Result<()> {
        let next = self.beside(".next");
        // Left by a process that died while it held the lock, or put there: never written through.
        match fs::remove_file(&next) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        let bytes = serde_json::to_vec_pretty(state)?;
        let mut file = private().create_new(true).write(true).open(&next)?;
        let replaced = file.write_all(&bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&next, &self.path));
        if replaced.is_err() {
            // What is left of it helps nobody.
            let _ = fs::remove_file(&next);
        }
        replaced
    }

    fn beside(&self, ending: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(ending);
        name.into()
    }

    fn failed(&self, doing: &'static str, cause: io::Error) -> MemoryError {
        MemoryError { doing, path: self.path.clone(), cause }
    }
}

/// How files are made that nobody but their owner may read: mode 0600 where there are modes, the folder's rights elsewhere.
fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

fn make_folder(folder: &Path) -> io::Result<()> {
    let mut builder = DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(folder)
}
