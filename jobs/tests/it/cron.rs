//! The jobs on their schedules in processes that know of each other by the database alone.

use jobs::{cron, job::Context};
use platform::web::Metrics;
use prometheus_client::registry::Registry;
use testkit::{eventually, policy};

use crate::rig::{Rig, elsewhere};

fn page(worker: &Context) -> String {
    let mut registry = Registry::default();
    worker.meter.register(&mut registry);
    Metrics::new(registry).page()
}

/// How many sweeps a worker has done.
fn sweeps(worker: &Context) -> u64 {
    let counter = r#"coditect_job_runs_total{job_name="sweep-sessions",outcome="done"} "#;
    page(worker).lines().find_map(|line| line.strip_prefix(counter)?.parse().ok()).unwrap_or(0)
}

#[tokio::test]
async fn two_processes_sweep_and_rotate_and_do_the_rest_once() {
    let rig = Rig::new().await;
    let customer = rig.database.customer(policy(2)).await;
    rig.seat(&customer, "device").await;
    // The record is due for a write-back, and Redis says alive.
    rig.owner.batch_execute("UPDATE sessions SET expires_at = expires_at - interval '200 s'; DELETE FROM signing_keys").await.unwrap();
    let workers = [elsewhere(rig.database.url()), elsewhere(rig.database.url())];
    for worker in &workers {
        cron::start(worker, &[("sweep-sessions", 1), ("rotate-keys", 1)]);
    }
    let done = "SELECT (SELECT count(*) FROM sessions WHERE expires_at > now() + interval '200 s')
                     + (SELECT count(*) FROM signing_keys) + (SELECT count(*) FROM job_runs WHERE job = 'purge' AND done_at IS NOT NULL)";
    eventually("all three are done", async || rig.number(done).await >= 3).await;
    // Both go on, and nothing is done twice.
    for worker in &workers {
        let before = sweeps(worker);
        eventually("two more sweeps", async || sweeps(worker) >= before + 2).await;
    }
    assert_eq!(rig.number(done).await, 3);
    assert_eq!(rig.number("SELECT count(*) FROM job_runs WHERE attempt > 1").await, 0);
    for worker in workers {
        let rotated = r#"coditect_job_last_done_seconds{job_name="rotate-keys"}"#;
        eventually("each rotates keys", async || page(&worker).contains(rotated)).await;
    }
}
