//! Who calls: bearer tokens of identity providers, and personal access tokens of ours.
//!
//! A token says who somebody is, and nothing of what it says about tenants or roles is believed: those are in the person's memberships,
//! which are at most ten seconds old here. Whatever is wrong with a credential, the answer is the same. An identity whose token is good
//! always has an account; whether that may do anything, and in which tenant, is for its memberships to tell.

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

use super::{ApiError, ClientAddress, Conflict};
use crate::{
    db::{self, AnswerSource, Database, Invitation, InvitationAnswer},
    domain::{
        AccessToken, Account, Clock, Email, Identity, InvitationId, Membership, NotAdmitted, Permission, Principal, TenantId, Timestamp,
    },
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
    NotInForce,
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
    database: Database,
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
        let people = People::new(database.clone(), Arc::clone(&clock));
        Ok(Self { providers, people, database, clock, limiter: None })
    }

    /// The same, which does not look up unknown credentials for addresses that are beyond their
    /// limit.
    #[must_use]
    pub fn screened_by(self, limiter: Arc<Limiter>) -> Self {
        Self { limiter: Some(limiter), ..self }
    }

    /// Returns the caller's account; None where no credential was sent.
    ///
    /// # Errors
    /// [`ApiError::TooManyRequests`] for an unknown token from an address that is beyond its limit,
    /// [`ApiError::InvalidToken`] for a token that is not good, whatever is wrong with it, [`ApiError::Unauthenticated`] for a credential
    /// that is no bearer token; [`ApiError::Unavailable`] if it cannot be checked now.
    pub async fn authenticate(&self, headers: &HeaderMap, client: ClientAddress) -> Result<Option<Account>, ApiError> {
        self.authenticate_for(headers, client, None).await
    }

    /// The same for a request that names a tenant: a kept account that is not of it is looked up again, because its person may have
    /// joined it by another process.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_for(
        &self,
        headers: &HeaderMap,
        client: ClientAddress,
        tenant: Option<TenantId>,
    ) -> Result<Option<Account>, ApiError> {
        self.known(headers, client, |account| tenant.is_none_or(|tenant| account.identity.is_none() || account.is_of(tenant))).await
    }

    /// The same, and nothing that was kept here counts: the account is as PostgreSQL has it now.
    ///
    /// # Errors
    /// As [`Self::authenticate`].
    pub async fn authenticate_anew(&self, headers: &HeaderMap, client: ClientAddress) -> Result<Option<Account>, ApiError> {
        self.known(headers, client, |_| false).await
    }

    async fn known(
        &self,
        headers: &HeaderMap,
        client: ClientAddress,
        may_be_kept: impl Fn(&Account) -> bool,
    ) -> Result<Option<Account>, ApiError> {
        if !headers.contains_key(AUTHORIZATION) {
            return Ok(None);
        }
        // On the heap, so that requests without a token do not carry the room for this.
        match Box::pin(self.check(headers, client, may_be_kept)).await {
            Ok(account) => Ok(Some(account)),
            Err(Failure::Down(error)) => Err(error),
            Err(Failure::Rejected(Rejected::NotBearer)) => Err(ApiError::Unauthenticated),
            Err(Failure::Rejected(why)) => {
                tracing::debug!(?why, "a credential is not taken");
                Err(ApiError::InvalidToken)
            }
        }
    }

    /// Lists the invitations that wait for an identity's verified address.
    ///
    /// # Errors
    /// [`ApiError::NotAdmitted`] if it has none, [`ApiError::Unavailable`].
    pub async fn invitations(&self, identity: &Identity) -> Result<Vec<Invitation>, ApiError> {
        Ok(db::invitations_for(&self.database, identity, verified(identity)?).await?)
    }

    /// Accepts or declines an invitation.
    ///
    /// # Errors
    /// [`ApiError::NotAdmitted`] if the identity has no verified address, [`ApiError::NotFound`] if no such invitation waits for it,
    /// [`ApiError::Conflict`] if it is a member already, [`ApiError::Unavailable`].
    pub async fn answer_invitation(
        &self,
        identity: &Identity,
        invitation: InvitationId,
        accepts: bool,
        source: AnswerSource<'_>,
    ) -> Result<Membership, ApiError> {
        let (person, now) = ((identity, verified(identity)?), self.clock.now());
        let answer = db::answer_invitation(&self.database, invitation, accepts, person, now, source).await?;
        self.people.forget_one(&Credential::Identity(identity.clone()));
        match answer {
            InvitationAnswer::Given(membership) => Ok(*membership),
            InvitationAnswer::NotFound => Err(ApiError::NotFound),
            InvitationAnswer::AlreadyMember => Err(ApiError::Conflict(Conflict::AlreadyMember)),
        }
    }

    /// Notes that a membership was used, where its account has several; of an only one the look-up has noted it. If it cannot be
    /// noted now, a later request does.
    pub async fn note_use(&self, account: &Account, membership: &Membership) {
        let now = self.clock.now();
        let is_recent = |at: Timestamp| (now - at).num_seconds() < 60;
        if account.of_tenants().nth(1).is_none() || membership.last_seen_at.is_some_and(is_recent) {
            return;
        }
        if let Err(error) = db::member_seen(&self.database, membership.principal.id, now).await {
            tracing::debug!(%error, "the use of a membership was not noted");
        }
    }

    /// Confirms that a caller may do something, by its row and its token's as they are now. Waits for whoever changes them at this moment.
    ///
    /// # Errors
    /// [`ApiError::NotAdmitted`] if the caller is not in force, [`ApiError::InvalidToken`] if its token is not, [`ApiError::Forbidden`] if it may
    /// not do this any more; [`ApiError::Unavailable`].
    pub async fn confirm(&self, known: &Principal, permission: Permission) -> Result<(), ApiError> {
        let Some(now) = db::actor_in_force(&self.database, known, self.clock.now()).await? else {
            self.people.forget();
            return Err(ApiError::no_longer(known));
        };
        if now.may(permission) { Ok(()) } else { Err(ApiError::not_permitted(&now, permission)) }
    }

    /// Forgets who was just seen. Whoever commits a change of a person, a token or a tenant's status calls this, so that it takes hold on the
    /// very next call here; elsewhere it does within ten seconds.
    pub fn forget(&self) {
        self.people.forget();
    }

    async fn check(&self, headers: &HeaderMap, client: ClientAddress, may_be_kept: impl Fn(&Account) -> bool) -> Result<Account, Failure> {
        let text = bearer(headers)?;
        let credential = match AccessToken::parse(text) {
            Ok(token) => Credential::Token(token.hash()),
            Err(_) => self.vouched(text).await?,
        };
        let (account, is_kept) = self.find(&credential, client).await?.ok_or(Rejected::NotInForce)?;
        if !is_kept || may_be_kept(&account) {
            return Ok(account);
        }
        self.people.forget_one(&credential);
        let (account, _) = self.people.find(&credential).await?.ok_or(Rejected::NotInForce)?;
        Ok(account)
    }

    /// The account of a credential. One that nobody here or in Redis knows is looked up only for an
    /// address that is within its limit; an identity, for which a trusted issuer vouches, has an
    /// allowance of its own there.
    async fn find(&self, credential: &Credential, client: ClientAddress) -> Result<Option<(Account, bool)>, Failure> {
        let Some(limiter) = self.limiter.as_ref().filter(|_| !self.people.knows(credential)) else {
            return Ok(self.people.find(credential).await?);
        };
        let (network, mark) = (client.network(), credential.mark());
        let asker = Asker { network: &network, known: credential.vouched_for() };
        // An identity that has no account is told so, and counts as a credential that is not good.
        let mut stranger = None;
        let look_up = async {
            let found = self.people.find(credential).await?;
            if matches!(&found, Some((account, _)) if account.principals().is_err()) {
                stranger = found;
                return Ok(None);
            }
            Ok::<_, Arc<db::Error>>(found)
        };
        match limiter.screened(asker, Some(&mark), CountedBy::Edge, look_up).await? {
            Looked::Found(found) => Ok(Some(found)),
            Looked::Unknown(_) => Ok(stranger),
            Looked::Refused(allowance) => Err(Failure::Down(ApiError::TooManyRequests(allowance))),
        }
    }

    /// Whom the token's issuer vouches for.
    async fn vouched(&self, text: &str) -> Result<Credential, Failure> {
        let token = Token::parse(text)?;
        let provider = self.providers.iter().find(|provider| provider.issuer.name == token.issuer()).ok_or(Rejected::Issuer)?;
        let key = provider.key(token.kid()).await?.ok_or(Rejected::Key)?;
        token.verify(&provider.issuer, &key)?;
        Ok(Credential::Identity(token.identity(&provider.issuer, self.clock.now())?))
    }
}

/// The one credential of a request (RFC 6750, section 2.1).
fn bearer(headers: &HeaderMap) -> Result<&str, Rejected> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return Err(Rejected::Malformed) };
    if value.len() > token::MAX_BYTES {
        return Err(Rejected::TooLong);
    }
    let text = HeaderValue::to_str(value).map_err(|_| Rejected::Malformed)?;
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim_matches(' ')) } else { Err(Rejected::NotBearer) }
}

/// The address that the identity's provider has verified.
fn verified(identity: &Identity) -> Result<&Email, ApiError> {
    identity.verified_email.as_ref().ok_or_else(|| NotAdmitted::EmailNotVerified.into())
}
