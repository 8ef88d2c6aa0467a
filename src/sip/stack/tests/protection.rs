//! Who may send what, how much of it, and where to; see [`super::script`].

use std::time::Duration;

use super::flows::{Row, play};
use super::script::{Play, address, header, settings};
use crate::clock::Now;
use crate::sip::message::Message;
use crate::sip::stack::{Ignored, Input, ListenerId, Network, Output, Peer, Preloaded, Settings, Stack, TokenBucket};

pub fn network(text: &str, length: u8) -> Network {
    Network::new(text.parse().expect("an address"), length)
}

fn invite(number: u32) -> String {
    format!(
        "INVITE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-flood{number}\r\nFrom: <sip:a@x>;tag=1\r\n\
         To: <sip:b@x>\r\nCall-ID: flood{number}\r\nCSeq: 1 INVITE\r\nContact: <sip:a@192.0.2.10>\r\n\r\n"
    )
}

#[test]
fn a_listener_can_have_blocks_of_its_own() {
    let own = Settings { allow_on: vec![(ListenerId(1), vec![network("2001:db8:ffff::", 48)])], ..settings() };
    let mut flow = Play::new("by listener", "bob", own);
    flow.play(
        "dave sends INVITE
         dave gets 403
         bob gets nothing
         dave sends ACK hop",
    );
    flow.run(
        "alice sends INVITE
         bob gets INVITE
         bob sends 200
         alice gets 200
         alice sends ACK
         bob gets ACK",
    );
}

const CALL_OF_DAVE: &str = "
    dave sends INVITE
    bob gets INVITE
    bob sends 180
    dave gets 180
    bob sends 200
    dave gets 200
    dave sends ACK
    bob gets ACK
    dave sends BYE
    bob gets BYE
    bob sends 200
    dave gets 200";

#[test]
fn a_flood_of_one_source_leaves_the_calls_of_others_unharmed() {
    let limits = [
        ("by its share of the transactions", Settings { transactions_per_source_max: 300, ..settings() }, 300),
        (
            "by its rate",
            Settings { source_rate: Some(TokenBucket { per_second: 10, burst: 20 }), ..settings() },
            20 + 10 * 2,
        ),
    ];
    for (name, limited, most) in limits {
        let limited = Settings { transactions_max: 400, transactions_in_dialog_max: 500, ..limited };
        let mut flow = Play::new(name, "bob", limited);
        flow.play("an answered call");
        for number in 0..4_000 {
            flow.send("alice", &invite(number));
            if number % 100 == 0 {
                flow.pass(Duration::from_millis(50));
            }
        }
        let open = flow.stack.sizes().server;
        assert!(open <= most + 1, "{name}: {open} transactions");
        flow.play("bob forgets\nalice forgets");
        flow.play(CALL_OF_DAVE);
        // Nor is the flooder's own call, which came before.
        flow.play(
            "bob forgets
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets 200",
        );
        flow.pass(Duration::from_secs(120));
        assert_eq!(flow.stack.sizes().server, 0, "{name}");
        flow.play("bob forgets\nalice forgets");
        flow.play(CALL_OF_DAVE);
    }
}

#[test]
fn a_to_tag_alone_is_no_call() {
    let limits = Settings {
        transactions_max: 400,
        transactions_in_dialog_max: 500,
        transactions_per_source_max: 300,
        ..settings()
    };
    let mut flow = Play::new("made-up dialogs", "bob", limits);
    flow.play("an answered call");
    for number in 0..1_000 {
        let text = invite(number).replace("INVITE", "INFO").replace("To: <sip:b@x>", "To: <sip:b@x>;tag=2");
        flow.send("alice", &text.replace("INFO sip:b@x", "INFO sip:b@192.0.2.20"));
    }
    assert!(flow.stack.sizes().server <= 301);
    flow.play("bob forgets\nalice forgets");
    flow.play(CALL_OF_DAVE);
    flow.run(
        "bob forgets
         alice sends BYE
         bob gets BYE
         bob sends 200
         alice gets 200",
    );
}

#[test]
fn what_a_source_cannot_have_is_told_by_503() {
    let own = Settings { transactions_per_source_max: 1, ..settings() };
    let mut flow = Play::new("share", "bob", own);
    flow.play("alice sends INVITE\nbob gets INVITE");
    flow.send("alice", &invite(1));
    flow.play(
        "told Ignored SourceLimited
         alice gets 503 with Retry-After: 5
         bob sends 486 to INVITE
         bob gets ACK
         alice gets 486
         after 40 s
         alice forgets",
    );
    flow.send("alice", &invite(2));
    flow.play("bob gets INVITE");
}

#[test]
fn stateless_answers_to_forged_sources_are_limited_too() {
    let rate = TokenBucket { per_second: 10, burst: 5 };
    let mut stack = Stack::new(Settings { stateless_responses_allowed: rate, ..settings() });
    let peer = Peer { listener: ListenerId(0), addr: address("alice") };
    let mut answered = 0;
    for number in 0..100 {
        let text = invite(number).replace("From:", "Max-Forwards: 0\r\nFrom:");
        let mut out = Vec::new();
        let now = Now::default().after(Duration::from_millis(u64::from(number)));
        stack.handle(now, Input::Received { peer, message: Message::parse(text.into_bytes()) }, &(), &mut out);
        answered += out.iter().filter(|own| matches!(own, Output::Send { .. })).count();
        let is_known = |own: &Output| {
            matches!(own, Output::Ignored { why: Ignored::RateLimited | Ignored::AnsweredStateless(483) })
        };
        assert!(out.iter().any(is_known), "{out:?}");
    }
    assert_eq!(answered, 5, "a tenth of a second gives no full token beyond the reserve");
    assert_eq!(stack.sizes().server, 0);
}

#[test]
fn a_signed_route_leads_nowhere_but_to_the_other_end() {
    let mut flow = Play::new("steered", "mallory", settings());
    flow.play(
        "alice sends INVITE
         mallory gets INVITE
         mallory sends 200
         alice gets 200
         alice sends ACK
         mallory gets ACK",
    );
    let got = flow.got("mallory", "INVITE");
    let route = header(&got, "Record-Route").expect("a value").to_owned();
    let number = std::cell::Cell::new(0);
    let text = |method: &str, uri: &str, routes: &str| {
        number.set(number.get() + 1);
        let number = number.get();
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK-m{number}\r\n{routes}\
             Max-Forwards: 70\r\nFrom: <sip:b@x>;tag=mallory\r\nTo: <sip:a@x>;tag=alice\r\nCall-ID: call-1\r\n\
             CSeq: {number} {method}\r\nContact: <sip:m@203.0.113.66>\r\nContent-Length: 0\r\n\r\n"
        )
    };
    let ours = format!("Route: {route}\r\n");
    let further = format!("Route: {route}, <sip:192.0.2.30;lr>\r\n");
    let stripped = format!("Route: {}>\r\n", route.split(";tu=").next().expect("what stands before it"));
    for (name, stranger) in [
        ("by the Request-URI", text("INVITE", "sip:+4021@192.0.2.30", &ours)),
        ("by a name", text("BYE", "sip:alice@pstn.example", &ours)),
        ("by a further Route", text("BYE", "sip:alice@192.0.2.10:5062", &further)),
        ("by maddr", text("BYE", "sip:alice@192.0.2.10:5062;maddr=192.0.2.30", &ours)),
        ("without the check of the host", text("BYE", "sip:alice@192.0.2.10:5062", &stripped)),
    ] {
        flow.send("mallory", &stranger);
        flow.play(&format!("told Ignored Steered  # {name}\nmallory gets 403\ncarol gets nothing\nalice gets nothing"));
    }
    flow.send("mallory", &text("ACK", "sip:x@192.0.2.30", &ours));
    flow.play("told Ignored AckStray\ncarol gets nothing");
    // The other end at another port.
    flow.send("mallory", &text("INFO", "sip:alice@192.0.2.10:5062;x=y", &ours));
    flow.play("alice gets INFO\nalice sends 200\nmallory gets 200");
    flow.run("");
}

#[test]
fn a_to_tag_of_no_dialog_is_a_481() {
    let mut flow = Play::new("forged", "bob", settings());
    flow.play("an answered call");
    let signed = header(&flow.got("alice", "200"), "Record-Route").expect("a value").to_owned();
    let number = std::cell::Cell::new(0);
    let text = |method: &str, uri: &str, routes: &str| {
        number.set(number.get() + 1);
        format!(
            "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.30:5060;branch=z9hG4bK-c{0}\r\n{routes}Max-Forwards: 70\r\n\
             From: <sip:c@x>;tag=c\r\nTo: <sip:b@x>;tag=forged\r\nCall-ID: forged\r\nCSeq: {0} {method}\r\n\
             Contact: <sip:c@192.0.2.30>\r\nContent-Length: 0\r\n\r\n",
            number.get()
        )
    };
    for (name, routes) in [
        ("by the Request-URI", String::new()),
        ("by our Route", "Route: <sip:192.0.2.1;lr>\r\n".to_owned()),
        ("by ours and a second one", "Route: <sip:192.0.2.1;lr>, <sip:192.0.2.20;lr>\r\n".to_owned()),
        ("by the signed value of another call", format!("Route: {signed}\r\n")),
        ("by a strict router", "Route: <sip:192.0.2.20>\r\n".to_owned()),
    ] {
        for method in ["INVITE", "MESSAGE", "BYE", "INFO"] {
            flow.send("carol", &text(method, "sip:b@192.0.2.20", &routes));
            flow.play(&format!("told Ignored DialogUnknown  # {method} {name}\ncarol gets 481\nbob gets nothing"));
        }
        flow.send("carol", &text("ACK", "sip:b@192.0.2.20", &routes));
        flow.play(&format!("told Ignored AckStray  # {name}\nbob gets nothing"));
    }
    flow.run("");
}

#[test]
fn an_ack_for_a_refusal_with_a_branch_of_its_own_goes_nowhere() {
    let mut flow = Play::new("stray ACK", "bob", settings());
    flow.play(
        "alice sends INVITE
         bob gets INVITE
         bob sends 407
         bob gets ACK
         alice gets 407",
    );
    let ack = "ACK sip:b@192.0.2.20 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-own\r\nMax-Forwards: 70\r\n\
               From: <sip:alice@example.org>;tag=alice\r\nTo: <sip:bob@example.org>;tag=bob\r\nCall-ID: call-1\r\n\
               CSeq: 1 ACK\r\nContent-Length: 0\r\n\r\n";
    flow.send("alice", ack);
    flow.run("told Ignored AckStray\nbob gets nothing\nalice sends ACK hop");
}

#[test]
fn an_early_dialog_is_known_by_its_tags_while_the_invite_is_open() {
    let mut flow = Play::new("early", "bob", settings());
    let prack = |who: &str, from: &str, to: &str, uri: &str, branch: u32| {
        let via = address(who);
        format!(
            "UPDATE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP {via};branch=z9hG4bK-e{branch}\r\nMax-Forwards: 70\r\n\
             From: <sip:x@x>;tag={from}\r\nTo: <sip:y@x>;tag={to}\r\nCall-ID: call-1\r\nCSeq: {branch} UPDATE\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    flow.play("alice sends INVITE\nbob gets INVITE");
    flow.send("alice", &prack("alice", "alice", "bob", "sip:bob@192.0.2.20", 1));
    flow.play("alice gets 481  # no 1xx has shown the tag yet\nbob sends 183 to INVITE\nalice gets 183");
    flow.send("alice", &prack("alice", "alice", "bob", "sip:bob@192.0.2.20", 2));
    flow.play("bob gets UPDATE\nbob sends 200\nalice gets 200  # the caller without Route");
    flow.send("bob", &prack("bob", "bob", "alice", "sip:alice@192.0.2.10:5062", 3));
    flow.play("alice gets UPDATE\nalice sends 200\nbob gets 200  # the callee");
    for (name, who, from, to, uri, code) in [
        ("not elsewhere", "alice", "alice", "bob", "sip:bob@192.0.2.30", "403"),
        ("nor to a name", "alice", "alice", "bob", "sip:bob@pbx.example", "403"),
        ("another tag", "alice", "alice", "bab", "sip:bob@192.0.2.20", "481"),
        ("nor with the caller's tag missing", "alice", "other", "bob", "sip:bob@192.0.2.20", "481"),
        ("nor from a stranger", "mallory", "alice", "bob", "sip:bob@192.0.2.20", "403"),
    ] {
        flow.send(who, &prack(who, from, to, uri, name.len() as u32));
        flow.play(&format!("{who} gets {code}  # {name}\nbob gets nothing\ncarol gets nothing"));
    }
    flow.play("bob sends 486 to INVITE\nbob gets ACK\nalice gets 486\nalice sends ACK hop");
    flow.send("alice", &prack("alice", "alice", "bob", "sip:bob@192.0.2.20", 99));
    flow.run("alice gets 481\nbob gets nothing");
}

/// An INVITE from alice by our Route and a second one.
const PRELOADED: &str = "alice sends INVITE with Route: <sip:gateway.example;lr>, <sip:192.0.2.30;lr>";

#[test]
fn pre_loaded_routes_are_followed_for_trusted_proxies_only() {
    let trusting = || Settings { trusted_proxies: vec![network("192.0.2.10", 32)], ..settings() };
    let mut flow = Play::new("trusted", "bob", trusting());
    flow.play(PRELOADED);
    flow.run("carol gets INVITE with Route: <sip:192.0.2.30;lr>\ncarol sends 486\ncarol gets ACK\nalice gets 486\nalice sends ACK hop");
    for (name, own) in [
        ("removed by setting", Settings { preloaded: Preloaded::Remove, ..trusting() }),
        ("of a peer it is removed", settings()),
    ] {
        let mut flow = Play::new(name, "bob", own);
        flow.play(PRELOADED);
        flow.run(
            "bob gets INVITE without 192.0.2.30\nbob sends 486\nbob gets ACK\nalice gets 486\nalice sends ACK hop",
        );
    }
    let flow = Play::new("by name", "bob", trusting());
    flow.run(
        "alice sends INVITE with Route: <sip:gateway.example;lr>, <sip:pbx.example;lr>
         told Resolve pbx.example
         resolved carol
         carol gets INVITE with Route: <sip:pbx.example;lr>
         carol sends 200
         alice gets 200
         alice sends ACK
         carol gets ACK",
    );
}

/// A request of alice that keeps the gateway as Request-URI, without Route.
fn left_here(method: &str, number: u32) -> String {
    format!(
        "{method} sip:bob@192.0.2.1:5060 SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-l{method}{number}\r\n\
         Max-Forwards: 70\r\nFrom: <sip:alice@example.org>;tag=alice\r\nTo: <sip:bob@example.org>;tag=bob\r\n\
         Call-ID: call-1\r\nCSeq: {number} {method}\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_caller_that_keeps_the_gateway_as_request_uri_is_led_to_the_callee() {
    let call = "alice sends INVITE\nbob gets INVITE\nbob sends 200\nalice gets 200";
    let mut flow = Play::new("lenient", "bob", settings());
    flow.play(call);
    flow.send("alice", &left_here("ACK", 1));
    flow.play("told Acknowledged\nbob gets ACK with ACK sip:bob@192.0.2.20");
    flow.send("alice", &left_here("INVITE", 2));
    flow.play("bob gets INVITE with INVITE sip:bob@192.0.2.20\nbob sends 200\nalice gets 200");
    flow.send("alice", &left_here("ACK", 2));
    flow.play("bob gets ACK");
    flow.send("alice", &left_here("BYE", 3));
    flow.run("bob gets BYE with BYE sip:bob@192.0.2.20\nbob sends 200\nalice gets 200");
    let mut flow = Play::new("strict", "bob", Settings { lenient_request_uri: false, ..settings() });
    flow.play(call);
    flow.send("alice", &left_here("ACK", 1));
    flow.play("told Ignored AckStray\nbob gets nothing");
    flow.send("alice", &left_here("BYE", 3));
    flow.run("alice gets 404\nbob gets nothing");
}

#[test]
fn a_flood_inside_one_call_leaves_its_own_end_and_others_unharmed() {
    let limits = Settings { transactions_max: 400, transactions_in_dialog_max: 500, ..settings() };
    let mut flow = Play::new("inside a call", "bob", limits);
    flow.play("an answered call");
    for number in 0..2_000 {
        let text = left_here("INFO", number + 10);
        flow.send("alice", &text);
    }
    let sizes = flow.stack.sizes();
    assert!(sizes.server <= 1 + 12, "{sizes:?}");
    flow.play("told Ignored CallLimited\nbob forgets\nalice forgets");
    // The same source still makes other calls.
    flow.send("alice", &invite(1));
    flow.play("bob gets INVITE\nbob sends 486\nbob gets ACK\nalice gets 486\nbob forgets");
    flow.send("alice", &left_here("BYE", 3_000));
    flow.play("bob gets BYE\nbob sends 200\nalice gets 200\nbob forgets\nalice forgets");
    flow.pass(Duration::from_secs(120));
    assert_eq!(flow.stack.sizes().server, 0);
}

#[test]
fn a_caller_who_has_moved_still_reaches_the_callee() {
    // The caller's BYE comes from an address outside of `allow`: its call speaks for it.
    let mut flow = Play::new("moved", "bob", settings());
    flow.play("an answered call");
    let response = flow.got("alice", "200");
    let route = header(&response, "Record-Route").expect("a value").to_owned();
    let bye = |host: &str, number: u32| {
        format!(
            "BYE sip:bob@{host} SIP/2.0\r\nVia: SIP/2.0/UDP 203.0.113.66:5060;branch=z9hG4bK-v{number}\r\nRoute: {route}\r\n\
             From: <sip:alice@example.org>;tag=alice\r\nTo: <sip:bob@example.org>;tag=bob\r\nCall-ID: call-1\r\n\
             CSeq: 9{number} BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    flow.send("mallory", &bye("192.0.2.30", 1));
    flow.play("mallory gets 403\ncarol gets nothing");
    flow.send("mallory", &bye("192.0.2.20", 2));
    flow.run("bob gets BYE\nbob sends 200\nmallory gets 200");
}

#[test]
fn a_2xx_for_an_earlier_process_goes_where_its_via_says() {
    const ROWS: &[Row] = &[(
        "unless the driver passes it on, it is dropped",
        "bob",
        "alice sends INVITE
         bob gets INVITE
         bob sends 200
         alice gets 200
         alice sends ACK
         bob gets ACK",
    )];
    play(ROWS);
    let mut before = Play::new("before", "bob", settings());
    before.play(
        "alice sends INVITE
         bob gets INVITE
         bob sends 200
         alice gets 200",
    );
    let response = super::script::response(&before.got("bob", "INVITE"), "200", "bob", "bob");
    for (passes, name) in [(true, "alice gets 200"), (false, "alice gets nothing")] {
        let mut after = Play::new("after", "bob", Settings { incarnation: [9; 16], ..settings() });
        after.passes_orphans = passes;
        after.send("bob", &response);
        after.run(&format!("told Orphan 200\n{name}"));
    }
    for (name, wrong) in [
        ("a refusal", response.replacen("SIP/2.0 200", "SIP/2.0 486", 1)),
        ("of another host", response.replacen("UDP 192.0.2.1:5060", "UDP 192.0.2.99:5060", 1)),
        ("of another method", response.replace("1 INVITE", "1 BYE")),
    ] {
        let mut after = Play::new(name, "bob", Settings { incarnation: [9; 16], ..settings() });
        after.passes_orphans = true;
        after.send("bob", &wrong);
        after.run("told Ignored AnswerStray\nalice gets nothing");
    }
}

#[test]
fn a_200_without_our_record_route_gets_it_back() {
    for (name, plan, further) in [
        ("the caller itself", "bob", ""),
        ("behind a proxy", "bob", "Record-Route: <sip:192.0.2.30;lr>\r\n"),
        ("with a word of the policy", "word:bob", ""),
    ] {
        let mut flow = Play::new(name, plan, settings());
        flow.send("alice", &invite(1).replace("Call-ID", &format!("{further}Call-ID")));
        flow.play("bob gets INVITE");
        let invite = flow.got("bob", "INVITE");
        let ours = header(&invite, "Record-Route").expect("a value").to_owned();
        assert_eq!(ours.contains(";tw=0000beef"), plan.starts_with("word:"), "{name}: {ours}");
        let response = super::script::response(&invite, "200", "bob", "bob");
        let dropped: String =
            response.split_inclusive("\r\n").filter(|line| !line.starts_with("Record-Route")).collect();
        for _ in 0..2 {
            flow.send("bob", &dropped);
            flow.play("alice gets 200");
            let got = flow.got("alice", "200");
            assert_eq!(header(&got, "Record-Route"), Some(&*ours), "{name}: {got}");
        }
        flow.play("told Ignored RouteMissing(192.0.2.20)");
    }
    // A request that has left without it is not to come back with it.
    let mut flow = Play::new("aside", "aside:bob", settings());
    flow.send("alice", &invite(1));
    flow.play("bob gets INVITE\nbob sends 200\nalice gets 200");
    assert_eq!(header(&flow.got("bob", "INVITE"), "Record-Route"), None);
    assert_eq!(header(&flow.got("alice", "200"), "Record-Route"), None);
}

#[test]
fn a_signed_value_leads_where_the_callee_has_its_contact() {
    // The callee's Contact is another host than the one the INVITE went to, and nobody keeps the dialog after 32 s.
    let mut flow = Play::new("another host", "bob", settings());
    flow.send("alice", &invite(1));
    flow.play("bob gets INVITE");
    let response = super::script::response(&flow.got("bob", "INVITE"), "200", "bob", "bob");
    let response = response.replace("192.0.2.20", "192.0.2.30");
    flow.send("bob", &response);
    flow.play("alice gets 200");
    let route = header(&flow.got("alice", "200"), "Record-Route").expect("a value").to_owned();
    assert_ne!(header(&flow.got("bob", "INVITE"), "Record-Route"), Some(&*route));
    flow.pass(Duration::from_secs(40));
    let bye = |uri: &str, number: u32| {
        format!(
            "BYE {uri} SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-h{number}\r\nRoute: {route}\r\n\
             From: <sip:a@x>;tag=1\r\nTo: <sip:b@x>;tag=bob\r\nCall-ID: flood1\r\nCSeq: {number} BYE\r\nContent-Length: 0\r\n\r\n"
        )
    };
    flow.send("alice", &bye("sip:bob@192.0.2.20", 2));
    flow.play("bob gets nothing\nalice gets 403");
    flow.send("alice", &bye("sip:bob@192.0.2.30", 3));
    flow.play("carol gets BYE\ncarol sends 200\nalice gets 200");
}
