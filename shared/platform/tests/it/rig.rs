//! An engine with a database of its own and a clock that tests move.

use std::{sync::Arc, time::Duration};

use platform::{
    db::Role,
    domain::{Email, HardwareId, IdempotencyKey, SessionId},
    seats::{
        Acquired, Applicant, Engine, Heartbeat, Inspected, LimitSettings, RedisLink, RedisSettings, Released, Seat, SweepReport, Sweeper,
    },
};
use testkit::{Customer, ManualClock, TestDatabase};
use tokio_postgres::Client;

/// Runs each test on a single Redis and on a cluster.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod single {
            $(#[tokio::test] async fn $name() { super::$name(testkit::redis_settings()).await; })*
        }
        mod cluster {
            $(#[tokio::test] async fn $name() { super::$name(testkit::cluster_settings()).await; })*
        }
    };
}

pub(crate) use on_both;

pub(crate) struct Rig {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) engine: Arc<Engine>,
    pub(crate) owner: Client,
    redis: RedisSettings,
    limits: LimitSettings,
    sweeper: Sweeper,
}

impl Rig {
    pub(crate) async fn on(redis: RedisSettings) -> Self {
        Self::limited(redis, LimitSettings::default()).await
    }

    pub(crate) async fn limited(redis: RedisSettings, limits: LimitSettings) -> Self {
        let database = TestDatabase::new().await;
        let clock = Arc::new(ManualClock::default());
        let engine = engine(&database, &redis, &clock, limits);
        let sweeper = Sweeper::new(Arc::clone(&engine), database.connect(Role::Jobs));
        let owner = database.owner().await;
        Self { database, clock, engine, owner, redis, limits, sweeper }
    }

    /// Another container of the same function: a cache and connections of its own.
    pub(crate) fn another_engine(&self) -> Arc<Engine> {
        engine(&self.database, &self.redis, &self.clock, self.limits)
    }

    pub(crate) fn pass(&self, seconds: u64) {
        self.clock.advance(Duration::from_secs(seconds));
    }

    pub(crate) async fn sweep(&self) -> SweepReport {
        self.sweeper.sweep().await.expect("a sweep succeeds")
    }

    pub(crate) async fn acquire(&self, customer: &Customer, device: &str) -> Acquired {
        self.apply(customer, applicant(device)).await
    }

    pub(crate) async fn apply(&self, customer: &Customer, applicant: Applicant) -> Acquired {
        self.engine.acquire(&customer.key, applicant).await.expect("acquire answers").outcome().expect("few are made")
    }

    pub(crate) async fn seat(&self, customer: &Customer, device: &str) -> Seat {
        match self.acquire(customer, device).await {
            Acquired::Granted(seat) | Acquired::Shared(seat) => seat,
            other => panic!("no seat: {other:?}"),
        }
    }

    pub(crate) async fn beat(&self, session: SessionId) -> Heartbeat {
        self.engine.heartbeat(session).await.expect("heartbeat answers").outcome().expect("few are sent")
    }

    pub(crate) async fn release(&self, session: SessionId) -> Option<Released> {
        self.engine.release(session).await.expect("release answers").outcome().expect("few are made")
    }

    pub(crate) async fn inspect(&self, customer: &Customer) -> Inspected {
        self.engine.inspect(&customer.key, None, &[0; 16]).await.expect("validate answers").outcome().expect("few are made")
    }

    pub(crate) async fn lives(&self, session: SessionId) -> bool {
        matches!(self.beat(session).await, Heartbeat::Renewed(_))
    }

    /// Sessions that PostgreSQL has as not ended.
    pub(crate) async fn open_sessions(&self) -> i64 {
        self.owner.query_one("SELECT count(*) FROM sessions WHERE ended_at IS NULL", &[]).await.expect("it counts").get(0)
    }
}

impl Rig {
    /// Sessions that share a seat which no other session occupies for them: there must be none.
    pub(crate) async fn unguarded_sessions(&self) -> i64 {
        let sql = "SELECT count(*) FROM sessions s WHERE s.ended_at IS NULL AND NOT EXISTS (
                       SELECT FROM sessions p WHERE p.license_id = s.license_id AND p.seat = s.seat AND p.holder = s.holder
                       AND p.share = 0 AND p.ended_at IS NULL)";
        self.owner.query_one(sql, &[]).await.expect("it counts").get(0)
    }

    /// The time by the moved clock, in ms.
    pub(crate) fn millis(&self) -> i64 {
        platform::domain::Clock::now(&*self.clock).timestamp_millis()
    }
}

fn engine(database: &TestDatabase, redis: &RedisSettings, clock: &Arc<ManualClock>, limits: LimitSettings) -> Arc<Engine> {
    let link = RedisLink::new(redis).expect("the URL of Redis can be read");
    let clock: Arc<ManualClock> = Arc::clone(clock);
    Arc::new(Engine::with_moved_time(link, database.connect(Role::Functions), clock, limits))
}

pub(crate) fn applicant(device: &str) -> Applicant {
    application(device, None)
}

pub(crate) fn application(device: &str, key: Option<&str>) -> Applicant {
    let hardware = HardwareId::parse(device).expect("it is a hardware id");
    let email = Email::parse("user@test.example").expect("it is an address");
    let key = key.map(|key| IdempotencyKey::parse(key).expect("it is an idempotency key"));
    Applicant::new(hardware, email, key, device.as_bytes())
}

/// Redis as an administrator sees it, to break it.
pub(crate) mod vandal {
    use platform::{
        domain::{SessionId, SessionKey},
        seats::RedisSettings,
    };
    use testkit::{Customer, redis_settings};

    pub(crate) const KEYS: [&str; 7] = ["policy", "expiry", "sessions", "holders", "taken", "replays", "usage"];

    pub(crate) async fn connection() -> redis::aio::MultiplexedConnection {
        let client = redis::Client::open(redis_settings().redis_url.expose()).expect("the URL can be read");
        client.get_multiplexed_async_connection().await.expect("Redis can be reached")
    }

    pub(crate) fn keys(customer: &Customer) -> Vec<String> {
        KEYS.iter().map(|name| format!("{{{}}}:{name}", customer.license)).collect()
    }

    /// Takes the marker of a license away, on a single Redis or a cluster: it is then cold.
    pub(crate) async fn forget(redis: &RedisSettings, customer: &Customer) {
        run(redis, redis::cmd("DEL").arg(&keys(customer)[0])).await;
    }

    /// Keeps every function from rebuilding a license, for longer than any of them waits.
    pub(crate) async fn lock(redis: &RedisSettings, customer: &Customer) {
        run(redis, redis::cmd("SET").arg(format!("{{{}}}:lock", customer.license)).arg("vandal")).await;
    }

    /// Takes one session away, as if Redis had lost its last writes.
    pub(crate) async fn lose(redis: &RedisSettings, customer: &Customer, session: SessionId) {
        let key = &session.key.as_bytes()[..];
        run(redis, redis::cmd("HDEL").arg(&keys(customer)[2]).arg(key)).await;
        run(redis, redis::cmd("ZREM").arg(&keys(customer)[1]).arg(key)).await;
    }

    /// Puts a session into Redis alone.
    pub(crate) async fn seat(redis: &RedisSettings, customer: &Customer, session: SessionKey, seat: u32, holder: &[u8; 16], until: i64) {
        let key = &session.as_bytes()[..];
        let record = [&until.to_be_bytes()[..], &seat.to_be_bytes(), holder, &[0; 32], &[0; 8]].concat();
        let keys = keys(customer);
        run(redis, redis::cmd("ZADD").arg(&keys[1]).arg(until).arg(key)).await;
        run(redis, redis::cmd("HSET").arg(&keys[2]).arg(key).arg(record)).await;
        run(redis, redis::cmd("HSET").arg(&keys[3]).arg(&holder[..]).arg(key)).await;
        run(redis, redis::cmd("SETBIT").arg(&keys[4]).arg(seat - 1).arg(1)).await;
    }

    /// Takes a session out of Redis, and leaves its number taken.
    pub(crate) async fn unseat(redis: &RedisSettings, customer: &Customer, session: SessionKey, holder: &[u8; 16]) {
        let (key, keys) = (&session.as_bytes()[..], keys(customer));
        run(redis, redis::cmd("ZREM").arg(&keys[1]).arg(key)).await;
        run(redis, redis::cmd("HDEL").arg(&keys[2]).arg(key)).await;
        run(redis, redis::cmd("HDEL").arg(&keys[3]).arg(&holder[..])).await;
    }

    /// Takes a session out as versions did that knew one session on a seat: the number is free, and a list of several is left.
    pub(crate) async fn remove_as_before(redis: &RedisSettings, customer: &Customer, session: SessionKey, seat: u32) {
        let (key, keys) = (&session.as_bytes()[..], keys(customer));
        run(redis, redis::cmd("ZREM").arg(&keys[1]).arg(key)).await;
        run(redis, redis::cmd("HDEL").arg(&keys[2]).arg(key)).await;
        run(redis, redis::cmd("SETBIT").arg(&keys[4]).arg(seat - 1).arg(0)).await;
    }

    async fn run(redis: &RedisSettings, command: &redis::Cmd) {
        let urls: Vec<&str> = redis.redis_url.expose().split(',').collect();
        if let [url] = urls[..] {
            let mut link = redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap();
            command.exec_async(&mut link).await.unwrap();
        } else {
            let mut link = redis::cluster::ClusterClient::new(urls).unwrap().get_async_connection().await.unwrap();
            command.exec_async(&mut link).await.unwrap();
        }
    }

    /// Wipes what Redis knows of a license.
    pub(crate) async fn wipe(redis: &mut redis::aio::MultiplexedConnection, customer: &Customer) {
        redis::cmd("DEL").arg(keys(customer)).exec_async(redis).await.expect("keys can be deleted");
    }

    /// Copies what Redis knows of a license, as a replica or a snapshot would have it.
    pub(crate) async fn copy(redis: &mut redis::aio::MultiplexedConnection, customer: &Customer) -> Vec<Option<Vec<u8>>> {
        let mut copy = Vec::new();
        for key in keys(customer) {
            copy.push(redis::cmd("DUMP").arg(key).query_async(redis).await.expect("a key can be dumped"));
        }
        copy
    }

    /// Puts a copy in the place of what is there.
    pub(crate) async fn restore(redis: &mut redis::aio::MultiplexedConnection, customer: &Customer, copy: &[Option<Vec<u8>>]) {
        wipe(redis, customer).await;
        for (key, value) in keys(customer).iter().zip(copy) {
            if let Some(value) = value {
                redis::cmd("RESTORE").arg(key).arg(0).arg(value).exec_async(redis).await.expect("a key can be restored");
            }
        }
    }
}
