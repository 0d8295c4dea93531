//! Sweeps of many sessions. What time they may take at full size, `scripts/bench` measures: see `large.rs`.

use std::time::Duration;

use platform::domain::Clock;
use testkit::{Customer, policy, redis_settings};

use crate::rig::Rig;

/// Licenses with so many sessions each, warm in Redis.
pub(crate) async fn filled(rig: &Rig, licenses: u32, sessions: i32) -> Vec<Customer> {
    let fill = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at)
                SELECT gen_random_uuid(), $1, $2, n, decode(md5(n::text), 'hex'), 'h' || n, n || '@x.example', $3::timestamptz, $3::timestamptz + interval '6 minutes'
                FROM generate_series(1, $4) n";
    let mut customers = Vec::new();
    for _ in 0..licenses {
        let customer = rig.database.customer(policy(sessions.unsigned_abs() + 1)).await;
        rig.owner.execute(fill, &[&customer.tenant.as_uuid(), &customer.license.as_uuid(), &rig.clock.now(), &sessions]).await.unwrap();
        rig.seat(&customer, "warm").await;
        customers.push(customer);
    }
    rig.owner.batch_execute("ANALYZE").await.unwrap();
    customers
}

#[tokio::test]
async fn a_thousand_zombies_of_many_licenses_are_all_ended() {
    let rig = Rig::new().await;
    filled(&rig, 10, 99).await;
    rig.clock.advance(Duration::from_secs(400));
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 0), ("expired", 1_000), ("rebuilt", 0)].into());
}

#[tokio::test]
async fn a_thousand_live_sessions_of_many_licenses_are_all_written_back() {
    let rig = Rig::new().await;
    // What the rebuild has renewed by a full TTL, the record does not know.
    filled(&rig, 10, 99).await;
    rig.owner.batch_execute("UPDATE sessions SET expires_at = expires_at - interval '200 s'").await.unwrap();
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 1_000), ("expired", 0), ("rebuilt", 0)].into());
}

#[tokio::test]
async fn a_redis_that_has_forgotten_large_licenses_is_reminded_of_them_by_one_sweep() {
    let rig = Rig::new().await;
    // More than one batch of the sweep.
    let customers = filled(&rig, 4, 2999).await;
    let mut redis = redis::Client::open(redis_settings().redis_url.expose()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for customer in customers {
        redis::cmd("DEL").arg(format!("{{{}}}:policy", customer.license)).exec_async(&mut redis).await.unwrap();
    }
    rig.owner.batch_execute("UPDATE sessions SET expires_at = expires_at - interval '200 s'").await.unwrap();
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 12_000), ("expired", 0), ("rebuilt", 4)].into());
}
