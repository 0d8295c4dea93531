//! A server that fails, and what is asked again.

use platform::signing::{RootError, RootSigner};

use crate::server::{Server, Turn};

#[tokio::test]
async fn an_overloaded_server_is_asked_again() {
    for failure in [Turn::Fails(429, "RESOURCE_EXHAUSTED"), Turn::Fails(503, "UNAVAILABLE"), Turn::Page(429), Turn::Page(503)] {
        let server = Server::signing(&[failure, Turn::Answers]).await;
        server.root().sign(b"a license").await.unwrap();
        assert_eq!(server.signatures_asked(), 2);

        let server = Server::publishing(&[failure, failure, Turn::Answers]).await;
        server.root().sign(b"a license").await.unwrap();
        assert_eq!((server.keys_asked(), server.signatures_asked()), (3, 1));
    }
}

#[tokio::test]
async fn an_answer_that_is_cut_off_is_asked_for_again() {
    let server = Server::signing(&[Turn::CutsOff, Turn::Answers]).await;
    server.root().sign(b"a license").await.unwrap();
    assert_eq!(server.signatures_asked(), 2);

    let server = Server::publishing(&[Turn::CutsOff, Turn::Answers]).await;
    server.root().sign(b"a license").await.unwrap();
    assert_eq!((server.keys_asked(), server.signatures_asked()), (2, 1));
}

#[tokio::test]
async fn a_refusal_is_final() {
    for (code, status) in
        [(403, "PERMISSION_DENIED"), (404, "NOT_FOUND"), (401, "UNAUTHENTICATED"), (400, "FAILED_PRECONDITION"), (501, "UNIMPLEMENTED")]
    {
        let server = Server::signing(&[Turn::Fails(code, status), Turn::Answers]).await;
        match server.root().sign(b"a license").await {
            Err(RootError::Refused(why)) => assert!(why.contains(status), "{why}"),
            other => panic!("{other:?}"),
        }
        assert_eq!(server.signatures_asked(), 1, "{status}");
    }
    let server = Server::signing(&[Turn::Page(403), Turn::Answers]).await;
    assert!(matches!(server.root().sign(b"a license").await, Err(RootError::Refused(_))));
    assert_eq!(server.signatures_asked(), 1);
}

#[tokio::test]
async fn a_failure_that_may_pass_is_unavailable_and_left_to_the_caller() {
    for failure in [Turn::Fails(500, "INTERNAL"), Turn::Fails(504, "DEADLINE_EXCEEDED"), Turn::Page(502)] {
        let server = Server::signing(&[failure, Turn::Answers]).await;
        let root = server.root();
        assert!(matches!(root.sign(b"a license").await, Err(RootError::Unavailable(_))));
        assert_eq!(server.signatures_asked(), 1);
        root.sign(b"a license").await.unwrap();
    }
}
