//! Personal access tokens.

use std::time::Duration;

use platform::domain::{Clock, rfc3339};
use serde_json::{Value, json};

use crate::{
    people::Person,
    rig::{Answer, Rig},
};

const PATH: &str = "/api/v1/access-tokens";

fn wanted(rig: &Rig, scopes: &[&str]) -> Value {
    json!({ "name": "nightly report", "scopes": scopes, "expires_at": rfc3339(rig.clock.now() + Duration::from_secs(86_400)) })
}

async fn make(rig: &Rig, who: &Person, scopes: &[&str]) -> (String, String) {
    let made = rig.post(who, PATH, &wanted(rig, scopes)).await.expect(201);
    let text = |member: &str| made.body[member].as_str().unwrap().to_owned();
    (text("token"), text("id"))
}

async fn with(rig: &Rig, token: &str, method: &str, path: &str, body: Option<&Value>) -> Answer {
    rig.send(method, path, &[("authorization", &format!("Bearer {token}"))], body).await
}

#[tokio::test]
async fn a_token_is_shown_once_and_does_what_its_scopes_name() {
    let rig = Rig::start().await;
    let made = rig.post(&rig.ours.admin, PATH, &wanted(&rig, &["see_tenant"])).await.expect(201);
    let token = made.body["token"].as_str().unwrap();
    assert!(token.starts_with("cdt_") && token.ends_with(made.body["last_four"].as_str().unwrap()));
    let seen = with(&rig, token, "GET", "/api/v1/tenants", None).await.expect(200);
    assert_eq!(seen.body["items"][0]["id"], rig.ours.customer.tenant.to_string());
    with(&rig, token, "GET", "/api/v1/users", None).await.assert_problem(403, "forbidden");
    let event = &rig.events(1).await[0];
    assert_eq!((&event["actor_id"], event["token"].is_string()), (&json!(rig.ours.admin.id.to_string()), true));

    let shown = rig.get(&rig.ours.admin, made.headers["location"].to_str().unwrap()).await.expect(200);
    let list = rig.get(&rig.ours.admin, PATH).await.expect(200);
    assert_eq!((list.body["items"][0]["id"].as_str(), shown.body["id"].as_str()), (made.body["id"].as_str(), made.body["id"].as_str()));
    let rows = rig.database.owner().await;
    let sql = "SELECT coalesce(string_agg(a::text, ''), '') || (SELECT coalesce(string_agg(i::text, ''), '') FROM idempotent_answers i) ||
               (SELECT string_agg(e::text, '') FROM audit_events e) FROM access_tokens a";
    let everything: String = rows.query_one(sql, &[]).await.unwrap().get(0);
    for place in [&list.text, &shown.text, &everything] {
        assert!(!place.contains(&token[4..36]), "the secret is kept");
    }
}

#[tokio::test]
async fn the_same_creation_shows_the_same_token_and_leaves_no_trace_of_it() {
    let rig = Rig::start().await;
    let body = wanted(&rig, &["see_tenant"]);
    let create = async || rig.call(&rig.ours.member, "POST", PATH, &[("idempotency-key", "one")], Some(&body)).await.expect(201);
    let (first, again) = (create().await, create().await);
    assert_eq!((&first.body, &again.headers["idempotent-replayed"]), (&again.body, &"true".parse().unwrap()));
    let secret = first.body["token"].as_str().unwrap();
    let sealed: Vec<u8> = rig.database.owner().await.query_one("SELECT answer FROM idempotent_answers", &[]).await.unwrap().get(0);
    assert!(!sealed.windows(8).any(|window| window == &secret.as_bytes()[4..12]));
    // The key is one's own.
    let theirs = rig.call(&rig.theirs.member, "POST", PATH, &[("idempotency-key", "one")], Some(&body)).await.expect(201);
    assert_ne!(theirs.body["token"], first.body["token"]);
}

#[tokio::test]
async fn a_token_gives_nothing_that_its_maker_has_not_and_makes_no_others() {
    let rig = Rig::start().await;
    rig.post(&rig.ours.member, PATH, &wanted(&rig, &["see_tenant", "read_audit"])).await.assert_problem(403, "forbidden");
    rig.post(&rig.ours.owner, PATH, &wanted(&rig, &["manage_licenses"])).await.assert_problem(403, "forbidden");
    for who in [&rig.ours.guest, &rig.staff] {
        rig.post(who, PATH, &wanted(&rig, &["see_own_sessions"])).await.assert_problem(403, "forbidden");
    }
    let (token, _) = make(&rig, &rig.ours.owner, &["have_tokens", "see_tenant"]).await;
    with(&rig, &token, "POST", PATH, Some(&wanted(&rig, &["see_tenant"]))).await.assert_problem(403, "forbidden");
    with(&rig, &token, "GET", PATH, None).await.expect(200);

    let wrong = async |body: Value| {
        let answer = rig.post(&rig.ours.owner, PATH, &body).await.expect(400);
        let mut faults: Vec<String> = answer.faults().into_iter().map(str::to_owned).collect();
        faults.sort_unstable();
        faults
    };
    assert_eq!(wrong(json!({ "scopes": [] })).await, ["expires_at", "name", "scopes"]);
    let mut body = wanted(&rig, &["see_tenant"]);
    for (member, value) in [
        ("name", json!("x".repeat(101))),
        ("scopes", json!(["fly"])),
        ("scopes", json!(["see_tenant", "see_tenant"])),
        ("expires_at", json!("tomorrow")),
        ("expires_at", json!(rfc3339(rig.clock.now()))),
        ("expires_at", json!(rfc3339(rig.clock.now() + Duration::from_secs(367 * 86_400)))),
    ] {
        let good = std::mem::replace(&mut body[member], value);
        assert_eq!(wrong(body.clone()).await, [member]);
        body[member] = good;
    }
}

#[tokio::test]
async fn a_revoked_or_expired_token_is_nobodys_at_once() {
    let rig = Rig::start().await;
    let (token, id) = make(&rig, &rig.ours.member, &["see_tenant"]).await;
    let revoke = format!("{PATH}/{id}/revoke");
    let tenants = async |token: &str| with(&rig, token, "GET", "/api/v1/tenants", None).await;
    tenants(&token).await.expect(200);
    rig.call(&rig.theirs.owner, "POST", &revoke, &[], None).await.assert_problem(404, "not_found");
    let other = Person::make(&rig.database.owner().await, rig.ours.member.tenant, platform::domain::Standing::Member).await;
    rig.call(&other, "POST", &revoke, &[], None).await.assert_problem(404, "not_found");
    let revoked = rig.call(&rig.ours.admin, "POST", &revoke, &[], None).await.expect(200);
    assert!(revoked.body["revoked_at"].is_string());
    tenants(&token).await.assert_problem(401, "unauthenticated");
    assert_eq!(rig.call(&rig.ours.member, "POST", &revoke, &[], None).await.expect(200).body, revoked.body);

    let (owners, id) = make(&rig, &rig.ours.owner, &["see_tenant"]).await;
    rig.call(&rig.ours.admin, "POST", &format!("{PATH}/{id}/revoke"), &[], None).await.assert_problem(403, "forbidden");
    rig.clock.advance(Duration::from_secs(86_399));
    tenants(&owners).await.expect(200);
    rig.clock.advance(Duration::from_secs(1));
    tenants(&owners).await.assert_problem(401, "unauthenticated");
    let of_owner = format!("{PATH}?user_id={}", rig.ours.owner.id);
    rig.get(&rig.ours.admin, &of_owner).await.assert_problem(403, "forbidden");
    rig.get(&rig.ours.member, &of_owner).await.assert_problem(403, "forbidden");
}

#[tokio::test]
async fn whoever_is_deactivated_loses_every_token() {
    let rig = Rig::start().await;
    let (token, id) = make(&rig, &rig.ours.member, &["see_tenant"]).await;
    let user = format!("/api/v1/users/{}", rig.ours.member.id);
    rig.change(&rig.ours.admin, "POST", &format!("{user}/deactivate"), None).await.expect(200);
    assert_eq!((&rig.events(1).await[0]["action"], &rig.events(1).await[0]["subject"]), (&json!("access_token.revoked"), &json!(id)));
    rig.change(&rig.ours.admin, "POST", &format!("{user}/reactivate"), None).await.expect(200);
    with(&rig, &token, "GET", "/api/v1/tenants", None).await.assert_problem(401, "unauthenticated");
}

#[tokio::test]
async fn tokens_are_seen_by_those_who_manage_their_owner_alone() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    let colleague = Person::make(&owner, rig.ours.owner.tenant, platform::domain::Standing::Owner).await;
    let (_, owners) = make(&rig, &rig.ours.owner, &["see_tenant"]).await;
    let (_, members) = make(&rig, &rig.ours.member, &["see_tenant"]).await;
    let of = |whom: &Person| format!("{PATH}?user_id={}", whom.id);
    let one = |id: &str| format!("{PATH}/{id}");
    for path in [of(&rig.ours.owner), one(&owners)] {
        rig.get(&colleague, &path).await.expect(200);
        rig.get(&rig.ours.admin, &path).await.assert_problem(403, "forbidden");
        assert_eq!(rig.events(1).await[0]["is_refused"], true);
        // A token must be permitted what its owner does with it.
        for (scopes, status) in [(vec!["have_tokens", "manage_users"], 403), (vec!["have_tokens", "manage_users", "manage_tenant"], 200)] {
            let (token, _) = make(&rig, &colleague, &scopes).await;
            with(&rig, &token, "GET", &path, None).await.expect(status);
        }
    }
    for path in [of(&rig.ours.member), one(&members)] {
        rig.get(&rig.ours.admin, &path).await.expect(200);
        rig.get(&rig.theirs.owner, &path).await.assert_problem(404, "not_found");
    }
}
