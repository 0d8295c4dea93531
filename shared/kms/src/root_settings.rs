//! Where the root key is: in a file, or in Cloud KMS.

use std::{path::PathBuf, sync::Arc};

use clap::Args;
use platform::signing::{LocalRoot, RootError, RootSigner};

use crate::{KmsRoot, KmsSettings};

/// The root key, for a binary that signs with it.
#[derive(Args, Clone, Debug)]
pub struct RootSettings {
    /// File with the root key (RSA-4096, PKCS#8 in PEM, mode 600); `standalone make-root` makes one
    #[arg(long, env = "ROOT_KEY_FILE", required_unless_present = "kms_key_version", conflicts_with = "kms_key_version")]
    pub root_key_file: Option<PathBuf>,
    /// Cloud KMS.
    #[command(flatten)]
    pub kms: Option<KmsSettings>,
}

impl RootSettings {
    /// Reads the file, or gets ready to ask Cloud KMS.
    ///
    /// # Errors
    /// [`RootError::Refused`] if the file holds no root key.
    pub fn open(&self) -> Result<Arc<dyn RootSigner>, RootError> {
        match (&self.root_key_file, &self.kms) {
            (Some(file), _) => match LocalRoot::open(file) {
                Ok(root) => Ok(Arc::new(root)),
                Err(error) => Err(RootError::Refused(format!("ROOT_KEY_FILE (--root-key-file): {}", error.why()))),
            },
            (None, Some(kms)) => Ok(Arc::new(KmsRoot::new(kms))),
            (None, None) => {
                Err(RootError::Refused("neither ROOT_KEY_FILE (--root-key-file) nor KMS_KEY_VERSION (--kms-key-version) is set".to_owned()))
            }
        }
    }
}
