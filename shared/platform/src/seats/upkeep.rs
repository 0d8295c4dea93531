//! The scripts that jobs call, beside the sweep's.

use std::collections::HashMap;

use redis::{Arg, Cmd};

use super::{
    Error,
    answer::{Answer, Reply},
    reconcile::Survey,
    script::{Script, ScriptLink, lua},
    scripts::{KEYS, keys, policy},
    usage::HourOfUse,
};
use crate::domain::{License, LicenseId, SessionKey, Timestamp};

/// What Redis keeps of a policy and `policy` writes.
const POLICY_FIELDS: usize = 7;

/// What came of taking sessions out.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Discarded {
    pub(super) discarded: u64,
    /// They were beating, and were left.
    pub(super) alive: u64,
}

/// What came of closing a license.
#[derive(Clone, Copy, Debug)]
pub(super) enum Closed {
    /// Nothing of it is left, or it is open.
    Done,
    /// Somebody rebuilds it.
    Busy,
}

/// Calls them over one link.
pub(super) struct Upkeep {
    link: ScriptLink,
    usage: Script,
    forget_usage: Script,
    survey: Script,
    discard: Script,
    correct: Script,
    close: Script,
}

impl std::fmt::Debug for Upkeep {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Upkeep({:?})", self.link)
    }
}

impl Upkeep {
    pub(super) fn new(link: ScriptLink) -> Self {
        Self {
            link,
            usage: Script::new(lua!("clock", "usage")),
            forget_usage: Script::new(lua!("clock", "forget_usage")),
            survey: Script::new(lua!("clock", "prelude", "survey")),
            discard: Script::new(lua!("clock", "prelude", "discard")),
            correct: Script::new(lua!("clock", "prelude", "correct")),
            close: Script::new(lua!("clock", "prelude", "close")),
        }
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
        let call = self.of_usage(&self.usage, licenses.iter().copied(), 0);
        self.link.run(&self.usage, &call).await
    }

    pub(super) async fn forget_usage(&self, licenses: &[&[HourOfUse]]) -> Result<u32, Error> {
        let counters = licenses.iter().map(|hours| 1 + 10 * hours.len()).sum();
        let mut call = self.of_usage(&self.forget_usage, licenses.iter().map(|hours| hours[0].license), counters);
        for hours in licenses {
            call.arg(5 * hours.len());
            for (counter, number) in hours.iter().flat_map(HourOfUse::counters) {
                call.arg(counter).arg(number);
            }
        }
        self.link.run(&self.forget_usage, &call).await?.count()
    }

    /// Goes through all that Redis has of a license, a piece at a time; where it mends, its indexes are then as its sessions.
    pub(super) async fn survey(&self, license: LicenseId, mend: bool) -> Result<Reply<Survey>, Error> {
        let mut whole = Survey { now: Timestamp::UNIX_EPOCH, wrong: 0, policy: Vec::new(), sessions: HashMap::new() };
        let (mut part, mut cursor) = ("1".to_owned(), "0".to_owned());
        while !part.is_empty() {
            let mut call = self.of_license(&self.survey, license);
            call.arg(mending(mend)).arg(part).arg(cursor);
            let mut answer = self.link.run(&self.survey, &call).await?;
            if answer.word()? == "cold" {
                return Ok(Reply::Cold);
            }
            whole.now = answer.time()?;
            (part, cursor) = (answer.word()?, answer.word()?);
            whole.wrong += answer.count()?;
            whole.policy = (0..POLICY_FIELDS).map(|_| answer.bytes()).collect::<Result<_, _>>()?;
            while !answer.is_empty() {
                whole.sessions.insert(SessionKey::from_bytes(answer.array()?), answer.time()?);
            }
        }
        Ok(Reply::Done(whole))
    }

    /// Takes out sessions that the record has as ended, or does not know.
    pub(super) async fn discard(&self, license: LicenseId, sessions: &[SessionKey], why: &str, mend: bool) -> Result<Discarded, Error> {
        let mut discarded = Discarded::default();
        if sessions.is_empty() {
            return Ok(discarded);
        }
        let mut call = self.of_license(&self.discard, license);
        call.arg(mending(mend));
        for session in sessions {
            call.arg(session.as_bytes()).arg(why);
        }
        let mut answer = self.link.run(&self.discard, &call).await?;
        for _ in sessions {
            match answer.word()?.as_str() {
                "discarded" => discarded.discarded += 1,
                "alive" => discarded.alive += 1,
                _ => {}
            }
        }
        Ok(discarded)
    }

    /// Puts a policy right that was found wrong, unless another version has been told since.
    pub(super) async fn correct(&self, license: &License, found: &[u8]) -> Result<(), Error> {
        let mut call = self.of_license(&self.correct, license.id);
        call.arg(found);
        policy(&mut call, license);
        self.link.run(&self.correct, &call).await?;
        Ok(())
    }

    /// Forgets a license that has run out.
    pub(super) async fn close(&self, license: LicenseId) -> Result<Closed, Error> {
        let call = self.of_license(&self.close, license);
        let mut answer = self.link.run(&self.close, &call).await?;
        Ok(if answer.word()? == "busy" { Closed::Busy } else { Closed::Done })
    }

    fn of_license(&self, script: &Script, license: LicenseId) -> Cmd {
        let mut call = ScriptLink::begin(script, KEYS.len(), 12, 600);
        keys(&mut call, license, &KEYS);
        self.link.time(&mut call);
        call
    }

    fn of_usage(&self, script: &Script, licenses: impl ExactSizeIterator<Item = LicenseId>, arguments: usize) -> Cmd {
        let count = licenses.len();
        let mut call = ScriptLink::begin(script, count, arguments, 50 * count + 20 * arguments + 64);
        for license in licenses {
            keys(&mut call, license, &["usage"]);
        }
        self.link.time(&mut call);
        call
    }
}

const fn mending(mend: bool) -> &'static str {
    if mend { "mend" } else { "" }
}

/// Whether that is what Redis must have as the policy of a license.
pub(super) fn is_policy(license: &License, fields: &[Vec<u8>]) -> bool {
    let mut call = Cmd::new();
    policy(&mut call, license);
    let wanted = call.args_iter().filter_map(|argument| if let Arg::Simple(bytes) = argument { Some(bytes) } else { None });
    wanted.eq(fields.iter().map(|field| &field[..]))
}
