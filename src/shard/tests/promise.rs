//! Responses wait for the disk; what happens when it is late, refuses, or is in trouble.

use std::time::Duration;

use super::bench::{Bench, Setup};
use crate::shard::{OnTrouble, Settings};

/// New calls are refused as soon as a response has left before its record was on disk.
fn strict() -> Settings {
    let settings = Settings::default();
    Settings { refuse_after: settings.commit_wait_max, ..settings }
}

fn play(rows: &[(&str, &str)]) {
    for (name, script) in rows {
        Bench::new(name, Setup { shard: strict(), ..Setup::new() }).run(script);
    }
}

#[test]
fn a_final_answer_waits_for_its_record() {
    play(&[
        (
            "the 200 and the BYE's answer",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 180
             alice gets 180
             bob sends 200
             recorded start 200 bob
             alice gets nothing
             after 100 ms
             alice gets nothing
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK
             after 5 s
             alice sends BYE
             bob gets BYE
             bob sends 200
             recorded stop 200 bob caller bye 5s
             alice gets nothing
             disk writes
             alice gets 200
             commits 2
             counted AnswerUnsafe 0",
        ),
        (
            "a BYE of the callee",
            "an answered call
             after 2 s
             bob sends BYE
             alice gets BYE
             alice sends 481
             recorded stop 481 bob callee failed-bye 2s
             bob gets nothing
             disk writes
             bob gets 481",
        ),
        (
            "a refusal",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 486
             bob gets ACK
             recorded missed 486 bob callee busy; failed 486 bob callee busy
             alice gets nothing
             disk writes
             alice gets 486
             alice sends ACK hop
             commits 1",
        ),
        (
            "a refusal by the gateway",
            "alice sends INVITE to closed
             recorded missed 480 own gateway offline; failed 480 own gateway offline
             alice gets nothing
             disk writes
             alice gets 480
             alice sends ACK hop",
        ),
        (
            "an Interim",
            "an answered call
             alice sends INVITE again
             bob gets INVITE
             bob sends 200
             alice gets nothing
             recorded interim 200 bob
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK
             after 1 s
             alice sends BYE
             bob gets BYE
             bob sends 200
             recorded stop 200 bob caller bye 1s
             disk writes
             alice gets 200",
        ),
    ]);
}

#[test]
fn what_makes_no_record_waits_for_nothing() {
    play(&[
        (
            "a call that is not accounted",
            "alice sends INVITE to free
             bob gets INVITE
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets 200
             recorded nothing",
        ),
        (
            "nor while the disk owes receipts to others",
            "dave sends INVITE to bob
             bob gets INVITE
             bob sends 200
             alice sends INVITE to free
             bob gets INVITE
             bob sends 486
             bob gets ACK
             alice gets 486
             alice sends ACK hop
             recorded start 200 bob
             disk writes
             dave gets 200
             dave sends ACK
             bob gets ACK
             dave sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             dave gets 200
             recorded stop 200 bob caller bye 0s",
        ),
        (
            "a request of another method",
            "an answered call
             alice sends INFO
             bob gets INFO
             bob sends 200
             alice gets 200
             alice sends OPTIONS to free
             bob gets OPTIONS
             bob sends 200
             alice gets 200
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
    ]);
}

#[test]
fn an_answer_waits_for_the_record_another_transaction_has_made() {
    play(&[
        (
            "two BYEs that cross make one Stop, and both answers wait for it",
            "an answered call
             after 3 s
             alice sends BYE
             bob sends BYE
             bob gets BYE
             alice gets BYE
             bob sends 200
             recorded stop 200 bob caller bye 3s
             alice sends 200
             alice gets nothing
             bob gets nothing
             recorded nothing
             disk writes
             alice gets 200
             bob gets 200",
        ),
        (
            "a second BYE of the same side",
            "an answered call
             alice sends BYE
             bob gets BYE
             alice sends BYE
             bob gets BYE
             turn begins
             bob sends 481
             bob sends 200
             turn ends
             alice gets nothing
             recorded stop 481 bob caller failed-bye 0s
             disk writes
             alice gets 481
             alice forgets",
        ),
    ]);
}

#[test]
fn all_records_of_a_turn_are_one_commit() {
    play(&[(
        "three calls",
        "alice sends INVITE to bob
         bob gets INVITE
         dave sends INVITE to bob
         bob gets INVITE
         carol sends INVITE to bob
         bob gets INVITE
         turn begins
         bob sends 200 for alice
         bob sends 200 for dave
         bob sends 486 for carol
         commits 0
         turn ends
         commits 1
         bob gets ACK
         alice gets nothing
         dave gets nothing
         carol gets nothing
         disk writes one
         alice gets 200
         dave gets 200
         carol gets 486
         carol sends ACK hop
         alice sends ACK
         bob gets ACK
         dave sends ACK
         bob gets ACK
         recorded start 200 bob; start 200 bob; missed 486 bob callee busy; failed 486 bob callee busy
         calls 2
         after 601 s
         recorded stop 0 bob gateway lifetime 600s; stop 0 bob gateway lifetime 600s",
    )]);
}

#[test]
fn a_disk_that_stalls_for_a_second_refuses_nobody_and_one_that_stalls_for_three_does() {
    Bench::new("by default", Setup::new()).run(
        "alice sends INVITE to bob
         bob gets INVITE
         bob sends 200
         after 499 ms
         alice gets nothing
         after 1 ms
         alice gets 200
         alice sends ACK
         bob gets ACK
         counted AnswerUnsafe 1
         alarm off
         after 500 ms
         dave sends INVITE to bob
         bob gets INVITE
         bob sends 486
         bob gets ACK
         after 500 ms
         dave gets 486
         dave sends ACK hop
         counted AnswerUnsafe 2
         after 1499 ms
         alarm off
         after 1 ms
         alarm on
         carol sends INVITE to bob
         carol gets 503 containing Retry-After: 5
         carol sends ACK hop
         counted CallRefused 1
         disk writes
         alarm off
         recorded start 200 bob; missed 486 bob callee busy; failed 486 bob callee busy
         after 601 s
         recorded stop 0 bob gateway lifetime 600s",
    );
}

#[test]
fn a_late_receipt_lets_the_answer_go_and_raises_the_alarm() {
    play(&[
        (
            "new calls are refused, calls in progress go on",
            "an answered call
             dave sends INVITE to bob
             bob gets INVITE
             bob sends 200
             after 499 ms
             dave gets nothing
             alarm off
             after 1 ms
             dave gets 200
             dave sends ACK
             bob gets ACK
             alarm on
             counted AnswerUnsafe 1
             recorded start 200 bob
             carol sends INVITE to bob
             carol gets 503 containing Retry-After: 5
             carol sends ACK hop
             counted CallRefused 1
             alice sends BYE
             bob gets BYE
             bob sends 200
             recorded stop 200 bob caller bye 0s
             alice gets nothing
             after 500 ms
             alice gets 200
             counted AnswerUnsafe 2
             disk writes
             alarm off
             carol sends INVITE to bob
             bob gets INVITE
             bob sends 486
             bob gets ACK
             disk writes
             carol gets 486
             carol sends ACK hop
             recorded missed 486 bob callee busy; failed 486 bob callee busy
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
        (
            "the alarm ends when no receipt is late any more",
            "alice sends INVITE to bob
             bob gets INVITE
             dave sends INVITE to bob
             bob gets INVITE
             bob sends 200 for alice
             after 200 ms
             bob sends 200 for dave
             after 300 ms
             alice gets 200
             alice sends ACK
             bob gets ACK
             alarm on
             dave gets nothing
             after 200 ms
             dave gets 200
             dave sends ACK
             bob gets ACK
             disk writes one
             alarm on
             disk writes one
             alarm off
             counted AnswerUnsafe 2
             recorded start 200 bob; start 200 bob
             after 601 s
             recorded stop 0 bob gateway lifetime 600s; stop 0 bob gateway lifetime 600s",
        ),
        (
            "records that no answer waits for raise it too",
            "an answered call
             after 600 s
             recorded stop 0 bob gateway lifetime 600s
             after 500 ms
             alarm on
             disk writes
             alarm off",
        ),
        (
            "the receipt that comes after the answer releases nothing twice",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 486
             bob gets ACK
             after 500 ms
             alice gets 486
             alice sends ACK hop
             disk writes
             alice gets nothing
             recorded missed 486 bob callee busy; failed 486 bob callee busy",
        ),
    ]);
}

#[test]
fn a_refused_commit_lets_the_answer_go_and_is_counted() {
    play(&[(
        "the earlier one is on disk",
        "alice sends INVITE to bob
         bob gets INVITE
         dave sends INVITE to bob
         bob gets INVITE
         bob sends 200 for alice
         bob sends 486 for dave
         bob gets ACK
         disk writes one
         counted AnswerUnsafe 0
         alice gets 200
         dave gets nothing
         disk refuses
         counted AnswerUnsafe 1
         dave gets 486
         dave sends ACK hop
         alice sends ACK
         bob gets ACK
         recorded start 200 bob; missed 486 bob callee busy; failed 486 bob callee busy
         after 601 s
         recorded stop 0 bob gateway lifetime 600s",
    )]);
}

#[test]
fn in_the_alarm_state_new_calls_are_served_if_so_set() {
    let wait = Duration::from_millis(100);
    let shard =
        Settings { on_trouble: OnTrouble::Serve, commit_wait_max: wait, refuse_after: wait, ..Settings::default() };
    Bench::new("serve", Setup { shard, ..Setup::new() }).run(
        "alice sends INVITE to bob
         bob gets INVITE
         bob sends 486
         bob gets ACK
         after 100 ms
         alice gets 486
         alice sends ACK hop
         alarm on
         queue trouble
         dave sends INVITE to bob
         bob gets INVITE
         bob sends 486
         bob gets ACK
         dave gets nothing
         after 100 ms
         dave gets 486
         dave sends ACK hop
         counted CallRefused 0
         counted AnswerUnsafe 2
         queue well
         alarm on
         disk writes
         alarm off
         recorded missed 486 bob callee busy; failed 486 bob callee busy; missed 486 bob callee busy; \
         failed 486 bob callee busy",
    );
}

#[test]
fn when_memory_takes_no_more_commits_only_calls_in_progress_are_served() {
    let shard = Settings { on_trouble: OnTrouble::Serve, ..Settings::default() };
    Bench::new("full", Setup { shard, ..Setup::new() }).run(
        "an answered call
         queue full
         dave sends INVITE to bob
         dave gets 503
         dave sends ACK hop
         counted CallRefused 1
         alice sends BYE
         bob gets BYE
         bob sends 200
         after 500 ms
         alice gets 200
         disk writes
         queue well
         recorded stop 200 bob caller bye 0s",
    );
}

#[test]
fn new_calls_are_refused_in_trouble_when_draining_and_at_the_limit() {
    play(&[
        (
            "trouble of the queue",
            "an answered call
             queue trouble
             alarm on
             dave sends INVITE to bob
             dave gets 503 containing Retry-After: 5
             dave sends ACK hop
             recorded nothing
             alice sends INVITE again
             bob gets INVITE
             bob sends 200
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK
             recorded interim 200 bob
             alarm on
             queue well
             alarm off
             dave sends OPTIONS to free
             bob gets OPTIONS
             bob sends 200
             dave gets 200
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 0s",
        ),
        (
            "draining lets what is there end",
            "alice sends INVITE to bob
             bob gets INVITE
             busy
             drain
             dave sends INVITE to bob
             recorded missed 503 own gateway refused; failed 503 own gateway refused
             dave gets nothing
             disk writes
             dave gets 503 containing Retry-After
             dave sends ACK hop
             bob sends 200
             busy
             recorded start 200 bob
             disk writes
             alice gets 200
             idle
             alice sends ACK
             bob gets ACK
             alice sends BYE
             bob gets BYE
             busy
             bob sends 200
             busy
             disk writes
             alice gets 200
             idle
             recorded stop 200 bob caller bye 0s",
        ),
    ]);
    play(&[(
        "little memory",
        "an answered call
         memory trouble
         alarm off
         dave sends INVITE to bob
         recorded missed 503 own gateway refused; failed 503 own gateway refused
         disk writes
         dave gets 503 containing Retry-After: 5
         dave sends ACK hop
         alice sends BYE
         bob gets BYE
         bob sends 200
         disk writes
         alice gets 200
         recorded stop 200 bob caller bye 0s
         memory well
         dave sends INVITE to closed
         disk writes
         dave gets 480
         dave sends ACK hop
         recorded missed 480 own gateway offline; failed 480 own gateway offline",
    )]);
    let shard = Settings { calls_max: 1, retry_after_s: 17, ..Settings::default() };
    Bench::new("the limit", Setup { shard, ..Setup::new() }).run(
        "an answered call
         calls 1
         dave sends INVITE to free
         dave gets 503 containing Retry-After: 17
         dave sends ACK hop
         dave sends INVITE to bob
         recorded missed 503 own gateway refused; failed 503 own gateway refused
         dave gets nothing
         disk writes
         dave gets 503 containing Retry-After: 17
         dave sends ACK hop
         alice sends BYE
         bob gets BYE
         bob sends 200
         disk writes
         alice gets 200
         recorded stop 200 bob caller bye 0s
         dave sends INVITE to closed
         disk writes
         dave gets 480
         dave sends ACK hop
         recorded missed 480 own gateway offline; failed 480 own gateway offline
         counted CallRefused 2",
    );
}
