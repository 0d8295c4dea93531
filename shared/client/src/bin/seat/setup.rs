//! From arguments to a client, and where its things are kept.

use std::{
    env,
    fs::{self, File, OpenOptions, TryLockError},
    io::ErrorKind,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use coditect_license::{Client, RootKey, SavedSession, canonical_license_key, hardware_sha256, machine_hardware_id, replace_private_file};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{arguments::Options, exit::Code, report::Failure};

/// A file that the platform's development server writes, with all that a first try needs.
const DEMO: &str = ".local/demo.json";

const DEMO_EMAIL: &str = "demo@example.com";

#[derive(Deserialize)]
struct Demo {
    api_url: String,
    license_key: String,
    root_jwk: Option<Value>,
}

/// How often to look whether another command is done.
const LOOK_AGAIN: Duration = Duration::from_millis(20);

/// The least time to wait for it.
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// What `seat acquire` leaves for the next command.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub(crate) struct Saved {
    #[serde(flatten)]
    pub(crate) session: SavedSession,
    /// Sessions in whose place it was taken, until they are released.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) earlier: Vec<SavedSession>,
}

/// A client and its folder.
pub(crate) struct Setup {
    pub(crate) client: Client,
    /// One for each license key and machine.
    folder: PathBuf,
}

impl Setup {
    pub(crate) fn new(options: &Options) -> Result<Self, Failure> {
        let demo = if options.demo { Some(demo()?) } else { None };
        let of_demo = |read: fn(&Demo) -> &String| demo.as_ref().map(|demo| read(demo).clone());
        let api_url = options.api_url.clone().or_else(|| of_demo(|demo| &demo.api_url));
        let api_url = api_url.ok_or_else(|| missing("the platform's URL", "--api-url", "CODITECT_API_URL"))?;
        let key = options.key.clone().or_else(|| of_demo(|demo| &demo.license_key));
        let key = key.ok_or_else(|| missing("the license key", "--key", "CODITECT_LICENSE_KEY"))?;
        let root = match (&options.root, demo.as_ref().and_then(|demo| demo.root_jwk.as_ref())) {
            (None, Some(jwk)) => root_jwk(jwk)?,
            (_, _) => root(options)?,
        };

        let state = state(options)?;
        let hardware_id = hardware_id(options, &state)?;
        let canonical = canonical_license_key(&key)?;
        let folder_of = |key: &str| {
            let mut name = hardware_sha256(&format!("{key}\n{hardware_id}"));
            name.truncate(16);
            state.join(name)
        };
        let (folder, as_spelt) = (folder_of(&canonical), folder_of(&key));
        if !folder.exists() && as_spelt.is_dir() {
            // Made by an earlier version, for the key as it was spelt. If it cannot be moved, what it keeps is no more than a proof offline.
            let _ = fs::rename(&as_spelt, &folder);
        }
        private_folder(&folder)?;

        let mut builder = Client::builder(api_url, canonical)
            .hardware_id(hardware_id)
            .root(root)
            .state(folder.join("memory.json"))
            .patience(options.patience);
        if let Some(email) = options.email.clone().or_else(|| demo.map(|_| DEMO_EMAIL.to_owned())) {
            builder = builder.user_email(email);
        }
        if options.allow_insecure_http {
            builder = builder.allow_insecure_http();
        }
        if let Some(url) = &options.acquire_url {
            builder = builder.acquire_url(url);
        }
        if let Some(url) = &options.heartbeat_url {
            builder = builder.heartbeat_url(url);
        }
        if let Some(url) = &options.release_url {
            builder = builder.release_url(url);
        }
        if let Some(url) = &options.keys_url {
            builder = builder.keys_url(url);
        }
        let setup = Self { client: builder.build()?, folder };
        // The client learns from it which session is in a script's hands.
        setup.saved();
        Ok(setup)
    }

    /// Waits for its turn among the commands that read or change what `seat acquire` left. The turn lasts until what is returned is dropped,
    /// or the process ends. Where no lock can be had, it is none: the command is not to fail for that.
    pub(crate) async fn turn(&self, patience: Duration) -> Result<Option<File>, Failure> {
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(self.folder.join("session.lock"));
        let Ok(lock) = lock else { return Ok(None) };
        let (begun, patience) = (Instant::now(), patience.max(LEAST_PATIENCE));
        loop {
            match lock.try_lock() {
                Ok(()) => return Ok(Some(lock)),
                Err(TryLockError::WouldBlock) if begun.elapsed() < patience => tokio::time::sleep(LOOK_AGAIN).await,
                Err(TryLockError::WouldBlock) => {
                    let text = "another seat command is at work on this license and has not ended: try again when it has".to_owned();
                    return Err(Failure::Other { code: "busy", text, exit: Code::FAILED });
                }
                Err(TryLockError::Error(_)) => return Ok(None),
            }
        }
    }

    /// What `seat acquire` left.
    pub(crate) fn saved(&self) -> Option<Saved> {
        let saved: Saved = serde_json::from_str(&fs::read_to_string(self.session_file()).ok()?).ok()?;
        self.client.keep(&saved.session);
        Some(saved)
    }

    /// Replaces what `seat acquire` left, in one step. If it cannot be written, all is as it was.
    pub(crate) fn save(&self, saved: &Saved) -> Result<(), Failure> {
        let text = serde_json::to_string(saved).map_err(|error| Failure::setup(error.to_string()))?;
        replace_private_file(&self.session_file(), text.as_bytes()).map_err(|error| unusable(&self.session_file(), &error))
    }

    pub(crate) fn forget(&self) -> Result<(), Failure> {
        match fs::remove_file(self.session_file()) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(unusable(&self.session_file(), &error)),
            Ok(()) | Err(_) => Ok(()),
        }
    }

    fn session_file(&self) -> PathBuf {
        self.folder.join("session.json")
    }
}

/// The root that is pinned: a file, or the demo's.
pub(crate) fn pinned(options: &Options) -> Result<RootKey, Failure> {
    if options.root.is_none() && options.demo {
        return demo()?.root_jwk.as_ref().map_or_else(|| root(options), root_jwk);
    }
    root(options)
}

fn root(options: &Options) -> Result<RootKey, Failure> {
    let path = options.root.as_ref().ok_or_else(|| missing("the platform's root key", "--root", "CODITECT_ROOT"))?;
    let text = read(path)?;
    let key = if text.trim_start().starts_with('{') { RootKey::from_jwk(&text) } else { RootKey::from_pem(&text, options.root_algorithm) };
    key.map_err(|error| Failure::setup(format!("{}: {error}", path.display())))
}

fn root_jwk(jwk: &Value) -> Result<RootKey, Failure> {
    let text = jwk.as_str().map_or_else(|| jwk.to_string(), str::to_owned);
    RootKey::from_jwk(&text).map_err(|error| Failure::setup(format!("root_jwk in {DEMO}: {error}")))
}

/// The machine's name.
pub(crate) fn hardware_id(options: &Options, state: &Path) -> Result<String, Failure> {
    match &options.hardware_id {
        Some(id) => Ok(id.clone()),
        None => machine_hardware_id(state).map_err(|error| unusable(state, &error)),
    }
}

/// The folder of all state, following the XDG Base Directory Specification where nothing was said.
pub(crate) fn state(options: &Options) -> Result<PathBuf, Failure> {
    let folder = |name| env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute());
    let default = || folder("XDG_STATE_HOME").or_else(|| Some(folder("HOME")?.join(".local/state"))).map(|folder| folder.join("coditect"));
    let state = options.state.clone().or_else(default);
    state.ok_or_else(|| missing("a folder for the state", "--state", "CODITECT_STATE"))
}

fn private_folder(folder: &Path) -> Result<(), Failure> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(|error| unusable(folder, &error))
}

fn demo() -> Result<Demo, Failure> {
    let here = env::current_dir().map_err(|error| unusable(Path::new("."), &error))?;
    let path = here.ancestors().map(|folder| folder.join(DEMO)).find(|path| path.exists());
    let path = path.ok_or_else(|| Failure::setup(format!("there is no {DEMO} in {} or above it", here.display())))?;
    serde_json::from_str(&read(&path)?).map_err(|error| Failure::setup(format!("{}: {error}", path.display())))
}

pub(crate) fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|error| unusable(path, &error))
}

fn unusable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::setup(format!("{}: {error}", path.display()))
}

fn missing(what: &str, option: &str, variable: &str) -> Failure {
    Failure::setup(format!("{what} is missing: say {option} or set {variable}"))
}
