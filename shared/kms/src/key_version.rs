//! The name of a key version.

use std::{fmt, str::FromStr};

/// A key version in Cloud KMS: `projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/N`. A version never changes
/// its key, so neither does what this names.
#[derive(Clone, Eq, PartialEq)]
pub struct KeyVersion(String);

/// The text is not the name of a key version.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/N")]
pub struct KeyVersionError;

impl KeyVersion {
    /// The name, as Cloud KMS writes it.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for KeyVersion {
    type Err = KeyVersionError;

    fn from_str(text: &str) -> Result<Self, KeyVersionError> {
        let parts: Vec<&str> = text.split('/').collect();
        let ["projects", project, "locations", location, "keyRings", ring, "cryptoKeys", key, "cryptoKeyVersions", version] = parts[..]
        else {
            return Err(KeyVersionError);
        };
        let named = is_project(project) && [location, ring, key].into_iter().all(is_name);
        let numbered = !version.starts_with('0') && !version.is_empty() && version.bytes().all(|byte| byte.is_ascii_digit());
        if named && numbered { Ok(Self(text.to_owned())) } else { Err(KeyVersionError) }
    }
}

impl fmt::Debug for KeyVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyVersion({})", self.0)
    }
}

fn is_name(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

/// An old project's id may have its organisation's domain before it: `example.com:seats`.
fn is_project(text: &str) -> bool {
    match text.split_once(':') {
        Some((domain, id)) => domain.split('.').all(is_name) && is_name(id),
        None => is_name(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_version_is_read_whole() {
        for text in [
            "projects/coditect-prod/locations/europe-west3/keyRings/licensing/cryptoKeys/root/cryptoKeyVersions/1",
            "projects/123456/locations/global/keyRings/a/cryptoKeys/Root_2026-a/cryptoKeyVersions/12",
            "projects/example.com:seats/locations/us/keyRings/a/cryptoKeys/b/cryptoKeyVersions/9",
        ] {
            assert_eq!(text.parse::<KeyVersion>().map(|version| version.as_str().to_owned()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn anything_else_is_not_a_key_version() {
        for text in [
            "",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/0",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/latest",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1/",
            "projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1:destroy",
            "projects//locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/../locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            "projects/p/locations/l/keyRings/..%2f/cryptoKeys/k/cryptoKeyVersions/1",
            "Projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
            " projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1",
        ] {
            assert_eq!(text.parse::<KeyVersion>(), Err(KeyVersionError), "{text}");
        }
    }
}
