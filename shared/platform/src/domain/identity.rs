//! Who asks: values from the outside, which cannot be held in a bad form.

use std::fmt;

use aws_lc_rs::{digest, rand};
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Serialize, Serializer};

use super::pasted;

/// Why a text is not what was wanted. Says what is wanted, and never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(&'static str);

impl Fault {
    /// What is wanted.
    #[must_use]
    pub const fn new(wanted: &'static str) -> Self {
        Self(wanted)
    }
}

/// A device, as the client's program names it: 1 to 256 letters, digits and `._:+/=@{}-`.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct HardwareId(String);

impl HardwareId {
    /// Reads one.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._:+/=@{}-".contains(&byte);
        if matches!(text.len(), 1..=256) && text.bytes().all(allowed) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Fault("must be 1 to 256 letters, digits or any of . _ : + / = @ { } -"))
        }
    }

    /// As it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What stands for it in a lease.
    #[must_use]
    pub fn hash(&self) -> HardwareHash {
        HardwareHash::of(&self.0)
    }
}

/// The SHA-256 of a hardware id; base64url without padding on the wire.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HardwareHash([u8; 32]);

impl HardwareHash {
    /// The hash of a hardware id as it is recorded.
    #[must_use]
    pub fn of(hardware_id: &str) -> Self {
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, hardware_id.as_bytes()).as_ref());
        Self(hash)
    }

    /// As it is stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// As it is stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl Serialize for HardwareHash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = [0; 43];
        let length = BASE64URL.encode_slice(self.0, &mut text).map_err(serde::ser::Error::custom)?;
        serializer.serialize_str(std::str::from_utf8(&text[..length]).map_err(serde::ser::Error::custom)?)
    }
}

impl fmt::Debug for HardwareId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HardwareId(…)")
    }
}

/// An email address: an unquoted ASCII mailbox of RFC 5321 at a domain with a dot, its domain in lower case.
#[derive(Clone, Eq, Hash, PartialEq)]
pub struct Email(String);

impl Email {
    /// Reads one.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        const WANTED: Fault = Fault("must be an email address, such as ada@example.com, of at most 254 characters");
        let (local, domain) = text.rsplit_once('@').ok_or(WANTED)?;
        let local_fits = matches!(local.len(), 1..=64) && local.split('.').all(is_atom);
        let domain_fits = domain.contains('.') && domain.split('.').all(is_label);
        if text.len() <= 254 && local_fits && domain_fits {
            Ok(Self(format!("{local}@{}", domain.to_ascii_lowercase())))
        } else {
            Err(WANTED)
        }
    }

    /// Reads one as people paste it: see [`pasted()`]. Not for addresses that somebody vouches for.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse_pasted(text: &str) -> Result<Self, Fault> {
        Self::parse(pasted(text))
    }

    /// The address.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Email {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Email(…)")
    }
}

/// RFC 5321, section 4.1.2: atom.
fn is_atom(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(&byte))
}

/// RFC 1123: letters, digits and hyphens, none at an end.
pub(super) fn is_label(text: &str) -> bool {
    matches!(text.len(), 1..=63)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
        && !text.starts_with('-')
        && !text.ends_with('-')
}

fn is_visible(text: &str, most: usize) -> bool {
    (1..=most).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// What a client wants to see again in what is signed for it: 1 to 128 visible ASCII characters.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Nonce(String);

impl Nonce {
    /// Reads one.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        if is_visible(text, 128) { Ok(Self(text.to_owned())) } else { Err(Fault("must be 1 to 128 visible ASCII characters")) }
    }

    /// As it came.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What tells a repeated request from a new one: 1 to 255 visible ASCII characters, which may stand in double quotes
/// (the IETF's draft-ietf-httpapi-idempotency-key-header).
#[derive(Clone, Eq, PartialEq)]
pub struct IdempotencyKey(String);

impl IdempotencyKey {
    /// Reads one.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let bare = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        if is_visible(bare, 255) { Ok(Self(bare.to_owned())) } else { Err(Fault("must be 1 to 255 visible ASCII characters")) }
    }

    /// As it came, without quotes.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What it is stored as.
    #[must_use]
    pub fn digest(&self) -> [u8; 16] {
        fingerprint(&[b"idempotency key", self.0.as_bytes()])
    }
}

impl fmt::Debug for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdempotencyKey(…)")
    }
}

/// Who sits on a seat, in 128 bits: nothing of the device can be read from it.
#[derive(Clone, Copy, Eq, PartialEq)]
pub struct Holder([u8; 16]);

impl Holder {
    /// A device.
    #[must_use]
    pub fn device(hardware: &HardwareId) -> Self {
        Self(fingerprint(&[b"device", hardware.0.as_bytes()]))
    }

    /// A process, known by the idempotency key of its acquire.
    #[must_use]
    pub fn process(key: &IdempotencyKey) -> Self {
        Self(fingerprint(&[b"process", key.0.as_bytes()]))
    }

    /// A process that nobody can recognize.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn random() -> Self {
        let mut bytes = [0; 16];
        rand::fill(&mut bytes).expect("the operating system gives randomness");
        Self(bytes)
    }

    /// From how it is stored.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }

    /// As it is stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 16] {
        &self.0
    }
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Holder(…)")
    }
}

/// The first 128 bits of the SHA-256 of these parts, each with its length before it.
#[must_use]
pub fn fingerprint(parts: &[&[u8]]) -> [u8; 16] {
    let mut context = digest::Context::new(&digest::SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    let mut first = [0; 16];
    first.copy_from_slice(&context.finish().as_ref()[..16]);
    first
}

/// The number of a seat, 1…N.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct SeatNumber(u32);

impl SeatNumber {
    /// None for 0.
    #[must_use]
    pub const fn new(number: u32) -> Option<Self> {
        if number == 0 { None } else { Some(Self(number)) }
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_and_its_domain_put_in_lower_case() {
        assert_eq!(Email::parse("Ada.Lovelace+x@Example.COM").unwrap().as_str(), "Ada.Lovelace+x@example.com");
        let long = format!("{}@example.com", "a".repeat(65));
        for wrong in [
            "",
            "a",
            "@example.com",
            "a@",
            "a@b",
            "a..b@example.com",
            "a b@example.com",
            "a@-b.com",
            "é@example.com",
            "a@b.com\u{202e}",
            &long,
        ] {
            assert!(Email::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_hardware_id_has_no_room_for_tricks() {
        assert!(HardwareId::parse("{4C4C4544-0042-3510}:mac=00:1B").is_ok());
        let long = "a".repeat(257);
        for wrong in ["", "a b", "a'b", "a\0b", "💻", "a\u{200f}b", "redis.call('FLUSHALL')", &long] {
            assert!(HardwareId::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_idempotency_key_may_be_quoted() {
        assert_eq!(IdempotencyKey::parse("\"abc\"").unwrap().as_str(), "abc");
        assert!(IdempotencyKey::parse("").is_err());
        assert!(IdempotencyKey::parse("\"\"").is_err());
    }

    #[test]
    fn parts_cannot_be_shifted_into_each_other() {
        assert_ne!(fingerprint(&[b"ab", b"c"]), fingerprint(&[b"a", b"bc"]));
    }

    #[test]
    fn holders_are_told_apart_by_kind_and_keep_their_stored_form() {
        let device = Holder::device(&HardwareId::parse("abc").unwrap());
        assert_eq!(u128::from_be_bytes(*device.as_bytes()), 0x64f5_cef1_3376_0137_3e5c_2c77_7f7f_8194);
        assert_ne!(device, Holder::process(&IdempotencyKey::parse("abc").unwrap()));
        assert_ne!(Holder::random(), Holder::random());
    }

    #[test]
    fn a_nonce_and_a_seat_number_have_bounds() {
        assert_eq!(Nonce::parse("n-0S6_WzA2Mj").unwrap().as_str(), "n-0S6_WzA2Mj");
        for wrong in ["", "a b", "é", "a\n", &"a".repeat(129)] {
            assert!(Nonce::parse(wrong).is_err(), "{wrong}");
        }
        assert_eq!(SeatNumber::new(0), None);
        assert_eq!(SeatNumber::new(1).map(SeatNumber::get), Some(1));
    }

    #[test]
    fn personal_values_are_not_printed() {
        let (email, hardware) = (Email::parse("ada@example.com").unwrap(), HardwareId::parse("abc").unwrap());
        assert_eq!(format!("{email:?} {hardware:?}"), "Email(…) HardwareId(…)");
    }
}
