//! People and their personal access tokens, as the administration would have made them.

use platform::domain::{AccessToken, Permission, Standing, TenantId, Timestamp, UserId};
use tokio_postgres::Client;

/// Invites somebody into a tenant, or to the staff; `owner` is a connection of [`crate::TestDatabase::owner`].
///
/// # Panics
/// If PostgreSQL refuses.
pub async fn invite(owner: &Client, tenant: TenantId, standing: Standing, email: &str) -> UserId {
    let id = UserId::random();
    let invited = match standing {
        Standing::Staff => {
            let sql = "INSERT INTO staff (id, email, created_at, updated_at) VALUES ($1, $2, now(), now())";
            owner.execute(sql, &[&id.as_uuid(), &email]).await
        }
        Standing::Guest | Standing::Member | Standing::Admin | Standing::Owner => {
            let sql = "INSERT INTO users (id, tenant_id, email, role, created_at, updated_at) VALUES ($1, $2, $3, $4, now(), now())";
            owner.execute(sql, &[&id.as_uuid(), &tenant.as_uuid(), &email, &standing.as_str()]).await
        }
    };
    invited.expect("somebody can be invited");
    id
}

/// Makes somebody who is invited active under an identity, as accepting the invitation does.
///
/// # Panics
/// If PostgreSQL refuses, or nobody has this id.
pub async fn join(owner: &Client, id: UserId, issuer: &str, subject: &str) {
    let mut joined = 0;
    for table in ["users", "staff"] {
        let sql = format!("UPDATE {table} SET status = 'active', provider_issuer = $2, provider_subject = $3 WHERE id = $1");
        joined += owner.execute(&sql, &[&id.as_uuid(), &issuer, &subject]).await.expect("somebody can join");
    }
    assert_eq!(joined, 1, "somebody has this id");
}

/// A personal access token of an invited user, who is active with it.
///
/// # Panics
/// If PostgreSQL refuses.
pub async fn access_token(owner: &Client, user: UserId, scopes: &[Permission], expires_at: Timestamp) -> AccessToken {
    let token = AccessToken::generate();
    let scopes: Vec<&str> = scopes.iter().map(|scope| scope.as_str()).collect();
    let sql = "WITH active AS (UPDATE users SET status = 'active' WHERE id = $2 RETURNING tenant_id)
               INSERT INTO access_tokens (id, tenant_id, user_id, name, scopes, token_hash, last_four, created_at, expires_at)
               SELECT $1, tenant_id, $2, 'test', $3, $4, $5, $6::timestamptz - interval '1 day', $6 FROM active";
    let hash = token.hash();
    let made = owner.execute(sql, &[&uuid::Uuid::new_v4(), &user.as_uuid(), &scopes, &&hash[..], &token.last_four(), &expires_at]).await;
    assert_eq!(made.expect("a token can be made"), 1, "its user is there");
    token
}
