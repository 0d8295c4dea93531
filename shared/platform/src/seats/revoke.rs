//! Revoke: the administration ends a session in PostgreSQL, and Redis forgets it.

use super::{Engine, Error, Reply};
use crate::domain::{LicenseId, LimitKind, SessionKey};

impl Engine {
    /// Takes a session out of Redis that was ended in PostgreSQL: its seat is free, and its holder's next heartbeat is told.
    /// Whoever commits a revocation calls this; the sweep does it again for an hour, lest a rebuild under way bring the session back.
    ///
    /// # Errors
    /// Any [`Error`]: then the next sweep does it.
    pub async fn take_out(&self, license: LicenseId, session: SessionKey) -> Result<(), Error> {
        match self.scripts.release(license, session, self.limiter.limit(LimitKind::Principal).off()).await? {
            // Redis knows nothing of the license, and will read it from the record.
            Reply::Done(_) | Reply::Cold => Ok(()),
        }
    }
}
