//! `roll-up-usage`: whatever happens to Redis or the worker, nothing is counted twice and nothing becomes less.

use std::time::Duration;

use futures_util::future::join_all;
use jobs::{
    job::Counts,
    order,
    perform::{Outcome, perform},
};
use platform::{
    domain::{Clock, Timestamp, from_millis},
    seats::Acquired,
};
use serde_json::Map;
use testkit::{Customer, cluster_settings, policy};

use crate::{rig::Rig, vandal};

const HOUR: i64 = 3_600_000;

/// A clock that stands at ten minutes past an hour.
async fn rig() -> Rig {
    at_ten_past(Rig::new().await)
}

fn at_ten_past(rig: Rig) -> Rig {
    rig.clock.set(from_millis((rig.clock.now().timestamp_millis() / HOUR + 1) * HOUR + 600_000));
    rig
}

fn pass(rig: &Rig, minutes: u64) {
    rig.clock.advance(Duration::from_secs(60 * minutes));
}

fn hour(rig: &Rig) -> i64 {
    rig.clock.now().timestamp_millis() / HOUR
}

fn count(counts: &Counts, name: &str) -> u64 {
    counts.iter().find(|(known, _)| *known == name).unwrap().1
}

/// Acquired, denied, heartbeats and peak of a license, hour by hour.
async fn written(rig: &Rig, customer: &Customer) -> Vec<(i64, [i64; 4])> {
    let sql = "SELECT hour, acquired, denied, heartbeats, peak::bigint FROM usage_hourly WHERE license_id = $1 ORDER BY hour";
    let rows = rig.owner.query(sql, &[&customer.license.as_uuid()]).await.unwrap();
    let hour = |row: &tokio_postgres::Row| row.get::<_, Timestamp>(0).timestamp_millis() / HOUR;
    rows.iter().map(|row| (hour(row), [1, 2, 3, 4].map(|column| row.get(column)))).collect()
}

/// Acquired, heartbeats, peak, sixths of a seat hour and devices of a license or tenant, by a span and when it began.
async fn totals(rig: &Rig, subject: uuid::Uuid, span: &str) -> Vec<(i64, [i64; 3], i64, i64)> {
    let sql = "SELECT starts_at, acquired, heartbeats, peak, round(seat_seconds / 600)::bigint, devices FROM usage_totals
               WHERE subject_id = $1 AND span = $2 ORDER BY starts_at";
    let rows = rig.owner.query(sql, &[&subject, &span]).await.unwrap();
    let of = |row: &tokio_postgres::Row| {
        (row.get::<_, Timestamp>(0).timestamp_millis() / HOUR, [1, 2, 3].map(|column| row.get(column)), row.get(4), row.get(5))
    };
    rows.iter().map(of).collect()
}

/// Three seats taken, one application denied, two beats.
async fn busy(rig: &Rig) -> Customer {
    let customer = rig.database.customer(policy(3)).await;
    for device in ["a", "b", "c"] {
        let seat = rig.seat(&customer, device).await;
        if device != "a" {
            rig.context.engine.heartbeat(seat.session).await.unwrap();
        }
    }
    assert!(matches!(rig.acquire(&customer, "d").await, Acquired::Full { .. }));
    customer
}

#[tokio::test]
async fn what_redis_has_counted_is_written_down_however_often_and_by_however_many() {
    let rig = rig().await;
    let (customer, began) = (busy(&rig).await, hour(&rig));
    let would = rig.rehearse("roll-up-usage").await;
    assert_eq!((count(&would, "licenses"), count(&would, "hours_written")), (1, 1));
    assert_eq!(written(&rig, &customer).await, []);
    assert_eq!(rig.rehearse("roll-up-usage").await, would);

    assert_eq!(rig.counts("roll-up-usage").await, would);
    assert_eq!(written(&rig, &customer).await, [(began, [3, 1, 2, 3])]);
    assert_eq!(count(&rig.counts("roll-up-usage").await, "hours_written"), 0);

    // The same slot is one run; runs by hand at once are many, and one number.
    let seat = rig.seat(&customer, "a").await;
    rig.context.engine.heartbeat(seat.session).await.unwrap();
    let workers: Vec<_> = (0..4).map(|_| rig.another()).collect();
    let job = order::job("roll-up-usage").unwrap();
    let came = join_all(workers.iter().map(|context| perform(context, job, None, Map::new()))).await;
    let sum: u64 =
        came.into_iter().map(|came| if let Outcome::Done(counts) = came.unwrap() { count(&counts, "hours_written") } else { 0 }).sum();
    assert_eq!((sum, written(&rig, &customer).await), (1, vec![(began, [3, 1, 3, 3])]));
    assert!(matches!(rig.run("roll-up-usage", Some("slot")).await.unwrap(), Outcome::Done(_)));
    assert_eq!(rig.run("roll-up-usage", Some("slot")).await.unwrap(), Outcome::DoneBefore);
}

#[tokio::test]
async fn sessions_that_share_a_seat_count_once() {
    let rig = rig().await;
    let customer = rig.database.customer(policy(3)).await;
    let engine = &rig.context.engine;
    let first = rig.seat(&customer, "a").await;
    pass(&rig, 4);
    engine.heartbeat(first.session).await.unwrap();
    let second = rig.seat(&customer, "a").await;
    assert_eq!((first.number, second.is_shared), (second.number, true));
    pass(&rig, 4);
    engine.heartbeat(second.session).await.unwrap();
    engine.release(first.session).await.unwrap();
    pass(&rig, 4);
    engine.release(second.session).await.unwrap();
    rig.counts("roll-up-usage").await;
    let total = "SELECT acquired, peak, seat_seconds::bigint, devices FROM usage_totals WHERE subject_id = $1 AND span = $2";
    for (subject, span) in [(customer.license.as_uuid(), "hour"), (customer.tenant.as_uuid(), "day")] {
        let row = rig.owner.query_one(total, &[&subject, &span]).await.unwrap();
        assert_eq!([0, 1, 2, 3].map(|column| row.get::<_, i64>(column)), [1, 1, 720, 1], "{span}");
    }
}

#[tokio::test]
async fn a_wiped_redis_or_an_older_copy_of_it_neither_lessens_nor_doubles_a_number() {
    let rig = rig().await;
    let (customer, mut redis, began) = (busy(&rig).await, vandal::connection().await, hour(&rig));
    let before = vandal::copy(&mut redis, &customer).await;
    let seat = rig.seat(&customer, "a").await;
    for _ in 0..5 {
        rig.context.engine.heartbeat(seat.session).await.unwrap();
    }
    rig.counts("roll-up-usage").await;
    assert_eq!(written(&rig, &customer).await, [(began, [3, 1, 7, 3])]);

    vandal::restore(&mut redis, &customer, &before).await;
    assert_eq!(count(&rig.counts("roll-up-usage").await, "hours_written"), 0);
    vandal::wipe(&mut redis, &customer).await;
    rig.counts("roll-up-usage").await;
    rig.context.engine.heartbeat(seat.session).await.unwrap();
    rig.counts("roll-up-usage").await;
    assert_eq!(written(&rig, &customer).await, [(began, [3, 1, 7, 3])]);

    // Next hour, and the copy of the last one comes back after its counters were taken out.
    pass(&rig, 8 * 60);
    assert!(count(&rig.counts("roll-up-usage").await, "counters_forgotten") > 0);
    vandal::restore(&mut redis, &customer, &before).await;
    let counts = rig.counts("roll-up-usage").await;
    assert_eq!((count(&counts, "hours_written"), count(&counts, "counters_forgotten")), (0, 4));
    assert_eq!(written(&rig, &customer).await, [(began, [3, 1, 7, 3])]);
}

#[tokio::test]
async fn a_counter_leaves_redis_hours_after_its_hour_and_only_if_the_record_has_it() {
    let rig = rig().await;
    let (customer, mut redis, began) = (busy(&rig).await, vandal::connection().await, hour(&rig));
    let usage = format!("{{{}}}:usage", customer.license);
    pass(&rig, 60 * 6);
    rig.counts("roll-up-usage").await;
    assert_eq!(vandal::fields(&mut redis, &usage).await.len(), 4);
    // Not of a known kind, or no number: neither is in the way of the others.
    vandal::set(&mut redis, &usage, &format!("{began}:sparks"), "7").await;
    vandal::set(&mut redis, &usage, &format!("{began}:overage"), "many").await;
    pass(&rig, 60);
    let would = rig.rehearse("roll-up-usage").await;
    assert_eq!((count(&would, "counters_forgotten"), vandal::fields(&mut redis, &usage).await.len()), (4, 6));
    rig.counts("roll-up-usage").await;
    assert_eq!(vandal::fields(&mut redis, &usage).await, [(format!("{began}:sparks"), "7".to_owned())]);

    // The record cannot be written: nothing is taken out, and the next run does both.
    vandal::set(&mut redis, &usage, &format!("{began}:denied"), "9").await;
    rig.owner.batch_execute("REVOKE INSERT, UPDATE ON usage_hourly FROM coditect_jobs").await.unwrap();
    assert!(rig.run("roll-up-usage", Some("slot")).await.is_err());
    assert_eq!(vandal::fields(&mut redis, &usage).await.len(), 2);
    rig.owner.batch_execute("GRANT INSERT, UPDATE ON usage_hourly TO coditect_jobs").await.unwrap();
    assert!(matches!(rig.run("roll-up-usage", Some("slot")).await.unwrap(), Outcome::Done(_)));
    assert_eq!(written(&rig, &customer).await, [(began, [3, 9, 2, 3])]);
    assert_eq!(vandal::fields(&mut redis, &usage).await.len(), 1);
}

#[tokio::test]
async fn every_hour_that_somebody_sat_in_is_totaled_when_it_is_over_even_after_runs_were_skipped() {
    let rig = rig().await;
    let mut lasting = policy(3);
    lasting.session_ttl = Duration::from_secs(86_400);
    let (customer, began) = (rig.database.customer(lasting).await, hour(&rig));
    let seat = rig.seat(&customer, "a").await;
    rig.counts("roll-up-usage").await;
    // Four hours without a heartbeat and without the job; then it ends, ten minutes past the hour.
    pass(&rig, 4 * 60);
    rig.context.engine.release(seat.session).await.unwrap();
    pass(&rig, 60);
    let closed = "SELECT extract(epoch FROM closed_until)::bigint FROM usage_closing";
    let before = rig.number(closed).await;
    let would = rig.rehearse("roll-up-usage").await;
    assert_eq!(rig.number(closed).await, before);
    assert_eq!((count(&would, "hours_totaled"), rig.counts("roll-up-usage").await), (5, would));

    let hours = totals(&rig, customer.license.as_uuid(), "hour").await;
    let seat_hours: Vec<(i64, i64)> = hours.iter().map(|(at, _, hours, _)| (at - began, *hours)).collect();
    assert_eq!(seat_hours, [(0, 5), (1, 6), (2, 6), (3, 6), (4, 1)]);
    assert_eq!(totals(&rig, customer.tenant.as_uuid(), "hour").await, hours);
    let days = totals(&rig, customer.tenant.as_uuid(), "day").await;
    assert_eq!(days.iter().map(|(_, [acquired, ..], _, _)| acquired).sum::<i64>(), 1);
    assert_eq!(days.iter().map(|(_, _, hours, _)| hours).sum::<i64>(), 24);
    assert_eq!(count(&rig.counts("roll-up-usage").await, "hours_totaled"), 0);
}

#[tokio::test]
async fn on_a_cluster_it_goes_license_by_license_and_the_numbers_are_the_same() {
    let rig = at_ten_past(Rig::on(cluster_settings()).await);
    let customers = [busy(&rig).await, busy(&rig).await, busy(&rig).await];
    let began = hour(&rig);
    assert_eq!(count(&rig.counts("roll-up-usage").await, "hours_written"), 3);
    for customer in &customers {
        assert_eq!(written(&rig, customer).await, [(began, [3, 1, 2, 3])]);
    }
    pass(&rig, 8 * 60);
    assert_eq!(count(&rig.counts("roll-up-usage").await, "counters_forgotten"), 12);
}
