//! What the administration is built of.

use std::{error::Error, sync::Arc, time::Duration};

use clap::Args;
use futures_util::{StreamExt, stream};
use kms::RootSettings;
use platform::{
    db::{Database, Role},
    domain::{Clock, LicenseId, SessionKey, SystemClock},
    seats::{Engine, Limiter},
    signing::{RootSigner, SealingKey},
    web::{AuthenticationSettings, Authenticator, Parts, SignedSeatSettings},
};
use prometheus_client::registry::Registry;
use tokio::time::timeout;

use crate::store::Store;

/// Licenses that the seat engine is told of at the same time.
const ABREAST: usize = 8;
/// How long a caller waits for the seat engine to be told. What is left takes hold within ten seconds.
const TELLING: Duration = Duration::from_secs(2);

/// What the administration needs to know.
#[derive(Args, Clone, Debug)]
pub struct AdminSettings {
    /// PostgreSQL, Redis, and the key that seals answers.
    #[command(flatten)]
    pub signed: SignedSeatSettings,
    /// Whose tokens are taken.
    #[command(flatten)]
    pub authentication: AuthenticationSettings,
    /// What signs license documents.
    #[command(flatten)]
    pub root: RootSettings,
}

/// The parts of the administration.
#[derive(Clone, Debug)]
pub struct AdminParts {
    /// The record.
    pub store: Store,
    /// The seat engine, which is told of changes.
    pub seats: Arc<Engine>,
    /// Who knows callers.
    pub callers: Arc<Authenticator>,
    /// What signs license documents.
    pub root: Arc<dyn RootSigner>,
    /// Seals answers that may be asked for again, and cursors.
    pub sealing: SealingKey,
    /// Tells the time.
    pub clock: Arc<dyn Clock>,
}

impl Parts for AdminParts {
    type Settings = AdminSettings;

    fn open(settings: &AdminSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let seats = <Arc<Engine> as Parts>::open(&settings.signed.seats, registry)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let callers = Authenticator::new(&settings.authentication, seats.database().clone(), Arc::clone(&clock))?;
        let callers = callers.screened_by(Arc::clone(Engine::limiter(&seats)));
        Ok(Self {
            store: Store::new(Database::new(&settings.signed.seats.database, Role::Admin)?),
            seats,
            callers: Arc::new(callers),
            root: settings.root.open()?,
            sealing: settings.signed.sealing.sealing_key.clone(),
            clock,
        })
    }

    async fn unreachable(&self) -> Vec<&'static str> {
        Engine::unreachable(&self.seats).await
    }

    fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(Engine::limiter(&self.seats))
    }
}

impl AdminParts {
    /// Has the seat engine take out sessions that were revoked in the record, so that their next heartbeats are told. The change is committed
    /// already: what fails here is for the log, and the sweep does it by itself.
    pub(crate) async fn take_out(&self, sessions: Vec<(LicenseId, SessionKey)>) {
        let take_out = async |(license, session): (LicenseId, SessionKey)| {
            if let Err(error) = self.seats.take_out(license, session).await {
                tracing::warn!(%license, %error, "a revoked session could not be taken out; the sweep does it");
            }
        };
        let all = stream::iter(sessions).map(take_out).buffer_unordered(ABREAST).for_each(async |()| {});
        if timeout(TELLING, all).await.is_err() {
            tracing::warn!("not every revoked session was taken out in time; the sweep does it");
        }
    }

    /// Tells the seat engine that licenses have changed, or their tenant: it takes hold on the very next call. The change is committed
    /// already, so that a failure is for the log; the engine looks by itself every ten seconds.
    pub(crate) async fn tell_seats(&self, licenses: Vec<LicenseId>) {
        let tell = async |license| {
            if let Err(error) = self.seats.refresh(license).await {
                tracing::warn!(%error, "the seat engine could not be told of a change; it looks within ten seconds");
            }
        };
        let all = stream::iter(licenses).map(tell).buffer_unordered(ABREAST).for_each(async |()| {});
        if timeout(TELLING, all).await.is_err() {
            tracing::warn!("the seat engine was not told of every change in time; it looks within ten seconds");
        }
    }
}
