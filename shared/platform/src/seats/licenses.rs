//! A small cache of licenses: at most ten seconds old, at most some thousands.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio_postgres::types::ToSql;

use super::Error;
use crate::{
    db::{Database, Patience, Statement, license},
    domain::{Clock, License, LicenseId, LicenseKeyHash, TenantId, Timestamp},
};

/// How old an entry may be. A change whose telling to Redis failed takes hold after this at the latest.
const MAX_AGE: Duration = Duration::from_secs(10);
/// How many licenses are kept; about a kilobyte each.
const CAPACITY: usize = 10_000;

pub(super) const BY_KEY: &str = "-- licenses::by_key
SELECT id, tenant_id, version, key_last_four, tier, status, tenant_status, seats_total, overage, session_ttl_seconds,
       seat_unit, starts_at, expires_at, features, signed_document, requires_token FROM license_by_key($1)";

pub(super) const BY_ID: &str = "-- licenses::by_id
SELECT id, tenant_id, version, key_last_four, tier, status, tenant_status, seats_total, overage, session_ttl_seconds,
       seat_unit, starts_at, expires_at, features, signed_document, requires_token FROM license_by_id($1)";

// Whoever comes with a token sees what row-level security shows to its tenant: a key of another is as one that never was.
pub(super) const BY_KEY_OF_TENANT: &str = "-- licenses::by_key_of_tenant
SELECT l.id, l.tenant_id, l.version, l.key_last_four, l.tier, l.status, t.status AS tenant_status, l.seats_total, l.overage,
       l.session_ttl_seconds, l.seat_unit, l.starts_at, l.expires_at, l.features, l.signed_document, l.requires_token
FROM licenses l JOIN tenants t ON t.id = l.tenant_id WHERE l.key_hash = $1";

#[derive(Debug)]
struct Entry {
    license: Arc<License>,
    read_at: Timestamp,
}

#[derive(Debug, Default)]
struct Shelf {
    by_id: HashMap<LicenseId, Entry>,
    /// What a key opened. It stays when the license is no longer fresh, so that a key that was good
    /// is known.
    keys: HashMap<LicenseKeyHash, Opened>,
}

#[derive(Clone, Copy, Debug)]
struct Opened {
    license: LicenseId,
    tenant: TenantId,
    /// A later one may have another key.
    version: i64,
}

/// What is known of a license key here.
#[derive(Debug)]
pub(super) enum KnownKey {
    /// It opens this license.
    Fresh(Arc<License>),
    /// It was good when it was last looked up.
    Stale,
    /// Nothing, or it is of another tenant than the one that asks.
    Unknown,
}

#[derive(Debug)]
pub(super) struct Licenses {
    shelf: Mutex<Shelf>,
    clock: Arc<dyn Clock>,
}

impl Licenses {
    pub(super) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { shelf: Mutex::default(), clock }
    }

    /// What is known of a key without a look-up; where members ask, only if the key is of one of their tenants.
    pub(super) fn known(&self, key: &LicenseKeyHash, tenants: Option<&[TenantId]>) -> KnownKey {
        self.with(|shelf, now| {
            let opened = shelf.keys.get(key).filter(|opened| tenants.is_none_or(|tenants| tenants.contains(&opened.tenant)));
            let Some(opened) = opened else { return KnownKey::Unknown };
            let license = fresh(shelf, opened.license, now).filter(|license| license.version == opened.version);
            license.map_or(KnownKey::Stale, KnownKey::Fresh)
        })
    }

    /// Looks up the license of a key, if there is one, and one of `tenants` has it where members ask. A
    /// key of another tenant costs what an unknown one does.
    pub(super) async fn read_by_key(
        &self,
        database: &Database,
        key: &LicenseKeyHash,
        tenants: Option<&[TenantId]>,
    ) -> Result<Option<Arc<License>>, Error> {
        let hash = &&key.as_bytes()[..];
        let rows = match tenants {
            None => database.query(BY_KEY, &[hash]).await?,
            Some(tenants) => {
                let params: [&(dyn ToSql + Sync); 1] = [hash];
                let of = |tenant: &TenantId| (*tenant, BY_KEY_OF_TENANT, &params[..]);
                let statements: Vec<Statement<'_>> = tenants.iter().map(of).collect();
                database.query_all_as(&statements, Patience::UntilDeadline).await?.into_iter().flatten().collect()
            }
        };
        let license = rows.first().map(license).transpose()?.map(Arc::new);
        match &license {
            Some(license) => self.keep(license, Some(*key)),
            None if tenants.is_none() => {
                self.with(|shelf, _| shelf.keys.remove(key));
            }
            None => {}
        }
        Ok(license)
    }

    /// Whether there is such a license, as far as is known without a look-up.
    pub(super) fn exists(&self, id: LicenseId) -> bool {
        self.with(|shelf, _| shelf.by_id.contains_key(&id))
    }

    pub(super) async fn by_id(&self, database: &Database, id: LicenseId) -> Result<Option<Arc<License>>, Error> {
        match self.with(|shelf, now| fresh(shelf, id, now)) {
            Some(known) => Ok(Some(known)),
            None => self.reload(database, id).await,
        }
    }

    /// Reads a license anew, whatever is kept of it.
    pub(super) async fn reload(&self, database: &Database, id: LicenseId) -> Result<Option<Arc<License>>, Error> {
        let rows = database.query(BY_ID, &[&id.as_uuid()]).await?;
        let license = rows.first().map(license).transpose()?.map(Arc::new);
        if let Some(license) = &license {
            self.keep(license, None);
        }
        Ok(license)
    }

    /// Drops what is kept of a license: it is known to have changed.
    pub(super) fn forget(&self, license: &License) {
        self.with(|shelf, _| shelf.by_id.remove(&license.id));
    }

    fn keep(&self, license: &Arc<License>, key: Option<LicenseKeyHash>) {
        self.with(|shelf, now| {
            if shelf.by_id.len() >= CAPACITY {
                shelf.by_id.retain(|_, entry| is_fresh(entry, now));
                if shelf.by_id.len() >= CAPACITY {
                    shelf.by_id.clear();
                }
                let Shelf { by_id, keys } = shelf;
                keys.retain(|_, opened| by_id.contains_key(&opened.license));
            }
            shelf.by_id.insert(license.id, Entry { license: Arc::clone(license), read_at: now });
            if let Some(key) = key {
                shelf.keys.insert(key, Opened { license: license.id, tenant: license.tenant, version: license.version });
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut Shelf, Timestamp) -> T) -> T {
        let now = self.clock.now();
        // A panic inside cannot leave the maps half changed in a way that matters: they are only a cache.
        work(&mut self.shelf.lock().unwrap_or_else(PoisonError::into_inner), now)
    }
}

fn fresh(shelf: &Shelf, id: LicenseId, now: Timestamp) -> Option<Arc<License>> {
    shelf.by_id.get(&id).filter(|entry| is_fresh(entry, now)).map(|entry| Arc::clone(&entry.license))
}

fn is_fresh(entry: &Entry, now: Timestamp) -> bool {
    (now - entry.read_at).to_std().is_ok_and(|age| age < MAX_AGE)
}
