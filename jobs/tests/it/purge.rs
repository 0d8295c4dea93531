//! `purge`.

use std::time::Duration;

use jobs::{order, perform::perform};
use platform::domain::Clock;
use serde_json::Map;
use testkit::policy;

use crate::rig::{Rig, SESSION_RETENTION};

const DAY: Duration = Duration::from_secs(86_400);
const ROWS: &str = "SELECT (SELECT count(*) FROM sessions) * 1000000 + (SELECT count(*) FROM sessions_archive) * 1000
                           + (SELECT count(*) FROM job_runs) * 100 + (SELECT count(*) FROM idempotent_answers) * 10
                           + (SELECT count(*) FROM signing_keys WHERE kid LIKE 'old-%')";

/// Two tenants with sessions that ended so many months ago, and one of each that lives.
async fn sessions(rig: &Rig, each: i32) {
    for _ in 0..2 {
        let customer = rig.database.customer(policy(3)).await;
        let sql = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, idempotency_key, request_hash,
                                         started_at, expires_at, ended_at, ended_reason)
                   SELECT gen_random_uuid(), $1, $2, 1, decode(md5(n::text), 'hex'), 'h', 'u@x.example', decode(md5('k'), 'hex'), decode(md5('r'), 'hex'),
                          $3::timestamptz - make_interval(days => 30 * (n % 20) + 1), $3, $3::timestamptz - make_interval(days => 30 * (n % 20)), 'released'
                   FROM generate_series(1, $4) n";
        rig.owner.execute(sql, &[&customer.tenant.as_uuid(), &customer.license.as_uuid(), &rig.clock.now(), &each]).await.unwrap();
        rig.seat(&customer, "alive").await;
    }
}

async fn old_rows(rig: &Rig) {
    let sql = "INSERT INTO job_runs (job, key, attempt, claimed_at, leased_until, done_at)
               SELECT 'purge', 'run ' || n, 1, $1::timestamptz - n * interval '10 days', $1::timestamptz - n * interval '10 days', $1 FROM generate_series(0, 8) n";
    rig.owner.execute(sql, &[&rig.clock.now()]).await.unwrap();
    let sql = "INSERT INTO idempotent_answers (actor_id, key_digest, request_hash, answer, created_at)
               SELECT gen_random_uuid(), decode(md5(n::text), 'hex'), decode(md5('r'), 'hex'), '', $1::timestamptz - n * interval '18 hours' FROM generate_series(0, 8) n";
    rig.owner.execute(sql, &[&rig.clock.now()]).await.unwrap();
    let sql = "INSERT INTO signing_keys (kid, usage, state, root_kid, certificate, public_key, created_at, signs_from, signs_until, expires_at, revoked_at)
               SELECT 'old-' || n, usage, CASE WHEN n = 1 THEN 'retired' ELSE 'gone' END, root_kid, '', public_key, $1::timestamptz - interval '500 days',
                      $1::timestamptz - interval '500 days', $1::timestamptz - interval '499 days', $1::timestamptz - make_interval(days => 310 + n * 50),
                      CASE WHEN n = 3 THEN $1 END
               FROM signing_keys, generate_series(0, 3) n WHERE state = 'active'";
    rig.owner.execute(sql, &[&rig.clock.now()]).await.unwrap();
}

#[tokio::test]
async fn what_nobody_needs_is_gone_old_sessions_are_in_the_archive_and_a_second_run_finds_nothing() {
    let rig = Rig::new().await;
    sessions(&rig, 100).await;
    old_rows(&rig).await;
    let before = rig.number(ROWS).await;
    let would = [rig.rehearse("purge").await, rig.rehearse("purge").await];
    // Sessions of 14 to 19 times 30 days ago; runs of 50 to 80 days; answers of 54 hours and more; one key.
    assert_eq!(would[0], [("answers", 6), ("job_runs", 4), ("signing_keys", 1), ("sessions_archived", 60)].into());
    assert_eq!((&would[0], before), (&would[1], rig.number(ROWS).await), "nothing was changed");

    assert_eq!(rig.counts("purge").await, would[0]);
    assert_eq!(rig.number("SELECT count(*) FROM sessions").await, 142);
    assert_eq!(rig.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await, 2);
    assert_eq!(rig.number("SELECT count(*) FROM sessions_archive").await, 60);
    assert_eq!(rig.number("SELECT count(*) FROM job_runs").await, 5);
    assert_eq!(rig.number("SELECT count(*) FROM signing_keys WHERE kid IN ('old-0', 'old-1', 'old-3')").await, 3);
    let misplaced = "SELECT count(*) FROM sessions_archive
                     WHERE tableoid::regclass::text <> 'sessions_archive_' || to_char(ended_at AT TIME ZONE 'UTC', 'YYYY_MM')";
    assert_eq!(rig.number(misplaced).await, 0);
    assert_eq!(rig.counts("purge").await, [("answers", 0), ("job_runs", 0), ("signing_keys", 0), ("sessions_archived", 0)].into());
}

#[tokio::test]
async fn the_archive_is_as_well_guarded_as_what_it_keeps() {
    let rig = Rig::new().await;
    sessions(&rig, 20).await;
    rig.counts("purge").await;
    let unforced = "SELECT count(*) FROM pg_class WHERE relname LIKE 'sessions_archive%' AND relkind IN ('r', 'p')
                    AND NOT (relrowsecurity AND relforcerowsecurity)";
    assert_eq!(rig.number(unforced).await, 0);
    let tenant: uuid::Uuid = rig.owner.query_one("SELECT min(tenant_id::text)::uuid FROM sessions_archive", &[]).await.unwrap().get(0);
    let part: String = rig.owner.query_one("SELECT min(tableoid::regclass::text) FROM sessions_archive", &[]).await.unwrap().get(0);
    rig.owner.batch_execute(&format!("SET ROLE coditect_admin; SET coditect.tenant = '{tenant}'")).await.unwrap();
    assert_eq!(rig.number("SELECT count(DISTINCT tenant_id) FROM sessions_archive").await, 1);
    assert!(rig.owner.query(&format!("SELECT FROM {part}"), &[]).await.is_err(), "a part can be read by its own name");
    rig.owner.batch_execute("SET ROLE coditect_functions").await.unwrap();
    assert!(rig.owner.query("SELECT FROM sessions_archive", &[]).await.is_err(), "a function has no use for the archive");
    rig.owner.batch_execute("SET ROLE coditect_jobs").await.unwrap();
    for forbidden in ["DELETE FROM sessions_archive", "DELETE FROM audit_events", "CREATE TABLE public.mine (id int)"] {
        assert!(rig.owner.batch_execute(forbidden).await.is_err(), "{forbidden}");
    }
    assert_eq!(rig.owner.execute("DELETE FROM signing_keys", &[]).await.unwrap(), 0, "a key that is in use, or on the list, stays");
}

#[tokio::test]
async fn three_workers_at_once_move_each_session_once_and_a_run_that_was_cut_off_is_gone_on_with() {
    let rig = Rig::new().await;
    sessions(&rig, 20_000).await;
    let all = rig.number("SELECT count(*) FROM sessions").await;
    let contexts = [rig.another(), rig.another(), rig.another()];
    let job = order::job("purge").unwrap();
    let cut_off = perform(&contexts[0], job, None, Map::new());
    let _ = tokio::time::timeout(Duration::from_millis(100), cut_off).await;
    let runs = contexts.iter().map(|context| perform(context, job, None, Map::new()));
    for done in futures_util::future::join_all(runs).await {
        done.unwrap();
    }
    rig.counts("purge").await;
    assert_eq!(rig.number("SELECT count(*) FROM sessions_archive").await, 12_000);
    assert_eq!(rig.number("SELECT count(*) FROM (SELECT id FROM sessions UNION SELECT id FROM sessions_archive) AS every_one").await, all);
}

#[tokio::test]
async fn sessions_are_kept_for_as_long_as_the_setting_says() {
    let mut rig = Rig::new().await;
    sessions(&rig, 20).await;
    rig.context.session_retention = SESSION_RETENTION * 2;
    assert_eq!(rig.counts("purge").await, [("answers", 0), ("job_runs", 0), ("signing_keys", 0), ("sessions_archived", 0)].into());
    rig.context.session_retention = 40 * DAY;
    assert_eq!(rig.counts("purge").await, [("answers", 0), ("job_runs", 0), ("signing_keys", 0), ("sessions_archived", 36)].into());
}
