//! A trail of checks: each verdict comes with what was compared on the way to it.

use serde::Serialize;

use crate::Rejected;

/// One check of a verification.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Check {
    /// What was looked at: `license`, `certificate`, `revocation list` or `lease`.
    pub of: &'static str,
    /// What was asked of it.
    pub what: &'static str,
    /// What was found, and what it was held against.
    pub compared: String,
    /// Whether it held. After the first that did not, nothing is checked.
    pub held: bool,
}

/// A verdict and how it came about.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Explanation<T> {
    /// Every check that was made, in order; the last one is what the token was refused for, if it was.
    pub checks: Vec<Check>,
    /// What the verifier says.
    pub verdict: Result<T, Rejected>,
}

/// Collects the checks on one kind of thing after another.
#[derive(Default)]
pub(crate) struct Trail(Vec<Check>);

impl Trail {
    /// Notes a comparison, and refuses if it did not hold.
    pub(crate) fn check(
        &mut self,
        of: &'static str,
        what: &'static str,
        compared: impl Into<String>,
        held: bool,
        otherwise: Rejected,
    ) -> Result<(), Rejected> {
        self.0.push(Check { of, what, compared: compared.into(), held });
        if held { Ok(()) } else { Err(otherwise) }
    }

    /// Notes the outcome of something that gives a value.
    pub(crate) fn note<T>(&mut self, of: &'static str, what: &'static str, outcome: Result<T, Rejected>) -> Result<T, Rejected> {
        let compared = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        self.0.push(Check { of, what, compared, held: outcome.is_ok() });
        outcome
    }

    /// This trail, and another one after it.
    pub(crate) fn followed_by(&self, other: &Self) -> Self {
        Self([&*self.0, &*other.0].concat())
    }

    /// Ends with a verdict.
    pub(crate) fn explain<T>(self, verdict: Result<T, Rejected>) -> Explanation<T> {
        Explanation { checks: self.0, verdict }
    }
}
