//! Flows of calls that are cancelled, and of repeated messages; see [`super::script`].

use super::flows::{Row, play};
use super::script::{Play, settings};

#[test]
fn rfc3261_9_2_and_16_10_cancel() {
    play(CANCELLED_CALLS);
}

const CANCELLED_CALLS: &[Row] = &[
    (
        "a CANCEL after a provisional answer reaches the callee",
        "bob, carol",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             told Cancelled
             bob gets CANCEL
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             told RoundFailed 487 best 0
             told Final 487
             alice gets 487
             alice sends ACK hop
             carol gets nothing",
    ),
    (
        "a CANCEL before any provisional answer waits for one",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             alice sends CANCEL
             alice gets 200
             bob gets nothing
             bob sends 100
             bob gets CANCEL
             bob sends 200 to CANCEL
             bob sends 487 to INVITE
             bob gets ACK
             alice gets 487
             alice sends ACK hop",
    ),
    (
        "a cancelled branch that never answers ends as 487",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             alice sends CANCEL
             alice gets 200
             after 32 s
             bob forgets
             told Final 487 local
             alice gets 100
             alice gets 487
             alice sends ACK hop",
    ),
    (
        "a cancelled branch without a final answer is given up after 32 s",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             bob sends 200 to CANCEL
             after 32 s
             bob gets nothing
             told Final 487 local
             alice gets 487
             alice sends ACK hop",
    ),
    (
        "a 200 that crosses the CANCEL goes upstream",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             bob sends 200 to INVITE
             told Final 200
             alice gets 200
             bob sends 481 to CANCEL
             alice sends ACK
             bob gets ACK",
    ),
    (
        "a CANCEL that comes again gets its 200 again and is not sent twice",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             alice repeats CANCEL
             alice gets 200
             bob gets nothing
             bob sends 487 to INVITE
             bob gets ACK
             alice gets 487
             alice repeats CANCEL
             alice gets 200
             alice sends ACK hop
             bob sends 200 to CANCEL",
    ),
    (
        "a CANCEL without an answer is sent again",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             after 500 ms
             bob gets CANCEL
             bob sends 200 to CANCEL
             after 5 s
             bob gets nothing
             bob sends 487 to INVITE
             bob gets ACK
             alice gets 487
             alice sends ACK hop",
    ),
    (
        "a CANCEL for nothing is a 481",
        "bob",
        "an answered call
             after 40 s
             alice sends CANCEL
             alice gets 481
             bob gets nothing",
    ),
    (
        "a CANCEL for an answered call changes nothing",
        "bob",
        "an answered call
             alice sends CANCEL
             alice gets 200
             bob gets nothing",
    ),
    (
        "a call cancelled while its name is looked up ends at once",
        "name:pbx.example",
        "alice sends INVITE
             alice sends CANCEL
             alice gets 200
             told Final 487 local
             alice gets 487
             resolved bob
             told Ignored Outdated
             bob gets nothing
             alice sends ACK hop",
    ),
];

#[test]
fn rfc3261_17_what_comes_again() {
    play(REPETITIONS);
}

const REPETITIONS: &[Row] = &[
    (
        "a repeated INVITE is absorbed, and gets the last provisional answer again",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             alice repeats INVITE
             told Ignored RequestRepeated
             bob gets nothing
             bob sends 180
             alice gets 180
             alice repeats INVITE
             alice gets 180
             bob gets nothing
             bob sends 200
             alice gets 200
             alice repeats INVITE
             alice gets nothing
             alice sends ACK
             bob gets ACK",
    ),
    (
        "a repeated 2xx is forwarded, and so is its ACK",
        "bob",
        "an answered call
             bob repeats 200
             alice gets 200
             alice repeats ACK
             bob gets ACK",
    ),
    (
        "an INVITE without an answer is sent again at 0.5 s and 1.5 s",
        "bob",
        "alice sends INVITE
             bob gets INVITE
             after 490 ms
             bob gets nothing
             after 20 ms
             bob gets INVITE
             after 1 s
             bob gets INVITE
             bob sends 180
             after 10 s
             bob gets nothing
             alice gets 100
             alice gets 180
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK",
    ),
    (
        "a repeated BYE gets its answer again",
        "bob",
        "an answered call
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets 200
             alice repeats BYE
             alice gets 200
             bob gets nothing",
    ),
    (
        "a BYE without an answer is told as 408 but answered with silence",
        "bob",
        "an answered call
             alice sends BYE
             after 3600 ms
             alice gets 100
             after 29 s
             bob forgets
             told RoundFailed 408 best 0
             told Final 408 local
             alice gets nothing
             alice repeats BYE
             alice gets 100
             bob gets nothing",
    ),
];

#[test]
fn a_final_answer_is_held_until_its_release() {
    Play::new("held", "bob", settings()).holding().run(
        "alice sends INVITE
         bob gets INVITE
         bob sends 180
         alice gets 180
         bob sends 200
         told Final 200
         alice gets nothing
         bob repeats 200
         told Ignored AnswerRepeated
         alice gets nothing
         alice repeats INVITE
         alice gets 180
         bob sends 183 to INVITE
         told Ignored AnswerRepeated
         alice gets nothing
         release
         alice gets 200
         bob repeats 200
         alice gets 200
         alice sends ACK
         bob gets ACK
         alice sends BYE
         bob gets BYE
         bob sends 481
         told Final 481
         alice gets nothing
         release
         alice gets 481",
    );
    Play::new("a refusal is held as well", "bob+carol", settings()).holding().run(
        "alice sends INVITE
         bob gets INVITE
         carol gets INVITE
         bob sends 486
         bob gets ACK
         carol sends 486
         carol gets ACK
         told Final 486
         after 200 ms
         alice gets 100
         release
         alice gets 486
         alice sends ACK hop",
    );
}

#[test]
fn a_failed_round_waits_until_it_is_said_how_it_goes_on() {
    for (name, plan, script) in [
        (
            "with the next target of the plan",
            "bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK
             told RoundFailed 486 best 0 more
             after 100 ms
             carol gets nothing
             go on
             carol gets INVITE
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
        ),
        (
            "with another one in its place, and then none",
            "bob, dave",
            "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK
             go to carol
             carol gets INVITE with INVITE sip:carol@target.example SIP/2.0
             carol sends 500
             carol gets ACK
             told RoundFailed 500 best 0
             alice gets nothing
             go on
             told Final 486
             alice gets 486
             alice sends ACK hop
             dave gets nothing",
        ),
        (
            "with a name, which is looked up",
            "bob",
            "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK
             go to name:pbx.example
             told Resolve pbx.example
             resolved carol
             carol gets INVITE
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
        ),
        (
            "with nobody",
            "bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK
             go nowhere
             told Final 486
             alice gets 486
             alice sends ACK hop
             carol gets nothing",
        ),
        (
            "but a 200 in the meantime wins",
            "bob 5s, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 5 s
             bob gets CANCEL
             bob sends 200 to CANCEL
             told RoundFailed 408 best 0 more
             bob sends 200 to INVITE
             told Final 200
             alice gets 200
             go on
             told Ignored Outdated
             carol gets nothing
             alice sends ACK
             bob gets ACK",
        ),
        (
            "and a caller who gives up in the meantime is sent to nobody",
            "bob, carol",
            "alice sends INVITE
             bob gets INVITE
             bob sends 486
             bob gets ACK
             alice sends CANCEL
             alice gets 200
             told Cancelled
             alice gets nothing
             go to carol
             carol gets nothing
             told Final 486
             alice gets 486
             alice sends ACK hop",
        ),
    ] {
        let mut flow = Play::new(name, plan, settings());
        flow.holds_rounds = true;
        flow.run(script);
    }
}
