//! Answers that are not to be trusted.

use std::time::Duration;

use coditect_license::{Error, Loss, Rejected, SeatStatus, Trouble};
use serde_json::Value;

use super::{is_held, is_in_danger, is_lost, status};
use crate::peer::{Change, Fault, Peer, Platform, Signer, now, seconds, wait_until};

/// A lease with something changed in it, signed by `signer` in the platform's place.
fn resigned(signer: &Signer, answer: &mut Value, change: impl FnOnce(&mut Value)) {
    use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
    let payload = answer["lease"].as_str().unwrap().split('.').nth(1).unwrap();
    let mut claims = serde_json::from_slice(&BASE64_URL_SAFE_NO_PAD.decode(payload).unwrap()).unwrap();
    change(&mut claims);
    answer["lease"] = signer.token("coditect-lease+jwt", &claims).into();
}

fn changed_claim(name: &'static str, value: impl Into<Value> + Send + 'static) -> Change {
    Box::new(move |platform: &Platform, answer: &mut Value| resigned(&platform.leaf, answer, |claims| claims[name] = value.into()))
}

fn by_nobody(_: &Platform, answer: &mut Value) {
    resigned(&Signer::leaf(), answer, |_| {});
}

#[tokio::test]
async fn forged_answers_to_an_acquire_are_refused() {
    let forgeries: Vec<(Change, &str)> = vec![
        (changed_claim("nonce", "an-old-one"), "wrong_nonce"),
        (changed_claim("nonce", Value::Null), "missing_nonce"),
        (changed_claim("hardware_sha256", "another"), "wrong_hardware"),
        (changed_claim("session_id", "ses_another"), "wrong_session"),
        (changed_claim("license_id", "lic_another"), "wrong_license"),
        (changed_claim("tenant_id", "ten_another"), "wrong_tenant"),
        (changed_claim("exp", seconds(now()) + 10_000_000), "outlives_certificate"),
        (Box::new(by_nobody), "unknown_leaf"),
        (Box::new(|_, answer| answer["lease"] = "ey.ey.ey".into()), "malformed"),
        (
            Box::new(|platform, answer| {
                let license = Signer::root("another-root").token("coditect-license+jwt", &platform.license);
                answer["license_data"]["signature"] = license.into();
            }),
            "unknown_root",
        ),
        (Box::new(|_, answer| answer["license_data"]["signature"] = answer["lease"].clone()), "wrong_type"),
    ];
    for (forgery, code) in forgeries {
        let peer = Peer::start(360).await;
        peer.change("acquire", forgery);
        let error = peer.client().acquire().await.unwrap_err();
        let Error::Forged(rejected) = &error else { panic!("{code}: {error}") };
        assert_eq!(rejected.code(), code);
    }
}

#[tokio::test]
async fn a_forged_heartbeat_counts_for_nothing() {
    let peer = Peer::fleeting().await;
    let seat = peer.client().acquire().await.unwrap();
    let lease = seat.lease();
    for _ in 0..100 {
        peer.change("heartbeat", by_nobody);
    }
    let mut watched = seat.status();
    let danger = status(&mut watched, is_in_danger).await;
    assert!(matches!(danger, SeatStatus::InDanger { why: Trouble::Forged(Rejected::UnknownLeaf), .. }), "{danger:?}");
    let lost = status(&mut watched, is_lost).await;
    assert!(matches!(lost, SeatStatus::Lost { why: Loss::Silent(Trouble::Forged(_)) }), "{lost:?}");
    assert_eq!(seat.lease(), lease);
}

#[tokio::test]
async fn one_forged_heartbeat_is_followed_by_a_true_one() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    peer.change("heartbeat", |platform, answer| resigned(&platform.leaf, answer, |claims| claims["nonce"] = "old".into()));
    let mut watched = seat.status();
    status(&mut watched, is_in_danger).await;
    status(&mut watched, is_held).await;
}

#[tokio::test]
async fn a_new_leaf_is_learned_of_when_it_signs() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    assert_eq!(peer.calls("keys").len(), 1, "known keys are not asked for again");
    peer.platform(Platform::rotate);
    let first = seat.lease();
    wait_until("a lease by the new leaf", || seat.lease() != first).await;
    assert!(is_held(&seat.status().borrow()));
    let asked = peer.calls("keys");
    assert_eq!(asked.len(), 2);
    assert_ne!(asked[1].body["if_none_match"], "", "only what has changed is asked for");
}

#[tokio::test]
async fn keys_that_cannot_be_had_are_no_forgery() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    peer.platform(Platform::rotate);
    peer.fault("keys", [Fault::LoseAnswer, Fault::LoseAnswer]);
    let mut watched = seat.status();
    let danger = status(&mut watched, is_in_danger).await;
    assert!(matches!(danger, SeatStatus::InDanger { why: Trouble::Unreachable(_), .. }), "{danger:?}");
    status(&mut watched, is_held).await;
}

#[tokio::test]
async fn a_revoked_leaf_is_refused_and_an_older_list_does_not_bring_it_back() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let client = || peer.builder().state(folder.path().join("state.json")).build().unwrap();
    let old = peer.platform(|platform| platform.revocations.clone());
    peer.platform(|platform| {
        let kid = platform.leaf.kid.clone();
        platform.revoke(2, &[&kid]);
    });
    assert!(matches!(client().acquire().await.unwrap_err(), Error::Forged(Rejected::LeafRevoked)));
    for older in [old, None] {
        peer.platform(|platform| platform.revocations = older);
        assert!(matches!(client().acquire().await.unwrap_err(), Error::Forged(Rejected::LeafRevoked)));
    }
}

#[tokio::test]
async fn what_an_earlier_root_has_signed_does_not_stand_in_the_way_of_todays() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let client = || peer.builder().state(folder.path().join("state.json")).build().unwrap();
    peer.platform(|platform| platform.revoke(9, &[]));
    client().acquire().await.unwrap().detach().await;
    peer.platform(|platform| {
        platform.root = Signer::root("another-root");
        platform.revoke(1, &[]);
        platform.published = vec![platform.certificate(&platform.leaf)];
    });
    let client = client();
    let seat = client.acquire().await.unwrap();
    assert_eq!(client.verify_offline().unwrap().lease, seat.lease());
}

#[tokio::test]
async fn a_forged_revocation_list_is_refused() {
    let peer = Peer::start(360).await;
    let claims = serde_json::json!({"iat": 1, "version": 9, "revoked": []});
    let forged = Signer::root("another-root").token("coditect-revocations+jwt", &claims);
    // Whenever it is asked for: an answer that comes too late on a busy machine is asked for again.
    peer.platform(|platform| platform.revocations = Some(forged));
    let error = peer.client().acquire().await.unwrap_err();
    assert!(matches!(error, Error::Forged(Rejected::BadRevocationList(_))), "{error}");
}

#[tokio::test]
async fn a_genuine_answer_to_a_machine_whose_clock_is_wrong_is_told_from_a_forged_one() {
    let peer = Peer::start(360).await;
    let slow = peer.builder().wall_clock(|| now() - Duration::from_secs(7200)).build().unwrap();
    let error = slow.acquire().await.unwrap_err();
    assert!(matches!(&error, Error::WrongClock { by, ahead: false } if by.as_secs().abs_diff(7200) < 60), "{error}");
    let fast = peer.builder().wall_clock(|| now() + Duration::from_secs(1_000_000)).build().unwrap();
    let error = fast.acquire().await.unwrap_err();
    assert!(matches!(&error, Error::WrongClock { ahead: true, .. }), "{error}");
    let near = peer.builder().wall_clock(|| now() - Duration::from_secs(30)).build().unwrap();
    assert!(near.acquire().await.is_ok());
    let told = peer.builder().wall_clock(|| now() - Duration::from_secs(7200)).skew(Duration::from_secs(8000)).build().unwrap();
    assert!(told.acquire().await.is_ok());
}
