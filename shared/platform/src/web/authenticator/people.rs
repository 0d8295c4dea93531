//! People who were just seen: for ten seconds, so that a burst of one caller costs one look-up.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::OnceCell;

use crate::{
    db::{self, Database, Person},
    domain::{Account, Clock, Identity, Timestamp, fingerprint},
};

/// How old what is known of a person may be.
const MAX_AGE: Duration = Duration::from_secs(10);
/// How many are kept.
const CAPACITY: usize = 10_000;

/// By what somebody is known.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum Credential {
    Identity(Identity),
    /// The hash of a personal access token.
    Token([u8; 32]),
}

impl Credential {
    /// Bytes that name it, and no other one.
    pub(super) fn mark(&self) -> Vec<u8> {
        match self {
            Self::Identity(Identity { issuer, subject, .. }) => [b"identity ", issuer.as_bytes(), b"\0", subject.as_bytes()].concat(),
            Self::Token(hash) => [&b"token "[..], hash].concat(),
        }
    }

    /// What stands for it if somebody has vouched for it.
    pub(super) fn vouched_for(&self) -> Option<[u8; 16]> {
        match self {
            Self::Identity(_) => Some(fingerprint(&[&self.mark()])),
            Self::Token(_) => None,
        }
    }
}

/// What a look-up has found; whoever came while it was under way shares it.
type Found = OnceCell<Result<Option<Person>, Arc<db::Error>>>;

#[derive(Debug)]
struct Seen {
    at: Timestamp,
    found: Arc<Found>,
}

#[derive(Debug)]
pub(super) struct People {
    database: Database,
    clock: Arc<dyn Clock>,
    seen: Mutex<HashMap<Credential, Seen>>,
}

impl People {
    pub(super) fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock, seen: Mutex::default() }
    }

    /// The account of a credential, and whether it is as it was kept here. None: a token that is not in force.
    pub(super) async fn find(&self, credential: &Credential) -> Result<Option<(Account, bool)>, Arc<db::Error>> {
        let now = self.clock.now();
        let found = self.seen(credential, now);
        let is_kept = found.initialized();
        let person = found.get_or_init(async || self.look_up(credential, now).await.map_err(Arc::new)).await;
        // Only who may act is kept: a stranger may accept an invitation, and a database come back, at any moment.
        if !matches!(person, Ok(Some(person)) if person.account.principals().is_ok()) {
            self.drop(credential, &found);
        }
        let person = person.clone()?;
        Ok(person.filter(|person| person.until.is_none_or(|until| now < until)).map(|person| (person.account, is_kept)))
    }

    /// Forgets one caller.
    pub(super) fn forget_one(&self, credential: &Credential) {
        self.with(|known| known.remove(credential));
    }

    /// Whether this credential was found good, however long ago.
    pub(super) fn knows(&self, credential: &Credential) -> bool {
        self.with(|known| known.get(credential).is_some_and(|seen| matches!(seen.found.get(), Some(Ok(Some(_))))))
    }

    /// Forgets everybody: somebody has changed.
    pub(super) fn forget(&self) {
        self.with(HashMap::clear);
    }

    async fn look_up(&self, credential: &Credential, now: Timestamp) -> Result<Option<Person>, db::Error> {
        match credential {
            Credential::Token(hash) => db::account_of_token(&self.database, hash, now).await,
            Credential::Identity(identity) => db::account_of(&self.database, identity, now).await.map(Some),
        }
    }

    /// The look-up of this credential that is fresh or under way, or a new one.
    fn seen(&self, credential: &Credential, now: Timestamp) -> Arc<Found> {
        let is_fresh = |seen: &Seen| (now - seen.at).to_std().is_ok_and(|age| age < MAX_AGE);
        self.with(|known| {
            if let Some(seen) = known.get(credential).filter(|seen| is_fresh(seen)) {
                return Arc::clone(&seen.found);
            }
            if known.len() >= CAPACITY {
                known.retain(|_, seen| is_fresh(seen));
                if known.len() >= CAPACITY {
                    known.clear();
                }
            }
            let found = Arc::default();
            known.insert(credential.clone(), Seen { at: now, found: Arc::clone(&found) });
            found
        })
    }

    fn drop(&self, credential: &Credential, found: &Arc<Found>) {
        self.with(|known| {
            if known.get(credential).is_some_and(|seen| Arc::ptr_eq(&seen.found, found)) {
                known.remove(credential);
            }
        });
    }

    fn with<T>(&self, work: impl FnOnce(&mut HashMap<Credential, Seen>) -> T) -> T {
        work(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
