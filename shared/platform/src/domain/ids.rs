//! Ids: opaque to clients, with a prefix that tells what they are of.

use std::{fmt, str::FromStr};

use serde::{Serialize, Serializer};
use uuid::Uuid;

use super::base32;

/// A text that is no id of the wanted kind.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not a well-formed id: {0} and lower-case letters and digits are wanted")]
pub struct InvalidId(&'static str);

impl InvalidId {
    pub(super) const fn of(prefix: &'static str) -> Self {
        Self(prefix)
    }
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub struct $name(Uuid);

        impl $name {
            /// A new one that nobody can guess.
            #[must_use]
            pub fn random() -> Self {
                Self(Uuid::new_v4())
            }

            /// The id of a row.
            #[must_use]
            pub const fn from_uuid(uuid: Uuid) -> Self {
                Self(uuid)
            }

            /// As the database has it.
            #[must_use]
            pub const fn as_uuid(self) -> Uuid {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str($prefix)?;
                f.write_str(text(&base32::encode::<26>(self.0.as_bytes())))
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                let body = text.strip_prefix($prefix).and_then(|body| base32::decode::<16>(body.as_bytes()));
                body.map(|bytes| Self(Uuid::from_bytes(bytes))).ok_or(InvalidId($prefix))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
    };
}

id! {
    /// A customer's organization, as `ten_…`.
    TenantId, "ten_"
}
id! {
    /// A person of a tenant, as `usr_…`.
    UserId, "usr_"
}
id! {
    /// An invitation that waits for an answer, as `inv_…`: the row of the user that it makes.
    InvitationId, "inv_"
}
id! {
    /// A license, as `lic_…`.
    LicenseId, "lic_"
}
id! {
    /// A personal access token, as `tok_…`: not the token itself.
    TokenId, "tok_"
}
id! {
    /// A device that may not take a seat for a time, as `blk_…`.
    BlockId, "blk_"
}
id! {
    /// Something that happened, as `evt_…`.
    EventId, "evt_"
}

/// The secret half of a session id: 128 random bits.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SessionKey([u8; 16]);

impl SessionKey {
    /// A new one.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        aws_lc_rs::rand::fill(&mut bytes).expect("the operating system gives randomness");
        Self(bytes)
    }

    /// As Redis has it.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As Redis has it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }

    /// As PostgreSQL has it: the same 128 bits, in a column of type `uuid`.
    #[must_use]
    pub const fn as_uuid(self) -> Uuid {
        Uuid::from_bytes(self.0)
    }

    /// As PostgreSQL has it.
    #[must_use]
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid.into_bytes())
    }
}

impl fmt::Debug for SessionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionKey(…)")
    }
}

/// A session, as `ses_…`: the license that leads to its place in Redis without a look-up, and 128 secret bits. Whoever
/// knows it may renew and release the session, so it is not printed.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct SessionId {
    /// The license whose seat it has.
    pub license: LicenseId,
    /// What nobody else knows.
    pub key: SessionKey,
}

const SESSION_PREFIX: &str = "ses_";

impl SessionId {
    fn encode(&self) -> [u8; 52] {
        let mut bytes = [0; 32];
        bytes[..16].copy_from_slice(self.license.0.as_bytes());
        bytes[16..].copy_from_slice(&self.key.0);
        base32::encode(&bytes)
    }
}

impl FromStr for SessionId {
    type Err = InvalidId;

    fn from_str(text: &str) -> Result<Self, InvalidId> {
        let body = text.strip_prefix(SESSION_PREFIX).and_then(|body| base32::decode::<32>(body.as_bytes()));
        let bytes = body.ok_or(InvalidId(SESSION_PREFIX))?;
        let (mut license, mut key) = ([0; 16], [0; 16]);
        license.copy_from_slice(&bytes[..16]);
        key.copy_from_slice(&bytes[16..]);
        Ok(Self { license: LicenseId(Uuid::from_bytes(license)), key: SessionKey(key) })
    }
}

impl Serialize for SessionId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut whole = [0; 56];
        whole[..4].copy_from_slice(SESSION_PREFIX.as_bytes());
        whole[4..].copy_from_slice(&self.encode());
        serializer.serialize_str(text(&whole))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ses_… of {}", self.license)
    }
}

fn text(ascii: &[u8]) -> &str {
    std::str::from_utf8(ascii).expect("the alphabet is ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_was_written_and_by_no_other_kind() {
        let license = LicenseId::random();
        assert_eq!(license.to_string().parse(), Ok(license));
        assert!(license.to_string().parse::<TenantId>().is_err());
        assert!("lic_".parse::<LicenseId>().is_err());
    }

    #[test]
    fn a_session_id_carries_its_license_and_does_not_show_its_secret() {
        let session = SessionId { license: LicenseId::random(), key: SessionKey::random() };
        let written = serde_json::to_value(session).unwrap();
        let written = written.as_str().unwrap();
        assert_eq!(written.parse(), Ok(session));
        assert_eq!(written.len(), 56);
        assert!(!format!("{session:?} {:?}", session.key).contains(&written[31..]));
    }
}
