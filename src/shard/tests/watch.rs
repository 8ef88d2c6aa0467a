//! Calls that end without a BYE: the OPTIONS to their ends, and what the records say.

use std::time::Duration;

use super::bench::{Bench, Setup};
use crate::accounting::{self, Pings};
use crate::record::{Kind, Value};

fn watched() -> Setup {
    let pings = Pings { interval: Duration::from_secs(60), lost_max: 3 };
    let engine = accounting::Settings {
        pings: Some(pings),
        lifetime_max: Some(Duration::from_secs(3_000)),
        ..Setup::new().engine
    };
    Setup { engine, ..Setup::new() }
}

fn play(rows: &[(&str, &str)]) {
    for (name, script) in rows {
        Bench::new(name, watched()).run(script);
    }
}

#[test]
fn rfc5057_both_ends_of_a_call_are_asked() {
    play(&[
        (
            "while both answer it goes on, and nobody else hears of it",
            "an answered call
             after 28 s
             alice gets nothing
             bob gets nothing
             after 32 s
             alice gets OPTIONS containing OPTIONS sip:alice@192.0.2.10:5062 SIP/2.0
             alice sends 200
             bob gets OPTIONS containing OPTIONS sip:bob@192.0.2.20:5060 SIP/2.0
             bob sends 200
             alice forgets
             bob forgets
             after 1 s
             calls 1
             recorded nothing
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice gets 200
             recorded stop 200 bob caller bye 61s",
        ),
        (
            "any answer but 481 shows that an end lives",
            "an answered call
             after 60 s
             alice gets OPTIONS containing To: <sip:alice@x>;tag=alice1
             alice sends 500
             bob gets OPTIONS containing To: <sip:bob@x>;tag=bob
             bob sends 405
             alice forgets
             bob forgets
             after 20 s
             calls 1
             bob sends BYE
             alice gets BYE
             alice sends 200
             disk writes
             bob gets 200
             recorded stop 200 bob callee bye 80s",
        ),
        (
            "an end that does not know the call ends it",
            "an answered call
             after 60 s
             alice gets OPTIONS
             alice sends 200
             bob gets OPTIONS
             bob sends 481
             recorded stop 0 bob gateway unreachable 60s
             calls 0
             alice forgets
             bob forgets",
        ),
        (
            "an end that is silent three times ends it",
            "an answered call
             after 60 s
             alice forgets
             bob forgets
             after 59 s
             recorded nothing
             alice forgets
             bob forgets
             after 100 s
             recorded stop 0 bob gateway unreachable 198s
             alice forgets
             bob forgets
             calls 0",
        ),
        (
            "one answer in between counts anew",
            "an answered call
             after 60 s
             alice gets OPTIONS
             alice sends 200
             alice forgets
             after 30 s
             bob forgets
             after 30 s
             alice gets OPTIONS
             alice sends 200
             bob gets OPTIONS
             bob sends 200
             alice forgets
             bob forgets
             after 60 s
             alice gets OPTIONS
             alice sends 200
             bob forgets
             alice forgets
             after 59 s
             recorded nothing
             calls 1
             bob forgets
             alice sends BYE
             bob gets BYE
             bob sends 200
             disk writes
             alice forgets
             recorded stop 200 bob caller bye 239s",
        ),
    ]);
}

#[test]
fn a_restart_goes_on_asking() {
    play(&[(
        "the ends are kept with the call",
        "an answered call
         disk writes
         after 10 s
         restart
         after 60 s
         alice gets OPTIONS containing OPTIONS sip:alice@192.0.2.10:5062 SIP/2.0
         alice sends 200
         bob gets OPTIONS
         bob sends 481
         recorded stop 0 bob gateway unreachable 70s
         alice forgets
         bob forgets",
    )]);
}

#[test]
fn rfc3261_12_2_a_target_refresh_moves_the_end_that_is_asked() {
    let mut bench = Bench::new("refresh", watched());
    bench.play(
        "an answered call
         alice sends INVITE again
         bob gets INVITE",
    );
    bench.play_with_contact("bob sends 200", "<sip:bob@192.0.2.30>");
    bench.run(
        "disk writes
         alice gets 200
         alice sends ACK
         carol gets ACK
         recorded interim 200 bob
         disk writes
         after 60 s
         carol gets OPTIONS containing OPTIONS sip:bob@192.0.2.30 SIP/2.0
         carol sends 481
         recorded stop 0 bob gateway unreachable 60s
         alice forgets
         carol forgets
         bob forgets",
    );
}

#[test]
fn the_last_sign_of_life_is_in_the_record() {
    for (name, script, want_s) in [
        ("its answer", "an answered call\nafter 601 s", 0),
        (
            "a request of one of its ends",
            "an answered call
             after 100 s
             bob sends INFO
             alice gets INFO
             alice sends 200
             bob gets 200
             after 501 s",
            100,
        ),
        (
            "a request before a restart, which is not worth a write, is forgotten",
            "an answered call
             after 100 s
             bob sends INFO
             alice gets INFO
             alice sends 200
             bob gets 200
             restart
             after 501 s",
            0,
        ),
    ] {
        let mut bench = Bench::new(name, Setup::new());
        let start = bench.now.wall;
        bench.play(script);
        let stop = bench.recorded.iter().find(|record| record.kind == Kind::Stop).expect(name);
        let alive = stop.fields.iter().find(|(field, _)| field == "last_alive").map(|(_, value)| value.clone());
        let want = crate::clock::Timestamp(start.0 + want_s * 1_000_000);
        assert_eq!(alive, Some(Value::Text(want.to_string().into_bytes())), "{name}");
    }
}

#[test]
fn the_sign_of_life_of_a_ping_is_in_the_record() {
    let mut bench = Bench::new("ping", watched());
    let start = bench.now.wall;
    bench.play(
        "an answered call
         after 60 s
         alice gets OPTIONS
         alice sends 200
         bob gets OPTIONS
         bob sends 200
         alice forgets
         bob forgets
         after 300 s",
    );
    let stop = bench.recorded.iter().find(|record| record.kind == Kind::Stop).expect("a Stop");
    let alive = stop.fields.iter().find(|(field, _)| field == "last_alive").and_then(|(_, value)| value.text());
    let want = crate::clock::Timestamp(start.0 + 60_000_000).to_string();
    assert_eq!(alive.as_deref(), Some(want.as_bytes()));
}

#[test]
fn a_doubt_is_settled_though_nothing_is_watched() {
    let play = |rows: &[(&str, &str)]| {
        for (name, script) in rows {
            Bench::new(name, Setup::new()).run(script);
        }
    };
    play(&[
        (
            "silence to a BYE, and an end that lives",
            "an answered call
             after 9 s
             alice sends BYE
             bob gets BYE
             after 31900 ms
             bob forgets
             after 200 ms
             bob gets OPTIONS
             bob sends 200
             recorded event 408 bob
             calls 1
             after 8 s
             bob sends BYE
             alice gets BYE
             alice sends 200
             recorded stop 200 bob callee bye 49s
             disk writes
             bob gets 200",
        ),
        (
            "a BYE with an old CSeq is refused, and the call goes on",
            "an answered call
             after 9 s
             alice sends BYE
             bob gets BYE
             bob sends 500
             recorded event 500 bob
             disk writes
             alice gets 500
             calls 1
             after 9 s
             alice sends BYE
             bob gets BYE
             bob sends 200
             recorded stop 200 bob caller bye 18s
             disk writes
             alice gets 200",
        ),
        (
            "a challenge, and the credentials",
            "an answered call
             after 9 s
             alice sends BYE
             bob gets BYE
             bob sends 407
             alice gets 407
             recorded nothing
             alice sends BYE
             bob gets BYE
             bob sends 200
             recorded stop 200 bob caller bye 9s
             disk writes
             alice gets 200
             after 10 s
             bob gets nothing",
        ),
        (
            "a challenge without them: the end is asked",
            "an answered call
             after 9 s
             alice sends BYE
             bob gets BYE
             bob sends 401
             alice gets 401
             after 5 s
             bob gets OPTIONS
             bob sends 481
             recorded stop 401 bob caller failed-bye 9s",
        ),
        (
            "an end that does not know the call any more when it is changed",
            "an answered call
             after 9 s
             bob sends INVITE again
             alice gets INVITE
             alice sends 481
             alice gets ACK
             recorded failed 481 bob callee refused; stop 0 bob gateway unreachable 9s
             disk writes
             bob gets 481
             bob sends ACK hop",
        ),
    ]);
}

#[test]
fn the_gateway_hangs_up_when_it_ends_a_call() {
    let engine = accounting::Settings { hang_up: vec![crate::record::Cause::Lifetime], ..Setup::new().engine };
    Bench::new("both ends get a BYE at the longest time", Setup { engine, ..Setup::new() }).run(
        "an answered call
         after 600 s
         recorded stop 0 bob gateway lifetime 600s
         alice gets BYE containing BYE sip:alice@192.0.2.10:5062 SIP/2.0
         alice sends 200
         bob gets BYE containing BYE sip:bob@192.0.2.20:5060 SIP/2.0
         bob sends 481
         after 40 s
         alice gets nothing
         bob gets nothing
         recorded nothing",
    );
    let engine = accounting::Settings {
        hang_up: vec![crate::record::Cause::NoAck],
        ack_wait: Duration::from_secs(32),
        ..Setup::new().engine
    };
    Bench::new("and when nobody acknowledges its 200", Setup { engine, ..Setup::new() }).run(
        "alice sends INVITE to bob
         bob gets INVITE
         bob sends 200
         disk writes
         alice gets 200
         recorded start 200 bob
         after 33 s
         recorded stop 0 bob gateway no-ack 0s
         counted Unacknowledged 1
         bob gets BYE
         bob sends 200
         alice forgets
         after 33 s
         alice forgets",
    );
}
