//! Release: PostgreSQL first (the row ends), then Redis (the number is free).

use std::sync::Arc;

use super::{
    Asker, Claim, Counted, Engine, Error, Looked, Reply, TRIES,
    entries::Entry,
    rebuild::Why,
    records,
    scripts::{Caller, limit_key},
};
use crate::domain::{EndReason, License, LimitKind, SessionId, SessionKey, Timestamp, Verdict};

/// A session that has ended.
#[derive(Clone, Copy, Debug)]
pub struct Released {
    /// When it ended: now, or before in whatever way.
    pub at: Timestamp,
    /// How it ended: `Released` if this call or an earlier one released it.
    pub reason: EndReason,
    /// Seats in use without it.
    pub seats_used: u32,
}

impl Engine {
    /// Ends a session; one that has ended stays ended as it was. None: there never was one. Runs to its end even if the
    /// caller goes away. Counts against the limit of the session, whose seat is free even where the caller is told that it
    /// asks too often. Where there is none, it counts against the limit of the address that claims
    /// it, and beyond that limit PostgreSQL is asked only for sessions that Redis knows.
    ///
    /// # Errors
    /// Any [`Error`]. The session may have ended; trying again says when.
    pub async fn release(self: &Arc<Self>, claim: impl Into<Claim>) -> Result<Counted<Option<Released>>, Error> {
        let (engine, claim) = (Arc::clone(self), claim.into());
        let work = tokio::spawn(async move { engine.release_to_the_end(claim).await });
        work.await.map_err(|error| Error::Unexpected(error.to_string()))?
    }

    async fn release_to_the_end(&self, claim: Claim) -> Result<Counted<Option<Released>>, Error> {
        let Claim { session, network } = claim;
        // It has ended, and has been released again and again.
        let own_limit = limit_key(session.license, &Caller::Session(session.key));
        if let Some(allowance) = self.limiter.refused(&own_limit) {
            return Ok(Counted::Beyond(allowance));
        }
        let asker = network.as_ref().map(|network| Asker { network, known: Some(*session.license.as_uuid().as_bytes()) });
        if let Some(allowance) = asker.and_then(|asker| self.limiter.screen(asker))
            && !self.is_in_redis(session).await?
        {
            return Ok(Counted::Beyond(allowance));
        }
        let license = match self.find_license(session.license, network.as_ref()).await? {
            Looked::Found(license) => license,
            Looked::Unknown(verdict) => return Ok(Counted::Served(None, verdict)),
            Looked::Refused(allowance) if !self.is_in_redis(session).await? => return Ok(Counted::Beyond(allowance)),
            // Redis knows the session, so that there is such a license.
            Looked::Refused(_) => match self.licenses.by_id(&self.database, session.license).await? {
                Some(license) => license,
                None => return Ok(Counted::Served(None, Verdict::Uncounted)),
            },
        };
        let Some((at, reason)) = self.end_record(&license, session.key).await? else {
            // There never was such a session.
            let Some(asker) = asker else { return Ok(Counted::Served(None, Verdict::Uncounted)) };
            return Ok(Counted::under(self.limiter.count_unknown(asker).await, None));
        };
        let limit = self.limiter.limit(LimitKind::Principal);
        for _ in 0..TRIES {
            match self.scripts.release(license.id, session.key, limit).await? {
                Reply::Done(Counted::Beyond(allowance)) => {
                    self.limiter.refuse(&own_limit, allowance);
                    return Ok(Counted::Beyond(allowance));
                }
                Reply::Done(Counted::Served(seats_used, verdict)) => {
                    return Ok(Counted::Served(Some(Released { at, reason, seats_used }), verdict));
                }
                Reply::Cold => self.rebuild(&license, Why::Cold).await?,
            }
        }
        Err(Error::Unsettled(license.id))
    }

    async fn is_in_redis(&self, session: SessionId) -> Result<bool, Error> {
        let expiries = self.scripts.expiries(session.license, &[session.key]).await?;
        Ok(expiries.iter().any(Option::is_some))
    }

    async fn end_record(&self, license: &License, session: SessionKey) -> Result<Option<(Timestamp, EndReason)>, Error> {
        let entry = Entry::Release(SessionId { license: license.id, key: session });
        if let Some(at) = self.entries.record(license.tenant, entry).await? {
            self.counters.released.inc();
            return Ok(Some((at, EndReason::Released)));
        }
        let record = records::find(&self.database, license, session).await?;
        Ok(record.and_then(|record| record.ended))
    }
}
