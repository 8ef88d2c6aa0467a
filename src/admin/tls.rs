//! TLS of HTTP: the handshake of a connection, what its client has shown, and certificates that are renewed.
//!
//! A certificate signed by an authority of `admin.tls.client_ca` is as good as the token. It is looked at with each request:
//! a connection, or a session that is resumed, may outlive it. Who asks in clear text is told so in clear text.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::timeout;

use super::page;
use crate::clock::{self, Timestamp};
use crate::net::stream::Wire;
use crate::net::tls::purpose::Purpose;
use crate::net::tls::{ServerTls, expiry};
use crate::sinks::secret::Secret;
use crate::timers::rationed::Rationed;

/// Longest handshake, from the connection to its end.
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// Octets that are read of a request in clear text before it is answered.
const CLEAR_OCTETS_MAX: usize = 16 << 10;

/// What is said to one.
const CLEAR: &str = "this port speaks TLS: ask it by https://";

/// TLS of HTTP as it is configured.
#[derive(Clone, Debug)]
pub struct HttpTls {
    /// What connections are secured with.
    pub server: ServerTls,
    /// Whether clients are asked for a certificate: then `/api` is for those that show one or have the token.
    pub asks_clients: bool,
}

/// Brings new TLS and another token to the running server.
#[derive(Clone, Debug)]
pub struct Renewal {
    tls: watch::Sender<Option<HttpTls>>,
    token: watch::Sender<Option<Secret>>,
}

impl Renewal {
    /// What the server begins with; without TLS it speaks clear text.
    pub(super) fn new(tls: Option<HttpTls>, token: Option<Secret>) -> Self {
        Self { tls: watch::Sender::new(tls), token: watch::Sender::new(token) }
    }

    /// New connections have this TLS. Those that stand end, after the answer that is under way: a certificate may be good no more.
    pub fn renew(&self, tls: Option<HttpTls>) {
        self.tls.send_if_modified(|own| {
            let matters = own.is_some() || tls.is_some();
            *own = tls;
            matters
        });
    }

    /// The next request is asked for this token, on a connection that stands too.
    pub fn renew_token(&self, token: Option<Secret>) {
        self.token.send_replace(token);
    }

    /// The token as it is at any time.
    pub(super) fn token(&self) -> watch::Receiver<Option<Secret>> {
        self.token.subscribe()
    }

    /// Whether there is TLS now.
    pub(super) fn has_tls(&self) -> bool {
        self.tls.borrow().is_some()
    }

    /// The gate of a server that follows it.
    pub(super) fn gate(&self) -> Gate {
        Gate { tls: self.tls.subscribe(), failures: Arc::default() }
    }
}

/// Where connections come in.
#[derive(Clone, Debug)]
pub(super) struct Gate {
    tls: watch::Receiver<Option<HttpTls>>,
    failures: Arc<Mutex<Rationed>>,
}

/// What is known of the client of a connection.
#[derive(Clone, Debug)]
pub(super) struct Client {
    /// Where it is.
    from: SocketAddr,
    /// Whether it was asked for a certificate.
    was_asked: bool,
    /// The good one that it has shown.
    shown: Option<Shown>,
}

/// A certificate that was good when it was shown.
#[derive(Clone, Debug)]
pub(super) struct Shown {
    /// Whose it is.
    pub holder: Arc<str>,
    /// Its last instant.
    pub until: Timestamp,
}

impl Shown {
    fn of(certificate: &[u8]) -> Option<Self> {
        let holder = Purpose::of(certificate)?.holder.into();
        Some(Self { holder, until: expiry::last_instant(certificate)? })
    }
}

impl Client {
    /// One that nobody asked for a certificate.
    pub const fn at(from: SocketAddr) -> Self {
        Self { from, was_asked: false, shown: None }
    }

    /// The same, asked, with what it has shown.
    pub fn asked(self, shown: Option<Shown>) -> Self {
        Self { was_asked: true, shown, ..self }
    }

    /// Whether it was asked for a certificate.
    pub const fn was_asked(&self) -> bool {
        self.was_asked
    }

    /// Whose certificate it has shown, if that is good at this time.
    pub fn certified(&self, now: Timestamp) -> Option<&str> {
        self.shown.as_ref().filter(|shown| now <= shown.until).map(|shown| &*shown.holder)
    }

    /// Its name for the log, by what let it in.
    pub fn named(&self, by: &str) -> Arc<str> {
        format!("{by} from {}", self.from).into()
    }
}

impl Gate {
    /// Secures a connection, if that is configured. `None`: there is nobody to serve, which was told.
    pub async fn pass(&mut self, stream: TcpStream, peer: SocketAddr) -> Option<(Wire, Client)> {
        let client = Client::at(peer);
        let Some(tls) = self.tls.borrow_and_update().clone() else { return Some((Wire::Tcp(stream), client)) };
        match timeout(HANDSHAKE_MAX, secured(stream, &tls.server)).await {
            Ok(Ok(wire)) => {
                let shown = wire.certificates().and_then(|all| all.first());
                let shown = shown.and_then(|own| Shown::of(own));
                return Some((wire, if tls.asks_clients { client.asked(shown) } else { client }));
            }
            // It came and went: a look whether the port is there.
            Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => {}
            Ok(Err(error)) => self.failed(|failures| {
                tracing::info!(%peer, %error, failures, "an HTTP connection has failed at TLS (`admin.tls`)");
            }),
            Err(_) => tracing::debug!(%peer, "the TLS handshake of an HTTP connection took too long"),
        }
        None
    }

    /// Done when new connections have another TLS; never when nobody brings one any more.
    pub async fn renewed(&mut self) {
        if self.tls.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    fn failed(&self, tell: impl FnOnce(u64)) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.count();
        if let Some(count) = failures.tell(clock::mono()) {
            tell(count);
        }
    }
}

async fn secured(mut stream: TcpStream, server: &ServerTls) -> io::Result<Wire> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // A handshake begins with 22 (RFC 8446 §5.1), a request with the name of its method.
    if !first[0].is_ascii_alphabetic() {
        return server.accept(stream).await.map(Wire::tls);
    }
    // What is left unread when it is closed would reset the connection, and the answer with it.
    let mut asked = vec![0; CLEAR_OCTETS_MAX];
    let length = stream.read(&mut asked).await?;
    stream.write_all(in_clear_text(&asked[..length]).as_bytes()).await?;
    stream.shutdown().await?;
    Err(io::Error::new(io::ErrorKind::InvalidData, "it asks in clear text"))
}

/// The answer to a request in clear text. Who asks for the page reads it in a browser.
fn in_clear_text(asked: &[u8]) -> String {
    let path = asked.split(|octet| *octet == b' ').nth(1).and_then(|path| std::str::from_utf8(path).ok());
    let (kind, body) = match path {
        Some(path) if page::has(path) => ("text/plain", format!("{CLEAR}\r\n")),
        _ => ("application/json", json!({ "error": CLEAR }).to_string()),
    };
    let length = body.len();
    format!(
        "HTTP/1.1 400 Bad Request\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    )
}
