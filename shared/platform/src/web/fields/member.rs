//! The members of an object, as they stand in the body.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::web::ApiError;

/// What a member of an object holds.
#[derive(Clone, Debug, Default)]
pub enum Member<'a> {
    /// It is not there.
    #[default]
    Missing,
    /// `null`. Not leave to name the member again.
    Null,
    /// A string.
    Text(Cow<'a, str>),
    /// A whole number.
    Whole(i64),
    /// `true` or `false`.
    Truth(bool),
    /// A list of strings.
    Texts(Vec<Cow<'a, str>>),
    /// Anything else.
    Other,
    /// It is there more than once.
    Twice,
}

/// The members that are wanted, by their names.
pub(super) struct Members {
    names: &'static [&'static str],
}

impl Members {
    /// Reads an object; its wanted members in the order of their names.
    pub(super) fn read<'a>(body: &'a [u8], names: &'static [&'static str]) -> Result<Vec<Member<'a>>, ApiError> {
        object(body, Self { names })
    }
}

/// Reads an object, and hands each of its members over, in their order.
pub(super) fn each<'a>(body: &'a [u8], take: impl FnMut(Cow<'a, str>, Member<'a>)) -> Result<(), ApiError> {
    object(body, Each(take))
}

fn object<'a, V: Visitor<'a>>(body: &'a [u8], visitor: V) -> Result<V::Value, ApiError> {
    let text = std::str::from_utf8(body).map_err(|_| ApiError::MalformedBody("The body is not UTF-8.".to_owned()))?;
    let mut json = serde_json::Deserializer::from_str(text);
    let members = json.deserialize_map(visitor).and_then(|members| json.end().map(|()| members));
    // The parser's own words may repeat what was sent; where it stopped says enough.
    members.map_err(|error| ApiError::MalformedBody(format!("Not a JSON object, at line {} column {}.", error.line(), error.column())))
}

struct Each<F>(F);

impl<'de, F: FnMut(Cow<'de, str>, Member<'de>)> Visitor<'de> for Each<F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut map: A) -> Result<(), A::Error> {
        while let Some(name) = map.next_key_seed(Any)? {
            let Member::Text(name) = name else { continue };
            let value = map.next_value_seed(Any)?;
            self.0(name, value);
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Members {
    type Value = Vec<Member<'de>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut members = vec![Member::Missing; self.names.len()];
        while let Some(name) = map.next_key_seed(Any)? {
            let Member::Text(name) = name else { continue };
            match self.names.iter().position(|known| *known == name) {
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
                Some(at) => {
                    let value = map.next_value_seed(Any)?;
                    members[at] = if matches!(members[at], Member::Missing) { value } else { Member::Twice };
                }
            }
        }
        Ok(members)
    }
}

/// Takes any value; of a list, its entries if they are strings.
struct Any;

impl<'de> DeserializeSeed<'de> for Any {
    type Value = Member<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Any {
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

    fn visit_bool<E>(self, truth: bool) -> Result<Self::Value, E> {
        Ok(Member::Truth(truth))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
        Ok(Member::Whole(number))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
        Ok(i64::try_from(number).map_or(Member::Other, Member::Whole))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(Member::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        let mut texts = Vec::new();
        while let Some(item) = items.next_element_seed(Entry)? {
            let Some(text) = item else {
                while items.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(Member::Other);
            };
            texts.push(text);
        }
        Ok(Member::Texts(texts))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Member::Other)
    }
}

/// Takes a string out of a list. It does not look into lists in lists: they may be as deep as a body is long.
struct Entry;

impl<'de> DeserializeSeed<'de> for Entry {
    type Value = Option<Cow<'de, str>>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Entry {
    type Value = Option<Cow<'de, str>>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        while items.next_element::<IgnoredAny>()?.is_some() {}
        Ok(None)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(None)
    }
}
