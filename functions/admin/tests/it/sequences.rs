//! Whatever administrators do, in whatever order, a tenant has an owner who can come.

use proptest::{collection::vec, prelude::*, test_runner::Config};
use serde_json::json;

use crate::{people::Person, rig::Rig};

/// Something that somebody does to somebody.
#[derive(Clone, Copy, Debug)]
enum Step {
    Invite(usize, &'static str),
    Role(usize, usize, &'static str),
    Deactivate(usize, usize),
    Reactivate(usize, usize),
}

fn step() -> impl Strategy<Value = Step> {
    let role = prop::sample::select(vec!["owner", "admin", "member", "guest"]);
    let (who, whom) = (0..5_usize, 0..8_usize);
    prop_oneof![
        (who.clone(), role.clone()).prop_map(|(who, role)| Step::Invite(who, role)),
        (who.clone(), whom.clone(), role).prop_map(|(who, whom, role)| Step::Role(who, whom, role)),
        (who.clone(), whom.clone()).prop_map(|(who, whom)| Step::Deactivate(who, whom)),
        (who, whom).prop_map(|(who, whom)| Step::Reactivate(who, whom)),
    ]
}

/// Does it, and answers the status.
async fn take(rig: &Rig, everybody: &[&Person], users: &[String], number: usize, step: Step) -> u16 {
    let path = |whom: usize| format!("/api/v1/users/{}", users[whom % users.len()]);
    match step {
        Step::Invite(who, role) => {
            let body = json!({ "email": format!("{number}@new.example"), "role": role });
            let tenant = rig.ours.customer.tenant.to_string();
            rig.call(everybody[who], "POST", "/api/v1/users", &[("x-tenant-id", &tenant)], Some(&body)).await.status
        }
        Step::Role(who, whom, role) => rig.change(everybody[who], "PATCH", &path(whom), Some(&json!({ "role": role }))).await.status,
        Step::Deactivate(who, whom) => rig.change(everybody[who], "POST", &format!("{}/deactivate", path(whom)), None).await.status,
        Step::Reactivate(who, whom) => rig.change(everybody[who], "POST", &format!("{}/reactivate", path(whom)), None).await.status,
    }
}

async fn hold(steps: Vec<Step>) {
    let rig = Rig::start().await;
    let owner = rig.database.owner().await;
    let everybody = [&rig.staff, &rig.ours.owner, &rig.ours.admin, &rig.ours.member, &rig.ours.guest];
    for (number, step) in steps.into_iter().enumerate() {
        let list = rig.call(&rig.staff, "GET", "/api/v1/users", &[("x-tenant-id", &rig.ours.customer.tenant.to_string())], None).await;
        let users: Vec<String> =
            list.body["items"].as_array().unwrap().iter().map(|user| user["id"].as_str().unwrap().to_owned()).collect();
        let before = owners(&owner, &rig).await;
        let status = take(&rig, &everybody, &users, number, step).await;
        assert!([200, 201, 403, 409].contains(&status), "{step:?}: {status}");
        let after = owners(&owner, &rig).await;
        assert!(after.1 > 0, "{step:?} leaves no owner");
        assert!(after.0 > 0 || before.0 == 0, "{step:?} leaves invitations alone");
    }
    let sql = "SELECT count(*) FROM users u WHERE u.version <> 1 +
               (SELECT count(*) FROM audit_events e WHERE e.subject_id = shown_id('usr_', u.id) AND e.before IS NOT NULL)";
    assert_eq!(owner.query_one(sql, &[]).await.unwrap().get::<_, i64>(0), 0, "a version that no event tells of");
}

/// Owners who are active, and all who could come.
async fn owners(owner: &tokio_postgres::Client, rig: &Rig) -> (i64, i64) {
    let sql = "SELECT count(*) FILTER (WHERE status = 'active'), count(*) FROM users
               WHERE tenant_id = $1 AND role = 'owner' AND status <> 'deactivated'";
    let row = owner.query_one(sql, &[&rig.ours.customer.tenant.as_uuid()]).await.unwrap();
    (row.get(0), row.get(1))
}

proptest! {
    #![proptest_config(Config { cases: 12, max_shrink_iters: 40, failure_persistence: None, ..Config::default() })]
    #[test]
    fn no_sequence_of_calls_leaves_a_tenant_without_an_owner(steps in vec(step(), 1..30)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(hold(steps));
    }
}
