//! What a signer does when all goes well.

use std::sync::Arc;

use aws_lc_rs::signature::{RSA_PKCS1_2048_8192_SHA256, RSA_PSS_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm};
use kms::KmsRoot;
use platform::signing::{RootAlgorithm, RootSigner};

use crate::{
    key::spki,
    server::{Server, Turn, root_at},
};

async fn signs_and_verifies(algorithm: RootAlgorithm, verification: &'static dyn VerificationAlgorithm) {
    let server = Server::start(algorithm, &[Turn::Answers], &[Turn::Answers]).await;
    let root = server.root();

    let signature = root.sign(b"a license").await.unwrap();
    assert_eq!(signature.len(), 512);
    let expected = UnparsedPublicKey::new(verification, spki(server.key()));
    expected.verify(b"a license", &signature).unwrap();
    expected.verify(b"another license", &signature).unwrap_err();

    let public = root.public_key().await.unwrap();
    assert_eq!(public.algorithm(), algorithm);
    assert_eq!(public.spki(), spki(server.key()));
    assert_eq!((server.keys_asked(), server.signatures_asked()), (1, 1));
}

#[tokio::test]
async fn a_pkcs1_key_signs_as_rs256() {
    signs_and_verifies(RootAlgorithm::Rs256, &RSA_PKCS1_2048_8192_SHA256).await;
}

#[tokio::test]
async fn a_pss_key_signs_as_ps256() {
    signs_and_verifies(RootAlgorithm::Ps256, &RSA_PSS_2048_8192_SHA256).await;
}

#[tokio::test]
async fn the_public_key_is_asked_for_once() {
    let server = Server::signing(&[Turn::Answers]).await;
    let root = server.root();
    assert_eq!(root.public_key().await.unwrap(), root.public_key().await.unwrap());
    root.sign(b"one").await.unwrap();
    root.sign(b"two").await.unwrap();
    assert_eq!((server.keys_asked(), server.signatures_asked()), (1, 2));
}

#[tokio::test]
async fn a_failure_to_get_the_public_key_is_not_remembered() {
    let server = Server::publishing(&[Turn::Fails(403, "PERMISSION_DENIED"), Turn::Answers]).await;
    let root = server.root();
    root.public_key().await.unwrap_err();
    root.public_key().await.unwrap();
    assert_eq!(server.keys_asked(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_sign_at_once_and_share_the_public_key() {
    let server = Server::signing(&[Turn::Answers]).await;
    let root: Arc<dyn RootSigner> = Arc::new(server.root());
    let signers: Vec<_> = (0..16)
        .map(|number: u8| {
            let root = Arc::clone(&root);
            tokio::spawn(async move { ([number; 9], root.sign(&[number; 9]).await.unwrap()) })
        })
        .collect();
    let public = root.public_key().await.unwrap();
    for signer in signers {
        let (message, signature) = signer.await.unwrap();
        assert!(public.verifies(&message, &signature));
    }
    assert_eq!((server.keys_asked(), server.signatures_asked()), (1, 16));
}

#[test]
fn a_signer_is_made_without_a_runtime_and_printed_without_a_secret() {
    let root: KmsRoot = root_at("http://127.0.0.1:1", std::time::Duration::from_secs(1));
    assert_eq!(format!("{root:?}"), format!("KmsRoot({})", crate::server::KEY_VERSION));
}
