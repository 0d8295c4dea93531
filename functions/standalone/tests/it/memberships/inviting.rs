//! Invitations, and the answers to them.

use futures_util::future::join_all;
use platform::domain::Standing;
use serde_json::{Value, json};

use super::Town;

#[tokio::test]
async fn sign_in_accepts_no_invitation_and_the_invited_choose() {
    let town = Town::start().await;
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    assert_eq!(town.invite(ours, "ada@x.example", "member").await.status, 201);
    let made = town.invite(theirs, "Ada@x.example", "admin").await;
    let ada = town.caller("ada", "ada@x.example");
    town.get(&ada, "/api/v1/tenants").await.assert_problem(403, "no_account");

    let waiting = town.get(&ada, "/api/v1/invitations").await;
    let first = &waiting.body["items"][0];
    assert_eq!(first["tenant"], json!({ "id": theirs.to_string(), "name": "Theirs" }));
    assert_eq!((&first["role"], &first["email"]), (&json!("admin"), &json!("Ada@x.example")));
    assert_eq!((&first["invited_by"], &first["invited_at"]), (&json!("Theirs@owner.example"), &made.body["created_at"]));
    assert_eq!(waiting.body["items"].as_array().unwrap().len(), 2);

    let accepted = town.accept(&ada, "Theirs").await;
    assert_eq!((accepted.status, &accepted.body["status"], &accepted.body["role"]), (200, &json!("active"), &json!("admin")));
    assert_eq!((&accepted.body["user_id"], &accepted.body["tenant"]["name"]), (&made.body["id"], &json!("Theirs")));
    let seen = town.get(&ada, "/api/v1/tenants").await;
    assert_eq!((seen.status, &seen.body["items"][0]["name"]), (200, &json!("Theirs")));
    town.get_in(&ada, ours, "/api/v1/tenants").await.assert_problem(403, "forbidden");
    assert_eq!(town.invitations(&ada).await.len(), 1, "the other one waits as before");
    let user = made.body["id"].as_str().unwrap();
    assert_eq!(town.actions(user).await, ["user.invited", "user.joined"]);
}

#[tokio::test]
async fn declined_invitation_affects_no_other_and_can_be_made_again() {
    let town = Town::start().await;
    let (ours, theirs) = (town.ours(), town.theirs.tenant);
    let made = town.invite(ours, "ada@x.example", "owner").await;
    town.invite(theirs, "ada@x.example", "member").await;
    let ada = town.caller("ada", "ada@x.example");
    town.accept(&ada, "Theirs").await;
    let waiting = town.invitations(&ada).await;
    for _ in 0..2 {
        assert_eq!(town.answer(&ada, &waiting[0].1, "decline").await.status, 204, "the same answer is given again");
    }
    town.answer(&ada, &waiting[0].1, "accept").await.assert_problem(404, "not_found");
    assert_eq!(town.get(&ada, "/api/v1/tenants").await.status, 200);

    let owner = town.owner_of(ours);
    let user = format!("/api/v1/users/{}", made.body["id"].as_str().unwrap());
    assert_eq!(town.get(&owner, &user).await.body["status"], "declined");
    let declined = town.get(&owner, "/api/v1/users?status=declined").await;
    assert_eq!(declined.body["items"].as_array().unwrap().len(), 1);
    assert_eq!(town.get(&owner, "/api/v1/users?status=deactivated").await.body["items"], json!([]));

    let again = town.invite(ours, "ADA@x.example", "guest").await;
    assert_eq!((again.status, &again.body["id"], &again.body["role"]), (201, &made.body["id"], &json!("guest")));
    assert_eq!((&again.body["status"], &again.body["version"]), (&json!("invited"), &json!(3)));
    assert_eq!(town.accept(&ada, "Ours").await.status, 200);
    let actions = town.actions(made.body["id"].as_str().unwrap()).await;
    assert_eq!(actions, ["user.invited", "user.declined", "user.invited", "user.joined"]);
    town.invite(ours, "ada@x.example", "guest").await.assert_problem(409, "email_taken");
}

#[tokio::test]
async fn invitation_is_answered_by_its_verified_address_alone() {
    let town = Town::start().await;
    town.invite(town.ours(), "kate@x.example", "owner").await;
    let kate = town.caller("kate", "KATE@X.example");
    let id = town.invitations(&kate).await[0].1.clone();
    // Of others there is no such invitation, whichever of these addresses they can prove.
    for other in ["eve@x.example", "kate@xx.example", "kate@evil.x.example", "kate+x@x.example", "kat@x.example"] {
        let eve = town.caller("eve", other);
        assert_eq!(town.invitations(&eve).await, [], "{other}");
        for answer in ["accept", "decline"] {
            town.answer(&eve, &id, answer).await.assert_problem(404, "not_found");
        }
    }
    // The Kelvin sign is no K, whatever a database makes of its lower case; and what looks alike is not the same.
    for unlike in ["\u{212a}ate@x.example", "kate@x.example\u{200b}", "kate@\u{ff58}.example", "k\u{430}te@x.example", " kate@x.example"] {
        let eve = town.claiming("eve", &json!({ "email": unlike }));
        for answer in ["accept", "decline"] {
            town.answer(&eve, &id, answer).await.assert_problem(403, "email_not_verified");
        }
    }
    for unverified in [json!(false), json!(null), json!("TRUE"), json!([true])] {
        let eve = town.claiming("eve", &json!({ "email": "kate@x.example", "email_verified": unverified }));
        town.get(&eve, "/api/v1/invitations").await.assert_problem(403, "email_not_verified");
        town.answer(&eve, &id, "accept").await.assert_problem(403, "email_not_verified");
    }
    town.answer(&kate, "inv_x", "accept").await.assert_problem(404, "not_found");
    assert_eq!(town.answer(&kate, &id, "accept").await.status, 200);
    let later = town.caller("later", "kate@x.example");
    town.answer(&later, &id, "accept").await.assert_problem(404, "not_found");
    town.answer(&later, &id, "decline").await.assert_problem(404, "not_found");
}

#[tokio::test]
async fn answers_at_once_in_two_processes_count_once() {
    let town = Town::start().await;
    let made = town.invite(town.ours(), "ada@x.example", "member").await;
    let user = made.body["id"].as_str().unwrap();
    let ada = town.caller("ada", "ada@x.example");
    let path = format!("/api/v1/invitations/inv_{}", &user[4..]);
    let urls = [&town.platform.process.url, &town.second.url];
    let answers = (0..8).map(|at| {
        let (path, ada) = (format!("{path}/{}", if at % 3 == 0 { "decline" } else { "accept" }), ada.clone());
        let town = &town;
        async move { town.send_to(urls[at % 2], &ada, "POST", &path, None, None).await.status }
    });
    let statuses = join_all(answers).await;
    let is_accepted = statuses.contains(&200);
    assert!(is_accepted != statuses.contains(&204), "only one kind of answer is taken: {statuses:?}");
    assert!(statuses.iter().all(|status| [200, 204, 404].contains(status)), "{statuses:?}");
    let last = if is_accepted { "user.joined" } else { "user.declined" };
    assert_eq!(town.actions(user).await, ["user.invited", last]);
}

#[tokio::test]
async fn second_address_of_a_member_cannot_join_the_same_tenant() {
    let town = Town::start().await;
    let id = town.join(town.ours(), Standing::Member, "ada", "ada@x.example").await;
    town.invite(town.ours(), "ada@home.example", "owner").await;
    let ada = town.caller("ada", "ada@home.example");
    town.accept(&ada, "Ours").await.assert_problem(409, "already_member");
    let me = town.get(&ada, "/api/v1/me").await;
    let users: Vec<&Value> = me.body["memberships"].as_array().unwrap().iter().map(|member| &member["user_id"]).collect();
    assert_eq!(users, [&json!(id.to_string())]);
}

#[tokio::test]
async fn owner_named_by_staff_and_staff_themselves_accept_like_any_other() {
    let town = Town::start().await;
    let staff = testkit::people::invite(&town.owner, town.ours(), Standing::Staff, "sam@vendor.example").await;
    let sam = town.caller("sam", "sam@vendor.example");
    town.get(&sam, "/api/v1/tenants").await.assert_problem(403, "no_account");
    let waiting = town.get(&sam, "/api/v1/invitations").await;
    assert_eq!((&waiting.body["items"][0]["tenant"], &waiting.body["items"][0]["role"]), (&Value::Null, &json!("staff")));
    let accepted = town.accept(&sam, "").await;
    assert_eq!((accepted.status, &accepted.body["user_id"]), (200, &json!(staff.to_string())));
    assert_eq!(town.actions(&staff.to_string()).await, ["staff.joined"]);

    let body = json!({ "name": "Acme", "tier": "trial", "seat_limit": 3, "owner_email": "grace@acme.example" });
    assert_eq!(town.send(&sam, "POST", "/api/v1/tenants", None, Some(&body)).await.status, 201);
    let grace = town.caller("grace", "grace@acme.example");
    town.get(&grace, "/api/v1/users").await.assert_problem(403, "no_account");
    let waiting = town.get(&grace, "/api/v1/invitations").await;
    assert_eq!((&waiting.body["items"][0]["invited_by"], &waiting.body["items"][0]["role"]), (&Value::Null, &json!("owner")));
    assert_eq!(town.accept(&grace, "Acme").await.status, 200);
    assert_eq!(town.get(&grace, "/api/v1/users").await.status, 200);
}

#[tokio::test]
async fn declined_staff_invitation_can_be_made_again_by_the_operator() {
    let town = Town::start().await;
    let staff = testkit::people::invite(&town.owner, town.ours(), Standing::Staff, "sam@vendor.example").await;
    let sam = town.caller("sam", "sam@vendor.example");
    let id = town.invitations(&sam).await[0].1.clone();
    assert_eq!(town.answer(&sam, &id, "decline").await.status, 204);
    assert_eq!(town.invitations(&sam).await, []);
    let now = platform::domain::Clock::now(&platform::domain::SystemClock);
    let email = platform::domain::Email::parse("sam@vendor.example").unwrap();
    assert!(platform::db::invite_staff(&town.owner, &email, now).await.unwrap());
    assert_eq!(town.accept(&sam, "").await.status, 200);
    assert_eq!(town.actions(&staff.to_string()).await, ["staff.declined", "staff.invited", "staff.joined"]);
}
