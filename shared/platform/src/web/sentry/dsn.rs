//! Where Sentry is told: `https://key@host/project`.

use std::{fmt, str::FromStr};

use crate::web::outgoing::OutgoingUrl;

/// A DSN, taken apart. Its key lets anybody send, and so it is not printed.
pub(super) struct Dsn {
    pub(super) url: OutgoingUrl,
    auth: String,
}

impl Dsn {
    /// The header that says who sends.
    pub(super) fn auth(&self) -> &str {
        &self.auth
    }
}

impl fmt::Debug for Dsn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Dsn")
    }
}

/// The text is no DSN.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("SENTRY_DSN (--sentry-dsn) must be https://key@host/project, or http://key@host/project on this machine")]
pub struct InvalidDsn;

impl FromStr for Dsn {
    type Err = InvalidDsn;

    fn from_str(text: &str) -> Result<Self, InvalidDsn> {
        let (scheme, rest) = text.split_once("://").ok_or(InvalidDsn)?;
        let (user, place) = rest.split_once('@').ok_or(InvalidDsn)?;
        // Old ones have a second key, which is not needed any more.
        let key = user.split_once(':').map_or(user, |(public, _)| public);
        let (before, project) = place.trim_end_matches('/').rsplit_once('/').ok_or(InvalidDsn)?;
        let is_word = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        if !is_word(key) || !is_word(project) {
            return Err(InvalidDsn);
        }
        let url = format!("{scheme}://{before}/api/{project}/envelope/").parse().map_err(|_| InvalidDsn)?;
        let client = concat!("coditect/", env!("CARGO_PKG_VERSION"));
        Ok(Self { url, auth: format!("Sentry sentry_version=7, sentry_client={client}, sentry_key={key}") })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dsn_says_where_and_who() {
        for (dsn, path) in [
            ("https://abc123@o1.ingest.sentry.io/42", "/api/42/envelope/"),
            ("https://abc123:old@sentry.example/behind/42/", "/behind/api/42/envelope/"),
        ] {
            let dsn: Dsn = dsn.parse().unwrap();
            assert_eq!(dsn.url.path, path);
            assert!(dsn.auth().ends_with("sentry_key=abc123") && !format!("{dsn:?}").contains("abc123"));
        }
    }

    #[test]
    fn what_is_none_is_refused_and_not_shown() {
        for wrong in [
            "hunter2",
            "https://sentry.example/42",
            "https://hunter2@sentry.example",
            "https://hunter2@sentry.example/",
            "http://hunter2@sentry.example/42",
            "https://hunter2, sentry_x=@sentry.example/42",
            "ftp://hunter2@sentry.example/42",
        ] {
            let error = wrong.parse::<Dsn>().unwrap_err().to_string();
            assert!(error.starts_with("SENTRY_DSN (--sentry-dsn) must be") && !error.contains("hunter2"), "{wrong}");
        }
    }
}
