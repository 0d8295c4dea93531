//! Limits hold to the request, in the calls that the operations make anyway: on a single Redis and on a three-node cluster.

use std::sync::Arc;

use futures_util::future::join_all;
use platform::{
    domain::{Allowance, LicenseKey, LimitKind, Refusal, SessionId, SessionKey, Verdict},
    seats::{Acquired, Counted, Engine, Heartbeat, Inspected, LimitSettings, Limiter, RedisLink, RedisSettings},
};
use testkit::{free_port, policy, redis_settings};
use uuid::Uuid;

use crate::rig::{Rig, applicant, application, on_both, vandal};

on_both! {
    a_session_may_beat_so_often_and_gets_it_back_evenly
    requests_that_come_together_are_counted_one_by_one
    no_live_session_is_lost_to_a_limit_however_low
    a_device_may_acquire_so_often_and_others_do_not_notice
    a_network_may_validate_so_often_and_others_do_not_notice
    a_session_that_has_ended_is_counted_on
    a_license_that_refuses_counts_too
    what_takes_several_tries_is_one_request
    what_is_no_credential_is_left_to_whoever_knows_the_address
    callers_are_counted_by_kind_and_subject
    without_a_limit_nobody_is_counted
}

const NETWORK: [u8; 16] = [7; 16];

const fn limits(per_hour: u32) -> LimitSettings {
    LimitSettings { limit_anonymous_per_hour: per_hour, limit_principal_per_hour: per_hour, limit_public_per_hour: per_hour }
}

async fn beat(engine: &Engine, session: SessionId) -> Counted<Heartbeat> {
    engine.heartbeat(session).await.unwrap()
}

fn allowance<T>(counted: &Counted<T>) -> Allowance {
    match counted {
        Counted::Beyond(allowance) | Counted::Served(_, Verdict::Within(allowance)) => *allowance,
        Counted::Served(_, verdict) => panic!("{verdict:?}"),
    }
}

/// What is left, and whether the request was served.
fn left<T>(counted: &Counted<T>) -> (u64, bool) {
    (allowance(counted).left(), matches!(counted, Counted::Served(..)))
}

async fn a_session_may_beat_so_often_and_gets_it_back_evenly(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(100)).await;
    let customer = rig.database.customer(policy(2)).await;
    let (session, other) = (rig.seat(&customer, "one").await.session, rig.seat(&customer, "two").await.session);
    for number in (0..100).rev() {
        assert_eq!(left(&beat(&rig.engine, session).await), (number, true));
    }
    let refused = beat(&rig.engine, session).await;
    assert_eq!((left(&refused), allowance(&refused).next_after(), allowance(&refused).whole_after()), ((0, false), 36, 3600));
    assert_eq!(left(&beat(&rig.engine, other).await), (99, true));
    rig.pass(35);
    let refused = beat(&rig.engine, session).await;
    assert_eq!((left(&refused), allowance(&refused).next_after()), ((0, false), 1));
    rig.pass(1);
    assert_eq!(left(&beat(&rig.engine, session).await), (0, true));
    assert_eq!(left(&beat(&rig.engine, session).await), (0, false));
    rig.pass(72);
    assert_eq!(left(&beat(&rig.engine, session).await), (1, true));
}

async fn requests_that_come_together_are_counted_one_by_one(redis: RedisSettings) {
    let rig = Rig::limited(redis.clone(), limits(50)).await;
    let customer = rig.database.customer(policy(2)).await;
    let (one, two) = (rig.seat(&customer, "one").await.session, rig.seat(&customer, "two").await.session);
    let engines = [Arc::clone(&rig.engine), rig.another_engine()];
    // Of two sessions, turn by turn, so that a call has several beats of each.
    let beats = join_all((0..128).map(|n| beat(&engines[n / 2 % 2], [one, two][n % 2]))).await;
    let of = |which: usize| beats.iter().skip(which).step_by(2).filter(|counted| left(counted).1).count();
    assert_eq!((of(0), of(1)), (50, 50));

    let acquires = join_all((0..64).map(async |n| engines[n % 2].acquire(&customer.key, applicant("one")).await.unwrap())).await;
    // The first one has taken the seat above.
    assert_eq!(acquires.iter().filter(|counted| left(counted).1).count(), 49);
    let validates = join_all((0..64).map(async |n| engines[n % 2].inspect(&customer.key, None, &NETWORK).await.unwrap())).await;
    assert_eq!(validates.iter().filter(|counted| left(counted).1).count(), 50);
    let releases = join_all((0..64).map(async |n| engines[n % 2].release(two).await.unwrap())).await;
    assert_eq!(releases.iter().filter(|counted| left(counted).1).count(), 50);
    let subject = Uuid::new_v4();
    let checks = join_all((0..64).map(async |n| engines[n % 2].limiter().check(LimitKind::Anonymous, subject.as_bytes()).await)).await;
    assert_eq!(checks.iter().filter(|verdict| matches!(verdict, Verdict::Within(_))).count(), 50);
}

async fn no_live_session_is_lost_to_a_limit_however_low(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(1)).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    let (mut served, mut refused) = (0, 0);
    for _ in 0..30 {
        rig.pass(120);
        rig.sweep().await;
        match beat(&rig.engine, session).await {
            Counted::Served(Heartbeat::Renewed(_), _) => served += 1,
            Counted::Beyond(allowance) => {
                assert!(allowance.next_after() > 0);
                refused += 1;
            }
            other @ Counted::Served(..) => panic!("{other:?}"),
        }
    }
    assert!(served >= 10 && refused >= 10, "{served} beats were served and {refused} refused");
    assert_eq!(rig.open_sessions().await, 1);
}

async fn a_device_may_acquire_so_often_and_others_do_not_notice(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(3)).await;
    let customer = rig.database.customer(policy(1)).await;
    let ask = async |device: &str, key: Option<&str>| rig.engine.acquire(&customer.key, application(device, key)).await.unwrap();
    assert_eq!(left(&ask("one", None).await), (2, true));
    assert_eq!(left(&ask("one", None).await), (1, true));
    // An idempotency key makes it no other device.
    assert_eq!(left(&ask("one", Some("key-1")).await), (0, true));
    for _ in 0..2 {
        let refused = ask("one", Some("key-2")).await;
        assert_eq!((left(&refused), allowance(&refused).next_after()), ((0, false), 1200));
    }
    // Nor do those who get no seat pass for nothing.
    for number in (0..3).rev() {
        let full = ask("two", None).await;
        assert_eq!(left(&full), (number, true));
        assert!(matches!(full.outcome(), Some(Acquired::Full { .. })));
    }
    assert_eq!(left(&ask("two", None).await), (0, false));
    rig.pass(1200);
    assert_eq!(left(&ask("two", None).await), (0, true));
}

async fn a_network_may_validate_so_often_and_others_do_not_notice(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(2)).await;
    let (customer, other) = (rig.database.customer(policy(1)).await, rig.database.customer(policy(1)).await);
    let ask = async |key: &LicenseKey, network: [u8; 16]| rig.engine.inspect(key, None, &network).await.unwrap();
    assert_eq!(left(&ask(&customer.key, NETWORK).await), (1, true));
    assert_eq!(left(&ask(&customer.key, NETWORK).await), (0, true));
    assert_eq!(left(&ask(&customer.key, NETWORK).await), (0, false));
    assert_eq!(left(&ask(&customer.key, [8; 16]).await), (1, true));
    assert_eq!(left(&ask(&other.key, NETWORK).await), (1, true));
    // The device that acquires is somebody else than the network that looks.
    assert!(matches!(rig.acquire(&customer, "one").await, Acquired::Granted(_)));
}

async fn a_session_that_has_ended_is_counted_on(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(4)).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    // A release goes through whatever its session has spent before.
    for _ in 0..5 {
        beat(&rig.engine, session).await;
    }
    assert_eq!(left(&rig.engine.release(session).await.unwrap()), (3, true));
    assert_eq!(left(&rig.engine.release(session).await.unwrap()), (2, true));
    let ended = beat(&rig.engine, session).await;
    assert_eq!(left(&ended), (1, true));
    assert!(matches!(ended.outcome(), Some(Heartbeat::Ended(_))));
    assert_eq!(left(&beat(&rig.engine, session).await), (0, true));
    assert_eq!(left(&beat(&rig.engine, session).await), (0, false));
    assert_eq!(left(&rig.engine.release(session).await.unwrap()), (0, false));
}

async fn a_license_that_refuses_counts_too(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(2)).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    rig.owner.execute("UPDATE licenses SET status = 'suspended', version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    for number in [1, 0] {
        let acquired = rig.engine.acquire(&customer.key, applicant("two")).await.unwrap();
        let inspected = rig.engine.inspect(&customer.key, None, &NETWORK).await.unwrap();
        let beaten = beat(&rig.engine, session).await;
        assert_eq!((left(&acquired), left(&inspected), left(&beaten)), ((number, true), (number, true), (number, true)));
        assert!(matches!(acquired.outcome(), Some(Acquired::Refused(Refusal::Suspended))));
        assert!(matches!(inspected.outcome(), Some(Inspected::Refused(Refusal::Suspended))));
        assert!(matches!(beaten.outcome(), Some(Heartbeat::Refused { why: Refusal::Suspended, .. })));
    }
    assert_eq!(left(&rig.engine.acquire(&customer.key, applicant("two")).await.unwrap()), (0, false));
    assert_eq!(left(&rig.engine.inspect(&customer.key, None, &NETWORK).await.unwrap()), (0, false));
    assert_eq!(left(&beat(&rig.engine, session).await), (0, false));
}

async fn what_takes_several_tries_is_one_request(redis: RedisSettings) {
    let rig = Rig::limited(redis.clone(), limits(10)).await;
    let customer = rig.database.customer(policy(2)).await;
    let other = rig.another_engine();
    assert_eq!(left(&other.acquire(&customer.key, applicant("one")).await.unwrap()), (9, true));
    // The other container's copy of the policy is stale, and then the license is cold.
    rig.owner.execute("UPDATE licenses SET seats_total = 3, version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    assert_eq!(left(&other.acquire(&customer.key, applicant("one")).await.unwrap()), (8, true));
    vandal::forget(&redis, &customer).await;
    assert_eq!(left(&other.acquire(&customer.key, applicant("one")).await.unwrap()), (7, true));
    // The record has none of the sessions that Redis has any more: the new one is on the seat all the same.
    rig.owner.execute("UPDATE sessions SET ended_at = now(), ended_reason = 'revoked' WHERE ended_at IS NULL", &[]).await.unwrap();
    let anew = other.acquire(&customer.key, applicant("one")).await.unwrap();
    assert_eq!(left(&anew), (6, true));
    assert!(matches!(anew.outcome(), Some(Acquired::Shared(_))));
    rig.owner.execute("UPDATE licenses SET seats_total = 4, version = version + 1", &[]).await.unwrap();
    other.inspect(&customer.key, None, &NETWORK).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    assert_eq!(left(&other.inspect(&customer.key, None, &NETWORK).await.unwrap()), (8, true));
}

async fn what_is_no_credential_is_left_to_whoever_knows_the_address(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(1)).await;
    let customer = rig.database.customer(policy(1)).await;
    let (stranger, nobody) = (LicenseKey::generate(), SessionId { license: customer.license, key: SessionKey::random() });
    for _ in 0..3 {
        let acquired = rig.engine.acquire(&stranger, applicant("one")).await.unwrap();
        assert!(matches!(acquired, Counted::Served(Acquired::Unknown, Verdict::Uncounted)));
        assert!(matches!(beat(&rig.engine, nobody).await, Counted::Served(Heartbeat::Unknown, Verdict::Uncounted)));
        assert!(matches!(rig.engine.release(nobody).await.unwrap(), Counted::Served(None, Verdict::Uncounted)));
    }
    // Where the address is told, it is counted at once, and looked up no more once it has asked too
    // often.
    let network = *Uuid::new_v4().as_bytes();
    let inspected = rig.engine.inspect(&stranger, None, &network).await.unwrap();
    assert!(matches!(inspected, Counted::Served(Inspected::Unknown, Verdict::Within(allowance)) if allowance.left() == 0));
    assert!(matches!(rig.engine.inspect(&stranger, None, &network).await.unwrap(), Counted::Beyond(_)));
}

async fn callers_are_counted_by_kind_and_subject(redis: RedisSettings) {
    let settings = LimitSettings { limit_anonymous_per_hour: 2, limit_principal_per_hour: 3, limit_public_per_hour: 4 };
    let clock = Arc::new(testkit::ManualClock::default());
    let time: Arc<testkit::ManualClock> = Arc::clone(&clock);
    let limiter = Limiter::with_moved_time(RedisLink::new(&redis).unwrap(), settings, time);
    let (one, two) = (Uuid::new_v4(), Uuid::new_v4());
    let passes = async |kind, subject: &Uuid| {
        let mut passes = 0;
        while let Verdict::Within(_) = limiter.check(kind, subject.as_bytes()).await {
            passes += 1;
        }
        passes
    };
    assert_eq!(passes(LimitKind::Anonymous, &one).await, 2);
    assert_eq!(passes(LimitKind::Principal, &one).await, 3);
    assert_eq!(passes(LimitKind::Anonymous, &two).await, 2);
    for _ in 0..5 {
        clock.advance(std::time::Duration::from_secs(1800));
        assert_eq!(passes(LimitKind::Anonymous, &one).await, 1);
    }
    clock.advance(std::time::Duration::from_secs(36_000));
    assert_eq!(passes(LimitKind::Anonymous, &one).await, 2, "no more than an hour's worth is ever saved up");
}

async fn without_a_limit_nobody_is_counted(redis: RedisSettings) {
    let rig = Rig::limited(redis, limits(0)).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    for _ in 0..3 {
        assert!(matches!(beat(&rig.engine, session).await, Counted::Served(Heartbeat::Renewed(_), Verdict::Uncounted)));
        let acquired = rig.engine.acquire(&customer.key, applicant("one")).await.unwrap();
        assert!(matches!(acquired, Counted::Served(Acquired::Shared(_), Verdict::Uncounted)));
        let inspected = rig.engine.inspect(&customer.key, None, &NETWORK).await.unwrap();
        assert!(matches!(inspected, Counted::Served(Inspected::Usable(..), Verdict::Uncounted)));
        assert_eq!(rig.engine.limiter().check(LimitKind::Anonymous, b"anybody").await, Verdict::Uncounted);
    }
    assert!(matches!(rig.engine.release(session).await.unwrap(), Counted::Served(Some(_), Verdict::Uncounted)));
}

#[tokio::test]
async fn if_the_store_is_down_requests_are_let_through_and_counted() {
    for url in [format!("redis://127.0.0.1:{}", free_port()), format!("redis://127.0.0.1:{0},redis://127.0.0.1:{0}", free_port())] {
        let redis = testkit::redis_settings_of(&url);
        let limiter = Limiter::new(RedisLink::new(&redis).unwrap(), limits(1));
        let mut registry = prometheus_client::registry::Registry::default();
        limiter.register(&mut registry);
        for _ in 0..2 {
            assert_eq!(limiter.check(LimitKind::Anonymous, b"anybody").await, Verdict::Uncounted);
        }
        assert!(platform::web::Metrics::new(registry).page().contains("coditect_limits_let_through_total 2"));
    }
}

#[tokio::test]
async fn what_is_kept_of_a_caller_is_gone_when_there_is_nothing_left_to_know() {
    let rig = Rig::limited(redis_settings(), limits(100)).await;
    let customer = rig.database.customer(policy(1)).await;
    let session = rig.seat(&customer, "one").await.session;
    rig.inspect(&customer).await;
    rig.release(session).await;
    let mut redis = vandal::connection().await;
    let keys: Vec<String> = redis::cmd("KEYS").arg(format!("{{{}}}:limit:*", customer.license)).query_async(&mut redis).await.unwrap();
    assert_eq!(keys.len(), 3, "{keys:?}");
    for key in keys {
        let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut redis).await.unwrap();
        assert!((1..=36_000).contains(&left), "{key} is kept for {left} ms");
    }
}

#[tokio::test]
async fn a_session_that_an_older_version_has_written_is_renewed_and_counted() {
    let rig = Rig::limited(redis_settings(), limits(2)).await;
    let customer = rig.database.customer(policy(2)).await;
    let mut redis = vandal::connection().await;
    let sessions = format!("{{{}}}:sessions", customer.license);
    for (device, key) in [("one", None), ("two", Some("key-2"))] {
        let Acquired::Granted(seat) = rig.apply(&customer, application(device, key)).await else { panic!("a seat is free") };
        let field = &seat.session.key.as_bytes()[..];
        let record: Vec<u8> = redis::cmd("HGET").arg(&sessions).arg(field).query_async(&mut redis).await.unwrap();
        let old = &record[..record.len() - 8];
        assert_eq!(old.len(), 60 + 16 * usize::from(key.is_some()));
        redis::cmd("HSET").arg(&sessions).arg(field).arg(old).exec_async(&mut redis).await.unwrap();
        for number in [1, 0] {
            assert_eq!(left(&beat(&rig.engine, seat.session).await), (number, true));
        }
        assert_eq!(left(&beat(&rig.engine, seat.session).await), (0, false));
        redis::cmd("HSET").arg(&sessions).arg(field).arg(old).exec_async(&mut redis).await.unwrap();
        assert_eq!(rig.release(seat.session).await.unwrap().seats_used, 0);
        let Acquired::Granted(again) = rig.apply(&customer, application("three", key)).await else { panic!("its place is free") };
        assert_eq!(again.number, seat.number);
        rig.release(again.session).await;
    }
}
