//! Request bodies: JSON objects, read strictly, with every fault named at once.

use std::{borrow::Cow, fmt};

use axum::{
    body::{Body, Bytes},
    extract::{FromRequest, Request},
    http::header::CONTENT_TYPE,
};
use http_body_util::BodyExt;
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{ApiError, FieldFault};

/// Bytes of a body that are read at the most.
pub(super) const MOST: usize = 16 * 1024;
/// Bytes of a body that are let go by; beyond them the connection is closed.
const MOST_LET_GO: usize = 32 * 1024 * 1024;

/// The bytes of a body that is said to be JSON and is not too large.
#[derive(Clone, Debug)]
pub struct JsonObject(pub Bytes);

impl<S: Sync> FromRequest<S> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, _: &S) -> Result<Self, ApiError> {
        let is_json = request.headers().get(CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).is_some_and(is_json);
        let bytes = read(request.into_body()).await?;
        if is_json { Ok(Self(bytes)) } else { Err(ApiError::UnsupportedMediaType) }
    }
}

/// Reads a body to its end. One that is too large is let go by unseen, within reason: were the connection closed on a client
/// that still sends, it would never see the answer.
async fn read(mut body: Body) -> Result<Bytes, ApiError> {
    let (mut whole, mut seen) = (Bytes::new(), 0);
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|_| ApiError::MalformedBody("The body broke off.".to_owned()))?;
        let Ok(data) = frame.into_data() else { continue };
        seen += data.len();
        if seen > MOST_LET_GO {
            break;
        }
        if seen > MOST {
            whole = Bytes::new();
        } else if whole.is_empty() {
            whole = data;
        } else {
            whole = [whole, data].concat().into();
        }
    }
    if seen > MOST { Err(ApiError::PayloadTooLarge) } else { Ok(whole) }
}

fn is_json(media_type: &str) -> bool {
    let essence = media_type.split(';').next().unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("application/json")
        || (essence.get(..12).is_some_and(|start| start.eq_ignore_ascii_case("application/"))
            && essence.get(essence.len().saturating_sub(5)..).is_some_and(|end| end.eq_ignore_ascii_case("+json")))
}

/// The wanted members of a JSON object, and what is wrong with them so far. Unknown members are passed over.
#[derive(Debug)]
pub struct Fields<'a> {
    names: &'static [&'static str],
    members: Vec<Member<'a>>,
    faults: Vec<FieldFault>,
}

#[derive(Clone, Debug, Default)]
enum Member<'a> {
    #[default]
    Missing,
    /// Counts as missing, but not as leave to name the member again.
    Null,
    Text(Cow<'a, str>),
    NotText,
    Twice,
}

impl<'a> Fields<'a> {
    /// Reads an object.
    ///
    /// # Errors
    /// [`ApiError::MalformedBody`] if it is none.
    pub fn parse(body: &'a [u8], names: &'static [&'static str]) -> Result<Self, ApiError> {
        let text = std::str::from_utf8(body).map_err(|_| ApiError::MalformedBody("The body is not UTF-8.".to_owned()))?;
        let mut json = serde_json::Deserializer::from_str(text);
        let members = json.deserialize_map(Members { names }).and_then(|members| json.end().map(|()| members));
        // The parser's own words may repeat what was sent; where it stopped says enough.
        let members = members
            .map_err(|error| ApiError::MalformedBody(format!("Not a JSON object, at line {} column {}.", error.line(), error.column())))?;
        Ok(Self { names, members, faults: Vec::new() })
    }

    /// A member that must be there.
    pub fn required<T, E: fmt::Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        if matches!(self.member(name), Member::Missing | Member::Null) {
            self.fault(name, "is missing".to_owned());
            return None;
        }
        self.optional(name, parse)
    }

    /// A member that may be left out.
    pub fn optional<T, E: fmt::Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        match self.member(name) {
            Member::Missing | Member::Null => None,
            Member::Text(text) => parse(&text).map_err(|error| self.fault(name, error.to_string())).ok(),
            Member::NotText => {
                self.fault(name, "must be a string".to_owned());
                None
            }
            Member::Twice => {
                self.fault(name, "is there more than once".to_owned());
                None
            }
        }
    }

    fn member(&mut self, name: &str) -> Member<'a> {
        let at = self.names.iter().position(|known| *known == name);
        at.map(|at| self.members[at].clone()).unwrap_or_default()
    }

    fn fault(&mut self, field: &'static str, message: String) {
        self.faults.push(FieldFault { field, message });
    }

    /// Whether everything asked for was as it should be.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with every fault.
    pub fn finish(self) -> Result<(), ApiError> {
        if self.faults.is_empty() { Ok(()) } else { Err(self.into_error()) }
    }

    /// Every fault.
    #[must_use]
    pub fn into_error(self) -> ApiError {
        ApiError::Invalid(self.faults)
    }
}

struct Members {
    names: &'static [&'static str],
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = vec![Member::Missing; self.names.len()];
        while let Some(name) = map.next_key_seed(Text)? {
            let Member::Text(name) = name else { continue };
            match self.names.iter().position(|known| *known == name) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(at) => {
                    let value = map.next_value_seed(Text)?;
                    members[at] = if matches!(members[at], Member::Missing) { value } else { Member::Twice };
                }
            }
        }
        Ok(members)
    }
}

/// Takes a string as it is, and anything else as not one.
struct Text;

impl<'de> DeserializeSeed<'de> for Text {
    type Value = Member<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Text {
    type Value = Member<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Member::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(Member::Null)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(Member::NotText)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(Member::NotText)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(Member::NotText)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::NotText)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Member::NotText)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::NotText)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["one", "two"];

    fn faults(body: &str) -> Vec<(&'static str, String)> {
        let mut fields = Fields::parse(body.as_bytes(), NAMES).unwrap();
        fields.required("one", str::parse::<u8>);
        fields.optional("two", str::parse::<u8>);
        match fields.finish() {
            Err(ApiError::Invalid(faults)) => faults.into_iter().map(|fault| (fault.field, fault.message)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn every_fault_is_named_at_once() {
        let both = faults(r#"{"two": 7, "one": "x"}"#);
        assert_eq!(both.len(), 2);
        assert_eq!(faults("{}"), [("one", "is missing".to_owned())]);
        assert_eq!(faults(r#"{"one": null}"#), [("one", "is missing".to_owned())]);
        assert_eq!(faults(r#"{"one": "1", "one": "1"}"#), [("one", "is there more than once".to_owned())]);
        assert_eq!(faults(r#"{"one": null, "one": "1"}"#), [("one", "is there more than once".to_owned())]);
        assert_eq!(faults(r#"{"one": ["1"]}"#), [("one", "must be a string".to_owned())]);
    }

    #[test]
    fn unknown_members_are_passed_over_however_deep() {
        let deep = format!(r#"{{"x": {}{}, "one": "1"}}"#, "[".repeat(5000), "]".repeat(5000));
        let mut fields = Fields::parse(deep.as_bytes(), NAMES).unwrap();
        assert_eq!(fields.required("one", str::parse::<u8>), Some(1));
        assert!(fields.finish().is_ok());
    }

    #[test]
    fn what_is_no_object_is_malformed() {
        for body in ["", "[]", "1", "null", "\"a\"", "{", r#"{"one":"#, r#"{"one": "1"} x"#, r#"{"one": "a"#] {
            assert!(matches!(Fields::parse(body.as_bytes(), NAMES), Err(ApiError::MalformedBody(_))), "{body}");
        }
        assert!(matches!(Fields::parse(b"{\"one\": \"\xff\"}", NAMES), Err(ApiError::MalformedBody(_))));
    }

    #[tokio::test]
    async fn a_body_may_have_so_many_bytes_and_must_be_said_to_be_json() {
        let read = async |kind: &str, bytes: usize| {
            let request = Request::builder().header(CONTENT_TYPE, kind);
            JsonObject::from_request(request.body(vec![b' '; bytes].into()).unwrap(), &()).await
        };
        assert!(read("application/json", MOST).await.is_ok());
        assert!(matches!(read("application/json", MOST + 1).await, Err(ApiError::PayloadTooLarge)));
        assert!(matches!(read("application/json", MOST_LET_GO + 1).await, Err(ApiError::PayloadTooLarge)));
        assert!(matches!(read("text/plain", 2).await, Err(ApiError::UnsupportedMediaType)));
    }

    #[test]
    fn json_is_known_by_its_media_type() {
        assert!(is_json("application/json") && is_json("Application/JSON; charset=utf-8") && is_json("application/vnd.x+json"));
        assert!(!is_json("text/plain") && !is_json("") && !is_json("application/jsonp"));
    }
}
