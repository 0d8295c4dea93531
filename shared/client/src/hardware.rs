//! A name for this machine.

use std::{fs, io, path::Path};

use crate::{hardware_sha256, random};

/// Where Linux keeps an id that is the machine's own and stays (systemd's machine-id(5)).
const MACHINE_ID: &str = "/etc/machine-id";

/// A hardware id for this machine: from `/etc/machine-id` where there is one (hashed, as its manual asks), else random, and kept in
/// `folder` from then on.
///
/// A program that knows a better one, such as a dongle's serial number, should use that.
///
/// # Errors
/// If there is no machine id and `folder` cannot be written.
pub fn machine_hardware_id(folder: &Path) -> io::Result<String> {
    let machine = fs::read_to_string(MACHINE_ID).unwrap_or_default();
    let machine = machine.trim();
    // Images ship with "uninitialized" or nothing.
    if machine.len() == 32 && machine.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Ok(format!("machine-{}", hardware_sha256(&format!("coditect:{machine}"))));
    }
    kept(folder)
}

/// A random id that stays. Of two processes that come first at once, both read what one of them wrote.
fn kept(folder: &Path) -> io::Result<String> {
    let path = folder.join("hardware-id");
    fs::create_dir_all(folder)?;
    if !path.exists() {
        let draft = folder.join(format!("hardware-id.{}", random::token()));
        fs::write(&draft, format!("random-{}", random::token()))?;
        // A link is made whole and only once, unlike a written file.
        let linked = fs::hard_link(&draft, &path);
        fs::remove_file(&draft)?;
        if let Err(error) = linked
            && error.kind() != io::ErrorKind::AlreadyExists
        {
            return Err(error);
        }
    }
    fs::read_to_string(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_stays() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("new");
        let first = kept(&folder).unwrap();
        assert!(first.len() > 20, "{first}");
        assert_eq!(kept(&folder).unwrap(), first);
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn the_machines_id_is_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let id = machine_hardware_id(folder.path()).unwrap();
        assert_eq!(machine_hardware_id(folder.path()).unwrap(), id);
        let machine = fs::read_to_string(MACHINE_ID).unwrap_or_default();
        assert!(machine.trim().is_empty() || !id.contains(machine.trim()));
    }
}
