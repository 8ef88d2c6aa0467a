//! Caller and callees of `tollgate demo`: two small user agents on loopback, enough for an answered, a refused and a
//! forwarded call. They speak real SIP over real sockets; only their scripts are fixed.
//!
//! They read and write it with the `rsip` crate, not with `sip::message`: what passes the gateway is understood by a
//! stack that shares no line with it.

use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rsip::common::uri::UriWithParams;
use rsip::headers::{CSeq, CallId, Contact, ContentLength, From, MaxForwards, Route, To, UserAgent, Via};
use rsip::prelude::{HeadersExt as _, ToTypedHeader as _, UntypedHeader as _};
use rsip::{Header, Method, Request, Response, SipMessage, StatusCode, Uri, Version};

use crate::sip::proxy::usual_reason;

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
                if let Some((SipMessage::Request(request), source)) = receive(&socket) {
                    answer(&socket, source, &request, temper);
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

fn receive(socket: &UdpSocket) -> Option<(SipMessage, SocketAddr)> {
    let mut buffer = [0; 65_535];
    let (length, source) = socket.recv_from(&mut buffer).ok()?;
    SipMessage::try_from(&buffer[..length]).ok().map(|message| (message, source))
}

fn answer(socket: &UdpSocket, source: SocketAddr, request: &Request, temper: Temper) {
    let send = |code: u16| {
        if let Ok(response) = response(request, code, socket) {
            let _lost = socket.send_to(response.to_string().as_bytes(), source);
        }
    };
    match (request.method, temper) {
        (Method::Ack, _) => {}
        (Method::Invite, Temper::Busy) => send(486),
        (Method::Invite, Temper::Answers) => {
            send(180);
            thread::park_timeout(RINGING);
            send(200);
        }
        _ => send(200),
    }
}

/// A response with what RFC 3261 §8.2.6.2 and §12.1.1 copy from the request.
fn response(request: &Request, code: u16, socket: &UdpSocket) -> Result<Response, rsip::Error> {
    let local = socket.local_addr().map(|local| local.to_string()).unwrap_or_default();
    let mut headers = request.headers.clone();
    headers.retain(|header| {
        use Header::{CSeq, CallId, From, RecordRoute, To, Via};
        matches!(header, Via(_) | RecordRoute(_) | From(_) | To(_) | CallId(_) | CSeq(_))
    });
    headers.extend(vec![Contact::new(format!("<sip:{local}>")).into(), ContentLength::new("0").into()]);
    // Of `rsip` alone the reason phrase would be the name of its variant, such as `BusyHere`.
    let status_code = StatusCode::Other(code, usual_reason(code).to_owned());
    let mut response = Response { status_code, headers, ..Response::default() };
    let to = response.to_header()?.typed()?;
    if to.tag().is_none() {
        let tag = format!("callee-{}", local.rsplit(':').next().unwrap_or_default());
        *response.to_header_mut()? = to.with_tag(tag.into()).into();
    }
    Ok(response)
}

/// A caller with one socket.
pub(super) struct Caller {
    socket: UdpSocket,
    local: SocketAddr,
    gateway: SocketAddr,
}

/// The final response to an INVITE.
#[derive(Debug, Eq, PartialEq)]
pub(super) struct Answered {
    /// The call's Call-ID.
    pub call_id: String,
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
        let uri = Uri::try_from(format!("sip:{user}@{}", self.gateway)).map_err(io::Error::other)?;
        let mut call = Call { id, uri, to: To::new(format!("<sip:{user}@{}>", self.gateway)), routes: Vec::new() };
        let response = self.exchange(Method::Invite, 1, &call)?;
        let code = response.status_code.code();
        let status = format!("{code} {}", usual_reason(code));
        call.to = response.to_header().map_err(io::Error::other)?.clone();
        if code >= 300 {
            // Same branch, Request-URI and no Route: the ACK of RFC 3261 §17.1.1.3.
            self.send(&self.request(Method::Ack, 1, Method::Invite, &call))?;
            return Ok(Answered { call_id: call.id, status, ended: false });
        }
        call.enter_dialog(&response).map_err(io::Error::other)?;
        self.send(&self.request(Method::Ack, 1, Method::Ack, &call))?;
        thread::park_timeout(talk);
        let response = self.exchange(Method::Bye, 2, &call)?;
        Ok(Answered { ended: response.status_code.code() == 200, call_id: call.id, status })
    }

    fn send(&self, request: &Request) -> io::Result<()> {
        self.socket.send_to(request.to_string().as_bytes(), self.gateway).map(|_| ())
    }

    /// Sends until a final response comes.
    fn exchange(&self, method: Method, cseq: u32, call: &Call) -> io::Result<Response> {
        let request = self.request(method, cseq, method, call);
        let mut answered = false;
        for _ in 0..TRIES_MAX {
            if !answered {
                self.send(&request)?;
            }
            while let Some((message, _)) = receive(&self.socket) {
                let SipMessage::Response(response) = message else { continue };
                if !call.is_of(&response, cseq) {
                    continue;
                }
                if response.status_code.code() >= 200 {
                    return Ok(response);
                }
                answered = true;
            }
        }
        Err(io::Error::new(io::ErrorKind::TimedOut, format!("no final response to {method} for {}", call.uri)))
    }

    /// A request of the call; `branch` tells the ACK for a 2xx, a transaction of its own, from the one for a refusal.
    fn request(&self, method: Method, cseq: u32, branch: Method, call: &Call) -> Request {
        let (local, id) = (self.local, &call.id);
        let mut headers = vec![
            Via::new(format!("SIP/2.0/UDP {local};branch=z9hG4bK{id}-{cseq}-{branch};rport")).into(),
            MaxForwards::new("70").into(),
        ];
        headers.extend(call.routes.iter().map(|route| Route::new(route.to_string()).into()));
        headers.extend::<[Header; 7]>([
            From::new(format!("\"Demo Caller\" <sip:alice@example.net>;tag=caller-{id}")).into(),
            call.to.clone().into(),
            CallId::new(id).into(),
            CSeq::new(format!("{cseq} {method}")).into(),
            Contact::new(format!("<sip:alice@{local}>")).into(),
            UserAgent::new("tollgate-demo").into(),
            ContentLength::new("0").into(),
        ]);
        let uri = call.uri.clone();
        Request { method, uri, version: Version::V2, headers: headers.into(), body: Vec::new() }
    }
}

/// What the caller knows of its call.
struct Call {
    id: String,
    /// The Request-URI: whom it calls, then its remote target.
    uri: Uri,
    to: To,
    routes: Vec<UriWithParams>,
}

impl Call {
    fn is_of(&self, response: &Response, cseq: u32) -> bool {
        let is_own = response.call_id_header().is_ok_and(|id| id.value() == self.id);
        is_own && response.cseq_header().and_then(CSeq::typed).is_ok_and(|own| own.seq == cseq)
    }

    /// Remote target and route set, the Record-Route of the response reversed (RFC 3261 §12.1.2).
    fn enter_dialog(&mut self, response: &Response) -> Result<(), rsip::Error> {
        self.uri = response.contact_header()?.typed()?.uri;
        for header in response.headers.iter() {
            if let Header::RecordRoute(value) = header {
                self.routes.extend_from_slice(value.typed()?.uris());
            }
        }
        self.routes.reverse();
        Ok(())
    }
}
