//! What functions are built of: opened from settings before they serve, and asked by `/ready/` whether they can.

use std::{error::Error, sync::Arc};

use clap::Args;
use prometheus_client::registry::Registry;

use super::{AuthenticationSettings, Authenticator};
use crate::{
    db::{Database, DatabaseSettings, Role},
    domain::SystemClock,
    seats::{Engine, LimitSettings, Limiter, RedisLink, RedisSettings},
    signing::{Keyring, PublishedKeys, SealingSettings},
};

/// The parts of one kind of function.
pub trait Parts: Clone + Send + Sync + Sized + 'static {
    /// What opening them takes.
    type Settings: Args + Send + 'static;

    /// Opens them, without waiting for any server, and puts what they count on the metrics page.
    ///
    /// # Errors
    /// If the settings make no sense.
    fn open(settings: &Self::Settings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>>;

    /// Names what they need and cannot reach now.
    fn unreachable(&self) -> impl Future<Output = Vec<&'static str>> + Send;

    /// What counts requests, so that the edge can count those whose credential fails.
    fn limiter(&self) -> Arc<Limiter>;
}

/// What the seat engine needs to know.
#[derive(Args, Clone, Debug)]
pub struct SeatSettings {
    /// PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Redis.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// How often callers may ask.
    #[command(flatten)]
    pub limits: LimitSettings,
}

impl Parts for Arc<Engine> {
    type Settings = SeatSettings;

    fn open(settings: &SeatSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let redis = RedisLink::new(&settings.redis)?;
        let database = Database::new(&settings.database, Role::Functions)?;
        let engine = Self::new(Engine::new(redis, database, Arc::new(SystemClock), settings.limits));
        engine.register(registry);
        Ok(engine)
    }

    async fn unreachable(&self) -> Vec<&'static str> {
        Engine::unreachable(self).await
    }

    fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(Engine::limiter(self))
    }
}

/// What functions need to know that sign what they answer.
#[derive(Args, Clone, Debug)]
pub struct SignedSeatSettings {
    /// The seats.
    #[command(flatten)]
    pub seats: SeatSettings,
    /// The keys.
    #[command(flatten)]
    pub sealing: SealingSettings,
}

/// The seat engine, and the key that signs its leases.
#[derive(Clone, Debug)]
pub struct SignedSeats {
    /// The engine.
    pub seats: Arc<Engine>,
    /// The keyring.
    pub keys: Arc<Keyring>,
}

impl Parts for SignedSeats {
    type Settings = SignedSeatSettings;

    fn open(settings: &SignedSeatSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let seats = <Arc<Engine> as Parts>::open(&settings.seats, registry)?;
        let keys = Arc::new(Keyring::new(seats.database().clone(), &settings.sealing, Arc::new(SystemClock)));
        Ok(Self { seats, keys })
    }

    async fn unreachable(&self) -> Vec<&'static str> {
        let mut down = Engine::unreachable(&self.seats).await;
        // Without the database there is no looking for a key: one cause is named once.
        if !down.contains(&"database") && self.keys.leaf().await.is_err() {
            down.push(self.keys.missing().as_str());
        }
        down
    }

    fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(Engine::limiter(&self.seats))
    }
}

/// What `acquire` needs to know.
#[derive(Args, Clone, Debug)]
pub struct AcquireSettings {
    /// The seats and the keys.
    #[command(flatten)]
    pub signed: SignedSeatSettings,
    /// Whose tokens are taken.
    #[command(flatten)]
    pub authentication: AuthenticationSettings,
}

/// What hands out seats: to anybody who has a license key, and to callers who are known.
#[derive(Clone, Debug)]
pub struct AcquireParts {
    /// The engine and the keyring.
    pub signed: SignedSeats,
    /// Who knows callers.
    pub callers: Arc<Authenticator>,
}

impl Parts for AcquireParts {
    type Settings = AcquireSettings;

    fn open(settings: &AcquireSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let signed = SignedSeats::open(&settings.signed, registry)?;
        let callers = Authenticator::new(&settings.authentication, signed.seats.database().clone(), Arc::new(SystemClock))?;
        let callers = Arc::new(callers.screened_by(signed.limiter()));
        Ok(Self { signed, callers })
    }

    async fn unreachable(&self) -> Vec<&'static str> {
        self.signed.unreachable().await
    }

    fn limiter(&self) -> Arc<Limiter> {
        self.signed.limiter()
    }
}

/// What `validate` needs to know.
#[derive(Args, Clone, Debug)]
pub struct ValidateSettings {
    /// The seats.
    #[command(flatten)]
    pub seats: SeatSettings,
    /// Whose tokens are taken.
    #[command(flatten)]
    pub authentication: AuthenticationSettings,
}

/// What looks licenses up.
#[derive(Clone, Debug)]
pub struct ValidateParts {
    /// The engine.
    pub seats: Arc<Engine>,
    /// Who knows callers.
    pub callers: Arc<Authenticator>,
}

impl Parts for ValidateParts {
    type Settings = ValidateSettings;

    fn open(settings: &ValidateSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let seats = <Arc<Engine> as Parts>::open(&settings.seats, registry)?;
        let callers = Authenticator::new(&settings.authentication, seats.database().clone(), Arc::new(SystemClock))?;
        let callers = Arc::new(callers.screened_by(Arc::clone(Engine::limiter(&seats))));
        Ok(Self { seats, callers })
    }

    async fn unreachable(&self) -> Vec<&'static str> {
        Engine::unreachable(&self.seats).await
    }

    fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(Engine::limiter(&self.seats))
    }
}

/// What functions need to know that publish to everybody.
#[derive(Args, Clone, Debug)]
pub struct PublicSettings {
    /// PostgreSQL.
    #[command(flatten)]
    pub database: DatabaseSettings,
    /// Redis, which counts and has no other part in it.
    #[command(flatten)]
    pub redis: RedisSettings,
    /// How often callers may ask.
    #[command(flatten)]
    pub limits: LimitSettings,
}

/// The published keys, and what counts those who fetch them.
#[derive(Clone, Debug)]
pub struct Public {
    /// The keys.
    pub keys: Arc<PublishedKeys>,
    /// The limiter.
    pub limiter: Arc<Limiter>,
}

impl Parts for Public {
    type Settings = PublicSettings;

    fn open(settings: &PublicSettings, registry: &mut Registry) -> Result<Self, Box<dyn Error + Send + Sync>> {
        let database = Database::new(&settings.database, Role::Functions)?;
        let limiter = Limiter::new(RedisLink::new(&settings.redis)?, settings.limits);
        limiter.register(registry);
        Ok(Self { keys: Arc::new(PublishedKeys::new(database, Arc::new(SystemClock))), limiter: Arc::new(limiter) })
    }

    /// Without Redis nobody is counted, and everybody served.
    async fn unreachable(&self) -> Vec<&'static str> {
        if self.keys.database().ping().await.is_ok() { Vec::new() } else { vec!["database"] }
    }

    fn limiter(&self) -> Arc<Limiter> {
        Arc::clone(&self.limiter)
    }
}
