//! Every job there is: the one table that the worker, `standalone`, `jobs list` and the runbook go by.

mod expire_licenses;
mod purge;
mod reconcile_seats;
mod roll_up_usage;
mod rotate_keys;
mod sweep_sessions;

use crate::job::Job;

/// Every job, the most urgent first.
pub const JOBS: &[&Job] =
    &[&sweep_sessions::JOB, &rotate_keys::JOB, &roll_up_usage::JOB, &reconcile_seats::JOB, &expire_licenses::JOB, &purge::JOB];

/// Every statement of the jobs, for the test that prepares them all.
pub const STATEMENTS: &[&[&str]] = &[crate::ledger::STATEMENTS, roll_up_usage::STATEMENTS, expire_licenses::STATEMENTS, purge::STATEMENTS];
