//! The binary as it is called.

use std::process::{Output, Stdio};

use testkit::{Listener, TestDatabase, eventually, keys, must_complete, patience, policy, redis_settings};
use tokio::process::{Child, Command};

use crate::queue::Queue;

const BINARY: &str = env!("CARGO_BIN_EXE_jobs");

fn command(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).env_remove("PUBSUB_EMULATOR_HOST").env("LOG_LEVEL", "info");
    command
        .env("DATABASE_URL", database.url())
        .env("REDIS_URL", redis_settings().redis_url.expose())
        .envs(keys::settings())
        .envs(patience());
    command.stdin(Stdio::null()).kill_on_drop(true);
    command
}

async fn run(database: &TestDatabase, arguments: &[&str]) -> Output {
    command(database, arguments).output().await.expect("the binary starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("it prints UTF-8")
}

#[tokio::test]
async fn a_job_runs_by_hand_and_tells_before_what_it_would_do() {
    let database = TestDatabase::new().await;
    let owner = database.owner().await;
    database.customer(policy(1)).await;
    owner.batch_execute("UPDATE licenses SET version = version + 1").await.unwrap();
    let expected = r#"{"counts":{"made":0,"activated":0,"retired":0,"purged":0,"documents_signed":1},"job":"rotate-keys","state":"#;
    for (arguments, state) in [
        (&["run", "rotate-keys", "--dry-run"][..], "would be done"),
        (&["run", "rotate-keys", "--dry-run"], "would be done"),
        (&["run", "rotate-keys"], "done"),
    ] {
        let output = run(&database, arguments).await;
        assert!(output.status.success(), "{output:?}");
        let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(printed, serde_json::from_str::<serde_json::Value>(&format!("{expected}\"{state}\"}}")).unwrap());
    }
    let signed = owner.query_one("SELECT signed_version = version FROM licenses", &[]).await.unwrap();
    assert!(signed.get::<_, bool>(0));
    let swept = run(&database, &["run", "sweep-sessions", "--dry-run"]).await;
    assert!(text(&swept.stdout).contains(r#""expired":0"#), "{swept:?}");
}

#[tokio::test]
async fn a_wrong_call_is_told_what_is_wrong() {
    let database = TestDatabase::new().await;
    for (arguments, code, said) in [
        (&["run", "sweep"][..], 2, "jobs list"),
        (&["run", "purge", "--args", "[]"], 2, "--args"),
        (&["run", "sweep-sessions", "--args", r#"{"times": 99}"#], 1, "times must be between"),
        (&["worker"], 2, "--pubsub-subscription"),
        (&["worker", "--pubsub-subscription", "s"], 2, "projects/"),
    ] {
        let output = run(&database, arguments).await;
        assert_eq!(output.status.code(), Some(code), "{output:?}");
        assert!(text(&output.stderr).contains(said), "{output:?}");
    }
    assert!(text(&run(&database, &["migrate"]).await.stdout).contains("up to date"));
}

#[tokio::test]
async fn the_runbook_has_the_table_of_jobs() {
    let database = TestDatabase::new().await;
    let output = run(&database, &["list"]).await;
    assert!(include_str!("../../README.md").contains(text(&output.stdout)), "put this there:\n{}", text(&output.stdout));
    let json: serde_json::Value = serde_json::from_slice(&run(&database, &["list", "--json"]).await.stdout).unwrap();
    let sweep = &json[0];
    assert_eq!((sweep["cron"].as_str(), &sweep["message"]["args"]["times"]), (Some("* * * * *"), &2.into()));
    for job in json.as_array().unwrap() {
        assert_eq!(job["message"]["job"], job["job"]);
    }
    let schedules: serde_json::Value = serde_json::from_str(include_str!("../../../infra/jobs.json")).unwrap();
    assert_eq!(json, schedules, "put what `jobs list --json` prints into infra/jobs.json");
}

fn worker(database: &TestDatabase, queue: &Queue, subscription: &str) -> Child {
    worker_command(database, queue, subscription).spawn().expect("the binary starts")
}

fn worker_command(database: &TestDatabase, queue: &Queue, subscription: &str) -> Command {
    let mut command = command(database, &["worker"]);
    command.env("PUBSUB_EMULATOR_HOST", &queue.host).env("PUBSUB_SUBSCRIPTION", subscription).env("METRICS_PORT", "0");
    command.stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Asks a worker to stop, and returns its exit code.
async fn terminate(worker: &mut Child) -> Option<i32> {
    let id = worker.id().expect("it runs").to_string();
    assert!(Command::new("kill").args(["-TERM", &id]).status().await.unwrap().success());
    must_complete("the worker stops", worker.wait()).await.unwrap().code()
}

#[tokio::test]
async fn the_worker_ends_on_sigterm_whatever_it_is_at() {
    let database = TestDatabase::new().await;
    let (owner, customer) = (database.owner().await, database.customer(policy(1)).await);
    let queue = Queue::new().await;
    let mut idle = worker(&database, &queue, &queue.subscription);
    queue.publish(r#"{"job": "rotate-keys"}"#).await;
    queue.until(|seen| seen[0].acks == 1).await;
    assert_eq!(terminate(&mut idle).await, Some(0));

    // Two sweeps, thirty seconds apart: it cannot wait for the second. The first ends a session.
    let dead = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at)
                VALUES (gen_random_uuid(), $1, $2, 1, '\\x01', 'h', 'u@x.example', now() - interval '2 h', now() - interval '1 h')";
    owner.execute(dead, &[&customer.tenant.as_uuid(), &customer.license.as_uuid()]).await.unwrap();
    let mut busy = worker(&database, &queue, &queue.subscription);
    queue.publish(r#"{"job": "sweep-sessions", "args": {"times": 2}}"#).await;
    let has_ended = "SELECT ended_at IS NOT NULL FROM sessions";
    eventually("the first sweep", async || owner.query_one(has_ended, &[]).await.unwrap().get(0)).await;
    assert_eq!((terminate(&mut busy).await, queue.seen().await[1].acks), (Some(0), 0));
}

#[tokio::test]
async fn the_worker_ends_with_an_error_if_it_cannot_work() {
    let database = TestDatabase::new().await;
    let queue = Queue::new().await;
    let ended = worker(&database, &queue, "projects/test/subscriptions/none").wait_with_output().await.unwrap();
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(&ended.stderr).contains("none"), "{ended:?}");
}

#[tokio::test]
async fn a_job_whose_worker_is_killed_in_the_middle_is_done_by_another_and_once() {
    let database = TestDatabase::new().await;
    let (mut owner, queue) = (database.owner().await, Queue::new().await);
    owner.batch_execute("UPDATE signing_keys SET signs_until = now() + interval '1 hour'").await.unwrap();
    // Whoever changes keys waits for this.
    let obstacle = owner.transaction().await.unwrap();
    obstacle.query("SELECT pg_advisory_xact_lock(7205759404)", &[]).await.unwrap();
    let mut killed = worker(&database, &queue, &queue.subscription);
    queue.publish(r#"{"job": "rotate-keys"}"#).await;
    let waits = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = (SELECT oid FROM pg_database WHERE datname = current_database())";
    eventually("the worker waits", async || obstacle.query_one(waits, &[]).await.unwrap().get::<_, i64>(0) > 0).await;
    killed.kill().await.unwrap();
    obstacle.commit().await.unwrap();

    let mut next = worker(&database, &queue, &queue.subscription);
    queue.until(|seen| seen[0].acks == 1).await;
    assert!(queue.seen().await[0].deliveries >= 2);
    let keys = owner.query_one("SELECT count(*) FROM signing_keys", &[]).await.unwrap();
    assert_eq!(keys.get::<_, i64>(0), 2);
    assert_eq!(terminate(&mut next).await, Some(0));
}

const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

#[tokio::test]
async fn the_worker_tells_of_each_run_in_the_trace_of_its_message_and_of_poison() {
    let (database, queue, mut listener) = (TestDatabase::new().await, Queue::new().await, Listener::start().await);
    let mut worker = worker_command(&database, &queue, &queue.subscription).envs(listener.settings()).spawn().unwrap();
    queue.publish_in(THEIRS, r#"{"job": "rotate-keys"}"#).await;
    let span = listener.span("job rotate-keys").await;
    assert_eq!((&span["traceId"], &span["parentSpanId"]), (&"0af7651916cd43dd8448eb211c80319c".into(), &"b7ad6b7169203331".into()));
    // A consumer's, and no error.
    assert_eq!((&span["service"], &span["kind"], &span["status"]["code"]), (&"worker".into(), &5.into(), &0.into()));

    queue.publish_in(THEIRS, r#"{"job": "sweep-sessions", "args": {"times": 99}}"#).await;
    let span = listener.span("job sweep-sessions").await;
    assert_eq!((&span["parentSpanId"], &span["status"]["code"]), (&"b7ad6b7169203331".into(), &2.into()));
    let error = listener.error().await;
    assert_eq!((&error["level"], &error["server_name"], &error["logger"]), (&"error".into(), &"worker".into(), &"jobs::worker".into()));
    assert!(error["extra"]["why"].as_str().unwrap().contains("times must be between"), "{error}");
    assert_eq!(error["contexts"]["trace"]["trace_id"], "0af7651916cd43dd8448eb211c80319c");

    // What was done last is told before the end.
    queue.publish_in(THEIRS, r#"{"job": "rotate-keys", "key": "last"}"#).await;
    queue.until(|seen| seen[2].acks == 1).await;
    assert_eq!(terminate(&mut worker).await, Some(0));
    listener.span("job rotate-keys").await;
    assert!(!listener.has_more_errors(), "poison is told once");
}

#[tokio::test]
async fn a_job_that_is_run_by_hand_tells_of_itself_and_of_what_kept_it_from_being_done() {
    let (database, mut listener) = (TestDatabase::new().await, Listener::start().await);
    let done = command(&database, &["run", "rotate-keys"]).envs(listener.settings()).output().await.unwrap();
    assert!(done.status.success(), "{done:?}");
    let span = listener.span("job rotate-keys").await;
    assert_eq!((&span["service"], &span["kind"], &span["parentSpanId"]), (&"jobs".into(), &1.into(), &"".into()));
    assert!(!listener.has_more_errors());

    let arguments = ["run", "sweep-sessions", "--args", r#"{"times": 99}"#];
    let failed = command(&database, &arguments).envs(listener.settings()).output().await.unwrap();
    assert_eq!((failed.status.code(), text(&failed.stdout)), (Some(1), ""));
    assert_eq!(listener.span("job sweep-sessions").await["status"]["code"], 2);
    let error = listener.error().await;
    assert!(error["logentry"]["formatted"].as_str().unwrap().contains("times must be between"), "{error}");

    database.owner().await.batch_execute("ALTER TABLE job_runs RENAME TO lost").await.unwrap();
    let broken = command(&database, &["run", "purge", "--key", "1"]).envs(listener.settings()).output().await.unwrap();
    assert_eq!(broken.status.code(), Some(1));
    assert_eq!(listener.span("job purge").await["status"]["code"], 2);
    let error = listener.error().await;
    assert_eq!((&error["extra"]["job"], &error["server_name"]), (&"purge".into(), &"jobs".into()));
    assert!(error["logentry"]["formatted"].as_str().unwrap().contains("job_runs"), "{error}");
    assert!(error["contexts"]["trace"]["trace_id"].is_string(), "{error}");
    assert!(!listener.has_more_errors(), "each is told once");
}

#[tokio::test]
async fn a_down_server_is_no_fault_of_a_worker_that_sentry_is_told_of() {
    let (database, queue, mut listener) = (TestDatabase::new().await, Queue::new().await, Listener::start().await);
    let mut command = worker_command(&database, &queue, &queue.subscription);
    let mut worker =
        command.envs(listener.settings()).env("DATABASE_URL", "postgres://nobody@127.0.0.1:1/none?sslmode=disable").spawn().unwrap();
    queue.publish(r#"{"job": "rotate-keys"}"#).await;
    assert_eq!(listener.span("job rotate-keys").await["status"]["code"], 2);
    assert_eq!(terminate(&mut worker).await, Some(0));
    assert!(!listener.has_more_errors());
}

#[tokio::test]
async fn a_worker_whose_listeners_are_dead_works_and_ends_as_ever() {
    let (database, queue) = (TestDatabase::new().await, Queue::new().await);
    // It takes connections, and says nothing.
    let dead = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let host = dead.local_addr().unwrap();
    let mut command = worker_command(&database, &queue, &queue.subscription);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{host}")).env("SENTRY_DSN", format!("http://key@{host}/42"));
    let mut worker = command.spawn().unwrap();
    queue.publish_in(THEIRS, r#"{"job": "none"}"#).await;
    for key in ["1", "2", "3"] {
        queue.publish(format!(r#"{{"job": "rotate-keys", "key": "{key}"}}"#)).await;
    }
    queue.until(|seen| seen.iter().skip(1).all(|seen| seen.acks == 1)).await;
    assert_eq!(terminate(&mut worker).await, Some(0));
}
