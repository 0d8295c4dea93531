//! Clients that die at random under load: each seat is usable again after a TTL and a sweep, and no live client loses its own.
//!
//! With `SOAK_SECONDS`, as `scripts/test --soak` runs it on a quiet machine, it goes on for so long with a short TTL, and each
//! seat must be free in time. Without, each run ends after a few programs, and no time is judged.

use std::{
    path::{Path, PathBuf},
    process::Stdio,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use platform::domain::{Clock, Policy, SystemClock, Timestamp};
use reqwest::Client;
use serde_json::{Value, json};
use testkit::{Customer, Process, TestDatabase, eventually, eventually_is, policy, redis_settings};
use tokio::{
    process::Command,
    task::JoinSet,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::client::BINARY;

/// The sweep must run every twelfth of it, and cannot run more often than every second.
const SHORT_TTL: Duration = Duration::from_secs(12);
/// Two thirds of it are left to a slow machine.
const LONG_TTL: Duration = Duration::from_secs(36);
/// Programs that each run kills where no time is set.
const KILLS: usize = 2;
const SWEEP: Duration = Duration::from_secs(1);
/// For a machine that does other things too.
const SLACK: Duration = Duration::from_secs(4);
/// Of the license that programs under `seat run` use; none of them is ever refused.
const ROOMY: u32 = 60;
/// Of the license that others fight for.
const SCARCE: u32 = 10;
/// Programs that run at the same time; clients that live all along, and that come and go.
const RUNS: u64 = 4;
const STEADY: u64 = 4;
const FICKLE: u64 = 12;

#[tokio::test]
#[expect(clippy::print_stdout, reason = "what a soak of minutes has done")]
async fn seats_of_clients_that_die_come_back_in_time_and_no_live_client_loses_its_own() {
    let soak = std::env::var("SOAK_SECONDS").ok().map(|seconds| Duration::from_secs(seconds.parse().unwrap()));
    let scene = Scene::set(if soak.is_some() { SHORT_TTL } else { LONG_TTL }).await;
    let (stop, mut clients) = (Arc::new(AtomicBool::new(false)), JoinSet::new());
    for number in 0..STEADY {
        let client = Http::new(&scene, &stop, number);
        let session = client.acquire().await.expect("whoever comes first gets a seat");
        clients.spawn(client.steady(session));
    }
    for number in 0..FICKLE {
        clients.spawn(Http::new(&scene, &stop, STEADY + number).fickle());
    }
    let (mut killed, until) = (Vec::new(), soak.map(|soak| Instant::now() + soak));
    let mut runs = JoinSet::new();
    for number in 0..RUNS {
        runs.spawn(scene.programs(number, until));
    }
    while let Some(run) = runs.join_next().await {
        killed.extend(run.unwrap());
    }
    stop.store(true, Ordering::SeqCst);
    let (mut beats, mut died) = (0, 0);
    while let Some(client) = clients.join_next().await {
        let told = client.unwrap();
        (beats, died) = (beats + told.beats, died + told.died);
    }
    assert!(killed.len() as u64 >= RUNS && died > 0 && beats > 0, "{} killed, {died} died, {beats} heartbeats", killed.len());

    // Nobody beats any more: one TTL and one sweep later every seat is there to be had.
    let zombies = async || scene.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await;
    eventually("no zombie is left", async || zombies().await == 0).await;
    scene.assert_each_died_once(&killed, soak.map(|_| scene.ttl + SWEEP + SLACK)).await;
    for (customer, seats) in [(&scene.roomy, ROOMY), (&scene.scarce, SCARCE)] {
        for device in 0..seats {
            let (status, answer) = call(&scene.url, &Client::new(), "acquire", &applicant(customer, &format!("last-{device}"))).await;
            assert_eq!(status, 201, "seat {device} of {seats}: {answer}");
        }
    }
    println!("{} programs killed, {died} clients died, {beats} heartbeats", killed.len());
}

struct Scene {
    _process: Process,
    url: String,
    database: TestDatabase,
    roomy: Customer,
    scarce: Customer,
    ttl: Duration,
    folder: PathBuf,
}

impl Drop for Scene {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Scene {
    async fn set(ttl: Duration) -> Self {
        let (database, redis) = (TestDatabase::new().await, redis_settings());
        let process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), &[("SWEEP_INTERVAL", "1")]).await;
        let [roomy, scarce] = [ROOMY, SCARCE].map(|seats| database.customer(Policy { session_ttl: ttl, ..policy(seats) }));
        let (roomy, scarce) = (roomy.await, scarce.await);
        let folder = std::env::temp_dir().join(format!("coditect-soak-{}", roomy.license));
        std::fs::create_dir_all(&folder).unwrap();
        let keys: Value = reqwest::get(format!("{}/api/v1/keys", process.url)).await.unwrap().json().await.unwrap();
        std::fs::write(folder.join("root.json"), keys["root"]["jwk"].to_string()).unwrap();
        Self { url: process.url.clone(), _process: process, database, roomy, scarce, ttl, folder }
    }

    async fn number(&self, sql: &str) -> i64 {
        self.database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
    }

    /// One program after the other under `seat run`, each with SIGKILL after some seconds: who they were, and when they died.
    fn programs(&self, number: u64, until: Option<Instant>) -> impl Future<Output = Vec<(String, Timestamp)>> + Send + use<> {
        let (url, folder, key) = (self.url.clone(), self.folder.clone(), self.roomy.key.reveal());
        async move {
            let (mut killed, mut chance) = (Vec::new(), Chance::of(number));
            for program in 0.. {
                if until.map_or(killed.len() == KILLS, |until| Instant::now() >= until) {
                    break;
                }
                let name = format!("{number}-{program}");
                let started = folder.join(format!("{name}-started"));
                // The client's crate is built beside this one by whoever builds the workspace.
                let mut seat = Command::new(Path::new(BINARY).with_file_name("seat"))
                    .args(["run", "--email", &format!("{name}@test.example"), "--"])
                    .args(["sh", "-c", &format!("touch {}; exec sleep 30", started.display())])
                    .env("CODITECT_API_URL", &url)
                    .env("CODITECT_LICENSE_KEY", &key)
                    .env("CODITECT_ROOT", folder.join("root.json"))
                    .env("CODITECT_STATE", folder.join(&name))
                    .env("CODITECT_HARDWARE_ID", format!("device-{name}"))
                    .stdin(Stdio::null())
                    .kill_on_drop(true)
                    .spawn()
                    .unwrap();
                eventually_is("the program runs", || started.exists()).await;
                // Some before their first heartbeat, some long after.
                sleep(Duration::from_millis(chance.below(8000))).await;
                assert!(seat.try_wait().unwrap().is_none(), "{name} has ended by itself");
                let died_at = SystemClock.now();
                seat.kill().await.unwrap();
                killed.push((format!("{name}@test.example"), died_at));
            }
            killed
        }
    }

    async fn assert_each_died_once(&self, killed: &[(String, Timestamp)], within: Option<Duration>) {
        let owner = self.database.owner().await;
        for (email, died_at) in killed {
            let sql = "SELECT ended_at, ended_reason FROM sessions WHERE user_email = $1";
            let rows = owner.query(sql, &[email]).await.unwrap();
            let [row] = &rows[..] else { panic!("{email} had {} sessions, and so had lost one while it lived", rows.len()) };
            let (ended_at, reason): (Timestamp, String) = (row.get(0), row.get(1));
            assert!(ended_at >= *died_at, "{email} was swept while it lived");
            let in_time = within.is_none_or(|within| ended_at <= *died_at + within);
            assert!(in_time, "{email} died at {died_at} and was there until {ended_at}");
            assert_eq!(reason, "expired");
        }
    }
}

#[derive(Default)]
struct Told {
    beats: u64,
    died: u64,
}

/// A client over HTTP.
struct Http {
    url: String,
    client: Client,
    license_key: String,
    number: u64,
    ttl: Duration,
    stop: Arc<AtomicBool>,
    chance: Chance,
}

impl Http {
    fn new(scene: &Scene, stop: &Arc<AtomicBool>, number: u64) -> Self {
        let (url, license_key, stop) = (scene.url.clone(), scene.scarce.key.reveal(), Arc::clone(stop));
        // A connection for each request: one that the server has closed is never taken for a fault.
        let client = Client::builder().pool_max_idle_per_host(0).build().unwrap();
        Self { url, client, license_key, number, ttl: scene.ttl, stop, chance: Chance::of(1000 + number) }
    }

    fn goes_on(&self) -> bool {
        !self.stop.load(Ordering::SeqCst)
    }

    /// The session, if there was a seat.
    async fn acquire(&self) -> Option<String> {
        static DEVICE: AtomicU64 = AtomicU64::new(0);
        // A device that died does not come back: its seat must be freed for others.
        let device = format!("client-{}-{}", self.number, DEVICE.fetch_add(1, Ordering::SeqCst));
        let body = json!({ "license_key": self.license_key, "hardware_id": device, "user_email": "user@test.example" });
        match call(&self.url, &self.client, "acquire", &body).await {
            (201, answer) => Some(answer["session_id"].as_str().unwrap().to_owned()),
            (402, _) => None,
            (status, answer) => panic!("{status}: {answer}"),
        }
    }

    async fn beat(&self, session: &str) {
        let (status, answer) = call(&self.url, &self.client, "heartbeat", &json!({ "session_id": session })).await;
        assert_eq!(status, 200, "a live session was lost: {answer}");
    }

    /// Lives all along, and beats as late as it should.
    async fn steady(self, session: String) -> Told {
        let mut told = Told::default();
        while self.goes_on() {
            sleep(self.ttl / 3).await;
            self.beat(&session).await;
            told.beats += 1;
        }
        told
    }

    /// Comes and goes: after some heartbeats it releases its seat or is never heard of again.
    async fn fickle(mut self) -> Told {
        let mut told = Told::default();
        while self.goes_on() {
            if let Some(session) = self.acquire().await {
                for _ in 0..self.chance.below(6) {
                    sleep(Duration::from_millis(self.chance.below(3000))).await;
                    self.beat(&session).await;
                    told.beats += 1;
                }
                if self.chance.below(2) == 0 {
                    told.died += 1;
                } else {
                    let (status, answer) = call(&self.url, &self.client, "release", &json!({ "session_id": session })).await;
                    assert_eq!(status, 200, "{answer}");
                }
            }
            sleep(Duration::from_millis(50 + self.chance.below(400))).await;
        }
        told
    }
}

fn applicant(customer: &Customer, device: &str) -> Value {
    json!({ "license_key": customer.key.reveal(), "hardware_id": device, "user_email": "user@test.example" })
}

async fn call(url: &str, client: &Client, operation: &str, body: &Value) -> (u16, Value) {
    let answer = client.post(format!("{url}/api/v1/licenses/{operation}")).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap_or_default())
}

/// Xorshift: as random as it must be here.
struct Chance(u64);

impl Chance {
    fn of(number: u64) -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self((high ^ low ^ number) | 1)
    }

    const fn below(&mut self, most: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % most
    }
}
