//! Max-Breadth (RFC 5393 §5): how many branches a request may have at once; see [`super::script`].

use super::flows::{Row, play};
use super::script::{Play, settings};

#[test]
fn rfc5393_5_max_breadth_is_shared_by_branches() {
    play(MAX_BREADTH);
}

#[test]
fn rfc5393_5_3_3_one_value_leaves() {
    let mut flow = Play::new("two values", "bob", settings());
    flow.send(
        "alice",
        "MESSAGE sip:b@x SIP/2.0\r\nVia: SIP/2.0/UDP 192.0.2.10:5062;branch=z9hG4bK-two\r\nMAX-breadth : 5\r\n\
         Max-Breadth: 9\r\nX: y\r\nFrom: <sip:a@x>;tag=1\r\nTo: <sip:b@x>\r\nCall-ID: two\r\nCSeq: 1 MESSAGE\r\n\r\n",
    );
    flow.play("bob gets MESSAGE");
    let got = flow.got("bob", "MESSAGE");
    assert!(got.contains("\r\nMAX-breadth : 5\r\nX: y\r\n") && !got.contains("Max-Breadth"), "{got}");
}

const MAX_BREADTH: &[Row] = &[
    (
        "60 are shared when the request does not say",
        "bob+carol",
        "alice sends MESSAGE
             bob gets MESSAGE with Max-Breadth: 30
             carol gets MESSAGE with Max-Breadth: 30
             bob sends 486
             carol sends 200
             alice gets 200",
    ),
    (
        "what cannot be halved is shared nearly evenly",
        "bob+carol",
        "alice sends MESSAGE with Max-Breadth: 3
             bob gets MESSAGE with Max-Breadth: 2
             carol gets MESSAGE with Max-Breadth: 1
             bob sends 486
             carol sends 200
             alice gets 200",
    ),
    (
        "a breadth of 1 makes a parallel fork a serial one",
        "bob+carol",
        "alice sends MESSAGE with Max-Breadth: 1
             bob gets MESSAGE with Max-Breadth: 1
             carol gets nothing
             bob sends 486
             carol gets MESSAGE with Max-Breadth: 1
             carol sends 200
             alice gets 200",
    ),
    (
        "without a fork it passes as it is",
        "bob",
        "alice sends MESSAGE with Max-Breadth: 7
             bob gets MESSAGE with Max-Breadth: 7
             bob sends 200
             alice gets 200
             alice sends MESSAGE
             bob gets MESSAGE with Max-Breadth: 60
             bob sends 200
             alice gets 200",
    ),
    (
        "an ACK has one as well",
        "bob",
        "alice sends INVITE
             bob gets INVITE with Max-Breadth: 60
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK with Max-Breadth: 60",
    ),
    (
        "more than 60 is cut to 60, and what is no number too",
        "bob",
        "alice sends MESSAGE with Max-Breadth: 61
             bob gets MESSAGE with Max-Breadth: 60
             bob sends 200
             alice gets 200
             alice sends MESSAGE with Max-Breadth: plenty
             bob gets MESSAGE with Max-Breadth: 60
             bob sends 200
             alice gets 200",
    ),
    (
        "one after the other they have it whole",
        "bob, carol",
        "alice sends INVITE with Max-Breadth: 9
             bob gets INVITE with Max-Breadth: 9
             bob sends 486
             bob gets ACK
             carol gets INVITE with Max-Breadth: 9
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
    ),
    (
        "a branch with a ring timeout leaves the next one its part, and has the rest until its final answer",
        "bob 5s, carol",
        "alice sends INVITE with Max-Breadth: 9
             bob gets INVITE with Max-Breadth: 4
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             carol gets INVITE with Max-Breadth: 5
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
    ),
    (
        "with a breadth of 1 the next target waits for the end of the one that was given up",
        "bob 5s, carol",
        "alice sends INVITE with Max-Breadth: 1
             bob gets INVITE with Max-Breadth: 1
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             told RoundFailed 408 best 0 more
             carol gets nothing
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             carol gets INVITE with Max-Breadth: 1
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
    ),
    (
        "it waits for 32 s at most",
        "bob 5s, carol",
        "alice sends INVITE with Max-Breadth: 1
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             bob sends 200 to CANCEL
             after 31 s
             carol gets nothing
             after 1100 ms
             carol gets INVITE
             carol sends 486
             carol gets ACK
             alice gets 486
             alice sends ACK hop",
    ),
    (
        "not at all for one that was silent",
        "bob 3s, carol",
        "alice sends INVITE with Max-Breadth: 1
             after 3 s
             bob gets INVITE
             bob forgets
             alice gets 100
             carol gets INVITE with Max-Breadth: 1
             carol sends 486
             carol gets ACK
             alice gets 486
             alice sends ACK hop",
    ),
    (
        "a call cancelled meanwhile ends at once",
        "bob 5s, carol",
        "alice sends INVITE with Max-Breadth: 1
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             alice sends CANCEL
             alice gets 200
             told Final 487 local
             alice gets 487
             alice sends ACK hop
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             carol gets nothing",
    ),
    (
        "a late 200 of the one that was given up wins",
        "bob 5s, carol",
        "alice sends INVITE with Max-Breadth: 1
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             bob sends 200 to INVITE
             told Final 200
             alice gets 200
             bob sends 481 to CANCEL
             alice sends ACK
             bob gets ACK
             carol gets nothing",
    ),
    (
        "0 is used up",
        "bob",
        "alice sends MESSAGE with Max-Breadth: 0
             bob gets nothing
             alice gets 440 with 440 Max-Breadth Exceeded",
    ),
];
