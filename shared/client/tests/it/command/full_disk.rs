//! The command where nothing can be written: a seat that lives is not ended for it, and none is told that is not there.

use std::fs;

use super::{Machine, done};

/// Files that were not finished.
fn drafts(machine: &Machine) -> Vec<String> {
    let names = fs::read_dir(machine.state_folder()).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let is_session = |name: &str| name.starts_with("session.") && !["session.json", "session.lock"].contains(&name);
    names.filter(|name| is_session(name) || name.contains(".next")).collect()
}

#[tokio::test]
async fn heartbeat_on_full_disk_renews_and_warns() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    let beat = done(&mut machine.seat_on_full_disk(["heartbeat"])).await;
    assert_eq!((beat.code, machine.peer.alive()), (0, 1), "{}", beat.stderr);
    assert!(beat.stdout.contains("renewed: seat 1"), "{}", beat.stdout);
    assert!(beat.stderr.contains("could not be written down"), "{}", beat.stderr);
    let beat = done(&mut machine.seat_on_full_disk(["heartbeat", "--json"])).await;
    assert_eq!((beat.code, beat.said()[0]["event"].as_str()), (0, Some("renewed")));
    assert!(beat.said()[0]["warning"].as_str().is_some_and(|text| text.contains("could not be written down")), "{}", beat.stdout);
    assert_eq!(machine.peer.calls("release").len(), 0);
    let beat = machine.done(["heartbeat", "--json"]).await;
    assert_eq!((beat.code, beat.said()[0].get("warning")), (0, None));
    machine.done(["release"]).await;
    assert_eq!(machine.peer.alive(), 0);
}

#[tokio::test]
async fn second_acquire_on_full_disk_leaves_the_first_seat() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    let first = machine.peer.platform(|platform| platform.sessions[0].id.clone());
    let second = done(&mut machine.seat_on_full_disk(["acquire"])).await;
    assert_eq!(second.code, 125, "{}", second.stderr);
    assert_eq!(machine.peer.platform(|platform| (platform.lives(&first), platform.alive())), (true, 1));
    assert_eq!(drafts(&machine), Vec::<String>::new());
    assert_eq!(machine.done(["status"]).await.code, 0);
    assert_eq!(machine.done(["heartbeat", "--json"]).await.said()[0]["event"], "renewed");
    assert_eq!(machine.peer.calls("heartbeat")[0].body["session_id"], *first);
}

#[tokio::test]
async fn second_acquire_of_the_same_session_on_full_disk_keeps_it() {
    let machine = Machine::start(360).await;
    machine.peer.platform(|platform| platform.is_old = true);
    machine.done(["acquire"]).await;
    let second = done(&mut machine.seat_on_full_disk(["acquire"])).await;
    assert_eq!((second.code, machine.peer.alive(), machine.peer.calls("release").len()), (0, 1, 0), "{}", second.stderr);
    assert!(second.stderr.contains("could not be written down"), "{}", second.stderr);
    assert_eq!(machine.done(["heartbeat", "--json"]).await.said()[0]["event"], "renewed");
}

#[tokio::test]
async fn first_acquire_on_full_disk_leaves_no_session_and_no_file() {
    let machine = Machine::start(360).await;
    let first = done(&mut machine.seat_on_full_disk(["acquire"])).await;
    assert_eq!((first.code, machine.peer.alive()), (125, 0), "{}", first.stderr);
    assert_eq!(drafts(&machine), Vec::<String>::new());
    assert_eq!(machine.done(["status"]).await.code, 124);
    assert_eq!(machine.done(["release", "--json"]).await.said()[0]["event"], "nothing_to_release");
}

#[tokio::test]
async fn status_after_release_on_full_disk_is_not_held() {
    let machine = Machine::start(360).await;
    machine.done(["acquire"]).await;
    let released = done(&mut machine.seat_on_full_disk(["release"])).await;
    assert_eq!((released.code, machine.peer.alive()), (0, 0), "{}", released.stderr);
    assert_eq!(machine.done(["status"]).await.code, 124);
    assert_eq!(machine.done(["acquire"]).await.code, 0);
    assert_eq!(machine.done(["status"]).await.code, 0);
    machine.done(["release"]).await;
    assert_eq!(machine.done(["status"]).await.code, 124, "nor is what the first release could not forget");
}

#[tokio::test]
async fn run_on_full_disk_takes_a_seat_and_releases_it() {
    let machine = Machine::start(360).await;
    let run = done(&mut machine.seat_on_full_disk(["run", "--", "sh", "-c", "exit 3"])).await;
    assert_eq!((run.code, machine.peer.alive(), machine.peer.calls("release").len()), (3, 0, 1), "{}", run.stderr);
}
