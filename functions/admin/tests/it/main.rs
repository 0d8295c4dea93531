//! The administration over real PostgreSQL and Redis, in process: whatever it answers is held to its description.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod access_tokens;
mod actors;
mod audit_events;
mod described;
mod guard;
mod hardware_blocks;
mod journal;
mod license_pages;
mod license_sequences;
mod licenses;
mod matrix;
mod names;
mod people;
mod readme;
mod requests;
mod rig;
mod scale;
mod sequences;
mod sessions;
mod staff;
mod table;
mod tenants;
mod usage;
mod users;
