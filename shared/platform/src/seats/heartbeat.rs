//! Heartbeat: one Lua call, shared with whoever beats at the same moment, and PostgreSQL only where Redis does not know
//! the session.

use std::sync::Arc;

use super::{
    Counted, Engine, Error, Reply, TRIES,
    answer::Beat,
    batcher::Work,
    beat_after,
    rebuild::Why,
    records,
    scripts::{Caller, Scripts},
};
use crate::domain::{EndReason, HardwareHash, License, LicenseId, Limit, Refusal, SeatNumber, SessionId, TenantId, Timestamp, Verdict};

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
    /// beyond it by beating too often does not lose its session by that.
    ///
    /// # Errors
    /// Any [`Error`]; the session is then neither ended nor surely renewed.
    pub async fn heartbeat(&self, session: SessionId) -> Result<Counted<Heartbeat>, Error> {
        let lane = self.scripts.is_cluster().then_some(session.license);
        for _ in 0..TRIES {
            let (beat, verdict) = match self.beats.ask(lane, session).await? {
                Reply::Done(Counted::Served(beat, verdict)) => (beat, verdict),
                Reply::Done(Counted::Beyond(allowance)) => return Ok(Counted::Beyond(allowance)),
                Reply::Cold => {
                    let Some(license) = self.licenses.by_id(&self.database, session.license).await? else {
                        return Ok(Counted::Served(Heartbeat::Unknown, Verdict::Uncounted));
                    };
                    self.rebuild(&license, Why::Cold).await?;
                    continue;
                }
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
                Beat::Missing { now } => {
                    let Some(license) = self.licenses.by_id(&self.database, session.license).await? else {
                        return Ok(Counted::Served(Heartbeat::Unknown, Verdict::Uncounted));
                    };
                    if let Some(last_word) = self.last_word(&license, session, now).await? {
                        // Whoever knows of a session that was is counted by it.
                        let verdict = match last_word {
                            Heartbeat::Ended(_) => self.count(session.license, &Caller::Session(session.key)).await,
                            Heartbeat::Renewed(_) | Heartbeat::Refused { .. } | Heartbeat::Unknown => Verdict::Uncounted,
                        };
                        return Ok(Counted::under(verdict, last_word));
                    }
                }
            }
        }
        Err(Error::Unsettled(session.license))
    }

    /// Redis lacks the session: what PostgreSQL says of it. None: it lives, and Redis has been reminded; beat again.
    async fn last_word(&self, license: &License, session: SessionId, now: Timestamp) -> Result<Option<Heartbeat>, Error> {
        let Some(record) = records::find(&self.database, license, session.key).await? else {
            return Ok(Some(Heartbeat::Unknown));
        };
        if let Some((_, reason)) = record.ended {
            return Ok(Some(Heartbeat::Ended(reason)));
        }
        if record.expires_at > now {
            self.rebuild(license, Why::Drift).await?;
            return Ok(None);
        }
        // Both say that it is dead. It is ended here and now, so that no rebuild brings back what a client was told is over.
        let ended = records::expire(&self.database, license, session.key, now).await?;
        Ok(ended.map(|_| Heartbeat::Ended(EndReason::Expired)))
    }

    /// Looks up a policy that Redis has held for ten seconds without a look. The heartbeat does not depend on it.
    async fn recheck(&self, license: LicenseId) {
        if let Err(error) = self.refresh(license).await {
            tracing::warn!(%license, %error, "the policy of a license could not be checked; Redis' copy serves on");
        }
    }
}
