//! Keys, and what they sign: so that a client can prove offline what it was given, and nobody can forge it.
//!
//! One *root* (RSA-4096, in Cloud KMS or a file) is trusted by every verifier. It signs license documents, when a license is issued
//! or changed, and certifies *leaf* keys (Ed25519, for a day each), which sign the leases on every acquire and heartbeat. So the
//! root is never waited for while a client waits for a seat, and a leaf that leaks is worth little: it is put on the revocation list,
//! which the root signs too.
//!
//! Functions have a [`Keyring`], which knows the leaf that signs now and nothing of the root. The job that makes and changes keys is
//! [`KeyRotation`].

mod documents;
mod jws;
pub mod key_file;
mod keyring;
mod leaf;
mod local_root;
pub mod pem;
mod published;
mod root;
mod rotation;
mod schedule;
mod sealing;
pub mod statements;

pub use documents::{count_changed, issue, sign as sign_document, sign_changed};
pub use keyring::{Keyring, Missing, SealingSettings};
pub use leaf::{Leaf, LeafJwk, Lease};
pub use local_root::LocalRoot;
pub use published::{Published, PublishedKeys};
pub use root::{RootAlgorithm, RootError, RootJwk, RootPublicKey, RootSigner};
pub use rotation::{KeyRotation, Rotated};
pub use schedule::{Outlook, Schedule};
pub use sealing::{CannotUnseal, InvalidSealingKey, SealingKey};

use crate::db;

/// How long what is published may be kept by whoever has fetched it, in seconds.
pub const CACHE_SECONDS: u64 = 300;

/// Why something could not be signed. None of it names a key's private half.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// PostgreSQL is down, slow or refuses.
    #[error("{0}")]
    Database(#[from] db::Error),
    /// The root does not sign.
    #[error("{0}")]
    Root(#[from] RootError),
    /// A leaf's private half cannot be read.
    #[error("{0}")]
    Unseal(#[from] CannotUnseal),
    /// No leaf can sign now: none was made yet, or none is certified for long enough.
    #[error("there is no signing key for now: the key rotation has not run")]
    NoLeaf,
    /// Claims cannot be written: a bug.
    #[error("claims cannot be written: {0}")]
    Claims(#[from] serde_json::Error),
    /// The cryptography refuses: a bug, or no randomness.
    #[error("the cryptography refuses: {0}")]
    Crypto(&'static str),
}

impl Error {
    /// Whether the fault is ours, and not that of a server that is down.
    #[must_use]
    pub fn is_ours(&self) -> bool {
        match self {
            Self::Database(error) => error.is_ours(),
            Self::Root(RootError::Unavailable(_)) | Self::NoLeaf => false,
            Self::Root(RootError::Refused(_)) | Self::Unseal(_) | Self::Claims(_) | Self::Crypto(_) => true,
        }
    }
}

impl From<tokio_postgres::Error> for Error {
    fn from(error: tokio_postgres::Error) -> Self {
        Self::Database(error.into())
    }
}
