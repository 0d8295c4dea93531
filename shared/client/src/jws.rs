//! Compact JWS (RFC 7515), read strictly.

use serde_json::Value;

use crate::{Rejected, json, keys::from_base64url};

/// The longest token that is looked at. What the platform signs has a few hundred to two thousand characters.
pub(crate) const MAX_BYTES: usize = 16 * 1024;

/// A token taken apart. Nothing in it is to be believed until a key has been asked.
#[derive(Debug)]
pub(crate) struct Jws<'a> {
    pub(crate) header: Header,
    pub(crate) payload: Vec<u8>,
    pub(crate) signature: Vec<u8>,
    /// The text that the signature is over.
    pub(crate) signed: &'a [u8],
}

/// The protected header: the only three members there may be.
#[derive(Debug)]
pub(crate) struct Header {
    pub(crate) alg: String,
    pub(crate) kid: String,
    pub(crate) typ: String,
}

/// Takes a token apart.
pub(crate) fn parse(token: &str) -> Result<Jws<'_>, Rejected> {
    if token.len() > MAX_BYTES {
        return Err(Rejected::TooLong);
    }
    let (signed, signature) = token.rsplit_once('.').ok_or(Rejected::Malformed)?;
    let (header, payload) = signed.split_once('.').ok_or(Rejected::Malformed)?;
    // A further dot stands in the payload then, where base64url has none.
    let [header, payload, signature] = [header, payload, signature].map(from_base64url);
    let (Some(header), Some(payload), Some(signature)) = (header, payload, signature) else { return Err(Rejected::Malformed) };
    Ok(Jws { header: Header::read(&header)?, payload, signature, signed: signed.as_bytes() })
}

impl Header {
    fn read(text: &[u8]) -> Result<Self, Rejected> {
        let mut members = json::object(text).ok_or(Rejected::BadHeader)?;
        let mut take = |name| match members.remove(name) {
            Some(Value::String(value)) => Ok(value),
            Some(_) | None => Err(Rejected::BadHeader),
        };
        let header = Self { alg: take("alg")?, kid: take("kid")?, typ: take("typ")? };
        if members.is_empty() { Ok(header) } else { Err(Rejected::BadHeader) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str) -> String {
        use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
        format!("{}.e30.AA", BASE64_URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn a_token_comes_apart() {
        let token = token(r#"{"alg":"RS256","kid":"k","typ":"t"}"#);
        let jws = parse(&token).unwrap();
        assert_eq!((&*jws.header.alg, &*jws.header.kid, &*jws.header.typ), ("RS256", "k", "t"));
        assert_eq!((&*jws.payload, &*jws.signature), (&b"{}"[..], &[0][..]));
        assert_eq!(jws.signed, token.strip_suffix(".AA").unwrap().as_bytes());
    }

    #[test]
    fn only_the_one_form_of_a_token_is_read() {
        let header = token(r#"{"alg":"RS256","kid":"k","typ":"t"}"#);
        let header = header.strip_suffix(".e30.AA").unwrap();
        for rest in [
            "",
            ".e30",
            ".e30.AA.",
            ".e30.AA.AA",
            "..e30.AA",
            ".e30.AA==",
            ".e30.AB",
            ".e30=.AA",
            ".e3 0.AA",
            ".e30.A+",
            ".é.AA",
            ".e30.AA\n",
        ] {
            assert_eq!(parse(&format!("{header}{rest}")).unwrap_err(), Rejected::Malformed, "{rest}");
        }
        assert_eq!(parse("").unwrap_err(), Rejected::Malformed);
        assert_eq!(parse(&"A".repeat(MAX_BYTES)).unwrap_err(), Rejected::Malformed);
        assert_eq!(parse(&"A".repeat(MAX_BYTES + 1)).unwrap_err(), Rejected::TooLong);
    }

    #[test]
    fn a_header_with_more_or_less_is_refused() {
        for header in [
            "",
            "{}",
            "[]",
            r#"["RS256","k","t"]"#,
            r#"{"alg":"RS256","kid":"k"}"#,
            r#"{"alg":"RS256","kid":1,"typ":"t"}"#,
            r#"{"alg":"RS256","kid":"k","typ":null}"#,
            r#"{"alg":"RS256","kid":"k","typ":"t","crit":[]}"#,
            r#"{"alg":"RS256","kid":"k","typ":"t","x":1}"#,
            r#"{"alg":"RS256","alg":"RS256","kid":"k","typ":"t"}"#,
        ] {
            assert_eq!(parse(&token(header)).unwrap_err(), Rejected::BadHeader, "{header}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in ".{0,200}") {
            let _ = parse(&text);
        }

        #[test]
        fn no_header_makes_it_panic(header in r#"\{("(alg|kid|typ|crit)":("[a-z]*"|[0-9]|null|\[\]|\{\}),?){0,5}\}"#) {
            let _ = parse(&token(&header));
        }
    }
}
