//! Revoked sessions stay revoked, whatever becomes of Redis.

use std::sync::Arc;

use platform::{
    domain::EndReason,
    seats::{Acquired, Heartbeat, Seat},
};
use testkit::{Customer, policy, redis_settings};

use crate::rig::{Rig, vandal};

/// A license whose seats are all taken, and one of their sessions.
async fn full(rig: &Rig) -> (Customer, Seat) {
    let customer = rig.database.customer(policy(2)).await;
    let seat = rig.seat(&customer, "device").await;
    rig.seat(&customer, "other").await;
    (customer, seat)
}

/// Ends a session in the record, as the administration does.
async fn revoke(rig: &Rig, seat: &Seat) {
    let now = platform::domain::Clock::now(&*rig.clock);
    let revoke = "UPDATE sessions SET ended_at = $2, ended_reason = 'revoked' WHERE id = $1";
    rig.owner.execute(revoke, &[&seat.session.key.as_uuid(), &now]).await.unwrap();
}

#[tokio::test]
async fn a_revoked_session_is_over_at_once_in_every_container_and_its_seat_is_free() {
    let rig = Rig::on(redis_settings()).await;
    let (customer, seat) = full(&rig).await;
    assert!(matches!(rig.acquire(&customer, "third").await, Acquired::Full { .. }));
    revoke(&rig, &seat).await;
    rig.another_engine().take_out(customer.license, seat.session.key).await.unwrap();
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Revoked)));
    assert_eq!(rig.seat(&customer, "third").await.number, seat.number);
}

#[tokio::test]
async fn a_rebuild_does_not_bring_a_revoked_session_back_neither_from_nothing_nor_while_it_is_under_way() {
    let rig = Rig::on(redis_settings()).await;
    let (customer, seat) = full(&rig).await;
    let mut redis = vandal::connection().await;
    let before = vandal::copy(&mut redis, &customer).await;
    // A rebuild holds the lock, has read the record before the session is revoked, and writes what it has read only after.
    vandal::lock(&redis_settings(), &customer).await;
    revoke(&rig, &seat).await;
    let (engine, license, key) = (rig.another_engine(), customer.license, seat.session.key);
    let taking = tokio::spawn(async move { engine.take_out(license, key).await });
    // It asks for the lock meanwhile.
    for _ in 0..20 {
        redis::cmd("PING").exec_async(&mut redis).await.unwrap();
    }
    assert!(!taking.is_finished(), "it waits for the rebuild");
    vandal::restore(&mut redis, &customer, &before).await;
    redis::cmd("DEL").arg(format!("{{{license}}}:lock")).exec_async(&mut redis).await.unwrap();
    taking.await.unwrap().unwrap();
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Revoked)));

    vandal::wipe(&mut redis, &customer).await;
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Revoked)));
    assert_eq!(rig.seat(&customer, "third").await.number, seat.number);
}

#[tokio::test]
async fn an_older_copy_of_redis_brings_a_revoked_session_back_until_the_next_sweep_and_never_a_seat_twice() {
    let rig = Rig::on(redis_settings()).await;
    let (customer, seat) = full(&rig).await;
    let mut redis = vandal::connection().await;
    let before = vandal::copy(&mut redis, &customer).await;
    revoke(&rig, &seat).await;
    rig.engine.take_out(customer.license, seat.session.key).await.unwrap();
    vandal::restore(&mut redis, &customer, &before).await;
    assert!(matches!(rig.acquire(&customer, "third").await, Acquired::Full { .. }), "the copy has both");
    rig.sweep().await;
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Revoked)));
    rig.seat(&customer, "third").await;
    assert_eq!(rig.open_sessions().await, 2);
}

#[tokio::test]
async fn the_engine_tells_until_when_sessions_live_and_nothing_of_those_that_it_lacks() {
    let rig = Rig::on(redis_settings()).await;
    let (customer, seat) = full(&rig).await;
    rig.pass(100);
    let Heartbeat::Renewed(renewal) = rig.beat(seat.session).await else { panic!("it lives") };
    let keys = [platform::domain::SessionKey::random(), seat.session.key];
    let engine = Arc::clone(&rig.engine);
    assert_eq!(engine.expiries(customer.license, &keys).await.unwrap(), [None, Some(renewal.expires_at)]);
    assert_eq!(engine.expiries(platform::domain::LicenseId::random(), &keys).await.unwrap(), [None, None]);
}
