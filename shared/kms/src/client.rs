//! Questions to Cloud KMS.

use std::time::Duration;

use google_cloud_auth::credentials::anonymous;
use google_cloud_gax::{
    exponential_backoff::{ExponentialBackoff, ExponentialBackoffBuilder},
    options::RequestOptionsBuilder,
    retry_policy::{Aip194Strict, RetryPolicy, RetryPolicyExt},
    retry_throttler::CircuitBreaker,
};
use google_cloud_kms_v1::{
    client::KeyManagementService,
    model::{AsymmetricSignResponse, Digest, PublicKey, digest},
};
use platform::signing::RootError;
use tokio::{sync::OnceCell, time::Instant};

use crate::{Endpoint, KeyVersion, KmsSettings, crc32c::crc32c, fault::Fault};

/// The first wait before asking again is at most this long, and each further one at most twice as long as the one before.
const FIRST_WAIT: Duration = Duration::from_millis(100);
/// No wait is longer than this.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// Cloud KMS, asked about one key version. Connects when it is asked first.
pub(crate) struct Client {
    version: KeyVersion,
    endpoint: Option<Endpoint>,
    attempt: Duration,
    service: OnceCell<KeyManagementService>,
}

impl Client {
    pub(crate) fn new(settings: &KmsSettings) -> Self {
        Self {
            version: settings.kms_key_version.clone(),
            endpoint: settings.kms_endpoint.clone(),
            // One attempt that hangs leaves time for another.
            attempt: settings.deadline() * 2 / 5,
            service: OnceCell::new(),
        }
    }

    pub(crate) const fn version(&self) -> &KeyVersion {
        &self.version
    }

    /// Asks for the public key, and again while the reason may pass, until the deadline.
    pub(crate) async fn public_key(&self, deadline: Instant) -> Result<PublicKey, Fault> {
        let question = self.service().await?.get_public_key().set_name(self.version.as_str());
        Ok(question.with_retry_policy(until(deadline)).send().await?)
    }

    /// Asks for a signature of a SHA-256 digest, and again while the reason may pass, until the deadline.
    pub(crate) async fn sign(&self, sha256: &[u8], deadline: Instant) -> Result<AsymmetricSignResponse, Fault> {
        let digest = Digest::new().set_digest(digest::Digest::Sha256(sha256.to_vec().into()));
        let question = self.service().await?.asymmetric_sign().set_name(self.version.as_str());
        let question = question.set_digest(digest).set_digest_crc32c(crc32c(sha256));
        // A signature made twice is as good as one made once.
        Ok(question.with_idempotency(true).with_retry_policy(until(deadline)).send().await?)
    }

    async fn service(&self) -> Result<&KeyManagementService, Fault> {
        self.service.get_or_try_init(|| self.connect()).await
    }

    async fn connect(&self) -> Result<KeyManagementService, Fault> {
        let builder = KeyManagementService::builder().with_attempt_timeout(self.attempt).with_backoff_policy(waits());
        // Never throttles. The crate's own throttler does not forget: after an outage it would skip retries until as many
        // calls have succeeded, which for a key that signs a few times an hour is days.
        let builder = builder.with_retry_throttler(CircuitBreaker::clamp(1, 0, 0));
        let builder = match &self.endpoint {
            None => builder,
            Some(Endpoint::Secure(url)) => builder.with_endpoint(url),
            Some(Endpoint::Loopback(url)) => builder.with_endpoint(url).with_credentials(anonymous::Builder::new().build()),
        };
        builder.build().await.map_err(|error| {
            // Its cause may repeat what is in a credentials file.
            Fault::Final(RootError::Refused(format!("no client for Cloud KMS can be made: {error}")))
        })
    }
}

/// Exponential, with full jitter: each wait is anything from nothing to the current limit.
fn waits() -> ExponentialBackoff {
    ExponentialBackoffBuilder::new().with_initial_delay(FIRST_WAIT).with_maximum_delay(LONGEST_WAIT).clamp()
}

/// Asks again after UNAVAILABLE, `RESOURCE_EXHAUSTED`, a lost connection or an attempt that took too long (AIP-194).
fn until(deadline: Instant) -> impl RetryPolicy + 'static {
    let left = deadline.saturating_duration_since(Instant::now());
    Aip194Strict.continue_on_too_many_requests().continue_on_client_timeout().with_time_limit(left)
}
