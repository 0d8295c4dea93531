//! Settings of the root in Cloud KMS.

use std::time::Duration;

use clap::Args;

use crate::{Endpoint, KeyVersion};

/// Which key is the root, and how it is reached.
///
/// A binary that can do without flattens an `Option<KmsSettings>`: it is there if any of these is set.
#[derive(Args, Clone, Debug)]
pub struct KmsSettings {
    /// The root's key version in Cloud KMS, as projects/…/locations/…/keyRings/…/cryptoKeys/…/cryptoKeyVersions/N
    // Not required of a command line: a binary that can do without parses one. Reading these settings does require it.
    #[arg(long, env = "KMS_KEY_VERSION", required = false)]
    pub kms_key_version: KeyVersion,
    /// Where to ask Cloud KMS, if not at its own address: an HTTPS URL, or an HTTP one on this machine, which gets no credentials
    #[arg(long, env = "KMS_ENDPOINT")]
    pub kms_endpoint: Option<Endpoint>,
    /// Milliseconds that a signature may take, with everything that has to be asked, and asked again, for it: at most half of the minute that a
    /// rotation of keys has
    #[arg(long, env = "KMS_DEADLINE_MS", default_value_t = 5000, value_parser = clap::value_parser!(u64).range(100..=30_000))]
    pub kms_deadline_ms: u64,
}

impl KmsSettings {
    pub(crate) const fn deadline(&self) -> Duration {
        Duration::from_millis(self.kms_deadline_ms)
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;

    #[derive(Debug, Parser)]
    struct Required {
        #[command(flatten)]
        kms: KmsSettings,
    }

    #[derive(Debug, Parser)]
    struct Optional {
        #[command(flatten)]
        kms: Option<KmsSettings>,
    }

    const KEY_VERSION: &str = "--kms-key-version=projects/p/locations/l/keyRings/r/cryptoKeys/k/cryptoKeyVersions/1";

    #[test]
    fn five_seconds_are_the_default() {
        let line = Required::try_parse_from(["test", KEY_VERSION]).unwrap();
        assert_eq!(line.kms.deadline(), Duration::from_secs(5));
        assert_eq!(line.kms.kms_endpoint, None);
    }

    #[test]
    fn a_bad_value_or_none_stops_the_start() {
        assert!(Required::try_parse_from(["test"]).unwrap_err().to_string().contains("kms_key_version"));
        assert!(Required::try_parse_from(["test", "--kms-key-version=projects/p"]).is_err());
        assert!(Required::try_parse_from(["test", KEY_VERSION, "--kms-endpoint=http://example.com"]).is_err());
        assert!(Required::try_parse_from(["test", KEY_VERSION, "--kms-deadline-ms=0"]).is_err());
    }

    #[test]
    fn a_binary_can_do_without() {
        assert!(Optional::try_parse_from(["test"]).unwrap().kms.is_none());
        assert!(Optional::try_parse_from(["test", KEY_VERSION]).unwrap().kms.is_some());
        assert!(Optional::try_parse_from(["test", "--kms-deadline-ms=900"]).is_err());
    }

    #[test]
    fn the_readme_tells_of_every_setting() {
        let readme = include_str!("../README.md");
        for argument in Required::command().get_arguments() {
            let name = argument.get_env().unwrap().to_str().unwrap();
            assert!(readme.contains(&format!("`{name}`")), "{name}");
        }
    }
}
