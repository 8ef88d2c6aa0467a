//! Caller and callees of `tollgate demo`: two small user agents on loopback, enough for an answered, a refused and a
//! forwarded call. They speak real SIP over real sockets; only their scripts are fixed.

use std::fmt::Write as _;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use crate::sip::message::{Message, Method, Name};

/// How long an agent waits for one message before it looks whether it is to end, or sends again (T1 of RFC 3261).
const WAIT: Duration = Duration::from_millis(500);
/// How often a request is sent before the agent gives up: 8 s in all.
const TRIES_MAX: u32 = 16;
/// How long the callee lets it ring.
const RINGING: Duration = Duration::from_millis(120);

/// What a callee does with an INVITE.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Temper {
    /// Rings, then answers.
    Answers,
    /// Is busy.
    Busy,
}

/// A callee on a thread of its own; it ends when this is dropped.
pub(super) struct Callee {
    /// Where it listens.
    pub address: SocketAddr,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Callee {
    /// Starts one on a free port of loopback.
    pub fn start(temper: Temper) -> io::Result<Self> {
        let socket = socket()?;
        let address = socket.local_addr()?;
        let end = Arc::new(AtomicBool::new(false));
        let stop = end.clone();
        let thread = thread::Builder::new().name(format!("callee-{}", address.port())).spawn(move || {
            while !stop.load(Ordering::Relaxed) {
                if let Some((message, source)) = receive(&socket) {
                    answer(&socket, source, &message, temper);
                }
            }
        })?;
        Ok(Self { address, end, thread: Some(thread) })
    }
}

impl Drop for Callee {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _panicked = thread.join();
        }
    }
}

fn socket() -> io::Result<UdpSocket> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(WAIT))?;
    Ok(socket)
}

fn receive(socket: &UdpSocket) -> Option<(Message, SocketAddr)> {
    let mut buffer = [0; 65_535];
    let (length, source) = socket.recv_from(&mut buffer).ok()?;
    Message::parse(buffer[..length].to_vec()).ok().map(|message| (message, source))
}

fn answer(socket: &UdpSocket, source: SocketAddr, request: &Message, temper: Temper) {
    let send = |status: &str| {
        let _lost = socket.send_to(&response(request, status, socket), source);
    };
    match (request.method(), temper) {
        (Method::Ack, _) => {}
        (Method::Invite, Temper::Busy) => send("486 Busy Here"),
        (Method::Invite, Temper::Answers) => {
            send("180 Ringing");
            thread::park_timeout(RINGING);
            send("200 OK");
        }
        _ => send("200 OK"),
    }
}

/// A response with what RFC 3261 §8.2.6.2 and §12.1.1 copy from the request.
fn response(request: &Message, status: &str, socket: &UdpSocket) -> Vec<u8> {
    let local = socket.local_addr().map(|local| local.to_string()).unwrap_or_default();
    let mut text = format!("SIP/2.0 {status}\r\n");
    for (name, id) in [
        ("Via", Name::Via),
        ("Record-Route", Name::RecordRoute),
        ("From", Name::From),
        ("To", Name::To),
        ("Call-ID", Name::CallId),
        ("CSeq", Name::CSeq),
    ] {
        for value in request.headers(id) {
            let _infallible = write!(text, "{name}: {}", String::from_utf8_lossy(value).trim());
            if id == Name::To && request.to_tag().is_empty() {
                let _infallible = write!(text, ";tag=callee-{}", local.rsplit(':').next().unwrap_or_default());
            }
            text.push_str("\r\n");
        }
    }
    let _infallible = write!(text, "Contact: <sip:{local}>\r\nContent-Length: 0\r\n\r\n");
    text.into_bytes()
}

/// A caller with one socket.
pub(super) struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    gateway: SocketAddr,
}

/// The final answer to an INVITE.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answered {
    /// Code and reason phrase.
    pub status: String,
    /// Whether the call stood and was ended by a BYE that got its answer.
    pub ended: bool,
}

impl Caller {
    /// A caller that sends through `gateway`.
    pub fn new(gateway: SocketAddr) -> io::Result<Self> {
        let socket = socket()?;
        let local = socket.local_addr()?;
        Ok(Self { socket, local, gateway })
    }

    /// Calls `user`; when it answers, talks for `talk` and hangs up.
    pub fn call(&self, user: &str, talk: Duration) -> io::Result<Answered> {
        let id = format!("{user}-{}", self.local.port());
        let to = format!("<sip:{user}@{}>", self.gateway);
        let uri = format!("sip:{user}@{}", self.gateway);
        let answer = self.exchange("INVITE", 1, &uri, &id, &to, &[])?;
        let status = format!("{} {}", answer.code(), String::from_utf8_lossy(answer.reason()));
        let to = text(answer.header(Name::To));
        if answer.code() >= 300 {
            // Same branch, Request-URI and no Route: the ACK of RFC 3261 §17.1.1.3.
            self.socket.send_to(&self.request("ACK", 1, "INVITE", &uri, &id, &to, &[]), self.gateway)?;
            return Ok(Answered { status, ended: false });
        }
        let contact = text(answer.header(Name::Contact));
        let target = contact.trim_start_matches('<').trim_end_matches('>').to_owned();
        // The route set of a caller is the Record-Route of the answer, reversed (RFC 3261 §12.1.2).
        let mut routes: Vec<_> = answer.values(Name::RecordRoute).map(|value| text(Some(value))).collect();
        routes.reverse();
        self.socket.send_to(&self.request("ACK", 1, "ACK", &target, &id, &to, &routes), self.gateway)?;
        thread::park_timeout(talk);
        let answer = self.exchange("BYE", 2, &target, &id, &to, &routes)?;
        Ok(Answered { status, ended: answer.code() == 200 })
    }

    /// Sends until a final answer comes.
    fn exchange(
        &self,
        method: &str,
        cseq: u32,
        uri: &str,
        id: &str,
        to: &str,
        routes: &[String],
    ) -> io::Result<Message> {
        let request = self.request(method, cseq, method, uri, id, to, routes);
        let mut answered = false;
        for _ in 0..TRIES_MAX {
            if !answered {
                self.socket.send_to(&request, self.gateway)?;
            }
            while let Some((message, _)) = receive(&self.socket) {
                let ours = !message.is_request() && message.call_id() == id.as_bytes() && message.cseq().0 == cseq;
                if ours && message.code() >= 200 {
                    return Ok(message);
                }
                answered |= ours;
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no final answer to {method} for {uri}")))
    }

    #[allow(clippy::too_many_arguments, reason = "the parts of a request")]
    fn request(
        &self,
        method: &str,
        cseq: u32,
        branch: &str,
        uri: &str,
        id: &str,
        to: &str,
        routes: &[String],
    ) -> Vec<u8> {
        let local = self.local;
        let mut text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {local};branch=z9hG4bK{id}-{cseq}-{branch};rport\r\nMax-Forwards: 70\r\n"
        );
        for route in routes {
            let _infallible = write!(text, "Route: {route}\r\n");
        }
        let _infallible = write!(
            text,
            "From: \"Demo Caller\" <sip:alice@example.net>;tag=caller-{id}\r\nTo: {to}\r\nCall-ID: {id}\r\nCSeq: {cseq} {method}\r\n\
             Contact: <sip:alice@{local}>\r\nUser-Agent: tollgate-demo\r\nContent-Length: 0\r\n\r\n"
        );
        text.into_bytes()
    }
}

fn text(value: Option<&[u8]>) -> String {
    String::from_utf8_lossy(value.unwrap_or_default()).trim().to_owned()
}
