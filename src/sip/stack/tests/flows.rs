//! Flows of calls as sentences; see [`super::script`].

use super::script::{Play, settings};

/// A flow: its name, the targets of a new call, and what happens.
pub type Row = (&'static str, &'static str, &'static str);

/// Plays each row: name, plan, script.
pub fn play(rows: &[Row]) {
    for (name, plan, script) in rows {
        Play::new(name, plan, settings()).run(script);
    }
}

#[test]
fn rfc3261_16_6_calls_pass() {
    play(ANSWERED_CALLS);
}

const ANSWERED_CALLS: &[Row] = &[
    (
        "an answered call goes through, and its BYE follows the Record-Route",
        "bob",
        "alice sends INVITE
             told Request
             bob gets INVITE with Max-Forwards: 69
             bob sends 180
             told Provisional 180 by 0
             alice gets 180
             bob sends 200
             told Final 200
             alice gets 200
             alice sends ACK
             bob gets ACK without Route
             told Acknowledged
             alice sends BYE
             bob gets BYE without Route
             bob sends 200
             alice gets 200 with ;rport=5062
             after 40 s
             told Terminated
             told Terminated",
    ),
    (
        "the callee's BYE comes back the other way",
        "bob",
        "an answered call
             bob sends BYE
             alice gets BYE without Route
             alice sends 200
             bob gets 200",
    ),
    (
        "a re-INVITE and an UPDATE pass inside the dialog",
        "bob",
        "an answered call
             alice sends INVITE again
             bob gets INVITE without Record-Route
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             bob sends UPDATE
             alice gets UPDATE
             alice sends 200
             bob gets 200",
    ),
    (
        "100 goes out after 200 ms of silence and not before",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 100
             after 190 ms
             alice gets nothing
             after 20 ms
             alice gets 100
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK",
    ),
    (
        "no 100 follows another answer",
        "bob",
        "an answered call
             after 300 ms
             alice gets nothing",
    ),
    (
        "a call over two address families is record-routed twice, and both values come off",
        "dave",
        "alice sends INVITE
             dave gets INVITE with Record-Route: <sip:[2001:db8::1]:5060;lr;r2=on
             dave sends 200
             alice gets 200
             alice sends ACK
             dave gets ACK without Route
             alice sends BYE
             dave gets BYE without Route
             dave sends 200
             alice gets 200",
    ),
    (
        "a callee outside of `allow` may end its call, by the signed Route",
        "mallory",
        "alice sends INVITE
             mallory gets INVITE
             mallory sends 200
             alice gets 200
             alice sends ACK
             mallory gets ACK
             mallory sends BYE
             alice gets BYE
             alice sends 200
             mallory gets 200",
    ),
];

#[test]
fn rfc3261_16_7_and_16_8_failures() {
    play(FAILED_CALLS);
}

const FAILED_CALLS: &[Row] = &[
    (
        "a busy callee's 486 is acknowledged on both sides",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK without Route
             told RoundFailed 486 best 0
             told Final 486
             alice gets 486
             alice sends ACK hop
             bob gets nothing
             bob repeats 486
             bob gets ACK",
    ),
    (
        "a refusal without an ACK comes again",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK
             alice gets 486
             after 500 ms
             alice gets 486
             alice repeats INVITE
             alice gets 486
             alice sends ACK hop
             after 10 s
             alice gets nothing",
    ),
    (
        "a callee that never answers is a 408 after 32 s",
        "bob",
        "alice sends INVITE
             after 32 s
             bob gets INVITE
             bob gets INVITE
             bob forgets
             told RoundFailed 408 best 0
             told Final 408 local
             alice gets 100
             alice gets 408
             alice sends ACK hop",
    ),
    (
        "a 503 of the callee becomes 500",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 503
             bob gets ACK
             told RoundFailed 503 best 0
             told Final 500 local
             alice gets 500
             alice sends ACK hop",
    ),
    (
        "a target that cannot be reached is a 503 in the round and a 500 for the caller",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             unreachable bob
             told RoundFailed 503 best 0
             alice gets 500
             alice sends ACK hop",
    ),
    (
        "Timer C ends a call that only rings, 181 s after the last 18x",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 180 s
             bob sends 183
             alice gets 183
             after 180 s
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
        "the policy can respond by itself",
        "answer 404",
        "alice sends INVITE
             told Final 404 local
             alice gets 404 with 404 Not Found
             alice sends ACK hop",
    ),
    (
        "a name without addresses is a 500",
        "name:nowhere.example",
        "alice sends INVITE
             told Resolve nowhere.example
             resolved
             told RoundFailed 503 best 0
             alice gets 500
             alice sends ACK hop",
    ),
    (
        "a 2xx after the transaction ended is dropped",
        "bob",
        "an answered call
             after 33 s
             bob repeats 200
             told Ignored AnswerStray
             alice gets nothing",
    ),
];

#[test]
fn rfc3261_16_7_several_targets() {
    play(SEVERAL_TARGETS);
}

const SEVERAL_TARGETS: &[Row] = &[
    (
        "a busy callee's call goes on to the next target",
        "bob, carol",
        "alice sends INVITE
             bob gets INVITE with INVITE sip:bob@target.example SIP/2.0
             bob sends 486
             bob gets ACK
             told RoundFailed 486 best 0 more
             carol gets INVITE with INVITE sip:carol@target.example SIP/2.0
             carol sends 180
             told Provisional 180 by 1
             alice gets 180
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
    ),
    (
        "an unanswered callee's call goes on after the ring timeout",
        "bob 5s, carol",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL with CANCEL sip:bob@target.example SIP/2.0
             told RoundFailed 408 best 0 more
             carol gets INVITE
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
    ),
    (
        "a 200 that crosses the CANCEL of its ring timeout still wins",
        "bob 5s, carol",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             carol gets INVITE
             carol sends 180
             alice gets 180
             bob sends 200 to INVITE
             told Final 200
             alice gets 200 with tag=bob
             carol gets CANCEL
             carol sends 200 to CANCEL
             carol sends 487 to INVITE
             carol gets ACK",
    ),
    (
        "a silent callee is left after its ring timeout, and cancelled when it wakes up",
        "bob 3s, carol",
        "alice sends INVITE
             after 3 s
             bob gets INVITE
             bob forgets
             alice gets 100
             carol gets INVITE
             carol sends 486
             carol gets ACK
             told Final 486
             alice gets 486
             alice sends ACK hop
             bob sends 180
             bob gets CANCEL
             alice gets nothing
             bob sends 487 to INVITE
             bob gets ACK
             bob sends 200 to CANCEL",
    ),
    (
        "both 2xx of a fork go upstream",
        "bob+carol",
        "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             carol sends 180
             alice gets 180
             bob sends 200
             told Final 200
             alice gets 200 with tag=bob
             carol gets CANCEL
             carol sends 200 to INVITE
             told Final 200
             alice gets 200 with tag=carol
             carol sends 200 to CANCEL
             carol repeats 200
             alice gets nothing",
    ),
    (
        "a 6xx cancels the other branches and ends the search",
        "bob+carol, dave",
        "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             carol sends 180
             alice gets 180
             bob sends 603
             bob gets ACK
             carol gets CANCEL
             carol sends 200 to CANCEL
             carol sends 487 to INVITE
             carol gets ACK
             told RoundFailed 603 487 best 0
             told Final 603
             alice gets 603
             alice sends ACK hop
             dave gets nothing",
    ),
    (
        "the lowest class is the best answer, and 503 the last choice",
        "bob+carol",
        "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 503
             bob gets ACK
             carol sends 404
             carol gets ACK
             told RoundFailed 503 404 best 1
             alice gets 404
             alice sends ACK hop",
    ),
    (
        "challenges of all branches go upstream together",
        "bob+carol",
        "alice sends INVITE
             bob gets INVITE
             carol gets INVITE
             bob sends 401 with WWW-Authenticate: Digest realm=bob
             bob gets ACK
             carol sends 407 with Proxy-Authenticate: Digest realm=carol
             carol gets ACK
             told RoundFailed 401 407 best 0
             alice gets 401 with Proxy-Authenticate: Digest realm=carol
             alice sends ACK hop",
    ),
    (
        "the next address of a name is tried when the first cannot be reached",
        "name:pbx.example",
        "alice sends INVITE
             resolved bob carol
             bob gets INVITE
             unreachable bob
             carol gets INVITE
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
    ),
    (
        "an unreachable target's call goes on to the next target",
        "bob, carol",
        "alice sends INVITE
             bob gets INVITE
             unreachable bob
             told RoundFailed 503 best 0 more
             carol gets INVITE
             carol sends 486
             carol gets ACK
             alice gets 486
             alice sends ACK hop",
    ),
];
