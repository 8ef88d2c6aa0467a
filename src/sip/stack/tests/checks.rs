//! Requests that are not forwarded, how the others change on their way, and what keeps the tables small.

use std::time::Duration;

use super::flows::{Row, play};
use super::protection::network;
use super::script::{Play, header, response, settings};
use crate::clock::Now;
use crate::sip::message::Message;
use crate::sip::stack::{Ignored, Input, ListenerId, Output, Peer, Settings, Sizes, Stack, TokenBucket};

#[test]
fn rfc3261_16_3_requests_that_are_refused() {
    play(REFUSED_REQUESTS);
}

const REFUSED_REQUESTS: &[Row] = &[
    (
        "used-up hops are a 483, whose ACK ends here",
        "bob",
        "alice sends INVITE with Max-Forwards: 0
             alice gets 483
             alice sends ACK hop
             told Ignored AckStray
             bob gets nothing",
    ),
    (
        "an OPTIONS whose hops are used up is answered 200",
        "bob",
        "alice sends OPTIONS with Max-Forwards: 0
             alice gets 200 with Allow: INVITE",
    ),
    (
        "an unknown Proxy-Require is a 420 that names it",
        "bob",
        "alice sends INVITE with Proxy-Require: teleport, 100rel
             alice gets 420 with Unsupported: teleport, 100rel
             alice sends ACK hop
             bob gets nothing",
    ),
    (
        "a stranger is refused and leaves no state",
        "bob",
        "mallory sends INVITE
             mallory gets 403
             told Ignored Forbidden
             mallory sends ACK hop
             mallory sends CANCEL
             mallory gets 403
             bob gets nothing",
    ),
    (
        "a stranger's ACK goes nowhere",
        "bob",
        "an answered call
             mallory sends INVITE
             mallory gets 403
             mallory sends ACK hop
             told Ignored AckStray
             bob gets nothing",
    ),
    (
        "an in-dialog request that ends at the gateway is a 404",
        "route",
        "alice sends INVITE
             told Final 404 local
             alice gets 404
             alice sends ACK hop",
    ),
];

/// A request to `uri` from alice with these further header lines.
fn request(method: &str, uri: &str, lines: &str) -> String {
    format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-x{}\r\n{lines}From: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>\r\nCall-ID: raw\r\nCSeq: 1 {method}\r\nContent-Length: 0\r\n\r\n",
        lines.len()
    )
}

#[test]
fn rfc3261_11_2_and_16_3_requests_that_end_here() {
    for (name, text, want) in [
        ("an OPTIONS for the gateway is a 200", request("OPTIONS", "sip:gateway.example", ""), "200"),
        ("by its address too", request("OPTIONS", "sip:192.0.2.1", "Max-Forwards: 9\r\n"), "200"),
        ("an unknown scheme is a 416", request("INVITE", "nobody:knows", ""), "416"),
        ("a bad Request-URI is a 400", request("INVITE", "sip:b@[::1", ""), "400"),
        ("another version is a 505", request("INVITE", "sip:b@x", "").replacen("SIP/2.0\r", "SIP/7.0\r", 1), "505"),
        ("a CSeq of another method is a 400", request("BYE", "sip:b@x", "").replace("1 BYE", "1 INFO"), "400"),
        ("too long a Content-Length is a 400", request("BYE", "sip:b@x", "").replace("h: 0", "h: 9"), "400"),
    ] {
        let mut play = Play::new(name, "bob", settings());
        play.send("alice", &text);
        play.run(&format!("alice gets {want}"));
    }
}

#[test]
fn rfc5393_4_2_a_loop_is_seen_and_a_spiral_passes() {
    let mut play = Play::new("loop", "route", settings());
    let invite = request("INVITE", "sip:b@192.0.2.20", "Max-Forwards: 70\r\n");
    play.send("alice", &invite);
    play.play("bob gets INVITE");
    let own = "INVITE sip:b@192.0.2.20 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.20:5060;branch=z9hG4bK-b1\r\n";
    let back = play.got("bob", "INVITE").replacen("INVITE sip:b@192.0.2.20 SIP/2.0\r\n", own, 1);
    play.send("bob", &back);
    play.play("bob gets 482");
    let spiral = back.replacen("sip:b@192.0.2.20", "sip:b@192.0.2.30", 1).replace("-b1", "-b2");
    play.send("bob", &spiral);
    play.play("carol gets INVITE with Max-Forwards: 68");
    play.run(
        "carol sends 486
         carol gets ACK
         bob gets 486
         alice gets nothing
         bob forgets
         bob sends 486 to INVITE
         bob gets ACK
         alice gets 486
         alice sends ACK hop",
    );
}

#[test]
fn rfc3261_16_6_what_need_not_change_does_not() {
    let (start, rest) = (
        "INVITE sip:%62ob@192.0.2.20;x=%20 SIP/2.0\r\nv: SIP/2.0/UDP  192.0.2.10:5062 ;branch=z9hG4bK-same;rport\r\n",
        "f: \"A, \\\"B\\\"\" <sip:a@x>;tag=1\r\nTo:<sip:b@x>\r\nX-Odd :  kept\r\n  as it is\r\ni: raw\r\n\
         Max-Forwards:  7\r\nCSeq: 1  INVITE\r\nm: <sip:a@192.0.2.10>, <sip:b@x>\r\nl: 5\r\n\r\n\u{e9}\0\r\n",
    );
    let mut play = Play::new("identical", "route", settings());
    play.send("alice", &format!("{start}{rest}"));
    play.play("bob gets INVITE");
    let got = play.got("bob", "INVITE");
    let via = header(&got, "Via").expect("our Via");
    let route = header(&got, "Record-Route").expect("our Record-Route");
    let caller = "v: SIP/2.0/UDP  192.0.2.10:5062 ;branch=z9hG4bK-same;rport=5062;received=192.0.2.10";
    let want = format!(
        "INVITE sip:%62ob@192.0.2.20;x=%20 SIP/2.0\r\nVia: {via}\r\n{caller}\r\nRecord-Route: {route}\r\nMax-Breadth: 60\r\n{}",
        rest.replace("Max-Forwards:  7", "Max-Forwards:  6")
    );
    assert_eq!(got, want);
    // A callee copies Record-Route (§12.1.1); where it has not, our value is the only line that comes in addition.
    for (name, from_bob, put_back) in [
        ("dropped", String::new(), format!("Record-Route: {route}\r\n")),
        ("copied", format!("Record-Route:  {route}\r\n"), String::new()),
    ] {
        let start = format!("SIP/2.0 200 Gr\u{fc}n\r\nVia: {via}, {}\r\n", &caller[3..]);
        let rest = format!(
            "X: \t y\r\n{from_bob}f: <sip:a@x>;tag=1\r\nt: <sip:b@x>;tag={name}\r\ni: raw\r\nCSeq: 1 INVITE\r\nl: 2\r\n\r\n\0\u{1}"
        );
        play.send("bob", &format!("{start}{rest}"));
        play.play("alice gets 200");
        assert_eq!(play.got("alice", "200"), start.replace(&format!("{via}, "), "") + &put_back + &rest, "{name}");
    }
}

#[test]
fn rfc3261_16_4_a_strict_router_is_repaired_and_served() {
    // The previous hop put our Record-Route value into the Request-URI (RFC 3261 §16.4).
    let trusting = Settings { trusted_proxies: vec![network("192.0.2.10", 32)], ..settings() };
    let mut play = Play::new("strict", "bob", trusting);
    play.play("an answered call");
    let ours = header(&play.got("bob", "INVITE"), "Record-Route").expect("a value").trim_matches(['<', '>']).to_owned();
    let bye = |uri: &str, route: &str, branch: &str| {
        format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-{branch}\r\n{route}\
             From: <sip:alice@example.org>;tag=alice\r\nTo: <sip:bob@example.org>;tag=bob\r\nCall-ID: call-1\r\n\
             CSeq: 7 BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    play.send("alice", &bye(&ours, "Route: <sip:bob@192.0.2.20>\r\n", "s1"));
    play.play(
        "bob gets BYE with BYE sip:bob@192.0.2.20 SIP/2.0
         bob sends 200
         alice gets 200",
    );
    assert_eq!(header(&play.got("bob", "BYE"), "Route"), None);
    // The next hop is a strict router (§16.6 step 6).
    play.send("alice", &bye("sip:dave@d.example", &format!("Route: <{ours}>, <sip:192.0.2.30>\r\n"), "s2"));
    play.play(
        "carol gets BYE with BYE sip:192.0.2.30 SIP/2.0
         carol sends 200
         alice gets 200",
    );
    assert_eq!(header(&play.got("carol", "BYE"), "Route"), Some("<sip:dave@d.example>"));
    play.run("");
}

#[test]
fn rfc3261_21_5_4_over_the_limit_new_calls_get_503_and_others_go_on() {
    let limited = Settings { transactions_max: 2, transactions_in_dialog_max: 5, ..settings() };
    let mut play = Play::new("overload", "bob", limited);
    // Its INVITE only absorbs from now on.
    play.play("an answered call");
    for branch in ["one", "two"] {
        play.send("alice", &request("MESSAGE", "sip:b@x", &format!("X-Branch: {branch}\r\n")).replace("-x", branch));
        play.play("bob gets MESSAGE");
    }
    play.run(
        "carol sends INVITE
         carol gets 503 with Retry-After: 5
         carol sends ACK hop
         alice sends BYE
         bob gets BYE
         bob sends 200
         alice gets 200
         bob forgets",
    );
}

#[test]
fn answered_requests_that_only_absorb_leave_room_for_five_times_as_many() {
    let limited = Settings { transactions_max: 2, transactions_in_dialog_max: 5, ..settings() };
    let mut play = Play::new("many answered", "bob", limited);
    for number in 0..10 {
        let branch = format!("-number{number}");
        play.send("alice", &request("MESSAGE", "sip:b@x", "").replace("-x", &branch));
        play.play("bob gets MESSAGE\nbob sends 200\nalice gets 200\nbob forgets\nalice forgets");
    }
    play.play("carol sends INVITE\ncarol gets 503 with Retry-After: 5\ncarol sends ACK hop\nafter 40 s\ncarol forgets");
    play.run("alice sends INVITE\nbob gets INVITE\nbob sends 486\nbob gets ACK\nalice gets 486\nalice sends ACK hop");
}

#[test]
fn rfc3261_16_9_a_target_without_a_listener_of_its_family_has_failed() {
    let one = |plan| {
        let mut own = settings();
        own.listeners.truncate(1);
        Play::new("no IPv6", plan, own)
    };
    one("dave, bob").run(
        "alice sends INVITE
         told Ignored NoListener
         told RoundFailed 503 best 0 more
         bob gets INVITE
         bob sends 486
         bob gets ACK
         alice gets 486
         alice sends ACK hop",
    );
    one("name:dual.example").run(
        "alice sends INVITE
         resolved dave bob dave
         bob gets INVITE
         unreachable bob
         told Ignored NoListener
         told RoundFailed 503 best 0
         alice gets 500
         alice sends ACK hop",
    );
}

#[test]
fn rfc3261_17_2_3_requests_of_rfc2543_are_told_apart_by_their_fields() {
    let text = |method: &str, to: &str| {
        request(method, "sip:b@x", "")
            .replace(";branch=z9hG4bK-x0", "")
            .replace("<sip:b@x>\r", &format!("<sip:b@x>{to}\r"))
    };
    let mut play = Play::new("RFC 2543", "bob", settings());
    play.send("alice", &text("INVITE", ""));
    play.play(
        "bob gets INVITE
         alice repeats INVITE
         told Ignored RequestRepeated
         bob sends 180
         alice gets 180",
    );
    play.send("alice", &text("CANCEL", ""));
    play.play(
        "alice gets 200
         told Cancelled
         bob gets CANCEL
         bob sends 200 to CANCEL
         bob sends 487 to INVITE
         bob gets ACK
         alice gets 487",
    );
    play.send("alice", &text("ACK", ";tag=bob"));
    play.run(
        "after 10 s
         alice gets nothing
         bob gets nothing",
    );
}

#[test]
fn rfc3261_16_11_stateless_answers_have_a_rate_limit() {
    let rate = TokenBucket { per_second: 1, burst: 2 };
    let mut stack = Stack::new(Settings { stateless_responses: rate, ..settings() });
    let peer = Peer { listener: ListenerId(0), addr: super::script::address("mallory") };
    let mut sent = Vec::new();
    let mut now = Now::default().after(Duration::from_secs(9));
    for _ in 0..4 {
        let message = Message::parse(request("INVITE", "sip:b@x", "").into_bytes());
        let mut out = Vec::new();
        stack.handle(now, Input::Received { peer, message }, &(), &mut out);
        sent.push(match out.last() {
            Some(Output::Ignored { why: Ignored::Forbidden }) => "answered",
            Some(Output::Ignored { why: Ignored::RateLimited }) => "silent",
            other => panic!("{other:?}"),
        });
        now = now.after(Duration::from_millis(400));
    }
    assert_eq!(sent, ["answered", "answered", "silent", "answered"]);
    assert_eq!(stack.sizes(), Sizes::default());
}

#[test]
fn rfc6026_7_3_answers_that_fit_nothing_are_dropped() {
    let mut play = Play::new("stray", "bob", settings());
    play.play(
        "alice sends INVITE
         bob gets INVITE",
    );
    let invite = play.got("bob", "INVITE");
    let good = response(&invite, "200", "bob", "bob");
    let via = header(&good, "Via").expect("our Via").to_owned();
    let second = format!("Via: {}\r\n", super::script::headers(&good, "Via").nth(1).expect("the caller's Via"));
    for (name, text, want) in [
        ("another branch", good.replacen("branch=z9hG4bK", "branch=z9hG4bKx", 1), "told Orphan 200"),
        ("another call", good.replace("call-1", "call-2"), "told Orphan 200"),
        ("no Via of ours", good.replacen(&format!("Via: {via}\r\n"), "", 1), "told Ignored AnswerStray"),
        ("no Via but ours", good.replacen(&second, "", 1), "told Ignored AnswerMalformed"),
        ("another method", good.replace("1 INVITE", "1 BYE"), "told Ignored AnswerMalformed"),
        ("a CANCEL never sent", good.replace("1 INVITE", "1 CANCEL"), "told Ignored AnswerRepeated"),
    ] {
        play.send("bob", &text);
        play.play(&format!("{want}  # {name}\nalice gets nothing"));
    }
    play.send("bob", &good);
    play.run("alice gets 200");
}

#[test]
fn a_signed_route_opens_no_way_for_new_calls() {
    let mut play = Play::new("replayed Route", "mallory", settings());
    play.play(
        "alice sends INVITE
         mallory gets INVITE
         mallory sends 200
         alice gets 200
         alice sends ACK
         mallory gets ACK",
    );
    let route = header(&play.got("mallory", "INVITE"), "Record-Route").expect("a value").to_owned();
    let text = |method: &str, from: &str, to: &str| {
        format!(
            "{method} sip:+1900@192.0.2.30 SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK-{method}\r\n\
             Route: {route}\r\nFrom: <sip:m@x>;tag={from}\r\nTo: <sip:b@x>{to}\r\nCall-ID: call-1\r\n\
             CSeq: 9 {method}\r\nContent-Length: 0\r\n\r\n"
        )
    };
    for (name, stranger, want) in [
        ("a new call with the caller's tag", text("INVITE", "alice", ""), "403"),
        ("tags of no call of ours", text("BYE", "m1", ";tag=m2"), "403"),
    ] {
        play.send("mallory", &stranger);
        play.play(&format!("mallory gets {want}  # {name}\ncarol gets nothing"));
    }
    play.run("");
}
