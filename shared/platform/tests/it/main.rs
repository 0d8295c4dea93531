//! The platform against real PostgreSQL, Redis and Redis Cluster.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod audit_writers;
mod callers;
mod database;
mod engine;
mod issuers;
mod limits;
mod model;
mod plans;
mod privileges;
mod redis_tls;
mod revocations;
mod rig;
mod rotation;
mod scale;
mod screening;
mod sharing;
mod tenancy;
