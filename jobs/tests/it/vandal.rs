//! Redis as an administrator sees it, to break it.

use redis::aio::MultiplexedConnection;
use testkit::{Customer, redis_settings};

const KEYS: [&str; 7] = ["policy", "expiry", "sessions", "holders", "taken", "replays", "usage"];

pub(crate) async fn connection() -> MultiplexedConnection {
    let client = redis::Client::open(redis_settings().redis_url.expose()).expect("the URL can be read");
    client.get_multiplexed_async_connection().await.expect("Redis can be reached")
}

pub(crate) fn key(customer: &Customer, name: &str) -> String {
    format!("{{{}}}:{name}", customer.license)
}

/// Wipes what Redis knows of a license.
pub(crate) async fn wipe(redis: &mut MultiplexedConnection, customer: &Customer) {
    redis::cmd("DEL").arg(&KEYS.map(|name| key(customer, name))).exec_async(redis).await.expect("keys can be deleted");
}

/// Copies what Redis knows of a license, as a snapshot would have it.
pub(crate) async fn copy(redis: &mut MultiplexedConnection, customer: &Customer) -> Vec<Option<Vec<u8>>> {
    let mut copy = Vec::new();
    for name in KEYS {
        copy.push(redis::cmd("DUMP").arg(key(customer, name)).query_async(redis).await.expect("a key can be dumped"));
    }
    copy
}

/// Puts a copy in the place of what is there.
pub(crate) async fn restore(redis: &mut MultiplexedConnection, customer: &Customer, copy: &[Option<Vec<u8>>]) {
    wipe(redis, customer).await;
    for (name, value) in KEYS.iter().zip(copy) {
        if let Some(value) = value {
            redis::cmd("RESTORE").arg(key(customer, name)).arg(0).arg(value).exec_async(redis).await.expect("a key can be restored");
        }
    }
}

/// What a hash holds, in the order of its fields.
pub(crate) async fn fields(redis: &mut MultiplexedConnection, hash: &str) -> Vec<(String, String)> {
    let fields: std::collections::BTreeMap<String, String> =
        redis::cmd("HGETALL").arg(hash).query_async(redis).await.expect("a hash can be read");
    fields.into_iter().collect()
}

/// Writes one field of a hash.
pub(crate) async fn set(redis: &mut MultiplexedConnection, hash: &str, field: &str, value: &str) {
    redis::cmd("HSET").arg(hash).arg(field).arg(value).exec_async(redis).await.expect("a hash can be written");
}

/// Whether Redis knows a license.
pub(crate) async fn knows(redis: &mut MultiplexedConnection, customer: &Customer) -> bool {
    redis::cmd("EXISTS").arg(key(customer, "policy")).query_async(redis).await.expect("Redis answers")
}
