//! Grants and releases on their way into the record: those of one tenant are written together, in one commit.

use std::{collections::HashSet, sync::Arc};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{
    Error,
    batcher::Work,
    records::{GRANT, Grant, GrantRow, RELEASE},
};
use crate::{
    db::{Database, Statement},
    domain::{Clock, SessionId, TenantId, Timestamp},
};

/// Most entries of one commit: bounds how long the others of its batch wait.
const BATCH: usize = 128;
/// Commits of one tenant under way at the same time.
const ABREAST: usize = 2;
/// Fewest entries that are worth a commit of their own while another is under way.
const BESIDE: usize = 16;

/// What is to be recorded.
pub(super) enum Entry {
    /// A seat that Redis has chosen.
    Grant(Grant),
    /// The end of a session whose client has gone.
    Release(SessionId),
}

/// Records entries.
pub(super) struct Entries {
    pub(super) database: Database,
    pub(super) clock: Arc<dyn Clock>,
}

impl Work for Entries {
    type Key = TenantId;
    type Item = Entry;
    /// When it was granted or ended. None: something stands in the way of the grant, perhaps only the dead; or there was nothing to end.
    type Outcome = Option<Timestamp>;
    const MOST: usize = BATCH;
    const ABREAST: usize = ABREAST;
    const BESIDE: usize = BESIDE;

    async fn run(&self, tenant: &TenantId, entries: Vec<Entry>) -> Result<Vec<Option<Timestamp>>, Error> {
        let now = self.clock.now();
        let written = match self.write(*tenant, &entries, now, true).await {
            // Two were granted one seat at the same moment, and nothing is written. Each grant is tried again by itself.
            Err(Error::Database(error)) if error.is_unique_violation() => self.write(*tenant, &entries, now, false).await?,
            written => written?,
        };
        let outcome = |entry: &Entry| match entry {
            Entry::Grant(grant) => written.granted.contains(&grant.place.session.as_uuid()).then_some(grant.place.now),
            Entry::Release(session) => written.released.contains(&session.key.as_uuid()).then_some(now),
        };
        Ok(entries.iter().map(outcome).collect())
    }
}

/// The sessions whose entries were written.
struct Written {
    granted: HashSet<Uuid>,
    released: HashSet<Uuid>,
}

impl Entries {
    /// Writes the releases, and the grants if they are wanted.
    async fn write(&self, tenant: TenantId, entries: &[Entry], now: Timestamp, with_grants: bool) -> Result<Written, Error> {
        let mut grants: Vec<GrantRow<'_>> = vec![];
        let (mut ended, mut ended_of): (Vec<Uuid>, Vec<Uuid>) = (vec![], vec![]);
        for entry in entries {
            match entry {
                Entry::Grant(grant) if with_grants => grants.push(grant.row()?),
                Entry::Grant(_) => {}
                Entry::Release(session) => {
                    ended.push(session.key.as_uuid());
                    ended_of.push(session.license.as_uuid());
                }
            }
        }
        grants.sort_unstable_by_key(|row| (row.license, row.seat));
        macro_rules! column {
            ($row:ident => $value:expr) => {
                &grants.iter().map(|$row| $value).collect::<Vec<_>>()
            };
        }
        let of = tenant.as_uuid();
        let grant: [&(dyn ToSql + Sync); 12] = [
            &of,
            column!(row => row.license),
            column!(row => row.session),
            column!(row => row.seat),
            column!(row => row.holder),
            column!(row => row.hardware),
            column!(row => row.email),
            column!(row => row.idempotency_key.as_ref().map(|key| &key[..])),
            column!(row => row.request_hash),
            column!(row => row.at),
            column!(row => row.expires_at),
            column!(row => row.limit),
        ];
        let release: [&(dyn ToSql + Sync); 4] = [&of, &ended, &ended_of, &now];
        let (has_grants, has_releases) = (!grants.is_empty(), !ended.is_empty());
        let statements: Vec<Statement<'_>> =
            [has_grants.then_some((GRANT, &grant[..])), has_releases.then_some((RELEASE, &release[..]))].into_iter().flatten().collect();
        let mut answers = if statements.is_empty() { vec![] } else { self.database.query_all_as(tenant, &statements).await? }.into_iter();
        let mut sessions = |are_asked: bool| -> Result<HashSet<Uuid>, Error> {
            let rows = if are_asked { answers.next() } else { None };
            rows.iter().flatten().map(|row| Ok(row.try_get(0)?)).collect()
        };
        Ok(Written { granted: sessions(has_grants)?, released: sessions(has_releases)? })
    }
}
