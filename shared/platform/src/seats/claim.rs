//! A session id as somebody names it.

use crate::domain::SessionId;

/// A session id, and the address of the client that names it.
#[derive(Clone, Copy, Debug)]
pub struct Claim {
    pub(super) session: SessionId,
    pub(super) network: Option<[u8; 16]>,
}

impl Claim {
    /// A claim from the network (see
    /// [`ClientAddress::network`](crate::web::ClientAddress::network)): if there is no such
    /// session, it counts against the limit of that address.
    #[must_use]
    pub const fn from_network(session: SessionId, network: [u8; 16]) -> Self {
        Self { session, network: Some(network) }
    }
}

/// A claim from within the process, which is never refused.
impl From<SessionId> for Claim {
    fn from(session: SessionId) -> Self {
        Self { session, network: None }
    }
}
