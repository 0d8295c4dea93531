//! What Redis has counted, by license and hour, for the job that writes it down.

use std::collections::BTreeMap;

use futures_util::{StreamExt, TryStreamExt, stream};

use super::{Engine, Error, answer::Answer};
use crate::domain::{LicenseId, Timestamp, from_millis};

/// Licenses asked about in one call, where Redis is no cluster: it does nothing else meanwhile, some hundred microseconds.
const LICENSES_PER_CALL: usize = 50;
/// Calls under way at the same time, where it is one.
const CONCURRENCY: usize = 16;
const HOUR_MS: i64 = 3_600_000;

/// What was counted of one license in one hour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct HourOfUse {
    /// The license.
    pub license: LicenseId,
    /// When the hour began.
    pub hour: Timestamp,
    /// Seats granted.
    pub acquired: i64,
    /// Applications turned away because every seat was taken.
    pub denied: i64,
    /// Seats granted beyond those that were bought.
    pub overage: i64,
    /// Heartbeats.
    pub heartbeats: i64,
    /// Most seats in use at once.
    pub peak: i32,
}

impl HourOfUse {
    const fn none(license: LicenseId, hour: Timestamp) -> Self {
        Self { license, hour, acquired: 0, denied: 0, overage: 0, heartbeats: 0, peak: 0 }
    }

    /// False: there is no such counter.
    fn note(&mut self, counter: &str, number: i64) -> bool {
        match counter {
            "acquired" => self.acquired = number,
            "denied" => self.denied = number,
            "overage" => self.overage = number,
            "heartbeats" => self.heartbeats = number,
            "peak" => self.peak = i32::try_from(number).unwrap_or(i32::MAX),
            _ => return false,
        }
        true
    }

    /// How many counters it has in Redis.
    #[must_use]
    pub fn counted(&self) -> u64 {
        self.counters().iter().map(|(_, number)| u64::from(*number > 0)).sum()
    }

    /// Its counters in Redis, each with its number.
    pub(super) fn counters(&self) -> [(String, i64); 5] {
        let hour = self.hour.timestamp_millis() / HOUR_MS;
        [
            ("acquired", self.acquired),
            ("denied", self.denied),
            ("overage", self.overage),
            ("heartbeats", self.heartbeats),
            ("peak", self.peak.into()),
        ]
        .map(|(counter, number)| (format!("{hour}:{counter}"), number))
    }
}

impl Engine {
    /// What was counted of these licenses in every hour that Redis still has, and the time by its clock. Changes nothing.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn usage(&self, licenses: &[LicenseId]) -> Result<(Timestamp, Vec<HourOfUse>), Error> {
        let most = self.upkeep.most_at_once(LICENSES_PER_CALL);
        let calls: Vec<_> = licenses.chunks(most).map(|chunk| self.upkeep.usage(chunk)).collect();
        let answers: Vec<Answer> = stream::iter(calls).buffered(self.upkeep.calls_at_once(CONCURRENCY)).try_collect().await?;
        let (mut now, mut hours) = (Timestamp::UNIX_EPOCH, Vec::new());
        for (chunk, mut answer) in licenses.chunks(most).zip(answers) {
            now = now.max(answer.time()?);
            for license in chunk {
                read(*license, answer.list()?, &mut hours)?;
            }
        }
        Ok((now, hours))
    }

    /// Takes these hours out of Redis, except what has grown beyond what they say. Answers how many counters were there.
    ///
    /// # Errors
    /// Any [`Error`].
    pub async fn forget_usage(&self, hours: &[HourOfUse]) -> Result<u64, Error> {
        let licenses: Vec<&[HourOfUse]> = hours.chunk_by(|one, other| one.license == other.license).collect();
        let calls: Vec<_> =
            licenses.chunks(self.upkeep.most_at_once(LICENSES_PER_CALL)).map(|chunk| self.upkeep.forget_usage(chunk)).collect();
        let taken: Vec<u32> = stream::iter(calls).buffer_unordered(self.upkeep.calls_at_once(CONCURRENCY)).try_collect().await?;
        Ok(taken.into_iter().map(u64::from).sum())
    }
}

/// Counters that this version does not know are a newer one's, and left alone; what is no number counts as none.
fn read(license: LicenseId, mut counters: Answer, hours: &mut Vec<HourOfUse>) -> Result<(), Error> {
    let mut by_hour = BTreeMap::new();
    while !counters.is_empty() {
        let (counter, number) = (counters.text()?, counters.text()?);
        let Some((hour, counter)) = counter.split_once(':') else { continue };
        let Some(began) = hour.parse::<i64>().ok().and_then(|hour| hour.checked_mul(HOUR_MS)).map(from_millis) else { continue };
        let number = number.parse().unwrap_or(0).max(0);
        let mut of_hour = by_hour.get(&began).copied().unwrap_or(HourOfUse::none(license, began));
        if of_hour.note(counter, number) {
            by_hour.insert(began, of_hour);
        }
    }
    hours.extend(by_hour.into_values());
    Ok(())
}
