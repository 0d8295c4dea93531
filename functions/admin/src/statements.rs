//! Every statement of the administration, for the test that prepares them all as [`platform::db::Role::Admin`].

use platform::db;

use crate::{access_tokens, audit, audit_events, creation, hardware_blocks, licenses, page, sessions, tenants, usage, users};

/// Those that all resources share.
const SHARED: &[&str] =
    &[page::IN_ORDER, audit::RECORD, audit::LOOKED, db::ACTOR, creation::LOCK, creation::KNOWN, creation::FORGET, creation::KEEP];

/// All of them.
pub const ADMIN: [&[&str]; 9] = [
    SHARED,
    tenants::STATEMENTS,
    users::STATEMENTS,
    access_tokens::STATEMENTS,
    licenses::STATEMENTS,
    sessions::STATEMENTS,
    hardware_blocks::STATEMENTS,
    usage::STATEMENTS,
    audit_events::STATEMENTS,
];
