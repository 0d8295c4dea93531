//! Who somebody is, asked before the tenant is known: by what an identity provider vouches for, or by a personal access token.
//!
//! These statements run as `coditect_authenticator`, which the login of a function has only if it authenticates.

use tokio_postgres::Row;
use uuid::Uuid;

use super::{Database, Error, read::word};
use crate::domain::{
    Account, Email, Identity, InvitationId, Membership, Principal, Standing, TenantId, TenantStatus, Timestamp, UserId, UserStatus,
};

const MEMBERSHIPS: &str = "-- people::memberships
SELECT role, id, tenant_id, tenant_name, tenant_status, email, status, last_seen_at, token_id, scopes, expires_at
FROM memberships_of($1, $2, $3, $4, $5, $6)";

const BY_TOKEN: &str = "-- people::by_token
SELECT role, id, tenant_id, tenant_name, tenant_status, email, status, last_seen_at, token_id, scopes, expires_at
FROM membership_by_token($1, $2)";

const SEEN: &str = "-- people::seen
SELECT FROM member_seen($1, $2)";

const INVITATIONS: &str = "-- people::invitations
SELECT id, tenant_id, tenant_name, role, email, invited_at, invited_by FROM invitations_for($1, $2, $3, $4)";

const ANSWER: &str = "-- people::answer
SELECT is_taken, role, id, tenant_id, tenant_name, tenant_status, email
FROM answer_invitation($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";

/// What an actor is worth now, by id, token and moment. Locks the rows of both until the end of the transaction. [`actor`] reads the answer.
pub const ACTOR: &str = "-- people::actor
SELECT standing, tenant, address, allowed FROM actor_in_force($1, $2, $3)";

/// Every statement on people, for the test that prepares them all.
pub const PEOPLE: &[&str] = &[MEMBERSHIPS, BY_TOKEN, SEEN, INVITATIONS, ANSWER, ACTOR];

/// An account, and until when its credential is good, if that is recorded here.
#[derive(Clone, Debug)]
pub(crate) struct Person {
    pub(crate) account: Account,
    pub(crate) until: Option<Timestamp>,
}

/// An invitation that waits for an answer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Invitation {
    /// Its id.
    pub id: InvitationId,
    /// Id and name of the tenant that invites. None: the vendor's staff.
    pub tenant: Option<(TenantId, String)>,
    /// The role that is offered.
    pub role: Standing,
    /// The address that was invited.
    pub email: String,
    /// When it was made, or made again.
    pub invited_at: Timestamp,
    /// The address of the user who made it, if a user of that tenant did.
    pub invited_by: Option<String>,
}

/// Where an answer to an invitation comes from, for the audit event.
#[derive(Clone, Copy, Debug)]
pub struct AnswerSource<'a> {
    /// The caller's address.
    pub address: &'a str,
    /// The id of the request.
    pub request_id: &'a str,
}

/// What came of an answer to an invitation.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum InvitationAnswer {
    /// It is accepted: this is the membership. Or it is declined: this is what was declined.
    Given(Box<Membership>),
    /// No such invitation waits for this address.
    NotFound,
    /// The identity has a membership in that tenant already.
    AlreadyMember,
}

/// The account of an identity, with every membership that its issuer may vouch for.
pub(crate) async fn account_of(database: &Database, identity: &Identity, at: Timestamp) -> Result<Person, Error> {
    let vouching = &identity.vouching;
    let tenants = tenants(identity);
    let rows = database
        .query_as_authenticator(MEMBERSHIPS, &[&identity.issuer, &identity.subject, &vouching.staff, &tenants, &vouching.domains, &at])
        .await?;
    let memberships = rows.iter().map(membership).collect::<Result<_, _>>()?;
    Ok(Person { account: Account { identity: Some(identity.clone()), memberships }, until: None })
}

/// The account for which a personal access token acts, by the token's hash.
pub(crate) async fn account_of_token(database: &Database, hash: &[u8; 32], at: Timestamp) -> Result<Option<Person>, Error> {
    let rows = database.query_as_authenticator(BY_TOKEN, &[&&hash[..], &at]).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    let account = Account { identity: None, memberships: vec![membership(row)?] };
    Ok(Some(Person { account, until: row.try_get("expires_at")? }))
}

/// An actor as its row and its token's are now. None: one of them is not in force. Waits for whoever changes them at this moment.
pub(crate) async fn actor_in_force(database: &Database, known: &Principal, at: Timestamp) -> Result<Option<Principal>, Error> {
    let token = known.token.as_ref().map(|(id, _)| *id);
    let rows = database.query_as_authenticator(ACTOR, &[&known.id.as_uuid(), &token, &at]).await?;
    actor(known, rows.first())
}

/// Reads what [`ACTOR`] has answered. None: the actor, or its token, is not in force, or is of another tenant than it was known as.
///
/// # Errors
/// [`Error::Record`] or [`Error::Query`] if the row cannot be read.
pub fn actor(known: &Principal, row: Option<&Row>) -> Result<Option<Principal>, Error> {
    let Some(row) = row else { return Ok(None) };
    let allowed: Option<Vec<String>> = row.try_get("allowed")?;
    // A scope that is no longer known allows nothing.
    let scopes = || allowed.iter().flatten().filter_map(|scope| scope.parse().ok()).collect();
    let principal = Principal {
        id: known.id,
        standing: word(row, "standing")?,
        tenant: row.try_get::<_, Option<_>>("tenant")?.map(TenantId::from_uuid),
        email: row.try_get("address")?,
        token: known.token.as_ref().map(|(id, _)| (*id, scopes())),
    };
    Ok(Some(principal).filter(|principal| principal.tenant == known.tenant))
}

/// Notes that a user's membership was used.
pub(crate) async fn member_seen(database: &Database, user: UserId, at: Timestamp) -> Result<(), Error> {
    database.query_as_authenticator(SEEN, &[&user.as_uuid(), &at]).await.map(drop)
}

/// The invitations that wait for an identity's verified address.
pub(crate) async fn invitations_for(database: &Database, identity: &Identity, email: &Email) -> Result<Vec<Invitation>, Error> {
    let vouching = &identity.vouching;
    let tenants = tenants(identity);
    let rows = database.query_as_authenticator(INVITATIONS, &[&email.as_str(), &vouching.staff, &tenants, &vouching.domains]).await?;
    rows.iter().map(invitation).collect()
}

/// Accepts or declines an invitation.
pub(crate) async fn answer_invitation(
    database: &Database,
    invitation: InvitationId,
    accepts: bool,
    (identity, email): (&Identity, &Email),
    at: Timestamp,
    source: AnswerSource<'_>,
) -> Result<InvitationAnswer, Error> {
    let Identity { issuer, subject, vouching, .. } = identity;
    let rows = database
        .query_as_authenticator(
            ANSWER,
            &[
                &invitation.as_uuid(),
                &accepts,
                issuer,
                subject,
                &email.as_str(),
                &vouching.staff,
                &tenants(identity),
                &vouching.domains,
                &at,
                &source.address,
                &source.request_id,
            ],
        )
        .await?;
    let Some(row) = rows.first() else { return Ok(InvitationAnswer::NotFound) };
    if row.try_get("is_taken")? {
        return Ok(InvitationAnswer::AlreadyMember);
    }
    let status = if accepts { UserStatus::Active } else { UserStatus::Declined };
    let membership = Membership { principal: principal(row)?, status, tenant: tenant(row)?, last_seen_at: None };
    Ok(InvitationAnswer::Given(Box::new(membership)))
}

fn tenants(identity: &Identity) -> Option<Vec<Uuid>> {
    identity.vouching.tenants.as_ref().map(|tenants| tenants.iter().map(|tenant| tenant.as_uuid()).collect())
}

fn membership(row: &Row) -> Result<Membership, Error> {
    let mut principal = principal(row)?;
    let token: Option<Uuid> = row.try_get("token_id")?;
    let scopes: Option<Vec<String>> = row.try_get("scopes")?;
    // A scope that is no longer known allows nothing.
    let scopes = || scopes.iter().flatten().filter_map(|scope| scope.parse().ok()).collect();
    principal.token = token.map(|id| (id, scopes()));
    Ok(Membership { principal, status: word(row, "status")?, tenant: tenant(row)?, last_seen_at: row.try_get("last_seen_at")? })
}

fn principal(row: &Row) -> Result<Principal, Error> {
    Ok(Principal {
        id: UserId::from_uuid(row.try_get("id")?),
        standing: word(row, "role")?,
        tenant: row.try_get::<_, Option<_>>("tenant_id")?.map(TenantId::from_uuid),
        email: row.try_get("email")?,
        token: None,
    })
}

fn tenant(row: &Row) -> Result<Option<(String, TenantStatus)>, Error> {
    let name: Option<String> = row.try_get("tenant_name")?;
    name.map(|name| Ok((name, word(row, "tenant_status")?))).transpose()
}

fn invitation(row: &Row) -> Result<Invitation, Error> {
    let tenant: Option<Uuid> = row.try_get("tenant_id")?;
    let name: Option<String> = row.try_get("tenant_name")?;
    Ok(Invitation {
        id: InvitationId::from_uuid(row.try_get("id")?),
        tenant: tenant.map(TenantId::from_uuid).zip(name),
        role: word(row, "role")?,
        email: row.try_get("email")?,
        invited_at: row.try_get("invited_at")?,
        invited_by: row.try_get("invited_by")?,
    })
}
