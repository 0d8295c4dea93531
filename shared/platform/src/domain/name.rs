//! What people call things.

use super::Fault;

/// A name: 1 to 200 characters on one line, with none around it that cannot be seen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Name(String);

impl Name {
    /// Reads one; spaces around it are taken off.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let text = text.trim();
        if matches!(text.chars().count(), 1..=200) && !text.chars().any(is_hidden) {
            Ok(Self(text.to_owned()))
        } else {
            Err(Fault::new("must be 1 to 200 characters, with no line breaks and no control characters"))
        }
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Controls, and the marks that make a text run the other way: with them one name can be made to look like another.
fn is_hidden(character: char) -> bool {
    character.is_control() || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_what_can_be_seen_of_it() {
        assert_eq!(Name::parse("  Zoë & Söhne, 東京  ").unwrap().as_str(), "Zoë & Söhne, 東京");
        assert!(Name::parse(&"é".repeat(200)).is_ok());
        for wrong in ["", "   ", "a\0b", "a\nb", "a\u{202e}b", "a\u{200b}", &"a".repeat(201)] {
            assert!(Name::parse(wrong).is_err(), "{wrong}");
        }
    }
}
