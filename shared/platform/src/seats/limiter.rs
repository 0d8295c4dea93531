//! The limiter: counts requests in Redis, to the request, whichever container they come to.
//!
//! A seat's operations count in the call that they make anyway (`heartbeat.lua`, `acquire.lua`, `occupancy.lua`,
//! `release.lua`). What is counted here, in a call of its own, is the rest: failed credentials, requests without one, people
//! with a token, and what an operation has answered without asking Redis.

use std::sync::Arc;

use clap::Args;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use redis::{Cmd, Value, cmd};
use tokio::sync::Semaphore;
use uuid::Uuid;

use super::{
    Error, RedisLink,
    answer::Answer,
    refusals::Refusals,
    script::{Script, ScriptLink, lua},
};
use crate::domain::{Allowance, Clock, Limit, LimitKind, SystemClock, Verdict, fingerprint};

/// How many requests callers may make.
#[derive(Args, Clone, Copy, Debug)]
pub struct LimitSettings {
    /// Requests an hour for a caller that shows no valid credential, by its address; 0: no limit
    #[arg(long, env = "LIMIT_ANONYMOUS_PER_HOUR", default_value_t = Self::default().limit_anonymous_per_hour, value_parser = clap::value_parser!(u32).range(..=3_600_000_000))]
    pub limit_anonymous_per_hour: u32,
    /// Requests an hour for each token, session, and license key on one device; 0: no limit
    #[arg(long, env = "LIMIT_PRINCIPAL_PER_HOUR", default_value_t = Self::default().limit_principal_per_hour, value_parser = clap::value_parser!(u32).range(..=3_600_000_000))]
    pub limit_principal_per_hour: u32,
    /// Requests an hour of one address for what is public (keys, JWK set, API description); an answer 304 does not count; 0: no limit
    #[arg(long, env = "LIMIT_PUBLIC_PER_HOUR", default_value_t = Self::default().limit_public_per_hour, value_parser = clap::value_parser!(u32).range(..=3_600_000_000))]
    pub limit_public_per_hour: u32,
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self { limit_anonymous_per_hour: 100, limit_principal_per_hour: 1000, limit_public_per_hour: 36_000 }
    }
}

impl LimitSettings {
    /// The limit of one kind of caller.
    #[must_use]
    pub const fn of(&self, kind: LimitKind) -> Limit {
        match kind {
            LimitKind::Anonymous => Limit::new(kind, self.limit_anonymous_per_hour),
            LimitKind::Principal => Limit::new(kind, self.limit_principal_per_hour),
            LimitKind::Public => Limit::new(kind, self.limit_public_per_hour),
        }
    }
}

/// What came of a request that counts against a limit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Counted<T> {
    /// It was one too many.
    Beyond(Allowance),
    /// It was served.
    Served(T, Verdict),
}

impl<T> Counted<T> {
    /// What was served, if it was.
    pub fn outcome(self) -> Option<T> {
        match self {
            Self::Beyond(_) => None,
            Self::Served(outcome, _) => Some(outcome),
        }
    }

    /// An outcome under a verdict of its own.
    pub(super) fn under(verdict: Verdict, outcome: T) -> Self {
        match verdict {
            Verdict::Beyond(allowance) => Self::Beyond(allowance),
            Verdict::Uncounted | Verdict::Within(_) => Self::Served(outcome, verdict),
        }
    }
}

/// What came of looking up a credential that nobody here knows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Looked<T> {
    /// It is good.
    Found(T),
    /// There is no such credential.
    Unknown(Verdict),
    /// Whoever asks is beyond its limit: nothing was looked up.
    Refused(Allowance),
}

/// Who asks for a credential to be looked up, for what is counted if there is none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asker<'a> {
    /// The address.
    pub(crate) network: &'a [u8; 16],
    /// What the credential is of and is known to exist, a license or an identity, if there is such:
    /// at each address it has an allowance of its own, so that it is not refused because others
    /// there have spent the address's.
    pub(crate) known: Option<[u8; 16]>,
}

/// Who counts a credential that turns out not to be good.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum CountedBy {
    /// The one that looks it up, at once.
    LookUp,
    /// The edge, by the error that is answered.
    Edge,
}

impl Asker<'_> {
    /// By what it is counted.
    fn subject(&self) -> Vec<u8> {
        [&self.network[..], self.known.as_ref().map_or(&[][..], |known| &known[..])].concat()
    }
}

/// Requests left at which an address is so close to its limit that a burst must not go past it.
const CLOSE: u64 = 32;
/// Look-ups that may be under way at a time for one such address, and for those that share its
/// place.
const LOOK_UPS: usize = 8;
const PLACES: usize = 64;
/// Seconds for which Redis remembers that a credential was found good.
const REMEMBERED: u32 = 90 * 86_400;

/// Counts requests.
pub struct Limiter {
    link: ScriptLink,
    script: Script,
    peek: Script,
    settings: LimitSettings,
    refusals: Refusals,
    look_ups: [Semaphore; PLACES],
    let_through: Counter,
}

impl std::fmt::Debug for Limiter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Limiter").field(&self.settings).finish()
    }
}

impl Limiter {
    /// A limiter that counts in this Redis.
    #[must_use]
    pub fn new(redis: RedisLink, settings: LimitSettings) -> Self {
        Self::over(ScriptLink::new(redis, None), settings, Arc::new(SystemClock))
    }

    /// The same, with Redis' clock replaced: tests move time and do not sleep.
    #[must_use]
    pub fn with_moved_time(redis: RedisLink, settings: LimitSettings, clock: Arc<dyn Clock>) -> Self {
        Self::over(ScriptLink::new(redis, Some(Arc::clone(&clock))), settings, clock)
    }

    pub(super) fn over(link: ScriptLink, settings: LimitSettings, clock: Arc<dyn Clock>) -> Self {
        Self {
            link,
            script: Script::new(lua!("clock", "gcra", "limit")),
            peek: Script::new(lua!("clock", "peek")),
            settings,
            refusals: Refusals::new(clock),
            look_ups: [const { Semaphore::const_new(LOOK_UPS) }; PLACES],
            let_through: Counter::default(),
        }
    }

    /// Puts what it counts of itself on a metrics page.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Requests let through uncounted because the limiter's store did not answer";
        registry.register("coditect_limits_let_through", help, self.let_through.clone());
    }

    /// The limit of one kind of caller.
    #[must_use]
    pub const fn limit(&self, kind: LimitKind) -> Limit {
        self.settings.of(kind)
    }

    /// Counts one request of a caller, known by bytes of any length that nobody else of its kind has. If Redis is down it is
    /// let through, and that is counted.
    pub async fn check(&self, kind: LimitKind, subject: &[u8]) -> Verdict {
        self.check_at(self.limit(kind), &key(kind, subject)).await
    }

    /// The same for whoever is known by a key in Redis.
    pub(super) async fn check_at(&self, limit: Limit, key: &str) -> Verdict {
        if limit.interval() == 0 {
            return Verdict::Uncounted;
        }
        if let Some(allowance) = self.refusals.find(key) {
            return Verdict::Beyond(allowance);
        }
        let counted = self.ask(&self.script, limit, key).await;
        counted.unwrap_or_else(|error| {
            self.let_through.inc();
            tracing::debug!(%error, "a request was let through uncounted");
            Verdict::Uncounted
        })
    }

    /// What this process knows of a caller that was refused and may not come again yet.
    pub(super) fn refused(&self, key: &str) -> Option<Allowance> {
        self.refusals.find(key)
    }

    /// Remembers what a script has refused that counts by this key.
    pub(super) fn refuse(&self, key: &str, allowance: Allowance) {
        self.refusals.keep(key, allowance);
    }

    /// Looks up a credential that nobody here knows, unless whoever asks has made too many requests
    /// with credentials that were not good; one more of those is counted. `mark` names the
    /// credential for Redis, which remembers for all processes which ones were found good: those
    /// are looked up in any case.
    pub(crate) async fn screened<T, E>(
        &self,
        asker: Asker<'_>,
        mark: Option<&[u8]>,
        counted_by: CountedBy,
        look_up: impl Future<Output = Result<Option<T>, E>>,
    ) -> Result<Looked<T>, E> {
        let (limit, subject) = (self.limit(LimitKind::Anonymous), asker.subject());
        let key = key(LimitKind::Anonymous, &subject);
        let mark = mark.map(|mark| format!("known:{}", name(mark)));
        let mut verdict = self.look(limit, &key).await;
        let is_close = matches!(verdict, Verdict::Within(allowance) if allowance.left() <= CLOSE);
        // It is never closed: there is always a turn to be had.
        let _turn = if is_close { self.look_ups[place(&subject)].acquire().await.ok() } else { None };
        if is_close {
            verdict = self.look(limit, &key).await;
        }
        let is_beyond = matches!(verdict, Verdict::Beyond(_));
        if let Verdict::Beyond(allowance) = verdict
            && !self.is_marked(mark.as_deref()).await
        {
            return Ok(Looked::Refused(allowance));
        }
        if let Some(found) = look_up.await? {
            // Without Redis or a limit there is nothing to remember it for.
            if verdict != Verdict::Uncounted {
                self.mark(mark.as_deref()).await;
            }
            return Ok(Looked::Found(found));
        }
        if is_beyond {
            self.unmark(mark.as_deref()).await;
        }
        if counted_by == CountedBy::Edge && asker.known.is_some() {
            self.check(LimitKind::Anonymous, &subject).await;
        }
        if verdict == Verdict::Uncounted || counted_by == CountedBy::Edge {
            // Without Redis or a limit it is for the edge, too, which finds the same.
            return Ok(Looked::Unknown(Verdict::Uncounted));
        }
        Ok(match self.count_unknown(asker).await {
            Verdict::Beyond(allowance) => Looked::Refused(allowance),
            counted @ (Verdict::Uncounted | Verdict::Within(_)) => Looked::Unknown(counted),
        })
    }

    /// Counts a credential that is not good.
    pub(super) async fn count_unknown(&self, asker: Asker<'_>) -> Verdict {
        if asker.known.is_some() {
            // It counts for the address, too, whatever its own allowance is.
            self.check(LimitKind::Anonymous, asker.network).await;
        }
        self.check(LimitKind::Anonymous, &asker.subject()).await
    }

    /// Whether this asker may have a credential looked up, as far as this process knows: Redis is
    /// not asked.
    pub(super) fn screen(&self, asker: Asker<'_>) -> Option<Allowance> {
        self.refusals.find(&key(LimitKind::Anonymous, &asker.subject()))
    }

    /// Whether a request might pass. If Redis is down it might, and is not counted.
    async fn look(&self, limit: Limit, key: &str) -> Verdict {
        if limit.interval() == 0 {
            return Verdict::Uncounted;
        }
        if let Some(allowance) = self.refusals.find(key) {
            return Verdict::Beyond(allowance);
        }
        self.ask(&self.peek, limit, key).await.unwrap_or(Verdict::Uncounted)
    }

    async fn ask(&self, script: &Script, limit: Limit, key: &str) -> Result<Verdict, Error> {
        let mut call = ScriptLink::begin(script, 1, 3, 160);
        call.arg(key);
        self.link.time(&mut call);
        take_limit(&mut call, limit);
        let mut answer = self.link.run(script, &call).await?;
        let may_pass = answer.number()? == 1;
        let verdict = verdict(limit, may_pass, &mut answer)?;
        if let Verdict::Beyond(allowance) = verdict {
            self.refusals.keep(key, allowance);
        }
        Ok(verdict)
    }

    /// Whether Redis remembers that a credential was good.
    async fn is_marked(&self, mark: Option<&str>) -> bool {
        let Some(mark) = mark else { return false };
        self.link.send(cmd("EXISTS").arg(mark)).await.is_ok_and(|found| found == Value::Int(1))
    }

    /// Remembers it. Without Redis it is found out anew.
    async fn mark(&self, mark: Option<&str>) {
        if let Some(mark) = mark {
            let _ = self.link.send(cmd("SET").arg(mark).arg("").arg("EX").arg(REMEMBERED)).await;
        }
    }

    /// It is good no more.
    async fn unmark(&self, mark: Option<&str>) {
        if let Some(mark) = mark {
            let _ = self.link.send(cmd("DEL").arg(mark)).await;
        }
    }
}

/// The key of a caller: not an address, nor a name, but what nobody can read one from at a glance.
fn key(kind: LimitKind, subject: &[u8]) -> String {
    format!("limit:{}:{}", kind.as_str(), name(subject))
}

fn place(subject: &[u8]) -> usize {
    usize::from(fingerprint(&[subject])[0]) % PLACES
}

fn name(subject: &[u8]) -> uuid::fmt::Simple {
    Uuid::from_bytes(fingerprint(&[subject])).simple()
}

/// The two arguments by which a script knows a limit.
pub(super) fn take_limit(call: &mut Cmd, limit: Limit) {
    call.arg(limit.interval()).arg(limit.tolerance());
}

/// What a script has decided; its next answer is what is missing of the allowance.
pub(super) fn verdict(limit: Limit, may_pass: bool, answer: &mut Answer) -> Result<Verdict, Error> {
    let missing = answer.number()?;
    Ok(if limit.interval() == 0 {
        Verdict::Uncounted
    } else {
        let allowance = limit.allowance(u64::try_from(missing).unwrap_or(0));
        if may_pass { Verdict::Within(allowance) } else { Verdict::Beyond(allowance) }
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        limits: LimitSettings,
    }

    #[test]
    fn unset_limits_are_100_for_strangers_1000_for_the_known_and_36000_for_the_public() {
        let limits = Line::try_parse_from(["function"]).unwrap().limits;
        assert_eq!(limits.of(LimitKind::Anonymous), Limit::new(LimitKind::Anonymous, 100));
        assert_eq!(limits.of(LimitKind::Principal), Limit::new(LimitKind::Principal, 1000));
        assert_eq!(limits.of(LimitKind::Public), Limit::new(LimitKind::Public, 36_000));
    }

    #[test]
    fn a_limit_is_any_number_whose_requests_are_a_microsecond_apart() {
        let parse = |per_hour: &str| Line::try_parse_from(["function", "--limit-principal-per-hour", per_hour]);
        assert_eq!(parse("3600000000").unwrap().limits.of(LimitKind::Principal).interval(), 1);
        assert_eq!(parse("0").unwrap().limits.of(LimitKind::Principal).interval(), 0);
        for odd in ["3600000001", "-1", "1.5", "many", ""] {
            assert!(parse(odd).is_err(), "{odd}");
        }
    }
}
