//! The log keeps nobody waiting, whatever becomes of its output, and an outage does not fill it.

use std::{
    fs::File,
    io::{PipeReader, PipeWriter, pipe},
    process::Stdio,
};

use platform::domain::LicenseKey;
use serde_json::{Value, json};
use testkit::{Process, TestDatabase, eventually, free_port, policy, redis_settings};
use tokio::{process::Command, task::JoinSet};

use crate::client::{Answer, BINARY};

/// The value of a metric.
async fn metric(process: &Process, name: &str) -> u64 {
    let page = reqwest::get(&process.metrics_url).await.unwrap().text().await.unwrap();
    let value = page.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("{name} is not on the page\n{page}")).parse().unwrap()
}

async fn post(process: &Process, operation: &str, body: &Value) -> Answer {
    let url = format!("{}/api/v1/licenses/{operation}", process.url);
    Answer::of(reqwest::Client::new().post(url).json(body).send().await.unwrap()).await
}

fn stranger() -> Value {
    json!({ "license_key": LicenseKey::generate().reveal(), "hardware_id": "h", "user_email": "u@x.example" })
}

/// Starts the platform with this output, and takes a seat through its life.
async fn serves_with(output: [Stdio; 2]) -> Process {
    let (database, redis) = (TestDatabase::new().await, redis_settings());
    let customer = database.customer(policy(1)).await;
    let settings = [("LOG_LEVEL", "debug")];
    let process = Process::start_writing_to(output, BINARY, &["serve"], (database.url(), redis.redis_url.expose()), &settings).await;
    let applicant = json!({ "license_key": customer.key.reveal(), "hardware_id": "h", "user_email": "u@x.example" });
    let acquired = post(&process, "acquire", &applicant).await;
    assert_eq!(acquired.status, 201, "{}", acquired.text);
    let session = json!({ "session_id": acquired.body["session_id"] });
    // Each of the others has a line for debugging.
    for _ in 0..20 {
        post(&process, "acquire", &stranger()).await.assert_problem(404, "license_not_found");
        assert_eq!(post(&process, "heartbeat", &session).await.status, 200);
    }
    assert_eq!(post(&process, "release", &session).await.status, 200);
    process
}

/// A pipe that is full, and the end that nobody reads.
async fn full_pipe() -> (PipeReader, PipeWriter) {
    let (unread, pipe) = pipe().unwrap();
    for size in ["bs=4096", "bs=1"] {
        // It opens the pipe anew, so that it alone does not wait.
        let mut filling = Command::new("dd");
        filling.args(["if=/dev/zero", "of=/dev/stdout", "oflag=nonblock", size]).stderr(Stdio::null());
        let is_done = filling.stdout(pipe.try_clone().unwrap()).status().await.unwrap().success();
        assert!(!is_done, "it stops when the pipe is full");
    }
    (unread, pipe)
}

#[tokio::test]
async fn log_pipe_that_nobody_reads_keeps_nobody_waiting() {
    let (_unread, pipe) = full_pipe().await;
    let mut process = serves_with([pipe.try_clone().unwrap().into(), pipe.into()]).await;
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn log_pipe_that_nobody_has_loses_lines_alone() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut process = serves_with([writer.try_clone().unwrap().into(), writer.into()]).await;
    eventually("lost lines are counted", async || metric(&process, "coditect_log_lines_dropped_total").await > 20).await;
    assert_eq!(process.terminate().await, Some(0));
}

#[tokio::test]
async fn full_log_disk_loses_lines_alone() {
    let full = || File::options().write(true).open("/dev/full").unwrap().into();
    let mut process = serves_with([full(), full()]).await;
    eventually("lost lines are counted", async || metric(&process, "coditect_log_lines_dropped_total").await > 20).await;
    assert_eq!(process.terminate().await, Some(0));
}

/// The second of the day that a line was written in, from its time as `2026-11-29T15:04:05.678Z`.
fn second(line: &Value) -> i64 {
    let time = line["time"].as_str().unwrap();
    let part = |at: usize| time[at..at + 2].parse::<i64>().unwrap();
    (part(11) * 60 + part(14)) * 60 + part(17)
}

#[tokio::test]
async fn outage_writes_few_lines_and_says_how_many_more_there_were() {
    const REQUESTS: u64 = 600;
    let nowhere = format!("postgres://nobody:nothing@127.0.0.1:{}/none", free_port());
    let no_redis = format!("redis://127.0.0.1:{}", free_port());
    let file = std::env::temp_dir().join(format!("coditect-log-{}", uuid::Uuid::new_v4()));
    let output = [File::create(&file).unwrap().into(), Stdio::null()];
    // Without the jobs' own lines, which come from other places.
    let mut process = Process::start_writing_to(output, BINARY, &["serve"], (&nowhere, &no_redis), &[]).await;
    let mut requests = JoinSet::new();
    for _ in 0..20 {
        let (http, url) = (reqwest::Client::new(), format!("{}/api/v1/licenses/acquire", process.url));
        requests.spawn(async move {
            for _ in 0..REQUESTS / 20 {
                assert_eq!(http.post(&url).json(&stranger()).send().await.unwrap().status(), 503);
            }
        });
    }
    while let Some(done) = requests.join_next().await {
        done.unwrap();
    }
    let left_out = metric(&process, "coditect_log_lines_left_out_total").await;
    assert_eq!(process.terminate().await, Some(0));

    let text = std::fs::read_to_string(&file).unwrap();
    std::fs::remove_file(&file).unwrap();
    let lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let message = |line: &Value| line["message"].as_str().unwrap().to_owned();
    let written: Vec<&Value> = lines.iter().filter(|line| message(line) == "unavailable").collect();
    let said = lines.iter().filter(|line| message(line).starts_with("unavailable: … and ") && message(line).ends_with(" more like it"));
    let said: u64 = said.map(|line| line["lines"].as_u64().unwrap()).sum();
    assert_eq!(u64::try_from(written.len()).unwrap() + said, REQUESTS, "{text}");
    assert!(left_out >= said, "{left_out} were counted");
    // By the log's own times: thirty at once, and five a second.
    let seconds = (second(written[written.len() - 1]) - second(written[0])).rem_euclid(86_400) + 1;
    assert!(i64::try_from(written.len()).unwrap() <= 30 + 5 * seconds, "{} lines in {seconds} s", written.len());
}
