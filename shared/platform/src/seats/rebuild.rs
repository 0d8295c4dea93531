//! Rebuild: Redis is reminded of what PostgreSQL knows, by one function at a time.

use tokio::time::sleep;

use super::{Engine, Error, PATIENCE, answer::Turn, records};
use crate::domain::{License, SessionKey};

/// What makes a rebuild necessary.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Why {
    /// Redis does not know the license.
    Cold,
    /// Redis knows the license and has forgotten some of its sessions.
    Drift,
}

impl Engine {
    /// Rebuilds a license, or waits a moment while another function does. The caller asks again afterwards.
    pub(super) async fn rebuild(&self, license: &License, why: Why) -> Result<(), Error> {
        let token = SessionKey::random();
        match self.scripts.lock(license.id, token.as_bytes(), why == Why::Cold).await? {
            Turn::AlreadyWarm => Ok(()),
            Turn::AnotherFunction => {
                sleep(PATIENCE).await;
                Ok(())
            }
            Turn::Mine(now) => {
                let done = self.rebuild_locked(license, now, token.as_bytes()).await;
                if done.is_err() {
                    self.scripts.unlock(license.id).await;
                }
                done
            }
        }
    }

    async fn rebuild_locked(&self, license: &License, now: crate::domain::Timestamp, token: &[u8; 16]) -> Result<(), Error> {
        // Asked of PostgreSQL itself: what is written here is believed until a newer version comes.
        let Some(license) = self.licenses.reload(&self.database, license.id).await? else {
            return Err(Error::Unsettled(license.id));
        };
        let sessions = records::live(&self.database, &license, now - license.policy.session_ttl).await?;
        let written = self.scripts.rebuild(&license, token, &sessions).await?;
        self.counters.rebuilt.inc();
        tracing::info!(license = %license.id, sessions = written, "seats rebuilt from the record");
        Ok(())
    }
}
