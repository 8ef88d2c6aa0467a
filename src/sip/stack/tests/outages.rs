//! Failover over the places of one name and over targets (RFC 3263 §4.3), and destinations that are down.

use super::flows::Row;
use super::script::{Play, settings};
use crate::sip::stack::Settings;

fn play(rows: &[Row]) {
    for (name, plan, script) in rows {
        Play::new(name, plan, Settings { failures_max: 2, ..settings() }).run(script);
    }
}

#[test]
fn rfc3263_4_3_the_next_place_is_tried() {
    play(&[
        (
            "after a 503, which gets its ACK",
            "name:pbx.example",
            "alice sends INVITE
             resolved bob carol
             bob gets INVITE
             bob sends 503
             bob gets ACK
             carol gets INVITE
             carol sends 200
             alice gets 200
             alice sends ACK
             carol gets ACK",
        ),
        (
            "after a host that cannot be reached, and then after silence",
            "name:pbx.example",
            "alice sends INVITE
             resolved bob carol dave
             bob gets INVITE
             unreachable bob
             carol gets INVITE
             after 200 ms
             alice gets 100
             after 32 s
             carol forgets
             dave gets INVITE
             dave sends 486
             dave gets ACK
             alice gets 486
             alice sends ACK hop",
        ),
        (
            "not after any other answer",
            "name:pbx.example",
            "alice sends INVITE
             resolved bob carol
             bob gets INVITE
             bob sends 480
             bob gets ACK
             alice gets 480
             alice sends ACK hop
             carol gets nothing",
        ),
        (
            "not after an answer that took its time: it rings there",
            "name:pbx.example",
            "alice sends INVITE
             resolved bob carol
             bob gets INVITE
             bob sends 180
             alice gets 180
             unreachable bob
             carol gets nothing
             bob sends 486
             bob gets ACK
             alice gets 486
             alice sends ACK hop",
        ),
        (
            "not once the caller has given up",
            "name:pbx.example",
            "alice sends INVITE
             resolved bob carol
             bob gets INVITE
             alice sends CANCEL
             alice gets 200
             unreachable bob
             carol gets nothing
             alice gets 487
             alice sends ACK hop",
        ),
        (
            "not when the time of a request other than INVITE is over: nobody waits for it any more",
            "name:pbx.example",
            "alice sends MESSAGE
             resolved bob carol
             bob gets MESSAGE
             after 33 s
             told RoundFailed 408 best 0
             bob forgets
             alice forgets
             carol gets nothing",
        ),
        (
            "CANCEL and the ACK of a refusal go where the INVITE went",
            "name:pbx.example",
            "alice sends INVITE
             resolved bob carol
             bob gets INVITE
             unreachable bob
             carol gets INVITE
             carol sends 180
             alice gets 180
             alice sends CANCEL
             alice gets 200
             carol gets CANCEL
             carol sends 200 to CANCEL
             carol sends 487 to INVITE
             carol gets ACK
             bob gets nothing
             alice gets 487
             alice sends ACK hop",
        ),
    ]);
}

/// Two requests find nobody at bob's.
const BOB_FAILS: &str = "
    alice sends MESSAGE
    bob gets MESSAGE
    unreachable bob
    carol gets MESSAGE
    carol sends 200
    alice gets 200
    alice sends MESSAGE
    bob gets MESSAGE
    unreachable bob
    told Turned Down
    carol gets MESSAGE
    carol sends 200
    alice gets 200
";

fn after_failures(name: &str, plan: &str, script: &str) {
    let mut flow = Play::new(name, plan, Settings { failures_max: 2, ..settings() });
    flow.play(BOB_FAILS);
    assert_eq!(flow.stack.outages().count(), 1, "{name}");
    flow.run(script);
}

#[test]
fn a_target_that_is_down_is_left_out_until_it_answers() {
    after_failures(
        "OPTIONS ask whether it is back",
        "bob, carol",
        "alice sends MESSAGE
         carol gets MESSAGE
         carol sends 200
         alice gets 200
         bob gets nothing
         after 2 s
         bob gets OPTIONS with OPTIONS sip:192.0.2.20:5060 SIP/2.0
         unreachable bob
         after 3500 ms
         bob gets nothing
         after 500 ms
         bob gets OPTIONS with Max-Forwards: 0
         bob sends 404
         told Turned Up
         alice sends MESSAGE
         bob gets MESSAGE
         bob sends 200
         alice gets 200",
    );
}

#[test]
fn requests_to_others_do_not_wait_for_a_target_that_is_down_even_when_they_fail() {
    after_failures(
        "a busy one ends the call",
        "bob, carol",
        "alice sends INVITE
         carol gets INVITE
         carol sends 486
         carol gets ACK
         alice gets 486
         alice sends ACK hop
         bob gets nothing
         after 2 s
         bob gets OPTIONS
         bob sends 200",
    );
}

#[test]
fn when_all_are_down_all_are_tried_all_the_same() {
    let mut flow = Play::new("all down", "bob, carol", Settings { failures_max: 1, ..settings() });
    flow.play(
        "alice sends MESSAGE
         bob gets MESSAGE
         unreachable bob
         carol gets MESSAGE
         unreachable carol
         alice gets 500",
    );
    assert_eq!(flow.stack.outages().count(), 2);
    flow.run(
        "alice sends MESSAGE
         bob gets MESSAGE
         unreachable bob
         carol gets MESSAGE
         carol sends 200
         told Turned Up
         alice gets 200
         after 2 s
         bob gets OPTIONS
         bob sends 200",
    );
}

#[test]
fn of_the_places_of_a_name_those_that_are_down_come_last() {
    let mut flow = Play::new("a name", "name:pbx.example", Settings { failures_max: 1, ..settings() });
    flow.play(
        "alice sends MESSAGE
         resolved bob carol
         bob gets MESSAGE
         unreachable bob
         carol gets MESSAGE
         carol sends 200
         alice gets 200
         alice sends MESSAGE
         resolved bob carol
         carol gets MESSAGE
         carol sends 503
         bob gets MESSAGE
         bob sends 200
         told Turned Up
         alice gets 200",
    );
    flow.run("alice sends MESSAGE\nresolved bob carol\nbob gets MESSAGE\nbob sends 200\nalice gets 200");
}

#[test]
fn a_place_that_stays_down_is_forgotten_when_nobody_wants_it() {
    let mut flow = Play::new("gone", "bob, carol", Settings { failures_max: 2, ..settings() });
    flow.play(BOB_FAILS);
    for _ in 0..20 {
        flow.pass(std::time::Duration::from_secs(60));
        flow.play("bob forgets");
    }
    flow.run("after 60 s\nbob gets nothing");
}
