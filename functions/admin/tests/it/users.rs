//! Users.

use std::time::Duration;

use platform::domain::{Clock, Standing, rfc3339};
use serde_json::{Value, json};

use crate::{people::Person, rig::Rig};

fn path(person: &Person) -> String {
    format!("/api/v1/users/{}", person.id)
}

fn emails(page: &Value) -> Vec<&str> {
    page["items"].as_array().unwrap().iter().map(|user| user["email"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn those_who_manage_users_see_those_of_their_tenant() {
    let rig = Rig::start().await;
    let all = rig.get(&rig.ours.admin, "/api/v1/users").await.expect(200);
    assert_eq!(all.body["items"].as_array().unwrap().len(), 5);
    assert!(all.body["items"].as_array().unwrap().iter().all(|user| user["tenant_id"] == rig.ours.customer.tenant.to_string()));
    assert_eq!(rig.get(&rig.staff, "/api/v1/users").await.body["items"].as_array().unwrap().len(), 5);
    let members = rig.get(&rig.ours.owner, "/api/v1/users?role=member&status=active").await.expect(200);
    assert_eq!(emails(&members.body), [rig.ours.member.email.as_str()]);
    let invited = rig.get(&rig.ours.owner, "/api/v1/users?status=invited").await.expect(200);
    assert_eq!(emails(&invited.body), ["owner@test.example"]);
    let one = rig.get(&rig.ours.owner, &format!("/api/v1/users?email={}", rig.ours.guest.email)).await.expect(200);
    assert_eq!(emails(&one.body), [rig.ours.guest.email.as_str()]);
    let wrong = rig.get(&rig.ours.owner, "/api/v1/users?role=staff&status=x&email=x").await.expect(400);
    assert_eq!(wrong.faults(), ["role", "status", "email"]);

    rig.get(&rig.ours.admin, &path(&rig.ours.owner)).await.expect(200);
    rig.get(&rig.ours.admin, &path(&rig.theirs.guest)).await.assert_problem(404, "not_found");
    rig.get(&rig.ours.member, "/api/v1/users").await.assert_problem(403, "forbidden");
    let (page, mut seen) = (rig.get(&rig.staff, "/api/v1/users?limit=3").await.expect(200), Vec::new());
    let rest = format!("/api/v1/users?limit=3&cursor={}", page.body["next_cursor"].as_str().unwrap());
    let rest = rig.get(&rig.staff, &rest).await.expect(200);
    seen.extend(emails(&page.body));
    seen.extend(emails(&rest.body));
    assert_eq!((seen.len(), &rest.body["next_cursor"]), (5, &Value::Null));
}

#[tokio::test]
async fn invited_user_joins_by_accepting_with_a_verified_email() {
    let rig = Rig::start().await;
    let new = |email: &str, role: &str| json!({ "email": email, "role": role });
    let invited = rig.post(&rig.ours.admin, "/api/v1/users", &new("grace@new.example", "member")).await.expect(201);
    assert_eq!((&invited.body["status"], invited.tag()), (&json!("invited"), "\"1\""));
    let event = &rig.events(1).await[0];
    assert_eq!((&event["action"], &event["after"], &event["actor"]), (&json!("user.invited"), &invited.body, &json!("user")));

    let token = format!("Bearer {}", rig.provider.vouch("grace", Some("grace@new.example"), &rig.clock));
    let as_grace = [("authorization", token.as_str())];
    rig.send("GET", "/api/v1/tenants", &as_grace, None).await.assert_problem(403, "no_account");
    let waiting = rig.send("GET", "/api/v1/invitations", &as_grace, None).await.expect(200);
    let accept = format!("/api/v1/invitations/{}/accept", waiting.body["items"][0]["id"].as_str().unwrap());
    rig.send("POST", &accept, &as_grace, None).await.expect(200);
    rig.send("GET", "/api/v1/tenants", &as_grace, None).await.expect(200);
    let location = invited.headers["location"].to_str().unwrap();
    assert_eq!(rig.get(&rig.ours.admin, location).await.body["status"], "active");

    rig.post(&rig.ours.owner, "/api/v1/users", &new("Grace@NEW.example", "member")).await.assert_problem(409, "email_taken");
    rig.post(&rig.theirs.owner, "/api/v1/users", &new("grace@new.example", "owner")).await.expect(201);
    for role in ["admin", "owner"] {
        rig.post(&rig.ours.admin, "/api/v1/users", &new("x@new.example", role)).await.assert_problem(403, "forbidden");
        assert_eq!(rig.events(1).await[0]["is_refused"], true);
    }
    assert_eq!(rig.post(&rig.ours.owner, "/api/v1/users", &new("x", "staff")).await.expect(400).faults(), ["email", "role"]);
    let body = new("x@new.example", "owner");
    rig.call_as_is(&rig.staff, "POST", "/api/v1/users", &[], Some(&body)).await.assert_problem(400, "tenant_required");
    let ours = rig.ours.customer.tenant.to_string();
    let made = rig.call(&rig.staff, "POST", "/api/v1/users", &[("x-tenant-id", &ours)], Some(&body)).await.expect(201);
    assert_eq!(made.body["tenant_id"], ours);
}

#[tokio::test]
async fn a_new_role_takes_hold_on_the_very_next_call() {
    let rig = Rig::start().await;
    let (member, admin) = (path(&rig.ours.member), path(&rig.ours.admin));
    rig.get(&rig.ours.member, "/api/v1/users").await.assert_problem(403, "forbidden");
    let changed = rig.change(&rig.ours.owner, "PATCH", &member, Some(&json!({ "role": "admin" }))).await.expect(200);
    assert_eq!((&changed.body["role"], changed.tag()), (&json!("admin"), "\"2\""));
    rig.get(&rig.ours.member, "/api/v1/users").await.expect(200);
    let event = &rig.events(1).await[0];
    assert_eq!((&event["before"]["role"], &event["after"]["role"]), (&json!("member"), &json!("admin")));

    // An admin manages members and guests, and makes nobody more.
    let guest = path(&rig.ours.guest);
    rig.change(&rig.ours.admin, "PATCH", &guest, Some(&json!({ "role": "member" }))).await.expect(200);
    for role in ["admin", "owner"] {
        rig.change(&rig.ours.admin, "PATCH", &guest, Some(&json!({ "role": role }))).await.assert_problem(403, "forbidden");
    }
    rig.change(&rig.ours.admin, "PATCH", &path(&rig.ours.owner), Some(&json!({ "role": "guest" }))).await.assert_problem(403, "forbidden");
    rig.change(&rig.theirs.owner, "PATCH", &member, Some(&json!({ "role": "guest" }))).await.assert_problem(404, "not_found");
    rig.call(&rig.ours.owner, "PATCH", &member, &[("if-match", "\"1\"")], Some(&json!({ "role": "guest" })))
        .await
        .assert_problem(412, "stale_version");
    rig.call(&rig.ours.owner, "PATCH", &member, &[], Some(&json!({}))).await.assert_problem(428, "version_required");
    for wrong in [json!({ "role": "staff" }), json!({ "role": null }), json!({ "role": 1 })] {
        assert_eq!(rig.change(&rig.ours.owner, "PATCH", &admin, Some(&wrong)).await.expect(400).faults(), ["role"]);
    }
    assert_eq!(rig.change(&rig.ours.owner, "PATCH", &admin, Some(&json!({ "role": "admin" }))).await.expect(200).tag(), "\"1\"");
}

#[tokio::test]
async fn a_deactivated_user_is_nobody_at_once_and_may_come_back() {
    let rig = Rig::start().await;
    let guest = path(&rig.ours.guest);
    let token = json!({ "name": "mine", "scopes": ["see_tenant"], "expires_at": "2100-01-01T00:00:00Z" });
    assert_eq!(rig.post(&rig.ours.member, "/api/v1/access-tokens", &token).await.expect(400).faults(), ["expires_at"]);
    let down = async |who, person: &Person| rig.change(who, "POST", &format!("{}/deactivate", path(person)), None).await;
    let gone = down(&rig.ours.admin, &rig.ours.guest).await.expect(200);
    assert_eq!((&gone.body["status"], gone.tag()), (&json!("deactivated"), "\"2\""));
    rig.get(&rig.ours.guest, "/api/v1/tenants").await.assert_problem(403, "deactivated");
    assert_eq!(down(&rig.ours.admin, &rig.ours.guest).await.expect(200).tag(), "\"2\"", "it is so already");
    rig.change(&rig.ours.owner, "PATCH", &guest, Some(&json!({ "role": "member" }))).await.assert_problem(409, "user_deactivated");
    let back = rig.change(&rig.ours.admin, "POST", &format!("{guest}/reactivate"), None).await.expect(200);
    assert_eq!(back.body["status"], "active");
    rig.get(&rig.ours.guest, "/api/v1/tenants").await.assert_problem(403, "forbidden");
    for (who, whom) in [(&rig.ours.admin, &rig.ours.owner), (&rig.ours.admin, &rig.ours.admin), (&rig.ours.member, &rig.ours.guest)] {
        down(who, whom).await.assert_problem(403, "forbidden");
        assert_eq!(rig.events(1).await[0]["subject"], whom.id.to_string());
    }
    down(&rig.theirs.owner, &rig.ours.guest).await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn a_tenant_keeps_an_owner_however_many_go_at_once() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    let mut owners = vec![rig.ours.owner.clone()];
    for _ in 0..3 {
        owners.push(Person::make(&owner, rig.ours.owner.tenant, Standing::Owner).await);
    }
    // Each throws out the next, all at once; an invitation that nobody took up does not count.
    let throw = async |at: usize| {
        let whom = format!("{}/deactivate", path(&owners[(at + 1) % owners.len()]));
        rig.call(&owners[at], "POST", &whom, &[("if-match", "\"1\"")], None).await
    };
    let (a, b, c, d) = tokio::join!(throw(0), throw(1), throw(2), throw(3));
    let statuses = [&a, &b, &c, &d].map(|answer| answer.status);
    assert!(statuses.iter().all(|status| [200, 403, 409].contains(status)), "{statuses:?}");
    let left = "SELECT count(*) FROM users WHERE tenant_id = $1 AND role = 'owner' AND status = 'active'";
    let left: i64 = owner.query_one(left, &[&rig.ours.customer.tenant.as_uuid()]).await.unwrap().get(0);
    assert!(left >= 1);

    let lonely = &rig.theirs.owner;
    let down = format!("{}/deactivate", path(lonely));
    rig.change(lonely, "POST", &down, None).await.assert_problem(409, "last_owner");
    rig.change(&rig.staff, "PATCH", &path(lonely), Some(&json!({ "role": "admin" }))).await.assert_problem(409, "last_owner");
    // The invited one may go, and comes back as invited.
    let invited = rig.get(lonely, "/api/v1/users?status=invited").await;
    let invited = format!("/api/v1/users/{}", invited.body["items"][0]["id"].as_str().unwrap());
    rig.change(lonely, "POST", &format!("{invited}/deactivate"), None).await.expect(200);
    assert_eq!(rig.change(lonely, "POST", &format!("{invited}/reactivate"), None).await.expect(200).body["status"], "invited");
}

/// Makes a token of somebody's with these scopes, and answers its header and its id.
async fn token(rig: &Rig, who: &Person, scopes: &[&str]) -> (String, String) {
    let body = json!({ "name": "x", "scopes": scopes, "expires_at": rfc3339(rig.clock.now() + Duration::from_secs(3600)) });
    let made = rig.post(who, "/api/v1/access-tokens", &body).await.expect(201);
    (format!("Bearer {}", made.body["token"].as_str().unwrap()), made.body["id"].as_str().unwrap().to_owned())
}

#[tokio::test]
async fn token_that_manages_users_alone_makes_and_ends_no_owner_or_admin() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    let other = Person::make(&owner, rig.ours.owner.tenant, Standing::Owner).await;
    let (users, _) = token(&rig, &rig.ours.owner, &["manage_users"]).await;
    let (both, _) = token(&rig, &rig.ours.owner, &["manage_users", "manage_tenant"]).await;
    let send = async |token: &str, method: &str, path: &str, body: Option<Value>| {
        let tag: i64 = owner.query_one("SELECT version FROM users WHERE id = $1", &[&other.id.as_uuid()]).await.unwrap().get(0);
        let headers = [("authorization", token), ("if-match", &*format!("\"{tag}\""))];
        rig.send(method, path, &headers, body.as_ref()).await
    };
    let new = |role: &str| Some(json!({ "email": format!("{role}@new.example"), "role": role }));
    for role in ["owner", "admin"] {
        send(&users, "POST", "/api/v1/users", new(role)).await.assert_problem(403, "forbidden");
        assert_eq!(rig.events(1).await[0]["is_refused"], true);
    }
    for role in ["member", "guest"] {
        send(&users, "POST", "/api/v1/users", new(role)).await.expect(201);
    }
    let (down, up) = (format!("{}/deactivate", path(&other)), format!("{}/reactivate", path(&other)));
    send(&users, "POST", &down, None).await.assert_problem(403, "forbidden");
    send(&users, "PATCH", &path(&other), Some(json!({ "role": "guest" }))).await.assert_problem(403, "forbidden");
    send(&both, "POST", &down, None).await.expect(200);
    send(&users, "POST", &up, None).await.assert_problem(403, "forbidden");
    send(&both, "POST", &up, None).await.expect(200);
    send(&both, "POST", "/api/v1/users", new("owner")).await.expect(201);
}

#[tokio::test]
async fn demoted_user_keeps_only_tokens_that_the_new_role_allows() {
    let rig = Rig::start().await;
    let admin = &rig.ours.admin;
    let (narrow, _) = token(&rig, admin, &["see_tenant"]).await;
    let (wide, wide_id) = token(&rig, admin, &["see_tenant", "manage_users"]).await;
    let (_, revoked) = token(&rig, admin, &["manage_users"]).await;
    rig.call(admin, "POST", &format!("/api/v1/access-tokens/{revoked}/revoke"), &[], None).await.expect(200);
    let see = async |token: &str| rig.send("GET", "/api/v1/tenants", &[("authorization", token)], None).await.status;
    let role = async |role: &str| rig.change(&rig.ours.owner, "PATCH", &path(admin), Some(&json!({ "role": role }))).await.expect(200);
    role("owner").await;
    assert_eq!((see(&narrow).await, see(&wide).await), (200, 200));
    role("member").await;
    assert_eq!((see(&narrow).await, see(&wide).await), (200, 401));
    let events = rig.events(2).await;
    assert_eq!((&events[0]["action"], &events[0]["subject"]), (&json!("access_token.revoked"), &json!(wide_id)));
    assert_eq!(events[1]["action"], "user.changed");
    role("admin").await;
    assert_eq!((see(&narrow).await, see(&wide).await), (200, 401), "what is revoked stays so");
}
