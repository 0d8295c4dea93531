//! Private keys in files that nobody else may read: PKCS#8 (RFC 5958) in PEM.

use std::{
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use super::pem;

/// Why a key's file cannot be used; names the file and nothing that is in it.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct KeyFileError(String);

impl KeyFileError {
    /// What is wrong with this file.
    #[must_use]
    pub fn of(file: &Path, why: &str) -> Self {
        Self(format!("{}: {why}", file.display()))
    }
}

/// Reads the key.
///
/// # Errors
/// [`KeyFileError`] if the file cannot be read, may be read by others, or holds no such key.
pub fn read(file: &Path) -> Result<PrivatePkcs8KeyDer<'static>, KeyFileError> {
    let mode = std::fs::metadata(file).map_err(|error| KeyFileError::of(file, &error.to_string()))?.permissions().mode();
    if mode & 0o077 != 0 {
        return Err(KeyFileError::of(file, &format!("its mode is {:o}: others may use the key; make it 600", mode & 0o777)));
    }
    PrivatePkcs8KeyDer::from_pem_file(file).map_err(|_| KeyFileError::of(file, "it holds no PKCS#8 private key in PEM"))
}

/// Writes a key to a new file.
///
/// # Errors
/// [`KeyFileError`] if the file is there already, which is left as it is, or cannot be written.
pub fn make(file: &Path, der: &[u8]) -> Result<(), KeyFileError> {
    let refused = |error: std::io::Error| KeyFileError::of(file, &error.to_string());
    let mut target = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(file).map_err(refused)?;
    let written = target.write_all(pem::encode("PRIVATE KEY", der).as_bytes()).and_then(|()| target.sync_all());
    if written.is_err() {
        // Half a key must not be found next time.
        let _ = std::fs::remove_file(file);
    }
    written.map_err(refused)
}
