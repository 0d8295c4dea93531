//! Sizes: a large license comes back whole, and what a session costs in Redis. How long it takes, `scripts/bench` measures.

use testkit::{policy, redis_settings};

use crate::rig::{Rig, vandal};

#[tokio::test]
async fn ten_thousand_sessions_are_rebuilt_in_at_most_500_bytes_each() {
    let rig = Rig::on(redis_settings()).await;
    let customer = rig.database.customer(policy(10_001)).await;
    let fill = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at)
                SELECT gen_random_uuid(), $1, $2, n, decode(md5(n::text), 'hex'), 'h', 'u@x.example', $3::timestamptz, $3::timestamptz + interval '6 minutes'
                FROM generate_series(1, 10000) n";
    let now = platform::domain::Clock::now(&*rig.clock);
    rig.owner.execute(fill, &[&customer.tenant.as_uuid(), &customer.license.as_uuid(), &now]).await.unwrap();
    let seat = rig.seat(&customer, "one-more").await;
    assert_eq!((seat.number.get(), seat.occupancy.used), (10_001, 10_001));

    let mut redis = vandal::connection().await;
    let mut bytes = 0;
    for key in vandal::keys(&customer) {
        let size: Option<u64> = redis::cmd("MEMORY").arg("USAGE").arg(key).arg("SAMPLES").arg(0).query_async(&mut redis).await.unwrap();
        bytes += size.unwrap_or(0);
    }
    assert!(bytes / 10_001 <= 500, "a session takes {} bytes", bytes / 10_001);
}
