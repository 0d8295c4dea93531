//! How a session is named to those who see it and may not act as its holder.

use std::{fmt, str::FromStr};

use aws_lc_rs::digest;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::{InvalidId, LicenseId, SessionKey, Timestamp, base32, license::words, recorded_at};

const PREFIX: &str = "ses_";
/// Bytes of the check.
const CHECK: usize = 6;
const BYTES: usize = 16 + 8 + CHECK;
const SYMBOLS: usize = 48;

words! {
    /// Whether a session has its seat.
    SessionState {
        /// It has not ended.
        Live = "live",
        /// It has, for good.
        Ended = "ended",
    }
}

/// A session as the administration names it: the license and the moment that lead to its row, and a check made of its secret key.
///
/// Whoever has a session's own id may renew and release it. From this one the key cannot be had, and no seat operation takes it: it is
/// shorter by four symbols.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct SessionRef {
    /// Whose seat the session has.
    pub license: LicenseId,
    /// When it started, in microseconds since the Unix epoch.
    started_at: i64,
    check: [u8; CHECK],
}

impl SessionRef {
    /// The name of the session with this key.
    #[must_use]
    pub fn of(license: LicenseId, started_at: Timestamp, key: SessionKey) -> Self {
        Self { license, started_at: started_at.timestamp_micros(), check: check(key) }
    }

    /// When the session started. None if the name is made up.
    #[must_use]
    pub fn started_at(&self) -> Option<Timestamp> {
        recorded_at(self.started_at)
    }

    /// Whether it is the name of the session with this key.
    #[must_use]
    pub fn is_of(&self, key: SessionKey) -> bool {
        self.check == check(key)
    }
}

fn check(key: SessionKey) -> [u8; CHECK] {
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(b"coditect session name\0");
    context.update(key.as_bytes());
    let mut first = [0; CHECK];
    first.copy_from_slice(&context.finish().as_ref()[..CHECK]);
    first
}

impl fmt::Display for SessionRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = [0; BYTES];
        bytes[..16].copy_from_slice(self.license.as_uuid().as_bytes());
        bytes[16..24].copy_from_slice(&self.started_at.to_be_bytes());
        bytes[24..].copy_from_slice(&self.check);
        let symbols: [u8; SYMBOLS] = base32::encode(&bytes);
        f.write_str(PREFIX)?;
        f.write_str(std::str::from_utf8(&symbols).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for SessionRef {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let wrong = InvalidId::of(PREFIX);
        let bytes: [u8; BYTES] = text.strip_prefix(PREFIX).and_then(|body| base32::decode(body.as_bytes())).ok_or(wrong)?;
        let (license, rest) = bytes.split_first_chunk().ok_or(wrong)?;
        let (started_at, check) = rest.split_first_chunk().ok_or(wrong)?;
        Ok(Self {
            license: LicenseId::from_uuid(Uuid::from_bytes(*license)),
            started_at: i64::from_be_bytes(*started_at),
            check: check.try_into().map_err(|_| wrong)?,
        })
    }
}

impl Serialize for SessionRef {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{SessionId, from_millis};

    #[test]
    fn a_session_is_found_by_its_name_and_its_secret_is_not_in_it() {
        let (license, key) = (LicenseId::random(), SessionKey::random());
        let name = SessionRef::of(license, from_millis(1_700_000_000_120), key);
        let text = name.to_string();
        assert_eq!(text.parse(), Ok(name));
        assert_eq!((name.license, name.started_at()), (license, Some(from_millis(1_700_000_000_120))));
        assert!(name.is_of(key) && !name.is_of(SessionKey::random()));
        assert!(text.parse::<SessionId>().is_err(), "a seat operation takes it");
        let own = serde_json::to_value(SessionId { license, key }).unwrap();
        assert!(own.as_str().unwrap().parse::<SessionRef>().is_err());
        assert!("ses_".parse::<SessionRef>().is_err());
    }
}
