//! Tenants.

use std::time::Duration;

use platform::{domain::Refusal, seats::Acquired};
use serde_json::{Value, json};

use crate::rig::Rig;

fn new_tenant(name: &str) -> Value {
    json!({ "name": name, "tier": "starter", "seat_limit": 10, "owner_email": "first@owner.example" })
}

#[tokio::test]
async fn everybody_sees_their_own_tenant_and_staff_see_all() {
    let rig = Rig::start().await;
    for who in [&rig.ours.member, &rig.ours.admin, &rig.ours.owner] {
        let list = rig.get(who, "/api/v1/tenants").await.expect(200);
        assert_eq!(list.body["items"].as_array().unwrap().len(), 1);
        assert_eq!(list.body["items"][0]["id"], rig.ours.customer.tenant.to_string());
        let tenant = rig.get(who, &rig.ours.path()).await.expect(200);
        assert_eq!((tenant.tag(), &tenant.body["version"]), ("\"1\"", &json!(1)));
        rig.get(who, &rig.theirs.path()).await.assert_problem(404, "not_found");
    }
    rig.get(&rig.ours.guest, "/api/v1/tenants").await.assert_problem(403, "forbidden");
    assert_eq!(rig.get(&rig.staff, "/api/v1/tenants").await.body["items"].as_array().unwrap().len(), 2);
    rig.get(&rig.staff, &rig.theirs.path()).await.expect(200);
    rig.get(&rig.staff, "/api/v1/tenants/ten_x").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn pages_show_everything_once_and_a_cursor_serves_its_own_list_alone() {
    let rig = Rig::start().await;
    for number in 0..5 {
        rig.post(&rig.staff, "/api/v1/tenants", &new_tenant(&format!("Tenant {number}"))).await.expect(201);
        rig.clock.advance(Duration::from_millis(1));
    }
    let (mut seen, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let path = format!("/api/v1/tenants?limit=3{}", cursor.map(|cursor| format!("&cursor={cursor}")).unwrap_or_default());
        let page = rig.get(&rig.staff, &path).await.expect(200);
        let items = page.body["items"].as_array().unwrap();
        assert!(items.len() <= 3);
        seen.extend(items.iter().map(|tenant| tenant["id"].as_str().unwrap().to_owned()));
        // Something new moves nothing.
        rig.clock.advance(Duration::from_millis(1));
        rig.post(&rig.staff, "/api/v1/tenants", &new_tenant("Later")).await.expect(201);
        let Some(next) = page.body["next_cursor"].as_str() else { break };
        cursor = Some(next.to_owned());
    }
    assert_eq!(seen.len(), 7);
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 7);

    let page = rig.get(&rig.staff, "/api/v1/tenants?limit=1").await;
    let foreign = page.body["next_cursor"].as_str().unwrap();
    for wrong in [format!("cursor={foreign}"), "cursor=x".to_owned(), "cursor=".to_owned()] {
        assert_eq!(rig.get(&rig.ours.owner, &format!("/api/v1/tenants?{wrong}")).await.expect(400).faults(), ["cursor"]);
    }
    for wrong in ["0", "201", "-1", "x", ""] {
        assert_eq!(rig.get(&rig.staff, &format!("/api/v1/tenants?limit={wrong}")).await.expect(400).faults(), ["limit"]);
    }
}

#[tokio::test]
async fn staff_create_a_tenant_with_an_owner_who_is_invited() {
    let rig = Rig::start().await;
    let made = rig.post(&rig.staff, "/api/v1/tenants", &new_tenant("Ours")).await.expect(201);
    let path = made.headers["location"].to_str().unwrap();
    let events = rig.events(2).await;
    assert_eq!(rig.get(&rig.staff, path).await.expect(200).body, made.body);
    assert_eq!((&made.body["status"], made.tag()), (&json!("active"), "\"1\""));
    assert_eq!((&events[0]["action"], &events[1]["action"]), (&json!("user.invited"), &json!("tenant.created")));
    assert_eq!((&events[1]["actor"], &events[1]["after"]), (&json!("staff"), &made.body));

    let none = rig.post(&rig.staff, "/api/v1/tenants", &json!({ "seat_limit": -1 })).await.expect(400);
    assert_eq!(none.faults(), ["name", "tier", "seat_limit", "owner_email"]);
    for who in [&rig.ours.owner, &rig.ours.guest] {
        rig.post(who, "/api/v1/tenants", &new_tenant("Mine")).await.assert_problem(403, "forbidden");
    }
}

#[tokio::test]
async fn the_same_creation_is_done_once() {
    let rig = Rig::start().await;
    let create = async |key: &str, name: &str| {
        rig.call(&rig.staff, "POST", "/api/v1/tenants", &[("idempotency-key", key)], Some(&new_tenant(name))).await
    };
    let first = create("key-1", "One").await.expect(201);
    let again = create("key-1", "One").await.expect(201);
    assert_eq!((&again.body, again.tag(), &again.headers["location"]), (&first.body, first.tag(), &first.headers["location"]));
    assert_eq!((first.headers.get("idempotent-replayed"), &again.headers["idempotent-replayed"]), (None, &"true".parse().unwrap()));
    create("key-1", "Two").await.assert_problem(422, "idempotency_key_reused");
    assert_eq!(create("", "Two").await.expect(400).faults(), ["Idempotency-Key"]);
    assert_ne!(create("key-2", "One").await.expect(201).body["id"], first.body["id"]);
    rig.clock.advance(Duration::from_secs(86_400));
    assert_ne!(create("key-1", "Two").await.expect(201).body["id"], first.body["id"]);

    let (one, two) = tokio::join!(create("key-3", "One"), create("key-3", "One"));
    let made = [one, two].into_iter().filter(|answer| answer.status == 201 && !answer.headers.contains_key("idempotent-replayed"));
    assert_eq!(made.count(), 1);
}

#[tokio::test]
async fn an_owner_changes_the_name_and_staff_the_rest_of_what_was_read() {
    let rig = Rig::start().await;
    let path = rig.ours.path();
    let change = async |who, tag: &str, body: Value| rig.call(who, "PATCH", &path, &[("if-match", tag)], Some(&body)).await;
    let changed = change(&rig.ours.owner, "\"1\"", json!({ "name": "New" })).await.expect(200);
    assert_eq!((&changed.body["name"], changed.tag()), (&json!("New"), "\"2\""));
    let event = &rig.events(1).await[0];
    assert_eq!((&event["before"]["name"], &event["after"]), (&json!("Test"), &changed.body));
    change(&rig.ours.owner, "\"1\"", json!({ "name": "Newer" })).await.assert_problem(412, "stale_version");
    rig.call(&rig.ours.owner, "PATCH", &path, &[], Some(&json!({ "name": "Newer" }))).await.assert_problem(428, "version_required");
    assert_eq!(change(&rig.ours.owner, "\"2\"", json!({ "name": "New" })).await.expect(200).tag(), "\"2\"", "nothing changed");

    change(&rig.ours.owner, "\"2\"", json!({ "tier": "enterprise" })).await.assert_problem(403, "forbidden");
    assert_eq!(rig.events(1).await[0]["is_refused"], true);
    change(&rig.ours.admin, "\"2\"", json!({ "name": "Mine" })).await.assert_problem(403, "forbidden");
    change(&rig.theirs.owner, "\"2\"", json!({ "name": "Mine" })).await.assert_problem(404, "not_found");
    let merge = [("if-match", "\"2\""), ("content-type", "application/merge-patch+json")];
    let body = json!({ "tier": "enterprise", "seat_limit": 7 });
    let changed = rig.call(&rig.staff, "PATCH", &path, &merge, Some(&body)).await.expect(200);
    assert_eq!(
        (&changed.body["tier"], &changed.body["seat_limit"], &changed.body["name"]),
        (&json!("enterprise"), &json!(7), &json!("New"))
    );
    assert_eq!(change(&rig.staff, "\"3\"", json!({ "name": null, "tier": "x" })).await.expect(400).faults(), ["name", "tier"]);
}

#[tokio::test]
async fn a_suspended_tenant_gets_no_seat_from_the_very_next_call_on() {
    let rig = Rig::start().await;
    let path = rig.ours.path();
    assert!(matches!(rig.acquire(&rig.ours.customer, "one").await, Acquired::Granted(_)));
    let suspended = rig.change(&rig.staff, "POST", &format!("{path}/suspend"), None).await.expect(200);
    assert_eq!((&suspended.body["status"], suspended.tag()), (&json!("suspended"), "\"2\""));
    assert!(matches!(rig.acquire(&rig.ours.customer, "two").await, Acquired::Refused(Refusal::TenantSuspended)));
    assert_eq!(rig.change(&rig.staff, "POST", &format!("{path}/suspend"), None).await.expect(200).tag(), "\"2\"", "it is so already");
    rig.get(&rig.ours.owner, &path).await.expect(200);
    rig.change(&rig.ours.owner, "POST", &format!("{path}/reinstate"), None).await.assert_problem(403, "forbidden");
    rig.change(&rig.staff, "POST", &format!("{path}/reinstate"), None).await.expect(200);
    assert!(matches!(rig.acquire(&rig.ours.customer, "two").await, Acquired::Granted(_)));
    let actions: Vec<Value> = rig.events(6).await.into_iter().map(|event| event["action"].clone()).collect();
    assert!(actions.contains(&json!("tenant.suspended")) && actions.contains(&json!("tenant.reinstated")), "{actions:?}");

    rig.database.owner().await.batch_execute("UPDATE tenants SET status = 'closed'").await.unwrap();
    rig.change(&rig.staff, "POST", &format!("{path}/reinstate"), None).await.assert_problem(409, "tenant_closed");
}
