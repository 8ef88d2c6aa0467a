//! TLS for clients: PEM files, what is trusted, our certificate, and whether the peer's name counts.
//!
//! rustls with ring, TLS 1.2 and 1.3. A server is known by the subjectAltName of its certificate (RFC 6125 §6.4); the
//! common name means nothing.

pub mod expiry;

use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::verify_server_cert_signed_by_trust_anchor;
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

/// Certificates in one file at most.
pub const CERTIFICATES_MAX: usize = 1024;

/// Whether the name in the peer's certificate is compared with the one it was asked for by.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NameCheck {
    /// It is.
    #[default]
    On,
    /// Any certificate of the trusted authorities will do.
    Off,
}

/// What the keywords of a client file say about TLS.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Tls {
    /// Trust anchors, PEM; `None` only without TLS.
    pub ca_file: Option<PathBuf>,
    /// Own certificate, PEM; used only together with the key.
    pub cert_file: Option<PathBuf>,
    /// Own key, PEM.
    pub key_file: Option<PathBuf>,
    /// Whether the name in the peer's certificate is checked. Default: it is.
    pub name_check: NameCheck,
}

impl Tls {
    /// The files of a client; `None` when there are no trust anchors, so no TLS.
    #[must_use]
    pub fn files(&self) -> Option<ClientFiles> {
        let own =
            |(certificate, key): (&PathBuf, &PathBuf)| Identity { certificate: certificate.clone(), key: key.clone() };
        Some(ClientFiles {
            ca: self.ca_file.clone()?,
            own: self.cert_file.as_ref().zip(self.key_file.as_ref()).map(own),
            name_check: self.name_check,
        })
    }
}

/// The files of a TLS client.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientFiles {
    /// Trust anchors, PEM; at least one certificate.
    pub ca: PathBuf,
    /// Own certificate with its chain and the key to it, PEM. Default: none is shown.
    pub own: Option<Identity>,
    /// Whether the server's name is compared.
    pub name_check: NameCheck,
}

/// A certificate with its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The certificate first, then those that lead to an authority, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is no PEM, or a part of it is damaged.
    #[error("`{}` is not PEM: {what}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It has no certificate, no key, or more of them than it may.
    #[error("`{}` {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What it lacks or has.
        what: &'static str,
    },
    /// A certificate or a key cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A host name that no certificate can have.
    #[error("`{name}` is no name that a certificate can have")]
    Name {
        /// The name.
        name: String,
    },
}

impl TlsError {
    /// The file at fault; `None` for a name.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::Pem { path, .. }
            | Self::Content { path, .. }
            | Self::Unfit { path, .. } => Some(path),
            Self::Name { .. } => None,
        }
    }
}

/// The cryptography of every TLS connection of the process.
#[must_use]
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// The certificates of a PEM file, in its order; other parts of the file are passed over.
///
/// # Errors
/// When the file cannot be read, is damaged, or has none or more than [`CERTIFICATES_MAX`].
pub fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |what| TlsError::Content { path: path.to_owned(), what };
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| of_pem(path, error))? {
        found.push(certificate.map_err(|error| of_pem(path, error))?);
        if found.len() > CERTIFICATES_MAX {
            return Err(wrong("has more than 1024 certificates"));
        }
    }
    if found.is_empty() { Err(wrong("has no certificate")) } else { Ok(found) }
}

/// The first private key of a PEM file.
///
/// # Errors
/// When the file cannot be read, is damaged or has none; a key with a passphrase counts as none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            TlsError::Content { path: path.to_owned(), what: "has no private key without a passphrase" }
        }
        error => of_pem(path, error),
    })
}

/// The trust anchors of a PEM file.
///
/// # Errors
/// When the file cannot be read, or a certificate in it cannot be a trust anchor.
pub fn trust_anchors(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut anchors = RootCertStore::empty();
    for certificate in certificates(path)? {
        anchors.add(certificate).map_err(|source| TlsError::Unfit { path: path.to_owned(), source })?;
    }
    Ok(anchors)
}

/// The configuration of a client. Its files are read now; renewed ones count from the next call on.
///
/// # Errors
/// The first file that cannot be used.
pub fn client_config(files: &ClientFiles) -> Result<Arc<ClientConfig>, TlsError> {
    let provider = provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|source| TlsError::Unfit { path: files.ca.clone(), source })?;
    let anchors = trust_anchors(&files.ca)?;
    let builder = match files.name_check {
        NameCheck::On => builder.with_root_certificates(anchors),
        NameCheck::Off => {
            let verifier = Arc::new(AnyName { anchors, provider });
            builder.dangerous().with_custom_certificate_verifier(verifier)
        }
    };
    let config = match &files.own {
        None => builder.with_no_client_auth(),
        Some(own) => {
            let (chain, key) = (certificates(&own.certificate)?, private_key(&own.key)?);
            let unfit = |source| TlsError::Unfit { path: own.key.clone(), source };
            builder.with_client_auth_cert(chain, key).map_err(unfit)?
        }
    };
    Ok(Arc::new(config))
}

/// The name a server has to prove, from the host it is configured by.
///
/// # Errors
/// When it is neither an address nor a DNS name.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| TlsError::Name { name: host.to_owned() })
}

/// The name of a server that is configured by its address: the subjectAltName has to list it.
#[must_use]
pub fn server_address(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.into())
}

fn of_pem(path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Read { path, source },
        error => TlsError::Pem { path, what: error.to_string() },
    }
}

/// Accepts a certificate of the trusted authorities whatever its name.
#[derive(Debug)]
struct AnyName {
    anchors: RootCertStore,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _name: &ServerName<'_>,
        _ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let certificate = ParsedCertificate::try_from(end_entity)?;
        let algorithms = self.provider.signature_verification_algorithms.all;
        verify_server_cert_signed_by_trust_anchor(&certificate, &self.anchors, intermediates, now, algorithms)?;
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests;
