//! A function as the process it is in production.

use std::{
    fs::{self, File},
    net::TcpListener,
    process::Stdio,
    sync::{Mutex, PoisonError},
};

use tokio::process::{Child, Command};
use uuid::Uuid;

use crate::{PATIENT_MS, eventually, keys, must_complete};

/// The ports of [`free_port`]: below those that the system gives to connections, and above those of `scripts/services`.
const PORTS: std::ops::Range<u16> = 30_000..32_700;

/// Returns a port that nobody listens on, and that no other test gets before this process ends.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    static LOCKS: Mutex<Vec<File>> = Mutex::new(Vec::new());
    let folder = std::env::temp_dir().join("coditect-test-ports");
    fs::create_dir_all(&folder).expect("a folder can be made");
    let count = PORTS.end - PORTS.start;
    let first = Uuid::new_v4().as_u128() % u128::from(count);
    for step in 0..count {
        let port = PORTS.start + (u16::try_from(first).expect("it is below the count") + step) % count;
        // Another user's lock file cannot be opened: that port is not for us.
        let Ok(lock) = File::create(folder.join(port.to_string())) else { continue };
        if lock.try_lock().is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok() {
            LOCKS.lock().unwrap_or_else(PoisonError::into_inner).push(lock);
            return port;
        }
    }
    panic!("no port is free");
}

/// Settings under which a slow machine misses no deadline. A test of a deadline sets a shorter one.
#[must_use]
pub fn patience() -> [(&'static str, String); 4] {
    // A request must have the time of both servers, and the end that of a request.
    let times = [("DATABASE_TIMEOUT_MS", 1), ("REDIS_TIMEOUT_MS", 1), ("REQUEST_TIMEOUT_MS", 3), ("SHUTDOWN_GRACE_MS", 3)];
    times.map(|(name, parts)| (name, (parts * PATIENT_MS).to_string()))
}

/// A running function; killed when dropped.
#[derive(Debug)]
pub struct Process {
    command: Command,
    child: Child,
    /// Where it serves, as http://host:port.
    pub url: String,
    /// Where its metrics are.
    pub metrics_url: String,
}

impl Process {
    /// Starts a binary over these servers and waits until it answers.
    ///
    /// # Panics
    /// If it does not start or answer.
    pub async fn start(binary: &str, arguments: &[&str], database_url: &str, redis_url: &str) -> Self {
        Self::start_with(binary, arguments, database_url, redis_url, &[]).await
    }

    /// The same, with further settings.
    ///
    /// # Panics
    /// If it does not start or answer.
    pub async fn start_with(binary: &str, arguments: &[&str], database_url: &str, redis_url: &str, settings: &[(&str, &str)]) -> Self {
        let output = [Stdio::null(), Stdio::inherit()];
        Self::start_writing_to(output, binary, arguments, (database_url, redis_url), settings).await
    }

    /// The same, with its standard output and its standard error, over PostgreSQL and Redis.
    ///
    /// # Panics
    /// If it does not start or answer.
    pub async fn start_writing_to(
        [output, errors]: [Stdio; 2],
        binary: &str,
        arguments: &[&str],
        (database_url, redis_url): (&str, &str),
        settings: &[(&str, &str)],
    ) -> Self {
        let (port, metrics_port) = (free_port(), free_port());
        let mut command = Command::new(binary);
        command
            .args(arguments)
            .env("DATABASE_URL", database_url)
            .env("REDIS_URL", redis_url)
            .envs(keys::settings())
            // All tests call from one address, and some ask more than anybody may.
            .env("LIMIT_ANONYMOUS_PER_HOUR", "1000000")
            .env("LIMIT_PRINCIPAL_PER_HOUR", "1000000")
            .env("LIMIT_PUBLIC_PER_HOUR", "1000000")
            .envs(patience())
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("METRICS_PORT", metrics_port.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .kill_on_drop(true);
        let child = command.spawn().expect("the function's binary starts");
        let process = Self {
            command,
            child,
            url: format!("http://127.0.0.1:{port}"),
            metrics_url: format!("http://127.0.0.1:{metrics_port}/metrics"),
        };
        process.wait_for("/health/").await;
        process
    }

    /// Waits until a path answers 200.
    ///
    /// # Panics
    /// If it never does.
    pub async fn wait_for(&self, path: &str) {
        let (client, url) = (reqwest::Client::new(), format!("{}{path}", self.url));
        let is_ok = async || client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200);
        eventually(&format!("{url} answers 200"), is_ok).await;
    }

    /// Its process id.
    ///
    /// # Panics
    /// If it has ended.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id().expect("the process runs")
    }

    /// Kills it with SIGKILL and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub async fn kill(&mut self) {
        self.child.kill().await.expect("a process can be killed");
    }

    /// Starts it again after it was killed, on its old port, and waits until it answers.
    ///
    /// # Panics
    /// If it does not start or answer.
    pub async fn start_again(&mut self) {
        self.child = self.command.spawn().expect("the function's binary starts");
        self.wait_for("/health/").await;
    }

    /// Sends it a signal, named as `kill` names it.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "a signal can be sent");
    }

    /// Asks it to stop with SIGTERM, and returns its exit code.
    ///
    /// # Panics
    /// If it does not stop.
    pub async fn terminate(&mut self) -> Option<i32> {
        self.signal("TERM").await;
        self.terminated().await
    }

    /// Waits for its end, and returns its exit code.
    ///
    /// # Panics
    /// If it does not stop.
    pub async fn terminated(&mut self) -> Option<i32> {
        must_complete("the process stops", self.child.wait()).await.expect("its status can be had").code()
    }
}
