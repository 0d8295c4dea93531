//! The jobs over real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod command_line;
mod cron;
mod ledger;
mod queue;
mod rig;
mod rotate_keys;
mod scale;
mod statements;
mod sweep_sessions;
mod worker;
