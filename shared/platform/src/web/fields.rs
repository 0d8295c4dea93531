//! JSON objects, read strictly, with every fault named at once.

mod member;
mod unknown;

use std::{fmt, ops::RangeInclusive};

pub use member::Member;

use super::{ApiError, FieldFault};
use member::Members;
use unknown::Sent;

/// What a merge patch (RFC 7396) says of a member.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Change<T> {
    /// Nothing: it stays as it is.
    Keep,
    /// `null`: there is none any more.
    Clear,
    /// It is to be this.
    Set(T),
}

impl<T> Change<T> {
    /// What the member is after the change.
    pub fn apply(self, old: Option<T>) -> Option<T> {
        match self {
            Self::Keep => old,
            Self::Clear => None,
            Self::Set(new) => Some(new),
        }
    }
}

/// The members of a JSON object, or the parameters of a query, and what is wrong with them so far.
#[derive(Debug)]
pub struct Fields<'a> {
    source: Source<'a>,
    faults: Vec<FieldFault>,
}

/// Where the members come from, and what becomes of those that nobody asks for.
#[derive(Debug)]
enum Source<'a> {
    /// Those of the listed names; other members are ignored.
    Listed { names: &'static [&'static str], members: Vec<Member<'a>> },
    /// Every member that was sent. A member that is not asked for is a fault.
    Every(Sent<'a>),
}

impl<'a> Fields<'a> {
    /// Reads the members of these names from an object, and ignores unknown ones.
    ///
    /// # Errors
    /// [`ApiError::MalformedBody`] if it is none.
    pub fn parse(body: &'a [u8], names: &'static [&'static str]) -> Result<Self, ApiError> {
        let members = Members::read(body, names)?;
        Ok(Self { source: Source::Listed { names, members }, faults: Vec::new() })
    }

    /// Reads every member of an object. Each member that the reader does not ask for before it finishes is a fault.
    ///
    /// # Errors
    /// [`ApiError::MalformedBody`] if it is none.
    pub fn strict(body: &'a [u8]) -> Result<Self, ApiError> {
        Ok(Self { source: Source::Every(Sent::of_object(body)?), faults: Vec::new() })
    }

    /// Reads every parameter of a query. Each parameter that the reader does not ask for before it finishes is a fault.
    #[must_use]
    pub fn of_query(query: Option<&'a str>) -> Self {
        Self { source: Source::Every(Sent::of_query(query)), faults: Vec::new() }
    }

    /// Adds faults of another part of the same request, so that one answer names them all.
    #[must_use]
    pub fn with_faults(mut self, faults: Vec<FieldFault>) -> Self {
        self.faults.extend(faults);
        self
    }

    /// A string that must be there.
    pub fn required<T, E: fmt::Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.must(name, text(parse))
    }

    /// A string that may be left out; `null` counts as left out.
    pub fn optional<T, E: fmt::Display>(&mut self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, E>) -> Option<T> {
        self.may(name, text(parse))
    }

    /// A member that must be there, read by one of [`text`], [`whole`], [`truth`] and [`texts`].
    pub fn must<T>(&mut self, name: &'static str, read: impl FnOnce(Member<'a>) -> Result<T, String>) -> Option<T> {
        match self.member(name) {
            Member::Missing | Member::Null => self.fault(name, "is missing".to_owned()),
            member => self.read(name, member, read),
        }
    }

    /// A member that may be left out; `null` counts as left out.
    pub fn may<T>(&mut self, name: &'static str, read: impl FnOnce(Member<'a>) -> Result<T, String>) -> Option<T> {
        match self.member(name) {
            Member::Missing | Member::Null => None,
            member => self.read(name, member, read),
        }
    }

    /// A member of a merge patch that always has a value. None: it stays as it is.
    pub fn change<T>(&mut self, name: &'static str, read: impl FnOnce(Member<'a>) -> Result<T, String>) -> Option<T> {
        match self.member(name) {
            Member::Missing => None,
            Member::Null => self.fault(name, "must not be null".to_owned()),
            member => self.read(name, member, read),
        }
    }

    /// A member of a merge patch that may have none.
    pub fn change_or_clear<T>(&mut self, name: &'static str, read: impl FnOnce(Member<'a>) -> Result<T, String>) -> Change<T> {
        match self.member(name) {
            Member::Missing => Change::Keep,
            Member::Null => Change::Clear,
            member => self.read(name, member, read).map_or(Change::Keep, Change::Set),
        }
    }

    /// Adds a fault that lies between members, named after one of them.
    pub fn fault<T>(&mut self, field: &'static str, message: String) -> Option<T> {
        self.faults.push(FieldFault { field: field.into(), message });
        None
    }

    /// Whether everything asked for was as it should be.
    ///
    /// # Errors
    /// [`ApiError::Invalid`] with every fault.
    pub fn finish(self) -> Result<(), ApiError> {
        let faults = self.into_faults();
        if faults.is_empty() { Ok(()) } else { Err(ApiError::Invalid(faults)) }
    }

    /// Every fault, as the answer to a request that has one.
    #[must_use]
    pub fn into_error(self) -> ApiError {
        ApiError::Invalid(self.into_faults())
    }

    /// Every fault: those found while reading, then the unknown names.
    #[must_use]
    pub fn into_faults(self) -> Vec<FieldFault> {
        let mut faults = self.faults;
        if let Source::Every(sent) = self.source {
            faults.extend(sent.into_unknown());
        }
        faults
    }

    fn read<T>(&mut self, name: &'static str, member: Member<'a>, read: impl FnOnce(Member<'a>) -> Result<T, String>) -> Option<T> {
        let read = if matches!(member, Member::Twice) { Err("is there more than once".to_owned()) } else { read(member) };
        read.map_or_else(|message| self.fault(name, message), Some)
    }

    fn member(&mut self, name: &'static str) -> Member<'a> {
        match &mut self.source {
            Source::Listed { names, members } => {
                let at = names.iter().position(|known| *known == name);
                at.map(|at| members[at].clone()).unwrap_or_default()
            }
            Source::Every(sent) => sent.take(name),
        }
    }
}

/// Reads a string.
pub fn text<'a, T, E: fmt::Display>(parse: impl FnOnce(&str) -> Result<T, E>) -> impl FnOnce(Member<'a>) -> Result<T, String> {
    |member| {
        let Member::Text(text) = member else { return Err("must be a string".to_owned()) };
        parse(&text).map_err(|error| error.to_string())
    }
}

/// Reads a whole number within bounds.
pub fn whole<'a>(bounds: RangeInclusive<u32>) -> impl FnOnce(Member<'a>) -> Result<u32, String> {
    move |member| {
        let number = if let Member::Whole(number) = member { u32::try_from(number).ok() } else { None };
        number
            .filter(|number| bounds.contains(number))
            .ok_or_else(|| format!("must be a whole number from {} to {}", bounds.start(), bounds.end()))
    }
}

/// Reads true or false.
///
/// # Errors
/// What is wanted.
#[expect(clippy::needless_pass_by_value, reason = "it stands where the other readers do")]
pub fn truth(member: Member<'_>) -> Result<bool, String> {
    if let Member::Truth(truth) = member { Ok(truth) } else { Err("must be true or false".to_owned()) }
}

/// Reads a list of at most so many different strings, in their order.
pub fn texts<'a, T: PartialEq, E: fmt::Display>(
    most: usize,
    parse: impl Fn(&str) -> Result<T, E>,
) -> impl FnOnce(Member<'a>) -> Result<Vec<T>, String> {
    move |member| {
        let Member::Texts(texts) = member else { return Err("must be a list of strings".to_owned()) };
        if texts.len() > most {
            return Err(format!("must have at most {most} entries"));
        }
        let mut read = Vec::with_capacity(texts.len());
        for text in &texts {
            let value = parse(text).map_err(|error| format!("has an entry that {error}"))?;
            if read.contains(&value) {
                return Err("must not have an entry twice".to_owned());
            }
            read.push(value);
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: &[&str] = &["one", "two"];

    fn faults(body: &str) -> Vec<(std::borrow::Cow<'static, str>, String)> {
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
        assert_eq!(faults("{}"), [("one".into(), "is missing".to_owned())]);
        assert_eq!(faults(r#"{"one": null}"#), [("one".into(), "is missing".to_owned())]);
        assert_eq!(faults(r#"{"one": "1", "one": "1"}"#), [("one".into(), "is there more than once".to_owned())]);
        assert_eq!(faults(r#"{"one": null, "one": "1"}"#), [("one".into(), "is there more than once".to_owned())]);
        assert_eq!(faults(r#"{"one": ["1"]}"#), [("one".into(), "must be a string".to_owned())]);
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
    #[test]
    fn numbers_truths_and_lists_are_read_within_their_bounds() {
        let read = |body: &str| {
            let mut fields = Fields::parse(body.as_bytes(), NAMES).unwrap();
            let whole = fields.must("one", whole(1..=9));
            let texts = fields.may("two", texts(2, str::parse::<u8>));
            fields.finish().map(|()| (whole, texts)).map_err(|_| ())
        };
        assert_eq!(read(r#"{"one": 9, "two": ["7", "8"]}"#), Ok((Some(9), Some(vec![7, 8]))));
        assert_eq!(read(r#"{"one": 1, "two": null}"#), Ok((Some(1), None)));
        for wrong in [
            r#"{"one": 0}"#,
            r#"{"one": 10}"#,
            r#"{"one": -1}"#,
            r#"{"one": 1.0}"#,
            r#"{"one": "1"}"#,
            r#"{"one": 18446744073709551615}"#,
            r#"{"one": 1, "two": ["1", "2", "3"]}"#,
            r#"{"one": 1, "two": ["1", "1"]}"#,
            r#"{"one": 1, "two": ["x"]}"#,
            r#"{"one": 1, "two": ["1", 2]}"#,
            r#"{"one": 1, "two": [["1"]]}"#,
            r#"{"one": 1, "two": {}}"#,
        ] {
            assert_eq!(read(wrong), Err(()), "{wrong}");
        }
        let mut fields = Fields::parse(br#"{"one": true, "two": 0}"#, NAMES).unwrap();
        assert_eq!((fields.must("one", truth), fields.must("two", truth)), (Some(true), None));
    }

    #[test]
    fn a_query_is_read_as_an_object_is() {
        let mut query = Fields::of_query(Some("one=4%32&two=a&two=b"));
        assert_eq!(query.required("one", str::parse::<u8>), Some(42));
        assert_eq!(query.optional("two", str::parse::<u8>), None);
        assert!(matches!(query.finish(), Err(ApiError::Invalid(faults)) if faults.len() == 1));
        let mut query = Fields::of_query(None);
        assert_eq!(query.optional("one", str::parse::<u8>), None);
        assert!(query.finish().is_ok());
    }

    #[test]
    fn a_merge_patch_tells_what_stays_from_what_goes() {
        let change = |body: &str| {
            let mut fields = Fields::parse(body.as_bytes(), NAMES).unwrap();
            (fields.change("one", whole(0..=9)), fields.change_or_clear("two", whole(0..=9)), fields.finish().is_ok())
        };
        assert_eq!(change("{}"), (None, Change::Keep, true));
        assert_eq!(change(r#"{"one": 1, "two": 2}"#), (Some(1), Change::Set(2), true));
        assert_eq!(change(r#"{"one": null, "two": null}"#), (None, Change::Clear, false));
        assert_eq!((Change::Keep.apply(Some(1)), Change::Clear.apply(Some(1)), Change::Set(2).apply(None)), (Some(1), None, Some(2)));
    }
}
