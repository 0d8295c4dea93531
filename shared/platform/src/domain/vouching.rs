//! What an issuer of tokens may vouch for.

use super::{Fault, TenantId, identity::is_label};

/// A text that is no domain as addresses have it.
pub type InvalidDomain = Fault;

/// As whom the holders of an issuer's tokens may act. Each limit narrows the others.
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct Vouching {
    /// Whether they may be the vendor's staff.
    pub staff: bool,
    /// The tenants in which they may have a membership. None: any.
    pub tenants: Option<Vec<TenantId>>,
    /// The domains of the addresses that they may have, in lower case. None: any.
    pub domains: Option<Vec<String>>,
}

impl Vouching {
    /// An issuer that may vouch for everybody: staff, and members of any tenant.
    #[must_use]
    pub const fn everybody() -> Self {
        Self { staff: true, tenants: None, domains: None }
    }

    /// Reads a domain as [`super::Email`] writes it: ASCII with a dot, in lower case. A domain does not stand for those below it.
    ///
    /// # Errors
    /// [`InvalidDomain`].
    pub fn domain(text: &str) -> Result<String, InvalidDomain> {
        if text.contains('.') && text.len() <= 253 && text.split('.').all(is_label) {
            Ok(text.to_ascii_lowercase())
        } else {
            Err(Fault::new("must be a domain such as example.com, in ASCII (write an international one as xn--…)"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domain_is_read_in_lower_case_and_in_ascii_alone() {
        assert_eq!(Vouching::domain("Example.COM").unwrap(), "example.com");
        assert_eq!(Vouching::domain("xn--mnchen-3ya.example").unwrap(), "xn--mnchen-3ya.example");
        for wrong in ["", "com", "*.example.com", ".example.com", "example.com.", "@example.com", "münchen.example", "a b.example"] {
            assert!(Vouching::domain(wrong).is_err(), "{wrong}");
        }
    }
}
