//! A license's document: signed by the root when the license is issued or changed, and shown with it.

use std::time::Duration;

use platform::{
    domain::{LicenseData, LicenseKey, SignedDocument, Timestamp},
    signing::{self, sign_document},
    web::ApiError,
};
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;
use utoipa::ToSchema;

use super::record::{License, Signature};
use crate::{AdminParts, answer::written};

/// How long a change waits for the root. What it does not sign in time, the rotation of keys has signed when it runs next.
const PATIENCE: Duration = Duration::from_secs(2);

/// Has a license's document signed as the license is to be. None: the root does not sign now, which keeps nobody from changing it.
pub(super) async fn sign(parts: &AdminParts, license: &License, now: Timestamp) -> Option<Signature> {
    let root = &*parts.root;
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
