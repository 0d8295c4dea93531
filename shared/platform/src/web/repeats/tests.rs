use std::sync::Arc;

use tracing_subscriber::layer::SubscriberExt;

use super::*;

/// What is written of the events that something logs, at a moment that is passed in.
#[derive(Clone, Default)]
struct Seen {
    repeats: Arc<Repeats>,
    now: Arc<Mutex<Option<Instant>>>,
    lines: Arc<Mutex<Vec<String>>>,
}

impl<S: Subscriber> Layer<S> for Seen {
    fn event_enabled(&self, event: &Event<'_>, _: Context<'_, S>) -> bool {
        self.repeats.admit(event, self.now.lock().unwrap().unwrap())
    }

    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let said = Said::of(event);
        self.lines.lock().unwrap().push(said.error.map_or_else(|| said.message.clone(), |error| format!("{}: {error}", said.message)));
    }
}

impl Seen {
    fn at(&self, now: Instant, work: impl FnOnce()) -> Vec<String> {
        *self.now.lock().unwrap() = Some(now);
        tracing::subscriber::with_default(tracing_subscriber::registry().with(self.clone()), work);
        std::mem::take(&mut *self.lines.lock().unwrap())
    }
}

fn outage(request: u32, error: &str) {
    tracing::warn!(request_id = request, %error, "unavailable");
}

#[test]
fn outage_writes_a_few_lines_and_says_how_many_more_there_were() {
    let (seen, begun) = (Seen::default(), Instant::now());
    let lines = seen.at(begun, || (0..1244).for_each(|request| outage(request, "Redis is down")));
    assert_eq!(lines, vec!["unavailable: Redis is down"; 10]);
    let lines = seen.at(begun + Duration::from_secs(2), || (0..1000).for_each(|request| outage(request, "Redis is down")));
    assert_eq!(lines.len(), 2, "one a second");
    assert_eq!(seen.repeats.left_out().get(), 1234 + 998);
    assert!(seen.repeats.take(begun + Duration::from_secs(9), PERIOD).is_empty());
    let left_out = seen.repeats.take(begun + PERIOD, PERIOD);
    assert_eq!(left_out.iter().map(|left_out| left_out.lines).collect::<Vec<_>>(), [2232]);
    let lines = seen.at(begun + PERIOD, || say(&left_out));
    assert_eq!(lines, ["unavailable: … and 2,232 more like it: Redis is down"]);
}

#[test]
fn another_cause_is_written_while_one_is_left_out() {
    let (seen, begun) = (Seen::default(), Instant::now());
    seen.at(begun, || (0..1000).for_each(|request| outage(request, "Redis is down")));
    let lines = seen.at(begun, || outage(1, "PostgreSQL is full"));
    assert_eq!(lines, ["unavailable: PostgreSQL is full"]);
    let lines = seen.at(begun, || tracing::warn!("something else"));
    assert_eq!(lines, ["something else"]);
}

#[test]
fn causes_that_are_all_different_are_limited_by_their_place() {
    let (seen, begun) = (Seen::default(), Instant::now());
    let lines = seen.at(begun, || (0..10_000).for_each(|request| outage(request, &request.to_string())));
    assert_eq!(lines.len(), 30);
    assert!(seen.repeats.known().len() <= CAUSES + 1);
    let said: u64 = seen.repeats.take_all().iter().map(|left_out| left_out.lines).sum();
    assert_eq!(said, 10_000 - 30);
}

#[test]
fn what_is_over_is_forgotten() {
    let (seen, begun) = (Seen::default(), Instant::now());
    seen.at(begun, || outage(1, "Redis is down"));
    assert!(!seen.repeats.is_empty());
    seen.repeats.take(begun + PERIOD, PERIOD);
    assert!(seen.repeats.is_empty());
}

#[test]
fn lines_for_debugging_are_all_written() {
    let seen = Seen::default();
    let lines = seen.at(Instant::now(), || (0..100).for_each(|request| tracing::debug!(request, "refused")));
    assert_eq!(lines.len(), 100);
}

#[test]
fn panics_at_one_place_are_limited() {
    let repeats = Repeats::default();
    let written = (0..100).filter(|_| repeats.admit_panic("lib.rs:1:2", "a bug")).count();
    assert_eq!(written, 10);
    let left_out = repeats.take_all();
    assert_eq!((left_out[0].lines, left_out[0].said.message.as_str()), (90, "panic: a bug, at lib.rs:1:2"));
}

#[test]
fn numbers_have_commas() {
    for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
        assert_eq!(grouped(number), text);
    }
}
