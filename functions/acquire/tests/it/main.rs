//! The race: a hundred clients for ten seats, against two processes of the function.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

use std::collections::{BTreeSet, HashMap};

use serde_json::{Value, json};
use testkit::{Process, TestDatabase, policy, redis_settings};
use tokio::task::JoinSet;

const BINARY: &str = env!("CARGO_BIN_EXE_acquire");
const CLIENTS: usize = 100;
const SEATS: u32 = 10;
const ROUNDS: usize = 50;

async fn two_processes(database: &TestDatabase) -> [Process; 2] {
    let redis = redis_settings();
    let redis = redis.redis_url.expose();
    [Process::start(BINARY, &[], database.url(), redis).await, Process::start(BINARY, &[], database.url(), redis).await]
}

/// Sends every body at once, to one process and the other in turn.
async fn storm(http: &reqwest::Client, processes: &[Process; 2], bodies: Vec<Value>) -> Vec<(u16, Value)> {
    let mut crowd = JoinSet::new();
    for (number, body) in bodies.into_iter().enumerate() {
        let request = http.post(format!("{}/api/v1/licenses/acquire", processes[number % 2].url)).json(&body);
        crowd.spawn(async move {
            let response = request.send().await.unwrap();
            (response.status().as_u16(), response.json().await.unwrap())
        });
    }
    crowd.join_all().await
}

fn count(answers: &[(u16, Value)]) -> HashMap<u16, usize> {
    answers.iter().fold(HashMap::new(), |mut counts, (status, _)| {
        *counts.entry(*status).or_default() += 1;
        counts
    })
}

#[tokio::test]
async fn ten_of_a_hundred_get_a_seat_each_time() {
    let database = TestDatabase::new().await;
    let processes = two_processes(&database).await;
    let http = reqwest::Client::new();
    for round in 0..ROUNDS {
        let customer = database.customer(policy(SEATS)).await;
        let body = |number| json!({ "license_key": customer.key.reveal(), "hardware_id": format!("device-{number}"), "user_email": "u@x.example" });
        let answers = storm(&http, &processes, (0..CLIENTS).map(body).collect()).await;
        assert_eq!(count(&answers), HashMap::from([(201, 10), (402, 90)]), "round {round}");
        let seats: BTreeSet<u64> =
            answers.iter().filter(|(status, _)| *status == 201).filter_map(|(_, body)| body["seat"].as_u64()).collect();
        assert_eq!(seats, (1..=u64::from(SEATS)).collect(), "round {round}");
    }
}

#[tokio::test]
async fn sessions_of_one_device_share_one_seat_however_many_come() {
    let database = TestDatabase::new().await;
    let processes = two_processes(&database).await;
    let http = reqwest::Client::new();
    for round in 0..ROUNDS / 10 {
        let customer = database.customer(policy(SEATS)).await;
        let body = json!({ "license_key": customer.key.reveal(), "hardware_id": "device", "user_email": "u@x.example" });
        let answers = storm(&http, &processes, vec![body; CLIENTS]).await;
        assert!(answers.iter().all(|(status, _)| matches!(status, 200 | 201)), "round {round}: {:?}", count(&answers));
        let sessions: BTreeSet<&str> = answers.iter().filter_map(|(_, body)| body["session_id"].as_str()).collect();
        let seats: BTreeSet<u64> = answers.iter().filter_map(|(_, body)| body["seat"].as_u64()).collect();
        assert_eq!((sessions.len(), seats.len()), (CLIENTS, 1), "round {round}");
    }
}
