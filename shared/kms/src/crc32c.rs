//! CRC32C, the checksum by which Cloud KMS and its clients notice damage on the way (RFC 3720, section 12.1).

/// Castagnoli's polynomial, its bits reversed.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// The checksum as Cloud KMS writes it. Bit by bit: what is checked is at most a kilobyte.
pub(crate) fn crc32c(bytes: &[u8]) -> i64 {
    let shifted = |crc: u32, _| (crc >> 1) ^ (POLYNOMIAL & (crc & 1).wrapping_neg());
    let crc = bytes.iter().fold(u32::MAX, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), shifted));
    i64::from(!crc)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_rfc_3720_come_out() {
        // Appendix B.4, whose bytes are written in the order of transmission.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        let rising: Vec<u8> = (0..32).collect();
        assert_eq!(crc32c(&rising), 0x46dd_794e);
        let falling: Vec<u8> = (0..32).rev().collect();
        assert_eq!(crc32c(&falling), 0x113f_db5c);
    }

    #[test]
    fn nothing_has_the_checksum_zero() {
        assert_eq!(crc32c(b""), 0);
    }
}
