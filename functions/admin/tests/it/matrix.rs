//! The matrix: each operation, as everybody, of the own tenant and of another, against the one table.

use admin::{identity_operations, operations};
use platform::domain::{BlockId, Clock, LicenseId, SessionKey, SessionRef, Standing, TokenId};

use crate::{
    people::Person,
    rig::{Rig, Tenant},
};

/// An id that an operation's path may name, of something that a tenant has or could have.
fn id(path: &str, tenant: &Tenant, rig: &Rig) -> String {
    match path.split('/').nth(3) {
        Some("tenants") => tenant.customer.tenant.to_string(),
        Some("users") => tenant.guest.id.to_string(),
        Some("licenses") => tenant.customer.license.to_string(),
        Some("sessions") => SessionRef::of(tenant.customer.license, rig.clock.now(), SessionKey::random()).to_string(),
        Some("access-tokens") => TokenId::random().to_string(),
        Some("hardware-blocks") => BlockId::random().to_string(),
        Some(_) | None => LicenseId::random().to_string(),
    }
}

fn everybody(rig: &Rig) -> [&Person; 5] {
    [&rig.ours.guest, &rig.ours.member, &rig.ours.admin, &rig.ours.owner, &rig.staff]
}

#[tokio::test]
async fn each_operation_is_done_for_those_whom_the_table_names_and_refused_to_all_others() {
    let rig = Rig::start().await;
    let mut cells = 0;
    for operation in operations() {
        for who in everybody(&rig) {
            for tenant in [&rig.ours, &rig.theirs] {
                let path = operation.path.replace("{id}", &id(operation.path, tenant, &rig));
                // Nothing is changed: the version is nobody's, and the body says nothing.
                let body = serde_json::json!({});
                let body = (!operation.is_read()).then_some(&body);
                let answer = rig.call(who, operation.method, &path, &[("if-match", "\"0\"")], body).await;
                let cell = format!("{} as {}, {path}: {} {}", operation.name, who.standing.as_str(), answer.status, answer.text);
                let is_permitted = operation.permission.holders().contains(&who.standing);
                assert_eq!(answer.body["code"] == "forbidden", !is_permitted, "{cell}");
                if !is_permitted {
                    let event = &rig.events(1).await[0];
                    assert!(event["action"] == operation.name && event["is_refused"] == true, "{cell}");
                }
                let is_foreign = tenant.customer.tenant == rig.theirs.customer.tenant && operation.path.contains("{id}");
                if is_permitted && is_foreign && who.standing != Standing::Staff {
                    assert!([400, 404].contains(&answer.status), "{cell}");
                }
                assert!(answer.status < 500, "{cell}");
                cells += 1;
            }
        }
    }
    assert_eq!(cells, operations().count() * 5 * 2);
}

#[tokio::test]
async fn nobody_acts_for_another_tenant_and_nobody_is_served_without_a_token() {
    let rig = Rig::start().await;
    let theirs = rig.theirs.customer.tenant.to_string();
    for operation in operations() {
        let path = operation.path.replace("{id}", &id(operation.path, &rig.theirs, &rig));
        let body = serde_json::json!({});
        let body = (!operation.is_read()).then_some(&body);
        for who in everybody(&rig).into_iter().filter(|who| who.standing != Standing::Staff) {
            let answer = rig.call(who, operation.method, &path, &[("x-tenant-id", &theirs), ("if-match", "\"0\"")], body).await;
            answer.assert_problem(403, "forbidden");
        }
        rig.send(operation.method, &path, &[("if-match", "\"0\"")], body).await.assert_problem(401, "unauthenticated");
    }
}

#[tokio::test]
async fn identity_operations_take_a_good_credential_and_no_membership() {
    let rig = Rig::start().await;
    let stranger = format!("Bearer {}", rig.provider.vouch("stranger", Some("stranger@x.example"), &rig.clock));
    let unverified = format!("Bearer {}", rig.provider.vouch("stranger", None, &rig.clock));
    let theirs = rig.theirs.customer.tenant.to_string();
    for operation in identity_operations() {
        let path = operation.path.replace("{id}", &platform::domain::InvitationId::random().to_string());
        let expected = if operation.path.contains("{id}") { 404 } else { 200 };
        // Whichever tenant is named: these are of none.
        let headers = [("x-tenant-id", theirs.as_str())];
        for who in everybody(&rig) {
            let token = format!("Bearer {}", rig.provider.vouch(who.subject(), Some(&who.email), &rig.clock));
            let headers = [headers[0], ("authorization", token.as_str())];
            rig.send(operation.method, &path, &headers, None).await.expect(expected);
        }
        rig.send(operation.method, &path, &[("authorization", &stranger)], None).await.expect(expected);
        let unproven = rig.send(operation.method, &path, &[("authorization", &unverified)], None).await;
        if operation.name == "get_me" {
            unproven.expect(200);
        } else {
            unproven.assert_problem(403, "email_not_verified");
        }
        rig.send(operation.method, &path, &[], None).await.assert_problem(401, "unauthenticated");
    }
}
