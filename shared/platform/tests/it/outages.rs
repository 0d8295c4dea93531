//! Outages: Redis does not answer for longer than a TTL, or nothing does.

use std::{sync::Arc, time::Duration};

use platform::{
    Secret,
    db::{Database, DatabaseSettings, Role},
    domain::{Clock, EndReason, Refusal, SessionId, SessionKey, SystemClock, Timestamp},
    seats::{Acquired, Engine, Heartbeat, LimitSettings, RedisLink, RedisSettings, Renewal},
};
use testkit::{Customer, Proxy, TestDatabase, eventually, policy, redis_settings, redis_settings_of};

use crate::rig::{Rig, applicant, on_both};

on_both! {
    heartbeats_without_redis_keep_the_session_for_longer_than_its_ttl
    heartbeat_without_redis_writes_only_when_a_third_of_the_ttl_is_over
    heartbeat_without_redis_tells_what_has_ended
    heartbeat_without_redis_moves_no_record_that_is_due
    heartbeats_without_redis_share_a_statement
    gap_of_everything_is_a_cold_start_with_a_full_ttl
    sweep_that_was_never_run_protects_nobody
}

async fn by_record(engine: &Arc<Engine>, session: SessionId) -> Result<Heartbeat, platform::seats::Error> {
    Ok(engine.heartbeat(session).await?.outcome().expect("few are sent"))
}

async fn renewed(engine: &Arc<Engine>, session: SessionId) -> Renewal {
    match by_record(engine, session).await {
        Ok(Heartbeat::Renewed(renewal)) => renewal,
        other => panic!("{other:?}"),
    }
}

async fn recorded(rig: &Rig, session: SessionId) -> Timestamp {
    let row = rig.owner.query_one("SELECT expires_at FROM sessions WHERE id = $1", &[&session.key.as_uuid()]).await;
    row.unwrap().get(0)
}

async fn heartbeats_without_redis_keep_the_session_for_longer_than_its_ttl(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.seat(&customer, "two").await;
    let deaf = rig.engine_without_redis();
    for _ in 0..8 {
        rig.pass(120);
        let renewal = renewed(&deaf, seat.session).await;
        assert_eq!(renewal.expires_at, recorded(&rig, seat.session).await);
        assert_eq!((renewal.at, renewal.seat, renewal.hardware), (rig.clock.now(), seat.number, seat.hardware));
        assert_eq!((renewal.tenant, renewal.seats_total, renewal.license_version), (customer.tenant, 2, 1));
    }
    // Redis is there again, and has it expired. The other one was silent.
    let beat = rig.beat(seat.session).await;
    assert!(matches!(beat, Heartbeat::Renewed(_)), "{beat:?}");
    assert!(matches!(rig.acquire(&customer, "three").await, Acquired::Granted(_)));
    assert!(matches!(rig.acquire(&customer, "four").await, Acquired::Full { .. }));
}

async fn heartbeat_without_redis_writes_only_when_a_third_of_the_ttl_is_over(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    let deaf = rig.engine_without_redis();
    rig.pass(119);
    let renewal = renewed(&deaf, seat.session).await;
    assert_eq!((renewal.expires_at, renewal.heartbeat_after), (seat.expires_at, 80));
    assert_eq!(recorded(&rig, seat.session).await, seat.expires_at);
    rig.pass(2);
    let renewal = renewed(&deaf, seat.session).await;
    assert_eq!((renewal.expires_at - renewal.at).num_seconds(), 360);
}

async fn heartbeat_without_redis_tells_what_has_ended(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let (ended, live) = (rig.seat(&customer, "one").await, rig.seat(&customer, "two").await);
    rig.release(ended.session).await;
    rig.pass(200);
    let deaf = rig.engine_without_redis();
    let beat = by_record(&deaf, ended.session).await;
    assert!(matches!(beat, Ok(Heartbeat::Ended(EndReason::Released))), "{beat:?}");
    let due = recorded(&rig, ended.session).await;
    assert_eq!(due, ended.expires_at, "the record of what has ended stays");
    let never = SessionId { license: customer.license, key: SessionKey::random() };
    assert!(matches!(by_record(&deaf, never).await, Ok(Heartbeat::Unknown)));
    let nowhere = SessionId { license: platform::domain::LicenseId::random(), key: SessionKey::random() };
    assert!(matches!(by_record(&deaf, nowhere).await, Ok(Heartbeat::Unknown)));
    rig.owner.execute("UPDATE licenses SET status = 'suspended', version = version + 1", &[]).await.unwrap();
    rig.pass(11);
    let beat = by_record(&deaf, live.session).await;
    let Ok(Heartbeat::Refused { why: Refusal::Suspended, stop_by }) = beat else { panic!("{beat:?}") };
    assert_eq!((stop_by, recorded(&rig, live.session).await), (live.expires_at, live.expires_at));
}

async fn heartbeat_without_redis_moves_no_record_that_is_due(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    let deaf = rig.engine_without_redis();
    rig.pass(360);
    let beat = by_record(&deaf, seat.session).await;
    assert!(matches!(beat, Err(platform::seats::Error::Redis(_))), "{beat:?}");
    assert_eq!(recorded(&rig, seat.session).await, seat.expires_at);
}

async fn heartbeats_without_redis_share_a_statement(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let (one, two) = (rig.database.customer(policy(20)).await, rig.database.customer(policy(20)).await);
    let mut sessions = Vec::new();
    for number in 0..10 {
        for customer in [&one, &two] {
            sessions.push(rig.seat(customer, &format!("device-{number}")).await.session);
        }
    }
    let deaf = rig.engine_without_redis();
    rig.pass(130);
    // A session that beats twice, in one statement or in two, is renewed once.
    sessions.push(sessions[0]);
    let renewals = futures_util::future::join_all(sessions.iter().map(|session| renewed(&deaf, *session))).await;
    assert!(renewals.iter().all(|renewal| renewal.expires_at - renewal.at == chrono::TimeDelta::seconds(360)));
    assert!(renewals.iter().all(|renewal| renewal.seats_used == 10));
    assert_eq!(deaf.counters().moved.get(), 21);
}

async fn gap_of_everything_is_a_cold_start_with_a_full_ttl(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let (live, silent) = (rig.seat(&customer, "live").await, rig.seat(&customer, "silent").await);
    rig.sweep().await;
    rig.pass(900);
    // Before any sweep, and after it.
    assert!(matches!(rig.acquire(&customer, "three").await, Acquired::Full { .. }));
    assert!(matches!(rig.beat(live.session).await, Heartbeat::Renewed(_)));
    assert_eq!(rig.sweep().await.expired, 0);
    for _ in 0..3 {
        rig.pass(119);
        assert!(matches!(rig.beat(live.session).await, Heartbeat::Renewed(_)));
        assert_eq!(rig.sweep().await.expired, 0);
    }
    assert!(matches!(rig.acquire(&customer, "three").await, Acquired::Full { .. }));
    // Its full TTL is over.
    rig.pass(4);
    assert_eq!(rig.sweep().await.expired, 1);
    assert!(matches!(rig.acquire(&customer, "three").await, Acquired::Granted(_)));
    assert!(matches!(rig.beat(silent.session).await, Heartbeat::Ended(EndReason::Expired)));
    assert!(matches!(rig.beat(live.session).await, Heartbeat::Renewed(_)));
}

async fn sweep_that_was_never_run_protects_nobody(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.pass(900);
    assert!(matches!(rig.acquire(&customer, "two").await, Acquired::Granted(_)));
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Expired)));
}

#[tokio::test]
async fn instance_that_could_take_no_heartbeats_ends_nobody_and_tells_the_others() {
    let proxy = Proxy::start(redis_settings().redis_url.expose()).await;
    let rig = Rig::on(redis_settings_of(&proxy.url)).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.sweep().await;
    // Nobody listens there, so that each call fails at once.
    proxy.lead_to(&format!("redis://127.0.0.1:{}", testkit::free_port()));
    proxy.cut();
    rig.pass(361);
    assert!(rig.engine.heartbeat(seat.session).await.is_err(), "neither Redis nor the record can renew it");
    rig.pass(6);
    proxy.lead_to(redis_settings().redis_url.expose());
    proxy.cut();
    // The sweep of another instance goes on, and knows of no gap.
    rig.owner.execute("UPDATE pulse SET beaten_at = $1", &[&rig.clock.now()]).await.unwrap();
    eventually("Redis answers again", async || rig.engine.heartbeat(seat.session).await.is_ok()).await;
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Renewed(_)));
    let told = "SELECT count(*) FROM pulse WHERE resumed_at IS NOT NULL";
    eventually("the others are told", async || rig.owner.query_one(told, &[]).await.unwrap().get::<_, i64>(0) == 1).await;
}

/// Two engines by the machine's clock: one behind proxies that a test freezes, with short deadlines, and one with none in between.
struct Scene {
    database: TestDatabase,
    customer: Customer,
    redis_proxy: Proxy,
    database_proxy: Proxy,
    behind: Arc<Engine>,
    direct: Arc<Engine>,
}

impl Scene {
    /// One of two seats is taken, for a day: what is left over by mistake outlasts the test.
    async fn new() -> Self {
        let database = TestDatabase::new().await;
        let customer = database.customer(platform::domain::Policy { session_ttl: Duration::from_secs(86_400), ..policy(2) }).await;
        let redis_proxy = Proxy::start(redis_settings().redis_url.expose()).await;
        let database_proxy = Proxy::start(database.url()).await;
        let engine = |redis: &RedisSettings, settings: &DatabaseSettings| {
            let (link, database) = (RedisLink::new(redis).unwrap(), Database::new(settings, Role::Functions).unwrap());
            Arc::new(Engine::new(link, database, Arc::new(SystemClock), LimitSettings::default()))
        };
        let redis = RedisSettings { redis_timeout_ms: 1000, ..redis_settings_of(&redis_proxy.url) };
        let database_url = Secret::from(database_proxy.url.clone());
        let settings = DatabaseSettings { database_url, database_timeout_ms: 2000, ..database.settings().clone() };
        let (behind, direct) = (engine(&redis, &settings), engine(&redis_settings(), database.settings()));
        let scene = Self { database, customer, redis_proxy, database_proxy, behind, direct };
        eventually("both servers are reached", async || scene.is_granted(&scene.behind, "one").await).await;
        scene
    }

    async fn is_granted(&self, engine: &Arc<Engine>, device: &str) -> bool {
        let answer = engine.acquire(&self.customer.key, applicant(device)).await;
        matches!(answer.map(platform::seats::Counted::outcome), Ok(Some(Acquired::Granted(_) | Acquired::Shared(_))))
    }

    async fn open_sessions(&self) -> i64 {
        let owner = self.database.owner().await;
        owner.query_one("SELECT count(*) FROM sessions WHERE ended_at IS NULL", &[]).await.unwrap().get(0)
    }
}

#[tokio::test]
async fn seat_whose_commit_lands_late_is_free_again() {
    let scene = Scene::new().await;
    let before = scene.open_sessions().await;
    scene.database_proxy.freeze();
    assert!(!scene.is_granted(&scene.behind, "nobody").await);
    scene.database_proxy.thaw();
    eventually("the seat is free", async || scene.is_granted(&scene.direct, "two").await).await;
    eventually("what was recorded for nobody has ended", async || scene.open_sessions().await == before + 1).await;
}

#[tokio::test]
async fn seat_that_redis_grants_late_is_free_again() {
    let scene = Scene::new().await;
    scene.redis_proxy.freeze();
    assert!(!scene.is_granted(&scene.behind, "nobody").await);
    scene.redis_proxy.thaw();
    eventually("the seat is free", async || scene.is_granted(&scene.direct, "two").await).await;
}

#[tokio::test]
async fn seat_whose_release_redis_missed_is_free_again() {
    let scene = Scene::new().await;
    let answer = scene.behind.acquire(&scene.customer.key, applicant("two")).await.unwrap().outcome();
    let Some(Acquired::Granted(seat)) = answer else { panic!("{answer:?}") };
    scene.redis_proxy.freeze();
    assert!(scene.behind.release(seat.session).await.is_err());
    scene.redis_proxy.thaw();
    eventually("the seat is free", async || scene.is_granted(&scene.direct, "three").await).await;
}
