//! Deactivation by one process, while another still knows the person from before.

use platform::domain::{Standing, UserId};
use serde_json::json;

use super::{Caller, Town};
use crate::client::Answer;

impl Town {
    /// Changes a user as its owner would who has read it, by one of the processes.
    async fn change_user(&self, url: &str, who: &Caller, user: UserId, verb: &str) -> Answer {
        let version: i64 = self.owner.query_one("SELECT version FROM users WHERE id = $1", &[&user.as_uuid()]).await.unwrap().get(0);
        let url = format!("{url}/api/v1/users/{user}/{verb}");
        let request = self.platform.http.post(url).bearer_auth(&who.token).header("if-match", format!("\"{version}\""));
        Answer::of(request.send().await.unwrap()).await
    }

    /// Asks the second process for a seat of our license.
    async fn acquire(&self, who: &Caller, device: &str, email: &str) -> Answer {
        let body = json!({ "license_key": self.platform.customer.key.reveal(), "hardware_id": device, "user_email": email });
        self.send_to(&self.second.url, who, "POST", "/api/v1/licenses/acquire", None, Some(&body)).await
    }
}

#[tokio::test]
async fn owner_deactivated_by_one_process_changes_nothing_by_another() {
    let town = Town::start().await;
    let (first, second) = (&town.platform.process.url, &town.second.url);
    let id = town.join(town.ours(), Standing::Owner, "ada", "ada@x.example").await;
    let ada = town.caller("ada", "ada@x.example");
    assert_eq!(town.send_to(second, &ada, "GET", "/api/v1/users", None, None).await.status, 200);
    assert_eq!(town.change_user(first, &town.owner_of(town.ours()), id, "deactivate").await.status, 200);
    town.change_user(second, &ada, id, "reactivate").await.assert_problem(403, "deactivated");
    let body = json!({ "email": "eve@x.example", "role": "owner" });
    town.send_to(second, &ada, "POST", "/api/v1/users", None, Some(&body)).await.assert_problem(403, "deactivated");
    let row = "SELECT status FROM users WHERE email IN ('ada@x.example', 'eve@x.example')";
    let statuses: Vec<String> = town.owner.query(row, &[]).await.unwrap().iter().map(|row| row.get(0)).collect();
    assert_eq!(statuses, ["deactivated"]);
}

#[tokio::test]
async fn member_deactivated_by_one_process_loses_its_seat_on_another() {
    let town = Town::start().await;
    let (first, second) = (&town.platform.process.url, &town.second.url);
    town.owner.batch_execute("UPDATE licenses SET requires_token = true").await.unwrap();
    let id = town.join(town.ours(), Standing::Member, "ada", "ada@x.example").await;
    let ada = town.caller("ada", "ada@x.example");
    let taken = town.acquire(&ada, "laptop", "Ada@x.example").await;
    assert_eq!(taken.status, 201, "{}", taken.text);
    let beat = json!({ "session_id": taken.body["session_id"] });
    let heartbeat = async || town.send_to(second, &ada, "POST", "/api/v1/licenses/heartbeat", None, Some(&beat)).await;
    assert_eq!(heartbeat().await.status, 200);
    assert_eq!(town.change_user(first, &town.owner_of(town.ours()), id, "deactivate").await.status, 200);
    heartbeat().await.assert_problem(410, "session_revoked");
    town.acquire(&ada, "laptop", "ada@x.example").await.assert_problem(403, "deactivated");
    let sql = "SELECT actor FROM audit_events WHERE action = 'session.revoked'";
    let told = town.owner.query(sql, &[]).await.unwrap();
    assert_eq!((told.len(), told[0].get::<_, &str>(0)), (1, "user"));
}
