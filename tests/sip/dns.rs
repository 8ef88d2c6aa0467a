//! The next hop by DNS (RFC 3263) through the real binary, with a small DNS server of the test's own: which records lead
//! where, what is asked how often, and that nobody waits for a server that is silent.

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use hickory_resolver::proto::op::{Message, OpCode};
use hickory_resolver::proto::rr::rdata::{A, CNAME, NAPTR, SOA, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::support::stream::Door;
use crate::support::{Agent, Gateway, Wire, free_port, free_ports, wait_for};

/// A DNS server that knows what it is told, and counts its questions. What is too long for a datagram it tells by TCP.
struct Dns {
    shared: Arc<Shared>,
    address: SocketAddr,
    threads: Vec<thread::JoinHandle<()>>,
}

/// A name in lower case, and a type.
type Question = (String, RecordType);

#[derive(Default)]
struct Shared {
    zone: Mutex<HashMap<Question, Vec<(u32, RData)>>>,
    asked: Mutex<HashMap<Question, usize>>,
    by_tcp: Mutex<usize>,
    is_silent: AtomicBool,
    ends: AtomicBool,
}

/// The TTL of an answer that is to last for the whole test.
const LONG: u32 = 3600;
/// What the server puts into a datagram (RFC 1035 §2.3.4); more is told by TCP.
const DATAGRAM_BYTES_MAX: usize = 512;
/// How often the server looks whether the test has ended.
const LOOK: Duration = Duration::from_millis(50);

impl Dns {
    fn start() -> Self {
        let (socket, listener) = both_sockets();
        socket.set_read_timeout(Some(LOOK)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let (address, shared) = (socket.local_addr().unwrap(), Arc::new(Shared::default()));
        let (own, other) = (shared.clone(), shared.clone());
        let threads = vec![thread::spawn(move || own.serve(&socket)), thread::spawn(move || other.listen(&listener))];
        Self { shared, address, threads }
    }

    /// Knows a record from here on.
    fn add(&self, ttl: u32, name: &str, data: RData) {
        let key = (name.to_owned(), data.record_type());
        self.shared.zone.lock().unwrap().entry(key).or_default().push((ttl, data));
    }

    fn a(&self, ttl: u32, name: &str) {
        self.add(ttl, name, RData::A(A(Ipv4Addr::LOCALHOST)));
    }

    fn srv(&self, name: &str, priority: u16, port: u16, target: &str) {
        self.add(LONG, name, RData::SRV(SRV::new(priority, 0, port, self::name(target))));
    }

    fn naptr(&self, name: &str, order: u16, service: &str, to: &str) {
        let octets = |text: &str| Box::from(text.as_bytes());
        let data = NAPTR::new(order, 10, octets("s"), octets(service), octets(""), self::name(to));
        self.add(LONG, name, RData::NAPTR(data));
    }

    fn alias(&self, name: &str, of: &str) {
        self.add(LONG, name, RData::CNAME(CNAME(self::name(of))));
    }

    /// How often a question was asked, by whatever repetition.
    fn asked(&self, name: &str, kind: RecordType) -> usize {
        self.shared.asked.lock().unwrap().get(&(name.to_owned(), kind)).copied().unwrap_or(0)
    }

    /// All questions so far.
    fn questions(&self) -> usize {
        self.shared.asked.lock().unwrap().values().sum()
    }

    fn silence(&self, is_silent: bool) {
        self.shared.is_silent.store(is_silent, Ordering::SeqCst);
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.shared.ends.store(true, Ordering::SeqCst);
        for thread in self.threads.drain(..) {
            let _panicked = thread.join();
        }
    }
}

/// A datagram socket and a listener at the same port.
fn both_sockets() -> (UdpSocket, TcpListener) {
    wait_for("a port that is free for both", || {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let listener = TcpListener::bind(socket.local_addr().unwrap()).ok()?;
        Some((socket, listener))
    })
}

fn name(text: &str) -> Name {
    Name::from_ascii(format!("{text}.")).unwrap()
}

impl Shared {
    fn serve(&self, socket: &UdpSocket) {
        let mut buffer = [0; 4096];
        while !self.ends.load(Ordering::SeqCst) {
            let Ok((length, from)) = socket.recv_from(&mut buffer) else { continue };
            let Ok(question) = Message::from_vec(&buffer[..length]) else { continue };
            let answer = self.answer(&question);
            if self.is_silent.load(Ordering::SeqCst) {
                continue;
            }
            let mut octets = answer.to_vec().unwrap();
            if octets.len() > DATAGRAM_BYTES_MAX {
                octets = answer.truncate().to_vec().unwrap();
            }
            let _gone = socket.send_to(&octets, from);
        }
    }

    fn listen(&self, listener: &TcpListener) {
        while !self.ends.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => _ = self.serve_stream(stream),
                Err(_) => thread::park_timeout(LOOK),
            }
        }
    }

    /// Answers what comes by one connection, until it is closed or says nothing for a while.
    fn serve_stream(&self, mut stream: TcpStream) -> std::io::Result<()> {
        stream.set_nonblocking(false)?;
        stream.set_read_timeout(Some(LOOK * 10))?;
        loop {
            let mut length = [0; 2];
            stream.read_exact(&mut length)?;
            let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
            stream.read_exact(&mut octets)?;
            let answer = self.answer(&Message::from_vec(&octets).unwrap()).to_vec().unwrap();
            *self.by_tcp.lock().unwrap() += 1;
            stream.write_all(&u16::try_from(answer.len()).unwrap().to_be_bytes())?;
            stream.write_all(&answer)?;
        }
    }

    fn answer(&self, question: &Message) -> Message {
        let query = question.queries.first().unwrap().clone();
        let mut key = (query.name().to_ascii().trim_end_matches('.').to_lowercase(), query.query_type());
        *self.asked.lock().unwrap().entry(key.clone()).or_default() += 1;
        let mut answer = Message::response(question.metadata.id, OpCode::Query);
        answer.metadata.recursion_available = true;
        answer.metadata.recursion_desired = question.metadata.recursion_desired;
        let mut owner = query.name().clone();
        answer.add_query(query);
        let zone = self.zone.lock().unwrap();
        while let Some((ttl, RData::CNAME(of))) =
            zone.get(&(key.0.clone(), RecordType::CNAME)).and_then(|own| own.first())
        {
            answer.add_answer(Record::from_rdata(owner, *ttl, RData::CNAME(of.clone())));
            owner = of.0.clone();
            key.0 = owner.to_ascii().trim_end_matches('.').to_lowercase();
        }
        match zone.get(&key) {
            Some(records) => {
                let record = |(ttl, data): &(u32, RData)| Record::from_rdata(owner.clone(), *ttl, data.clone());
                answer.add_answers(records.iter().map(record));
            }
            None => {
                // No such record, for as long as the SOA says (RFC 2308).
                let soa = SOA::new(name("ns.example.net"), name("dns.example.net"), 1, 3600, 600, 86_400, LONG);
                answer.add_authority(Record::from_rdata(name("example.net"), LONG, RData::SOA(soa)));
            }
        }
        answer
    }
}

/// A gateway with a UDP and a TCP listener that asks this server. Nobody is at its RADIUS port.
struct Proxy {
    gateway: Gateway,
    _dir: tempfile::TempDir,
}

impl Proxy {
    /// `more` goes into `[sip.dns]`.
    fn start(dns: &Dns, targets: &[String], more: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [udp] = free_ports();
        let tcp = free_port();
        let sip = format!(
            "listen = [\"udp:127.0.0.1:{udp}\", \"tcp:127.0.0.1:{tcp}\"]\nallow = [\"127.0.0.0/8\"]\n\
             trusted_proxies = [\"127.0.0.0/8\"]\nshards = 1\n[sip.dns]\nservers = [\"{}\"]\n{more}",
            dns.address
        );
        let gateway = Gateway::start_with(dir.path(), (udp, &sip), targets, 9, "");
        Self { gateway, _dir: dir }
    }

    fn send(&self, from: &Agent, wire: &Wire) {
        from.send(&wire.octets(), self.gateway.address());
    }
}

/// An OPTIONS that a trusted proxy has routed already: it goes where its Route leads.
fn options(from: &Agent, uri: &str, id: &str) -> Wire {
    let mut request = request(from, "OPTIONS", uri, id, "");
    request.lines.insert(1, format!("Route: <{uri};lr>").into_bytes());
    request
}

/// An INVITE of a new call: it goes to the target of the route.
fn invite(from: &Agent, id: &str) -> Wire {
    request(from, "INVITE", "sip:bob@example.org", id, "")
}

fn request(from: &Agent, method: &str, uri: &str, id: &str, tag: &str) -> Wire {
    let here = from.address;
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>{tag}\r\nCall-ID: {id}\r\nCSeq: 1 {method}\r\n\
         Contact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n"
    );
    Wire::read(text.as_bytes())
}

fn agent() -> Agent {
    Agent::bind("127.0.0.1:0".parse().unwrap())
}

/// Answers a request that came by UDP.
fn answer(agent: &Agent, proxy: &Proxy, arrived: &Wire, status: &[u8]) {
    let contact = format!("Contact: <sip:bob@{}>", agent.address).into_bytes();
    let line = arrived.answer(status, "b", &[contact, b"Content-Length: 0".to_vec()], b"");
    agent.send(&line.octets(), proxy.gateway.address());
}

/// Sends an OPTIONS to a name; it arrives at `callee`, and its answer comes back.
fn passes(proxy: &Proxy, caller: &mut Agent, callee: &mut Agent, uri: &str, id: &str) {
    proxy.send(caller, &options(caller, uri, id));
    let arrived = callee.wait(&format!("{id} to {uri}"));
    assert_eq!(arrived.value("call-id"), id.as_bytes());
    answer(callee, proxy, &arrived, b"200 OK");
    assert_eq!(caller.wait("the 200").code(), 200, "{id} to {uri}");
}

#[test]
fn naptr_leads_to_srv_and_srv_to_addresses_and_a_refusing_host_to_the_next() {
    let (dns, mut caller) = (Dns::start(), agent());
    let (mut busy, mut callee) = (agent(), agent());
    // Nobody is at the first host, and the second one is out of service.
    let [nobody] = free_ports();
    dns.naptr("pbx.example.net", 10, "SIP+D2U", "_sip._udp.sites.example.net");
    dns.naptr("pbx.example.net", 20, "SIP+D2T", "_sip._tcp.sites.example.net");
    dns.srv("_sip._udp.sites.example.net", 1, nobody, "one.example.net");
    dns.srv("_sip._udp.sites.example.net", 2, busy.address.port(), "two.example.net");
    dns.srv("_sip._udp.sites.example.net", 3, callee.address.port(), "three.example.net");
    for host in ["one.example.net", "two.example.net", "three.example.net"] {
        dns.a(LONG, host);
    }
    let proxy = Proxy::start(&dns, &["sip:pbx.example.net".to_owned()], "");
    proxy.send(&caller, &invite(&caller, "call"));
    let arrived = busy.wait("the INVITE at the second host");
    assert_eq!(arrived.start, b"INVITE sip:bob@pbx.example.net SIP/2.0", "the name stays in the Request-URI");
    answer(&busy, &proxy, &arrived, b"503 Service Unavailable");
    assert_eq!(busy.wait("its ACK").method(), "ACK");
    let arrived = callee.wait("the INVITE at the third host");
    let questions = dns.questions();
    answer(&callee, &proxy, &arrived, b"180 Ringing");
    assert_eq!(caller.wait("the 180").code(), 180);
    // CANCEL goes where the INVITE went.
    let sent = invite(&caller, "call");
    let cancel =
        String::from_utf8(sent.octets()).unwrap().replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    proxy.send(&caller, &Wire::read(cancel.as_bytes()));
    let cancel = callee.wait("the CANCEL");
    assert_eq!(cancel.method(), "CANCEL");
    assert_eq!(cancel.value("via"), arrived.value("via"), "with the branch of the INVITE");
    answer(&callee, &proxy, &cancel, b"200 OK");
    answer(&callee, &proxy, &arrived, b"487 Request Terminated");
    assert_eq!(callee.wait("the ACK of the 487").value("via"), arrived.value("via"));
    assert_eq!(dns.questions(), questions, "neither of them asked again");
    assert_eq!(dns.asked("_sip._tcp.sites.example.net", RecordType::SRV), 0, "the next order is not needed");
}

#[test]
fn records_port_and_transport_choose_the_way() {
    let (dns, mut caller) = (Dns::start(), agent());
    let mut callee = agent();
    let door = Door::anywhere(None);
    let (udp, tcp) = (callee.address.port(), door.address.port());
    dns.a(LONG, "host.example.net");
    dns.srv("_sip._udp.both.example.net", 1, udp, "host.example.net");
    dns.srv("_sip._tcp.both.example.net", 1, tcp, "host.example.net");
    dns.naptr("stream.example.net", 10, "SIP+D2T", "_sip._tcp.both.example.net");
    dns.naptr("stream.example.net", 20, "SIP+D2U", "_sip._udp.both.example.net");
    dns.srv("_sip._udp.none.example.net", 1, 5060, "");
    dns.a(LONG, "none.example.net");
    let proxy = Proxy::start(&dns, &["sip:127.0.0.1".to_owned()], "");
    for (what, uri) in [
        ("without NAPTR, UDP comes first", "sip:b@both.example.net".to_owned()),
        ("a port leads to the address", format!("sip:b@host.example.net:{udp}")),
        ("case is no matter", "sip:b@BOTH.Example.Net".to_owned()),
    ] {
        passes(&proxy, &mut caller, &mut callee, &uri, &what.replace([' ', ','], ""));
    }
    assert_eq!(dns.asked("host.example.net", RecordType::NAPTR), 0, "a port rules NAPTR out");
    assert_eq!(dns.asked("_sip._udp.host.example.net", RecordType::SRV), 0, "and SRV");
    let mut link = None;
    for (what, uri) in [
        ("NAPTR may prefer TCP", "sip:b@stream.example.net"),
        ("a transport rules NAPTR out", "sip:b@both.example.net;transport=tcp"),
    ] {
        let id = what.replace(' ', "");
        proxy.send(&caller, &options(&caller, uri, &id));
        let there = link.get_or_insert_with(|| door.wait(what));
        let arrived = there.wait(what);
        assert_eq!(arrived.value("call-id"), id.as_bytes());
        there.send(&arrived.answer(b"200 OK", "b", &[b"Content-Length: 0".to_vec()], b"").octets());
        assert_eq!(caller.wait("the 200").code(), 200, "{what}");
    }
    assert_eq!(dns.asked("both.example.net", RecordType::NAPTR), 1, "only when no transport was named");
    proxy.send(&caller, &options(&caller, "sip:b@none.example.net", "none"));
    assert_eq!(caller.wait("a refusal").code(), 500, "a target of `.` says that there is no service");
    assert_eq!(dns.asked("none.example.net", RecordType::A), 0);
    proxy.send(&caller, &options(&caller, "sip:b@nowhere.example.net", "nowhere"));
    assert_eq!(caller.wait("a refusal").code(), 500, "a name without records leads nowhere");
}

#[test]
fn an_answer_too_long_for_a_datagram_comes_by_tcp() {
    let (dns, mut caller, mut callee) = (Dns::start(), agent(), agent());
    for number in 1..16 {
        dns.srv("_sip._udp.large.example.net", 9, 9, &format!("one-of-many-hosts-{number}.example.net"));
    }
    dns.srv("_sip._udp.large.example.net", 1, callee.address.port(), "host.example.net");
    dns.a(LONG, "host.example.net");
    let proxy = Proxy::start(&dns, &["sip:127.0.0.1".to_owned()], "");
    passes(&proxy, &mut caller, &mut callee, "sip:b@large.example.net", "large");
    assert_eq!(*dns.shared.by_tcp.lock().unwrap(), 1, "the one long answer");
}

#[test]
fn aliases_are_followed_at_each_step() {
    let (dns, mut caller, mut callee) = (Dns::start(), agent(), agent());
    dns.alias("pbx.example.net", "office.example.net");
    dns.naptr("office.example.net", 10, "SIP+D2U", "_sip._udp.sites.example.net");
    dns.alias("_sip._udp.sites.example.net", "_sip._udp.main.example.net");
    dns.alias("_sip._udp.main.example.net", "_sip._udp.one.example.net");
    dns.srv("_sip._udp.one.example.net", 1, callee.address.port(), "first.example.net");
    dns.alias("first.example.net", "second.example.net");
    dns.alias("second.example.net", "host.example.net");
    dns.a(LONG, "host.example.net");
    dns.alias("astray.example.net", "astray.example.org");
    dns.alias("astray.example.org", "nowhere.example.net");
    let proxy = Proxy::start(&dns, &["sip:127.0.0.1".to_owned()], "");
    passes(&proxy, &mut caller, &mut callee, "sip:b@pbx.example.net", "alias");
    proxy.send(&caller, &options(&caller, "sip:b@astray.example.net", "nowhere"));
    assert_eq!(caller.wait("a refusal").code(), 500, "an alias of nothing leads nowhere");
}

#[test]
fn answers_are_kept_as_long_as_they_say() {
    let (dns, mut caller, mut callee) = (Dns::start(), agent(), agent());
    let port = callee.address.port();
    dns.srv("_sip._udp.short.example.net", 1, port, "short-host.example.net");
    dns.a(1, "short-host.example.net");
    dns.srv("_sip._udp.long.example.net", 1, port, "long-host.example.net");
    dns.a(LONG, "long-host.example.net");
    let proxy = Proxy::start(&dns, &["sip:127.0.0.1".to_owned()], "ttl_min_s = 0\n");
    let mut number = 0;
    let mut call = |host: &str| {
        number += 1;
        passes(&proxy, &mut caller, &mut callee, &format!("sip:b@{host}"), &format!("kept{number}"));
    };
    call("long.example.net");
    call("short.example.net");
    wait_for("the short answer to end", || {
        call("short.example.net");
        (dns.asked("short-host.example.net", RecordType::A) > 1).then_some(())
    });
    call("long.example.net");
    for (what, name, kind) in [
        ("an address", "long-host.example.net", RecordType::A),
        ("a service", "_sip._udp.long.example.net", RecordType::SRV),
        ("what the shorter answer came from", "_sip._udp.short.example.net", RecordType::SRV),
        ("that there is no NAPTR record", "long.example.net", RecordType::NAPTR),
        ("also where the rest was asked again", "short.example.net", RecordType::NAPTR),
        ("that there is no service by TCP", "_sip._tcp.long.example.net", RecordType::SRV),
    ] {
        assert_eq!(dns.asked(name, kind), 1, "{what}: {name} {kind}");
    }
}

/// A name that is known is asked for again when others answer, and stays known while they do not.
#[test]
fn a_reload_has_names_asked_at_other_servers() {
    let (dns, other, mut caller) = (Dns::start(), Dns::start(), agent());
    let (mut callee, mut moved) = (agent(), agent());
    for (server, callee) in [(&dns, &callee), (&other, &moved)] {
        server.srv("_sip._udp.host.example.net", 1, callee.address.port(), "a.example.net");
        server.a(LONG, "a.example.net");
    }
    let proxy = Proxy::start(&dns, &["sip:127.0.0.1".to_owned()], "timeout_ms = 200\n");
    let uri = "sip:b@host.example.net";
    passes(&proxy, &mut caller, &mut callee, uri, "before");
    let file = proxy.gateway.dir.join("tollgate.toml");
    let text = std::fs::read_to_string(&file).unwrap();
    let reload = |server: &Dns| {
        std::fs::write(&file, text.replace(&dns.address.to_string(), &server.address.to_string())).unwrap();
        // It would fail if a restart were needed.
        proxy.gateway.command(&["reload"]);
    };
    other.silence(true);
    reload(&other);
    passes(&proxy, &mut caller, &mut callee, uri, "silent");
    other.silence(false);
    let before = dns.questions();
    let mut number = 0;
    // The answer that could not be had anew is used for a little longer.
    wait_for("the other server's answer", || {
        number += 1;
        proxy.send(&caller, &options(&caller, uri, &format!("moved{number}")));
        let (arrived, is_moved) = wait_for("it arrives", || {
            let arrived = moved.take().map(|own| (own, true));
            arrived.or_else(|| callee.take().map(|own| (own, false)))
        });
        answer(&moved, &proxy, &arrived, b"200 OK");
        wait_for("its answer", || caller.take());
        is_moved.then_some(())
    });
    passes(&proxy, &mut caller, &mut moved, uri, "after");
    assert_eq!(dns.questions(), before, "the earlier server is not asked any more");
    reload(&dns);
    passes(&proxy, &mut caller, &mut callee, uri, "back");
}

#[test]
fn nobody_waits_for_a_silent_server_but_those_who_ask_it() {
    let (dns, mut caller, mut callee) = (Dns::start(), agent(), agent());
    dns.srv("_sip._udp.late.example.net", 1, callee.address.port(), "late-host.example.net");
    dns.a(LONG, "late-host.example.net");
    let target = format!("sip:{}", callee.address);
    let proxy = Proxy::start(&dns, &[target], "timeout_ms = 10000\n");
    dns.silence(true);
    let mut waiting: Vec<Agent> = (0..20).map(|_| agent()).collect();
    for (number, own) in waiting.iter().enumerate() {
        proxy.send(own, &options(own, "sip:b@late.example.net", &format!("late{number}")));
    }
    wait_for("the question", || (dns.asked("late.example.net", RecordType::NAPTR) > 0).then_some(()));
    for number in 0..10 {
        let id = format!("live{number}");
        proxy.send(&caller, &invite(&caller, &id));
        let arrived = callee.wait(&id);
        assert_eq!(arrived.value("call-id"), id.as_bytes(), "calls to an address pass meanwhile");
        answer(&callee, &proxy, &arrived, b"486 Busy Here");
        assert_eq!(callee.wait("its ACK").method(), "ACK");
        assert_eq!(caller.wait("the 486").code(), 486);
    }
    assert!(waiting.iter_mut().all(|own| own.take().is_none()), "the others still wait");
    dns.silence(false);
    for _ in 0..20 {
        let arrived = callee.wait("one that waited");
        answer(&callee, &proxy, &arrived, b"200 OK");
    }
    for own in &mut waiting {
        assert_eq!(own.wait("the 200").code(), 200);
    }
    let asked = dns.asked("late.example.net", RecordType::NAPTR);
    assert!(asked <= 10, "20 who wait for one name ask as one, who repeats it while nothing comes: {asked}");
}

#[test]
fn an_old_answer_is_used_while_no_server_answers() {
    let (dns, mut caller, mut callee) = (Dns::start(), agent(), agent());
    dns.srv("_sip._udp.old.example.net", 1, callee.address.port(), "old-host.example.net");
    dns.a(1, "old-host.example.net");
    let proxy = Proxy::start(&dns, &["sip:127.0.0.1".to_owned()], "ttl_min_s = 0\ntimeout_ms = 3000\n");
    passes(&proxy, &mut caller, &mut callee, "sip:b@old.example.net", "old");
    dns.silence(true);
    let asked = dns.asked("old-host.example.net", RecordType::A);
    let mut number = 0;
    wait_for("the answer to end", || {
        number += 1;
        passes(&proxy, &mut caller, &mut callee, "sip:b@old.example.net", &format!("old{number}"));
        (dns.asked("old-host.example.net", RecordType::A) > asked).then_some(())
    });
}

#[test]
fn a_target_that_is_down_is_shown_left_out_and_asked_whether_it_is_back() {
    let (dns, mut caller, mut callee) = (Dns::start(), agent(), agent());
    let [nobody] = free_ports();
    let targets = [format!("sip:127.0.0.1:{nobody}"), format!("sip:{}", callee.address)];
    let proxy = Proxy::start(&dns, &targets, "");
    let mut call = |id: &str| {
        proxy.send(&caller, &invite(&caller, id));
        let arrived = callee.wait(id);
        answer(&callee, &proxy, &arrived, b"486 Busy Here");
        assert_eq!(callee.wait("its ACK").method(), "ACK");
        assert_eq!(caller.wait("the 486").code(), 486);
    };
    call("first");
    call("second");
    let shown = format!("udp:127.0.0.1:{nobody}");
    wait_for("it is shown as down", || proxy.gateway.command(&["status"]).contains(&shown).then_some(()));
    let mut back = Agent::bind(SocketAddr::from(([127, 0, 0, 1], nobody)));
    call("third");
    let arrived = back.wait("an OPTIONS");
    assert_eq!((arrived.method(), arrived.value("max-forwards")), ("OPTIONS", &b"0"[..]), "and no call before it");
    answer(&back, &proxy, &arrived, b"200 OK");
    wait_for("it is up", || (!proxy.gateway.command(&["status"]).contains(&shown)).then_some(()));
    proxy.send(&caller, &invite(&caller, "fourth"));
    wait_for("a call there", || back.take().filter(|wire| wire.method() == "INVITE"));
}
