//! A license's document: signed by the root when the license is issued or changed, and shown with it.

use std::time::Duration;

use platform::{
    domain::{LicenseData, LicenseKey, SignedDocument, Timestamp},
    signing::{self, RootSigner, sign_document},
    web::ApiError,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::record::{License, Signature};
use crate::answer::written;

/// How long a change waits for the root. What it does not sign in time, the rotation of keys has signed when it runs next.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has a license's document signed as the license is to be. None: the root does not sign now, which keeps nobody from changing it.
pub(super) async fn sign(root: &dyn RootSigner, license: &License, now: Timestamp) -> Option<Signature> {
    let work = async {
        let key = root.public_key().await?;
        let jws = sign_document(root, &key, &license.with_document(None), now).await?;
        Ok::<_, signing::Error>(Signature { jws, kid: key.kid() })
    };
    match timeout(PATIENCE, work).await {
        Ok(Ok(signature)) => Some(signature),
        Ok(Err(error)) => {
            tracing::warn!(%error, license = %license.id, "a license's document could not be signed; the key rotation will");
            None
        }
        Err(_) => {
            tracing::warn!(license = %license.id, "a license's document was not signed in time; the key rotation will");
            None
        }
    }
}

/// A license, and its document.
#[derive(Serialize, ToSchema)]
#[schema(as = LicenseDetails)]
pub(super) struct Details<'a> {
    #[serde(flatten)]
    license: &'a License,
    /// What clients are given of it. Null for the while until it is signed as it is now.
    license_data: Option<LicenseData<'a>>,
}

/// A license with its key, which is shown only here.
#[derive(Serialize, ToSchema)]
#[schema(as = IssuedLicense)]
pub(super) struct WithKey<'a> {
    #[serde(flatten)]
    details: Details<'a>,
    /// The key itself. It cannot be shown again.
    #[schema(example = "CODI-0123-4567-89AB-CDEF-GHJK-MNPQ-RS2E-D29K")]
    license_key: String,
}

/// A license as it is shown, with its key if that is new.
pub(super) fn shown(license: &License, signed: Option<SignedDocument>, key: Option<&LicenseKey>) -> Result<Value, ApiError> {
    let whole = signed.map(|document| license.with_document(Some(document)));
    let details = Details { license, license_data: whole.as_ref().map(LicenseData::of) };
    match key {
        None => written(&details),
        Some(key) => written(&WithKey { details, license_key: key.reveal() }),
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use futures_util::future::BoxFuture;
    use platform::{
        domain::{LicenseId, LicenseStatus, SeatUnit, TenantId, Tier, from_millis},
        signing::{RootError, RootPublicKey},
    };

    use super::*;

    /// Refuses, or never answers.
    #[derive(Debug)]
    struct NoRoot {
        answers: bool,
    }

    impl RootSigner for NoRoot {
        fn public_key(&self) -> BoxFuture<'_, Result<RootPublicKey, RootError>> {
            if self.answers { Box::pin(ready(Err(RootError::Unavailable("down".to_owned())))) } else { Box::pin(pending()) }
        }

        fn sign<'a>(&'a self, _: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, RootError>> {
            Box::pin(pending())
        }
    }

    #[tokio::test]
    async fn a_root_that_does_not_sign_keeps_nobody_from_changing_a_license() {
        let license = License {
            id: LicenseId::random(),
            tenant_id: TenantId::random(),
            name: "A".to_owned(),
            key_last_four: "ABCD".to_owned(),
            tier: Tier::Trial,
            status: LicenseStatus::Active,
            seats_total: 1,
            overage: 0,
            session_ttl_seconds: 360,
            seat_unit: SeatUnit::Device,
            requires_token: false,
            starts_at: None,
            expires_at: None,
            features: Vec::new(),
            version: 1,
            created_at: from_millis(0),
            updated_at: from_millis(0),
        };
        for answers in [true, false] {
            assert!(sign(&NoRoot { answers }, &license, from_millis(0)).await.is_none());
        }
        let shown = shown(&license, None, None).unwrap();
        assert!(shown["license_data"].is_null() && shown["name"] == "A" && shown.get("license_key").is_none());
    }
}
