//! `seat run` when the seat or the platform goes away.

use std::time::{Duration, Instant};

use coditect_license::Seat;

use super::{Machine, Running};
use crate::peer::wait_until;

#[tokio::test]
async fn a_platform_that_goes_and_comes_back_does_not_disturb_the_program() {
    let mut machine = Machine::beating().await;
    let mut running = machine.run(&[], &format!("echo ready; {}; exit 4", machine.gate()));
    running.prints("ready").await;
    machine.peer.stop();
    running.says("cannot be reached").await;
    machine.peer.start_again().await;
    running.says("held again").await;
    machine.open_gate();
    assert_eq!((running.ends().await, machine.peer.alive()), (Some(4), 0));
}

#[tokio::test]
async fn a_platform_that_stays_away_ends_the_program_when_the_seat_ends() {
    let machine = Machine::fleeting().await;
    let begun = Instant::now();
    let mut running = machine.run(&["--json"], "echo ready; exec sleep 300");
    running.prints("ready").await;
    machine.peer.stop();
    for event in ["in_danger", "lost", "terminating"] {
        running.says(&format!(r#""event":"{event}""#)).await;
    }
    assert_eq!(running.ends().await, Some(124));
    assert!(begun.elapsed() >= Duration::from_millis(9900), "not before the seat has ended: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_program_that_only_wants_to_be_warned_runs_on() {
    let machine = Machine::beating().await;
    let mut running = machine.run(&["--on-lost", "warn"], &format!("echo ready; {}; exit 5", machine.gate()));
    running.prints("ready").await;
    machine.peer.platform(|platform| platform.end_all("session_revoked"));
    running.says("the seat is lost: the session was revoked").await;
    machine.open_gate();
    assert_eq!(running.ends().await, Some(5));
    assert_eq!(machine.peer.calls("release").len(), 0);
}

#[tokio::test]
async fn a_program_that_does_not_end_is_killed() {
    let machine = Machine::beating().await;
    let mut running = machine.run(&["--grace", "1"], "trap '' TERM; echo ready; while :; do sleep 0.05; done");
    running.prints("ready").await;
    machine.peer.platform(|platform| platform.end_all("session_revoked"));
    running.says("SIGKILL").await;
    assert_eq!(running.ends().await, Some(124));
}

#[tokio::test]
async fn a_program_on_a_suspended_license_has_ended_when_it_must() {
    let machine = Machine::fleeting().await;
    let script = format!("trap 'echo saving; {}; exit 0' TERM; echo ready; while :; do sleep 0.05; done", machine.gate());
    let mut running = machine.run(&["--grace", "7"], &script);
    running.prints("ready").await;
    machine.peer.platform(|platform| platform.refused = Some("license_suspended"));
    running.says("the license is suspended: stop by").await;
    running.prints("saving").await;
    assert_eq!(machine.peer.alive(), 1, "there was time left");
    machine.open_gate();
    assert_eq!(running.ends().await, Some(124));
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn a_license_that_is_reinstated_in_time_spares_the_program() {
    let machine = Machine::beating().await;
    let mut running = machine.run(&["--grace", "1"], &format!("echo ready; {}; exit 6", machine.gate()));
    running.prints("ready").await;
    machine.peer.platform(|platform| platform.refused = Some("license_suspended"));
    running.says("stop by").await;
    machine.peer.platform(|platform| platform.refused = None);
    running.says("held again").await;
    machine.open_gate();
    assert_eq!(running.ends().await, Some(6));
}

#[tokio::test]
async fn a_seat_that_cannot_be_given_back_does_not_change_the_exit_code() {
    let machine = Machine::start(360).await;
    let mut running = machine.run(&[], &format!("echo ready; {}; exit 8", machine.gate()));
    running.prints("ready").await;
    machine.peer.stop();
    machine.open_gate();
    running.says("could not be given back").await;
    assert_eq!(running.ends().await, Some(8));
}

#[tokio::test]
async fn run_that_was_suspended_beyond_the_ttl_takes_a_seat_again() {
    let machine = Machine::fleeting().await;
    let mut running = machine.run(&[], "echo ready; read line; exit 9");
    let mut input = running.child.stdin.take();
    running.prints("ready").await;
    running.signal("STOP").await;
    wait_until("the session has expired", || machine.peer.alive() == 0).await;
    running.signal("CONT").await;
    running.says("was taken instead").await;
    assert_eq!(machine.peer.alive(), 1);
    drop(input.take());
    running.says("the seat is given back").await;
    assert_eq!((running.ends().await, machine.peer.alive()), (Some(9), 0));
}

/// Once the program is ready, `seat run` is stopped until its session has expired, and goes on when another device has the seat.
async fn the_seat_goes_to_another(machine: &Machine, running: &mut Running) -> Seat {
    running.prints("ready").await;
    running.signal("STOP").await;
    wait_until("the session has expired", || machine.peer.alive() == 0).await;
    let other = machine.peer.builder().hardware_id("device-2").build().unwrap().acquire().await.unwrap();
    running.signal("CONT").await;
    other
}

#[tokio::test]
async fn run_that_was_suspended_and_finds_no_seat_is_told_why_and_releases_nothing() {
    let machine = Machine::fleeting().await;
    machine.peer.platform(|platform| platform.license["seats_total"] = 1.into());
    let mut running = machine.run(&["--json"], "echo ready; exec sleep 300");
    let other = the_seat_goes_to_another(&machine, &mut running).await;
    running.says("no seat could be taken again: every seat is taken").await;
    running.says(r#""event":"nothing_to_release""#).await;
    assert_eq!(running.ends().await, Some(124));
    assert!(machine.peer.calls("release").is_empty());
    drop(other);
}

#[tokio::test]
async fn run_that_only_warns_goes_on_trying_until_a_seat_is_free() {
    let machine = Machine::fleeting().await;
    machine.peer.platform(|platform| platform.license["seats_total"] = 1.into());
    let mut running = machine.run(&["--on-lost", "warn"], "echo ready; read line; exit 5");
    let mut input = running.child.stdin.take();
    let other = the_seat_goes_to_another(&machine, &mut running).await;
    running.says("the program runs on, and a seat is asked for again until there is one").await;
    other.release().await.unwrap();
    running.says("was taken instead").await;
    drop(input.take());
    running.says("the seat is given back").await;
    assert_eq!((running.ends().await, machine.peer.alive()), (Some(5), 0));
}

#[tokio::test]
async fn run_that_ends_the_program_says_to_start_it_again() {
    let machine = Machine::fleeting().await;
    machine.peer.platform(|platform| platform.license["seats_total"] = 1.into());
    let mut running = machine.run(&[], "echo ready; exec sleep 300");
    let _other = the_seat_goes_to_another(&machine, &mut running).await;
    running.says("Start the program again once that is mended").await;
    assert_eq!(running.ends().await, Some(124));
}

#[tokio::test]
async fn run_whose_session_had_ended_does_not_say_that_it_was_released() {
    let machine = Machine::start(360).await;
    let mut running = machine.run(&["--json"], &format!("echo ready; {}; exit 5", machine.gate()));
    running.prints("ready").await;
    machine.peer.platform(|platform| platform.end_all("session_expired"));
    machine.open_gate();
    running.says(r#""event":"nothing_to_release""#).await;
    assert_eq!(running.ends().await, Some(5));
}
