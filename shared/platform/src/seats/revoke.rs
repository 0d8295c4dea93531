//! Revoke: the administration ends a session in PostgreSQL, and Redis forgets it.

use tokio::time::sleep;

use super::{Engine, Error, PATIENCE, Reply, TRIES, answer::Turn};
use crate::domain::{LicenseId, LimitKind, SessionKey, Timestamp};

impl Engine {
    /// Takes a session out of Redis that was ended in PostgreSQL: its seat is free, and its holder's next heartbeat is told. No rebuild that
    /// is under way brings it back. Whoever commits a revocation calls this; the sweep looks after it for an hour, lest an older copy
    /// of Redis bring it back.
    ///
    /// # Errors
    /// Any [`Error`]: then it may be asked for again, and the next sweep does it by itself.
    pub async fn take_out(&self, license: LicenseId, session: SessionKey) -> Result<(), Error> {
        self.forget_session(license, session).await?;
        // A rebuild may have read the record before the session was ended there. Whoever holds its lock is past all such; what begins
        // later reads that it has ended.
        let token = SessionKey::random();
        for _ in 0..TRIES {
            match self.scripts.lock(license, token.as_bytes(), false).await? {
                Turn::Mine(_) => {
                    let done = self.forget_session(license, session).await;
                    self.scripts.unlock(license).await;
                    return done;
                }
                Turn::AnotherFunction | Turn::AlreadyWarm => sleep(PATIENCE).await,
            }
        }
        // The sweep has the last word.
        self.forget_session(license, session).await
    }

    /// Takes a session out of Redis, whatever is under way there.
    pub(super) async fn forget_session(&self, license: LicenseId, session: SessionKey) -> Result<(), Error> {
        match self.scripts.release(license, session, self.limiter.limit(LimitKind::Principal).off()).await? {
            // Redis knows nothing of the license, and will read it from the record.
            Reply::Done(_) | Reply::Cold => Ok(()),
        }
    }

    /// When each of these sessions of one license expires if no heartbeat comes, by Redis, in their order. None: Redis does not have it, and
    /// the record in PostgreSQL is all that is known. One round trip, which changes nothing.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn expiries(&self, license: LicenseId, sessions: &[SessionKey]) -> Result<Vec<Option<Timestamp>>, Error> {
        self.scripts.expiries(license, sessions).await
    }
}
