//! SIP over TCP and TLS through the real binary: calls, reuse of connections, failures and limits.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;

use crate::support::stream::{Authority, Door, Link};
use crate::support::{
    Agent, FreeRadius, Gateway, Side, Wire, free_port, free_ports, header_name, sipp, value, value_of, wait_for,
};

/// A gateway with a UDP, a TCP and, if certificates are given, a TLS listener. Nobody is at its RADIUS port.
struct Proxy {
    gateway: Gateway,
    udp: SocketAddr,
    tcp: SocketAddr,
    tls: SocketAddr,
    metrics: u16,
    dir: tempfile::TempDir,
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

impl Proxy {
    /// `more` goes into `[sip]` and tables below it; `{DIR}` in it is a folder that `prepare` fills.
    fn start(targets: &[String], more: &str, prepare: impl FnOnce(&Path)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        prepare(dir.path());
        let [udp, metrics] = free_ports();
        let (tcp, tls) = (free_port(), free_port());
        let with_tls = if more.contains("[[sip.tls]]") { format!(", \"tls:127.0.0.1:{tls}\"") } else { String::new() };
        let sip = format!(
            "listen = [\"udp:127.0.0.1:{udp}\", \"tcp:127.0.0.1:{tcp}\"{with_tls}]\nallow = [\"127.0.0.0/8\"]\nshards = 3\nt1_ms = 100\n\
             t2_ms = 1000\n{}",
            more.replace("{DIR}", &dir.path().display().to_string())
        );
        let more =
            format!("listen = \"127.0.0.1:{metrics}\"\n[accounting.fields]\nproto = \"$proto\"\nport = \"$sp\"\n");
        let gateway = Gateway::start_with(dir.path(), (udp, &sip), targets, 9, &more);
        Self { gateway, udp: local(udp), tcp: local(tcp), tls: local(tls), metrics, dir }
    }

    fn plain(targets: &[String]) -> Self {
        Self::start(targets, "", |_| {})
    }

    /// Waits for so many records; gives them as JSON lines.
    fn records(&self, count: usize) -> Vec<String> {
        wait_for(&format!("{count} records"), || {
            let text = self.gateway.command(&["queue", "export"]);
            let lines: Vec<_> = text.lines().map(str::to_owned).collect();
            (lines.len() >= count).then_some(lines)
        })
    }

    fn metric(&self, name: &str) -> f64 {
        Gateway::metric(self.metrics, name).unwrap_or_default()
    }

    fn wait_metric(&self, name: &str, want: f64) {
        wait_for(&format!("{name} is {want}"), || (self.metric(name) == want).then_some(()));
    }
}

/// A request of a test.
struct Ask<'a> {
    method: &'a str,
    uri: &'a str,
    /// Transport and sent-by, and what follows behind the branch.
    via: (&'a str, String, &'a str),
    id: &'a str,
    contact: String,
    more: &'a str,
    body: usize,
}

impl Ask<'_> {
    fn wire(&self) -> Wire {
        let Self { method, uri, via: (transport, place, params), id, contact, more, body } = self;
        let text = format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/{transport} {place};branch=z9hG4bK{id}{method}{params}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:alice@example.net>;tag=a{id}\r\nTo: <sip:bob@example.org>\r\nCall-ID: {id}\r\n\
             CSeq: 1 {method}\r\nContact: <{contact}>\r\n{more}Content-Length: {body}\r\n\r\n{}",
            "b".repeat(*body)
        );
        Wire::read(text.as_bytes())
    }
}

/// An INVITE of somebody who can be reached at `from` by a transport.
fn invite(transport: &str, from: SocketAddr, id: &str) -> Wire {
    let contact = format!("sip:alice@{from};transport={}", transport.to_lowercase());
    let via = (transport, from.to_string(), "");
    Ask { method: "INVITE", uri: "sip:bob@example.org", via, id, contact, more: "", body: 0 }.wire()
}

fn options(transport: &str, from: &str, id: &str, params: &str) -> Wire {
    let (via, contact) = ((transport, from.to_owned(), params), format!("sip:alice@{from}"));
    Ask { method: "OPTIONS", uri: "sip:bob@example.org", via, id, contact, more: "", body: 0 }.wire()
}

fn text(octets: &[u8]) -> String {
    String::from_utf8_lossy(octets).into_owned()
}

/// The topmost Via names this listener of the gateway.
fn came_by(wire: &Wire, transport: &str, place: SocketAddr) {
    let via = text(wire.value("via"));
    assert!(via.starts_with(&format!("SIP/2.0/{transport} {place};branch=z9hG4bK")), "{via}");
}

/// The places of the Record-Route values.
fn record_routes(wire: &Wire) -> Vec<String> {
    let lines = wire.all("record-route").into_iter();
    lines.map(|line| text(value_of(line)).split(";lr").next().unwrap().to_owned()).collect()
}

fn ok(arrived: &Wire, contact: &str) -> Wire {
    arrived.answer(b"200 OK", "b", &[format!("Contact: <{contact}>").into_bytes(), b"Content-Length: 0".to_vec()], b"")
}

#[test]
fn a_call_over_tcp_stays_on_its_connections_and_is_accounted() {
    let callee = Door::anywhere(None);
    let proxy = Proxy::plain(&[format!("sip:{};transport=tcp", callee.address)]);
    let mut caller = Link::tcp(proxy.tcp);
    let sent = invite("TCP", caller.local, "call");
    caller.send(&sent.octets());
    let mut there = callee.wait("the gateway's connection");
    let arrived = there.wait("the INVITE");
    came_by(&arrived, "TCP", proxy.tcp);
    let uri = format!("INVITE sip:bob@{};transport=tcp SIP/2.0", callee.address);
    assert_eq!(text(&arrived.start), uri);
    assert_eq!(record_routes(&arrived), [format!("<sip:{};transport=tcp", proxy.tcp)]);
    let ringing = arrived.answer(b"180 Ringing", "b", &[b"Content-Length: 0".to_vec()], b"");
    let answer = ok(&arrived, &format!("sip:bob@{};transport=tcp", callee.address));
    // Both in one segment.
    there.send(&[ringing.octets(), answer.octets()].concat());
    assert_eq!(caller.wait("the 180").code(), 180);
    let back = caller.wait("the 200");
    assert_eq!(back.code(), 200);
    let side = Side::caller(&sent, &back);
    let via = |number: u32| format!("SIP/2.0/TCP {};branch=z9hG4bKx{number}", caller.local);
    // ACK and BYE pipelined in one segment, as a busy trunk does.
    let (ack, bye) = (side.request("ACK", 1, &via(1)), side.request("BYE", 2, &via(2)));
    caller.send(&[ack.octets(), b"\r\n".to_vec(), bye.octets()].concat());
    let first = there.wait("the ACK");
    assert_eq!(first.method(), "ACK");
    let second = there.wait("the BYE");
    assert_eq!(second.method(), "BYE");
    came_by(&second, "TCP", proxy.tcp);
    there.send(&ok(&second, "sip:x").octets());
    assert_eq!(caller.wait("the BYE's answer").code(), 200);
    for record in proxy.records(2) {
        assert!(record.contains("\"proto\":\"tcp\""), "{record}");
        assert!(record.contains(&format!("\"port\":{}", caller.local.port())), "{record}");
    }
    assert!(callee.take().is_none(), "one connection was enough");
    // Nothing is retransmitted over a reliable transport (RFC 3261 §17.1.1.1), and nothing else came.
    assert!(there.is_quiet() && caller.is_quiet());
}

#[test]
fn transports_are_crossed_with_two_record_routes() {
    // RFC 5658 §5: each side sees the address and the transport it can use.
    let mut callee = Agent::bind(local(0));
    let proxy = Proxy::plain(&[format!("sip:{}", callee.address)]);
    let mut caller = Link::tcp(proxy.tcp);
    let sent = invite("TCP", caller.local, "cross");
    caller.send(&sent.octets());
    let arrived = callee.wait("the INVITE");
    came_by(&arrived, "UDP", proxy.udp);
    let places = [format!("<sip:{}", proxy.udp), format!("<sip:{};transport=tcp", proxy.tcp)];
    assert_eq!(record_routes(&arrived), places);
    // The answer of a UDP callee may lack what a stream needs.
    let answer =
        arrived.answer(b"200 OK", "b", &[format!("Contact: <sip:bob@{}>", callee.address).into_bytes()], b"body");
    callee.send(&answer.octets(), proxy.udp);
    let back = caller.wait("the 200");
    assert_eq!((back.value("content-length"), &*back.body), (&b"4"[..], &b"body"[..]));
    let via = format!("SIP/2.0/TCP {};branch=z9hG4bKack", caller.local);
    caller.send(&Side::caller(&sent, &back).request("ACK", 1, &via).octets());
    assert_eq!(callee.wait("the ACK").method(), "ACK");
    // The callee ends the call: its BYE comes by UDP and reaches the caller on the connection it came by.
    let via = format!("SIP/2.0/UDP {};branch=z9hG4bKbye", callee.address);
    let bye = Side::callee(&arrived, &answer).request("BYE", 1, &via);
    callee.send(&bye.octets(), proxy.udp);
    let ended = caller.wait("the BYE");
    came_by(&ended, "TCP", proxy.tcp);
    assert!(ended.places("route").is_empty(), "{}", ended.text());
    caller.send(&ok(&ended, "sip:x").octets());
    assert_eq!(callee.wait("the BYE's answer").code(), 200);
    proxy.records(2);
}

/// Folder with an authority, certificates of the gateway for two names, and one of a trunk.
struct Trust {
    authority: Authority,
    trunks: Authority,
}

impl Trust {
    fn new() -> Self {
        Self { authority: Authority::new(), trunks: Authority::new() }
    }

    fn prepare(&self, dir: &Path) {
        self.authority.write(&dir.join("ca.pem"));
        self.trunks.write(&dir.join("trunks.pem"));
        self.authority.certify(&["gw.example", "127.0.0.1"]).write(dir, "gw");
        self.authority.certify(&["other.example"]).write(dir, "other");
    }
}

const TLS: &str = "[[sip.tls]]\ncertificates = [{ certificate = \"{DIR}/gw.pem\", key = \"{DIR}/gw.key\" }, \
                   { certificate = \"{DIR}/other.pem\", key = \"{DIR}/other.key\" }]\n\
                   [sip.tls_client]\nca = \"{DIR}/ca.pem\"\ncertificate = \"{DIR}/gw.pem\"\nkey = \"{DIR}/gw.key\"\n";

#[test]
fn a_sips_call_crosses_each_hop_by_tls() {
    let trust = Trust::new();
    // The callee wants a certificate too: mutual TLS on the outgoing side.
    let own = trust.authority.certify(&["localhost"]);
    let callee = Door::anywhere(Some(Authority::server(&own, Some(&trust.authority))));
    let target = format!("sips:localhost:{}", callee.address.port());
    let proxy = Proxy::start(&[target], TLS, |dir| trust.prepare(dir));
    let mut caller = Link::tls(proxy.tls, "gw.example", trust.authority.client(None));
    let via = ("TLS", caller.local.to_string(), "");
    let contact = format!("sips:alice@{}", caller.local);
    let ask = Ask { method: "INVITE", uri: "sips:bob@example.org", via, id: "sips", contact, more: "", body: 0 };
    let sent = ask.wire();
    caller.send(&sent.octets());
    let mut there = callee.wait("the gateway's connection");
    let arrived = there.wait("the INVITE");
    came_by(&arrived, "TLS", proxy.tls);
    assert_eq!(text(&arrived.start), format!("INVITE sips:bob@localhost:{} SIP/2.0", callee.address.port()));
    assert_eq!(record_routes(&arrived), [format!("<sips:{}", proxy.tls)], "RFC 3261 §16.6 step 4");
    there.send(&ok(&arrived, &format!("sips:bob@{}", callee.address)).octets());
    let back = caller.wait("the 200");
    let via = |number: u32| format!("SIP/2.0/TLS {};branch=z9hG4bKs{number}", caller.local);
    let side = Side::caller(&sent, &back);
    caller.send(&[side.request("ACK", 1, &via(1)).octets(), side.request("BYE", 2, &via(2)).octets()].concat());
    assert_eq!(there.wait("the ACK").method(), "ACK");
    let bye = there.wait("the BYE");
    came_by(&bye, "TLS", proxy.tls);
    there.send(&ok(&bye, "sip:x").octets());
    assert_eq!(caller.wait("the BYE's answer").code(), 200);
    for record in proxy.records(2) {
        assert!(record.contains("\"proto\":\"tls\""), "{record}");
    }
}

#[test]
fn the_name_a_client_asks_for_chooses_the_certificate() {
    let trust = Trust::new();
    let proxy = Proxy::start(&["sip:127.0.0.1:9".to_owned()], TLS, |dir| trust.prepare(dir));
    for (name, shown) in [("gw.example", "gw.example"), ("other.example", "other.example"), ("127.0.0.1", "gw.example")]
    {
        let mut link = Link::tls(proxy.tls, name, trust.authority.client(None));
        link.send(b"\r\n\r\n");
        link.wait_octets(b"\r\n");
        assert!(link.has_certificate_for(shown), "{name}");
    }
}

#[test]
fn a_reload_takes_new_certificates_for_new_connections() {
    let trust = Trust::new();
    let mut callee = Agent::bind(local(0));
    let proxy = Proxy::start(&[format!("sip:{}", callee.address)], TLS, |dir| trust.prepare(dir));
    let mut old = Link::tls(proxy.tls, "gw.example", trust.authority.client(None));
    old.send(b"\r\n\r\n");
    old.wait_octets(b"\r\n");
    assert!(!old.has_certificate_for("new.example"));
    trust.authority.certify(&["gw.example", "new.example"]).write(proxy.dir.path(), "gw");
    proxy.gateway.process.signal(libc::SIGHUP);
    wait_for("a new certificate", || {
        let mut new = Link::tls(proxy.tls, "gw.example", trust.authority.client(None));
        new.send(b"\r\n\r\n");
        new.wait_octets(b"\r\n");
        new.has_certificate_for("new.example").then_some(())
    });
    // The connection that was there goes on.
    old.send(&options("TLS", "127.0.0.1", "still", "").octets());
    assert_eq!(callee.wait("its OPTIONS").value("call-id"), b"still");
}

#[test]
fn a_call_crosses_transports_and_families_at_once() {
    let mut callee = Agent::bind(local(0));
    let dir = tempfile::tempdir().unwrap();
    let [udp] = free_ports();
    let port = free_port();
    let sip = format!("listen = [\"udp:127.0.0.1:{udp}\", \"tcp:[::1]:{port}\"]\nallow = [\"127.0.0.0/8\", \"::1\"]");
    let gateway = Gateway::start_with(dir.path(), (udp, &sip), &[format!("sip:{}", callee.address)], 9, "");
    let mut caller = Link::tcp(SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
    caller.send(&invite("TCP", caller.local, "six").octets());
    let arrived = callee.wait("the INVITE");
    let places = [format!("<sip:127.0.0.1:{udp}"), format!("<sip:[::1]:{port};transport=tcp")];
    assert_eq!(record_routes(&arrived), places);
    let answer = ok(&arrived, &format!("sip:bob@{}", callee.address));
    callee.send(&answer.octets(), gateway.address());
    assert_eq!(caller.wait("the 200").code(), 200);
    let via = format!("SIP/2.0/UDP {};branch=z9hG4bKbye", callee.address);
    callee.send(&Side::callee(&arrived, &answer).request("BYE", 1, &via).octets(), gateway.address());
    let bye = caller.wait("the BYE by the same connection");
    came_by(&bye, "TCP", SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, port)));
    caller.send(&ok(&bye, "sip:x").octets());
    assert_eq!(callee.wait("its answer").code(), 200);
}

#[test]
fn a_target_must_show_a_certificate_for_its_name() {
    let trust = Trust::new();
    let stranger = Authority::new();
    for (what, own) in [
        ("of another name", trust.authority.certify(&["elsewhere.example"])),
        ("of an authority nobody trusts", stranger.certify(&["localhost"])),
    ] {
        let callee = Door::anywhere(Some(Authority::server(&own, None)));
        let mut second = Agent::bind(local(0));
        let first = format!("sip:localhost:{};transport=tls", callee.address.port());
        let targets = [first, format!("sip:{}", second.address)];
        let proxy = Proxy::start(&targets, TLS, |dir| trust.prepare(dir));
        let mut caller = Link::tcp(proxy.tcp);
        caller.send(&invite("TCP", caller.local, "name").octets());
        let mut refused = callee.wait("the gateway's connection");
        // The handshake happens while the other side is looked at.
        let arrived = wait_for(what, || {
            assert!(refused.take().is_none(), "{what}: a request came");
            second.take()
        });
        second.send(&arrived.answer(b"486 Busy", "b", &[], b"").octets(), proxy.udp);
        assert_eq!(caller.wait("the refusal").code(), 486, "{what}");
    }
}

#[test]
fn a_listener_can_ask_for_client_certificates() {
    let trust = Trust::new();
    let mut callee = Agent::bind(local(0));
    let more = format!("{TLS}[[sip.tls]]\n").replace("[[sip.tls]]\n", "");
    let more = format!(
        "[[sip.tls]]\nclient_certificate = \"required\"\nclient_ca = \"{{DIR}}/trunks.pem\"\n{}",
        more.replace("[[sip.tls]]\n", "")
    );
    let proxy = Proxy::start(&[format!("sip:{}", callee.address)], &more, |dir| trust.prepare(dir));
    let trunk = trust.trunks.certify(&["trunk.example"]);
    let foreign = trust.authority.certify(&["trunk.example"]);
    for (what, own) in [("without one", None), ("of another authority", Some(&foreign))] {
        let mut link = Link::tls(proxy.tls, "gw.example", trust.authority.client(own));
        // TLS 1.3: the client may have sent before it hears that it is refused.
        let _refused = link.try_send(&options("TLS", "trunk.example", "no", "").octets());
        link.wait_closed(what);
    }
    let mut link = Link::tls(proxy.tls, "gw.example", trust.authority.client(Some(&trunk)));
    link.send(&options("TLS", "trunk.example", "yes", "").octets());
    let arrived = callee.wait("the OPTIONS of the trunk");
    assert_eq!(arrived.value("call-id"), b"yes", "nothing of the others came");
    callee.send(&arrived.answer(b"200 OK", "b", &[], b"").octets(), proxy.udp);
    assert_eq!(link.wait("the answer").code(), 200);
}

#[test]
fn a_request_reuses_a_connection_that_its_peer_has_offered() {
    // RFC 5923: nobody listens at the port of the Via; the connection that is there is the only way.
    let trust = Trust::new();
    let port = free_port();
    let targets = [format!("sip:127.0.0.1:{port};transport=tcp")];
    let proxy = Proxy::plain(&targets);
    let mut trunk = Link::tcp(proxy.tcp);
    trunk.send(&options("TCP", &format!("127.0.0.1:{port}"), "offer", ";alias").octets());
    let first = trunk.wait("its own OPTIONS, by the route");
    assert_eq!(first.method(), "OPTIONS");
    trunk.send(&ok(&first, "sip:x").octets());
    assert_eq!(trunk.wait("the answer").code(), 200);
    let caller = Agent::bind(local(0));
    caller.send(&invite("UDP", caller.address, "to-alias").octets(), proxy.udp);
    assert_eq!(trunk.wait("the INVITE").value("call-id"), b"to-alias");

    // Over TLS only with a certificate for the name of the Via (RFC 5923 §5).
    let required = format!(
        "[[sip.tls]]\nclient_certificate = \"optional\"\nclient_ca = \"{{DIR}}/trunks.pem\"\n{}",
        TLS.replace("[[sip.tls]]\n", "")
    );
    let tls_port = free_port();
    let targets = [format!("sip:localhost:{tls_port};transport=tls")];
    let proxy = Proxy::start(&targets, &required, |dir| trust.prepare(dir));
    let own = trust.trunks.certify(&["localhost"]);
    for (what, shown, arrives) in [("without a certificate", None, false), ("with its certificate", Some(&own), true)] {
        let mut trunk = Link::tls(proxy.tls, "gw.example", trust.authority.client(shown));
        trunk.send(
            &options("TLS", &format!("localhost:{tls_port}"), what.split(' ').next().unwrap(), ";alias").octets(),
        );
        let first = trunk.wait(what);
        let got = if arrives { first.method() == "OPTIONS" } else { first.code() == 500 };
        assert!(got, "{what}: {}", first.text());
    }
}

#[test]
fn a_long_request_goes_by_tcp_and_by_udp_when_that_fails() {
    // RFC 3261 §18.1.1.
    let door = Door::anywhere(None);
    let mut both = Agent::bind(door.address);
    let mut only_udp = Agent::bind(local(0));
    let proxy = Proxy::plain(&[format!("sip:{}", door.address)]);
    let long = |from: SocketAddr, id: &str, body| {
        let via = ("UDP", from.to_string(), "");
        let contact = format!("sip:alice@{from}");
        Ask { method: "INVITE", uri: "sip:bob@example.org", via, id, contact, more: "", body }.wire()
    };
    let mut caller = Agent::bind(local(0));
    caller.send(&long(caller.address, "short", 700).octets(), proxy.udp);
    came_by(&both.wait("the short one by UDP"), "UDP", proxy.udp);
    caller.send(&long(caller.address, "long", 1_200).octets(), proxy.udp);
    let mut there = door.wait("a connection");
    let arrived = there.wait("the long one by TCP");
    came_by(&arrived, "TCP", proxy.tcp);
    let places = [format!("<sip:{};transport=tcp", proxy.tcp), format!("<sip:{}", proxy.udp)];
    assert_eq!(record_routes(&arrived), places);
    assert_eq!(arrived.body.len(), 1_200);
    there.send(&arrived.answer(b"503 Busy", "b", &[b"Content-Length: 0".to_vec()], b"").octets());
    assert_eq!(caller.wait("the refusal, 503 becomes 500").code(), 500);
    assert!(!both_has(&mut both, "long"), "an answer is no reason to try it again by UDP");

    let proxy = Proxy::plain(&[format!("sip:{}", only_udp.address)]);
    caller.send(&long(caller.address, "fallback", 1_200).octets(), proxy.udp);
    let arrived = only_udp.wait("the long one by UDP after all");
    came_by(&arrived, "UDP", proxy.udp);
    only_udp.send(&arrived.answer(b"486 Busy", "b", &[], b"").octets(), proxy.udp);
    assert_eq!(caller.wait("the refusal").code(), 486);

    // A target that says UDP is not asked for more.
    let proxy = Proxy::plain(&[format!("sip:{};transport=udp", door.address)]);
    caller.send(&long(caller.address, "named", 1_200).octets(), proxy.udp);
    came_by(&both.wait("the long one by UDP at once"), "UDP", proxy.udp);
    assert!(door.take().is_none());
}

/// Whether a message of this call is among what has come.
fn both_has(agent: &mut Agent, id: &str) -> bool {
    std::iter::from_fn(|| agent.take()).any(|wire| wire.value("call-id") == id.as_bytes())
}

#[test]
fn a_target_that_takes_no_connection_or_breaks_it_gives_way_to_the_next() {
    let nobody = free_port();
    let breaks = Door::anywhere(None);
    let mut last = Agent::bind(local(0));
    let targets = [
        format!("sip:127.0.0.1:{nobody};transport=tcp"),
        format!("sip:{};transport=tcp", breaks.address),
        format!("sip:{}", last.address),
    ];
    let proxy = Proxy::plain(&targets);
    let mut caller = Link::tcp(proxy.tcp);
    caller.send(&invite("TCP", caller.local, "fails").octets());
    let mut taken = breaks.wait("the second target");
    taken.wait("the INVITE");
    taken.reset();
    let arrived = last.wait("the INVITE at the third target");
    last.send(&arrived.answer(b"486 Busy", "b", &[], b"").octets(), proxy.udp);
    assert_eq!(caller.wait("the refusal").code(), 486);
}

#[test]
fn a_call_outlives_its_connections() {
    let callee = Door::anywhere(None);
    let proxy = Proxy::plain(&[format!("sip:{};transport=tcp", callee.address)]);
    // The caller can be reached at a port of its own, which its Via and its Contact name.
    let home = Door::anywhere(None);
    let mut caller = Link::tcp(proxy.tcp);
    let sent = invite("TCP", home.address, "lives");
    caller.send(&sent.octets());
    let mut there = callee.wait("a connection");
    let arrived = there.wait("the INVITE");
    caller.reset();
    proxy.wait_metric("tollgate_sip_connections_ended_total", 1.0);
    there.send(&ok(&arrived, &format!("sip:bob@{};transport=tcp", callee.address)).octets());
    // RFC 3261 §18.2.2: the answer comes by a new connection to the port of the Via.
    let mut again = home.wait("a new connection to the caller");
    let back = again.wait("the 200");
    assert_eq!(back.code(), 200);
    let via = |number: u32| format!("SIP/2.0/TCP {};branch=z9hG4bKl{number}", home.address);
    let side = Side::caller(&sent, &back);
    again.send(&side.request("ACK", 1, &via(1)).octets());
    assert_eq!(there.wait("the ACK").method(), "ACK");
    // The callee's connection breaks during the call; the BYE goes by a new one.
    there.reset();
    proxy.wait_metric("tollgate_sip_connections_ended_total", 2.0);
    again.send(&side.request("BYE", 2, &via(2)).octets());
    let mut new = callee.wait("a new connection to the callee");
    let bye = new.wait("the BYE");
    assert_eq!(bye.method(), "BYE");
    new.send(&ok(&bye, "sip:x").octets());
    assert_eq!(again.wait("the BYE's answer").code(), 200);
    proxy.records(2);
}

#[test]
fn a_cancel_goes_by_the_connections_of_its_call() {
    let callee = Door::anywhere(None);
    let proxy = Proxy::plain(&[format!("sip:{};transport=tcp", callee.address)]);
    let mut caller = Link::tcp(proxy.tcp);
    let sent = invite("TCP", caller.local, "cancel");
    caller.send(&sent.octets());
    let mut there = callee.wait("a connection");
    let arrived = there.wait("the INVITE");
    there.send(&arrived.answer(b"180 Ringing", "b", &[b"Content-Length: 0".to_vec()], b"").octets());
    assert_eq!(caller.wait("the 180").code(), 180);
    let cancel = text(&sent.octets()).replace("INVITE sip", "CANCEL sip").replace("1 INVITE", "1 CANCEL");
    caller.send(cancel.as_bytes());
    let cancelled = there.wait("the CANCEL");
    assert_eq!(cancelled.value("via"), arrived.value("via"));
    let length = [b"Content-Length: 0".to_vec()];
    there.send(&cancelled.answer(b"200 OK", "b", &length, b"").octets());
    there.send(&arrived.answer(b"487 Request Terminated", "b", &length, b"").octets());
    let mut codes = [caller.wait("one answer").code(), caller.wait("the other").code()];
    codes.sort_unstable();
    assert_eq!(codes, [200, 487]);
    assert_eq!(there.wait("the ACK for the 487").method(), "ACK");
}

#[test]
fn octets_may_come_one_by_one_and_keep_alives_are_answered() {
    let mut callee = Agent::bind(local(0));
    let proxy = Proxy::plain(&[format!("sip:{}", callee.address)]);
    let mut caller = Link::tcp(proxy.tcp);
    // RFC 5626 §3.5.1.
    caller.send(b"\r\n\r\n");
    caller.wait_octets(b"\r\n");
    for octet in options("TCP", "127.0.0.1", "slowly", "").octets() {
        caller.send(&[octet]);
    }
    let arrived = callee.wait("the OPTIONS");
    assert_eq!(arrived.value("call-id"), b"slowly");
    let mut answer = arrived.answer(b"200 OK", "b", &[], b"");
    answer.lines.retain(|line| header_name(line) != "content-length");
    callee.send(&answer.octets(), proxy.udp);
    assert_eq!(caller.wait("the answer, with a Content-Length").code(), 200);
    caller.send(b"\r\n\r\n");
    caller.wait_octets(b"\r\n");
    assert!(!caller.is_closed());
}

#[test]
fn what_cannot_be_followed_is_answered_and_closed() {
    let more = "[sip.streams]\nhead_bytes_max = 2048\nheader_lines_max = 40\nbody_bytes_max = 1000\n";
    let callee = Agent::bind(local(0));
    let proxy = Proxy::start(&[format!("sip:{}", callee.address)], more, |_| {});
    let whole = text(&options("TCP", "127.0.0.1", "odd", "").octets());
    for (what, message, code) in [
        ("no Content-Length (RFC 3261 §18.3)", whole.replace("Content-Length: 0\r\n", ""), 400),
        ("two of them", whole.replace("Content-Length: 0\r\n", "Content-Length: 0\r\nl: 0\r\n"), 400),
        ("one that is no number", whole.replace("Content-Length: 0", "Content-Length: x"), 400),
        ("too long a body", whole.replace("Content-Length: 0", "Content-Length: 1001"), 513),
        ("too long a head", whole.replace("Max-Forwards", &format!("X: {}\r\nMax-Forwards", "y".repeat(3_000))), 513),
        ("too many lines", whole.replace("Max-Forwards", &format!("{}Max-Forwards", "X: y\r\n".repeat(40))), 400),
    ] {
        let mut link = Link::tcp(proxy.tcp);
        link.send(message.as_bytes());
        // What follows is not looked at.
        link.send(whole.replace("odd", "behind").as_bytes());
        let answer = link.wait(what);
        assert_eq!(answer.code(), code, "{what}: {}", answer.text());
        link.wait_closed(what);
    }
    let mut link = Link::tcp(proxy.tcp);
    link.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03");
    link.wait_closed("TLS at the door of TCP");
    proxy.wait_metric("tollgate_sip_connections", 0.0);
}

#[test]
fn connections_are_limited_in_number() {
    let more = "[sip.streams]\nconnections_max = 12\nconnections_per_source_max = 5\n";
    let mut callee = Agent::bind(local(0));
    // Strangers: all but 127.0.0.1 to 127.0.0.3.
    let proxy = Proxy::start(&[format!("sip:{}", callee.address)], more, |_| {});
    let refused = "tollgate_sip_connections_refused_total";
    let mut standing = Vec::new();
    let mut count = 0.0;
    for (source, takes, refuses) in [(2_u8, 5, 2), (3, 5, 1), (4, 2, 3)] {
        let from = SocketAddr::from(([127, 0, 0, source], 0));
        for _ in 0..takes {
            let mut link = Link::tcp_from(from, proxy.tcp);
            link.send(b"\r\n\r\n");
            link.wait_octets(b"\r\n");
            standing.push(link);
        }
        for _ in 0..refuses {
            Link::tcp_from(from, proxy.tcp).wait_closed("one too many");
            count += 1.0;
            proxy.wait_metric(refused, count);
        }
    }
    // One goes, and another may come.
    drop(standing.pop());
    proxy.wait_metric("tollgate_sip_connections", 11.0);
    let mut link = Link::tcp_from(SocketAddr::from(([127, 0, 0, 4], 0)), proxy.tcp);
    link.send(&options("TCP", "127.0.0.4", "room", "").octets());
    assert_eq!(callee.wait("its OPTIONS").value("call-id"), b"room");
}

#[test]
fn strangers_leave_room_for_those_who_are_served() {
    for (what, allow) in [
        ("of all listeners", "allow = [\"127.0.0.1\"]"),
        ("of this listener", "allow = [\"127.0.0.0/8\"]\nallow_on = { \"tcp:127.0.0.1:{TCP}\" = \"127.0.0.1\" }"),
    ] {
        println!("strangers {what}");
        strangers_leave_room(allow);
    }
}

/// `{TCP}` in `allow` is the port of the listener.
fn strangers_leave_room(allow: &str) {
    let callee = Agent::bind(local(0));
    let dir = tempfile::tempdir().unwrap();
    let [udp, metrics] = free_ports();
    let tcp = free_port();
    let allow = allow.replace("{TCP}", &tcp.to_string());
    let sip = format!(
        "listen = [\"udp:127.0.0.1:{udp}\", \"tcp:127.0.0.1:{tcp}\"]\n{allow}\n\
         [sip.streams]\nconnections_max = 8\nconnections_per_source_max = 8\n"
    );
    let more = format!("listen = \"127.0.0.1:{metrics}\"");
    let _gateway = Gateway::start_with(dir.path(), (udp, &sip), &[format!("sip:{}", callee.address)], 9, &more);
    let stranger = SocketAddr::from(([127, 0, 0, 9], 0));
    let mut held: Vec<_> = (0..2).map(|_| Link::tcp_from(stranger, local(tcp))).collect();
    for link in &mut held {
        link.send(&options("TCP", "127.0.0.9", "stranger", "").octets());
        assert_eq!(link.wait("a refusal").code(), 403);
    }
    Link::tcp_from(stranger, local(tcp)).wait_closed("a third stranger");
    for _ in 0..6 {
        let mut link = Link::tcp(local(tcp));
        link.send(b"\r\n\r\n");
        link.wait_octets(b"\r\n");
        held.push(link);
    }
    Link::tcp(local(tcp)).wait_closed("the ninth of all");
}

#[test]
fn connections_are_limited_in_time() {
    let trust = Trust::new();
    let more = format!("[sip.streams]\nidle_s = 2\nmessage_ms = 500\nhandshake_ms = 400\n{TLS}");
    let mut callee = Agent::bind(local(0));
    let proxy = Proxy::start(&[format!("sip:{}", callee.address)], &more, |dir| trust.prepare(dir));
    let mut silent = Link::tcp(proxy.tcp);
    let mut half_open = Link::tcp(proxy.tls);
    half_open.send(b"\x16\x03");
    // A slow loris: an octet now and then, for ever.
    let mut loris = Link::tcp(proxy.tcp);
    let message = options("TCP", "127.0.0.1", "loris", "").octets();
    let mut octets = message.iter();
    let mut sent = 0;
    wait_for("the slow one is closed", || {
        if loris.is_closed() {
            return Some(());
        }
        sent += octets.next().and_then(|octet| loris.try_send(&[*octet]).ok()).map_or(0, |()| 1);
        None
    });
    assert!(sent < message.len(), "it was cut off within its message");
    half_open.wait_closed("the half-open handshake");
    silent.wait_closed("the silent one");
    // Whoever keeps alive stays.
    let mut alive = Link::tcp(proxy.tcp);
    let begin = proxy.metric("tollgate_sip_connections_ended_total");
    let mut other = Link::tcp(proxy.tcp);
    other.send(b"\r\n\r\n");
    other.wait_octets(b"\r\n");
    wait_for("the other one is closed for its silence", || {
        alive.send(b"\r\n\r\n");
        alive.wait_octets(b"\r\n");
        other.is_closed().then_some(())
    });
    wait_for("its end is counted", || (proxy.metric("tollgate_sip_connections_ended_total") > begin).then_some(()));
    alive.send(&options("TCP", "127.0.0.1", "alive", "").octets());
    assert_eq!(callee.wait("the OPTIONS").value("call-id"), b"alive");
    // What was cut off has left nothing behind.
    wait_for("one connection stands", || (proxy.metric("tollgate_sip_connections") == 1.0).then_some(()));
}

#[test]
fn a_peer_that_does_not_read_is_cut_off_and_hurts_nobody() {
    let more = "[sip.streams]\nbacklog_bytes_max = 65536\n";
    let mut callee = Agent::bind(local(0));
    let proxy = Proxy::start(&[format!("sip:{}", callee.address)], more, |_| {});
    let mut deaf = Link::tcp(proxy.tcp);
    let mut number = 0;
    // Each OPTIONS for the gateway itself makes an answer that nobody reads.
    let own = format!("sip:{}", proxy.tcp);
    wait_for("the connection is cut off", || {
        let pad = format!(";pad={}", "p".repeat(4_000));
        for _ in 0..100 {
            number += 1;
            let id = format!("deaf{number}");
            let via = ("TCP", "127.0.0.1".to_owned(), &*pad);
            let ask = Ask { method: "OPTIONS", uri: &own, via, id: &id, contact: own.clone(), more: "", body: 0 };
            if deaf.try_send(&ask.wire().octets()).is_err() {
                return Some(());
            }
        }
        None
    });
    let mut caller = Link::tcp(proxy.tcp);
    caller.send(&options("TCP", "127.0.0.1", "hears", "").octets());
    let arrived = callee.wait("an OPTIONS of somebody else");
    callee.send(&arrived.answer(b"200 OK", "b", &[], b"").octets(), proxy.udp);
    assert_eq!(caller.wait("its answer").code(), 200);
}

#[test]
fn torture_messages_over_tcp_are_forwarded_refused_or_cut_off() {
    let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/torture"));
    let table = fs::read_to_string(folder.join("expected.tsv")).unwrap();
    let mut callee = Agent::bind(local(0));
    let more = "[sip.streams]\nmessage_ms = 300\n";
    let proxy = Proxy::start(&[format!("sip:{};lr", callee.address)], more, |_| {});
    let mut seen = [0; 3];
    for (number, line) in table.lines().skip(1).enumerate() {
        let cells: Vec<_> = line.split('\t').collect();
        let (file, kind, verdict) = (cells[0], cells[2], cells[3]);
        let mut octets = fs::read(folder.join(file)).unwrap();
        let mut branch = Vec::new();
        // Some share a branch, and would be one transaction (RFC 3261 §17.2.3).
        if let Some(at) = octets.windows(7).position(|seven| seven == b"z9hG4bK") {
            octets.splice(at + 7..at + 7, number.to_string().into_bytes());
            branch = octets[at..octets.len().min(at + 14)].to_vec();
        }
        let wire = Wire::read(&octets);
        let lengths = wire.all("content-length");
        let length = match lengths[..] {
            [line] => text(value_of(line)).parse::<usize>().ok(),
            _ => None,
        };
        let mut link = Link::tcp(proxy.tcp);
        link.send(&octets);
        match length {
            None => {
                // Nobody can tell where it ends: 400 for a request, and the connection is closed.
                if kind == "request" && file != "rfc4475/badinv01.dat" {
                    assert_eq!(link.wait(file).code(), 400, "{file}");
                }
                link.wait_closed(file);
                seen[0] += 1;
            }
            Some(length) if length > wire.body.len() => {
                link.wait_closed(file);
                seen[1] += 1;
            }
            Some(_) => {
                if kind == "request" && verdict == "reject" {
                    let code = link.wait(file).code();
                    assert_eq!(Some(code), cells[4].get(..3).and_then(|word| word.parse().ok()), "{file}");
                }
                seen[2] += 1;
            }
        }
        // Whatever it was, the next connection works; what was forwarded came before.
        let mut sentinel = Link::tcp(proxy.tcp);
        let id = format!("sentinel{number}");
        sentinel.send(&options("TCP", "127.0.0.1", &id, "").octets());
        let arrived = loop {
            let arrived = callee.wait("the sentinel");
            if arrived.value("call-id") == id.as_bytes() {
                break arrived;
            }
            // On another connection, so that a request of a file before may still have been under way.
            let is_its = !branch.is_empty() && arrived.octets().windows(branch.len()).any(|part| part == branch);
            assert!(verdict != "reject" || file == "rfc4475/dblreq.dat" || !is_its, "{file} was forwarded");
        };
        callee.send(&arrived.answer(b"200 OK", "b", &[], b"").octets(), proxy.udp);
        assert_eq!(sentinel.wait(&id).code(), 200, "{file}");
    }
    assert!(seen.iter().all(|count| *count > 0) && seen[2] > 30, "{seen:?}");
    proxy.wait_metric("tollgate_sip_connections", 0.0);
}

#[test]
fn sipp_calls_over_tcp_are_in_freeradius() {
    let dir = tempfile::tempdir().unwrap();
    let Some(radius) = FreeRadius::start(dir.path(), &[]) else { return };
    for (number, mode) in [(0, "t1"), (1, "tn")] {
        let folder = dir.path().join(mode);
        fs::create_dir_all(&folder).unwrap();
        let (callee, caller, tcp) = (free_port(), free_port(), free_port());
        let [udp] = free_ports();
        let Some(_callee) = sipp(&folder, "uas.xml", callee, &["-t", "t1"]) else { return };
        let sip = format!("listen = [\"udp:127.0.0.1:{udp}\", \"tcp:127.0.0.1:{tcp}\"]\nallow = [\"127.0.0.0/8\"]");
        let target = format!("sip:127.0.0.1:{callee};transport=tcp");
        let _gateway = Gateway::start_with(&folder, (udp, &sip), &[target], radius.port, "");
        let to = local(tcp).to_string();
        let words = [&to, "-t", mode, "-m", "20", "-r", "20", "-d", "300", "-max_socket", "64"];
        let mut calls = sipp(&folder, "uac.xml", caller, &words).unwrap();
        assert!(calls.wait("the caller").success(), "{mode}: {}{}", calls.complaints(), calls.printed());
        let records = radius.wait_records((number + 1) * 40);
        for status in ["Start", "Stop"] {
            let count = records.iter().filter(|record| value(record, "Acct-Status-Type") == Some(status)).count();
            assert_eq!(count, (number + 1) * 20, "{mode}: {status}");
        }
    }
}
