//! What protects the gateway and those who call, through the real binary: a flood of one source, the limit of memory, and
//! no answer that somebody else gets.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod support;

use std::net::SocketAddr;

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
