//! A session that outlives the process that began it.

use serde::{Deserialize, Serialize};

use crate::secret::Secret;

/// What another process needs to carry on a session: see [`Seat::detach`](crate::Seat::detach). Whoever has it can renew and release
/// the session, so keep it where only its user can read it; printing it does not show the session id.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq, Serialize)]
pub struct SavedSession {
    pub(crate) session_id: Secret,
    /// The license document, signed.
    pub(crate) license: String,
    /// No other program has the same session.
    #[serde(default)]
    pub(crate) own: bool,
}

impl SavedSession {
    /// The session's id: a secret.
    #[must_use]
    pub fn session_id(&self) -> &str {
        self.session_id.expose()
    }
}
