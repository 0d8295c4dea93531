//! Whose tokens are taken.

use std::{collections::HashSet, str::FromStr, sync::Arc};

use clap::Args;
use serde::Deserialize;

use super::{
    Algorithm,
    keys::{InvalidKeys, Keys},
};
use crate::web::outgoing::{InvalidOutgoingUrl, OutgoingUrl};

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
    /// Other OpenID Connect issuers, as a JSON array of objects with issuer, audience, `jwks_url` and algorithm (RS256, ES256 or EdDSA)
    #[arg(long, env = "OIDC_ISSUERS", default_value = "[]")]
    pub oidc_issuers: Issuers,
}

impl AuthenticationSettings {
    pub(super) fn issuers(&self) -> Result<Vec<Issuer>, InvalidIssuers> {
        let mut issuers = self.oidc_issuers.0.clone();
        if let Some(project) = &self.google_identity_project {
            let keys = KeySource::Published(GOOGLE_KEYS.parse()?);
            let (name, audience) = (format!("https://securetoken.google.com/{project}"), project.clone());
            issuers.push(Issuer { name, audience, algorithm: Algorithm::Rs256, keys, tenant: self.google_identity_tenant.clone() });
        }
        let mut names = HashSet::new();
        if let Some(twice) = issuers.iter().find(|issuer| !names.insert(&issuer.name)) {
            return Err(InvalidIssuers::Twice(twice.name.clone()));
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
        Ok(Self { name: name.to_owned(), audience: audience.to_owned(), algorithm, keys, tenant: None })
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
    #[error("names the issuer {0} more than once")]
    Twice(String),
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
        }
        let read = |Item { issuer, audience, jwks_url, algorithm }| {
            if issuer.is_empty() || audience.is_empty() {
                return Err(InvalidIssuers::Nameless);
            }
            Ok(Issuer { name: issuer, audience, algorithm, keys: KeySource::Published(jwks_url.parse()?), tenant: None })
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
}
