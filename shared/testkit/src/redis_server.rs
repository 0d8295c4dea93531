//! A Redis of a test's own, with the options that the test wants.

use std::{
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use redis::{AsyncConnectionConfig, Client, RedisResult, Value, aio::MultiplexedConnection};

use crate::{eventually_some, free_port};

/// A running `redis-server` that keeps nothing on disk; killed when dropped.
#[derive(Debug)]
pub struct RedisServer {
    folder: PathBuf,
    port: u16,
    child: Child,
    /// Where it is, without a password.
    pub url: String,
    /// The test's own connection. It stays logged in when the password changes.
    connection: MultiplexedConnection,
}

impl RedisServer {
    /// Starts a server with further options, as the command line takes them, and waits until it
    /// answers.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start(options: &[&str]) -> Self {
        let port = free_port();
        let folder = std::env::temp_dir().join(format!("coditect-redis-{port}"));
        std::fs::create_dir_all(&folder).expect("a folder can be made");
        let child = run(&folder, port, options);
        let connection = connect(port, options).await;
        Self { folder, port, child, url: format!("redis://127.0.0.1:{port}"), connection }
    }

    /// Its URL for a client that knows a password.
    #[must_use]
    pub fn url_with(&self, password: &str) -> String {
        format!("redis://:{password}@127.0.0.1:{}", self.port)
    }

    /// Sends a command over the test's own connection.
    ///
    /// # Errors
    /// What the server says.
    pub async fn command(&self, command: &[&str]) -> RedisResult<Value> {
        let mut call = redis::cmd(command[0]);
        call.arg(&command[1..]).query_async(&mut self.connection.clone()).await
    }

    /// The same for a command that must succeed.
    ///
    /// # Panics
    /// If it fails.
    pub async fn must(&self, command: &[&str]) -> Value {
        self.command(command).await.unwrap_or_else(|error| panic!("{command:?}: {error}"))
    }

    /// Kills it with SIGKILL, and waits until it is gone.
    ///
    /// # Panics
    /// If it cannot be killed.
    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("a process can be killed");
    }

    /// Starts it again on its port, in its folder, after it was killed.
    ///
    /// # Panics
    /// If it does not start.
    pub async fn start_again(&mut self, options: &[&str]) {
        self.child = run(&self.folder, self.port, options);
        self.connection = connect(self.port, options).await;
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn run(folder: &Path, port: u16, options: &[&str]) -> Child {
    let mut server = Command::new("redis-server");
    server.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--maxmemory-policy", "noeviction"]);
    server.args(options).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null());
    server.spawn().expect("redis-server starts")
}

async fn connect(port: u16, options: &[&str]) -> MultiplexedConnection {
    let password = options.windows(2).find(|pair| pair[0] == "--requirepass").map_or("", |pair| pair[1]);
    let client = Client::open(format!("redis://:{password}@127.0.0.1:{port}").replace(":@", "")).expect("it is a URL");
    let config = AsyncConnectionConfig::new().set_response_timeout(None).set_connection_timeout(None);
    let connect = async || client.get_multiplexed_async_connection_with_config(&config).await.ok();
    eventually_some("redis-server accepts a connection", connect).await
}
