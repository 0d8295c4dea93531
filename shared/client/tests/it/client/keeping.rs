//! Keeping a seat.

use std::{
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use coditect_license::{Ending, Loss, Refusal, Released, SeatStatus, Trouble};
use serde_json::Value;

use super::{is_held, is_in_danger, is_lost, status};
use crate::peer::{Fault, Peer, now, problem, seconds, wait_until};

#[tokio::test]
async fn a_seat_outlives_its_ttl_by_heartbeats() {
    let peer = Peer::fleeting().await;
    let begun = Instant::now();
    let seat = peer.client().acquire().await.unwrap();
    let first = seat.lease();
    wait_until("the first lease has ended", || seconds(now()) > first.exp).await;
    assert!(is_held(&seat.status().borrow()));
    assert_eq!(peer.alive(), 1);
    // None comes sooner than four fifths of a second after the one before.
    let most = begun.elapsed().as_millis() / 800 + 1;
    assert!((2..=most).contains(&(peer.calls("heartbeat").len() as u128)), "at most one a second");
    assert!(seat.lease().exp > first.exp && seat.lease().nonce != first.nonce);
}

#[tokio::test]
async fn heartbeats_have_nonces_of_their_own_and_are_not_in_step() {
    let peer = Peer::beating().await;
    let (first, second) = (peer.client(), peer.builder().hardware_id("device-2").build().unwrap());
    let (_first, _second) = (first.acquire().await.unwrap(), second.acquire().await.unwrap());
    wait_until("four heartbeats", || peer.calls("heartbeat").len() >= 4).await;
    let mut nonces: Vec<String> = peer.calls("heartbeat").iter().map(|call| call.body["nonce"].to_string()).collect();
    nonces.sort();
    nonces.dedup();
    assert!(nonces.len() >= 4);
}

#[tokio::test]
async fn an_answer_without_a_lease_renews_the_seat_and_keeps_the_old_lease() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    let first = seat.lease();
    for _ in 0..100 {
        peer.change("heartbeat", |_, answer| answer["lease"] = Value::Null);
    }
    wait_until("three heartbeats", || peer.calls("heartbeat").len() >= 3).await;
    assert!(is_held(&seat.status().borrow()), "{:?}", seat.status().borrow());
    assert_eq!(seat.lease(), first);
    peer.no_more_faults();
    wait_until("another lease", || seat.lease() != first).await;
}

#[tokio::test]
async fn a_server_that_is_gone_for_a_while_is_a_danger_and_no_loss() {
    let mut peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    let mut watched = seat.status();
    peer.stop();
    let danger = status(&mut watched, is_in_danger).await;
    let SeatStatus::InDanger { until, why: Trouble::Unreachable(_) } = danger else { panic!("{danger:?}") };
    assert!(until.left() > Duration::ZERO && until.left() < Duration::from_secs(180));
    peer.start_again().await;
    status(&mut watched, is_held).await;
    assert_eq!(peer.alive(), 1);
}

#[tokio::test]
async fn a_server_that_stays_away_costs_the_seat_when_it_ends_and_not_before() {
    let peer = Peer::fleeting().await;
    let begun = Instant::now();
    let seat = peer.client().acquire().await.unwrap();
    peer.stop();
    let lost = status(&mut seat.status(), is_lost).await;
    assert!(matches!(&lost, SeatStatus::Lost { why: Loss::Silent(Trouble::Unreachable(_)) }), "{lost:?}");
    let passed = begun.elapsed();
    assert!(passed >= Duration::from_millis(9900), "{passed:?}");
}

#[tokio::test]
async fn an_ended_session_is_lost_and_another_can_be_taken() {
    let peer = Peer::beating().await;
    let client = peer.client();
    for (code, ending) in [("session_revoked", Ending::Revoked), ("session_released", Ending::Released)] {
        let seat = client.acquire().await.unwrap();
        peer.platform(|platform| platform.end_all(code));
        assert_eq!(status(&mut seat.status(), is_lost).await, SeatStatus::Lost { why: Loss::Ended(ending) });
        assert_eq!(seat.release().await.unwrap(), Released::AlreadyEnded);
    }
    assert_eq!(peer.calls("release").len(), 0, "there is nothing to give back");
}

fn is_regained(status: &SeatStatus) -> bool {
    matches!(status, SeatStatus::Regained { .. })
}

#[tokio::test]
async fn expired_session_is_followed_by_another_at_once() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    let first = seat.session_id().to_owned();
    for end in ["session_expired", "session_not_found"] {
        let mut watched = seat.status();
        peer.platform(|platform| platform.end_all(end));
        let regained = status(&mut watched, is_regained).await;
        let SeatStatus::Regained { until, seat: number } = regained else { panic!("{regained:?}") };
        assert!(until.left() > Duration::ZERO && number == 1 && seat.lease().session_id == seat.session_id());
        status(&mut watched, is_held).await;
    }
    assert_ne!(seat.session_id(), first);
    assert_eq!(peer.calls("acquire")[1].body["replaces"], *first);
    assert_eq!((seat.release().await.unwrap(), peer.alive()), (Released::Released, 0));
}

#[tokio::test]
async fn expired_session_is_lost_only_if_no_seat_is_free() {
    let peer = Peer::beating().await;
    peer.platform(|platform| platform.license["seats_total"] = 1.into());
    let seat = peer.client().acquire().await.unwrap();
    peer.platform(|platform| {
        platform.end_all("session_expired");
        platform.acquire(&serde_json::json!({"hardware_id": "device-2", "nonce": "n"}), "another's");
    });
    let lost = status(&mut seat.status(), is_lost).await;
    let SeatStatus::Lost { why: why @ Loss::NotRegained { ending: Ending::Expired, code: "no_seats_available", .. } } = lost else {
        panic!("{lost:?}")
    };
    let told = why.to_string();
    assert!(told.contains("the session has expired") && told.contains("every seat is taken: 1 of 1"), "{told}");
    assert_eq!((seat.release().await.unwrap(), peer.calls("release").len()), (Released::AlreadyEnded, 0));
    assert_eq!(peer.alive(), 1, "the other one's");
}

#[tokio::test]
async fn a_suspended_license_says_stop_and_then_the_seat_is_lost() {
    let peer = Peer::fleeting().await;
    let seat = peer.client().acquire().await.unwrap();
    let mut watched = seat.status();
    peer.platform(|platform| platform.refused = Some("license_suspended"));
    let told = status(&mut watched, |status| matches!(status, SeatStatus::StopBy { .. })).await;
    let SeatStatus::StopBy { at, why: Refusal::Suspended } = told else { panic!("{told:?}") };
    assert!(at.at > now() && at.left() > Duration::ZERO);
    assert_eq!(status(&mut watched, is_lost).await, SeatStatus::Lost { why: Loss::Refused(Refusal::Suspended) });
    assert_eq!(at.left(), Duration::ZERO);
}

#[tokio::test]
async fn a_license_that_is_reinstated_in_time_is_held_again() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    let mut watched = seat.status();
    peer.platform(|platform| platform.refused = Some("tenant_suspended"));
    status(&mut watched, |status| matches!(status, SeatStatus::StopBy { .. })).await;
    peer.platform(|platform| platform.refused = None);
    status(&mut watched, is_held).await;
}

#[tokio::test]
async fn a_proxys_refusal_is_a_danger_and_no_order_to_stop() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    let pages = [403, 404, 302, 500].map(|code| Fault::Say((code, Value::String("<html/>".to_owned())), None));
    peer.fault("heartbeat", pages);
    peer.fault("heartbeat", [Fault::Say(problem(400, "invalid_request"), None), Fault::LoseAnswer]);
    let mut watched = seat.status();
    status(&mut watched, is_in_danger).await;
    status(&mut watched, is_held).await;
}

#[tokio::test]
async fn a_clock_that_is_turned_does_not_stop_the_heartbeats() {
    let peer = Peer::beating().await;
    let turned = Arc::new(Mutex::new(now as fn() -> std::time::SystemTime));
    let clock = {
        let turned = Arc::clone(&turned);
        move || (*turned.lock().unwrap())()
    };
    let seat = peer.builder().wall_clock(clock).build().unwrap().acquire().await.unwrap();
    for turn in [|| now() - Duration::from_secs(86_400), || now() + Duration::from_secs(864_000)] {
        *turned.lock().unwrap() = turn;
        let before = peer.calls("heartbeat").len();
        wait_until("three more heartbeats", || peer.calls("heartbeat").len() >= before + 3).await;
        assert!(is_held(&seat.status().borrow()), "{:?}", seat.status().borrow());
    }
}

#[tokio::test]
async fn a_seat_that_is_dropped_is_given_back() {
    let peer = Peer::start(360).await;
    drop(peer.client().acquire().await.unwrap());
    wait_until("the seat is free", || peer.alive() == 0).await;
}

#[tokio::test]
async fn a_release_is_tried_again_and_says_so_if_it_fails() {
    let peer = Peer::start(360).await;
    let client = peer.client();
    peer.fault("release", [Fault::LoseAnswer, Fault::Say(problem(503, "service_unavailable"), None)]);
    client.acquire().await.unwrap().release().await.unwrap();
    assert_eq!((peer.alive(), peer.calls("release").len()), (0, 3));
    let seat = client.acquire().await.unwrap();
    peer.stop();
    assert_eq!(seat.release_within(Duration::from_millis(300)).await.unwrap_err().code(), "unreachable");
}

#[tokio::test]
async fn release_of_an_ended_session_tells_that_it_had_ended() {
    let peer = Peer::start(360).await;
    let client = peer.client();
    for ended in ["session_expired", "session_revoked"] {
        let (seat, saved) = (client.acquire().await.unwrap(), client.acquire().await.unwrap().detach().await);
        peer.platform(|platform| platform.end_all(ended));
        assert_eq!(seat.release().await.unwrap(), Released::AlreadyEnded, "{ended}");
        assert_eq!(client.release(&saved).await.unwrap(), Released::AlreadyEnded, "{ended}");
    }
    assert_eq!(peer.calls("release").len(), 4);
}

#[tokio::test]
async fn release_on_an_older_platform_that_does_not_tell_counts_as_one() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.is_old = true);
    let seat = peer.client().acquire().await.unwrap();
    peer.platform(|platform| platform.end_all("session_expired"));
    assert_eq!(seat.release().await.unwrap(), Released::Released);
}

#[tokio::test]
async fn revoked_license_says_stop_and_why() {
    let peer = Peer::beating().await;
    let seat = peer.client().acquire().await.unwrap();
    peer.platform(|platform| platform.refused = Some("license_revoked"));
    let told = status(&mut seat.status(), |status| matches!(status, SeatStatus::StopBy { .. })).await;
    let SeatStatus::StopBy { why, .. } = told else { panic!("{told:?}") };
    assert_eq!((why.to_string().as_str(), why), ("the license is revoked", Refusal::Revoked));
}

#[tokio::test]
async fn a_detached_session_lives_on_and_can_be_carried_on() {
    let peer = Peer::start(360).await;
    let client = peer.client();
    let saved = client.acquire().await.unwrap().detach().await;
    let saved = serde_json::from_str(&serde_json::to_string(&saved).unwrap()).unwrap();
    let seat = peer.client().attach(&saved).await.unwrap();
    assert_eq!((seat.session_id(), peer.calls("heartbeat").len(), peer.alive()), (saved.session_id(), 1, 1));
    seat.detach().await;
    assert_eq!(client.release(&saved).await.unwrap(), Released::Released);
    assert_eq!(client.attach(&saved).await.unwrap_err().code(), "session_released");
    assert_eq!(client.release(&saved).await.unwrap(), Released::Released, "by the first request");
}
