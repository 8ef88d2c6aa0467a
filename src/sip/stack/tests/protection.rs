//! Who may send what, how much of it, and where to; see [`super::script`].

use std::time::Duration;

use super::flows::{Row, play};
use super::script::{Play, address, header, settings};
use crate::clock::Now;
use crate::sip::message::Message;
use crate::sip::stack::{Ignored, Input, ListenerId, Network, Output, Peer, Settings, Stack, TokenBucket};

fn network(text: &str, length: u8) -> Network {
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
    let mut stack = Stack::new(Settings { stateless_answers_allowed: rate, ..settings() });
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
    // The other end at another port, and by a trusted source anywhere.
    flow.send("mallory", &text("INFO", "sip:alice@192.0.2.10:5062;x=y", &ours));
    flow.play("alice gets INFO\nalice sends 200\nmallory gets 200");
    flow.send("carol", &text("INFO", "sip:x@192.0.2.20", "").replace("203.0.113.66:5060", "192.0.2.30:5060"));
    flow.play("bob gets INFO\nbob sends 200\ncarol gets 200");
    flow.run("");
}

#[test]
fn a_caller_who_has_moved_still_reaches_the_callee() {
    // The caller's BYE comes from an address outside of `allow`: its call speaks for it.
    let mut flow = Play::new("moved", "bob", settings());
    flow.play("an answered call");
    let answer = flow.got("alice", "200");
    let route = header(&answer, "Record-Route").expect("a value").to_owned();
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
    let answer = super::script::answer(&before.got("bob", "INVITE"), "200", "bob", "bob");
    for (passes, name) in [(true, "alice gets 200"), (false, "alice gets nothing")] {
        let mut after = Play::new("after", "bob", Settings { incarnation: [9; 16], ..settings() });
        after.passes_orphans = passes;
        after.send("bob", &answer);
        after.run(&format!("told Orphan 200\n{name}"));
    }
    for (name, wrong) in [
        ("a refusal", answer.replacen("SIP/2.0 200", "SIP/2.0 486", 1)),
        ("of another host", answer.replacen("UDP 192.0.2.1:5060", "UDP 192.0.2.99:5060", 1)),
        ("of another method", answer.replace("1 INVITE", "1 BYE")),
    ] {
        let mut after = Play::new(name, "bob", Settings { incarnation: [9; 16], ..settings() });
        after.passes_orphans = true;
        after.send("bob", &wrong);
        after.run("told Ignored AnswerStray\nalice gets nothing");
    }
}
