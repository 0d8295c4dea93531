//! What people paste: the characters that text editors, mail programs and web pages add to it.

/// Returns the text without the white space and invisible characters around it, and without quotes
/// if it has them on both sides.
///
/// For values that people copy from a mail, a page or a configuration file: session ids and email
/// addresses. What is inside the text stays as it is, and so does a single apostrophe, with which
/// the name of a mailbox may begin.
#[must_use]
pub fn pasted(text: &str) -> &str {
    let is_bare = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    // Nearly every value: it costs two looks.
    if is_bare(text.as_bytes().first()) && is_bare(text.as_bytes().last()) {
        return text;
    }
    let text = text.trim_matches(is_blank);
    let quoted = text.strip_prefix(is_quote).and_then(|text| text.strip_suffix(is_quote));
    quoted.map_or(text, |text| text.trim_matches(is_blank))
}

/// Whether the character is white space, a quote, or invisible: in a license key it means nothing.
pub(super) fn is_padding(symbol: char) -> bool {
    is_blank(symbol) || is_quote(symbol)
}

fn is_blank(symbol: char) -> bool {
    symbol.is_whitespace() || is_invisible(symbol)
}

/// Whether the character is a hyphen, a minus sign, or a dash of whatever length: the category `Pd`
/// of Unicode 16, and what looks like one.
pub(super) const fn is_dash(symbol: char) -> bool {
    matches!(
        symbol,
        '-' | '\u{ad}'
            | '\u{2d7}'
            | '\u{58a}'
            | '\u{5be}'
            | '\u{1400}'
            | '\u{1806}'
            | '\u{2010}'..='\u{2015}'
            | '\u{2043}'
            | '\u{2212}'
            | '\u{2e17}'
            | '\u{2e1a}'
            | '\u{2e3a}'..='\u{2e3b}'
            | '\u{2e40}'
            | '\u{2e5d}'
            | '\u{301c}'
            | '\u{3030}'
            | '\u{30a0}'
            | '\u{fe31}'..='\u{fe32}'
            | '\u{fe58}'
            | '\u{fe63}'
            | '\u{ff0d}'
            | '\u{10d6e}'
            | '\u{10ead}'
    )
}

/// Whether the character is a quotation mark, an apostrophe or a prime, of whatever language.
const fn is_quote(symbol: char) -> bool {
    matches!(
        symbol,
        '"' | '\''
            | '`'
            | '\u{ab}'
            | '\u{b4}'
            | '\u{bb}'
            | '\u{2bb}'..='\u{2bd}'
            | '\u{2018}'..='\u{201f}'
            | '\u{2032}'..='\u{2037}'
            | '\u{2039}'..='\u{203a}'
            | '\u{300c}'..='\u{300f}'
            | '\u{301d}'..='\u{301f}'
            | '\u{ff02}'
            | '\u{ff07}'
    )
}

/// Whether the character shows nothing: it has no width, or tells in which direction text runs.
const fn is_invisible(symbol: char) -> bool {
    matches!(
        symbol,
        '\u{34f}'
            | '\u{61c}'
            | '\u{180e}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pasted_value_with_padding_loses_the_padding() {
        for padded in ["ada@x.example", "  ada@x.example\n", "\u{feff}ada@x.example\u{a0}", "“ada@x.example”\u{200b}", "'ada@x.example'"]
        {
            assert_eq!(pasted(padded), "ada@x.example", "{padded:?}");
        }
    }

    #[test]
    fn pasted_value_keeps_what_is_inside() {
        for kept in ["", "a b", "a\u{a0}b", "o'hara", "-a-", "'ada@x.example", "\"ada"] {
            assert_eq!(pasted(kept), kept);
        }
        assert_eq!(pasted(" \u{200b}\"\u{a0}\" "), "");
    }
}
