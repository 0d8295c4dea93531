//! Whose tokens are taken.

use std::{collections::HashSet, str::FromStr, sync::Arc};

use clap::Args;
use serde::Deserialize;

use super::{
    Algorithm,
    keys::{InvalidKeys, Keys},
};
use crate::{
    domain::{InvalidDomain, InvalidId, Vouching},
    web::outgoing::{InvalidOutgoingUrl, OutgoingUrl},
};

/// Where Google Identity Platform publishes the keys that it signs the tokens of every project with.
const GOOGLE_KEYS: &str = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com";

/// What a function needs to know to tell who calls.
#[derive(Args, Clone, Debug, Default)]
pub struct AuthenticationSettings {
    /// Project of Google Identity Platform whose tokens are taken
    #[arg(long, env = "GOOGLE_IDENTITY_PROJECT", value_parser = project)]
    pub google_identity_project: Option<String>,
    /// Tenant of that project whose tokens are taken; without it only those of no tenant are
    #[arg(long, env = "GOOGLE_IDENTITY_TENANT", requires = "google_identity_project")]
    pub google_identity_tenant: Option<String>,
    /// Other OpenID Connect issuers: a JSON array of objects
    ///
    /// Each has `issuer`, `audience`, `jwks_url` and `algorithm` (RS256, ES256 or EdDSA; RS256 unless said). What an issuer may vouch for
    /// is limited by `tenants`, an array of tenant ids, and by `domains`, an array of the domains that addresses may have; both limits
    /// hold, and without one there is none. A token whose address is not marked as verified or unverified counts as verified where
    /// `assume_email_verified` is true: set it only for an issuer whose administrators, not its users, set the addresses.
    #[arg(long, env = "OIDC_ISSUERS", default_value = "[]")]
    pub oidc_issuers: Issuers,
    /// The issuers that may vouch for the vendor's staff, by their names with commas between them; no other may
    #[arg(long, env = "STAFF_ISSUERS", value_delimiter = ',')]
    pub staff_issuers: Vec<String>,
}

impl AuthenticationSettings {
    pub(super) fn issuers(&self) -> Result<Vec<Issuer>, InvalidIssuers> {
        let mut issuers = self.oidc_issuers.0.clone();
        if let Some(project) = &self.google_identity_project {
            let keys = KeySource::Published(GOOGLE_KEYS.parse()?);
            let (name, audience) = (format!("https://securetoken.google.com/{project}"), project.clone());
            let tenant = self.google_identity_tenant.clone();
            let vouching = Arc::default();
            let algorithm = Algorithm::Rs256;
            issuers.push(Issuer { name, audience, algorithm, keys, tenant, vouching, assumes_verified_emails: false });
        }
        let mut names = HashSet::new();
        if let Some(twice) = issuers.iter().find(|issuer| !names.insert(&issuer.name)) {
            return Err(InvalidIssuers::Twice(twice.name.clone()));
        }
        for name in self.staff_issuers.iter().map(|name| name.trim()).filter(|name| !name.is_empty()) {
            let issuer = issuers.iter_mut().find(|issuer| issuer.name == name);
            let issuer = issuer.ok_or_else(|| InvalidIssuers::UnknownStaffIssuer(name.to_owned()))?;
            Arc::make_mut(&mut issuer.vouching).staff = true;
        }
        // An installation that is upgraded must not lose its staff without a word.
        if !issuers.is_empty() && !issuers.iter().any(|issuer| issuer.vouching.staff) {
            tracing::warn!("STAFF_ISSUERS names no issuer: nobody of the staff can sign in");
        }
        Ok(issuers)
    }
}

/// An issuer of tokens.
#[derive(Clone, Debug)]
pub struct Issuer {
    /// Its name: the `iss` of its tokens, to the letter.
    pub(super) name: String,
    /// Our name with it: what `aud` must have.
    pub(super) audience: String,
    pub(super) algorithm: Algorithm,
    pub(super) keys: KeySource,
    /// The tenant that `firebase.tenant` must name.
    pub(super) tenant: Option<String>,
    /// As whom the holders of its tokens may act.
    pub(super) vouching: Arc<Vouching>,
    /// Whether an address counts as verified where a token does not say.
    pub(super) assumes_verified_emails: bool,
}

/// Where an issuer's keys come from.
#[derive(Clone, Debug)]
pub(super) enum KeySource {
    /// Fetched, and fetched again as they change.
    Published(OutgoingUrl),
    /// Known for as long as the process lives.
    Given(Arc<Keys>),
}

impl Issuer {
    /// An issuer whose keys (a JWK set) are known from the start.
    ///
    /// # Errors
    /// [`InvalidKeys`] if none of them can verify anything.
    pub fn with_keys(name: &str, audience: &str, algorithm: Algorithm, keys: &str) -> Result<Self, InvalidKeys> {
        let keys = KeySource::Given(Arc::new(Keys::read(keys.as_bytes(), algorithm)?));
        let (name, audience) = (name.to_owned(), audience.to_owned());
        Ok(Self { name, audience, algorithm, keys, tenant: None, vouching: Arc::default(), assumes_verified_emails: false })
    }

    /// The same, and what it may vouch for; without this it may vouch for members of any tenant, and not for staff.
    #[must_use]
    pub fn vouching_for(self, vouching: Vouching) -> Self {
        Self { vouching: Arc::new(vouching), ..self }
    }
}

/// Issuers besides Google's.
#[derive(Clone, Debug, Default)]
pub struct Issuers(Vec<Issuer>);

impl Issuers {
    /// Adds one.
    pub fn push(&mut self, issuer: Issuer) {
        self.0.push(issuer);
    }
}

/// Why issuers cannot be taken from the settings.
#[derive(Debug, thiserror::Error)]
pub enum InvalidIssuers {
    /// They are no JSON array as it is wanted.
    #[error("is no JSON array of issuers: {0}")]
    Json(#[from] serde_json::Error),
    /// A name is empty.
    #[error("names an issuer or an audience that is empty")]
    Nameless,
    /// Keys that come over the network in clear text could be anybody's.
    #[error("has a jwks_url that is not https://…, or http://… on this machine")]
    KeysUrl(#[from] InvalidOutgoingUrl),
    /// An issuer must have one audience and one algorithm.
    #[error("OIDC_ISSUERS (--oidc-issuers) names the issuer {0} more than once")]
    Twice(String),
    /// A limit that names nothing would let nobody in.
    #[error("limits the issuer {0} to no tenant or no domain: leave the limit out, or name one")]
    EmptyLimit(String),
    /// What an issuer is limited to cannot be read.
    #[error("has a tenant of the issuer {0} that {1}")]
    Tenant(String, InvalidId),
    /// What an issuer is limited to cannot be read.
    #[error("has a domain of the issuer {0} that {1}")]
    Domain(String, InvalidDomain),
    /// A name in `STAFF_ISSUERS` that is none of the issuers.
    #[error("STAFF_ISSUERS (--staff-issuers) names {0}, which is not an issuer whose tokens are taken")]
    UnknownStaffIssuer(String),
}

impl FromStr for Issuers {
    type Err = InvalidIssuers;

    fn from_str(text: &str) -> Result<Self, InvalidIssuers> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Item {
            issuer: String,
            audience: String,
            jwks_url: String,
            #[serde(default)]
            algorithm: Algorithm,
            tenants: Option<Vec<String>>,
            domains: Option<Vec<String>>,
            #[serde(default)]
            assume_email_verified: bool,
        }
        let read = |item: Item| {
            let Item { issuer: name, audience, jwks_url, algorithm, tenants, domains, assume_email_verified } = item;
            if name.is_empty() || audience.is_empty() {
                return Err(InvalidIssuers::Nameless);
            }
            if [&tenants, &domains].into_iter().flatten().any(Vec::is_empty) {
                return Err(InvalidIssuers::EmptyLimit(name));
            }
            let tenant = |text: &String| text.parse().map_err(|fault| InvalidIssuers::Tenant(name.clone(), fault));
            let domain = |text: &String| Vouching::domain(text).map_err(|fault| InvalidIssuers::Domain(name.clone(), fault));
            let tenants = tenants.map(|tenants| tenants.iter().map(tenant).collect()).transpose()?;
            let domains = domains.map(|domains| domains.iter().map(domain).collect()).transpose()?;
            let vouching = Arc::new(Vouching { staff: false, tenants, domains });
            let keys = KeySource::Published(jwks_url.parse()?);
            Ok(Issuer { name, audience, algorithm, keys, tenant: None, vouching, assumes_verified_emails: assume_email_verified })
        };
        serde_json::from_str::<Vec<Item>>(text)?.into_iter().map(read).collect::<Result<_, _>>().map(Self)
    }
}

/// Google's rule for the id of a project; it stands in the issuer's name.
fn project(text: &str) -> Result<String, &'static str> {
    let fits = matches!(text.len(), 6..=30)
        && text.starts_with(|first: char| first.is_ascii_lowercase())
        && text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
    if fits { Ok(text.to_owned()) } else { Err("is not the id of a project: 6 to 30 lower-case letters, digits and hyphens") }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::domain::TenantId;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        authentication: AuthenticationSettings,
    }

    fn issuers(arguments: &[&str]) -> Result<Vec<Issuer>, String> {
        let line = Line::try_parse_from(["test"].iter().chain(arguments)).map_err(|error| error.to_string())?;
        line.authentication.issuers().map_err(|error| error.to_string())
    }

    const KEYCLOAK: &str =
        r#"{"issuer":"https://id.example/r","audience":"coditect","jwks_url":"https://id.example/r/certs","algorithm":"ES256"}"#;

    #[test]
    fn several_issuers_are_taken_at_once_and_none_by_default() {
        assert!(issuers(&[]).unwrap().is_empty());
        let both = issuers(&["--google-identity-project=coditect-1", &format!("--oidc-issuers=[{KEYCLOAK}]")]).unwrap();
        assert_eq!((both[0].algorithm, both[0].audience.as_str()), (Algorithm::Es256, "coditect"));
        assert_eq!((both[1].name.as_str(), both[1].audience.as_str()), ("https://securetoken.google.com/coditect-1", "coditect-1"));
        assert_eq!(both[1].algorithm, Algorithm::Rs256);
        let unnamed = r#"[{"issuer":"https://a.example","audience":"x","jwks_url":"https://a.example/keys"}]"#;
        assert_eq!(issuers(&["--oidc-issuers", unnamed]).unwrap()[0].algorithm, Algorithm::Rs256);
    }

    #[test]
    fn settings_that_make_no_sense_are_refused() {
        let twice = format!("[{KEYCLOAK},{KEYCLOAK}]");
        assert!(issuers(&["--oidc-issuers", &twice]).unwrap_err().contains("more than once"));
        for wrong in [
            "",
            "{}",
            r#"[{"issuer":"https://a.example","audience":"x"}]"#,
            r#"[{"issuer":"","audience":"x","jwks_url":"https://a.example"}]"#,
            r#"[{"issuer":"https://a.example","audience":"x","jwks_url":"https://a.example","algorithm":"HS256"}]"#,
            r#"[{"issuer":"https://a.example","audience":"x","jwks_url":"https://a.example","algorithm":"none"}]"#,
            r#"[{"issuer":"https://a.example","audience":"x","jwks_url":"https://a.example","secret":"x"}]"#,
            r#"[{"issuer":"https://a.example","audience":"x","jwks_url":"http://a.example"}]"#,
        ] {
            assert!(issuers(&["--oidc-issuers", wrong]).is_err(), "{wrong}");
        }
        for project in ["", "Coditect", "a/../b", "short", "1project"] {
            assert!(issuers(&["--google-identity-project", project]).is_err(), "{project}");
        }
        assert!(issuers(&["--google-identity-tenant=x"]).is_err());
    }

    #[test]
    fn issuer_vouches_for_staff_only_where_named_and_within_its_limits() {
        let tenant = TenantId::random();
        let limits = format!(r#""tenants":["{tenant}"],"domains":["Acme.example"],"assume_email_verified":true"#);
        let limited = format!("--oidc-issuers=[{},{limits}}}]", &KEYCLOAK[..KEYCLOAK.len() - 1]);
        let google = "https://securetoken.google.com/coditect-1";
        let line = ["--google-identity-project=coditect-1", &limited, &format!("--staff-issuers={google}")];
        let both = issuers(&line).unwrap();
        let expected = Vouching { staff: false, tenants: Some(vec![tenant]), domains: Some(vec!["acme.example".to_owned()]) };
        assert_eq!((&*both[0].vouching, both[0].assumes_verified_emails), (&expected, true));
        let expected = Vouching { staff: true, tenants: None, domains: None };
        assert_eq!((&*both[1].vouching, both[1].assumes_verified_emails), (&expected, false));
        for (wrong, says) in [
            (r#""tenants":[]"#, "no tenant or no domain"),
            (r#""domains":[]"#, "no tenant or no domain"),
            (r#""tenants":["acme"]"#, "ten_"),
            (r#""domains":["münchen.example"]"#, "xn--"),
            (r#""domains":["*.example"]"#, "must be a domain"),
            (r#""tenants":"any""#, "sequence"),
            (r#""staff":true"#, "unknown field"),
        ] {
            let setting = format!("--oidc-issuers=[{},{wrong}}}]", &KEYCLOAK[..KEYCLOAK.len() - 1]);
            let said = issuers(&[&setting]).unwrap_err();
            assert!(said.contains(says), "{said}");
        }
        let said = issuers(&["--google-identity-project=coditect-1", "--staff-issuers=https://id.example/r"]).unwrap_err();
        assert!(said.contains("not an issuer"), "{said}");
    }
}
