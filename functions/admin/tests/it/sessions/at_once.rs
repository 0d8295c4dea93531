//! Revocations beside heartbeats and acquisitions, and lists beside both.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use futures_util::future::join_all;
use platform::{
    domain::{Clock, EndReason, Refusal, rfc3339},
    seats::{Acquired, Heartbeat},
};
use serde_json::json;

use super::{PATH, beat, name, names, revoke, seat};
use crate::rig::Rig;

const SEATS: &str = "SELECT count(DISTINCT seat) FROM sessions WHERE ended_at IS NULL";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn there_are_never_more_sessions_than_seats_however_many_are_revoked_meanwhile() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let is_over = AtomicBool::new(false);
    let come_and_go = async |device: String| {
        // Each device runs two programs.
        let (mut seen, mut mine) = (Vec::new(), [None; 2]);
        while !is_over.load(Ordering::Relaxed) {
            for program in &mut mine {
                if let Some(session) = *program
                    && matches!(beat(&rig, session).await, Heartbeat::Renewed(_))
                {
                    continue;
                }
                *program = None;
                if let Acquired::Granted(seat) | Acquired::Shared(seat) = rig.acquire(ours, &device).await {
                    seen.push(seat.session);
                    *program = Some(seat.session);
                }
            }
        }
        seen
    };
    let throw_out = async {
        let mut revoked = 0;
        while revoked < 40 {
            for session in names(&rig, &rig.ours.admin, "state=live").await {
                revoked += u32::from(revoke(&rig, &rig.ours.admin, &session, None).await.expect(200).body["ended_reason"] == "revoked");
            }
        }
        is_over.store(true, Ordering::Relaxed);
    };
    let watch = async {
        let owner = rig.database.owner().await;
        while !is_over.load(Ordering::Relaxed) {
            let live: i64 = owner.query_one(SEATS, &[]).await.unwrap().get(0);
            assert!(live <= 5, "{live} seats of 5");
        }
    };
    let devices = join_all((0..12).map(|n| come_and_go(format!("d{n}"))));
    let (seen, (), ()) = tokio::join!(devices, throw_out, watch);

    // Whoever was revoked is told so, in a container that has never heard of it; whoever was not lives on.
    let owner = rig.database.owner().await;
    for session in seen.into_iter().flatten() {
        let row = owner.query_one("SELECT ended_reason FROM sessions WHERE id = $1", &[&session.key.as_uuid()]).await.unwrap();
        match (row.get::<_, Option<&str>>(0), beat(&rig, session).await) {
            (Some("revoked"), Heartbeat::Ended(EndReason::Revoked)) | (None, Heartbeat::Renewed(_)) => {}
            (record, told) => panic!("{record:?} in the record, {told:?} told"),
        }
    }
    for n in 0..5 {
        rig.acquire(ours, &format!("d{n}")).await;
    }
    assert_eq!(owner.query_one(SEATS, &[]).await.unwrap().get::<_, i64>(0), 5, "no seat is lost");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_device_that_asks_while_it_is_revoked_and_blocked_has_no_seat_afterwards() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    for round in 0..25 {
        let device = format!("device-{round}");
        let first = seat(&rig, ours, &device, "somebody@test.example").await;
        let session = name(&rig, &device).await;
        let block = json!({ "block_hardware_until": rfc3339(rig.clock.now() + Duration::from_secs(60)) });
        let ask = async |wait: u64| {
            tokio::time::sleep(Duration::from_micros(wait)).await;
            (rig.acquire(ours, &device).await, beat(&rig, first.session).await)
        };
        let asking = join_all((0..6).map(|n| ask(n * 400)));
        let (revoked, asked) = tokio::join!(revoke(&rig, &rig.ours.admin, &session, Some(&block)), asking);
        revoked.expect(200);
        // Those that came before it have sessions of their own, which go on until they are revoked too.
        for (acquired, _) in asked {
            match acquired {
                Acquired::Shared(seat) => {
                    assert_ne!(seat.session, first.session);
                    assert!(matches!(beat(&rig, seat.session).await, Heartbeat::Renewed(_)));
                }
                Acquired::Refused(Refusal::HardwareBlocked) => {}
                other => panic!("{other:?}"),
            }
        }
        assert!(matches!(beat(&rig, first.session).await, Heartbeat::Ended(EndReason::Revoked)));
        assert!(matches!(rig.acquire(ours, &device).await, Acquired::Refused(Refusal::HardwareBlocked)));
        for session in names(&rig, &rig.ours.admin, &format!("state=live&hardware_id={device}")).await {
            revoke(&rig, &rig.ours.admin, &session, None).await.expect(200);
        }
        let live: i64 = rig.database.owner().await.query_one(SEATS, &[]).await.unwrap().get(0);
        assert_eq!(live, 0);
    }
}

#[tokio::test]
async fn a_list_that_is_paged_through_shows_everything_once_though_sessions_come_and_end_meanwhile() {
    let rig = Rig::start().await;
    let (tenant, license) = (rig.ours.customer.tenant.as_uuid(), rig.ours.customer.license.as_uuid());
    let owner = rig.database.owner().await;
    // Several begin in the same moment, as those do that are granted together.
    let more = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at, ended_at, ended_reason)
                SELECT gen_random_uuid(), $1, $2, n, decode(md5(n::text), 'hex'), 'device-' || n, 'u@test.example', $3::timestamptz + n / 4 * interval '1 second',
                       $3::timestamptz + interval '1 day', CASE WHEN n % 3 > 0 THEN $3::timestamptz END,
                       CASE n % 3 WHEN 1 THEN 'expired' WHEN 2 THEN 'released' END
                FROM generate_series($4::int, $5::int) AS n";
    let now = rig.clock.now();
    for query in ["", "&license_id=ours", "&user_email=u@test.example", "&started_from=2020-01-01T00:00:00Z"] {
        owner.execute("DELETE FROM sessions", &[]).await.unwrap();
        owner.execute(more, &[&tenant, &license, &now, &1, &100]).await.unwrap();
        let query = query.replace("ours", &rig.ours.customer.license.to_string());
        let (mut seen, mut cursor, mut added) = (Vec::new(), String::new(), 100);
        loop {
            let page = rig.get(&rig.ours.member, &format!("{PATH}?limit=7{query}{cursor}")).await.expect(200).body;
            seen.extend(page["items"].as_array().unwrap().iter().map(|item| item["hardware_id"].as_str().unwrap().to_owned()));
            owner.execute(more, &[&tenant, &license, &now, &(added + 1), &(added + 5)]).await.unwrap();
            added += 5;
            // One that lives ends, and is thereby read elsewhere.
            let end = "UPDATE sessions SET ended_at = now(), ended_reason = 'revoked'
                       WHERE id IN (SELECT id FROM sessions WHERE ended_at IS NULL ORDER BY id LIMIT 2)";
            owner.execute(end, &[]).await.unwrap();
            let Some(next) = page["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let mut there: Vec<String> = (1..=100).map(|n| format!("device-{n}")).collect();
        seen.sort_unstable();
        there.sort_unstable();
        assert_eq!(seen, there, "{query}");
    }
}
