//! Proving a seat with the network cut.

use std::{
    fs,
    path::Path,
    sync::{Arc, Mutex},
    time::{Duration, SystemTime},
};

use coditect_license::{Client, Error, Seat};

use crate::peer::{Peer, now, seconds};

/// A client whose clock the test turns.
fn client_at(peer: &Peer, folder: &Path, clock: &Arc<Mutex<SystemTime>>) -> Client {
    patient_client_at(peer, folder, clock, Duration::from_secs(120))
}

fn patient_client_at(peer: &Peer, folder: &Path, clock: &Arc<Mutex<SystemTime>>, patience: Duration) -> Client {
    let clock = Arc::clone(clock);
    let builder = peer.builder().state(folder.join("state.json")).patience(patience);
    builder.wall_clock(move || *clock.lock().unwrap()).build().unwrap()
}

/// A process that ends without a word.
async fn kill(seat: Seat) {
    seat.detach().await;
}

#[tokio::test]
async fn a_restarted_program_proves_its_seat_until_the_lease_ends() {
    let peer = Peer::start(360).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(now())));
    let seat = client_at(&peer, folder.path(), &clock).acquire().await.unwrap();
    let lease = seat.lease();
    kill(seat).await;
    peer.stop();

    let client = patient_client_at(&peer, folder.path(), &clock, Duration::from_millis(300));
    let offline = client.verify_offline().unwrap();
    assert_eq!((&offline.lease, offline.license.license_id.as_str(), seconds(offline.until)), (&lease, "lic_1", lease.exp));
    let error = client.acquire().await.unwrap_err();
    assert!(matches!(error, Error::OfflineButValid { until, .. } if until == offline.until), "{error}");

    *clock.lock().unwrap() += Duration::from_secs(360);
    let error = client.verify_offline().unwrap_err();
    assert!(matches!(error, Error::LeaseEnded { at } if at == offline.until), "{error}");
    assert_eq!(client.acquire().await.unwrap_err().code(), "unreachable");
}

#[tokio::test]
async fn a_clock_turned_back_proves_nothing() {
    let peer = Peer::start(360).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(now())));
    kill(client_at(&peer, folder.path(), &clock).acquire().await.unwrap()).await;
    *clock.lock().unwrap() += Duration::from_secs(300);
    client_at(&peer, folder.path(), &clock).verify_offline().unwrap();
    *clock.lock().unwrap() -= Duration::from_secs(200);
    let error = client_at(&peer, folder.path(), &clock).verify_offline().unwrap_err();
    assert!(matches!(error, Error::ClockTurnedBack(turned) if (199..=200).contains(&turned.behind.as_secs())), "{error}");
}

#[tokio::test]
async fn a_license_that_has_run_out_meanwhile_says_so() {
    let peer = Peer::start(360).await;
    let soon = coditect_license::rfc3339(now() + Duration::from_secs(100));
    peer.platform(|platform| platform.license["expires_at"] = soon.into());
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(now())));
    let client = client_at(&peer, folder.path(), &clock);
    let seat = client.acquire().await.unwrap();
    let until = client.verify_offline().unwrap().until;
    assert!(seconds(until) < seat.lease().exp, "the license ends before the lease");
    *clock.lock().unwrap() += Duration::from_secs(101);
    assert!(matches!(client.verify_offline().unwrap_err(), Error::Expired));
}

#[tokio::test]
async fn what_was_given_back_proves_nothing() {
    let peer = Peer::start(360).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(now())));
    let client = client_at(&peer, folder.path(), &clock);
    assert!(matches!(client.verify_offline().unwrap_err(), Error::NothingKept), "before anything was taken");
    client.acquire().await.unwrap().release().await.unwrap();
    assert!(matches!(client.verify_offline().unwrap_err(), Error::NothingKept));
    assert!(matches!(peer.client().verify_offline().unwrap_err(), Error::NothingKept), "without a state file");
}

#[tokio::test]
async fn another_machines_state_proves_nothing() {
    let peer = Peer::start(360).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(now())));
    kill(client_at(&peer, folder.path(), &clock).acquire().await.unwrap()).await;
    let other = peer.builder().hardware_id("device-2").state(folder.path().join("state.json")).build().unwrap();
    assert!(matches!(other.verify_offline().unwrap_err(), Error::NothingKept));
}

#[tokio::test]
async fn a_state_file_that_was_changed_proves_nothing() {
    let peer = Peer::start(360).await;
    let (folder, clock) = (tempfile::tempdir().unwrap(), Arc::new(Mutex::new(now())));
    let seat = client_at(&peer, folder.path(), &clock).acquire().await.unwrap();
    let (header_and_claims, _) = seat.lease_token().rsplit_once('.').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    kill(seat).await;
    let path = folder.path().join("state.json");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, text.replace(&header_and_claims, &header_and_claims.replacen("ey", "eyJ", 1))).unwrap();
    assert_eq!(client_at(&peer, folder.path(), &clock).verify_offline().unwrap_err().code(), "forged");
}
