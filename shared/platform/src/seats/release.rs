//! Release: PostgreSQL first (the row ends), then Redis (the number is free).

use std::sync::Arc;

use super::{Counted, Engine, Error, Reply, TRIES, entries::Entry, rebuild::Why, records};
use crate::domain::{License, LimitKind, SessionId, SessionKey, Timestamp, Verdict};

/// A session that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Released {
    /// When it ended: now, or before in whatever way.
    pub at: Timestamp,
    /// Seats in use without it.
    pub seats_used: u32,
}

impl Engine {
    /// Ends a session; one that has ended stays ended as it was. None: there never was one. Runs to its end even if the
    /// caller goes away. Counts against the limit of the session, whose seat is free even where the caller is told that it
    /// asks too often.
    ///
    /// # Errors
    /// Any [`Error`]. The session may have ended; trying again says when.
    pub async fn release(self: &Arc<Self>, session: SessionId) -> Result<Counted<Option<Released>>, Error> {
        let engine = Arc::clone(self);
        let work = tokio::spawn(async move { engine.release_to_the_end(session).await });
        work.await.map_err(|error| Error::Unexpected(error.to_string()))?
    }

    async fn release_to_the_end(&self, session: SessionId) -> Result<Counted<Option<Released>>, Error> {
        let unknown = Counted::Served(None, Verdict::Uncounted);
        let Some(license) = self.licenses.by_id(&self.database, session.license).await? else {
            return Ok(unknown);
        };
        let Some(at) = self.end_record(&license, session.key).await? else {
            return Ok(unknown);
        };
        let limit = self.limiter.limit(LimitKind::Principal);
        for _ in 0..TRIES {
            match self.scripts.release(license.id, session.key, limit).await? {
                Reply::Done(Counted::Beyond(allowance)) => return Ok(Counted::Beyond(allowance)),
                Reply::Done(Counted::Served(seats_used, verdict)) => {
                    return Ok(Counted::Served(Some(Released { at, seats_used }), verdict));
                }
                Reply::Cold => self.rebuild(&license, Why::Cold).await?,
            }
        }
        Err(Error::Unsettled(license.id))
    }

    async fn end_record(&self, license: &License, session: SessionKey) -> Result<Option<Timestamp>, Error> {
        let entry = Entry::Release(SessionId { license: license.id, key: session });
        if let Some(at) = self.entries.record(license.tenant, entry).await? {
            self.counters.released.inc();
            return Ok(Some(at));
        }
        let record = records::find(&self.database, license, session).await?;
        Ok(record.and_then(|record| record.ended).map(|(at, _)| at))
    }
}
