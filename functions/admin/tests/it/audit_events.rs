//! Audit events: who reads them, that nobody changes them, and that no change is made without one.

use std::time::Duration;

use platform::{
    db::connect_as_login,
    domain::{Clock, LicenseId, TenantId, Timestamp, rfc3339},
    seats::Acquired,
};
use serde_json::{Value, json};
use tokio_postgres::error::SqlState;

use crate::{
    people::Person,
    rig::{Rig, Tenant},
};

const PATH: &str = "/api/v1/audit-events";

async fn list(rig: &Rig, who: &Person, query: &str) -> Vec<Value> {
    rig.get(who, &format!("{PATH}?{query}")).await.expect(200).body["items"].as_array().unwrap().clone()
}

fn actions(events: &[Value]) -> Vec<&str> {
    events.iter().map(|event| event["action"].as_str().unwrap()).collect()
}

/// The rig, a minute after everything in it was made.
async fn start() -> Rig {
    let rig = Rig::start().await;
    rig.clock.advance(Duration::from_secs(60));
    rig
}

/// Changes a tenant's name, as its owner.
async fn rename(rig: &Rig, tenant: &Tenant, name: &str) {
    rig.clock.advance(Duration::from_millis(10));
    rig.change(&tenant.owner, "PATCH", &tenant.path(), Some(&json!({ "name": name }))).await.expect(200);
}

/// Writes down so many events of a tenant, all of one moment.
async fn many(rig: &Rig, tenant: TenantId, count: i32, at: Timestamp) {
    let sql =
        "INSERT INTO audit_events (tenant_id, at, actor, action) SELECT $1, $2, 'system', 'test.' || n FROM generate_series(1, $3) AS n";
    rig.database.owner().await.execute(sql, &[&tenant.as_uuid(), &at, &count]).await.unwrap();
}

#[tokio::test]
async fn an_event_tells_who_did_what_to_what_and_how_it_was_before() {
    let rig = start().await;
    rig.call(
        &rig.ours.owner,
        "PATCH",
        &rig.ours.path(),
        &[("if-match", "\"1\""), ("x-request-id", "my-request")],
        Some(&json!({ "name": "New" })),
    )
    .await
    .expect(200);
    let event = &list(&rig, &rig.ours.admin, "").await[0];
    let (tenant, owner) = (json!(rig.ours.customer.tenant.to_string()), json!(rig.ours.owner.id.to_string()));
    assert_eq!((&event["actor"], &event["actor_id"], &event["action"]), (&json!("user"), &owner, &json!("tenant.changed")));
    assert_eq!((&event["tenant_id"], &event["subject_type"], &event["subject_id"]), (&tenant, &json!("tenant"), &tenant));
    assert_eq!((&event["before"]["name"], &event["after"]["name"]), (&json!("Test"), &json!("New")));
    assert_eq!((&event["request_id"], &event["refused"]), (&json!("my-request"), &json!(false)));
    assert_eq!((event["address"].is_string(), &event["at"]), (true, &json!(rfc3339(rig.clock.now()))));
    let path = format!("{PATH}/{}", event["id"].as_str().unwrap());
    assert_eq!(&rig.get(&rig.ours.owner, &path).await.expect(200).body, event);
    assert_eq!(&rig.get(&rig.staff, &path).await.expect(200).body, event);
    rig.get(&rig.theirs.owner, &path).await.assert_problem(404, "not_found");
    rig.get(&rig.ours.member, &path).await.assert_problem(403, "forbidden");
    for made_up in ["evt_x".to_owned(), LicenseId::random().to_string(), LicenseId::random().to_string().replace("lic_", "evt_")] {
        rig.get(&rig.ours.owner, &format!("{PATH}/{made_up}")).await.assert_problem(404, "not_found");
    }
}

#[tokio::test]
async fn what_the_seat_engine_tells_of_a_session_is_named_and_its_secret_is_not_there() {
    let rig = start().await;
    let Acquired::Granted(grant) = rig.acquire(&rig.ours.customer, "one").await else { panic!("no seat") };
    rig.seats.release(grant.session).await.unwrap();
    let events = list(&rig, &rig.ours.admin, "").await;
    assert_eq!(actions(&events)[..2], ["session.released", "session.acquired"]);
    for event in &events[..2] {
        assert_eq!((&event["subject_type"], &event["license_id"]), (&json!("session"), &json!(rig.ours.customer.license.to_string())));
        assert_eq!((&event["actor"], &event["subject_id"]), (&json!("client"), &events[0]["subject_id"]));
    }
    let name: platform::domain::SessionRef = events[0]["subject_id"].as_str().unwrap().parse().unwrap();
    assert!(name.is_of(grant.session.key));
    let secret = grant.session.key.as_uuid().to_string();
    let all = rig.get(&rig.ours.admin, &format!("{PATH}?format=ndjson")).await.expect(200).text;
    assert!(!all.contains(&secret) && !all.contains(serde_json::to_value(grant.session).unwrap().as_str().unwrap()));
}

#[tokio::test]
async fn events_are_found_by_actor_action_subject_refusal_and_time() {
    let rig = start().await;
    let begin = rfc3339(rig.clock.now() + Duration::from_millis(1));
    rename(&rig, &rig.ours, "One").await;
    let middle = rfc3339(rig.clock.now() + Duration::from_millis(1));
    rig.clock.advance(Duration::from_secs(1));
    let guest = format!("/api/v1/users/{}", rig.ours.guest.id);
    rig.change(&rig.ours.admin, "POST", &format!("{guest}/deactivate"), None).await.expect(200);
    rig.change(&rig.ours.admin, "PATCH", &guest, Some(&json!({ "role": "owner" }))).await.assert_problem(403, "forbidden");
    for who in [&rig.ours.admin, &rig.ours.owner, &rig.staff] {
        // That staff look is an event, too.
        let found = async |query: String| {
            let mut events = list(&rig, who, &query).await;
            events.retain(|event| event["actor"] != "staff");
            events
        };
        let of_owner = found(format!("actor_id={}", rig.ours.owner.id)).await;
        assert_eq!(actions(&of_owner), ["tenant.changed"]);
        assert_eq!(found("action=tenant.changed".to_owned()).await, of_owner);
        assert_eq!(found(format!("subject_id={}&refused=false&from={begin}", rig.ours.customer.tenant)).await, of_owner);
        let of_guest = found(format!("subject_id={}", rig.ours.guest.id)).await;
        assert_eq!(actions(&of_guest), ["change_user", "user.deactivated"]);
        assert_eq!(found(format!("refused=true&actor_id={}", rig.ours.admin.id)).await, of_guest[..1]);
        assert_eq!(found(format!("from={middle}&until={}", rfc3339(rig.clock.now()))).await, [] as [Value; 0]);
        assert_eq!(found(format!("from={begin}&until={middle}")).await, of_owner);
        assert_eq!(found(format!("from={middle}")).await, of_guest);
        assert_eq!(found("action=no.such".to_owned()).await, [] as [Value; 0]);
    }
    let query = "actor_id=x&action=%27&subject_id=&refused=maybe&from=x&until=x&format=csv&limit=0&cursor=x";
    let wrong = rig.get(&rig.staff, &format!("{PATH}?{query}")).await.expect(400);
    assert_eq!(wrong.faults(), ["limit", "cursor", "actor_id", "action", "subject_id", "refused", "from", "until", "format"]);
}

#[tokio::test]
async fn nobody_reads_what_happened_at_another_tenants() {
    let rig = start().await;
    for tenant in [&rig.ours, &rig.theirs] {
        rename(&rig, tenant, "One").await;
        rename(&rig, tenant, "Two").await;
    }
    let (ours, theirs) = (rig.ours.customer.tenant.to_string(), rig.theirs.customer.tenant.to_string());
    let cursor_of = async |who| {
        let page = rig.get(who, &format!("{PATH}?limit=1")).await.expect(200);
        page.body["next_cursor"].as_str().unwrap().to_owned()
    };
    let none = [("x-tenant-id", "none")];
    // Three events of no tenant.
    for _ in 0..3 {
        rig.call_as_is(&rig.staff, "GET", "/api/v1/access-tokens", &[], None).await.assert_problem(403, "forbidden");
    }
    let of_none = rig.call(&rig.staff, "GET", &format!("{PATH}?limit=1"), &none, None).await.expect(200);
    let cursors = [cursor_of(&rig.theirs.admin).await, of_none.body["next_cursor"].as_str().unwrap().to_owned()];
    let event = list(&rig, &rig.theirs.owner, "").await[0]["id"].as_str().unwrap().to_owned();
    for who in [&rig.ours.guest, &rig.ours.member] {
        for query in ["", "?format=ndjson"] {
            rig.get(who, &format!("{PATH}{query}")).await.assert_problem(403, "forbidden");
        }
        rig.get(who, &format!("{PATH}/{event}")).await.assert_problem(403, "forbidden");
    }
    for who in [&rig.ours.admin, &rig.ours.owner] {
        for format in ["json", "ndjson"] {
            let all = rig.get(who, &format!("{PATH}?format={format}")).await.expect(200).text;
            assert!(all.contains(&ours) && !all.contains(&theirs), "{all}");
            for query in [format!("actor_id={}", rig.theirs.owner.id), format!("subject_id={theirs}")] {
                let none = rig.get(who, &format!("{PATH}?format={format}&{query}")).await.expect(200).text;
                assert!(!none.contains("evt_"), "{none}");
            }
        }
        for cursor in &cursors {
            assert_eq!(rig.get(who, &format!("{PATH}?cursor={cursor}")).await.expect(400).faults(), ["cursor"]);
        }
        rig.get(who, &format!("{PATH}/{event}")).await.assert_problem(404, "not_found");
        for path in [PATH.to_owned(), format!("{PATH}?format=ndjson"), format!("{PATH}/{event}")] {
            rig.call(who, "GET", &path, &[("x-tenant-id", &theirs)], None).await.assert_problem(403, "forbidden");
        }
    }
    let one = rig.call(&rig.staff, "GET", &format!("{PATH}?format=ndjson"), &[("x-tenant-id", &theirs)], None).await.expect(200).text;
    assert!(one.contains(&theirs) && !one.contains(&ours));
    // That staff have looked is an event of the tenant's.
    let looked = &list(&rig, &rig.theirs.admin, "action=list_audit_events").await[0];
    assert_eq!((&looked["actor"], &looked["actor_id"]), (&json!("staff"), &json!(rig.staff.id.to_string())));
}

#[tokio::test]
async fn pages_and_exports_have_every_event_once_however_many_are_of_one_moment() {
    let rig = start().await;
    let tenant = rig.ours.customer.tenant;
    many(&rig, tenant, 2500, rig.clock.now()).await;
    for who in [&rig.ours.admin, &rig.staff] {
        let (mut seen, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = rig.get(who, &format!("{PATH}?limit=200{cursor}")).await.expect(200);
            seen.extend(page.body["items"].as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()));
            rig.clock.advance(Duration::from_millis(1));
            many(&rig, tenant, 1, rig.clock.now()).await;
            let Some(next) = page.body["next_cursor"].as_str() else { break };
            cursor = format!("&cursor={next}");
        }
        let all = rig.call(who, "GET", PATH, &[("accept", "application/x-ndjson")], None).await.expect(200);
        assert_eq!(all.headers["content-type"], "application/x-ndjson");
        let lines: Vec<Value> = all.text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let exported: Vec<&str> = lines.iter().map(|event| event["id"].as_str().unwrap()).collect();
        assert!(exported.ends_with(&seen.iter().map(String::as_str).collect::<Vec<_>>()), "what came meanwhile moves nothing");
        let unique: std::collections::BTreeSet<&&str> = exported.iter().collect();
        assert!(unique.len() == exported.len() && seen.len() >= 2500);
    }
}

#[tokio::test]
async fn nobody_changes_or_deletes_an_event() {
    let rig = start().await;
    rename(&rig, &rig.ours, "One").await;
    let before: i64 = rig.database.owner().await.query_one("SELECT count(*) FROM audit_events", &[]).await.unwrap().get(0);
    let changes = [
        "UPDATE audit_events SET actor = 'nobody'",
        "DELETE FROM audit_events",
        "TRUNCATE audit_events",
        "UPDATE audit_events_of_seats SET actor = 'nobody'",
        "DELETE FROM audit_events_of_others",
        "TRUNCATE audit_events_of_seats",
        "MERGE INTO audit_events AS e
        USING (VALUES (1)) AS x (n) ON true WHEN MATCHED THEN DELETE",
    ];
    let mut roles: Vec<Option<&str>> = vec![None];
    roles.extend(["coditect_functions", "coditect_admin", "coditect_jobs", "coditect_resolver"].map(Some));
    for role in roles {
        let client = connect_as_login(rig.database.settings()).await.unwrap();
        if let Some(role) = role {
            client.batch_execute(&format!("SET ROLE {role}")).await.unwrap();
        }
        for scope in [format!("SET coditect.tenant = '{}'", rig.ours.customer.tenant.as_uuid()), "SET coditect.staff = 'yes'".to_owned()] {
            client.batch_execute(&scope).await.unwrap();
            for change in changes {
                let refused = client.batch_execute(change).await.expect_err(change);
                assert_eq!(refused.code(), Some(&SqlState::INSUFFICIENT_PRIVILEGE), "{role:?}: {change}: {refused}");
            }
        }
        if role.is_some() {
            for around in [
                "ALTER TABLE audit_events DISABLE TRIGGER ALL",
                "DROP TRIGGER audit_events_stay ON audit_events",
                "DROP TABLE audit_events",
                "ALTER TABLE audit_events DETACH PARTITION audit_events_of_seats",
            ] {
                assert!(client.batch_execute(around).await.is_err(), "{role:?}: {around}");
            }
        }
    }
    let after: i64 = rig.database.owner().await.query_one("SELECT count(*) FROM audit_events", &[]).await.unwrap().get(0);
    assert_eq!(after, before);
    let event = format!("{PATH}/{}", list(&rig, &rig.ours.owner, "").await[0]["id"].as_str().unwrap());
    for who in [&rig.ours.owner, &rig.staff] {
        for (method, path) in [("POST", PATH), ("DELETE", PATH), ("PATCH", &event), ("PUT", &event), ("DELETE", &event)] {
            rig.call(who, method, path, &[("if-match", "*")], Some(&json!({}))).await.assert_problem(405, "method_not_allowed");
        }
    }
}

/// One change of each kind that there is here: who makes it, and how.
fn changes(rig: &Rig) -> Vec<(&Person, &'static str, String, Option<Value>)> {
    let (tenant, guest) = (rig.ours.path(), format!("/api/v1/users/{}", rig.ours.guest.id));
    let new_tenant = json!({ "name": "New", "tier": "trial", "seat_limit": 1, "owner_email": "new@new.example" });
    let token = json!({ "name": "x", "scopes": ["see_tenant"], "expires_at": rfc3339(rig.clock.now() + Duration::from_secs(3600)) });
    vec![
        (&rig.staff, "POST", "/api/v1/tenants".to_owned(), Some(new_tenant)),
        (&rig.ours.owner, "PATCH", tenant.clone(), Some(json!({ "name": "New" }))),
        (&rig.staff, "POST", format!("{tenant}/suspend"), None),
        (&rig.ours.admin, "POST", "/api/v1/users".to_owned(), Some(json!({ "email": "new@new.example", "role": "guest" }))),
        (&rig.ours.owner, "PATCH", guest.clone(), Some(json!({ "role": "member" }))),
        (&rig.ours.admin, "POST", format!("{guest}/deactivate"), None),
        (&rig.ours.member, "POST", "/api/v1/access-tokens".to_owned(), Some(token)),
    ]
}

/// Everything that those changes could have changed.
async fn everything(rig: &Rig) -> String {
    let sql = "SELECT (SELECT string_agg(t::text, '' ORDER BY id) FROM tenants t) ||
               (SELECT string_agg((to_jsonb(u) - 'last_seen_at')::text, '' ORDER BY id) FROM users u) ||
               (SELECT string_agg(l::text, '' ORDER BY id) FROM licenses l) || (SELECT count(*) FROM access_tokens) ||
               (SELECT count(*) FROM idempotent_answers)";
    // That somebody was seen is no change.
    rig.database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
}

async fn try_everything(rig: &Rig) {
    let events = "SELECT count(*) FROM audit_events";
    let events = async || rig.database.owner().await.query_one(events, &[]).await.unwrap().get::<_, i64>(0);
    let before = (everything(rig).await, events().await);
    for (who, method, path, body) in changes(rig) {
        let headers = [("if-match", "\"1\""), ("idempotency-key", path.as_str())];
        let answer = rig.call(who, method, &path, &headers, body.as_ref()).await;
        assert!([500, 503].contains(&answer.status), "{method} {path}: {}", answer.text);
        assert!(!answer.text.contains("told") && !answer.text.contains("audit"), "{}", answer.text);
        assert_eq!((everything(rig).await, events().await), before, "{method} {path}");
    }
}

#[tokio::test]
async fn a_change_that_cannot_be_written_down_is_not_made() {
    let rig = start().await;
    let owner = rig.database.owner().await;
    let deaf = "CREATE FUNCTION deaf() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'cannot be told'; END $$;
                CREATE TRIGGER deaf BEFORE INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION deaf()";
    owner.batch_execute(deaf).await.unwrap();
    try_everything(&rig).await;
    // What may not be done is not done the more.
    let refused = rig.call(&rig.ours.member, "POST", &format!("{}/suspend", rig.ours.path()), &[("if-match", "\"1\"")], None).await;
    assert!([500, 503].contains(&refused.status));
}

#[tokio::test]
async fn a_change_that_fails_is_not_written_down() {
    let rig = start().await;
    let owner = rig.database.owner().await;
    // Everybody was seen just now, which is thus not written once writing fails.
    for (who, ..) in changes(&rig) {
        rig.get(who, "/api/v1/sessions").await.expect(200);
    }
    owner
        .batch_execute("CREATE FUNCTION frail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'not told'; END $$")
        .await
        .unwrap();
    for table in ["tenants", "users", "access_tokens"] {
        // As late as can be: when it is committed, after the event was written.
        let frail = format!(
            "CREATE CONSTRAINT TRIGGER frail AFTER INSERT OR UPDATE ON {table} DEFERRABLE INITIALLY DEFERRED FOR EACH ROW
             EXECUTE FUNCTION frail()"
        );
        owner.batch_execute(&frail).await.unwrap();
    }
    try_everything(&rig).await;
}
