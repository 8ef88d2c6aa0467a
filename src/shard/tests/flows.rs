//! Calls of every shape, each with all its records.

use super::bench::{Bench, Setup};
use crate::accounting;

fn play(rows: &[(&str, &str)]) {
    for (name, script) in rows {
        Bench::new(name, Setup::new()).run(script);
    }
}

#[test]
fn what_comes_again_makes_no_second_record() {
    play(&[
        (
            "an INVITE and its 200 while the answer is held",
            "alice sends INVITE to bob
             bob gets INVITE
             alice repeats INVITE
             bob gets nothing
             bob sends 200
             recorded start 200 bob
             bob repeats 200
             alice repeats INVITE
             alice gets nothing
             recorded nothing
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK
             bob repeats 200
             alice gets 200
             alice repeats ACK
             bob gets ACK
             recorded nothing
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
        (
            "a BYE and its 200",
            "an answered call
             alice sends BYE
             bob gets BYE
             alice repeats BYE
             bob sends 200
             recorded stop 200 bob caller bye 0s
             alice repeats BYE
             bob repeats 200
             alice gets nothing
             disk writes
             alice gets 200
             alice repeats BYE
             alice gets 200
             recorded nothing
             commits 2",
        ),
        (
            "a refusal",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 486
             bob gets ACK
             recorded missed 486 bob callee busy; failed 486 bob callee busy
             bob repeats 486
             bob gets ACK
             alice repeats INVITE
             alice gets nothing
             disk writes
             alice gets 486
             alice repeats INVITE
             alice gets 486
             alice sends ACK hop
             recorded nothing
             commits 1",
        ),
    ]);
}

#[test]
fn a_call_is_acknowledged_and_ended_from_either_side() {
    play(&[
        (
            "re-INVITE and BYE of the callee",
            "an answered call
             after 1 s
             bob sends INVITE again
             alice gets INVITE
             alice sends 200
             recorded interim 200 bob
             bob gets nothing
             disk writes
             bob gets 200
             bob sends ACK
             alice gets ACK
             bob sends BYE
             alice gets BYE
             alice sends 200
             disk writes
             bob gets 200
             recorded stop 200 bob callee bye 1s",
        ),
        (
            "a BYE without an answer",
            "an answered call
             alice sends BYE
             bob gets BYE
             after 33 s
             recorded nothing
             bob forgets
             after 33 s
             recorded stop 408 bob caller failed-bye 0s
             disk writes
             alice gets nothing
             bob forgets",
        ),
    ]);
}

#[test]
fn targets_in_a_row_make_missed_calls_and_legs() {
    play(&[
        (
            "busy, then answered",
            "alice sends INVITE to hunt
             bob gets INVITE
             bob sends 486
             bob gets ACK
             recorded missed 486 bob callee busy
             carol gets INVITE
             carol sends 200
             alice gets nothing
             recorded start 200 carol [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]
             disk writes one
             alice gets nothing
             disk writes one
             alice gets 200
             alice sends ACK
             carol gets ACK
             after 3 s
             alice sends BYE
             carol gets BYE
             carol sends 200
             disk writes
             alice gets 200
             recorded stop 200 carol caller bye 3s [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]",
        ),
        (
            "busy, then busy",
            "alice sends INVITE to hunt
             bob gets INVITE
             bob sends 486
             bob gets ACK
             carol gets INVITE
             carol sends 600
             carol gets ACK
             recorded missed 486 bob callee busy; \
             missed 600 carol callee busy [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]; \
             failed 600 carol callee busy [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]
             disk writes one
             alice gets nothing
             disk writes one
             alice gets 600
             alice sends ACK hop",
        ),
        (
            "nobody answers the first",
            "alice sends INVITE to hunt
             bob gets INVITE
             bob sends 180
             alice gets 180
             after 20 s
             bob gets CANCEL
             recorded missed 408 own gateway no-answer
             disk writes
             bob sends 200
             bob sends 487 to INVITE
             bob gets ACK
             carol gets INVITE
             carol sends 200
             disk writes
             alice gets 200
             recorded start 200 carol [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]
             after 601 s
             recorded stop 0 carol gateway lifetime 600s [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]",
        ),
    ]);
}

#[test]
fn trunks_are_alternatives() {
    play(&[
        (
            "the first one fails, the second answers: no missed call, one leg",
            "alice sends INVITE to trunks
             bob gets INVITE
             bob sends 503
             bob gets ACK
             recorded nothing
             carol gets INVITE
             carol sends 200
             recorded start 200 carol
             disk writes
             alice gets 200
             alice sends ACK
             carol gets ACK
             after 3 s
             alice sends BYE
             carol gets BYE
             carol sends 200
             disk writes
             alice gets 200
             recorded stop 200 carol caller bye 3s",
        ),
        (
            "a busy callee is called once",
            "alice sends INVITE to trunks
             bob gets INVITE
             bob sends 486
             bob gets ACK
             carol gets nothing
             recorded missed 486 bob callee busy; failed 486 bob callee busy
             disk writes
             alice gets 486
             alice sends ACK hop",
        ),
        (
            "both fail: one missed call",
            "alice sends INVITE to trunks
             bob gets INVITE
             bob sends 503
             bob gets ACK
             carol gets INVITE
             carol sends 503
             carol gets ACK
             recorded missed 503 carol callee unreachable; failed 500 own callee unreachable
             disk writes
             alice gets 500
             alice sends ACK hop",
        ),
        (
            "one that does not answer leads on, the caller's CANCEL does not",
            "alice sends INVITE to trunks
             bob gets INVITE
             after 20 s
             carol gets INVITE
             carol sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             carol gets CANCEL
             carol sends 200
             carol sends 487 to INVITE
             carol gets ACK
             recorded missed 487 carol caller cancelled
             disk writes
             alice gets 487
             alice sends ACK hop
             bob forgets",
        ),
    ]);
}

#[test]
fn rfc3261_16_5_a_redirection_that_is_followed_makes_a_leg() {
    let mut bench = Bench::new("moved, then answered", Setup::new());
    bench.play("alice sends INVITE to moved\nbob gets INVITE");
    bench.play_with_contact("bob sends 302", "<sip:carol@192.0.2.30>");
    bench.run(
        "bob gets ACK
         recorded nothing
         carol gets INVITE containing sip:carol@192.0.2.30 SIP/2.0
         carol sends 200
         recorded start 200 carol [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30]
         disk writes
         alice gets 200
         alice sends ACK
         carol gets ACK
         alice sends BYE
         carol gets BYE
         carol sends 200
         disk writes
         alice gets 200
         recorded stop 200 carol caller bye 0s [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30]",
    );
}

#[test]
fn each_2xx_of_a_fork_is_a_session_with_a_record_of_its_own() {
    play(&[(
        "two 200s that cross",
        "alice sends INVITE to fork
         bob gets INVITE
         carol gets INVITE
         bob sends 200
         carol gets nothing
         carol sends 200
         recorded start 200 bob; start 200 carol
         alice gets nothing
         disk writes one
         alice gets 200
         alice gets nothing
         disk writes one
         alice gets 200
         calls 2
         alice sends ACK with bob
         bob gets ACK
         alice sends ACK with carol
         carol gets ACK
         after 2 s
         alice sends BYE with carol
         carol gets BYE
         carol sends 200
         disk writes
         alice gets 200
         recorded stop 200 carol caller bye 2s
         calls 1
         after 2 s
         bob sends BYE
         alice gets BYE
         alice sends 200
         recorded stop 200 bob callee bye 4s
         bob gets nothing
         disk writes
         bob gets 200",
    )]);
}

/// Two 200s of one fork, both acknowledged.
const BOTH: &str = "alice sends INVITE to fork
     bob gets INVITE
     carol gets INVITE
     bob sends 200
     carol gets nothing
     carol sends 200
     disk writes
     alice gets 200
     alice gets 200
     alice sends ACK with bob
     bob gets ACK
     alice sends ACK with carol
     carol gets ACK
     recorded start 200 bob; start 200 carol
     after 2 s";

#[test]
fn one_branch_of_a_fork_does_not_end_the_call_of_the_other() {
    for (name, cheat) in [
        ("the BYE of one dialog where the other goes, by its Request-URI", "BYE with carol to bob"),
        ("by its Request-URI and its Route", "BYE with carol at bob"),
        ("a re-INVITE of one dialog where the other goes", "INVITE again with carol at bob"),
    ] {
        let rest = match cheat.split(' ').next() {
            _ if !cheat.ends_with("at bob") => "bob gets nothing\nalice gets 403\ncarol gets nothing",
            // Whether it was meant is settled by asking.
            Some("BYE") => "bob gets BYE\nbob sends 200 astray\nalice gets 200\ncarol gets OPTIONS\ncarol sends 200",
            _ => "bob gets INVITE\nbob sends 200 astray\nalice gets 200\ncarol gets nothing",
        };
        let rest = format!("alice sends {cheat}\n{rest}\nbob gets nothing");
        let ends = "recorded nothing
            calls 2
            carol sends BYE
            alice gets BYE
            alice sends 200
            recorded stop 200 carol callee bye 2s
            disk writes
            carol gets 200
            alice sends BYE with bob
            bob gets BYE
            bob sends 200
            recorded stop 200 bob caller bye 2s
            disk writes
            alice gets 200";
        play(&[(name, &format!("{BOTH}\n{rest}\n{ends}"))]);
    }
}

#[test]
fn what_the_gateway_answers_itself_is_failed_and_missed() {
    play(&[
        (
            "a refusal",
            "alice sends INVITE to closed
             recorded missed 480 own gateway offline; failed 480 own gateway offline
             disk writes
             alice gets 480
             alice sends ACK hop",
        ),
        (
            "a redirection",
            "alice sends INVITE to away
             recorded missed 302 own gateway redirected; failed 302 own gateway redirected
             disk writes
             alice gets 302 containing Contact: <sip:carol@192.0.2.30:5060>
             alice sends ACK hop",
        ),
    ]);
}

#[test]
fn the_loser_of_an_answered_fork_has_missed_nothing() {
    let script = "alice sends INVITE to fork
         bob gets INVITE
         bob sends 180
         alice gets 180
         carol gets INVITE
         carol sends 180
         alice gets 180
         carol sends 200
         bob gets CANCEL
         bob sends 200
         bob sends 487 to INVITE
         bob gets ACK
         disk writes
         alice gets 200
         alice sends ACK
         carol gets ACK
         RECORDED
         after 600 s
         recorded stop 0 carol gateway lifetime 600s";
    Bench::new("no missed call", Setup::new()).run(&script.replace("RECORDED", "recorded start 200 carol"));
    let engine = accounting::Settings { missed_branches: true, ..Setup::new().engine };
    let want = "recorded start 200 carol; missed 487 bob gateway elsewhere";
    Bench::new("unless it is asked for", Setup { engine, ..Setup::new() }).run(&script.replace("RECORDED", want));
}

#[test]
fn a_call_taken_back_is_told_by_its_own_cause() {
    play(&[
        (
            "answered elsewhere",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL elsewhere
             alice gets 200
             bob gets CANCEL containing Cause=200
             bob sends 200
             bob sends 487 to INVITE
             bob gets ACK
             recorded failed 487 bob caller elsewhere
             disk writes
             alice gets 487
             alice sends ACK hop",
        ),
        (
            "a BYE before the answer",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets 200
             bob sends 487 to INVITE
             bob gets ACK
             recorded missed 487 bob caller cancelled
             disk writes
             alice gets 487
             alice sends ACK hop",
        ),
    ]);
}

#[test]
fn a_call_the_caller_gives_up_makes_one_record() {
    play(&[
        (
            "while it rings",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             bob gets CANCEL
             bob sends 200
             bob sends 487 to INVITE
             bob gets ACK
             recorded missed 487 bob caller cancelled
             alice gets nothing
             disk writes
             alice gets 487
             alice sends ACK hop",
        ),
        (
            "too late",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 200
             recorded start 200 bob
             alice sends CANCEL
             alice gets 200
             bob gets nothing
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 0s",
        ),
    ]);
    let engine = accounting::Settings { report_cancels: true, ..Setup::new().engine };
    Bench::new("the 200 to the CANCEL and its refusal wait for their records", Setup { engine, ..Setup::new() }).run(
        "alice sends INVITE to bob
         bob gets INVITE
         bob sends 180
         alice gets 180
         alice sends CANCEL
         recorded event 200
         bob gets CANCEL
         bob sends 200
         bob sends 487 to INVITE
         bob gets ACK
         recorded missed 487 bob caller cancelled
         alice gets nothing
         disk writes one
         alice gets 200
         alice gets nothing
         disk writes one
         alice gets 487
         alice sends ACK hop",
    );
}

#[test]
fn new_rules_are_for_new_requests() {
    play(&[
        (
            "a call goes on as it began",
            "alice sends INVITE to free
             bob gets INVITE
             rules marked
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             dave sends INVITE to free
             carol gets INVITE
             carol sends 486
             carol gets ACK
             disk writes
             dave gets 486
             dave sends ACK hop
             recorded missed 486 carol callee busy; failed 486 carol callee busy
             bob sends BYE
             alice gets BYE
             alice sends 200
             bob gets 200
             recorded nothing",
        ),
        (
            "no target is added to a request that was decided",
            "alice sends INVITE to hunt
             bob gets INVITE
             rules marked
             bob sends 486
             bob gets ACK
             carol gets INVITE containing sip:carol@192.0.2.30
             carol sends 486
             carol gets ACK
             disk writes
             alice gets 486
             alice sends ACK hop
             recorded missed 486 bob callee busy; \
             missed 486 carol callee busy [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]; \
             failed 486 carol callee busy [sip:bob@192.0.2.20:5060, sip:carol@192.0.2.30:5060]",
        ),
    ]);
}
