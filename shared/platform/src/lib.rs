//! The common crate of the license platform: everything that more than one function needs.
//!
//! Modules depend one way: [`web`] on [`seats`] and [`signing`], these on [`db`], [`db`] on [`domain`]. The pure rules are in [`domain`]; I/O
//! lives around them. What each part is for and why it is so is told in `ARCHITECTURE.md` at the root.

pub mod db;
pub mod domain;
pub mod seats;
mod secret;
pub mod signing;
pub mod web;

pub use secret::Secret;

/// Several threads ask for small pieces all the time: glibc's allocator took an eighth of a heartbeat, and musl's, in a static
/// binary, takes far more.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;
