#![doc = include_str!("../README.md")]

mod clock;
mod database;
mod description;
pub mod identity;
pub mod keys;
mod listener;
pub mod people;
mod process;
mod servers;

pub use clock::ManualClock;
pub use database::{Customer, TestDatabase, policy};
pub use description::Description;
pub use listener::Listener;
pub use process::{Process, free_port};
pub use servers::Servers;

use platform::{Secret, seats::RedisSettings};

/// The Redis that the test run was given.
///
/// # Panics
/// If `REDIS_URL` is not set: a test without its servers fails, it is never skipped.
#[must_use]
pub fn redis_settings() -> RedisSettings {
    RedisSettings { redis_url: Secret::from(required("REDIS_URL")), redis_ca_file: None }
}

/// The three-node Redis Cluster that the test run was given.
///
/// # Panics
/// If `REDIS_CLUSTER_URL` is not set.
#[must_use]
pub fn cluster_settings() -> RedisSettings {
    RedisSettings { redis_url: Secret::from(required("REDIS_CLUSTER_URL")), redis_ca_file: None }
}

fn required(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} is not set: ./scripts/test starts the servers and sets it"))
}
