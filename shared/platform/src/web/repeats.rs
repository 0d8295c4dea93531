//! Lines that say the same again and again: an outage must not write a line for each request.
//!
//! A line is known by its place in the sources and its cause (`error`, `why`, `job`, `down`). Of one cause [`CAUSE`] lines are written at
//! once and then one a second, and of one place [`PLACE`] at once and then five a second. The others are left out, counted, and said in
//! a later line. Lines for debugging are not limited: whoever asks for them wants them all.

use std::{
    collections::HashMap,
    fmt::{self, Write},
    hash::{DefaultHasher, Hash, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use prometheus_client::metrics::counter::Counter;
use serde_json::{Map, Value};
use tracing::{
    Event, Level, Subscriber,
    field::{Field, Visit},
};
use tracing_subscriber::{Layer, layer::Context};

use super::{log, telemetry::Fields};

/// Lines of one cause.
const CAUSE: Rate = Rate { at_once: 10, a_second: 1 };
/// Lines of one place in the sources.
const PLACE: Rate = Rate { at_once: 30, a_second: 5 };
/// Causes that are told apart; beyond them the place is the cause.
const CAUSES: usize = 256;
/// How often lines that were left out are said.
const PERIOD: Duration = Duration::from_secs(10);
/// Fields that say what the cause is.
const TELLING: [&str; 4] = ["error", "why", "job", "down"];
/// Of lines that say that others were left out: they are never left out.
const TARGET: &str = "coditect::left_out";

#[derive(Clone, Copy, Debug)]
struct Rate {
    at_once: u32,
    a_second: u32,
}

/// What knows how often each line was written of late.
#[derive(Debug, Default)]
pub(super) struct Repeats {
    known: Mutex<HashMap<u64, Known>>,
    left_out: Counter,
}

/// A cause or a place.
#[derive(Debug)]
struct Known {
    rate: Rate,
    /// Lines that may be written at once.
    allowed: f64,
    at: Instant,
    left_out: Option<LeftOut>,
}

/// Lines that were left out.
#[derive(Clone, Debug)]
pub(super) struct LeftOut {
    pub(super) lines: u64,
    /// What the first of them said.
    said: Said,
    since: Instant,
}

#[derive(Clone, Debug, PartialEq)]
struct Said {
    level: Level,
    target: String,
    message: String,
    error: Option<String>,
}

impl Repeats {
    /// How many lines were left out.
    pub(super) fn left_out(&self) -> Counter {
        self.left_out.clone()
    }

    /// Whether no line was written of late.
    pub(super) fn is_empty(&self) -> bool {
        self.known().is_empty()
    }

    /// Whether an event may be written.
    fn admit(&self, event: &Event<'_>, now: Instant) -> bool {
        let metadata = event.metadata();
        // A level is less the more it says.
        if *metadata.level() > Level::INFO || metadata.target() == TARGET {
            return true;
        }
        let mut place = DefaultHasher::new();
        metadata.callsite().hash(&mut place);
        let mut cause = Cause(place.clone());
        event.record(&mut cause);
        self.admit_one(place.finish(), cause.0.finish(), now, || Said::of(event))
    }

    /// Whether a panic at this place may be written.
    pub(super) fn admit_panic(&self, place: &str, words: &str) -> bool {
        let mut hash = DefaultHasher::new();
        place.hash(&mut hash);
        let said = || Said { level: Level::ERROR, target: "panic".to_owned(), message: format!("panic: {words}, at {place}"), error: None };
        self.admit_one(hash.finish(), !hash.finish(), Instant::now(), said)
    }

    fn admit_one(&self, place: u64, cause: u64, now: Instant, said: impl FnOnce() -> Said) -> bool {
        let mut known = self.known();
        let of_place = known.entry(place).or_insert_with(|| Known::new(PLACE, now)).has_one(now);
        let cause = if known.len() < CAUSES || known.contains_key(&cause) { cause } else { place };
        let of_cause = known.entry(cause).or_insert_with(|| Known::new(CAUSE, now));
        if of_place && of_cause.has_one(now) {
            of_cause.allowed -= 1.0;
            if cause != place
                && let Some(of_place) = known.get_mut(&place)
            {
                of_place.allowed -= 1.0;
            }
            return true;
        }
        of_cause.left_out.get_or_insert_with(|| LeftOut { lines: 0, said: said(), since: now }).lines += 1;
        drop(known);
        self.left_out.inc();
        false
    }

    /// Takes what was left out and is to be said now, and forgets what is over.
    pub(super) fn take_due(&self) -> Vec<LeftOut> {
        self.take(Instant::now(), PERIOD)
    }

    /// Takes everything that was left out.
    pub(super) fn take_all(&self) -> Vec<LeftOut> {
        self.take(Instant::now(), Duration::ZERO)
    }

    fn take(&self, now: Instant, age: Duration) -> Vec<LeftOut> {
        let mut known = self.known();
        let due = |known: &mut Known| known.left_out.take_if(|left_out| now.saturating_duration_since(left_out.since) >= age);
        let taken = known.values_mut().filter_map(due).collect();
        known.retain(|_, known| known.left_out.is_some() || !known.is_full(now));
        taken
    }

    fn known(&self) -> MutexGuard<'_, HashMap<u64, Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, allowed: rate.at_once.into(), at: now, left_out: None }
    }

    fn refill(&mut self, now: Instant) {
        let since = now.saturating_duration_since(self.at).as_secs_f64();
        self.allowed = (self.allowed + since * f64::from(self.rate.a_second)).min(self.rate.at_once.into());
        self.at = now;
    }

    fn has_one(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.allowed >= 1.0
    }

    fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.allowed >= self.rate.at_once.into()
    }
}

impl Said {
    fn of(event: &Event<'_>) -> Self {
        let mut fields = Fields(Map::new());
        event.record(&mut fields);
        let mut text = |name| fields.0.remove(name).map(|value| value.as_str().map_or_else(|| Value::to_string(&value), str::to_owned));
        let message = text("message").unwrap_or_default();
        let error = TELLING.into_iter().find_map(&mut text);
        Self { level: *event.metadata().level(), target: event.metadata().target().to_owned(), message, error }
    }
}

/// Takes in the fields of an event that say what its cause is.
struct Cause(DefaultHasher);

impl Write for Cause {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.0.write(text.as_bytes());
        Ok(())
    }
}

impl Visit for Cause {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if TELLING.contains(&field.name()) {
            // It is hashed as it is written, and that cannot fail.
            let _ = write!(self, "{}={value:?};", field.name());
        }
    }
}

/// Keeps lines back that say the same again and again.
pub(super) struct Limit;

impl<S: Subscriber> Layer<S> for Limit {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        log::opened().is_none_or(|log| log.repeats().admit(event, Instant::now()))
    }
}

/// Says what was left out.
pub(super) fn say(left_out: &[LeftOut]) {
    for LeftOut { lines, said: Said { level, target, message, error }, .. } in left_out {
        let text = format!("{message}: … and {} more like it", grouped(*lines));
        // Whatever tells others of errors was told of the first ones.
        if *level == Level::INFO {
            tracing::info!(target: TARGET, of = target, lines, error, "{text}");
        } else {
            tracing::warn!(target: TARGET, of = target, lines, error, "{text}");
        }
    }
}

/// A number with a comma between each three of its digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let comma = |(at, digit): (usize, char)| (at > 0 && (digits.len() - at).is_multiple_of(3)).then_some(',').into_iter().chain([digit]);
    digits.char_indices().flat_map(comma).collect()
}

#[cfg(test)]
mod tests;
