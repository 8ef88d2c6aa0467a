//! Rules of the RFCs that the other flows do not show yet, each test named by its section; see [`super::script`].

use super::flows::{Row, play};
use super::script::{Play, header, headers, settings};
use crate::sip::stack::Settings;

#[test]
fn rfc3261_16_7_challenges_are_aggregated() {
    const ROWS: &[Row] = &[
        (
            "two 401 of one round, each line once",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 401 with WWW-Authenticate: Digest realm=bob
             bob gets ACK
             carol sends 401 with WWW-Authenticate: Digest realm=carol
             carol gets ACK
             alice gets 401 with realm=bob
             alice sends ACK hop",
        ),
        (
            "a challenge of an earlier target comes along with that of the last one",
            "bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 407 with Proxy-Authenticate: Digest realm=bob
             bob gets ACK
             carol gets INVITE
             carol sends 401 with WWW-Authenticate: Digest realm=carol
             carol gets ACK
             alice gets 401 with Proxy-Authenticate: Digest realm=bob
             alice sends ACK hop",
        ),
        (
            "no challenge comes along with another refusal",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 401 with WWW-Authenticate: Digest realm=bob
             bob gets ACK
             carol sends 603
             carol gets ACK
             alice gets 603 without Authenticate
             alice sends ACK hop",
        ),
    ];
    play(ROWS);
    let mut flow = Play::new("lines", "bob+carol", settings());
    flow.play(
        "alice sends INVITE
         bob gets INVITE
         carol gets INVITE
         bob sends 407 with Proxy-Authenticate: Digest realm=bob
         carol sends 407 with Proxy-Authenticate: Digest realm=carol
         alice gets 407",
    );
    let got = flow.got("alice", "407");
    let lines: Vec<&str> = headers(&got, "Proxy-Authenticate").collect();
    assert_eq!(lines, ["Digest realm=bob", "Digest realm=carol"], "both, and none twice");
}

#[test]
fn rfc3261_16_7_step_5_what_follows_a_6xx() {
    const ROWS: &[Row] = &[
        (
            "a 2xx that crosses the CANCEL goes upstream, and the 6xx does not",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             carol sends 180
             alice gets 180
             bob sends 603
             bob gets ACK
             carol gets CANCEL
             carol sends 200 to INVITE
             told Final 200
             alice gets 200
             carol sends 200 to CANCEL
             alice sends ACK
             carol gets ACK",
        ),
        (
            "a 6xx of the first target keeps the second from being tried",
            "bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 600
             bob gets ACK
             told RoundFailed 600 best 0
             alice gets 600
             carol gets nothing
             alice sends ACK hop",
        ),
        (
            "a branch without a provisional answer is cancelled when one comes",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 603
             bob gets ACK
             carol gets nothing
             carol sends 180
             carol gets CANCEL
             carol sends 200 to CANCEL
             carol sends 487 to INVITE
             carol gets ACK
             alice gets 180
             alice gets 603
             alice sends ACK hop",
        ),
    ];
    play(ROWS);
}

#[test]
fn rfc3261_16_7_step_6_the_best_answer() {
    const ROWS: &[Row] = &[
        (
            "503 of all targets becomes 500",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 503 with Retry-After: 60
             bob gets ACK
             carol sends 503
             carol gets ACK
             told Final 500 local
             alice gets 500 without Retry-After
             alice sends ACK hop",
        ),
        (
            "a 3xx is better than a 4xx",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 404
             bob gets ACK
             carol sends 302
             carol gets ACK
             alice gets 302 with Contact: <sip:carol@
             alice sends ACK hop",
        ),
        (
            "an answer is better than the silence of the other target",
            "bob 2s+carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             carol gets INVITE
             carol sends 480
             carol gets ACK
             after 2 s
             bob gets CANCEL
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             told RoundFailed 408 480 best 1
             alice gets 480
             alice sends ACK hop",
        ),
    ];
    play(ROWS);
}

#[test]
fn rfc3261_16_7_step_4_redirections() {
    const ROWS: &[Row] = &[
        (
            "passed on: the caller gets the contacts",
            "bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 302
             bob gets ACK
             alice gets 302 with Contact: <sip:bob@192.0.2.20:5060>
             alice sends ACK hop",
        ),
        (
            "followed: its contacts by q, and equal ones at once",
            "follow bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 302 with Contact: <sip:c@192.0.2.30>;q=0.5, <sip:d@[2001:db8::40]>;q=0.5
             bob gets ACK
             told RoundFailed 302 best 0 more
             bob gets INVITE with INVITE sip:bob@192.0.2.20:5060 SIP/2.0
             bob sends 486
             bob gets ACK
             told RoundFailed 486 best 0 more
             carol gets INVITE with INVITE sip:c@192.0.2.30 SIP/2.0
             dave gets INVITE with INVITE sip:d@[2001:db8::40] SIP/2.0
             dave sends 486
             dave gets ACK
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
        ),
        (
            "the contacts come before the next group",
            "follow bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 301 with Contact: <sip:d@[2001:db8::40]>
             bob gets ACK
             dave gets INVITE
             bob gets INVITE
             dave sends 480
             dave gets ACK
             bob sends 480
             bob gets ACK
             carol gets INVITE
             carol sends 404
             carol gets ACK
             told Final 404
             alice gets 404
             alice sends ACK hop",
        ),
        (
            "a circle ends: no contact is tried twice, nor the gateway itself",
            "follow bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 302 with Contact: <sip:bob@target.example>, <sip:b@192.0.2.1>, <tel:+1>, <sip:x@y?a=b>
             bob gets ACK
             bob gets INVITE with INVITE sip:bob@192.0.2.20:5060 SIP/2.0
             bob sends 302
             bob gets ACK
             told Final 302
             alice gets 302
             alice sends ACK hop",
        ),
        (
            "a 305 is no contact to be tried",
            "follow bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 305
             bob gets ACK
             alice gets 305
             alice sends ACK hop",
        ),
        (
            "a cancelled call follows nothing",
            "follow bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             bob sends 302 to INVITE
             bob gets ACK
             bob gets nothing
             alice gets 302
             alice sends ACK hop
             bob sends 200 to CANCEL",
        ),
    ];
    play(ROWS);
    let few = Settings { branches_max: 2, ..settings() };
    Play::new("branches are limited", "follow bob", few).run(
        "alice sends INVITE
         bob gets INVITE
         bob sends 302 with Contact: <sip:c@192.0.2.30>, <sip:d@[2001:db8::40]>
         bob gets ACK
         carol gets INVITE
         dave gets nothing
         carol sends 486
         carol gets ACK
         alice gets 486
         alice sends ACK hop",
    );
}

#[test]
fn rfc3261_16_6_step_11_timer_c() {
    const ROWS: &[Row] = &[
        (
            "a 100 does not set it anew",
            "bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 100 s
             bob sends 100
             after 80 s
             bob gets nothing
             after 1100 ms
             bob gets CANCEL
             told RoundFailed 408 best 0
             alice gets 408
             alice sends ACK hop
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK",
        ),
        (
            "the next target is tried then",
            "bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 181100 ms
             bob gets CANCEL
             told RoundFailed 408 best 0 more
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             carol gets INVITE
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
        ),
    ];
    play(ROWS);
}

#[test]
fn rfc3326_2_the_reason_of_a_cancel_goes_along() {
    const ROWS: &[Row] = &[
        (
            "the caller's",
            "bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL with Reason: SIP;cause=200;text=elsewhere
             alice gets 200
             bob gets CANCEL with Reason: SIP;cause=200;text=elsewhere
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             alice gets 487
             alice sends ACK hop",
        ),
        (
            "the caller's, when the branch is not ready to be cancelled",
            "bob",
            "alice sends INVITE
             bob gets INVITE
             alice sends CANCEL with Reason: Q.850;cause=16
             alice gets 200
             bob sends 180
             bob gets CANCEL with Reason: Q.850;cause=16
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             alice gets 180
             alice gets 487
             alice sends ACK hop",
        ),
        (
            "none, when the caller gives none",
            "bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL without Reason
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             alice gets 487
             alice sends ACK hop",
        ),
        (
            "that another branch was answered",
            "bob+carol",
            "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             carol sends 180
             alice gets 180
             bob sends 200
             alice gets 200
             carol gets CANCEL with Reason: SIP;cause=200;text=\"Call completed elsewhere\"
             carol sends 200 to CANCEL
             carol sends 487 to INVITE
             carol gets ACK
             alice sends ACK
             bob gets ACK",
        ),
    ];
    play(ROWS);
}

#[test]
fn rfc3261_12_2_requests_inside_a_dialog_pass() {
    const ROWS: &[Row] = &[
        (
            "PRACK in an early dialog (RFC 3262), UPDATE in it (RFC 3311)",
            "bob",
            "alice sends INVITE with Supported: 100rel
             bob gets INVITE with Supported: 100rel
             bob sends 183 with RSeq: 1
             alice gets 183 with RSeq: 1
             alice sends PRACK with RAck: 1 1 INVITE
             bob gets PRACK with RAck: 1 1 INVITE
             bob sends 200
             alice gets 200
             bob sends UPDATE
             alice gets UPDATE without Route
             alice sends 200
             bob gets 200
             bob sends 200 to INVITE
             alice gets 200
             alice sends ACK
             bob gets ACK",
        ),
        (
            "REFER (RFC 3515) with its NOTIFY, INFO (RFC 6086), MESSAGE (RFC 3428) and a method nobody knows",
            "bob",
            "an answered call
             alice sends REFER with Refer-To: <sip:carol@example.org>
             bob gets REFER with Refer-To: <sip:carol@example.org>
             bob sends 202
             alice gets 202
             bob sends NOTIFY with Event: refer
             alice gets NOTIFY with Event: refer
             alice sends 200
             bob gets 200
             alice sends INFO
             bob gets INFO
             bob sends 200
             alice gets 200
             alice sends DANCE
             bob gets DANCE
             bob sends 501
             alice gets 501",
        ),
        (
            "SUBSCRIBE opens a dialog of its own, and NOTIFY comes back by it (RFC 6665)",
            "bob",
            "alice sends SUBSCRIBE with Event: dialog
             bob gets SUBSCRIBE with Record-Route: <sip:192.0.2.1:5060;lr
             bob sends 200
             alice gets 200
             bob sends NOTIFY with Event: dialog
             alice gets NOTIFY without Route
             alice sends 200
             bob gets 200
             alice sends SUBSCRIBE again
             bob gets SUBSCRIBE without Record-Route
             bob sends 200
             alice gets 200",
        ),
        (
            "a re-INVITE that is refused leaves the call as it is",
            "bob",
            "an answered call
             alice sends INVITE again
             bob gets INVITE
             bob sends 488
             bob gets ACK
             alice gets 488
             alice sends ACK hop
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets 200",
        ),
    ];
    play(ROWS);
}

#[test]
fn rfc3261_8_1_1_a_caller_of_rfc2543_without_tags_or_hops_is_served() {
    let text = |method: &str, to: &str, cseq: &str| {
        format!(
            "{method} sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062\r\nFrom: <sip:alice@x>\r\nTo: <sip:b@x>{to}\r\n\
             Call-ID: old\r\nCSeq: {cseq}\r\nContact: <sip:alice@192.0.2.10:5062>\r\n\r\n"
        )
    };
    let mut flow = Play::new("RFC 2543", "bob", settings());
    flow.send("alice", &text("INVITE", "", "1 INVITE"));
    flow.play(
        "bob gets INVITE with Max-Forwards: 70
         bob sends 200
         alice gets 200",
    );
    let response = flow.got("alice", "200");
    let route = header(&response, "Record-Route").expect("our value").to_owned();
    let ack = text("ACK", ";tag=bob", "1 ACK").replace("sip:b@x SIP", "sip:bob@192.0.2.20 SIP");
    let ack = ack.replacen("From:", &format!("Route: {route}\r\nFrom:"), 1);
    flow.send("alice", &ack);
    flow.play("bob gets ACK without Route");
    let bye = ack.replace("ACK", "BYE").replace("CSeq: 1", "CSeq: 2");
    flow.send("alice", &bye);
    flow.run(
        "bob gets BYE
         bob sends 200
         alice gets 200",
    );
}

#[test]
fn rfc3261_16_3_step_5_proxy_require_of_known_extensions_passes() {
    let own = Settings { supported: vec!["privacy".to_owned()], ..settings() };
    Play::new("Proxy-Require", "bob", own).run(
        "alice sends OPTIONS with Proxy-Require: Privacy
         bob gets OPTIONS with Proxy-Require: Privacy
         bob sends 200
         alice gets 200
         alice sends INVITE with Proxy-Require: privacy, path
         alice gets 420 with Unsupported: path
         alice sends ACK hop",
    );
}
