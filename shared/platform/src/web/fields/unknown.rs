//! Unknown names: what a caller sent and no reader asked for, and which known name the caller may have meant.

use std::{borrow::Cow, collections::BTreeMap};

use super::{FieldFault, Member, member};
use crate::web::ApiError;

/// Unknown names that one answer lists. A caller that sends more corrects these first.
const MOST_LISTED: usize = 50;
/// Characters of an unknown name that an answer repeats.
const MOST_REPEATED: usize = 64;
/// The shortest word that stands for a longer name which contains it.
const SHORTEST_WORD: usize = 4;

/// Every member that was sent, and the names that a reader has asked for.
#[derive(Debug, Default)]
pub(super) struct Sent<'a> {
    /// Each with its place among those that were sent.
    members: BTreeMap<Cow<'a, str>, (usize, Member<'a>)>,
    known: Vec<&'static str>,
}

impl<'a> Sent<'a> {
    /// Reads a JSON object.
    pub(super) fn of_object(body: &'a [u8]) -> Result<Self, ApiError> {
        let mut sent = Self::default();
        member::each(body, |name, value| sent.add(name, value))?;
        Ok(sent)
    }

    /// Reads the parameters of a query.
    pub(super) fn of_query(query: Option<&'a str>) -> Self {
        let mut sent = Self::default();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            sent.add(name, Member::Text(value));
        }
        sent
    }

    fn add(&mut self, name: Cow<'a, str>, value: Member<'a>) {
        let place = self.members.len();
        self.members.entry(name).and_modify(|(_, value)| *value = Member::Twice).or_insert((place, value));
    }

    /// Takes the member of a name, which is known from now on.
    pub(super) fn take(&mut self, name: &'static str) -> Member<'a> {
        if !self.known.contains(&name) {
            self.known.push(name);
        }
        self.members.get(name).map(|(_, member)| member.clone()).unwrap_or_default()
    }

    /// The faults of the names that nobody has asked for, in the order in which they were sent.
    pub(super) fn into_unknown(self) -> Vec<FieldFault> {
        let Self { members, known } = self;
        let mut unknown: Vec<(usize, Cow<'_, str>)> =
            members.into_iter().filter(|(name, _)| !known.contains(&&**name)).map(|(name, (place, _))| (place, name)).collect();
        unknown.sort_unstable_by_key(|(place, _)| *place);
        let fault = |(_, name): (usize, Cow<'_, str>)| {
            let message = match nearest(&name, &known) {
                Some(meant) => format!("is not known; did you mean {meant}?"),
                None => "is not known".to_owned(),
            };
            FieldFault { field: name.chars().take(MOST_REPEATED).collect::<String>().into(), message }
        };
        unknown.into_iter().take(MOST_LISTED).map(fault).collect()
    }
}

/// The known name that a caller may have meant by an unknown one: the nearest by edit distance, if at most a third of the letters differ, or
/// a name that contains all words of the unknown one.
fn nearest(unknown: &str, known: &[&'static str]) -> Option<&'static str> {
    if unknown.len() > MOST_REPEATED {
        return None;
    }
    let written = letters(unknown);
    let distance = |name: &str| strsim::osa_distance(&written, &letters(name));
    let is_near = |name: &str| distance(name) * 3 <= written.chars().count().max(letters(name).len());
    let near = known.iter().copied().filter(|name| is_near(name)).min_by_key(|name| distance(name));
    let has_its_words = |name: &str| {
        let words: Vec<&str> = name.split('_').collect();
        unknown.len() >= SHORTEST_WORD && unknown.split(['_', '-']).all(|word| words.contains(&word))
    };
    near.or_else(|| known.iter().copied().find(|name| has_its_words(name)))
}

/// A name without what separates its words, in lower case: `seatsTotal` and `seats-total` are both `seats_total`.
fn letters(name: &str) -> String {
    name.chars().filter(|letter| !matches!(letter, '_' | '-' | ' ')).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::web::Fields;

    const KNOWN: [&str; 7] = ["name", "seats_total", "starts_at", "expires_at", "user_email", "state", "limit"];

    #[test]
    fn misspelt_name_gets_the_nearest_known_one() {
        for (unknown, meant) in [
            ("expiry_at", "expires_at"),
            ("expiresAt", "expires_at"),
            ("Expires-At", "expires_at"),
            ("expries_at", "expires_at"),
            ("status", "state"),
            ("nmae", "name"),
            ("seats", "seats_total"),
            ("email", "user_email"),
            ("limits", "limit"),
        ] {
            assert_eq!(nearest(unknown, &KNOWN), Some(meant), "{unknown}");
        }
    }

    #[test]
    fn name_that_resembles_nothing_gets_no_suggestion() {
        for unknown in ["", "x", "at", "page", "offset", "color", "é", "🪑🪑🪑", &"name".repeat(100)] {
            assert_eq!(nearest(unknown, &KNOWN), None, "{unknown}");
        }
        assert_eq!(nearest("name", &[]), None);
    }

    fn told(mut fields: Fields<'_>) -> Vec<(String, String)> {
        fields.required("one", str::parse::<u8>);
        fields.into_faults().into_iter().map(|fault| (fault.field.into_owned(), fault.message)).collect()
    }

    #[test]
    fn unknown_names_are_told_with_the_other_faults_in_their_order() {
        let expected = [("one", "invalid digit found in string"), ("tow", "is not known"), ("ones", "is not known; did you mean one?")];
        let expected = expected.map(|(field, message)| (field.to_owned(), message.to_owned()));
        assert_eq!(told(Fields::strict(br#"{"tow": {"deep": [[1]]}, "one": "x", "ones": 1, "ones": null}"#).unwrap()), expected);
        assert_eq!(told(Fields::of_query(Some("tow&one=x&ones=1&ones=2"))), expected);
    }

    #[test]
    fn known_name_sent_twice_is_a_fault() {
        let expected = [("one".to_owned(), "is there more than once".to_owned())];
        assert_eq!(told(Fields::strict(br#"{"one": "1", "one": "1"}"#).unwrap()), expected);
        assert_eq!(told(Fields::of_query(Some("one=1&one=1"))), expected);
    }

    #[test]
    fn flood_of_unknown_names_is_told_in_part() {
        let query: Vec<String> = (0..20_000).map(|number| format!("x{number}")).collect();
        let told = told(Fields::of_query(Some(&format!("one=1&{}&{}", query.join("&"), "y".repeat(1000)))));
        assert_eq!(told.len(), MOST_LISTED);
        let long = format!("{{\"one\": \"1\", \"{}\": 1}}", "y".repeat(1000));
        assert_eq!(super::tests::told(Fields::strict(long.as_bytes()).unwrap())[0].0, "y".repeat(MOST_REPEATED));
    }

    #[test]
    fn deeply_nested_unknown_member_is_told_and_not_descended_into() {
        let deep = format!(r#"{{"x": {}{}, "one": "1"}}"#, "[".repeat(5000), "]".repeat(5000));
        assert_eq!(told(Fields::strict(deep.as_bytes()).unwrap()).len(), 1);
    }
}
