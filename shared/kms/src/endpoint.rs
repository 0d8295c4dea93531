//! Another address of Cloud KMS.

use std::{net::IpAddr, str::FromStr};

use http::{Uri, uri::Scheme};

/// Where Cloud KMS is asked, if not at its own address. Its kind decides on credentials: they never leave in clear text.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// `https://…`: gets Application Default Credentials, as Cloud KMS' own address does.
    Secure(String),
    /// `http://…` on this machine, for tests: gets no credentials.
    Loopback(String),
}

/// The text is not an address that Cloud KMS may be asked at.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be https://host, or http://host on this machine, with a port or not, and with no user, path or query")]
pub struct EndpointError;

impl Endpoint {
    /// The address as a URL without a path.
    #[must_use]
    pub fn url(&self) -> &str {
        match self {
            Self::Secure(url) | Self::Loopback(url) => url,
        }
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let uri: Uri = text.parse().map_err(|_| EndpointError)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else {
            return Err(EndpointError);
        };
        if authority.as_str().contains('@') || uri.path() != "/" || uri.query().is_some() {
            return Err(EndpointError);
        }
        let url = format!("{scheme}://{authority}");
        if *scheme == Scheme::HTTPS {
            Ok(Self::Secure(url))
        } else if *scheme == Scheme::HTTP && is_loopback(authority.host()) {
            Ok(Self::Loopback(url))
        } else {
            Err(EndpointError)
        }
    }
}

fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.trim_matches(['[', ']']).parse().is_ok_and(|address: IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_https_gets_credentials() {
        let secure = |url: &str| Ok(Endpoint::Secure(url.to_owned()));
        assert_eq!("https://kms.internal".parse(), secure("https://kms.internal"));
        assert_eq!("https://127.0.0.1:8443/".parse(), secure("https://127.0.0.1:8443"));
        let loopback = |url: &str| Ok(Endpoint::Loopback(url.to_owned()));
        for url in ["http://127.0.0.1:9000", "http://[::1]:9000", "http://localhost"] {
            assert_eq!(url.parse(), loopback(url));
        }
    }

    #[test]
    fn an_address_where_a_token_could_leak_is_refused() {
        for text in [
            "",
            "kms.internal",
            "http://kms.internal",
            "http://127.0.0.1.example.com",
            "http://localhost.example.com",
            "http://localhost@example.com",
            "https://user:password@kms.internal",
            "https://kms.internal/path",
            "https://kms.internal?key=value",
            "ftp://127.0.0.1",
        ] {
            assert_eq!(text.parse::<Endpoint>(), Err(EndpointError), "{text}");
        }
    }
}
