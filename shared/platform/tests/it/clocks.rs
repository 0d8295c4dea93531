//! Clocks that are wrong: Redis', PostgreSQL's, the instance's, each by itself and two together.

use platform::{
    domain::{Clock, EndReason, SessionId, Timestamp},
    seats::{Acquired, Heartbeat, RedisSettings},
};
use prometheus_client::{encoding::text::encode, registry::Registry};
use testkit::{Customer, policy};

use crate::rig::{Rig, applicant, on_both, vandal};

const WRONG: i64 = 600;

on_both! {
    redis_clock_ahead_evicts_nobody_and_grants_nothing
    redis_clock_behind_and_set_right_evicts_nobody
    database_clock_wrong_and_set_right_evicts_nobody
    seat_in_use_is_not_granted_by_an_instance_started_after_the_jump
    replaced_session_keeps_its_seat_while_redis_clock_is_ahead
    cold_license_comes_back_whole_while_clocks_differ
    silent_session_expires_only_when_the_clocks_agree
    clock_jump_of_both_servers_evicts_nobody
    clients_are_told_the_time_of_the_two_clocks_that_agree
    lowered_limit_holds_while_redis_clock_is_ahead
}

async fn seats(rig: &Rig, customer: &Customer, count: usize) -> Vec<SessionId> {
    let mut sessions = Vec::new();
    for number in 0..count {
        sessions.push(rig.seat(customer, &format!("device-{number}")).await.session);
    }
    sessions
}

async fn all_live(rig: &Rig, sessions: &[SessionId]) {
    for session in sessions {
        let beat = rig.beat(*session).await;
        assert!(matches!(beat, Heartbeat::Renewed(_)), "{beat:?}");
    }
}

async fn is_full(rig: &Rig, customer: &Customer) -> bool {
    matches!(rig.acquire(customer, "stranger").await, Acquired::Full { .. })
}

async fn redis_clock_ahead_evicts_nobody_and_grants_nothing(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(3)).await;
    let sessions = seats(&rig, &customer, 3).await;
    rig.redis_clock.set(WRONG);
    assert!(is_full(&rig, &customer).await);
    assert_eq!(rig.sweep().await.expired, 0);
    all_live(&rig, &sessions).await;
    // It is as harmless to set it right.
    rig.redis_clock.set(0);
    assert!(is_full(&rig, &customer).await);
    assert_eq!(rig.sweep().await.expired, 0);
    all_live(&rig, &sessions).await;
    assert_eq!(rig.open_sessions().await, 3);
}

async fn redis_clock_behind_and_set_right_evicts_nobody(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let sessions = seats(&rig, &customer, 2).await;
    rig.redis_clock.set(-WRONG);
    // Longer than a TTL, so that nothing from before counts any more.
    for _ in 0..4 {
        rig.pass(100);
        all_live(&rig, &sessions).await;
        rig.sweep().await;
    }
    assert!(is_full(&rig, &customer).await);
    rig.redis_clock.set(0);
    assert!(is_full(&rig, &customer).await);
    assert_eq!(rig.sweep().await.expired, 0);
    all_live(&rig, &sessions).await;
}

async fn database_clock_wrong_and_set_right_evicts_nobody(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis.clone()).await;
    let customer = rig.database.customer(policy(2)).await;
    let sessions = seats(&rig, &customer, 2).await;
    for ahead in [WRONG, -WRONG] {
        rig.database_clock.set(ahead);
        for _ in 0..4 {
            rig.pass(100);
            all_live(&rig, &sessions).await;
            rig.sweep().await;
        }
        assert!(is_full(&rig, &customer).await);
        rig.database_clock.set(0);
        vandal::forget(&redis, &customer).await;
        assert!(is_full(&rig, &customer).await);
        all_live(&rig, &sessions).await;
    }
}

async fn seat_in_use_is_not_granted_by_an_instance_started_after_the_jump(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let sessions = seats(&rig, &customer, 1).await;
    rig.redis_clock.set(WRONG);
    let other = rig.another_engine();
    let answer = other.acquire(&customer.key, applicant("stranger")).await.unwrap().outcome();
    assert!(matches!(answer, Some(Acquired::Full { .. })), "{answer:?}");
    let beat = rig.another_engine().heartbeat(sessions[0]).await.unwrap().outcome();
    assert!(matches!(beat, Some(Heartbeat::Renewed(_))), "{beat:?}");
}

async fn replaced_session_keeps_its_seat_while_redis_clock_is_ahead(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let sessions = seats(&rig, &customer, 1).await;
    rig.redis_clock.set(WRONG);
    let answer = rig.apply(&customer, applicant("device-0").replacing(Some(sessions[0]))).await;
    assert!(matches!(answer, Acquired::Granted(_) | Acquired::Shared(_)), "{answer:?}");
    assert!(matches!(rig.beat(sessions[0]).await, Heartbeat::Ended(EndReason::Released)));
    assert_eq!(rig.open_sessions().await, 1);
}

async fn cold_license_comes_back_whole_while_clocks_differ(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis.clone()).await;
    let customer = rig.database.customer(policy(3)).await;
    let sessions = seats(&rig, &customer, 3).await;
    // As at a failover to a replica that knows nothing and whose clock is ahead by more than a TTL.
    rig.redis_clock.set(2 * WRONG);
    vandal::forget(&redis, &customer).await;
    assert!(is_full(&rig, &customer).await);
    all_live(&rig, &sessions).await;
}

async fn silent_session_expires_only_when_the_clocks_agree(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let sessions = seats(&rig, &customer, 1).await;
    for ahead in [WRONG, -WRONG] {
        rig.database_clock.set(ahead);
        rig.pass(400);
        assert_eq!(rig.sweep().await.expired, 0);
        assert!(is_full(&rig, &customer).await);
    }
    rig.database_clock.set(0);
    rig.pass_swept(600).await;
    assert!(matches!(rig.acquire(&customer, "stranger").await, Acquired::Granted(_)));
    assert!(matches!(rig.beat(sessions[0]).await, Heartbeat::Ended(EndReason::Expired)));
}

async fn clock_jump_of_both_servers_evicts_nobody(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let sessions = seats(&rig, &customer, 2).await;
    all_live(&rig, &sessions[..1]).await;
    // As where both run on one machine whose clock is set.
    rig.redis_clock.set(WRONG);
    rig.database_clock.set(WRONG);
    assert!(is_full(&rig, &customer).await);
    assert_eq!(rig.sweep().await.expired, 0);
    all_live(&rig, &sessions).await;
    // Whoever stays silent for a TTL from then on is dead as ever.
    rig.pass_swept(400).await;
    assert!(matches!(rig.acquire(&customer, "stranger").await, Acquired::Granted(_)));
}

async fn told(rig: &Rig, session: SessionId) -> (Timestamp, Timestamp) {
    let Heartbeat::Renewed(renewal) = rig.beat(session).await else { panic!("it lives") };
    (renewal.at, renewal.expires_at)
}

async fn clients_are_told_the_time_of_the_two_clocks_that_agree(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let sessions = seats(&rig, &customer, 1).await;
    let right = rig.clock.now();
    let ttl = chrono::TimeDelta::seconds(360);
    for wrong in [&rig.redis_clock, &rig.database_clock, &rig.instance_clock] {
        for ahead in [WRONG, -WRONG] {
            wrong.set(ahead);
            assert_eq!(told(&rig, sessions[0]).await, (right, right + ttl), "{ahead}");
            let seat = rig.seat(&customer, "another").await;
            assert_eq!((seat.at, seat.expires_at), (right, right + ttl), "{ahead}");
            rig.release(seat.session).await;
        }
        wrong.set(0);
    }
}

async fn lowered_limit_holds_while_redis_clock_is_ahead(redis: RedisSettings) {
    let rig = Rig::without_steady_clock(redis).await;
    let customer = rig.database.customer(policy(3)).await;
    let sessions = seats(&rig, &customer, 3).await;
    rig.owner.execute("UPDATE licenses SET seats_total = 2, version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    rig.release(sessions[0]).await;
    rig.redis_clock.set(WRONG);
    assert!(is_full(&rig, &customer).await);
    all_live(&rig, &sessions[1..]).await;
}

#[tokio::test]
async fn clock_difference_is_on_the_metrics_page() {
    let rig = Rig::on(testkit::redis_settings()).await;
    let mut registry = Registry::default();
    rig.engine.register(&mut registry);
    let page = || {
        let mut page = String::new();
        encode(&mut page, &registry).unwrap();
        page
    };
    rig.sweep().await;
    assert!(page().contains("coditect_clock_difference_seconds{between=\"redis_and_database\"} 0.0"), "{}", page());
    rig.redis_clock.set(WRONG);
    rig.sweep().await;
    for line in ["{between=\"redis_and_database\"} 600.0", "{between=\"redis_and_instance\"} 600.0"] {
        assert!(page().contains(line), "{line}: {}", page());
    }
    assert!(page().contains("coditect_clock_jumps_total 1"), "{}", page());
}
