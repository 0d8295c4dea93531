//! What becomes of a user's sessions when the user may not have them any longer.

use platform::{
    domain::{EndReason, LicenseId},
    seats::Heartbeat,
};
use serde_json::json;

use super::{beat, name, seat};
use crate::{people::Person, rig::Rig};

async fn require_token(rig: &Rig, license: LicenseId, is_required: bool) {
    let sql = "UPDATE licenses SET requires_token = $2 WHERE id = $1";
    rig.database.owner().await.execute(sql, &[&license.as_uuid(), &is_required]).await.unwrap();
}

async fn is_revoked(rig: &Rig, session: platform::domain::SessionId) -> bool {
    match beat(rig, session).await {
        Heartbeat::Ended(EndReason::Revoked) => true,
        Heartbeat::Renewed(_) => false,
        other => panic!("{other:?}"),
    }
}

fn path(person: &Person) -> String {
    format!("/api/v1/users/{}", person.id)
}

#[tokio::test]
async fn deactivation_revokes_sessions_on_licenses_that_require_a_token() {
    let rig = Rig::start().await;
    let (ours, theirs, member) = (&rig.ours.customer, &rig.theirs.customer, &rig.ours.member);
    let shouted = member.email.to_uppercase();
    let mut sessions = Vec::new();
    for (customer, device, email) in
        [(ours, "one", &member.email), (ours, "two", &shouted), (ours, "admins", &rig.ours.admin.email), (theirs, "theirs", &member.email)]
    {
        sessions.push(seat(&rig, customer, device, email).await.session);
    }
    let names = [name(&rig, "one").await, name(&rig, "two").await];
    for customer in [ours, theirs] {
        require_token(&rig, customer.license, true).await;
    }
    rig.change(&rig.ours.admin, "POST", &format!("{}/deactivate", path(member)), None).await.expect(200);
    let mut revoked = Vec::new();
    for session in sessions {
        revoked.push(is_revoked(&rig, session).await);
    }
    assert_eq!(revoked, [true, true, false, false], "those of the user, in this tenant");
    let events = rig.events(5).await;
    let told: Vec<_> = events.iter().filter(|event| event["action"] == "session.revoked").collect();
    assert_eq!(told.len(), 2);
    for event in told {
        assert!(names.contains(&event["subject"].as_str().unwrap().to_owned()), "{event}");
        assert_eq!((&event["actor_id"], &event["before"]["state"]), (&json!(rig.ours.admin.id.to_string()), &json!("live")));
        assert_eq!((&event["after"]["state"], &event["after"]["ended_reason"]), (&json!("ended"), &json!("revoked")));
    }
    let seats = rig.get(&rig.ours.admin, "/api/v1/sessions?state=live").await.expect(200);
    assert_eq!(seats.body["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn deactivation_leaves_sessions_on_licenses_that_require_no_token() {
    let rig = Rig::start().await;
    let session = seat(&rig, &rig.ours.customer, "one", &rig.ours.member.email).await.session;
    rig.change(&rig.ours.admin, "POST", &format!("{}/deactivate", path(&rig.ours.member)), None).await.expect(200);
    assert!(!is_revoked(&rig, session).await);
}

#[tokio::test]
async fn demotion_to_guest_revokes_sessions_and_a_lesser_one_does_not() {
    let rig = Rig::start().await;
    let admin = &rig.ours.admin;
    let session = seat(&rig, &rig.ours.customer, "one", &admin.email).await.session;
    require_token(&rig, rig.ours.customer.license, true).await;
    let role = async |role: &str| rig.change(&rig.ours.owner, "PATCH", &path(admin), Some(&json!({ "role": role }))).await.expect(200);
    role("member").await;
    assert!(!is_revoked(&rig, session).await);
    role("guest").await;
    assert!(is_revoked(&rig, session).await);
}

#[tokio::test]
async fn license_that_begins_to_require_a_token_keeps_its_sessions() {
    let rig = Rig::start().await;
    let session = seat(&rig, &rig.ours.customer, "one", "stranger@test.example").await.session;
    let license = format!("/api/v1/licenses/{}", rig.ours.customer.license);
    rig.change(&rig.staff, "PATCH", &license, Some(&json!({ "requires_token": true }))).await.expect(200);
    assert!(!is_revoked(&rig, session).await);
}
