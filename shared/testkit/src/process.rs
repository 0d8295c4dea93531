//! A function as the process it is in production.

use std::{
    net::TcpListener,
    process::Stdio,
    time::{Duration, Instant},
};

use tokio::process::{Child, Command};

use crate::keys;

/// A port that nobody listens on now.
///
/// # Panics
/// If the machine has none.
#[must_use]
pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a port is free");
    listener.local_addr().expect("it has an address").port()
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
    /// If it does not start, or does not answer within ten seconds.
    pub async fn start(binary: &str, arguments: &[&str], database_url: &str, redis_url: &str) -> Self {
        Self::start_with(binary, arguments, database_url, redis_url, &[]).await
    }

    /// The same, with further settings.
    ///
    /// # Panics
    /// If it does not start, or does not answer within ten seconds.
    pub async fn start_with(binary: &str, arguments: &[&str], database_url: &str, redis_url: &str, settings: &[(&str, &str)]) -> Self {
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
            .env("HOST", "127.0.0.1")
            .env("PORT", port.to_string())
            .env("METRICS_PORT", metrics_port.to_string())
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        let child = command.spawn().expect("the function's binary starts");
        let process = Self {
            command,
            child,
            url: format!("http://127.0.0.1:{port}"),
            metrics_url: format!("http://127.0.0.1:{metrics_port}/metrics"),
        };
        process.wait_for("/health/", Duration::from_secs(10)).await;
        process
    }

    /// Waits until a path answers 200.
    ///
    /// # Panics
    /// If that takes longer than `patience`.
    pub async fn wait_for(&self, path: &str, patience: Duration) {
        let (client, url) = (reqwest::Client::new(), format!("{}{path}", self.url));
        let deadline = Instant::now() + patience;
        while !client.get(&url).send().await.is_ok_and(|answer| answer.status() == 200) {
            assert!(Instant::now() < deadline, "{url} does not answer");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
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
    /// If it does not start, or does not answer within ten seconds.
    pub async fn start_again(&mut self) {
        self.child = self.command.spawn().expect("the function's binary starts");
        self.wait_for("/health/", Duration::from_secs(10)).await;
    }

    /// Sends it a signal, named as `kill` names it.
    ///
    /// # Panics
    /// If it cannot be sent.
    pub async fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.id().to_string()]).status().await;
        assert!(sent.is_ok_and(|status| status.success()), "a signal can be sent");
    }

    /// Asks it to stop with SIGTERM; answers its exit code and how long it took.
    ///
    /// # Panics
    /// If it does not stop within twelve seconds.
    pub async fn terminate(&mut self) -> (Option<i32>, Duration) {
        let begun = Instant::now();
        self.signal("TERM").await;
        let status = tokio::time::timeout(Duration::from_secs(12), self.child.wait()).await.expect("it stops in time");
        (status.expect("its status can be had").code(), begun.elapsed())
    }
}
