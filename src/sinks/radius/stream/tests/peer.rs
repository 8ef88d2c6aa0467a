//! A server for TCP and TLS that does what a test tells it, in threads of its own.
//!
//! It takes TLS record by record, so that it sees what FreeRADIUS minds: a record that is not exactly one packet. Its
//! answers come in pieces.

use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use rustls::server::WebPkiClientVerifier;
use rustls::{ServerConfig, ServerConnection};
use tempfile::TempDir;

use crate::clock::{self, Instant};
use crate::net::tls::{self, ClientFiles, ClientTls, Identity, NameCheck, Roots};
use crate::radius::packet::{self, Code, Packet};
use crate::radius::{Secret, authenticator};

/// What the server does with a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Act {
    Answer,
    Ignore,
    Close,
    AnswerAndClose,
}

/// What happened at the server.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Event {
    /// A connection came from there.
    Connected { at: Instant, from: SocketAddr },
    /// The handshake failed or the connection ended, by number.
    Ended { at: Instant, connection: usize },
    /// An authentic Accounting-Request: number of the connection, its attributes.
    Request { connection: usize, attributes: Vec<u8> },
    /// An authentic Status-Server.
    Status { connection: usize },
    /// A request that is not signed with the secret.
    NotAuthentic { connection: usize },
    /// A TLS record, or a write, that is not one packet.
    WrongRecord { connection: usize, octets: usize },
    /// The client ended TLS with close_notify.
    Farewell { connection: usize },
}

/// What a test says about each request: number of the connection from 0, of the request on it from 0, its code.
type Script = dyn Fn(usize, usize, Code) -> Act + Send + Sync;

/// The running server. Its threads end with their connections, the first one when the test does.
pub struct Peer {
    pub address: SocketAddr,
    events: Receiver<Event>,
    sockets: Arc<Mutex<Vec<TcpStream>>>,
}

impl Peer {
    pub fn start(
        tls: Option<Arc<ServerConfig>>,
        secret: &str,
        script: impl Fn(usize, usize, Code) -> Act + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (tell, events) = channel();
        let sockets = Arc::new(Mutex::new(Vec::new()));
        let (held, script, secret): (_, Arc<Script>, _) = (Arc::clone(&sockets), Arc::new(script), Secret::new(secret));
        std::thread::spawn(move || {
            for connection in 0.. {
                let Ok((socket, from)) = listener.accept() else { return };
                if tell.send(Event::Connected { at: clock::mono(), from }).is_err() {
                    return;
                }
                held.lock().unwrap().push(socket.try_clone().unwrap());
                let session = tls.clone().map(|config| ServerConnection::new(config).unwrap());
                let (script, tell, secret) = (Arc::clone(&script), tell.clone(), secret.clone());
                std::thread::spawn(move || {
                    let mut wire = Wire { socket, session };
                    let _end = talk(&mut wire, connection, &*script, &tell, &secret);
                    let _gone = wire.socket.shutdown(Shutdown::Both);
                    let _told = tell.send(Event::Ended { at: clock::mono(), connection });
                });
            }
        });
        Self { address, events, sockets }
    }

    /// What has happened since the last call.
    pub fn events(&self) -> Vec<Event> {
        self.events.try_iter().collect()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        for socket in self.sockets.lock().unwrap().drain(..) {
            let _gone = socket.shutdown(Shutdown::Both);
        }
        // Lets the listener see that nobody listens to it.
        let _last = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

fn talk(wire: &mut Wire, connection: usize, script: &Script, tell: &Sender<Event>, secret: &Secret) -> io::Result<()> {
    let say = |event| tell.send(event).map_err(io::Error::other);
    for number in 0.. {
        let octets = wire.next()?;
        if octets.is_empty() {
            return say(Event::Farewell { connection });
        }
        let packet = match Packet::parse(&octets) {
            Ok(packet) if packet.octets().len() == octets.len() => packet,
            _ => return say(Event::WrongRecord { connection, octets: octets.len() }),
        };
        let own = packet.authenticator();
        let is_status = packet.code() == Code::STATUS_SERVER;
        let is_authentic = match is_status {
            true => authenticator::check_request_message(&packet, &own, secret) == authenticator::MessageCheck::Good,
            false => authenticator::is_request_authentic(&packet, secret),
        };
        if !is_authentic {
            say(Event::NotAuthentic { connection })?;
            continue;
        }
        let act = script(connection, number, packet.code());
        say(match is_status {
            true => Event::Status { connection },
            false => Event::Request { connection, attributes: octets[packet::HEADER_OCTETS..].to_vec() },
        })?;
        if matches!(act, Act::Answer | Act::AnswerAndClose) {
            let mut answer = Vec::new();
            packet::begin(&mut answer, Code::ACCOUNTING_RESPONSE, packet.identifier());
            packet::push(&mut answer, 33, b"split");
            packet::finish(&mut answer).unwrap();
            authenticator::sign_response(&mut answer, &own, secret);
            wire.send(&answer[..7])?;
            wire.send(&answer[7..])?;
        }
        if matches!(act, Act::Close | Act::AnswerAndClose) {
            return Ok(());
        }
    }
    Ok(())
}

/// One connection of the server.
struct Wire {
    socket: TcpStream,
    session: Option<ServerConnection>,
}

impl Wire {
    /// A packet over TCP; over TLS what one record holds, nothing at its end.
    fn next(&mut self) -> io::Result<Vec<u8>> {
        let Some(session) = &mut self.session else {
            let mut octets = vec![0; 4];
            self.socket.read_exact(&mut octets)?;
            octets.resize(usize::from(u16::from_be_bytes([octets[2], octets[3]])).max(4), 0);
            self.socket.read_exact(&mut octets[4..])?;
            return Ok(octets);
        };
        loop {
            let mut record = vec![0; 5];
            self.socket.read_exact(&mut record)?;
            record.resize(5 + usize::from(u16::from_be_bytes([record[3], record[4]])), 0);
            self.socket.read_exact(&mut record[5..])?;
            session.read_tls(&mut record.as_slice())?;
            let state = session.process_new_packets();
            while session.wants_write() {
                session.write_tls(&mut self.socket)?;
            }
            let state = state.map_err(io::Error::other)?;
            if state.peer_has_closed() {
                return Ok(Vec::new());
            }
            let mut octets = vec![0; state.plaintext_bytes_to_read()];
            session.reader().read_exact(&mut octets)?;
            if !octets.is_empty() {
                return Ok(octets);
            }
        }
    }

    fn send(&mut self, octets: &[u8]) -> io::Result<()> {
        let Some(session) = &mut self.session else { return self.socket.write_all(octets) };
        session.writer().write_all(octets)?;
        while session.wants_write() {
            session.write_tls(&mut self.socket)?;
        }
        Ok(())
    }
}

/// An authority with a server and a client.
pub struct Certificates {
    dir: TempDir,
}

impl Certificates {
    pub fn new() -> Self {
        let dir = TempDir::with_prefix("tollgate-certs-").unwrap();
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, "test authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("ca.pem", &ca.pem());
        for (leaf, names) in [("server", vec!["127.0.0.1".to_owned()]), ("client", vec![])] {
            let key = KeyPair::generate().unwrap();
            write(&format!("{leaf}.pem"), &CertificateParams::new(names).unwrap().signed_by(&key, &ca).unwrap().pem());
            write(&format!("{leaf}.key"), &key.serialize_pem());
        }
        Self { dir }
    }

    /// A server for 127.0.0.1 that wants a client certificate of the authority.
    pub fn server(&self) -> Arc<ServerConfig> {
        let path = |name: &str| self.dir.path().join(name);
        let anchors = Arc::new(tls::trust_anchors(&path("ca.pem")).unwrap());
        let clients = WebPkiClientVerifier::builder_with_provider(anchors, tls::provider()).build().unwrap();
        let builder = ServerConfig::builder_with_provider(tls::provider()).with_safe_default_protocol_versions();
        let (chain, key) = (tls::certificates(&path("server.pem")), tls::private_key(&path("server.key")));
        let builder = builder.unwrap().with_client_cert_verifier(clients);
        Arc::new(builder.with_single_cert(chain.unwrap(), key.unwrap()).unwrap())
    }

    /// A client, with its certificate or without.
    pub fn client(&self, has_certificate: bool, name_check: NameCheck) -> ClientTls {
        let path = |name: &str| self.dir.path().join(name);
        let own = Identity { certificate: path("client.pem"), key: path("client.key") };
        let own = has_certificate.then_some(own);
        ClientTls::load(&ClientFiles { roots: Roots::File(path("ca.pem")), own, name_check }).unwrap()
    }
}
