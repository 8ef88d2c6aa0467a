//! A gateway goes on with the calls of another one of its cluster.

use super::bench::{Bench, Setup};

fn play(rows: &[(&str, &str)]) {
    for (name, script) in rows {
        Bench::new(name, Setup::new()).run(script);
    }
}

#[test]
fn a_request_of_a_call_that_another_gateway_had_waits_until_the_call_is_here() {
    play(&[
        (
            "the caller's BYE makes one Stop, of the same session",
            "an answered call
             after 30 s
             another gateway
             calls 0
             after 30 s
             alice sends BYE
             asked for the call
             bob gets nothing
             busy
             cluster gives the call
             calls 1
             counted RequestHeld(Adopted) 1
             bob gets BYE
             bob sends 200
             alice gets nothing
             disk writes
             alice gets 200
             calls 0
             recorded stop 200 bob caller bye 60s",
        ),
        (
            "it ends when the BYE came, not when that went on",
            "an answered call
             another gateway
             after 10 s
             alice sends BYE
             after 1500 ms
             cluster gives the call
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 10s",
        ),
        (
            "the callee's BYE, sent again meanwhile, goes on once",
            "an answered call
             another gateway
             after 1 s
             bob sends BYE
             asked for the call
             after 500 ms
             bob repeats BYE
             asked for the call
             cluster gives the call
             alice gets BYE
             alice gets nothing
             alice sends 200
             disk writes
             bob gets 200
             bob repeats BYE
             bob gets 200
             recorded stop 200 bob callee bye 1s",
        ),
        (
            "both ends hang up, and nobody is asked twice",
            "an answered call
             another gateway
             after 1 s
             alice sends BYE
             bob sends BYE
             asked for the call
             cluster gives the call
             bob gets BYE
             alice gets BYE
             bob sends 200
             alice sends 481
             disk writes
             alice gets 200
             bob gets 481
             recorded stop 200 bob caller bye 1s",
        ),
        (
            "a re-INVITE makes an Interim, and what is recorded of it is kept here",
            "an answered call
             another gateway
             alice sends INVITE again
             cluster gives the call
             bob gets INVITE
             bob sends 200
             disk writes
             alice gets 200
             alice sends ACK
             bob gets ACK
             recorded interim 200 bob
             restart
             calls 1
             after 2 s
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 2s",
        ),
        (
            "nobody ends it: its time goes on here",
            "an answered call
             after 100 s
             another gateway
             after 10 s
             alice sends INFO
             cluster gives the call
             bob gets INFO
             bob sends 200
             alice gets 200
             after 500 s
             recorded stop 0 bob gateway lifetime 600s",
        ),
    ]);
}

#[test]
fn a_request_of_a_call_that_nobody_has_goes_on_as_without_a_cluster() {
    play(&[
        (
            "nobody has it",
            "alice sends INVITE to free
             bob gets INVITE
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             another gateway
             alice sends INFO
             asked for the call
             cluster has none
             counted RequestHeld(Unknown) 1
             bob gets INFO
             bob sends 200
             alice gets 200",
        ),
        (
            "nobody says so for two seconds",
            "alice sends INVITE to free
             bob gets INVITE
             bob sends 200
             alice gets 200
             alice sends ACK
             bob gets ACK
             another gateway
             alice sends INFO
             after 1999 ms
             bob gets nothing
             after 2 ms
             counted RequestHeld(Late) 1
             bob gets INFO
             cluster has none
             bob gets nothing
             bob sends 200
             alice gets 200",
        ),
        (
            "one that has ended makes no Stop",
            "an answered call
             another gateway
             alice sends BYE
             asked for the call
             cluster had the call
             bob gets BYE
             bob sends 200 astray
             alice gets 200
             recorded nothing",
        ),
    ]);
}

#[test]
fn only_a_request_that_claims_a_call_of_ours_waits() {
    play(&[
        (
            "not one of a call that is here",
            "another gateway
             an answered call
             alice sends INFO
             asked for nobody
             bob gets INFO
             bob sends 200
             alice gets 200
             alice sends BYE
             asked for nobody
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 0s
             alice repeats BYE
             alice gets 200
             asked for nobody",
        ),
        (
            "not a new call, and not its ACK",
            "another gateway
             alice sends INVITE to free
             bob gets INVITE
             bob sends 200
             alice gets 200
             another gateway
             alice sends ACK
             asked for nobody
             bob gets ACK",
        ),
    ]);
}

#[test]
fn a_call_that_another_gateway_has_taken_is_forgotten_without_a_record() {
    play(&[
        (
            "and its own BYE makes none either",
            "another gateway
             an answered call
             alice sends BYE
             bob gets BYE
             cluster takes the call
             calls 0
             bob sends 200 astray
             alice gets 200
             recorded nothing",
        ),
        (
            "it comes back when its requests do",
            "an answered call
             another gateway
             alice sends INFO
             cluster gives the call
             disk writes
             bob gets INFO
             bob sends 200
             alice gets 200
             after 5 s
             cluster takes the call
             disk writes
             after 5 s
             alice sends BYE
             asked for the call
             cluster gives the call
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 10s",
        ),
    ]);
}

/// A call of 60 s at whose end the cluster does not answer.
const STRAY: &str = "an answered call
                     after 30 s
                     another gateway
                     after 30 s
                     alice sends BYE
                     after 2 s
                     cluster says nothing
                     bob gets BYE
                     after 100 ms
                     bob sends 200
                     alice gets nothing
                     disk writes
                     alice gets 200
                     recorded nothing
                     after 1 s
                     alice repeats BYE
                     alice gets 200";

#[test]
fn the_end_of_a_call_that_another_gateway_may_have_waits_until_the_cluster_says_whose_it_is() {
    let waits = |then: &str| format!("{STRAY}\n{then}");
    for (name, then) in [
        (
            "it comes here: one Stop, as of its BYE",
            "after 600 s
             cluster gives the call
             disk writes
             calls 0
             recorded stop 200 bob caller bye 60s",
        ),
        (
            "after a restart, too",
            "restart in the cluster
             after 5 s
             cluster gives the call
             disk writes
             calls 0
             recorded stop 200 bob caller bye 60s
             restart in the cluster
             alice repeats BYE
             bob gets BYE
             bob sends 200
             alice gets 200
             recorded nothing",
        ),
        (
            "whoever had it has recorded that",
            "after 5 s
             cluster had the call
             disk writes
             after 600 s
             recorded nothing
             restart in the cluster
             after 5 s
             asked for nobody",
        ),
        (
            "nobody has it, and nobody gets it",
            "after 5 s
             cluster has none
             after 59 s
             cluster has none
             recorded nothing
             after 5 s
             cluster has none
             recorded stop 200 bob caller bye",
        ),
        (
            "nobody ever says",
            "after 86000 s
             cluster says nothing
             recorded nothing
             after 400 s
             recorded stop 200 bob caller bye",
        ),
        ("there is no cluster any more", "restart\nafter 1 s\nrecorded stop 200 bob caller bye"),
    ] {
        Bench::new(name, Setup::new()).run(&waits(then));
    }
}

#[test]
fn the_stop_of_a_call_that_nobody_has_is_of_the_session_that_its_route_tells() {
    for (who, ends) in [("alice", "bob"), ("bob", "alice")] {
        let mut bench = Bench::new(who, Setup::new());
        bench.play("an answered call");
        let start = bench.recorded[0].clone();
        bench.play(&format!(
            "after 30 s
             another gateway
             {who} sends BYE
             after 2 s
             {ends} gets BYE
             {ends} sends 200
             disk writes
             {who} gets 200
             cluster has none
             after 61 s
             cluster has none"
        ));
        let stop = bench.last_record();
        assert_eq!((stop.session, stop.multi_session), (start.session, start.multi_session), "{who} hangs up");
        assert_eq!(stop.times.created, start.times.created, "{who} hangs up");
        assert_eq!(stop.times.duration, None, "who is not here knows nothing of that");
    }
}
