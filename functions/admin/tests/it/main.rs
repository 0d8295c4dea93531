//! The administration over real PostgreSQL and Redis, in process: whatever it answers is held to its description.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod access_tokens;
mod described;
mod guard;
mod hardware_blocks;
mod matrix;
mod people;
mod rig;
mod sequences;
mod sessions;
mod table;
mod tenants;
mod users;
