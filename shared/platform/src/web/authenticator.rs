//! Who calls: bearer tokens of identity providers, and personal access tokens of ours.
//!
//! A token says who somebody is, and nothing of what it says about tenants or roles is believed: those are in the row of the person,
//! which is at most ten seconds old here. Whatever is wrong with a credential, the answer is the same.

mod fetch;
mod keys;
mod people;
mod provider;
mod settings;
mod token;

use std::{fmt, sync::Arc};

use axum::http::{
    HeaderMap,
    header::{AUTHORIZATION, HeaderValue},
};

pub use keys::{Algorithm, InvalidKeys};
pub use settings::{AuthenticationSettings, InvalidIssuers, Issuer, Issuers};

use super::{ApiError, ClientAddress};
use crate::{
    db::{self, Database},
    domain::{AccessToken, Clock, Principal},
    seats::{Asker, CountedBy, Limiter, Looked},
};
use people::{Credential, People};
use provider::{NoKeys, Provider};
use token::Token;

/// Why a credential is not taken: for the log alone.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Rejected {
    NotBearer,
    TooLong,
    Malformed,
    Header,
    Claims,
    Issuer,
    Key,
    Algorithm,
    Signature,
    Audience,
    Tenant,
    Expired,
    Future,
    Subject,
    Nobody,
}

/// What keeps a caller from being known.
enum Failure {
    Rejected(Rejected),
    Down(ApiError),
}

impl From<Rejected> for Failure {
    fn from(why: Rejected) -> Self {
        Self::Rejected(why)
    }
}

impl From<NoKeys> for Failure {
    fn from(error: NoKeys) -> Self {
        Self::Down(ApiError::Unavailable(error.into()))
    }
}

impl From<Arc<db::Error>> for Failure {
    fn from(error: Arc<db::Error>) -> Self {
        Self::Down(error.into())
    }
}

/// Knows callers by their tokens. One for each process, behind an [`Arc`].
pub struct Authenticator {
    providers: Vec<Arc<Provider>>,
    people: People,
    clock: Arc<dyn Clock>,
    limiter: Option<Arc<Limiter>>,
}

impl fmt::Debug for Authenticator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authenticator(…)")
    }
}

impl Authenticator {
    /// Takes the tokens of these issuers. Asks nobody before it is asked.
    ///
    /// # Errors
    /// [`InvalidIssuers`].
    pub fn new(settings: &AuthenticationSettings, database: Database, clock: Arc<dyn Clock>) -> Result<Self, InvalidIssuers> {
        let provider = |issuer| Arc::new(Provider::new(issuer, Arc::clone(&clock)));
        let providers = settings.issuers()?.into_iter().map(provider).collect();
        Ok(Self { providers, people: People::new(database, Arc::clone(&clock)), clock, limiter: None })
    }

    /// The same, which does not look up unknown credentials for addresses that are beyond their
    /// limit.
    #[must_use]
    pub fn screened_by(self, limiter: Arc<Limiter>) -> Self {
        Self { limiter: Some(limiter), ..self }
    }

    /// Who calls; None where no credential was sent.
    ///
    /// # Errors
    /// [`ApiError::Unauthenticated`] for a credential that is not good, whatever is wrong with it;
    /// [`ApiError::TooManyRequests`] for an unknown one from an address that is beyond its limit;
    /// [`ApiError::Unavailable`] if that cannot be told now.
    pub async fn authenticate(&self, headers: &HeaderMap, client: ClientAddress) -> Result<Option<Principal>, ApiError> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        // On the heap, so that requests without a token do not carry the room for this.
        match Box::pin(self.check(headers, client)).await {
            Ok(principal) => Ok(Some(principal)),
            Err(Failure::Down(error)) => Err(error),
            Err(Failure::Rejected(why)) => {
                tracing::debug!(?why, "a credential is not taken");
                Err(ApiError::Unauthenticated)
            }
        }
    }

    /// Forgets who was just seen. Whoever commits a change of a person, a token or a tenant's status calls this, so that it takes hold on the
    /// very next call here; elsewhere it does within ten seconds.
    pub fn forget(&self) {
        self.people.forget();
    }

    async fn check(&self, headers: &HeaderMap, client: ClientAddress) -> Result<Principal, Failure> {
        let text = bearer(headers)?;
        let credential = match AccessToken::parse(text) {
            Ok(token) => Credential::Token(token.hash()),
            Err(_) => self.vouched(text).await?,
        };
        Ok(self.find(credential, client).await?.ok_or(Rejected::Nobody)?)
    }

    /// Who this is. A credential that nobody here or in Redis knows is looked up only for an
    /// address that is within its limit.
    async fn find(&self, credential: Credential, client: ClientAddress) -> Result<Option<Principal>, Failure> {
        let Some(limiter) = self.limiter.as_ref().filter(|_| !self.people.knows(&credential)) else {
            return Ok(self.people.find(credential).await?);
        };
        let (network, mark) = (client.network(), credential.mark());
        let asker = Asker { network: &network, license: None };
        match limiter.screened(asker, Some(&mark), CountedBy::Edge, self.people.find(credential)).await? {
            Looked::Found(principal) => Ok(Some(principal)),
            Looked::Unknown(_) => Ok(None),
            Looked::Refused(allowance) => Err(Failure::Down(ApiError::TooManyRequests(allowance))),
        }
    }

    /// Whom the token's issuer vouches for.
    async fn vouched(&self, text: &str) -> Result<Credential, Failure> {
        let token = Token::parse(text)?;
        let provider = self.providers.iter().find(|provider| provider.issuer.name == token.issuer()).ok_or(Rejected::Issuer)?;
        let key = provider.key(token.kid()).await?.ok_or(Rejected::Key)?;
        token.verify(&provider.issuer, &key)?;
        Ok(Credential::of(&provider.issuer.name, token.identity(&provider.issuer, self.clock.now())?))
    }
}

/// The one credential of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Rejected> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Rejected::NotBearer) };
    if value.len() > token::MAX_BYTES {
        return Err(Rejected::TooLong);
    }
    let (scheme, token) = HeaderValue::to_str(value).ok().and_then(|value| value.split_once(' ')).ok_or(Rejected::NotBearer)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_matches(' ')) } else { Err(Rejected::NotBearer) }
}
