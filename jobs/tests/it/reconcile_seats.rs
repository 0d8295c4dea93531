//! `reconcile-seats`: whatever somebody does to Redis is found, counted and mended, and nobody loses a seat.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use jobs::{
    job::{Context, Counts},
    order,
    perform::{Outcome, perform},
};
use platform::{
    domain::Clock,
    seats::{Acquired, Heartbeat, Seat},
};
use redis::aio::MultiplexedConnection;
use serde_json::Map;
use testkit::{Customer, cluster_settings, eventually, policy};

use crate::{
    rig::{Rig, acquire, elsewhere},
    vandal::{self, key},
};

/// A license with three seats, two of them taken.
struct Scene {
    rig: Rig,
    customer: Customer,
    seats: [Seat; 2],
    redis: MultiplexedConnection,
}

impl Scene {
    async fn new() -> Self {
        let rig = Rig::new().await;
        let customer = rig.database.customer(policy(3)).await;
        // Long after the license was made, and its seats taken.
        rig.clock.advance(Duration::from_secs(30));
        let seats = [rig.seat(&customer, "one").await, rig.seat(&customer, "two").await];
        rig.clock.advance(Duration::from_secs(30));
        let redis = vandal::connection().await;
        Self { rig, customer, seats, redis }
    }

    async fn redis(&mut self, command: &str, name: &str, arguments: &[&[u8]]) {
        let mut command = redis::cmd(command);
        command.arg(key(&self.customer, name));
        for argument in arguments {
            command.arg(*argument);
        }
        command.exec_async(&mut self.redis).await.unwrap();
    }

    fn session(&self, seat: usize) -> [u8; 16] {
        *self.seats[seat].session.key.as_bytes()
    }

    async fn record(&mut self, seat: usize) -> Vec<u8> {
        let session = self.session(seat);
        redis::cmd("HGET").arg(key(&self.customer, "sessions")).arg(&session[..]).query_async(&mut self.redis).await.unwrap()
    }

    /// Takes a session out of Redis, and all that leads to it.
    async fn lose(&mut self, seat: usize) {
        let (session, record) = (self.session(seat), self.record(seat).await);
        let bit = (self.seats[seat].number.get() - 1).to_string();
        self.redis("HDEL", "sessions", &[&session]).await;
        self.redis("ZREM", "expiry", &[&session]).await;
        self.redis("HDEL", "holders", &[&record[12..28]]).await;
        self.redis("SETBIT", "taken", &[bit.as_bytes(), b"0"]).await;
    }

    /// Puts a session on the third seat that PostgreSQL knows nothing of: it expires in so many seconds, and has beaten or not.
    async fn invent(&mut self, seconds: i64, has_beaten: bool) {
        let (session, holder) = ([7; 16], [8; 16]);
        let expires = self.rig.clock.now().timestamp_millis() + seconds * 1000;
        let mut record = [&expires.to_be_bytes()[..], &3_u32.to_be_bytes(), &holder, &[9; 32]].concat();
        record.extend(i64::from(has_beaten).to_be_bytes());
        self.redis("HSET", "sessions", &[&session, &record]).await;
        self.redis("ZADD", "expiry", &[expires.to_string().as_bytes(), &session]).await;
        self.redis("HSET", "holders", &[&holder, &session]).await;
        self.redis("SETBIT", "taken", &[b"2", b"1"]).await;
    }

    /// Finds exactly this, first without touching anything, then mending it for good; and both clients have kept their seats.
    async fn finds_and_mends(mut self, found: &[(&str, u64)], free_afterwards: usize) {
        let before = vandal::copy(&mut self.redis, &self.customer).await;
        for _ in 0..2 {
            assert_eq!(drift(&self.rig.rehearse("reconcile-seats").await), found);
        }
        assert!(vandal::copy(&mut self.redis, &self.customer).await == before, "a rehearsal changes nothing: {found:?}");
        assert_eq!(drift(&self.rig.counts("reconcile-seats").await), found);
        assert_eq!(drift(&self.rig.counts("reconcile-seats").await), [], "after {found:?}");
        self.everybody_sits(free_afterwards).await;
    }

    async fn everybody_sits(&self, free: usize) {
        for seat in &self.seats {
            let beat = self.rig.context.engine.heartbeat(seat.session).await.unwrap().outcome().unwrap();
            assert!(matches!(beat, Heartbeat::Renewed(renewal) if renewal.seat == seat.number), "{beat:?}");
        }
        for device in ["three", "four"].iter().take(free) {
            assert!(matches!(self.rig.acquire(&self.customer, device).await, Acquired::Granted(_)));
        }
        assert!(matches!(self.rig.acquire(&self.customer, "five").await, Acquired::Full { .. }));
        assert_eq!(drift(&self.rig.counts("reconcile-seats").await), []);
    }
}

/// What was found, without what was in order.
fn drift(counts: &Counts) -> Vec<(&'static str, u64)> {
    assert!(counts.iter().any(|(name, count)| name == "licenses" && count > 0), "{counts}");
    counts.iter().filter(|(name, count)| *name != "licenses" && *count > 0).collect()
}

#[tokio::test]
async fn where_all_is_in_order_nothing_is_found_nor_changed() {
    let scene = Scene::new().await;
    let (cold, left) = (scene.rig.database.customer(policy(1)).await, scene.rig.database.customer(policy(1)).await);
    let seat = scene.rig.seat(&left, "gone").await;
    scene.rig.context.engine.release(seat.session).await.unwrap();
    assert_eq!(scene.rig.counts("reconcile-seats").await.iter().next(), Some(("licenses", 3)));
    assert!(!vandal::knows(&mut vandal::connection().await, &cold).await);
    scene.finds_and_mends(&[], 1).await;
}

#[tokio::test]
async fn a_session_that_redis_has_lost_is_written_back() {
    let mut scene = Scene::new().await;
    scene.lose(0).await;
    scene.finds_and_mends(&[("missing", 1)], 1).await;
    // Of another only the record is gone, and what led to it leads nowhere.
    let mut scene = Scene::new().await;
    let session = scene.session(1);
    scene.redis("HDEL", "sessions", &[&session]).await;
    scene.finds_and_mends(&[("missing", 1), ("index", 1)], 1).await;
    // Redis as it was before somebody sat.
    let mut scene = Scene::new().await;
    for name in ["sessions", "expiry", "holders", "taken"] {
        scene.redis("DEL", name, &[]).await;
    }
    scene.finds_and_mends(&[("missing", 2)], 1).await;
}

#[tokio::test]
async fn a_license_that_redis_has_forgotten_is_rebuilt_if_somebody_sits() {
    let mut scene = Scene::new().await;
    scene.redis("DEL", "policy", &[]).await;
    scene.finds_and_mends(&[("forgotten", 1)], 1).await;
}

#[tokio::test]
async fn a_session_that_has_ended_is_taken_out_of_redis() {
    let mut scene = Scene::new().await;
    let third = scene.rig.seat(&scene.customer, "third").await;
    let end = "UPDATE sessions SET ended_at = started_at, ended_reason = 'revoked' WHERE id = $1";
    scene.rig.owner.execute(end, &[&third.session.key.as_uuid()]).await.unwrap();
    // Within ten seconds the release that ended it may still be at it.
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), []);
    scene.rig.clock.advance(Duration::from_secs(10));
    scene.finds_and_mends(&[("ended", 1)], 1).await;

    // One who sits on a seat that was given to another.
    scene = Scene::new().await;
    let record = scene.record(0).await;
    scene.redis("HSET", "sessions", &[&[7; 16], &record]).await;
    scene.finds_and_mends(&[("unfinished", 1), ("index", 1)], 1).await;
}

#[tokio::test]
async fn a_grant_that_nobody_finishes_is_taken_out_and_one_under_way_is_not() {
    let mut scene = Scene::new().await;
    scene.invent(351, false).await;
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), []);
    scene.rig.clock.advance(Duration::from_secs(1));
    scene.finds_and_mends(&[("unfinished", 1)], 1).await;
}

#[tokio::test]
async fn a_session_that_beats_and_is_in_no_record_is_told_of_and_left_alone() {
    let mut scene = Scene::new().await;
    scene.invent(60, true).await;
    for _ in 0..2 {
        assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), [("unrecorded", 1)]);
    }
    assert!(matches!(scene.rig.acquire(&scene.customer, "three").await, Acquired::Full { .. }));
}

#[tokio::test]
async fn a_policy_that_is_not_the_records_is_corrected() {
    for (field, value) in
        [("version", "0"), ("version", "99"), ("seats", "9"), ("ttl", "1000"), ("standing", "license_suspended"), ("ends", "5")]
    {
        let mut scene = Scene::new().await;
        scene.redis("HSET", "policy", &[field.as_bytes(), value.as_bytes()]).await;
        scene.finds_and_mends(&[("policy", 1)], 1).await;
    }
    let mut scene = Scene::new().await;
    scene.redis("HDEL", "policy", &[b"version"]).await;
    scene.finds_and_mends(&[("policy", 1)], 1).await;
}

#[tokio::test]
async fn a_change_that_redis_was_not_told_of_is_told_but_not_while_somebody_may_be_telling_it() {
    let scene = Scene::new().await;
    let change = "UPDATE licenses SET version = version + 1, seats_total = 4, updated_at = $1";
    scene.rig.owner.execute(change, &[&scene.rig.clock.now()]).await.unwrap();
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), []);
    scene.rig.clock.advance(Duration::from_secs(15));
    scene.finds_and_mends(&[("policy", 1)], 2).await;
}

#[tokio::test]
async fn what_redis_counts_by_is_put_right_by_its_sessions() {
    type Damage = (&'static str, &'static str, Vec<Vec<u8>>);
    let damages = |session: [u8; 16]| -> Vec<Damage> {
        vec![
            // A seat that nobody sits on, and one that looks free.
            ("SETBIT", "taken", vec![b"2".to_vec(), b"1".to_vec()]),
            ("SETBIT", "taken", vec![b"0".to_vec(), b"0".to_vec()]),
            ("DEL", "taken", vec![]),
            // Somebody who counts and is not there, and the reverse; one who would never be found dead.
            ("ZADD", "expiry", vec![b"99999999999999".to_vec(), vec![5; 16]]),
            ("ZREM", "expiry", vec![session.to_vec()]),
            ("ZADD", "expiry", vec![b"99999999999999".to_vec(), session.to_vec()]),
            // A device that would find a seat it has not, and one that would not find its own.
            ("HSET", "holders", vec![vec![6; 16], vec![5; 16]]),
            ("DEL", "holders", vec![]),
        ]
    };
    for at in 0..8 {
        let mut scene = Scene::new().await;
        let (command, name, arguments) = damages(scene.session(0)).swap_remove(at);
        let arguments: Vec<&[u8]> = arguments.iter().map(Vec::as_slice).collect();
        scene.redis(command, name, &arguments).await;
        scene.finds_and_mends(&[("index", 1)], 1).await;
    }
}

#[tokio::test]
async fn several_at_once_mend_what_one_does_and_a_slot_is_one_run() {
    let mut scene = Scene::new().await;
    scene.lose(0).await;
    scene.invent(60, false).await;
    scene.redis("HSET", "policy", &[b"seats", b"9"]).await;
    let (workers, job): (Vec<Context>, _) = ((0..4).map(|_| scene.rig.another()).collect(), order::job("reconcile-seats").unwrap());
    for came in join_all(workers.iter().map(|context| perform(context, job, None, Map::new()))).await {
        let Outcome::Done(counts) = came.unwrap() else { panic!("by hand it is always done") };
        assert!(counts.iter().all(|(_, count)| count <= 1), "{counts}");
    }
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), []);
    scene.everybody_sits(1).await;

    assert!(matches!(scene.rig.run("reconcile-seats", Some("slot")).await.unwrap(), Outcome::Done(_)));
    assert_eq!(scene.rig.run("reconcile-seats", Some("slot")).await.unwrap(), Outcome::DoneBefore);
}

#[tokio::test]
async fn a_license_with_thousands_of_seats_is_gone_through_piece_by_piece() {
    const SEATS: u32 = 3000;
    let mut scene = Scene::new().await;
    scene.customer = scene.rig.database.customer(policy(SEATS)).await;
    let insert = "INSERT INTO sessions (id, tenant_id, license_id, seat, holder, hardware_id, user_email, started_at, expires_at)
                  SELECT gen_random_uuid(), $1, $2, n, decode(md5(n::text), 'hex'), n::text, 'u@test.example', $3::timestamptz, $3::timestamptz + interval '5 minutes'
                  FROM generate_series(1, 2999) n";
    let (tenant, license) = (scene.customer.tenant.as_uuid(), scene.customer.license.as_uuid());
    scene.rig.owner.execute(insert, &[&tenant, &license, &scene.rig.clock.now()]).await.unwrap();
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), [("forgotten", 1)]);
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), []);
    let some: Vec<Vec<u8>> =
        redis::cmd("HRANDFIELD").arg(key(&scene.customer, "sessions")).arg(40).query_async(&mut scene.redis).await.unwrap();
    let some: Vec<&[u8]> = some.iter().map(Vec::as_slice).collect();
    scene.redis("HDEL", "sessions", &some).await;
    assert_eq!(drift(&scene.rig.rehearse("reconcile-seats").await), [("missing", 40), ("index", 1)]);
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), [("missing", 40), ("index", 1)]);
    assert_eq!(drift(&scene.rig.counts("reconcile-seats").await), []);
    let last = scene.rig.seat(&scene.customer, "the-last").await;
    assert_eq!(last.number.get(), SEATS);
    assert!(matches!(scene.rig.acquire(&scene.customer, "one-more").await, Acquired::Full { .. }));
}

#[tokio::test]
async fn on_a_cluster_it_is_the_same() {
    let rig = Rig::on(cluster_settings()).await;
    let customer = rig.database.customer(policy(1)).await;
    let seat = rig.seat(&customer, "one").await;
    rig.clock.advance(Duration::from_secs(30));
    assert_eq!(drift(&rig.counts("reconcile-seats").await), []);
    rig.owner.batch_execute("UPDATE licenses SET version = version + 1, updated_at = now() - interval '1 minute'").await.unwrap();
    rig.owner.batch_execute("UPDATE sessions SET ended_at = started_at, ended_reason = 'revoked'").await.unwrap();
    assert_eq!(drift(&rig.counts("reconcile-seats").await), [("ended", 1), ("policy", 1)]);
    assert_eq!(drift(&rig.counts("reconcile-seats").await), []);
    assert!(matches!(rig.context.engine.heartbeat(seat.session).await.unwrap().outcome(), Some(Heartbeat::Ended(_))));
}

/// Comes, beats and goes until it is told to stop; is never told that a seat it has is gone. Counts the seats that it was given.
async fn client(context: Context, customer: Arc<Customer>, device: String, stop: Arc<AtomicBool>, granted: Arc<AtomicU64>) {
    while !stop.load(Ordering::SeqCst) {
        if let Acquired::Granted(seat) | Acquired::Shared(seat) = acquire(&context, &customer, &device).await {
            granted.fetch_add(1, Ordering::SeqCst);
            for _ in 0..4 {
                tokio::time::sleep(Duration::from_millis(7)).await;
                let beat = context.engine.heartbeat(seat.session).await.unwrap().outcome().unwrap();
                assert!(matches!(beat, Heartbeat::Renewed(_)), "{device} was thrown out: {beat:?}");
            }
            context.engine.release(seat.session).await.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn beside_live_traffic_nothing_is_found_and_with_a_vandal_nobody_is_thrown_out() {
    let rig = Rig::new().await;
    let (customer, stop) = (Arc::new(rig.database.customer(policy(4)).await), Arc::new(AtomicBool::new(false)));
    let contexts: Vec<Context> = (0..3).map(|_| elsewhere(rig.database.url())).collect();
    rig.owner.batch_execute("UPDATE licenses SET updated_at = now() - interval '1 hour'").await.unwrap();
    let granted = Arc::new(AtomicU64::new(0));
    let come =
        |n: usize| client(contexts[n % 3].clone(), Arc::clone(&customer), format!("device-{n}"), Arc::clone(&stop), Arc::clone(&granted));
    let clients: Vec<_> = (0..6).map(|n| tokio::spawn(come(n))).collect();
    let job = order::job("reconcile-seats").unwrap();
    let look = async || {
        let both = join_all(contexts[..2].iter().map(|context| perform(context, job, None, Map::new()))).await;
        both.into_iter()
            .flat_map(|came| if let Outcome::Done(counts) = came.unwrap() { drift(&counts) } else { vec![] })
            .collect::<Vec<_>>()
    };
    let seats = async || granted.load(Ordering::SeqCst);
    let (mut looks, before) = (0, seats().await);
    eventually("twenty looks and seats", async || {
        assert_eq!(look().await, []);
        looks += 1;
        looks >= 20 && seats().await >= before + 20
    })
    .await;

    let (mut redis, mut found, before) = (vandal::connection().await, Vec::new(), seats().await);
    eventually("the vandal is found out, and seats are given", async || {
        for name in ["sessions", "holders"] {
            let field: Option<Vec<u8>> = redis::cmd("HRANDFIELD").arg(key(&customer, name)).query_async(&mut redis).await.unwrap();
            if let Some(field) = field {
                redis::cmd("HDEL").arg(key(&customer, name)).arg(field).exec_async(&mut redis).await.unwrap();
            }
        }
        redis::cmd("SETBIT").arg(key(&customer, "taken")).arg(1).arg(1).exec_async(&mut redis).await.unwrap();
        found.extend(look().await);
        let open = rig.number("SELECT count(*) FROM sessions WHERE ended_at IS NULL").await;
        assert!(open <= 4, "{open} sessions on four seats");
        found.iter().any(|(name, _)| *name == "index") && seats().await >= before + 20
    })
    .await;
    stop.store(true, Ordering::SeqCst);
    join_all(clients).await.into_iter().for_each(Result::unwrap);
    look().await;
    assert_eq!(look().await, []);
}
