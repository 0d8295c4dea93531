//! The key that the server has.

use std::{fs, path::Path};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rsa::{KeyPair, KeySize},
    signature::KeyPair as _,
};

/// An RSA-4096 key for tests. Making one takes a second, and every test is a process: the first leaves it for the others.
pub(crate) fn key() -> KeyPair {
    let file = Path::new(env!("CARGO_TARGET_TMPDIR")).join("kms-test-root.pk8");
    if let Some(key) = fs::read(&file).ok().and_then(|der| KeyPair::from_pkcs8(&der).ok()) {
        return key;
    }
    let key = KeyPair::generate(KeySize::Rsa4096).unwrap();
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    // Renamed into place, so that nobody finds half of it.
    let written = file.with_extension(std::process::id().to_string());
    fs::write(&written, der.as_ref()).unwrap();
    fs::rename(&written, &file).unwrap();
    key
}

/// Its public half.
pub(crate) fn spki(key: &KeyPair) -> Vec<u8> {
    let der: PublicKeyX509Der<'_> = key.public_key().as_der().unwrap();
    der.as_ref().to_vec()
}
