//! Places of records within their sessions.

use super::bench::Bench;
use super::{secs, settings};
use crate::accounting::Settings;
use crate::accounting::stored::{Stored, decode, encode};
use crate::record::Kind;

/// Kind and number of each record.
fn numbers(bench: &Bench) -> String {
    let line = |kind: Kind, number: Option<u32>| match number {
        Some(number) => format!("{} {number}", kind.name()),
        None => kind.name().to_owned(),
    };
    bench.made.iter().map(|made| line(made.record.kind, made.record.number)).collect::<Vec<_>>().join(", ")
}

#[test]
fn records_of_a_session_are_counted() {
    let settings = Settings { early_media: true, interim_interval: Some(secs(60)), ..settings() };
    for (name, marked, steps, want) in [
        ("a short call", "a0", "INVITE; 200 b; ACK; +5; BYE caller; 200", "start 0, stop 1"),
        (
            "a re-INVITE is between",
            "a0",
            "INVITE; 200 b; INVITE callee; 200; BYE caller; 200",
            "start 0, interim 1, stop 2",
        ),
        ("so is the timer", "a0", "INVITE; 200 b; +130; BYE caller; 200", "start 0, interim 1, interim 2, stop 3"),
        ("the operator ends it", "a0", "INVITE; 200 b; +70; close", "start 0, interim 1, stop 2"),
        (
            "a restart counts on",
            "a0",
            "INVITE; 200 b; +70; restart; INVITE caller; 200; restart; +60; reboot; BYE caller; 200",
            "start 0, interim 1, interim 2, interim 3, stop 4",
        ),
        ("early media starts it", "a0", "INVITE; 183 b sdp; 200 b; BYE caller; 200", "start 0, interim 1, stop 2"),
        (
            "more early media goes on",
            "a0",
            "INVITE; 183 b sdp; 180 b sdp; 200 b; INVITE callee; 183 b sdp; 200; BYE callee; 200",
            "start 0, interim 1, interim 2, interim 3, interim 4, stop 5",
        ),
        ("early media that fails", "a0", "INVITE; 183 b sdp; 486 b", "start 0, stop 1"),
        ("what nobody wants is not counted", "a2", "INVITE; 200 b; INVITE callee; 200; BYE caller; 200", "cdr"),
        (
            "forks count apart",
            "a0",
            "INVITE; 200 b; 200 c; +70; close",
            "start 0, start 0, interim 1, interim 1, stop 2, stop 2",
        ),
        ("a BYE out of nowhere", "a0", "BYE callee; 200", "stop 1"),
        (
            "attempts and other requests are not",
            "a0 f0",
            "INVITE; 486 b; INVITE; 200 b; INVITE caller; 488",
            "failed, start 0, failed",
        ),
    ] {
        let mut bench = Bench::new(settings.clone(), marked);
        bench.play(steps);
        assert_eq!(numbers(&bench), want, "{name}");
    }
}

#[test]
fn a_call_of_a_release_without_a_count_stays_without() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; 200 b; ACK");
    for value in bench.stored.values_mut() {
        let Ok(Stored::Live(mut session)) = decode(value) else { panic!("a live call") };
        session.next_number = None;
        *value = encode(&session);
    }
    bench.play("restart; INVITE caller; 200; BYE caller; 200");
    assert_eq!(numbers(&bench), "start 0, interim, stop");
}

#[test]
fn an_interval_that_a_server_gave_stays_over_a_restart() {
    for (name, steps, want) in [
        ("before it is stored", "every 90; restart; +200", "start 0, interim 1, interim 2, interim 3"),
        ("after", "every 90; +10; restart; +190", "start 0, interim 1, interim 2"),
        ("a reboot too", "every 90; +10; reboot; +160", "start 0, interim 1, interim 2"),
        ("none stays none", "every 0; +10; restart; +600", "start 0"),
    ] {
        let settings = Settings { interim_interval: Some(secs(60)), ..settings() };
        let mut bench = Bench::new(settings, "a0");
        bench.play("INVITE; 200 b; ACK").play(steps);
        assert_eq!(numbers(&bench), want, "{name}");
    }
}
