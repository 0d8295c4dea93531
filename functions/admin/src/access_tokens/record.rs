//! The statements on personal access tokens.

use platform::{
    db::{self, Transaction},
    domain::{AccessToken, Permission, Standing, TenantId, Timestamp, TokenId, UserId, rfc3339_millis, rfc3339_millis_option},
};
use serde::Serialize;
use tokio_postgres::Row;
use utoipa::ToSchema;

use crate::{
    page::Page,
    read::{id, word},
};

/// A personal access token, without its secret.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = AccessToken)]
pub(crate) struct Token {
    #[schema(value_type = String, example = "tok_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) id: TokenId,
    /// For whom it acts.
    #[schema(value_type = String, example = "usr_5v5r9yb9w14dq8jk6c3y5fb2nc")]
    pub(super) user_id: UserId,
    pub(super) name: String,
    /// What it may do, where its owner may.
    pub(super) scopes: Vec<Permission>,
    /// The last four symbols of its secret.
    pub(super) last_four: String,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) created_at: Timestamp,
    #[serde(with = "rfc3339_millis")]
    #[schema(value_type = String, format = DateTime)]
    pub(super) expires_at: Timestamp,
    /// To the minute.
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) last_used_at: Option<Timestamp>,
    #[serde(with = "rfc3339_millis_option")]
    #[schema(value_type = Option<String>, format = DateTime)]
    pub(super) revoked_at: Option<Timestamp>,
}

pub(super) fn token(row: &Row) -> Result<Token, db::Error> {
    let scopes: Vec<String> = row.try_get("scopes")?;
    Ok(Token {
        id: id(row, "id", TokenId::from_uuid)?,
        user_id: id(row, "user_id", UserId::from_uuid)?,
        name: row.try_get("name")?,
        // A scope that is no longer known allows nothing.
        scopes: scopes.iter().filter_map(|scope| scope.parse().ok()).collect(),
        last_four: row.try_get("last_four")?,
        created_at: row.try_get("created_at")?,
        expires_at: row.try_get("expires_at")?,
        last_used_at: row.try_get("last_used_at")?,
        revoked_at: row.try_get("revoked_at")?,
    })
}

const LIST: &str = "-- access_tokens::list
SELECT id, user_id, name, scopes, last_four, created_at, expires_at, last_used_at, revoked_at FROM access_tokens
WHERE user_id = $4 AND ($1::timestamptz IS NULL OR (created_at, id) < ($1, $2::uuid))
ORDER BY created_at DESC, id DESC LIMIT $3";

const ROLE: &str = "-- access_tokens::role
SELECT role FROM users WHERE id = $1";

const INSERT: &str = "-- access_tokens::insert
INSERT INTO access_tokens (id, tenant_id, user_id, name, scopes, token_hash, last_four, created_at, expires_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING id, user_id, name, scopes, last_four, created_at, expires_at, last_used_at, revoked_at";

const FIND: &str = "-- access_tokens::find
SELECT a.id, a.user_id, a.name, a.scopes, a.last_four, a.created_at, a.expires_at, a.last_used_at, a.revoked_at, u.role
FROM access_tokens a JOIN users u ON u.id = a.user_id WHERE a.id = $1";

// With its owner's role, by which it is told who may revoke it.
const LOCK: &str = "-- access_tokens::lock
SELECT a.id, a.user_id, a.name, a.scopes, a.last_four, a.created_at, a.expires_at, a.last_used_at, a.revoked_at, u.role
FROM access_tokens a JOIN users u ON u.id = a.user_id WHERE a.id = $1 FOR NO KEY UPDATE OF a";

const REVOKE: &str = "-- access_tokens::revoke
UPDATE access_tokens SET revoked_at = $2 WHERE id = $1
RETURNING id, user_id, name, scopes, last_four, created_at, expires_at, last_used_at, revoked_at";

/// Every statement.
pub(crate) const STATEMENTS: &[&str] = &[LIST, ROLE, INSERT, FIND, LOCK, REVOKE];

/// A token to be.
#[derive(Debug)]
pub(super) struct NewToken<'a> {
    pub(super) tenant: TenantId,
    pub(super) user: UserId,
    pub(super) name: &'a str,
    pub(super) scopes: &'a [Permission],
    pub(super) secret: &'a AccessToken,
    pub(super) expires_at: Timestamp,
}

pub(super) async fn list(transaction: &Transaction, page: &Page, user: UserId) -> Result<Vec<Row>, db::Error> {
    transaction.query(LIST, &[&page.at(), &page.id(), &page.rows(), &user.as_uuid()]).await
}

/// The role of a user, if there is one.
pub(super) async fn role_of(transaction: &Transaction, user: UserId) -> Result<Option<Standing>, db::Error> {
    transaction.first(ROLE, &[&user.as_uuid()]).await?.map(|row| word(&row, "role")).transpose()
}

pub(super) async fn insert(transaction: &Transaction, new: &NewToken<'_>, now: Timestamp) -> Result<Token, db::Error> {
    let scopes: Vec<&str> = new.scopes.iter().map(|scope| scope.as_str()).collect();
    let rows = transaction
        .query(
            INSERT,
            &[
                &TokenId::random().as_uuid(),
                &new.tenant.as_uuid(),
                &new.user.as_uuid(),
                &new.name,
                &scopes,
                &&new.secret.hash()[..],
                &new.secret.last_four(),
                &now,
                &new.expires_at,
            ],
        )
        .await?;
    returned(&rows)
}

/// A token and the role of its owner.
pub(super) async fn find(transaction: &Transaction, id: TokenId) -> Result<Option<(Token, Standing)>, db::Error> {
    owned(transaction.first(FIND, &[&id.as_uuid()]).await?.as_ref())
}

/// The same, and nobody else changes it until the transaction's end.
pub(super) async fn lock(transaction: &Transaction, id: TokenId) -> Result<Option<(Token, Standing)>, db::Error> {
    owned(transaction.first(LOCK, &[&id.as_uuid()]).await?.as_ref())
}

fn owned(row: Option<&Row>) -> Result<Option<(Token, Standing)>, db::Error> {
    row.map(|row| Ok((token(row)?, word(row, "role")?))).transpose()
}

pub(super) async fn revoke(transaction: &Transaction, id: TokenId, now: Timestamp) -> Result<Token, db::Error> {
    returned(&transaction.query(REVOKE, &[&id.as_uuid(), &now]).await?)
}

fn returned(rows: &[Row]) -> Result<Token, db::Error> {
    rows.first().map_or_else(|| Err(db::Error::Record("a token that was written is not there".to_owned())), token)
}
