//! The platform against real PostgreSQL, Redis and Redis Cluster.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod audit_writers;
mod callers;
mod clocks;
mod database;
mod database_outages;
mod engine;
mod issuers;
mod limits;
mod model;
mod outages;
mod plans;
mod privileges;
mod redis_link;
mod redis_tls;
mod revocations;
mod rig;
mod rotation;
mod scale;
mod screening;
mod sharing;
mod tenancy;
