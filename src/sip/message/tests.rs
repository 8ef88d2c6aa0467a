//! Tests of the index, the readers and the checks.

use std::net::IpAddr;

use super::index::call_id_of;
use super::{
    Elements, HEADER_LINES_MAX, MESSAGE_BYTES_MAX, Malformed, Message, Method, Name, NameAddr, Params, Reject, Scheme,
    Uri, Via, unfold, unquote,
};

/// A request with every header that is needed.
const PLAIN: &str = "INVITE sip:bob@example.com SIP/2.0\r\n\
    Via: SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\n\
    From: \"A\" <sip:alice@example.com>;tag=a1\r\n\
    To: <sip:bob@example.com>\r\n\
    Call-ID: one@192.0.2.1\r\n\
    CSeq: 7 INVITE\r\n\
    Content-Length: 4\r\n\
    \r\n\
    body";

fn parse(text: &str) -> Result<Message, Malformed> {
    Message::parse(text.as_bytes().to_vec())
}

fn plain() -> Message {
    parse(PLAIN).expect("the plain request is one")
}

fn with(old: &str, new: &str) -> String {
    assert!(PLAIN.contains(old), "{old:?} is not in the plain request");
    PLAIN.replacen(old, new, 1)
}

/// What a message is answered with: by the index or by the check.
fn verdict(text: &str) -> Result<(), Reject> {
    parse(text).map_err(|malformed| malformed.reason)?.check()
}

fn text(bytes: &[u8]) -> &str {
    str::from_utf8(bytes).expect("the test's texts are ASCII")
}

#[test]
fn a_request_is_read() {
    let message = plain();
    assert!(message.is_request() && message.check().is_ok());
    assert_eq!((message.method(), text(message.method_text())), (Method::Invite, "INVITE"));
    assert_eq!(text(message.request_uri()), "sip:bob@example.com");
    assert_eq!((message.code(), message.reason()), (0, &b""[..]));
    assert_eq!((text(message.from_tag()), text(message.to_tag())), ("a1", ""));
    assert_eq!(message.cseq(), (7, &b"INVITE"[..]));
    assert_eq!((message.max_forwards(), text(message.call_id())), (Some(70), "one@192.0.2.1"));
    assert_eq!((text(message.body()), message.bytes()), ("body", PLAIN.as_bytes()));
    let from = message.from().expect("From is readable");
    assert_eq!((text(&from.display_text()), text(from.uri)), ("A", "sip:alice@example.com"));
    assert!(message.memory() < PLAIN.len() + 200, "{}", message.memory());
}

#[test]
fn a_response_is_read() {
    let message = parse(&PLAIN.replacen("INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 486  Busy, really ", 1))
        .expect("a response");
    assert!(!message.is_request() && message.check().is_ok());
    assert_eq!((message.code(), text(message.reason())), (486, "Busy, really"));
    assert_eq!((message.method(), message.request_uri()), (Method::Invite, &b""[..]));
    for (line, want) in [("SIP/2.0 200", 200), ("SIP/2.0 200 ", 200), ("sip/2.0 699 x", 699)] {
        let message = parse(&with("INVITE sip:bob@example.com SIP/2.0", line)).expect(line);
        assert_eq!((message.code(), message.check()), (want, Ok(())), "{line}");
    }
}

#[test]
fn headers_are_found_by_every_name() {
    let message = parse(&with("Content-Length", "X-One:  \r\n a\t\r\nx-ONE : b\r\ns:\r\nv: SIP/2.0/TCP h\r\nl"))
        .expect("a request");
    let named = |name: &'static str| message.headers_named(name.as_bytes()).map(text).collect::<Vec<_>>();
    assert_eq!(named("x-one"), ["a", "b"], "other names, in any case, folded");
    assert_eq!((named("Subject"), named("S")), (vec![""], vec![""]), "empty, long and compact");
    assert_eq!(named("V").len(), 2, "long and compact lines are one header");
    assert_eq!((named("X-On").len(), named("").len()), (0, 0));
    assert_eq!(message.headers(Name::Other).count(), 0, "asked by text only");
    assert_eq!(message.header_lines().count(), 11);
    assert_eq!(message.header_lines().nth(7), Some((&b"x-ONE"[..], &b"b"[..])));
}

#[test]
fn lists_are_split_where_a_comma_separates() {
    for (name, list, want) in [
        ("one", "a", &["a"][..]),
        ("none", " \r\n ", &[]),
        ("empty elements are left out", ",a,, b ,", &["a", "b"]),
        ("folds", "a,\r\n b", &["a", "b"]),
        ("a comma in quotes", r#""x, y" <sip:a>, b"#, &[r#""x, y" <sip:a>"#, "b"]),
        ("an escaped quote", r#""x\", y" <sip:a>,b"#, &[r#""x\", y" <sip:a>"#, "b"]),
        ("a comma in angle brackets", "<sip:a,b@c;d>;e, f", &["<sip:a,b@c;d>;e", "f"]),
        ("a comma in a comment", "a (b, (c,d) \\) e), f", &["a (b, (c,d) \\) e)", "f"]),
        ("a parenthesis that is never closed", "a(b, c, d", &["a(b", "c", "d"]),
        ("a quote that is never closed", "a, \"b, c", &["a", "\"b, c"]),
        ("a bracket that is never closed", "a, <b, c", &["a", "<b, c"]),
        ("a backslash at the end", "a, \"b\\", &["a", "\"b\\"]),
    ] {
        assert_eq!(Elements::of(list.as_bytes()).map(text).collect::<Vec<_>>(), want, "{name}");
    }
}

#[test]
fn parameters_are_split_where_a_semicolon_separates() {
    let read =
        |list: &'static str| Params::of(list.as_bytes()).map(|p| (text(p.name), p.value.map(text))).collect::<Vec<_>>();
    assert_eq!(
        read("; a = 1 ;b; c=\"x;=y\" ;d="),
        [("a", Some("1")), ("b", None), ("c", Some("\"x;=y\"")), ("d", Some(""))]
    );
    assert_eq!(read("a=\"never;closed"), [("a", Some("\"never;closed"))]);
    assert_eq!(read("a;;b"), [("a", None), ("", None), ("b", None)]);
    assert_eq!(Params::of(b"A=1;a=2").value(b"a"), Some(&b"1"[..]));
}

#[test]
fn texts_lose_quotes_and_folds() {
    assert_eq!(&*unquote(br#""a \"b\" \\c""#), br#"a "b" \c"#);
    assert_eq!((&*unquote(b"\"a"), &*unquote(b"\""), &*unquote(b"\"a\\\"")), (&b"\"a"[..], &b"\""[..], &b"a\\"[..]));
    assert_eq!(&*unfold(b"a \r\n\t b\n c"), b"a b c");
}

#[test]
fn uris_are_cut_into_parts() {
    let uri = Uri::parse(b"SIP:a;b?c:p@ss@[2001:db8::1]:5070;lr;x=1?h=1");
    assert_eq!(uri, None, "two @ leave no host");
    let uri = Uri::parse(b"SIP:a;b?/c:pa:ss@[2001:db8::1]:5070;LR;x=%31?h=1").expect("a URI");
    assert_eq!((uri.scheme, uri.user, uri.password), (Scheme::Sip, Some(&b"a;b?/c"[..]), Some(&b"pa:ss"[..])));
    assert_eq!(
        (uri.host, uri.port, uri.ip()),
        (&b"[2001:db8::1]"[..], Some(5070), "2001:db8::1".parse::<IpAddr>().ok())
    );
    assert_eq!((uri.params, uri.headers, uri.param(b"X")), (&b"LR;x=%31"[..], &b"h=1"[..], Some(&b"%31"[..])));
    assert!(uri.is_loose());
    let tel = Uri::parse(b"tel:+1-201;phone-context=x").expect("a URI");
    assert_eq!(
        (tel.scheme, tel.user, tel.param(b"phone-context")),
        (Scheme::Tel, Some(&b"+1-201"[..]), Some(&b"x"[..]))
    );
    assert_eq!(Uri::parse(b"urn:service:sos").and_then(|uri| uri.user), Some(&b"service:sos"[..]));
    assert_eq!(Uri::parse(b"soap.beep://h:3002").map(|uri| uri.scheme), Some(Scheme::Other));
    for good in
        ["sip:h", "sips:h", "sip:h?x=y", "sip:1.2.3.4", "sip:h_1.x-y:65535", "sip:u@h;p", "sip:h;a=b@c", "sip:h:0"]
    {
        assert!(Uri::parse(good.as_bytes()).is_some(), "{good}");
    }
    for bad in [
        "",
        ":",
        "sip",
        "sip:",
        "1sip:h",
        "s ip:h",
        "sip: h",
        "sip:h ",
        "sip:@h",
        "sip:u@",
        "<sip:h>",
        "sip:h>",
        "sip:u@h\"",
        "sip:h:",
        "sip:h:65536",
        "sip:h:5x",
        "sip:2001:db8::10",
        "sip:[2001:db8::1",
        "sip:[::1]x",
        "sip:[1.2.3.4]",
        "sip:[]",
        "sip:h\u{7f}",
        "sip:h/x",
        "sip:u@h\0",
        "sip:[2001:db8:::192.0.2.1]",
    ] {
        assert_eq!(Uri::parse(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn vias_are_cut_into_parts() {
    let via = Via::parse(b"SIP / 2.0\r\n /TLS \r\n h.example : 5061 ; rport ;branch=\r\n z9hG4bK7;received=[::1]")
        .expect("a Via");
    assert_eq!((text(via.transport), text(via.host), via.port), ("TLS", "h.example", Some(5061)));
    assert_eq!((via.rport, via.branch), (Some(&b""[..]), Some(&b"z9hG4bK7"[..])));
    assert_eq!((via.received_ip(), via.ip()), ("::1".parse().ok(), None));
    assert!(
        via.has_rfc3261_branch() && !Via::parse(b"SIP/2.0/UDP h;branch=z9hG4bK").expect("a Via").has_rfc3261_branch()
    );
    for (name, value, want) in [
        ("sent-by", "SIP/2.0/UDP h", ("h", 5060)),
        ("the port of TLS", "SIP/2.0/TLS h", ("h", 5061)),
        ("received with sent-by's port", "SIP/2.0/UDP h:5;received=1.2.3.4", ("1.2.3.4", 5)),
        ("rport", "SIP/2.0/UDP h:5;rport=9;received=1.2.3.4", ("1.2.3.4", 9)),
        ("rport asked but not set", "SIP/2.0/UDP 1.2.3.4:5;rport", ("1.2.3.4", 5)),
        ("maddr over all", "SIP/2.0/UDP h:5;maddr=224.0.1.75;rport=9", ("224.0.1.75", 5)),
        ("the first of two", "SIP/2.0/UDP h;received=1.1.1.1;received=2.2.2.2;", ("1.1.1.1", 5060)),
    ] {
        let via = Via::parse(value.as_bytes()).expect(name);
        let (host, port) = via.reply_to();
        assert_eq!((text(host), port), want, "{name}");
    }
    for bad in [
        "",
        "SIP",
        "SIP/2.0",
        "SIP/2.0/UDP",
        "SIP/2.0/UDP ",
        "SIP/2.0/UDPh",
        "SIP/2.0/UDP h:",
        "SIP/2.0/UDP h:x",
        "SIP/2.0/UDP h:65536",
        "SIP/2.0/UDP 2001:db8::1",
        "SIP/2.0/UDP [::1",
        "SIP/2.0/UDP h x",
        "SIP/2.0/UDP h;;b",
        "SIP/2.0/UDP h;=b",
        "SIP//UDP h",
        "SIP/2.0/UDP ;x",
        "SIP/2.0/UDP h;;",
    ] {
        assert_eq!(Via::parse(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn name_addrs_are_read_tolerantly() {
    for (value, display, uri, tag) in [
        ("sip:a@b;tag=1", "", "sip:a@b", Some("1")),
        ("<sip:a@b;tag=no>;x;tag=1", "", "sip:a@b;tag=no", Some("1")),
        ("\"B, <\\\"x\\\">\"<sip:a@b> ; TAG = 1", "B, <\"x\">", "sip:a@b", Some("1")),
        ("Bell, Alexander <sip:a@b>;tag=43", "Bell, Alexander", "sip:a@b", Some("43")),
        ("\"W\" < sip:a@b >", "W", "sip:a@b", None),
        ("\"a\r\n b\"\r\n <isbn:2983792873>;tag=", "a b", "isbn:2983792873", None),
        ("\"q\" token <sip:a@b>;tag=\"x;y\"", "\"q\" token", "sip:a@b", Some("\"x;y\"")),
        ("sip:a@b;x=\"<\";tag=2", "", "sip:a@b", Some("2")),
    ] {
        let read = NameAddr::parse(value.as_bytes()).expect(value);
        assert_eq!((text(&read.display_text()), text(read.uri), read.tag().map(text)), (display, uri, tag), "{value}");
    }
    for bad in ["", " ", "\"a <sip:a@b>", "<sip:a@b", "<>", "\"a\"", "<sip:a@b> x", ";tag=1", "\"a\\"] {
        assert_eq!(NameAddr::parse(bad.as_bytes()), None, "{bad}");
    }
}

#[test]
fn each_malformed_neighbour_is_refused() {
    let line = "INVITE sip:bob@example.com SIP/2.0";
    for (name, old, new, code, reason) in [
        ("another version", line, "INVITE sip:b SIP/7.0", 505, "Version Not Supported"),
        ("no version", line, "INVITE sip:b HTTP/1.1", 400, "Bad request line"),
        ("a space behind", line, "INVITE sip:bob@example.com SIP/2.0 ", 400, "Bad request line"),
        ("two spaces", line, "INVITE  sip:bob@example.com SIP/2.0", 400, "Bad Request-URI"),
        ("a tab", line, "INVITE\tsip:bob@example.com SIP/2.0 x", 400, "Bad request line"),
        ("a method that is no token", line, "INV@TE sip:b SIP/2.0", 400, "Bad method"),
        ("no method", line, " sip:b SIP/2.0", 400, "Bad method"),
        ("another scheme", line, "INVITE http://x SIP/2.0", 416, "Unsupported URI Scheme"),
        ("headers in the URI", line, "INVITE sip:b?a=b SIP/2.0", 400, "Headers in the Request-URI"),
        ("no Via", "Via: ", "Vias: ", 400, "Missing Via header"),
        ("no From", "From: ", "Fro: ", 400, "Missing From header"),
        ("no To", "To: ", "Too: ", 400, "Missing To header"),
        ("no Call-ID", "Call-ID: ", "CallID: ", 400, "Missing Call-ID header"),
        ("no CSeq", "CSeq: ", "Seq: ", 400, "Missing CSeq header"),
        ("an empty Call-ID", "one@192.0.2.1", "", 400, "Empty Call-ID header"),
        ("two Call-IDs", "CSeq: ", "i: two\r\nCSeq: ", 400, "More than one Call-ID header"),
        ("two CSeqs", "CSeq: ", "cseq: 7 INVITE\r\nCSeq: ", 400, "More than one CSeq header"),
        ("CSeq of another method", "7 INVITE", "7 invite", 400, "CSeq method is not the request's"),
        ("CSeq of 2^31", "7 INVITE", "2147483648 INVITE", 400, "Bad CSeq header"),
        ("CSeq beyond all", "7 INVITE", "36893488147419103232 INVITE", 400, "Bad CSeq header"),
        ("CSeq without a method", "7 INVITE", "7", 400, "Bad CSeq header"),
        ("CSeq with a sign", "7 INVITE", "-7 INVITE", 400, "Bad CSeq header"),
        ("CSeq with more", "7 INVITE", "7 INVITE x", 400, "Bad CSeq header"),
        ("an empty Via", "SIP/2.0/UDP 192.0.2.1:5062;branch=z9hG4bK1", ",", 400, "Bad Via header"),
        ("a Via port too large", ":5062", ":75062", 400, "Bad Via header"),
        ("an open quote in From", "\"A\"", "\"A", 400, "Bad From header"),
        ("an empty To", "<sip:bob@example.com>", "<>", 400, "Bad To header"),
        ("Max-Forwards of 256", "70", "256", 400, "Bad Max-Forwards header"),
        ("Max-Forwards below 0", "70", "-1", 400, "Bad Max-Forwards header"),
        ("Max-Forwards twice", "CSeq: ", "Max-Forwards: 70\r\nCSeq: ", 400, "More than one Max-Forwards header"),
        ("a Route that is none", "CSeq: ", "Route: <sip:>\r\nCSeq: ", 400, "Bad Route header"),
        ("an empty Route", "CSeq: ", "Route:\r\nCSeq: ", 400, "Bad Route header"),
        ("Content-Length too large", "Length: 4", "Length: 5", 400, "Content-Length beyond the message"),
        ("Content-Length below 0", "Length: 4", "Length: -4", 400, "Bad Content-Length header"),
        ("Content-Length empty", "Length: 4", "Length:", 400, "Bad Content-Length header"),
        ("Content-Length beyond all", "Length: 4", "Length: 4294967300", 400, "Bad Content-Length header"),
        ("Content-Length twice", "CSeq: ", "l: 4\r\nCSeq: ", 400, "More than one Content-Length header"),
        ("a line without a colon", "CSeq: ", "Hello\r\nCSeq: ", 400, "Header line without a name"),
        ("a line without a name", "CSeq: ", ": x\r\nCSeq: ", 400, "Header line without a name"),
        ("a name with a space", "CSeq: ", "A b: x\r\nCSeq: ", 400, "Header line without a name"),
        ("a folded start line", "\r\nVia", "\r\n Via", 400, "Header line without a name"),
        ("no blank line", "\r\n\r\nbody", "\r\n", 400, "Header section without an end"),
    ] {
        assert_eq!(verdict(&with(old, new)), Err(Reject { code, reason }), "{name}");
    }
}

#[test]
fn odd_but_legal_neighbours_pass() {
    for (name, old, new) in [
        ("bare line feeds", "\r\n", "\n"),
        ("breaks in front", "INVITE sip", "\r\n\r\nINVITE sip"),
        ("octets behind Content-Length", "body", "bodyBYE sip:x SIP/2.0\r\n"),
        ("Max-Forwards of 255 with zeros", "70", "00255"),
        ("the largest CSeq", "7 INVITE", "2147483647\r\n\tINVITE"),
        ("no Max-Forwards", "Max-Forwards: 70\r\n", ""),
        ("a second Via that is none", "Max-F", "Via: ;;\r\nMax-F"),
        ("a tel URI", "INVITE sip:bob@example.com", "INVITE tel:+1;x=y"),
        ("a small-letter version", "SIP/2.0\r\n", "sip/2.0\r\n"),
        ("a Contact that is none", "CSeq: ", "Contact: \"<\r\nCSeq: "),
        ("a method nobody knows", "INVITE", "!%x"),
    ] {
        let changed = if name == "a method nobody knows" { PLAIN.replace(old, new) } else { with(old, new) };
        assert_eq!(verdict(&changed), Ok(()), "{name}");
    }
    let message = parse(&with("body", "body and more")).expect("a request");
    assert_eq!((text(message.body()), message.bytes()), ("body", PLAIN.as_bytes()));
    let message = parse(&with("Content-Length: 4\r\n", "")).expect("a request");
    assert_eq!(text(message.body()), "body", "without Content-Length the body is the rest");
}

#[test]
fn what_is_no_message_has_no_partial_one() {
    for bytes in [
        "",
        "\r\n\r\n",
        "\0",
        "hello",
        "hello\r\n\r\n",
        "INVITE sip:x\r\n\r\n",
        "SIP/2.0 99 x\r\n",
        "SIP/2.0 700 x\r\n",
        "SIP/2.0 4294967301 x\r\n",
        "SIP/2.0 20 x\r\n",
        "SIP/2.0  200\r\n",
    ] {
        let malformed = parse(bytes).expect_err(bytes);
        assert!(malformed.partial.is_none(), "{bytes:?}");
    }
    let malformed = parse(&with("Content-Length: 4", "Content-Length: 40")).expect_err("a cut datagram");
    assert_eq!(malformed.partial.expect("the head").call_id(), b"one@192.0.2.1");
    let response = with("INVITE sip:bob@example.com SIP/2.0", "SIP/2.0 200 OK").replace("Length: 4", "Length: 40");
    assert!(parse(&response).expect_err("a cut datagram").partial.is_none(), "responses are never answered");
}

#[test]
fn limits_are_kept() {
    let lines = "X: y\r\n".repeat(HEADER_LINES_MAX - 7);
    assert_eq!(verdict(&with("Max-F", &(lines.clone() + "Max-F"))), Ok(()));
    let malformed = parse(&with("Max-F", &(lines + "X: z\r\nMax-F"))).expect_err("one line too many");
    assert_eq!(malformed.reason.reason, "Too many header lines");
    assert!(malformed.partial.expect("the head").top_via().is_some());
    let room = MESSAGE_BYTES_MAX - PLAIN.len();
    assert_eq!(verdict(&with("A", &"A".repeat(room + 1))), Ok(()));
    let full = parse(&with("body", &"b".repeat(room + 4)).replace("Length: 4", "Length: 9")).expect("a full datagram");
    assert_eq!(full.body(), b"bbbbbbbbb");
    let malformed = parse(&with("A", &"A".repeat(room + 2))).expect_err("one octet too many");
    assert_eq!((malformed.reason.code, malformed.partial.map(|message| message.cseq().0)), (513, Some(7)));
    let hostile = with("To: ", &format!("Via: {}\r\nTo: ", "(,".repeat(30_000)));
    assert_eq!(parse(&hostile).expect("a request").values(Name::Via).count(), 30_001);
}

#[test]
fn the_call_id_is_found_without_an_index() {
    for (name, line) in [
        ("long", "Call-ID: one@192.0.2.1"),
        ("compact", "i:one@192.0.2.1 \t"),
        ("folded", "CALL-ID \t:\r\n\r\n\tone@192.0.2.1\r\n "),
        ("behind a neighbour", "Call-IX: no\r\nC: no\r\nCall-ID: one@192.0.2.1"),
        ("twice", "Call-ID: one@192.0.2.1\r\ni: two"),
    ] {
        let line = line.replace("\r\n\r\n", "\r\n \r\n");
        let changed = with("Call-ID: one@192.0.2.1", &line);
        let message = parse(&changed).expect(name);
        assert_eq!(message.call_id(), b"one@192.0.2.1", "{name}");
        assert_eq!(call_id_of(changed.as_bytes()), Some(message.call_id()), "{name}");
    }
    for none in [
        "",
        "x",
        "\n",
        "\r\n\r\n",
        "INVITE sip:x SIP/2.0\r\n\r\nCall-ID: x",
        "A b c\r\nX: y",
        "A b c\r\nX: y\r\n Call-ID: x",
    ] {
        assert_eq!(call_id_of(none.as_bytes()), None, "{none:?}");
    }
    assert_eq!(call_id_of(b"\r\nA b c\r\ni: x"), Some(&b"x"[..]), "cut short");
}
