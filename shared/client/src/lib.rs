#![doc = include_str!("../README.md")]

mod checks;
mod claims;
mod json;
mod jws;
mod keys;
mod memory;
mod rejected;
mod verify;

pub use checks::{Check, Explanation};
pub use claims::{Certificate, LeafJwk, LeaseClaims, LicenseClaims, RevocationList, RevokedLeaf, SeatUnit};
pub use keys::{Algorithm, KeyError, RootKey, hardware_sha256};
pub use memory::{ClockTurnedBack, Memory, MemoryError};
pub use rejected::Rejected;
pub use verify::{Expected, PublishedKeys, Verifier};
