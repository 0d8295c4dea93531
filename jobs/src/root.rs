//! Where the root key is: in a file, or in Cloud KMS.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use kms::{KmsRoot, KmsSettings};
use platform::signing::{LocalRoot, RootError, RootSigner};

/// Where the root key is.
#[derive(Args, Clone, Debug)]
pub struct RootSettings {
    /// File with the root key (RSA-4096, PKCS#8 in PEM, mode 600); `standalone make-root` makes one
    #[arg(long, env = "ROOT_KEY_FILE", required_unless_present = "kms_key_version", conflicts_with = "kms_key_version")]
    root_key_file: Option<PathBuf>,
    #[command(flatten)]
    kms: Option<KmsSettings>,
}

impl RootSettings {
    /// Opens it; Cloud KMS is not asked yet.
    ///
    /// # Errors
    /// [`RootError`] if the file cannot be read.
    pub fn open(&self) -> Result<Arc<dyn RootSigner>, RootError> {
        match (&self.root_key_file, &self.kms) {
            (Some(file), _) => Ok(Arc::new(LocalRoot::open(file)?)),
            (None, Some(kms)) => Ok(Arc::new(KmsRoot::new(kms))),
            (None, None) => Err(RootError::Refused("neither ROOT_KEY_FILE nor KMS_KEY_VERSION is set".to_owned())),
        }
    }
}
