//! Every statement of the engine, for the tests that prepare and explain them all.

use super::{licenses, reconcile, records, sweep};

/// Those that run as [`crate::db::Role::Functions`].
pub const FUNCTIONS: &[&str] = &[
    licenses::BY_KEY,
    licenses::BY_ID,
    licenses::BY_KEY_OF_TENANT,
    records::GRANT,
    records::GRANT_OVER_DEAD,
    records::SHARE,
    records::REPLACE,
    records::REPLACEABLE,
    records::FULL,
    records::BLOCKED,
    records::FIND,
    records::HOLD,
    records::RELEASE,
    records::EXPIRE,
    records::LIVE,
];

/// Those that run as [`crate::db::Role::Jobs`].
pub const JOBS: &[&str] =
    &[sweep::DUE, sweep::PREVIEW, sweep::RENEW, sweep::END, sweep::REVOKED, reconcile::LICENSES, reconcile::RECORDED, reconcile::STANDING];
