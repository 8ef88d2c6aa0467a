//! Calls over a restart, limits, memory.

use super::bench::{Bench, hold, templates};
use super::{secs, settings};
use crate::accounting::{Key, RestoreError, Settings};
use crate::ids::CallHash;

#[test]
fn a_call_survives_a_restart() {
    hold(
        &settings(),
        &[
            (
                "the BYE makes a Stop with the right time",
                "a0",
                "INVITE; 200 b; ACK; +30; restart; +30; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 60s",
            ),
            (
                "after a reboot by the wall clock, 30 s away",
                "a0",
                "INVITE; 200 b; ACK; +30; reboot; +30; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 90s",
            ),
            (
                "twice",
                "a0",
                "INVITE; 200 b; +1; restart; +1; reboot; +1; restart; +1; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 34s",
            ),
            (
                "a BYE sent again after a crash makes no second Stop",
                "a0",
                "INVITE; 200 b; +1; BYE callee; 200; restart; BYE callee; 481",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 1s",
            ),
            (
                "nor after a reboot",
                "a0",
                "INVITE; 200 b; +1; BYE callee; 200; reboot; BYE callee; 481",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 1s",
            ),
            (
                "nor for an unknown call",
                "a0",
                "BYE callee; 200; restart; BYE callee; 481",
                "stop BYE 200 a/b callee bye",
            ),
            (
                "an answer told again after a crash starts no second call",
                "a0",
                "INVITE; 200 b; restart; 1:gone",
                "start INVITE 200 a/b",
            ),
            (
                "one record at the end",
                "a2",
                "INVITE; 200 b; +5; restart; +5; BYE caller; 200",
                "cdr INVITE 200 a/b caller bye 10s [2]",
            ),
            (
                "a BYE that was on its way is lost, the next one counts",
                "a0",
                "INVITE; 200 b; +5; BYE caller; restart; +1; BYE caller; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 6s",
            ),
        ],
    );
    let timed = Settings { interim_interval: Some(secs(60)), lifetime_max: Some(secs(150)), ..settings() };
    hold(
        &timed,
        &[
            (
                "timers go on where they were",
                "a0",
                "INVITE; 200 b; +50; restart; +200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 60s; interim INVITE 200 a/b 120s; stop BYE 0 a/b gateway lifetime 150s",
            ),
            (
                "after a reboot too",
                "a0",
                "INVITE; 200 b; +50; reboot; +200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 120s; stop BYE 0 a/b gateway lifetime 150s",
            ),
            (
                "a call that lasted too long meanwhile ends at once",
                "a0",
                "INVITE; 200 b; +149; reboot; +1",
                "start INVITE 200 a/b; interim INVITE 200 a/b 60s; interim INVITE 200 a/b 120s; stop BYE 0 a/b gateway lifetime 179s",
            ),
        ],
    );
    hold(
        &settings(),
        &[(
            "a session timer starts anew",
            "a0",
            "INVITE; 200 b se=90; +80; restart; +600",
            "start INVITE 200 a/b; stop BYE 0 a/b gateway session-timer 202s",
        )],
    );
}

#[test]
fn the_same_invite_answered_again_after_a_crash_starts_no_second_call() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; 200 b; restart");
    // The caller never saw the response and sends the INVITE again: a new transaction with the same CSeq.
    bench.repeat_invite();
    bench.play("200 b; +5; BYE caller; 200");
    assert_eq!(bench.records(), "start INVITE 200 a/b; stop BYE 200 a/b caller bye 5s");
}

#[test]
fn names_and_instants_survive_a_restart() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; +2; 200 b; +1; ACK; +30; restart; +1; BYE caller; 200");
    let [start, stop] = &bench.made[..] else { panic!("{}", bench.records()) };
    assert_eq!(stop.record.session, start.record.session);
    assert_eq!(stop.record.multi_session, start.record.multi_session);
    assert_eq!(stop.record.times.created, start.record.times.created);
    assert_eq!(stop.record.times.answered, start.record.times.answered);
    assert_eq!(stop.record.times.setup, Some(secs(2)));
    let acknowledged = stop.record.times.acknowledged.map(|at| at.since(start.record.times.created));
    assert_eq!(acknowledged, Some(secs(3)), "a call longer than a few seconds has its ACK stored");
}

/// What is kept of the ends to ask them, and to end their call, says who they are: it costs no octet more.
#[test]
fn who_calls_whom_is_known_before_and_after_a_restart() {
    let shown = |bench: &Bench| {
        let views: Vec<_> = bench.engine.views().map(|view| view.parties).collect();
        let [parties] = &views[..] else { panic!("{} calls", views.len()) };
        [&parties.from, &parties.to, &parties.target].map(|text| String::from_utf8_lossy(text).into_owned())
    };
    let all = ["sip:al@a.example", "sip:bo@b.example", "sip:bo@192.0.2.2"];
    for (name, steps, want) in [
        ("with early media alone nobody is known", "INVITE; 183 b sdp", ["", "", ""]),
        ("an answered call", "INVITE; 200 b; ACK", all),
        ("after a restart", "INVITE; 200 b; ACK; restart", all),
        ("after a reboot", "INVITE; 200 b; ACK; +10; reboot", all),
        ("after a re-INVITE of the callee", "INVITE; 200 b; ACK; INVITE callee; 200 b", all),
    ] {
        let mut bench = Bench::new(Settings { early_media: true, ..settings() }, "a0");
        bench.play(steps);
        assert_eq!(shown(&bench), want, "{name}");
    }
    // Too long a name is no reason to lose the rest: the ends go before their names do.
    let mut bench = Bench::new(settings(), "a0");
    bench.lines = format!("Record-Route: <sip:192.0.2.9;lr;x={}>\r\n", "x".repeat(4_000));
    bench.play("INVITE; 200 b; ACK");
    assert_eq!(shown(&bench), ["", "", "sip:bo@192.0.2.2"], "the routes leave no room for From and To");
}

#[test]
fn the_store_holds_what_is_in_progress_and_nothing_else() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; 200 b; 200 c");
    assert_eq!((bench.stored.len(), bench.engine.calls()), (2, 2), "two sessions");
    bench.play("BYE caller; 200; BYE caller c; 200");
    assert_eq!((bench.stored.len(), bench.notes.len()), (0, 2), "their ends are noted");
    bench.play("+120");
    assert_eq!(bench.engine.deadline(), None);
}

#[test]
fn a_key_names_the_shard() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; 200 b");
    for step in ["", "BYE caller; 200"] {
        bench.play(step);
        let key = bench.stored.keys().chain(bench.notes.keys()).next().and_then(|key| Key::from_bytes(key));
        assert_eq!(key.map(Key::call), Some(CallHash::of(b"call1")), "{step}");
    }
}

#[test]
fn what_is_not_ours_is_refused() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; 200 b");
    let (key, value) = bench.stored.pop_first().expect("a call is stored");
    let newer = [&[9], &value[1..]].concat();
    let now = bench.now;
    for (name, key, value, want) in [
        ("a short key", &key[1..], &value[..], "a stored call has a name of 23 octets, not 24"),
        ("a newer release", &key, &newer, "stored call of version 9, this release reads up to 2"),
        ("nothing", &key, &[], "stored call: version at octet 0 cannot be read"),
        ("an unknown state", &key, &[1, 7], "stored call: state at octet 1 cannot be read"),
    ] {
        let got: Result<(), RestoreError> = bench.engine.restore(now, key, value);
        assert_eq!(got.map_err(|error| error.to_string()), Err(want.to_owned()), "{name}");
    }
}

#[test]
fn a_full_engine_still_makes_records() {
    let full = Settings { calls_max: 1, ended_max: 1, ..settings() };
    hold(
        &full,
        &[(
            "without the time of the call it had no room for",
            "a0",
            "INVITE; 200 b; 200 c; +5; BYE caller c; 200; BYE caller b; 200",
            "start INVITE 200 a/b; start INVITE 200 a/c; stop BYE 200 a/c caller bye; stop BYE 200 a/b caller bye 5s",
        )],
    );
}

#[test]
fn an_established_call_takes_less_than_a_kibibyte() {
    let fields = [("ua", "$ua"), ("contact", "$ct/reply"), ("src_ip", "$si"), ("from", "$fu"), ("to", "$tu")];
    let legs = [("src", "$avp(src)"), ("dst", "$avp(dst)")];
    let settings = Settings { fields: templates(&fields), leg_fields: templates(&legs), ..settings() };
    let mut bench = Bench::new(settings, "a0 m0 f0");
    let calls = 1000;
    for call in 0..calls {
        bench.play(&format!("INVITE; 200 tag-of-callee-{call}; gone"));
    }
    assert_eq!(bench.engine.calls(), calls);
    let each = bench.engine.memory() / calls;
    assert!((400..1024).contains(&each), "{each} octets");
}
