//! The keyring: the leaf that signs now, as a function has it. Changed without a restart.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use clap::Args;
use tokio::sync::Mutex;

use super::{Error, Leaf, SealingKey};
use crate::{
    db::Database,
    domain::{Clock, Timestamp},
};

/// How old what is known of the signing leaf may be.
const MAX_AGE: Duration = Duration::from_secs(10);
/// How long a failed look is not repeated: a database that is down is not asked again for every request.
const PAUSE: Duration = Duration::from_secs(1);

pub(super) const ACTIVE: &str = "-- signing::active
SELECT kid, sealed_private, signs_until, expires_at, certificate FROM signing_keys WHERE usage = 'lease' AND state = 'active'";

/// What a function that signs leases needs to know.
#[derive(Args, Clone, Debug)]
pub struct SealingSettings {
    /// Key that seals the private halves of leaf keys: 32 bytes in base64; while it is changed several, the newest first, with commas
    #[arg(long, env = "SEALING_KEY", hide_env_values = true)]
    pub sealing_key: SealingKey,
}

/// Signs leases with the leaf that is active, and notices within ten seconds when another one is.
pub struct Keyring {
    database: Database,
    sealing: SealingKey,
    clock: Arc<dyn Clock>,
    shelf: RwLock<Shelf>,
    /// Held by the one that looks; never by anyone who has a leaf to sign with.
    looking: Mutex<()>,
}

/// Why there is no leaf to sign with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Missing {
    /// None is active and certified: the rotation of keys has not run.
    SigningKey,
    /// PostgreSQL does not say.
    Database,
    /// It was sealed by another `SEALING_KEY` than this process has.
    SealingKey,
}

impl Missing {
    /// What `/ready/` calls it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SigningKey => "signing_key",
            Self::Database => "database",
            Self::SealingKey => "sealing_key",
        }
    }

    const fn of(error: &Error) -> Self {
        match error {
            Error::Database(_) => Self::Database,
            Error::Unseal(_) => Self::SealingKey,
            Error::Root(_) | Error::NoLeaf | Error::Claims(_) | Error::Crypto(_) => Self::SigningKey,
        }
    }
}

#[derive(Clone, Debug)]
struct Shelf {
    leaf: Option<Arc<Leaf>>,
    missing: Missing,
    look_again: Timestamp,
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(…)")
    }
}

impl Keyring {
    /// An empty keyring: it looks for its leaf when it is first used.
    #[must_use]
    pub fn new(database: Database, settings: &SealingSettings, clock: Arc<dyn Clock>) -> Self {
        let shelf = RwLock::new(Shelf { leaf: None, missing: Missing::SigningKey, look_again: Timestamp::UNIX_EPOCH });
        Self { database, sealing: settings.sealing_key.clone(), clock, shelf, looking: Mutex::default() }
    }

    /// The leaf that signs now. Costs a look at the database only where none is known.
    ///
    /// # Errors
    /// [`Error::NoLeaf`] if there is none that is active and certified, or it cannot be had: why is logged.
    pub async fn leaf(self: &Arc<Self>) -> Result<Arc<Leaf>, Error> {
        let now = self.clock.now();
        let known = self.shelf();
        let usable = known.leaf.filter(|leaf| now < leaf.expires_at);
        match usable {
            Some(leaf) if now < known.look_again => Ok(leaf),
            Some(leaf) => {
                // It signs on meanwhile.
                let keyring = Arc::clone(self);
                tokio::spawn(async move { keyring.look().await });
                Ok(leaf)
            }
            None => {
                self.look().await;
                self.shelf().leaf.filter(|leaf| now < leaf.expires_at).ok_or(Error::NoLeaf)
            }
        }
    }

    /// Returns why there was no leaf when it was last looked for.
    #[must_use]
    pub fn missing(&self) -> Missing {
        self.shelf().missing
    }

    fn shelf(&self) -> Shelf {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Reads the active leaf, unless somebody has just done so.
    async fn look(&self) {
        let _turn = self.looking.lock().await;
        let known = self.shelf();
        let now = self.clock.now();
        if now < known.look_again {
            return;
        }
        let now_known = match self.read().await {
            Ok(leaf) => {
                let look_again = (now + MAX_AGE).min(leaf.signs_until).max(now + PAUSE);
                Shelf { leaf: Some(Arc::new(leaf)), missing: Missing::SigningKey, look_again }
            }
            Err(error) => {
                tracing::error!(%error, "the signing key cannot be had");
                // After a revocation there may be none: what is known then signs nothing that a verifier would take.
                let leaf = if matches!(error, Error::NoLeaf) { None } else { known.leaf };
                Shelf { look_again: now + PAUSE, missing: Missing::of(&error), leaf }
            }
        };
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = now_known;
    }

    async fn read(&self) -> Result<Leaf, Error> {
        let rows = self.database.query(ACTIVE, &[]).await?;
        let row = rows.first().ok_or(Error::NoLeaf)?;
        Leaf::open(&self.sealing, row.try_get(0)?, row.try_get(1)?, row.try_get(2)?, row.try_get(3)?, row.try_get(4)?)
    }
}
