//! The rules of the seat engine, one by one: on a single Redis and on a three-node cluster.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use platform::{
    domain::{Clock, EndReason, Refusal, SeatUnit, SessionId, SessionKey},
    seats::{Acquired, Heartbeat, Inspected, RedisSettings},
};
use testkit::{Customer, eventually, policy};

use crate::rig::{Rig, applicant, application, on_both, vandal};

on_both! {
    a_license_gives_out_its_seats_and_no_more
    a_released_seat_is_given_out_again_and_its_session_stays_ended
    a_late_release_frees_nothing_of_a_later_session
    a_silent_session_loses_its_seat_and_a_beating_one_never
    the_sweep_ends_zombies_and_writes_renewals_back
    the_sweep_writes_back_at_once_what_it_has_rebuilt
    a_seat_found_again_is_recorded_as_late_as_its_holder_is_told
    a_license_that_cannot_be_settled_holds_up_nobody_elses_sweep
    calls_that_come_together_are_answered_each_for_itself
    a_session_that_never_was_is_told_from_one_that_ended
    overage_is_granted_and_flagged
    fewer_seats_grant_nothing_new_and_throw_nobody_out
    a_change_of_policy_takes_hold_on_the_next_call_everywhere
    a_change_that_nobody_told_redis_takes_hold_within_ten_seconds
    a_suspended_license_refuses_and_says_until_when
    an_expired_license_refuses_heartbeats
    a_process_seat_is_told_apart_by_its_idempotency_key
    the_same_request_is_replayed_and_another_one_is_refused
    two_containers_race_for_seats_and_none_is_given_twice
    a_seat_that_is_taken_at_the_same_moment_costs_nobody_else_of_the_commit_anything
    a_tenant_whose_record_is_locked_holds_up_no_other
    looking_takes_no_seat
    usage_is_counted
}

async fn a_license_gives_out_its_seats_and_no_more(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(3)).await;
    for number in 1..=3 {
        let Acquired::Granted(seat) = rig.acquire(&customer, &format!("device-{number}")).await else { panic!("a seat is free") };
        assert_eq!((seat.number.get(), seat.occupancy.used), (number, number));
    }
    let Acquired::Full { occupancy, retry_after, .. } = rig.acquire(&customer, "device-4").await else { panic!("it is full") };
    assert_eq!((occupancy.used, occupancy.total, retry_after), (3, 3, 360));
}

async fn a_released_seat_is_given_out_again_and_its_session_stays_ended(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    let released = rig.release(seat.session).await.unwrap();
    assert_eq!(released.seats_used, 0);
    rig.pass(5);
    assert_eq!(rig.release(seat.session).await.unwrap().at, released.at);
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Released)));
    assert!(matches!(rig.acquire(&customer, "two").await, Acquired::Granted(_)));
}

async fn a_late_release_frees_nothing_of_a_later_session(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let early = rig.seat(&customer, "device").await;
    rig.release(early.session).await;
    let late = rig.seat(&customer, "device").await;
    assert_ne!(early.session, late.session);
    rig.release(early.session).await;
    assert!(rig.lives(late.session).await);
    assert!(matches!(rig.acquire(&customer, "other").await, Acquired::Full { .. }));
}

async fn a_silent_session_loses_its_seat_and_a_beating_one_never(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let silent = rig.seat(&customer, "silent").await;
    let beating = rig.seat(&customer, "beating").await;
    for _ in 0..12 {
        rig.pass(30);
        rig.sweep().await;
        assert!(rig.lives(beating.session).await);
    }
    assert!(matches!(rig.beat(silent.session).await, Heartbeat::Ended(EndReason::Expired)));
    let taken = rig.seat(&customer, "third").await;
    assert_eq!(taken.number, silent.number);
    assert!(rig.lives(beating.session).await);
}

async fn the_sweep_ends_zombies_and_writes_renewals_back(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    rig.seat(&customer, "zombie").await;
    let living = rig.seat(&customer, "living").await;
    rig.pass(200);
    assert!(rig.lives(living.session).await);
    let report = rig.sweep().await;
    assert_eq!((report.renewed, report.expired), (1, 0));
    rig.pass(160);
    let report = rig.sweep().await;
    assert_eq!(report.expired, 1);
    assert_eq!(rig.sweep().await.expired, 0);
    let audited = "SELECT count(*) FROM audit_events WHERE action = 'session.expired'";
    assert_eq!(rig.owner.query_one(audited, &[]).await.unwrap().get::<_, i64>(0), 1);
    assert!(rig.lives(living.session).await);
}

async fn the_sweep_writes_back_at_once_what_it_has_rebuilt(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "device").await;
    rig.pass(200);
    vandal::forget(&redis, &customer).await;
    let report = rig.sweep().await;
    assert_eq!((report.rebuilt, report.renewed, report.expired), (1, 1, 0));
    let due = rig.owner.query_one("SELECT expires_at FROM sessions", &[]).await.unwrap();
    assert_eq!(due.get::<_, platform::domain::Timestamp>(0) - seat.expires_at, chrono::TimeDelta::seconds(200));
}

async fn a_seat_found_again_is_recorded_as_late_as_its_holder_is_told(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(1)).await;
    let ask = async || rig.apply(&customer, application("device", Some("request-1"))).await;
    let Acquired::Granted(first) = ask().await else { panic!("a seat is free") };
    rig.pass(245);
    // The function died before it answered, and the same request comes again.
    let Acquired::Granted(again) = ask().await else { panic!("it is the request's session still") };
    assert_eq!(again.session, first.session);
    let due = rig.owner.query_one("SELECT expires_at FROM sessions", &[]).await.unwrap();
    assert_eq!(due.get::<_, platform::domain::Timestamp>(0), again.expires_at);
    // Whatever Redis forgets of this renewal, its holder lives on.
    vandal::forget(&redis, &customer).await;
    rig.pass(150);
    assert!(rig.lives(again.session).await);
}

async fn a_license_that_cannot_be_settled_holds_up_nobody_elses_sweep(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let (stuck, other) = (rig.database.customer(policy(3)).await, rig.database.customer(policy(3)).await);
    rig.seat(&stuck, "device-1").await;
    rig.seat(&other, "device-1").await;
    rig.pass(400);
    vandal::forget(&redis, &stuck).await;
    vandal::lock(&redis, &stuck).await;
    assert_eq!(rig.sweep().await.expired, 1);
    assert_eq!(rig.open_sessions().await, 1);
}

async fn calls_that_come_together_are_answered_each_for_itself(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let (many, few) = (rig.database.customer(policy(40)).await, rig.database.customer(policy(2)).await);
    let asked = (0..40).map(|n| (&many, n)).chain((0..4).map(|n| (&few, n)));
    let answers = join_all(asked.map(async |(customer, n)| rig.acquire(customer, &format!("device-{n}")).await)).await;
    let seats: Vec<_> = answers.iter().filter_map(|answer| if let Acquired::Granted(seat) = answer { Some(seat) } else { None }).collect();
    let of = |customer: &Customer| {
        let mut numbers: Vec<u32> = seats.iter().filter(|seat| seat.license.id == customer.license).map(|seat| seat.number.get()).collect();
        numbers.sort_unstable();
        numbers
    };
    assert_eq!((of(&many), of(&few)), ((1..=40).collect(), vec![1, 2]));

    // One of the sessions is over, and one never was: the others of the same calls do not notice.
    let over = seats[7].session;
    rig.release(over).await;
    let never = SessionId { license: many.license, key: SessionKey::random() };
    let sessions: Vec<SessionId> = seats.iter().map(|seat| seat.session).chain([never]).collect();
    let beats = join_all(sessions.iter().map(async |session| rig.beat(*session).await)).await;
    for (session, beat) in sessions.iter().zip(beats) {
        match beat {
            Heartbeat::Ended(EndReason::Released) => assert_eq!(*session, over),
            Heartbeat::Unknown => assert_eq!(*session, never),
            Heartbeat::Renewed(renewal) => {
                let expected = if session.license == few.license { (2, 2) } else { (39, 40) };
                assert_eq!((renewal.seats_used, renewal.seats_total), expected);
            }
            Heartbeat::Refused { .. } | Heartbeat::Ended(_) => panic!("{beat:?}"),
        }
    }

    // A key of one license with the route of another opens nothing, nor do two releases of one session disturb each other.
    let crossed = SessionId { license: few.license, key: seats[0].session.key };
    let asked = [sessions[0], sessions[0], crossed, never].map(async |session| rig.release(session).await);
    let [one, two, crossed, never] = join_all(asked).await.try_into().unwrap();
    assert!(one.is_some() && two.is_some() && crossed.is_none() && never.is_none());
    assert_eq!(rig.open_sessions().await, 40);
}

async fn a_session_that_never_was_is_told_from_one_that_ended(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let stranger = SessionId { license: customer.license, key: SessionKey::random() };
    assert!(matches!(rig.beat(stranger).await, Heartbeat::Unknown));
    assert!(rig.release(stranger).await.is_none());
    let nowhere = SessionId { license: platform::domain::LicenseId::random(), key: SessionKey::random() };
    assert!(matches!(rig.beat(nowhere).await, Heartbeat::Unknown));
    assert!(rig.release(nowhere).await.is_none());
    let seat = rig.seat(&customer, "device").await;
    let revoke = "UPDATE sessions SET ended_at = now(), ended_reason = 'revoked' WHERE id = $1";
    rig.owner.execute(revoke, &[&seat.session.key.as_uuid()]).await.unwrap();
    rig.release(seat.session).await;
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Ended(EndReason::Revoked)));
}

async fn overage_is_granted_and_flagged(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let mut generous = policy(1);
    generous.overage = 1;
    let customer = rig.database.customer(generous).await;
    assert!(!rig.seat(&customer, "one").await.occupancy.is_overage());
    assert!(rig.seat(&customer, "two").await.occupancy.is_overage());
    assert!(matches!(rig.acquire(&customer, "three").await, Acquired::Full { .. }));
}

async fn fewer_seats_grant_nothing_new_and_throw_nobody_out(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(3)).await;
    let one = rig.seat(&customer, "one").await;
    let two = rig.seat(&customer, "two").await;
    let three = rig.seat(&customer, "three").await;
    rig.owner.execute("UPDATE licenses SET seats_total = 2, version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    assert!(rig.lives(three.session).await);
    rig.release(one.session).await;
    assert!(matches!(rig.acquire(&customer, "four").await, Acquired::Full { .. }));
    rig.release(two.session).await;
    assert!(matches!(rig.acquire(&customer, "four").await, Acquired::Granted(_)));
    assert!(rig.lives(three.session).await);
}

async fn a_change_of_policy_takes_hold_on_the_next_call_everywhere(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let other = rig.another_engine();
    rig.seat(&customer, "one").await;
    assert!(matches!(other.acquire(&customer.key, applicant("two")).await.unwrap().outcome(), Some(Acquired::Full { .. })));
    rig.owner.execute("UPDATE licenses SET seats_total = 2, version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    assert!(matches!(other.acquire(&customer.key, applicant("two")).await.unwrap().outcome(), Some(Acquired::Granted(_))));
    let Some(Inspected::Usable(license, occupancy)) = other.inspect(&customer.key, None, &[0; 16]).await.unwrap().outcome() else {
        panic!("it is usable")
    };
    assert_eq!((license.version, occupancy.used, occupancy.total), (2, 2, 2));
}

async fn a_change_that_nobody_told_redis_takes_hold_within_ten_seconds(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.owner.execute("UPDATE tenants SET status = 'suspended'", &[]).await.unwrap();
    assert!(rig.lives(seat.session).await, "nobody has told Redis yet");
    rig.pass(10);
    rig.beat(seat.session).await;
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Refused { why: Refusal::TenantSuspended, .. }));
}

async fn a_suspended_license_refuses_and_says_until_when(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.owner.execute("UPDATE licenses SET status = 'suspended', version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    rig.pass(60);
    let Heartbeat::Refused { why, stop_by } = rig.beat(seat.session).await else { panic!("it is suspended") };
    assert_eq!((why, stop_by), (Refusal::Suspended, seat.expires_at));
    assert!(matches!(rig.acquire(&customer, "two").await, Acquired::Refused(Refusal::Suspended)));
    assert!(matches!(rig.inspect(&customer).await, Inspected::Refused(Refusal::Suspended)));
}

async fn an_expired_license_refuses_heartbeats(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let mut short = policy(1);
    short.expires_at = Some(platform::domain::Clock::now(&*rig.clock) + Duration::from_secs(100));
    let customer = rig.database.customer(short).await;
    let seat = rig.seat(&customer, "one").await;
    rig.pass(99);
    assert!(rig.lives(seat.session).await);
    rig.pass(1);
    assert!(matches!(rig.beat(seat.session).await, Heartbeat::Refused { why: Refusal::Expired, .. }));
    assert!(matches!(rig.acquire(&customer, "one").await, Acquired::Refused(Refusal::Expired)));
}

async fn a_process_seat_is_told_apart_by_its_idempotency_key(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let mut by_process = policy(3);
    by_process.seat_unit = SeatUnit::Process;
    let customer = rig.database.customer(by_process).await;
    let first = rig.apply(&customer, application("device", Some("process-one"))).await;
    let second = rig.apply(&customer, application("device", Some("process-two"))).await;
    let third = rig.apply(&customer, application("device", None)).await;
    for acquired in [first, second, third] {
        assert!(matches!(acquired, Acquired::Granted(_)));
    }
    assert!(matches!(rig.acquire(&customer, "device").await, Acquired::Full { .. }));
}

async fn the_same_request_is_replayed_and_another_one_is_refused(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(3)).await;
    let key = platform::domain::IdempotencyKey::parse("request-1").unwrap();
    let ask = async |device: &str| rig.apply(&customer, application(device, Some("request-1"))).await;
    let Acquired::Granted(seat) = ask("device").await else { panic!("a seat is free") };
    assert!(matches!(ask("device").await, Acquired::InFlight));
    rig.engine.remember(&key, &seat, b"the answer").await;
    let Acquired::Replayed { answer, is_shared } = ask("device").await else { panic!("it was answered") };
    assert_eq!((&answer[..], is_shared), (&b"the answer"[..], false));
    assert!(matches!(ask("another").await, Acquired::KeyReused));
    rig.release(seat.session).await;
    let Acquired::Granted(later) = ask("device").await else { panic!("the session has ended, so the key is free") };
    assert_ne!(later.session, seat.session);
    // A function that died over a request does not block it for ever.
    rig.pass(11);
    let Acquired::Granted(resumed) = ask("device").await else { panic!("it is the request's session still") };
    assert_eq!(resumed.session, later.session);
}

async fn two_containers_race_for_seats_and_none_is_given_twice(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(10)).await;
    let engines = [rig.another_engine(), rig.another_engine()];
    let mut crowd = tokio::task::JoinSet::new();
    for number in 0..40 {
        let (engine, key) = (std::sync::Arc::clone(&engines[number % 2]), customer.key.clone());
        crowd.spawn(async move { engine.acquire(&key, applicant(&format!("device-{number}"))).await.unwrap().outcome().unwrap() });
    }
    let outcomes = crowd.join_all().await;
    let mut seats: Vec<u32> =
        outcomes.iter().filter_map(|o| if let Acquired::Granted(seat) = o { Some(seat.number.get()) } else { None }).collect();
    seats.sort_unstable();
    assert_eq!(seats, (1..=10).collect::<Vec<_>>());
    assert_eq!(rig.open_sessions().await, 10);
}

async fn a_seat_that_is_taken_at_the_same_moment_costs_nobody_else_of_the_commit_anything(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(30)).await;
    let seat = async |name: String| rig.seat(&customer, &name).await;
    let old = join_all((1..=10).map(|number| seat(format!("old-{number}")))).await;
    // A container that knows of another Redis, say, is about to commit a session on the number that Redis gives out next.
    let other = rig.database.owner().await;
    let sit = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at)
               VALUES (gen_random_uuid(), $1, $2, 11, '\\x01', 'other', 'user@test.example', $3, $3::timestamptz + interval '6 minutes')";
    other.batch_execute("BEGIN").await.unwrap();
    other.execute(sit, &[&customer.tenant.as_uuid(), &customer.license.as_uuid(), &rig.clock.now()]).await.unwrap();
    let acquired = join_all((1..=10).map(|number| seat(format!("new-{number}"))));
    let released = join_all(old.iter().map(|seat| rig.release(seat.session)));
    let waits = "SELECT count(*) > 0 FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE NOT granted AND datname = current_database()";
    let commit = async {
        eventually("somebody waits for that number", async || rig.owner.query_one(waits, &[]).await.unwrap().get(0)).await;
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (acquired, released, ()) = tokio::join!(acquired, released, commit);
    assert!(released.iter().all(Option::is_some));
    let seats: HashSet<u32> = acquired.iter().map(|seat| seat.number.get()).collect();
    assert!(seats.len() == 10 && !seats.contains(&11), "{seats:?}");
    assert_eq!(rig.open_sessions().await, 11);
}

async fn a_tenant_whose_record_is_locked_holds_up_no_other(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let (locked, free) = (rig.database.customer(policy(10)).await, rig.database.customer(policy(40)).await);
    let stuck = join_all((0..4).map(async |number| rig.seat(&locked, &format!("device-{number}")).await)).await;
    let old = join_all((0..8).map(async |number| rig.seat(&free, &format!("old-{number}")).await)).await;
    // Somebody looks at the sessions of one tenant by hand, and has forgotten to commit.
    let other = rig.database.owner().await;
    other.batch_execute("BEGIN").await.unwrap();
    other.execute("SELECT FROM sessions WHERE license_id = $1 FOR UPDATE", &[&locked.license.as_uuid()]).await.unwrap();
    let of_locked = join_all(stuck.iter().map(async |seat| rig.release(seat.session).await));
    // All that the others ask for is done before the lock is given back.
    let of_free = async {
        for (number, seat) in old.iter().enumerate() {
            let device = format!("new-{number}");
            let (released, acquired) = tokio::join!(rig.release(seat.session), rig.seat(&free, &device));
            assert!(released.is_some() && acquired.license.id == free.license);
        }
        other.batch_execute("COMMIT").await.unwrap();
    };
    let (of_locked, ()) = tokio::join!(of_locked, of_free);
    assert!(of_locked.iter().all(Option::is_some));
    assert_eq!(rig.open_sessions().await, 8);
    // Each is in its own tenant's audit log.
    let audited = "SELECT count(*) FILTER (WHERE action = 'session.acquired'), count(*) FILTER (WHERE action = 'session.released')
                   FROM audit_events WHERE tenant_id = $1 AND license_id = $2";
    for (customer, events) in [(&locked, (4, 4)), (&free, (16, 8))] {
        let row = rig.owner.query_one(audited, &[&customer.tenant.as_uuid(), &customer.license.as_uuid()]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), events);
    }
}

async fn looking_takes_no_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    rig.seat(&customer, "one").await;
    let Inspected::Usable(license, occupancy) = rig.inspect(&customer).await else { panic!("it is usable") };
    assert_eq!((license.id, occupancy.used, occupancy.total), (customer.license, 1, 2));
    assert!(matches!(
        rig.engine.inspect(&platform::domain::LicenseKey::generate(), None, &[0; 16]).await.unwrap().outcome(),
        Some(Inspected::Unknown)
    ));
}

async fn usage_is_counted(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.beat(seat.session).await;
    rig.acquire(&customer, "two").await;
    if redis.redis_url.expose().contains(',') {
        return; // The page of counters is read below on a single server; the script that counts is the same.
    }
    let mut link = vandal::connection().await;
    let usage: std::collections::HashMap<String, i64> =
        redis::cmd("HGETALL").arg(format!("{{{}}}:usage", customer.license)).query_async(&mut link).await.unwrap();
    let hour = platform::domain::Clock::now(&*rig.clock).timestamp() / 3600;
    for counter in ["acquired", "denied", "heartbeats", "peak"] {
        assert_eq!(usage[&format!("{hour}:{counter}")], 1, "{counter}");
    }
}
