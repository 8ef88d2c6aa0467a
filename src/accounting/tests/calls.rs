//! Calls that were answered: Start, Interim, Stop, Cdr, Event, ACK, early media.

use super::bench::{Bench, hold, templates};
use super::{secs, settings};
use crate::accounting::Settings;

#[test]
fn an_answered_call_has_one_start_and_one_stop() {
    hold(
        &settings(),
        &[
            ("nothing is made before the answer", "a0", "INVITE; 180 b", ""),
            ("the 2xx starts the call", "a0", "INVITE; 200 b", "start INVITE 200 a/b"),
            ("any 2xx does", "a0", "INVITE; 202 b", "start INVITE 202 a/b"),
            ("a 2xx without a To tag does too", "a0", "INVITE; =200", "start INVITE 200 a/"),
            (
                "the caller hangs up",
                "a0",
                "INVITE; +2; 200 b; ACK; +60.5; BYE caller; +1; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 60.5s",
            ),
            (
                "the callee hangs up: the tags stay the INVITE's",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 9s",
            ),
            (
                "a BYE that the other end does not know a call for ends it",
                "a0",
                "INVITE; 200 b; +9; BYE caller; 481",
                "start INVITE 200 a/b; stop BYE 481 a/b caller failed-bye 9s",
            ),
            (
                "a BYE without an answer ends the call at its arrival, if the end that did not answer is silent",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE caller; +32; round B =408; =408; +32; asks callee silent",
                "start INVITE 200 a/b; stop BYE 408 a/b caller failed-bye 9s",
            ),
            (
                "a challenged BYE ends the call when it comes again",
                "a0",
                "INVITE; 200 b; +9; BYE caller; 407; +1; BYE caller; 200; +60; asks nobody",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 10s",
            ),
            (
                "two BYEs cross: one Stop, from the first to arrive",
                "a0",
                "INVITE; 200 b; +9; BYE caller; +1; BYE callee; 3:200; 2:200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 9s",
            ),
            (
                "a second BYE after the end makes nothing",
                "a0",
                "INVITE; 200 b; +9; BYE caller; 200; +30; BYE callee; 481",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 9s",
            ),
            (
                "a BYE that was never answered leaves the call as it is",
                "a0",
                "INVITE; 200 b; +9; BYE caller; gone; +1; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 10s",
            ),
            (
                "a BYE needs no mark of its own",
                "a0|",
                "INVITE; 200 b; +9; BYE caller; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 9s",
            ),
            ("an unmarked call makes nothing", "|a0", "INVITE; 200 b; +9; BYE caller; 200", ""),
            ("nor when only missed is marked", "m0|a0", "INVITE; 200 b; +9; BYE caller; 200", ""),
            ("nor at its second BYE", "|a0", "INVITE; 200 b; BYE caller; 200; +1; BYE callee; 481", ""),
            ("nor at a re-INVITE", "|a0", "INVITE; 200 b; INVITE caller; 200; BYE caller; 200", ""),
            (
                "a BYE of an unknown call makes a Stop without time",
                "a0",
                "BYE caller; 200",
                "stop BYE 200 a/b caller bye",
            ),
            ("not without a signed Route", "a0", "BYE caller b unsigned; 200", ""),
            ("nor when it is refused", "a0 f0", "BYE caller; 481; BYE caller c; 404", ""),
            ("but only one", "a0", "BYE caller; 200; BYE callee; 200", "stop BYE 200 a/b caller bye"),
            ("and only when marked", "", "BYE caller; 200", ""),
            ("a BYE of an early dialog is no end of a call", "a0", "INVITE; 180 b; BYE caller; 200; 1:487 b", ""),
            (
                "each To tag is a session of its own",
                "a0",
                "INVITE; 200 b; 200 c; +5; BYE caller c; 200; +5; BYE caller b; 200",
                "start INVITE 200 a/b; start INVITE 200 a/c; stop BYE 200 a/c caller bye 5s; stop BYE 200 a/b caller bye 10s",
            ),
            ("a 2xx told twice starts once", "a0", "INVITE; 200 b; 200 b", "start INVITE 200 a/b"),
            (
                "the same tags may be used again after the end",
                "a0",
                "INVITE; 200 b; +1; BYE caller; 200; INVITE; 200 b; +2; BYE caller; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 1s; start INVITE 200 a/b; stop BYE 200 a/b caller bye 2s",
            ),
        ],
    );
}

#[test]
fn a_call_goes_on_with_interim_records() {
    hold(
        &settings(),
        &[
            (
                "the 2xx to a re-INVITE",
                "a0",
                "INVITE; 200 b; ACK; +5; INVITE callee; 200; +5; BYE caller; 200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 5s; stop BYE 200 a/b caller bye 10s",
            ),
            (
                "a refused re-INVITE makes nothing by itself",
                "a0 m0",
                "INVITE; 200 b; INVITE callee; 488",
                "start INVITE 200 a/b",
            ),
            (
                "and a Failed inside the dialog where that is marked",
                "a0 m0 f0",
                "INVITE; 200 b; INVITE callee; round X 488; 488",
                "start INVITE 200 a/b; failed INVITE 488 a/b callee refused 0s",
            ),
            ("a re-INVITE of an unknown call", "a0", "INVITE caller; 200", "interim INVITE 200 a/b"),
            ("not without a signed Route", "a0", "INVITE caller b unsigned; 200", ""),
            (
                "a re-INVITE answered after the end makes nothing",
                "a0",
                "INVITE; 200 b; INVITE caller; BYE caller; 3:200; 2:200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 0s",
            ),
            (
                "other methods make nothing",
                "a0 f0",
                "INVITE; 200 b; INFO caller; 200; MESSAGE; 200; OPTIONS; 404",
                "start INVITE 200 a/b",
            ),
        ],
    );
    let timed = Settings { interim_interval: Some(secs(60)), ..settings() };
    hold(
        &timed,
        &[
            (
                "the interim timer",
                "a0",
                "INVITE; +3; 200 b; +130; BYE caller; 200; +600",
                "start INVITE 200 a/b; interim INVITE 200 a/b 60s; interim INVITE 200 a/b 120s; stop BYE 200 a/b caller bye 130s",
            ),
            (
                "a server asks for another interval",
                "a0",
                "INVITE; 200 b; +10; every 30; +65; BYE caller; 200; +600",
                "start INVITE 200 a/b; interim INVITE 200 a/b 40s; interim INVITE 200 a/b 70s; stop BYE 200 a/b caller bye 75s",
            ),
            (
                "a server asks for none",
                "a0",
                "INVITE; 200 b; +10; every 0; +300; BYE caller; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 310s",
            ),
            (
                "a server asks for too many",
                "a0",
                "INVITE; 200 b; every 1; +15; BYE caller; 200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 10s; stop BYE 200 a/b caller bye 15s",
            ),
            ("has nothing for who takes transactions", "a1", "INVITE; 200 b; +130", "start INVITE 200 a/b [1]"),
        ],
    );
}

#[test]
fn interims_of_calls_that_began_together_do_not_stay_together() {
    let timed = Settings { interim_interval: Some(secs(600)), interim_jitter_percent: 10, ..settings() };
    let mut bench = Bench::new(timed, "a0");
    bench.play("INVITE; 200 b; 200 c; 200 d; 200 e; 200 f; +539.9; restart");
    assert_eq!(bench.made.len(), 5, "none comes before 90 %: {}", bench.records());
    bench.play("+120.2");
    let interims: Vec<_> = bench.made[5..].iter().filter_map(|made| made.record.times.duration).collect();
    assert_eq!(interims.len(), 5, "each has come at 110 %: {}", bench.records());
    let mut different = interims.clone();
    different.sort_unstable();
    different.dedup();
    assert!(different.len() >= 4, "{interims:?}");
    assert!(interims.iter().all(|after| (secs(540)..=secs(660)).contains(after)), "{interims:?}");
}

#[test]
fn a_call_without_a_bye_ends_too() {
    let rows = [
        (
            "at the longest call time",
            "a0",
            "INVITE; 200 b; +7200; BYE caller; 481",
            "start INVITE 200 a/b; stop BYE 0 a/b gateway lifetime 3600s",
        ),
        (
            "when its session timer ran out",
            "a0",
            "INVITE; 200 b se=90; +600",
            "start INVITE 200 a/b; stop BYE 0 a/b gateway session-timer 122s",
        ),
        (
            "not while it is refreshed by re-INVITE",
            "a0",
            "INVITE; 200 b se=90; +80; INVITE caller; 200 b se=90; +80; BYE caller; 200",
            "start INVITE 200 a/b; interim INVITE 200 a/b 80s; stop BYE 200 a/b caller bye 160s",
        ),
        (
            "or by UPDATE",
            "a0|",
            "INVITE; 200 b se=90; +80; UPDATE callee; 200 b se=90; +80; BYE caller; 200",
            "start INVITE 200 a/b; stop BYE 200 a/b caller bye 160s",
        ),
        (
            "a refused refresh is none",
            "a0|",
            "INVITE; 200 b se=90; +80; UPDATE callee; 491; +80",
            "start INVITE 200 a/b; stop BYE 0 a/b gateway session-timer 122s",
        ),
        (
            "a refresh without Session-Expires stops the timer",
            "a0|",
            "INVITE; 200 b se=90; +80; UPDATE callee; 200; +800; BYE callee; 200",
            "start INVITE 200 a/b; stop BYE 200 a/b callee bye 880s",
        ),
        (
            "by the operator; a BYE later makes no second Stop",
            "a0",
            "INVITE; 200 b; +7; close; close; +600; BYE caller; 200",
            "start INVITE 200 a/b; stop BYE 0 a/b gateway administrator 7s",
        ),
    ];
    hold(&Settings { lifetime_max: Some(secs(3600)), ..settings() }, &rows);
}

#[test]
fn a_whole_call_has_what_its_bye_says_apart_and_a_leg_of_it() {
    let settings = Settings {
        fields: templates(&[("ua", "$ua")]),
        bye_fields: templates(&[("ua_bye", "$ua"), ("code_bye", "$rs")]),
        leg_fields: templates(&[("dst", "$leg(dst)")]),
        bye_leg_fields: templates(&[("dst", "$rm")]),
        ..settings()
    };
    hold(
        &settings,
        &[
            (
                "the BYE's own values beside those of the call",
                "a0 a2",
                "INVITE; 200 b; +4; BYE callee; 200",
                "start INVITE 200 a/b [sip:winner] ua=new; \
                 stop BYE 200 a/b callee bye 4s [sip:winner] [BYE] ua=callee ua_bye=callee code_bye=200; \
                 cdr INVITE 200 a/b callee bye 4s [sip:winner] [BYE] ua=new ua_bye=callee code_bye=200 [2]",
            ),
            (
                "after a restart too",
                "a2",
                "INVITE; 200 b; restart; +4; BYE caller; 481",
                "cdr INVITE 200 a/b caller failed-bye 4s [sip:winner] [BYE] ua=new ua_bye=caller code_bye=481 [2]",
            ),
            (
                "without a BYE there is nothing of one",
                "a2",
                "INVITE; 200 b; +4; close",
                "cdr INVITE 200 a/b gateway administrator 4s [sip:winner] ua=new [2]",
            ),
        ],
    );
}

#[test]
fn a_call_that_came_to_nothing_may_have_its_one_record() {
    let asked = Settings { cdr_on_failed: true, ..settings() };
    hold(
        &asked,
        &[
            ("refused by the callee", "a2", "INVITE; +3; round B 486; 486", "cdr INVITE 486 a/b callee busy 0s [2]"),
            (
                "beside the failed one where that is marked",
                "a2 f2",
                "INVITE; round B 486; 486",
                "failed INVITE 486 a/b callee busy [2]; cdr INVITE 486 a/b callee busy 0s [2]",
            ),
            ("nobody answers", "a2", "INVITE; round B =408; =408", "cdr INVITE 408 a/ gateway timeout 0s [2]"),
            ("who takes what happens is not told of it", "a0 a1", "INVITE; round B 486; 486", ""),
            ("nor of who comes back with credentials", "a2", "INVITE; round B 407; 407", ""),
            (
                "an answered one has one record",
                "a2",
                "INVITE; 200 b; BYE caller; 200",
                "cdr INVITE 200 a/b caller bye 0s [2]",
            ),
        ],
    );
    hold(&settings(), &[("not unless asked for", "a2", "INVITE; round B 486; 486", "")]);
}

#[test]
fn each_sink_takes_its_kinds() {
    hold(
        &settings(),
        &[
            (
                "sessions and transactions take Start and Stop, the third one record",
                "a0 a1 a2",
                "INVITE; 200 b; +4; BYE callee; 200",
                "start INVITE 200 a/b [0, 1]; stop BYE 200 a/b callee bye 4s [0, 1]; cdr INVITE 200 a/b callee bye 4s [2]",
            ),
            (
                "one record for a call",
                "a2",
                "INVITE; 200 b; +4; BYE callee; 200",
                "cdr INVITE 200 a/b callee bye 4s [2]",
            ),
            (
                "one record for a call without a BYE",
                "a2",
                "INVITE; 200 b; +4; close",
                "cdr INVITE 200 a/b gateway administrator 4s [2]",
            ),
            (
                "a known call ends for transactions whatever the BYE's answer",
                "a1",
                "INVITE; 200 b; BYE caller; 481",
                "start INVITE 200 a/b [1]; stop BYE 481 a/b caller failed-bye 0s [1]",
            ),
            ("an unknown one does not", "a1 f1", "BYE caller; 481", ""),
            ("an unknown call as one record", "a2", "BYE caller; 200", "cdr BYE 200 a/b caller bye [2]"),
            ("an unknown call that never was", "a2", "BYE caller; 481", ""),
            ("sinks beyond the list take sessions", "a7", "INVITE; 200 b", "start INVITE 200 a/b [7]"),
            (
                "a call keeps the marks of its INVITE",
                "a0|a1",
                "INVITE; 200 b; INVITE callee; 200; BYE caller; 200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 0s; stop BYE 200 a/b caller bye 0s",
            ),
        ],
    );
}

#[test]
fn other_methods_ack_and_cancel_are_recorded_if_set() {
    let all = Settings {
        methods: vec!["MESSAGE".into(), "INFO".into()],
        report_ack: true,
        report_cancels: true,
        ..settings()
    };
    hold(
        &all,
        &[
            ("a MESSAGE", "a0", "MESSAGE; 202 b", "event MESSAGE 202 a/b"),
            ("a MESSAGE of a method not listed", "a0", "OPTIONS; 200 b", ""),
            ("a refused MESSAGE is not, unless failures are marked", "a0", "MESSAGE; 404 b", ""),
            ("a refused MESSAGE, marked", "a0 f0", "MESSAGE; 404 b", "event MESSAGE 404 a/b"),
            ("a challenged MESSAGE is filtered", "a0 f0", "MESSAGE; 401 b", ""),
            (
                "an INFO of a call",
                "a0",
                "INVITE; 200 b; INFO callee; 200",
                "start INVITE 200 a/b; event INFO 200 a/b 0s",
            ),
            ("a CANCEL of its own is nothing", "a0", "CANCEL caller; 200", ""),
            ("the ACK, once", "a0", "INVITE; 200 b; ACK; ACK", "start INVITE 200 a/b; event ACK 200 a/b 0s"),
            (
                "the ACK of the callee's re-INVITE",
                "a0|",
                "INVITE; 200 b; ACK; INVITE callee; 200; ACK callee; ACK callee",
                "start INVITE 200 a/b; event ACK 200 a/b 0s; interim INVITE 200 a/b 0s; event ACK 200 a/b 0s",
            ),
            ("no ACK without a call", "a0", "ACK", ""),
            ("nor for who takes one record at the end", "a2", "INVITE; 200 b; ACK", ""),
            ("the CANCEL, once", "a0", "INVITE; CANCEL; CANCEL; round B 487; 487 b", "event CANCEL 200 a/"),
        ],
    );
    hold(&settings(), &[("neither by default", "a0", "INVITE; CANCEL; 200 b; ACK", "start INVITE 200 a/b")]);
}

#[test]
fn early_media_opens_a_session_if_set() {
    let early = Settings { early_media: true, ..settings() };
    hold(
        &early,
        &[
            ("ringing without a body is nothing", "a0", "INVITE; 180 b", ""),
            (
                "early media, then the answer, then the end",
                "a0",
                "INVITE; 183 b sdp; +5; 200 b; ACK; +7; BYE caller; 200",
                "start INVITE 183 a/b; interim INVITE 200 a/b 0s; stop BYE 200 a/b caller bye 7s",
            ),
            ("sent again it makes nothing", "a0", "INVITE; 183 b sdp; 183 b sdp", "start INVITE 183 a/b"),
            (
                "another answer goes on",
                "a0",
                "INVITE; 183 b sdp; 180 b sdp",
                "start INVITE 183 a/b; interim INVITE 180 a/b",
            ),
            (
                "early media that ends in a refusal",
                "a0 f0",
                "INVITE; 183 b sdp; 486 b",
                "start INVITE 183 a/b; stop INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy",
            ),
            (
                "early media of a branch that lost",
                "a0",
                "INVITE; 183 b sdp; 200 c; gone; +3; BYE caller c; 200",
                "start INVITE 183 a/b; start INVITE 200 a/c; stop INVITE 0 a/b gateway elsewhere; stop BYE 200 a/c caller bye 3s",
            ),
            (
                "early media lost in a restart",
                "a0",
                "INVITE; 183 b sdp; restart; +1",
                "start INVITE 183 a/b; stop BYE 0 a/b gateway restart",
            ),
            ("one record at the end has no early media", "a2", "INVITE; 183 b sdp; 486 b", ""),
            (
                "nor twice the answered call",
                "a2",
                "INVITE; 183 b sdp; 200 b; +1; BYE caller; 200",
                "cdr INVITE 200 a/b caller bye 1s [2]",
            ),
            (
                "an early body in a re-INVITE",
                "a0",
                "INVITE; 200 b; +2; INVITE caller; 183 b sdp; 200",
                "start INVITE 200 a/b; interim INVITE 183 a/b 2s; interim INVITE 200 a/b 2s",
            ),
        ],
    );
}

#[test]
fn a_call_keeps_its_names_and_instants() {
    let mut bench = Bench::new(settings(), "a0");
    bench.play("INVITE; +2; 200 b; 200 c; +1; ACK; +4; INVITE callee; 200; +3; BYE callee; +1; 200");
    let [start, other, interim, stop] = &bench.made[..] else { panic!("{}", bench.records()) };
    for (name, got, want) in [
        ("the session is the same in its records", &interim.record.session, &start.record.session),
        ("and at the end", &stop.record.session, &start.record.session),
        ("a fork shares the whole call", &other.record.multi_session, &start.record.multi_session),
    ] {
        assert_eq!(got, want, "{name}");
    }
    assert_ne!(start.record.session, other.record.session, "a fork has a session of its own");
    assert_eq!((start.record.session.len(), start.record.multi_session.len()), (32, 32));
    let base = 1_700_000_000_000_000;
    let at = |secs: i64| Some(crate::clock::Timestamp(base + secs * 1_000_000));
    let times = stop.record.times;
    for (name, got, want) in [
        ("created: the INVITE arrived", Some(times.created), at(0)),
        ("answered: its 2xx", times.answered, at(2)),
        ("acknowledged: its ACK", times.acknowledged, at(3)),
        ("ended: the BYE arrived", times.ended, at(10)),
        ("the Stop happened then", Some(times.event), at(10)),
    ] {
        assert_eq!(got, want, "{name}");
    }
    assert_eq!((times.setup, times.duration), (Some(secs(2)), Some(secs(8))));
    assert_eq!(start.record.times.setup, Some(secs(2)));
    let ids: std::collections::BTreeSet<_> = bench.made.iter().map(|made| made.record.id).collect();
    assert_eq!(ids.len(), bench.made.len(), "ids are unique");
    assert!(bench.made.is_sorted_by_key(|made| made.record.id), "and rise");
}
