//! The root in a file: for laptops and for customers on their own premises.

use std::{fmt, path::Path};

use aws_lc_rs::{
    encoding::{AsDer, Pkcs8V1Der, PublicKeyX509Der},
    rand::SystemRandom,
    rsa::{KeyPair, KeySize},
    signature::{KeyPair as _, RSA_PKCS1_SHA256},
};
use futures_util::future::{BoxFuture, FutureExt, ready};

use super::{
    RootAlgorithm, RootError, RootPublicKey, RootSigner,
    key_file::{self, KeyFileError},
};

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
        let refused = |why| KeyFileError::of(file, why);
        let der = key_file::read(file)?;
        let key = KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(|_| refused("it holds no RSA key"))?;
        let spki: PublicKeyX509Der<'_> = key.public_key().as_der().map_err(|_| refused("its key has no public half"))?;
        let public = RootPublicKey::from_spki(spki.as_ref(), RootAlgorithm::Rs256).map_err(|error| KeyFileError::of(file, error.why()))?;
        Ok(Self { key, public })
    }

    /// Makes a new key, in a new file that nobody else may read. Takes a second or so.
    ///
    /// # Errors
    /// [`RootError::Refused`] if the file is there already, which is left as it is, or cannot be written.
    pub fn make(file: &Path) -> Result<(), RootError> {
        let made = KeyPair::generate(KeySize::Rsa4096).and_then(|key| AsDer::<Pkcs8V1Der<'_>>::as_der(&key));
        let der = made.map_err(|_| KeyFileError::of(file, "a key cannot be made"))?;
        Ok(key_file::make(file, der.as_ref())?)
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
    use std::os::unix::fs::PermissionsExt;

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
