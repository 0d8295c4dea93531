//! Taking a seat, over a network that loses things.

use std::time::{Duration, Instant};

use coditect_license::Error;
use serde_json::{Value, json};
use testkit::must_complete;

use crate::peer::{Answer, Fault, KEY, Peer, problem, wait_until};

fn say(status: u16, code: &str, retry_after: Option<u64>) -> Fault {
    Fault::Say(problem(status, code), retry_after)
}

/// What is left of an error when it is printed in both ways.
fn printed(error: &Error) -> String {
    format!("{error} {error:?}")
}

#[tokio::test]
async fn a_seat_is_taken_and_given_back() {
    let peer = Peer::start(360).await;
    let seat = peer.client().acquire().await.unwrap();
    assert_eq!((seat.license().license_id.as_str(), seat.lease().seat, seat.seats_used(), seat.seats_total()), ("lic_1", 1, 1, 2));
    assert_eq!(seat.lease().session_id, seat.session_id());
    let call = &peer.calls("acquire")[0];
    assert_eq!(call.body["license_key"], KEY);
    assert_eq!((&call.body["hardware_id"], &call.body["user_email"]), (&json!("device-1"), &json!("ada@example.com")));
    assert!(call.body["nonce"].as_str().unwrap().len() >= 22 && call.idempotency_key.len() >= 22);
    seat.release().await.unwrap();
    assert_eq!((peer.alive(), peer.calls("release").len()), (0, 1));
}

#[tokio::test]
async fn each_acquire_has_a_nonce_and_an_idempotency_key_of_its_own() {
    let peer = Peer::start(360).await;
    let client = peer.client();
    client.acquire().await.unwrap().release().await.unwrap();
    client.acquire().await.unwrap().release().await.unwrap();
    let calls = peer.calls("acquire");
    assert_ne!(calls[0].body["nonce"], calls[1].body["nonce"]);
    assert_ne!(calls[0].idempotency_key, calls[1].idempotency_key);
}

#[tokio::test]
async fn a_lost_answer_takes_no_second_seat_and_is_no_error() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    peer.fault("acquire", [Fault::LoseAnswer, Fault::LoseAnswer]);
    let seat = peer.client().acquire().await.unwrap();
    let calls = peer.calls("acquire");
    assert_eq!(calls.len(), 3);
    assert!(calls.iter().all(|call| call.idempotency_key == calls[0].idempotency_key && call.body == calls[0].body));
    assert_eq!(peer.platform(|platform| platform.sessions.len()), 1);
    let beat = &peer.calls("heartbeat")[0];
    assert_eq!(
        seat.lease().nonce.as_deref(),
        beat.body["nonce"].as_str(),
        "the repeated answer's lease is old: a heartbeat brings a fresh one"
    );
}

#[tokio::test]
async fn an_acquire_that_gave_up_is_carried_on_by_the_next() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    peer.fault("acquire", (0..12).map(|_| Fault::LoseAnswer));
    let client = peer.builder().patience(Duration::from_secs(5)).build().unwrap();
    let error = client.acquire().await.unwrap_err();
    assert!(matches!(error, Error::Unreachable { .. }), "{error}");
    while client.acquire().await.is_err() {}
    assert_eq!(peer.platform(|platform| platform.sessions.len()), 1);
}

#[tokio::test]
async fn acquire_that_was_cancelled_is_carried_on_with_a_state_file() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    peer.fault("acquire", [Fault::Slow(Duration::from_secs(3600)), Fault::Slow(Duration::from_secs(3600))]);
    let folder = tempfile::tempdir().unwrap();
    let client = || peer.builder().state(folder.path().join("state.json")).build().unwrap();
    let first = client();
    for sent in [1, 2] {
        tokio::select! {
            _ = first.acquire() => panic!("there is no answer yet"),
            () = wait_until("an acquire", || peer.calls("acquire").len() == sent) => {}
        }
    }
    // As long as the first client lives, what it began is its own.
    let other = client().acquire().await.unwrap();
    assert_eq!(peer.platform(|platform| platform.sessions.len()), 2);
    drop(first);
    let next = client();
    assert_eq!(next.release_left_behind().await.unwrap(), 1);
    assert_eq!(peer.platform(|platform| (platform.sessions.len(), platform.alive())), (2, 1));
    other.release().await.unwrap();
}

#[tokio::test]
async fn an_acquire_that_was_cancelled_is_carried_on_by_the_next() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    peer.fault("acquire", [Fault::Slow(Duration::from_secs(3600))]);
    let client = peer.client();
    tokio::select! {
        _ = client.acquire() => panic!("there is no answer yet"),
        () = wait_until("an acquire", || !peer.calls("acquire").is_empty()) => {}
    }
    let _seat = client.acquire().await.unwrap();
    assert_eq!(peer.platform(|platform| platform.sessions.len()), 1);
}

#[tokio::test]
async fn a_repeated_answer_whose_session_has_ended_since_is_asked_for_anew() {
    let peer = Peer::start(360).await;
    peer.fault("acquire", [Fault::LoseAnswer]);
    peer.fault("heartbeat", [say(410, "session_revoked", None)]);
    peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    let _seat = peer.client().acquire().await.unwrap();
    let calls = peer.calls("acquire");
    assert_eq!(calls.len(), 3);
    assert_ne!(calls[1].idempotency_key, calls[2].idempotency_key);
}

#[tokio::test]
async fn a_server_that_is_slow_for_once_is_asked_again() {
    let peer = Peer::start(360).await;
    peer.fault("acquire", [Fault::Slow(Duration::from_secs(3600))]);
    let client = peer.builder().request_timeout(Duration::from_secs(2)).build().unwrap();
    let _seat = client.acquire().await.unwrap();
    assert_eq!(peer.platform(|platform| platform.sessions.len()), 1);
}

#[tokio::test]
async fn a_busy_server_is_left_alone_for_as_long_as_it_asks() {
    let peer = Peer::start(360).await;
    peer.fault("acquire", [say(409, "request_in_flight", None), say(429, "rate_limited", None), say(503, "service_unavailable", Some(1))]);
    let _seat = peer.client().acquire().await.unwrap();
    let calls = peer.calls("acquire");
    assert!(calls[3].at - calls[2].at >= Duration::from_secs(1));
    assert_eq!(peer.calls("heartbeat").len(), 0, "the answer was the first to be given");
}

#[tokio::test]
async fn a_server_that_asks_for_more_patience_than_there_is_ends_the_acquire_at_once() {
    let peer = Peer::start(360).await;
    peer.fault("acquire", [say(429, "rate_limited", Some(3600))]);
    // Whoever waited for as long as there is patience would be noticed.
    let client = peer.builder().patience(Duration::from_secs(3000)).build().unwrap();
    let error = must_complete("the refusal", client.acquire()).await.unwrap_err();
    assert_eq!(error.code(), "too_many_requests");
    assert!(error.to_string().contains("longer than the patience (3000 s)"), "{error}");
    let Error::Unreachable { retry_after, status, .. } = error else { panic!("{error}") };
    assert_eq!((retry_after, status), (Some(Duration::from_secs(3600)), Some(429)));
}

#[tokio::test]
async fn every_refusal_has_its_error() {
    let peer = Peer::start(360).await;
    let client = peer.client();
    let full = json!({"code": "no_seats_available", "seats_used": 2, "seats_total": 2, "next_expiry_at": "2027-01-15T08:00:00.000Z"});
    let invalid = json!({"code": "invalid_request", "errors": [{"field": "user_email", "message": "must be an email address"}]});
    let table: Vec<(Answer, &str)> = vec![
        ((400, invalid), "invalid_request"),
        ((402, full), "no_seats_available"),
        (problem(403, "license_expired"), "license_expired"),
        (problem(403, "license_suspended"), "license_suspended"),
        (problem(403, "license_revoked"), "license_revoked"),
        (problem(403, "license_not_started"), "license_not_started"),
        (problem(403, "tenant_suspended"), "tenant_suspended"),
        (problem(403, "hardware_blocked"), "hardware_blocked"),
        (problem(403, "of_a_later_version"), "server_error"),
        (problem(404, "license_not_found"), "license_not_found"),
        (problem(404, "not_found"), "server_error"),
        (problem(422, "idempotency_key_reused"), "server_error"),
        ((302, json!({})), "server_error"),
    ];
    for (answer, code) in table {
        let status = answer.0;
        peer.fault("acquire", [Fault::Say(answer, Some(7))]);
        let error = client.acquire().await.unwrap_err();
        assert_eq!(error.code(), code, "{status}: {error}");
        assert!(!printed(&error).contains(KEY));
        match error {
            Error::NoSeats { seats_used, seats_total, next_expiry_at, retry_after } => {
                assert_eq!((seats_used, seats_total, retry_after), (2, 2, Some(Duration::from_secs(7))));
                assert_eq!(coditect_license::rfc3339(next_expiry_at.unwrap()), "2027-01-15T08:00:00.000Z");
            }
            Error::InvalidRequest { fields } => assert_eq!(fields[0].field, "user_email"),
            _ => {}
        }
    }
    let keys: Vec<String> = peer.calls("acquire").into_iter().map(|call| call.idempotency_key).collect();
    assert!(keys.windows(2).all(|pair| pair[0] != pair[1]), "a refused attempt is over");
}

#[tokio::test]
async fn what_is_no_answer_of_the_platform_is_tried_again() {
    let peer = Peer::start(360).await;
    peer.fault("acquire", [Fault::Say((200, Value::String("<html>Sign in to the hotel</html>".to_owned())), None)]);
    peer.fault("acquire", [Fault::Say((502, Value::String("<html>Bad gateway</html>".to_owned())), None)]);
    let _seat = peer.client().acquire().await.unwrap();
}

#[tokio::test]
async fn a_platform_that_is_not_there_is_unreachable_after_the_clients_patience() {
    let peer = Peer::start(360).await;
    let client = peer.builder().patience(Duration::from_millis(700)).build().unwrap();
    peer.stop();
    let begun = Instant::now();
    let error = client.acquire().await.unwrap_err();
    assert!(matches!(&error, Error::Unreachable { why, .. } if why.contains("Connection refused")), "{error}");
    assert!(begun.elapsed() >= Duration::from_millis(300), "{:?}", begun.elapsed());
    assert!(!printed(&error).contains(KEY));
}

#[tokio::test]
async fn each_operation_may_be_elsewhere() {
    let peer = Peer::beating().await;
    let root = coditect_license::RootKey::from_jwk(&peer.root()).unwrap();
    let client = coditect_license::Client::builder("http://127.0.0.1:1", KEY)
        .hardware_id("device-1")
        .user_email("ada@example.com")
        .root(root)
        .acquire_url(&peer.url)
        .heartbeat_url(format!("{}/", peer.url))
        .release_url(&peer.url)
        .keys_url(&peer.url)
        .build()
        .unwrap();
    let seat = client.acquire().await.unwrap();
    wait_until("a heartbeat", || !peer.calls("heartbeat").is_empty()).await;
    seat.release().await.unwrap();
    assert_eq!(peer.alive(), 0);
}

#[tokio::test]
async fn a_client_that_lacks_something_says_what() {
    let peer = Peer::start(360).await;
    let missing = |error: Error, what: &str| assert!(matches!(&error, Error::Settings(text) if text.contains(what)), "{error}");
    missing(coditect_license::Client::builder(&peer.url, KEY).build().unwrap_err(), "hardware id");
    missing(coditect_license::Client::builder(&peer.url, KEY).hardware_id("a").build().unwrap_err(), "root");
    let root = coditect_license::RootKey::from_jwk(&peer.root()).unwrap();
    let client = coditect_license::Client::builder(&peer.url, KEY).hardware_id("a").root(root).build().unwrap();
    missing(client.acquire().await.unwrap_err(), "email");
}

#[tokio::test]
async fn two_spellings_of_one_key_are_one_key_with_one_state() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let client = |key: &str| {
        let root = coditect_license::RootKey::from_jwk(&peer.root()).unwrap();
        let builder = coditect_license::Client::builder(&peer.url, key).hardware_id("device-1").root(root);
        builder.user_email("ada@example.com").state(folder.path().join("state.json")).build().unwrap()
    };
    client(KEY).acquire().await.unwrap().detach().await;
    let pasted = format!("\u{feff}\u{201c}{}\u{201d}\r\n", KEY.to_lowercase().replace('-', "\u{2013}"));
    for spelling in [pasted, KEY.replace('-', " "), KEY.to_lowercase()] {
        assert!(client(&spelling).verify_offline().is_ok());
        client(&spelling).acquire().await.unwrap().release().await.unwrap();
    }
    assert!(peer.calls("acquire").iter().all(|call| call.body["license_key"] == KEY));
}

#[tokio::test]
async fn malformed_key_is_refused_where_it_is_wrong_and_not_echoed() {
    let wrong = KEY.replace("CDEF", "C!EF");
    let error = coditect_license::Client::builder("https://a.example", &wrong).hardware_id("a").root(root()).build().unwrap_err();
    let Error::InvalidRequest { fields } = &error else { panic!("{error}") };
    assert_eq!((fields[0].field.as_str(), error.code()), ("license_key", "invalid_request"));
    assert!(fields[0].message.contains("number 18,"), "{error}");
    assert!(!printed(&error).contains("CODI-0") && !printed(&error).contains('!'), "{error}");
    for (wrong, told) in
        [(format!("<{KEY}>"), "character 1,"), (format!("key: {KEY}"), "character 1,"), (KEY.replace("CODI", "COLI"), "character 3,")]
    {
        let error = coditect_license::Client::builder("https://a.example", &wrong).hardware_id("a").root(root()).build().unwrap_err();
        assert!(error.to_string().contains(told) && !printed(&error).contains("0123"), "{error}");
    }
}

fn root() -> coditect_license::RootKey {
    coditect_license::RootKey::from_jwk(&crate::peer::Signer::root("root").jwk.to_string()).unwrap()
}

#[tokio::test]
async fn forged_session_id_of_a_refused_answer_does_not_stop_the_next_start() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let client = || peer.builder().state(folder.path().join("state.json")).patience(Duration::from_secs(5)).build().unwrap();
    peer.change("acquire", |_, answer| {
        answer["session_id"] = "no session id".into();
        answer["lease"] = "ey.ey.ey".into();
    });
    peer.fault("release", (0..20).map(|_| say(503, "service_unavailable", None)));
    assert!(matches!(client().acquire().await.unwrap_err(), Error::Forged(_)));
    peer.no_more_faults();
    peer.platform(|platform| platform.end_all("session_expired"));
    let invalid = json!({"code": "invalid_request", "errors": [{"field": "replaces", "message": "is no session id"}]});
    peer.fault("acquire", [Fault::Say((400, invalid), None)]);
    let _seat = client().acquire().await.unwrap();
    let calls = peer.calls("acquire");
    assert_eq!((&calls[1].body["replaces"], calls[2].body.get("replaces")), (&json!("no session id"), None));
}

#[tokio::test]
async fn nothing_that_is_printed_shows_a_secret() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let builder = peer.builder().state(folder.path().join("state.json"));
    let shown = format!("{builder:?}");
    let client = builder.build().unwrap();
    let seat = client.acquire().await.unwrap();
    let id = seat.session_id().to_owned();
    let shown = format!("{shown} {client:?} {seat:?} {:?} {:?}", seat.status(), client.verify_offline().unwrap());
    let shown = format!("{shown} {:?}", seat.detach().await);
    assert!(!shown.contains(KEY) && !shown.contains(&id), "{shown}");
}
