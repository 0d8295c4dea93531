//! The seat engine: hands out seats, keeps them while their holders live, and takes them back.
//!
//! Two promises: never more sessions than seats, and never a live client thrown out, whatever dies or restarts.
//! PostgreSQL is the record (a seat is granted when its row is committed), Redis decides fast (one Lua call on one hash
//! slot for each operation) and its clock is the only clock for expiry. A session that nobody ended is dead only if
//! both say so: Redis has it expired or lacks it, *and* PostgreSQL's record of its expiry has fallen due. The record is
//! never later than the truth, so whatever Redis has forgotten can be written back from it.

mod acquire;
mod answer;
mod applicant;
mod batcher;
mod claim;
mod close;
mod counters;
mod entries;
mod heartbeat;
mod licenses;
mod limiter;
mod rebuild;
mod reconcile;
mod records;
mod redis_link;
mod redis_url;
mod refusals;
mod release;
mod revoke;
mod screening;
mod script;
mod scripts;
pub mod statements;
mod sweep;
mod upkeep;
mod usage;

use std::{sync::Arc, time::Duration};

pub use applicant::{Acquired, Applicant, Seat};
pub use claim::Claim;
pub use counters::Counters;
pub use heartbeat::{Heartbeat, Renewal};
pub(crate) use limiter::{Asker, CountedBy, Looked};
pub use limiter::{Counted, LimitSettings, Limiter};
pub use reconcile::{Drift, Listed, Reconciler};
pub use redis_link::{RedisLink, RedisSettings};
pub use release::Released;
pub use sweep::{SweepReport, Sweeper};
pub use usage::HourOfUse;

use prometheus_client::registry::Registry;
use tokio::sync::Mutex;

use crate::{
    db::{self, Database},
    domain::{
        Clock, License, LicenseId, LicenseKey, LimitKind, Occupancy, Permission, Principal, Refusal, TenantId, Timestamp, Unadmitted,
        Verdict,
    },
};
use answer::Reply;
use batcher::Batcher;
use entries::Entries;
use heartbeat::Beats;
use licenses::Licenses;
use script::ScriptLink;
use scripts::{Caller, Scripts, limit_key};
use upkeep::Upkeep;

/// How often an operation starts again because the license was cold, had changed, or Redis had forgotten something.
const TRIES: usize = 60;
/// How long to wait while another function rebuilds a license.
const PATIENCE: Duration = Duration::from_millis(25);

/// Why the engine could not answer. Nothing of it is the caller's fault, and everything may be tried again.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL is down, slow or refuses.
    #[error("{0}")]
    Database(Arc<db::Error>),
    /// Redis is down, slow or refuses.
    #[error("Redis: {0}")]
    Redis(#[from] redis::RedisError),
    /// A license stayed cold or disputed for longer than a request may last.
    #[error("the seats of license {0} are being rebuilt")]
    Unsettled(LicenseId),
    /// A script or a row has answered what it cannot answer: a bug.
    #[error("unexpected answer: {0}")]
    Unexpected(String),
}

impl Error {
    /// Whether the fault is ours, and not that of a server that is down.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Unexpected(_) => true,
            Self::Database(error) => error.is_ours(),
            Self::Redis(_) | Self::Unsettled(_) => false,
        }
    }
}

impl From<db::Error> for Error {
    fn from(error: db::Error) -> Self {
        Self::Database(Arc::new(error))
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        db::Error::from(error).into()
    }
}

/// What a license key opens.
#[derive(Clone, Debug)]
pub enum Inspected {
    /// There is no such key, or not for whom the token stands.
    Unknown,
    /// The license may not be used now.
    Refused(Refusal),
    /// The license requires a token.
    Unadmitted(Unadmitted),
    /// The license may be used; so many of its seats are taken.
    Usable(Arc<License>, Occupancy),
}

/// The seats of all licenses. One for each process, behind an [`Arc`].
#[derive(Debug)]
pub struct Engine {
    scripts: Arc<Scripts>,
    upkeep: Upkeep,
    beats: Batcher<Beats>,
    entries: Batcher<Entries>,
    database: Database,
    licenses: Licenses,
    clock: Arc<dyn Clock>,
    limiter: Arc<Limiter>,
    counters: Counters,
    /// Held while a session is added to a shared seat, by a part of the holder: sessions that are added to one seat wait for its row, and
    /// must not keep more than one connection each from everybody else.
    adding: [Mutex<()>; 64],
}

impl Engine {
    /// An engine over these servers. `clock` judges the windows of licenses; seats go by Redis' own.
    #[must_use]
    pub fn new(redis: RedisLink, database: Database, clock: Arc<dyn Clock>, limits: LimitSettings) -> Self {
        Self::over(ScriptLink::new(redis, None), database, clock, limits)
    }

    /// The same, with Redis' clock replaced too: tests move time and do not sleep.
    #[must_use]
    pub fn with_moved_time(redis: RedisLink, database: Database, clock: Arc<dyn Clock>, limits: LimitSettings) -> Self {
        Self::over(ScriptLink::new(redis, Some(Arc::clone(&clock))), database, clock, limits)
    }

    fn over(link: ScriptLink, database: Database, clock: Arc<dyn Clock>, limits: LimitSettings) -> Self {
        let scripts = Arc::new(Scripts::new(link.clone()));
        Self {
            beats: Batcher::new(Beats { scripts: Arc::clone(&scripts), limit: limits.of(LimitKind::Principal) }),
            entries: Batcher::new(Entries { database: database.clone(), clock: Arc::clone(&clock) }),
            scripts,
            upkeep: Upkeep::new(link.clone()),
            licenses: Licenses::new(Arc::clone(&clock)),
            database,
            limiter: Arc::new(Limiter::over(link, limits, Arc::clone(&clock))),
            clock,
            counters: Counters::default(),
            adding: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// What the engine has counted since it started.
    #[must_use]
    pub const fn counters(&self) -> &Counters {
        &self.counters
    }

    /// Puts the engine's counters, and the state of its connections, on a metrics page.
    pub fn register(&self, registry: &mut Registry) {
        self.counters.register(registry);
        self.limiter.register(registry);
        registry.register("coditect_database_uses", "Times that PostgreSQL was asked", self.database.uses().clone());
        let database = self.database.clone();
        registry.register_collector(Box::new(counters::PoolCollector::new(database)));
    }

    /// The database it works on.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// What counts its callers' requests, and others'.
    #[must_use]
    pub const fn limiter(&self) -> &Arc<Limiter> {
        &self.limiter
    }

    /// Counts a request that was answered without a script that counts.
    async fn count(&self, license: LicenseId, caller: &Caller<'_>) -> Verdict {
        self.limiter.check_at(self.limiter.limit(LimitKind::Principal), &limit_key(license, caller)).await
    }

    /// Names what the engine needs and cannot reach now.
    pub async fn unreachable(&self) -> Vec<&'static str> {
        let (redis, database) = tokio::join!(self.scripts.ping(), self.database.ping());
        self.counters.redis_up.set(i64::from(redis.is_ok()));
        self.counters.database_up.set(i64::from(database.is_ok()));
        let mut down = Vec::new();
        if database.is_err() {
            down.push("database");
        }
        if redis.is_err() {
            down.push("redis");
        }
        down
    }

    /// Looks a license key up and counts its seats, taking none; for a caller who is known by a token, among the licenses of its
    /// tenants alone. Counts against the limit of the license key in this network, except where there is no such key.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn inspect(&self, key: &LicenseKey, callers: Option<&[Principal]>, network: &[u8; 16]) -> Result<Counted<Inspected>, Error> {
        let hash = key.hash();
        // None where a member of the staff asks, who has no tenant and sees all.
        let tenants: Option<Vec<TenantId>> = callers.and_then(|callers| callers.iter().map(|caller| caller.tenant).collect());
        let tenants = tenants.as_deref();
        let mut license = match self.open(&hash, tenants, Some(network)).await? {
            Looked::Found(license) => license,
            Looked::Unknown(verdict) => return Ok(Counted::Served(Inspected::Unknown, verdict)),
            Looked::Refused(allowance) => return Ok(Counted::Beyond(allowance)),
        };
        let (mut limit, mut verdict) = (self.limiter.limit(LimitKind::Principal), Verdict::Uncounted);
        for tries in 0..TRIES {
            let admitted = is_admitted(&license, callers).map_err(Inspected::Unadmitted);
            let usable = admitted.and_then(|()| license.may_be_used(self.clock.now()).map_err(Inspected::Refused));
            if let Err(refused) = usable {
                if tries == 0 && self.may_have_changed(&license).await {
                    self.licenses.forget(&license);
                    match self.licenses.read_by_key(&self.database, &hash, tenants).await? {
                        Some(newer) => license = newer,
                        None => return Ok(Counted::Served(Inspected::Unknown, verdict)),
                    }
                    continue;
                }
                if verdict == Verdict::Uncounted && matches!(refused, Inspected::Refused(_)) {
                    verdict = self.count(license.id, &Caller::Network(network)).await;
                }
                return Ok(Counted::under(verdict, refused));
            }
            let (used, version) = match self.scripts.occupancy(license.id, network, limit).await? {
                Reply::Cold => {
                    self.rebuild(&license, rebuild::Why::Cold).await?;
                    continue;
                }
                Reply::Done(Counted::Beyond(allowance)) => return Ok(Counted::Beyond(allowance)),
                Reply::Done(Counted::Served(occupancy, counted)) => {
                    if counted != Verdict::Uncounted {
                        // Whatever it takes from here on, it is one request.
                        (limit, verdict) = (limit.off(), counted);
                    }
                    occupancy
                }
            };
            if version > license.version {
                self.licenses.forget(&license);
                match self.licenses.read_by_key(&self.database, &hash, tenants).await? {
                    Some(newer) => license = newer,
                    None => return Ok(Counted::Served(Inspected::Unknown, verdict)),
                }
            } else {
                let occupancy = license.policy.occupancy(used);
                return Ok(Counted::Served(Inspected::Usable(license, occupancy), verdict));
            }
        }
        Err(Error::Unsettled(license.id))
    }

    /// Whether a license that refuses may be another one by now: Redis knows of a newer version, or does not know it at all. What has been
    /// reinstated is served at once, though it was kept here as it was.
    async fn may_have_changed(&self, license: &License) -> bool {
        match self.scripts.occupancy(license.id, &[0; 16], self.limiter.limit(LimitKind::Principal).off()).await {
            Ok(Reply::Done(Counted::Served((_, version), _))) => version > license.version,
            Ok(Reply::Cold) => true,
            // Without Redis what is known has to do; and nobody is counted here.
            Err(_) | Ok(Reply::Done(Counted::Beyond(_))) => false,
        }
    }

    /// Looks the license up again and tells Redis, so that a change takes hold on the very next call everywhere.
    /// Whoever commits a change of a license or its tenant calls this; every ten seconds the engine does it by itself.
    ///
    /// # Errors
    /// Any [`Error`]: the change then takes hold within ten seconds.
    pub async fn refresh(&self, license: LicenseId) -> Result<(), Error> {
        if let Some(license) = self.licenses.reload(&self.database, license).await? {
            self.scripts.tell(&license).await?;
        }
        Ok(())
    }
}

/// Whether a license may be looked up by these members, of whom the one of its tenant counts.
fn is_admitted(license: &License, callers: Option<&[Principal]>) -> Result<(), Unadmitted> {
    let caller = callers.and_then(|callers| license.caller(callers));
    let may_see = [Permission::SeeTenant, Permission::AcquireWithToken];
    if caller.is_some_and(|caller| !may_see.iter().any(|permission| caller.may(*permission))) {
        return Err(Unadmitted::NotPermitted);
    }
    license.admits(caller, None)
}

/// The moment a third of the way from `now` to `expires_at`, as whole seconds from now: when to send the next heartbeat.
fn beat_after(now: Timestamp, expires_at: Timestamp) -> u64 {
    let left = (expires_at - now).num_seconds() / 3;
    u64::try_from(left).unwrap_or(0).max(1)
}
