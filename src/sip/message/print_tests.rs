//! Tests of printing.

use std::net::SocketAddr;

use super::{
    Message, Name, RequestEdits, ack_for, cancel_for, forward_request, forward_response, response, vias_parsed,
};

fn parse(text: &str) -> Message {
    Message::parse(text.as_bytes().to_vec()).expect("a message")
}

fn request(headers: &str) -> Message {
    parse(&format!("INVITE sip:bob@example.com SIP/2.0\r\n{headers}\r\nbody"))
}

fn forwarded(message: &Message, edits: &RequestEdits<'_>) -> String {
    let mut out = Vec::new();
    forward_request(message, edits, &mut out);
    assert!(out.capacity() < out.len() + 400, "one allocation that fits");
    String::from_utf8(out).expect("the test's texts are UTF-8")
}

fn addr(text: &str) -> SocketAddr {
    text.parse().expect("an address")
}

#[test]
fn the_top_via_is_parsed_once_however_often_it_is_asked_for() {
    let before = vias_parsed();
    let message = request(
        "Via: SIP/2.0/UDP h;rport, SIP/2.0/TCP i\r\nFrom: <sip:a@h>;tag=1\r\nTo: <sip:b@h>\r\nCall-ID: x\r\n\
         CSeq: 1 INVITE\r\n",
    );
    for _ in 0..3 {
        message.check().expect("a good request");
        assert_eq!(message.top_via().map(|via| via.host), Some(&b"h"[..]));
        let edits = RequestEdits { source: Some(addr("192.0.2.9:777")), ..RequestEdits::default() };
        forward_request(&message, &edits, &mut Vec::new());
        response(&message, 100, "Trying", None, &[], addr("192.0.2.9:777"), &mut Vec::new());
    }
    assert_eq!(vias_parsed() - before, 1);
}

#[test]
fn a_request_gets_the_edits_and_nothing_else() {
    let message = request(
        "v : SIP/2.0/UDP h;rport,\r\n SIP/2.0/TCP i\r\nmax-FORWARDS:  0068 \r\nRecord-Route: <sip:old;lr>\r\nX:  \r\n folded\t\r\nVia: SIP/2.0/TLS j\r\n",
    );
    let edits = RequestEdits {
        request_uri: Some(b"sip:new@h"),
        via: b"SIP/2.0/UDP gw;branch=z9hG4bKx",
        source: Some(addr("192.0.2.9:777")),
        max_forwards: 67,
        record_route: &[b"<sip:gw;lr>", b"<sip:gw2;lr>"],
        routes_added: &[b"<sip:next;lr>"],
        headers_added: &[("X-Added".into(), b"one\r\nEvil: two"[..].into()), ("X-Empty".into(), b""[..].into())],
        content_length_added: true,
        ..RequestEdits::default()
    };
    let want = "INVITE sip:new@h SIP/2.0\r\nVia: SIP/2.0/UDP gw;branch=z9hG4bKx\r\n\
        v : SIP/2.0/UDP h;rport=777;received=192.0.2.9,\r\n SIP/2.0/TCP i\r\n\
        Record-Route: <sip:gw;lr>\r\nRecord-Route: <sip:gw2;lr>\r\nRoute: <sip:next;lr>\r\n\
        max-FORWARDS:  67 \r\nRecord-Route: <sip:old;lr>\r\nX:  \r\n folded\t\r\nVia: SIP/2.0/TLS j\r\n\
        X-Added: one Evil: two\r\nContent-Length: 4\r\n\r\nbody";
    assert_eq!(forwarded(&message, &edits), want);
}

#[test]
fn what_is_missing_is_added_at_its_place() {
    let edits = RequestEdits { via: b"V", max_forwards: 70, record_route: &[b"<R>"], ..RequestEdits::default() };
    for (name, headers, want) in [
        (
            "behind the Vias",
            "Via: a\r\nVia: b\r\nX: y\r\n",
            "Via: V\r\nVia: a\r\nVia: b\r\nRecord-Route: <R>\r\nMax-Forwards: 70\r\nX: y\r\n",
        ),
        ("only Vias", "Via: a\r\n", "Via: V\r\nVia: a\r\nRecord-Route: <R>\r\nMax-Forwards: 70\r\n"),
        (
            "above a Record-Route over the Vias",
            "Record-Route: <o>\r\nVia: a\r\n",
            "Record-Route: <R>\r\nMax-Forwards: 70\r\nRecord-Route: <o>\r\nVia: V\r\nVia: a\r\n",
        ),
        (
            "Vias at the end",
            "Max-Forwards: 9\r\nVia: a\r\n",
            "Max-Forwards: 70\r\nVia: V\r\nVia: a\r\nRecord-Route: <R>\r\n",
        ),
        (
            "an empty Max-Forwards",
            "Via: a\r\nMax-Forwards: \r\nX: y\r\n",
            "Via: V\r\nVia: a\r\nRecord-Route: <R>\r\nMax-Forwards:70 \r\nX: y\r\n",
        ),
        ("no Via at all", "X: y\r\n", "X: y\r\nVia: V\r\nRecord-Route: <R>\r\nMax-Forwards: 70\r\n"),
    ] {
        let want = format!("INVITE sip:bob@example.com SIP/2.0\r\n{want}\r\nbody");
        assert_eq!(forwarded(&request(headers), &edits), want, "{name}");
    }
}

#[test]
fn routes_are_popped_one_by_one() {
    let two_lines = "Route: <a>, \"x,y\" <b>;p ,\r\n <c>\r\nX: y\r\nRoute:\t<d>\r\n";
    for (name, headers, popped, last, added, want) in [
        ("none", two_lines, 0, false, &[][..], two_lines),
        (
            "the first of a joined line",
            two_lines,
            1,
            false,
            &[],
            "Route: \"x,y\" <b>;p ,\r\n <c>\r\nX: y\r\nRoute:\t<d>\r\n",
        ),
        ("a whole line", two_lines, 3, false, &[], "X: y\r\nRoute:\t<d>\r\n"),
        ("all", two_lines, 4, false, &[], "X: y\r\n"),
        ("more than there are", two_lines, 9, false, &[], "X: y\r\n"),
        ("the last", two_lines, 0, true, &[], "Route: <a>, \"x,y\" <b>;p ,\r\n <c>\r\nX: y\r\n"),
        ("first and last", "Route: <a>,<b>, <c> \r\nX: y\r\n", 1, true, &[], "Route: <b> \r\nX: y\r\n"),
        ("first and last of two", "Route: <a>,<b>\r\nX: y\r\n", 1, true, &[], "X: y\r\n"),
        (
            "one added behind",
            two_lines,
            1,
            false,
            &[&b"<e>"[..]],
            "Route: \"x,y\" <b>;p ,\r\n <c>\r\nX: y\r\nRoute:\t<d>\r\nRoute: <e>\r\n",
        ),
        (
            "strict route: one popped, one added",
            "Route: <a>\r\nX: y\r\n",
            1,
            false,
            &[&b"<e>"[..]],
            "Route: <e>\r\nX: y\r\n",
        ),
        ("last popped from none", "X: y\r\n", 0, true, &[], "X: y\r\n"),
    ] {
        let message = request(&format!("Via: a\r\nMax-Forwards: 70\r\n{headers}"));
        let edits = RequestEdits {
            max_forwards: 70,
            routes_popped: popped,
            route_last_popped: last,
            routes_added: added,
            ..RequestEdits::default()
        };
        let want = format!("INVITE sip:bob@example.com SIP/2.0\r\nVia: a\r\nMax-Forwards: 70\r\n{want}\r\nbody");
        assert_eq!(forwarded(&message, &edits), want, "{name}");
    }
}

#[test]
fn the_callers_via_says_where_it_came_from() {
    for (name, via, source, want) in [
        ("the same address", "SIP/2.0/UDP 192.0.2.1:9", "192.0.2.1:5", "SIP/2.0/UDP 192.0.2.1:9"),
        ("another address", "SIP/2.0/UDP 192.0.2.2", "192.0.2.1:5", "SIP/2.0/UDP 192.0.2.2;received=192.0.2.1"),
        ("a name", "SIP/2.0/UDP h;branch=x", "192.0.2.1:5", "SIP/2.0/UDP h;branch=x;received=192.0.2.1"),
        (
            "rport",
            "SIP/2.0/UDP 192.0.2.1;rport;b=c",
            "192.0.2.1:5",
            "SIP/2.0/UDP 192.0.2.1;rport=5;b=c;received=192.0.2.1",
        ),
        (
            "an empty rport",
            "SIP/2.0/UDP 192.0.2.1;rport= ;b",
            "192.0.2.1:5",
            "SIP/2.0/UDP 192.0.2.1;rport=5;b;received=192.0.2.1",
        ),
        ("forged", "SIP/2.0/UDP h;received=6.6.6.6;rport=6", "192.0.2.1:5", "SIP/2.0/UDP h;received=192.0.2.1;rport=5"),
        (
            "forged, without value",
            "SIP/2.0/UDP 192.0.2.1;received",
            "192.0.2.1:5",
            "SIP/2.0/UDP 192.0.2.1;received=192.0.2.1",
        ),
        ("IPv6 in brackets", "SIP/2.0/UDP [2001:DB8::1]", "[2001:db8::1]:5", "SIP/2.0/UDP [2001:DB8::1]"),
        (
            "IPv6, another",
            "SIP/2.0/UDP [2001:db8::2]",
            "[2001:db8::1]:5",
            "SIP/2.0/UDP [2001:db8::2];received=2001:db8::1",
        ),
        ("IPv4 on an IPv6 socket", "SIP/2.0/UDP 192.0.2.1", "[::ffff:192.0.2.1]:5", "SIP/2.0/UDP 192.0.2.1"),
        ("a semicolon at the end", "SIP/2.0/UDP h;", "192.0.2.1:5", "SIP/2.0/UDP h;received=192.0.2.1;"),
        (
            "a second value",
            "SIP/2.0/UDP h , SIP/2.0/UDP i",
            "192.0.2.1:5",
            "SIP/2.0/UDP h;received=192.0.2.1 , SIP/2.0/UDP i",
        ),
        ("unreadable", "what;rport", "192.0.2.1:5", "what;rport"),
    ] {
        let message = request(&format!("Via: {via}\r\nMax-Forwards: 1\r\n"));
        let edits = RequestEdits { source: Some(addr(source)), max_forwards: 1, ..RequestEdits::default() };
        let want = format!("INVITE sip:bob@example.com SIP/2.0\r\nVia: {want}\r\nMax-Forwards: 1\r\n\r\nbody");
        assert_eq!(forwarded(&message, &edits), want, "{name}");
    }
}

#[test]
fn a_response_loses_its_top_via_value_only() {
    for (name, headers, want) in [
        ("one line each", "Via: a\r\nX: y\r\nVia: b\r\n", "X: y\r\nVia: b\r\n"),
        ("comma-joined", "X: y\r\nv:  a ;q=\"x,y\" ,\r\n b, c\r\nVia: d\r\n", "X: y\r\nv:  b, c\r\nVia: d\r\n"),
        ("an empty line above", "Via: ,\r\nVia: a\r\nVia: b\r\n", "Via: b\r\n"),
        ("folded", "Via:\r\n a;\r\n b=c\r\nVia: d\r\n", "Via: d\r\n"),
        ("none", "X: y\r\n", "X: y\r\n"),
    ] {
        let mut out = Vec::new();
        forward_response(&parse(&format!("SIP/2.0 200 \r\n{headers}\r\nbody")), &mut out);
        assert_eq!(String::from_utf8(out), Ok(format!("SIP/2.0 200 \r\n{want}\r\nbody")), "{name}");
    }
}

const ASKED: &str = "v: SIP/2.0/UDP h;rport, SIP/2.0/UDP i\r\nf: A <sip:a@b>;tag=1\r\nTo: <sip:bob@example.com> \r\n\
    Record-Route: <r>\r\nRoute: <sip:n;lr>,<m>\r\nVia: SIP/2.0/UDP j\r\nCALL-ID: c\r\nCSeq: 0007\r\n INVITE\r\nTimestamp: 54\r\nContent-Type: x\r\nProxy-Require: p\r\n";

#[test]
fn a_response_is_made_from_the_request() {
    let message = request(ASKED);
    let make = |code, tag, extra| {
        let mut out = Vec::new();
        response(&message, code, "Because", tag, extra, addr("192.0.2.1:5"), &mut out);
        String::from_utf8(out).expect("the test's texts are UTF-8")
    };
    let vias = "v: SIP/2.0/UDP h;rport=5;received=192.0.2.1, SIP/2.0/UDP i\r\nf: A <sip:a@b>;tag=1\r\n";
    let rest = "Via: SIP/2.0/UDP j\r\nCALL-ID: c\r\nCSeq: 0007\r\n INVITE\r\n";
    assert_eq!(
        make(404, Some(b"t\r\n2"), &[("Retry-After", b"5")]),
        format!(
            "SIP/2.0 404 Because\r\n{vias}To: <sip:bob@example.com>;tag=t2 \r\n{rest}Retry-After: 5\r\nContent-Length: 0\r\n\r\n"
        )
    );
    assert_eq!(
        make(100, Some(b"t"), &[]),
        format!(
            "SIP/2.0 100 Because\r\n{vias}To: <sip:bob@example.com> \r\n{rest}Timestamp: 54\r\nContent-Length: 0\r\n\r\n"
        )
    );
    let tagged = request(&ASKED.replace("com> ", "com>;tag=9"));
    let mut out = Vec::new();
    response(&tagged, 481, "x", Some(b"t"), &[], addr("192.0.2.1:5"), &mut out);
    assert_eq!(parse(str::from_utf8(&out).expect("UTF-8")).to_tag(), b"9", "a tag stays");
}

#[test]
fn a_malformed_request_is_answered_as_far_as_it_goes() {
    let cut =
        "OPTIONS sip:x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nrubbish\r\nTo: <sip:x>;tag=1\r\nCSeq: ,\r\nCall-ID: c";
    let malformed = Message::parse(cut.as_bytes().to_vec()).expect_err("a line without a name");
    let mut out = Vec::new();
    let partial = malformed.partial.expect("a request");
    response(&partial, malformed.reason.code, malformed.reason.reason, None, &[], addr("192.0.2.1:5"), &mut out);
    let want = "SIP/2.0 400 Header line without a name\r\nVia: SIP/2.0/UDP 192.0.2.1\r\nTo: <sip:x>;tag=1\r\nCSeq: ,\r\nCall-ID: c\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(String::from_utf8(out).as_deref(), Ok(want));
}

#[test]
fn ack_and_cancel_follow_the_sent_invite() {
    let sent = request(ASKED);
    let answer =
        parse("SIP/2.0 486 Busy\r\nVia: SIP/2.0/UDP h\r\nTo: <sip:bob@example.com>;tag=9\r\nCSeq: 7 INVITE\r\n\r\n");
    let head = "sip:bob@example.com SIP/2.0\r\nVia: SIP/2.0/UDP h;rport\r\nMax-Forwards: 70\r\nRoute: <sip:n;lr>,<m>\r\nf: A <sip:a@b>;tag=1\r\n";
    let mut out = Vec::new();
    ack_for(&sent, &answer, &mut out);
    let want =
        format!("ACK {head}To: <sip:bob@example.com>;tag=9\r\nCALL-ID: c\r\nCSeq: 7 ACK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(String::from_utf8(out), Ok(want));
    let mut out = Vec::new();
    cancel_for(&sent, &[], &mut out);
    let want =
        format!("CANCEL {head}To: <sip:bob@example.com> \r\nCALL-ID: c\r\nCSeq: 7 CANCEL\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(String::from_utf8(out.clone()), Ok(want));
    let cancel = Message::parse(out).expect("a message");
    assert_eq!((cancel.check(), cancel.has(Name::ProxyRequire)), (Ok(()), false));
}
