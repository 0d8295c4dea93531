//! Settings of the jobs, and what is opened from them.

use std::{error::Error, sync::Arc, time::Duration};

use clap::Args;
use kms::RootSettings;
use platform::{
    db::{Database, DatabaseSettings, Role},
    domain::{Clock, SystemClock},
    seats::{Engine, LimitSettings, RedisLink, RedisSettings},
    signing::{CACHE_SECONDS, KeyRotation, Schedule, SealingSettings},
};

use crate::{job::Context, meter::Meter};

/// When leaf keys change.
#[derive(Args, Clone, Copy, Debug)]
pub struct ScheduleSettings {
    /// Seconds that a leaf key signs: more than `LEAF_PUBLISHED_AHEAD`
    #[arg(long, env = "LEAF_SIGNS_FOR", default_value_t = 86_400, value_parser = clap::value_parser!(u64).range(1..=604_800))]
    leaf_signs_for: u64,
    /// Seconds that a new leaf key is published before it signs: longer than the 300 that anyone may keep what was published
    #[arg(long, env = "LEAF_PUBLISHED_AHEAD", default_value_t = 600, value_parser = published_ahead)]
    leaf_published_ahead: u64,
}

/// A verifier that has kept the keys for as long as it may must find the new one among them when it signs.
fn published_ahead(text: &str) -> Result<u64, String> {
    let seconds = text.parse().ok().filter(|seconds| (CACHE_SECONDS + 1..=86_400).contains(seconds));
    seconds.ok_or_else(|| format!("must be more than {CACHE_SECONDS} seconds, for which anyone may keep the keys, and at most 86400"))
}

impl From<ScheduleSettings> for Schedule {
    fn from(settings: ScheduleSettings) -> Self {
        let signs_for = Duration::from_secs(settings.leaf_signs_for);
        let made_ahead = Self::default().made_ahead.min(signs_for / 2);
        Self { signs_for, made_ahead, published_ahead: Duration::from_secs(settings.leaf_published_ahead) }
    }
}

/// How long things are kept.
#[derive(Args, Clone, Copy, Debug)]
pub struct RetentionSettings {
    /// Days that ended sessions are kept before they are moved to the archive
    #[arg(long, env = "SESSION_RETENTION_DAYS", default_value_t = 400, value_parser = clap::value_parser!(u32).range(2..=36_500))]
    session_retention_days: u32,
}

impl RetentionSettings {
    /// How long ended sessions are kept before they are archived.
    #[must_use]
    pub const fn sessions(self) -> Duration {
        Duration::from_secs(self.session_retention_days as u64 * 86_400)
    }
}

/// What jobs work with.
#[derive(Args, Clone, Debug)]
pub struct JobSettings {
    /// PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// What seals leaf keys.
    #[command(flatten)]
    pub sealing: SealingSettings,
    /// The root key.
    #[command(flatten)]
    pub root: RootSettings,
    /// When leaf keys change.
    #[command(flatten)]
    pub schedule: ScheduleSettings,
    /// How long things are kept.
    #[command(flatten)]
    pub retention: RetentionSettings,
}

impl JobSettings {
    /// Opens it all, without waiting for any server. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn open(&self) -> Result<Context, Box<dyn Error + Send + Sync>> {
        let redis = RedisLink::new(&self.redis)?;
        let functions = Database::new(&self.database, Role::Functions)?;
        // Jobs are no callers: nothing of theirs is limited.
        let engine = Engine::new(redis.clone(), functions, Arc::new(SystemClock), LimitSettings::default());
        self.open_with(redis, Arc::new(engine))
    }

    /// The same with an engine that is there already.
    ///
    /// # Errors
    /// If a setting makes no sense.
    pub fn open_with(&self, redis: RedisLink, engine: Arc<Engine>) -> Result<Context, Box<dyn Error + Send + Sync>> {
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let database = Database::new(&self.database, Role::Jobs)?;
        let root = self.root.open()?;
        let sealing = self.sealing.sealing_key.clone();
        let rotation = KeyRotation::new(database.clone(), Arc::clone(&root), sealing, self.schedule.into(), Arc::clone(&clock));
        let session_retention = self.retention.sessions();
        Ok(Context { database, redis, engine, rotation, root, clock, session_retention, meter: Meter::default() })
    }
}
