//! Screening: PostgreSQL is not asked for unknown credentials on behalf of an address that has
//! spent its allowance.

use std::sync::Arc;

use super::{Asker, CountedBy, Engine, Error, Looked, licenses::KnownKey};
use crate::domain::{License, LicenseId, LicenseKeyHash, TenantId, Verdict};

impl Engine {
    /// The license that a key opens, among those of `tenants` where members ask. A key that was
    /// good is looked up in any case.
    pub(super) async fn open(
        &self,
        key: &LicenseKeyHash,
        tenants: Option<&[TenantId]>,
        network: Option<&[u8; 16]>,
    ) -> Result<Looked<Arc<License>>, Error> {
        let look_up = self.licenses.read_by_key(&self.database, key, tenants);
        match self.licenses.known(key, tenants) {
            KnownKey::Fresh(license) => Ok(Looked::Found(license)),
            KnownKey::Stale => looked(look_up.await?),
            KnownKey::Unknown => {
                let mut mark = key.as_bytes().to_vec();
                for tenant in tenants.into_iter().flatten() {
                    mark.extend_from_slice(tenant.as_uuid().as_bytes());
                }
                self.screened(network, None, Some(&mark), look_up).await
            }
        }
    }

    /// A license that Redis does not know. One that this process has seen exists, and is looked up
    /// in any case: so its clients find their seats again after Redis has lost them.
    pub(super) async fn find_license(&self, id: LicenseId, network: Option<&[u8; 16]>) -> Result<Looked<Arc<License>>, Error> {
        let look_up = self.licenses.by_id(&self.database, id);
        if self.licenses.exists(id) {
            return looked(look_up.await?);
        }
        self.screened(network, None, None, look_up).await
    }

    /// Looks something up for an address; within the process for anybody.
    pub(super) async fn screened<T>(
        &self,
        network: Option<&[u8; 16]>,
        license: Option<LicenseId>,
        mark: Option<&[u8]>,
        look_up: impl Future<Output = Result<Option<T>, Error>>,
    ) -> Result<Looked<T>, Error> {
        match network {
            Some(network) => {
                self.limiter
                    .screened(
                        Asker { network, known: license.map(|license| *license.as_uuid().as_bytes()) },
                        mark,
                        CountedBy::LookUp,
                        look_up,
                    )
                    .await
            }
            None => looked(look_up.await?),
        }
    }
}

#[expect(clippy::unnecessary_wraps, reason = "it ends look-ups that may fail")]
fn looked<T>(found: Option<T>) -> Result<Looked<T>, Error> {
    Ok(found.map_or(Looked::Unknown(Verdict::Uncounted), Looked::Found))
}
