//! Why something signed is not believed.

/// The reason why a token is refused: the first check that did not hold, going from the root down.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum Rejected {
    /// Longer than anything the platform signs (16 KiB).
    #[error("the token is longer than 16 KiB")]
    TooLong,
    /// Not three parts, or a part that is not canonical base64url.
    #[error("the token is not a compact JWS: three parts of base64url without padding")]
    Malformed,
    /// A header that has not exactly the members `alg`, `kid` and `typ`.
    #[error("the token's header has other members than alg, kid and typ, each once and a text")]
    BadHeader,
    /// The token is of another kind.
    #[error("the token is of another kind")]
    WrongType,
    /// Signed by a root that is not pinned.
    #[error("the token names a root that is not pinned")]
    UnknownRoot,
    /// No certificate by a pinned root vouches for the leaf that signed the lease.
    #[error("no certificate by a pinned root vouches for the key that the lease names")]
    UnknownLeaf,
    /// The header names another algorithm than the key's.
    #[error("the token names another algorithm than its key has")]
    WrongAlgorithm,
    /// The signature is not the key's over this text.
    #[error("the signature does not fit")]
    BadSignature,
    /// Truly signed, but the claims are not such as this kind of token has.
    #[error("the claims cannot be read: {0}")]
    BadClaims(String),
    /// The certificate is not for signing leases.
    #[error("the certificate is not for leases")]
    WrongUse,
    /// The published revocation list is itself refused, so nobody knows what it would say.
    #[error("the revocation list is refused: {0}")]
    BadRevocationList(Box<Rejected>),
    /// The leaf is on the revocation list.
    #[error("the key that signed the lease is revoked")]
    LeafRevoked,
    /// The certificate does not hold yet.
    #[error("the certificate does not hold yet")]
    CertificateNotYetValid,
    /// The certificate holds no longer.
    #[error("the certificate has expired")]
    CertificateExpired,
    /// The lease was made at a time at which its leaf was not certified.
    #[error("the lease was made outside its certificate's time")]
    IssuedOutsideCertificate,
    /// The lease ends later than the certificate.
    #[error("the lease outlives its certificate")]
    OutlivesCertificate,
    /// Another tenant's.
    #[error("it is another tenant's")]
    WrongTenant,
    /// Another license's.
    #[error("it is of another license")]
    WrongLicense,
    /// A license document of an earlier version than the one in force: an old one, put forward again.
    #[error("the license document is older than the license: it is an earlier version, put forward again")]
    OldLicense,
    /// Another session's.
    #[error("it is of another session")]
    WrongSession,
    /// Given to another machine.
    #[error("it was given to other hardware")]
    WrongHardware,
    /// A nonce was sent, and the lease has none.
    #[error("the lease has no nonce, and one was sent")]
    MissingNonce,
    /// The lease answers another call: an old one, replayed.
    #[error("the lease has another nonce than the one sent: it is an old answer")]
    WrongNonce,
    /// The lease does not hold yet.
    #[error("the lease does not hold yet")]
    NotYetValid,
    /// The lease holds no longer.
    #[error("the lease has expired")]
    Expired,
}

impl Rejected {
    /// A stable name for it: what the test vectors call it, in every language.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLong => "too_long",
            Self::Malformed => "malformed",
            Self::BadHeader => "bad_header",
            Self::WrongType => "wrong_type",
            Self::UnknownRoot => "unknown_root",
            Self::UnknownLeaf => "unknown_leaf",
            Self::WrongAlgorithm => "wrong_algorithm",
            Self::BadSignature => "bad_signature",
            Self::BadClaims(_) => "bad_claims",
            Self::WrongUse => "wrong_use",
            Self::BadRevocationList(_) => "bad_revocation_list",
            Self::LeafRevoked => "leaf_revoked",
            Self::CertificateNotYetValid => "certificate_not_yet_valid",
            Self::CertificateExpired => "certificate_expired",
            Self::IssuedOutsideCertificate => "issued_outside_certificate",
            Self::OutlivesCertificate => "outlives_certificate",
            Self::WrongTenant => "wrong_tenant",
            Self::WrongLicense => "wrong_license",
            Self::OldLicense => "old_license",
            Self::WrongSession => "wrong_session",
            Self::WrongHardware => "wrong_hardware",
            Self::MissingNonce => "missing_nonce",
            Self::WrongNonce => "wrong_nonce",
            Self::NotYetValid => "not_yet_valid",
            Self::Expired => "expired",
        }
    }
}
