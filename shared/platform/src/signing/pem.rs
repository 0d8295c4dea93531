//! PEM, the textual form of keys (RFC 7468).

use base64::{Engine as _, engine::general_purpose::STANDARD as BASE64};

/// Writes one block.
#[must_use]
pub fn encode(label: &str, der: &[u8]) -> String {
    let text = BASE64.encode(der);
    let mut pem = format!("-----BEGIN {label}-----\n");
    let mut rest = text.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(64));
        pem.push_str(line);
        pem.push('\n');
        rest = after;
    }
    pem + "-----END " + label + "-----\n"
}
