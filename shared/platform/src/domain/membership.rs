//! Memberships: as whom an authenticated caller may act, and in which tenant.

use std::sync::Arc;

use serde::Serialize;

use super::{Email, Principal, Standing, TenantId, TenantStatus, Timestamp, UserStatus, Vouching};

/// A person as an identity provider knows it.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub struct Identity {
    /// The provider.
    pub issuer: String,
    /// The person's name there.
    pub subject: String,
    /// The address that the provider has verified.
    pub verified_email: Option<Email>,
    /// What the provider may vouch for.
    pub vouching: Arc<Vouching>,
}

/// A person's place in a tenant, or among the staff.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Membership {
    /// As whom the person acts by it.
    pub principal: Principal,
    /// How it stands.
    pub status: UserStatus,
    /// Name and status of the tenant. None for staff.
    pub tenant: Option<(String, TenantStatus)>,
    /// When it was last used, to the minute.
    pub last_seen_at: Option<Timestamp>,
}

impl Membership {
    /// Whether its person is served. People of a suspended tenant are, those of a closed one are not.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        self.status == UserStatus::Active && !self.is_closed()
    }

    fn is_closed(&self) -> bool {
        self.tenant.as_ref().is_some_and(|(_, status)| *status == TenantStatus::Closed)
    }

    fn is_staff(&self) -> bool {
        self.principal.standing == Standing::Staff
    }
}

/// A tenant that a person may choose.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct TenantChoice {
    /// Its id.
    pub id: TenantId,
    /// Its name.
    pub name: String,
}

/// Why somebody whose credential is good is not served.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum NotAdmitted {
    /// The identity has no membership.
    NoAccount,
    /// The identity has no membership, and no verified address by which it could accept an invitation.
    EmailNotVerified,
    /// The tenant is closed.
    TenantSuspended,
    /// The membership is deactivated.
    Deactivated,
    /// There is no membership in the tenant that was named.
    OtherTenant,
    /// There are several memberships, and none was named.
    ChoiceRequired(Vec<TenantChoice>),
}

/// An authenticated caller: an identity with its memberships, or a personal access token with its one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Account {
    /// None for a personal access token.
    pub identity: Option<Identity>,
    /// All of them, the deactivated ones and those in closed tenants too.
    pub memberships: Vec<Membership>,
}

impl Account {
    /// The staff member whom it stands for.
    #[must_use]
    pub fn staff(&self) -> Option<&Principal> {
        self.usable().find(|membership| membership.is_staff()).map(|membership| &membership.principal)
    }

    /// The memberships in tenants that can be used.
    pub fn of_tenants(&self) -> impl Iterator<Item = &Membership> {
        self.usable().filter(|membership| !membership.is_staff())
    }

    fn usable(&self) -> impl Iterator<Item = &Membership> {
        self.memberships.iter().filter(|membership| membership.is_usable())
    }

    /// Whether it has a membership in this tenant, however that stands.
    #[must_use]
    pub fn is_of(&self, tenant: TenantId) -> bool {
        self.memberships.iter().any(|membership| membership.principal.tenant == Some(tenant))
    }

    /// Everyone as whom it may act: members first, then staff.
    ///
    /// # Errors
    /// Why there is nobody.
    pub fn principals(&self) -> Result<Vec<Principal>, NotAdmitted> {
        let members = self.of_tenants().map(|membership| &membership.principal);
        let all: Vec<Principal> = members.chain(self.staff()).cloned().collect();
        if all.is_empty() { Err(self.refusal()) } else { Ok(all) }
    }

    /// As which member it acts in the tenant that was named, or in its only one.
    ///
    /// # Errors
    /// Why as none.
    pub fn choose(&self, named: Option<TenantId>) -> Result<&Membership, NotAdmitted> {
        if let Some(tenant) = named {
            let mut all = self.memberships.iter();
            return match all.find(|membership| membership.principal.tenant == Some(tenant)) {
                Some(membership) if membership.is_usable() => Ok(membership),
                Some(membership) if membership.is_closed() => Err(NotAdmitted::TenantSuspended),
                Some(_) => Err(NotAdmitted::Deactivated),
                None if self.usable().next().is_some() => Err(NotAdmitted::OtherTenant),
                None => Err(self.refusal()),
            };
        }
        let mut usable = self.of_tenants();
        match (usable.next(), usable.next()) {
            (Some(only), None) => Ok(only),
            (None, _) => Err(self.refusal()),
            (Some(_), Some(_)) => Err(NotAdmitted::ChoiceRequired(self.choices())),
        }
    }

    fn choices(&self) -> Vec<TenantChoice> {
        let choice = |membership: &Membership| {
            let (name, _) = membership.tenant.as_ref()?;
            Some(TenantChoice { id: membership.principal.tenant?, name: name.clone() })
        };
        let mut choices: Vec<TenantChoice> = self.of_tenants().filter_map(choice).collect();
        choices.sort_by(|one, other| (&one.name, one.id).cmp(&(&other.name, other.id)));
        choices
    }

    /// Why it has no membership that can be used.
    fn refusal(&self) -> NotAdmitted {
        let has = |is: fn(&Membership) -> bool| self.memberships.iter().any(is);
        let has_email = self.identity.as_ref().is_none_or(|identity| identity.verified_email.is_some());
        if has(|membership| membership.status == UserStatus::Deactivated) {
            NotAdmitted::Deactivated
        } else if has(Membership::is_closed) {
            NotAdmitted::TenantSuspended
        } else if has_email {
            NotAdmitted::NoAccount
        } else {
            NotAdmitted::EmailNotVerified
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::UserId;

    fn member(name: &str, status: UserStatus, tenant_status: TenantStatus) -> Membership {
        let (id, tenant) = (UserId::random(), Some(TenantId::random()));
        let principal = Principal { id, standing: Standing::Member, tenant, email: "ada@x.example".to_owned(), token: None };
        Membership { principal, status, tenant: Some((name.to_owned(), tenant_status)), last_seen_at: None }
    }

    fn account(memberships: Vec<Membership>) -> Account {
        let vouching = Arc::new(Vouching::everybody());
        let verified_email = Email::parse("ada@x.example").ok();
        let identity = Identity { issuer: "i".to_owned(), subject: "s".to_owned(), verified_email, vouching };
        Account { identity: Some(identity), memberships }
    }

    #[test]
    fn only_usable_membership_needs_no_choice() {
        let usable = member("B", UserStatus::Active, TenantStatus::Suspended);
        let deactivated = member("A", UserStatus::Deactivated, TenantStatus::Active);
        let closed = member("C", UserStatus::Active, TenantStatus::Closed);
        let account = account(vec![deactivated.clone(), usable.clone(), closed.clone()]);
        assert_eq!(account.choose(None), Ok(&usable));
        assert_eq!(account.choose(usable.principal.tenant), Ok(&usable));
        assert_eq!(account.choose(deactivated.principal.tenant), Err(NotAdmitted::Deactivated));
        assert_eq!(account.choose(closed.principal.tenant), Err(NotAdmitted::TenantSuspended));
        assert_eq!(account.choose(Some(TenantId::random())), Err(NotAdmitted::OtherTenant));
    }

    #[test]
    fn several_memberships_are_listed_by_name() {
        let (one, two) = (member("B", UserStatus::Active, TenantStatus::Active), member("A", UserStatus::Active, TenantStatus::Active));
        let choice = |of: &Membership, name: &str| TenantChoice { id: of.principal.tenant.unwrap(), name: name.to_owned() };
        let expected = vec![choice(&two, "A"), choice(&one, "B")];
        let account = account(vec![one.clone(), two]);
        assert_eq!(account.choose(None), Err(NotAdmitted::ChoiceRequired(expected)));
        assert_eq!(account.choose(one.principal.tenant), Ok(&one));
        assert_eq!(account.principals().unwrap().len(), 2);
    }

    #[test]
    fn nobody_is_told_why_and_nothing_about_the_tenant_named() {
        let mut nobody = account(vec![]);
        assert_eq!(nobody.choose(Some(TenantId::random())), Err(NotAdmitted::NoAccount));
        nobody.identity.as_mut().unwrap().verified_email = None;
        assert_eq!(nobody.choose(None), Err(NotAdmitted::EmailNotVerified));
        nobody.memberships = vec![member("A", UserStatus::Active, TenantStatus::Closed)];
        assert_eq!(nobody.principals(), Err(NotAdmitted::TenantSuspended));
        nobody.memberships.push(member("B", UserStatus::Deactivated, TenantStatus::Active));
        assert_eq!(nobody.choose(None), Err(NotAdmitted::Deactivated));
    }
}
