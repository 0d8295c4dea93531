//! The guard: who is let in, for whom, and what is written down of those who are not.

use serde_json::json;

use crate::rig::Rig;

#[tokio::test]
async fn nobody_is_served_without_a_good_token() {
    let rig = Rig::start().await;
    let bare = rig.send("GET", "/api/v1/tenants", &[], None).await;
    bare.assert_problem(401, "unauthenticated");
    assert_eq!(bare.headers["www-authenticate"], "Bearer");
    let wrong = rig.send("GET", "/api/v1/tenants", &[("authorization", "Bearer x")], None).await;
    wrong.assert_problem(401, "unauthenticated");
    assert_eq!(wrong.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
    rig.send("PUT", "/api/v1/tenants", &[], None).await.assert_problem(405, "method_not_allowed");
    assert!(rig.events(1).await.iter().all(|event| event["actor"] != "user"));
}

#[tokio::test]
async fn a_refused_attempt_is_written_down() {
    let rig = Rig::start().await;
    let path = format!("{}/suspend", rig.ours.path());
    rig.call(&rig.ours.owner, "POST", &path, &[("x-request-id", "attempt-1"), ("if-match", "\"1\"")], None)
        .await
        .assert_problem(403, "forbidden");
    let event = &rig.events(1).await[0];
    assert_eq!((&event["action"], &event["is_refused"]), (&json!("suspend_tenant"), &json!(true)));
    assert_eq!(event["actor_id"], rig.ours.owner.id.to_string());
    assert_eq!((&event["kind"], &event["subject"]), (&json!("tenant"), &json!(rig.ours.customer.tenant.to_string())));
    assert_eq!((&event["request_id"], &event["details"]["path"]), (&json!("attempt-1"), &json!(path)));
    assert_eq!(event["tenant"], rig.ours.customer.tenant.as_uuid().to_string());
}

#[tokio::test]
async fn staff_act_for_a_tenant_and_it_is_written_down_and_nobody_else_acts_for_another() {
    let rig = Rig::start().await;
    let (ours, theirs) = (rig.ours.customer.tenant.to_string(), rig.theirs.customer.tenant.to_string());
    let list = async |who, tenant: &str| rig.call(who, "GET", "/api/v1/tenants", &[("x-tenant-id", tenant)], None).await;
    assert_eq!(rig.get(&rig.staff, "/api/v1/tenants").await.body["items"].as_array().unwrap().len(), 2);
    let seen = list(&rig.staff, &ours).await.expect(200);
    assert_eq!((seen.body["items"].as_array().unwrap().len(), &seen.body["items"][0]["id"]), (1, &json!(ours)));
    let event = &rig.events(1).await[0];
    assert_eq!((&event["actor"], &event["action"], &event["is_refused"]), (&json!("staff"), &json!("list_tenants"), &json!(false)));
    assert_eq!(event["tenant"], rig.ours.customer.tenant.as_uuid().to_string());
    for wrong in ["", "x", "ten_", &platform::domain::TenantId::random().to_string()] {
        assert_eq!(list(&rig.staff, wrong).await.expect(400).faults(), ["x-tenant-id"], "{wrong}");
    }
    assert_eq!(list(&rig.ours.member, &ours).await.expect(200).body["items"].as_array().unwrap().len(), 1);
    for wrong in [theirs.as_str(), "x"] {
        list(&rig.ours.member, wrong).await.assert_problem(403, "forbidden");
        assert_eq!(rig.events(1).await[0]["is_refused"], true);
    }
}
