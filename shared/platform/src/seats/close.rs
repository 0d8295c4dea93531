//! Close: a license has run out, and its seats are given up.

use tokio::time::sleep;

use super::{Engine, Error, PATIENCE, TRIES, upkeep::Closed};
use crate::{
    db::Database,
    domain::{LicenseId, Timestamp},
};

impl Engine {
    /// The time by the clock that rules expiry, or by PostgreSQL's if that is earlier: nothing has run out before both say so.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn now(&self) -> Result<Timestamp, Error> {
        let (redis, database) = self.both_clocks(&self.database).await?;
        Ok(redis.min(database))
    }

    /// The time by Redis' clock and by PostgreSQL's, which are compared.
    pub(super) async fn both_clocks(&self, database: &Database) -> Result<(Timestamp, Timestamp), Error> {
        let sent = self.clocks.steady();
        let redis = self.scripts.now().await?;
        self.clocks.note_redis(sent, redis);
        Ok((redis, self.clocks.look(database).await?))
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
