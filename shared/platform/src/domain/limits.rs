//! Limits: how many requests an hour a caller may make.
//!
//! By the generic cell rate algorithm (GCRA, ITU-T I.371): a caller may spend an hour's allowance at once and gets it back
//! evenly. One moment is all that is kept of it: when its allowance will be whole again. Whether a request may pass is
//! decided by scripts, next to that moment; what follows from it for the caller is here.

/// Microseconds in an hour.
const HOUR: u64 = 3_600_000_000;
const SECOND: u64 = 1_000_000;

/// Who is counted.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum LimitKind {
    /// Whoever shows no valid credential, by its address.
    Anonymous,
    /// Whoever is known: by a token, a license key and a device, or a session.
    Principal,
    /// A caller of what is public and the same for everyone, such as the keys: by its address, apart from guesses, because many
    /// good clients may share one address.
    Public,
}

impl LimitKind {
    /// Its name on the wire.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Anonymous => "anonymous",
            Self::Principal => "principal",
            Self::Public => "public",
        }
    }
}

/// So many requests an hour.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limit {
    kind: LimitKind,
    per_hour: u32,
}

impl Limit {
    /// A limit; 0 is none.
    #[must_use]
    pub const fn new(kind: LimitKind, per_hour: u32) -> Self {
        Self { kind, per_hour }
    }

    /// Who is counted.
    #[must_use]
    pub const fn kind(self) -> LimitKind {
        self.kind
    }

    /// How many requests an hour; 0 if they are not limited.
    #[must_use]
    pub const fn per_hour(self) -> u32 {
        self.per_hour
    }

    /// The same for whom requests are not counted.
    #[must_use]
    pub const fn off(self) -> Self {
        Self { per_hour: 0, ..self }
    }

    /// Microseconds until one request is given back; 0 if requests are not counted.
    #[must_use]
    pub fn interval(self) -> u64 {
        HOUR.checked_div(self.per_hour.into()).unwrap_or(0)
    }

    /// How many microseconds may be missing from an allowance for another request to pass.
    #[must_use]
    pub fn tolerance(self) -> u64 {
        u64::from(self.per_hour).saturating_sub(1) * self.interval()
    }

    /// What is left of the allowance if it will be whole after so many microseconds.
    #[must_use]
    pub const fn allowance(self, missing: u64) -> Allowance {
        Allowance { limit: self, missing }
    }
}

/// What a caller has left.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Allowance {
    limit: Limit,
    missing: u64,
}

impl Allowance {
    /// The same after so many microseconds without a request; None if it is whole by then.
    #[must_use]
    pub fn after(self, micros: u64) -> Option<Self> {
        self.missing.checked_sub(micros).filter(|missing| *missing > 0).map(|missing| Self { missing, ..self })
    }

    /// Whether no request may pass now.
    #[must_use]
    pub fn is_spent(self) -> bool {
        self.missing > self.limit.tolerance()
    }

    /// Of which limit.
    #[must_use]
    pub const fn limit(self) -> Limit {
        self.limit
    }

    /// Requests that may be made at once.
    #[must_use]
    pub fn left(self) -> u64 {
        let spent = if self.missing == 0 { 0 } else { self.missing.div_ceil(self.limit.interval().max(1)) };
        u64::from(self.limit.per_hour).saturating_sub(spent)
    }

    /// Whole seconds until the allowance is whole again.
    #[must_use]
    pub const fn whole_after(self) -> u64 {
        self.missing.div_ceil(SECOND)
    }

    /// Whole seconds until another request may pass; 0 if one may now.
    #[must_use]
    pub fn next_after(self) -> u64 {
        self.missing.saturating_sub(self.limit.tolerance()).div_ceil(SECOND)
    }
}

/// What was decided of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Verdict {
    /// It was not counted: the limit is off, or what counts is down.
    Uncounted,
    /// It may pass.
    Within(Allowance),
    /// It is one too many.
    Beyond(Allowance),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_allowance_is_given_back_evenly_over_an_hour() {
        let limit = Limit::new(LimitKind::Principal, 1000);
        assert_eq!((limit.interval(), limit.tolerance()), (3_600_000, 3_596_400_000));
        let after = |requests| limit.allowance(requests * limit.interval());
        assert_eq!((after(0).left(), after(0).whole_after(), after(0).next_after()), (1000, 0, 0));
        assert_eq!((after(1).left(), after(1).whole_after(), after(1).next_after()), (999, 4, 0));
        assert_eq!((after(999).left(), after(999).next_after()), (1, 0));
        assert_eq!((after(1000).left(), after(1000).whole_after(), after(1000).next_after()), (0, 3600, 4));
        let spent = after(1000);
        assert!(spent.is_spent() && spent.after(limit.interval() - 1).unwrap().is_spent());
        assert!(!spent.after(limit.interval()).unwrap().is_spent() && spent.after(1000 * limit.interval()).is_none());
        // Half of a request that was given back cannot be made.
        assert_eq!(limit.allowance(limit.interval() * 3 / 2).left(), 998);
    }

    #[test]
    fn no_number_of_requests_is_too_odd() {
        for per_hour in [1, 7, 100, 3600, 1_000_003, 3_600_000_000] {
            let limit = Limit::new(LimitKind::Anonymous, per_hour);
            let spent = limit.allowance(limit.tolerance() + limit.interval());
            assert!(spent.left() == 0 && spent.whole_after() <= 3600 && spent.next_after() > 0);
            assert_eq!(limit.allowance(limit.tolerance()).left(), 1);
        }
        let off = Limit::new(LimitKind::Anonymous, 0);
        assert_eq!((off.interval(), off.tolerance(), off.allowance(0).left()), (0, 0, 0));
    }
}
