//! The platform as clients meet it: real processes over real PostgreSQL and Redis.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod administration;
mod bad_input;
mod browsers;
mod client;
mod command_line;
mod described;
mod faults;
mod hostile_tokens;
mod limits;
mod logging;
mod memberships;
mod operations;
mod people;
mod reporting;
mod seat_command;
mod settings;
mod shared_seats;
mod shell;
mod signing;
mod soak;
