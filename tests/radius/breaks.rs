//! A RADIUS server over TCP and TLS that closes the connection on one record: the others are delivered, and that one is
//! parked for what it does.
//!
//! The real queue lends, the real worker and sink deliver; the server is a script that reads and answers packets with
//! nothing of the client's own code.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use md5::{Digest, Md5};
use rustls::pki_types::ServerName;
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use tollgate::radius::Secret;
use tollgate::record::Kind;
use tollgate::sinks::radius::{Carrier, TlsSettings};

use crate::support::radius::{Line, of_user, settings};
use crate::support::stream::Authority;
use crate::support::wait_for;

const ACCOUNTING_REQUEST: u8 = 4;
const ACCOUNTING_RESPONSE: u8 = 5;
const ACCT_STATUS_TYPE: u8 = 40;
const ACCT_SESSION_ID: u8 = 44;
const STOP: u32 = 2;

/// Times that each record came, by session and Acct-Status-Type.
type Seen = Arc<Mutex<BTreeMap<(String, u32), usize>>>;

/// Starts a server that closes the connection on the Stop of `session`; its port and what it saw.
fn server(tls: Option<Arc<ServerConfig>>, secret: &'static [u8], session: String) -> (u16, Seen) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let seen = Seen::default();
    let shared = Arc::clone(&seen);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let (tls, seen, session) = (tls.clone(), Arc::clone(&shared), session.clone());
            std::thread::spawn(move || match tls {
                None => serve(&stream, secret, &session, &seen),
                Some(tls) => {
                    let connection = ServerConnection::new(tls).unwrap();
                    serve(Both(StreamOwned::new(connection, stream).into()), secret, &session, &seen);
                }
            });
        }
    });
    (port, seen)
}

/// TLS with the closing that `&TcpStream` has of its own.
struct Both(Box<StreamOwned<ServerConnection, TcpStream>>);

/// A connection that can be read, written and closed.
trait Wire {
    fn read_exact(&mut self, octets: &mut [u8]) -> bool;
    fn write_all(&mut self, octets: &[u8]) -> bool;
    fn close(&mut self);
}

impl Wire for &TcpStream {
    fn read_exact(&mut self, octets: &mut [u8]) -> bool {
        Read::read_exact(self, octets).is_ok()
    }
    fn write_all(&mut self, octets: &[u8]) -> bool {
        Write::write_all(self, octets).is_ok()
    }
    fn close(&mut self) {
        let _gone = self.shutdown(Shutdown::Both);
    }
}

impl Wire for Both {
    fn read_exact(&mut self, octets: &mut [u8]) -> bool {
        Read::read_exact(&mut self.0, octets).is_ok()
    }
    fn write_all(&mut self, octets: &[u8]) -> bool {
        Write::write_all(&mut self.0, octets).and_then(|()| self.0.flush()).is_ok()
    }
    fn close(&mut self) {
        let _gone = self.0.sock.shutdown(Shutdown::Both);
    }
}

/// One connection: every request is answered, but for the one that ends it.
fn serve(mut wire: impl Wire, secret: &[u8], session: &str, seen: &Seen) {
    let mut head = [0; 20];
    while wire.read_exact(&mut head) {
        let length = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let mut attributes = vec![0; length - head.len()];
        if !wire.read_exact(&mut attributes) {
            return;
        }
        if head[0] == ACCOUNTING_REQUEST {
            let own = attribute(&attributes, ACCT_SESSION_ID).map(|value| String::from_utf8(value.to_vec()).unwrap());
            let status =
                attribute(&attributes, ACCT_STATUS_TYPE).map(|value| u32::from_be_bytes(value.try_into().unwrap()));
            let (own, status) = (own.unwrap(), status.unwrap());
            let breaks = own == session && status == STOP;
            *seen.lock().unwrap().entry((own, status)).or_default() += 1;
            if breaks {
                return wire.close();
            }
        }
        if !wire.write_all(&response(&head, secret)) {
            return;
        }
    }
}

/// Accounting-Response without attributes (RFC 2866 §3).
fn response(request: &[u8; 20], secret: &[u8]) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(&[ACCOUNTING_RESPONSE, request[1], 0, 20]);
    let authenticator = Md5::new().chain_update(&out[..4]).chain_update(&request[4..]).chain_update(secret).finalize();
    out[4..].copy_from_slice(&authenticator);
    out
}

fn attribute(mut attributes: &[u8], number: u8) -> Option<&[u8]> {
    while let [kind, length, ..] = *attributes {
        let (value, rest) = attributes.split_at(usize::from(length));
        if kind == number {
            return Some(&value[2..]);
        }
        attributes = rest;
    }
    None
}

/// Six calls, one Stop of which breaks every connection it comes on, and a call now and then afterwards.
fn one_breaks_them_all(tls: bool) {
    let authority = Authority::new();
    let (certificate, secret): (_, &'static [u8]) = if tls {
        (Some(Authority::server(&authority.certify(&["localhost"]), None)), b"radsec")
    } else {
        (None, b"testing123")
    };
    let (port, seen) = server(certificate, secret, format!("{:032x}", 3));
    let mut settings = settings(&[port]);
    settings.client.servers[0].secret = Secret::new(secret);
    settings.carrier = if tls {
        let name = ServerName::try_from("localhost").unwrap();
        Carrier::Tls(TlsSettings { config: authority.client(None).into(), names: vec![name] })
    } else {
        Carrier::Tcp
    };
    let mut line = Line::start(settings);
    let mut culprit = None;
    for number in 1..=6 {
        line.append_one(of_user(Kind::Start, number, "alice"));
        let stop = line.append_one(of_user(Kind::Stop, number, "alice"));
        if number == 3 {
            culprit = Some(stop);
        }
    }
    line.delivered(11);
    // That the server acknowledges others is seen from those that come.
    let (mut number, mut last) = (100, Instant::now());
    let parked = wait_for("the record is parked", || {
        if last.elapsed() > Duration::from_millis(300) {
            (number, last) = (number + 1, Instant::now());
            line.append_one(of_user(Kind::Start, number, "bob"));
        }
        (line.stats().parked_now > 0).then(|| line.parked(1))
    });
    line.delivered(11 + number - 100);
    let [(id, reason)] = &parked[..] else { panic!("one is parked: {parked:?}") };
    assert_eq!(Some(*id), culprit, "{reason}");
    let truth =
        "breaks whenever it is sent, 3 times so far with nothing else under way, while other records are acknowledged";
    assert!(reason.contains(truth), "{reason}");
    let seen = seen.lock().unwrap();
    let others = |(record, times): (&(String, u32), &usize)| (record.0 != format!("{:032x}", 3)).then_some(*times);
    let most = seen.iter().filter_map(others).max().unwrap();
    assert!(most <= 3, "an innocent record came {most} times: {seen:?}");
    assert_eq!(line.stats().balance.waiting, 0);
}

#[test]
fn over_tcp_a_record_that_breaks_its_connection_is_parked_and_the_innocent_are_delivered() {
    one_breaks_them_all(false);
}

#[test]
fn over_tls_a_record_that_breaks_its_connection_is_parked_and_the_innocent_are_delivered() {
    one_breaks_them_all(true);
}
