//! Numbers that nobody can foresee: nonces, and the jitter that keeps a fleet from calling in step.

use std::time::Duration;

use aws_lc_rs::rand;
use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};

/// 128 random bits as text.
pub(crate) fn token() -> String {
    BASE64_URL_SAFE_NO_PAD.encode(bytes::<16>())
}

/// A time between these two, each equally likely.
pub(crate) fn between(least: Duration, most: Duration) -> Duration {
    let share = f64::from(u32::from_le_bytes(bytes())) / f64::from(u32::MAX);
    least + most.saturating_sub(least).mul_f64(share)
}

fn bytes<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    rand::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_stays_between_its_bounds() {
        let (least, most) = (Duration::from_millis(50), Duration::from_millis(60));
        for _ in 0..1000 {
            let time = between(least, most);
            assert!(least <= time && time <= most, "{time:?}");
        }
        assert_eq!(between(most, least), most);
    }

    #[test]
    fn no_two_tokens_are_alike() {
        assert_ne!(token(), token());
        assert_eq!(token().len(), 22);
    }
}
