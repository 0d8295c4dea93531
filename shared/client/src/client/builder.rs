//! How a client is set up.

use std::{
    fmt,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use reqwest::Url;

use super::{Client, Core, State, published::Published};
use crate::{
    Error, Memory, RootKey, Verifier,
    clock::Clock,
    hardware_sha256,
    presence::Place,
    secret::Secret,
    wire::{Endpoints, Http},
};

/// Longer than the platform lets any request take.
const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

const DEFAULT_PATIENCE: Duration = Duration::from_secs(30);

/// Settings of a [`Client`]. A hardware id and a root are needed; an email too, to acquire.
pub struct Builder {
    api_url: String,
    license_key: Secret,
    hardware_id: Option<String>,
    user_email: Option<String>,
    roots: Vec<RootKey>,
    state: Option<PathBuf>,
    acquire_url: Option<String>,
    heartbeat_url: Option<String>,
    release_url: Option<String>,
    keys_url: Option<String>,
    request_timeout: Duration,
    patience: Duration,
    skew: Option<Duration>,
    clock: Clock,
}

impl Builder {
    pub(super) fn new(api_url: String, license_key: Secret) -> Self {
        Self {
            api_url,
            license_key,
            hardware_id: None,
            user_email: None,
            roots: Vec::new(),
            state: None,
            acquire_url: None,
            heartbeat_url: None,
            release_url: None,
            keys_url: None,
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            patience: DEFAULT_PATIENCE,
            skew: None,
            clock: Clock::default(),
        }
    }

    /// What names this machine: [`machine_hardware_id`](crate::machine_hardware_id), or better what the program knows.
    #[must_use]
    pub fn hardware_id(self, hardware_id: impl Into<String>) -> Self {
        Self { hardware_id: Some(hardware_id.into()), ..self }
    }

    /// Who sits on the seat.
    #[must_use]
    pub fn user_email(self, user_email: impl Into<String>) -> Self {
        Self { user_email: Some(user_email.into()), ..self }
    }

    /// Pins a root: all trust comes from it. Called twice it pins two, for the time in which the platform changes its root.
    #[must_use]
    pub fn root(mut self, root: RootKey) -> Self {
        self.roots.push(root);
        self
    }

    /// Keeps what outlives the process in this file (and in small ones beside it). Without it nothing can be proven offline, and
    /// processes of one device do not know of each other.
    #[must_use]
    pub fn state(self, file: impl Into<PathBuf>) -> Self {
        Self { state: Some(file.into()), ..self }
    }

    /// Where the acquire function is, if not at the API's URL. Like that, it is a URL to which the contract's path is added.
    #[must_use]
    pub fn acquire_url(self, url: impl Into<String>) -> Self {
        Self { acquire_url: Some(url.into()), ..self }
    }

    /// The same for the heartbeat function.
    #[must_use]
    pub fn heartbeat_url(self, url: impl Into<String>) -> Self {
        Self { heartbeat_url: Some(url.into()), ..self }
    }

    /// The same for the release function.
    #[must_use]
    pub fn release_url(self, url: impl Into<String>) -> Self {
        Self { release_url: Some(url.into()), ..self }
    }

    /// The same for the published keys.
    #[must_use]
    pub fn keys_url(self, url: impl Into<String>) -> Self {
        Self { keys_url: Some(url.into()), ..self }
    }

    /// How long one request may take; 10 seconds if nothing is said.
    #[must_use]
    pub fn request_timeout(self, timeout: Duration) -> Self {
        Self { request_timeout: timeout, ..self }
    }

    /// How long one operation keeps trying what may pass; 30 seconds if nothing is said. A seat's heartbeats try until the seat ends,
    /// whatever this says.
    #[must_use]
    pub fn patience(self, patience: Duration) -> Self {
        Self { patience, ..self }
    }

    /// How far this machine's clock may differ from the platform's; 60 seconds if nothing is said.
    #[must_use]
    pub fn skew(self, skew: Duration) -> Self {
        Self { skew: Some(skew), ..self }
    }

    /// Reads the time elsewhere than from the machine: for devices that have a better source, and for tests.
    #[must_use]
    pub fn wall_clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(Box::new(clock)), ..self }
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Settings`] if something is missing or no URL; [`Error::State`] if the state file cannot be read.
    pub fn build(self) -> Result<Client, Error> {
        let wanted = |what: &str| Error::Settings(format!("{what} is needed"));
        let hardware_id = self.hardware_id.ok_or_else(|| wanted("a hardware id"))?;
        if self.roots.is_empty() {
            return Err(wanted("a pinned root"));
        }
        let at = |url: &Option<String>, path| endpoint(url.as_ref().unwrap_or(&self.api_url), path);
        let endpoints = Endpoints {
            acquire: at(&self.acquire_url, "licenses/acquire")?,
            heartbeat: at(&self.heartbeat_url, "licenses/heartbeat")?,
            release: at(&self.release_url, "licenses/release")?,
            keys: at(&self.keys_url, "keys")?,
        };
        let mut verifier = Verifier::new(self.roots);
        if let Some(skew) = self.skew {
            verifier = verifier.with_skew(skew);
        }
        let mut published = Published::default();
        let state = match self.state {
            None => None,
            Some(path) => {
                let memory = Memory::open(&path)?;
                published = Published::kept(&memory, &verifier);
                let mut name = hardware_sha256(&format!("{}\n{hardware_id}", self.license_key.expose()));
                name.truncate(16);
                Some(State { memory: Arc::new(Mutex::new(memory)), place: Place::beside(&path, &name) })
            }
        };
        let core = Core {
            http: Http::new(endpoints, self.request_timeout)?,
            license_key: self.license_key,
            hardware_id,
            user_email: self.user_email,
            verifier,
            clock: self.clock,
            patience: self.patience,
            published: tokio::sync::Mutex::new(published),
            state,
            unsettled: Mutex::default(),
        };
        Ok(Client { core: Arc::new(core) })
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What else there is are secrets and persons.
        f.debug_struct("Builder").field("patience", &self.patience).field("state", &self.state).finish_non_exhaustive()
    }
}

/// The contract's path at a URL.
fn endpoint(base: &str, path: &str) -> Result<Url, Error> {
    let url = Url::parse(&format!("{}/api/v1/{path}", base.trim_end_matches('/')));
    // The text itself is not repeated: a URL may hold a password.
    let url = url.map_err(|error| Error::Settings(format!("the URL for {path} cannot be read: {error}")))?;
    if matches!(url.scheme(), "http" | "https") {
        Ok(url)
    } else {
        Err(Error::Settings(format!("the URL for {path} is not http or https")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_path_is_added_to_a_url() {
        let paths =
            ["https://a.example", "https://a.example/", "https://a.example/x/"].map(|base| endpoint(base, "keys").unwrap().to_string());
        assert_eq!(paths, ["https://a.example/api/v1/keys", "https://a.example/api/v1/keys", "https://a.example/x/api/v1/keys"]);
        for base in ["", "a.example", "ftp://a.example", "file:///etc"] {
            assert!(matches!(endpoint(base, "keys"), Err(Error::Settings(_))), "{base}");
        }
    }
}
