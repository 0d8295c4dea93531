//! Several sessions on the seat of one device, over HTTP and over two processes.

use serde_json::{Value, json};
use testkit::{Process, redis_settings};

use crate::client::{Answer, BINARY, Platform};

fn session(answer: &Answer) -> Value {
    json!({ "session_id": answer.body["session_id"] })
}

fn seats_used(answer: &Answer) -> (u16, Option<u64>) {
    (answer.status, answer.body["seats_used"].as_u64())
}

#[tokio::test]
async fn release_of_one_session_keeps_the_seat_of_the_other() {
    let platform = Platform::start(1).await;
    let other = Process::start(BINARY, &["serve"], platform.database.url(), redis_settings().redis_url.expose()).await;
    let first = platform.post("acquire", &platform.applicant("device")).await;
    let url = format!("{}/api/v1/licenses/acquire", other.url);
    let mut body = platform.applicant("device");
    body["user_email"] = json!("another@test.example");
    let second = Answer::of(platform.http.post(url).json(&body).send().await.unwrap()).await;
    assert_eq!((first.status, second.status), (201, 200), "{}", second.text);
    assert_eq!((&first.body["seat"], second.body["seats_used"].as_u64()), (&second.body["seat"], Some(1)));
    assert_ne!(first.body["session_id"], second.body["session_id"]);

    let released = platform.post("release", &session(&first)).await;
    assert_eq!(seats_used(&released), (200, Some(1)));
    platform.post("heartbeat", &session(&first)).await.assert_problem(410, "session_released");
    assert_eq!(seats_used(&platform.post("heartbeat", &session(&second)).await), (200, Some(1)));
    platform.post("acquire", &platform.applicant("stranger")).await.assert_problem(402, "no_seats_available");

    assert_eq!(seats_used(&platform.post("release", &session(&second)).await), (200, Some(0)));
    assert_eq!(platform.post("acquire", &platform.applicant("stranger")).await.status, 201);
}

#[tokio::test]
async fn replaced_session_ends_in_the_same_request() {
    let platform = Platform::start(1).await;
    let first = platform.post("acquire", &platform.applicant("device")).await;
    let mut body = platform.applicant("device");
    body["replaces"] = first.body["session_id"].clone();
    let second = platform.post("acquire", &body).await;
    assert_eq!(seats_used(&second), (200, Some(1)), "{}", second.text);
    platform.post("heartbeat", &session(&first)).await.assert_problem(410, "session_released");
    // It is over now, and the second stays on the seat.
    let third = platform.post("acquire", &body).await;
    assert_eq!(third.status, 200);
    assert_eq!(platform.post("heartbeat", &session(&second)).await.status, 200);
    for replaces in [
        Value::Null,
        json!(platform::domain::SessionId { license: platform.customer.license, key: platform::domain::SessionKey::random() }),
    ] {
        body["replaces"] = replaces;
        assert_eq!(platform.post("acquire", &body).await.status, 200);
    }
}

#[tokio::test]
async fn malformed_session_to_replace_is_named() {
    let platform = Platform::start(1).await;
    for wrong in [json!(""), json!("ses_"), json!("lic_5v5r9yb9w14dq8jk6c3y5fb2nc"), json!(7)] {
        let mut body = platform.applicant("device");
        body["replaces"] = wrong;
        let answer = platform.post("acquire", &body).await;
        answer.assert_problem(400, "invalid_request");
        assert_eq!(answer.body["errors"][0]["field"], "replaces");
    }
}

#[tokio::test]
async fn repeated_request_for_a_shared_seat_is_answered_the_same() {
    let platform = Platform::start(1).await;
    platform.post("acquire", &platform.applicant("device")).await;
    let ask = async || {
        let request = platform.request("acquire").header("idempotency-key", "key-1").json(&platform.applicant("device"));
        Answer::of(request.send().await.unwrap()).await
    };
    let (first, again) = (ask().await, ask().await);
    assert_eq!((first.status, first.headers.get("idempotent-replayed")), (200, None));
    assert_eq!((again.status, &again.text), (200, &first.text));
    assert_eq!(again.headers["idempotent-replayed"], "true");
}

#[tokio::test]
async fn crowded_seat_answers_429_and_when_to_come_back() {
    let platform = Platform::start(1).await;
    let first = platform.post("acquire", &platform.applicant("device")).await;
    let more = "WITH s AS (UPDATE sessions SET shares_given = 999 RETURNING *)
                INSERT INTO sessions (id, tenant_id, license_id, share, seat, holder, hardware_id, user_email, started_at, expires_at)
                SELECT gen_random_uuid(), tenant_id, license_id, n, seat, holder, hardware_id, user_email, started_at, expires_at
                FROM s, generate_series(1, 999) n";
    platform.database.owner().await.execute(more, &[]).await.unwrap();
    let client = redis::Client::open(redis_settings().redis_url.expose()).unwrap();
    let mut redis = client.get_multiplexed_async_connection().await.unwrap();
    redis::cmd("DEL").arg(format!("{{{}}}:policy", platform.customer.license)).exec_async(&mut redis).await.unwrap();
    let crowded = platform.post("acquire", &platform.applicant("device")).await;
    crowded.assert_problem(429, "too_many_sessions");
    let wait: u64 = crowded.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=360).contains(&wait), "{wait}");
    platform.post("release", &session(&first)).await;
    assert_eq!(platform.post("acquire", &platform.applicant("device")).await.status, 200);
}
