//! `seat run` over the real platform: whatever happens to it, the program it runs does not notice, and the seat comes back.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use platform::domain::Policy;
use testkit::{Process, TestDatabase, policy, redis_settings};
use tokio::{
    process::{Child, Command},
    time::sleep,
};

use crate::client::{BINARY, Platform};

/// Seconds; a heartbeat every third.
const TTL: u64 = 9;

async fn platform(seats: u32) -> Platform {
    let database = TestDatabase::new().await;
    let redis = redis_settings();
    let process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), &[("SWEEP_INTERVAL", "1")]).await;
    let customer = database.customer(Policy { session_ttl: Duration::from_secs(TTL), ..policy(seats) }).await;
    Platform { process, database, customer, http: reqwest::Client::new() }
}

/// What the command keeps between calls, and the root it trusts; gone when dropped.
struct Home(PathBuf);

impl Home {
    async fn new(platform: &Platform) -> Self {
        let folder = std::env::temp_dir().join(format!("coditect-seat-{}", platform.customer.license));
        std::fs::create_dir_all(&folder).unwrap();
        let keys: serde_json::Value = reqwest::get(format!("{}/api/v1/keys", platform.process.url)).await.unwrap().json().await.unwrap();
        std::fs::write(folder.join("root.json"), keys["root"]["jwk"].to_string()).unwrap();
        Self(folder)
    }

    fn seat(&self, platform: &Platform) -> Command {
        // The client's crate is built beside this one by whoever builds the workspace.
        let mut command = Command::new(Path::new(BINARY).with_file_name("seat"));
        command
            .env("CODITECT_API_URL", &platform.process.url)
            .env("CODITECT_LICENSE_KEY", platform.customer.key.reveal())
            .env("CODITECT_ROOT", self.0.join("root.json"))
            .env("CODITECT_STATE", self.0.join("state"))
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs a shell's line with a seat.
    fn run(&self, platform: &Platform, line: &str) -> Command {
        let mut command = self.seat(platform);
        command.args(["run", "--email", "user@test.example", "--", "sh", "-c", line]);
        command
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn exit_code(mut child: Child) -> Option<i32> {
    tokio::time::timeout(Duration::from_secs(60), child.wait()).await.unwrap().unwrap().code()
}

/// How the sessions of the platform have ended, in the order they began; empty for one that lives.
async fn endings(platform: &Platform) -> Vec<String> {
    let sql = "SELECT coalesce(ended_reason, '') FROM sessions ORDER BY started_at";
    platform.database.owner().await.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn a_platform_that_is_killed_and_comes_back_is_not_noticed() {
    let mut platform = platform(1).await;
    let home = Home::new(&platform).await;
    let run = home.run(&platform, &format!("sleep {}; exit 7", TTL + 3)).spawn().unwrap();
    sleep(Duration::from_secs(1)).await;
    platform.process.kill().await;
    sleep(Duration::from_secs(TTL / 2)).await;
    platform.process.start_again().await;
    assert_eq!(exit_code(run).await, Some(7));
    assert_eq!(endings(&platform).await, ["released"]);
}

#[tokio::test]
async fn a_network_that_is_cut_for_two_thirds_of_a_ttl_is_not_noticed() {
    let platform = platform(1).await;
    let home = Home::new(&platform).await;
    let run = home.run(&platform, &format!("sleep {}; exit 8", 2 * TTL)).spawn().unwrap();
    // Just after a heartbeat: connections open, and nothing answers.
    sleep(Duration::from_millis(3_500)).await;
    platform.process.signal("STOP").await;
    sleep(Duration::from_secs(TTL * 2 / 3 - 1)).await;
    let verified = home.seat(&platform).args(["verify", "--json"]).output().await.unwrap();
    platform.process.signal("CONT").await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    assert_eq!(exit_code(run).await, Some(8));
    assert_eq!(endings(&platform).await, ["released"]);
}

#[tokio::test]
async fn two_runs_on_one_machine_share_a_seat_and_a_killed_program_gives_it_back() {
    let platform = platform(1).await;
    let home = Home::new(&platform).await;
    let long = home.run(&platform, "sleep 4; kill -KILL $$").spawn().unwrap();
    sleep(Duration::from_secs(1)).await;
    let short = home.run(&platform, "exit 3").spawn().unwrap();
    assert_eq!(exit_code(short).await, Some(3));
    assert_eq!(endings(&platform).await, [""], "the other run still sits");
    assert_eq!(exit_code(long).await, Some(128 + 9));
    assert_eq!(endings(&platform).await, ["released"]);
}

#[tokio::test]
async fn a_clock_set_back_an_hour_does_not_disturb_a_run_and_proves_nothing_offline() {
    let platform = platform(1).await;
    let home = Home::new(&platform).await;
    let clock = home.0.join("clock");
    let mut libraries = std::fs::read_dir("/usr/lib").unwrap().flatten().map(|entry| entry.path().join("faketime/libfaketime.so.1"));
    let library = libraries.find(|file| file.exists()).expect("faketime is installed: scripts/test does it");
    let set = |offset: &str| std::fs::write(&clock, offset).unwrap();
    let fake = |command: &mut Command| {
        command.env("LD_PRELOAD", &library).env("FAKETIME_TIMESTAMP_FILE", &clock).env("FAKETIME_NO_CACHE", "1");
        command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1");
    };
    set("+0");
    let mut run = home.run(&platform, &format!("unset LD_PRELOAD; sleep {}; exit 9", TTL + 3));
    fake(&mut run);
    let run = run.spawn().unwrap();
    sleep(Duration::from_secs(2)).await;
    set("-1h");
    sleep(Duration::from_secs(2)).await;
    let mut verify = home.seat(&platform);
    verify.args(["verify", "--json"]);
    fake(&mut verify);
    let verified = verify.output().await.unwrap();
    let said = String::from_utf8([verified.stdout, verified.stderr].concat()).unwrap();
    assert!(!verified.status.success() && said.contains("clock_turned_back"), "{said}");
    assert_eq!(exit_code(run).await, Some(9), "the seat was held by the monotonic clock");
    assert_eq!(endings(&platform).await, ["released"]);
}
