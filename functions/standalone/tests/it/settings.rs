//! A bad setting is refused at the start, by the name of its variable and of its flag, and without a secret in the message.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Stdio};

use serde_json::json;
use testkit::{Process, TestDatabase, free_port, keys, must_complete, redis_settings};
use tokio::process::Command;

use crate::client::{Answer, BINARY};

/// A secret that must not be in any message.
const SECRET: &str = "hunter2";

/// Starts `serve` with these settings in the place of good ones, and returns its exit code and all that it says.
async fn start(settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Command::new(BINARY);
    command.arg("serve").env_clear().envs(keys::settings()).kill_on_drop(true);
    command
        .env("DATABASE_URL", format!("postgres://nobody:{SECRET}@127.0.0.1:{}/none", free_port()))
        .env("REDIS_URL", format!("redis://:{SECRET}@127.0.0.1:{}", free_port()))
        .env("HOST", "127.0.0.1")
        .env("PORT", "0")
        .env("METRICS_PORT", "0")
        .envs(settings.iter().copied())
        .stdin(Stdio::null());
    let output = must_complete(&format!("{settings:?} is refused"), command.output()).await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(text).unwrap())
}

/// What refuses the settings names each of these by its variable and its flag.
async fn assert_refused(settings: &[(&str, &str)], named: &[&str]) {
    let (code, text) = start(settings).await;
    assert!(matches!(code, Some(1 | 2)), "{code:?} {text}");
    for variable in named {
        let flag = format!("--{}", variable.to_lowercase().replace('_', "-"));
        assert!(text.contains(variable) && text.contains(&flag), "{settings:?} must be refused by the name of {variable}: {text}");
    }
    assert!(!text.contains(SECRET), "{settings:?}: {text}");
    assert!(!text.contains("ready to serve"), "{settings:?}: {text}");
}

#[tokio::test]
async fn bad_setting_is_refused_by_name() {
    for (variable, value) in [
        ("DATABASE_URL", ""),
        ("DATABASE_URL", "hunter2"),
        ("DATABASE_URL", "postgres://nobody:hunter2@/none"),
        ("DATABASE_URL", "postgres://nobody:hunter2@:5432/none"),
        ("DATABASE_URL", "postgres://nobody:hunter2@h/d?sslmode=perhaps"),
        ("REDIS_URL", " "),
        ("REDIS_URL", "hunter2"),
        ("REDIS_URL", "http://:hunter2@127.0.0.1"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:70000"),
        ("REDIS_URL", "redis://:hunter2@127.0.0.1:1,redis://:other@127.0.0.1:2"),
        ("SEALING_KEY", "hunter2"),
        ("SEALING_KEY", ""),
        ("ROOT_KEY_FILE", ""),
        ("SENTRY_DSN", "https://hunter2@"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://elsewhere.example"),
        ("LOG_LEVEL", "inof"),
        ("RUST_LOG", "hyper=loud"),
        ("PORT", "many"),
        ("REQUEST_TIMEOUT_MS", "0"),
        ("OIDC_ISSUERS", "{}"),
        ("STAFF_ISSUERS", "https://nobody.example"),
        ("LOCAL_ISSUER", "/nowhere/issuer.pem"),
        ("KMS_DEADLINE_MS", "60000"),
        ("LEAF_PUBLISHED_AHEAD", "10"),
        ("LEAF_PUBLISHED_AHEAD", "300"),
        ("SWEEP_INTERVAL", "7201"),
    ] {
        assert_refused(&[(variable, value)], &[variable]).await;
    }
}

#[tokio::test]
async fn contradictory_times_are_refused_by_both_names() {
    let both_servers = ["DATABASE_TIMEOUT_MS", "REDIS_TIMEOUT_MS", "REQUEST_TIMEOUT_MS"];
    assert_refused(&[("DATABASE_TIMEOUT_MS", "4200")], &both_servers).await;
    assert_refused(&[("REDIS_TIMEOUT_MS", "3000")], &both_servers).await;
    assert_refused(&[("REQUEST_TIMEOUT_MS", "2800")], &both_servers).await;
    assert_refused(&[("REQUEST_TIMEOUT_MS", "8001")], &["REQUEST_TIMEOUT_MS", "SHUTDOWN_GRACE_MS"]).await;
    assert_refused(&[("SHUTDOWN_GRACE_MS", "4999")], &["REQUEST_TIMEOUT_MS", "SHUTDOWN_GRACE_MS"]).await;
    assert_refused(&[("LEAF_SIGNS_FOR", "600")], &["LEAF_PUBLISHED_AHEAD", "LEAF_SIGNS_FOR"]).await;
    assert_refused(&[("LEAF_PUBLISHED_AHEAD", "86400")], &["LEAF_PUBLISHED_AHEAD", "LEAF_SIGNS_FOR"]).await;
    let port = free_port().to_string();
    assert_refused(&[("PORT", &port), ("METRICS_PORT", &port)], &["PORT", "METRICS_PORT"]).await;
}

#[tokio::test]
async fn taken_port_is_refused_by_name() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    assert_refused(&[("PORT", &port)], &["PORT", "HOST"]).await;
    assert_refused(&[("METRICS_PORT", &port)], &["METRICS_PORT", "METRICS_HOST"]).await;
}

/// A folder that is gone when dropped.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let folder = std::env::temp_dir().join(format!("coditect-roots-{}", uuid::Uuid::new_v4()));
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }

    /// A file with this content that nobody else may read.
    fn file(&self, name: &str, content: &str) -> String {
        let file = self.0.join(name);
        fs::write(&file, content).unwrap();
        fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
        file.display().to_string()
    }

    /// A private key that `openssl` makes.
    async fn key(&self, name: &str, options: &[&str]) -> String {
        let made = Command::new("openssl").arg("genpkey").args(options).output().await.unwrap();
        self.file(name, std::str::from_utf8(&made.stdout).unwrap())
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

#[tokio::test]
async fn bad_root_key_file_is_refused_by_name_and_reason() {
    let folder = Folder::new();
    let open_to_all = folder.file("open.pem", &fs::read_to_string(keys::root_file()).unwrap());
    fs::set_permissions(&open_to_all, fs::Permissions::from_mode(0o644)).unwrap();
    for (file, reason) in [
        (folder.0.join("none.pem").display().to_string(), "No such file"),
        (open_to_all, "its mode is 644"),
        (folder.file("empty.pem", ""), "no PKCS#8 private key in PEM"),
        (folder.file("text.pem", "hunter2"), "no PKCS#8 private key in PEM"),
        (folder.key("ed25519.pem", &["-algorithm", "ed25519"]).await, "no RSA key"),
        (folder.key("small.pem", &["-algorithm", "rsa", "-pkeyopt", "rsa_keygen_bits:2048"]).await, "2048 bits and must have 4096"),
    ] {
        assert_refused(&[("ROOT_KEY_FILE", &file)], &["ROOT_KEY_FILE"]).await;
        let (_, text) = start(&[("ROOT_KEY_FILE", &file)]).await;
        assert!(text.contains(reason) && text.contains(&file), "{text}");
    }
}

#[tokio::test]
async fn empty_variable_counts_as_not_set() {
    let (database, redis) = (TestDatabase::new().await, redis_settings());
    let optional = [
        "LOG_LEVEL",
        "RUST_LOG",
        "GOOGLE_CLOUD_PROJECT",
        "OTEL_EXPORTER_OTLP_ENDPOINT",
        "OTEL_TRACES_PER_MILLION",
        "SENTRY_DSN",
        "SENTRY_ENVIRONMENT",
        "SENTRY_RELEASE",
        "METRICS_HOST",
        "MAX_CONNECTIONS",
        "KEEP_ALIVE_SECONDS",
        "TRUSTED_PROXY_HOPS",
        "CORS_ORIGINS",
        "DATABASE_CA_FILE",
        "DATABASE_POOL_SIZE",
        "REDIS_CA_FILE",
        "GOOGLE_IDENTITY_PROJECT",
        "GOOGLE_IDENTITY_TENANT",
        "OIDC_ISSUERS",
        "STAFF_ISSUERS",
        "LOCAL_ISSUER",
        "KMS_KEY_VERSION",
        "KMS_ENDPOINT",
        "LEAF_SIGNS_FOR",
        "LEAF_PUBLISHED_AHEAD",
        "SESSION_RETENTION_DAYS",
        "SWEEP_INTERVAL",
    ];
    for value in ["", " "] {
        let settings = optional.map(|name| (name, value));
        let mut process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), &settings).await;
        process.wait_for("/ready/").await;
        assert_eq!(process.terminate().await, Some(0));
    }
}

#[tokio::test]
async fn readiness_names_a_sealing_key_that_does_not_fit() {
    let (database, redis) = (TestDatabase::new().await, redis_settings());
    let other = [("SEALING_KEY", "YW5vdGhlciBrZXkgdGhhbiB0aGUgbGVhZiB3YXMgc2U=")];
    let process = Process::start_with(BINARY, &["serve"], database.url(), redis.redis_url.expose(), &other).await;
    let answer = Answer::of(reqwest::get(format!("{}/ready/", process.url)).await.unwrap()).await;
    answer.assert_problem(503, "not_ready");
    assert_eq!(answer.body["down"], json!(["sealing_key"]));
}
