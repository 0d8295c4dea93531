//! `seat run` over the real platform: whatever happens to it, the program it runs does not notice, and the seat comes back.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use platform::domain::Policy;
use testkit::{Process, TestDatabase, eventually, must_complete, policy, redis_settings};
use tokio::{
    io::{AsyncBufReadExt, BufReader, Lines},
    process::{Child, ChildStderr, Command},
};

use crate::client::{BINARY, Platform};

/// A heartbeat comes every third of it, and the other two thirds are left to a slow machine.
const TTL: Duration = Duration::from_secs(60);

async fn platform(seats: u32) -> Platform {
    let database = TestDatabase::new().await;
    let redis = redis_settings();
    let process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), &[("SWEEP_INTERVAL", "1")]).await;
    let customer = database.customer(Policy { session_ttl: TTL, ..policy(seats) }).await;
    Platform { process, database, customer, http: reqwest::Client::new() }
}

/// Waits until the platform has answered so many heartbeats more.
async fn heartbeats(platform: &Platform, more: u64) {
    let count = async || {
        let page = reqwest::get(&platform.process.metrics_url).await.unwrap().text().await.unwrap();
        let counter = r#"coditect_http_requests_total{route="/api/v1/licenses/heartbeat",method="POST",status="200"} "#;
        page.lines().find_map(|line| line.strip_prefix(counter)?.parse::<u64>().ok()).unwrap_or(0)
    };
    let before = count().await;
    eventually("more heartbeats", async || count().await >= before + more).await;
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

    /// A shell's line that runs with a seat, once the program waits for [`Running::go_on`].
    fn run(&self, platform: &Platform, name: &str, line: &str) -> Command {
        let (started, gate) = (self.0.join(format!("{name}-started")), self.0.join(format!("{name}-gate")));
        let line = format!("unset LD_PRELOAD; touch {}; until [ -e {} ]; do sleep 0.1; done; {line}", started.display(), gate.display());
        let mut command = self.seat(platform);
        command.args(["run", "--email", "user@test.example", "--", "sh", "-c", &line]).stderr(Stdio::piped());
        command
    }

    /// Starts what [`Home::run`] has made, and waits until the program has its seat.
    async fn start(&self, name: &str, mut command: Command) -> Running {
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap()).lines();
        let started = self.0.join(format!("{name}-started"));
        eventually("the program runs", async || started.exists()).await;
        Running { child, stderr, gate: self.0.join(format!("{name}-gate")) }
    }
}

/// A program with a seat.
struct Running {
    child: Child,
    stderr: Lines<BufReader<ChildStderr>>,
    gate: PathBuf,
}

impl Running {
    /// Waits until the command says something.
    async fn says(&mut self, text: &str) {
        let lines = async {
            while let Some(line) = self.stderr.next_line().await.unwrap() {
                if line.contains(text) {
                    return;
                }
            }
            panic!("it ended without saying {text}");
        };
        must_complete(text, lines).await;
    }

    /// Lets the program go on to its end, and returns the command's exit code.
    async fn go_on(self) -> Option<i32> {
        std::fs::write(&self.gate, "").unwrap();
        exit_code(self.child).await
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

async fn exit_code(mut child: Child) -> Option<i32> {
    must_complete("the command ends", child.wait()).await.unwrap().code()
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
    let mut run = home.start("run", home.run(&platform, "run", "exit 7")).await;
    platform.process.kill().await;
    run.says("cannot be reached").await;
    platform.process.start_again().await;
    run.says("held again").await;
    assert_eq!(run.go_on().await, Some(7));
    assert_eq!(endings(&platform).await, ["released"]);
}

#[tokio::test]
async fn a_network_that_is_cut_is_not_noticed_while_the_seat_lasts() {
    let platform = platform(1).await;
    let home = Home::new(&platform).await;
    let mut run = home.start("run", home.run(&platform, "run", "exit 8")).await;
    // Connections are open, and nothing answers.
    platform.process.signal("STOP").await;
    run.says("cannot be reached").await;
    let verified = home.seat(&platform).args(["verify", "--json"]).output().await.unwrap();
    platform.process.signal("CONT").await;
    assert!(verified.status.success(), "{}", String::from_utf8_lossy(&verified.stdout));
    run.says("held again").await;
    assert_eq!(run.go_on().await, Some(8));
    assert_eq!(endings(&platform).await, ["released"]);
}

#[tokio::test]
async fn two_runs_on_one_machine_share_a_seat_and_a_killed_program_gives_it_back() {
    let platform = platform(1).await;
    let home = Home::new(&platform).await;
    let long = home.start("long", home.run(&platform, "long", "kill -KILL $$")).await;
    let short = home.start("short", home.run(&platform, "short", "exit 3")).await;
    assert_eq!(short.go_on().await, Some(3));
    assert_eq!(endings(&platform).await, ["", "released"], "each has a session of its own, and the other run still sits");
    assert_eq!(long.go_on().await, Some(128 + 9));
    assert_eq!(endings(&platform).await, ["released", "released"]);
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
    let mut command = home.run(&platform, "run", "exit 9");
    fake(&mut command);
    let run = home.start("run", command).await;
    set("-1h");
    let mut verify = home.seat(&platform);
    verify.args(["verify", "--json"]);
    fake(&mut verify);
    let verified = verify.output().await.unwrap();
    let said = String::from_utf8([verified.stdout, verified.stderr].concat()).unwrap();
    assert!(!verified.status.success() && said.contains("clock_turned_back"), "{said}");
    heartbeats(&platform, 2).await;
    assert_eq!(run.go_on().await, Some(9), "the seat was held by the monotonic clock");
    assert_eq!(endings(&platform).await, ["released"]);
}
