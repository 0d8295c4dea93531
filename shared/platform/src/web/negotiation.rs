//! Content negotiation: which representation a client prefers (RFC 9110, section 12.5.1).

use axum::http::{HeaderMap, header::ACCEPT};

/// Returns which of the media types the client prefers, by its `Accept` headers: the one with the
/// highest quality, and the first of several with the same. None if it accepts none of them.
///
/// Of the ranges that match a type, the most specific one counts; quality 0 excludes. A client
/// without the header accepts everything. Parameters other than `q` are not looked at, and
/// malformed ranges are passed over.
#[must_use]
pub fn preferred(headers: &HeaderMap, offers: &[&str]) -> Option<usize> {
    let ranges: Vec<Range> = headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| split(value, b','))
        .filter_map(Range::parse)
        .collect();
    let quality = |offer: &str| {
        let matching = ranges.iter().filter_map(|range| Some((range.specificity(offer)?, range.quality)));
        matching.max().map_or(u16::from(ranges.is_empty()), |(_, quality)| quality)
    };
    // The first of the best: `max_by_key` would take the last.
    let best = offers.iter().map(|offer| quality(offer)).enumerate().filter(|(_, quality)| *quality > 0);
    best.rev().max_by_key(|(_, quality)| *quality).map(|(at, _)| at)
}

/// A media range and its quality, in thousandths.
#[derive(Clone, Copy, Debug)]
struct Range<'a> {
    kind: &'a str,
    subtype: &'a str,
    quality: u16,
}

impl<'a> Range<'a> {
    fn parse(text: &'a str) -> Option<Self> {
        let mut parts = split(text, b';').map(|part| part.trim_matches([' ', '\t']));
        let (kind, subtype) = parts.next()?.split_once('/')?;
        let is_range = is_token(kind) && is_token(subtype) && (kind != "*" || subtype == "*");
        let mut named = parts.filter_map(|part| part.split_once('='));
        let quality = named.find(|(name, _)| name.eq_ignore_ascii_case("q")).map_or(Some(1000), |(_, value)| quality(value))?;
        is_range.then_some(Self { kind, subtype, quality })
    }

    /// How closely it matches a media type; None if it does not.
    fn specificity(&self, offer: &str) -> Option<u8> {
        let (kind, subtype) = offer.split_once('/')?;
        match (self.kind, self.subtype) {
            ("*", _) => Some(0),
            (own, "*") => own.eq_ignore_ascii_case(kind).then_some(1),
            (own, own_subtype) => (own.eq_ignore_ascii_case(kind) && own_subtype.eq_ignore_ascii_case(subtype)).then_some(2),
        }
    }
}

/// The parts of a list, at each separator that is not within a quoted string.
fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        let (mut is_quoted, mut is_escaped) = (false, false);
        let end = text.bytes().position(|byte| {
            let is_end = byte == separator && !is_quoted;
            match byte {
                _ if is_escaped => is_escaped = false,
                b'\\' => is_escaped = is_quoted,
                b'"' => is_quoted = !is_quoted,
                _ => {}
            }
            is_end
        });
        let (part, left) = end.map_or((text, None), |end| (&text[..end], Some(&text[end + 1..])));
        rest = left;
        Some(part)
    })
}

/// RFC 9110, section 5.6.2.
fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
}

/// RFC 9110, section 12.4.2: from 0 to 1, with at most three decimals. In thousandths.
fn quality(text: &str) -> Option<u16> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, ""));
    let is_number = matches!(whole, "0" | "1") && decimals.len() <= 3 && decimals.bytes().all(|byte| byte.is_ascii_digit());
    let thousandths = || format!("{whole}{decimals:0<3}").parse().ok();
    is_number.then(thousandths)?.filter(|quality| *quality <= 1000)
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use proptest::prelude::*;

    use super::*;

    const OFFERS: [&str; 2] = ["application/json", "text/csv"];
    const JSON: Option<usize> = Some(0);
    const CSV: Option<usize> = Some(1);

    fn preferred_by(accept: &[&str]) -> Option<usize> {
        let headers = accept.iter().map(|value| (ACCEPT, HeaderValue::from_str(value).unwrap()));
        preferred(&headers.collect(), &OFFERS)
    }

    #[test]
    fn accept_by_rfc_9110_chooses_the_representation() {
        for (accept, wanted) in [
            ("", JSON),
            ("*/*", JSON),
            ("text/csv", CSV),
            ("TEXT/Csv", CSV),
            ("application/json, text/csv;q=0", JSON),
            ("text/csv;q=0", None),
            ("text/csv;q=0, */*", JSON),
            ("application/json;q=0, */*;q=0.1", CSV),
            ("application/json, text/csv", JSON),
            ("text/csv, application/json", JSON),
            ("application/json;q=0.8, text/csv", CSV),
            ("application/json;q=0.8, text/csv ; Q=0.801", CSV),
            ("text/*, application/json;q=0.9", CSV),
            ("text/*;q=0, */*;q=0.5", JSON),
            ("text/csv;q=0.4, text/*, application/json;q=0.5", JSON),
            ("*/*;q=0.1, text/*;q=0.9, text/csv;q=0", JSON),
            ("text/html, image/png", None),
            ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", JSON),
            ("text/csv;header=present;q=0.5, application/json;q=0.4", CSV),
            ("text/csv;x=\"a,b;q=0\\\",\";q=1, application/json;q=0.5", CSV),
            ("application/json;q=0.000, text/csv;q=0.001", CSV),
            ("*/*;q=0", None),
        ] {
            assert_eq!(preferred_by(&[accept]), wanted, "{accept}");
        }
        assert_eq!(preferred(&HeaderMap::new(), &OFFERS), JSON);
        assert_eq!(preferred_by(&["application/json;q=0.1", "text/csv"]), CSV);
    }

    #[test]
    fn malformed_ranges_are_passed_over() {
        for malformed in [
            "text",
            "/",
            "text/",
            "*/csv",
            "text/csv;q=2",
            "text/csv;q=1.001",
            "text/csv;q=",
            "text/csv;q=-1",
            "text/csv;q=.5",
            "te xt/csv",
        ] {
            assert_eq!(preferred_by(&[malformed]), JSON, "{malformed}");
            assert_eq!(preferred_by(&[&format!("{malformed}, application/json;q=0.1")]), JSON, "{malformed}");
        }
    }

    proptest! {
        #[test]
        fn any_accept_is_read_without_a_panic(accept in "[ -~\t]{0,80}") {
            preferred_by(&[&accept]);
        }

        #[test]
        fn highest_quality_wins(json in 0_u16..=1000, csv in 0_u16..=1000) {
            let number = |quality: u16| format!("{}.{:03}", quality / 1000, quality % 1000);
            let accept = format!("text/csv;q={}, application/json;q={}", number(csv), number(json));
            let wanted = match (json, csv) {
                (0, 0) => None,
                _ if csv > json => CSV,
                _ => JSON,
            };
            prop_assert_eq!(preferred_by(&[&accept]), wanted);
        }
    }
}
