//! A server that does not come back in time: whoever asks is answered although the server never is. No time is judged.

use std::time::Duration;

use kms::KmsRoot;
use platform::signing::{RootError, RootSigner};
use testkit::must_complete;
use tokio::net::TcpListener;

use crate::server::{Server, Turn, root_at};

/// One attempt takes two fifths of it at the most, which is enough for a slow machine.
const DEADLINE: Duration = Duration::from_secs(8);

/// Signs. That there is an outcome means that the deadline is kept.
async fn sign_in_time(root: &KmsRoot) -> Result<Vec<u8>, RootError> {
    must_complete("an outcome", root.sign(b"a license")).await
}

#[track_caller]
fn unavailable<T: std::fmt::Debug>(outcome: Result<T, RootError>) -> String {
    match outcome {
        Err(RootError::Unavailable(why)) => why,
        other => panic!("{other:?}"),
    }
}

/// A signer that knows the public key already: making a client takes long in a debug build, and is not what is timed.
async fn signer(turns: &[Turn]) -> (Server, KmsRoot) {
    let server = Server::signing(turns).await;
    let root = server.root_within(DEADLINE);
    root.public_key().await.unwrap();
    (server, root)
}

/// A signer that has asked for the public key once, without success.
async fn signer_without_key(turns: &[Turn]) -> (Server, KmsRoot) {
    let mut all = vec![Turn::Fails(403, "PERMISSION_DENIED")];
    all.extend(turns);
    let server = Server::publishing(&all).await;
    let root = server.root_within(DEADLINE);
    root.public_key().await.unwrap_err();
    (server, root)
}

#[tokio::test]
async fn a_server_that_stays_overloaded_is_unavailable_by_the_deadline() {
    for (code, status) in [(503, "UNAVAILABLE"), (429, "RESOURCE_EXHAUSTED")] {
        let (server, root) = signer(&[Turn::Fails(code, status)]).await;
        let said = unavailable(sign_in_time(&root).await);
        assert!(said.contains(status), "{said}");
        let asked = server.signatures_asked();
        assert!((3..100).contains(&asked), "{asked}");
    }
}

#[tokio::test]
async fn a_server_that_never_signs_is_unavailable_by_the_deadline() {
    let (server, root) = signer(&[Turn::Hangs]).await;
    unavailable(sign_in_time(&root).await);
    assert!(server.signatures_asked() >= 2);
}

#[tokio::test]
async fn a_server_that_never_tells_the_public_key_is_unavailable_by_the_deadline() {
    let (server, root) = signer_without_key(&[Turn::Hangs]).await;
    // The second waits for the first's question, and not beyond its own deadline.
    let (first, second) = tokio::join!(sign_in_time(&root), sign_in_time(&root));
    unavailable(first);
    unavailable(second);
    assert!(server.keys_asked() >= 3);
}

#[tokio::test]
async fn one_attempt_that_hangs_leaves_time_for_another() {
    let (server, root) = signer(&[Turn::Hangs, Turn::Answers]).await;
    sign_in_time(&root).await.unwrap();
    assert_eq!(server.signatures_asked(), 2);
}

#[tokio::test]
async fn a_server_that_always_cuts_off_is_unavailable_by_the_deadline() {
    let (server, root) = signer(&[Turn::CutsOff]).await;
    unavailable(sign_in_time(&root).await);
    assert!(server.signatures_asked() >= 2);
}

#[tokio::test]
async fn a_server_that_is_away_is_unavailable_by_the_deadline() {
    let address = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    unavailable(sign_in_time(&root_at(&format!("http://{address}"), DEADLINE)).await);
}
