//! License keys: 130 random bits that a person can type, with a checksum that finds what was mistyped.

use std::fmt;

use aws_lc_rs::{digest, rand};

use super::{base32, bech32m};

/// Random symbols of a key; 5 bits each.
const SECRET: usize = 26;
const SYMBOLS: usize = SECRET + bech32m::SYMBOLS;
const PREFIX: &str = "CODI";

/// A license key: `CODI-` and eight groups of four symbols of Crockford's base 32.
///
/// The last six are a Bech32m checksum (BIP-173 and BIP-350, over the symbols' values), which finds every error in up to
/// four symbols: a mistyped key is told apart from an unknown one, and costs no look-up.
#[derive(Clone, Eq, PartialEq)]
pub struct LicenseKey([u8; SYMBOLS]);

/// What a license key is stored and looked up as: SHA-256. A key has 130 random bits, so no salt is needed.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct LicenseKeyHash([u8; 32]);

/// Why a text is no license key.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLicenseKey {
    /// It does not look like one.
    #[error("is not a license key: CODI- and eight groups of four letters or digits are wanted")]
    Malformed,
    /// It looks like one, and its checksum does not fit.
    #[error("is no license key, as the checksum does not match: one or more characters were mistyped")]
    Mistyped,
}

impl LicenseKey {
    /// A new key.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        let mut secret = [0; SECRET];
        rand::fill(&mut secret).expect("the operating system gives randomness");
        Self::with_checksum(secret.map(|value| value & 31))
    }

    fn with_checksum(secret: [u8; SECRET]) -> Self {
        let mut values = [0; SYMBOLS];
        values[..SECRET].copy_from_slice(&secret);
        values[SECRET..].copy_from_slice(&bech32m::checksum(PREFIX, &secret));
        Self(values)
    }

    /// Reads a key as a person types it: in either case, with or without hyphens and spaces, O for 0, I or L for 1.
    ///
    /// # Errors
    /// [`InvalidLicenseKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidLicenseKey> {
        let mut symbols = text.bytes().filter(|byte| !matches!(byte, b'-' | b' '));
        for wanted in PREFIX.bytes() {
            if symbols.next().map(|byte| byte.to_ascii_uppercase()) != Some(wanted) {
                return Err(InvalidLicenseKey::Malformed);
            }
        }
        let mut values = [0; SYMBOLS];
        for value in &mut values {
            *value = symbols.next().and_then(base32::value).ok_or(InvalidLicenseKey::Malformed)?;
        }
        if symbols.next().is_some() {
            return Err(InvalidLicenseKey::Malformed);
        }
        if values[SECRET..] != bech32m::checksum(PREFIX, &values[..SECRET]) {
            return Err(InvalidLicenseKey::Mistyped);
        }
        Ok(Self(values))
    }

    /// What it is stored as.
    #[must_use]
    pub fn hash(&self) -> LicenseKeyHash {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"coditect license key\0");
        context.update(&self.0[..SECRET]);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        LicenseKeyHash(hash)
    }

    /// Its last four symbols, by which people tell keys apart.
    #[must_use]
    pub fn last_four(&self) -> String {
        self.0[SYMBOLS - 4..].iter().map(|&value| letter(value)).collect()
    }

    /// The key as text: to be shown once, to whom it is for.
    #[must_use]
    pub fn reveal(&self) -> String {
        let mut text = PREFIX.to_owned();
        for group in self.0.chunks(4) {
            text.push('-');
            text.extend(group.iter().map(|&value| letter(value)));
        }
        text
    }
}

impl fmt::Debug for LicenseKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LicenseKey(…)")
    }
}

impl LicenseKeyHash {
    /// As the database has it.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for LicenseKeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LicenseKeyHash(…)")
    }
}

fn letter(value: u8) -> char {
    char::from(base32::symbol(value).to_ascii_uppercase())
}

#[cfg(test)]
mod tests {
    use proptest::{array::uniform26, prelude::*};

    use super::*;

    fn keys() -> impl Strategy<Value = LicenseKey> {
        uniform26(0_u8..32).prop_map(LicenseKey::with_checksum)
    }

    /// Reads symbol values as a person would type them.
    fn read(values: &[u8]) -> Result<LicenseKey, InvalidLicenseKey> {
        LicenseKey::parse(&values.iter().fold(PREFIX.to_owned(), |text, &value| format!("{text}{}", letter(value))))
    }

    proptest! {
        #[test]
        fn every_key_is_read_as_it_was_written(key in keys()) {
            let text = key.reveal();
            prop_assert_eq!(LicenseKey::parse(&text.to_lowercase().replace('-', " ")), Ok(key.clone()));
            prop_assert_eq!(LicenseKey::parse(&text), Ok(key));
        }

        #[test]
        fn every_wrong_symbol_and_every_swap_is_found(key in keys()) {
            for at in 0..SYMBOLS {
                for error in 1..32 {
                    let mut wrong = key.0;
                    wrong[at] ^= error;
                    prop_assert_eq!(read(&wrong), Err(InvalidLicenseKey::Mistyped));
                }
            }
            for at in (1..SYMBOLS).filter(|&at| key.0[at - 1] != key.0[at]) {
                let mut swapped = key.0;
                swapped.swap(at - 1, at);
                prop_assert_eq!(read(&swapped), Err(InvalidLicenseKey::Mistyped));
            }
        }

        #[test]
        fn up_to_four_wrong_symbols_are_found(key in keys(), errors in proptest::collection::btree_map(0..SYMBOLS, 1_u8..32, 1..=4)) {
            let mut wrong = key.0;
            for (at, error) in errors {
                wrong[at] ^= error;
            }
            prop_assert_eq!(read(&wrong), Err(InvalidLicenseKey::Mistyped));
        }
    }

    /// Worked out with the reference code of BIP-350: keys that are out there, and their stored hashes, must stay readable.
    #[test]
    fn the_checksum_and_the_hash_are_those_of_the_first_day() {
        let counting = std::array::from_fn(|at| u8::try_from(at).unwrap());
        for (secret, text, hash) in [
            ([0; SECRET], "CODI-0000-0000-0000-0000-0000-0000-006M-AYD1", [0x03, 0x38, 0xd6, 0x32]),
            (counting, "CODI-0123-4567-89AB-CDEF-GHJK-MNPQ-RS2E-D29K", [0xee, 0x51, 0x65, 0xc3]),
        ] {
            let key = LicenseKey::with_checksum(secret);
            assert_eq!(key.reveal(), text);
            assert_eq!(key.hash().as_bytes()[..4], hash);
        }
    }

    #[test]
    fn new_keys_differ_and_carry_their_checksum() {
        let key = LicenseKey::generate();
        assert_eq!(LicenseKey::parse(&key.reveal()).as_ref(), Ok(&key));
        assert_ne!(key, LicenseKey::generate());
    }

    #[test]
    fn a_key_is_read_however_it_is_typed() {
        let key = LicenseKey::with_checksum(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let text = key.reveal();
        assert_eq!(text.len(), 44);
        for typed in
            [text.clone(), text.to_lowercase(), text.replace('-', ""), text.replace('-', " "), text.replace('0', "O").replace('1', "l")]
        {
            assert_eq!(LicenseKey::parse(&typed).as_ref(), Ok(&key), "{typed}");
        }
        assert!(text.ends_with(&key.last_four()));
    }

    #[test]
    fn what_does_not_look_like_a_key_is_told_apart() {
        let key = LicenseKey::generate().reveal();
        for wrong in ["", "CODI", &key[1..], &key[..43], &format!("{key}0"), &key.replace('-', "_"), "\u{0}", "🔑"] {
            assert_eq!(LicenseKey::parse(wrong), Err(InvalidLicenseKey::Malformed), "{wrong}");
        }
    }

    #[test]
    fn a_key_and_its_hash_are_not_printed() {
        let key = LicenseKey::generate();
        assert_eq!(format!("{key:?} {:?}", key.hash()), "LicenseKey(…) LicenseKeyHash(…)");
    }
}
