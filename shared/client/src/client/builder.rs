//! How a client is set up.

use std::{
    fmt,
    net::IpAddr,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use reqwest::Url;

use super::{Client, Core, State, published::Published};
use crate::{
    Error, Memory, RootKey, Verifier, canonical_license_key,
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
    allow_insecure_http: bool,
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
            allow_insecure_http: false,
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

    /// Sends license keys and session ids unencrypted, to `http://` URLs of other machines. Without it these are refused: whoever is on
    /// the way could read the key. URLs of this machine itself need no leave.
    #[must_use]
    pub fn allow_insecure_http(self) -> Self {
        Self { allow_insecure_http: true, ..self }
    }

    /// Reads the time elsewhere than from the machine: for devices that have a better source, and for tests.
    #[must_use]
    pub fn wall_clock(self, clock: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self { clock: Clock::new(Box::new(clock)), ..self }
    }

    /// Builds the client. Nothing is sent yet.
    ///
    /// # Errors
    /// [`Error::Settings`] if something is missing, no URL, or an `http://` URL of another machine; [`Error::InvalidRequest`] if the
    /// license key is none; [`Error::State`] if the state file cannot be read.
    pub fn build(self) -> Result<Client, Error> {
        let wanted = |what: &str| Error::Settings(format!("{what} is needed"));
        let hardware_id = self.hardware_id.ok_or_else(|| wanted("a hardware id"))?;
        if self.roots.is_empty() {
            return Err(wanted("a pinned root"));
        }
        // Of two spellings of one key, both have one state.
        let license_key = canonical_license_key(self.license_key.expose()).map(Secret::new)?;
        let insecure = self.allow_insecure_http;
        let at = |url: &Option<String>, path| endpoint(url.as_ref().unwrap_or(&self.api_url), path, insecure);
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
                let mut name = hardware_sha256(&format!("{}\n{hardware_id}", license_key.expose()));
                name.truncate(16);
                Some(State { memory: Arc::new(Mutex::new(memory)), place: Place::beside(&path, &name) })
            }
        };
        let core = Core {
            http: Http::new(endpoints, self.request_timeout)?,
            license_key,
            hardware_id,
            user_email: self.user_email,
            verifier,
            clock: self.clock,
            patience: self.patience,
            published: Mutex::new(published),
            state,
            asking: tokio::sync::Mutex::default(),
            unsettled: Mutex::default(),
            left: Mutex::default(),
            saved: Mutex::default(),
            unwritten: Mutex::default(),
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
fn endpoint(base: &str, path: &str, insecure: bool) -> Result<Url, Error> {
    let url = Url::parse(&format!("{}/api/v1/{path}", base.trim_end_matches('/')));
    // The text itself is not repeated: a URL may hold a password.
    let url = url.map_err(|error| Error::Settings(format!("the URL for {path} cannot be read: {error}")))?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if insecure || is_of_this_machine(&url) => Ok(url),
        "http" => Err(Error::Settings(format!(
            "the URL for {path} is http:// and not of this machine: the license key would travel unencrypted. Use https://, or allow it \
             with allow_insecure_http() (seat: --allow-insecure-http or CODITECT_ALLOW_INSECURE_HTTP=true)"
        ))),
        _ => Err(Error::Settings(format!("the URL for {path} is not http or https"))),
    }
}

/// Whether what is sent there never leaves the machine: `localhost` (RFC 6761) and the loopback addresses.
fn is_of_this_machine(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches([']', '.']);
    let by_name = host == "localhost" || host.ends_with(".localhost");
    by_name || host.parse::<IpAddr>().is_ok_and(|address| address.to_canonical().is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_contracts_path_is_added_to_a_url() {
        let paths = ["https://a.example", "https://a.example/", "https://a.example/x/"]
            .map(|base| endpoint(base, "keys", false).unwrap().to_string());
        assert_eq!(paths, ["https://a.example/api/v1/keys", "https://a.example/api/v1/keys", "https://a.example/x/api/v1/keys"]);
        for base in ["", "a.example", "ftp://a.example", "file:///etc"] {
            assert!(matches!(endpoint(base, "keys", true), Err(Error::Settings(_))), "{base}");
        }
    }

    #[test]
    fn http_to_another_machine_is_refused_unless_it_is_allowed() {
        for here in [
            "http://127.0.0.1:8080",
            "http://127.8.9.1",
            "http://[::1]:8080",
            "http://localhost:1",
            "http://a.localhost",
            "https://a.example",
        ] {
            assert!(endpoint(here, "keys", false).is_ok(), "{here}");
        }
        let others = [
            "http://a.example",
            "http://10.0.0.1",
            "http://[2001:db8::1]",
            "http://127.0.0.1.a.example",
            "http://localhost.a.example",
            "http://mylocalhost",
            "http://127.0.0.1@a.example",
        ];
        for other in others {
            let error = endpoint(other, "keys", false).unwrap_err();
            assert!(matches!(&error, Error::Settings(text) if text.contains("allow_insecure_http")), "{other}: {error}");
            assert!(endpoint(other, "keys", true).is_ok(), "{other}");
        }
    }
}
