//! Grants and releases on their way into the record: written together, in one commit, whosoever they are.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
};

use tokio_postgres::types::ToSql;
use uuid::Uuid;

use super::{
    Error,
    batcher::{Batcher, Work},
    records::{GRANT, Grant, GrantRow, RELEASE},
};
use crate::{
    db::{self, Database, Patience, Statement},
    domain::{Clock, SessionId, TenantId, Timestamp},
};

/// Most entries of one commit: bounds how long the others of its batch wait.
const BATCH: usize = 128;
/// Commits of one lane under way at the same time.
const ABREAST: usize = 2;
/// Fewest entries that are worth a commit of their own while another is under way.
const BESIDE: usize = 16;

/// What is to be recorded.
#[derive(Clone)]
pub(super) enum Entry {
    /// A seat that Redis has chosen.
    Grant(Arc<Grant>),
    /// The end of a session whose client has gone.
    Release(SessionId),
}

/// Which entries go together.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(super) enum Lane {
    /// Those of all tenants: each statement sees the rows of one, but the commit is everybody's.
    All,
    /// Those of one tenant, where something is in the way of them or of others.
    Of(TenantId),
}

/// What became of an entry.
#[derive(Clone, Copy)]
pub(super) enum Recorded {
    /// When it was granted or ended. None: something stands in the way of the grant, perhaps only the dead; or there was nothing to end.
    At(Option<Timestamp>),
    /// Nothing, because something was in the way of an entry of the commit: to be tried again apart from other tenants'.
    Apart,
}

/// Records entries.
pub(super) struct Entries {
    pub(super) database: Database,
    pub(super) clock: Arc<dyn Clock>,
}

impl Batcher<Entries> {
    /// Records an entry, with others that come at the same moment. Whatever a tenant's entries run into, a lock or a seat that is granted twice,
    /// others' are held up by it for moments only.
    pub(super) async fn record(&self, tenant: TenantId, entry: Entry) -> Result<Option<Timestamp>, Error> {
        match self.ask(Lane::All, (tenant, entry.clone())).await? {
            Recorded::At(at) => Ok(at),
            Recorded::Apart => match self.ask(Lane::Of(tenant), (tenant, entry)).await? {
                Recorded::At(at) => Ok(at),
                Recorded::Apart => Err(Error::Unexpected("a tenant's entries are apart already".to_owned())),
            },
        }
    }
}

impl Work for Entries {
    type Key = Lane;
    type Item = (TenantId, Entry);
    type Outcome = Recorded;
    const MOST: usize = BATCH;
    const ABREAST: usize = ABREAST;
    const BESIDE: usize = BESIDE;

    async fn run(&self, lane: &Lane, entries: Vec<(TenantId, Entry)>) -> Result<Vec<Recorded>, Error> {
        let now = self.clock.now();
        let patience = if *lane == Lane::All { Patience::Moments } else { Patience::UntilDeadline };
        let is_of_several = entries.windows(2).any(|two| two[0].0 != two[1].0);
        let written = match self.write(&entries, now, true, patience).await {
            // Two were granted one seat at the same moment, and nothing is written. Each grant is tried again by itself.
            Err(Error::Database(error)) if error.is_unique_violation() && !is_of_several => {
                self.write(&entries, now, false, patience).await
            }
            written => written,
        };
        let written = match written {
            Err(error) if *lane == Lane::All && was_refused(&error) => return Ok(vec![Recorded::Apart; entries.len()]),
            written => written?,
        };
        let outcome = |(_, entry): &(TenantId, Entry)| {
            Recorded::At(match entry {
                Entry::Grant(grant) => {
                    written.granted.contains(&(grant.license.id.as_uuid(), grant.place.session.as_uuid())).then_some(grant.place.now)
                }
                Entry::Release(session) => written.released.contains(&(session.license.as_uuid(), session.key.as_uuid())).then_some(now),
            })
        };
        Ok(entries.iter().map(outcome).collect())
    }
}

/// Whether nothing was written, for a reason that may be one tenant's alone. A server that is down or slow is everybody's.
fn was_refused(error: &Error) -> bool {
    match error {
        Error::Database(error) => matches!(&**error, db::Error::Query(query) if query.code().is_some()),
        Error::Unexpected(_) => true,
        Error::Redis(_) | Error::Unsettled(_) => false,
    }
}

/// The sessions whose entries were written, with their licenses: a key that comes with another license is another's entry.
#[derive(Default)]
struct Written {
    granted: HashSet<(Uuid, Uuid)>,
    released: HashSet<(Uuid, Uuid)>,
}

/// The entries of one tenant.
#[derive(Default)]
struct Part<'a> {
    grants: Vec<GrantRow<'a>>,
    ended: Vec<Uuid>,
    ended_of: Vec<Uuid>,
}

/// The parameters of a statement.
type Columns<'a> = Vec<Box<dyn ToSql + Send + Sync + 'a>>;

impl Part<'_> {
    fn grant(&self, tenant: TenantId) -> Columns<'_> {
        macro_rules! column {
            ($row:ident => $value:expr) => {
                Box::new(self.grants.iter().map(|$row| $value).collect::<Vec<_>>())
            };
        }
        vec![
            Box::new(tenant.as_uuid()),
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
        ]
    }

    fn release(&self, tenant: TenantId, now: Timestamp) -> Columns<'_> {
        vec![Box::new(tenant.as_uuid()), Box::new(&self.ended), Box::new(&self.ended_of), Box::new(now)]
    }
}

impl Entries {
    /// Writes the releases, and the grants if they are wanted. Tenants come in order, and within each the grants, so that two
    /// commits wait for each other in one direction only.
    async fn write(&self, entries: &[(TenantId, Entry)], now: Timestamp, with_grants: bool, patience: Patience) -> Result<Written, Error> {
        let mut parts: BTreeMap<TenantId, Part<'_>> = BTreeMap::new();
        for (tenant, entry) in entries {
            match entry {
                Entry::Grant(grant) if with_grants => parts.entry(*tenant).or_default().grants.push(grant.row()?),
                Entry::Grant(_) => {}
                Entry::Release(session) => {
                    let part = parts.entry(*tenant).or_default();
                    part.ended.push(session.key.as_uuid());
                    part.ended_of.push(session.license.as_uuid());
                }
            }
        }
        for part in parts.values_mut() {
            part.grants.sort_unstable_by_key(|row| (row.license, row.seat));
        }
        let mut asked: Vec<(TenantId, &str, Columns<'_>)> = vec![];
        for (tenant, part) in &parts {
            if !part.grants.is_empty() {
                asked.push((*tenant, GRANT, part.grant(*tenant)));
            }
            if !part.ended.is_empty() {
                asked.push((*tenant, RELEASE, part.release(*tenant, now)));
            }
        }
        let mut written = Written::default();
        if asked.is_empty() {
            return Ok(written);
        }
        let params: Vec<Vec<&(dyn ToSql + Sync)>> =
            asked.iter().map(|(_, _, columns)| columns.iter().map(|column| &**column as _).collect()).collect();
        let statements: Vec<Statement<'_>> =
            asked.iter().zip(&params).map(|((tenant, sql, _), params)| (*tenant, *sql, &params[..])).collect();
        let answers = self.database.query_all_as(&statements, patience).await?;
        for ((_, sql, _), rows) in asked.iter().zip(answers) {
            let sessions = if *sql == GRANT { &mut written.granted } else { &mut written.released };
            for row in rows {
                sessions.insert((row.try_get(0)?, row.try_get(1)?));
            }
        }
        Ok(written)
    }
}
