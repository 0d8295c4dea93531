//! Moments as the platform writes them (RFC 3339), without a calendar library.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, de};

const SECONDS_A_DAY: i64 = 86_400;

/// A moment in RFC 3339, in UTC with milliseconds, as the platform writes it.
///
/// ```
/// use std::time::{Duration, UNIX_EPOCH};
/// assert_eq!(coditect_license::rfc3339(UNIX_EPOCH + Duration::from_millis(1_709_208_000_250)), "2024-02-29T12:00:00.250Z");
/// ```
#[must_use]
pub fn rfc3339(moment: SystemTime) -> String {
    let since = moment.duration_since(UNIX_EPOCH).unwrap_or_default();
    let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
    let (year, month, day) = date_of(seconds / SECONDS_A_DAY);
    let second = seconds % SECONDS_A_DAY;
    let (hour, minute, second, millis) = (second / 3600, second / 60 % 60, second % 60, since.subsec_millis());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

/// Reads a moment from 1970 on; `None` if the text is not one.
pub(crate) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.split_at_checked(10)?;
    let time = time.strip_prefix(['T', 't', ' '])?;
    let (clock, rest) = time.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    // A leap second is read as the second after it.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let days = days_before(year, month, day);
    if date_of(days) != (year, month, day) {
        return None;
    }
    let digits = rest.strip_prefix('.').map_or(0, |rest| rest.bytes().take_while(u8::is_ascii_digit).count());
    let (fraction, zone) = if digits > 0 { rest[1..].split_at(digits) } else { ("", rest) };
    let nanos = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    let seconds = days * SECONDS_A_DAY + hour * 3600 + minute * 60 + second - offset(zone)?;
    UNIX_EPOCH.checked_add(Duration::new(u64::try_from(seconds).ok()?, nanos))
}

/// A member of an answer that is a moment.
pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SystemTime, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| de::Error::custom("not a moment in RFC 3339"))
}

/// Seconds that a zone is ahead of UTC.
fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, zone) = zone.split_at_checked(1)?;
    let [hours, minutes] = numbers(zone, ':', [2, 2])?;
    let seconds = hours * 3600 + minutes * 60;
    match sign {
        "+" => Some(seconds),
        "-" => Some(-seconds),
        _ => None,
    }
}

/// Numbers of as many digits as `widths` says, with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char, widths: [usize; N]) -> Option<[i64; N]> {
    let mut parts = text.split(separator);
    let mut numbers = [0; N];
    for (number, width) in numbers.iter_mut().zip(widths) {
        let part = parts.next().filter(|part| part.len() == width && part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *number = part.parse().ok()?;
    }
    parts.next().is_none().then_some(numbers)
}

/// Days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that the leap day is a year's last.
const fn days_before(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    365 * year + year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400) + day_of_year - 719_468
}

/// The date that is so many days after 1970-01-01.
const fn date_of(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    (year_of_era + era * 400 + if month <= 2 { 1 } else { 0 }, month, day)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn millis(text: &str) -> Option<u128> {
        parse(text).map(|moment| moment.duration_since(UNIX_EPOCH).unwrap().as_millis())
    }

    #[test]
    fn moments_are_read_in_every_form_of_the_rfc() {
        assert_eq!(millis("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(millis("2024-02-29T12:00:00.250Z"), Some(1_709_208_000_250));
        assert_eq!(millis("2024-02-29t13:30:00.25+01:30"), Some(1_709_208_000_250));
        assert_eq!(millis("2024-02-29T11:00:00.2500009-01:00"), Some(1_709_208_000_250));
        assert_eq!(millis("2016-12-31T23:59:60Z"), millis("2017-01-01T00:00:00Z"));
    }

    #[test]
    fn what_is_no_moment_is_not_read() {
        for text in [
            "",
            "2024-02-30T00:00:00Z",
            "2023-02-29T00:00:00Z",
            "2024-13-01T00:00:00Z",
            "2024-00-01T00:00:00Z",
            "2024-01-01T24:00:00Z",
            "2024-01-01T00:00:00",
            "2024-01-01T00:00:00.Z",
            "2024-01-01T00:00:00+1:00",
            "2024-01-01T00:00:00ZZ",
            "2024-01-01",
            "1969-12-31T23:59:59Z",
            "+024-01-01T00:00:00Z",
            "2024-01-01T00:00:0éZ",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_again(millis in 0..253_402_300_799_999_u64) {
            let moment = UNIX_EPOCH + Duration::from_millis(millis);
            prop_assert_eq!(parse(&rfc3339(moment)), Some(moment));
        }

        #[test]
        fn no_text_makes_it_panic(text in "[0-9TZ:.+-]{0,40}|.{0,40}") {
            let _ = parse(&text);
        }
    }
}
