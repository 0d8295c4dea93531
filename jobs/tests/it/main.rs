//! The jobs over real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod command_line;
mod cron;
mod expire_licenses;
mod large;
mod ledger;
mod purge;
mod queue;
mod reconcile_seats;
mod rig;
mod roll_up_usage;
mod rotate_keys;
mod scale;
mod statements;
mod sweep_sessions;
mod vandal;
mod worker;
