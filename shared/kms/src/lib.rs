#![doc = include_str!("../README.md")]

mod answer;
mod client;
mod crc32c;
mod endpoint;
mod fault;
mod key_version;
mod root;
mod root_settings;
mod settings;

pub use endpoint::{Endpoint, EndpointError};
pub use key_version::{KeyVersion, KeyVersionError};
pub use root::KmsRoot;
pub use root_settings::RootSettings;
pub use settings::KmsSettings;
