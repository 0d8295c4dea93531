//! Random clients, clocks and faults against the engine's rules. After every step: no seat for two holders and no holder on
//! two seats, every seat of a live session occupied by one row, nobody granted beyond the limit, no live client refused.
//!
//! Each device runs two programs, each with a session; a seat is a device's, or in every third sequence a program's. A program
//! that crashes comes back and replaces its session, which must work as long as it lives.
//!
//! Faults: a function dies between Redis and PostgreSQL or after its commit, a release is cut in half, the policy changes with
//! or without Redis being told, Redis is wiped at any time, Redis is restored from an older copy at most every half TTL.
//! `MODEL_SEQUENCES` sets how many sequences each of the four tests runs (250 if it is not set).

use std::collections::{HashMap, HashSet};

use platform::{
    domain::{Clock, SeatUnit, SessionId},
    seats::{Acquired, Heartbeat},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use testkit::{Customer, policy, redis_settings};
use tokio_postgres::Statement;

use crate::rig::{Rig, applicant, vandal};

const TTL: i64 = 360;
const BEAT: i64 = 120;
const SWEEP: i64 = 30;
/// Stale restores no closer than this: half a TTL.
const RESTORE_GAP: i64 = 180;
const CLIENTS: usize = 10;
/// Programs of one device.
const PROGRAMS: usize = 2;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Acquire {
        client: usize,
        silent: bool,
        crash: Option<Crash>,
    },
    /// A program has crashed and comes back.
    Replace {
        client: usize,
        silent: bool,
        crash: Option<Crash>,
    },
    Release {
        client: usize,
        cut: bool,
    },
    Policy {
        seats: i32,
        told: bool,
    },
    Wipe,
    Copy,
    Restore,
}

#[derive(Clone, Copy, Debug)]
enum Crash {
    BeforeCommit,
    AfterCommit,
}

fn step() -> impl Strategy<Value = Step> {
    let crash = || prop_oneof![4 => Just(None), 1 => Just(Some(Crash::BeforeCommit)), 1 => Just(Some(Crash::AfterCommit))];
    prop_oneof![
        40 => prop::sample::select(vec![2, 5, 15, 30]).prop_map(Step::Pass),
        28 => (0..CLIENTS, prop::bool::weighted(0.2), crash()).prop_map(|(client, silent, crash)| Step::Acquire { client, silent, crash }),
        6 => (0..CLIENTS, prop::bool::weighted(0.2), crash()).prop_map(|(client, silent, crash)| Step::Replace { client, silent, crash }),
        10 => (0..CLIENTS, prop::bool::weighted(0.3)).prop_map(|(client, cut)| Step::Release { client, cut }),
        3 => (1..=4, any::<bool>()).prop_map(|(seats, told)| Step::Policy { seats, told }),
        5 => Just(Step::Wipe),
        5 => Just(Step::Copy),
        4 => Just(Step::Restore),
    ]
}

struct Seated {
    session: SessionId,
    until: i64,
    beat: i64,
    silent: bool,
}

/// What PostgreSQL has of a license.
#[derive(Clone, Copy, Debug, Default)]
struct Records {
    /// Sessions that have not ended.
    open: i64,
    /// Seats with such whose record has not fallen due.
    live: i64,
    /// Seats, holders, and pairs of both, of sessions that have not ended.
    seats: i64,
    holders: i64,
    pairs: i64,
    /// Sessions that guard a seat: one for each.
    guards: i64,
    /// Sessions on a seat that none guards for them.
    unguarded: i64,
}

/// Reads them in one statement: after each step this costs as much as the step.
const LOOK: &str = "
    SELECT count(*) AS open, count(DISTINCT seat) FILTER (WHERE expires_at > $2) AS live, count(DISTINCT seat) AS seats,
           count(DISTINCT holder) AS holders, count(DISTINCT (seat, holder)) AS pairs, count(*) FILTER (WHERE share = 0) AS guards,
           count(*) FILTER (WHERE NOT EXISTS (
               SELECT FROM sessions p WHERE p.license_id = s.license_id AND p.seat = s.seat AND p.holder = s.holder
               AND p.share = 0 AND p.ended_at IS NULL)) AS unguarded
    FROM sessions s WHERE license_id = $1 AND ended_at IS NULL";

struct World<'a> {
    rig: &'a Rig,
    /// [`LOOK`], prepared.
    look: &'a Statement,
    records: Records,
    redis: redis::aio::MultiplexedConnection,
    customer: Customer,
    clients: HashMap<usize, Seated>,
    copy: Option<Vec<Option<Vec<u8>>>>,
    last_sweep: i64,
    last_restore: i64,
    limit: i64,
    is_by_process: bool,
}

fn device(client: usize) -> String {
    format!("device-{}", client / PROGRAMS)
}

impl World<'_> {
    fn now(&self) -> i64 {
        self.rig.clock.now().timestamp()
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        match *step {
            Step::Pass(seconds) => self.pass(seconds).await?,
            Step::Acquire { client, silent, crash } => {
                if !self.clients.contains_key(&client) {
                    self.acquire(client, silent, crash, None).await?;
                }
            }
            Step::Replace { client, silent, crash } => {
                if let Some(before) = self.clients.remove(&client) {
                    self.acquire(client, silent, crash, Some(before.session)).await?;
                }
            }
            Step::Release { client, cut } => self.release(client, cut).await,
            Step::Policy { seats, told } => self.change_policy(seats, told).await,
            Step::Wipe => vandal::wipe(&mut self.redis, &self.customer).await,
            Step::Copy => self.copy = Some(vandal::copy(&mut self.redis, &self.customer).await),
            Step::Restore => self.restore().await,
        }
        let now = self.records().await;
        let before = std::mem::replace(&mut self.records, now);
        if matches!(step, Step::Acquire { .. } | Step::Replace { .. }) {
            prop_assert!(now.live <= before.live.max(self.limit), "{} live seats of {}", now.live, self.limit);
        } else {
            // A rebuild may bring back a session that has died just now, for one TTL; it can never make a new one.
            prop_assert!(now.open <= before.open, "sessions came from nowhere");
        }
        prop_assert_eq!((now.seats, now.holders), (now.pairs, now.pairs), "a seat for two holders, or a holder on two seats");
        prop_assert_eq!(now.seats, now.guards, "a seat that nothing guards, or twice");
        prop_assert_eq!(now.unguarded, 0, "a session on a seat of another holder");
        Ok(())
    }

    async fn records(&self) -> Records {
        let row = self.rig.owner.query_one(self.look, &[&self.customer.license.as_uuid(), &self.rig.clock.now()]).await.unwrap();
        Records {
            open: row.get("open"),
            live: row.get("live"),
            seats: row.get("seats"),
            holders: row.get("holders"),
            pairs: row.get("pairs"),
            guards: row.get("guards"),
            unguarded: row.get("unguarded"),
        }
    }

    async fn pass(&mut self, seconds: u64) -> Result<(), TestCaseError> {
        self.rig.pass(seconds);
        let now = self.now();
        if now - self.last_sweep >= SWEEP {
            self.rig.sweep().await;
            self.last_sweep = now;
        }
        self.clients.retain(|_, client| client.until > now);
        for (number, client) in &mut self.clients {
            if !client.silent && now - client.beat >= BEAT {
                let answer = self.rig.beat(client.session).await;
                prop_assert!(matches!(answer, Heartbeat::Renewed(_)), "live client {number} refused: {answer:?}");
                (client.until, client.beat) = (now + TTL, now);
            }
        }
        Ok(())
    }

    async fn acquire(&mut self, number: usize, silent: bool, crash: Option<Crash>, before: Option<SessionId>) -> Result<(), TestCaseError> {
        let rows = if matches!(crash, Some(Crash::BeforeCommit)) { Some(self.rows().await) } else { None };
        let wanted = applicant(&device(number)).replacing(before);
        // An error is a failure of the sequence, so that it is made shorter.
        let answer = self.rig.engine.acquire(&self.customer.key, wanted).await;
        let answer = answer.map_err(|error| TestCaseError::fail(format!("{number}: {error:?}")))?;
        let (seat, granted) = match answer.outcome().expect("few are made") {
            Acquired::Granted(seat) => (seat, true),
            Acquired::Shared(seat) => (seat, false),
            Acquired::Full { .. } => {
                prop_assert!(before.is_none(), "client {number} lost its seat as it came back");
                return Ok(());
            }
            other => return Err(TestCaseError::fail(format!("acquire answered {other:?}"))),
        };
        if let Some(rows) = rows {
            self.put_back(&rows).await;
        }
        if crash.is_none() {
            if let Some(before) = before {
                let answer = self.rig.beat(before).await;
                prop_assert!(matches!(answer, Heartbeat::Ended(_)), "client {number} has two sessions: {answer:?}");
            }
            let now = self.now();
            self.clients.insert(number, Seated { session: seat.session, until: now + TTL, beat: now, silent });
            let sitting = i64::try_from(self.seats_of_clients()).unwrap();
            prop_assert!(!granted || sitting <= self.limit, "clients on {sitting} seats of {}", self.limit);
        }
        Ok(())
    }

    /// Seats that clients rely on.
    fn seats_of_clients(&self) -> usize {
        if self.is_by_process {
            return self.clients.len();
        }
        self.clients.keys().map(|number| number / PROGRAMS).collect::<HashSet<_>>().len()
    }

    async fn rows(&self) -> String {
        let rows = "SELECT coalesce(jsonb_agg(s), '[]')::text FROM sessions s WHERE license_id = $1";
        self.rig.owner.query_one(rows, &[&self.customer.license.as_uuid()]).await.unwrap().get(0)
    }

    /// What a function leaves that dies before its commit: Redis as it is, PostgreSQL as it was.
    async fn put_back(&self, rows: &str) {
        self.rig.owner.execute("DELETE FROM sessions WHERE license_id = $1", &[&self.customer.license.as_uuid()]).await.unwrap();
        let insert = "INSERT INTO sessions SELECT * FROM jsonb_populate_recordset(NULL::sessions, $1::text::jsonb)";
        self.rig.owner.execute(insert, &[&rows]).await.unwrap();
    }

    async fn release(&mut self, number: usize, cut: bool) {
        let Some(client) = self.clients.remove(&number) else { return };
        if cut {
            let end = "UPDATE sessions SET ended_at = $2, ended_reason = 'released' WHERE id = $1 AND ended_at IS NULL";
            self.rig.owner.execute(end, &[&client.session.key.as_uuid(), &self.rig.clock.now()]).await.unwrap();
        } else {
            assert!(self.rig.release(client.session).await.is_some());
        }
    }

    async fn change_policy(&mut self, seats: i32, told: bool) {
        let change = "UPDATE licenses SET seats_total = $2, version = version + 1 WHERE id = $1";
        self.rig.owner.execute(change, &[&self.customer.license.as_uuid(), &seats]).await.unwrap();
        if told {
            self.rig.engine.refresh(self.customer.license).await.unwrap();
            self.limit = i64::from(seats);
        } else {
            // Whoever has not been told may go by either for ten seconds, so both limits are allowed until then.
            let larger = self.limit.max(i64::from(seats));
            self.limit = larger;
            self.rig.pass(10);
            self.rig.engine.refresh(self.customer.license).await.unwrap();
            self.limit = i64::from(seats);
        }
    }

    async fn restore(&mut self) {
        if let Some(copy) = &self.copy
            && self.now() - self.last_restore >= RESTORE_GAP
        {
            vandal::restore(&mut self.redis, &self.customer, copy).await;
            self.last_restore = self.now();
        }
    }
}

async fn play(rig: &Rig, look: &Statement, is_by_process: bool, steps: &[Step]) -> Result<(), TestCaseError> {
    let mut policy = policy(3);
    policy.seat_unit = if is_by_process { SeatUnit::Process } else { SeatUnit::Device };
    let customer = rig.database.customer(policy).await;
    let now = rig.clock.now().timestamp();
    let redis = vandal::connection().await;
    let (clients, last_restore) = (HashMap::new(), now - RESTORE_GAP);
    let mut world = World {
        rig,
        look,
        records: Records::default(),
        redis,
        customer,
        clients,
        copy: None,
        last_sweep: now,
        last_restore,
        limit: 3,
        is_by_process,
    };
    let mut outcome = Ok(());
    for step in steps {
        outcome = world.take(step).await;
        if outcome.is_err() {
            break;
        }
    }
    vandal::wipe(&mut world.redis, &world.customer).await;
    rig.owner.execute("DELETE FROM sessions", &[]).await.unwrap();
    outcome
}

fn run() {
    let cases = std::env::var("MODEL_SEQUENCES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(250);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let rig = runtime.block_on(Rig::on(redis_settings()));
    let look = runtime.block_on(rig.owner.prepare(LOOK)).unwrap();
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let sequences = (prop::bool::weighted(0.33), prop::collection::vec(step(), 30..110));
    let outcome = runner.run(&sequences, |(is_by_process, steps)| runtime.block_on(play(&rig, &look, is_by_process, &steps)));
    let _inside = runtime.enter();
    drop(rig);
    if let Err(failure) = outcome {
        panic!("{failure}");
    }
}

#[test]
fn both_promises_hold_in_random_sequences_first_part() {
    run();
}

#[test]
fn both_promises_hold_in_random_sequences_second_part() {
    run();
}

#[test]
fn both_promises_hold_in_random_sequences_third_part() {
    run();
}

#[test]
fn both_promises_hold_in_random_sequences_fourth_part() {
    run();
}
