//! What protects the gateway and those who call, through the real binary: a flood of one source, the limit of memory, and
//! no answer that somebody else gets.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};

use support::{Agent, Gateway, Side, Wire, free_ports, wait_for};

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
    let sip = format!("listen = [\"udp:127.0.0.1:{port}\"]\nallow = [\"127.0.0.1\"]");
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
    let ok = arrived.answer(b"200 OK", "", &[], b"");
    send_until(&ok, &callee, to, "the BYE's 200", || {
        // Behind the refusals of the flood.
        std::iter::from_fn(|| caller.take()).find(|wire| wire.code() == 200 && wire.value("cseq") == b"9000 BYE")
    });
}
