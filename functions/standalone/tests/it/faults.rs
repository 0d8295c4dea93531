//! Servers and processes are taken away under load. After each fault both promises hold, clients have seen only documented
//! answers, and the service is back by itself.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use serde_json::{Value, json};
use testkit::{Customer, HANG_GUARD, Process, Servers, TestDatabase, eventually, policy};
use tokio::{task::JoinSet, time::sleep};

use crate::client::BINARY;

const SEATS: u32 = 8;
const DEVICES: usize = 16;

struct Scene {
    database: TestDatabase,
    servers: Servers,
    customer: Customer,
    processes: Vec<Process>,
}

impl Scene {
    async fn set(settings: &[(&str, &str)]) -> Self {
        let servers = Servers::start().await;
        let database = TestDatabase::on(&servers.database_url).await;
        let customer = database.customer(policy(SEATS)).await;
        let mut processes = Vec::new();
        for _ in 0..2 {
            processes.push(Process::start_with(BINARY, &["serve"], database.url(), &servers.redis_url, settings).await);
        }
        Self { database, servers, customer, processes }
    }

    fn urls(&self) -> Vec<String> {
        self.processes.iter().map(|process| process.url.clone()).collect()
    }

    async fn redis(&self, command: &str) {
        let client = redis::Client::open(self.servers.redis_url.as_str()).unwrap();
        let mut link = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd(command).exec_async(&mut link).await.unwrap();
    }

    /// No seat for two holders, no holder on two seats, each seat occupied by one row, and no more of them than there are.
    async fn assert_invariant(&self) {
        let owner = self.database.owner().await;
        let sql = "SELECT count(*) FILTER (WHERE share = 0), count(DISTINCT seat), count(DISTINCT holder), max(seat) FROM sessions WHERE ended_at IS NULL";
        let row = owner.query_one(sql, &[]).await.unwrap();
        let (open, seats, holders): (i64, i64, i64) = (row.get(0), row.get(1), row.get(2));
        assert_eq!((open, open), (seats, holders));
        assert!(open <= i64::from(SEATS) && row.get::<_, Option<i32>>(3).unwrap_or(0) <= i32::try_from(SEATS).unwrap());
    }
}

/// Devices that acquire, beat and release until they are told to stop.
struct Load {
    stop: Arc<AtomicBool>,
    record: Arc<Mutex<Record>>,
    devices: JoinSet<()>,
}

#[derive(Default)]
struct Record {
    answers: HashMap<(String, u16), u64>,
    wrong: Vec<String>,
    /// Which device believes that it sits on a seat.
    seats: HashMap<u64, usize>,
    /// Answers that were no 503.
    successes: u64,
}

impl Load {
    /// In the middle of the load something happens: the service is back by itself, and no rule was broken.
    async fn withstand(&self, scene: &Scene, happens: impl AsyncFnOnce()) {
        self.succeeds(50).await;
        happens().await;
        self.assert_back().await;
        scene.assert_invariant().await;
    }

    fn start(scene: &Scene) -> Self {
        let (stop, record) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Record::default())));
        let mut devices = JoinSet::new();
        for number in 0..DEVICES {
            let device = Device {
                number,
                urls: scene.urls(),
                key: scene.customer.key.reveal(),
                http: reqwest::Client::builder().timeout(HANG_GUARD).build().unwrap(),
                record: Arc::clone(&record),
            };
            devices.spawn(device.run(Arc::clone(&stop)));
        }
        Self { stop, record, devices }
    }

    async fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        self.devices.join_all().await;
        let record = self.record.lock().unwrap();
        assert!(record.wrong.is_empty(), "{:#?}", record.wrong);
        assert!(record.answers.keys().any(|(operation, status)| operation == "heartbeat" && *status == 200), "{:?}", record.answers);
    }

    /// Waits until so many more operations have succeeded.
    async fn succeeds(&self, times: u64) {
        let before = self.record.lock().unwrap().successes;
        eventually("the service is back", async || self.record.lock().unwrap().successes >= before + times).await;
    }

    /// Waits until a request that was sent from now on has succeeded: those that were under way are at most one for each device.
    async fn assert_back(&self) {
        self.succeeds(DEVICES as u64 + 1).await;
    }

    /// Waits until clients have been answered with this status.
    async fn has_answered(&self, status: u16) {
        let was_said = || self.record.lock().unwrap().answers.keys().any(|(_, said)| *said == status);
        eventually(&format!("an answer {status}"), async || was_said()).await;
    }
}

struct Device {
    number: usize,
    urls: Vec<String>,
    key: String,
    http: reqwest::Client,
    record: Arc<Mutex<Record>>,
}

impl Device {
    async fn run(self, stop: Arc<AtomicBool>) {
        let mut round = self.number;
        while !stop.load(Ordering::SeqCst) {
            round += 1;
            let body = json!({ "license_key": self.key, "hardware_id": format!("device-{}", self.number), "user_email": "u@x.example" });
            let Some((201 | 200, acquired)) = self.ask(round, "acquire", &body, &[200, 201, 402]).await else {
                sleep(Duration::from_millis(20)).await;
                continue;
            };
            let (seat, session) = (acquired["seat"].as_u64().unwrap(), json!({ "session_id": acquired["session_id"] }));
            self.sit(seat);
            for beat in 0..5 {
                // A live session is never refused: not 410, not 404.
                self.ask(round + beat, "heartbeat", &session, &[200]).await;
                sleep(Duration::from_millis(5)).await;
            }
            self.rise(seat);
            while !stop.load(Ordering::SeqCst) && self.ask(round, "release", &session, &[200]).await.is_none_or(|(status, _)| status != 200)
            {
                sleep(Duration::from_millis(20)).await;
            }
        }
    }

    fn sit(&self, seat: u64) {
        let mut record = self.record.lock().unwrap();
        if let Some(other) = record.seats.insert(seat, self.number) {
            record.wrong.push(format!("seat {seat} is with {other} and {}", self.number));
        }
    }

    fn rise(&self, seat: u64) {
        self.record.lock().unwrap().seats.remove(&seat);
    }

    /// None: the connection broke, as it does when a process is killed.
    async fn ask(&self, round: usize, operation: &str, body: &Value, expected: &[u16]) -> Option<(u16, Value)> {
        let url = format!("{}/api/v1/licenses/{operation}", self.urls[round % self.urls.len()]);
        let response = self.http.post(url).json(body).send().await.ok()?;
        let (status, retry_after) = (response.status().as_u16(), response.headers().contains_key("retry-after"));
        let text = response.text().await.ok()?;
        let mut record = self.record.lock().unwrap();
        *record.answers.entry((operation.to_owned(), status)).or_default() += 1;
        if expected.contains(&status) {
            record.successes += 1;
        } else if status != 503 || !retry_after {
            record.wrong.push(format!("{operation}: {status} {text}"));
        }
        Some((status, serde_json::from_str(&text).unwrap_or_default()))
    }
}

#[tokio::test]
async fn redis_is_flushed_in_the_middle_of_load() {
    let scene = Scene::set(&[]).await;
    let load = Load::start(&scene);
    for _ in 0..10 {
        load.withstand(&scene, async || scene.redis("FLUSHALL").await).await;
    }
    load.end().await;
    scene.assert_invariant().await;
}

#[tokio::test]
async fn redis_is_killed_and_comes_back_empty() {
    let scene = Scene::set(&[]).await;
    let load = Load::start(&scene);
    for _ in 0..2 {
        let kill_and_start = async || {
            scene.servers.control("kill", "redis").await;
            load.has_answered(503).await;
            scene.servers.control("start", "redis").await;
        };
        load.withstand(&scene, kill_and_start).await;
    }
    load.end().await;
    scene.assert_invariant().await;
}

#[tokio::test]
async fn postgresql_is_restarted_under_load() {
    let scene = Scene::set(&[]).await;
    let load = Load::start(&scene);
    let kill_and_start = async || {
        scene.servers.control("kill", "postgres").await;
        load.has_answered(503).await;
        scene.servers.control("start", "postgres").await;
    };
    load.withstand(&scene, kill_and_start).await;
    load.withstand(&scene, async || scene.servers.control("restart", "postgres").await).await;
    load.end().await;
    scene.assert_invariant().await;
}

#[tokio::test]
async fn a_function_is_killed_under_load() {
    let mut scene = Scene::set(&[]).await;
    let load = Load::start(&scene);
    load.succeeds(50).await;
    scene.processes[1].kill().await;
    load.assert_back().await;
    scene.assert_invariant().await;
    load.end().await;
    // Whatever the killed process left half done, its devices find their seats again: all seats can be used.
    let url = format!("{}/api/v1/licenses/acquire", scene.processes[0].url);
    let mut granted = 0;
    for device in 0..DEVICES {
        let body =
            json!({ "license_key": scene.customer.key.reveal(), "hardware_id": format!("device-{device}"), "user_email": "u@x.example" });
        let status = reqwest::Client::new().post(&url).json(&body).send().await.unwrap().status().as_u16();
        granted += u32::from(status == 200 || status == 201);
    }
    assert_eq!(granted, SEATS);
    scene.assert_invariant().await;
}

#[tokio::test]
async fn a_full_connection_pool_gives_a_prompt_503_and_empties_again() {
    let scene = Scene::set(&[("DATABASE_POOL_SIZE", "1"), ("DATABASE_TIMEOUT_MS", "500")]).await;
    let load = Load::start(&scene);
    load.assert_back().await;
    let owner = scene.database.owner().await;
    // Someone holds the table: every statement waits, and the one connection of each process with it. The 503 comes before it is let go.
    owner.batch_execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE").await.unwrap();
    load.has_answered(503).await;
    owner.batch_execute("COMMIT").await.unwrap();
    load.assert_back().await;
    load.end().await;
    scene.assert_invariant().await;
}
