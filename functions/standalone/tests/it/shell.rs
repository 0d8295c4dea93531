//! What is not an operation: health, methods, metrics, the end.

use reqwest::Method;
use testkit::{Process, TestDatabase, eventually, free_port, redis_settings};
use tokio::net::TcpListener;

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
    let url = format!("{}/api/v1/licenses/acquire", process.url);
    let answer = Answer::of(reqwest::Client::new().post(url).json(&body).send().await.unwrap()).await;
    answer.assert_problem(503, "service_unavailable");
}

#[tokio::test]
async fn server_that_accepts_and_never_answers_gives_503() {
    // Connections wait in the queues of these and nobody reads them: the 503 comes although neither server ever answers.
    let silent = [TcpListener::bind("127.0.0.1:0").await.unwrap(), TcpListener::bind("127.0.0.1:0").await.unwrap()];
    let [database, redis] = silent.each_ref().map(|listener| listener.local_addr().unwrap());
    let database_url = format!("postgres://nobody:nothing@{database}/none?sslmode=disable");
    // Short, so that the test is.
    let deadlines = [("DATABASE_TIMEOUT_MS", "500"), ("REDIS_TIMEOUT_MS", "200")];
    let process = Process::start_with(BINARY, &["serve"], &database_url, &format!("redis://{redis}"), &deadlines).await;
    let stranger = serde_json::json!({
        "license_key": platform::domain::LicenseKey::generate().reveal(), "hardware_id": "h", "user_email": "u@x.example"
    });
    for operation in ["acquire", "validate"] {
        let url = format!("{}/api/v1/licenses/{operation}", process.url);
        let answer = Answer::of(reqwest::Client::new().post(url).json(&stranger).send().await.unwrap()).await;
        answer.assert_problem(503, "service_unavailable");
    }
    let ready = Answer::of(reqwest::get(format!("{}/ready/", process.url)).await.unwrap()).await;
    assert_eq!(ready.body["down"], serde_json::json!(["database", "redis"]));
}

#[tokio::test]
async fn metrics_page_is_on_loopback_unless_told() {
    let nowhere = format!("postgres://nobody:nothing@127.0.0.1:{}/none", free_port());
    let no_redis = format!("redis://127.0.0.1:{}", free_port());
    for (settings, is_reached_elsewhere) in
        [(&[("HOST", "0.0.0.0")][..], false), (&[("HOST", "0.0.0.0"), ("METRICS_HOST", "0.0.0.0")], true)]
    {
        let process = Process::start_with(BINARY, &["serve"], &nowhere, &no_redis, settings).await;
        // Another address of this machine, which 127.0.0.1 does not listen on.
        let elsewhere = process.metrics_url.replace("127.0.0.1", "127.0.0.2");
        assert_eq!(reqwest::get(&process.metrics_url).await.unwrap().status(), 200, "{settings:?}");
        assert_eq!(reqwest::get(&elsewhere).await.is_ok(), is_reached_elsewhere, "{settings:?}");
        let served = process.url.replace("127.0.0.1", "127.0.0.2");
        assert_eq!(reqwest::get(format!("{served}/health/")).await.unwrap().status(), 200, "{settings:?}");
    }
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
async fn sigterm_when_idle_ends_the_process() {
    let database = TestDatabase::new().await;
    let redis = redis_settings();
    let mut process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), &[]).await;
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn sigterm_while_a_request_is_in_flight_answers_it_first() {
    let mut platform = Platform::start(1).await;
    let owner = platform.database.owner().await;
    owner.batch_execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let acquire = tokio::spawn(platform.request("acquire").json(&platform.applicant("one")).send());
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the acquire waits for the table", async || owner.query_one(waits, &[]).await.unwrap().get(0)).await;
    platform.process.signal("TERM").await;
    let health = format!("{}/health/", platform.process.url);
    eventually("new connections are refused", async || platform.http.get(&health).send().await.is_err()).await;
    owner.batch_execute("COMMIT").await.unwrap();
    assert_eq!(acquire.await.unwrap().unwrap().status(), 201);
    assert_eq!(platform.process.terminated().await, Some(0));
}

#[tokio::test]
async fn sigterm_while_a_request_hangs_ends_the_process_without_it() {
    let mut platform = Platform::start(1).await;
    let owner = platform.database.owner().await;
    owner.batch_execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let acquire = tokio::spawn(platform.request("acquire").json(&platform.applicant("one")).send());
    let waits = "SELECT count(*) > 0 FROM pg_locks WHERE NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the acquire waits for the table", async || owner.query_one(waits, &[]).await.unwrap().get(0)).await;
    // The table is still locked when the process has ended.
    assert_eq!(platform.process.terminate().await, Some(0));
    assert_eq!(acquire.await.unwrap().unwrap().status(), 503);
    owner.batch_execute("COMMIT").await.unwrap();
}
