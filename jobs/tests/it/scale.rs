//! How long a sweep takes when there is much to sweep.

use std::time::{Duration, Instant};

use platform::domain::Clock;
use testkit::policy;

use crate::rig::Rig;

const LICENSES: u32 = 100;

/// Licenses with so many sessions each, warm in Redis.
async fn filled(rig: &Rig, sessions: i32) {
    let fill = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at)
                SELECT gen_random_uuid(), $1, $2, n, decode(md5(n::text), 'hex'), 'h', 'u@x.example', $3::timestamptz, $3::timestamptz + interval '6 minutes'
                FROM generate_series(1, $4) n";
    for _ in 0..LICENSES {
        let customer = rig.database.customer(policy(sessions.unsigned_abs() + 1)).await;
        rig.owner.execute(fill, &[&customer.tenant.as_uuid(), &customer.license.as_uuid(), &rig.clock.now(), &sessions]).await.unwrap();
        rig.seat(&customer, "warm").await;
    }
    rig.owner.batch_execute("ANALYZE").await.unwrap();
}

#[tokio::test]
async fn a_hundred_thousand_zombies_are_ended_within_ten_seconds() {
    let rig = Rig::new().await;
    filled(&rig, 999).await;
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
    filled(&rig, 999).await;
    rig.owner.batch_execute("UPDATE sessions SET expires_at = expires_at - interval '200 s'").await.unwrap();
    let begun = Instant::now();
    assert_eq!(rig.counts("sweep-sessions").await, [("renewed", 100_000), ("expired", 0), ("rebuilt", 0)].into());
    let took = begun.elapsed();
    assert!(took < Duration::from_secs(12), "{took:?}");
}
