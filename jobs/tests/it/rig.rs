//! What jobs work with, over a database of the test's own and a clock that it moves.

use std::{sync::Arc, time::Duration};

use jobs::{
    job::{Context, Counts, Failure},
    meter::Meter,
    order,
    perform::{Outcome, perform, rehearse},
};
use platform::{
    db::{Database, DatabaseSettings, Role},
    domain::{Clock, Email, HardwareId, SystemClock},
    seats::{Acquired, Applicant, Engine, LimitSettings, RedisLink, RedisSettings, Seat},
    signing::{KeyRotation, Schedule},
};
use serde_json::Map;
use testkit::{Customer, ManualClock, TestDatabase, database_settings_of, keys, redis_settings};
use tokio_postgres::Client;

/// As the setting has it by default.
pub(crate) const SESSION_RETENTION: Duration = Duration::from_secs(400 * 86_400);

pub(crate) struct Rig {
    pub(crate) database: TestDatabase,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) context: Context,
    pub(crate) owner: Client,
    redis: RedisSettings,
}

impl Rig {
    pub(crate) async fn new() -> Self {
        Self::on(redis_settings()).await
    }

    pub(crate) async fn on(redis: RedisSettings) -> Self {
        let database = TestDatabase::new().await;
        let clock = Arc::new(ManualClock::default());
        let context = open(database.settings(), &redis, Arc::<ManualClock>::clone(&clock));
        let owner = database.owner().await;
        Self { database, clock, context, owner, redis }
    }

    /// Another worker: connections and a cache of its own.
    pub(crate) fn another(&self) -> Context {
        open(self.database.settings(), &self.redis, Arc::<ManualClock>::clone(&self.clock))
    }

    pub(crate) async fn run(&self, job: &str, key: Option<&str>) -> Result<Outcome, Failure> {
        perform(&self.context, order::job(job).expect("there is such a job"), key, Map::new()).await
    }

    pub(crate) async fn counts(&self, job: &str) -> Counts {
        match self.run(job, None).await.expect("the job is done") {
            Outcome::Done(counts) => counts,
            Outcome::DoneBefore => panic!("without a key nothing was done before"),
        }
    }

    pub(crate) async fn rehearse(&self, job: &str) -> Counts {
        rehearse(&self.context, order::job(job).expect("there is such a job"), Map::new()).await.expect("the job can tell")
    }

    pub(crate) async fn seat(&self, customer: &Customer, device: &str) -> Seat {
        match self.acquire(customer, device).await {
            Acquired::Granted(seat) | Acquired::Shared(seat) => seat,
            other => panic!("no seat: {other:?}"),
        }
    }

    pub(crate) async fn acquire(&self, customer: &Customer, device: &str) -> Acquired {
        acquire(&self.context, customer, device).await
    }

    /// The one number that a statement answers.
    pub(crate) async fn number(&self, sql: &str) -> i64 {
        self.owner.query_one(sql, &[]).await.expect("it can be asked").get(0)
    }
}

pub(crate) async fn acquire(context: &Context, customer: &Customer, device: &str) -> Acquired {
    let hardware = HardwareId::parse(device).expect("it is a hardware id");
    let email = Email::parse("user@test.example").expect("it is an address");
    let applicant = Applicant::new(hardware, email, None, device.as_bytes());
    context.engine.acquire(&customer.key, applicant).await.expect("acquire answers").outcome().expect("few are made")
}

/// A worker on a database that another test has made, by the machine's clock.
pub(crate) fn elsewhere(url: &str) -> Context {
    open(&database_settings_of(url), &redis_settings(), Arc::new(SystemClock))
}

fn open(database: &DatabaseSettings, redis: &RedisSettings, clock: Arc<dyn Clock>) -> Context {
    let connect = |role| Database::new(database, role).expect("the settings of a test database make sense");
    let redis = RedisLink::new(redis).expect("the URL of Redis can be read");
    let limits = LimitSettings::default();
    let engine = Arc::new(Engine::with_moved_time(redis.clone(), connect(Role::Functions), Arc::clone(&clock), limits));
    let sealing = keys::SEALING_KEY.parse().expect("it is a sealing key");
    let rotation = KeyRotation::new(connect(Role::Jobs), keys::root(), sealing, Schedule::default(), Arc::clone(&clock));
    let session_retention = SESSION_RETENTION;
    Context {
        database: connect(Role::Jobs),
        redis,
        engine,
        rotation,
        root: keys::root(),
        clock,
        session_retention,
        meter: Meter::default(),
    }
}

/// Lets those on who wait at the [`gate`].
pub(crate) const OPEN_GATE: &str = "CREATE TABLE gate ()";

/// In a job: waits until the test has opened the gate.
pub(crate) async fn gate(context: &Context) -> Result<(), Failure> {
    while !context.database.query("SELECT to_regclass('gate') IS NOT NULL", &[]).await?[0].get::<_, bool>(0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
