//! The way to Redis fails as networks and failovers make it fail. A live client keeps its seat, and
//! the process finds its way back by itself.

use serde_json::{Value, json};
use testkit::{Proxy, RedisServer, eventually};

use crate::client::{Answer, Platform};

/// A platform behind a proxy, and a client that has a seat.
async fn with_seat(server: &RedisServer, settings: &[(&str, &str)]) -> (Proxy, Platform, Value) {
    let proxy = Proxy::start(&server.url).await;
    let platform = Platform::start_on(&proxy.url, 1, settings).await;
    let seat = platform.post("acquire", &platform.applicant("one")).await;
    assert_eq!(seat.status, 201, "{}", seat.text);
    (proxy, platform, json!({ "session_id": seat.body["session_id"] }))
}

/// Beats until the seat is renewed. Meanwhile nothing but 503 is answered.
async fn until_renewed(platform: &Platform, session: &Value) {
    let is_renewed = async || {
        let answer = platform.post("heartbeat", session).await;
        assert!(matches!(answer.status, 200 | 503), "{}", answer.text);
        answer.status == 200
    };
    eventually("the seat is renewed", is_renewed).await;
}

async fn readiness(platform: &Platform) -> Answer {
    Answer::of(platform.http.get(format!("{}/ready/", platform.process.url)).send().await.unwrap()).await
}

#[tokio::test]
async fn half_open_redis_connection_is_left_within_seconds() {
    let server = RedisServer::start(&[]).await;
    // Short, so that the test is.
    let (proxy, platform, session) = with_seat(&server, &[("REDIS_TIMEOUT_MS", "300")]).await;
    let page = async || platform.http.get(&platform.process.metrics_url).send().await.unwrap().text().await.unwrap();
    assert!(page().await.contains("coditect_redis_connections_replaced_total 0"));
    proxy.freeze_existing();
    // The record renews the seat while Redis does not answer.
    until_renewed(&platform, &session).await;
    eventually("it is ready", async || readiness(&platform).await.status == 200).await;
    let is_replaced = async || !page().await.contains("coditect_redis_connections_replaced_total 0");
    eventually("the stuck connection is replaced", is_replaced).await;
}

#[tokio::test]
async fn redis_failover_behind_a_name_is_followed() {
    let [old, new] = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let (proxy, platform, session) = with_seat(&old, &[]).await;
    assert_eq!(readiness(&platform).await.status, 200);
    old.must(&["REPLICAOF", "127.0.0.1", new.url.rsplit(':').next().unwrap()]).await;
    let is_read_only = async || readiness(&platform).await.body["reasons"] == json!({ "redis": "read_only" });
    eventually("it names the reason", is_read_only).await;
    let page = platform.http.get(&platform.process.metrics_url).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("coditect_redis_up 0"), "{page}");
    // The new primary knows nothing yet: the seat comes from the record.
    proxy.lead_to(&new.url);
    until_renewed(&platform, &session).await;
    eventually("it is ready", async || readiness(&platform).await.status == 200).await;
}
