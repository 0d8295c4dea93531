//! Close: a license has run out, and its seats are given up.

use tokio::time::sleep;

use super::{Engine, Error, PATIENCE, TRIES, upkeep::Closed};
use crate::domain::{LicenseId, Timestamp};

impl Engine {
    /// The time by the clock that rules expiry.
    ///
    /// # Errors
    /// [`Error::Redis`].
    pub async fn now(&self) -> Result<Timestamp, Error> {
        self.scripts.now().await
    }

    /// Makes Redis forget the seats of a license that has run out. Whoever has ended its sessions in PostgreSQL calls this: then their
    /// next calls are told so, and nothing brings them back. Does nothing if Redis was told of a later end.
    ///
    /// # Errors
    /// Any [`Error`]; it may be tried again, and harms nobody.
    pub async fn close(&self, license: LicenseId) -> Result<(), Error> {
        // What Redis has may be older than the end that the caller has seen.
        self.refresh(license).await?;
        for _ in 0..TRIES {
            match self.upkeep.close(license).await? {
                Closed::Done => return Ok(()),
                // A rebuild under way may have read sessions that were ended since.
                Closed::Busy => sleep(PATIENCE).await,
            }
        }
        Err(Error::Unsettled(license))
    }
}
