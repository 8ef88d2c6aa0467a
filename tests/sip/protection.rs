//! What protects the gateway and those who call, through the real binary: a flood of one source, the limit of memory, and
//! no answer that somebody else gets.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{Agent, Gateway, Running, Side, Wire, free_ports, peer, wait_for};

/// INVITEs of the flood in all, and of each part of it that goes out at once.
const FLOOD: u32 = 5_000;
const PART: u32 = 250;

/// Somebody at a loopback address of his own.
fn agent(host: u8) -> Agent {
    Agent::bind(SocketAddr::from(([127, 0, 0, host], 0)))
}

/// An INVITE; `via` is what its Via says of the sender.
fn invite(from: &Agent, via: &str, id: &str) -> Wire {
    let here = from.address;
    let text = format!(
        "INVITE sip:bob@example.org SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK{id}\r\nMax-Forwards: 70\r\n\
         From: <sip:alice@example.net>;tag=a\r\nTo: <sip:bob@example.org>\r\nCall-ID: {id}\r\nCSeq: 1 INVITE\r\n\
         Contact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n"
    );
    Wire::read(text.as_bytes())
}

/// Sends a request again, as its timer does, until `agent` has something that `fact` looks for.
fn send_until<T>(request: &Wire, from: &Agent, to: SocketAddr, what: &str, mut fact: impl FnMut() -> Option<T>) -> T {
    let mut looks = 0_u32;
    wait_for(what, || {
        // Some looks apart.
        if looks.is_multiple_of(25) {
            from.send(&request.octets(), to);
        }
        looks += 1;
        fact()
    })
}

/// A whole call; every message but the ACK is sent until it arrives.
fn call(gateway: SocketAddr, caller: &mut Agent, callee: &mut Agent, id: &str, mut meanwhile: impl FnMut()) {
    let sent = invite(caller, &format!("{};rport", caller.address), id);
    let is_own = |wire: &Wire, method: &str| wire.method() == method && wire.value("call-id") == id.as_bytes();
    let arrived = send_until(&sent, caller, gateway, "the INVITE", || {
        meanwhile();
        callee.take().filter(|wire| is_own(wire, "INVITE"))
    });
    let contact = format!("Contact: <sip:bob@{}>", callee.address).into_bytes();
    let ok = arrived.answer(b"200 OK", "b", &[contact], b"");
    let answer = send_until(&ok, callee, gateway, "the 200", || {
        meanwhile();
        caller.take().filter(|wire| wire.code() == 200)
    });
    let side = Side::caller(&sent, &answer);
    let via = |what: &str| format!("SIP/2.0/UDP {};branch=z9hG4bK{id}{what};rport", caller.address);
    let (ack, bye) = (side.request("ACK", 1, &via("ack")), side.request("BYE", 2, &via("bye")));
    send_until(&ack, caller, gateway, "the ACK", || callee.take().filter(|wire| is_own(wire, "ACK")));
    let arrived = send_until(&bye, caller, gateway, "the BYE", || {
        meanwhile();
        callee.take().filter(|wire| is_own(wire, "BYE"))
    });
    let ok = arrived.answer(b"200 OK", "", &[], b"");
    send_until(&ok, callee, gateway, "the BYE's 200", || {
        caller.take().filter(|wire| wire.code() == 200 && wire.value("cseq") == b"2 BYE")
    });
}

#[test]
fn a_flood_of_one_source_leaves_the_calls_of_others_unharmed() {
    let dir = tempfile::tempdir().unwrap();
    let (mut flooder, mut caller, mut callee) = (agent(2), agent(3), agent(1));
    let [port] = free_ports();
    let sip = format!(
        "listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nshards = 1\nsource_per_second_max = 20\n\
         stateless_allowed_per_second_max = 100"
    );
    let target = format!("sip:{}", callee.address);
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &[target], 9, "");
    let (to, mut flooded, mut answers) = (gateway.address(), 0, 0);
    let mut calls = 0;
    while calls < 3 || flooded < FLOOD {
        let flood = || {
            for _ in 0..PART.min(FLOOD - flooded) {
                flooded += 1;
                let via = format!("{};rport", flooder.address);
                flooder.send(&invite(&flooder, &via, &format!("flood{flooded}")).octets(), to);
            }
            while let Some(answer) = flooder.take() {
                // Nobody answers the few that were let through, until they end as 408.
                if answer.code() != 408 {
                    assert_eq!((answer.code(), answer.value("retry-after")), (503, &b"5"[..]));
                    answers += 1;
                }
            }
        };
        calls += 1;
        call(to, &mut caller, &mut callee, &format!("call{calls}"), flood);
    }
    assert!((1..FLOOD).contains(&answers), "{answers} answers to a flood of {FLOOD}");
}

#[test]
fn beyond_the_limit_of_memory_new_calls_get_503() {
    let dir = tempfile::tempdir().unwrap();
    let (mut caller, callee) = (agent(2), agent(1));
    let [port] = free_ports();
    // The binary alone takes more than a mebibyte.
    let sip = format!(
        "listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]\nmemory_max_mib = 1\nretry_after_s = 7"
    );
    let target = format!("sip:{}", callee.address);
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &[target], 9, "");
    let mut number = 0;
    let refused = wait_for("a refusal", || {
        number += 1;
        let via = caller.address.to_string();
        caller.send(&invite(&caller, &via, &format!("memory{number}")).octets(), gateway.address());
        caller.take()
    });
    assert_eq!(refused.code(), 503);
    assert_eq!(refused.value("retry-after"), b"7");
}

#[test]
fn an_answer_goes_to_nobody_but_the_sender() {
    let dir = tempfile::tempdir().unwrap();
    let (mut sender, mut victim) = (agent(2), agent(3));
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.1\"]\nstrangers = \"answer\"");
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &["sip:127.0.0.1:9".to_owned()], 9, "");
    let there = victim.address;
    for (id, via) in [
        ("host", format!("{there};rport")),
        ("maddr", format!("{there};maddr={};rport", there.ip())),
        ("received", format!("{there};received={};rport={}", there.ip(), there.port())),
    ] {
        let request = invite(&sender, &via, id);
        sender.send(&request.octets(), gateway.address());
        let answer = sender.wait(id);
        assert_eq!((answer.code(), answer.value("call-id")), (403, id.as_bytes()), "{via}");
    }
    // Without rport the port is that of the Via, but the address is the sender's (RFC 3261 §18.2.2).
    let mut other = Agent::bind(SocketAddr::new(sender.address.ip(), there.port()));
    sender.send(&invite(&sender, &there.to_string(), "port").octets(), gateway.address());
    assert_eq!(other.wait("the answer at the port of the Via").code(), 403);
    assert!(victim.take().is_none(), "nothing was aimed at it");
}

/// A request of `from` with these Route lines and tags.
fn request(from: &Agent, method: &str, uri: &str, routes: &str, [call_id, from_tag, to_tag]: [&str; 3]) -> Wire {
    let (here, number) = (from.address, BRANCH.fetch_add(1, Ordering::Relaxed));
    let text = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {here};branch=z9hG4bKp{number};rport\r\n{routes}Max-Forwards: 70\r\n\
         From: <sip:alice@example.net>;tag={from_tag}\r\nTo: <sip:bob@example.org>;tag={to_tag}\r\nCall-ID: {call_id}\r\n\
         CSeq: {number} {method}\r\nContact: <sip:alice@{here}>\r\nContent-Length: 0\r\n\r\n"
    );
    Wire::read(text.as_bytes())
}

static BRANCH: AtomicU32 = AtomicU32::new(100);

/// Waits for the response to a request, which it sends until then.
fn response(request: &Wire, from: &mut Agent, to: SocketAddr) -> Wire {
    let is_its = |wire: &Wire| wire.code() > 0 && wire.value("cseq") == request.value("cseq");
    let mut looks = 0_u32;
    wait_for("a response", || {
        if looks.is_multiple_of(25) {
            from.send(&request.octets(), to);
        }
        looks += 1;
        std::iter::from_fn(|| from.take()).find(is_its)
    })
}

#[test]
fn a_peer_reaches_nobody_behind_a_made_up_to_tag() {
    let dir = tempfile::tempdir().unwrap();
    let (mut peer, mut victim, mut callee) = (agent(2), agent(3), agent(1));
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.2\"]");
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &[format!("sip:{}", callee.address)], 9, "");
    let (to, there) = (gateway.address(), victim.address);
    let (own, second) = (format!("Route: <sip:{to};lr>\r\n"), format!("Route: <sip:{to};lr>, <sip:{there};lr>\r\n"));
    let made_up = ["made-up", "a", "nobody"];
    for method in ["INVITE", "MESSAGE", "BYE", "INFO"] {
        for (uri, routes) in
            [(format!("sip:x@{there}"), ""), (format!("sip:x@{there}"), &own), ("sip:x@h".to_owned(), &second)]
        {
            let forged = request(&peer, method, &uri, routes, made_up);
            assert_eq!(response(&forged, &mut peer, to).code(), 481, "{}", forged.text());
        }
    }
    peer.send(&request(&peer, "ACK", &format!("sip:x@{there}"), "", made_up).octets(), to);
    // A new request goes by the route, without the Routes of its sender.
    let own_invite = Wire::read(
        String::from_utf8(invite(&peer, &format!("{};rport", peer.address), "new").octets())
            .unwrap()
            .replace("Max-Forwards", &format!("{second}Max-Forwards"))
            .as_bytes(),
    );
    let arrived = send_until(&own_invite, &peer, to, "the INVITE", || callee.take());
    assert!(arrived.all("route").is_empty(), "{}", arrived.text());
    assert!(victim.take().is_none(), "nothing was relayed to it");
}

#[test]
fn a_request_inside_a_call_leads_to_its_end_and_a_flood_there_is_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let (mut caller, mut callee, mut victim) = (agent(2), agent(1), agent(3));
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.2\", \"127.0.0.4\"]\nshards = 1");
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &[format!("sip:{}", callee.address)], 9, "");
    let to = gateway.address();
    let sent = invite(&caller, &format!("{};rport", caller.address), "inside");
    let arrived = send_until(&sent, &caller, to, "the INVITE", || callee.take());
    let contact = format!("Contact: <sip:bob@{}>", callee.address).into_bytes();
    let ok = arrived.answer(b"200 OK", "b", &[contact], b"");
    let answer = send_until(&ok, &callee, to, "the 200", || caller.take().filter(|wire| wire.code() == 200));
    let side = Side::caller(&sent, &answer);
    let here = caller.address;
    let via = |what: &str| format!("SIP/2.0/UDP {here};branch=z9hG4bK{what};rport");
    let ack = side.request("ACK", 1, &via("ack"));
    send_until(&ack, &caller, to, "the ACK", || callee.take().filter(|wire| wire.method() == "ACK"));
    // With the signed Route, but to another place.
    let route = String::from_utf8(side.routes()[0].clone()).unwrap();
    let tags = ["inside", "a", "b"];
    let elsewhere = format!("sip:bob@{}", victim.address);
    for routes in [format!("Route: {route}\r\n"), format!("Route: {route}, <{elsewhere};lr>\r\n")] {
        let steered = request(&caller, "BYE", &elsewhere, &routes, tags);
        assert_eq!(response(&steered, &mut caller, to).code(), 403, "{}", steered.text());
    }
    assert!(victim.take().is_none() && callee.take().is_none());
    // A flood that the callee never answers.
    for number in 0..2_000 {
        caller.send(&side.request("INFO", 10 + number, &via(&format!("info{number}"))).octets(), to);
    }
    let mut other = agent(4);
    call(to, &mut other, &mut callee, "other", || ());
    let bye = side.request("BYE", 9_000, &via("bye"));
    let is_own = |wire: &Wire| wire.method() == "BYE" && wire.value("call-id") == b"inside";
    let arrived = send_until(&bye, &caller, to, "the BYE", || callee.take().filter(is_own));
    let ok = arrived.answer(b"200 OK", "", &[], b"").octets();
    callee.send(&ok, to);
    // Behind the refusals of the flood, which fill the caller's socket: it sends the BYE again, as who has no answer does.
    let mut looks = 0_u32;
    wait_for("the BYE's 200", || {
        looks += 1;
        if looks.is_multiple_of(25) {
            caller.send(&bye.octets(), to);
        }
        if callee.take().is_some_and(|wire| is_own(&wire)) {
            callee.send(&ok, to);
        }
        std::iter::from_fn(|| caller.take()).find(|wire| wire.code() == 200 && wire.value("cseq") == b"9000 BYE")
    });
}

#[test]
fn a_callee_with_its_contact_on_another_host_is_reached_there_though_nobody_keeps_its_dialog() {
    // No records of this route: it has no session that would know the remote target. Nor has a subscription ever.
    let dir = tempfile::tempdir().unwrap();
    let (mut caller, mut front, mut back, mut victim) = (agent(2), agent(1), agent(3), agent(4));
    let [port] = free_ports();
    let sip =
        format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.2\"]\nshards = 1\nt1_ms = 100\nt2_ms = 400");
    let route = format!("[[route]]\nto = \"sip:{}\"\naccount = {{ on = [] }}", front.address);
    let gateway = Gateway::start_routes(dir.path(), (port, &sip), &route, 9, "");
    let to = gateway.address();
    for (first, later, end) in [("SUBSCRIBE", "SUBSCRIBE", "NOTIFY"), ("INVITE", "INFO", "BYE")] {
        let sent = String::from_utf8(invite(&caller, &format!("{};rport", caller.address), first).octets()).unwrap();
        let sent = Wire::read(sent.replace("INVITE", first).as_bytes());
        let arrived = send_until(&sent, &caller, to, first, || front.take().filter(|wire| wire.method() == first));
        let contact = format!("Contact: <sip:bob@{}>", back.address).into_bytes();
        let ok = arrived.answer(b"200 OK", "b", &[contact], b"");
        let answer = send_until(&ok, &front, to, "the 200", || caller.take().filter(|wire| wire.code() == 200));
        let (by_caller, by_callee) = (Side::caller(&sent, &answer), Side::callee(&arrived, &ok));
        let via = |from: &Agent, what: &str| format!("SIP/2.0/UDP {};branch=z9hG4bK{first}{what};rport", from.address);
        if first == "INVITE" {
            let ack = by_caller.request("ACK", 1, &via(&caller, "ack"));
            send_until(&ack, &caller, to, "the ACK", || back.take().filter(|wire| wire.method() == "ACK"));
            // The transaction is over, and with it all that is kept of an unrecorded call: 64 T1.
            let begun = std::time::Instant::now();
            wait_for("64 T1", || (begun.elapsed().as_secs() >= 7).then_some(()));
        }
        let within = by_caller.request(later, 200, &via(&caller, "later"));
        let arrived = send_until(&within, &caller, to, later, || back.take().filter(|wire| wire.method() == later));
        send_until(&arrived.answer(b"200 OK", "", &[], b""), &back, to, "its 200", || {
            caller.take().filter(|wire| wire.code() == 200 && wire.cseq() == 200)
        });
        let within = by_callee.request(end, 7, &via(&back, "end"));
        let arrived = send_until(&within, &back, to, end, || caller.take().filter(|wire| wire.method() == end));
        send_until(&arrived.answer(b"200 OK", "", &[], b""), &caller, to, "its 200", || {
            back.take().filter(|wire| wire.code() == 200 && wire.cseq() == 7)
        });
        // It leads to that host and to no other.
        let routes = format!("Route: {}\r\n", String::from_utf8_lossy(&by_caller.routes()[0]));
        let steered = request(&caller, later, &format!("sip:bob@{}", victim.address), &routes, [first, "a", "b"]);
        assert_eq!(response(&steered, &mut caller, to).code(), 403, "{}", steered.text());
    }
    assert!(victim.take().is_none());
}

#[test]
fn a_stranger_hears_nothing_by_udp_and_is_refused_by_tcp() {
    let dir = tempfile::tempdir().unwrap();
    let (mut stranger, mut peer, mut callee) = (agent(2), agent(3), agent(1));
    let [udp, tcp] = free_ports();
    let sip =
        format!("listen = [\"udp:127.0.0.1:{udp}\", \"tcp:127.0.0.1:{tcp}\"]\nallow = [\"127.0.0.3\"]\nshards = 2");
    let gateway = Gateway::start_with(dir.path(), (udp, &sip), &[format!("sip:{}", callee.address)], 9, "");
    let to = gateway.address();
    for number in 0..50 {
        let text = invite(&stranger, &format!("{};rport", stranger.address), &format!("stranger{number}")).octets();
        stranger.send(&text, to);
        stranger.send(&String::from_utf8(text).unwrap().replace("INVITE", "OPTIONS").into_bytes(), to);
        stranger.send(b"INVITE nonsense\r\n\r\n", to);
    }
    call(to, &mut peer, &mut callee, "peer", || ());
    assert!(stranger.take().is_none(), "it learns nothing");
    let log = gateway.log();
    let lines = log.lines().filter(|line| line.contains("datagrams from outside `sip.allow` were dropped")).count();
    assert!((1..=2).contains(&lines), "one line a minute from each shard: {log}");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", tcp)).unwrap();
    let text = String::from_utf8(invite(&stranger, "127.0.0.1:9", "by-tcp").octets()).unwrap().replace("/UDP", "/TCP");
    std::io::Write::write_all(&mut stream, text.as_bytes()).unwrap();
    let mut answer = [0; 64];
    let length = std::io::Read::read(&mut stream, &mut answer).unwrap();
    assert!(answer[..length].starts_with(b"SIP/2.0 403"), "{}", String::from_utf8_lossy(&answer[..length]));
}

#[test]
fn a_head_with_a_lone_cr_or_a_nul_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let (mut caller, mut callee) = (agent(2), agent(1));
    let [port] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &[format!("sip:{}", callee.address)], 9, "");
    for (name, odd) in [("cr", &b"X-Odd: a\rVia: b\r\n"[..]), ("nul", b"X-Odd: a\0b\r\n"), ("end", b"X-Odd: a\r\r\n")] {
        let mut octets = invite(&caller, &format!("{};rport", caller.address), name).octets();
        let at = octets.windows(5).position(|five| five == b"From:").unwrap();
        octets.splice(at..at, odd.iter().copied());
        caller.send(&octets, gateway.address());
        assert_eq!(caller.wait(name).code(), 400, "{name}");
    }
    assert!(callee.take().is_none(), "nothing of it passes");
}

#[test]
fn the_built_in_caller_of_sipp_ends_its_calls() {
    let Some(program) = peer("sipp") else { return };
    let dir = tempfile::tempdir().unwrap();
    let mut callee = agent(1);
    let [port, local, media] = free_ports();
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.0/8\"]");
    let gateway = Gateway::start_with(dir.path(), (port, &sip), &[format!("sip:{}", callee.address)], 9, "");
    let mut command = std::process::Command::new(program);
    command.args(["-sn", "uac", "-i", "127.0.0.1", "-nostdin", "-m", "1", "-d", "200", "-p"]).arg(local.to_string());
    command.arg("-mp").arg(media.to_string()).arg(gateway.address().to_string());
    command.current_dir(dir.path()).env("TERM", "dumb");
    let mut caller = Running::start(&mut command, dir.path().join("uac.out"));
    let to = gateway.address();
    let contact = format!("Contact: <sip:bob@{};x=y>", callee.address).into_bytes();
    let invite = callee.wait("the INVITE");
    callee.send(&invite.answer(b"180 Ringing", "b", std::slice::from_ref(&contact), b"").octets(), to);
    callee.send(&invite.answer(b"200 OK", "b", &[contact], b"").octets(), to);
    // It keeps the gateway as Request-URI; what the callee gets names the callee.
    let target = format!("sip:bob@{};x=y SIP/2.0", callee.address);
    let ack = wait_for("the ACK", || callee.take().filter(|wire| wire.method() == "ACK"));
    assert_eq!(String::from_utf8_lossy(&ack.start), format!("ACK {target}"));
    let bye = wait_for("the BYE", || callee.take().filter(|wire| wire.method() == "BYE"));
    assert_eq!(String::from_utf8_lossy(&bye.start), format!("BYE {target}"));
    callee.send(&bye.answer(b"200 OK", "", &[], b"").octets(), to);
    assert!(caller.wait("sipp").success(), "{}", caller.printed());
}

/// Reads messages without a body from a stream until one has this method or code.
fn read_until(stream: &mut std::net::TcpStream, word: &str) -> Wire {
    let mut octets = Vec::new();
    loop {
        let mut buffer = [0; 4096];
        let length = std::io::Read::read(stream, &mut buffer).unwrap();
        assert!(length > 0, "the stream ended before {word}");
        octets.extend_from_slice(&buffer[..length]);
        while let Some(end) = octets.windows(4).position(|four| four == b"\r\n\r\n") {
            let message = octets.drain(..end + 4).collect::<Vec<_>>();
            let wire = Wire::read(&message);
            if wire.method() == word || wire.code().to_string() == word {
                return wire;
            }
        }
    }
}

#[test]
fn a_callee_on_tcp_whose_contact_names_no_transport_gets_ack_and_bye_there() {
    let dir = tempfile::tempdir().unwrap();
    let mut caller = agent(2);
    let ([udp, own_tcp], listener) = (free_ports(), std::net::TcpListener::bind("127.0.0.1:0").unwrap());
    let callee = listener.local_addr().unwrap();
    let sip = format!("listen = [\"udp:127.0.0.1:{udp}\", \"tcp:127.0.0.1:{own_tcp}\"]\nallow = [\"127.0.0.0/8\"]");
    let gateway = Gateway::start_with(dir.path(), (udp, &sip), &[format!("sip:{callee};transport=tcp")], 9, "");
    let to = gateway.address();
    let sent = invite(&caller, &format!("{};rport", caller.address), "by-tcp");
    caller.send(&sent.octets(), to);
    let (mut stream, _) = listener.accept().unwrap();
    let arrived = read_until(&mut stream, "INVITE");
    let lines = [format!("Contact: <sip:bob@{callee}>").into_bytes(), b"Content-Length: 0".to_vec()];
    std::io::Write::write_all(&mut stream, &arrived.answer(b"200 OK", "b", &lines, b"").octets()).unwrap();
    let answer = wait_for("the 200", || caller.take().filter(|wire| wire.code() == 200));
    let side = Side::caller(&sent, &answer);
    let here = sent_from(&sent);
    let via = |what: &str| format!("SIP/2.0/UDP {here};branch=z9hG4bK{what};rport");
    caller.send(&side.request("ACK", 1, &via("ack")).octets(), to);
    read_until(&mut stream, "ACK");
    caller.send(&side.request("BYE", 2, &via("bye")).octets(), to);
    let bye = read_until(&mut stream, "BYE");
    std::io::Write::write_all(&mut stream, &bye.answer(b"200 OK", "", &lines[1..], b"").octets()).unwrap();
    wait_for("the BYE's 200", || caller.take().filter(|wire| wire.code() == 200 && wire.value("cseq") == b"2 BYE"));
}

/// Host and port of the top Via.
fn sent_from(request: &Wire) -> String {
    let via = String::from_utf8_lossy(request.value("via")).into_owned();
    via.split([' ', ';']).nth(1).unwrap_or_default().to_owned()
}
