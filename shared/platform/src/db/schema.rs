//! Whether the schema of the database is one that this program can work with: looked at until it is, and then no more.

use std::sync::atomic::{AtomicI64, Ordering};

use tokio_postgres::{SimpleQueryMessage, error::SqlState};

use super::{connect::first_row, error::NoConnection, migrate::newest_migration};
use crate::domain::UnreadyReason;

/// The newest migration that has run. Readable by every role since V20.
pub(super) const VERSION: &str = "SELECT max(version) FROM public.refinery_schema_history";

const UNKNOWN: i64 = -1;

/// What is known of the schema.
#[derive(Debug)]
pub(super) struct Schema {
    /// How many migrations it is ahead of this program.
    ahead: AtomicI64,
}

impl Default for Schema {
    fn default() -> Self {
        Self { ahead: AtomicI64::new(UNKNOWN) }
    }
}

impl Schema {
    /// Whether it was found to be good.
    pub(super) fn is_known(&self) -> bool {
        self.ahead.load(Ordering::Relaxed) != UNKNOWN
    }

    /// How many migrations the schema has that this program does not know: what they do must suit it, as they only add.
    pub(super) fn ahead(&self) -> i64 {
        self.ahead.load(Ordering::Relaxed).max(0)
    }

    /// Goes by what [`VERSION`] was answered.
    pub(super) fn check(&self, answer: Result<Vec<SimpleQueryMessage>, tokio_postgres::Error>) -> Result<(), NoConnection> {
        let known = newest_migration();
        let version: i64 = match answer {
            Ok(rows) => first_row(&rows).and_then(|row| row.get(0)).and_then(|version| version.parse().ok()).unwrap_or(0),
            Err(error) if error.code() == Some(&SqlState::UNDEFINED_TABLE) => {
                let words = "the database has no schema: run the migrations".to_owned();
                return Err(NoConnection { reason: UnreadyReason::SchemaMissing, words });
            }
            Err(error) if error.code() == Some(&SqlState::INSUFFICIENT_PRIVILEGE) => {
                let words = format!("the database's schema is older than V20, and this program needs V{known}: run the migrations");
                return Err(NoConnection { reason: UnreadyReason::SchemaOlder, words });
            }
            Err(error) => return Err(error.into()),
        };
        if version < known {
            let words = format!("the database's schema is V{version}, and this program needs V{known}: run the migrations");
            return Err(NoConnection { reason: UnreadyReason::SchemaOlder, words });
        }
        let was_known = self.ahead.swap(version - known, Ordering::Relaxed) != UNKNOWN;
        if version > known && !was_known {
            tracing::warn!(version, known, "the database's schema is newer than this program: it is served, as migrations only add");
        }
        Ok(())
    }
}
