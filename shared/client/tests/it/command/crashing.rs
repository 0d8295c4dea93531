//! Commands that are killed, lose the answer, or run at once: no session is left that nothing frees.

use std::time::Duration;

use tokio::task::JoinSet;

use super::{Machine, done};
use crate::peer::{Fault, problem, wait_until};

const NEVER: Duration = Duration::from_secs(3600);

/// A machine on which an acquire took a session and was killed before its answer came.
async fn after_killed(arguments: &[&str]) -> Machine {
    let machine = Machine::start(360).await;
    machine.peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    machine.peer.fault("acquire", [Fault::Slow(NEVER)]);
    let mut killed = machine.seat(arguments).spawn().unwrap();
    wait_until("an acquire", || !machine.peer.calls("acquire").is_empty()).await;
    killed.kill().await.unwrap();
    assert_eq!(machine.peer.alive(), 1, "nobody knows its session");
    machine
}

/// The second acquire was the first once more.
fn assert_repeated(machine: &Machine) {
    let calls = machine.peer.calls("acquire");
    assert_eq!((&calls[0].idempotency_key, &calls[0].body), (&calls[1].idempotency_key, &calls[1].body));
    assert_eq!(machine.peer.platform(|platform| platform.sessions.len()), 1);
}

#[tokio::test]
async fn acquire_after_a_killed_acquire_takes_its_session_over() {
    let machine = after_killed(&["acquire"]).await;
    assert_eq!(machine.done(["acquire"]).await.code, 0);
    assert_repeated(&machine);
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "released");
    assert_eq!(machine.peer.alive(), 0);
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "nothing_to_release");
}

#[tokio::test]
async fn release_after_a_killed_acquire_frees_its_session() {
    let machine = after_killed(&["acquire"]).await;
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "released");
    assert_repeated(&machine);
    assert_eq!(machine.peer.alive(), 0);
    machine.done(["release"]).await;
    assert_eq!(machine.peer.calls("acquire").len(), 2, "that is settled");
}

#[tokio::test]
async fn run_after_a_killed_run_takes_its_session_over() {
    let machine = after_killed(&["run", "--", "true"]).await;
    assert_eq!(machine.done(["run", "--", "true"]).await.code, 0);
    assert_repeated(&machine);
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn release_after_a_lost_answer_frees_the_session() {
    let machine = Machine::start(360).await;
    machine.peer.fault("acquire", (0..50).map(|_| Fault::LoseAnswer));
    assert_eq!(machine.done(["acquire", "--patience", "1"]).await.code, 122);
    assert_eq!(machine.peer.alive(), 1);
    machine.peer.no_more_faults();
    machine.done(["release"]).await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn acquire_that_took_nothing_is_not_repeated() {
    let machine = Machine::start(360).await;
    machine.peer.fault("acquire", [Fault::Say(problem(403, "license_suspended"), None)]);
    assert_eq!(machine.done(["acquire"]).await.code, 121);
    machine.peer.fault("acquire", [Fault::Say(problem(429, "too_many_requests"), Some(3600))]);
    assert_eq!(machine.done(["acquire"]).await.code, 122);
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "nothing_to_release");
    assert_eq!(machine.peer.calls("acquire").len(), 2);
}

#[tokio::test]
async fn acquires_killed_at_any_moment_leave_nothing_to_the_next_release() {
    let machine = Machine::start(360).await;
    for round in 0..20 {
        let mut killed = machine.seat(["acquire"]).spawn().unwrap();
        tokio::time::sleep(Duration::from_millis(round * 10)).await;
        killed.kill().await.unwrap();
    }
    assert_eq!(machine.done(["acquire"]).await.code, 0);
    assert_eq!(machine.done(["release"]).await.code, 0);
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn acquires_at_once_leave_nothing_after_one_release() {
    let machine = Machine::start(360).await;
    let mut at_once = JoinSet::new();
    for _ in 0..10 {
        let mut command = machine.seat(["acquire", "--patience", "300"]);
        at_once.spawn(async move { done(&mut command).await.code });
    }
    assert!(at_once.join_all().await.iter().all(|code| *code == 0));
    assert_eq!(machine.peer.alive(), 1);
    machine.done(["release"]).await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn session_replaced_while_release_is_down_is_released_later() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    machine.peer.platform(|platform| platform.is_release_down = true);
    assert_eq!(machine.done(["acquire", "--patience", "1"]).await.code, 0);
    assert_eq!(machine.peer.alive(), 2);
    machine.peer.platform(|platform| platform.is_release_down = false);
    machine.done(["release"]).await;
    assert_eq!(machine.peer.alive(), 0);
}
