//! License keys as people type and paste them, read into the one form in which they are sent.
//!
//! The platform reads them by the same rules; `vectors/license_keys.json` holds both to them.

use crate::{Error, FieldFault};

/// Symbols after the prefix: 26 of the secret, and a checksum of six.
const SYMBOLS: usize = 32;
const CHECKSUM: usize = 6;
const PREFIX: [char; 4] = ['C', 'O', 'D', 'I'];
/// Crockford's base 32.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Bech32m's constant (BIP-350).
const BECH32M: u32 = 0x2bc8_30a3;

/// Why a text is not a license key. No message repeats any of the text.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
enum InvalidKey {
    #[error("is empty: a license key is CODI- and 32 letters and digits")]
    Empty,
    #[error(
        "does not begin with CODI-: character {0}, hyphens and spaces not counted, is the first that is wrong. \
         A license key is CODI- and 32 letters and digits: copy that alone"
    )]
    Prefix(usize),
    #[error(
        "has a wrong character: number {0}, hyphens and spaces not counted, is not one of 0-9 and A-Z \
         without U. Copy the key again"
    )]
    Symbol(usize),
    #[error("is cut off: it has {0} letters and digits after CODI-, and a license key has 32. Copy the key again")]
    TooShort(usize),
    #[error("is too long: it has {0} letters and digits after CODI-, and a license key has 32. Copy the key again")]
    TooLong(usize),
    #[error("is mistyped: its checksum does not match. Compare it with the key that you were given")]
    Mistyped,
}

impl InvalidKey {
    /// What the test vectors call it, and the position that they name.
    #[cfg(test)]
    fn named(self) -> (&'static str, Option<usize>) {
        match self {
            Self::Empty => ("empty", None),
            Self::Prefix(at) => ("prefix", Some(at)),
            Self::Symbol(at) => ("symbol", Some(at)),
            Self::TooShort(_) => ("too_short", None),
            Self::TooLong(_) => ("too_long", None),
            Self::Mistyped => ("mistyped", None),
        }
    }
}

/// Returns a license key as the platform shows it, `CODI-` and eight groups of four symbols, from a text that a person typed or pasted: in
/// either case, with hyphens or without, with white space, quotes and invisible characters in it or around it.
///
/// # Errors
/// [`Error::InvalidRequest`] if it is no license key. The message names the position of what is wrong, and repeats nothing of the key.
pub fn canonical_license_key(text: &str) -> Result<String, Error> {
    canonical(text).map_err(|invalid| {
        let fault = FieldFault { field: "license_key".to_owned(), message: invalid.to_string() };
        Error::InvalidRequest { fields: vec![fault] }
    })
}

/// Returns the key as the platform shows it: `CODI-` and eight groups of four symbols.
fn canonical(text: &str) -> Result<String, InvalidKey> {
    let symbols: Vec<char> = text.chars().filter(|symbol| symbol.is_ascii_alphanumeric() || !is_passed_over(*symbol)).collect();
    if symbols.is_empty() {
        return Err(InvalidKey::Empty);
    }
    let prefix = match common_prefix(&symbols) {
        whole if whole == PREFIX.len() => whole,
        _ if symbols.len() == SYMBOLS => 0,
        right => return Err(InvalidKey::Prefix(right + 1)),
    };
    let mut values = Vec::with_capacity(SYMBOLS);
    for (at, symbol) in symbols.iter().enumerate().skip(prefix) {
        values.push(value(*symbol).ok_or(InvalidKey::Symbol(at + 1))?);
    }
    match values.len() {
        SYMBOLS => {}
        fewer if fewer < SYMBOLS => return Err(InvalidKey::TooShort(fewer)),
        more => return Err(InvalidKey::TooLong(more)),
    }
    if remainder(&values) != BECH32M {
        return Err(InvalidKey::Mistyped);
    }
    let mut key: String = PREFIX.iter().collect();
    for group in values.chunks(4) {
        key.push('-');
        key.extend(group.iter().map(|&value| char::from(ALPHABET[usize::from(value)])));
    }
    Ok(key)
}

/// How many symbols are the prefix's, from the first on; in a text of the right length also what looks like them.
fn common_prefix(symbols: &[char]) -> usize {
    let is_whole = symbols.len() == PREFIX.len() + SYMBOLS;
    let is_right = |wanted: char, symbol: char| symbol.eq_ignore_ascii_case(&wanted) || (is_whole && value(symbol) == value(wanted));
    PREFIX.iter().zip(symbols).take_while(|(wanted, symbol)| is_right(**wanted, **symbol)).count()
}

/// The value of a symbol, in either case; O is read as 0, I and L as 1.
fn value(symbol: char) -> Option<u8> {
    let symbol = match u8::try_from(symbol).ok()?.to_ascii_uppercase() {
        b'O' => b'0',
        b'I' | b'L' => b'1',
        other => other,
    };
    ALPHABET.iter().position(|known| *known == symbol).and_then(|at| u8::try_from(at).ok())
}

/// What BIP-173 calls `polymod`, over the expanded prefix and the symbols with their checksum.
fn remainder(values: &[u8]) -> u32 {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    debug_assert!(values.len() > CHECKSUM);
    let prefix = || b"codi".iter();
    let expanded = prefix().map(|byte| byte >> 5).chain([0]).chain(prefix().map(|byte| byte & 31));
    expanded.chain(values.iter().copied()).fold(1, |remainder, value| {
        let top = remainder >> 25;
        let shifted = ((remainder & 0x01ff_ffff) << 5) ^ u32::from(value);
        let generators = GENERATORS.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1);
        generators.fold(shifted, |sum, (_, generator)| sum ^ generator)
    })
}

fn is_passed_over(symbol: char) -> bool {
    symbol.is_whitespace() || is_dash(symbol) || is_quote(symbol) || is_invisible(symbol)
}

/// Hyphens, dashes and minus signs: the category `Pd` of Unicode, and what looks like one.
const fn is_dash(symbol: char) -> bool {
    matches!(
        symbol,
        '-' | '\u{ad}'
            | '\u{2d7}'
            | '\u{58a}'
            | '\u{5be}'
            | '\u{1400}'
            | '\u{1806}'
            | '\u{2010}'..='\u{2015}'
            | '\u{2043}'
            | '\u{2212}'
            | '\u{2e17}'
            | '\u{2e1a}'
            | '\u{2e3a}'..='\u{2e3b}'
            | '\u{2e40}'
            | '\u{2e5d}'
            | '\u{301c}'
            | '\u{3030}'
            | '\u{30a0}'
            | '\u{fe31}'..='\u{fe32}'
            | '\u{fe58}'
            | '\u{fe63}'
            | '\u{ff0d}'
            | '\u{10d6e}'
            | '\u{10ead}'
    )
}

/// Quotation marks, apostrophes and primes.
const fn is_quote(symbol: char) -> bool {
    matches!(
        symbol,
        '"' | '\''
            | '`'
            | '\u{ab}'
            | '\u{b4}'
            | '\u{bb}'
            | '\u{2bb}'..='\u{2bd}'
            | '\u{2018}'..='\u{201f}'
            | '\u{2032}'..='\u{2037}'
            | '\u{2039}'..='\u{203a}'
            | '\u{300c}'..='\u{300f}'
            | '\u{301d}'..='\u{301f}'
            | '\u{ff02}'
            | '\u{ff07}'
    )
}

/// Characters that show nothing: of no width, or telling in which direction text runs.
const fn is_invisible(symbol: char) -> bool {
    matches!(
        symbol,
        '\u{34f}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Deserialize)]
    struct Vectors {
        cases: Vec<Case>,
    }

    #[derive(Deserialize)]
    struct Case {
        name: String,
        text: String,
        key: Option<String>,
        fault: Option<String>,
        at: Option<usize>,
    }

    #[test]
    fn license_keys_are_read_as_the_vectors_say() {
        let vectors: Vectors = serde_json::from_str(include_str!("../vectors/license_keys.json")).unwrap();
        for case in vectors.cases {
            let wanted = case.key.ok_or((case.fault.as_deref(), case.at));
            let found = canonical(&case.text).map_err(InvalidKey::named);
            assert_eq!(found.map_err(|(fault, at)| (Some(fault), at)), wanted, "{}", case.name);
        }
    }
}
