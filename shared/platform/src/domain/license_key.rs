//! License keys: 130 random bits that a person can type, with a checksum that finds what was mistyped.

use std::fmt;

use aws_lc_rs::{digest, rand};

use super::{
    base32, bech32m,
    pasted::{is_dash, is_padding},
};

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

/// Why a text is no license key. The message names the position and the kind of the fault, and
/// never repeats the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidLicenseKey {
    /// Nothing is left without white space, hyphens and quotes.
    #[error("is empty: a license key is CODI- and 32 letters and digits")]
    Empty,
    /// It begins otherwise: the symbol at this position, counted as for `Symbol`, is the first that is wrong.
    #[error(
        "does not begin with CODI-: symbol {0} is the first that is wrong \
         (hyphens and spaces are not counted). A license key is CODI- and 32 letters and digits"
    )]
    Prefix(usize),
    /// The symbol at this position, from 1 and without hyphens and white space, stands for nothing.
    #[error(
        "symbol {0} is not one of 0-9 and A-Z without U \
         (hyphens and spaces are not counted): a license key is CODI- and 32 letters and digits"
    )]
    Symbol(usize),
    /// It has too few symbols after the prefix.
    #[error("is cut off: it has {0} letters and digits after CODI-, and a license key has 32")]
    TooShort(usize),
    /// It has too many symbols after the prefix.
    #[error("is too long: it has {0} letters and digits after CODI-, and a license key has 32")]
    TooLong(usize),
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

    /// Reads a key as people type and paste it: in either case, O for 0, I or L for 1, with or
    /// without the prefix, and with hyphens, dashes, white space, quotes and invisible characters
    /// anywhere.
    ///
    /// # Errors
    /// [`InvalidLicenseKey`].
    pub fn parse(text: &str) -> Result<Self, InvalidLicenseKey> {
        let is_symbol = |symbol: &char| symbol.is_ascii_alphanumeric() || !(is_dash(*symbol) || is_padding(*symbol));
        let count = text.chars().filter(is_symbol).count();
        if count == 0 {
            return Err(InvalidLicenseKey::Empty);
        }
        let start = text.chars().filter(is_symbol).take(PREFIX.len());
        let prefix = match common_prefix(start, count) {
            whole if whole == PREFIX.len() => whole,
            _ if count == SYMBOLS => 0,
            right => return Err(InvalidLicenseKey::Prefix(right + 1)),
        };
        let mut values = [0; SYMBOLS];
        for (at, symbol) in text.chars().filter(is_symbol).enumerate().skip(prefix) {
            let value = u8::try_from(symbol).ok().and_then(base32::value).ok_or(InvalidLicenseKey::Symbol(at + 1))?;
            if let Some(place) = values.get_mut(at - prefix) {
                *place = value;
            }
        }
        match count - prefix {
            SYMBOLS => {}
            fewer if fewer < SYMBOLS => return Err(InvalidLicenseKey::TooShort(fewer)),
            more => return Err(InvalidLicenseKey::TooLong(more)),
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

/// How many symbols of a text of `count` symbols are the prefix's, from the first on: as it is
/// written or, where the length leaves no doubt, with 0 for O and 1 or L for I. A key that was written without its prefix may
/// begin with `C0D1`.
fn common_prefix(start: impl Iterator<Item = char>, count: usize) -> usize {
    let is_right = |(wanted, symbol): &(u8, char)| {
        u8::try_from(*symbol).is_ok_and(|symbol| {
            let is_alike = count == PREFIX.len() + SYMBOLS && base32::value(symbol) == base32::value(*wanted);
            symbol.eq_ignore_ascii_case(wanted) || is_alike
        })
    };
    PREFIX.bytes().zip(start).take_while(is_right).count()
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
    fn pasted_key_with_padding_is_read() {
        let key = LicenseKey::with_checksum(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        let text = key.reveal();
        let spaces = ['\n', '\t', '\u{a0}', '\u{2003}', '\u{3000}', '\u{feff}', '\u{200b}', '\u{2060}', '\u{202e}'];
        let quotes = ['"', '\'', '`', '“', '”', '„', '‘', '’', '«', '»', '‹', '「', '＂'];
        for padding in spaces.into_iter().chain(quotes) {
            assert_eq!(LicenseKey::parse(&format!("{padding}{text}{padding}")).as_ref(), Ok(&key), "{padding:?}");
            assert_eq!(LicenseKey::parse(&text.replace('-', &format!("-{padding}"))).as_ref(), Ok(&key), "{padding:?}");
        }
        for dash in ["‐", "‑", "‒", "–", "—", "―", "−", "\u{ad}", "﹣", "－", "⁃", " - ", ""] {
            assert_eq!(LicenseKey::parse(&text.replace('-', dash)).as_ref(), Ok(&key), "{dash:?}");
        }
    }

    #[test]
    fn key_prefix_is_read_however_it_is_typed_or_left_out() {
        let key = LicenseKey::generate();
        let text = key.reveal();
        for prefix in ["codi-", "C0D1-", "codl", "c 0 d i ", ""] {
            assert_eq!(LicenseKey::parse(&format!("{prefix}{}", &text[5..])).as_ref(), Ok(&key), "{prefix}");
        }
        // A key that begins as the prefix reads, with and without the prefix before it.
        let mut secret = [7; SECRET];
        secret[..4].copy_from_slice(&[12, 0, 13, 1]);
        let key = LicenseKey::with_checksum(secret);
        let text = key.reveal();
        assert!(text.starts_with("CODI-C0D1-"));
        for typed in [&text[..], &text[5..]] {
            assert_eq!(LicenseKey::parse(typed).as_ref(), Ok(&key));
        }
    }

    #[test]
    fn malformed_key_names_position_and_kind_and_is_not_repeated() {
        let key = LicenseKey::generate().reveal();
        let rest = &key[5..];
        for (wrong, fault) in [
            ("", InvalidLicenseKey::Empty),
            (" \u{feff}-\"", InvalidLicenseKey::Empty),
            ("🔑", InvalidLicenseKey::Prefix(1)),
            ("\u{0}", InvalidLicenseKey::Prefix(1)),
            ("hello", InvalidLicenseKey::Prefix(1)),
            ("co-d", InvalidLicenseKey::Prefix(4)),
            (&key[1..], InvalidLicenseKey::Prefix(1)),
            (&format!("7{}", &rest[2..]), InvalidLicenseKey::Prefix(1)),
            (&format!("<{key}>"), InvalidLicenseKey::Prefix(1)),
            ("CODI", InvalidLicenseKey::TooShort(0)),
            (&key[..43], InvalidLicenseKey::TooShort(31)),
            (&key[..39], InvalidLicenseKey::TooShort(28)),
            (&format!("{key}0"), InvalidLicenseKey::TooLong(33)),
            (&key.replace('-', "_"), InvalidLicenseKey::Symbol(5)),
            (&format!("CODI-U{}", &key[6..]), InvalidLicenseKey::Symbol(5)),
            (&format!("{}ё{}", &key[..7], &key[8..]), InvalidLicenseKey::Symbol(7)),
            (&format!("{}u{}", &rest[..7], &rest[8..]), InvalidLicenseKey::Symbol(7)),
            (&format!("{key}."), InvalidLicenseKey::Symbol(37)),
        ] {
            assert_eq!(LicenseKey::parse(wrong), Err(fault), "{wrong:?}");
        }
        let message = InvalidLicenseKey::Symbol(7).to_string();
        assert!(message.starts_with("symbol 7 is not one of"), "{message}");
    }

    /// The SDK reads keys by the same rules, and is held to the same cases.
    #[test]
    fn license_key_vectors_are_read_as_the_sdk_reads_them() {
        let vectors = include_str!("../../../client/vectors/license_keys.json");
        let vectors: serde_json::Value = serde_json::from_str(vectors).unwrap();
        for case in vectors["cases"].as_array().unwrap() {
            let number = |at: usize| serde_json::Value::from(at);
            let (fault, at) = match LicenseKey::parse(case["text"].as_str().unwrap()) {
                Ok(key) => {
                    assert_eq!(case["key"], key.reveal(), "{case}");
                    continue;
                }
                Err(InvalidLicenseKey::Empty) => ("empty", serde_json::Value::Null),
                Err(InvalidLicenseKey::Prefix(at)) => ("prefix", number(at)),
                Err(InvalidLicenseKey::Symbol(at)) => ("symbol", number(at)),
                Err(InvalidLicenseKey::TooShort(_)) => ("too_short", serde_json::Value::Null),
                Err(InvalidLicenseKey::TooLong(_)) => ("too_long", serde_json::Value::Null),
                Err(InvalidLicenseKey::Mistyped) => ("mistyped", serde_json::Value::Null),
            };
            assert_eq!((&case["fault"], &case["at"]), (&fault.into(), &at), "{case}");
        }
    }

    #[test]
    fn a_key_and_its_hash_are_not_printed() {
        let key = LicenseKey::generate();
        assert_eq!(format!("{key:?} {:?}", key.hash()), "LicenseKey(…) LicenseKeyHash(…)");
    }
}
