//! Random clients, clocks and faults against the engine's rules. After every step: no seat and no holder twice, nobody
//! granted beyond the limit, no live client refused.
//!
//! Faults: a function dies between Redis and PostgreSQL or after its commit, a release is cut in half, the policy changes with
//! or without Redis being told, Redis is wiped at any time, Redis is restored from an older copy at most every half TTL.
//! `MODEL_SEQUENCES` sets how many sequences each of the four tests runs (250 if it is not set).

use std::collections::HashMap;

use platform::{
    domain::{Clock, SessionId},
    seats::{Acquired, Heartbeat},
};
use proptest::{
    prelude::*,
    test_runner::{Config, TestCaseError, TestRunner},
};
use testkit::{Customer, policy, redis_settings};
use uuid::Uuid;

use crate::rig::{Rig, vandal};

const TTL: i64 = 360;
const BEAT: i64 = 120;
const SWEEP: i64 = 30;
/// Stale restores no closer than this: half a TTL.
const RESTORE_GAP: i64 = 180;
const CLIENTS: usize = 6;

#[derive(Clone, Debug)]
enum Step {
    Pass(u64),
    Acquire { client: usize, silent: bool, crash: Option<Crash> },
    Release { client: usize, cut: bool },
    Policy { seats: i32, told: bool },
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
    let crash = prop_oneof![4 => Just(None), 1 => Just(Some(Crash::BeforeCommit)), 1 => Just(Some(Crash::AfterCommit))];
    prop_oneof![
        40 => prop::sample::select(vec![2, 5, 15, 30]).prop_map(Step::Pass),
        28 => (0..CLIENTS, prop::bool::weighted(0.2), crash).prop_map(|(client, silent, crash)| Step::Acquire { client, silent, crash }),
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

struct World<'a> {
    rig: &'a Rig,
    redis: redis::aio::MultiplexedConnection,
    customer: Customer,
    clients: HashMap<usize, Seated>,
    copy: Option<Vec<Option<Vec<u8>>>>,
    last_sweep: i64,
    last_restore: i64,
    limit: i64,
}

impl World<'_> {
    fn now(&self) -> i64 {
        self.rig.clock.now().timestamp()
    }

    async fn take(&mut self, step: &Step) -> Result<(), TestCaseError> {
        let (open_before, live_before) = self.records().await;
        match *step {
            Step::Pass(seconds) => self.pass(seconds).await?,
            Step::Acquire { client, silent, crash } => self.acquire(client, silent, crash).await?,
            Step::Release { client, cut } => self.release(client, cut).await,
            Step::Policy { seats, told } => self.change_policy(seats, told).await,
            Step::Wipe => vandal::wipe(&mut self.redis, &self.customer).await,
            Step::Copy => self.copy = Some(vandal::copy(&mut self.redis, &self.customer).await),
            Step::Restore => self.restore().await,
        }
        let (open, live) = self.records().await;
        if matches!(step, Step::Acquire { .. }) {
            prop_assert!(live <= live_before.max(self.limit), "{live} live sessions on {} seats", self.limit);
        } else {
            // A rebuild may bring back a session that has died just now, for one TTL; it can never make a new one.
            prop_assert!(open <= open_before, "sessions came from nowhere");
        }
        let twice = "SELECT count(*) - count(DISTINCT seat), count(*) - count(DISTINCT holder) FROM sessions
                     WHERE license_id = $1 AND ended_at IS NULL";
        let row = self.rig.owner.query_one(twice, &[&self.customer.license.as_uuid()]).await.unwrap();
        prop_assert_eq!((row.get::<_, i64>(0), row.get::<_, i64>(1)), (0, 0), "a seat or a holder twice");
        Ok(())
    }

    /// Sessions that have not ended, and those of them whose record has not fallen due.
    async fn records(&self) -> (i64, i64) {
        let sql = "SELECT count(*), count(*) FILTER (WHERE expires_at > $2) FROM sessions WHERE license_id = $1 AND ended_at IS NULL";
        let row = self.rig.owner.query_one(sql, &[&self.customer.license.as_uuid(), &self.rig.clock.now()]).await.unwrap();
        (row.get(0), row.get(1))
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

    async fn acquire(&mut self, number: usize, silent: bool, crash: Option<Crash>) -> Result<(), TestCaseError> {
        if self.clients.contains_key(&number) {
            return Ok(());
        }
        let open: Vec<Uuid> = self.open().await;
        let acquired = self.rig.acquire(&self.customer, &format!("device-{number}")).await;
        let (seat, granted) = match acquired {
            Acquired::Granted(seat) => (seat, true),
            Acquired::Held(seat) => (seat, false),
            Acquired::Full { .. } => return Ok(()),
            other => return Err(TestCaseError::fail(format!("acquire answered {other:?}"))),
        };
        match crash {
            Some(Crash::AfterCommit) => {}
            Some(Crash::BeforeCommit) if granted => self.undo(seat.session, &open).await,
            Some(Crash::BeforeCommit) | None => {
                let now = self.now();
                self.clients.insert(number, Seated { session: seat.session, until: now + TTL, beat: now, silent });
                let sitting = i64::try_from(self.clients.len()).unwrap();
                prop_assert!(!granted || sitting <= self.limit, "{sitting} clients on {} seats", self.limit);
            }
        }
        Ok(())
    }

    async fn open(&self) -> Vec<Uuid> {
        let open = "SELECT id FROM sessions WHERE license_id = $1 AND ended_at IS NULL";
        let rows = self.rig.owner.query(open, &[&self.customer.license.as_uuid()]).await.unwrap();
        rows.iter().map(|row| row.get(0)).collect()
    }

    /// What a function leaves that dies before its commit: Redis as it is, PostgreSQL as it was.
    async fn undo(&self, session: SessionId, open: &[Uuid]) {
        self.rig.owner.execute("DELETE FROM sessions WHERE id = $1", &[&session.key.as_uuid()]).await.unwrap();
        let reopen = "UPDATE sessions SET ended_at = NULL, ended_reason = NULL WHERE id = ANY ($1) AND ended_at IS NOT NULL";
        self.rig.owner.execute(reopen, &[&open]).await.unwrap();
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

async fn play(rig: &Rig, steps: &[Step]) -> Result<(), TestCaseError> {
    let customer = rig.database.customer(policy(3)).await;
    let now = rig.clock.now().timestamp();
    let redis = vandal::connection().await;
    let mut world =
        World { rig, redis, customer, clients: HashMap::new(), copy: None, last_sweep: now, last_restore: now - RESTORE_GAP, limit: 3 };
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
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 200, ..Config::default() };
    let mut runner = TestRunner::new(config);
    let outcome = runner.run(&prop::collection::vec(step(), 30..110), |steps| runtime.block_on(play(&rig, &steps)));
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
