//! What everybody may know of the keys: root, certificates, revocation list.

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use aws_lc_rs::digest;
use axum::body::Bytes;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde_json::{Value, json};
use tokio::sync::Mutex;

use super::{Error, LeafJwk, RootAlgorithm, RootPublicKey};
use crate::{
    db::{self, Database},
    domain::{Clock, Timestamp},
};

/// How old what is answered may be.
const MAX_AGE: Duration = Duration::from_secs(10);

pub(super) const LEAVES: &str = "-- signing::leaves
SELECT certificate, public_key FROM signing_keys WHERE state <> 'gone' ORDER BY created_at";

pub(super) const LIST: &str = "-- signing::list
SELECT l.signed, r.algorithm, r.public_key FROM revocation_lists l JOIN signing_roots r ON r.kid = l.root_kid ORDER BY l.version DESC LIMIT 1";

/// A document to be published, with its entity tag.
#[derive(Clone, Debug)]
pub struct Published {
    /// Its text.
    pub body: Bytes,
    /// A strong entity tag (RFC 9110, section 8.8.3), in its quotes.
    pub etag: String,
}

impl Published {
    /// A text, tagged with a hash of it.
    pub fn new(body: impl Into<Bytes>) -> Self {
        let body = body.into();
        let etag = format!("\"{}\"", BASE64URL.encode(&digest::digest(&digest::SHA256, &body).as_ref()[..16]));
        Self { body, etag }
    }
}

#[derive(Debug)]
struct Documents {
    jwks: Arc<Published>,
    keys: Arc<Published>,
    read_at: Timestamp,
}

/// The published documents, at most ten seconds old.
pub struct PublishedKeys {
    database: Database,
    clock: Arc<dyn Clock>,
    shelf: RwLock<Option<Documents>>,
    /// Held by the request that reads: those that come meanwhile wait for what it finds.
    reading: Mutex<()>,
}

impl fmt::Debug for PublishedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PublishedKeys(…)")
    }
}

impl PublishedKeys {
    /// Reads from this database, when first asked.
    #[must_use]
    pub const fn new(database: Database, clock: Arc<dyn Clock>) -> Self {
        Self { database, clock, shelf: RwLock::new(None), reading: Mutex::const_new(()) }
    }

    /// The database it reads from.
    #[must_use]
    pub const fn database(&self) -> &Database {
        &self.database
    }

    /// The JWK set (RFC 7517, section 5): the root, and every leaf whose leases may still live.
    ///
    /// # Errors
    /// [`Error::NoLeaf`] before the first rotation; [`Error::Database`].
    pub async fn jwks(&self) -> Result<Arc<Published>, Error> {
        self.document(|documents| Arc::clone(&documents.jwks)).await
    }

    /// Root, certificates and revocation list, as the client's crate reads them.
    ///
    /// # Errors
    /// As [`PublishedKeys::jwks`].
    pub async fn keys(&self) -> Result<Arc<Published>, Error> {
        self.document(|documents| Arc::clone(&documents.keys)).await
    }

    async fn document(&self, which: fn(&Documents) -> Arc<Published>) -> Result<Arc<Published>, Error> {
        if let Some(known) = self.known(which) {
            return Ok(known);
        }
        let _turn = self.reading.lock().await;
        if let Some(known) = self.known(which) {
            return Ok(known);
        }
        let documents = self.read(self.clock.now()).await?;
        let document = which(&documents);
        *self.shelf.write().unwrap_or_else(PoisonError::into_inner) = Some(documents);
        Ok(document)
    }

    fn known(&self, which: fn(&Documents) -> Arc<Published>) -> Option<Arc<Published>> {
        let now = self.clock.now();
        let last = self.shelf.read().unwrap_or_else(PoisonError::into_inner);
        last.as_ref().filter(|documents| now < documents.read_at + MAX_AGE).map(which)
    }

    async fn read(&self, now: Timestamp) -> Result<Documents, Error> {
        let list = self.database.query(LIST, &[]).await?;
        let list = list.first().ok_or(Error::NoLeaf)?;
        let algorithm: &str = list.try_get(1)?;
        let algorithm = RootAlgorithm::of(algorithm).ok_or_else(|| db::Error::Record(format!("a root's algorithm is {algorithm}")))?;
        let root = RootPublicKey::from_spki(list.try_get(2)?, algorithm)?;
        let (mut jwks, mut certificates) = (vec![json!(root.jwk())], Vec::new());
        for leaf in self.database.query(LEAVES, &[]).await? {
            certificates.push(leaf.try_get::<_, String>(0)?);
            jwks.push(json!(LeafJwk::of(leaf.try_get(1)?)));
        }
        let keys = json!({
            "root": { "jwk": root.jwk(), "pem": root.pem() },
            "certificates": certificates,
            "revocations": list.try_get::<_, &str>(0)?,
        });
        Ok(Documents { jwks: document(&json!({ "keys": jwks })), keys: document(&keys), read_at: now })
    }
}

fn document(document: &Value) -> Arc<Published> {
    Arc::new(Published::new(document.to_string()))
}
