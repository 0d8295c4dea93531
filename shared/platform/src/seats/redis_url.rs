//! Reads `REDIS_URL`. Never repeats it.

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo, cluster::ClusterClient};

use crate::Secret;

/// Takes one URL, or several of the nodes of one cluster.
pub(super) fn redis_url(text: &str) -> Result<Secret, String> {
    let text = text.trim();
    let nodes = nodes(text)?;
    if nodes.len() > 1 && ClusterClient::new(nodes).is_err() {
        return Err("its URLs are not those of one cluster: the scheme, user and password must be the same in all of them".to_owned());
    }
    Ok(Secret::from(text.to_owned()))
}

/// Reads the URLs of one server or of several nodes.
pub(super) fn nodes(text: &str) -> Result<Vec<ConnectionInfo>, String> {
    text.split(',').enumerate().map(|(at, url)| node(at, url.trim())).collect()
}

fn node(at: usize, url: &str) -> Result<ConnectionInfo, String> {
    let node = url.into_connection_info().map_err(|_| {
        let which = if at == 0 { String::new() } else { format!("URL {}: ", at + 1) };
        format!("{which}must be redis://:password@host:port or rediss://…; special characters of a password are percent-encoded")
    })?;
    // The crate takes a URL with #insecure to mean that any certificate will do.
    if matches!(node.addr(), ConnectionAddr::TcpTls { insecure: true, .. }) {
        return Err("#insecure is not accepted".to_owned());
    }
    Ok(node)
}
