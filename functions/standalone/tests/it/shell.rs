//! What is not an operation: health, methods, metrics, the end.

use std::time::Duration;

use reqwest::Method;
use testkit::{Process, TestDatabase, free_port, redis_settings};

use crate::client::{Answer, BINARY, OPERATIONS, Platform};

#[tokio::test]
async fn methods_and_paths_behave() {
    let platform = Platform::start(1).await;
    let ask = async |method: Method, path: &str| {
        Answer::of(platform.http.request(method, format!("{}{path}", platform.process.url)).send().await.unwrap()).await
    };
    for operation in OPERATIONS {
        let path = format!("/api/v1/licenses/{operation}");
        for method in [Method::GET, Method::PUT, Method::DELETE, Method::PATCH] {
            let answer = ask(method, &path).await;
            answer.assert_problem(405, "method_not_allowed");
            assert_eq!(answer.headers["allow"], "POST");
        }
        let head = ask(Method::HEAD, &path).await;
        assert_eq!((head.status, head.text.as_str()), (405, ""));
        let options = ask(Method::OPTIONS, &path).await;
        assert_eq!((options.status, options.headers["allow"].to_str().unwrap()), (204, "POST"));
    }
    ask(Method::GET, "/api/v1/nothing").await.assert_problem(404, "not_found");
    for path in ["/health", "/health/", "/ready", "/ready/"] {
        let answer = ask(Method::GET, path).await;
        assert_eq!((answer.status, answer.text.as_str()), (200, r#"{"status":"ok"}"#), "{path}");
        assert_eq!(ask(Method::HEAD, path).await.status, 200);
    }
}

#[tokio::test]
async fn readiness_names_what_is_down_and_health_needs_nothing() {
    let nowhere = format!("postgres://nobody:nothing@127.0.0.1:{}/none", free_port());
    let no_redis = format!("redis://127.0.0.1:{}", free_port());
    let process = Process::start(BINARY, &["serve"], &nowhere, &no_redis).await;
    let answer = Answer::of(reqwest::get(format!("{}/ready/", process.url)).await.unwrap()).await;
    answer.assert_problem(503, "not_ready");
    assert_eq!(answer.body["down"], serde_json::json!(["database", "redis"]));
    assert!(answer.headers.contains_key("retry-after"));
    assert!(!answer.text.contains("nobody"));
    let body = serde_json::json!({
        "license_key": platform::domain::LicenseKey::generate().reveal(), "hardware_id": "h", "user_email": "u@x.example"
    });
    let begun = std::time::Instant::now();
    let url = format!("{}/api/v1/licenses/acquire", process.url);
    let answer = Answer::of(reqwest::Client::new().post(url).json(&body).send().await.unwrap()).await;
    answer.assert_problem(503, "service_unavailable");
    assert!(begun.elapsed() < Duration::from_secs(3), "a dependency that is down gives a prompt answer");
}

#[tokio::test]
async fn the_metrics_page_counts_requests_and_seats() {
    let platform = Platform::start(1).await;
    platform.post("acquire", &platform.applicant("one")).await;
    platform.post("acquire", &platform.applicant("two")).await;
    let page = reqwest::get(&platform.process.metrics_url).await.unwrap().text().await.unwrap();
    for line in [
        r#"coditect_http_requests_total{route="/api/v1/licenses/acquire",method="POST",status="201"} 1"#,
        r#"coditect_http_requests_total{route="/api/v1/licenses/acquire",method="POST",status="402"} 1"#,
        r#"coditect_http_request_duration_seconds_count{route="/api/v1/licenses/acquire"} 2"#,
        "coditect_seats_granted_total 1",
        "coditect_seats_denied_total 1",
        "coditect_seats_rebuilt_total 1",
        "coditect_database_connections_open",
        "coditect_redis_up",
    ] {
        assert!(page.contains(line), "{line}\n{page}");
    }
}

#[tokio::test]
async fn sigterm_ends_it_at_once_when_idle_and_after_what_is_in_flight() {
    let database = TestDatabase::new().await;
    let redis = redis_settings();
    let mut process = Process::start(BINARY, &["serve"], database.url(), redis.redis_url.expose()).await;
    let (code, took) = process.terminate().await;
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(2), "{took:?}");
}
