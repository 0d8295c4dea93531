//! The choice among several memberships.

use platform::domain::{Clock, Permission, Standing, SystemClock};
use serde_json::json;
use testkit::{people, policy};

use super::{Caller, Town};
use crate::client::Answer;

#[tokio::test]
async fn member_of_several_tenants_names_one_of_those_listed() {
    let town = Town::start().await;
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    town.join(theirs, Standing::Owner, "ada", "ada@x.example").await;
    town.join(ours, Standing::Member, "ada", "ada@x.example").await;
    let ada = town.caller("ada", "ada@x.example");
    let asked = town.get(&ada, "/api/v1/tenants").await;
    asked.assert_problem(409, "tenant_choice_required");
    let choices = [json!({ "id": ours.to_string(), "name": "Ours" }), json!({ "id": theirs.to_string(), "name": "Theirs" })];
    assert_eq!(asked.body["tenants"], json!(choices));
    for (tenant, status) in [(ours, 403), (theirs, 200)] {
        assert_eq!(town.get_in(&ada, tenant, "/api/v1/users").await.status, status, "the role is that of the tenant");
        let seen = town.get_in(&ada, tenant, "/api/v1/tenants").await;
        assert_eq!(seen.body["items"][0]["id"], tenant.to_string());
    }
    for foreign in [platform::domain::TenantId::random().to_string(), "x".to_owned(), String::new()] {
        town.send(&ada, "GET", "/api/v1/tenants", Some(&foreign), None).await.assert_problem(403, "forbidden");
    }
    let me = town.get(&ada, "/api/v1/me").await;
    let roles: Vec<_> = me.body["memberships"].as_array().unwrap().iter().map(|member| member["role"].clone()).collect();
    assert_eq!((me.status, roles), (200, vec![json!("owner"), json!("member")]));
    assert_eq!((&me.body["verified_email"], &me.body["subject"]), (&json!("ada@x.example"), &json!("ada")));
}

#[tokio::test]
async fn deactivated_membership_affects_no_other() {
    let town = Town::start().await;
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    let id = town.join(ours, Standing::Member, "ada", "ada@x.example").await;
    town.join(theirs, Standing::Member, "ada", "ada@x.example").await;
    let ada = town.caller("ada", "ada@x.example");
    let path = format!("/api/v1/users/{id}");
    let owner = town.owner_of(ours);
    let tag = town.get(&owner, &path).await.headers["etag"].to_str().unwrap().to_owned();
    let url = format!("{}{path}/deactivate", town.platform.process.url);
    let request = town.platform.http.post(url).bearer_auth(&owner.token).header("if-match", tag);
    assert_eq!(Answer::of(request.send().await.unwrap()).await.status, 200);
    town.get_in(&ada, ours, "/api/v1/tenants").await.assert_problem(403, "deactivated");
    let seen = town.get(&ada, "/api/v1/tenants").await;
    assert_eq!((seen.status, &seen.body["items"][0]["id"]), (200, &json!(theirs.to_string())));
}

#[tokio::test]
async fn membership_accepted_in_one_process_is_served_by_another_that_knew_the_caller() {
    let town = Town::start().await;
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    town.join(ours, Standing::Member, "ada", "ada@x.example").await;
    let ada = town.caller("ada", "ada@x.example");
    let second = async |tenant: &str| town.send_to(&town.second.url, &ada, "GET", "/api/v1/tenants", Some(tenant), None).await;
    second(&theirs.to_string()).await.assert_problem(403, "forbidden");
    assert_eq!(second(&ours.to_string()).await.status, 200);
    town.invite(theirs, "ada@x.example", "admin").await;
    assert_eq!(town.accept(&ada, "Theirs").await.status, 200);
    assert_eq!(second(&theirs.to_string()).await.status, 200);
    assert_eq!(second(&ours.to_string()).await.status, 200);
}

#[tokio::test]
async fn seat_is_acquired_as_the_member_of_the_licenses_tenant() {
    let town = Town::start().await;
    let third = town.platform.database.customer(policy(1)).await;
    town.owner.batch_execute("UPDATE licenses SET requires_token = true").await.unwrap();
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    town.join(ours, Standing::Member, "ada", "ada@ours.example").await;
    town.join(theirs, Standing::Guest, "ada", "ada@theirs.example").await;
    let ada = town.caller("ada", "ada@x.example");
    let ask = async |operation: &str, key: &platform::domain::LicenseKey, email: &str| {
        let body = json!({ "license_key": key.reveal(), "hardware_id": "device", "user_email": email });
        Answer::of(town.platform.request(operation).bearer_auth(&ada.token).json(&body).send().await.unwrap()).await
    };
    for operation in ["acquire", "validate"] {
        let own = ask(operation, &town.platform.customer.key, "ada@ours.example").await;
        assert!(own.status < 300, "{operation}: {}", own.text);
        ask(operation, &town.theirs.key, "ada@theirs.example").await.assert_problem(403, "forbidden");
        ask(operation, &third.key, "ada@ours.example").await.assert_problem(404, "license_not_found");
    }
    ask("acquire", &town.platform.customer.key, "ada@theirs.example").await.assert_problem(400, "invalid_request");
}

#[tokio::test]
async fn access_token_acts_in_its_tenant_and_answers_no_invitation() {
    let town = Town::start().await;
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    let id = town.join(ours, Standing::Owner, "ada", "ada@x.example").await;
    town.join(theirs, Standing::Owner, "ada", "ada@x.example").await;
    let until = SystemClock.now() + std::time::Duration::from_secs(3600);
    let token = people::access_token(&town.owner, id, &[Permission::SeeTenant], until).await;
    let machine = Caller { token: token.reveal() };
    for named in [None, Some(ours.to_string())] {
        let seen = town.send(&machine, "GET", "/api/v1/tenants", named.as_deref(), None).await;
        assert_eq!((seen.status, &seen.body["items"][0]["id"]), (200, &json!(ours.to_string())));
    }
    town.get_in(&machine, theirs, "/api/v1/tenants").await.assert_problem(403, "forbidden");
    let lacking = town.get(&machine, "/api/v1/users").await;
    lacking.assert_problem(403, "forbidden");
    assert_eq!(lacking.headers["www-authenticate"], r#"Bearer error="insufficient_scope", scope="manage_users""#);
    town.get(&machine, "/api/v1/invitations").await.assert_problem(403, "forbidden");
    let me = town.get(&machine, "/api/v1/me").await;
    assert_eq!((me.status, &me.body["issuer"], &me.body["token"]["scopes"]), (200, &json!(null), &json!(["see_tenant"])));
    assert_eq!(me.body["memberships"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn own_account_asks_for_a_good_credential() {
    let town = Town::start().await;
    let nobody = town.caller("nobody", "nobody@x.example");
    let me = town.get(&nobody, "/api/v1/me").await;
    assert_eq!((me.status, &me.body["memberships"]), (200, &json!([])));
    let forged = Caller { token: "x".to_owned() };
    for (method, path) in [("GET", "/api/v1/me"), ("GET", "/api/v1/invitations"), ("POST", "/api/v1/invitations/inv_x/accept")] {
        let refused = town.send(&forged, method, path, None, None).await;
        refused.assert_problem(401, "unauthenticated");
        assert_eq!(refused.headers["www-authenticate"], "Bearer error=\"invalid_token\"");
        let request = town.platform.http.request(method.parse().unwrap(), format!("{}{path}", town.platform.process.url));
        let bare = Answer::of(request.send().await.unwrap()).await;
        bare.assert_problem(401, "unauthenticated");
        assert_eq!(bare.headers["www-authenticate"], "Bearer");
    }
}
