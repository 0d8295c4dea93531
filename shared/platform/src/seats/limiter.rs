//! The limiter: counts requests in Redis, to the request, whichever container they come to.
//!
//! A seat's operations count in the call that they make anyway (`heartbeat.lua`, `acquire.lua`, `occupancy.lua`,
//! `release.lua`). What is counted here, in a call of its own, is the rest: failed credentials, requests without one, people
//! with a token, and what an operation has answered without asking Redis.

use std::sync::Arc;

use clap::Args;
use prometheus_client::{metrics::counter::Counter, registry::Registry};
use redis::Cmd;
use uuid::Uuid;

use super::{
    Error, RedisLink,
    answer::Answer,
    script::{Script, ScriptLink, lua},
};
use crate::domain::{Allowance, Clock, Limit, LimitKind, Verdict, fingerprint};

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

/// Counts requests.
pub struct Limiter {
    link: ScriptLink,
    script: Script,
    settings: LimitSettings,
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
        Self::over(ScriptLink::new(redis, None), settings)
    }

    /// The same, with Redis' clock replaced: tests move time and do not sleep.
    #[must_use]
    pub fn with_moved_time(redis: RedisLink, settings: LimitSettings, clock: Arc<dyn Clock>) -> Self {
        Self::over(ScriptLink::new(redis, Some(clock)), settings)
    }

    pub(super) fn over(link: ScriptLink, settings: LimitSettings) -> Self {
        Self { link, script: Script::new(lua!("clock", "gcra", "limit")), settings, let_through: Counter::default() }
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
        // Not an address, nor a name, but what nobody can read one from at a glance.
        let subject = Uuid::from_bytes(fingerprint(&[subject]));
        self.check_at(self.limit(kind), &format!("limit:{}:{}", kind.as_str(), subject.simple())).await
    }

    /// The same for whoever is known by a key in Redis.
    pub(super) async fn check_at(&self, limit: Limit, key: &str) -> Verdict {
        if limit.interval() == 0 {
            return Verdict::Uncounted;
        }
        match self.count(limit, key).await {
            Ok(verdict) => verdict,
            Err(error) => {
                self.let_through.inc();
                tracing::debug!(%error, "a request was let through uncounted");
                Verdict::Uncounted
            }
        }
    }

    async fn count(&self, limit: Limit, key: &str) -> Result<Verdict, Error> {
        let mut call = ScriptLink::begin(&self.script, 1, 3, 160);
        call.arg(key);
        self.link.time(&mut call);
        take_limit(&mut call, limit);
        let mut answer = self.link.run(&self.script, &call).await?;
        let may_pass = answer.number()? == 1;
        verdict(limit, may_pass, &mut answer)
    }
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
