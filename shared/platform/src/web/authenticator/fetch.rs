//! The keys of an issuer, and for how long they may be kept.

use std::time::Duration;

use axum::{
    body::Bytes,
    http::{
        HeaderMap,
        header::{AGE, CACHE_CONTROL},
    },
};

use crate::web::outgoing::{self, CannotCall, OutgoingUrl};

/// How long keys stay fresh at least and at most, whatever is said, and if nothing is.
const FRESH: (Duration, Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(86_400), Duration::from_secs(300));

/// What was published.
#[derive(Debug)]
pub(super) struct Published {
    pub(super) body: Bytes,
    pub(super) fresh_for: Duration,
}

/// Fetches a set of keys.
pub(super) async fn fetch(url: &OutgoingUrl) -> Result<Published, CannotCall> {
    let answer = outgoing::get(url).await?;
    Ok(Published { fresh_for: fresh_for(&answer.headers), body: answer.body })
}

/// How long an answer stays fresh (RFC 9111, section 4.2), within our bounds.
fn fresh_for(headers: &HeaderMap) -> Duration {
    let (least, most, otherwise) = FRESH;
    let directives = headers.get_all(CACHE_CONTROL).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(','));
    let mut said = None;
    for directive in directives.map(|directive| directive.trim().to_ascii_lowercase()) {
        if matches!(directive.as_str(), "no-store" | "no-cache") {
            return least;
        }
        if let Some(seconds) = directive.strip_prefix("max-age=") {
            said = seconds.trim_matches('"').parse().ok().map(Duration::from_secs);
        }
    }
    let age = headers.get(AGE).and_then(|value| value.to_str().ok()?.parse().ok()).map_or(Duration::ZERO, Duration::from_secs);
    said.unwrap_or(otherwise).saturating_sub(age).clamp(least, most)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_stay_fresh_for_as_long_as_is_said_within_bounds() {
        for (said, age, seconds) in [
            ("public, max-age=3600, must-revalidate", None, 3600),
            ("MAX-AGE=3600", Some("600"), 3000),
            ("max-age=3600", Some("5000"), 60),
            ("max-age=0", None, 60),
            ("max-age=99999999999", None, 86_400),
            ("max-age=99999999999999999999999", None, 300),
            ("no-store, max-age=3600", None, 60),
            ("s-maxage=7200", None, 300),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(CACHE_CONTROL, said.parse().unwrap());
            if let Some(age) = age {
                headers.insert(AGE, age.parse().unwrap());
            }
            assert_eq!(fresh_for(&headers).as_secs(), seconds, "{said}");
        }
        assert_eq!(fresh_for(&HeaderMap::new()).as_secs(), 300);
    }
}
