//! TLS of listeners: certificates by SNI, client certificates.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, ring};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{ClientCertVerifierBuilder, ClientHello, NoClientAuth, ResolvesServerCert, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use tokio::net::TcpStream;
use tokio_rustls::{Accept, TlsAcceptor};

use super::{Identity, TlsError, certified, is_valid_for, provider, trust_anchors};

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

/// TLS of a listener, ready to use. Shows nothing of its key.
#[derive(Clone)]
pub struct ServerTls(Arc<ServerConfig>);

impl fmt::Debug for ServerTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerTls")
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

    /// Secures a connection that came in.
    pub fn accept(&self, stream: TcpStream) -> Accept<TcpStream> {
        TlsAcceptor::from(Arc::clone(&self.0)).accept(stream)
    }
}

fn verifier(file: &Path, provider: &Arc<CryptoProvider>) -> Result<ClientCertVerifierBuilder, TlsError> {
    let anchors = Arc::new(trust_anchors(file)?);
    Ok(WebPkiClientVerifier::builder_with_provider(anchors, Arc::clone(provider)))
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
