//! What does not go with how things stand: each a 409 with a code of its own.

/// Why a change cannot be made as things stand.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Conflict {
    /// The tenant would be left without an owner.
    LastOwner,
    /// The tenant has a user of that address.
    EmailTaken,
    /// The license is revoked, for good.
    LicenseRevoked,
    /// The tenant's licenses would have more seats together than it may have.
    SeatLimit,
    /// The tenant is closed, for good.
    TenantClosed,
    /// The user is deactivated.
    UserDeactivated,
    /// The caller is a member of that tenant already, under another address.
    AlreadyMember,
}

impl Conflict {
    /// The code of the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastOwner => "last_owner",
            Self::EmailTaken => "email_taken",
            Self::LicenseRevoked => "license_revoked",
            Self::SeatLimit => "seat_limit",
            Self::TenantClosed => "tenant_closed",
            Self::UserDeactivated => "user_deactivated",
            Self::AlreadyMember => "already_member",
        }
    }

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::LastOwner => "The organization would be left without an owner",
            Self::EmailTaken => "The organization has a user of that address",
            Self::LicenseRevoked => "The license is revoked for good",
            Self::SeatLimit => "The organization's licenses would have more seats than it may have",
            Self::TenantClosed => "The organization is closed for good",
            Self::UserDeactivated => "The user is deactivated",
            Self::AlreadyMember => "You are a member of that organization already, under another address",
        }
    }
}
