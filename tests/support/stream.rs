//! Ends of TCP and TLS connections for tests, and a certificate authority of their own. Nothing of the gateway's own
//! framing or TLS code is used.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::start::closed_is_closed;
use crate::support::{Wire, wait_for};

/// How long one look at a connection takes at most.
const LOOK: Duration = Duration::from_millis(20);

/// A certificate authority.
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Authority {
    /// A new one.
    pub fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let pem = params.self_signed(&key).expect("signed").pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// Writes its certificate into a file.
    pub fn write(&self, file: &Path) {
        std::fs::write(file, &self.pem).expect("written");
    }

    /// A certificate for names and addresses.
    pub fn certify(&self, names: &[&str]) -> Certificate {
        let params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        let key = KeyPair::generate().expect("a key");
        let certificate = params.expect("names").signed_by(&key, &self.issuer).expect("signed");
        Certificate { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn store(&self) -> RootCertStore {
        let mut store = RootCertStore::empty();
        store.add(CertificateDer::from_pem_slice(self.pem.as_bytes()).expect("PEM")).expect("an authority");
        store
    }

    /// TLS of a client that trusts it.
    pub fn client(&self, own: Option<&Certificate>) -> Arc<ClientConfig> {
        let builder = ClientConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(self.store());
        Arc::new(match own {
            None => builder.with_no_client_auth(),
            Some(own) => {
                let (chain, key) = own.parsed();
                builder.with_client_auth_cert(chain, key).expect("a key that fits")
            }
        })
    }

    /// TLS of a server; with `clients`, it wants certificates of that authority.
    pub fn server(own: &Certificate, clients: Option<&Self>) -> Arc<ServerConfig> {
        let builder = ServerConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
        let builder = builder.expect("versions");
        let builder = match clients {
            None => builder.with_no_client_auth(),
            Some(clients) => {
                let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(clients.store()), provider());
                builder.with_client_cert_verifier(verifier.build().expect("a verifier"))
            }
        };
        let (chain, key) = own.parsed();
        Arc::new(builder.with_single_cert(chain, key).expect("a key that fits"))
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

/// A certificate and its key, as PEM.
pub struct Certificate {
    certificate: String,
    key: String,
}

impl Certificate {
    /// Writes both into files; gives their names.
    pub fn write(&self, dir: &Path, name: &str) -> (PathBuf, PathBuf) {
        let files = (dir.join(format!("{name}.pem")), dir.join(format!("{name}.key")));
        std::fs::write(&files.0, &self.certificate)
            .and_then(|()| std::fs::write(&files.1, &self.key))
            .expect("written");
        files
    }

    fn parsed(&self) -> (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>) {
        let chain = CertificateDer::from_pem_slice(self.certificate.as_bytes()).expect("PEM");
        (vec![chain], PrivateKeyDer::from_pem_slice(self.key.as_bytes()).expect("PEM"))
    }
}

enum Io {
    Plain(TcpStream),
    Client(Box<StreamOwned<ClientConnection, TcpStream>>),
    Server(Box<StreamOwned<ServerConnection, TcpStream>>),
}

/// One end of a connection.
pub struct Link {
    io: Io,
    buffer: Vec<u8>,
    is_closed: bool,
    /// Its own address.
    pub local: SocketAddr,
    /// The other end's.
    pub remote: SocketAddr,
}

impl Link {
    fn new(io: Io) -> Self {
        let stream = match &io {
            Io::Plain(stream) => stream,
            Io::Client(stream) => &stream.sock,
            Io::Server(stream) => &stream.sock,
        };
        stream.set_read_timeout(Some(LOOK)).expect("a limit");
        stream.set_nodelay(true).expect("no delay");
        let local = stream.local_addr().expect("bound");
        // The other end may have reset it already.
        let remote = stream.peer_addr().unwrap_or(local);
        Self { io, buffer: Vec::new(), is_closed: false, local, remote }
    }

    /// Connects by TCP.
    pub fn tcp(to: SocketAddr) -> Self {
        Self::new(Io::Plain(TcpStream::connect(to).unwrap_or_else(|error| panic!("{to}: {error}"))))
    }

    /// Connects by TCP from an address of one's own.
    pub fn tcp_from(from: SocketAddr, to: SocketAddr) -> Self {
        let socket =
            socket2::Socket::new(socket2::Domain::for_address(from), socket2::Type::STREAM, None).expect("a socket");
        socket.bind(&from.into()).expect("the address is there");
        socket.connect(&to.into()).unwrap_or_else(|error| panic!("{to}: {error}"));
        Self::new(Io::Plain(socket.into()))
    }

    /// Connects by TLS and asks for this name; the handshake follows with the first octets.
    pub fn tls(to: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let name = ServerName::try_from(name.to_owned()).expect("a name");
        let stream = TcpStream::connect(to).unwrap_or_else(|error| panic!("{to}: {error}"));
        let client = ClientConnection::new(config, name).expect("a client");
        Self::new(Io::Client(Box::new(StreamOwned::new(client, stream))))
    }

    /// Whether the other end's certificate, now known, is valid for a name.
    pub fn has_certificate_for(&self, name: &str) -> bool {
        let Io::Client(stream) = &self.io else { return false };
        let Some(shown) = stream.conn.peer_certificates().and_then(|chain| chain.first()) else { return false };
        let parsed = rustls::server::ParsedCertificate::try_from(shown).expect("a certificate");
        rustls::client::verify_server_name(&parsed, &ServerName::try_from(name.to_owned()).expect("a name")).is_ok()
    }

    /// Sends octets.
    ///
    /// # Errors
    /// When the connection or its TLS has failed.
    pub fn try_send(&mut self, octets: &[u8]) -> io::Result<()> {
        let mut at = 0;
        while at < octets.len() {
            let written = match &mut self.io {
                Io::Plain(stream) => stream.write(&octets[at..]),
                Io::Client(stream) => stream.write(&octets[at..]),
                Io::Server(stream) => stream.write(&octets[at..]),
            };
            match written {
                Ok(count) => at += count,
                // The handshake still reads.
                Err(error) if is_patience(&error) => {}
                Err(error) => return Err(error),
            }
        }
        match &mut self.io {
            Io::Plain(stream) => stream.flush(),
            Io::Client(stream) => stream.flush(),
            Io::Server(stream) => stream.flush(),
        }
    }

    /// Sends octets.
    ///
    /// # Panics
    /// When the connection has failed.
    pub fn send(&mut self, octets: &[u8]) {
        self.try_send(octets).unwrap_or_else(|error| panic!("cannot send to {}: {error}", self.remote));
    }

    /// Reads what is there.
    fn look(&mut self) {
        let mut buffer = [0; 65_536];
        let read = match &mut self.io {
            Io::Plain(stream) => stream.read(&mut buffer),
            Io::Client(stream) => stream.read(&mut buffer),
            Io::Server(stream) => stream.read(&mut buffer),
        };
        match read {
            Ok(0) => self.is_closed = true,
            Ok(count) => self.buffer.extend_from_slice(&buffer[..count]),
            Err(error) if is_patience(&error) => {}
            Err(_) => self.is_closed = true,
        }
    }

    /// The next message, if a whole one has come; 100 is passed over.
    pub fn take(&mut self) -> Option<Wire> {
        loop {
            while self.buffer.starts_with(b"\r\n") {
                self.buffer.drain(..2);
            }
            let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n").map(|at| at + 4) else {
                self.look();
                return None;
            };
            let head = Wire::read(&self.buffer[..end]);
            let length = String::from_utf8_lossy(head.value("content-length")).into_owned();
            let length: usize = length.parse().unwrap_or_else(|_| panic!("no Content-Length in {}", head.text()));
            if self.buffer.len() < end + length {
                self.look();
                return None;
            }
            let octets: Vec<u8> = self.buffer.drain(..end + length).collect();
            if !octets.starts_with(b"SIP/2.0 100") {
                return Some(Wire::read(&octets));
            }
        }
    }

    /// Waits for the next message.
    ///
    /// # Panics
    /// When none comes.
    pub fn wait(&mut self, what: &str) -> Wire {
        wait_for(what, || self.take())
    }

    /// Waits for octets that are no message.
    pub fn wait_octets(&mut self, octets: &[u8]) {
        wait_for("octets", || {
            self.look();
            self.buffer.starts_with(octets).then_some(())
        });
        self.buffer.drain(..octets.len());
    }

    /// Waits until the other side has closed it.
    pub fn wait_closed(&mut self, what: &str) {
        wait_for(what, || {
            self.look();
            self.is_closed.then_some(())
        });
    }

    /// Whether the other side has closed it, by what has come so far.
    pub fn is_closed(&mut self) -> bool {
        self.look();
        self.is_closed
    }

    /// Nothing but what was waited for has come.
    pub fn is_quiet(&mut self) -> bool {
        self.take().is_none() && self.buffer.is_empty()
    }

    /// Ends it with a reset.
    pub fn reset(self) {
        let stream = match &self.io {
            Io::Plain(stream) => stream,
            Io::Client(stream) => &stream.sock,
            Io::Server(stream) => &stream.sock,
        };
        socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO)).expect("a reset");
    }
}

fn is_patience(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}

/// A place where connections come in.
pub struct Door {
    listener: TcpListener,
    tls: Option<Arc<ServerConfig>>,
    /// Where it is.
    pub address: SocketAddr,
}

impl Door {
    /// One at an address; port 0 takes a free one.
    pub fn open(at: SocketAddr, tls: Option<Arc<ServerConfig>>) -> Self {
        closed_is_closed();
        let listener = TcpListener::bind(at).unwrap_or_else(|error| panic!("{at}: {error}"));
        listener.set_nonblocking(true).expect("no waiting");
        let address = listener.local_addr().expect("bound");
        Self { listener, tls, address }
    }

    /// One at a free port of 127.0.0.1.
    pub fn anywhere(tls: Option<Arc<ServerConfig>>) -> Self {
        Self::open(SocketAddr::from(([127, 0, 0, 1], 0)), tls)
    }

    /// A connection that has come, if any.
    pub fn take(&self) -> Option<Link> {
        let (stream, _) = self.listener.accept().ok()?;
        stream.set_nonblocking(false).expect("waiting");
        Some(Link::new(match &self.tls {
            None => Io::Plain(stream),
            Some(tls) => {
                let server = ServerConnection::new(tls.clone()).expect("a server");
                Io::Server(Box::new(StreamOwned::new(server, stream)))
            }
        }))
    }

    /// Waits for a connection.
    pub fn wait(&self, what: &str) -> Link {
        wait_for(what, || self.take())
    }
}
