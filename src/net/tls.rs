//! TLS: PEM files, what is trusted, our certificate, and whether the peer's name counts.
//!
//! rustls with ring, TLS 1.2 and 1.3. A server is known by the subjectAltName of its certificate (RFC 6125 §6.4); the
//! common name means nothing.

pub mod expiry;
pub mod purpose;
mod server;

use std::fmt;
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
use rustls::sign::{CertifiedKey, SingleCertAndKey};
use rustls::{ClientConfig, DigitallySignedStruct, InconsistentKeys, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

pub use server::{Clients, ServerTls};

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
            roots: Roots::File(self.ca_file.clone()?),
            own: self.cert_file.as_ref().zip(self.key_file.as_ref()).map(own),
            name_check: self.name_check,
        })
    }
}

/// Whom a client trusts.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Roots {
    /// The system's authorities.
    #[default]
    System,
    /// Those in this file, PEM; at least one certificate.
    File(PathBuf),
}

/// The files of a TLS client.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ClientFiles {
    /// Trust anchors.
    pub roots: Roots,
    /// Own certificate with its chain and the key to it, PEM. Default: none is shown.
    pub own: Option<Identity>,
    /// Whether the server's name is compared.
    pub name_check: NameCheck,
}

impl ClientFiles {
    /// The files with certificates that come to an end.
    pub fn certificates(&self) -> impl Iterator<Item = &PathBuf> {
        let roots = match &self.roots {
            Roots::System => None,
            Roots::File(path) => Some(path),
        };
        roots.into_iter().chain(self.own.iter().map(|own| &own.certificate))
    }
}

/// A certificate with its key.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The certificate first, then those that lead to an authority, PEM.
    pub certificate: PathBuf,
    /// Its key, PEM: PKCS #8, PKCS #1 or SEC 1, without a passphrase.
    pub key: PathBuf,
}

/// What is looked for in a file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Part {
    /// A certificate.
    Certificate,
    /// A private key.
    Key,
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "a certificate",
            Self::Key => "a private key",
        })
    }
}

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read `{}`", path.display())]
    Read {
        /// What was looked for.
        part: Part,
        /// The file.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// It is no PEM, or a part of it is damaged.
    #[error("`{}` is not PEM: {what}", path.display())]
    Pem {
        /// What was looked for.
        part: Part,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// It has no certificate.
    #[error("`{}` has no certificate", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// It has more certificates than it may.
    #[error("`{}` has more than {} certificates", path.display(), CERTIFICATES_MAX)]
    TooMany {
        /// The file.
        path: PathBuf,
    },
    /// It has no key, or one with a passphrase.
    #[error("`{}` has no private key without a passphrase", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// A certificate or a key cannot be used.
    #[error("`{}` cannot be used", path.display())]
    Unfit {
        /// The file.
        path: PathBuf,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A certificate and a key cannot be used together.
    #[error("`{}` cannot be used", own.key.display())]
    Pair {
        /// Their files.
        own: Identity,
        /// What rustls says.
        source: rustls::Error,
    },
    /// A host name that no certificate can have.
    #[error("`{name}` is no name that a certificate can have")]
    Name {
        /// The name.
        name: String,
    },
    /// The system has no store of certificates.
    #[error("the system has no trusted certificates; name a file with them")]
    NoSystemRoots,
    /// Client certificates cannot be checked.
    #[error("cannot check client certificates")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// Something else in the cryptography.
    #[error("cannot set up TLS")]
    Setup(#[from] rustls::Error),
}

impl TlsError {
    /// The file at fault, if it is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        match self {
            Self::Read { path, .. }
            | Self::Pem { path, .. }
            | Self::NoCertificate { path }
            | Self::TooMany { path }
            | Self::NoKey { path }
            | Self::Unfit { path, .. } => Some(path),
            Self::Pair { own, .. } => Some(&own.key),
            Self::Name { .. } | Self::NoSystemRoots | Self::Verifier(_) | Self::Setup(_) => None,
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
    let wrong = |error| of_pem(Part::Certificate, path, error);
    let mut found = Vec::new();
    for certificate in CertificateDer::pem_file_iter(path).map_err(wrong)? {
        found.push(certificate.map_err(wrong)?);
        if found.len() > CERTIFICATES_MAX {
            return Err(TlsError::TooMany { path: path.to_owned() });
        }
    }
    if found.is_empty() { Err(TlsError::NoCertificate { path: path.to_owned() }) } else { Ok(found) }
}

/// The first private key of a PEM file.
///
/// # Errors
/// When the file cannot be read, is damaged or has none; a key with a passphrase counts as none.
pub fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    PrivateKeyDer::from_pem_file(path).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.to_owned() },
        error => of_pem(Part::Key, path, error),
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

/// The trust anchors of the system.
fn system_anchors() -> Result<RootCertStore, TlsError> {
    let mut anchors = RootCertStore::empty();
    // One that cannot be read is no reason to do without the others.
    let (added, _unreadable) = anchors.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::NoSystemRoots) } else { Ok(anchors) }
}

/// A certificate and the key that belongs to it.
fn certified(own: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let (chain, key) = (certificates(&own.certificate)?, private_key(&own.key)?);
    let key = provider.key_provider.load_private_key(key);
    let certified = CertifiedKey::new(chain, key.map_err(|source| TlsError::Unfit { path: own.key.clone(), source })?);
    match certified.keys_match() {
        // Unknown: a key that does not tell its public half is tried.
        Ok(()) | Err(rustls::Error::InconsistentKeys(InconsistentKeys::Unknown)) => Ok(certified),
        Err(source) => Err(TlsError::Pair { own: own.clone(), source }),
    }
}

/// TLS of connections that are made, ready to use. Shows nothing of its key; what was read anew is another.
#[derive(Clone)]
pub struct ClientTls(Arc<ClientConfig>);

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

impl PartialEq for ClientTls {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Eq for ClientTls {}

impl From<Arc<ClientConfig>> for ClientTls {
    fn from(config: Arc<ClientConfig>) -> Self {
        Self(config)
    }
}

impl ClientTls {
    /// TLS with these files. They are read now; renewed ones count from the next call on.
    ///
    /// # Errors
    /// The first file that cannot be used.
    pub fn load(files: &ClientFiles) -> Result<Self, TlsError> {
        let provider = provider();
        let anchors = match &files.roots {
            Roots::System => system_anchors()?,
            Roots::File(path) => trust_anchors(path)?,
        };
        let builder =
            ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
        let builder = match files.name_check {
            NameCheck::On => builder.with_root_certificates(anchors),
            NameCheck::Off => {
                let verifier = Arc::new(AnyName { anchors, provider: Arc::clone(&provider) });
                builder.dangerous().with_custom_certificate_verifier(verifier)
            }
        };
        let config = match &files.own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let resolver = SingleCertAndKey::from(certified(own, &provider)?);
                builder.with_client_cert_resolver(Arc::new(resolver))
            }
        };
        Ok(Self(Arc::new(config)))
    }

    /// TLS that trusts nobody, for a library that wants some where none is used.
    ///
    /// # Errors
    /// What rustls says.
    pub fn of_nobody() -> Result<Self, TlsError> {
        let builder = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions()?;
        Ok(Self(Arc::new(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())))
    }

    /// The same for a library that makes its connections itself.
    #[must_use]
    pub fn config(&self) -> Arc<ClientConfig> {
        Arc::clone(&self.0)
    }

    /// Secures a connection to a server that proves this name.
    ///
    /// # Errors
    /// What rustls or the kernel says.
    pub async fn connect(&self, name: ServerName<'static>, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
        TlsConnector::from(Arc::clone(&self.0)).connect(name, stream).await.map_err(|error| {
            let inner = error.get_ref().and_then(|inner| inner.downcast_ref());
            if inner.is_some_and(is_no_tls) { io::Error::new(error.kind(), NO_TLS) } else { error }
        })
    }
}

/// What is said of a peer whose first octets [are of no TLS](is_no_tls).
pub const NO_TLS: &str = "what it answers is no TLS: is this the right port?";

/// Whether an error is that of a peer whose first octets are of no TLS.
#[must_use]
pub const fn is_no_tls(error: &rustls::Error) -> bool {
    matches!(error, rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType))
}

/// The name a server has to prove, from the host it is configured by.
///
/// # Errors
/// When it is neither an address nor a DNS name.
pub fn server_name(host: &str) -> Result<ServerName<'static>, TlsError> {
    ServerName::try_from(host.trim_end_matches('.').to_owned()).map_err(|_| TlsError::Name { name: host.to_owned() })
}

/// The name of a server that is known by its address: the subjectAltName has to list it.
#[must_use]
pub fn server_address(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.to_canonical().into())
}

/// Whether a certificate, whose chain was checked before, is valid for this name or address (RFC 5922 §7.1).
#[must_use]
pub fn is_valid_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(parsed), Ok(name)) = (ParsedCertificate::try_from(certificate), server_name(name)) else { return false };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}

fn of_pem(part: Part, path: &Path, error: pem::Error) -> TlsError {
    let path = path.to_owned();
    match error {
        pem::Error::Io(source) => TlsError::Read { part, path, source },
        error => TlsError::Pem { part, path, what: error.to_string() },
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
