//! People who are put in by hand, by whoever has the database's login: the first of the staff, and those of a demo.

use tokio_postgres::Client;

use super::{Error, SET_TENANT};
use crate::domain::{Email, Standing, TenantId, Timestamp, UserId};

const INVITE_STAFF: &str = "-- enrolment::invite_staff
WITH invited AS (
    INSERT INTO staff (id, email, created_at, updated_at) VALUES ($1, $2, $3, $3)
    ON CONFLICT (lower(email)) DO UPDATE SET status = 'invited', provider_issuer = NULL, provider_subject = NULL, updated_at = $3
    WHERE staff.status = 'deactivated' RETURNING id
)
INSERT INTO audit_events (at, actor, action, subject_type, subject_id)
SELECT $3, 'operator', 'staff.invited', 'staff', shown_id('usr_', id) FROM invited";

const ENROL_STAFF: &str = "-- enrolment::enrol_staff
INSERT INTO staff (id, email, status, provider_issuer, provider_subject, created_at, updated_at) VALUES ($1, $2, 'active', $3, $4, $5, $5)
ON CONFLICT (lower(email)) DO UPDATE SET status = 'active', provider_issuer = $3, provider_subject = $4, updated_at = $5";

const ENROL_USER: &str = "-- enrolment::enrol_user
INSERT INTO users (id, tenant_id, email, role, status, provider_issuer, provider_subject, created_at, updated_at)
VALUES ($1, $6, $2, $7, 'active', $3, $4, $5, $5)
ON CONFLICT (tenant_id, lower(email))
DO UPDATE SET role = $7, status = 'active', provider_issuer = $3, provider_subject = $4, version = users.version + 1, updated_at = $5";

/// Invites somebody to the staff, as the login that owns the tables. False: that address is of the staff, or invited, already.
///
/// # Errors
/// [`Error::Query`] if PostgreSQL refuses.
pub async fn invite_staff(client: &Client, email: &Email, now: Timestamp) -> Result<bool, Error> {
    Ok(client.execute(INVITE_STAFF, &[&UserId::random().as_uuid(), &email.as_str(), &now]).await? == 1)
}

/// Somebody of a demo, and by what an issuer knows them.
#[derive(Clone, Copy, Debug)]
pub struct DemoPerson<'a> {
    /// How they stand.
    pub standing: Standing,
    /// Their address.
    pub email: &'a Email,
    /// Who vouches for them.
    pub issuer: &'a str,
    /// Their name there.
    pub subject: &'a str,
}

/// Makes a person of a demo who needs no invitation, as the login that owns the tables; one with that address becomes this one.
///
/// # Errors
/// [`Error::Query`] if PostgreSQL refuses.
pub async fn enrol(client: &mut Client, tenant: TenantId, person: DemoPerson<'_>, now: Timestamp) -> Result<(), Error> {
    let DemoPerson { standing, email, issuer, subject } = person;
    let (id, email, tenant) = (UserId::random().as_uuid(), email.as_str(), tenant.as_uuid());
    if standing == Standing::Staff {
        client.execute(ENROL_STAFF, &[&id, &email, &issuer, &subject, &now]).await?;
        return Ok(());
    }
    let transaction = client.transaction().await?;
    transaction.query(SET_TENANT, &[&tenant.to_string()]).await?;
    transaction.execute(ENROL_USER, &[&id, &email, &issuer, &subject, &now, &tenant, &standing.as_str()]).await?;
    transaction.commit().await?;
    Ok(())
}
