//! The administration is there beside the seats, in the same process.

use platform::domain::AccessToken;
use uuid::Uuid;

use crate::client::{Answer, Platform};

#[tokio::test]
async fn a_machine_of_an_owner_sees_its_tenant_and_what_it_may_not_do_is_written_down_with_its_address() {
    let platform = Platform::start(1).await;
    let (secret, database) = (AccessToken::generate(), platform.database.owner().await);
    let hash = secret.hash();
    let user = platform.customer.owner.as_uuid();
    database.execute("UPDATE users SET status = 'active' WHERE id = $1", &[&user]).await.unwrap();
    let sql = "INSERT INTO access_tokens (id, tenant_id, user_id, name, scopes, token_hash, last_four, created_at, expires_at)
               VALUES ($1, $2, $3, 'a machine', ARRAY['see_tenant'], $4, $5, now(), now() + interval '1 day')";
    let tenant = platform.customer.tenant.as_uuid();
    database.execute(sql, &[&Uuid::new_v4(), &tenant, &user, &&hash[..], &secret.last_four()]).await.unwrap();
    let get = async |path: &str| {
        let request = platform.http.get(format!("{}/api/v1/{path}", platform.process.url)).bearer_auth(secret.reveal());
        Answer::of(request.send().await.unwrap()).await
    };
    let tenants = get("tenants").await;
    assert_eq!((tenants.status, &tenants.body["items"][0]["id"]), (200, &serde_json::json!(platform.customer.tenant)));
    assert!(tenants.headers.contains_key("ratelimit"));
    get("users").await.assert_problem(403, "forbidden");
    let refused = database.query_one("SELECT address, action FROM audit_events WHERE is_refused", &[]).await.unwrap();
    assert_eq!((refused.get::<_, &str>(0), refused.get::<_, &str>(1)), ("127.0.0.1", "list_users"));
}
