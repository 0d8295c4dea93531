//! When a job is due: every so often, at round times in UTC.

use std::{fmt, time::Duration};

use platform::domain::{Timestamp, from_millis};

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Due every `period` seconds, `offset` seconds past what is round in UTC.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    period: u64,
    offset: u64,
}

impl Schedule {
    /// Every so many seconds: a divisor of a minute.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub const fn every_seconds(seconds: u64) -> Self {
        assert!(seconds > 0 && MINUTE.is_multiple_of(seconds), "seconds that divide a minute");
        Self { period: seconds, offset: 0 }
    }

    /// Every so many minutes: a divisor of an hour.
    ///
    /// # Panics
    /// If it is none.
    #[must_use]
    pub const fn every_minutes(minutes: u64) -> Self {
        assert!(minutes > 0 && HOUR.is_multiple_of(minutes * MINUTE), "minutes that divide an hour");
        Self { period: minutes * MINUTE, offset: 0 }
    }

    /// Every hour, so many minutes past it.
    ///
    /// # Panics
    /// If there is no such minute.
    #[must_use]
    pub const fn hourly(minute: u64) -> Self {
        assert!(minute < 60, "a minute of an hour");
        Self { period: HOUR, offset: minute * MINUTE }
    }

    /// Every day at a time.
    ///
    /// # Panics
    /// If there is no such time.
    #[must_use]
    pub const fn daily(hour: u64, minute: u64) -> Self {
        assert!(hour < 24 && minute < 60, "a time of day");
        Self { period: DAY, offset: hour * HOUR + minute * MINUTE }
    }

    /// At another period, such as a setting has it.
    pub(crate) const fn with_period(self, seconds: u64) -> Self {
        Self { period: seconds, offset: self.offset % seconds }
    }

    /// The time between two runs.
    #[must_use]
    pub const fn period(&self) -> Duration {
        Duration::from_secs(self.period)
    }

    /// When the run was due that a moment belongs to: the last due time that is not after it.
    #[must_use]
    pub fn slot(&self, moment: Timestamp) -> Timestamp {
        let (period, offset) = (self.period.cast_signed(), self.offset.cast_signed());
        let since = moment.timestamp() - offset;
        from_millis((since.div_euclid(period) * period + offset) * 1000)
    }

    /// The first due time after a moment.
    #[must_use]
    pub fn after(&self, moment: Timestamp) -> Timestamp {
        self.slot(moment) + self.period()
    }

    /// The same for a scheduler that knows no seconds, as crontab has it.
    #[must_use]
    pub fn cron(&self) -> String {
        let (minute, hour) = (self.offset % HOUR / MINUTE, self.offset / HOUR);
        match self.period {
            ..=MINUTE => "* * * * *".to_owned(),
            DAY => format!("{minute} {hour} * * *"),
            HOUR => format!("{minute} * * * *"),
            period => format!("*/{} * * * *", period / MINUTE),
        }
    }

    /// How often a job must run for each tick of a scheduler that knows no seconds.
    #[must_use]
    pub const fn runs_a_tick(&self) -> u64 {
        if self.period < MINUTE { MINUTE / self.period } else { 1 }
    }
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (minute, hour) = (self.offset % HOUR / MINUTE, self.offset / HOUR);
        match self.period {
            DAY => write!(f, "daily at {hour:02}:{minute:02}"),
            HOUR => write!(f, "hourly at :{minute:02}"),
            period if period.is_multiple_of(MINUTE) => write!(f, "every {} min", period / MINUTE),
            period => write!(f, "every {period} s"),
        }
    }
}

#[cfg(test)]
mod tests {
    use platform::domain::rfc3339;

    use super::*;

    /// 2023-11-14T22:13:20.120Z
    const MOMENT: i64 = 1_700_000_000_120;

    #[test]
    fn a_moment_belongs_to_the_last_due_time() {
        let slots = [
            (Schedule::every_seconds(30), "2023-11-14T22:13:00.000Z"),
            (Schedule::every_minutes(5), "2023-11-14T22:10:00.000Z"),
            (Schedule::hourly(7), "2023-11-14T22:07:00.000Z"),
            (Schedule::hourly(20), "2023-11-14T21:20:00.000Z"),
            (Schedule::daily(3, 10), "2023-11-14T03:10:00.000Z"),
            (Schedule::daily(23, 0), "2023-11-13T23:00:00.000Z"),
        ];
        for (schedule, slot) in slots {
            assert_eq!(rfc3339(schedule.slot(from_millis(MOMENT))), slot, "{schedule}");
            let due = schedule.slot(from_millis(MOMENT));
            assert_eq!((schedule.slot(due), schedule.after(due)), (due, due + schedule.period()));
        }
    }

    #[test]
    fn a_scheduler_that_knows_no_seconds_is_told_in_its_own_words() {
        let words = [
            (Schedule::every_seconds(30), "* * * * *", 2, "every 30 s"),
            (Schedule::every_minutes(1), "* * * * *", 1, "every 1 min"),
            (Schedule::every_minutes(5), "*/5 * * * *", 1, "every 5 min"),
            (Schedule::hourly(7), "7 * * * *", 1, "hourly at :07"),
            (Schedule::daily(3, 10), "10 3 * * *", 1, "daily at 03:10"),
        ];
        for (schedule, cron, runs, text) in words {
            assert_eq!((schedule.cron().as_str(), schedule.runs_a_tick(), schedule.to_string().as_str()), (cron, runs, text));
        }
    }
}
