//! Licenses.

use std::time::Duration;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use platform::{
    db::Role,
    domain::{Clock, LicenseKey, Refusal, SessionId, rfc3339},
    seats::{Acquired, Heartbeat},
    signing,
};
use serde_json::{Value, json};
use testkit::{Customer, keys};

use crate::{
    journal,
    rig::{Answer, Rig, Tenant},
};

pub(crate) const PATH: &str = "/api/v1/licenses";

pub(crate) fn new_license() -> Value {
    json!({ "name": "Drafting room", "seats_total": 2 })
}

/// Lets a tenant have many seats.
pub(crate) async fn widen(rig: &Rig, tenant: &Tenant) {
    rig.change(&rig.staff, "PATCH", &tenant.path(), Some(&json!({ "seat_limit": 1000 }))).await.expect(200);
}

/// Asks for a license for a tenant, as staff.
pub(crate) async fn issue(rig: &Rig, tenant: &Tenant, body: &Value) -> Answer {
    rig.call(&rig.staff, "POST", PATH, &[("x-tenant-id", &tenant.customer.tenant.to_string())], Some(body)).await
}

/// The license of an answer with a key in it.
pub(crate) fn customer(tenant: &Tenant, issued: &Value) -> Customer {
    let key = LicenseKey::parse(issued["license_key"].as_str().unwrap()).unwrap();
    Customer { license: issued["id"].as_str().unwrap().parse().unwrap(), key, ..tenant.customer.clone() }
}

fn path(customer: &Customer) -> String {
    format!("{PATH}/{}", customer.license)
}

async fn beats(rig: &Rig, session: SessionId) -> Heartbeat {
    rig.seats.heartbeat(session).await.unwrap().outcome().unwrap()
}

fn granted(acquired: &Acquired) -> SessionId {
    match acquired {
        Acquired::Granted(seat) | Acquired::Shared(seat) => seat.session,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_license_lives_from_its_issue_until_it_is_revoked_for_good() {
    let rig = Rig::start().await;
    widen(&rig, &rig.ours).await;
    let body = json!({
        "name": "Drafting room", "tier": "enterprise", "seats_total": 2, "overage": 1, "session_ttl_seconds": 60, "seat_unit": "device",
        "requires_token": false, "expires_at": "2099-01-01T00:00:00Z", "features": ["draw", "print.3d"],
    });
    let issued = issue(&rig, &rig.ours, &body).await.expect(201);
    let ours = customer(&rig.ours, &issued.body);
    assert_eq!(issued.headers["location"], path(&ours));
    for member in ["name", "tier", "seats_total", "overage", "session_ttl_seconds", "seat_unit", "requires_token", "features"] {
        assert_eq!(issued.body[member], body[member], "{member}");
    }
    assert_eq!((&issued.body["expires_at"], &issued.body["starts_at"]), (&json!("2099-01-01T00:00:00.000Z"), &Value::Null));
    assert_eq!((issued.tag(), &issued.body["status"]), ("\"1\"", &json!("active")));
    let seen = rig.get(&rig.ours.member, &path(&ours)).await.expect(200);
    assert!(seen.body["license_key"].is_null() && seen.tag() == "\"1\"" && seen.body["license_data"] == issued.body["license_data"]);

    let session = granted(&rig.acquire(&ours, "one").await);
    let suspend = async |verb: &str, tag: &str| {
        let answer = rig.change(&rig.staff, "POST", &format!("{}/{verb}", path(&ours)), None).await.expect(200);
        assert_eq!(answer.tag(), tag, "{verb}");
        answer.body["status"].as_str().unwrap().to_owned()
    };
    assert_eq!(suspend("suspend", "\"2\"").await, "suspended");
    assert_eq!(suspend("suspend", "\"2\"").await, "suspended", "it is so already");
    assert!(matches!(rig.acquire(&ours, "two").await, Acquired::Refused(Refusal::Suspended)));
    assert!(matches!(beats(&rig, session).await, Heartbeat::Refused { why: Refusal::Suspended, .. }));
    assert_eq!(suspend("reinstate", "\"3\"").await, "active");
    assert!(matches!(rig.acquire(&ours, "two").await, Acquired::Granted(_)));
    assert!(matches!(beats(&rig, session).await, Heartbeat::Renewed(_)));
    assert_eq!(suspend("revoke", "\"4\"").await, "revoked");
    assert!(matches!(rig.acquire(&ours, "two").await, Acquired::Refused(Refusal::Revoked)));

    for verb in ["suspend", "reinstate", "rotate-key"] {
        rig.change(&rig.staff, "POST", &format!("{}/{verb}", path(&ours)), None).await.assert_problem(409, "license_revoked");
    }
    rig.change(&rig.staff, "PATCH", &path(&ours), Some(&json!({ "name": "New" }))).await.assert_problem(409, "license_revoked");
    assert_eq!(suspend("revoke", "\"4\"").await, "revoked");
    let events = rig.events(10).await;
    let events: Vec<&Value> = events.iter().filter(|event| event["kind"] == "license").collect();
    let actions: Vec<&str> = events.iter().map(|event| event["action"].as_str().unwrap()).collect();
    assert_eq!(actions, ["license.revoked", "license.reinstated", "license.suspended", "license.issued"]);
    assert_eq!((&events[0]["before"]["status"], &events[0]["after"]["status"]), (&json!("active"), &json!("revoked")));
    assert_eq!((&events[0]["subject"], &events[0]["actor"]), (&issued.body["id"], &json!("staff")));
}

#[tokio::test]
async fn a_change_says_what_it_changes_and_of_which_version() {
    let rig = Rig::start().await;
    widen(&rig, &rig.ours).await;
    let path = path(&rig.ours.customer);
    let merge = ("content-type", "application/merge-patch+json");
    let change = async |tag: &str, body: Value| rig.call(&rig.staff, "PATCH", &path, &[("if-match", tag), merge], Some(&body)).await;
    let body = json!({ "starts_at": "2026-01-01T00:00:00Z", "expires_at": "2099-01-01T00:00:00Z", "features": ["a", "b"] });
    let first = change("\"1\"", body).await.expect(200);
    assert_eq!((first.tag(), &first.body["features"], &first.body["seats_total"]), ("\"2\"", &json!(["a", "b"]), &json!(5)));
    let event = &rig.events(1).await[0];
    assert_eq!((&event["action"], &event["before"]["features"]), (&json!("license.changed"), &json!([])));
    assert_eq!((&event["after"]["features"], event["after"].get("license_data")), (&json!(["a", "b"]), None));

    // What is left out stays, null takes away, and a list is replaced.
    let second = change("\"2\"", json!({ "starts_at": null, "features": ["c"], "name": "Ours" })).await.expect(200);
    assert_eq!((&second.body["starts_at"], &second.body["expires_at"]), (&Value::Null, &json!("2099-01-01T00:00:00.000Z")));
    assert_eq!((&second.body["features"], &second.body["name"]), (&json!(["c"]), &json!("Ours")));
    let same = change("\"3\"", json!({ "features": ["c"], "overage": 0 })).await.expect(200);
    assert_eq!((same.tag(), &same.body), ("\"3\"", &second.body), "nothing changed");
    assert_eq!(rig.events(1).await[0]["after"]["name"], "Ours");

    change("\"1\"", json!({ "name": "Late" })).await.assert_problem(412, "stale_version");
    change("*", json!({ "name": "Any" })).await.assert_problem(428, "version_required");
    for (method, verb) in [("PATCH", ""), ("POST", "/suspend"), ("POST", "/reinstate"), ("POST", "/rotate-key"), ("POST", "/revoke")] {
        let (at, body) = (format!("{path}{verb}"), json!({}));
        let body = (method == "PATCH").then_some(&body);
        rig.call(&rig.staff, method, &at, &[], body).await.assert_problem(428, "version_required");
        rig.call(&rig.staff, method, &at, &[("if-match", "\"2\"")], body).await.assert_problem(412, "stale_version");
    }
    assert_eq!(change("\"3\"", json!({ "starts_at": "2099-01-01T00:00:00Z" })).await.expect(400).faults(), ["expires_at"]);
    rig.database.owner().await.batch_execute("UPDATE tenants SET status = 'closed'").await.unwrap();
    change("\"4\"", json!({ "name": "Gone" })).await.assert_problem(409, "tenant_closed");
}

#[tokio::test]
async fn whatever_is_wrong_is_named_at_once() {
    let rig = Rig::start().await;
    let wrong = json!({
        "name": "", "tier": "free", "seats_total": 1.5, "overage": 1_000_001, "session_ttl_seconds": 2, "seat_unit": "chair",
        "requires_token": "yes", "starts_at": "today", "expires_at": "-9999-01-01T00:00:00Z", "features": ["a", "a"],
    });
    let names: Vec<&str> = [
        "name",
        "tier",
        "seats_total",
        "overage",
        "session_ttl_seconds",
        "seat_unit",
        "requires_token",
        "starts_at",
        "expires_at",
        "features",
    ]
    .into();
    assert_eq!(issue(&rig, &rig.ours, &wrong).await.expect(400).faults(), names);
    assert_eq!(rig.change(&rig.staff, "PATCH", &path(&rig.ours.customer), Some(&wrong)).await.expect(400).faults(), names);
    assert_eq!(issue(&rig, &rig.ours, &json!({})).await.expect(400).faults(), ["name", "seats_total"]);
    rig.call_as_is(&rig.staff, "POST", PATH, &[], Some(&new_license())).await.assert_problem(400, "tenant_required");
    let query = "limit=0&cursor=x&tenant_id=ours&status=old&key_last_four=%F0%9F%94%91&expires_before=-9999-01-01T00:00:00Z";
    let answer = rig.get(&rig.staff, &format!("{PATH}?{query}")).await.expect(400);
    assert_eq!(answer.faults(), ["limit", "cursor", "tenant_id", "status", "key_last_four", "expires_before"]);
}

#[tokio::test]
async fn a_key_is_shown_once_and_again_to_the_same_request_and_is_kept_nowhere() {
    let rig = Rig::start().await;
    let (log, _guard) = journal::start();
    widen(&rig, &rig.ours).await;
    let tenant = rig.ours.customer.tenant.to_string();
    let headers = [("x-tenant-id", tenant.as_str()), ("idempotency-key", "issue-1")];
    let issue = async |body: &Value| rig.call(&rig.staff, "POST", PATH, &headers, Some(body)).await;
    let (first, again) = (issue(&new_license()).await.expect(201), issue(&new_license()).await.expect(201));
    assert_eq!((&first.body, first.tag(), &again.headers["idempotent-replayed"]), (&again.body, again.tag(), &"true".parse().unwrap()));
    issue(&json!({ "name": "Other", "seats_total": 2 })).await.assert_problem(422, "idempotency_key_reused");
    let of_ours = format!("{PATH}?tenant_id={tenant}");
    assert_eq!(rig.get(&rig.staff, &of_ours).await.body["items"].as_array().unwrap().len(), 2, "it is issued once");

    let ours = customer(&rig.ours, &first.body);
    let rotated = rig.change(&rig.staff, "POST", &format!("{}/rotate-key", path(&ours)), None).await.expect(200);
    let (list, got) = (rig.get(&rig.staff, PATH).await, rig.get(&rig.staff, &path(&ours)).await);
    let sql = "SELECT (SELECT string_agg(l::text, '') FROM licenses l) || (SELECT string_agg(e::text, '') FROM audit_events e) ||
                      (SELECT string_agg(i::text, '') FROM idempotent_answers i)";
    let record: String = rig.database.owner().await.query_one(sql, &[]).await.unwrap().get(0);
    granted(&rig.acquire(&customer(&rig.ours, &rotated.body), "one").await);
    let log = log.text();
    assert!(log.contains("seats rebuilt"), "the log is not kept: {log}");
    for key in [&first.body["license_key"], &rotated.body["license_key"]] {
        let key = key.as_str().unwrap();
        for place in [&list.text, &got.text, &record, &log] {
            assert!(!place.contains(&key[5..40]) && !place.contains(&key.replace('-', "")[4..32]), "the key is kept");
        }
        assert!(key.ends_with(got.body["key_last_four"].as_str().unwrap()) || key == first.body["license_key"]);
    }
}

#[tokio::test]
async fn an_old_key_opens_nothing_on_the_very_next_call_and_sessions_go_on() {
    let rig = Rig::start().await;
    let old = &rig.ours.customer;
    let session = granted(&rig.acquire(old, "one").await);
    let rotated = rig.change(&rig.staff, "POST", &format!("{}/rotate-key", path(old)), None).await.expect(200);
    assert!(matches!(rig.acquire(old, "one").await, Acquired::Unknown), "the device that sits there");
    assert!(matches!(rig.acquire(old, "two").await, Acquired::Unknown));
    let new = customer(&rig.ours, &rotated.body);
    assert!(matches!(rig.acquire(&new, "one").await, Acquired::Shared(_)), "on the same seat");
    assert!(matches!(beats(&rig, session).await, Heartbeat::Renewed(_)));
    // The newest tells of the shared seat.
    let event = &rig.events(2).await[1];
    assert_eq!((&event["action"], &event["after"]["key_last_four"]), (&json!("license.key_rotated"), &json!(new.key.last_four())));
}

#[tokio::test]
async fn seats_come_and_go_on_the_very_next_call_and_throw_nobody_out() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let sessions = [granted(&rig.acquire(ours, "one").await), granted(&rig.acquire(ours, "two").await)];
    let change = async |body: Value| rig.change(&rig.staff, "PATCH", &path(ours), Some(&body)).await.expect(200);
    change(json!({ "seats_total": 1 })).await;
    assert!(matches!(rig.acquire(ours, "three").await, Acquired::Full { occupancy, .. } if (occupancy.used, occupancy.total) == (2, 1)));
    for session in sessions {
        assert!(matches!(beats(&rig, session).await, Heartbeat::Renewed(_)));
    }
    assert!(matches!(rig.acquire(ours, "two").await, Acquired::Shared(_)), "on the seat that it has");
    change(json!({ "seats_total": 1, "overage": 2, "session_ttl_seconds": 600 })).await;
    let Acquired::Granted(seat) = rig.acquire(ours, "three").await else { panic!("there is a seat") };
    assert_eq!((seat.expires_at - seat.at).num_seconds(), 600);
    change(json!({ "expires_at": rfc3339(rig.clock.now()) })).await;
    assert!(matches!(rig.acquire(ours, "three").await, Acquired::Refused(Refusal::Expired)));
    change(json!({ "expires_at": null, "starts_at": rfc3339(rig.clock.now() + Duration::from_secs(1)) })).await;
    assert!(matches!(rig.acquire(ours, "three").await, Acquired::Refused(Refusal::NotStarted)));
    change(json!({ "starts_at": null, "requires_token": true })).await;
    assert!(matches!(rig.acquire(ours, "three").await, Acquired::Unadmitted(_)));
}

#[tokio::test]
async fn a_shorter_life_of_sessions_holds_from_the_next_heartbeat_on_and_loses_no_seat() {
    let rig = Rig::start().await;
    let ours = &rig.ours.customer;
    let change = async |body: Value| rig.change(&rig.staff, "PATCH", &path(ours), Some(&body)).await.expect(200);
    change(json!({ "seats_total": 1 })).await;
    let session = granted(&rig.acquire(ours, "one").await);
    change(json!({ "session_ttl_seconds": 3 })).await;
    let Heartbeat::Renewed(renewal) = beats(&rig, session).await else { panic!("it lives") };
    assert_eq!(renewal.expires_at, rig.clock.now() + Duration::from_secs(3));
    rig.clock.advance(Duration::from_secs(4));
    // The record has the seat given for as long as was promised at first, and no longer.
    assert!(matches!(rig.acquire(ours, "two").await, Acquired::Full { retry_after: 356, .. }));
    rig.clock.advance(Duration::from_secs(360));
    granted(&rig.acquire(ours, "two").await);
}

#[tokio::test]
async fn a_tenants_licenses_have_no_more_seats_together_than_it_may_have() {
    let rig = Rig::start().await;
    issue(&rig, &rig.ours, &new_license()).await.assert_problem(409, "seat_limit");
    rig.change(&rig.staff, "PATCH", &rig.ours.path(), Some(&json!({ "seat_limit": 7 }))).await.expect(200);
    let body = new_license();
    let (one, two) = tokio::join!(issue(&rig, &rig.ours, &body), issue(&rig, &rig.ours, &body));
    let mut both = [one.status, two.status];
    both.sort_unstable();
    assert_eq!(both, [201, 409], "one of two that come together");
    let path = path(&rig.ours.customer);
    rig.change(&rig.staff, "PATCH", &path, Some(&json!({ "seats_total": 6 }))).await.assert_problem(409, "seat_limit");
    rig.change(&rig.staff, "PATCH", &path, Some(&json!({ "seats_total": 4, "overage": 100 }))).await.expect(200);
    rig.change(&rig.staff, "PATCH", &path, Some(&json!({ "seats_total": 5 }))).await.expect(200);
    rig.change(&rig.staff, "POST", &format!("{path}/revoke"), None).await.expect(200);
    issue(&rig, &rig.ours, &json!({ "name": "More", "seats_total": 5 })).await.expect(201);
}

#[tokio::test]
async fn a_license_of_another_tenant_is_none_by_path_query_body_and_cursor() {
    let rig = Rig::start().await;
    widen(&rig, &rig.ours).await;
    issue(&rig, &rig.ours, &new_license()).await.expect(201);
    let (ours, theirs) = (rig.ours.customer.tenant.to_string(), rig.theirs.customer.tenant.to_string());
    let count = |answer: &Answer| answer.body["items"].as_array().unwrap().len();
    for who in [&rig.ours.member, &rig.ours.admin, &rig.ours.owner] {
        rig.get(who, &path(&rig.theirs.customer)).await.assert_problem(404, "not_found");
        assert_eq!(count(&rig.get(who, &format!("{PATH}?tenant_id={theirs}")).await.expect(200)), 0);
        assert_eq!(count(&rig.get(who, PATH).await.expect(200)), 2);
        rig.post(who, PATH, &new_license()).await.assert_problem(403, "forbidden");
        rig.change(who, "PATCH", &path(&rig.ours.customer), Some(&json!({ "seats_total": 9 }))).await.assert_problem(403, "forbidden");
    }
    rig.get(&rig.ours.guest, &path(&rig.ours.customer)).await.assert_problem(403, "forbidden");

    let cursor = rig.get(&rig.ours.owner, &format!("{PATH}?limit=1")).await.body["next_cursor"].as_str().unwrap().to_owned();
    let with_cursor = format!("{PATH}?cursor={cursor}");
    assert_eq!(count(&rig.get(&rig.ours.owner, &with_cursor).await.expect(200)), 1);
    assert_eq!(rig.get(&rig.theirs.owner, &with_cursor).await.expect(400).faults(), ["cursor"]);
    let of_theirs = [("x-tenant-id", theirs.as_str())];
    assert_eq!(rig.call(&rig.staff, "GET", &with_cursor, &of_theirs, None).await.expect(400).faults(), ["cursor"]);

    // Staff see what is of the tenant that they act for; a body names no tenant.
    assert_eq!(count(&rig.call(&rig.staff, "GET", PATH, &of_theirs, None).await), 1);
    let acting = [("x-tenant-id", ours.as_str())];
    assert_eq!(count(&rig.call(&rig.staff, "GET", PATH, &acting, None).await), 2);
    assert_eq!(count(&rig.call(&rig.staff, "GET", &format!("{PATH}?tenant_id={theirs}"), &acting, None).await), 0);
    rig.call(&rig.staff, "GET", &path(&rig.theirs.customer), &acting, None).await.assert_problem(404, "not_found");
    let revoke = format!("{}/revoke", path(&rig.theirs.customer));
    rig.call(&rig.staff, "POST", &revoke, &[acting[0], ("if-match", "\"1\"")], None).await.assert_problem(404, "not_found");
    let body = json!({ "name": "Mine", "seats_total": 1, "tenant_id": theirs });
    assert_eq!(issue(&rig, &rig.ours, &body).await.expect(400).faults(), ["tenant_id"]);
}

#[tokio::test]
async fn licenses_are_found_by_what_people_know_of_them() {
    let rig = Rig::start().await;
    widen(&rig, &rig.ours).await;
    let ends = json!({ "name": "Ends", "seats_total": 1, "expires_at": "2030-01-01T00:00:00Z" });
    let license = issue(&rig, &rig.ours, &ends).await.expect(201).body;
    let ours = customer(&rig.ours, &license);
    rig.change(&rig.staff, "POST", &format!("{}/suspend", path(&ours)), None).await.expect(200);
    let find = async |query: &str| {
        let answer = rig.get(&rig.ours.member, &format!("{PATH}?{query}")).await.expect(200);
        let ids: Vec<String> =
            answer.body["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect();
        ids
    };
    let (new, old) = ([ours.license.to_string()], [rig.ours.customer.license.to_string()]);
    let end = |key: &LicenseKey| key.last_four().to_lowercase();
    assert_eq!(find("status=suspended").await, new);
    assert_eq!(find("status=active").await, old);
    assert_eq!(find("expires_before=2030-01-01T00:00:00.001Z").await, new);
    assert_eq!(find("expires_before=2030-01-01T00:00:00Z").await, Vec::<String>::new());
    assert_eq!(find(&format!("key_last_four={}&status=suspended", end(&ours.key))).await, new);
    assert_eq!(find(&format!("key_last_four={}", end(&rig.ours.customer.key))).await, old);
}

#[tokio::test]
async fn the_document_is_signed_with_the_change_and_after_one_of_the_tenant_by_the_job() {
    let rig = Rig::start().await;
    let (path, root) = (path(&rig.ours.customer), keys::root());
    let changed = rig.change(&rig.staff, "PATCH", &path, Some(&json!({ "features": ["draw"] }))).await.expect(200);
    let key = root.public_key().await.unwrap();
    let check = |answer: &Answer| {
        let jws = answer.body["license_data"]["signature"].as_str().unwrap();
        let (signed, signature) = jws.rsplit_once('.').unwrap();
        assert!(key.verifies(signed.as_bytes(), &BASE64URL.decode(signature).unwrap()));
        let claims: Value = serde_json::from_slice(&BASE64URL.decode(signed.split_once('.').unwrap().1).unwrap()).unwrap();
        assert_eq!(claims, answer.body["license_data"]["document"]);
        assert_eq!((&claims["version"], &claims["license_id"]), (&answer.body["version"], &answer.body["id"]));
        claims
    };
    assert_eq!(check(&changed)["features"], json!(["draw"]));
    let Acquired::Granted(seat) = rig.acquire(&rig.ours.customer, "one").await else { panic!("there is a seat") };
    assert_eq!((seat.license.version, seat.license.document.is_some()), (2, true));

    rig.change(&rig.staff, "POST", &format!("{}/suspend", rig.ours.path()), None).await.expect(200);
    let waiting = rig.get(&rig.ours.owner, &path).await.expect(200);
    assert_eq!((waiting.tag(), &waiting.body["license_data"]), ("\"3\"", &Value::Null));
    let jobs = rig.database.connect(Role::Jobs);
    assert_eq!(signing::sign_changed(&jobs, &*root, rig.clock.now()).await.unwrap(), 1);
    check(&rig.get(&rig.ours.owner, &path).await.expect(200));
}
