//! A shard ends at any moment, and another one goes on from what is on disk.

use super::bench::{Bench, Setup};

fn play(rows: &[(&str, &str)]) {
    for (name, script) in rows {
        Bench::new(name, Setup::new()).run(script);
    }
}

#[test]
fn a_call_is_ended_after_a_restart_as_if_there_had_been_none() {
    play(&[
        (
            "one Stop, of the same session",
            "an answered call
             after 30 s
             restart
             calls 1
             after 30 s
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets nothing
             disk writes
             alice gets 200
             calls 0
             recorded stop 200 bob caller bye 60s",
        ),
        (
            "of the callee",
            "an answered call
             restart
             after 1 s
             bob sends BYE
             alice gets BYE
             alice sends 200
             bob gets nothing
             disk writes
             bob gets 200
             recorded stop 200 bob callee bye 1s",
        ),
        (
            "a second BYE makes no second Stop",
            "an answered call
             restart
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 0s
             bob sends BYE
             alice gets BYE
             alice sends 481
             bob gets 481
             restart
             bob sends BYE
             alice gets BYE
             alice sends 481
             bob gets 481
             recorded nothing",
        ),
        (
            "nobody ends it",
            "an answered call
             after 100 s
             restart
             after 500 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
    ]);
}

#[test]
fn what_was_on_disk_but_not_seen_comes_again_and_makes_no_second_record() {
    play(&[
        (
            "the INVITE of an answered call goes to nobody, or another dialog and another Start would come of it",
            "alice sends INVITE to fork
             bob gets INVITE
             carol gets INVITE
             carol sends 180
             alice gets 180
             bob sends 200
             disk writes unseen
             recorded start 200 bob
             carol forgets
             restart
             after 500 ms
             alice repeats INVITE
             counted InviteResent 1
             after 500 ms
             alice repeats INVITE
             counted InviteResent 1
             bob gets nothing
             carol gets nothing
             bob repeats 200
             alice gets 200
             bob repeats 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             recorded nothing
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 1s",
        ),
        (
            "a 2xx of another dialog of the call has no record, and stays here",
            "alice sends INVITE to fork
             bob gets INVITE
             carol gets INVITE
             bob sends 200
             disk writes unseen
             recorded start 200 bob
             restart
             carol sends 200
             alice gets nothing
             recorded nothing
             alice repeats INVITE
             bob gets nothing
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
        (
            "later than INVITE and 2xx can come again, both are new ones",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 200
             disk writes unseen
             recorded start 200 bob
             after 130 s
             alice gets 200
             restart
             bob repeats 200
             alice gets nothing
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
        (
            "a BYE",
            "an answered call
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes unseen
             recorded stop 200 bob caller bye 0s
             alice gets nothing
             restart
             after 500 ms
             alice repeats BYE
             bob gets BYE
             bob sends 481
             alice gets 481
             recorded nothing",
        ),
        (
            "a BYE that nobody answers any more",
            "an answered call
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes unseen
             recorded stop 200 bob caller bye 0s
             restart
             alice repeats BYE
             after 40 s
             bob forgets
             recorded nothing",
        ),
    ]);
}

#[test]
fn what_was_not_on_disk_was_not_answered_and_comes_again() {
    play(&[
        (
            "a BYE",
            "an answered call
             after 5 s
             alice sends BYE
             bob gets BYE
             bob sends 200
             alice gets nothing
             forget records
             restart
             after 1 s
             alice repeats BYE
             bob gets BYE
             bob sends 481
             alice gets nothing
             disk writes
             alice gets 481
             recorded stop 481 bob caller failed-bye 6s",
        ),
        (
            "an INVITE",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 200
             alice gets nothing
             forget records
             restart
             alice repeats INVITE
             bob gets INVITE
             bob sends 200
             alice gets nothing
             recorded start 200 bob
             disk writes
             alice gets 200
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
        (
            "an answer to a request of the shard before is no answer to one of this shard",
            "alice sends INVITE to bob
             bob gets INVITE
             restart
             dave sends INVITE to bob
             bob gets INVITE
             bob sends 200 for alice
             alice gets nothing
             dave gets nothing
             bob sends 486 for dave
             bob gets ACK
             disk writes
             dave gets 486
             dave sends ACK hop
             recorded missed 486 bob callee busy; failed 486 bob callee busy",
        ),
        (
            "an INVITE whose Start was on disk makes no second one",
            "alice sends INVITE to bob
             bob gets INVITE
             bob sends 200
             disk writes unseen
             recorded start 200 bob
             restart
             alice repeats INVITE
             bob gets nothing
             counted InviteResent 1
             bob repeats 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             recorded nothing
             after 601 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
    ]);
}
