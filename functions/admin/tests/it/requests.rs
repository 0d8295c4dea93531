//! A good request for each operation that changes something, for the tests that walk the table of operations.

use std::time::Duration;

use admin::Operation;
use platform::domain::{Clock, rfc3339};
use serde_json::{Value, json};

use crate::{
    people::Person,
    rig::Rig,
    sessions::{name, seat},
};

/// Things of our tenant that operations can change.
#[derive(Debug)]
pub(crate) struct Things {
    session: String,
    token: String,
    block: String,
}

impl Things {
    pub(crate) async fn make(rig: &Rig) -> Self {
        seat(rig, &rig.ours.customer, "device", "somebody@test.example").await;
        let token = rig.post(&rig.ours.owner, "/api/v1/access-tokens", &new_token(rig)).await.expect(201);
        let block = rig.post(&rig.ours.owner, "/api/v1/hardware-blocks", &new_block(rig)).await.expect(201);
        let id = |made: &crate::rig::Answer| made.body["id"].as_str().unwrap().to_owned();
        Self { session: name(rig, "device").await, token: id(&token), block: id(&block) }
    }

    /// The path of an operation on one of these.
    pub(crate) fn path(&self, rig: &Rig, operation: &Operation) -> String {
        let id = match operation.path.split('/').nth(3).unwrap() {
            "tenants" => rig.ours.customer.tenant.to_string(),
            "users" => rig.ours.guest.id.to_string(),
            "licenses" => rig.ours.customer.license.to_string(),
            "sessions" => self.session.clone(),
            "access-tokens" => self.token.clone(),
            "hardware-blocks" => self.block.clone(),
            _ => "evt_00000000000000000000000000".to_owned(),
        };
        operation.path.replace("{id}", &id)
    }
}

/// Who may do an operation of our tenant: its owner, or staff where an owner may not.
pub(crate) fn actor<'a>(rig: &'a Rig, operation: &Operation) -> &'a Person {
    let owner = &rig.ours.owner;
    if operation.permission.holders().contains(&owner.standing) { owner } else { &rig.staff }
}

/// A body with which an operation does something. None: it takes none.
pub(crate) fn body(rig: &Rig, operation: &Operation) -> Option<Value> {
    match operation.name {
        "create_tenant" => Some(json!({ "name": "New", "tier": "trial", "seat_limit": 1, "owner_email": "new@new.example" })),
        "change_tenant" | "change_license" => Some(json!({ "name": "New" })),
        "invite_user" => Some(json!({ "email": "new@new.example", "role": "owner" })),
        "change_user" => Some(json!({ "role": "member" })),
        "create_access_token" => Some(new_token(rig)),
        "issue_license" => Some(json!({ "name": "New", "seats_total": 1 })),
        "create_hardware_block" => Some(new_block(rig)),
        "suspend_tenant"
        | "reinstate_tenant"
        | "deactivate_user"
        | "reactivate_user"
        | "revoke_access_token"
        | "suspend_license"
        | "reinstate_license"
        | "rotate_license_key"
        | "revoke_license"
        | "revoke_session"
        | "delete_hardware_block" => None,
        other => panic!("say here how {other} is asked for: the tests that walk the table try it"),
    }
}

fn new_token(rig: &Rig) -> Value {
    json!({ "name": "x", "scopes": ["see_tenant"], "expires_at": rfc3339(rig.clock.now() + Duration::from_secs(3600)) })
}

fn new_block(rig: &Rig) -> Value {
    let until = rfc3339(rig.clock.now() + Duration::from_secs(3600));
    json!({ "license_id": rig.ours.customer.license.to_string(), "hardware_id": "another", "until": until })
}
