//! The published keys: asked for when they are old, kept, and never taken back to an older revocation list.

use std::time::{Duration, Instant};

use super::{Core, Doubt, State, lock};
use crate::{
    Memory, PublishedKeys, Rejected, Verifier,
    wire::{Keys, Published as Answer},
};

/// How long what was published counts as current: what the platform's `Cache-Control` allows, and the notice that it gives of a leaf.
const MAX_AGE: Duration = Duration::from_secs(300);

/// How long to leave the platform alone if it could not be asked.
const ASK_AGAIN: Duration = Duration::from_secs(30);

/// What was published, as far as it is known here.
#[derive(Debug, Default)]
pub(crate) struct Published {
    keys: PublishedKeys,
    /// Of the revocation list in it; 0 if there is none.
    version: u64,
    etag: Option<String>,
    /// When to ask again; at once if nothing is said.
    due: Option<Instant>,
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
}

impl Core {
    /// The published keys. What is known is good for a while, unless it is known not to do.
    pub(super) async fn published(&self, known_will_do: bool) -> Result<PublishedKeys, Doubt> {
        let mut known = self.published.lock().await;
        let must_ask = !known_will_do || known.keys.certificates.is_empty();
        if must_ask || known.due.is_none_or(|due| due <= Instant::now()) {
            match self.ask_for_keys(&mut known).await {
                Ok(()) => known.due = Some(Instant::now() + MAX_AGE),
                Err(doubt) if must_ask => return Err(doubt),
                // What is known may do: a lease by a key that is not among it will tell.
                Err(_) => known.due = Some(Instant::now() + ASK_AGAIN),
            }
        }
        Ok(known.keys.clone())
    }

    async fn ask_for_keys(&self, known: &mut Published) -> Result<(), Doubt> {
        match self.http.keys(known.etag.as_deref()).await.map_err(Doubt::Failure)? {
            Answer::Unchanged => Ok(()),
            Answer::Changed { keys, etag } => {
                self.take_over(known, keys).await?;
                known.etag = etag;
                Ok(())
            }
        }
    }

    async fn take_over(&self, known: &mut Published, keys: Keys) -> Result<(), Doubt> {
        let list = match &keys.revocations {
            Some(token) => Some(self.verifier.revocations(token).map_err(|rejected| Rejected::BadRevocationList(Box::new(rejected)))?),
            None => None,
        };
        let version = list.as_ref().map_or(0, |list| list.version);
        // An older list, or none, is what somebody would send whose leaf is on the newer one.
        let revocations = if version >= known.version { keys.revocations } else { known.keys.revocations.take() };
        known.keys = PublishedKeys { certificates: keys.certificates, revocations };
        known.version = known.version.max(version);
        let published = known.keys.clone();
        if version == known.version {
            self.remember(move |memory| memory.keep_published(&published, list.as_ref())).await;
        }
        // Another process may have learned of a newer list.
        if let Some(State { memory, .. }) = &self.state {
            let kept = Published::kept(&lock(memory), &self.verifier);
            if kept.version > known.version {
                (known.keys.revocations, known.version) = (kept.keys.revocations, kept.version);
            }
        }
        Ok(())
    }
}
