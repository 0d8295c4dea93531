//! Who is calling, as far as an address tells.

use std::{
    convert::Infallible,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use axum::{
    extract::FromRequestParts,
    http::{Extensions, HeaderMap, HeaderName, request::Parts},
};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// The address of a client: its connection's, or the one that the outermost trusted proxy has seen.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    /// Each proxy adds the address that it was called from on the right of `X-Forwarded-For`, so the n-th from the right was
    /// written by the n-th trusted proxy, counted from us. What stands further left anybody may have made up. Where that entry
    /// is missing or no address, the peer's counts.
    pub(super) fn of(peer: IpAddr, headers: &HeaderMap, trusted_hops: u8) -> Self {
        let named = trusted_hops.checked_sub(1).and_then(|further| forwarded(headers, further.into()));
        Self(named.unwrap_or(peer).to_canonical())
    }

    /// The one that the server has found; nowhere if there is no server.
    pub(super) fn found(extensions: &Extensions) -> Self {
        extensions.get().copied().unwrap_or(Self(IpAddr::V4(Ipv4Addr::UNSPECIFIED)))
    }

    /// The address.
    #[must_use]
    pub const fn ip(self) -> IpAddr {
        self.0
    }

    /// What limits count by: the address, or the /64 of an IPv6 address, within which a client may have any. In the form of an
    /// IPv6 address.
    #[must_use]
    pub fn network(self) -> [u8; 16] {
        match self.0 {
            IpAddr::V4(address) => address.to_ipv6_mapped().octets(),
            IpAddr::V6(address) => Ipv6Addr::from_bits(address.to_bits() >> 64 << 64).octets(),
        }
    }
}

impl From<IpAddr> for ClientAddress {
    fn from(address: IpAddr) -> Self {
        Self(address.to_canonical())
    }
}

impl<S: Sync> FromRequestParts<S> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        Ok(Self::found(&parts.extensions))
    }
}

/// The entry of `X-Forwarded-For` that has so many on its right. Several such headers are one list (RFC 9110, section 5.3).
fn forwarded(headers: &HeaderMap, further: usize) -> Option<IpAddr> {
    let lines = headers.get_all(FORWARDED_FOR).iter().rev();
    let entry = lines.flat_map(|line| line.as_bytes().rsplit(|byte| *byte == b',')).nth(further)?;
    let entry = std::str::from_utf8(entry).ok()?.trim();
    // Some proxies add the port, and then brackets around an IPv6 address.
    entry.parse().ok().or_else(|| entry.parse().ok().map(|address: SocketAddr| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PEER: &str = "192.0.2.1";

    fn found(lines: &[&str], hops: u8) -> String {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, line.parse().unwrap());
        }
        ClientAddress::of(PEER.parse().unwrap(), &headers, hops).ip().to_string()
    }

    #[test]
    fn without_trusted_proxies_the_peer_counts_whatever_it_says() {
        assert_eq!(found(&[], 0), PEER);
        assert_eq!(found(&["198.51.100.7", "198.51.100.8"], 0), PEER);
    }

    #[test]
    fn with_trusted_proxies_the_one_that_the_outermost_has_seen_counts() {
        assert_eq!(found(&["203.0.113.9, 198.51.100.7"], 1), "198.51.100.7");
        assert_eq!(found(&["203.0.113.9, 198.51.100.7 ,10.0.0.1"], 2), "198.51.100.7");
        assert_eq!(found(&["203.0.113.9", "198.51.100.7", "10.0.0.1"], 2), "198.51.100.7");
        assert_eq!(found(&["203.0.113.9,198.51.100.7", "10.0.0.1"], 3), "203.0.113.9");
        assert_eq!(found(&["198.51.100.7:4711"], 1), "198.51.100.7");
        assert_eq!(found(&["2001:db8::1"], 1), "2001:db8::1");
        assert_eq!(found(&["[2001:db8::1]:443"], 1), "2001:db8::1");
    }

    #[test]
    fn what_is_missing_or_malformed_falls_back_to_the_peer() {
        assert_eq!(found(&[], 1), PEER);
        assert_eq!(found(&["198.51.100.7"], 2), PEER);
        for odd in ["", "unknown", "198.51.100", "198.51.100.7.", "1.2.3.4 5.6.7.8", "198.51.100.7,", "198.51.100.7, for=x", "::g", "é"] {
            let line = axum::http::HeaderValue::from_bytes(odd.as_bytes()).unwrap();
            let headers = HeaderMap::from_iter([(FORWARDED_FOR, line)]);
            assert_eq!(ClientAddress::of(PEER.parse().unwrap(), &headers, 1).ip().to_string(), PEER, "{odd}");
        }
    }

    #[test]
    fn an_ipv6_client_is_its_network_and_a_mapped_address_is_the_one_it_maps() {
        let network = |address: &str| ClientAddress::of(address.parse().unwrap(), &HeaderMap::new(), 0).network();
        assert_eq!(network("2001:db8:1:2::1"), network("2001:db8:1:2:ffff:ffff:ffff:ffff"));
        assert_ne!(network("2001:db8:1:2::1"), network("2001:db8:1:3::1"));
        assert_eq!(network("::ffff:192.0.2.1"), network("192.0.2.1"));
        assert_ne!(network("192.0.2.1"), network("192.0.2.2"));
    }
}
