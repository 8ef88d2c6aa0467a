//! The torture messages of RFC 4475 and RFC 5118 at the message layer: verdicts, forwarding octet by octet, mutations.

use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use rsip::headers::UntypedHeader as _;
use tollgate::sip::message::{
    Credentials, Elements, Malformed, Message, Method, Name, NameAddr, Reject, RequestEdits, Uri, Via, ack_for,
    call_id_of, cancel_for, forward_request, forward_response, response, unfold,
};

/// One line of `expected.tsv`.
struct Expected {
    file: String,
    is_request: bool,
    verdict: String,
    action: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/torture")
}

fn bytes_of(file: &str) -> Vec<u8> {
    fs::read(folder().join(file)).unwrap_or_else(|error| panic!("cannot read {file}: {error}"))
}

fn expected() -> Vec<Expected> {
    let table = fs::read_to_string(folder().join("expected.tsv")).expect("expected.tsv is readable");
    let row = |line: &str| {
        let cells: Vec<_> = line.split('\t').map(str::to_owned).collect();
        let [file, _, kind, verdict, action] = cells.try_into().expect("five columns");
        Expected { file, is_request: kind == "request", verdict, action }
    };
    let rows: Vec<_> = table.lines().skip(1).map(row).collect();
    assert_eq!(rows.len(), 61, "every message has a row");
    rows
}

/// Index and check in one.
fn read(bytes: Vec<u8>) -> Result<Message, (Reject, Option<Box<Message>>)> {
    match Message::parse(bytes) {
        Ok(message) => match message.check() {
            Ok(()) => Ok(message),
            Err(reject) => Err((reject, Some(Box::new(message)))),
        },
        Err(Malformed { reason, partial }) => Err((reason, partial)),
    }
}

fn accepted() -> Vec<(String, Message)> {
    expected().into_iter().filter_map(|row| Some((row.file.clone(), read(bytes_of(&row.file)).ok()?))).collect()
}

fn source() -> SocketAddr {
    "198.51.100.7:5099".parse().expect("an address")
}

#[test]
fn every_message_has_its_verdict() {
    for Expected { file, is_request, verdict, action } in expected() {
        let read = read(bytes_of(&file));
        let code = read.as_ref().err().map(|(reject, _)| reject.code);
        match verdict.as_str() {
            // The Request-URI's scheme is judged here too.
            "accept" if action.starts_with("416") => assert_eq!(code, Some(416), "{file}"),
            "accept" => assert_eq!(code, None, "{file}: {read:?}"),
            "reject" if is_request => {
                let want = if action.starts_with("505") { 505 } else { 400 };
                assert_eq!(code, Some(want), "{file}: {read:?}");
            }
            "reject" => assert!(code.is_some(), "{file}"),
            "either" => assert!(matches!(code, None | Some(400)), "{file}: {read:?}"),
            other => panic!("{file}: no such verdict: {other}"),
        }
        if let Ok(message) = read {
            assert_eq!(message.is_request(), is_request, "{file}");
        }
    }
}

#[test]
fn every_refused_request_can_be_answered() {
    for Expected { file, is_request, .. } in expected() {
        let Err((reject, partial)) = read(bytes_of(&file)) else { continue };
        if !is_request {
            continue;
        }
        let request = partial.unwrap_or_else(|| panic!("{file}: nothing to answer"));
        let mut out = Vec::new();
        response(&request, reject.code, reject.reason, Some(b"t"), &[], source(), &mut out);
        let answer = Message::parse(out).unwrap_or_else(|malformed| panic!("{file}: {malformed}"));
        assert_eq!(answer.code(), reject.code, "{file}");
        assert_eq!(answer.call_id(), request.call_id(), "{file}");
        assert_eq!(answer.headers(Name::Via).count(), request.headers(Name::Via).count(), "{file}");
        assert_eq!(answer.header(Name::CSeq), request.header(Name::CSeq), "{file}");
    }
}

#[test]
fn what_is_refused_on_purpose_is_never_forwarded() {
    for (file, why) in [
        ("rfc4475/quotbal.dat", "Bad To header"),
        ("rfc4475/ltgtruri.dat", "Bad Request-URI"),
        ("rfc4475/lwsruri.dat", "Bad Request-URI"),
        ("rfc4475/lwsstart.dat", "Bad Request-URI"),
        ("rfc4475/trws.dat", "Bad request line"),
        ("rfc4475/escruri.dat", "Headers in the Request-URI"),
        ("rfc4475/insuf.dat", "Missing From header"),
        ("rfc4475/multi01.dat", "More than one From header"),
        ("rfc4475/mcl01.dat", "More than one Content-Length header"),
        ("rfc5118/ipv6-bad.dat", "Bad Request-URI"),
        ("rfc5118/ipv6-bug-abnf-3-colons.dat", "Bad Request-URI"),
    ] {
        let refused = read(bytes_of(file)).err().map(|(reject, _)| reject.reason);
        assert_eq!(refused, Some(why), "{file}");
    }
}

#[test]
fn what_the_rfcs_point_out_is_understood() {
    let read = |file: &str| read(bytes_of(file)).unwrap_or_else(|(reject, _)| panic!("{file}: {reject}"));
    let wsinv = read("rfc4475/wsinv.dat");
    assert_eq!((wsinv.from_tag(), wsinv.to_tag()), (&b"98asjd8"[..], &b"1918181833n"[..]));
    assert_eq!((wsinv.cseq(), wsinv.max_forwards()), ((9, &b"INVITE"[..]), Some(68)));
    let branches: Vec<_> = wsinv.values(Name::Via).map(|via| Via::parse(via).and_then(|via| via.branch)).collect();
    assert_eq!(branches, [Some(&b"390skdjuw"[..]), Some(b"z9hG4bK9ikj8"), Some(b"z9hG4bK30239")]);
    assert_eq!(wsinv.from().map(|from| from.display_text().into_owned()), Some(b"J Rosenberg \\\"".to_vec()));
    let intmeth = read("rfc4475/intmeth.dat");
    assert_eq!((intmeth.method(), intmeth.from_tag()), (Method::Other, &b"_token~1'+`*%!-."[..]));
    assert_eq!(intmeth.uri().map(|uri| uri.host), Some(&b"example.com"[..]));
    assert_eq!(read("rfc4475/esc02.dat").method(), Method::Other, "RE%47IST%45R");
    assert_eq!(read("rfc4475/escnull.dat").to().map(|to| to.uri), Some(&b"sip:null-%00-null@example.com"[..]));
    let dblreq = read("rfc4475/dblreq.dat");
    assert!(dblreq.method() == Method::Register && dblreq.body().is_empty() && dblreq.bytes().ends_with(b"\r\n\r\n"));
    assert_eq!(read("rfc4475/transports.dat").values(Name::Via).filter_map(Via::parse).count(), 5);
    assert_eq!(read("rfc4475/noreason.dat").reason(), b"");
    assert_eq!(read("rfc4475/inv2543.dat").max_forwards(), None);
    assert_eq!(read("rfc4475/badbranch.dat").top_via().map(|via| via.has_rfc3261_branch()), Some(false));
    assert_eq!(read("rfc4475/zeromf.dat").max_forwards(), Some(0));
    for (file, host, port) in [
        ("rfc5118/port-ambiguous.dat", "[2001:db8::10:5070]", None),
        ("rfc5118/port-unambiguous.dat", "[2001:db8::10]", Some(5070)),
    ] {
        let message = read(file);
        let uri = message.uri().expect(file);
        assert_eq!((uri.host, uri.port), (host.as_bytes(), port), "{file}");
    }
    for file in ["rfc5118/via-received-param-with-delim.dat", "rfc5118/via-received-param-no-delim.dat"] {
        let message = read(file);
        let received = message.top_via().and_then(|via| via.received_ip());
        assert_eq!(received, "2001:db8::9:255".parse().ok(), "{file}");
    }
}

/// What the forwarded octets must be, put together the long way: cuts and insertions at places of the original.
fn forwarded_by_hand(message: &Message, via: &str, route: &str, hops: &str) -> Vec<u8> {
    let text = message.bytes();
    let place = |part: &[u8]| part.as_ptr().addr() - text.as_ptr().addr();
    let line_start = |at: usize| {
        text[..at]
            .iter()
            .rposition(|octet| *octet == b':')
            .map_or(0, |colon| text[..colon].iter().rposition(|octet| *octet == b'\n').map_or(0, |newline| newline + 1))
    };
    let mut out = text.to_vec();
    let vias: Vec<_> = message.headers(Name::Via).map(|value| line_start(place(value))).collect();
    let behind_vias = message
        .header_lines()
        .map(|(name, _)| place(name))
        .skip_while(|start| *start != vias[0])
        .find(|start| !vias.contains(start))
        .unwrap_or(text.len() - message.body().len() - 2);
    let mut edits: Vec<(usize, usize, String)> = vec![(vias[0], 0, format!("Via: {via}\r\n"))];
    let routes_start = message.headers(Name::RecordRoute).map(|value| line_start(place(value))).min();
    let ours = routes_start.map_or(behind_vias, |start| start.min(behind_vias));
    let mut added = format!("Record-Route: {route}\r\n");
    match message.header(Name::MaxForwards) {
        Some(old) => edits.push((place(old), old.len(), hops.to_owned())),
        None => added += &format!("Max-Forwards: {hops}\r\n"),
    }
    edits.push((ours, 0, added));
    edits.sort_by_key(|edit| edit.0);
    for (at, len, new) in edits.into_iter().rev() {
        out.splice(at..at + len, new.into_bytes());
    }
    out
}

#[test]
fn forwarding_changes_nothing_else() {
    let (via, route) = ("SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKours", "<sip:192.0.2.99;lr>");
    let mut requests = 0;
    for (file, message) in accepted().into_iter().filter(|(_, message)| message.is_request()) {
        let edits = RequestEdits {
            via: via.as_bytes(),
            max_forwards: 42,
            record_route: &[route.as_bytes()],
            ..RequestEdits::default()
        };
        let mut out = Vec::new();
        forward_request(&message, &edits, &mut out);
        let want = forwarded_by_hand(&message, via, route, "42");
        assert_eq!(String::from_utf8_lossy(&out), String::from_utf8_lossy(&want), "{file}");
        assert_eq!(out, want, "{file}");
        requests += 1;
    }
    assert!(requests >= 35, "only {requests} requests were forwarded");
}

#[test]
fn what_a_response_meets_on_its_way_back_is_restored() {
    let ours = "SIP/2.0/UDP 192.0.2.99;branch=z9hG4bKours";
    for (file, message) in accepted().into_iter().filter(|(_, message)| !message.is_request()) {
        // Our Via on a line of its own, and joined with the one below it.
        for joined in ["\r\nVia: ", " , "] {
            let text = message.bytes();
            let at = text.windows(7).position(|octets| octets == b"\r\nVia: ").expect("a Via line") + 7;
            let above = [&text[..at], ours.as_bytes(), joined.as_bytes(), &text[at..]].concat();
            let mut out = Vec::new();
            forward_response(&Message::parse(above).expect("a response"), &mut out);
            assert_eq!(out, text, "{file}");
        }
    }
}

#[test]
fn rsip_agrees_where_it_can_read() {
    // rsip 0.4 makes a user part with a dot a part of the host, and cuts one with a semicolon.
    let wrong = ["rfc4475/intmeth.dat", "rfc4475/esc01.dat", "rfc4475/semiuri.dat", "rfc4475/baddn.dat"];
    let (mut same, mut others) = (0, Vec::new());
    for (file, message) in accepted() {
        if let (Some(ours), Ok(text)) = (message.uri(), str::from_utf8(message.request_uri()))
            && let Ok(uri) = rsip::Uri::try_from(text)
        {
            let agrees = uri.host().to_string().as_bytes() == ours.host
                && uri.user().map(str::as_bytes) == ours.user
                && uri.port().map(|port| *port.value()) == ours.port;
            if agrees { same += 1 } else { others.push(file.clone()) }
        }
        if let (Some(from), Some(header)) = (message.from(), message.header(Name::From))
            && let Ok(text) = String::from_utf8(unfold(header).into_owned())
            && let Ok(typed) = rsip::typed::From::try_from(rsip::headers::From::new(text))
        {
            assert_eq!(
                typed.tag().map(ToString::to_string).unwrap_or_default().as_bytes(),
                from.tag().unwrap_or_default(),
                "{file}"
            );
            same += 1;
        }
    }
    assert_eq!(others, wrong);
    assert!(same > 50, "rsip read only {same} values");
}

/// Everything that can be asked of a message, so that a panic anywhere is found.
fn ask_everything(datagram: Vec<u8>) {
    let early = call_id_of(&datagram).map(<[u8]>::to_vec);
    let (message, whole) = match Message::parse(datagram) {
        Ok(message) => (message, true),
        Err(Malformed { partial: Some(partial), .. }) => (*partial, false),
        Err(_) => return,
    };
    if whole {
        assert_eq!(early.as_deref(), message.header(Name::CallId), "the owner is found without an index");
    }
    let checked = message.check();
    assert!(message.memory() <= 128 + 9 * (message.bytes().len() + 1), "{}", message.memory());
    for name in [Name::Via, Name::Route, Name::Contact, Name::RecordRoute] {
        for value in message.values(name) {
            let _ = (
                Via::parse(value),
                NameAddr::parse(value).map(|addr| (addr.tag(), addr.parsed_uri(), addr.display_text())),
            );
        }
    }
    let _ =
        (message.method(), message.uri(), message.from_tag(), message.to_tag(), message.cseq(), message.second_via());
    let _ =
        (message.reason(), message.max_forwards(), format!("{message:?}"), message.top_via().map(|via| via.reply_to()));
    for (name, value) in message.header_lines() {
        assert!(message.headers_named(name).any(|other| other == value));
        let _ = (Credentials::parse(value), unfold(value));
    }
    let mut out = Vec::new();
    response(&message, 400, "x", Some(b"t"), &[], source(), &mut out);
    if message.is_request() {
        out.clear();
        cancel_for(&message, &[], &mut out);
        ack_for(&message, &message, &mut out);
    } else {
        forward_response(&message, &mut Vec::new());
    }
    if whole && message.is_request() {
        forward_and_compare(&message, checked.is_ok());
    }
}

/// Forwarding, then reading again, gives the same headers and body, but for the edits.
fn forward_and_compare(message: &Message, checked: bool) {
    let edits = RequestEdits {
        via: b"SIP/2.0/UDP gw;branch=z9hG4bKx",
        source: Some(source()),
        max_forwards: 9,
        routes_popped: 1,
        record_route: &[b"<sip:gw;lr>"],
        ..RequestEdits::default()
    };
    let mut out = Vec::new();
    forward_request(message, &edits, &mut out);
    let again = Message::parse(out).unwrap_or_else(|malformed| panic!("forwarded, then {malformed}: {message:?}"));
    if checked {
        let mut left = message.values(Name::Route).skip(1);
        let route = left.next().map(|value| NameAddr::parse(value).and_then(|addr| Uri::parse(addr.uri)));
        assert_eq!(again.check().is_ok(), route.is_none_or(|uri| uri.is_some()), "{:?}", again.check());
    }
    let kept = |message: &Message| -> Vec<(Vec<u8>, Vec<u8>)> {
        let edited = [Name::Via, Name::MaxForwards, Name::Route, Name::RecordRoute];
        let rest = message.header_lines().filter(|(name, _)| !edited.contains(&Name::of(name)));
        rest.map(|(name, value)| (name.to_vec(), value.to_vec())).collect()
    };
    assert_eq!(kept(message), kept(&again));
    assert_eq!((message.body(), message.request_uri()), (again.body(), again.request_uri()));
    assert!(again.values(Name::Via).skip(2).eq(message.values(Name::Via).skip(1)));
    assert!(again.values(Name::Route).eq(message.values(Name::Route).skip(1)));
    assert!(again.values(Name::RecordRoute).skip(1).eq(message.values(Name::RecordRoute)));
}

/// One change to a message: octets put over, put in, taken out or doubled.
#[derive(Clone, Debug)]
enum Change {
    Overwrite(usize, u8),
    Insert(usize, Vec<u8>),
    Remove(usize, usize),
    Double(usize, usize),
}

fn change() -> impl Strategy<Value = Change> {
    let telling: Vec<&[u8]> = vec![
        b"\r\n",
        b"\n",
        b"\r",
        b"\r\n ",
        b"\r\n\r\n",
        b",",
        b";",
        b"\"",
        b"<",
        b">",
        b"(",
        b"\\",
        b":",
        b"=",
        b"@",
        b"[",
        b"]",
        b"\0",
        b"\xff",
        b" ",
        b"l: 5\r\n",
        b"Via: ",
        b"i: x\r\n",
        b"Route: <sip:a;lr>,\r\n <sip:b>\r\n",
        b"99999999999",
    ];
    prop_oneof![
        (any::<usize>(), any::<u8>()).prop_map(|(at, octet)| Change::Overwrite(at, octet)),
        (any::<usize>(), proptest::sample::select(telling)).prop_map(|(at, new)| Change::Insert(at, new.to_vec())),
        (any::<usize>(), 1..40_usize).prop_map(|(at, len)| Change::Remove(at, len)),
        (any::<usize>(), 1..80_usize).prop_map(|(at, len)| Change::Double(at, len)),
    ]
}

fn changed(mut bytes: Vec<u8>, changes: Vec<Change>) -> Vec<u8> {
    for change in changes {
        let len = bytes.len().max(1);
        let span = |at: usize, span: usize| (at % len).min(bytes.len())..(at % len + span).min(bytes.len());
        match change {
            Change::Overwrite(at, octet) => bytes.iter_mut().skip(at % len).take(1).for_each(|place| *place = octet),
            Change::Insert(at, new) => drop(bytes.splice(span(at, 0), new)),
            Change::Remove(at, len) => drop(bytes.splice(span(at, len), [])),
            Change::Double(at, len) => {
                let twice = bytes[span(at, len)].to_vec();
                drop(bytes.splice(span(at, 0), twice));
            }
        }
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_changed_torture_message_never_panics(
        row in 0..61_usize, changes in proptest::collection::vec(change(), 1..6)
    ) {
        ask_everything(changed(bytes_of(&expected()[row].file), changes));
    }

    #[test]
    fn any_octets_never_panic(datagram in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        ask_everything(datagram);
    }

    #[test]
    fn any_octets_behind_a_start_line_never_panic(
        start in prop_oneof![Just("INVITE sip:a@b SIP/2.0\r\nVia:"), Just("SIP/2.0 200 OK\r\nTo:")],
        rest in "[ -~\r\n\t]{0,300}",
    ) {
        ask_everything([start.as_bytes(), rest.as_bytes(), b"\r\n\r\n"].concat());
    }

    #[test]
    fn elements_hold_all_but_commas_and_white_space(list in "[a-c,\"<>() \\\\]{0,40}") {
        let bytes = list.as_bytes();
        let mut rest = bytes;
        for element in Elements::of(bytes) {
            let at = rest.windows(element.len()).position(|part| part == element).expect("cut out of the list, in order");
            prop_assert!(rest[..at].iter().all(|octet| matches!(octet, b',' | b' ')), "{list}");
            rest = &rest[at + element.len()..];
        }
        prop_assert!(rest.iter().all(|octet| matches!(octet, b',' | b' ')), "{list}");
    }
}
