//! The published keys: asked for when they are old, kept, and never taken back to an older revocation list.
//!
//! A lease comes with the certificate of its key, so that the keys are rarely needed. What fails here never costs a seat.

use std::time::{Duration, Instant};

use super::{Core, Doubt, Lease, State, lock, offline::moment};
use crate::{
    Memory, PublishedKeys, Rejected, Verifier, jws,
    wire::{Failure, Keys, Published as Answer},
};

/// How long what was published counts as current: what the platform's `Cache-Control` allows, and the notice that it gives of a leaf.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How long to leave the platform alone if it could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// How long to wait for an answer that is not needed at once.
const SHORT: Duration = Duration::from_secs(3);

/// The most certificates known at once.
const MAX_CERTIFICATES: usize = 16;

/// What was published, as far as it is known here.
#[derive(Debug, Default)]
pub(crate) struct Published {
    keys: PublishedKeys,
    /// Of the revocation list in it; 0 if there is none.
    version: u64,
    etag: Option<String>,
    /// When to ask again; at once if nothing is said.
    due: Option<Instant>,
    /// The platform does not want to be asked before, however urgent it is.
    not_before: Option<Instant>,
    /// The key that signed the last lease that was verified.
    known_leaf: Option<String>,
}

impl Published {
    /// What an earlier process, or another one, learned.
    pub(crate) fn kept(memory: &Memory, verifier: &Verifier) -> Self {
        let mut keys = memory.published();
        // A list by a root that is no longer pinned says nothing of the leaves of today's.
        keys.revocations.take_if(|list| verifier.revocations(list) == Err(Rejected::UnknownRoot));
        let version = if keys.revocations.is_some() { memory.revocations_version() } else { 0 };
        Self { keys, version, ..Self::default() }
    }

    /// For a verifier.
    pub(super) fn into_keys(self) -> PublishedKeys {
        self.keys
    }

    fn add_first(&mut self, certificate: &str) {
        self.keys.certificates.retain(|known| known != certificate);
        self.keys.certificates.insert(0, certificate.to_owned());
        self.keys.certificates.truncate(MAX_CERTIFICATES);
    }
}

impl Core {
    /// What is known of the keys, with the certificate that came with a lease.
    pub(super) fn known_keys(&self, certificate: Option<&str>) -> PublishedKeys {
        let mut keys = lock(&self.published).keys.clone();
        if let Some(certificate) = certificate.filter(|one| !keys.certificates.iter().any(|known| known == one)) {
            keys.certificates.insert(0, certificate.to_owned());
        }
        keys
    }

    /// The key whose certificate the platform need not send again.
    pub(super) fn known_leaf(&self) -> Option<String> {
        lock(&self.published).known_leaf.clone()
    }

    /// Notes which key signed a lease that was verified, and the certificate that vouched for it if that is new.
    pub(super) async fn know_leaf(&self, lease: &Lease, certificate: Option<&str>) {
        let Ok(jws) = jws::parse(&lease.token) else { return };
        let kid = jws.header.kid;
        let is_new = {
            let mut published = lock(&self.published);
            let new = certificate.filter(|one| !published.keys.certificates.iter().any(|known| known == one));
            let new = new.filter(|one| {
                let certificate = self.verifier.certificate(one, moment(lease.claims.iat));
                certificate.is_ok_and(|certificate| certificate.jwk.kid == kid)
            });
            published.known_leaf = Some(kid);
            if let Some(certificate) = new {
                published.add_first(certificate);
            }
            new
        };
        if let Some(certificate) = is_new.map(str::to_owned) {
            self.remember(move |memory| memory.keep_certificate(&certificate)).await;
        }
    }

    /// Whether the keys are old enough to be asked for.
    pub(super) fn keys_are_due(&self) -> bool {
        lock(&self.published).due.is_none_or(|due| due <= Instant::now())
    }

    /// Asks for the keys: if they are old, or must be had because what is known does not do.
    pub(super) async fn refresh_keys(&self, must: bool) -> Result<(), Doubt> {
        let _turn = self.asking.lock().await;
        let (etag, not_before) = {
            let published = lock(&self.published);
            (published.etag.clone(), published.not_before.filter(|moment| must && *moment > Instant::now()))
        };
        if !must && !self.keys_are_due() {
            return Ok(());
        }
        if let Some(left) = not_before.map(|moment| moment.saturating_duration_since(Instant::now())) {
            let why = format!("the platform's keys cannot be had for another {} s", left.as_secs());
            return Err(Doubt::Failure(Failure::NoAnswer(why)));
        }
        let limit = if must { Duration::MAX } else { SHORT };
        let asked = match self.http.keys(etag.as_deref(), must, limit).await {
            Ok(Answer::Unchanged) => Ok(()),
            Ok(Answer::Changed { keys, etag }) => self.take_over(keys, etag).await,
            Err(failure) => Err(Doubt::Failure(failure)),
        };
        let mut published = lock(&self.published);
        published.due = Some(Instant::now() + if asked.is_ok() { MAX_AGE } else { ASK_AGAIN });
        published.not_before = None;
        if let Err(Doubt::Failure(failure)) = &asked
            && let Some(pause) = failure.retry_after()
        {
            published.not_before = Some(Instant::now() + pause);
            published.due = published.due.max(published.not_before);
        }
        if asked.is_ok() && must {
            // What was asked for because a lease did not verify: let the platform send the certificate with the next one.
            published.known_leaf = None;
        }
        asked
    }

    async fn take_over(&self, keys: Keys, etag: Option<String>) -> Result<(), Doubt> {
        let list = match &keys.revocations {
            Some(token) => Some(self.verifier.revocations(token).map_err(|rejected| Rejected::BadRevocationList(Box::new(rejected)))?),
            None => None,
        };
        let version = list.as_ref().map_or(0, |list| list.version);
        let (published, is_newest) = {
            let mut known = lock(&self.published);
            // An older list, or none, is what somebody would send whose leaf is on the newer one.
            let revocations = if version >= known.version { keys.revocations } else { known.keys.revocations.take() };
            // A cache on the way may not have the newest certificates yet: those that came with leases stay.
            let mut certificates = keys.certificates;
            let came = std::mem::take(&mut known.keys.certificates);
            let came: Vec<_> = came.into_iter().filter(|one| !certificates.contains(one)).collect();
            certificates.extend(came);
            certificates.truncate(MAX_CERTIFICATES);
            known.keys = PublishedKeys { certificates, revocations };
            known.version = known.version.max(version);
            known.etag = etag;
            (known.keys.clone(), version == known.version)
        };
        if is_newest {
            self.remember(move |memory| memory.keep_published(&published, list.as_ref())).await;
        }
        // Another process may have learned of a newer list.
        if let Some(State { memory, .. }) = &self.state {
            let kept = Published::kept(&lock(memory), &self.verifier);
            let mut known = lock(&self.published);
            if kept.version > known.version {
                (known.keys.revocations, known.version) = (kept.keys.revocations, kept.version);
            }
        }
        Ok(())
    }
}
