//! An issuer's keys, from a real peer: fetched when needed, kept as long as is said, and missed no longer than they must be.

use std::time::Duration;

use futures_util::future::join_all;
use platform::{
    domain::{Clock, Standing},
    web::ApiError,
};
use testkit::{eventually, identity::IssuerKey};

use crate::callers::{Door, ask, known};

/// A door with one person who is known as `ada`.
async fn door() -> Door {
    let door = Door::open().await;
    door.join(Standing::Member, "ada@x.example", "ada").await;
    door
}

impl Door {
    fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    /// Whether Ada comes in now, with a token by this key.
    async fn comes_in_by(&self, key: &IssuerKey) -> bool {
        let claims = self.provider.claims("ada", "ada@x.example", self.clock.now());
        known(&self.callers, &key.sign(&key.header(), &claims)).await.is_some()
    }

    async fn comes_in(&self) -> bool {
        self.comes_in_by(&self.provider.key).await
    }

    async fn is_unavailable(&self) -> bool {
        matches!(ask(&self.callers, &self.token("ada", "ada@x.example")).await, Err(ApiError::Unavailable(_)))
    }

    /// Waits for what goes on in the background.
    async fn is_fetched(&self, times: usize) {
        eventually("the keys are fetched", async || self.provider.answers() >= times).await;
    }
}

#[tokio::test]
async fn however_many_come_first_the_keys_are_fetched_once() {
    let door = door().await;
    let all = join_all((0..50).map(|_| door.comes_in())).await;
    assert!(all.iter().all(|comes_in| *comes_in));
    assert_eq!(door.provider.fetches(), 1);
}

#[tokio::test]
async fn keys_are_kept_as_long_as_is_said_and_then_fetched_in_the_background() {
    let door = door().await;
    door.provider.answer(|answer| answer.cache_control = "public, max-age=600".to_owned());
    assert!(door.comes_in().await);
    door.pass(599);
    assert!(door.comes_in().await && door.provider.fetches() == 1);
    door.pass(1);
    // Nobody waits for it: had the fetch been waited for, it would have been given up, and never be answered.
    door.provider.answer(|answer| answer.is_held = true);
    assert!(door.comes_in().await);
    door.provider.answer(|answer| answer.is_held = false);
    door.is_fetched(2).await;
}

#[tokio::test]
async fn a_new_key_is_found_and_an_old_one_gone_within_a_minute() {
    let door = door().await;
    let next = IssuerKey::generate("second");
    assert!(door.comes_in().await);
    door.provider.publish(&[&next]);
    assert!(!door.comes_in_by(&next).await && door.provider.fetches() == 1, "it was asked less than a minute ago");
    door.pass(60);
    assert!(door.comes_in_by(&next).await && door.provider.fetches() == 2);
    assert!(!door.comes_in().await);
}

#[tokio::test]
async fn a_flood_of_unknown_keys_fetches_once_a_minute() {
    let door = door().await;
    assert!(door.comes_in().await);
    let flood: Vec<IssuerKey> = (0..4).map(|number| IssuerKey::generate(&format!("unknown-{number}"))).collect();
    for minute in 0..3 {
        for _ in 0..5 {
            let all = join_all(flood.iter().cycle().take(40).map(|key| door.comes_in_by(key))).await;
            assert!(all.iter().all(|comes_in| !comes_in));
        }
        assert_eq!(door.provider.fetches(), 1 + minute);
        door.pass(60);
    }
    door.pass(3600);
    door.provider.answer(|answer| answer.status = 500);
    for _ in 0..10 {
        assert!(!door.comes_in_by(&flood[0]).await, "nor is it asked more often where it fails");
    }
    assert_eq!(door.provider.fetches(), 4);
}

#[tokio::test]
async fn a_dead_issuer_logs_nobody_out_for_a_day() {
    let door = door().await;
    assert!(door.comes_in().await);
    door.provider.answer(|answer| answer.status = 503);
    for seconds in [3_600, 10, 40_000, 46_000] {
        door.pass(seconds);
        assert!(door.comes_in().await, "after {seconds} seconds more");
    }
    door.pass(400);
    assert!(door.is_unavailable().await, "a day after they were fresh");
    door.provider.answer(|answer| answer.status = 200);
    assert!(door.is_unavailable().await, "it is not asked again at once");
    door.pass(5);
    assert!(door.comes_in().await);
}

#[tokio::test]
async fn a_key_that_was_withdrawn_while_nobody_came_is_not_taken() {
    let door = door().await;
    assert!(door.comes_in().await);
    door.provider.publish(&[&IssuerKey::generate("second")]);
    door.pass(3_600 + 300);
    assert!(!door.comes_in().await);
}

#[tokio::test]
async fn an_issuer_that_is_slow_or_talks_nonsense_is_unavailable_soon() {
    let door = door().await;
    door.provider.answer(|answer| answer.is_held = true);
    assert!(door.is_unavailable().await, "before the issuer has answered");
    door.provider.answer(|answer| answer.is_held = false);
    let (good, twin) = (door.provider.key.jwk(), IssuerKey::generate("first").jwk());
    let huge = format!("{{\"keys\": [{good}], \"x\": \"{}\"}}", "x".repeat(300_000));
    let twice = format!("{{\"keys\": [{good}, {twin}]}}");
    let encrypting = twice.replace("\"sig\"", "\"enc\"");
    for nonsense in
        ["", "<html>", "{}", r#"{"keys": []}"#, r#"{"keys": [1, {"kty": "oct", "kid": "first", "k": "AA"}]}"#, &huge, &twice, &encrypting]
    {
        door.pass(5);
        door.provider.answer(|answer| nonsense.clone_into(&mut answer.body));
        assert!(door.is_unavailable().await, "{}", &nonsense[..nonsense.len().min(80)]);
    }
    door.pass(5);
    door.provider.answer(|answer| answer.status = 302);
    assert!(door.is_unavailable().await);
    door.pass(5);
    door.provider.publish(&[&door.provider.key]);
    door.provider.answer(|answer| answer.status = 200);
    assert!(door.comes_in().await);
}
