//! Reconciliation: compares what Redis has of a license with the record, mends what differs, and tells what it was.
//!
//! Seats are handed out and given back meanwhile, so what differs at first sight is looked at again in the order in which the
//! engine writes: a grant is in Redis before it is recorded, and a release is recorded before it is in Redis.

use std::{collections::HashMap, sync::Arc, time::Duration};

use uuid::Uuid;

use super::{Engine, Error, answer::Found, answer::Reply, rebuild::Why, upkeep::is_policy};
use crate::{
    db::{Database, license},
    domain::{License, LicenseId, SessionKey, Timestamp},
};

/// Rows read in one go.
const PAGE: i64 = 5000;
/// How old a change must be for Redis to have been told of it: a heartbeat finds it after ten seconds at the latest.
const TOLD_BY_NOW: Duration = Duration::from_secs(15);
/// How long ago a session must have ended for its seat to have been freed in Redis.
const FREED_BY_NOW: Duration = Duration::from_secs(10);

pub(super) const LICENSES: &str = "-- reconcile::licenses
SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status AS tenant_status, l.seats_total, l.overage,
       l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document, l.requires_token, l.updated_at
FROM licenses l JOIN tenants t ON t.id = l.tenant_id WHERE l.id > $1 ORDER BY l.id LIMIT $2";

pub(super) const RECORDED: &str = "-- reconcile::recorded
SELECT id, expires_at, seat, share FROM sessions WHERE license_id = $1 AND ended_reason IS NULL AND (seat, share) > ($2, $3)
ORDER BY license_id, seat, share LIMIT $4";

pub(super) const STANDING: &str = "-- reconcile::standing
SELECT id, expires_at, ended_at FROM sessions WHERE id = ANY ($2::uuid[]) AND license_id = $1";

/// What differs between Redis and the record.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Drift {
    /// Licenses that Redis has forgotten while sessions of theirs live: rebuilt.
    pub forgotten: u64,
    /// Live sessions that Redis lacks: written back.
    pub missing: u64,
    /// Sessions that have ended and still hold a seat in Redis: taken out.
    pub ended: u64,
    /// Grants that nobody has finished: taken out.
    pub unfinished: u64,
    /// Sessions that were beating and are in no record, as after PostgreSQL has lost something: left alone, somebody must look.
    pub unrecorded: u64,
    /// Licenses whose policy in Redis is not the record's: corrected.
    pub policy: u64,
    /// Licenses whose seats, holders or order of expiry in Redis do not agree with their sessions there: put right.
    pub index: u64,
}

impl Drift {
    /// Whether there is any.
    #[must_use]
    pub fn is_some(&self) -> bool {
        *self != Self::default()
    }
}

/// A license, and when it was changed.
#[derive(Clone, Debug)]
pub struct Listed {
    license: License,
    updated_at: Timestamp,
}

impl Listed {
    /// Which license.
    #[must_use]
    pub const fn id(&self) -> LicenseId {
        self.license.id
    }
}

/// What Redis has of a license.
pub(super) struct Survey {
    pub(super) now: Timestamp,
    /// Entries of its indexes that were wrong.
    pub(super) wrong: u32,
    /// As [`super::scripts::policy`] writes it.
    pub(super) policy: Vec<Vec<u8>>,
    pub(super) sessions: HashMap<SessionKey, Timestamp>,
}

/// Compares and mends with the rights of a job, which reach over all tenants.
#[derive(Clone, Debug)]
pub struct Reconciler {
    engine: Arc<Engine>,
    database: Database,
}

impl Reconciler {
    /// A reconciler; `database` must act as [`crate::db::Role::Jobs`].
    #[must_use]
    pub const fn new(engine: Arc<Engine>, database: Database) -> Self {
        Self { engine, database }
    }

    /// The next licenses, in the order of their ids.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn licenses(&self, after: LicenseId, most: i64) -> Result<Vec<Listed>, Error> {
        let rows = self.database.query(LICENSES, &[&after.as_uuid(), &most]).await?;
        rows.iter().map(|row| Ok(Listed { license: license(row)?, updated_at: row.try_get("updated_at")? })).collect()
    }

    /// Compares one license. Unless it mends, it changes nothing. No live session is ended, and no seat given to anybody.
    ///
    /// # Errors
    /// Any [`Error`]: what was mended until then stays so.
    pub async fn reconcile(&self, listed: &Listed, mend: bool) -> Result<Drift, Error> {
        let (license, mut drift) = (&listed.license, Drift::default());
        let Reply::Done(survey) = self.engine.upkeep.survey(license.id, mend).await? else {
            return self.cold(license, mend).await;
        };
        let recorded = self.recorded(license.id).await?;
        drift.index = u64::from(survey.wrong > 0);
        drift.policy = self.policy(listed, &survey, mend).await?;
        let alive = |expires: &Timestamp| *expires > survey.now;
        let missing: Vec<_> = recorded
            .iter()
            .filter(|(session, due)| alive(due) && !survey.sessions.get(session).is_some_and(alive))
            .map(|(session, due)| (*session, *due))
            .collect();
        let extra: Vec<_> = survey
            .sessions
            .iter()
            .filter(|(session, expires)| alive(expires) && !recorded.contains_key(session))
            .map(|(session, _)| *session)
            .collect();
        if !extra.is_empty() {
            self.extra(license.id, &extra, mend, &mut drift).await?;
        }
        if !missing.is_empty() {
            drift.missing = self.missing(license, &missing, mend).await?;
        }
        if mend && drift.ended + drift.unfinished > 0 {
            // Two sessions may have been on one seat: with one of them its number was freed.
            self.engine.upkeep.survey(license.id, mend).await?;
        }
        Ok(drift)
    }

    /// A license that Redis does not know is in order as long as nobody sits. Whoever is recorded by now may have been the first to
    /// come since Redis was asked: it is asked once more.
    async fn cold(&self, license: &License, mend: bool) -> Result<Drift, Error> {
        let now = self.engine.scripts.now().await?;
        if !self.recorded(license.id).await?.values().any(|due| *due > now) {
            return Ok(Drift::default());
        }
        if let Reply::Done(_) = self.engine.scripts.look(license.id, &[]).await? {
            return Ok(Drift::default());
        }
        if mend {
            self.engine.rebuild(license, Why::Cold).await?;
        }
        Ok(Drift { forgotten: 1, ..Drift::default() })
    }

    async fn recorded(&self, license: LicenseId) -> Result<HashMap<SessionKey, Timestamp>, Error> {
        let (mut recorded, mut last) = (HashMap::new(), (0_i32, 0_i32));
        loop {
            let rows = self.database.query(RECORDED, &[&license.as_uuid(), &last.0, &last.1, &PAGE]).await?;
            let Some(row) = rows.last() else { return Ok(recorded) };
            last = (row.try_get(2)?, row.try_get(3)?);
            for row in &rows {
                recorded.insert(SessionKey::from_uuid(row.try_get(0)?), row.try_get(1)?);
            }
        }
    }

    async fn standing(
        &self,
        license: LicenseId,
        sessions: impl Iterator<Item = SessionKey>,
    ) -> Result<HashMap<SessionKey, (Timestamp, Option<Timestamp>)>, Error> {
        let ids: Vec<Uuid> = sessions.map(SessionKey::as_uuid).collect();
        let rows = self.database.query(STANDING, &[&license.as_uuid(), &ids]).await?;
        rows.iter().map(|row| Ok((SessionKey::from_uuid(row.try_get(0)?), (row.try_get(1)?, row.try_get(2)?)))).collect()
    }

    /// Those that PostgreSQL had as live before Redis was asked once more, and has as live after: what Redis lacks of them, it has lost.
    async fn missing(&self, license: &License, suspects: &[(SessionKey, Timestamp)], mend: bool) -> Result<u64, Error> {
        let Reply::Done(found) = self.engine.scripts.look(license.id, suspects).await? else { return Ok(0) };
        let lacking = || suspects.iter().zip(&found).filter(|(_, found)| **found == Found::Forgotten).map(|((session, _), _)| *session);
        let standing = self.standing(license.id, lacking()).await?;
        let lost = lacking().filter(|session| standing.get(session).is_some_and(|(_, ended)| ended.is_none())).count();
        if lost > 0 && mend {
            self.engine.rebuild(license, Why::Drift).await?;
        }
        Ok(u64::try_from(lost).unwrap_or(u64::MAX))
    }

    async fn extra(&self, license: LicenseId, suspects: &[SessionKey], mend: bool, drift: &mut Drift) -> Result<(), Error> {
        let standing = self.standing(license, suspects.iter().copied()).await?;
        let now = self.engine.scripts.now().await?;
        let (mut ended, mut unknown) = (Vec::new(), Vec::new());
        for session in suspects {
            match standing.get(session) {
                Some((_, Some(at))) if *at + FREED_BY_NOW <= now => ended.push(*session),
                // Granted or released while it was looked at.
                Some(_) => {}
                None => unknown.push(*session),
            }
        }
        let ended = self.engine.upkeep.discard(license, &ended, "ended", mend).await?;
        let unknown = self.engine.upkeep.discard(license, &unknown, "unknown", mend).await?;
        drift.ended = ended.discarded;
        (drift.unfinished, drift.unrecorded) = (unknown.discarded, unknown.alive);
        Ok(())
    }

    /// Whether the policy in Redis is wrong: it was read after the license and before it is read again.
    async fn policy(&self, listed: &Listed, survey: &Survey, mend: bool) -> Result<u64, Error> {
        let license = &listed.license;
        if is_policy(license, &survey.policy) || listed.updated_at + TOLD_BY_NOW > survey.now {
            return Ok(0);
        }
        match self.engine.licenses.reload(&self.database, license.id).await? {
            Some(still) if still.version == license.version => {}
            _ => return Ok(0),
        }
        if mend {
            self.engine.upkeep.correct(license, &survey.policy[0]).await?;
        }
        Ok(1)
    }
}
