//! An address that has spent its allowance asks nothing of PostgreSQL, and costs nobody a seat.

use futures_util::future::join_all;
use platform::{
    domain::{LicenseId, LicenseKey, LimitKind, SessionId, SessionKey, Verdict},
    seats::{Acquired, Claim, Counted, Engine, Heartbeat, Inspected, LimitSettings, RedisSettings, Released},
};
use testkit::{free_port, policy, redis_settings_of};

use crate::rig::{Rig, applicant, on_both, vandal};

on_both! {
    invented_sessions_beyond_the_limit_ask_nothing_of_postgresql
    burst_of_invented_sessions_stays_near_the_limit
    unknown_license_key_beyond_the_limit_is_not_looked_up
    known_license_key_is_served_however_spent_its_address_is
    live_session_of_a_cold_license_keeps_its_seat_at_a_spent_address
    live_session_that_redis_lost_keeps_its_seat_at_a_spent_address
    live_session_is_released_at_a_spent_address
    ended_session_asked_about_too_often_is_not_looked_up
}

const NETWORK: [u8; 16] = [9; 16];
const PER_HOUR: u32 = 20;

const fn limits() -> LimitSettings {
    LimitSettings { limit_anonymous_per_hour: PER_HOUR, limit_principal_per_hour: 1000, limit_public_per_hour: 0 }
}

/// A network that no other test has spent: they share one Redis.
fn network() -> [u8; 16] {
    *uuid::Uuid::new_v4().as_bytes()
}

fn invented(license: LicenseId) -> SessionId {
    SessionId { license, key: SessionKey::random() }
}

async fn beat(engine: &Engine, session: SessionId, network: [u8; 16]) -> Counted<Heartbeat> {
    engine.heartbeat(Claim::from_network(session, network)).await.unwrap()
}

async fn release(rig: &Rig, session: SessionId, network: [u8; 16]) -> Counted<Option<Released>> {
    rig.engine.release(Claim::from_network(session, network)).await.unwrap()
}

async fn acquire(engine: &std::sync::Arc<Engine>, key: &LicenseKey, network: [u8; 16]) -> Counted<Acquired> {
    engine.acquire(key, applicant("device").from_network(network)).await.unwrap()
}

const fn is_refused<T>(counted: &Counted<T>) -> bool {
    matches!(counted, Counted::Beyond(_))
}

/// Spends all that an address may ask for, on what is neither a key nor a session.
async fn spend(rig: &Rig, network: &[u8; 16]) {
    for _ in 0..PER_HOUR {
        assert!(matches!(rig.engine.limiter().check(LimitKind::Anonymous, network).await, Verdict::Within(_)));
    }
    assert!(matches!(rig.engine.limiter().check(LimitKind::Anonymous, network).await, Verdict::Beyond(_)));
}

/// How often PostgreSQL is asked during some work.
async fn uses<T>(engine: &Engine, work: impl Future<Output = T>) -> (u64, T) {
    let before = engine.database().uses().get();
    let done = work.await;
    (engine.database().uses().get() - before, done)
}

async fn invented_sessions_beyond_the_limit_ask_nothing_of_postgresql(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits()).await;
    let customer = rig.database.customer(policy(1)).await;
    rig.seat(&customer, "one").await;
    for license in [Some(customer.license), None] {
        let network = network();
        let session = || invented(license.unwrap_or_else(LicenseId::random));
        for _ in 0..PER_HOUR {
            let unknown = beat(&rig.engine, session(), network).await;
            assert!(matches!(unknown, Counted::Served(Heartbeat::Unknown, Verdict::Within(_))), "{unknown:?}");
        }
        let work = async {
            let mut refused = 0;
            for _ in 0..300 {
                refused += usize::from(is_refused(&beat(&rig.engine, session(), network).await));
                refused += usize::from(is_refused(&release(&rig, session(), network).await));
            }
            refused
        };
        assert_eq!(uses(&rig.engine, work).await, (0, 600), "{license:?}");
        // One request is given back after a while, and no more.
        rig.pass(3600 / u64::from(PER_HOUR));
        assert!(!is_refused(&beat(&rig.engine, session(), network).await));
        assert!(is_refused(&beat(&rig.engine, session(), network).await));
    }
}

async fn burst_of_invented_sessions_stays_near_the_limit(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits()).await;
    let customer = rig.database.customer(policy(1)).await;
    rig.seat(&customer, "one").await;
    let network = network();
    let burst = join_all((0..300).map(|_| beat(&rig.engine, invented(customer.license), network)));
    let (uses, beats) = uses(&rig.engine, burst).await;
    assert_eq!(beats.iter().filter(|beat| !is_refused(beat)).count(), usize::try_from(PER_HOUR).unwrap());
    assert!(uses <= u64::from(PER_HOUR) + 8, "{uses}");
}

async fn unknown_license_key_beyond_the_limit_is_not_looked_up(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits()).await;
    let network = network();
    spend(&rig, &network).await;
    let work = async {
        for _ in 0..20 {
            let key = LicenseKey::generate();
            assert!(is_refused(&acquire(&rig.engine, &key, network).await));
            assert!(is_refused(&rig.engine.inspect(&key, None, &network).await.unwrap()));
        }
    };
    assert_eq!(uses(&rig.engine, work).await.0, 0);
}

async fn known_license_key_is_served_however_spent_its_address_is(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits()).await;
    let (customer, new) = (rig.database.customer(policy(1)).await, rig.database.customer(policy(1)).await);
    let network = network();
    assert!(matches!(acquire(&rig.engine, &customer.key, network).await, Counted::Served(Acquired::Granted(_), _)));
    spend(&rig, &network).await;
    // What this process knows of the license is too old to be used, and the key is known for good
    // all the same.
    rig.pass(60);
    assert!(matches!(acquire(&rig.engine, &customer.key, network).await, Counted::Served(Acquired::Held(_), _)));
    // A process that has just started knows nothing, and Redis remembers for it.
    let other = rig.another_engine();
    assert!(matches!(acquire(&other, &customer.key, network).await, Counted::Served(Acquired::Held(_), _)));
    let inspected = rig.another_engine().inspect(&customer.key, None, &network).await.unwrap();
    assert!(matches!(inspected, Counted::Served(Inspected::Usable(..), _)));
    // A key that nobody has used yet waits until the address may ask again.
    assert!(is_refused(&acquire(&other, &new.key, network).await));
    rig.pass(3600 / u64::from(PER_HOUR));
    assert!(matches!(acquire(&other, &new.key, network).await, Counted::Served(Acquired::Granted(_), _)));
}

async fn live_session_of_a_cold_license_keeps_its_seat_at_a_spent_address(redis: RedisSettings) {
    let rig = Rig::limited(redis.clone(), limits()).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    let network = network();
    spend(&rig, &network).await;
    vandal::forget(&redis, &customer).await;
    assert!(matches!(beat(&rig.engine, session, network).await, Counted::Served(Heartbeat::Renewed(_), _)));
    // A process that has never heard of the license is told of it by others: here by the sweep.
    vandal::forget(&redis, &customer).await;
    let other = rig.another_engine();
    let (uses, refused) = uses(&other, beat(&other, session, network)).await;
    assert!(uses == 0 && is_refused(&refused));
    rig.pass(200);
    rig.sweep().await;
    assert!(matches!(beat(&other, session, network).await, Counted::Served(Heartbeat::Renewed(_), _)));
}

async fn live_session_that_redis_lost_keeps_its_seat_at_a_spent_address(redis: RedisSettings) {
    let rig = Rig::limited(redis.clone(), limits()).await;
    let customer = rig.database.customer(policy(2)).await;
    let (one, two) = (rig.seat(&customer, "one").await.session, rig.seat(&customer, "two").await.session);
    let network = network();
    spend(&rig, &network).await;
    for engine in [&rig.engine, &rig.another_engine()] {
        for session in [one, two] {
            vandal::lose(&redis, &customer, session).await;
            assert!(matches!(beat(engine, session, network).await, Counted::Served(Heartbeat::Renewed(_), _)));
        }
    }
}

async fn live_session_is_released_at_a_spent_address(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits()).await;
    let customer = rig.database.customer(policy(2)).await;
    let sessions = [rig.seat(&customer, "one").await.session, rig.seat(&customer, "two").await.session];
    let network = network();
    spend(&rig, &network).await;
    for _ in 0..PER_HOUR {
        beat(&rig.engine, invented(customer.license), network).await;
    }
    assert!(is_refused(&release(&rig, invented(customer.license), network).await));
    assert!(matches!(release(&rig, sessions[0], network).await, Counted::Served(Some(_), _)));
    let other = rig.another_engine();
    // It knows neither that the address is spent nor the license.
    assert!(is_refused(&other.release(Claim::from_network(invented(LicenseId::random()), network)).await.unwrap()));
    let released = other.release(Claim::from_network(sessions[1], network)).await.unwrap();
    assert!(matches!(released, Counted::Served(Some(_), _)), "{released:?}");
    assert_eq!(rig.open_sessions().await, 0);
}

async fn ended_session_asked_about_too_often_is_not_looked_up(redis: RedisSettings) {
    let limits = LimitSettings { limit_anonymous_per_hour: 0, limit_principal_per_hour: 10, limit_public_per_hour: 0 };
    let rig = Rig::limited(redis, limits).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    while !is_refused(&release(&rig, session, NETWORK).await) {}
    let work = async {
        for _ in 0..50 {
            assert!(is_refused(&release(&rig, session, NETWORK).await));
            assert!(is_refused(&beat(&rig.engine, session, NETWORK).await));
        }
    };
    assert_eq!(uses(&rig.engine, work).await.0, 0);
    assert_eq!(rig.open_sessions().await, 0);
}

#[tokio::test]
async fn store_down_lets_unknown_credentials_be_looked_up() {
    let nowhere = redis_settings_of(&format!("redis://127.0.0.1:{}", free_port()));
    let broken = Rig::limited(nowhere, limits()).await;
    for _ in 0..PER_HOUR + 5 {
        let acquired = broken.engine.acquire(&LicenseKey::generate(), applicant("one").from_network(network())).await.unwrap();
        assert!(matches!(acquired, Counted::Served(Acquired::Unknown, Verdict::Uncounted)));
    }
}
