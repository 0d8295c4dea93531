//! Sessions: who sees them, what is told of them, and revocations that take hold at once.

mod at_once;
mod large;
mod of_user;

use std::time::Duration;

use platform::{
    domain::{Clock, Email, EndReason, HardwareId, Refusal, SessionId, rfc3339},
    seats::{Acquired, Applicant, Heartbeat, Seat},
};
use serde_json::{Value, json};
use testkit::Customer;

use crate::{people::Person, rig::Rig};

pub(crate) const PATH: &str = "/api/v1/sessions";

/// A device that has a seat, in another container.
pub(crate) async fn seat(rig: &Rig, customer: &Customer, device: &str, email: &str) -> Seat {
    let applicant = Applicant::new(HardwareId::parse(device).unwrap(), Email::parse(email).unwrap(), None, b"");
    match rig.seats.acquire(&customer.key, applicant).await.unwrap().outcome().unwrap() {
        Acquired::Granted(seat) | Acquired::Shared(seat) => seat,
        other => panic!("no seat: {other:?}"),
    }
}

pub(crate) async fn beat(rig: &Rig, session: SessionId) -> Heartbeat {
    rig.seats.heartbeat(session).await.unwrap().outcome().unwrap()
}

/// The names of the sessions that somebody sees by this query.
pub(crate) async fn names(rig: &Rig, who: &Person, query: &str) -> Vec<String> {
    let answer = rig.get(who, &format!("{PATH}?{query}")).await.expect(200);
    answer.body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

/// The name of the session on a device, as the owner of its tenant sees it.
pub(crate) async fn name(rig: &Rig, device: &str) -> String {
    let query = format!("hardware_id={device}");
    let mut found = names(rig, &rig.ours.owner, &query).await;
    found.extend(names(rig, &rig.theirs.owner, &query).await);
    found.swap_remove(0)
}

pub(crate) async fn revoke(rig: &Rig, who: &Person, name: &str, body: Option<&Value>) -> crate::rig::Answer {
    rig.call(who, "POST", &format!("{PATH}/{name}/revoke"), &[], body).await
}

#[tokio::test]
async fn a_revoked_session_is_told_on_its_very_next_heartbeat_and_its_seat_is_free_at_once() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let mut seats = Vec::new();
    for device in ["d1", "d2", "d3", "d4", "d5"] {
        seats.push(seat(&rig, ours, device, "somebody@test.example").await);
    }
    assert!(matches!(rig.acquire(ours, "d6").await, Acquired::Full { .. }));
    let session = name(&rig, "d3").await;
    let revoked = revoke(&rig, &rig.ours.admin, &session, None).await.expect(200);
    assert_eq!((&revoked.body["state"], &revoked.body["ended_reason"]), (&json!("ended"), &json!("revoked")));
    assert_eq!((&revoked.body["id"], &revoked.body["hardware_block"]), (&json!(session), &Value::Null));
    assert!(matches!(beat(&rig, seats[2].session).await, Heartbeat::Ended(EndReason::Revoked)));
    assert!(matches!(beat(&rig, seats[1].session).await, Heartbeat::Renewed(_)));
    assert!(matches!(rig.acquire(ours, "d6").await, Acquired::Granted(_)));

    let event = &rig.events(2).await[1];
    assert_eq!((&event["action"], &event["subject"]), (&json!("session.revoked"), &json!(session)));
    assert_eq!((&event["actor_id"], &event["kind"]), (&json!(rig.ours.admin.id.to_string()), &json!("session")));
    assert_eq!((&event["before"]["state"], &event["after"]["ended_reason"]), (&json!("live"), &json!("revoked")));
    // Again, and of one that has ended by itself: it stays as it was, and nothing is written down.
    assert_eq!(revoke(&rig, &rig.ours.owner, &session, None).await.expect(200).body["ended_at"], revoked.body["ended_at"]);
    let released = name(&rig, "d1").await;
    rig.seats.release(seats[0].session).await.unwrap();
    assert_eq!(revoke(&rig, &rig.ours.owner, &released, None).await.expect(200).body["ended_reason"], "released");
    assert!(rig.events(2).await.iter().all(|event| event["action"] != "session.revoked"));
}

#[tokio::test]
async fn sessions_on_one_seat_are_listed_each_with_its_user() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let first = seat(&rig, ours, "d1", "ada@test.example").await;
    let second = seat(&rig, ours, "d1", "bob@test.example").await;
    seat(&rig, ours, "d2", "ada@test.example").await;
    let list = rig.get(&rig.ours.admin, &format!("{PATH}?state=live")).await.expect(200).body;
    let mut shown: Vec<_> = list["items"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| {
            let text = |name: &str| item[name].as_str().unwrap().to_owned();
            (text("hardware_id"), text("user_email"), item["seat"].as_u64().unwrap(), item["shares_seat"].as_bool().unwrap())
        })
        .collect();
    shown.sort();
    let expected = [("d1", "ada@test.example", 1, true), ("d1", "bob@test.example", 1, true), ("d2", "ada@test.example", 2, false)];
    assert_eq!(shown, expected.map(|(device, email, seat, shares)| (device.to_owned(), email.to_owned(), seat, shares)));

    let events = rig.get(&rig.ours.admin, "/api/v1/audit-events?action=session.acquired").await.expect(200).body;
    let users: Vec<_> = events["items"].as_array().unwrap().iter().map(|event| event["user_email"].as_str().unwrap()).collect();
    assert_eq!(users, ["ada@test.example", "bob@test.example", "ada@test.example"]);

    // A seat is free when the last of its sessions is revoked.
    let names = names(&rig, &rig.ours.admin, "state=live&hardware_id=d1").await;
    for (n, session) in names.iter().enumerate() {
        let revoked = revoke(&rig, &rig.ours.admin, session, None).await.expect(200).body;
        assert_eq!((&revoked["state"], &revoked["shares_seat"]), (&json!("ended"), &json!(false)));
        let is_alone = rig.get(&rig.ours.admin, &format!("{PATH}?state=live")).await.expect(200).body;
        assert!(is_alone["items"].as_array().unwrap().iter().all(|item| item["shares_seat"] == false));
        let live = [first.session, second.session].map(async |session| beat(&rig, session).await);
        let live = futures_util::future::join_all(live).await;
        assert_eq!(live.iter().filter(|beat| matches!(beat, Heartbeat::Renewed(_))).count(), 1 - n);
    }
    assert_eq!(seat(&rig, ours, "d3", "eve@test.example").await.number, first.number);
}

#[tokio::test]
async fn nothing_that_is_told_lets_anybody_act_as_the_holder() {
    let rig = Rig::start().await;
    let seat = seat(&rig, &rig.ours.customer, "device", "somebody@test.example").await;
    let session = name(&rig, "device").await;
    rig.acquire(&rig.ours.customer, "another").await;
    let list = rig.get(&rig.ours.owner, &format!("{PATH}?limit=1")).await.expect(200);
    let one = rig.get(&rig.ours.owner, &format!("{PATH}/{session}")).await.expect(200);
    let gone = revoke(&rig, &rig.ours.owner, &session, Some(&json!({ "block_hardware_until": "2100-01-01T00:00:00Z" }))).await.expect(200);
    let told = format!("{}{}{}{:?}", list.text, one.text, gone.text, rig.events(9).await);
    let id = serde_json::to_value(seat.session).unwrap();
    let key = seat.session.key.as_uuid();
    for secret in [id.as_str().unwrap(), &id.as_str().unwrap()[30..], &key.to_string(), &key.simple().to_string()] {
        assert!(!told.contains(secret), "{told}");
    }
    // Nor does the holder's id name a session here: whoever has a session has no other business with it.
    rig.get(&rig.ours.owner, &format!("{PATH}/{}", id.as_str().unwrap())).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_blocked_device_gets_no_seat_until_the_time_and_then_one_again() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let seat = seat(&rig, ours, "device", "somebody@test.example").await;
    let session = name(&rig, "device").await;
    let until = rfc3339(rig.clock.now() + Duration::from_secs(3600));
    for (wrong, field) in
        [(json!(rfc3339(rig.clock.now())), true), (json!("soon"), true), (json!(7), true), (json!("+10000-01-01T00:00:00Z"), true)]
    {
        let answer = revoke(&rig, &rig.ours.admin, &session, Some(&json!({ "block_hardware_until": wrong }))).await.expect(400);
        assert_eq!(answer.faults() == ["block_hardware_until"], field);
    }
    assert!(matches!(beat(&rig, seat.session).await, Heartbeat::Renewed(_)), "a fault changes nothing");
    let wanted = json!({ "block_hardware_until": until });
    let revoked = revoke(&rig, &rig.ours.admin, &session, Some(&wanted)).await.expect(200);
    let block = &revoked.body["hardware_block"];
    assert_eq!((&block["until"], &block["hardware_id"]), (&json!(until), &json!("device")));
    let events = rig.events(2).await;
    assert_eq!((&events[0]["action"], &events[0]["subject"]), (&json!("hardware.blocked"), &block["id"]));
    assert_eq!(events[1]["action"], "session.revoked");
    assert!(matches!(beat(&rig, seat.session).await, Heartbeat::Ended(EndReason::Revoked)));
    assert!(matches!(rig.acquire(ours, "device").await, Acquired::Refused(Refusal::HardwareBlocked)));
    assert!(matches!(rig.acquire(ours, "another").await, Acquired::Granted(_)));
    // The very same again is the same block.
    assert_eq!(&revoke(&rig, &rig.ours.admin, &session, Some(&wanted)).await.expect(200).body["hardware_block"], block);
    rig.clock.advance(Duration::from_secs(3599));
    assert!(matches!(rig.acquire(ours, "device").await, Acquired::Refused(Refusal::HardwareBlocked)));
    rig.clock.advance(Duration::from_secs(1));
    assert!(matches!(rig.acquire(ours, "device").await, Acquired::Granted(_)));
}

#[tokio::test]
async fn a_live_session_is_told_as_the_engine_has_it_though_the_record_lags() {
    let rig = Rig::start().await;
    let seat = seat(&rig, &rig.ours.customer, "device", "somebody@test.example").await;
    let session = name(&rig, "device").await;
    rig.clock.advance(Duration::from_secs(100));
    let Heartbeat::Renewed(renewal) = beat(&rig, seat.session).await else { panic!("it lives") };
    rig.clock.advance(Duration::from_secs(20));
    let one = rig.get(&rig.ours.member, &format!("{PATH}/{session}")).await.expect(200).body;
    assert_eq!((&one["expires_at"], &one["last_heartbeat"]), (&json!(rfc3339(renewal.expires_at)), &json!(rfc3339(renewal.at))));
    assert_eq!((&one["started_at"], &one["seat"], &one["state"]), (&json!(rfc3339(seat.at)), &json!(1), &json!("live")));
    assert_eq!(rig.get(&rig.ours.member, PATH).await.expect(200).body["items"][0], one);
    rig.seats.release(seat.session).await.unwrap();
    let ended = rig.get(&rig.ours.member, &format!("{PATH}/{session}")).await.expect(200).body;
    assert_eq!((&ended["last_heartbeat"], &ended["ended_at"]), (&Value::Null, &json!(rfc3339(rig.clock.now()))));
}

#[tokio::test]
async fn a_list_shows_what_its_filters_name() {
    let rig = Rig::start().await;
    let (ours, theirs) = (&rig.ours.customer, &rig.theirs.customer);
    let begun = rfc3339(rig.clock.now());
    let early = seat(&rig, ours, "early", "ada@test.example").await;
    rig.clock.advance(Duration::from_secs(60));
    let later = rfc3339(rig.clock.now());
    seat(&rig, ours, "late", "ada@TEST.example").await;
    seat(&rig, theirs, "theirs", "bob@test.example").await;
    let devices = async |who: &Person, query: &str| {
        let answer = rig.get(who, &format!("{PATH}?{query}")).await.expect(200);
        let items = answer.body["items"].as_array().unwrap().iter().map(|item| item["hardware_id"].as_str().unwrap().to_owned());
        items.collect::<Vec<_>>()
    };
    let (member, staff) = (&rig.ours.member, &rig.staff);
    revoke(&rig, staff, &name(&rig, "early").await, None).await.expect(200);
    assert!(matches!(beat(&rig, early.session).await, Heartbeat::Ended(_)));
    for (query, ours) in [
        (String::new(), &["late", "early"][..]),
        ("state=live".to_owned(), &["late"]),
        ("state=ended".to_owned(), &["early"]),
        ("ended_reason=revoked".to_owned(), &["early"]),
        ("ended_reason=expired&state=ended".to_owned(), &[]),
        (format!("license_id={}", ours.license), &["late", "early"]),
        (format!("license_id={}&state=live", ours.license), &["late"]),
        ("user_email=ada@Test.Example".to_owned(), &["late", "early"]),
        ("user_email=bob@test.example".to_owned(), &[]),
        ("hardware_id=late".to_owned(), &["late"]),
        (format!("started_from={later}"), &["late"]),
        (format!("started_until={later}"), &["early"]),
        (
            format!("started_from={begun}&started_until={later}&user_email=ada@test.example&hardware_id=early&ended_reason=revoked"),
            &["early"],
        ),
    ] {
        assert_eq!(devices(member, &query).await, ours, "{query}");
        assert_eq!(devices(staff, &query).await, ours, "{query}");
    }
    let wrong = "state=x&ended_reason=x&license_id=x&user_email=x&hardware_id=%20&started_from=x&started_until=x&limit=0&cursor=x";
    assert_eq!(rig.get(member, &format!("{PATH}?{wrong}")).await.expect(400).faults().len(), 9);
    assert_eq!(rig.get(member, &format!("{PATH}?state=live&ended_reason=revoked")).await.expect(400).faults(), ["ended_reason"]);
    let for_them = [("x-tenant-id", &*theirs.tenant.to_string())];
    assert_eq!(rig.call(staff, "GET", PATH, &for_them, None).await.expect(200).body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn guests_see_their_own_and_nobody_sees_or_ends_what_is_another_tenants() {
    let rig = Rig::start().await;
    let (ours, theirs) = (&rig.ours.customer, &rig.theirs.customer);
    seat(&rig, ours, "guests", &rig.ours.guest.email).await;
    seat(&rig, ours, "others", &rig.ours.member.email).await;
    // Whoever has a key may say any address: it does not cross tenants by that.
    let held = seat(&rig, theirs, "theirs", &rig.ours.guest.email).await;
    seat(&rig, theirs, "theirs-too", &rig.ours.guest.email).await;
    let (own, other, foreign) = (name(&rig, "guests").await, name(&rig, "others").await, name(&rig, "theirs").await);
    let guest = &rig.ours.guest;
    assert_eq!(names(&rig, guest, "").await, std::slice::from_ref(&own));
    assert_eq!(names(&rig, guest, &format!("user_email={}", rig.ours.member.email)).await, [""; 0]);
    rig.get(guest, &format!("{PATH}/{own}")).await.expect(200);
    rig.get(guest, &format!("{PATH}/{other}")).await.assert_problem(404, "not_found");
    for who in [guest, &rig.ours.member] {
        revoke(&rig, who, &own, None).await.assert_problem(403, "forbidden");
        let event = &rig.events(1).await[0];
        assert_eq!((&event["is_refused"], &event["subject"]), (&json!(true), &json!(own)));
    }
    let page = rig.get(&rig.theirs.admin, &format!("{PATH}?limit=1")).await.body["next_cursor"].as_str().unwrap().to_owned();
    let of_theirs = format!("license_id={}", theirs.license);
    for who in [guest, &rig.ours.member, &rig.ours.admin, &rig.ours.owner] {
        rig.get(who, &format!("{PATH}/{foreign}")).await.assert_problem(404, "not_found");
        assert!(names(&rig, who, &of_theirs).await.is_empty());
        assert!(names(&rig, who, "hardware_id=theirs").await.is_empty());
        assert_eq!(rig.get(who, &format!("{PATH}?cursor={page}")).await.expect(400).faults(), ["cursor"]);
        let named = [("x-tenant-id", &*theirs.tenant.to_string())];
        rig.call(who, "GET", PATH, &named, None).await.assert_problem(403, "forbidden");
    }
    let block = json!({ "block_hardware_until": "2100-01-01T00:00:00Z" });
    for who in [&rig.ours.admin, &rig.ours.owner] {
        revoke(&rig, who, &foreign, Some(&block)).await.assert_problem(404, "not_found");
    }
    let named = [("x-tenant-id", &*ours.tenant.to_string())];
    rig.call(&rig.staff, "POST", &format!("{PATH}/{foreign}/revoke"), &named, None).await.assert_problem(404, "not_found");
    assert!(matches!(beat(&rig, held.session).await, Heartbeat::Renewed(_)));
    let named = [("x-tenant-id", &*theirs.tenant.to_string())];
    assert_eq!(rig.call(&rig.staff, "GET", "/api/v1/hardware-blocks", &named, None).await.expect(200).body["items"], json!([]));
    rig.call(&rig.staff, "POST", &format!("{PATH}/{foreign}/revoke"), &named, None).await.expect(200);
    assert!(matches!(beat(&rig, held.session).await, Heartbeat::Ended(EndReason::Revoked)));
}
