//! Answers that must not be trusted.

use platform::signing::{RootAlgorithm, RootError, RootSigner};
use serde_json::Value;

use crate::{
    answers::checksum,
    server::{Server, Turn},
};

/// What is changed in an answer, and what the signer then says.
type Case = (fn(&mut Value), &'static str);

#[track_caller]
fn refused<T: std::fmt::Debug>(outcome: Result<T, RootError>) -> String {
    match outcome {
        Err(RootError::Refused(why)) => why,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_damaged_signature_is_asked_for_three_times_then_refused() {
    let damages: [Case; 7] = [
        (|answer| answer["signatureCrc32c"] = "1".into(), "the signature does not have its checksum"),
        (|answer| answer["signatureCrc32c"] = Value::Null, "the signature does not have its checksum"),
        (|answer| answer["signature"] = "AAAA".into(), "the signature does not have its checksum"),
        (|answer| answer["verifiedDigestCrc32c"] = false.into(), "has not checked the digest"),
        (|answer| answer["verifiedDigestCrc32c"] = Value::Null, "has not checked the digest"),
        (|answer| answer["name"] = answer["name"].as_str().unwrap().replace("Versions/1", "Versions/2").into(), "another key version"),
        (|answer| answer["name"] = "".into(), "another key version"),
    ];
    for (damage, why) in damages {
        let server = Server::signing(&[Turn::Alters(damage)]).await;
        let said = refused(server.root().sign(b"a license").await);
        assert!(said.contains(why), "{said}");
        assert_eq!(server.signatures_asked(), 3, "{why}");
    }
}

#[tokio::test]
async fn a_damaged_public_key_is_asked_for_three_times_then_refused() {
    let damages: [Case; 4] = [
        (|answer| answer["pemCrc32c"] = "1".into(), "the public key does not have its checksum"),
        (|answer| answer["pemCrc32c"] = Value::Null, "the public key does not have its checksum"),
        (
            |answer| answer["pem"] = answer["pem"].as_str().unwrap().replacen('A', "B", 1).into(),
            "the public key does not have its checksum",
        ),
        (|answer| answer["name"] = answer["name"].as_str().unwrap().replace("root", "boot").into(), "another key version"),
    ];
    for (damage, why) in damages {
        let server = Server::publishing(&[Turn::Alters(damage)]).await;
        let said = refused(server.root().sign(b"a license").await);
        assert!(said.contains(why), "{said}");
        assert_eq!((server.keys_asked(), server.signatures_asked()), (3, 0), "{why}");
    }
}

#[tokio::test]
async fn damage_that_passes_does_no_harm() {
    let damaged = Turn::Alters(|answer| answer["name"] = "".into());
    let server = Server::start(RootAlgorithm::Ps256, &[damaged, Turn::Answers], &[damaged, Turn::Babbles, Turn::Answers]).await;
    server.root().sign(b"a license").await.unwrap();
    assert_eq!((server.keys_asked(), server.signatures_asked()), (2, 3));
}

#[tokio::test]
async fn a_digest_that_was_damaged_on_the_way_is_sent_again() {
    let server = Server::signing(&[Turn::Fails(400, "INVALID_ARGUMENT"), Turn::Answers]).await;
    server.root().sign(b"a license").await.unwrap();
    assert_eq!(server.signatures_asked(), 2);

    let server = Server::signing(&[Turn::Fails(400, "INVALID_ARGUMENT")]).await;
    let said = refused(server.root().sign(b"a license").await);
    assert!(said.contains("INVALID_ARGUMENT: the test says"), "{said}");
    assert_eq!(server.signatures_asked(), 3);
}

#[tokio::test]
async fn an_answer_that_is_not_json_is_refused() {
    let server = Server::signing(&[Turn::Babbles]).await;
    assert!(refused(server.root().sign(b"a license").await).contains("cannot be read"));
    assert_eq!(server.signatures_asked(), 3);
}

#[tokio::test]
async fn a_key_of_another_algorithm_is_refused_by_its_name() {
    // RSA_SIGN_PSS_2048_SHA256, RSA_SIGN_PKCS1_4096_SHA512, EC_SIGN_ED25519, and one that is yet to come.
    let algorithms: [Case; 4] = [
        (|answer| answer["algorithm"] = 2.into(), "RSA_SIGN_PSS_2048_SHA256;"),
        (|answer| answer["algorithm"] = 16.into(), "RSA_SIGN_PKCS1_4096_SHA512;"),
        (|answer| answer["algorithm"] = 40.into(), "EC_SIGN_ED25519;"),
        (|answer| answer["algorithm"] = 9999.into(), "9999"),
    ];
    for (algorithm, name) in algorithms {
        let server = Server::publishing(&[Turn::Alters(algorithm)]).await;
        let said = refused(server.root().sign(b"a license").await);
        assert!(said.contains(name), "{said}");
        assert_eq!((server.keys_asked(), server.signatures_asked()), (1, 0));
    }
}

#[tokio::test]
async fn a_public_key_that_is_none_is_refused() {
    let server = Server::publishing(&[Turn::Alters(|answer| {
        answer["pem"] = "hello".into();
        answer["pemCrc32c"] = checksum(b"hello");
    })])
    .await;
    assert!(refused(server.root().public_key().await).contains("not PEM"));
    assert_eq!(server.keys_asked(), 1);
}

#[tokio::test]
async fn a_valid_signature_of_something_else_is_refused_at_once() {
    let server = Server::signing(&[Turn::SignsAnother]).await;
    assert!(refused(server.root().sign(b"a license").await).contains("not one of this message"));
    assert_eq!(server.signatures_asked(), 1);
}

#[tokio::test]
async fn a_signature_by_another_algorithm_than_the_keys_is_refused_at_once() {
    let server = Server::publishing(&[Turn::Alters(|answer| answer["algorithm"] = 4.into())]).await;
    assert!(refused(server.root().sign(b"a license").await).contains("not one of this message"));
    assert_eq!(server.signatures_asked(), 1);
}
