//! Devices that are blocked for a time.

use std::time::Duration;

use platform::{
    domain::{Clock, Refusal, rfc3339},
    seats::Acquired,
};
use serde_json::{Value, json};

use crate::rig::{Rig, Tenant};

const PATH: &str = "/api/v1/hardware-blocks";

fn wanted(rig: &Rig, tenant: &Tenant, device: &str) -> Value {
    let until = rfc3339(rig.clock.now() + Duration::from_secs(3600));
    json!({ "license_id": tenant.customer.license.to_string(), "hardware_id": device, "until": until })
}

async fn is_blocked(rig: &Rig, device: &str) -> bool {
    matches!(rig.acquire(&rig.ours.customer, device).await, Acquired::Refused(Refusal::HardwareBlocked))
}

#[tokio::test]
async fn a_device_is_blocked_at_once_and_free_at_once_when_its_block_is_deleted() {
    let rig = Rig::start().await;
    let made = rig.post(&rig.ours.admin, PATH, &wanted(&rig, &rig.ours, "device")).await.expect(201);
    let path = made.headers["location"].to_str().unwrap();
    assert!(is_blocked(&rig, "device").await && !is_blocked(&rig, "another").await);
    assert_eq!(rig.get(&rig.ours.member, path).await.expect(200).body, made.body);
    let event = rig.events(9).await.into_iter().find(|event| event["action"] == "hardware.blocked").unwrap();
    assert_eq!((&event["subject"], &event["after"]), (&made.body["id"], &made.body));
    for who in [&rig.ours.guest, &rig.ours.member] {
        rig.call(who, "DELETE", path, &[], None).await.assert_problem(403, "forbidden");
    }
    rig.call(&rig.ours.admin, "DELETE", path, &[], None).await.expect(204);
    let event = &rig.events(1).await[0];
    assert_eq!((&event["action"], &event["before"], &event["after"]), (&json!("hardware.unblocked"), &made.body, &Value::Null));
    assert!(!is_blocked(&rig, "device").await);
    rig.call(&rig.ours.admin, "DELETE", path, &[], None).await.assert_problem(404, "not_found");
    rig.get(&rig.ours.member, path).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_device_has_one_block_and_the_last_word_holds() {
    let rig = Rig::start().await;
    let first = rig.post(&rig.ours.owner, PATH, &wanted(&rig, &rig.ours, "device")).await.expect(201).body;
    rig.clock.advance(Duration::from_secs(60));
    let second = rig.post(&rig.staff, PATH, &wanted(&rig, &rig.ours, "device")).await.expect(201).body;
    assert_ne!(first["id"], second["id"]);
    let event = &rig.events(1).await[0];
    assert_eq!((&event["before"], &event["after"], &event["actor"]), (&first, &second, &json!("staff")));
    let license = rig.ours.customer.license.to_string();
    for query in ["", "?hardware_id=device", &format!("?license_id={license}")] {
        assert_eq!(rig.get(&rig.ours.member, &format!("{PATH}{query}")).await.expect(200).body["items"], json!([second]), "{query}");
        assert_eq!(rig.get(&rig.theirs.owner, &format!("{PATH}{query}")).await.expect(200).body["items"], json!([]), "{query}");
    }
    assert_eq!(rig.get(&rig.ours.member, &format!("{PATH}?hardware_id=other")).await.expect(200).body["items"], json!([]));
    // With a key a repeated request is the same block.
    let body = wanted(&rig, &rig.ours, "keyed");
    let keyed = async || rig.call(&rig.ours.admin, "POST", PATH, &[("idempotency-key", "k")], Some(&body)).await.expect(201).body;
    assert_eq!(keyed().await, keyed().await);
}

#[tokio::test]
async fn nobody_blocks_or_frees_a_device_of_another_tenants_license() {
    let rig = Rig::start().await;
    let theirs = rig.post(&rig.theirs.admin, PATH, &wanted(&rig, &rig.theirs, "device")).await.expect(201);
    rig.post(&rig.theirs.admin, PATH, &wanted(&rig, &rig.theirs, "more")).await.expect(201);
    let path = theirs.headers["location"].to_str().unwrap();
    let cursor = rig.get(&rig.theirs.admin, &format!("{PATH}?limit=1")).await.body["next_cursor"].as_str().unwrap().to_owned();
    let body = wanted(&rig, &rig.theirs, "victim");
    for who in [&rig.ours.guest, &rig.ours.member] {
        rig.post(who, PATH, &body).await.assert_problem(403, "forbidden");
    }
    rig.get(&rig.ours.guest, PATH).await.assert_problem(403, "forbidden");
    for who in [&rig.ours.admin, &rig.ours.owner] {
        assert_eq!(rig.post(who, PATH, &body).await.expect(400).faults(), ["license_id"]);
        rig.get(who, path).await.assert_problem(404, "not_found");
        rig.call(who, "DELETE", path, &[], None).await.assert_problem(404, "not_found");
        let query = format!("{PATH}?license_id={}", rig.theirs.customer.license);
        assert_eq!(rig.get(who, &query).await.expect(200).body["items"], json!([]));
        assert_eq!(rig.get(who, &format!("{PATH}?cursor={cursor}")).await.expect(400).faults(), ["cursor"]);
    }
    let for_us = [("x-tenant-id", &*rig.ours.customer.tenant.to_string())];
    assert_eq!(rig.call(&rig.staff, "POST", PATH, &for_us, Some(&body)).await.expect(400).faults(), ["license_id"]);
    let for_them = [("x-tenant-id", &*rig.theirs.customer.tenant.to_string())];
    let theirs = rig.call(&rig.staff, "GET", PATH, &for_them, None).await.expect(200);
    assert_eq!(theirs.body["items"].as_array().unwrap().len(), 2);
    assert!(matches!(rig.acquire(&rig.theirs.customer, "victim").await, Acquired::Granted(_)));
    let wrong = json!({ "license_id": "x", "hardware_id": " ", "until": "2020-01-01T00:00:00Z" });
    assert_eq!(rig.post(&rig.ours.admin, PATH, &wrong).await.expect(400).faults(), ["license_id", "hardware_id", "until"]);
}
