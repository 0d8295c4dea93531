//! Where others are called.

use std::{net::IpAddr, str::FromStr};

use axum::http::{Uri, uri::Scheme};

/// An address that is called: `https://…`, or `http://…` on this machine.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(in crate::web) struct OutgoingUrl {
    pub(super) is_secure: bool,
    /// Without the brackets of an IPv6 address.
    pub(super) host: String,
    pub(super) port: u16,
    /// Host and port as they were written.
    pub(super) authority: String,
    /// With what is asked after it.
    pub(in crate::web) path: String,
}

impl OutgoingUrl {
    /// What is further down.
    pub(in crate::web) fn below(&self, path: &str) -> Self {
        Self { path: format!("{}{path}", self.path.trim_end_matches('/')), ..self.clone() }
    }
}

/// The text is no address that is called.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("must be https://host/path, or http://host/path on this machine, without a user")]
pub struct InvalidOutgoingUrl;

impl FromStr for OutgoingUrl {
    type Err = InvalidOutgoingUrl;

    fn from_str(text: &str) -> Result<Self, InvalidOutgoingUrl> {
        let uri: Uri = text.parse().map_err(|_| InvalidOutgoingUrl)?;
        let (Some(scheme), Some(authority)) = (uri.scheme(), uri.authority()) else { return Err(InvalidOutgoingUrl) };
        let host = authority.host().trim_matches(['[', ']']);
        let is_local = host == "localhost" || host.parse().is_ok_and(|address: IpAddr| address.is_loopback());
        let is_secure = *scheme == Scheme::HTTPS;
        if authority.as_str().contains('@') || !(is_secure || *scheme == Scheme::HTTP && is_local) {
            return Err(InvalidOutgoingUrl);
        }
        Ok(Self {
            is_secure,
            host: host.to_owned(),
            port: authority.port_u16().unwrap_or(if is_secure { 443 } else { 80 }),
            authority: authority.as_str().to_owned(),
            path: uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn others_are_called_over_tls_or_on_this_machine() {
        let url: OutgoingUrl = "https://www.googleapis.com/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com".parse().unwrap();
        assert_eq!((url.is_secure, url.host.as_str(), url.port), (true, "www.googleapis.com", 443));
        assert_eq!(url.path, "/service_accounts/v1/jwk/securetoken@system.gserviceaccount.com");
        let url: OutgoingUrl = "http://[::1]:9000".parse().unwrap();
        assert_eq!((url.is_secure, url.host.as_str(), url.port), (false, "::1", 9000));
        assert_eq!((url.authority.as_str(), url.path.as_str()), ("[::1]:9000", "/"));
        for wrong in
            ["", "id.example/keys", "http://id.example/", "http://localhost.example/", "https://u:p@id.example/", "file:///etc/keys"]
        {
            assert_eq!(wrong.parse::<OutgoingUrl>(), Err(InvalidOutgoingUrl), "{wrong}");
        }
    }
}
