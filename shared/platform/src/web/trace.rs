//! Trace context, by W3C's recommendation (<https://www.w3.org/TR/trace-context/>): which trace a piece of work belongs to. The log, the
//! metrics and whatever is asked of others on its behalf name it.

use std::sync::{
    LazyLock,
    atomic::{AtomicU64, Ordering},
};

use axum::http::HeaderMap;
use tokio::task::futures::TaskLocalFuture;
use uuid::Uuid;

use super::spans;

/// The header, and the attribute of a Pub/Sub message, that carries it.
pub(super) const TRACEPARENT: &str = "traceparent";

tokio::task_local! {
    static CURRENT: TraceContext;
}

/// The place of one piece of work in a trace.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct TraceContext {
    trace: u128,
    pub(super) parent: Option<u64>,
    span: u64,
    /// Whether whoever began the trace wants it kept.
    pub(super) is_sampled: bool,
}

/// What is unique here: one random number for the process, and a count.
static PROCESS: LazyLock<(u64, u64)> = LazyLock::new(|| Uuid::new_v4().as_u64_pair());
static COUNT: AtomicU64 = AtomicU64::new(1);

impl TraceContext {
    /// A part of the trace that `traceparent` tells of, or the first of a new one if it tells of none.
    #[must_use]
    pub fn continuing(traceparent: Option<&str>) -> Self {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let span = scatter(PROCESS.1.wrapping_add(count)).max(1);
        if let Some((trace, parent, is_sampled)) = traceparent.and_then(read) {
            return Self { trace, parent: Some(parent), span, is_sampled };
        }
        let trace = u128::from(PROCESS.0) << 64 | u128::from(scatter(PROCESS.0 ^ count));
        Self { trace, parent: None, span, is_sampled: spans::are_kept_of(trace) }
    }

    pub(super) fn of(headers: &HeaderMap) -> Self {
        Self::continuing(headers.get(TRACEPARENT).and_then(|value| value.to_str().ok()))
    }

    /// What the current task works on, if it was told by [`Self::scope`].
    #[must_use]
    pub fn current() -> Option<Self> {
        CURRENT.try_get().ok()
    }

    /// Does the work as a part of this trace.
    pub fn scope<F: Future>(self, work: F) -> TaskLocalFuture<Self, F> {
        CURRENT.scope(self, work)
    }

    /// The trace, in 32 hexadecimal digits.
    #[must_use]
    pub fn trace_id(&self) -> String {
        format!("{:032x}", self.trace)
    }

    /// This part of it, in 16 hexadecimal digits.
    #[must_use]
    pub fn span_id(&self) -> String {
        format!("{:016x}", self.span)
    }

    /// What tells others that they work on behalf of this.
    #[must_use]
    pub fn traceparent(&self) -> String {
        format!("00-{:032x}-{:016x}-{:02x}", self.trace, self.span, u8::from(self.is_sampled))
    }
}

/// Reads version-trace-parent-flags. Later versions may say more after that.
fn read(traceparent: &str) -> Option<(u128, u64, bool)> {
    let mut parts = traceparent.split('-');
    let mut hexadecimal = |digits: usize| {
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        parts.next().filter(|part| part.len() == digits && part.bytes().all(is_digit))
    };
    let (version, trace, parent, flags) = (hexadecimal(2)?, hexadecimal(32)?, hexadecimal(16)?, hexadecimal(2)?);
    if version == "ff" || version == "00" && parts.next().is_some() {
        return None;
    }
    let (trace, parent) = (u128::from_str_radix(trace, 16).ok()?, u64::from_str_radix(parent, 16).ok()?);
    let flags = u8::from_str_radix(flags, 16).ok()?;
    (trace != 0 && parent != 0).then_some((trace, parent, flags & 1 == 1))
}

/// Spreads a count over all numbers (the last step of splitmix64), each to another one.
const fn scatter(count: u64) -> u64 {
    let mixed = (count ^ (count >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    const THEIRS: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn a_trace_goes_on_here_and_with_whom_we_ask() {
        let ours = TraceContext::continuing(Some(THEIRS));
        assert_eq!((ours.trace_id().as_str(), ours.parent), ("0af7651916cd43dd8448eb211c80319c", Some(0xb7ad_6b71_6920_3331)));
        let (next, again) = (TraceContext::continuing(Some(&ours.traceparent())), TraceContext::continuing(Some(THEIRS)));
        assert_eq!((next.trace_id(), next.parent, next.is_sampled), (ours.trace_id(), Some(ours.span), true));
        assert_ne!(ours.span_id(), again.span_id());
    }

    #[test]
    fn what_makes_no_sense_begins_a_trace_of_its_own() {
        for wrong in [
            "",
            "00",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-+af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        ] {
            let (one, other) = (TraceContext::continuing(Some(wrong)), TraceContext::continuing(Some(wrong)));
            assert!(one.parent.is_none() && !one.is_sampled && one.trace_id() != other.trace_id(), "{wrong}");
        }
        let later = "01-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00-more";
        let later = TraceContext::continuing(Some(later));
        assert!(later.parent.is_some() && !later.is_sampled);
    }

    #[tokio::test]
    async fn work_knows_its_trace_and_nothing_else_does() {
        let context = TraceContext::continuing(None);
        assert_eq!(context.scope(async { TraceContext::current() }).await, Some(context));
        assert_eq!(TraceContext::current(), None);
    }
}
