//! Whatever single bit is turned, nothing of it is believed.

use coditect_license::{Expected, PublishedKeys};
use proptest::{prelude::*, sample::Index};

use crate::vectors::Vectors;

/// Every text that differs from `token` in one bit, as far as it is a text at all.
fn flips(token: &str) -> impl Iterator<Item = String> {
    (0..token.len() * 8).filter_map(|bit| {
        let mut bytes = token.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        String::from_utf8(bytes).ok()
    })
}

#[test]
fn a_license_with_a_bit_turned_is_refused() {
    let vectors = Vectors::load("license");
    let case = vectors.case("valid");
    let verifier = vectors.verifier(case);
    assert!(verifier.license(&case.token, &Expected::default()).is_ok());
    for token in flips(&case.token) {
        assert!(verifier.license(&token, &Expected::default()).is_err(), "{token}");
    }
}

#[test]
fn a_certificate_with_a_bit_turned_is_refused() {
    let vectors = Vectors::load("certificate");
    let case = vectors.case("valid");
    let verifier = vectors.verifier(case);
    assert!(verifier.certificate(&case.token, case.now()).is_ok());
    for token in flips(&case.token) {
        assert!(verifier.certificate(&token, case.now()).is_err(), "{token}");
    }
}

#[test]
fn a_lease_with_a_bit_turned_is_refused() {
    let vectors = Vectors::load("lease");
    let case = vectors.case("valid_least");
    let (verifier, published) = (vectors.verifier(case), case.published());
    assert!(verifier.lease(&case.token, &published, &Expected::default(), case.now()).is_ok());
    for token in flips(&case.token) {
        assert!(verifier.lease(&token, &published, &Expected::default(), case.now()).is_err(), "{token}");
    }
}

#[test]
fn a_lease_under_a_certificate_with_a_bit_turned_is_refused() {
    let vectors = Vectors::load("lease");
    let case = vectors.case("valid_least");
    let verifier = vectors.verifier(case);
    let [certificate] = &*case.published().certificates else { panic!("one certificate") };
    for certificate in flips(certificate) {
        let published = PublishedKeys { certificates: vec![certificate], revocations: None };
        assert!(verifier.lease(&case.token, &published, &Expected::default(), case.now()).is_err());
    }
}

/// `token` with up to 40 bytes from a place on replaced by another text.
fn spliced(token: &str, (from, length, text): &(Index, usize, String)) -> String {
    let from = from.index(token.len());
    let to = (from + length).min(token.len());
    format!("{}{text}{}", &token[..from], &token[to..])
}

proptest! {
    #[test]
    fn a_lease_with_any_part_replaced_is_refused(
        which in 0..3,
        edit in (any::<Index>(), 0_usize..40, prop_oneof!["[A-Za-z0-9_-]{0,40}", "[.=+ ]{0,3}", ".{0,40}"]),
    ) {
        let vectors = Vectors::load("lease");
        let case = vectors.case("valid_other_leaf_revoked");
        let (mut token, mut published) = (case.token.clone(), case.published());
        let changed = match which {
            0 => &mut token,
            // The other certificate may be any text.
            1 => published.certificates.last_mut().expect("the leaf's certificate"),
            _ => published.revocations.as_mut().expect("a list"),
        };
        let before = changed.clone();
        *changed = spliced(&before, &edit);
        let same = *changed == before;
        let verdict = vectors.verifier(case).lease(&token, &published, &case.expected(), case.now());
        prop_assert_eq!(verdict.is_ok(), same);
    }
}
