//! Time: one clock that is passed in, milliseconds throughout, RFC 3339 in UTC on the wire.

use std::fmt;

use chrono::{DateTime, SecondsFormat, Utc};

/// A moment, in UTC.
pub type Timestamp = DateTime<Utc>;

/// Tells the time. Tests have one that they move.
pub trait Clock: fmt::Debug + Send + Sync {
    /// The time now, in whole milliseconds.
    fn now(&self) -> Timestamp;
}

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "the one place where time comes in")]
    fn now(&self) -> Timestamp {
        from_millis(Utc::now().timestamp_millis())
    }
}

/// A moment so many milliseconds after the Unix epoch; the epoch itself for one beyond the calendar.
#[must_use]
pub fn from_millis(millis: i64) -> Timestamp {
    DateTime::from_timestamp_millis(millis).unwrap_or(DateTime::UNIX_EPOCH)
}

/// The last second of the year 9999, beyond which RFC 3339 has no words.
const LAST_SECOND: i64 = 253_402_300_799;

/// A moment so many microseconds after the Unix epoch, as somebody sends it, in words or within a name or an id. None if it is none that could
/// have been recorded: before the epoch, or beyond the year 9999. PostgreSQL has no words for all that can be sent, and ends with an error.
#[must_use]
pub fn recorded_at(micros: i64) -> Option<Timestamp> {
    DateTime::from_timestamp_micros(micros).filter(|moment| (0..=LAST_SECOND).contains(&moment.timestamp()))
}

/// RFC 3339 in UTC with milliseconds, as `2026-11-23T14:00:00.000Z`.
#[must_use]
pub fn rfc3339(moment: Timestamp) -> String {
    moment.to_rfc3339_opts(SecondsFormat::Millis, true)
}

/// Serializes a [`Timestamp`] as [`rfc3339`] does.
pub mod rfc3339_millis {
    use serde::Serializer;

    use super::Timestamp;

    /// For `#[serde(with = …)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&super::rfc3339(*moment))
    }
}

/// The same for an optional one; `null` if there is none.
pub mod rfc3339_millis_option {
    use serde::Serializer;

    use super::Timestamp;

    /// For `#[serde(with = …)]`.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(moment: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
        match moment {
            Some(moment) => super::rfc3339_millis::serialize(moment, serializer),
            None => serializer.serialize_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_could_not_have_been_recorded_is_no_moment() {
        assert_eq!(recorded_at(0), Some(DateTime::UNIX_EPOCH));
        assert_eq!(recorded_at(1_700_000_000_120_000), Some(from_millis(1_700_000_000_120)));
        for micros in [-1, i64::MIN, i64::MAX, -210_000_000_000_000_000, 253_402_300_800_000_000] {
            assert_eq!(recorded_at(micros), None, "{micros}");
        }
    }

    #[test]
    fn a_moment_is_written_in_utc_with_milliseconds() {
        assert_eq!(rfc3339(from_millis(1_700_000_000_120)), "2023-11-14T22:13:20.120Z");
    }

    #[test]
    fn a_field_is_written_like_any_other_moment() {
        #[derive(serde::Serialize)]
        struct Fields {
            #[serde(with = "rfc3339_millis")]
            at: Timestamp,
            #[serde(with = "rfc3339_millis_option")]
            never: Option<Timestamp>,
        }
        for millis in [-1, 0, 7, 1_700_000_000_120, 253_402_300_800_000] {
            let at = from_millis(millis);
            let written = serde_json::to_value(Fields { at, never: None }).unwrap();
            assert_eq!(written, serde_json::json!({ "at": rfc3339(at), "never": null }));
        }
    }

    #[test]
    fn the_machines_clock_tells_whole_milliseconds() {
        assert_eq!(SystemClock.now().timestamp_subsec_nanos() % 1_000_000, 0);
    }
}
