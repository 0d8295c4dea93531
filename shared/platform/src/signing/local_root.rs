//! The root in a file: for laptops and for customers on their own premises.

use std::{
    fmt,
    io::Write,
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use futures_util::future::{BoxFuture, FutureExt, ready};
use rustls::pki_types::{PrivatePkcs8KeyDer, pem::PemObject};

use super::{RootAlgorithm, RootError, RootPublicKey, RootSigner, pem};

/// An RSA-4096 key in a PKCS#8 PEM file (RFC 5958), signing as RS256.
pub struct LocalRoot {
    key: KeyPair,
    public: RootPublicKey,
}

impl LocalRoot {
    /// Reads the key.
    ///
    /// # Errors
    /// [`RootError::Refused`] if the file cannot be read, may be read by others, or holds no RSA key of 4096 bits.
    pub fn open(file: &Path) -> Result<Self, RootError> {
        let refused = |why: String| RootError::Refused(format!("{}: {why}", file.display()));
        let mode = std::fs::metadata(file).map_err(|error| refused(error.to_string()))?.permissions().mode();
        if mode & 0o077 != 0 {
            return Err(refused(format!("its mode is {:o}: others may use the key; make it 600", mode & 0o777)));
        }
        let der = PrivatePkcs8KeyDer::from_pem_file(file).map_err(|_| refused("it holds no PKCS#8 private key in PEM".to_owned()))?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| refused("it holds no RSA key".to_owned()))?;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| refused("its key has no public half".to_owned()))?;
        let public = RootPublicKey::from_spki(spki.as_ref(), RootAlgorithm::Rs256)?;
        Ok(Self { key, public })
    }

    /// Makes a new key, in a new file that nobody else may read. Takes a second or so.
    ///
    /// # Errors
    /// [`RootError::Refused`] if the file is there already, which is left as it is, or cannot be written.
    pub fn make(file: &Path) -> Result<(), RootError> {
        let refused = |why: String| RootError::Refused(format!("{}: {why}", file.display()));
        let mut options = std::fs::OpenOptions::new();
        let mut target = options.write(true).create_new(true).mode(0o600).open(file).map_err(|error| refused(error.to_string()))?;
        let written = KeyPair::generate(KeySize::Rsa4096)
            .and_then(|key| AsDer::<Pkcs8V1Der<'_>>::as_der(&key))
            .map_err(|_| refused("a key cannot be made".to_owned()))
            .and_then(|der| {
                target.write_all(pem::encode("PRIVATE KEY", der.as_ref()).as_bytes()).map_err(|error| refused(error.to_string()))
            })
            .and_then(|()| target.sync_all().map_err(|error| refused(error.to_string())));
        if written.is_err() {
            // Half a key must not be found next time.
            let _ = std::fs::remove_file(file);
        }
        written
    }
}

impl fmt::Debug for LocalRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LocalRoot({:?})", self.public)
    }
}

impl RootSigner for LocalRoot {
    fn public_key(&self) -> BoxFuture<'_, Result<RootPublicKey, RootError>> {
        ready(Ok(self.public.clone())).boxed()
    }

    fn sign<'a>(&'a self, message: &'a [u8]) -> BoxFuture<'a, Result<Vec<u8>, RootError>> {
        let mut signature = vec![0; self.key.public_modulus_len()];
        let signed = self
            .key
            .sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
            .map(|()| signature)
            .map_err(|_| RootError::Refused("the key cannot sign".to_owned()));
        ready(signed).boxed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_root_is_made_once_read_back_and_signs() {
        let file = std::env::temp_dir().join(format!("coditect-root-{}.pem", uuid::Uuid::new_v4()));
        LocalRoot::make(&file).unwrap();
        assert!(LocalRoot::make(&file).is_err(), "a root that is there is never overwritten");
        let root = LocalRoot::open(&file).unwrap();
        let public = root.public_key().await.unwrap();
        let signature = root.sign(b"a message").await.unwrap();
        assert!(public.verifies(b"a message", &signature) && !public.verifies(b"another", &signature));
        assert_eq!(RootPublicKey::from_spki(public.spki(), RootAlgorithm::Rs256).unwrap(), public);
        assert!(public.pem().starts_with("-----BEGIN PUBLIC KEY-----\nMIICIjANBgkqhkiG9w0BAQEFAAOCAg8A"));

        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(LocalRoot::open(&file).unwrap_err().to_string().contains("640"));
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&file, "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n").unwrap();
        assert!(LocalRoot::open(&file).is_err());
        std::fs::remove_file(&file).unwrap();
    }
}
