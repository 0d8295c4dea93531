#![doc = include_str!("../README.md")]

mod clock;
mod database;
mod description;
mod eventually;
pub mod identity;
pub mod keys;
mod listener;
mod measured;
pub mod people;
mod process;
mod servers;

pub use clock::ManualClock;
pub use database::{Customer, TestDatabase, database_settings_of, policy};
pub use description::Description;
pub use eventually::{HANG_GUARD, eventually, eventually_is, eventually_some, must_complete};
pub use listener::Listener;
pub use measured::measured;
pub use process::{Process, free_port, patience};
pub use servers::Servers;

use platform::{Secret, seats::RedisSettings};

/// The Redis that the test run was given.
///
/// # Panics
/// If `REDIS_URL` is not set: a test without its servers fails, it is never skipped.
#[must_use]
pub fn redis_settings() -> RedisSettings {
    redis_settings_of(&required("REDIS_URL"))
}

/// The three-node Redis Cluster that the test run was given.
///
/// # Panics
/// If `REDIS_CLUSTER_URL` is not set.
#[must_use]
pub fn cluster_settings() -> RedisSettings {
    redis_settings_of(&required("REDIS_CLUSTER_URL"))
}

/// A Redis at some URL, with a deadline that no slow machine misses.
#[must_use]
pub fn redis_settings_of(url: &str) -> RedisSettings {
    RedisSettings { redis_url: Secret::from(url.to_owned()), redis_ca_file: None, redis_timeout_ms: PATIENT_MS }
}

/// The deadline of PostgreSQL and Redis in tests, the longest that the settings allow: a slow machine misses none.
pub(crate) const PATIENT_MS: u32 = 20_000;

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: ./scripts/test starts the servers and sets it"))
}
