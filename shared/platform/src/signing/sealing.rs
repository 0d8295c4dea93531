//! Sealing: what must not be read where it rests, such as the private half of a leaf in PostgreSQL, is encrypted by a key that is not there.

use std::{fmt, str::FromStr};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Why something cannot be unsealed: it was sealed by another key, as something else, or was tampered with.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("it cannot be unsealed: SEALING_KEY is another one than it was sealed with, or it was tampered with")]
pub struct CannotUnseal;

/// AES-256-GCM keys (NIST SP 800-38D): the first seals, all unseal, so that a key can be changed without a gap.
#[derive(Clone)]
pub struct SealingKey(Vec<[u8; 32]>);

/// Why a text is no sealing key. Never repeats it.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be 32 bytes in base64 (openssl rand -base64 32 makes them); several, the newest first, with commas between them")]
pub struct InvalidSealingKey;

impl FromStr for SealingKey {
    type Err = InvalidSealingKey;

    fn from_str(text: &str) -> Result<Self, InvalidSealingKey> {
        let key = |text: &str| BASE64.decode(text.trim()).ok().and_then(|bytes| bytes.try_into().ok()).ok_or(InvalidSealingKey);
        text.split(',').map(key).collect::<Result<_, _>>().map(Self)
    }
}

impl fmt::Debug for SealingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl SealingKey {
    /// Seals a secret as something: nonce, ciphertext, tag. Sealed as one thing it does not open as another.
    ///
    /// # Errors
    /// If there is no randomness to be had.
    pub fn seal(&self, what: &str, secret: &[u8]) -> Result<Vec<u8>, aws_lc_rs::error::Unspecified> {
        let [first, ..] = &self.0[..] else { return Err(aws_lc_rs::error::Unspecified) };
        let mut text = secret.to_vec();
        let nonce = RandomizedNonceKey::new(&AES_256_GCM, first)?.seal_in_place_append_tag(Aad::from(what), &mut text)?;
        Ok([&nonce.as_ref()[..], &text].concat())
    }

    /// Opens what was sealed as this.
    ///
    /// # Errors
    /// [`CannotUnseal`].
    pub fn unseal(&self, what: &str, sealed: &[u8]) -> Result<Vec<u8>, CannotUnseal> {
        let (nonce, text) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(CannotUnseal)?;
        let open = |key: &[u8; 32]| {
            let mut text = text.to_vec();
            let key = RandomizedNonceKey::new(&AES_256_GCM, key).ok()?;
            let length = key.open_in_place(Nonce::from(nonce), Aad::from(what), &mut text).ok()?.len();
            text.truncate(length);
            Some(text)
        };
        self.0.iter().find_map(open).ok_or(CannotUnseal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        BASE64.encode([byte; 32])
    }

    #[test]
    fn what_is_sealed_opens_as_what_it_was_alone_and_untouched() {
        let sealing: SealingKey = key(1).parse().unwrap();
        let sealed = sealing.seal("leaf", b"a secret").unwrap();
        assert_ne!(sealed, sealing.seal("leaf", b"a secret").unwrap(), "no nonce serves twice");
        assert_eq!(sealing.unseal("leaf", &sealed).unwrap(), b"a secret");
        assert_eq!(sealing.unseal("other", &sealed), Err(CannotUnseal));
        for at in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[at] ^= 1;
            assert_eq!(sealing.unseal("leaf", &altered), Err(CannotUnseal), "byte {at}");
        }
        assert_eq!(sealing.unseal("leaf", &sealed[..5]), Err(CannotUnseal));
    }

    #[test]
    fn a_key_is_changed_by_putting_the_new_one_first() {
        let old: SealingKey = key(1).parse().unwrap();
        let both: SealingKey = format!("{}, {}", key(2), key(1)).parse().unwrap();
        let new: SealingKey = key(2).parse().unwrap();
        assert_eq!(both.unseal("leaf", &old.seal("leaf", b"x").unwrap()).unwrap(), b"x");
        assert_eq!(new.unseal("leaf", &both.seal("leaf", b"x").unwrap()).unwrap(), b"x");
        assert_eq!(new.unseal("leaf", &old.seal("leaf", b"x").unwrap()), Err(CannotUnseal));
    }

    #[test]
    fn a_sealing_key_is_32_bytes_and_is_not_printed() {
        for wrong in ["", "short", &BASE64.encode([1; 31]), &format!("{},", key(1))] {
            assert!(wrong.parse::<SealingKey>().is_err());
        }
        assert_eq!(format!("{:?}", key(1).parse::<SealingKey>().unwrap()), "[redacted]");
    }
}
