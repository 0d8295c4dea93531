//! Staff: whose affairs they see, and what of it is written down.

use std::time::Duration;

use admin::{Whose, operations};
use platform::domain::Standing;
use serde_json::{Value, json};

use crate::{
    requests::{Things, body},
    rig::{Rig, named},
};

#[tokio::test]
async fn staff_who_name_no_tenant_see_and_change_nothing_below_the_list_of_tenants() {
    let rig = Rig::start().await;
    let things = Things::make(&rig).await;
    let mut operations_below = 0;
    for operation in operations().filter(|operation| operation.permission.holders().contains(&Standing::Staff)) {
        if !matches!(operation.whose, Whose::Tenant | Whose::TenantOrNone) {
            assert!(operation.path.starts_with("/api/v1/tenants"), "{}", operation.name);
            continue;
        }
        let body = if operation.is_read() { None } else { body(&rig, operation) };
        let path = things.path(&rig, operation);
        let answer = rig.call_as_is(&rig.staff, operation.method, &path, &[("if-match", "\"1\"")], body.as_ref()).await;
        answer.assert_problem(400, "tenant_required");
        assert_eq!(answer.faults(), ["x-tenant-id"]);
        operations_below += 1;
    }
    assert!(operations_below > 15);
    for format in ["csv", "ndjson"] {
        let path = if format == "csv" { "usage" } else { "audit-events" };
        rig.call_as_is(&rig.staff, "GET", &format!("/api/v1/{path}?format={format}"), &[], None)
            .await
            .assert_problem(400, "tenant_required");
    }
}

#[tokio::test]
async fn each_read_by_staff_is_an_event_of_the_tenant() {
    let rig = Rig::start().await;
    let things = Things::make(&rig).await;
    let ours = rig.ours.customer.tenant.to_string();
    let reads = operations().filter(|operation| operation.is_read() && operation.permission.holders().contains(&Standing::Staff));
    for operation in reads {
        rig.clock.advance(Duration::from_secs(601));
        let path = things.path(&rig, operation);
        // The tenant in the path is named by it.
        let headers = if operation.whose == Whose::PathsTenant { vec![] } else { vec![named(&ours)] };
        rig.call(&rig.staff, "GET", &path, &headers, None).await;
        let event = &rig.events(1).await[0];
        assert_eq!((&event["action"], &event["actor"]), (&json!(operation.name), &json!("staff")), "{}", operation.name);
        assert_eq!((&event["tenant"], &event["is_refused"]), (&json!(rig.ours.customer.tenant.as_uuid().to_string()), &json!(false)));
        let of_tenant = rig.get(&rig.ours.admin, &format!("/api/v1/audit-events?action={}", operation.name)).await.expect(200);
        assert_eq!(of_tenant.body["items"].as_array().unwrap().len(), 1, "{}", operation.name);
    }
}

/// How many events tell that staff listed our sessions.
async fn looks(rig: &Rig, action: &str) -> usize {
    let all = rig.get(&rig.ours.admin, &format!("/api/v1/audit-events?limit=200&action={action}")).await.expect(200);
    all.body["items"].as_array().unwrap().len()
}

#[tokio::test]
async fn reads_of_one_thing_within_ten_minutes_are_one_event() {
    let rig = Rig::start().await;
    rig.clock.advance(Duration::from_secs(60));
    for device in ["one", "two", "three"] {
        crate::sessions::seat(&rig, &rig.ours.customer, device, "somebody@test.example").await;
    }
    let mut cursor = String::new();
    for _ in 0..3 {
        rig.clock.advance(Duration::from_secs(60));
        let page = rig.get(&rig.staff, &format!("/api/v1/sessions?limit=1{cursor}")).await.expect(200);
        cursor = page.body["next_cursor"].as_str().map(|next| format!("&cursor={next}")).unwrap_or_default();
    }
    assert_eq!(looks(&rig, "list_sessions").await, 1);
    rig.clock.advance(Duration::from_secs(600));
    rig.get(&rig.staff, "/api/v1/sessions").await.expect(200);
    assert_eq!(looks(&rig, "list_sessions").await, 2);
    // Another thing, another person, and another tenant are events of their own.
    let user = |person: &crate::people::Person| format!("/api/v1/users/{}", person.id);
    for path in [user(&rig.ours.guest), user(&rig.ours.member), user(&rig.ours.guest)] {
        rig.get(&rig.staff, &path).await.expect(200);
    }
    assert_eq!(looks(&rig, "get_user").await, 2);
    let other = crate::people::Person::make(&rig.database.owner().await, None, Standing::Staff).await;
    rig.get(&other, "/api/v1/sessions").await.expect(200);
    assert_eq!(looks(&rig, "list_sessions").await, 3);
    let theirs = rig.theirs.customer.tenant.to_string();
    rig.call(&rig.staff, "GET", "/api/v1/sessions", &[named(&theirs)], None).await.expect(200);
    assert_eq!(rig.events(1).await[0]["tenant"], rig.theirs.customer.tenant.as_uuid().to_string());
}

#[tokio::test]
async fn whole_lists_that_staff_take_along_are_each_an_event() {
    let rig = Rig::start().await;
    rig.get(&rig.staff, "/api/v1/audit-events").await.expect(200);
    for _ in 0..2 {
        rig.get(&rig.staff, "/api/v1/audit-events?format=ndjson").await.expect(200);
    }
    assert_eq!(looks(&rig, "list_audit_events").await, 3);
    assert_eq!(rig.events(1).await[0]["details"]["whole"], json!(true));
}

#[tokio::test]
async fn staff_see_events_of_no_tenant_by_name_and_no_others_with_them() {
    let rig = Rig::start().await;
    // What staff try without a tenant is no tenant's.
    let path = "/api/v1/access-tokens";
    rig.call_as_is(&rig.staff, "GET", path, &[], None).await.assert_problem(403, "forbidden");
    let none = [("x-tenant-id", "none")];
    let events = rig.call(&rig.staff, "GET", "/api/v1/audit-events?limit=1", &none, None).await.expect(200);
    assert_eq!(events.body["items"][0]["action"], "list_access_tokens");
    let all = rig.call(&rig.staff, "GET", "/api/v1/audit-events?format=ndjson", &none, None).await.expect(200);
    assert!(all.text.lines().all(|line| serde_json::from_str::<Value>(line).unwrap()["tenant_id"].is_null()), "{}", all.text);
    let one = format!("/api/v1/audit-events/{}", events.body["items"][0]["id"].as_str().unwrap());
    rig.call(&rig.staff, "GET", &one, &none, None).await.expect(200);
    rig.get(&rig.staff, &one).await.assert_problem(404, "not_found");
    let ours = rig.get(&rig.ours.admin, "/api/v1/audit-events?limit=1").await.expect(200);
    let of_ours = format!("/api/v1/audit-events/{}", ours.body["items"][0]["id"].as_str().unwrap());
    rig.call(&rig.staff, "GET", &of_ours, &none, None).await.assert_problem(404, "not_found");
    // Nothing else is to be had so.
    for path in ["/api/v1/users", "/api/v1/sessions", "/api/v1/licenses", "/api/v1/usage", "/api/v1/tenants"] {
        assert_eq!(rig.call(&rig.staff, "GET", path, &none, None).await.expect(400).faults(), ["x-tenant-id"], "{path}");
    }
    rig.call(&rig.ours.owner, "GET", "/api/v1/audit-events", &none, None).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn staff_read_a_tenant_by_its_path_and_not_under_another_name() {
    let rig = Rig::start().await;
    let (theirs, path) = (rig.theirs.customer.tenant.to_string(), rig.ours.path());
    rig.call(&rig.staff, "GET", &path, &[named(&theirs)], None).await.assert_problem(404, "not_found");
    let nobodys = format!("/api/v1/tenants/{}", platform::domain::TenantId::random());
    for path in [nobodys.as_str(), "/api/v1/tenants/x"] {
        rig.call(&rig.staff, "GET", path, &[], None).await.assert_problem(404, "not_found");
    }
}
