//! Which transport a request takes, where its responses go, and what it says about itself: RFC 3261 §16.6, §18.1.1, §18.2.2,
//! §26.2.2, RFC 5658. Each row is one INVITE through a gateway with listeners of all transports and both families.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;

use crate::clock::Now;
use crate::sip::message::{Message, Name};
use crate::sip::stack::{
    Destination, Event, Hop, Input, Listener, ListenerId, NextOn, Onward, Output, Peer, Plan, Settings, Stack, Target,
    Transport, Treatment,
};

const LISTENERS: [(Transport, &str); 4] = [
    (Transport::Udp, "127.0.0.1:5060"),
    (Transport::Tcp, "127.0.0.1:5060"),
    (Transport::Tls, "127.0.0.1:5061"),
    (Transport::Tcp, "[::1]:5060"),
];

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

fn stack() -> Stack {
    let listeners = LISTENERS.iter().map(|(transport, local)| Listener { transport: *transport, local: addr(local) });
    Stack::new(Settings { listeners: listeners.collect(), ..Settings::default() })
}

fn request(uri: &str, more: &str, body: usize) -> Message {
    Message::parse(text(uri, more, body).into_bytes()).expect("a message")
}

fn text(uri: &str, more: &str, body: usize) -> String {
    format!(
        "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 127.0.0.9:7000;branch=z9hG4bKx\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\n{more}Content-Length: {body}\r\n\r\n{}",
        "b".repeat(body)
    )
}

/// What left: over which listener, to whom, the message, and the name asked of a certificate.
#[derive(Debug)]
struct Left {
    peer: Peer,
    message: Message,
    name: Option<String>,
}

/// Gives an input to the stack and decides what it asks.
fn step(stack: &mut Stack, now: Now, input: Input, treatment: &Treatment) -> Vec<Left> {
    let mut inputs = vec![input];
    let mut left = Vec::new();
    while let Some(input) = inputs.pop() {
        let mut out = Vec::new();
        stack.handle(now, input, &(), &mut out);
        stack.tick(now, &mut out);
        for output in out {
            match output {
                Output::Request { transaction } => {
                    inputs.push(Input::Decide { transaction, treatment: treatment.clone() });
                }
                Output::Resolve { query, port, ways, .. } => {
                    let transport = ways.transport();
                    let usual = if transport == Some(Transport::Tls) { 5061 } else { 5060 };
                    let addr = SocketAddr::new(addr("127.0.0.8:1").ip(), port.unwrap_or(usual));
                    inputs.push(Input::Resolved { query, destinations: vec![Destination { addr, transport }] });
                }
                Output::Send { peer, bytes, authority } => {
                    let message = Message::parse(bytes.to_vec()).expect("a message");
                    left.push(Left { peer, message, name: authority.map(|name| name.to_string()) });
                }
                Output::Event { held: Some((transaction, response)), .. } => {
                    inputs.push(Input::Release { transaction, response });
                }
                Output::Event { event: Event::RoundFailed { transaction, .. }, .. } => {
                    inputs.push(Input::Proceed { transaction, onward: Onward::AsPlanned });
                }
                _ => {}
            }
        }
    }
    left
}

fn to(uri: &str, hop: Hop, transport: Option<Transport>) -> Treatment {
    let target = Target {
        uri: Bytes::copy_from_slice(uri.as_bytes()),
        hop,
        transport,
        ring_timeout: None,
        next_on: NextOn::default(),
        edits: None,
    };
    Treatment::Forward(Plan { groups: vec![vec![target]], ..Plan::default() })
}

fn received(by: u16, message: Message) -> Input {
    Input::Received { peer: Peer { listener: ListenerId(by), addr: addr("127.0.0.9:41000") }, message: Ok(message) }
}

#[test]
fn a_target_decides_the_transport() {
    let place = |text: &str| Hop::Addr(addr(text));
    let name = || Hop::Name { host: "t.example".to_owned(), port: None };
    for (what, uri, target, hop, wish, body, want) in [
        ("nothing is said: UDP", "sip:b@x", "sip:b@t", place("127.0.0.8:5060"), None, 0, (0, "127.0.0.8:5060", None)),
        ("a long one: TCP", "sip:b@x", "sip:b@t", place("127.0.0.8:5060"), None, 1_300, (1, "127.0.0.8:5060", None)),
        (
            "a long one, but the target says UDP",
            "sip:b@x",
            "sip:b@t;transport=udp",
            place("127.0.0.8:5060"),
            None,
            1_300,
            (0, "127.0.0.8:5060", None),
        ),
        (
            "the URI says TCP",
            "sip:b@x",
            "sip:b@t;transport=tcp",
            place("127.0.0.8:9"),
            None,
            0,
            (1, "127.0.0.8:9", None),
        ),
        ("the target says TCP", "sip:b@x", "", place("127.0.0.8:9"), Some(Transport::Tcp), 0, (1, "127.0.0.8:9", None)),
        ("no UDP in that family: TCP", "sip:b@x", "sip:b@t", place("[::1]:9"), None, 0, (3, "[::1]:9", None)),
        ("the target is SIPS: TLS", "sip:b@x", "sips:b@t", place("127.0.0.8:9"), None, 0, (2, "127.0.0.8:9", None)),
        ("the request is SIPS: TLS", "sips:b@x", "", place("127.0.0.8:9"), None, 0, (2, "127.0.0.8:9", None)),
        (
            "TLS to a name asks for its certificate",
            "sip:b@x",
            "sips:b@t",
            name(),
            None,
            0,
            (2, "127.0.0.8:5061", Some("t.example")),
        ),
        ("UDP to a name asks for none", "sip:b@x", "sip:b@t", name(), None, 0, (0, "127.0.0.8:5060", None)),
    ] {
        let left = step(&mut stack(), Now::default(), received(0, request(uri, "", body)), &to(target, hop, wish));
        let sent = left.iter().find(|left| left.message.is_request()).unwrap_or_else(|| panic!("{what}: nothing left"));
        let (listener, place, name) = want;
        assert_eq!((sent.peer.listener.0, sent.peer.addr), (listener, addr(place)), "{what}");
        assert_eq!(sent.name.as_deref(), name, "{what}");
        let (transport, local) = LISTENERS[usize::from(listener)];
        let via = format!("SIP/2.0/{} {local};branch=", transport.via_token());
        assert!(sent.message.values(Name::Via).next().expect("a Via").starts_with(via.as_bytes()), "{what}");
    }
}

#[test]
fn a_long_request_tries_tcp_once_and_then_udp() {
    let mut stack = stack();
    let (now, there) = (Now::default(), addr("127.0.0.8:5060"));
    let treatment = to("sip:b@t", Hop::Addr(there), None);
    let left = step(&mut stack, now, received(0, request("sip:b@x", "", 1_300)), &treatment);
    let by_tcp = Peer { listener: ListenerId(1), addr: there };
    assert_eq!(left.iter().map(|left| left.peer).collect::<Vec<_>>(), [by_tcp]);
    let left = step(&mut stack, now, Input::Unreachable { peer: by_tcp }, &treatment);
    let by_udp = Peer { listener: ListenerId(0), addr: there };
    assert_eq!(left.iter().map(|left| left.peer).collect::<Vec<_>>(), [by_udp]);
    let left = step(&mut stack, now, Input::Unreachable { peer: by_udp }, &treatment);
    let codes: Vec<u16> = left.iter().map(|left| left.message.code()).collect();
    assert_eq!(codes, [500], "both have failed: 503 becomes 500 upstream");
}

#[test]
fn a_request_that_leaves_after_a_connection_has_ended_does_not_fail_with_it() {
    let mut stack = stack();
    let (now, there) = (Now::default(), addr("127.0.0.8:5060"));
    let treatment = to("sip:b@t", Hop::Addr(there), Some(Transport::Tcp));
    let by_tcp = Peer { listener: ListenerId(1), addr: there };
    let invite = |id: &str| {
        let own = text("sip:b@x", "", 0)
            .replace("=z9hG4bKx", &format!("=z9hG4bK{id}"))
            .replace("ID: c", &format!("ID: {id}"));
        received(1, Message::parse(own.into_bytes()).expect("a message"))
    };
    step(&mut stack, now, invite("before"), &treatment);
    // All of it comes in one turn of the shard, at whose end is the tick.
    let mut out = Vec::new();
    stack.handle(now, Input::Unreachable { peer: by_tcp }, &(), &mut out);
    stack.handle(now, invite("after"), &(), &mut out);
    let asked = out.iter().find_map(|output| match output {
        Output::Request { transaction } => Some(*transaction),
        _ => None,
    });
    let transaction = asked.expect("a request");
    stack.handle(now, Input::Decide { transaction, treatment }, &(), &mut out);
    stack.tick(now, &mut out);
    let failed = out.iter().filter_map(|output| match output {
        Output::Event { event: Event::RoundFailed { transaction, .. }, .. } => Some(*transaction),
        _ => None,
    });
    let failed: Vec<_> = failed.collect();
    assert!(failed.len() == 1 && failed[0] != transaction, "only the one before: {failed:?}, after: {transaction:?}");
}

#[test]
fn record_routes_name_both_sides() {
    for (what, by, uri, wish, want) in [
        (
            "UDP to TCP",
            0,
            "sip:b@t",
            Transport::Tcp,
            &["<sip:127.0.0.1:5060;transport=tcp;lr;r2=on", "<sip:127.0.0.1:5060;lr;r2=on"][..],
        ),
        ("TCP to TCP", 1, "sip:b@t", Transport::Tcp, &["<sip:127.0.0.1:5060;transport=tcp;lr"]),
        (
            "TCP to TLS",
            1,
            "sip:b@t",
            Transport::Tls,
            &["<sip:127.0.0.1:5061;transport=tls;lr;r2=on", "<sip:127.0.0.1:5060;transport=tcp;lr;r2=on"],
        ),
        ("TLS to SIPS", 2, "sips:b@t", Transport::Tls, &["<sips:127.0.0.1:5061;lr"]),
        (
            "UDP to SIPS",
            0,
            "sips:b@t",
            Transport::Tls,
            &["<sips:127.0.0.1:5061;lr;r2=on", "<sip:127.0.0.1:5060;lr;r2=on"],
        ),
        (
            "SIPS is not taken back",
            2,
            "sip:b@t",
            Transport::Udp,
            &["<sip:127.0.0.1:5060;lr;r2=on", "<sip:127.0.0.1:5061;transport=tls;lr;r2=on"],
        ),
        (
            "families",
            3,
            "sip:b@t",
            Transport::Tcp,
            &["<sip:127.0.0.1:5060;transport=tcp;lr;r2=on", "<sip:[::1]:5060;transport=tcp;lr;r2=on"],
        ),
    ] {
        let treatment = to(uri, Hop::Addr(addr("127.0.0.8:9")), Some(wish));
        let left = step(&mut stack(), Now::default(), received(by, request("sip:b@x", "", 0)), &treatment);
        let sent = left.iter().find(|left| left.message.is_request()).expect(what);
        let values: Vec<_> = sent.message.values(Name::RecordRoute).collect();
        assert_eq!(values.len(), want.len(), "{what}");
        for (value, want) in values.iter().zip(want) {
            assert!(value.starts_with(want.as_bytes()), "{what}: {}", String::from_utf8_lossy(value));
        }
    }
}

#[test]
fn an_answer_goes_back_on_the_connection_of_its_request() {
    let busy = Treatment::Respond { code: 486, reason: "".into(), retry_after_s: None, contacts: Vec::new() };
    for (what, by, port) in [
        ("UDP: the port of the Via", 0, 7000),
        ("TCP: where it came from", 1, 41000),
        ("TLS: where it came from", 2, 41000),
    ] {
        let left = step(&mut stack(), Now::default(), received(by, request("sip:b@x", "", 0)), &busy);
        let ports: Vec<_> = left.iter().map(|left| (left.peer.listener.0, left.peer.addr.port())).collect();
        assert_eq!(ports, [(by, port)], "{what}");
    }
}

#[test]
fn nothing_is_retransmitted_over_a_stream() {
    // RFC 3261 §17.1.1.2: Timer A is for unreliable transports; Timer B is for all.
    for (what, wish, sent_want) in [("UDP", Transport::Udp, 7), ("TCP", Transport::Tcp, 1), ("TLS", Transport::Tls, 1)]
    {
        let (mut stack, mut now) = (stack(), Now::default());
        let treatment = to("sip:b@t", Hop::Addr(addr("127.0.0.8:9")), Some(wish));
        let mut left = step(&mut stack, now, received(1, request("sip:b@x", "", 0)), &treatment);
        let end = now.mono + Duration::from_secs(33);
        while now.mono < end {
            now = now.after(Duration::from_millis(100));
            let nothing = Input::Unreachable { peer: Peer { listener: ListenerId(9), addr: addr("127.0.0.7:1") } };
            left.extend(step(&mut stack, now, nothing, &treatment));
        }
        let sent = left.iter().filter(|left| left.message.is_request()).count();
        let codes: Vec<u16> = left.iter().map(|left| left.message.code()).filter(|code| *code > 100).collect();
        assert_eq!((sent, &*codes), (sent_want, &[408][..]), "{what}");
    }
}

#[test]
fn lines_that_end_by_lf_alone_do_so_no_more_on_a_stream() {
    let odd = |text: &str| Message::parse(text.replace("\r\nCSeq", "\nCSeq").into_bytes()).expect("a message");
    let invite = String::from_utf8(request("sip:b@x", "", 0).bytes().to_vec()).expect("text");
    for (wish, listener, is_kept) in [(Transport::Udp, 0, true), (Transport::Tcp, 1, false)] {
        let treatment = to("sip:b@t", Hop::Addr(addr("127.0.0.8:9")), Some(wish));
        let left = step(&mut stack(), Now::default(), received(0, odd(&invite)), &treatment);
        let sent = left.iter().find(|left| left.message.is_request()).expect("the INVITE");
        assert_eq!((sent.peer.listener.0, sent.message.has_bare_breaks()), (listener, is_kept), "{wish:?}");
    }
    // And back: the response came by UDP, the caller is on TCP.
    let mut stack = stack();
    let treatment = to("sip:b@t", Hop::Addr(addr("127.0.0.8:9")), Some(Transport::Udp));
    let left = step(&mut stack, Now::default(), received(1, request("sip:b@x", "", 0)), &treatment);
    let sent = left.iter().find(|left| left.message.is_request()).expect("the INVITE");
    let text = String::from_utf8(sent.message.bytes().to_vec()).expect("text");
    let lines: String = text
        .split("\r\n")
        .skip(1)
        .filter(|line| !line.starts_with("Max") && !line.is_empty())
        .map(|line| format!("{line}\r\n"))
        .collect();
    for code in ["180", "200"] {
        let response =
            odd(&format!("SIP/2.0 {code} Yes\r\n{}\r\n", lines.replace("To: <sip:b@x>", "To: <sip:b@x>;tag=b")));
        assert!(response.has_bare_breaks());
        let input = Input::Received {
            peer: Peer { listener: ListenerId(0), addr: addr("127.0.0.8:9") },
            message: Ok(response),
        };
        let left = step(&mut stack, Now::default(), input, &treatment);
        let back = left.iter().find(|left| left.message.code().to_string() == code).unwrap_or_else(|| panic!("{code}"));
        assert!(!back.message.has_bare_breaks(), "{code}");
    }
}

#[test]
fn a_redirection_that_came_by_tls_leads_to_no_plain_peer() {
    for (what, uri, by, contact, want) in [
        ("TLS to TLS", "sip:b@t", Transport::Tls, "sip:c@127.0.0.7;transport=tls", Some(2)),
        ("TLS to what is left open", "sip:b@t", Transport::Tls, "sip:c@127.0.0.7", Some(2)),
        ("TLS to UDP", "sip:b@t", Transport::Tls, "sip:c@127.0.0.7;transport=udp", None),
        ("TLS to TCP", "sip:b@t", Transport::Tls, "sip:c@127.0.0.7;transport=tcp", None),
        ("SIPS to TCP", "sips:b@t", Transport::Tls, "sip:c@127.0.0.7;transport=tcp", None),
        ("UDP to UDP", "sip:b@t", Transport::Udp, "sip:c@127.0.0.7", Some(0)),
    ] {
        let mut treatment = to(uri, Hop::Addr(addr("127.0.0.8:9")), Some(by));
        if let Treatment::Forward(plan) = &mut treatment {
            plan.redirects = crate::sip::stack::Redirects::Follow { ring_timeout: None };
        }
        let mut stack = stack();
        let left = step(&mut stack, Now::default(), received(0, request("sip:b@x", "", 0)), &treatment);
        let sent = left.iter().find(|left| left.message.is_request()).expect(what);
        let text = String::from_utf8(sent.message.bytes().to_vec()).expect("text");
        let kept = ["Via", "From", "To", "Call-ID", "CSeq"];
        let lines: String = text
            .split("\r\n")
            .filter(|line| kept.iter().any(|name| line.starts_with(&format!("{name}:"))))
            .map(|line| format!("{line}\r\n"))
            .collect();
        let response = format!("SIP/2.0 302 Moved\r\n{lines}Contact: <{contact}>\r\nContent-Length: 0\r\n\r\n")
            .replace("To: <sip:b@x>", "To: <sip:b@x>;tag=b");
        let message = Message::parse(response.into_bytes());
        let left = step(&mut stack, Now::default(), Input::Received { peer: sent.peer, message }, &treatment);
        let next = left
            .iter()
            .find(|left| left.message.method() == crate::sip::message::Method::Invite && left.message.is_request());
        assert_eq!(next.map(|next| next.peer.listener.0), want, "{what}");
    }
}
