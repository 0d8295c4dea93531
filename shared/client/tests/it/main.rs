//! The library as a customer's program sees it.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod client;
#[cfg(feature = "cli")]
mod command;
mod memory;
mod peer;
mod tampering;
mod vectors;
