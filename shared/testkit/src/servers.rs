//! PostgreSQL and Redis of a test's own, which it may stop, kill and start again.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::process::Command;
use uuid::Uuid;

/// Private servers; gone when dropped.
#[derive(Debug)]
pub struct Servers {
    folder: PathBuf,
    /// Of the private PostgreSQL.
    pub database_url: String,
    /// Of the private Redis.
    pub redis_url: String,
}

impl Servers {
    /// Starts both, PostgreSQL so that what it has committed outlives its being killed.
    ///
    /// # Panics
    /// If they do not start.
    pub async fn start() -> Self {
        let folder = std::env::temp_dir().join(format!("coditect-servers-{}", Uuid::new_v4().simple()));
        let mut servers = Self { folder, database_url: String::new(), redis_url: String::new() };
        for line in servers.services(&["start"], &["--durable"]).await.lines() {
            match line.split_once('=') {
                Some(("DATABASE_URL", url)) => url.clone_into(&mut servers.database_url),
                Some(("REDIS_URL", url)) => url.clone_into(&mut servers.redis_url),
                _ => {}
            }
        }
        assert!(!servers.database_url.is_empty() && !servers.redis_url.is_empty(), "scripts/services names both servers");
        servers
    }

    /// Does something to one of them: `start`, `stop`, `kill` or `restart` to `postgres` or `redis`. Each keeps its port.
    ///
    /// # Panics
    /// If it fails.
    pub async fn control(&self, action: &str, server: &str) {
        self.services(&[action], &[server]).await;
    }

    async fn services(&self, before: &[&str], after: &[&str]) -> String {
        let output = Command::new(script())
            .args(before)
            .arg(&self.folder)
            .args(after)
            .stdin(Stdio::null())
            .stderr(Stdio::inherit())
            .output()
            .await
            .expect("scripts/services can be run");
        assert!(output.status.success(), "scripts/services {before:?} {after:?} failed");
        String::from_utf8(output.stdout).expect("it prints UTF-8")
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        let _ = std::process::Command::new(script()).arg("destroy").arg(&self.folder).stdout(Stdio::null()).status();
    }
}

fn script() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/services")
}
