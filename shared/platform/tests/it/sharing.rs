//! Several sessions on the seat of one device: on a single Redis and on a three-node cluster.

use std::sync::Arc;

use futures_util::future::join_all;
use platform::{
    domain::{EndReason, HardwareId, Holder, SeatUnit, SessionId, SessionKey},
    seats::{Acquired, Applicant, Heartbeat, RedisSettings, Seat},
};
use testkit::{Customer, policy};

use crate::rig::{Rig, applicant, application, on_both, vandal};

on_both! {
    second_acquire_of_a_device_shares_its_seat
    release_of_one_session_keeps_the_shared_seat
    expiry_of_one_session_keeps_the_shared_seat
    replaced_session_is_released_though_all_seats_are_taken
    replacement_of_a_strange_session_is_ignored
    process_that_replaces_takes_over_the_seat
    replacement_after_redis_lost_the_session_gets_its_seat
    shared_seat_survives_a_flush_of_redis
    seat_with_a_thousand_sessions_takes_no_further_one
    first_acquires_at_the_same_moment_share_one_seat
    session_added_while_the_other_ends_keeps_the_seat
    zombies_on_many_shared_seats_deny_nobody
    seat_that_an_older_version_freed_is_not_given_twice
    grant_that_nobody_finished_is_shared_and_leaves_the_record_whole
    full_license_names_the_last_expiry_of_a_shared_seat
    seat_that_redis_alone_has_is_refused_where_the_record_is_full
}

async fn shared(rig: &Rig, customer: &Customer, device: &str) -> Seat {
    match rig.acquire(customer, device).await {
        Acquired::Shared(seat) => seat,
        other => panic!("not shared: {other:?}"),
    }
}

async fn granted(rig: &Rig, customer: &Customer, device: &str) -> Seat {
    match rig.acquire(customer, device).await {
        Acquired::Granted(seat) => seat,
        other => panic!("not granted: {other:?}"),
    }
}

fn replacing(device: &str, session: SessionId) -> Applicant {
    applicant(device).replacing(Some(session))
}

fn device_holder(device: &str) -> Holder {
    Holder::device(&HardwareId::parse(device).unwrap())
}

async fn is_full(rig: &Rig, customer: &Customer, device: &str) -> bool {
    matches!(rig.acquire(customer, device).await, Acquired::Full { .. })
}

async fn second_acquire_of_a_device_shares_its_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let first = granted(&rig, &customer, "one").await;
    rig.pass(100);
    let second = shared(&rig, &customer, "one").await;
    assert_ne!(first.session, second.session);
    assert_eq!((first.number, second.number), (second.number, first.number));
    assert_eq!((second.is_shared, second.occupancy.used), (true, 1));
    assert_eq!(granted(&rig, &customer, "two").await.occupancy.used, 2);
    assert!(is_full(&rig, &customer, "three").await);
    assert_eq!((rig.open_sessions().await, rig.unguarded_sessions().await), (3, 0));
    let Heartbeat::Renewed(renewal) = rig.beat(first.session).await else { panic!("it lives") };
    assert_eq!((renewal.seats_used, renewal.seats_total), (2, 2));
}

async fn release_of_one_session_keeps_the_shared_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    for leaves_first in [0, 1, 2] {
        let first = granted(&rig, &customer, "device").await;
        let second = shared(&rig, &customer, "device").await;
        let third = shared(&rig, &customer, "device").await;
        let mut sessions = vec![first.session, second.session, third.session];
        while sessions.len() > 1 {
            let gone = sessions.remove(leaves_first % sessions.len());
            assert_eq!(rig.release(gone).await.unwrap().seats_used, 1);
            assert!(matches!(rig.beat(gone).await, Heartbeat::Ended(EndReason::Released)));
            for session in &sessions {
                assert!(rig.lives(*session).await);
            }
            assert!(is_full(&rig, &customer, "other").await);
            assert_eq!(rig.unguarded_sessions().await, 0);
        }
        assert_eq!(rig.release(sessions[0]).await.unwrap().seats_used, 0);
        let other = granted(&rig, &customer, "other").await;
        assert_eq!(rig.release(other.session).await.unwrap().seats_used, 0);
    }
}

async fn expiry_of_one_session_keeps_the_shared_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let silent = granted(&rig, &customer, "device").await;
    let beating = shared(&rig, &customer, "device").await;
    for _ in 0..13 {
        rig.pass(30);
        rig.sweep().await;
        assert!(rig.lives(beating.session).await);
    }
    assert!(matches!(rig.beat(silent.session).await, Heartbeat::Ended(EndReason::Expired)));
    assert_eq!((rig.open_sessions().await, rig.unguarded_sessions().await), (1, 0));
    assert!(is_full(&rig, &customer, "other").await);
    rig.pass(400);
    assert_eq!(granted(&rig, &customer, "other").await.number, beating.number);
    assert_eq!(rig.open_sessions().await, 1);
}

async fn replaced_session_is_released_though_all_seats_are_taken(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let mut seat = granted(&rig, &customer, "one").await;
    granted(&rig, &customer, "two").await;
    for _ in 0..3 {
        rig.pass(20);
        let before = seat;
        let Acquired::Shared(after) = rig.apply(&customer, replacing("one", before.session)).await else { panic!("it has a seat") };
        assert_eq!((after.number, after.occupancy.used), (before.number, 2));
        assert!(matches!(rig.beat(before.session).await, Heartbeat::Ended(EndReason::Released)));
        assert!(rig.lives(after.session).await);
        assert_eq!((rig.open_sessions().await, rig.unguarded_sessions().await), (2, 0));
        seat = after;
    }
    let audited = "SELECT details->>'user_email', details->>'replaced_by' FROM audit_events
                   WHERE action = 'session.released' ORDER BY at DESC, id DESC LIMIT 1";
    let row = rig.owner.query_one(audited, &[]).await.unwrap();
    assert_eq!(row.get::<_, &str>(0), "user@test.example");
    let name: platform::domain::SessionRef = row.get::<_, &str>(1).parse().unwrap();
    assert!(name.is_of(seat.session.key));
    rig.release(seat.session).await;
    assert_eq!(granted(&rig, &customer, "three").await.number, seat.number);
}

async fn replacement_of_a_strange_session_is_ignored(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    let elsewhere = rig.database.customer(policy(1)).await;
    let other = granted(&rig, &customer, "other").await;
    let of_another_license = granted(&rig, &elsewhere, "one").await;
    let released = granted(&rig, &customer, "one").await;
    rig.release(released.session).await;
    let invented = SessionId { license: customer.license, key: SessionKey::random() };
    for session in [other.session, of_another_license.session, released.session, invented] {
        let Acquired::Granted(seat) = rig.apply(&customer, replacing("one", session)).await else { panic!("a seat is free") };
        assert!(rig.lives(other.session).await && rig.lives(of_another_license.session).await);
        rig.release(seat.session).await;
    }
}

async fn process_that_replaces_takes_over_the_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let mut by_process = policy(1);
    by_process.seat_unit = SeatUnit::Process;
    let customer = rig.database.customer(by_process).await;
    let first = granted(&rig, &customer, "device").await;
    assert!(is_full(&rig, &customer, "device").await);
    let Acquired::Shared(second) = rig.apply(&customer, replacing("device", first.session)).await else { panic!("it takes over") };
    assert_eq!((second.number, rig.open_sessions().await), (first.number, 1));
    assert!(matches!(rig.beat(first.session).await, Heartbeat::Ended(EndReason::Released)));
    let Acquired::Shared(third) = rig.apply(&customer, replacing("another", second.session)).await else { panic!("it takes over") };
    assert_eq!(rig.release(third.session).await.unwrap().seats_used, 0);
}

async fn replacement_after_redis_lost_the_session_gets_its_seat(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = granted(&rig, &customer, "one").await;
    // Redis as an older copy has it: with a session on the seat that has ended since.
    let ended = SessionKey::random();
    vandal::seat(&redis, &customer, ended, 1, &[7; 16], rig.millis() + 360_000).await;
    vandal::unseat(&redis, &customer, seat.session.key, device_holder("one").as_bytes()).await;
    let Acquired::Shared(after) = rig.apply(&customer, replacing("one", seat.session)).await else { panic!("it has a seat") };
    assert!(rig.lives(after.session).await);
    assert_eq!((rig.open_sessions().await, rig.unguarded_sessions().await), (1, 0));
}

async fn shared_seat_survives_a_flush_of_redis(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(1)).await;
    let first = granted(&rig, &customer, "device").await;
    let second = shared(&rig, &customer, "device").await;
    vandal::forget(&redis, &customer).await;
    assert!(rig.lives(first.session).await && rig.lives(second.session).await);
    assert!(is_full(&rig, &customer, "other").await);
    assert_eq!(shared(&rig, &customer, "device").await.number, first.number);
    assert_eq!(rig.release(first.session).await.unwrap().seats_used, 1);
    assert!(rig.lives(second.session).await);
}

async fn seat_with_a_thousand_sessions_takes_no_further_one(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(1)).await;
    let first = granted(&rig, &customer, "device").await;
    let more = "WITH s AS (UPDATE sessions SET shares_given = 998 RETURNING *)
                INSERT INTO sessions (id, tenant_id, license_id, share, seat, holder, hardware_id, user_email, started_at, expires_at)
                SELECT gen_random_uuid(), tenant_id, license_id, n, seat, holder, hardware_id, user_email, started_at, expires_at
                FROM s, generate_series(1, 998) n";
    rig.owner.execute(more, &[]).await.unwrap();
    vandal::forget(&redis, &customer).await;
    rig.pass(60);
    let last = shared(&rig, &customer, "device").await;
    rig.pass(100);
    let Acquired::Crowded { retry_after } = rig.acquire(&customer, "device").await else { panic!("it is crowded") };
    // Sessions that Redis has forgotten live for a whole TTL from when it is reminded of them.
    assert_eq!(retry_after, 260);
    let Acquired::Shared(instead) = rig.apply(&customer, replacing("device", last.session)).await else { panic!("one goes for one") };
    rig.release(instead.session).await;
    assert_eq!(shared(&rig, &customer, "device").await.occupancy.used, 1);
    rig.pass(361);
    let again = granted(&rig, &customer, "device").await;
    assert_eq!((again.number, again.occupancy.used), (first.number, 1));
    assert_eq!(rig.release(again.session).await.unwrap().seats_used, 0);
}

async fn first_acquires_at_the_same_moment_share_one_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(30)).await;
    let engines = [rig.another_engine(), rig.another_engine()];
    let ask = async |engine: &Arc<platform::seats::Engine>, device: String| {
        engine.acquire(&customer.key, applicant(&device)).await.unwrap().outcome().unwrap()
    };
    for round in 0..20 {
        let device = format!("device-{round}");
        let asked = join_all((0..6).map(|n| ask(&engines[n % 2], device.clone()))).await;
        let mut sessions = Vec::new();
        for acquired in asked {
            let (Acquired::Granted(seat) | Acquired::Shared(seat)) = acquired else { panic!("{acquired:?}") };
            sessions.push(seat.session);
        }
        for session in &sessions {
            assert!(rig.lives(*session).await);
        }
        let sql = "SELECT count(DISTINCT id), count(DISTINCT seat), count(DISTINCT holder) FROM sessions WHERE ended_at IS NULL AND hardware_id = $1";
        let row = rig.owner.query_one(sql, &[&device]).await.unwrap();
        assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1), row.get::<_, i64>(2)), (6, 1, 1));
        assert_eq!(rig.unguarded_sessions().await, 0);
    }
}

async fn session_added_while_the_other_ends_keeps_the_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let engine = rig.another_engine();
    let mut seat = granted(&rig, &customer, "device").await;
    for _ in 0..30 {
        let add = engine.acquire(&customer.key, applicant("device"));
        let (added, released) = tokio::join!(add, rig.release(seat.session));
        assert!(released.is_some());
        let added = added.unwrap().outcome().unwrap();
        let (Acquired::Granted(next) | Acquired::Shared(next)) = added else { panic!("{added:?}") };
        assert!(rig.lives(next.session).await);
        assert_eq!((rig.open_sessions().await, rig.unguarded_sessions().await), (1, 0));
        assert!(is_full(&rig, &customer, "other").await);
        seat = next;
    }
    assert_eq!(rig.release(seat.session).await.unwrap().seats_used, 0);
}

async fn zombies_on_many_shared_seats_deny_nobody(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(200)).await;
    let devices: Vec<String> = (0..200).map(|number| format!("device-{number}")).collect();
    for few in devices.chunks(10) {
        for _ in 0..2 {
            join_all(few.iter().map(|device| rig.seat(&customer, device))).await;
        }
    }
    rig.pass(361);
    rig.owner.execute("UPDATE licenses SET seats_total = 1, version = version + 1", &[]).await.unwrap();
    rig.engine.refresh(customer.license).await.unwrap();
    let seat = granted(&rig, &customer, "another").await;
    assert_eq!((seat.number.get(), seat.occupancy.used), (1, 1));
}

async fn seat_that_an_older_version_freed_is_not_given_twice(redis: RedisSettings) {
    let rig = Rig::on(redis.clone()).await;
    let customer = rig.database.customer(policy(2)).await;
    let first = granted(&rig, &customer, "one").await;
    let second = shared(&rig, &customer, "one").await;
    // An older version ends the first: it frees the number, and leaves the list of the holder's sessions as it is.
    let end = "UPDATE sessions SET ended_at = $2, ended_reason = 'released' WHERE id = $1";
    let now = platform::domain::Clock::now(&*rig.clock);
    rig.owner.execute(end, &[&first.session.key.as_uuid(), &now]).await.unwrap();
    vandal::remove_as_before(&redis, &customer, first.session.key, 1).await;
    assert_eq!(rig.unguarded_sessions().await, 0);
    let other = granted(&rig, &customer, "two").await;
    assert_eq!(other.number.get(), 2);
    assert!(rig.lives(second.session).await && rig.lives(other.session).await);
    assert!(is_full(&rig, &customer, "three").await);
    assert_eq!(rig.release(second.session).await.unwrap().seats_used, 1);
}

async fn grant_that_nobody_finished_is_shared_and_leaves_the_record_whole(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(1)).await;
    let half = granted(&rig, &customer, "device").await;
    rig.owner.execute("DELETE FROM sessions", &[]).await.unwrap();
    let seat = shared(&rig, &customer, "device").await;
    assert_eq!(seat.number, half.number);
    assert_eq!((rig.open_sessions().await, rig.unguarded_sessions().await), (1, 0));
    rig.release(seat.session).await;
    // The other half stays for its TTL, and no longer.
    assert!(is_full(&rig, &customer, "other").await);
    rig.pass(361);
    granted(&rig, &customer, "other").await;
}

async fn full_license_names_the_last_expiry_of_a_shared_seat(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let customer = rig.database.customer(policy(2)).await;
    granted(&rig, &customer, "one").await;
    rig.pass(10);
    granted(&rig, &customer, "two").await;
    rig.pass(50);
    shared(&rig, &customer, "one").await;
    let Acquired::Full { retry_after, .. } = rig.acquire(&customer, "three").await else { panic!("it is full") };
    assert_eq!(retry_after, 310);
    shared(&rig, &customer, "two").await;
    let key = application("three", Some("key"));
    let Acquired::Full { retry_after, .. } = rig.apply(&customer, key).await else { panic!("it is full") };
    assert_eq!(retry_after, 360);
}

async fn seat_that_redis_alone_has_is_refused_where_the_record_is_full(redis: RedisSettings) {
    let rig = Rig::on(redis).await;
    let limit = "UPDATE licenses SET seats_total = $2, version = version + 1 WHERE id = $1";
    let end = "UPDATE sessions SET ended_at = $2, ended_reason = 'released' WHERE id = $1";
    // The seat that Redis alone has is beyond the lowered limit, or the one that the record has is.
    for leaver in [1, 0] {
        let customer = rig.database.customer(policy(2)).await;
        let license = customer.license.as_uuid();
        let devices = ["one", "two"];
        let mut seats = Vec::new();
        for device in devices {
            seats.push(granted(&rig, &customer, device).await);
        }
        // A release is cut in half, so that Redis still has the session.
        let now = platform::domain::Clock::now(&*rig.clock);
        let cut = seats[leaver].session;
        rig.owner.execute(end, &[&cut.key.as_uuid(), &now]).await.unwrap();
        rig.owner.execute(limit, &[&license, &1]).await.unwrap();
        rig.engine.refresh(customer.license).await.unwrap();
        assert!(is_full(&rig, &customer, devices[leaver]).await);
        let again = rig.apply(&customer, replacing(devices[leaver], cut)).await;
        assert!(matches!(again, Acquired::Full { .. }), "{again:?}");
        assert!(rig.lives(seats[1 - leaver].session).await);
        rig.owner.execute(limit, &[&license, &2]).await.unwrap();
        rig.engine.refresh(customer.license).await.unwrap();
        let seat = shared(&rig, &customer, devices[leaver]).await;
        assert_eq!((seat.number, seat.occupancy.used), (seats[leaver].number, 2));
        assert_eq!(rig.unguarded_sessions().await, 0);
    }
}
