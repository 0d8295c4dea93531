//! The connections to Redis are stuck, closed or lead to a server that refuses: they are replaced,
//! and the reason is named.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use futures_util::future::join_all;
use platform::{
    db::{Database, Role},
    domain::{LimitKind, SystemClock, Unready, UnreadyReason, Verdict},
    seats::{Engine, LimitSettings, Limiter, RedisLink, RedisSettings},
};
use prometheus_client::registry::Registry;
use testkit::{Proxy, RedisServer, database_settings_of, eventually, eventually_some, must_complete, redis_settings_of};

const LIMITS: LimitSettings =
    LimitSettings { limit_anonymous_per_hour: 1_000_000, limit_principal_per_hour: 1_000_000, limit_public_per_hour: 1_000_000 };

/// Deadlines short enough for a test that waits for some to be missed.
fn hasty(url: &str) -> RedisSettings {
    RedisSettings { redis_timeout_ms: 200, ..redis_settings_of(url) }
}

/// An engine whose PostgreSQL is nowhere.
fn engine(redis: &RedisSettings) -> Engine {
    let database = database_settings_of("postgres://nobody:nothing@127.0.0.1:1/none");
    let database = Database::new(&database, Role::Functions).unwrap();
    Engine::new(RedisLink::new(redis).unwrap(), database, Arc::new(SystemClock), LIMITS)
}

/// Whether Redis answers a call of the engine's.
async fn is_served(limiter: &Limiter) -> bool {
    limiter.check(LimitKind::Anonymous, b"anybody").await != Verdict::Uncounted
}

async fn until_served(limiter: &Limiter) {
    eventually("Redis answers", async || is_served(limiter).await).await;
}

/// Why Redis cannot be used. `None`: it can.
async fn reason(engine: &Engine) -> Option<UnreadyReason> {
    engine.unready().await.into_iter().find(|Unready { part, .. }| *part == "redis").map(|unready| unready.reason)
}

async fn until_reason(engine: &Engine, wanted: Option<UnreadyReason>) {
    eventually(&format!("Redis is {wanted:?}"), async || reason(engine).await == wanted).await;
}

/// Three servers that are one cluster, each behind a proxy that the cluster names in its place.
async fn cluster() -> (Vec<RedisServer>, Vec<Proxy>) {
    let (mut nodes, mut proxies) = (Vec::new(), Vec::new());
    for slots in [("0", "5460"), ("5461", "10922"), ("10923", "16383")] {
        let bus = testkit::free_port().to_string();
        let node = RedisServer::start(&["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "60000"]).await;
        node.must(&["CLUSTER", "ADDSLOTSRANGE", slots.0, slots.1]).await;
        let proxy = Proxy::start(&node.url).await;
        nodes.push((node, bus));
        proxies.push(proxy);
    }
    let port = |url: &str| url.rsplit(':').next().unwrap().to_owned();
    for (node, bus) in &nodes[1..] {
        nodes[0].0.must(&["CLUSTER", "MEET", "127.0.0.1", &port(&node.url), bus]).await;
    }
    for ((node, _), proxy) in nodes.iter().zip(&proxies) {
        node.must(&["CONFIG", "SET", "cluster-announce-ip", "127.0.0.1"]).await;
        node.must(&["CONFIG", "SET", "cluster-announce-port", &port(&proxy.url)]).await;
    }
    let nodes: Vec<RedisServer> = nodes.into_iter().map(|(node, _)| node).collect();
    for node in &nodes {
        let is_one = async || {
            let info: String = redis::from_redis_value(node.must(&["CLUSTER", "INFO"]).await).unwrap();
            let list: String = redis::from_redis_value(node.must(&["CLUSTER", "NODES"]).await).unwrap();
            info.contains("cluster_state:ok") && proxies.iter().all(|proxy| list.contains(&format!(":{}@", port(&proxy.url))))
        };
        eventually("the cluster is one, behind its proxies", is_one).await;
    }
    (nodes, proxies)
}

#[tokio::test]
async fn stuck_redis_connections_are_replaced() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::start(&server.url).await;
    let limiter = Limiter::new(RedisLink::new(&hasty(&proxy.url)).unwrap(), LIMITS);
    for _ in 0..3 {
        until_served(&limiter).await;
        proxy.freeze_existing();
        until_served(&limiter).await;
        proxy.thaw();
    }
}

#[tokio::test]
async fn call_under_way_on_a_stuck_redis_connection_is_not_lost() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::start(&server.url).await;
    // Its deadline is 20 s, so that silence alone tells that the connection is stuck.
    let limiter = Arc::new(Limiter::new(RedisLink::new(&redis_settings_of(&proxy.url)).unwrap(), LIMITS));
    until_served(&limiter).await;
    eventually("both connections are open", async || proxy.opened() == 2).await;
    proxy.freeze_existing();
    let under_way = tokio::spawn({
        let limiter = Arc::clone(&limiter);
        async move { is_served(&limiter).await }
    });
    eventually("both connections are replaced", async || proxy.opened() == 4).await;
    assert!(is_served(&limiter).await, "by a new connection");
    assert!(!under_way.is_finished());
    proxy.thaw();
    assert!(must_complete("the call under way", under_way).await.unwrap(), "by the old connection");
}

#[tokio::test]
async fn closed_redis_connections_are_replaced() {
    let server = RedisServer::start(&[]).await;
    let proxy = Proxy::start(&server.url).await;
    let limiter = Limiter::new(RedisLink::new(&redis_settings_of(&proxy.url)).unwrap(), LIMITS);
    for _ in 0..5 {
        until_served(&limiter).await;
        proxy.cut();
    }
    until_served(&limiter).await;
}

#[tokio::test]
async fn redis_that_became_a_replica_is_left_for_the_new_primary() {
    let [old, new] = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let proxy = Proxy::start(&old.url).await;
    let engine = engine(&redis_settings_of(&proxy.url));
    until_reason(&engine, None).await;
    old.must(&["REPLICAOF", "127.0.0.1", new.url.rsplit(':').next().unwrap()]).await;
    until_reason(&engine, Some(UnreadyReason::ReadOnly)).await;
    assert!(!is_served(engine.limiter()).await);
    // The name leads to the new primary, as a managed server's does after a failover.
    proxy.lead_to(&new.url);
    until_served(engine.limiter()).await;
    assert_eq!(reason(&engine).await, None);
}

#[tokio::test]
async fn redis_primary_that_came_back_is_used_again() {
    let [server, other] = [RedisServer::start(&[]).await, RedisServer::start(&[]).await];
    let engine = engine(&redis_settings_of(&server.url));
    until_reason(&engine, None).await;
    server.must(&["REPLICAOF", "127.0.0.1", other.url.rsplit(':').next().unwrap()]).await;
    until_reason(&engine, Some(UnreadyReason::ReadOnly)).await;
    server.must(&["REPLICAOF", "NO", "ONE"]).await;
    until_reason(&engine, None).await;
}

#[tokio::test]
async fn redis_password_that_is_wrong_for_a_while_is_tried_again() {
    let server = RedisServer::start(&["--requirepass", "right"]).await;
    let engine = engine(&redis_settings_of(&server.url_with("right")));
    until_reason(&engine, None).await;
    server.must(&["CONFIG", "SET", "requirepass", "changed"]).await;
    server.must(&["CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"]).await;
    until_reason(&engine, Some(UnreadyReason::WrongPassword)).await;
    server.must(&["CONFIG", "SET", "requirepass", "right"]).await;
    until_reason(&engine, None).await;
}

#[tokio::test]
async fn redis_that_refuses_is_named_by_its_reason() {
    let locked = RedisServer::start(&["--requirepass", "right"]).await;
    let full = RedisServer::start(&["--maxmemory", "1"]).await;
    let mut gone = RedisServer::start(&[]).await;
    gone.kill();
    for (url, wanted) in [
        (locked.url.clone(), UnreadyReason::WrongPassword),
        (locked.url_with("wrong"), UnreadyReason::WrongPassword),
        (full.url.clone(), UnreadyReason::Full),
        (gone.url.clone(), UnreadyReason::Unreachable),
        ("redis://no-such-host.invalid:6379".to_owned(), UnreadyReason::Unreachable),
    ] {
        assert_eq!(reason(&engine(&redis_settings_of(&url))).await, Some(wanted), "{url}");
    }
}

#[tokio::test]
async fn redis_that_loads_its_data_is_loading_and_then_used() {
    let mut server = RedisServer::start(&["--rdbcompression", "no"]).await;
    server.must(&["EVAL", "for i = 1, 20000 do redis.call('SET', i, string.rep('x', 100)) end", "0"]).await;
    server.must(&["SAVE"]).await;
    server.kill();
    // 20 ms for each key: the test is the one that ends it.
    server.start_again(&["--key-load-delay", "20000", "--loading-process-events-interval-bytes", "1024"]).await;
    let engine = engine(&redis_settings_of(&server.url));
    assert_eq!(reason(&engine).await, Some(UnreadyReason::Loading));
    server.must(&["CONFIG", "SET", "key-load-delay", "0"]).await;
    until_reason(&engine, None).await;
}

#[tokio::test]
async fn stuck_redis_cluster_node_is_reconnected() {
    let (_nodes, proxies) = cluster().await;
    let urls: Vec<_> = proxies.iter().map(|proxy| proxy.url.as_str()).collect();
    let limiter = Limiter::new(RedisLink::new(&hasty(&urls.join(","))).unwrap(), LIMITS);
    // Callers by the dozen, so that each node counts some.
    let callers: Vec<_> = (0..24).map(|number| format!("caller {number}")).collect();
    let all_served = async || {
        let checks = callers.iter().map(|caller| limiter.check(LimitKind::Anonymous, caller.as_bytes()));
        join_all(checks).await.into_iter().all(|verdict| verdict != Verdict::Uncounted)
    };
    eventually("every node answers", all_served).await;
    for proxy in &proxies {
        proxy.freeze_existing();
        eventually("every node answers again", all_served).await;
        proxy.thaw();
    }
}

#[tokio::test]
async fn redis_cluster_is_not_ready_while_one_primary_is_a_replica_or_stuck() {
    let (nodes, proxies) = cluster().await;
    let urls: Vec<_> = proxies.iter().map(|proxy| proxy.url.as_str()).collect();
    let engine = engine(&hasty(&urls.join(",")));
    until_reason(&engine, None).await;
    proxies[2].freeze();
    until_reason(&engine, Some(UnreadyReason::Unreachable)).await;
    proxies[2].thaw();
    until_reason(&engine, None).await;
    nodes[1].must(&["CONFIG", "SET", "min-replicas-to-write", "1"]).await;
    until_reason(&engine, Some(UnreadyReason::ReadOnly)).await;
    nodes[1].must(&["CONFIG", "SET", "min-replicas-to-write", "0"]).await;
    until_reason(&engine, None).await;
}

#[tokio::test]
async fn redis_eviction_policy_is_on_the_metrics_page() {
    for (policy, evicts) in [("allkeys-lru", true), ("noeviction", false)] {
        let server = RedisServer::start(&["--maxmemory-policy", policy]).await;
        let engine = engine(&redis_settings_of(&server.url));
        let mut registry = Registry::default();
        engine.register(&mut registry);
        let page = async || {
            let mut page = String::new();
            prometheus_client::encoding::text::encode(&mut page, &registry).unwrap();
            page
        };
        until_reason(&engine, None).await;
        let info = async || redis::from_redis_value::<String>(server.must(&["INFO", "commandstats"]).await).unwrap();
        eventually("the policy is read", async || info().await.contains("cmdstat_info")).await;
        let line = format!("coditect_redis_evicts {}", u8::from(evicts));
        eventually(&line, async || page().await.contains(&line)).await;
    }
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Log {
    fn lines(&self, message: &str) -> Vec<String> {
        let log = String::from_utf8(self.0.lock().unwrap().clone()).unwrap();
        log.lines().filter(|line| line.contains(message)).map(str::to_owned).collect()
    }
}

#[tokio::test]
async fn redis_change_of_state_is_logged_once_with_its_cause() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let server = RedisServer::start(&["--requirepass", "right", "--maxmemory-policy", "allkeys-lru"]).await;
    let limiter = Limiter::new(RedisLink::new(&redis_settings_of(&server.url_with("wrong"))).unwrap(), LIMITS);
    for _ in 0..50 {
        assert!(!is_served(&limiter).await);
    }
    let [line] = &log.lines("Redis cannot be used")[..] else { panic!("{log:?}", log = log.lines("")) };
    let address = server.url.trim_start_matches("redis://");
    for part in [address, "wrong_password", "Password authentication failed"] {
        assert!(line.contains(part), "{part}: {line}");
    }
    server.must(&["CONFIG", "SET", "requirepass", "wrong"]).await;
    until_served(&limiter).await;
    assert_eq!(log.lines("Redis can be used again").len(), 1);
    let evicts = async || log.lines("Redis evicts sessions").into_iter().next();
    assert!(eventually_some("the eviction policy is warned of", evicts).await.contains("allkeys-lru"));
    assert!(!log.lines("").iter().any(|line| line.contains(":wrong@")));
}
