//! Clocks: how far Redis', PostgreSQL's and this instance's are apart, and what follows from it.
//!
//! Redis' clock rules expiry, and PostgreSQL's must agree: the statements see to that (`due_by`). This instance adds what neither
//! server can notice, a clock that jumps, by its steady clock (the kernel's monotonic one); it reports differences; and it chooses
//! the time that clients are told, who refuse leases from a wrong clock.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use chrono::TimeDelta;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};
use tokio::time::Instant;

use crate::{
    db::{self, Database},
    domain::{Clock, License, Timestamp, from_millis},
};

/// How far clocks may be apart, in ms, as `clock_shift` in the database has it.
const TOLERANCE: i64 = 10_000;
/// An answer that took this long, in ms, tells no time.
const LONGEST_CALL: i64 = 5_000;
/// How often PostgreSQL is asked for its time, in ms: while clocks differ, and else.
const LOOK_WHILE_APART: i64 = 5_000;
const LOOK: i64 = 60_000;
/// No moment of the steady clock.
const NEVER: i64 = i64::MIN;

/// How long heartbeats must fail before their failing counts as a gap, in ms.
const GAP: i64 = 5_000;

// Never to an earlier moment, lest a gap be forgotten.
pub(super) const RESUME: &str = "-- clocks::resume
UPDATE pulse SET resumed_at = greatest(resumed_at, coalesce($1::timestamptz, statement_timestamp()))";

pub(super) const NOW: &str = "-- clocks::now\nSELECT statement_timestamp()";

/// The clocks that a test moves, each by itself.
#[derive(Clone, Debug)]
pub struct MovedClocks {
    /// Stands for Redis' clock.
    pub redis: Arc<dyn Clock>,
    /// Stands for PostgreSQL's clock.
    pub database: Arc<dyn Clock>,
    /// Stands for the wall clock of this instance.
    pub instance: Arc<dyn Clock>,
    /// Stands for the steady clock of this instance. None: it notices no jump, as one that has started after it.
    pub steady: Option<Arc<dyn Clock>>,
}

/// By what a record counts as due: parameters of `due_by` in the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct Due {
    /// Redis' time; the epoch where nobody may expire, which is far from PostgreSQL's time.
    pub(super) redis_now: Timestamp,
    /// The TTL of the license, in seconds.
    pub(super) ttl: f64,
    /// Replaces PostgreSQL's clock; never in production.
    pub(super) moved: Option<Timestamp>,
}

/// Two clocks, by what a metric calls them.
#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Between {
    between: &'static str,
}

#[derive(Debug)]
enum Steady {
    Kernel(Instant),
    Moved(Option<Arc<dyn Clock>>),
}

/// What one instance knows of the clocks.
#[derive(Debug)]
pub(super) struct Clocks {
    instance: Arc<dyn Clock>,
    steady: Steady,
    moved_database: Option<Arc<dyn Clock>>,
    /// The time of each server less the steady clock's, in ms, when it answered last.
    redis: AtomicI64,
    database: AtomicI64,
    /// When PostgreSQL was asked for its time last, by the steady clock.
    looked_at: AtomicI64,
    /// Since when sessions had the chance to be renewed, as far as this instance has noticed that they had not, by the steady clock.
    protected_since: AtomicI64,
    /// Since when heartbeats fail here, by the steady clock.
    missed_since: AtomicI64,
    /// What to add to Redis' time to have the time that clients are told, in ms.
    shift: AtomicI64,
    servers_are_apart: AtomicBool,
    instance_is_apart: AtomicBool,
    difference: Family<Between, Gauge<f64, AtomicU64>>,
    jumps: Counter,
}

impl Clocks {
    pub(super) fn new(instance: Arc<dyn Clock>, moved: Option<&MovedClocks>) -> Self {
        Self {
            instance,
            steady: moved.map_or_else(|| Steady::Kernel(Instant::now()), |moved| Steady::Moved(moved.steady.clone())),
            moved_database: moved.map(|moved| Arc::clone(&moved.database)),
            redis: AtomicI64::new(NEVER),
            database: AtomicI64::new(NEVER),
            looked_at: AtomicI64::new(NEVER),
            protected_since: AtomicI64::new(NEVER),
            missed_since: AtomicI64::new(NEVER),
            shift: AtomicI64::new(0),
            servers_are_apart: AtomicBool::new(false),
            instance_is_apart: AtomicBool::new(false),
            difference: Family::default(),
            jumps: Counter::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "How far Redis' clock is ahead of PostgreSQL's, or of this instance's, in seconds";
        registry.register("coditect_clock_difference_seconds", help, self.difference.clone());
        registry.register(
            "coditect_clock_jumps",
            "Times that a server's clock was seen to jump by more than ten seconds",
            self.jumps.clone(),
        );
    }

    /// The steady clock, in ms from whenever.
    pub(super) fn steady(&self) -> i64 {
        match &self.steady {
            Steady::Kernel(since) => i64::try_from(since.elapsed().as_millis()).unwrap_or(i64::MAX),
            Steady::Moved(clock) => clock.as_ref().map_or(0, |clock| clock.now().timestamp_millis()),
        }
    }

    /// PostgreSQL's clock where a test moves it.
    pub(super) fn moved(&self) -> Option<Timestamp> {
        self.moved_database.as_ref().map(|clock| clock.now())
    }

    /// By what the records of a license count as due, when Redis' time is this.
    pub(super) fn due(&self, license: &License, redis_now: Timestamp) -> Due {
        self.due_of(license.policy.session_ttl, redis_now)
    }

    pub(super) fn due_of(&self, ttl: Duration, redis_now: Timestamp) -> Due {
        let redis_now = if self.protects(ttl) { Timestamp::UNIX_EPOCH } else { redis_now };
        Due { redis_now, ttl: ttl.as_secs_f64(), moved: self.moved() }
    }

    /// Whether no session with this TTL may expire, because this instance has noticed that it may have had no chance to be renewed.
    pub(super) fn protects(&self, ttl: Duration) -> bool {
        let since = self.protected_since.load(Relaxed);
        since != NEVER && self.steady() - since < i64::try_from(ttl.as_millis()).unwrap_or(i64::MAX)
    }

    /// Notes that a heartbeat could not be taken, neither by Redis nor by the record.
    pub(super) fn note_missed(&self) {
        let _ = self.missed_since.compare_exchange(NEVER, self.steady(), Relaxed, Relaxed);
    }

    /// Notes that Redis has taken heartbeats. True: it is the first time after a gap, and no session here expires for one TTL.
    pub(super) fn note_taken(&self) -> bool {
        // Nearly always.
        if self.missed_since.load(Relaxed) == NEVER {
            return false;
        }
        let (since, now) = (self.missed_since.swap(NEVER, Relaxed), self.steady());
        let was_gap = since != NEVER && now - since >= GAP;
        if was_gap {
            self.protected_since.store(now, Relaxed);
        }
        was_gap
    }

    /// A moment of Redis' clock as clients are told it.
    pub(super) fn told(&self, moment: Timestamp) -> Timestamp {
        moment + TimeDelta::milliseconds(self.shift.load(Relaxed))
    }

    /// PostgreSQL's time as clients are told it where Redis is not there to be asked.
    pub(super) fn told_by_database(&self, now: Timestamp) -> Timestamp {
        let instance = self.instance.now();
        if (now - instance).num_milliseconds().abs() <= TOLERANCE {
            return now;
        }
        let offset = self.redis.load(Relaxed);
        let redis = if offset == NEVER { now } else { from_millis(offset + self.steady()) };
        from_millis(median(now, instance, redis))
    }

    /// Notes Redis' time, from the answer to a call that was sent at that moment of the steady clock.
    pub(super) fn note_redis(&self, sent: i64, now: Timestamp) {
        let Some(received) = self.received(sent) else { return };
        self.note_offset(&self.redis, "Redis", now.timestamp_millis() - received);
        let instance = self.instance.now();
        let ahead = (now - instance).num_milliseconds();
        self.set("redis_and_instance", ahead);
        let is_apart = ahead.abs() > TOLERANCE;
        let shift = if is_apart {
            self.database_now(received).map_or(0, |database| median(now, instance, database) - now.timestamp_millis())
        } else {
            0
        };
        self.shift.store(shift, Relaxed);
        if self.instance_is_apart.swap(is_apart, Relaxed) != is_apart {
            if is_apart {
                tracing::warn!(
                    redis_ahead_ms = ahead,
                    "the clocks of Redis and of this instance differ by more than 10 s: clients are told the median of these and PostgreSQL's"
                );
            } else {
                tracing::info!("the clocks of Redis and of this instance agree again");
            }
        }
    }

    /// Notes PostgreSQL's time, likewise, and compares it with Redis'.
    pub(super) fn note_database(&self, sent: i64, now: Timestamp) {
        let Some(received) = self.received(sent) else { return };
        let offset = now.timestamp_millis() - received;
        self.note_offset(&self.database, "PostgreSQL", offset);
        let redis = self.redis.load(Relaxed);
        if redis == NEVER {
            return;
        }
        let ahead = redis - offset;
        self.set("redis_and_database", ahead);
        let are_apart = ahead.abs() > TOLERANCE;
        if self.servers_are_apart.swap(are_apart, Relaxed) != are_apart {
            if are_apart {
                tracing::warn!(
                    redis_ahead_ms = ahead,
                    "the clocks of Redis and PostgreSQL differ by more than 10 s: no session expires until they agree"
                );
            } else {
                tracing::info!("the clocks of Redis and PostgreSQL agree again: sessions expire as ever");
            }
        }
    }

    /// Whether PostgreSQL is to be asked for its time now. Who is told so asks.
    pub(super) fn wants_look(&self) -> bool {
        if self.moved_database.is_some() {
            return false;
        }
        let (now, before) = (self.steady(), self.looked_at.load(Relaxed));
        let pause = if self.instance_is_apart.load(Relaxed) { LOOK_WHILE_APART } else { LOOK };
        (before == NEVER || now - before >= pause) && self.looked_at.compare_exchange(before, now, Relaxed, Relaxed).is_ok()
    }

    /// Asks PostgreSQL for its time.
    pub(super) async fn look(&self, database: &Database) -> Result<Timestamp, db::Error> {
        let sent = self.steady();
        let now = if let Some(now) = self.moved() {
            now
        } else {
            let rows = database.query(NOW, &[]).await?;
            rows.first().ok_or_else(|| db::Error::Record("PostgreSQL knows no time".to_owned()))?.try_get(0)?
        };
        self.note_database(sent, now);
        Ok(now)
    }

    /// The moment of an answer, unless it took so long that its time says little.
    fn received(&self, sent: i64) -> Option<i64> {
        let received = self.steady();
        (received - sent < LONGEST_CALL).then_some(received)
    }

    fn note_offset(&self, of: &AtomicI64, server: &str, offset: i64) {
        let before = of.swap(offset, Relaxed);
        let jump = offset.saturating_sub(before);
        if before == NEVER || matches!(self.steady, Steady::Moved(None)) || jump.abs() <= TOLERANCE {
            return;
        }
        self.jumps.inc();
        self.protected_since.store(self.steady(), Relaxed);
        tracing::warn!(server, jump_ms = jump, "the clock of a server has jumped: this instance lets no session expire for one TTL");
    }

    /// PostgreSQL's time, as far as it is known.
    fn database_now(&self, steady: i64) -> Option<Timestamp> {
        let offset = self.database.load(Relaxed);
        self.moved().or_else(|| (offset != NEVER).then(|| from_millis(offset + steady)))
    }

    fn set(&self, between: &'static str, ahead: i64) {
        #[expect(clippy::cast_precision_loss, reason = "a difference of clocks is small")]
        self.difference.get_or_create(&Between { between }).set(ahead as f64 / 1000.0);
    }
}

/// The one in the middle, in ms.
fn median(one: Timestamp, two: Timestamp, three: Timestamp) -> i64 {
    let mut clocks = [one, two, three].map(|clock| clock.timestamp_millis());
    clocks.sort_unstable();
    clocks[1]
}
