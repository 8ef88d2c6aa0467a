//! The torture messages of RFC 4475 and RFC 5118 through the real binary: each is sent over UDP, a catch-all user agent
//! stands behind the gateway, and what arrives is compared with what was sent, header by header and octet by octet.
//!
//! The caller's addresses are names and documentation addresses, so all answers come to the source's own address, at
//! the port of the Via (RFC 3261 §18.2.2). The caller lives at a loopback address made from the process number, where
//! these ports are free. After each message a sentinel goes the same way: what the message caused has come before it.

use std::collections::HashMap;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use crate::support::{Agent, Gateway, Side, Wire, free_ports, header_name, value_of, wait_for};

/// What becomes of a message.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Fate {
    /// It arrives unchanged but for what RFC 3261 §16.6 names, and its answer comes back unchanged.
    Forwarded,
    /// It is inside a dialog and names a next hop that nobody has: the agent's address is put there, once. Then as
    /// `Forwarded`. Without that the gateway would ask the DNS.
    Aimed(&'static str),
    /// The gateway answers it itself, and nothing arrives.
    Answered(u16),
    /// The same, with this header line.
    AnsweredWith(u16, &'static str),
    /// Nothing happens.
    Dropped,
    /// Nothing happens; but said by the agent in answer to a request, its reason phrase, headers and body pass
    /// unchanged.
    Echoed,
}

use Fate::{Aimed, Answered, AnsweredWith, Dropped, Echoed, Forwarded};

#[rustfmt::skip]
const FATES: &[(&str, &str, Fate)] = &[
    ("rfc4475/wsinv.dat", "odd white space, folds and unknown headers stay as they are", Aimed("services.example.com")),
    ("rfc4475/intmeth.dat", "an unknown method, NUL and UTF-8 in quotes stay as they are", Forwarded),
    ("rfc4475/esc01.dat", "%xx in URIs is neither undone nor added", Forwarded),
    ("rfc4475/escnull.dat", "%00 cuts nothing off", Forwarded),
    ("rfc4475/esc02.dat", "an escaped method is a method of its own", Forwarded),
    ("rfc4475/lwsdisp.dat", "no blank is put between display name and <", Forwarded),
    ("rfc4475/longreq.dat", "long values are forwarded whole", Forwarded),
    ("rfc4475/dblreq.dat", "what follows Content-Length in the datagram is not forwarded", Forwarded),
    ("rfc4475/semiuri.dat", "a semicolon belongs to the user part", Forwarded),
    ("rfc4475/transports.dat", "unknown transports in further Via values do not matter", Forwarded),
    ("rfc4475/mpart01.dat", "a binary body arrives octet by octet, and rport is filled in", Forwarded),
    ("rfc4475/unreason.dat", "a stray 200 goes nowhere; its reason phrase passes", Echoed),
    ("rfc4475/noreason.dat", "a stray 100 goes nowhere; an empty reason phrase passes", Echoed),
    ("rfc4475/badinv01.dat", "a Via that cannot be read", Answered(400)),
    ("rfc4475/clerr.dat", "a body shorter than Content-Length", Answered(400)),
    ("rfc4475/ncl.dat", "a negative Content-Length", Answered(400)),
    ("rfc4475/scalar02.dat", "a CSeq beyond 32 bits", Answered(400)),
    ("rfc4475/scalarlg.dat", "a response with numbers out of range goes nowhere", Dropped),
    ("rfc4475/quotbal.dat", "a quote in To that is never closed", Answered(400)),
    ("rfc4475/ltgtruri.dat", "a Request-URI in angle brackets", Answered(400)),
    ("rfc4475/lwsruri.dat", "white space inside the Request-URI", Answered(400)),
    ("rfc4475/lwsstart.dat", "two blanks in the request line", Answered(400)),
    ("rfc4475/trws.dat", "blanks at the end of the request line", Answered(400)),
    ("rfc4475/escruri.dat", "headers in the Request-URI", Answered(400)),
    ("rfc4475/baddate.dat", "a Date that is none of a proxy's business", Forwarded),
    ("rfc4475/regbadct.dat", "a Contact that is none of a proxy's business", Forwarded),
    ("rfc4475/badaspec.dat", "blanks inside the angle brackets of To stay", Forwarded),
    ("rfc4475/baddn.dat", "commas in a display name without quotes stay", Forwarded),
    ("rfc4475/badvers.dat", "SIP/7.0", AnsweredWith(505, "")),
    ("rfc4475/mismatch01.dat", "a CSeq method that is not the request's", Answered(400)),
    ("rfc4475/mismatch02.dat", "the same with an unknown method", Answered(400)),
    ("rfc4475/bigcode.dat", "a response with a code beyond 699 goes nowhere", Dropped),
    ("rfc4475/badbranch.dat", "a branch of nothing but the magic cookie", Forwarded),
    ("rfc4475/insuf.dat", "no From, To and Call-ID", Answered(400)),
    ("rfc4475/unkscm.dat", "a Request-URI of an unknown scheme", Answered(416)),
    ("rfc4475/novelsc.dat", "a Request-URI of a known scheme that is not SIP's", Answered(416)),
    ("rfc4475/unksm2.dat", "unknown schemes in From, To and Contact do not matter", Forwarded),
    ("rfc4475/bext01.dat", "unknown extensions asked of proxies",
        AnsweredWith(420, "Unsupported: noProxiesSupportThis, norDoAnyProxiesSupportThis")),
    ("rfc4475/invut.dat", "an unknown type of body", Forwarded),
    ("rfc4475/regaut01.dat", "an unknown scheme of authorization", Forwarded),
    ("rfc4475/multi01.dat", "single headers repeated", Answered(400)),
    ("rfc4475/mcl01.dat", "two values of Content-Length", Answered(400)),
    ("rfc4475/bcast.dat", "a response for the broadcast address goes nowhere", Dropped),
    ("rfc4475/zeromf.dat", "an OPTIONS without hops left is for the gateway", Answered(200)),
    ("rfc4475/cparam01.dat", "an unknown parameter of Contact", Forwarded),
    ("rfc4475/cparam02.dat", "an unknown parameter of Contact's URI", Forwarded),
    ("rfc4475/regescrt.dat", "an escaped Route in Contact stays escaped", Forwarded),
    ("rfc4475/sdp01.dat", "an Accept that nobody can fulfil", Forwarded),
    ("rfc4475/inv2543.dat", "no branch, no From tag, no Max-Forwards and no Content-Length", Forwarded),
    ("rfc5118/ipv6-good.dat", "an IPv6 address in the Request-URI", Forwarded),
    ("rfc5118/ipv6-bad.dat", "an IPv6 address without brackets in the Request-URI", Answered(400)),
    ("rfc5118/port-ambiguous.dat", "what looks like a port inside the brackets", Forwarded),
    ("rfc5118/port-unambiguous.dat", "a port behind the brackets", Forwarded),
    ("rfc5118/via-received-param-with-delim.dat", "a To tag fits no call", Answered(481)),
    ("rfc5118/via-received-param-with-delim.dat", "`received` in brackets is replaced", Aimed("[2001:db8::10]")),
    ("rfc5118/via-received-param-no-delim.dat", "`received` without brackets is replaced", Forwarded),
    ("rfc5118/ipv6-in-sdp.dat", "the body ends where Content-Length says", Forwarded),
    ("rfc5118/mult-ip-in-header.dat", "both families in the Via values", Aimed("host.example.net")),
    ("rfc5118/mult-ip-in-sdp.dat", "both families in the body", Forwarded),
    ("rfc5118/ipv4-mapped-ipv6.dat", "an IPv4-mapped address in Via and Contact", Forwarded),
    ("rfc5118/ipv6-bug-abnf-3-colons.dat", "three colons in an IPv6 address", Answered(400)),
    ("rfc5118/ipv6-correct-abnf-2-colons.dat", "the same with two", Forwarded),
];

/// To tags that are taken out of messages which are to be forwarded.
const TO_TAGS: &[(&str, &str)] = &[
    ("rfc4475/wsinv.dat", ";   tag    = 1918181833n"),
    ("rfc5118/mult-ip-in-header.dat", ";tag=9817--94"),
    ("rfc5118/via-received-param-with-delim.dat", ";tag=bd76ya"),
];

/// Ports the Via values of the messages name; the others name none, or TLS.
const VIA_PORTS: &[(&str, u16)] = &[
    ("rfc4475/bext01.dat", 5061),
    ("rfc4475/quotbal.dat", 5050),
    ("rfc5118/ipv4-mapped-ipv6.dat", 19823),
    ("rfc5118/mult-ip-in-header.dat", 6050),
];
/// Messages answered at the port they came from: one asks so by `rport`, of the other the Via cannot be read.
const ANSWERED_AT_SOURCE: &[&str] = &["rfc4475/mpart01.dat", "rfc4475/badinv01.dat"];
const SIP_PORT: u16 = 5060;

fn folder() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture"))
}

/// A loopback address of this process alone, never 127.0.0.1.
fn own_address() -> Ipv4Addr {
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    Ipv4Addr::new(127, 1 + (high & 0x7f), middle, low.max(1))
}

/// What the gateway may change, applied by hand.
fn as_forwarded(sent: &Wire, source: SocketAddr) -> Wire {
    let mut wire = sent.clone();
    let length = sent.value("content-length");
    if let Ok(length) = String::from_utf8_lossy(length).parse::<usize>() {
        wire.body.truncate(length);
    }
    for (place, line) in wire.lines.iter_mut().enumerate() {
        if header_name(line) == "max-forwards" {
            let hops: u32 = String::from_utf8_lossy(value_of(line)).parse().expect("a number");
            let digits = line.len() - value_of(line).len();
            line.truncate(digits);
            line.extend((hops - 1).to_string().as_bytes());
        }
        if sent.places("via").first() == Some(&place) {
            *line = with_source(line, source);
        }
    }
    wire
}

/// A Via line of one value with `received` (RFC 3261 §18.2.1) and, where asked for, `rport` (RFC 3581 §4).
fn with_source(line: &[u8], source: SocketAddr) -> Vec<u8> {
    let (ip, port) = (source.ip(), source.port());
    let text = String::from_utf8_lossy(line);
    let mut has_received = false;
    let params = text.split(';').map(|param| match param.split_once('=') {
        Some(("received", _)) => {
            has_received = true;
            format!("received={ip}")
        }
        None if param == "rport" => format!("rport={port}"),
        _ => param.to_owned(),
    });
    let mut line = params.collect::<Vec<_>>().join(";");
    if !has_received {
        line += &format!(";received={ip}");
    }
    line.into_bytes()
}

/// The sockets of the test, and the gateways.
struct Bench {
    gateways: Vec<(Gateway, u16)>,
    dir: tempfile::TempDir,
    /// Sends all that a caller sends.
    mouth: Agent,
    /// Get the answers, by port.
    ears: HashMap<u16, Agent>,
    /// The catch-all user agent.
    agent: Agent,
    sentinels: u32,
    answers: u32,
}

impl Bench {
    fn new() -> Self {
        let at = |port: u16| Agent::bind(SocketAddr::from((own_address(), port)));
        let ports = VIA_PORTS.iter().map(|(_, port)| *port).chain([SIP_PORT]);
        Self {
            gateways: Vec::new(),
            dir: tempfile::tempdir().expect("a folder can be made"),
            mouth: at(0),
            ears: ports.map(|port| (port, at(port))).collect(),
            agent: at(0),
            sentinels: 0,
            answers: 0,
        }
    }

    /// A gateway by number: messages that share branch, sent-by and method are one transaction (RFC 3261 §17.2.3), so
    /// each of them goes to another one.
    fn gateway(&mut self, number: usize) -> SocketAddr {
        while self.gateways.len() <= number {
            let dir = self.dir.path().join(self.gateways.len().to_string());
            let [port, metrics] = free_ports();
            // One shard keeps the order; a short T1 ends the transactions within the test. Nobody is at the RADIUS port.
            let sip = format!(
                "listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = 1\nt1_ms = 100\nt2_ms = 1000\n"
            );
            let target = format!("sip:{};lr", self.agent.address);
            let more = format!("listen = \"127.0.0.1:{metrics}\"");
            self.gateways.push((Gateway::start_with(&dir, (port, &sip), &[target], 9, &more), metrics));
        }
        self.gateways[number].0.address()
    }

    /// Who gets the answer to a message.
    fn answered_at(&mut self, file: &str) -> &mut Agent {
        if ANSWERED_AT_SOURCE.contains(&file) {
            return &mut self.mouth;
        }
        let port = VIA_PORTS.iter().find(|(own, _)| *own == file).map_or(SIP_PORT, |(_, port)| *port);
        self.ears.get_mut(&port).expect("a socket for each port")
    }

    fn play(&mut self, file: &str, fate: Fate, to: SocketAddr) {
        let mut octets = fs::read(folder().join(file)).expect("the message is readable");
        if let Aimed(host) = fate {
            let at = octets.windows(host.len()).position(|part| part == host.as_bytes()).expect("the host is there");
            octets.splice(at..at + host.len(), self.agent.address.to_string().into_bytes());
        }
        // What has a To tag needs a call that it fits (481 else); here it is to arrive.
        if let Some((_, tag)) = TO_TAGS.iter().find(|(own, _)| *own == file && matches!(fate, Forwarded | Aimed(_))) {
            let at = octets.windows(tag.len()).position(|part| part == tag.as_bytes()).expect("the tag is there");
            octets.drain(at..at + tag.len());
        }
        self.mouth.send(&octets, to);
        let sent = Wire::read(&octets);
        match fate {
            Forwarded | Aimed(_) => self.arrives(file, &sent, to),
            Answered(code) => self.is_refused(file, &sent, (code, ""), to),
            AnsweredWith(code, line) => self.is_refused(file, &sent, (code, line), to),
            Dropped => {}
            Echoed => self.sentinel(to, Some(&sent)),
        }
        self.sentinel(to, None);
    }

    /// The message arrives as it was sent; its answer comes back as the agent gave it; a call can be ended.
    fn arrives(&mut self, file: &str, sent: &Wire, to: SocketAddr) {
        let arrived = self.agent.wait(&format!("{file} arrives"));
        let mut rest = arrived.clone();
        let own_via = take_first(&mut rest, "via");
        let place = format!("Via: SIP/2.0/UDP {to};branch=z9hG4bK");
        assert!(own_via.starts_with(&place) && !own_via[place.len()..].contains([';', ',']), "{file}: {own_via}");
        let is_invite = sent.method() == "INVITE";
        let makes_dialog = is_invite && !contains(sent.value("to"), b"tag");
        if makes_dialog {
            let route = take_first(&mut rest, "record-route");
            assert!(route.starts_with(&format!("Record-Route: <sip:{to};lr;")), "{file}: {route}");
        }
        if sent.places("max-forwards").is_empty() {
            // RFC 3261 §16.6 step 3.
            assert_eq!(take_first(&mut rest, "max-forwards"), "Max-Forwards: 70", "{file}");
        }
        if sent.places("max-breadth").is_empty() {
            // RFC 5393 §5.3.3.
            assert_eq!(take_first(&mut rest, "max-breadth"), "Max-Breadth: 60", "{file}");
        }
        let mut want = as_forwarded(sent, self.mouth.address);
        if !want.places("route").is_empty() {
            // Where a request outside of a dialog goes the routes of the gateway say.
            take_first(&mut want, "route");
        }
        assert_eq!(rest.text(), want.text(), "{file}");
        assert_eq!(rest, want, "{file}");

        let contact = format!("Contact: <sip:agent@{}>", self.agent.address).into_bytes();
        let status = "200 Schön — ça va".as_bytes();
        // Some messages differ in their Request-URI alone; their answers must not be taken for one that came again.
        self.answers += 1;
        let more = [contact, format!("X-Number: {}", self.answers).into_bytes(), b"X-Odd :\r\n  \xff;,\"".to_vec()];
        let answer = arrived.answer(status, "catch-all", &more, b"\0\xff\r\n");
        let back = self.send_answer(file, &answer, to);
        assert_eq!(sent.all("via").len(), back.all("via").len(), "{file}");
        if is_invite {
            self.end_call(file, sent, &back, to);
        }
    }

    /// The agent's answer comes back without the gateway's Via and with all else as it was.
    fn send_answer(&mut self, file: &str, answer: &Wire, to: SocketAddr) -> Wire {
        self.agent.send(&answer.octets(), to);
        let back = self.answered_at(file).wait(&format!("the answer to {file}"));
        let mut want = answer.clone();
        take_first(&mut want, "via");
        assert_eq!(back.text(), want.text(), "{file}");
        assert_eq!(back, want, "{file}");
        back
    }

    fn end_call(&mut self, file: &str, sent: &Wire, answer: &Wire, to: SocketAddr) {
        let caller = Side::caller(sent, answer);
        for (method, cseq) in [("ACK", sent.cseq()), ("BYE", sent.cseq() + 1)] {
            self.sentinels += 1;
            let via = format!("SIP/2.0/UDP caller;branch=z9hG4bKend{};rport", self.sentinels);
            let request = caller.request(method, cseq, &via);
            self.mouth.send(&request.octets(), to);
            let arrived = self.agent.wait(&format!("the {method} of {file}"));
            assert_eq!(arrived.start, request.start, "{file}");
            assert!(arrived.places("route").is_empty(), "{file}: {}", arrived.text());
            for name in ["from", "to", "call-id", "cseq"] {
                assert_eq!(arrived.all(name), request.all(name), "{file}: {name}");
            }
            if method == "BYE" {
                self.agent.send(&arrived.answer(b"200 OK", "", &[], b"").octets(), to);
                assert_eq!(self.mouth.wait(&format!("the BYE's answer in {file}")).code(), 200, "{file}");
            }
        }
    }

    /// The gateway's own answer; the ACK to it ends there.
    fn is_refused(&mut self, file: &str, sent: &Wire, (code, line): (u16, &str), to: SocketAddr) {
        let source = self.mouth.address;
        let answer = self.answered_at(file).wait(&format!("an answer to {file}"));
        assert_eq!(answer.code(), code, "{file}: {}", answer.text());
        assert!(answer.body.is_empty() && answer.value("content-length") == b"0", "{file}: {}", answer.text());
        for name in ["from", "call-id", "cseq"] {
            assert_eq!(answer.all(name), sent.all(name), "{file}: {name}");
        }
        let mut vias: Vec<_> = sent.all("via").into_iter().map(<[u8]>::to_vec).collect();
        if file != "rfc4475/badinv01.dat" {
            vias[0] = with_source(&vias[0], source);
        }
        assert_eq!(answer.all("via"), vias, "{file}");
        for (own, of_request) in answer.all("to").into_iter().zip(sent.all("to")) {
            assert!(own.starts_with(of_request), "{file}: {}", answer.text());
        }
        let is_there = answer.lines.iter().any(|own| own == line.as_bytes());
        assert!(line.is_empty() || is_there, "{file}: {line} in {}", answer.text());
        if sent.method() == "INVITE" {
            let mut ack = Wire { start: [b"ACK", &sent.start[b"INVITE".len()..]].concat(), body: Vec::new(), ..answer };
            for place in ack.places("cseq") {
                ack.lines[place] = format!("CSeq: {} ACK", sent.cseq()).into_bytes();
            }
            self.mouth.send(&ack.octets(), to);
        }
    }

    /// A request goes to the agent and its answer back; nothing else comes. `like`: its headers and body are the answer's.
    fn sentinel(&mut self, to: SocketAddr, like: Option<&Wire>) {
        self.sentinels += 1;
        let number = self.sentinels;
        let request = format!(
            "OPTIONS sip:sentinel@example.org SIP/2.0\r\nVia: SIP/2.0/UDP sentinel;branch=z9hG4bKsentinel{number};rport\r\n\
             Max-Forwards: 9\r\nFrom: <sip:a@example.org>;tag=1\r\nTo: <sip:sentinel@example.org>\r\n\
             Call-ID: sentinel{number}\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
        );
        self.mouth.send(request.as_bytes(), to);
        let arrived = self.agent.wait("the sentinel");
        let id = format!("sentinel{number}").into_bytes();
        assert_eq!(arrived.value("call-id"), id, "more than the sentinel arrived: {}", arrived.text());
        let answer = match like {
            None => arrived.answer(b"200 OK", "s", &[], b""),
            Some(like) => {
                let words: Vec<_> = like.start.splitn(3, |octet| *octet == b' ').collect();
                let own = ["via", "from", "to", "call-id", "cseq"];
                let more: Vec<_> =
                    like.lines.iter().filter(|line| !own.contains(&&*header_name(line))).cloned().collect();
                arrived.answer(&[b"200 ", words[2]].concat(), "s", &more, &like.body)
            }
        };
        self.agent.send(&answer.octets(), to);
        let back = self.mouth.wait("the sentinel's answer");
        let mut want = answer;
        take_first(&mut want, "via");
        assert_eq!(back.text(), want.text(), "more than the sentinel's answer came");
        assert_eq!(back, want);
        for agent in self.ears.values_mut().chain([&mut self.agent, &mut self.mouth]) {
            let more = agent.take().map(|more| more.text());
            assert_eq!(more, None, "came to {} before the sentinel", agent.address);
        }
    }
}

/// Takes the first line of a header out.
fn take_first(wire: &mut Wire, name: &str) -> String {
    let place = *wire.places(name).first().unwrap_or_else(|| panic!("no {name} in {}", wire.text()));
    String::from_utf8_lossy(&wire.lines.remove(place)).into_owned()
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|own| own == part)
}

/// Branch, sent-by and method of a message.
fn transaction(wire: &Wire) -> [String; 3] {
    let via = String::from_utf8_lossy(wire.value("via")).into_owned();
    let sent_by = via.split(';').next().and_then(|part| part.split_whitespace().last()).unwrap_or_default();
    let branch = via.split(';').find(|param| param.starts_with("branch")).unwrap_or_default();
    [branch.to_owned(), sent_by.trim_end_matches(":5060").to_owned(), wire.method().to_owned()]
}

#[test]
fn each_torture_message_meets_its_fate_and_leaves_nothing_behind() {
    let mut bench = Bench::new();
    let mut transactions: HashMap<[String; 3], usize> = HashMap::new();
    for (file, what, fate) in FATES {
        println!("{file}: {what}");
        let wire = Wire::read(&fs::read(folder().join(file)).unwrap());
        let number = transactions.entry(transaction(&wire)).and_modify(|count| *count += 1).or_default();
        let to = bench.gateway(*number);
        bench.play(file, *fate, to);
    }
    for number in 0..bench.gateways.len() {
        let to = bench.gateway(number);
        let call = "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP caller.example.org;branch=z9hG4bKlast\r\n\
                    Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=1\r\nTo: <sip:bob@example.org>\r\n\
                    Call-ID: last\r\nCSeq: 1 INVITE\r\nContact: <sip:alice@example.org>\r\nContent-Length: 0\r\n\r\n";
        bench.mouth.send(call.as_bytes(), to);
        bench.arrives("an ordinary call", &Wire::read(call.as_bytes()), to);
        bench.sentinel(to, None);
    }
    for (gateway, metrics) in &mut bench.gateways {
        for name in ["tollgate_sip_transactions", "tollgate_sip_calls"] {
            wait_for(&format!("{name} is 0"), || Gateway::metric(*metrics, name).filter(|count| *count == 0.0));
        }
        let ended = gateway.process.child.try_wait().unwrap();
        assert_eq!(ended, None, "{}", gateway.process.printed());
        let printed = gateway.process.printed();
        assert!(!printed.contains("panicked"), "{printed}");
    }
}

#[test]
fn the_fates_are_those_the_rfcs_ask_for() {
    let table = fs::read_to_string(folder().join("expected.tsv")).unwrap();
    let mut files = 0;
    for line in table.lines().skip(1) {
        let cells: Vec<_> = line.split('\t').collect();
        let [file, _, kind, verdict, action] = cells[..] else { panic!("five columns: {line}") };
        let fates: Vec<_> = FATES.iter().filter(|(own, ..)| *own == file).map(|(.., fate)| *fate).collect();
        let fate = *fates.last().unwrap_or_else(|| panic!("no fate of {file}"));
        let code = match fate {
            Answered(code) | AnsweredWith(code, _) => Some(code),
            _ => None,
        };
        let named = action.get(..3).and_then(|word| word.parse::<u16>().ok());
        let fits = match (kind, verdict) {
            ("response", "accept" | "reject") => matches!(fate, Dropped | Echoed),
            ("request", "reject") => code.is_some() && code == named,
            ("request", "either") => code.is_none() || code == Some(400),
            // 483, or for an OPTIONS the gateway's own answer.
            ("request", "accept") if file == "rfc4475/zeromf.dat" => code == Some(200),
            ("request", "accept") => code == named,
            _ => panic!("{line}"),
        };
        assert!(fits, "{line}: {fate:?}");
        files += 1;
    }
    assert_eq!(files, 61);
    assert!(FATES.iter().all(|(file, ..)| table.contains(file)));
}
