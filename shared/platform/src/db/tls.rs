//! TLS to PostgreSQL, and to whatever else this process asks: always verified, by the system's certificates and a file of one's own.

use std::{net::IpAddr, path::Path, sync::Arc};

use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, pem::PemObject},
};
use tokio_postgres::{Config, config::Host};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::Error;

/// Whether every host of the configuration is this machine.
pub(super) fn is_local(config: &Config) -> bool {
    config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => name == "localhost" || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()),
        #[cfg(unix)]
        Host::Unix(_) => true,
    })
}

/// A connector that trusts the system's certificates and those in `extra`.
pub(super) fn connector(extra: Option<&Path>) -> Result<MakeRustlsConnect, Error> {
    client_config(extra).map(MakeRustlsConnect::new)
}

/// How this process asks servers who they are. Reads the system's certificates.
pub(crate) fn client_config(extra: Option<&Path>) -> Result<ClientConfig, Error> {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if let Some(file) = extra {
        let certificates = CertificateDer::pem_file_iter(file)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|error| Error::Settings(format!("DATABASE_CA_FILE {}: {error}", file.display())))?;
        roots.add_parsable_certificates(certificates);
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    Ok(config.map_err(|error| Error::Settings(error.to_string()))?.with_root_certificates(roots).with_no_client_auth())
}
