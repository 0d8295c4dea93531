//! The root signer against a server that speaks as Cloud KMS does over HTTP, and signs.

#![expect(clippy::unwrap_used, reason = "a test that meets the unexpected fails")]

mod answers;
mod credentials;
mod faults;
mod integrity;
mod key;
mod retries;
mod server;
mod signing;
