//! The four operations over HTTP.

use serde_json::json;

use crate::client::{Answer, Platform};

#[tokio::test]
async fn a_seat_goes_through_its_whole_life() {
    let platform = Platform::start(2).await;
    let acquired = platform.post("acquire", &platform.applicant("one")).await;
    assert_eq!(acquired.status, 201, "{}", acquired.text);
    assert_eq!(
        (acquired.body["seat"].as_u64(), acquired.body["seats_used"].as_u64(), acquired.body["seats_total"].as_u64()),
        (Some(1), Some(1), Some(2))
    );
    assert_eq!(acquired.body["heartbeat_after"], 120);
    assert_eq!(acquired.body["license_data"]["document"]["license_id"], platform.customer.license.to_string());
    let expires_at = acquired.body["expires_at"].as_str().unwrap();
    assert!(expires_at.ends_with('Z') && expires_at.len() == 24, "{expires_at}");
    let session = json!({ "session_id": acquired.body["session_id"] });
    assert!(acquired.body["session_id"].as_str().unwrap().starts_with("ses_"));

    let beat = platform.post("heartbeat", &session).await;
    assert_eq!((beat.status, &beat.body["session_id"], beat.body["seats_used"].as_u64()), (200, &acquired.body["session_id"], Some(1)));
    let validated = platform.post("validate", &json!({ "license_key": platform.customer.key.reveal() })).await;
    assert_eq!(
        (validated.status, validated.body["status"].as_str(), validated.body["seats_used"].as_u64()),
        (200, Some("active"), Some(1))
    );
    let released = platform.post("release", &session).await;
    assert_eq!((released.status, released.body["seats_used"].as_u64()), (200, Some(0)));
    let repeated = platform.post("release", &session).await;
    assert_eq!((repeated.status, &repeated.body["released_at"]), (200, &released.body["released_at"]));
    for answer in [released, repeated] {
        assert_eq!(answer.body["ended_reason"], "released");
    }
    platform.post("heartbeat", &session).await.assert_problem(410, "session_released");
}

#[tokio::test]
async fn release_of_an_ended_session_says_how_it_ended() {
    let platform = Platform::start(2).await;
    let owner = platform.database.owner().await;
    for reason in ["expired", "revoked"] {
        let acquired = platform.post("acquire", &platform.applicant(reason)).await;
        let end = "UPDATE sessions SET ended_at = now(), ended_reason = $1 WHERE ended_at IS NULL";
        owner.execute(end, &[&reason]).await.unwrap();
        let released = platform.post("release", &json!({ "session_id": acquired.body["session_id"] })).await;
        assert_eq!((released.status, released.body["ended_reason"].as_str()), (200, Some(reason)));
    }
}

#[tokio::test]
async fn a_full_license_says_when_to_come_back() {
    let platform = Platform::start(1).await;
    platform.post("acquire", &platform.applicant("one")).await;
    let full = platform.post("acquire", &platform.applicant("two")).await;
    full.assert_problem(402, "no_seats_available");
    assert_eq!((full.body["seats_used"].as_u64(), full.body["seats_total"].as_u64()), (Some(1), Some(1)));
    assert!(full.body["next_expiry_at"].is_string());
    let wait: u64 = full.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((300..=360).contains(&wait), "{wait}");
}

#[tokio::test]
async fn what_does_not_exist_is_not_found() {
    let platform = Platform::start(1).await;
    let stranger =
        json!({ "license_key": platform::domain::LicenseKey::generate().reveal(), "hardware_id": "h", "user_email": "u@x.example" });
    for operation in ["acquire", "validate"] {
        platform.post(operation, &stranger).await.assert_problem(404, "license_not_found");
    }
    let nobody = platform::domain::SessionId { license: platform.customer.license, key: platform::domain::SessionKey::random() };
    for operation in ["heartbeat", "release"] {
        platform.post(operation, &json!({ "session_id": nobody })).await.assert_problem(404, "session_not_found");
    }
}

#[tokio::test]
async fn a_refusal_names_its_reason() {
    let platform = Platform::start(1).await;
    let owner = platform.database.owner().await;
    let acquired = platform.post("acquire", &platform.applicant("one")).await;
    let refusals = [
        ("UPDATE licenses SET status = 'suspended', version = version + 1", "license_suspended"),
        ("UPDATE licenses SET status = 'revoked', version = version + 1", "license_revoked"),
        ("UPDATE licenses SET status = 'active', starts_at = now() + interval '1 day', version = version + 1", "license_not_started"),
        ("UPDATE licenses SET starts_at = NULL, expires_at = now(), version = version + 1", "license_expired"),
        ("UPDATE tenants SET status = 'suspended'", "tenant_suspended"),
    ];
    for (change, code) in refusals {
        owner.batch_execute(change).await.unwrap();
        // A function believes its cache for ten seconds; another process reads it fresh.
        let redis = testkit::redis_settings();
        let fresh = testkit::Process::start(crate::client::BINARY, &["serve"], platform.database.url(), redis.redis_url.expose()).await;
        for operation in ["acquire", "validate"] {
            let url = format!("{}/api/v1/licenses/{operation}", fresh.url);
            let answer = Answer::of(platform.http.post(url).json(&platform.applicant("two")).send().await.unwrap()).await;
            answer.assert_problem(403, code);
        }
    }
    assert_eq!(acquired.status, 201);
}

#[tokio::test]
async fn an_idempotency_key_replays_the_answer_while_the_session_lives() {
    let platform = Platform::start(3).await;
    let ask = async |device: &str, key: &str| {
        Answer::of(platform.request("acquire").header("idempotency-key", key).json(&platform.applicant(device)).send().await.unwrap()).await
    };
    let first = ask("one", "key-1").await;
    assert_eq!((first.status, first.headers.get("idempotent-replayed")), (201, None));
    platform.post("acquire", &platform.applicant("two")).await;
    let replayed = ask("one", "\"key-1\"").await;
    assert_eq!((replayed.status, &replayed.text), (201, &first.text));
    assert_eq!(replayed.headers["idempotent-replayed"], "true");
    ask("three", "key-1").await.assert_problem(422, "idempotency_key_reused");
    ask("one", "").await.assert_problem(400, "invalid_request");
    platform.post("release", &json!({ "session_id": first.body["session_id"] })).await;
    let anew = ask("one", "key-1").await;
    assert_eq!(anew.status, 201);
    assert_ne!(anew.body["session_id"], first.body["session_id"]);
}

#[tokio::test]
async fn no_secret_leaves_in_a_log_line() {
    let database = testkit::TestDatabase::new().await;
    let redis = testkit::redis_settings();
    let customer = database.customer(testkit::policy(1)).await;
    let (port, metrics_port) = (testkit::free_port().to_string(), testkit::free_port().to_string());
    let child = tokio::process::Command::new(crate::client::BINARY)
        .arg("serve")
        .envs([("DATABASE_URL", database.url()), ("REDIS_URL", redis.redis_url.expose()), ("HOST", "127.0.0.1")])
        .envs([("PORT", &port), ("METRICS_PORT", &metrics_port)])
        .envs(testkit::patience())
        .envs(testkit::keys::settings())
        .env("LOG_LEVEL", "debug,tokio_postgres=info,hyper=info")
        .stdout(std::process::Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let http = reqwest::Client::new();
    let body = json!({ "license_key": customer.key.reveal(), "hardware_id": "secret-device", "user_email": "secret@test.example" });
    let url = format!("http://127.0.0.1:{port}/api/v1/licenses/acquire");
    let answer = testkit::eventually_some("an answer", async || http.post(&url).json(&body).send().await.ok()).await;
    let session = Answer::of(answer).await.body["session_id"].as_str().unwrap().to_owned();
    for operation in ["heartbeat", "release", "heartbeat"] {
        http.post(format!("http://127.0.0.1:{port}/api/v1/licenses/{operation}"))
            .json(&json!({ "session_id": session }))
            .send()
            .await
            .unwrap();
    }
    let id = child.id().unwrap().to_string();
    tokio::process::Command::new("kill").args(["-TERM", &id]).status().await.unwrap();
    let log = String::from_utf8(child.wait_with_output().await.unwrap().stdout).unwrap();
    assert!(log.lines().count() > 2, "{log}");
    for line in log.lines() {
        let line: serde_json::Value = serde_json::from_str(line).expect("every line is JSON on a pipe");
        assert!(line["severity"].is_string() && line["time"].is_string() && line["message"].is_string(), "{line}");
    }
    let password = database.url().split(['/', '@']).nth(2).unwrap().to_owned();
    let pem = std::fs::read_to_string(testkit::keys::root_file()).unwrap();
    let sealed = database.owner().await.query_one("SELECT encode(sealed_private, 'hex') FROM signing_keys", &[]).await.unwrap();
    let (root, sealed) = (pem.lines().nth(20).unwrap(), sealed.get::<_, String>(0));
    let keys = [testkit::keys::SEALING_KEY, root, &sealed[..40]];
    for secret in [&customer.key.reveal()[5..], &session[30..], "secret-device", "secret@test", password.as_str()].into_iter().chain(keys) {
        assert!(!log.contains(secret), "{secret} is in the log");
    }
}
