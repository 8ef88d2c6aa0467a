//! TLS of SIP connections (RFC 3261 §26.3.1, RFC 5922): certificates by SNI, client certificates, and whom the gateway
//! trusts when it connects. rustls with ring, TLS 1.2 and 1.3.
//!
//! A peer the gateway connects to must show a certificate valid for the host of the target: the name, or the address
//! when the target is one (RFC 5922 §7.3).

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientHello, NoClientAuth, ParsedCertificate, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why TLS cannot be set up as configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or holds no PEM of the kind that is needed.
    #[error("cannot read {what} from {}", path.display())]
    Read {
        /// A certificate or a key.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: pem::Error,
    },
    /// A file has no certificate in it.
    #[error("no certificate in {}", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// A key does not fit its certificate.
    #[error("the key in {} is not that of the certificate in {}", key.display(), certificate.display())]
    Mismatch {
        /// The key's file.
        key: PathBuf,
        /// The certificate's file.
        certificate: PathBuf,
    },
    /// A certificate or key is of no use.
    #[error("cannot use {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: rustls::Error,
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

/// A certificate chain and its key, as PEM files.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Identity {
    /// The chain, the own certificate first.
    pub certificate: PathBuf,
    /// The private key.
    pub key: PathBuf,
}

/// What is asked of those who connect.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Clients {
    /// No certificate.
    #[default]
    Anybody,
    /// A certificate, if they have one, must be signed by an authority in this file.
    Optional(PathBuf),
    /// They must have one.
    Required(PathBuf),
}

/// Whom the gateway trusts when it connects.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum Roots {
    /// The system's authorities.
    #[default]
    System,
    /// Those in this file.
    File(PathBuf),
}

/// TLS of a listener, ready to use. Shows nothing of its key.
#[derive(Clone)]
pub struct ServerTls(pub(super) Arc<ServerConfig>);

/// TLS of connections the gateway opens, ready to use. Shows nothing of its key.
#[derive(Clone)]
pub struct ClientTls(pub(super) Arc<ClientConfig>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClientTls")
    }
}

impl ServerTls {
    /// TLS with these certificates: the first one that is valid for the name a client asks for (RFC 6066 §3), else the
    /// first.
    ///
    /// # Errors
    /// [`TlsError`] with the file at fault.
    pub fn load(identities: &[Identity], clients: &Clients) -> Result<Self, TlsError> {
        let provider = provider();
        let keys = identities.iter().map(|own| certified(own, &provider).map(Arc::new)).collect::<Result<_, _>>()?;
        let verifier: Arc<dyn ClientCertVerifier> = match clients {
            Clients::Anybody => Arc::new(NoClientAuth),
            Clients::Optional(file) => verifier(file, &provider)?.allow_unauthenticated().build()?,
            Clients::Required(file) => verifier(file, &provider)?.build()?,
        };
        let mut config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_client_cert_verifier(verifier)
            .with_cert_resolver(Arc::new(BySni { keys }));
        // A trunk that connects again spares both ends the signature.
        config.ticketer = ring::Ticketer::new()?;
        Ok(Self(Arc::new(config)))
    }
}

impl ClientTls {
    /// TLS that trusts `roots` and shows `identity`, if any, to peers that ask.
    ///
    /// # Errors
    /// [`TlsError`] with the file at fault.
    pub fn load(roots: &Roots, identity: Option<&Identity>) -> Result<Self, TlsError> {
        let provider = provider();
        let trusted = match roots {
            Roots::File(file) => store(file)?,
            Roots::System => system()?,
        };
        let builder = ClientConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()?
            .with_root_certificates(trusted);
        let config = match identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                certified(identity, &provider)?;
                builder.with_client_auth_cert(chain(&identity.certificate)?, key(&identity.key)?)?
            }
        };
        Ok(Self(Arc::new(config)))
    }
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn verifier(
    file: &Path,
    provider: &Arc<CryptoProvider>,
) -> Result<rustls::server::ClientCertVerifierBuilder, TlsError> {
    Ok(WebPkiClientVerifier::builder_with_provider(Arc::new(store(file)?), provider.clone()))
}

fn chain(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let wrong = |source| TlsError::Read { what: "a certificate", path: file.to_owned(), source };
    let chain: Vec<_> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect).map_err(wrong)?;
    if chain.is_empty() { Err(TlsError::Empty { path: file.to_owned() }) } else { Ok(chain) }
}

fn key(file: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let wrong = |source| TlsError::Read { what: "a private key", path: file.to_owned(), source };
    PrivateKeyDer::from_pem_file(file).map_err(wrong)
}

fn certified(own: &Identity, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = chain(&own.certificate)?;
    let key = provider.key_provider.load_private_key(key(&own.key)?);
    let key = key.map_err(|source| TlsError::Unusable { path: own.key.clone(), source })?;
    let certified = CertifiedKey::new(chain, key);
    match certified.keys_match() {
        // Unknown: a key that does not tell its public half is tried.
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => Ok(certified),
        Err(rustls::Error::InconsistentKeys(_)) => {
            Err(TlsError::Mismatch { key: own.key.clone(), certificate: own.certificate.clone() })
        }
        Err(source) => Err(TlsError::Unusable { path: own.certificate.clone(), source }),
    }
}

fn store(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    for certificate in chain(file)? {
        store.add(certificate).map_err(|source| TlsError::Unusable { path: file.to_owned(), source })?;
    }
    Ok(store)
}

fn system() -> Result<RootCertStore, TlsError> {
    let mut store = RootCertStore::empty();
    // One that cannot be read is no reason to do without the others.
    let (added, _unreadable) = store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if added == 0 { Err(TlsError::NoSystemRoots) } else { Ok(store) }
}

/// Chooses the certificate by the name the client asks for.
#[derive(Debug)]
struct BySni {
    keys: Vec<Arc<CertifiedKey>>,
}

impl ResolvesServerCert for BySni {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let usable = |own: &&Arc<CertifiedKey>| own.key.choose_scheme(hello.signature_schemes()).is_some();
        let named = hello.server_name();
        let fits = |own: &&Arc<CertifiedKey>| {
            let certificate = own.cert.first();
            named.zip(certificate).is_some_and(|(name, certificate)| is_valid_for(certificate, name))
        };
        let found = self.keys.iter().filter(usable).find(fits).or_else(|| self.keys.iter().find(usable));
        found.cloned()
    }
}

/// The name or address of a peer, as certificates hold it; `None` for what is neither.
pub(super) fn server_name(name: &str) -> Option<ServerName<'static>> {
    ServerName::try_from(name.to_owned()).ok()
}

/// An address as certificates hold it.
pub(super) fn address_name(address: IpAddr) -> ServerName<'static> {
    ServerName::IpAddress(address.to_canonical().into())
}

/// Whether a certificate, whose chain was checked before, is valid for this name or address (RFC 5922 §7.1).
pub(super) fn is_valid_for(certificate: &CertificateDer<'_>, name: &str) -> bool {
    let (Ok(parsed), Some(name)) = (ParsedCertificate::try_from(certificate), server_name(name)) else { return false };
    rustls::client::verify_server_name(&parsed, &name).is_ok()
}
