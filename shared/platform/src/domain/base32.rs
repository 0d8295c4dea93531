//! Crockford's base 32 for ids of fixed size: no letters that look alike, no case that matters to a person.

/// The 32 symbols in order, lower case (<https://www.crockford.com/base32.html>).
const SYMBOLS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// The value of an upper- or lower-case symbol; O is read as 0, I and L as 1.
pub(super) const fn value(symbol: u8) -> Option<u8> {
    let symbol = match symbol.to_ascii_lowercase() {
        b'o' => b'0',
        b'i' | b'l' => b'1',
        other => other,
    };
    let mut at = 0;
    while at < SYMBOLS.len() {
        if SYMBOLS[at] == symbol {
            #[expect(clippy::cast_possible_truncation, reason = "there are 32")]
            return Some(at as u8);
        }
        at += 1;
    }
    None
}

/// The lower-case symbol of a value below 32.
pub(super) const fn symbol(value: u8) -> u8 {
    SYMBOLS[(value & 31) as usize]
}

/// Symbol values by byte, 255 for what is none: only the canonical lower case.
const VALUES: [u8; 256] = {
    let mut values = [255; 256];
    let mut at = 0;
    while at < 32 {
        #[expect(clippy::cast_possible_truncation, reason = "there are 32")]
        {
            values[SYMBOLS[at] as usize] = at as u8;
        }
        at += 1;
    }
    values
};

/// The fewest bytes that are a whole number of symbols, and how many these are.
const BYTES_OF_GROUP: usize = 5;
const SYMBOLS_OF_GROUP: usize = 8;

/// Writes `bytes` as `N` symbols, the last padded with zero bits.
pub(super) fn encode<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut text = [b'0'; N];
    for (bytes, text) in bytes.chunks(BYTES_OF_GROUP).zip(text.chunks_mut(SYMBOLS_OF_GROUP)) {
        let mut bits = [0; 8];
        bits[..bytes.len()].copy_from_slice(bytes);
        let mut bits = u64::from_be_bytes(bits);
        for place in text {
            bits = bits.rotate_left(5);
            *place = SYMBOLS[(bits & 31) as usize];
        }
    }
    text
}

/// Reads what [`encode`] has written, and nothing else.
pub(super) fn decode<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    if text.len() != (N * 8).div_ceil(5) {
        return None;
    }
    let mut bytes = [0; N];
    for (text, bytes) in text.chunks(SYMBOLS_OF_GROUP).zip(bytes.chunks_mut(BYTES_OF_GROUP)) {
        let (mut bits, mut seen) = (0_u64, 0);
        for (at, &symbol) in text.iter().enumerate() {
            let value = VALUES[symbol as usize];
            seen |= value;
            bits |= u64::from(value) << (59 - 5 * at);
        }
        let bits = bits.to_be_bytes();
        let (read, padding) = bits.split_at(bytes.len());
        // No value has more than five bits.
        if seen > 31 || padding != &[0; 8][..padding.len()] {
            return None;
        }
        bytes.copy_from_slice(read);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_written_can_be_read(bytes: [u8; 16]) {
            let text: [u8; 26] = encode(&bytes);
            prop_assert_eq!(decode::<16>(&text), Some(bytes));
        }
    }

    #[test]
    fn only_the_canonical_text_is_read() {
        assert_eq!(decode::<1>(b"zw"), Some([255]));
        for wrong in [&b"zx"[..], b"ZW", b"z", b"zw0", b"z!"] {
            assert_eq!(decode::<1>(wrong), None);
        }
    }
}
