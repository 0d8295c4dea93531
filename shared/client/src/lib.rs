#![doc = include_str!("../README.md")]

mod checks;
mod claims;
mod client;
mod clock;
mod error;
mod hardware;
mod json;
mod jws;
mod keys;
mod license_key;
mod memory;
mod patience;
mod presence;
mod private_file;
mod random;
mod rejected;
mod rfc3339;
mod seat;
mod secret;
mod session;
mod slot;
mod verify;
mod wire;

pub use checks::{Check, Explanation};
pub use claims::{Certificate, LeafJwk, LeaseClaims, LicenseClaims, RevocationList, RevokedLeaf, SeatUnit};
pub use client::{Builder, Client, Kept, Offline};
pub use clock::Deadline;
pub use error::{Error, FieldFault};
pub use hardware::machine_hardware_id;
pub use keys::{Algorithm, KeyError, RootKey, hardware_sha256};
pub use license_key::canonical_license_key;
pub use memory::{ClockTurnedBack, Memory, MemoryError};
// For the `seat` command, and no part of the API.
#[doc(hidden)]
pub use private_file::replace_private_file;
pub use rejected::Rejected;
pub use rfc3339::rfc3339;
pub use seat::{Ending, Loss, Refusal, Released, Seat, SeatStatus, Trouble};
pub use session::SavedSession;
pub use verify::{Expected, PublishedKeys, Verifier};
