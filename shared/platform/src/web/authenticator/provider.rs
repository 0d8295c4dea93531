//! An issuer and what is known of its keys. They are fetched when first needed, and again in the background; an issuer that does not
//! answer logs nobody out for a day.

use std::{
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::signature::ParsedPublicKey;
use tokio::sync::Mutex;

use super::{Issuer, fetch::fetch, keys::Keys, settings::KeySource};
use crate::{
    domain::{Clock, Timestamp},
    web::outgoing::{CannotCall, OutgoingUrl},
};

/// How long keys are gone by that could not be fetched again, once they are no longer fresh.
const KEPT: Duration = Duration::from_secs(86_400);
/// How long after they were fresh keys are still used at once: beyond it a fetch comes first, lest a key that was withdrawn while nobody
/// called is taken.
const GRACE: Duration = Duration::from_secs(300);
/// How long a failed fetch is not repeated.
const PAUSE: Duration = Duration::from_secs(5);
/// How long a key that is not known is not looked for: anybody can write a new id into a token.
const PATIENCE: Duration = Duration::from_secs(60);

/// The keys of an issuer cannot be had, and none are known.
#[derive(Debug, thiserror::Error)]
#[error("the keys of {0} cannot be had")]
pub(super) struct NoKeys(String);

#[derive(Debug)]
pub(super) struct Provider {
    pub(super) issuer: Issuer,
    clock: Arc<dyn Clock>,
    shelf: RwLock<Shelf>,
    /// Held by the one that fetches.
    turn: Arc<Mutex<()>>,
}

#[derive(Clone, Debug, Default)]
struct Shelf {
    known: Option<Known>,
    /// When the last fetch ended, and whether it failed.
    attempted_at: Option<Timestamp>,
    is_failing: bool,
}

#[derive(Clone, Debug)]
struct Known {
    keys: Arc<Keys>,
    fetched_at: Timestamp,
    fresh_for: Duration,
}

/// What to do about a key.
#[derive(Debug)]
enum Next {
    Use(ParsedPublicKey),
    UseAndRefresh(ParsedPublicKey),
    Fetch,
    /// The issuer has no such key.
    Unknown,
    /// No key is known, and just now none could be had.
    Unavailable,
}

impl Shelf {
    fn next(&self, kid: &str, now: Timestamp) -> Next {
        let may_fetch = |pause| self.attempted_at.is_none_or(|at| since(at, now) >= pause);
        let known = self.known.as_ref().map(|known| (known, since(known.fetched_at, now)));
        let Some((known, age)) = known.filter(|(known, age)| *age < known.fresh_for + KEPT) else {
            return if may_fetch(PAUSE) { Next::Fetch } else { Next::Unavailable };
        };
        match known.keys.get(kid) {
            Some(key) if age < known.fresh_for => Next::Use(key.clone()),
            Some(key) if age < known.fresh_for + GRACE || self.is_failing => {
                if may_fetch(PAUSE) {
                    Next::UseAndRefresh(key.clone())
                } else {
                    Next::Use(key.clone())
                }
            }
            Some(_) => Next::Fetch,
            None if may_fetch(PATIENCE) => Next::Fetch,
            None => Next::Unknown,
        }
    }
}

/// How long ago that was. What lies ahead, because a clock was set back, is as if it had never been.
fn since(at: Timestamp, now: Timestamp) -> Duration {
    (now - at).to_std().unwrap_or(Duration::MAX)
}

impl Provider {
    pub(super) fn new(issuer: Issuer, clock: Arc<dyn Clock>) -> Self {
        Self { issuer, clock, shelf: RwLock::default(), turn: Arc::default() }
    }

    /// The key of this id, if the issuer has it. Waits for the issuer only where what is known cannot tell.
    pub(super) async fn key(self: &Arc<Self>, kid: &str) -> Result<Option<ParsedPublicKey>, NoKeys> {
        let url = match &self.issuer.keys {
            KeySource::Given(keys) => return Ok(keys.get(kid).cloned()),
            KeySource::Published(url) => url,
        };
        let mut next = self.next(kid);
        if matches!(next, Next::Fetch) {
            // Runs to its end even if the caller goes away: the next one finds what it has found.
            let (itself, url, kid) = (Arc::clone(self), url.clone(), kid.to_owned());
            next = tokio::spawn(async move { itself.next_after_fetching(&url, &kid).await }).await.unwrap_or(Next::Unavailable);
        }
        match next {
            Next::Use(key) => Ok(Some(key)),
            Next::UseAndRefresh(key) => {
                self.refresh(url);
                Ok(Some(key))
            }
            Next::Unknown => Ok(None),
            Next::Fetch | Next::Unavailable => Err(NoKeys(self.issuer.name.clone())),
        }
    }

    fn next(&self, kid: &str) -> Next {
        self.shelf.read().unwrap_or_else(PoisonError::into_inner).next(kid, self.clock.now())
    }

    /// Whoever comes while a fetch is under way waits for that one.
    async fn next_after_fetching(&self, url: &OutgoingUrl, kid: &str) -> Next {
        let _mine = self.turn.lock().await;
        let next = self.next(kid);
        if !matches!(next, Next::Fetch) {
            return next;
        }
        self.fetch(url).await;
        self.next(kid)
    }

    /// Fetches in the background, unless somebody does so.
    fn refresh(self: &Arc<Self>, url: &OutgoingUrl) {
        if let Ok(mine) = Arc::clone(&self.turn).try_lock_owned() {
            let (itself, url) = (Arc::clone(self), url.clone());
            tokio::spawn(async move {
                itself.fetch(&url).await;
                drop(mine);
            });
        }
    }

    async fn fetch(&self, url: &OutgoingUrl) {
        let outcome = fetch(url).await.and_then(|published| {
            let keys = Keys::read(&published.body, self.issuer.algorithm).map_err(|error| CannotCall::Other(error.into()))?;
            Ok((Arc::new(keys), published.fresh_for))
        });
        let now = self.clock.now();
        if let Err(error) = &outcome {
            tracing::warn!(issuer = self.issuer.name, %error, "the keys of an issuer cannot be had");
        }
        let mut kept = self.shelf.write().unwrap_or_else(PoisonError::into_inner);
        kept.attempted_at = Some(now);
        kept.is_failing = outcome.is_err();
        if let Ok((keys, fresh_for)) = outcome {
            kept.known = Some(Known { keys, fetched_at: now, fresh_for });
        }
    }
}
