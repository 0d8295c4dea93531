//! Whoever makes a change is looked at within the change's own transaction: what a process knows from before decides nothing.

use std::{pin::pin, time::Duration};

use admin::{Operation, operations};
use futures_util::future::{Either, select};
use platform::{
    db::{Rows, Scope},
    domain::{Clock, Principal, Standing, rfc3339},
};
use serde_json::json;
use testkit::must_complete;

use crate::{
    people::Person,
    requests::{Things, actor, body},
    rig::{Answer, Rig},
};

fn changes() -> impl Iterator<Item = &'static Operation> {
    operations().filter(|operation| !operation.is_read())
}

/// Does an operation as the one who may, or with a token of its.
async fn attempt(rig: &Rig, things: &Things, operation: &Operation, token: Option<&str>) -> Answer {
    let (who, mut headers) = (actor(rig, operation), vec![("if-match", "\"1\"")]);
    let (path, body) = (things.path(rig, operation), body(rig, operation));
    match token {
        None => rig.call(who, operation.method, &path, &headers, body.as_ref()).await,
        Some(token) => {
            let bearer = format!("Bearer {token}");
            headers.push(("authorization", &bearer));
            rig.send(operation.method, &path, &headers, body.as_ref()).await
        }
    }
}

/// Everything that a change can change.
async fn everything(rig: &Rig) -> String {
    let sql = "SELECT concat((SELECT string_agg(t::text, '' ORDER BY id) FROM tenants t),
                   (SELECT string_agg((to_jsonb(u) - 'last_seen_at' - 'status')::text, '' ORDER BY id) FROM users u),
                   (SELECT string_agg(l::text, '' ORDER BY id) FROM licenses l), (SELECT string_agg(s::text, '' ORDER BY id) FROM sessions s),
                   (SELECT string_agg((to_jsonb(a) - 'last_used_at' - 'revoked_at')::text, '' ORDER BY id) FROM access_tokens a),
                   (SELECT string_agg(b::text, '' ORDER BY id) FROM hardware_blocks b), (SELECT count(*) FROM idempotent_answers))";
    rig.database.owner().await.query_one(sql, &[]).await.unwrap().get(0)
}

/// The statement that sets somebody's status.
fn set_status(who: &Person, status: &str) -> String {
    let table = if who.standing == Standing::Staff { "staff" } else { "users" };
    format!("UPDATE {table} SET status = '{status}' WHERE id = '{}'", who.id.as_uuid())
}

/// Waits until a session of this database waits for a row that another has locked.
async fn somebody_waits(rig: &Rig) {
    let sql = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'";
    let owner = rig.database.owner().await;
    while owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        tokio::task::yield_now().await;
    }
}

fn assert_refused(operation: &Operation, answer: &Answer) {
    assert!([401, 403].contains(&answer.status), "{}: {} {}", operation.name, answer.status, answer.text);
}

#[tokio::test]
async fn change_whose_actor_is_deactivated_meanwhile_is_refused() {
    let rig = Rig::start().await;
    let things = Things::make(&rig).await;
    // Everybody is known already, so that only the change's own transaction looks at the actor's row.
    rig.get(&rig.staff, "/api/v1/tenants").await.expect(200);
    let before = everything(&rig).await;
    let mut deactivator = rig.database.owner().await;
    for operation in changes() {
        let who = actor(&rig, operation);
        let deactivation = deactivator.transaction().await.unwrap();
        deactivation.batch_execute(&set_status(who, "deactivated")).await.unwrap();
        let trying = pin!(attempt(&rig, &things, operation, None));
        let answer = match select(trying, pin!(somebody_waits(&rig))).await {
            Either::Left((answer, _)) => panic!("{} does not lock its actor's row: {} {}", operation.name, answer.status, answer.text),
            Either::Right(((), trying)) => {
                deactivation.commit().await.unwrap();
                must_complete("what was tried", trying).await
            }
        };
        // Beyond the deadline of a transaction it is asked for again: the process still knows the actor from before.
        let answer = if answer.status == 503 { attempt(&rig, &things, operation, None).await } else { answer };
        assert_refused(operation, &answer);
        deactivator.batch_execute(&set_status(who, "active")).await.unwrap();
    }
    assert_eq!(everything(&rig).await, before);
}

#[tokio::test]
async fn change_by_a_token_that_is_revoked_meanwhile_is_refused() {
    let rig = Rig::start().await;
    let things = Things::make(&rig).await;
    let of_owners = |operation: &&Operation| actor(&rig, operation).standing == Standing::Owner && operation.name != "create_access_token";
    let scopes: Vec<&str> = ["see_tenant", "revoke_sessions", "manage_users", "manage_tenant", "have_tokens"].to_vec();
    let expires_at = rfc3339(rig.clock.now() + Duration::from_secs(3600));
    let wanted = json!({ "name": "all", "scopes": scopes, "expires_at": expires_at });
    let made = rig.post(&rig.ours.owner, "/api/v1/access-tokens", &wanted).await.expect(201);
    let (token, id) = (made.body["token"].as_str().unwrap(), made.body["id"].as_str().unwrap());
    let bearer = format!("Bearer {token}");
    rig.send("GET", "/api/v1/tenants", &[("authorization", &bearer)], None).await.expect(200);
    let before = everything(&rig).await;
    let mut revoker = rig.database.owner().await;
    let set_revoked_at = |moment: &str| format!("UPDATE access_tokens SET revoked_at = {moment} WHERE shown_id('tok_', id) = '{id}'");
    for operation in changes().filter(of_owners) {
        let revocation = revoker.transaction().await.unwrap();
        revocation.batch_execute(&set_revoked_at("now()")).await.unwrap();
        let trying = pin!(attempt(&rig, &things, operation, Some(token)));
        let answer = match select(trying, pin!(somebody_waits(&rig))).await {
            Either::Left((answer, _)) => panic!("{} does not lock its actor's token: {} {}", operation.name, answer.status, answer.text),
            Either::Right(((), trying)) => {
                revocation.commit().await.unwrap();
                must_complete("what was tried", trying).await
            }
        };
        let answer = if answer.status == 503 { attempt(&rig, &things, operation, Some(token)).await } else { answer };
        assert_refused(operation, &answer);
        revoker.batch_execute(&set_revoked_at("NULL")).await.unwrap();
    }
    assert_eq!(everything(&rig).await, before);
}

#[tokio::test]
async fn person_deactivated_on_one_process_changes_nothing_on_another() {
    let mut rig = Rig::start().await;
    let things = Things::make(&rig).await;
    let owner = rig.database.owner().await;
    rig.switch();
    for who in [&rig.ours.owner, &rig.staff] {
        rig.get(who, "/api/v1/tenants").await.expect(200);
    }
    rig.switch();
    let colleague = Person::make(&owner, rig.ours.owner.tenant, Standing::Owner).await;
    rig.change(&colleague, "POST", &format!("/api/v1/users/{}/deactivate", rig.ours.owner.id), None).await.expect(200);
    owner.batch_execute(&set_status(&rig.staff, "deactivated")).await.unwrap();
    let before = everything(&rig).await;
    rig.switch();
    for operation in changes() {
        assert_refused(operation, &attempt(&rig, &things, operation, None).await);
    }
    assert_eq!(everything(&rig).await, before);
    // The owner cannot take itself in again, and is not read for either once the process has noticed.
    let itself = format!("/api/v1/users/{}/reactivate", rig.ours.owner.id);
    let again = rig.call(&rig.ours.owner, "POST", &itself, &[("if-match", "\"2\"")], None).await;
    assert!([401, 403].contains(&again.status), "{}", again.text);
    assert!([401, 403].contains(&rig.get(&rig.ours.owner, "/api/v1/tenants").await.status));
}

#[tokio::test]
async fn person_demoted_on_one_process_has_the_new_role_on_another() {
    let mut rig = Rig::start().await;
    let owner = rig.database.owner().await;
    let demoted = Person::make(&owner, rig.ours.owner.tenant, Standing::Owner).await;
    rig.switch();
    rig.get(&demoted, "/api/v1/tenants").await.expect(200);
    rig.switch();
    let path = format!("/api/v1/users/{}", demoted.id);
    rig.change(&rig.ours.owner, "PATCH", &path, Some(&json!({ "role": "admin" }))).await.expect(200);
    rig.switch();
    let invite = |role: &str| json!({ "email": format!("{role}@new.example"), "role": role });
    rig.post(&demoted, "/api/v1/users", &invite("owner")).await.assert_problem(403, "forbidden");
    let event = &rig.events(1).await[0];
    assert_eq!((&event["action"], &event["is_refused"]), (&json!("invite_user"), &json!(true)));
    rig.change(&demoted, "PATCH", &rig.ours.path(), Some(&json!({ "name": "Mine" }))).await.assert_problem(403, "forbidden");
    rig.post(&demoted, "/api/v1/users", &invite("guest")).await.expect(201);
}

#[tokio::test]
async fn person_promoted_on_one_process_may_more_on_another() {
    let mut rig = Rig::start().await;
    rig.switch();
    rig.get(&rig.ours.member, "/api/v1/tenants").await.expect(200);
    rig.switch();
    let path = format!("/api/v1/users/{}", rig.ours.member.id);
    rig.change(&rig.ours.owner, "PATCH", &path, Some(&json!({ "role": "owner" }))).await.expect(200);
    rig.switch();
    let body = json!({ "email": "new@new.example", "role": "owner" });
    rig.post(&rig.ours.member, "/api/v1/users", &body).await.expect(201);
}

#[tokio::test]
async fn owners_who_deactivate_each_other_at_once_do_not_wait_for_each_other() {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    for _ in 0..4 {
        let pair = [Person::make(&owner, rig.ours.owner.tenant, Standing::Owner).await, rig.ours.owner.clone()];
        let [one, other] = &pair;
        let down = async |who: &Person, whom: &Person| {
            let path = format!("/api/v1/users/{}/deactivate", whom.id);
            rig.call(who, "POST", &path, &[("if-match", "\"1\"")], None).await.status
        };
        // Each also does something that locks no tenant.
        let block = json!({ "license_id": rig.ours.customer.license.to_string(), "hardware_id": "x", "until": "2100-01-01T00:00:00Z" });
        let block = async |who: &Person| rig.post(who, "/api/v1/hardware-blocks", &block).await.status;
        let (a, b, c, d) = tokio::join!(down(one, other), down(other, one), block(one), block(other));
        let mut downs = [a, b];
        downs.sort_unstable();
        assert!(downs[0] == 200 && [401, 403].contains(&downs[1]), "{downs:?}");
        assert!([c, d].iter().all(|status| [201, 401, 403].contains(status)), "{c} {d}");
        for who in &pair {
            owner.batch_execute(&format!("{}; UPDATE users SET version = 1", set_status(who, "active"))).await.unwrap();
        }
        rig.clock.advance(Duration::from_secs(11));
    }
}

#[tokio::test]
async fn transaction_that_reads_changes_nothing() {
    let rig = Rig::start().await;
    let database = rig.database.connect(platform::db::Role::Admin);
    let Person { id, tenant, standing, email, .. } = &rig.ours.owner;
    let actor = Principal { id: *id, standing: *standing, tenant: *tenant, email: email.clone(), token: None };
    let scope = Scope::new(Rows::Tenant(rig.ours.customer.tenant), &actor);
    let (transaction, _) = database.begin(scope, platform::db::Access::Read, &[]).await.unwrap();
    let refused = transaction.query("UPDATE tenants SET name = 'Mine'", &[]).await.unwrap_err();
    assert!(refused.to_string().contains("read-only"), "{refused}");
    drop(transaction);
    assert_eq!(rig.get(&rig.ours.owner, &rig.ours.path()).await.expect(200).body["name"], json!("Test"));
}
