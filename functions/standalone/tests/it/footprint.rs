//! What one process costs. Generous bounds for a debug build; the bench holds the release build to the real ones.

use std::time::{Duration, Instant};

use testkit::{Process, TestDatabase, policy, redis_settings};

use crate::client::BINARY;

#[tokio::test]
async fn a_function_serves_its_first_seat_soon_after_it_has_started() {
    let database = TestDatabase::new().await;
    let customer = database.customer(policy(1)).await;
    let redis = redis_settings();
    let begun = Instant::now();
    let process = Process::start(BINARY, &["serve"], database.url(), redis.redis_url.expose()).await;
    let body = serde_json::json!({ "license_key": customer.key.reveal(), "hardware_id": "h", "user_email": "u@x.example" });
    let answer = reqwest::Client::new().post(format!("{}/api/v1/licenses/acquire", process.url)).json(&body).send().await.unwrap();
    assert_eq!(answer.status(), 201);
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
}
