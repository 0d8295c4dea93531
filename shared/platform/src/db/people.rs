//! Who somebody is, asked before the tenant is known: by what an identity provider vouches for, or by a personal access token.

use std::str::FromStr;

use tokio_postgres::Row;

use super::{Database, Error};
use crate::domain::{Email, Principal, TenantId, Timestamp, UserId};

const BY_IDENTITY: &str = "-- people::by_identity
SELECT standing, id, tenant_id, email, token_id, scopes, expires_at FROM person_by_identity($1, $2, $3, $4)";

const BY_TOKEN: &str = "-- people::by_token
SELECT standing, id, tenant_id, email, token_id, scopes, expires_at FROM person_by_token($1, $2)";

/// Every statement on people, for the test that prepares them all. They run as any role that serves.
pub const PEOPLE: &[&str] = &[BY_IDENTITY, BY_TOKEN];

/// Somebody who is known here.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) principal: Principal,
    /// When what it was known by is over, if that is written here.
    pub(crate) until: Option<Timestamp>,
}

/// The person of an identity. On its first sight an invitation that waits for the verified email is taken up.
pub(crate) async fn person_by_identity(
    database: &Database,
    issuer: &str,
    subject: &str,
    verified_email: Option<&Email>,
    at: Timestamp,
) -> Result<Option<Person>, Error> {
    let rows = database.query(BY_IDENTITY, &[&issuer, &subject, &verified_email.map(Email::as_str), &at]).await?;
    rows.first().map(person).transpose()
}

/// The person for whom a personal access token acts, by the token's hash.
pub(crate) async fn person_by_token(database: &Database, hash: &[u8; 32], at: Timestamp) -> Result<Option<Person>, Error> {
    let rows = database.query(BY_TOKEN, &[&&hash[..], &at]).await?;
    rows.first().map(person).transpose()
}

fn person(row: &Row) -> Result<Person, Error> {
    let standing: &str = row.try_get("standing")?;
    let token: Option<uuid::Uuid> = row.try_get("token_id")?;
    let scopes: Option<Vec<String>> = row.try_get("scopes")?;
    // A scope that is no longer known allows nothing.
    let scopes = || scopes.iter().flatten().filter_map(|scope| scope.parse().ok()).collect();
    let principal = Principal {
        id: UserId::from_uuid(row.try_get("id")?),
        standing: FromStr::from_str(standing).map_err(|_| Error::Record(format!("a person's standing is {standing}")))?,
        tenant: row.try_get::<_, Option<_>>("tenant_id")?.map(TenantId::from_uuid),
        email: row.try_get("email")?,
        token: token.map(|id| (id, scopes())),
    };
    Ok(Person { principal, until: row.try_get("expires_at")? })
}
