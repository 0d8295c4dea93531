//! The checksum of BIP-350 over 5-bit symbols: it finds every error in up to four of them.

/// Symbols of a checksum.
pub(super) const SYMBOLS: usize = 6;
/// Bech32m's constant, BIP-350.
const BECH32M: u32 = 0x2bc8_30a3;

/// The checksum of these symbol values, bound to a prefix whose case does not matter.
pub(super) fn checksum(prefix: &str, values: &[u8]) -> [u8; SYMBOLS] {
    let remainder = polymod(prefix, values.iter().copied().chain([0; SYMBOLS])) ^ BECH32M;
    std::array::from_fn(|at| (remainder >> (5 * (SYMBOLS - 1 - at))).to_le_bytes()[0] & 31)
}

/// The remainder that BIP-173 calls `polymod`, started from the expanded prefix.
fn polymod(prefix: &str, values: impl Iterator<Item = u8>) -> u32 {
    const GENERATORS: [u32; 5] = [0x3b6a_57b2, 0x2650_8e6d, 0x1ea1_19fa, 0x3d42_33dd, 0x2a14_62b3];
    let prefix = || prefix.bytes().map(|byte| byte.to_ascii_lowercase());
    let expanded = prefix().map(|byte| byte >> 5).chain([0]).chain(prefix().map(|byte| byte & 31));
    expanded.chain(values).fold(1, |remainder, value| {
        let top = remainder >> 25;
        let shifted = ((remainder & 0x01ff_ffff) << 5) ^ u32::from(value);
        GENERATORS.iter().enumerate().filter(|(bit, _)| top >> bit & 1 == 1).fold(shifted, |sum, (_, generator)| sum ^ generator)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_bip_350() {
        // The test vectors `A1LQFN3A` and `?1v759aa`, by BIP-173's own alphabet.
        let read = |text: &str| -> Vec<u8> {
            let alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l";
            text.chars().map(|symbol| u8::try_from(alphabet.find(symbol).unwrap()).unwrap()).collect()
        };
        assert_eq!(checksum("A", &[]).to_vec(), read("lqfn3a"));
        assert_eq!(checksum("?", &[]).to_vec(), read("v759aa"));
    }
}
