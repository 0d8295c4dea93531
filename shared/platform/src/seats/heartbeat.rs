//! Heartbeat: one Lua call, shared with whoever beats at the same moment, and PostgreSQL only where Redis does not know
//! the session.

use std::sync::Arc;

use super::{
    Claim, Counted, Engine, Error, Looked, Reply, TRIES,
    answer::Beat,
    batcher::Work,
    beat_after,
    rebuild::Why,
    records,
    scripts::{Caller, Scripts, limit_key},
};
use crate::domain::{EndReason, HardwareHash, License, LicenseId, Limit, Refusal, SeatNumber, SessionId, TenantId, Timestamp};

/// A session renewed.
#[derive(Clone, Copy, Debug)]
pub struct Renewal {
    /// Whose license it is.
    pub tenant: TenantId,
    /// The seat it has.
    pub seat: SeatNumber,
    /// The device that has it.
    pub hardware: HardwareHash,
    /// When the heartbeat was taken, by the clock that rules expiry.
    pub at: Timestamp,
    /// When the session is lost if no further one comes.
    pub expires_at: Timestamp,
    /// Seconds after which to send the next.
    pub heartbeat_after: u64,
    /// Seats in use.
    pub seats_used: u32,
    /// Seats of the license.
    pub seats_total: u32,
    /// The version of the license's policy.
    pub license_version: i64,
}

/// What became of a heartbeat.
#[derive(Clone, Copy, Debug)]
pub enum Heartbeat {
    /// The session lives on.
    Renewed(Renewal),
    /// The license may no longer be used; the client must stop by then.
    Refused {
        /// Why.
        why: Refusal,
        /// When what the client holds runs out.
        stop_by: Timestamp,
    },
    /// The session has ended, for good.
    Ended(EndReason),
    /// There never was such a session.
    Unknown,
}

/// What PostgreSQL says of a session that Redis lacks.
enum LastWord {
    /// It has ended.
    Ended(EndReason),
    /// It lives, and Redis has forgotten it.
    Lives(Arc<License>),
    /// It was renewed or ended meanwhile: Redis must be asked again.
    Changed,
}

/// Heartbeats go to Redis together: on one server all of them, on a cluster those of one license.
pub(super) struct Beats {
    pub(super) scripts: Arc<Scripts>,
    /// Of each session.
    pub(super) limit: Limit,
}

impl Work for Beats {
    type Key = Option<LicenseId>;
    type Item = SessionId;
    type Outcome = Reply<Counted<Beat>>;

    /// Bounds how long Redis is busy with one call: about a millisecond, some more where they are of many licenses.
    const MOST: usize = 256;
    const ABREAST: usize = 2;
    const BESIDE: usize = 16;

    async fn run(&self, _: &Self::Key, sessions: Vec<SessionId>) -> Result<Vec<Reply<Counted<Beat>>>, Error> {
        // Those of one license must stand side by side, and so must those that beat twice.
        let mut order: Vec<usize> = (0..sessions.len()).collect();
        order.sort_unstable_by_key(|at| (sessions[*at].license, *sessions[*at].key.as_bytes()));
        let sorted: Vec<SessionId> = order.iter().map(|at| sessions[*at]).collect();
        let mut beats: Vec<_> = order.into_iter().zip(self.scripts.heartbeat(&sorted, self.limit).await?).collect();
        beats.sort_unstable_by_key(|(at, _)| *at);
        Ok(beats.into_iter().map(|(_, beat)| beat).collect())
    }
}

impl Engine {
    /// Renews a session by its license's TTL. Counts against the limit of the session, if there is one; a client that goes
    /// beyond it by beating too often does not lose its session by that. Where there is none, it
    /// counts against the limit of the address that claims it, and beyond that limit PostgreSQL is
    /// not asked.
    ///
    /// # Errors
    /// Any [`Error`]; the session is then neither ended nor surely renewed.
    pub async fn heartbeat(&self, claim: impl Into<Claim>) -> Result<Counted<Heartbeat>, Error> {
        let Claim { session, network } = claim.into();
        let lane = self.scripts.is_cluster().then_some(session.license);
        for _ in 0..TRIES {
            let (beat, verdict) = match self.beats.ask(lane, session).await? {
                Reply::Done(Counted::Served(beat, verdict)) => (beat, verdict),
                Reply::Done(Counted::Beyond(allowance)) => return Ok(Counted::Beyond(allowance)),
                Reply::Cold => match Box::pin(self.find_license(session.license, network.as_ref())).await? {
                    Looked::Found(license) => {
                        self.rebuild(&license, Why::Cold).await?;
                        continue;
                    }
                    Looked::Unknown(verdict) => return Ok(Counted::Served(Heartbeat::Unknown, verdict)),
                    Looked::Refused(allowance) => return Ok(Counted::Beyond(allowance)),
                },
            };
            match beat {
                Beat::Renewed { now, expires_at, tenant, version, seat, hardware, used, seats, policy_is_old } => {
                    if policy_is_old {
                        self.recheck(session.license).await;
                    }
                    let renewal = Renewal {
                        tenant,
                        seat,
                        hardware,
                        at: now,
                        expires_at,
                        heartbeat_after: beat_after(now, expires_at),
                        seats_used: used,
                        seats_total: seats,
                        license_version: version,
                    };
                    return Ok(Counted::Served(Heartbeat::Renewed(renewal), verdict));
                }
                Beat::Refused { expires_at, why } => {
                    return Ok(Counted::Served(Heartbeat::Refused { why, stop_by: expires_at }, verdict));
                }
                Beat::Missing { now } => match Box::pin(self.look_for(session, network.as_ref(), now)).await? {
                    Looked::Found(LastWord::Changed) => {}
                    Looked::Found(LastWord::Lives(license)) => self.rebuild(&license, Why::Drift).await?,
                    Looked::Found(LastWord::Ended(reason)) => {
                        // Whoever knows of a session that was is counted by it.
                        let verdict = self.count(session.license, &Caller::Session(session.key)).await;
                        return Ok(Counted::under(verdict, Heartbeat::Ended(reason)));
                    }
                    Looked::Unknown(verdict) => return Ok(Counted::Served(Heartbeat::Unknown, verdict)),
                    Looked::Refused(allowance) => return Ok(Counted::Beyond(allowance)),
                },
            }
        }
        Err(Error::Unsettled(session.license))
    }

    /// Redis knows the license and lacks the session: what PostgreSQL says of it.
    async fn look_for(&self, session: SessionId, network: Option<&[u8; 16]>, now: Timestamp) -> Result<Looked<LastWord>, Error> {
        // One that has ended, and is beaten for again and again.
        if let Some(allowance) = self.limiter.refused(&limit_key(session.license, &Caller::Session(session.key))) {
            return Ok(Looked::Refused(allowance));
        }
        self.screened(network, Some(session.license), None, self.last_word(session, now)).await
    }

    /// None: there never was such a session.
    async fn last_word(&self, session: SessionId, now: Timestamp) -> Result<Option<LastWord>, Error> {
        let Some(license) = self.licenses.by_id(&self.database, session.license).await? else {
            return Ok(None);
        };
        let Some(record) = records::find(&self.database, &license, session.key).await? else {
            return Ok(None);
        };
        if let Some((_, reason)) = record.ended {
            return Ok(Some(LastWord::Ended(reason)));
        }
        if record.expires_at > now {
            return Ok(Some(LastWord::Lives(license)));
        }
        // Both say that it is dead. It is ended here and now, so that no rebuild brings back what a client was told is over.
        let ended = records::expire(&self.database, &license, session.key, now).await?;
        Ok(Some(ended.map_or(LastWord::Changed, |_| LastWord::Ended(EndReason::Expired))))
    }

    /// Looks up a policy that Redis has held for ten seconds without a look. The heartbeat does not depend on it.
    async fn recheck(&self, license: LicenseId) {
        if let Err(error) = self.refresh(license).await {
            tracing::warn!(%license, %error, "the policy of a license could not be checked; Redis' copy serves on");
        }
    }
}
