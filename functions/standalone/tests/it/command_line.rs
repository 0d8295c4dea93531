//! The command line: help, settings, migrate, bootstrap.

use std::process::Output;

use testkit::TestDatabase;
use tokio::process::Command;

use crate::client::BINARY;

async fn run(arguments: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.env_remove("DATABASE_URL").env_remove("REDIS_URL");
    command.args(arguments).envs(settings.iter().copied()).output().await.unwrap()
}

#[tokio::test]
async fn help_lists_every_setting() {
    let output = run(&["serve", "--help"], &[("DATABASE_URL", "postgres://u:hidden@h/d")]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    for name in [
        "DATABASE_URL",
        "REDIS_URL",
        "REDIS_CA_FILE",
        "HOST",
        "PORT",
        "METRICS_HOST",
        "METRICS_PORT",
        "REQUEST_TIMEOUT_MS",
        "DATABASE_POOL_SIZE",
        "DATABASE_TIMEOUT_MS",
        "REDIS_TIMEOUT_MS",
        "SWEEP_INTERVAL",
        "SEALING_KEY",
        "ROOT_KEY_FILE",
        "LEAF_SIGNS_FOR",
        "GOOGLE_IDENTITY_PROJECT",
        "OIDC_ISSUERS",
        "LOCAL_ISSUER",
    ] {
        assert!(text.contains(name), "{name}");
    }
    assert!(!text.contains("hidden"));
    let output = run(&["--help"], &[]).await;
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("serve") && text.contains("migrate") && text.contains("bootstrap"));
}

#[tokio::test]
async fn every_missing_setting_is_named_at_once() {
    let output = run(&["serve"], &[]).await;
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("database-url") && text.contains("redis-url"), "{text}");
}

#[tokio::test]
async fn bootstrap_makes_a_customer_and_shows_the_key_once() {
    let database = TestDatabase::new().await;
    let root = testkit::keys::root_file().display().to_string();
    let settings = [("DATABASE_URL", database.url()), ("ROOT_KEY_FILE", root.as_str())];
    let output = run(&["migrate"], &settings).await;
    assert!(String::from_utf8(output.stdout).unwrap().contains("up to date"));
    let arguments = ["bootstrap", "--tenant", "Acme", "--owner-email", "owner@acme.example", "--seats", "3", "--json"];
    let output = run(&arguments, &settings).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let made: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let key = platform::domain::LicenseKey::parse(made["license_key"].as_str().unwrap()).unwrap();
    let owner = database.owner().await;
    let row = owner.query_one("SELECT key_hash, seats_total FROM licenses", &[]).await.unwrap();
    assert_eq!((row.get::<_, Vec<u8>>(0), row.get::<_, i32>(1)), (key.hash().as_bytes().to_vec(), 3));
    let output = run(&["bootstrap", "--tenant", "Acme", "--owner-email", "nobody"], &settings).await;
    assert_eq!(output.status.code(), Some(2));
}
