//! Who may do what: one table, that code, tests and documentation share.

use super::{TenantId, UserId, license::words};

words! {
    /// How somebody stands, from the least to the most.
    Standing {
        /// Sees what is its own.
        Guest = "guest",
        /// Uses licenses.
        Member = "member",
        /// Manages users and sessions.
        Admin = "admin",
        /// Everything in its tenant, billing included.
        Owner = "owner",
        /// The vendor's own people, over all tenants.
        Staff = "staff",
    }
}

impl Standing {
    /// Whether somebody who stands so and manages users may do so with people who stand like this: owners and staff with all of a tenant's,
    /// others with those below them.
    #[must_use]
    pub const fn manages(self, other: Self) -> bool {
        match self {
            Self::Guest | Self::Member => false,
            Self::Admin => matches!(other, Self::Guest | Self::Member),
            Self::Owner | Self::Staff => !matches!(other, Self::Staff),
        }
    }
}

words! {
    /// How a user's membership stands.
    UserStatus {
        /// Asked to come; nobody has yet, with that address verified.
        Invited = "invited",
        /// Known by its identity provider.
        Active = "active",
        /// The person refused the invitation. The tenant may invite again.
        Declined = "declined",
        /// Not served.
        Deactivated = "deactivated",
    }
}

words! {
    /// What somebody may want to do. Each operation of the administration is one of these.
    Permission {
        /// See one's own sessions.
        SeeOwnSessions = "see_own_sessions",
        /// Acquire a seat with a token.
        AcquireWithToken = "acquire_with_token",
        /// See licenses, usage and every session of the tenant.
        SeeTenant = "see_tenant",
        /// Revoke sessions and block hardware.
        RevokeSessions = "revoke_sessions",
        /// See and manage users below one's own standing, and invite such.
        ManageUsers = "manage_users",
        /// Read what happened.
        ReadAudit = "read_audit",
        /// Change the tenant's settings, roles and billing.
        ManageTenant = "manage_tenant",
        /// Have personal access tokens.
        HaveTokens = "have_tokens",
        /// Create, suspend and reinstate tenants.
        ManageTenants = "manage_tenants",
        /// Issue and change licenses.
        ManageLicenses = "manage_licenses",
        /// See the state of the signing keys.
        SeeKeys = "see_keys",
    }
}

/// Who may do what. A member acquires seats; staff do not, for they belong to no tenant.
const TABLE: &[(Permission, &[Standing])] = {
    use Standing::{Admin, Guest, Member, Owner, Staff};
    &[
        (Permission::SeeOwnSessions, &[Guest, Member, Admin, Owner, Staff]),
        (Permission::AcquireWithToken, &[Member, Admin, Owner]),
        (Permission::SeeTenant, &[Member, Admin, Owner, Staff]),
        (Permission::RevokeSessions, &[Admin, Owner, Staff]),
        (Permission::ManageUsers, &[Admin, Owner, Staff]),
        (Permission::ReadAudit, &[Admin, Owner, Staff]),
        (Permission::ManageTenant, &[Owner, Staff]),
        (Permission::HaveTokens, &[Member, Admin, Owner]),
        (Permission::ManageTenants, &[Staff]),
        (Permission::ManageLicenses, &[Staff]),
        (Permission::SeeKeys, &[Staff]),
    ]
};

impl Permission {
    /// Who has it.
    #[must_use]
    pub fn holders(self) -> &'static [Standing] {
        TABLE.iter().find(|(permission, _)| *permission == self).map_or(&[], |(_, holders)| holders)
    }

    /// Every permission, in the table's order.
    pub fn all() -> impl Iterator<Item = Self> {
        TABLE.iter().map(|(permission, _)| *permission)
    }
}

/// Somebody whose credential was good: a person, by a token of its own or of its identity provider.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Principal {
    /// The user, or member of staff.
    pub id: UserId,
    /// How it stands.
    pub standing: Standing,
    /// Whose it is. None for staff.
    pub tenant: Option<TenantId>,
    /// Its address, as our record has it.
    pub email: String,
    /// The personal access token that it came with, and what that narrows it to.
    pub token: Option<(uuid::Uuid, Vec<Permission>)>,
}

impl Principal {
    /// Whether it may do this. A personal access token allows what its owner may and its scopes name.
    #[must_use]
    pub fn may(&self, permission: Permission) -> bool {
        permission.holders().contains(&self.standing) && !self.lacks_scope(permission)
    }

    /// Whether a personal access token is all that keeps it from doing this.
    #[must_use]
    pub fn lacks_only_scope(&self, permission: Permission) -> bool {
        permission.holders().contains(&self.standing) && self.lacks_scope(permission)
    }

    fn lacks_scope(&self, permission: Permission) -> bool {
        self.token.as_ref().is_some_and(|(_, scopes)| !scopes.contains(&permission))
    }

    /// Whether it may do with people who stand so what an operation does with people. Owners and admins have power over a tenant: to make,
    /// change or end one also takes the permission to manage the tenant.
    #[must_use]
    pub fn manages(&self, other: Standing) -> bool {
        let is_powerless = matches!(other, Standing::Guest | Standing::Member);
        self.standing.manages(other) && (is_powerless || self.may(Permission::ManageTenant))
    }

    /// What an audit event calls such an actor: `staff`, or `user` for anybody of a tenant.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self.standing {
            Standing::Staff => "staff",
            Standing::Guest | Standing::Member | Standing::Admin | Standing::Owner => "user",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_permission_is_in_the_table_and_grows_with_standing_but_for_what_only_a_tenants_own_may() {
        let order = [Standing::Guest, Standing::Member, Standing::Admin, Standing::Owner];
        for permission in Permission::all() {
            let has: Vec<bool> = order.iter().map(|standing| permission.holders().contains(standing)).collect();
            assert!(has.is_sorted(), "{permission:?}");
        }
        assert!(Permission::all().count() == 11 && Permission::all().all(|permission| !permission.holders().is_empty()));
    }

    #[test]
    fn people_manage_those_below_them_and_owners_each_other() {
        use Standing::{Admin, Guest, Member, Owner, Staff};
        let all = [Guest, Member, Admin, Owner, Staff];
        let managed = |standing: Standing| all.into_iter().filter(move |other| standing.manages(*other)).collect::<Vec<_>>();
        assert_eq!((managed(Guest), managed(Member)), (vec![], vec![]));
        assert_eq!(managed(Admin), [Guest, Member]);
        assert_eq!((managed(Owner), managed(Staff)), (all[..4].to_vec(), all[..4].to_vec()));
    }

    #[test]
    fn a_token_narrows_and_never_widens() {
        let mut principal = Principal {
            id: UserId::random(),
            standing: Standing::Member,
            tenant: Some(TenantId::random()),
            email: "m@x.example".to_owned(),
            token: None,
        };
        assert!(principal.may(Permission::SeeTenant) && !principal.may(Permission::ReadAudit));
        principal.token = Some((uuid::Uuid::new_v4(), vec![Permission::SeeOwnSessions, Permission::ReadAudit]));
        assert!(principal.may(Permission::SeeOwnSessions));
        assert!(!principal.may(Permission::SeeTenant) && !principal.may(Permission::ReadAudit));
        principal.standing = Standing::Owner;
        let mut manages = |scopes: &[Permission], other| {
            principal.token = Some((uuid::Uuid::new_v4(), scopes.to_vec()));
            principal.manages(other)
        };
        for (other, alone) in [(Standing::Guest, true), (Standing::Member, true), (Standing::Admin, false), (Standing::Owner, false)] {
            assert_eq!(manages(&[Permission::ManageUsers], other), alone);
            assert!(manages(&[Permission::ManageUsers, Permission::ManageTenant], other));
        }
    }
}
