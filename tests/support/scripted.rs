//! A Diameter server of the test's own on a real socket, which does to each Accounting-Request what it is told.

use std::io::{Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use tollgate::diameter::avp::{Avps, Writer};
use tollgate::diameter::header::{self, Header, command};
use tollgate::diameter::{application, code};

const M: u8 = 0x40;

/// An Accounting-Request as it came.
#[derive(Clone, Debug)]
pub struct Request {
    /// The connection it came over, from 1.
    pub connection: usize,
    /// Accounting-Record-Type.
    pub record_type: u32,
    /// Its octets behind the header.
    pub avps: Vec<u8>,
    /// The header.
    pub header: Header,
}

impl Request {
    /// The value of its first AVP of a code without a vendor, as text.
    pub fn text(&self, code: u32) -> String {
        let avp = Avps::new(&self.avps).find(code, 0);
        avp.map_or_else(String::new, |avp| String::from_utf8_lossy(avp.value).into_owned())
    }

    /// The flags of its first AVP of a code without a vendor.
    pub fn flags(&self, code: u32) -> Option<u8> {
        Avps::new(&self.avps).find(code, 0).map(|avp| avp.flags)
    }
}

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reaction {
    /// An answer with this Result-Code.
    Answer(u32),
    /// An answer about another session.
    Foreign,
    /// The connection is closed.
    Close,
    /// Nothing.
    Silence,
    /// A Disconnect-Peer-Request with this cause, then the end.
    Dismiss(u32),
}

/// The server.
pub struct Scripted {
    /// Its port.
    pub port: u16,
    seen: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// Starts one on a free port; it ends with the test's process.
    pub fn start(react: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        Self::with(2001, react)
    }

    /// One that answers capabilities with this Result-Code, and closes unless that is a success.
    pub fn with(capabilities: u32, react: impl Fn(&Request) -> Reaction + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has a free port");
        let port = listener.local_addr().expect("it is bound").port();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let (react, all) = (Arc::new(react), Arc::clone(&seen));
        std::thread::spawn(move || {
            for (number, stream) in (1..).zip(listener.incoming()) {
                let (react, all) = (Arc::clone(&react), Arc::clone(&all));
                let Ok(stream) = stream else { return };
                std::thread::spawn(move || serve(stream, number, capabilities, &*react, &all));
            }
        });
        Self { port, seen }
    }

    /// What came so far.
    pub fn requests(&self) -> Vec<Request> {
        self.seen.lock().expect("no test thread panicked").clone()
    }
}

fn serve(
    mut stream: TcpStream,
    connection: usize,
    capabilities: u32,
    react: &dyn Fn(&Request) -> Reaction,
    seen: &Mutex<Vec<Request>>,
) {
    let mut input = Vec::new();
    let mut chunk = [0; 65_536];
    while let Ok(octets @ 1..) = stream.read(&mut chunk) {
        input.extend_from_slice(&chunk[..octets]);
        while let Ok(Some(octets)) = header::frame(&input, 65_536) {
            let message: Vec<u8> = input.drain(..octets).collect();
            let (asked, avps) = header::split(&message).expect("a whole message");
            if !asked.is_request() {
                continue;
            }
            if asked.command != command::ACCOUNTING {
                let result = if asked.command == command::CAPABILITIES_EXCHANGE { capabilities } else { 2001 };
                if stream.write_all(&answer(&asked, result, None)).is_err() || result != 2001 {
                    return;
                }
                continue;
            }
            let record_type = Avps::new(avps).find(code::ACCOUNTING_RECORD_TYPE, 0).and_then(|avp| avp.u32());
            let record_type = record_type.expect("every request has a record type");
            let request = Request { connection, record_type, avps: avps.to_vec(), header: asked };
            seen.lock().expect("no test thread panicked").push(request.clone());
            let session = request.text(code::SESSION_ID);
            let sent = match react(&request) {
                Reaction::Answer(result) => stream.write_all(&answer(&asked, result, Some(&session))),
                Reaction::Foreign => stream.write_all(&answer(&asked, 2001, Some("other.test;1;2"))),
                Reaction::Silence => Ok(()),
                Reaction::Close => return,
                Reaction::Dismiss(cause) => {
                    let head =
                        Header { flags: 0x80, command: command::DISCONNECT_PEER, hop_by_hop: 1, ..Header::default() };
                    let goodbye = build(&head, |avps| {
                        origin(avps);
                        avps.u32(code::DISCONNECT_CAUSE, 0, M, cause);
                    });
                    stream.write_all(&goodbye)
                }
            };
            if sent.is_err() {
                return;
            }
        }
    }
}

fn origin(avps: &mut Writer<'_>) {
    avps.avp(code::ORIGIN_HOST, 0, M, b"acct.test.example");
    avps.avp(code::ORIGIN_REALM, 0, M, b"test.example");
}

fn answer(asked: &Header, result: u32, session: Option<&str>) -> Vec<u8> {
    build(&asked.answer(), |avps| {
        if let Some(session) = session {
            avps.avp(code::SESSION_ID, 0, M, session.as_bytes());
        }
        avps.u32(code::RESULT_CODE, 0, M, result);
        origin(avps);
        if asked.command == command::CAPABILITIES_EXCHANGE {
            avps.address(code::HOST_IP_ADDRESS, 0, M, Ipv4Addr::LOCALHOST.into());
            avps.u32(code::VENDOR_ID, 0, M, 0);
            avps.avp(code::PRODUCT_NAME, 0, 0, b"scripted");
            avps.u32(code::ACCT_APPLICATION_ID, 0, M, application::ACCOUNTING);
        }
    })
}

fn build(head: &Header, fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut octets = Vec::new();
    header::message(&mut octets, head, fill).expect("an answer is short");
    octets
}
