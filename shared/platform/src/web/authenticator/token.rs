//! Bearer tokens of identity providers: JWTs (RFC 7519) in the compact form (RFC 7515), read strictly. Pure: keys and clocks come in.

use std::sync::Arc;

use aws_lc_rs::signature::ParsedPublicKey;
use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::{Issuer, Rejected};
use crate::domain::{Email, Identity, Timestamp};

/// The longest credential that is looked at; providers' tokens have one to two thousand characters.
pub(super) const MAX_BYTES: usize = 8 * 1024;
/// The longest name of a key, and of a person at its provider (OpenID Connect Core, section 2).
const MAX_NAME: usize = 255;
/// Seconds by which an issuer's clock and ours may differ.
const SKEW: f64 = 60.0;

/// A token taken apart. Nothing in it is to be believed until a key of its issuer has been asked.
pub(super) struct Token<'a> {
    header: Header,
    claims: Claims,
    signed: &'a [u8],
    signature: Vec<u8>,
}

/// A known member that is there twice makes the reading fail; members that nobody knows are passed over.
#[derive(Deserialize)]
struct Header {
    alg: String,
    kid: String,
    typ: Option<String>,
    /// A token brings no key, no place to fetch one, and no rules of its own.
    #[serde(default, rename = "jwk")]
    _jwk: Absent,
    #[serde(default, rename = "jku")]
    _jku: Absent,
    #[serde(default, rename = "x5u")]
    _x5u: Absent,
    #[serde(default, rename = "x5c")]
    _x5c: Absent,
    #[serde(default, rename = "crit")]
    _crit: Absent,
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    sub: String,
    aud: Audience,
    /// RFC 7519, section 2: seconds, which need not be whole.
    exp: f64,
    iat: f64,
    nbf: Option<f64>,
    auth_time: Option<f64>,
    email: Option<Value>,
    email_verified: Option<Value>,
    firebase: Option<Firebase>,
}

/// What Google Identity Platform adds of its own.
#[derive(Deserialize)]
struct Firebase {
    tenant: Option<String>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Several(Vec<String>),
}

/// A member that must not be there, whatever its value.
#[derive(Default)]
struct Absent;

impl<'de> Deserialize<'de> for Absent {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(serde::de::Error::custom("must not be there"))
    }
}

impl<'a> Token<'a> {
    /// Takes a token apart.
    pub(super) fn parse(text: &'a str) -> Result<Self, Rejected> {
        let (signed, signature) = text.rsplit_once('.').ok_or(Rejected::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(Rejected::Malformed)?;
        // A further dot stands in the claims then, where base64url has none.
        let [header, claims, signature] = [header, claims, signature].map(|part| BASE64URL.decode(part));
        let (Ok(header), Ok(claims), Ok(signature)) = (header, claims, signature) else { return Err(Rejected::Malformed) };
        let header: Header = object(&header, Rejected::Header)?;
        let claims: Claims = object(&claims, Rejected::Claims)?;
        // One kind of token must not pass for another of the same issuer (RFC 8725, section 3.11).
        let is_access = |typ: &str| ["JWT", "at+jwt", "application/at+jwt"].iter().any(|known| typ.eq_ignore_ascii_case(known));
        if !header.typ.as_deref().is_none_or(is_access) || !(1..=MAX_NAME).contains(&header.kid.len()) {
            return Err(Rejected::Header);
        }
        Ok(Self { header, claims, signed: signed.as_bytes(), signature })
    }

    /// Who it says has issued it.
    pub(super) fn issuer(&self) -> &str {
        &self.claims.iss
    }

    /// By which key it says it is signed.
    pub(super) fn kid(&self) -> &str {
        &self.header.kid
    }

    /// Whether this key, which is of its issuer, has signed it. The header's word for the algorithm decides nothing.
    pub(super) fn verify(&self, issuer: &Issuer, key: &ParsedPublicKey) -> Result<(), Rejected> {
        if self.header.alg != issuer.algorithm.as_str() {
            return Err(Rejected::Algorithm);
        }
        key.verify_sig(self.signed, &self.signature).map_err(|_| Rejected::Signature)
    }

    /// Whom it is about, if it is meant for us and in force.
    pub(super) fn identity(self, issuer: &Issuer, now: Timestamp) -> Result<Identity, Rejected> {
        let Claims { sub, aud, exp, iat, nbf, auth_time, email, email_verified, firebase, .. } = self.claims;
        let is_ours = match &aud {
            Audience::One(audience) => *audience == issuer.audience,
            Audience::Several(audiences) => audiences.contains(&issuer.audience),
        };
        if !is_ours {
            return Err(Rejected::Audience);
        }
        if firebase.and_then(|firebase| firebase.tenant) != issuer.tenant {
            return Err(Rejected::Tenant);
        }
        #[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 fit for some 285,000 years")]
        let now = now.timestamp_millis() as f64 / 1000.0;
        if now >= exp + SKEW {
            return Err(Rejected::Expired);
        }
        if [Some(iat), nbf, auth_time].iter().flatten().any(|&time| time > now + SKEW) {
            return Err(Rejected::Future);
        }
        if !(1..=MAX_NAME).contains(&sub.len()) || sub.chars().any(char::is_control) {
            return Err(Rejected::Subject);
        }
        // Some issuers write the claim as a string, and some never write it.
        let is_verified = match &email_verified {
            None => issuer.assumes_verified_emails,
            Some(claim) => *claim == Value::Bool(true) || *claim == "true",
        };
        let verified_email = email.as_ref().and_then(Value::as_str).filter(|_| is_verified).and_then(|email| Email::parse(email).ok());
        Ok(Identity { issuer: issuer.name.clone(), subject: sub, verified_email, vouching: Arc::clone(&issuer.vouching) })
    }
}

/// Reads an object; a struct would be read from an array, too.
fn object<'de, T: Deserialize<'de>>(text: &'de [u8], wrong: Rejected) -> Result<T, Rejected> {
    if text.first() == Some(&b'{') { serde_json::from_slice(text).map_err(|_| wrong) } else { Err(wrong) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{domain::from_millis, web::Algorithm};

    const NOW: i64 = 1_800_000_000;

    fn issuer(tenant: Option<&str>) -> Issuer {
        let keys = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;
        let issuer = Issuer::with_keys("https://id.example", "us", Algorithm::EdDsa, keys).unwrap();
        Issuer { tenant: tenant.map(str::to_owned), ..issuer }
    }

    /// What becomes of a token whose claims are these, apart from its signature.
    fn outcome(issuer: &Issuer, changes: &Value) -> Result<Identity, Rejected> {
        let mut claims = json!({ "iss": "https://id.example", "aud": "us", "sub": "ada", "iat": NOW, "exp": NOW + 3600 });
        claims.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let part = |part: &Value| BASE64URL.encode(part.to_string());
        let text = format!("{}.{}.", part(&json!({ "alg": "EdDSA", "kid": "k" })), part(&claims));
        Token::parse(&text)?.identity(issuer, from_millis(NOW * 1000))
    }

    #[test]
    fn the_tenant_of_google_identity_platform_must_be_the_one_that_is_set_or_none() {
        let claims = |tenant: Option<&str>| json!({ "firebase": { "tenant": tenant, "sign_in_provider": "password" } });
        for (set, named, is_taken) in [
            (Some("ours"), Some("ours"), true),
            (Some("ours"), Some("Ours"), false),
            (Some("ours"), Some("theirs"), false),
            (Some("ours"), Some(""), false),
            (Some("ours"), None, false),
            (None, None, true),
            (None, Some("theirs"), false),
        ] {
            let outcome = outcome(&issuer(set), &claims(named));
            assert_eq!(outcome.is_ok(), is_taken, "{set:?} {named:?}");
            assert!(is_taken || outcome.is_err_and(|why| why == Rejected::Tenant));
        }
        assert!(outcome(&issuer(None), &json!({})).is_ok());
        assert_eq!(outcome(&issuer(Some("ours")), &json!({})).unwrap_err(), Rejected::Tenant);
    }

    #[test]
    fn clocks_may_differ_by_a_minute_and_times_need_not_be_whole() {
        let us = issuer(None);
        for taken in [
            json!({ "exp": NOW - 59 }),
            json!({ "exp": 1_799_999_940.5 }),
            json!({ "iat": NOW + 60, "nbf": NOW + 60, "auth_time": NOW + 60 }),
            json!({ "nbf": null, "auth_time": null }),
            json!({ "aud": ["them", "us"] }),
        ] {
            assert!(outcome(&us, &taken).is_ok(), "{taken}");
        }
        for (refused, why) in [
            (json!({ "exp": NOW - 60 }), Rejected::Expired),
            (json!({ "iat": NOW + 61 }), Rejected::Future),
            (json!({ "nbf": NOW + 61 }), Rejected::Future),
            (json!({ "auth_time": NOW + 61 }), Rejected::Future),
            (json!({ "exp": "9999999999" }), Rejected::Claims),
            (json!({ "aud": [] }), Rejected::Audience),
            (json!({ "sub": "" }), Rejected::Subject),
        ] {
            assert_eq!(outcome(&us, &refused).unwrap_err(), why, "{refused}");
        }
    }

    #[test]
    fn email_counts_where_its_issuer_says_that_it_is_verified() {
        let (strict, lenient) = (issuer(None), Issuer { assumes_verified_emails: true, ..issuer(None) });
        for (claim, is_strict, is_lenient) in [
            (json!(true), true, true),
            (json!("true"), true, true),
            (json!(null), false, true),
            (json!(false), false, false),
            (json!("false"), false, false),
            (json!("True"), false, false),
            (json!(1), false, false),
            (json!([true]), false, false),
        ] {
            let claims = json!({ "email": "Ada@X.example", "email_verified": claim });
            for (issuer, counts) in [(&strict, is_strict), (&lenient, is_lenient)] {
                let email = outcome(issuer, &claims).unwrap().verified_email;
                assert_eq!(email.as_ref().map(Email::as_str), counts.then_some("Ada@x.example"), "{claim}");
            }
        }
        for unlike in ["\u{212a}ate@x.example", "ada@x.example\u{200b}", "ada@\u{ff58}.example", "\u{430}da@x.example", "ada@x.example "] {
            let claims = json!({ "email": unlike, "email_verified": true });
            assert_eq!(outcome(&strict, &claims).unwrap().verified_email, None, "{unlike}");
        }
    }
}
