//! The root signer.

use std::{fmt, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use futures_util::future::BoxFuture;
use platform::signing::{RootError, RootPublicKey, RootSigner};
use tokio::{
    sync::OnceCell,
    time::{Instant, timeout_at},
};

use crate::{KmsSettings, answer, client::Client, fault::Fault};

/// How often a question is asked whose answers come damaged.
const QUESTIONS: u32 = 3;

/// The root whose private half is in Cloud KMS and never leaves it.
///
/// Nothing is read or connected before the first call, which must be made inside a tokio runtime, as must all others.
pub struct KmsRoot {
    client: Client,
    deadline: Duration,
    public_key: OnceCell<RootPublicKey>,
}

impl KmsRoot {
    /// The root of these settings. Does no I/O.
    #[must_use]
    pub fn new(settings: &KmsSettings) -> Self {
        Self { client: Client::new(settings), deadline: settings.deadline(), public_key: OnceCell::new() }
    }

    /// The public half: asked for once, then remembered, as a key version never changes. A failure is not remembered.
    async fn known_key(&self, deadline: Instant) -> Result<&RootPublicKey, RootError> {
        self.public_key.get_or_try_init(|| undamaged(move || self.ask_for_key(deadline))).await
    }

    async fn signature(&self, message: &[u8], deadline: Instant) -> Result<Vec<u8>, RootError> {
        let key = self.known_key(deadline).await?;
        let sha256 = digest(&SHA256, message);
        let signature = undamaged(|| self.ask_for_signature(sha256.as_ref(), deadline)).await?;
        if key.verifies(message, &signature) {
            Ok(signature)
        } else {
            Err(RootError::Refused("the signature came undamaged, and is not one of this message by this key".to_owned()))
        }
    }

    async fn ask_for_key(&self, deadline: Instant) -> Result<RootPublicKey, Fault> {
        answer::public_key(&self.client.public_key(deadline).await?, self.client.version())
    }

    async fn ask_for_signature(&self, sha256: &[u8], deadline: Instant) -> Result<Vec<u8>, Fault> {
        answer::signature(self.client.sign(sha256, deadline).await?, self.client.version())
    }

    fn too_late<E>(&self, _: E) -> RootError {
        RootError::Unavailable(format!("Cloud KMS did not answer within {:?}", self.deadline))
    }
}

impl fmt::Debug for KmsRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KmsRoot({})", self.client.version().as_str())
    }
}

impl RootSigner for KmsRoot {
    fn public_key(&self) -> BoxFuture<'_, Result<RootPublicKey, RootError>> {
        Box::pin(async {
            let deadline = Instant::now() + self.deadline;
            let key = timeout_at(deadline, self.known_key(deadline)).await.map_err(|late| self.too_late(late))??;
            Ok(key.clone())
        })
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, RootError>> {
        Box::pin(async {
            let deadline = Instant::now() + self.deadline;
            timeout_at(deadline, self.signature(message, deadline)).await.map_err(|late| self.too_late(late))?
        })
    }
}

/// Asks until an answer is undamaged. Damage on the way passes; damage that stays is no accident, and such a signer not to be
/// trusted.
async fn undamaged<T, F: Future<Output = Result<T, Fault>>>(ask: impl Fn() -> F) -> Result<T, RootError> {
    let mut asked = 1;
    loop {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(Fault::Final(error)) => return Err(error),
            Err(Fault::Damaged(problem)) if asked < QUESTIONS => {
                tracing::warn!(problem, asked, "Cloud KMS is asked again, because its answer was damaged");
                asked += 1;
            }
            Err(Fault::Damaged(problem)) => return Err(RootError::Refused(format!("{problem}, {QUESTIONS} times in a row"))),
        }
    }
}
