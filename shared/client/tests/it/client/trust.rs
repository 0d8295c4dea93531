//! Answers that are not to be trusted.

use std::time::Duration;

use coditect_license::{Error, Loss, Rejected, RootKey, SeatStatus, Trouble};
use serde_json::Value;

use super::{is_held, is_in_danger, is_lost, status};
use crate::peer::{Change, Fault, KEY, Peer, Platform, Signer, now, problem, seconds, wait_until};

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
    peer.platform(|platform| platform.is_old = true);
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
async fn certificate_that_comes_with_a_lease_makes_the_keys_unneeded() {
    let peer = Peer::beating().await;
    peer.fault("keys", (0..100).map(|_| Fault::Say(problem(429, "too_many_requests"), Some(3600))));
    let folder = tempfile::tempdir().unwrap();
    let client = peer.builder().state(folder.path().join("state.json")).build().unwrap();
    let seat = client.acquire().await.unwrap();
    peer.platform(Platform::rotate);
    let first = seat.lease();
    wait_until("a lease by the new leaf", || seat.lease() != first).await;
    let (leaf, before) = (peer.platform(|platform| platform.leaf.kid.clone()), peer.calls("heartbeat").len());
    wait_until("a heartbeat that knows the leaf", || peer.calls("heartbeat").len() > before).await;
    assert_eq!(peer.calls("heartbeat")[before].body["known_leaf"], *leaf);
    assert_eq!(peer.calls("keys").len(), 1, "the platform asked to be left alone");
    assert!(is_held(&seat.status().borrow()));
    seat.detach().await;
    assert_eq!(client.verify_offline().unwrap().license.license_id, "lic_1", "the certificate is kept with the lease");
}

#[tokio::test]
async fn keys_that_cannot_be_had_never_cost_a_seat_that_was_renewed() {
    for fault in
        [|| Fault::Say(problem(429, "too_many_requests"), Some(3600)), || Fault::Say(problem(503, "x"), None), || Fault::LoseAnswer]
    {
        let peer = Peer::fleeting().await;
        peer.platform(|platform| platform.is_old = true);
        let seat = peer.client().acquire().await.unwrap();
        peer.platform(Platform::rotate);
        peer.fault("keys", (0..100).map(|_| fault()));
        let first = seat.lease();
        let mut watched = seat.status();
        // Beyond the life of the lease that could be verified.
        while seconds(now()) <= first.exp {
            watched.changed().await.unwrap();
            assert!(is_held(&watched.borrow()), "{:?}", watched.borrow());
        }
        assert_eq!((seat.lease(), peer.alive()), (first, 1), "what was not verified is not shown");
    }
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

#[tokio::test]
async fn refused_answer_releases_its_session_and_only_that() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let builder = || peer.builder().state(folder.path().join("state.json"));
    let other = builder().build().unwrap().acquire().await.unwrap();

    let wrong_root = RootKey::from_jwk(&Signer::root("another-root").jwk.to_string()).unwrap();
    let wrong = coditect_license::Client::builder(&peer.url, KEY).hardware_id("device-1").user_email("ada@example.com").root(wrong_root);
    let wrong = wrong.state(folder.path().join("state.json")).build().unwrap();
    assert!(matches!(wrong.acquire().await.unwrap_err(), Error::Forged(Rejected::UnknownRoot)));
    assert_eq!(peer.alive(), 1);

    let slow = builder().wall_clock(|| now() - Duration::from_secs(7200)).build().unwrap();
    assert!(matches!(slow.acquire().await.unwrap_err(), Error::WrongClock { .. }));
    assert_eq!((peer.alive(), peer.calls("release").len()), (1, 2));
    assert!(peer.platform(|platform| platform.lives(other.session_id())));
}

#[tokio::test]
async fn refused_answer_of_an_older_platform_does_not_end_a_live_program() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.is_old = true);
    let folder = tempfile::tempdir().unwrap();
    let builder = || peer.builder().state(folder.path().join("state.json"));
    let other = builder().build().unwrap().acquire().await.unwrap();
    let slow = || builder().wall_clock(|| now() - Duration::from_secs(7200)).build().unwrap();
    assert!(matches!(slow().acquire().await.unwrap_err(), Error::WrongClock { .. }));
    assert_eq!((peer.alive(), peer.calls("release").len()), (1, 0));
    other.release().await.unwrap();
    assert!(matches!(slow().acquire().await.unwrap_err(), Error::WrongClock { .. }));
    assert_eq!(peer.alive(), 0);
}

#[tokio::test]
async fn refused_session_that_could_not_be_released_is_released_at_the_next_start() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let builder = || peer.builder().state(folder.path().join("state.json"));
    let slow = builder().patience(Duration::from_secs(5)).wall_clock(|| now() - Duration::from_secs(7200)).build().unwrap();
    for start in ["release_left_behind", "acquire"] {
        peer.fault("release", (0..20).map(|_| Fault::LoseAnswer));
        peer.platform(|platform| platform.is_release_down = true);
        assert!(matches!(slow.acquire().await.unwrap_err(), Error::WrongClock { .. }));
        assert_eq!(peer.alive(), 1, "the release did not come through");
        peer.no_more_faults();
        peer.platform(|platform| platform.is_release_down = false);
        let client = builder().build().unwrap();
        if start == "acquire" {
            client.acquire().await.unwrap().release().await.unwrap();
        } else {
            assert_eq!(client.release_left_behind().await.unwrap(), 1);
            assert_eq!(client.release_left_behind().await.unwrap(), 0);
        }
        wait_until("the seat is free", || peer.alive() == 0).await;
    }
}

#[tokio::test]
async fn seat_that_is_lost_to_forged_answers_is_released() {
    let peer = Peer::fleeting().await;
    let seat = peer.client().acquire().await.unwrap();
    peer.fault("heartbeat", (0..200).map(|_| Fault::Change(Box::new(by_nobody))));
    let lost = status(&mut seat.status(), is_lost).await;
    assert!(matches!(lost, SeatStatus::Lost { why: Loss::Silent(Trouble::Forged(_)) }), "{lost:?}");
    wait_until("the seat is free", || peer.alive() == 0 && !peer.calls("release").is_empty()).await;
}

#[tokio::test]
async fn superseded_license_document_is_refused() {
    let peer = Peer::start(360).await;
    let old = peer.platform(|platform| platform.root.token("coditect-license+jwt", &platform.license));
    peer.platform(|platform| {
        platform.license["version"] = 2.into();
        platform.license["features"] = serde_json::json!([]);
    });
    let folder = tempfile::tempdir().unwrap();
    let client = || peer.builder().state(folder.path().join("state.json")).build().unwrap();
    let replay = |old: String| move |_: &Platform, answer: &mut Value| answer["license_data"]["signature"] = old.into();
    peer.change("acquire", replay(old.clone()));
    let error = client().acquire().await.unwrap_err();
    assert!(matches!(error, Error::Forged(Rejected::OldLicense)), "below what the lease names: {error}");
    assert_eq!(peer.alive(), 0);

    client().acquire().await.unwrap().release().await.unwrap();
    peer.change("acquire", move |platform, answer| {
        replay(old)(platform, answer);
        resigned(&platform.leaf, answer, |claims| {
            claims.as_object_mut().unwrap().remove("license_version");
        });
    });
    let error = client().acquire().await.unwrap_err();
    assert!(matches!(error, Error::Forged(Rejected::OldLicense)), "below what was seen: {error}");
    client().acquire().await.unwrap().release().await.unwrap();
}

#[tokio::test]
async fn superseded_document_is_refused_in_a_repeated_answer_too() {
    let peer = Peer::start(360).await;
    let old = peer.platform(|platform| platform.root.token("coditect-license+jwt", &platform.license));
    peer.platform(|platform| platform.license["version"] = 2.into());
    for _ in 0..30 {
        let old = old.clone();
        peer.change("acquire", move |_, answer| answer["license_data"]["signature"] = old.into());
    }
    // The proxy says of each answer that it is a repetition, so that a heartbeat's lease is what counts.
    peer.platform(|platform| platform.says_replayed = true);
    let client = peer.builder().patience(Duration::from_secs(10)).build().unwrap();
    let error = client.acquire().await.unwrap_err();
    assert!(matches!(error, Error::Forged(Rejected::OldLicense)), "{error}");
    assert_eq!(peer.alive(), 0);
}
