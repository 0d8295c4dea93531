//! Each running program has a slot of its own: a locked file. If its program dies, however it dies, the operating system lets go of the
//! lock, and whoever finds the slot unlocked knows that nobody uses the sessions that were taken in it.

use std::{
    fs::{File, OpenOptions},
    io,
};

use crate::presence::Place;

/// Programs of one license key on one device that run at once. The next one runs all the same, but a crash of it leaves its session to
/// expire.
const MOST: usize = 256;

/// A slot, held until it is dropped.
#[derive(Debug)]
pub(crate) struct Slot {
    name: String,
    #[expect(dead_code, reason = "the lock lasts as long as the file is open")]
    file: File,
}

impl Slot {
    /// Claims a slot that no running program holds: one of `left`, in which sessions were left behind, if there is any.
    pub(crate) fn claim(place: &Place, left: impl Iterator<Item = String>) -> Option<Self> {
        let numbered = (0..MOST).map(|number| format!("{}{number}", place.slots()));
        left.chain(numbered).find_map(|name| Self::lock(place, name).ok())
    }

    /// Locks one slot; an error if its program runs, or the file cannot be had.
    pub(crate) fn lock(place: &Place, name: String) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).read(true).append(true).open(place.slot(&name))?;
        file.try_lock()?;
        Ok(Self { name, file })
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_of_a_running_program_is_not_claimed_and_a_dead_ones_comes_first() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::beside(&folder.path().join("state.json"), "a");
        let none = std::iter::empty;
        let first = Slot::claim(&place, none()).unwrap();
        let second = Slot::claim(&place, none()).unwrap();
        assert_eq!((first.name(), second.name()), ("a.0", "a.1"));
        assert!(Slot::lock(&place, "a.0".to_owned()).is_err(), "its program runs");
        drop(second);
        drop(first);
        let left = Slot::claim(&place, ["a.1".to_owned()].into_iter()).unwrap();
        assert_eq!(left.name(), "a.1");
        assert_eq!(Slot::claim(&place, ["a.1".to_owned()].into_iter()).unwrap().name(), "a.0");
    }
}
