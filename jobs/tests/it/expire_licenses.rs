//! `expire-licenses`.

use std::time::Duration;

use jobs::{order, perform::perform};
use platform::{
    domain::{Clock, EndReason, Policy, Refusal, SessionId},
    seats::{Acquired, Heartbeat},
};
use serde_json::Map;
use testkit::{Customer, policy};

use crate::rig::Rig;

const DAY: Duration = Duration::from_secs(86_400);
const ENDED: &str = "SELECT count(*) FROM sessions WHERE ended_reason = 'expired'";

async fn customer(rig: &Rig, left: Duration, seats: u32) -> Customer {
    rig.database.customer(Policy { expires_at: Some(rig.clock.now() + left), ..policy(seats) }).await
}

async fn move_end(rig: &Rig, customer: &Customer, left: Duration) {
    let sql = "UPDATE licenses SET expires_at = $2, version = version + 1 WHERE id = $1";
    rig.owner.execute(sql, &[&customer.license.as_uuid(), &(rig.clock.now() + left)]).await.unwrap();
    rig.context.engine.refresh(customer.license).await.unwrap();
}

async fn heartbeat(rig: &Rig, session: SessionId) -> Heartbeat {
    rig.context.engine.heartbeat(session).await.unwrap().outcome().unwrap()
}

async fn events(rig: &Rig, action: &str) -> i64 {
    rig.number(&format!("SELECT count(*) FROM audit_events WHERE action = '{action}'")).await
}

/// How many days ahead there were warnings, in their order.
async fn warnings(rig: &Rig) -> Vec<i32> {
    let sql = "SELECT (details->>'days')::int FROM audit_events WHERE action = 'license.expires_soon' ORDER BY at, id";
    rig.owner.query(sql, &[]).await.unwrap().iter().map(|row| row.get(0)).collect()
}

#[tokio::test]
async fn sessions_of_a_license_that_has_run_out_end_at_the_very_next_call_and_once() {
    let rig = Rig::new().await;
    let (short, long) = (customer(&rig, Duration::from_secs(200), 3).await, customer(&rig, 99 * DAY, 3).await);
    let seats = [rig.seat(&short, "one").await, rig.seat(&short, "two").await];
    let other = rig.seat(&long, "one").await;
    rig.clock.advance(Duration::from_secs(250));

    let would = rig.rehearse("expire-licenses").await;
    assert_eq!(would, [("expired", 1), ("sessions_ended", 2), ("warned", 0)].into());
    assert_eq!((rig.number(ENDED).await, events(&rig, "license.expired").await), (0, 0));
    assert!(
        matches!(heartbeat(&rig, seats[0].session).await, Heartbeat::Refused { why: Refusal::Expired, .. }),
        "the engine goes by the time"
    );

    assert_eq!(rig.counts("expire-licenses").await, would);
    for seat in &seats {
        assert!(matches!(heartbeat(&rig, seat.session).await, Heartbeat::Ended(EndReason::Expired)));
    }
    assert!(matches!(heartbeat(&rig, other.session).await, Heartbeat::Renewed(_)));
    assert!(matches!(rig.acquire(&short, "one").await, Acquired::Refused(Refusal::Expired)));
    assert_eq!((rig.number(ENDED).await, events(&rig, "license.expired").await, events(&rig, "session.expired").await), (2, 1, 2));
    assert_eq!(rig.number("SELECT count(*) FROM licenses WHERE expired_at >= expires_at AND settled_for = expires_at").await, 1);
    assert_eq!(rig.counts("expire-licenses").await, [("expired", 0), ("sessions_ended", 0), ("warned", 0)].into());
}

#[tokio::test]
async fn a_license_whose_end_was_moved_is_not_expired_and_one_that_was_bought_again_gives_seats_again() {
    let rig = Rig::new().await;
    let [moved, again] = [customer(&rig, Duration::from_secs(200), 1).await, customer(&rig, Duration::from_secs(200), 1).await];
    let (kept, lost) = (rig.seat(&moved, "one").await, rig.seat(&again, "one").await);
    rig.clock.advance(Duration::from_secs(195));
    move_end(&rig, &moved, 90 * DAY).await;
    rig.clock.advance(Duration::from_secs(60));
    assert_eq!(rig.counts("expire-licenses").await, [("expired", 1), ("sessions_ended", 1), ("warned", 0)].into());
    assert!(matches!(heartbeat(&rig, kept.session).await, Heartbeat::Renewed(_)));

    move_end(&rig, &again, 90 * DAY).await;
    assert!(matches!(heartbeat(&rig, lost.session).await, Heartbeat::Ended(EndReason::Expired)), "what is over does not come back");
    let seat = rig.seat(&again, "two").await;
    assert_eq!((seat.number.get(), seat.occupancy.used), (1, 1));
    assert_eq!(rig.counts("expire-licenses").await, [("expired", 0), ("sessions_ended", 0), ("warned", 0)].into());
    rig.clock.advance(90 * DAY);
    assert_eq!(rig.counts("expire-licenses").await, [("expired", 2), ("sessions_ended", 2), ("warned", 0)].into());
    assert_eq!(events(&rig, "license.expired").await, 3);
}

#[tokio::test]
async fn there_is_a_warning_30_7_and_1_days_ahead_once_each_and_again_before_a_new_end() {
    let rig = Rig::new().await;
    let customer = customer(&rig, 40 * DAY, 1).await;
    let mut at = Vec::new();
    for day in 0..60 {
        rig.rehearse("expire-licenses").await;
        for _ in 0..2 {
            let before = warnings(&rig).await.len();
            rig.counts("expire-licenses").await;
            if warnings(&rig).await.len() > before {
                at.push(day);
            }
        }
        if day == 34 {
            move_end(&rig, &customer, 20 * DAY).await;
        }
        rig.clock.advance(DAY);
    }
    // The new end was 20 days away when it was set on day 34, so that the 30 days before it had begun.
    assert_eq!((warnings(&rig).await, at), (vec![30, 7, 30, 7, 1], vec![10, 33, 35, 47, 53]));
}

#[tokio::test]
async fn of_warnings_that_are_late_the_last_alone_is_given_and_none_for_a_suspended_license() {
    let rig = Rig::new().await;
    let [_late, suspended] = [customer(&rig, DAY / 2, 1).await, customer(&rig, DAY / 2, 1).await];
    let sql = "UPDATE licenses SET status = 'suspended' WHERE id = $1";
    rig.owner.execute(sql, &[&suspended.license.as_uuid()]).await.unwrap();
    assert_eq!(rig.rehearse("expire-licenses").await, [("expired", 0), ("sessions_ended", 0), ("warned", 1)].into());
    rig.counts("expire-licenses").await;
    assert_eq!(warnings(&rig).await, [1]);
    rig.clock.advance(DAY);
    assert_eq!(rig.counts("expire-licenses").await, [("expired", 2), ("sessions_ended", 0), ("warned", 0)].into());
}

#[tokio::test]
async fn a_run_that_was_cut_off_before_redis_was_told_is_gone_on_with_by_the_next() {
    let rig = Rig::new().await;
    let customer = customer(&rig, Duration::from_secs(100), 2).await;
    let seat = rig.seat(&customer, "one").await;
    rig.clock.advance(Duration::from_secs(101));
    // As a worker leaves it that dies after its commits.
    let cut_off = "UPDATE licenses SET expired_for = expires_at, expired_at = expires_at;
                   UPDATE sessions SET ended_at = expires_at, ended_reason = 'expired'";
    rig.owner.batch_execute(cut_off).await.unwrap();
    assert!(matches!(heartbeat(&rig, seat.session).await, Heartbeat::Refused { why: Refusal::Expired, .. }));
    assert_eq!(rig.counts("expire-licenses").await, [("expired", 0), ("sessions_ended", 0), ("warned", 0)].into());
    assert!(matches!(heartbeat(&rig, seat.session).await, Heartbeat::Ended(EndReason::Expired)));
    assert_eq!(rig.number("SELECT count(*) FROM licenses WHERE settled_for IS NOT NULL").await, 0, "a call may still be under way");
    rig.clock.advance(Duration::from_secs(60));
    rig.counts("expire-licenses").await;
    assert_eq!(rig.number("SELECT count(*) FROM licenses WHERE settled_for = expires_at").await, 1);
}

#[tokio::test]
async fn four_workers_at_once_expire_and_warn_once() {
    let rig = Rig::new().await;
    let mut customers = Vec::new();
    for number in 0..20 {
        customers.push(customer(&rig, if number % 2 == 0 { Duration::from_secs(100) } else { 3 * DAY }, 5).await);
    }
    for customer in customers.iter().step_by(2) {
        for device in ["one", "two", "three"] {
            rig.seat(customer, device).await;
        }
    }
    rig.clock.advance(Duration::from_secs(150));
    let contexts = [rig.another(), rig.another(), rig.another(), rig.another()];
    let job = order::job("expire-licenses").unwrap();
    let runs = contexts.iter().map(|context| perform(context, job, None, Map::new()));
    for done in futures_util::future::join_all(runs).await {
        done.unwrap();
    }
    let told = (events(&rig, "license.expired").await, events(&rig, "session.expired").await, warnings(&rig).await);
    assert_eq!(told, (10, 30, vec![7; 10]));
    assert_eq!(rig.number(ENDED).await, 30);
}
