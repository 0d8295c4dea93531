//! How long a sweep takes when there is much to sweep.

use std::time::{Duration, Instant};

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
async fn a_hundred_thousand_zombies_are_ended_within_ten_seconds() {
    let rig = Rig::new().await;
    filled(&rig, 100, 999).await;
    rig.clock.advance(Duration::from_secs(400));
    let begun = Instant::now();
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 0), ("expired", 100_000), ("rebuilt", 0)].into());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}");
}

#[tokio::test]
async fn a_hundred_thousand_live_sessions_are_written_back_within_twelve_seconds() {
    let rig = Rig::new().await;
    // What the rebuild has renewed by a full TTL, the record does not know.
    filled(&rig, 100, 999).await;
    rig.owner.batch_execute("UPDATE sessions SET expires_at = expires_at - interval '200 s'").await.unwrap();
    let begun = Instant::now();
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 100_000), ("expired", 0), ("rebuilt", 0)].into());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
}

#[tokio::test]
async fn a_redis_that_has_forgotten_large_licenses_is_reminded_of_them_by_one_sweep() {
    let rig = Rig::new().await;
    let customers = filled(&rig, 40, 2999).await;
    let mut redis = redis::Client::open(redis_settings().redis_url.expose()).unwrap().get_multiplexed_async_connection().await.unwrap();
    for customer in customers {
        redis::cmd("DEL").arg(format!("{{{}}}:policy", customer.license)).exec_async(&mut redis).await.unwrap();
    }
    rig.owner.batch_execute("UPDATE sessions SET expires_at = expires_at - interval '200 s'").await.unwrap();
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 120_000), ("expired", 0), ("rebuilt", 40)].into());
}
