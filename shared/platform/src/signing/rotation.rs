//! The job that changes keys: makes the next leaf ahead of time, lets it take over, and keeps the old one known until its last lease is over.

use std::sync::Arc;

use deadpool_postgres::Transaction;
use serde::Serialize;
use serde_json::json;

use super::{
    Error, LeafJwk, RootPublicKey, RootSigner, Schedule, SealingKey,
    jws::{self, Kind},
    leaf::NewLeaf,
    schedule::{CLOCK_DIFFERENCE, Known, LONGEST_LEASE, Make, Outlook, State},
};
use crate::{
    db::{self, Database},
    domain::{Clock, Timestamp},
};

/// Whoever changes keys waits for whoever else does. Any constant will do that nothing else uses.
pub(super) const LOCK: &str = "-- signing::lock
SELECT pg_advisory_xact_lock(7205759404)";

pub(super) const KNOWN: &str = "-- signing::known
SELECT kid, state, root_kid, signs_from, signs_until, expires_at FROM signing_keys WHERE state <> 'gone' ORDER BY created_at";

pub(super) const SEE_ROOT: &str = "-- signing::see_root
INSERT INTO signing_roots (kid, algorithm, public_key, first_used_at) VALUES ($1, $2, $3, $4) ON CONFLICT DO NOTHING";

pub(super) const MAKE: &str = "-- signing::make
INSERT INTO signing_keys (kid, usage, state, root_kid, certificate, public_key, sealed_private, created_at, signs_from, signs_until, expires_at)
VALUES ($1, 'lease', $2, $3, $4, $5, $6, $7, $8, $9, $10)";

pub(super) const ACTIVATE: &str = "-- signing::activate
UPDATE signing_keys SET state = 'active' WHERE kid = $1 AND state = 'pending'";

pub(super) const RETIRE: &str = "-- signing::retire
UPDATE signing_keys SET state = 'retired', sealed_private = NULL WHERE kid = $1 AND state = 'active'";

pub(super) const PURGE: &str = "-- signing::purge
UPDATE signing_keys SET state = 'gone', sealed_private = NULL WHERE kid = ANY ($1)";

pub(super) const REVOKE: &str = "-- signing::revoke
UPDATE signing_keys SET state = 'gone', sealed_private = NULL, revoked_at = $2 WHERE kid = $1 AND revoked_at IS NULL";

pub(super) const REVOKED: &str = "-- signing::revoked
SELECT kid, revoked_at FROM signing_keys WHERE revoked_at IS NOT NULL ORDER BY revoked_at, kid";

pub(super) const LAST_LIST: &str = "-- signing::last_list
SELECT version, root_kid FROM revocation_lists ORDER BY version DESC LIMIT 1";

pub(super) const ADD_LIST: &str = "-- signing::add_list
INSERT INTO revocation_lists (version, root_kid, signed, created_at) VALUES ($1, $2, $3, $4)";

/// What a rotation has done.
#[derive(Clone, Debug, Default, Eq, PartialEq, Serialize)]
pub struct Rotated {
    /// The leaf that was made.
    pub made: Option<String>,
    /// The leaf that signs from now on.
    pub activated: Option<String>,
    /// The leaf that signs no more.
    pub retired: Option<String>,
    /// Leaves that nobody needs to know any longer.
    pub purged: Vec<String>,
}

/// Changes keys. Any number may run at once: they wait for each other, and the second finds nothing left to do.
#[derive(Clone, Debug)]
pub struct KeyRotation {
    database: Database,
    root: Arc<dyn RootSigner>,
    sealing: SealingKey,
    schedule: Schedule,
    clock: Arc<dyn Clock>,
}

#[derive(Serialize)]
struct CertificateClaims<'a> {
    iat: i64,
    nbf: i64,
    exp: i64,
    #[serde(rename = "use")]
    usage: &'static str,
    jwk: &'a LeafJwk,
}

impl KeyRotation {
    /// A rotation; `database` must act as [`crate::db::Role::Jobs`].
    #[must_use]
    pub const fn new(
        database: Database,
        root: Arc<dyn RootSigner>,
        sealing: SealingKey,
        schedule: Schedule,
        clock: Arc<dyn Clock>,
    ) -> Self {
        Self { database, root, sealing, schedule, clock }
    }

    /// When keys change.
    #[must_use]
    pub const fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Does what is due, and nothing if nothing is.
    ///
    /// # Errors
    /// Any [`Error`]: then nothing has changed.
    pub async fn rotate(&self) -> Result<Rotated, Error> {
        let root = self.root.public_key().await?;
        let mut client = self.database.client().await?;
        let transaction = client.transaction().await?;
        transaction.query(LOCK, &[]).await?;
        let rotated = self.rotate_locked(&transaction, &root).await?;
        transaction.commit().await?;
        if rotated != Rotated::default() {
            tracing::info!(?rotated, "keys rotated");
        }
        Ok(rotated)
    }

    /// Tells what is due now, and changes nothing. The leaf that would be made has no name yet, and an empty one here.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn preview(&self) -> Result<Rotated, Error> {
        let leaves = self.leaves(&self.root.public_key().await?.kid()).await?;
        let plan = self.schedule.plan(self.clock.now(), &leaves);
        let made = plan.make.map(|_| String::new());
        let activated = plan.activate.or_else(|| plan.make.filter(|make| make.is_active).map(|_| String::new()));
        Ok(Rotated { made, activated, retired: plan.retire, purged: plan.purge })
    }

    /// Tells how long the keys still last, whether or not the root can be reached.
    ///
    /// # Errors
    /// [`Error::Database`].
    pub async fn outlook(&self) -> Result<Outlook, Error> {
        Ok(self.schedule.outlook(self.clock.now(), &self.leaves("").await?))
    }

    async fn leaves(&self, root_kid: &str) -> Result<Vec<Known>, Error> {
        let mut client = self.database.client().await?;
        known(&client.transaction().await?, root_kid).await
    }

    /// Puts a leaf on the revocation list, destroys it, and lets another one sign at once. False: there is no such leaf, or it was
    /// revoked before.
    ///
    /// # Errors
    /// Any [`Error`]: then nothing has changed.
    pub async fn revoke(&self, kid: &str) -> Result<bool, Error> {
        let root = self.root.public_key().await?;
        let now = self.clock.now();
        let mut client = self.database.client().await?;
        let transaction = client.transaction().await?;
        transaction.query(LOCK, &[]).await?;
        if transaction.execute(REVOKE, &[&kid, &now]).await? == 0 {
            return Ok(false);
        }
        self.see_root(&transaction, &root, now).await?;
        self.publish_list(&transaction, &root, now).await?;
        let rotated = self.rotate_locked(&transaction, &root).await?;
        transaction.commit().await?;
        tracing::warn!(kid, ?rotated, "a signing key was revoked");
        Ok(true)
    }

    async fn rotate_locked(&self, transaction: &Transaction<'_>, root: &RootPublicKey) -> Result<Rotated, Error> {
        let now = self.clock.now();
        self.see_root(transaction, root, now).await?;
        let last = transaction.query_opt(LAST_LIST, &[]).await?;
        if last.is_none_or(|list| list.get::<_, &str>(1) != root.kid()) {
            self.publish_list(transaction, root, now).await?;
        }
        let leaves = known(transaction, &root.kid()).await?;
        let plan = self.schedule.plan(now, &leaves);
        if !plan.purge.is_empty() {
            transaction.execute(PURGE, &[&plan.purge]).await?;
        }
        if let Some(kid) = &plan.retire {
            transaction.execute(RETIRE, &[kid]).await?;
        }
        if let Some(kid) = &plan.activate {
            transaction.execute(ACTIVATE, &[kid]).await?;
        }
        let mut rotated = Rotated { made: None, activated: plan.activate, retired: plan.retire, purged: plan.purge };
        if let Some(make) = plan.make {
            let kid = self.make(transaction, root, make, now).await?;
            if make.is_active {
                rotated.activated = Some(kid.clone());
            }
            rotated.made = Some(kid);
        }
        Ok(rotated)
    }

    async fn see_root(&self, transaction: &Transaction<'_>, root: &RootPublicKey, now: Timestamp) -> Result<(), Error> {
        transaction.execute(SEE_ROOT, &[&root.kid(), &root.algorithm().as_str(), &root.spki(), &now]).await?;
        Ok(())
    }

    async fn make(&self, transaction: &Transaction<'_>, root: &RootPublicKey, make: Make, now: Timestamp) -> Result<String, Error> {
        let leaf = NewLeaf::make(&self.sealing)?;
        let signs_until = make.signs_from + self.schedule.signs_for;
        let expires_at = signs_until + LONGEST_LEASE;
        let claims = CertificateClaims {
            iat: now.timestamp(),
            nbf: (now - CLOCK_DIFFERENCE).timestamp(),
            exp: expires_at.timestamp(),
            usage: "lease",
            jwk: &leaf.jwk,
        };
        let certificate = jws::sign_by_root(&*self.root, root, Kind::Certificate, &claims).await?;
        let state = if make.is_active { "active" } else { "pending" };
        let kid = leaf.jwk.kid();
        transaction
            .execute(
                MAKE,
                &[
                    &kid,
                    &state,
                    &root.kid(),
                    &certificate,
                    &leaf.public_key,
                    &leaf.sealed,
                    &now,
                    &make.signs_from,
                    &signs_until,
                    &expires_at,
                ],
            )
            .await?;
        Ok(kid.to_owned())
    }

    /// Signs the list of all that was ever revoked, as the next version.
    async fn publish_list(&self, transaction: &Transaction<'_>, root: &RootPublicKey, now: Timestamp) -> Result<(), Error> {
        let last = transaction.query_opt(LAST_LIST, &[]).await?;
        let version = last.map_or(0, |list| list.get::<_, i64>(0)) + 1;
        let revoked: Vec<_> = transaction
            .query(REVOKED, &[])
            .await?
            .iter()
            .map(|row| json!({ "kid": row.get::<_, &str>(0), "revoked_at": row.get::<_, Timestamp>(1).timestamp() }))
            .collect();
        let claims = json!({ "iat": now.timestamp(), "version": version, "revoked": revoked });
        let signed = jws::sign_by_root(&*self.root, root, Kind::Revocations, &claims).await?;
        transaction.execute(ADD_LIST, &[&version, &root.kid(), &signed, &now]).await?;
        Ok(())
    }
}

async fn known(transaction: &Transaction<'_>, root_kid: &str) -> Result<Vec<Known>, Error> {
    let rows = transaction.query(KNOWN, &[]).await?;
    rows.iter()
        .map(|row| {
            let state = match row.try_get(1)? {
                "pending" => State::Pending,
                "active" => State::Active,
                "retired" => State::Retired,
                other => return Err(db::Error::Record(format!("a leaf's state is {other}")).into()),
            };
            Ok(Known {
                kid: row.try_get(0)?,
                state,
                is_ours: row.try_get::<_, &str>(2)? == root_kid,
                signs_from: row.try_get(3)?,
                signs_until: row.try_get(4)?,
                expires_at: row.try_get(5)?,
            })
        })
        .collect()
}
