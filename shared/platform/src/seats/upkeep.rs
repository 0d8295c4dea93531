//! The scripts that jobs call, beside the sweep's.

use redis::Cmd;

use super::{
    Error,
    answer::Answer,
    script::{Script, ScriptLink, lua},
    scripts::keys,
    usage::HourOfUse,
};
use crate::domain::LicenseId;

/// Calls them over one link.
pub(super) struct Upkeep {
    link: ScriptLink,
    usage: Script,
    forget_usage: Script,
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upkeep({:?})", self.link)
    }
}

impl Upkeep {
    pub(super) fn new(link: ScriptLink) -> Self {
        Self { link, usage: Script::new(lua!("clock", "usage")), forget_usage: Script::new(lua!("clock", "forget_usage")) }
    }

    /// How many licenses may go in one call: keys of one call must share a slot where Redis is a cluster.
    pub(super) const fn most_at_once(&self, wanted: usize) -> usize {
        if self.link.is_cluster() { 1 } else { wanted }
    }

    /// How many calls may be under way: a single Redis does one after the other anyway.
    pub(super) const fn calls_at_once(&self, wanted: usize) -> usize {
        if self.link.is_cluster() { wanted } else { 1 }
    }

    /// The time, and the counters of each license.
    pub(super) async fn usage(&self, licenses: &[LicenseId]) -> Result<Answer, Error> {
        let mut call = self.of_usage(&self.usage, licenses.iter().copied(), 0);
        self.link.time(&mut call);
        self.link.run(&self.usage, &call).await
    }

    pub(super) async fn forget_usage(&self, licenses: &[&[HourOfUse]]) -> Result<u32, Error> {
        let counters = licenses.iter().map(|hours| 1 + 10 * hours.len()).sum();
        let mut call = self.of_usage(&self.forget_usage, licenses.iter().map(|hours| hours[0].license), counters);
        self.link.time(&mut call);
        for hours in licenses {
            call.arg(5 * hours.len());
            for (counter, number) in hours.iter().flat_map(HourOfUse::counters) {
                call.arg(counter).arg(number);
            }
        }
        self.link.run(&self.forget_usage, &call).await?.count()
    }

    fn of_usage(&self, script: &Script, licenses: impl ExactSizeIterator<Item = LicenseId>, arguments: usize) -> Cmd {
        let count = licenses.len();
        let mut call = ScriptLink::begin(script, count, arguments, 50 * count + 20 * arguments + 64);
        for license in licenses {
            keys(&mut call, license, &["usage"]);
        }
        call
    }
}
