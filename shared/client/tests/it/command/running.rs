//! `seat run` as long as all goes well.

use std::fs;

use super::{Machine, bare, done, kill};
use crate::peer::{Fault, KEY, problem};

#[tokio::test]
async fn the_programs_exit_code_is_the_commands() {
    let machine = Machine::start(360).await;
    for (script, code) in [("exit 0", 0), ("exit 7", 7), ("exit 255", 255), ("kill -9 $$", 137), ("kill -TERM $$", 143)] {
        let done = machine.done(["run", "--", "sh", "-c", script]).await;
        assert_eq!((done.code, machine.peer.alive()), (code, 0), "{script}: {}", done.stderr);
    }
    assert_eq!(machine.peer.calls("release").len(), 5);
}

#[tokio::test]
async fn the_program_finds_the_facts_and_no_secret_in_its_environment() {
    let machine = Machine::start(360).await;
    let done = machine.done(["run", "--", "env"]).await;
    for fact in [
        "CODITECT_SEAT=1",
        "CODITECT_LICENSE_ID=lic_1",
        "CODITECT_TENANT_ID=ten_1",
        "CODITECT_TIER=team",
        "CODITECT_FEATURES=export,sso",
        "CODITECT_SEATS_TOTAL=2",
    ] {
        assert!(done.stdout.lines().any(|line| line == fact), "{fact}: {}", done.stdout);
    }
    for secret in [KEY, "ses_secret"] {
        assert!(!done.stdout.contains(secret) && !done.stderr.contains(secret), "{} {}", done.stdout, done.stderr);
    }
}

#[tokio::test]
async fn arguments_reach_the_program_as_they_are() {
    let machine = Machine::start(360).await;
    let done = machine.done(["run", "--", "printf", "<%s>", "--json", "--", "-h", "a b", ""]).await;
    assert_eq!(done.stdout, "<--json><--><-h><a b><>");
}

#[tokio::test]
async fn what_cannot_be_run_gives_its_seat_back() {
    let machine = Machine::start(360).await;
    let plain = machine.path("plain");
    fs::write(&plain, "").unwrap();
    let done = machine.done(["run", "--", "/no/such/program"]).await;
    assert_eq!((done.code, machine.peer.alive()), (127, 0));
    assert!(done.stderr.contains("/no/such/program"), "{}", done.stderr);
    let done = machine.done(["run".as_ref(), "--".as_ref(), plain.as_os_str()]).await;
    assert_eq!((done.code, machine.peer.alive()), (126, 0));
    assert_eq!(machine.peer.calls("release").len(), 2);
}

#[tokio::test]
async fn signals_reach_the_program() {
    let machine = Machine::start(360).await;
    for signal in ["TERM", "INT", "HUP", "QUIT", "USR1", "USR2"] {
        let script = format!("trap 'echo got {signal}; exit 3' {signal}; echo ready; while :; do sleep 0.02; done");
        let mut running = machine.run(&[], &script);
        running.prints("ready").await;
        running.signal(signal).await;
        running.prints(&format!("got {signal}")).await;
        assert_eq!((running.ends().await, machine.peer.alive()), (Some(3), 0), "{signal}");
    }
}

#[tokio::test]
async fn a_program_that_dies_of_a_signal_gives_its_seat_back() {
    let machine = Machine::start(360).await;
    for (signal, code) in [("TERM", 143), ("INT", 130)] {
        let mut running = machine.run(&[], "echo ready; exec sleep 300");
        running.prints("ready").await;
        running.signal(signal).await;
        assert_eq!((running.ends().await, machine.peer.alive()), (Some(code), 0));
    }
    let pid = machine.path("pid");
    let mut running = machine.run(&[], &format!("echo $$ > {}; echo ready; exec sleep 300", pid.display()));
    running.prints("ready").await;
    kill("KILL", fs::read_to_string(pid).unwrap().trim()).await;
    assert_eq!((running.ends().await, machine.peer.alive()), (Some(137), 0));
}

#[tokio::test]
async fn a_signal_while_there_is_no_program_yet_ends_the_command() {
    let machine = Machine::start(360).await;
    machine.peer.fault("acquire", (0..50).map(|_| Fault::Say(problem(503, "service_unavailable"), None)));
    let mut running = machine.run(&[], "echo started");
    crate::peer::wait_until("an acquire", || !machine.peer.calls("acquire").is_empty()).await;
    running.signal("TERM").await;
    assert_eq!(running.ends().await, Some(143));
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn two_runs_on_one_machine_share_a_seat_and_the_last_one_gives_it_back() {
    let machine = Machine::start(360).await;
    let mut first = machine.run(&[], "echo ready; exec sleep 300");
    first.prints("ready").await;
    let mut second = machine.run(&[], "echo ready; exec sleep 300");
    second.prints("ready").await;
    assert_eq!(machine.peer.platform(|platform| (platform.alive(), platform.seats_used())), (2, 1));
    first.signal("TERM").await;
    first.ends().await;
    assert_eq!((machine.peer.alive(), machine.peer.calls("release").len()), (1, 1));
    second.signal("TERM").await;
    second.ends().await;
    assert_eq!((machine.peer.alive(), machine.peer.calls("release").len()), (0, 2));
}

#[tokio::test]
async fn a_run_that_was_killed_does_not_keep_the_seat_from_being_given_back() {
    let machine = Machine::start(360).await;
    let mut killed = machine.run(&[], "echo ready; exec sleep 1");
    killed.prints("ready").await;
    killed.signal("KILL").await;
    assert_eq!(killed.ends().await, None);
    assert_eq!(machine.done(["run", "--", "true"]).await.code, 0);
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn two_runs_share_the_session_of_an_older_platform_and_the_last_one_gives_it_back() {
    let machine = Machine::start(360).await;
    machine.peer.platform(|platform| platform.is_old = true);
    let mut first = machine.run(&[], "echo ready; exec sleep 300");
    first.prints("ready").await;
    let mut second = machine.run(&[], "echo ready; exec sleep 300");
    second.prints("ready").await;
    assert_eq!(machine.peer.platform(|platform| platform.sessions.len()), 1);
    first.signal("TERM").await;
    first.ends().await;
    assert_eq!((machine.peer.alive(), machine.peer.calls("release").len()), (1, 0));
    second.signal("TERM").await;
    second.ends().await;
    assert_eq!((machine.peer.alive(), machine.peer.calls("release").len()), (0, 1));
}

#[tokio::test]
async fn run_after_a_crash_replaces_the_dead_runs_session_and_no_other() {
    let machine = Machine::start(360).await;
    let mut alive = machine.run(&[], "echo ready; exec sleep 300");
    alive.prints("ready").await;
    let mut killed = machine.run(&[], "echo ready; exec sleep 1");
    killed.prints("ready").await;
    killed.signal("KILL").await;
    killed.ends().await;
    let dead = machine.peer.platform(|platform| platform.sessions[1].id.clone());
    let mut again = machine.run(&[], "echo ready; exec sleep 300");
    again.prints("ready").await;
    let replaces: Vec<_> = machine.peer.calls("acquire").iter().map(|call| call.body.get("replaces").cloned()).collect();
    assert_eq!(replaces, [None, None, Some(dead.into())]);
    assert_eq!(machine.peer.alive(), 2, "no zombie");
    for run in [&mut again, &mut alive] {
        run.signal("TERM").await;
        run.ends().await;
    }
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn where_each_process_has_a_seat_two_runs_have_two() {
    let machine = Machine::start(360).await;
    machine.peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    let mut first = machine.run(&[], "echo ready; exec sleep 300");
    first.prints("ready").await;
    assert_eq!(machine.done(["run", "--", "true"]).await.code, 0);
    assert_eq!((machine.peer.platform(|platform| platform.sessions.len()), machine.peer.alive()), (2, 1));
    first.signal("TERM").await;
    first.ends().await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn the_demo_file_is_found_in_a_folder_above() {
    let machine = Machine::start(360).await;
    let deep = machine.path("project/src/deep");
    fs::create_dir_all(&deep).unwrap();
    fs::create_dir_all(machine.path("project/.local")).unwrap();
    let mut demo = serde_json::json!({
        "api_url": machine.peer.url, "license_key": KEY, "license_id": "lic_1", "tenant_id": "ten_1", "seats_total": 2,
    });
    let write = |demo: &serde_json::Value| fs::write(machine.path("project/.local/demo.json"), demo.to_string()).unwrap();
    let demo_run = || {
        let mut command = bare(["run", "--demo", "--", "true"]);
        command.current_dir(&deep).env("HOME", machine.folder.path());
        command
    };
    write(&demo);
    let without_root = done(&mut demo_run()).await;
    assert_eq!(without_root.code, 125, "{}", without_root.stderr);
    demo["root_jwk"] = serde_json::from_str(&machine.peer.root()).unwrap();
    write(&demo);
    let with_root = done(&mut demo_run()).await;
    assert_eq!(with_root.code, 0, "{}", with_root.stderr);
    assert!(machine.path(".local/state/coditect").is_dir());
    assert_eq!(done(bare(["status", "--demo"]).current_dir("/")).await.code, 125);
}
