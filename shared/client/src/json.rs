//! JSON read strictly: an object, and no member twice.
//!
//! Parsers disagree on which of two equal members counts, so a signed text that has them says two things at once.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{self, DeserializeOwned, MapAccess, SeqAccess, Visitor},
};
use serde_json::{Map, Number, Value};

/// The members of the object that `text` is, or `None` if it is anything else.
pub(crate) fn object(text: &[u8]) -> Option<Map<String, Value>> {
    match serde_json::from_slice(text) {
        Ok(Strict(Value::Object(members))) => Some(members),
        Ok(Strict(_)) | Err(_) => None,
    }
}

/// `text` read as claims, or what is wrong with it.
pub(crate) fn claims<T: DeserializeOwned>(text: &[u8]) -> Result<T, String> {
    let members = object(text).ok_or("not a JSON object whose members differ")?;
    T::deserialize(Value::Object(members)).map_err(|error| error.to_string())
}

/// A value in which no object, however deep, has a member twice.
struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(StrictVisitor).map(Self)
    }
}

struct StrictVisitor;

impl<'de> Visitor<'de> for StrictVisitor {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON without duplicate members")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number without end"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(Strict(item)) = items.next_element()? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut map = Map::new();
        while let Some((name, Strict(value))) = members.next_entry::<String, Strict>()? {
            if map.insert(name, value).is_some() {
                return Err(de::Error::custom("a member stands there twice"));
            }
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Certificate, LeaseClaims, LicenseClaims, RevocationList};

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = object(&text);
        }

        #[test]
        fn no_object_makes_it_panic(text in concat!(
            r#"\{("(iat|exp|use|jwk|revoked|features|seat|a)":"#,
            r#"(-?[0-9]{1,30}(\.[0-9]|e[0-9]{1,3})?|null|"\\u[0-9a-f]{4}"|\[\{\}\]),?){0,6}\}"#,
        )) {
            let _ = claims::<LicenseClaims>(text.as_bytes());
            let _ = claims::<Certificate>(text.as_bytes());
            let _ = claims::<RevocationList>(text.as_bytes());
            let _ = claims::<LeaseClaims>(text.as_bytes());
        }
    }

    #[test]
    fn what_is_no_object_is_refused() {
        for text in ["", "null", "1", "\"{}\"", "[]", "[{}]", "{} {}", "{", "{\"a\":1,}", "{\"a\":NaN}", "\u{feff}{}"] {
            assert_eq!(object(text.as_bytes()), None, "{text}");
        }
        assert_eq!(object(b"{\"a\":\"\xff\"}"), None, "text that is not UTF-8");
    }

    #[test]
    fn a_member_twice_is_refused_at_every_depth() {
        for text in [r#"{"a":1,"a":1}"#, r#"{"a":1,"\u0061":2}"#, r#"{"b":{"a":1,"a":2}}"#, r#"{"b":[[{"a":1,"a":2}]]}"#] {
            assert_eq!(object(text.as_bytes()), None, "{text}");
        }
        assert!(object(br#"{"a":{"a":{"a":[{"a":1},{"a":2}]}}}"#).is_some());
    }

    #[test]
    fn a_thousand_brackets_do_not_exhaust_the_stack() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(1000), "]".repeat(1000));
        assert_eq!(object(deep.as_bytes()), None);
    }
}
