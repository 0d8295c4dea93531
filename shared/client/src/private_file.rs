//! Files that nobody but their owner may read.

use std::{
    fs::{self, OpenOptions},
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
};

/// How such files are made: mode 0600 where there are modes, the folder's rights elsewhere.
pub(crate) fn private() -> OpenOptions {
    #[cfg_attr(not(unix), expect(unused_mut, reason = "only Unix has modes"))]
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Returns the path with an ending more.
pub(crate) fn beside(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.to_owned().into_os_string();
    name.push(ending);
    name.into()
}

/// Replaces a file in one step: a reader, and whoever starts after a power cut, finds the old one or the new one, whole. If it cannot be
/// written, all is as it was. Two callers must not do it at once.
///
/// # Errors
/// If it cannot be written.
pub fn replace_private_file(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let next = beside(path, ".next");
    // Left by a process that died meanwhile, or put there: never written through.
    match fs::remove_file(&next) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let mut file = private().create_new(true).write(true).open(&next)?;
    let replaced = file.write_all(bytes).and_then(|()| file.sync_all()).and_then(|()| fs::rename(&next, path));
    if replaced.is_err() {
        // What is left of it helps nobody.
        let _ = fs::remove_file(&next);
    }
    replaced
}
