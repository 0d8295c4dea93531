//! Several programs on one device. Each has a session of its own; older platforms give them one, which the last one out releases.

use std::path::Path;

use coditect_license::{Client, Released};

use crate::peer::{Peer, wait_until};

fn client(peer: &Peer, folder: &Path) -> Client {
    peer.builder().state(folder.join("state.json")).build().unwrap()
}

#[tokio::test]
async fn whoever_leaves_first_does_not_take_the_seat_from_the_other() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.is_old = true);
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (client(&peer, folder.path()), client(&peer, folder.path()));
    let (first, second) = (first.acquire().await.unwrap(), second.acquire().await.unwrap());
    assert_eq!(first.session_id(), second.session_id());
    first.release().await.unwrap();
    assert_eq!((peer.alive(), peer.calls("release").len()), (1, 0));
    second.release().await.unwrap();
    assert_eq!((peer.alive(), peer.calls("release").len()), (0, 1));
}

#[tokio::test]
async fn dropping_respects_the_others_too() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.is_old = true);
    let folder = tempfile::tempdir().unwrap();
    let client = client(&peer, folder.path());
    let (first, second) = (client.acquire().await.unwrap(), client.acquire().await.unwrap());
    let third = client.acquire().await.unwrap();
    drop(first);
    drop(second);
    drop(third);
    wait_until("the seat is free", || peer.alive() == 0).await;
    assert_eq!(peer.calls("release").len(), 1);
}

#[tokio::test]
async fn those_who_leave_at_once_leave_nobody_on_the_seat() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&peer, folder.path());
    for round in 0..10 {
        peer.platform(|platform| platform.is_old = round % 2 == 0);
        let mut seats = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let client = client.clone();
            seats.spawn(async move { client.acquire().await.unwrap().release().await.unwrap() });
        }
        seats.join_all().await;
        assert_eq!(peer.alive(), 0);
    }
}

#[tokio::test]
async fn where_each_process_has_a_seat_each_gives_its_own_back() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.license["seat_unit"] = "process".into());
    let folder = tempfile::tempdir().unwrap();
    let client = client(&peer, folder.path());
    let (first, second) = (client.acquire().await.unwrap(), client.acquire().await.unwrap());
    assert_ne!(first.session_id(), second.session_id());
    first.release().await.unwrap();
    assert_eq!(peer.alive(), 1);
    second.release().await.unwrap();
    assert_eq!(peer.alive(), 0);
}

#[tokio::test]
async fn a_seat_that_is_lost_keeps_nobody_else_from_giving_theirs_back() {
    let peer = Peer::beating().await;
    let folder = tempfile::tempdir().unwrap();
    let client = client(&peer, folder.path());
    let lost = client.acquire().await.unwrap();
    peer.platform(|platform| platform.end_all("session_revoked"));
    super::status(&mut lost.status(), super::is_lost).await;
    client.acquire().await.unwrap().release().await.unwrap();
    assert_eq!(peer.alive(), 0);
    drop(lost);
}

#[tokio::test]
async fn a_saved_session_is_not_released_from_under_somebody() {
    let peer = Peer::start(360).await;
    peer.platform(|platform| platform.is_old = true);
    let folder = tempfile::tempdir().unwrap();
    let client = client(&peer, folder.path());
    let saved = client.acquire().await.unwrap().detach().await;
    let seat = client.acquire().await.unwrap();
    assert_eq!(client.release(&saved).await.unwrap(), Released::InUse);
    assert_eq!(peer.alive(), 1);
    seat.release().await.unwrap();
    assert_eq!(peer.alive(), 0);
}

#[tokio::test]
async fn programs_of_one_device_share_a_seat_and_release_only_their_own_session() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let (first, second) = (client(&peer, folder.path()), client(&peer, folder.path()));
    let (first, second) = (first.acquire().await.unwrap(), second.acquire().await.unwrap());
    assert_ne!(first.session_id(), second.session_id());
    assert_eq!(peer.platform(|platform| platform.seats_used()), 1);
    assert_eq!(peer.calls("acquire")[1].body.get("replaces"), None, "the first one runs");
    assert_eq!(first.release().await.unwrap(), Released::Released);
    assert!(peer.platform(|platform| platform.lives(second.session_id())));
    second.release().await.unwrap();
    assert_eq!(peer.alive(), 0);
}

#[tokio::test]
async fn users_of_one_device_with_states_of_their_own_do_not_end_each_other() {
    let peer = Peer::start(360).await;
    let homes = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let seats = [client(&peer, homes[0].path()).acquire().await.unwrap(), client(&peer, homes[1].path()).acquire().await.unwrap()];
    let [first, second] = seats;
    first.release().await.unwrap();
    assert!(peer.platform(|platform| platform.lives(second.session_id())));
    second.release().await.unwrap();
}

#[tokio::test]
async fn session_of_a_dead_program_is_replaced_and_of_a_live_one_is_not() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let alive = client(&peer, folder.path()).acquire().await.unwrap();
    // A program that dies: its runtime is gone before it could release anything, and with it the locks.
    let dead = {
        let client = client(&peer, folder.path());
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let seat = runtime.block_on(client.acquire()).unwrap();
            let id = seat.session_id().to_owned();
            // With it goes the task that would release the seat.
            drop(runtime);
            drop(seat);
            id
        })
        .await
        .unwrap()
    };
    assert_eq!(peer.alive(), 2);
    let again = client(&peer, folder.path()).acquire().await.unwrap();
    assert_eq!(peer.calls("acquire")[2].body["replaces"], *dead);
    peer.platform(|platform| assert!(!platform.lives(&dead) && platform.lives(alive.session_id())));
    assert_eq!(peer.alive(), 2);
    drop((alive, again));
}

#[tokio::test]
async fn session_saved_by_a_program_that_died_before_detach_is_not_replaced() {
    let peer = Peer::start(360).await;
    let folder = tempfile::tempdir().unwrap();
    let saved = {
        let client = client(&peer, folder.path());
        tokio::task::spawn_blocking(move || {
            let runtime = tokio::runtime::Runtime::new().unwrap();
            let seat = runtime.block_on(client.acquire()).unwrap();
            let saved = seat.saved();
            drop(runtime);
            saved
        })
        .await
        .unwrap()
    };
    let next = client(&peer, folder.path());
    next.keep(&saved);
    let _seat = next.acquire().await.unwrap();
    assert_eq!(peer.calls("acquire")[1].body.get("replaces"), None);
    assert!(peer.platform(|platform| platform.lives(saved.session_id())));
}
