//! Every statement on keys and documents, for the test that prepares them all.

use super::{documents, keyring, published, rotation};

/// Those that run as [`crate::db::Role::Functions`].
pub const FUNCTIONS: &[&str] = &[keyring::ACTIVE, published::LEAVES, published::LIST];

/// Those that run as [`crate::db::Role::Jobs`].
pub const JOBS: &[&str] = &[
    rotation::LOCK,
    rotation::KNOWN,
    rotation::SEE_ROOT,
    rotation::MAKE,
    rotation::ACTIVATE,
    rotation::RETIRE,
    rotation::PURGE,
    rotation::REVOKE,
    rotation::REVOKED,
    rotation::LAST_LIST,
    rotation::ADD_LIST,
    documents::CHANGED,
    documents::COUNT_CHANGED,
    documents::SIGNED,
];
