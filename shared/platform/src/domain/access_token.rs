//! Personal access tokens: 160 random bits by which a machine acts for a person, with a checksum that tells a torn one at once.

use std::fmt;

use aws_lc_rs::{digest, rand};

use super::{base32, bech32m};

/// How every token begins, so that people and secret scanners know one when they see it.
const PREFIX: &str = "cdt_";
/// Random bytes of a token.
const SECRET: usize = 20;
/// Symbols that write them.
const SYMBOLS: usize = 32;

/// A personal access token: `cdt_`, 32 symbols of Crockford's base 32, and six of a Bech32m checksum.
///
/// Made to be copied, not typed: only the very text that was shown is read.
#[derive(Clone, Eq, PartialEq)]
pub struct AccessToken([u8; SECRET]);

/// A text that is no personal access token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("is not a personal access token: cdt_ and 38 lower-case letters and digits are wanted")]
pub struct InvalidAccessToken;

impl AccessToken {
    /// A new token.
    ///
    /// # Panics
    /// If the operating system has no randomness to give.
    #[must_use]
    pub fn generate() -> Self {
        let mut secret = [0; SECRET];
        rand::fill(&mut secret).expect("the operating system gives randomness");
        Self(secret)
    }

    /// Reads a token as it was shown.
    ///
    /// # Errors
    /// [`InvalidAccessToken`] if it is none, or not whole.
    pub fn parse(text: &str) -> Result<Self, InvalidAccessToken> {
        let (symbols, checksum) =
            text.strip_prefix(PREFIX).and_then(|body| body.as_bytes().split_at_checked(SYMBOLS)).ok_or(InvalidAccessToken)?;
        let token = Self(base32::decode(symbols).ok_or(InvalidAccessToken)?);
        if checksum == token.checksum() { Ok(token) } else { Err(InvalidAccessToken) }
    }

    /// What it is stored and looked up as: SHA-256. A token has 160 random bits, so no salt is needed.
    #[must_use]
    pub fn hash(&self) -> [u8; 32] {
        let mut context = digest::Context::new(&digest::SHA256);
        context.update(b"coditect access token\0");
        context.update(&self.0);
        let mut hash = [0; 32];
        hash.copy_from_slice(context.finish().as_ref());
        hash
    }

    /// Its last four symbols, by which people tell tokens apart.
    #[must_use]
    pub fn last_four(&self) -> String {
        self.checksum()[bech32m::SYMBOLS - 4..].iter().map(|&symbol| char::from(symbol)).collect()
    }

    /// The token as text: to be shown once, to whom it is for.
    #[must_use]
    pub fn reveal(&self) -> String {
        let symbols = self.symbols().into_iter().chain(self.checksum()).map(char::from);
        PREFIX.chars().chain(symbols).collect()
    }

    fn symbols(&self) -> [u8; SYMBOLS] {
        base32::encode(&self.0)
    }

    fn checksum(&self) -> [u8; bech32m::SYMBOLS] {
        let values = self.symbols().map(|symbol| base32::value(symbol).expect("what was written is of the alphabet"));
        bech32m::checksum(PREFIX, &values).map(base32::symbol)
    }
}

impl fmt::Debug for AccessToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AccessToken(…)")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_token_is_read_as_it_was_written_and_no_other_text_is(secret: [u8; SECRET], at in 0_usize..42, symbol in 33_u8..127) {
            let token = AccessToken(secret);
            let text = token.reveal();
            prop_assert_eq!(text.len(), 42);
            prop_assert!(text.ends_with(&token.last_four()));
            let mut wrong = text.clone().into_bytes();
            wrong[at] = symbol;
            let wrong = String::from_utf8(wrong).unwrap();
            prop_assert_eq!(AccessToken::parse(&wrong).is_ok(), wrong == text);
            prop_assert_eq!(AccessToken::parse(&text), Ok(token));
        }
    }

    /// Tokens that are out there, and their stored hashes, must stay readable.
    #[test]
    fn the_text_and_the_hash_are_those_of_the_first_day() {
        let token = AccessToken(std::array::from_fn(|at| u8::try_from(at).unwrap()));
        assert_eq!(token.reveal(), "cdt_000g40r40m30e209185gr38e1w8124gk7tbtz3");
        assert_eq!(token.hash()[..4], [0x65, 0xbe, 0x00, 0x40]);
    }

    #[test]
    fn what_is_no_token_is_not_read() {
        let text = AccessToken::generate().reveal();
        for wrong in ["", "cdt_", &text[..41], &text[4..], &format!("{text}0"), &text.to_uppercase(), &format!(" {text}"), "cdt_🔑"] {
            assert_eq!(AccessToken::parse(wrong), Err(InvalidAccessToken), "{wrong}");
        }
    }

    #[test]
    fn tokens_differ_and_are_not_printed() {
        assert_ne!(AccessToken::generate(), AccessToken::generate());
        assert_eq!(format!("{:?}", AccessToken::generate()), "AccessToken(…)");
    }
}
