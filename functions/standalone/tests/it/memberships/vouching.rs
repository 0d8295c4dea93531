//! What an issuer may vouch for: not the people of other tenants, nor the staff, however they are known.

use platform::domain::{Clock, Standing, SystemClock};
use serde_json::json;
use testkit::{identity::IdentityProvider, people};

use super::{Caller, Town};

/// A town where another provider may vouch for addresses of one domain alone.
async fn town_with(limits: serde_json::Value) -> (Town, IdentityProvider) {
    let acme = IdentityProvider::start("acme").await;
    let town = Town::start_with(&[(&acme, limits)]).await;
    (town, acme)
}

fn vouched(by: &IdentityProvider, subject: &str, email: &str) -> Caller {
    Caller { token: by.token(subject, email, SystemClock.now()) }
}

#[tokio::test]
async fn issuer_limited_to_a_domain_vouches_for_no_other_address() {
    let (town, acme) = town_with(json!({ "domains": ["acme.example"] })).await;
    town.invite(town.ours(), "ada@x.example", "owner").await;
    town.invite(town.ours(), "ada@acme.example", "member").await;
    town.invite(town.ours(), "ada@sub.acme.example", "member").await;
    let real = town.caller("ada", "ada@x.example");
    let id = town.invitations(&real).await[0].1.clone();
    let forger = vouched(&acme, "eve", "ada@x.example");
    assert_eq!(town.invitations(&forger).await, []);
    for answer in ["accept", "decline"] {
        town.answer(&forger, &id, answer).await.assert_problem(404, "not_found");
    }
    assert_eq!(town.invitations(&vouched(&acme, "eve", "ada@sub.acme.example")).await, []);
    assert_eq!(town.answer(&real, &id, "accept").await.status, 200, "the invitation waits for whom it is for");
    let own = vouched(&acme, "ada", "ADA@Acme.Example");
    assert_eq!(town.accept(&own, "Ours").await.status, 200);
    assert_eq!(town.get(&own, "/api/v1/tenants").await.status, 200);
}

#[tokio::test]
async fn issuer_limited_to_a_tenant_reaches_no_other_even_by_a_row_bound_to_it() {
    let acme = IdentityProvider::start("acme").await;
    let town = Town::start().await;
    let limits = json!({ "tenants": [town.theirs.tenant.to_string()] });
    let setting = IdentityProvider::setting_with(&[(&town.provider, json!({})), (&acme, limits)]);
    let redis = testkit::redis_settings();
    let settings = [("OIDC_ISSUERS", setting.as_str()), ("STAFF_ISSUERS", &town.provider.issuer)];
    let url = town.platform.database.url();
    let process = testkit::Process::start_with(crate::client::BINARY, &["serve"], url, redis.redis_url.expose(), &settings).await;
    let send = async |who: &Caller, method: &str, path: &str| town.send_to(&process.url, who, method, path, None, None).await;

    let bound = people::invite(&town.owner, town.ours(), Standing::Owner, "eve@x.example").await;
    people::join(&town.owner, bound, &acme.issuer, "eve").await;
    let eve = vouched(&acme, "eve", "eve@x.example");
    send(&eve, "GET", "/api/v1/tenants").await.assert_problem(403, "no_account");
    assert_eq!(send(&eve, "GET", "/api/v1/me").await.body["memberships"], json!([]));
    town.invite(town.ours(), "ada@x.example", "owner").await;
    town.invite(town.theirs.tenant, "ada@x.example", "member").await;
    let ada = vouched(&acme, "ada", "ada@x.example");
    let waiting = send(&ada, "GET", "/api/v1/invitations").await;
    assert_eq!(waiting.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(waiting.body["items"][0]["tenant"]["name"], "Theirs");
    let path = format!("/api/v1/invitations/{}/accept", waiting.body["items"][0]["id"].as_str().unwrap());
    assert_eq!(send(&ada, "POST", &path).await.status, 200);
    let seen = send(&ada, "GET", "/api/v1/tenants").await;
    assert_eq!(seen.body["items"][0]["name"], "Theirs");
}

#[tokio::test]
async fn issuer_that_is_not_named_for_staff_claims_no_staff_invitation() {
    let (town, acme) = town_with(json!({})).await;
    people::invite(&town.owner, town.ours(), Standing::Staff, "sam@vendor.example").await;
    let real = town.caller("sam", "sam@vendor.example");
    let id = town.invitations(&real).await[0].1.clone();
    let forger = vouched(&acme, "sam", "sam@vendor.example");
    assert_eq!(town.invitations(&forger).await, []);
    for answer in ["accept", "decline"] {
        town.answer(&forger, &id, answer).await.assert_problem(404, "not_found");
    }
    assert_eq!(town.answer(&real, &id, "accept").await.status, 200);
    town.get(&forger, "/api/v1/tenants").await.assert_problem(403, "no_account");
    // Nor by a row that is bound to it from a time before it was limited.
    let bound = people::invite(&town.owner, town.ours(), Standing::Staff, "old@vendor.example").await;
    people::join(&town.owner, bound, &acme.issuer, "old").await;
    town.get(&vouched(&acme, "old", "old@vendor.example"), "/api/v1/tenants").await.assert_problem(403, "no_account");
}

#[tokio::test]
async fn absent_email_verified_counts_only_where_the_setting_says() {
    let (town, acme) = town_with(json!({ "assume_email_verified": true, "domains": ["acme.example"] })).await;
    town.invite(town.ours(), "ada@acme.example", "member").await;
    let token = |by: &IdentityProvider, verified: serde_json::Value| {
        let claims = by.claims("ada", "ada@acme.example", SystemClock.now());
        let claims = testkit::identity::with(&claims, &json!({ "email_verified": verified }));
        Caller { token: by.key.sign(&by.key.header(), &claims) }
    };
    let invitations = "/api/v1/invitations";
    town.get(&token(&acme, json!(false)), invitations).await.assert_problem(403, "email_not_verified");
    town.get(&token(&town.provider, json!(null)), invitations).await.assert_problem(403, "email_not_verified");
    assert_eq!(town.invitations(&token(&town.provider, json!("true"))).await.len(), 1);
    assert_eq!(town.accept(&token(&acme, json!(null)), "Ours").await.status, 200);
}
