//! Calls that were not answered, or not at once: Missed, Failed, legs.

use super::bench::{Bench, hold, templates};
use super::settings;
use crate::accounting::Settings;
use crate::policy::Avp;
use crate::record::LegOrder;
use crate::vars::Template;

#[test]
fn a_refused_call_is_failed_and_missed_as_marked() {
    hold(
        &settings(),
        &[
            ("accounting alone: nothing", "a0", "INVITE; round B 486; 486 B", ""),
            ("failed alone: nothing", "f0", "INVITE; round B 486; 486 B", ""),
            ("failed", "a0 f0", "INVITE; round B 486; 486 B", "failed INVITE 486 a/B callee busy"),
            ("missed needs no accounting", "m0", "INVITE; round B 486; 486 B", "missed INVITE 486 a/B callee busy"),
            (
                "both: first missed, then failed",
                "a0 m0 f0",
                "INVITE; round B 486; 486 B",
                "missed INVITE 486 a/B callee busy; failed INVITE 486 a/B callee busy",
            ),
            (
                "each sink has its own marks",
                "a0 f0 m1 a2 f1",
                "INVITE; round B 486; 486 B",
                "missed INVITE 486 a/B callee busy [1]; failed INVITE 486 a/B callee busy",
            ),
            (
                "who takes one record at the end has failures too",
                "a2 m2 f2",
                "INVITE; round B 486; 486 B",
                "missed INVITE 486 a/B callee busy [2]; failed INVITE 486 a/B callee busy [2]",
            ),
            (
                "a redirection is a failure",
                "a0 f0",
                "INVITE; round B 302; 302 B",
                "failed INVITE 302 a/B callee redirected",
            ),
            ("a 6xx too", "a0 f0", "INVITE; round B 603; 603 B", "failed INVITE 603 a/B callee refused"),
            (
                "no answer in time",
                "a0 m0 f0",
                "INVITE; round B =408; =408",
                "missed INVITE 408 a/ gateway timeout; failed INVITE 408 a/ gateway timeout",
            ),
            ("a timeout further on", "m0", "INVITE; round B 408; 408 B", "missed INVITE 408 a/B callee timeout"),
            ("no way to the target", "m0", "INVITE; round B =503; =500", "missed INVITE 503 a/ gateway unreachable"),
            (
                "refused by the gateway itself",
                "a0 m0 f0",
                "INVITE; =404",
                "missed INVITE 404 a/ gateway refused; failed INVITE 404 a/ gateway refused",
            ),
            ("a challenge is neither", "a0 m0 f0", "INVITE; round B 407; 407 B; INVITE; round B 401; 401 B", ""),
            (
                "challenged, then answered",
                "a0 m0 f0",
                "INVITE; round B 407; 407 B; INVITE; 200 b",
                "start INVITE 200 a/b",
            ),
        ],
    );
    let unfiltered = Settings { failed_filter: Vec::new(), ..settings() };
    hold(
        &unfiltered,
        &[(
            "a challenge counts without the filter",
            "a0 f0",
            "INVITE; round B 407; 407 B",
            "failed INVITE 407 a/B callee refused",
        )],
    );
}

#[test]
fn a_call_the_caller_gives_up_makes_one_record_a_sink() {
    hold(
        &settings(),
        &[
            ("missed only", "m0", "INVITE; CANCEL; round B 487; 487 B", "missed INVITE 487 a/B caller cancelled"),
            ("failed only", "a0 f0", "INVITE; CANCEL; round B 487; 487 B", "failed INVITE 487 a/B caller cancelled"),
            (
                "both on one sink",
                "a0 m0 f0",
                "INVITE; CANCEL; round B 487; 487 B",
                "missed INVITE 487 a/B caller cancelled",
            ),
            (
                "one on each of two",
                "a0 f0 m1",
                "INVITE; CANCEL; round B 487; 487 B",
                "missed INVITE 487 a/B caller cancelled [1]; failed INVITE 487 a/B caller cancelled",
            ),
            (
                "cancelled before any branch",
                "a0 m0 f0",
                "INVITE; CANCEL; =487",
                "missed INVITE 487 a/ caller cancelled",
            ),
            (
                "given up after a busy one",
                "m0",
                "forward; INVITE; round B 486; CANCEL; round C 487; 487 C",
                "missed INVITE 486 a/B callee busy; missed INVITE 487 a/C caller cancelled",
            ),
            ("the answer was faster than the CANCEL", "a0 m0 f0", "INVITE; CANCEL; 200 b", "start INVITE 200 a/b"),
            ("so was the refusal", "m0", "INVITE; CANCEL; round B 486; 486 B", "missed INVITE 486 a/B callee busy"),
            ("a 487 nobody asked for", "m0", "INVITE; round B 487; 487 B", "missed INVITE 487 a/B callee refused"),
        ],
    );
}

#[test]
fn a_call_that_was_answered_elsewhere_is_not_missed() {
    let rows = [
        ("as the CANCEL says", "m0", "INVITE; CANCEL elsewhere; round B 487; 487 B", ""),
        (
            "what the caller got has the cause",
            "a0 m0 f0",
            "INVITE; CANCEL elsewhere; round B 487; 487 B",
            "failed INVITE 487 a/B caller elsewhere",
        ),
        ("before any branch", "a0 m0 f0", "INVITE; CANCEL elsewhere; =487", "failed INVITE 487 a/ caller elsewhere"),
        (
            "when it forwards the call too: only who was busy before has missed it",
            "m0",
            "forward; INVITE; round B 486; CANCEL elsewhere; round C 487; 487 C",
            "missed INVITE 486 a/B callee busy",
        ),
        (
            "a refusal that was faster than the CANCEL is one",
            "m0",
            "INVITE; CANCEL elsewhere; round B 486; 486 B",
            "missed INVITE 486 a/B callee busy",
        ),
        (
            "nor is the branch that lost to another one",
            "a0 m0 f0",
            "INVITE; lost B rings; 200 c; lost B 487",
            "start INVITE 200 a/c",
        ),
        ("or was busy before", "a0 m0 f0", "INVITE; lost B 486 C rings; 200 d; lost C 487", "start INVITE 200 a/d"),
        (
            "early media of a branch that lost ends with the cause",
            "a0 m0",
            "INVITE; 183 b sdp; lost B rings; 200 c; lost B 487; gone",
            "start INVITE 183 a/b; start INVITE 200 a/c; stop INVITE 0 a/b gateway elsewhere",
        ),
    ];
    hold(&Settings { early_media: true, ..settings() }, &rows);
    hold(
        &Settings { missed_elsewhere: true, ..settings() },
        &[(
            "it is where that is asked for, and that is the only record then",
            "a0 m0 f0",
            "INVITE; CANCEL elsewhere; round B 487; 487 B",
            "missed INVITE 487 a/B caller elsewhere",
        )],
    );
    hold(
        &Settings { missed_branches: true, ..settings() },
        &[
            (
                "each branch, where that is asked for",
                "a0 m0",
                "INVITE; lost B 486 C rings; 200 d; lost C 487",
                "missed INVITE 486 a/B callee busy; start INVITE 200 a/d; missed INVITE 487 a/C gateway elsewhere",
            ),
            (
                "one that was given up before it was sent",
                "a0 m0",
                "INVITE; lost C rings; 200 d; lost C =487",
                "start INVITE 200 a/d; missed INVITE 487 a/ gateway elsewhere",
            ),
        ],
    );
    let fields = templates(&[("tried", "$(attempt(uri)[*])"), ("why", "$(attempt(cause)[*])")]);
    hold(
        &Settings { fields, ..settings() },
        &[(
            "those that lost are attempts of the answered call",
            "a0 m0",
            "INVITE; lost B 486 C rings; 200 d; lost C 487; +5; BYE caller d; 200",
            "start INVITE 200 a/d tried=B, C why=busy, elsewhere; \
             stop BYE 200 a/d caller bye 5s tried=B, C why=busy, elsewhere",
        )],
    );
}

#[test]
fn a_bye_before_the_answer_is_the_callers_cancel() {
    hold(
        &Settings { early_media: true, ..settings() },
        &[
            (
                "one record, of the caller",
                "a0 m0 f0",
                "INVITE; 180 b; BYE caller; 200; 1:487 b",
                "missed INVITE 487 a/b caller cancelled",
            ),
            (
                "however the two answers come",
                "a0 f0",
                "INVITE; 180 b; BYE caller; 1:487 b; 2:200",
                "failed INVITE 487 a/b caller cancelled",
            ),
            (
                "the BYE is not accounted itself",
                "a0 f0|",
                "INVITE; 180 b; BYE caller; 1:487 b; 2:200",
                "failed INVITE 487 a/b caller cancelled",
            ),
            ("a refusal is one", "f0 a0", "INVITE; BYE caller; 200; 1:486 b", "failed INVITE 486 a/b callee busy"),
            (
                "a BYE of somebody else changes nothing",
                "a0 f0",
                "INVITE; BYE callee; 481; 1:487 b",
                "failed INVITE 487 a/b callee refused",
            ),
            (
                "early media ends with it",
                "a0 m0",
                "INVITE; 183 b sdp; +2; BYE caller; 200; 1:487 b",
                "start INVITE 183 a/b; missed INVITE 487 a/b caller cancelled; stop INVITE 487 a/b caller cancelled",
            ),
        ],
    );
}

#[test]
fn each_target_that_forwards_a_call_misses_it_once() {
    hold(
        &settings(),
        &[
            (
                "busy, then answered (reference sequence A)",
                "a0 m0",
                "forward; INVITE; round B 486; 200 c; +8; BYE caller c; 200",
                "missed INVITE 486 a/B callee busy; start INVITE 200 a/c; stop BYE 200 a/c caller bye 8s",
            ),
            (
                "busy, then timeout (reference sequence B): one record for each attempt",
                "a0 m0",
                "forward; INVITE; round B 486; round C =408; =408",
                "missed INVITE 486 a/B callee busy; missed INVITE 408 a/ gateway timeout",
            ),
            (
                "and one of what the caller got, where that is marked",
                "a0 m0 f0",
                "forward; INVITE; round B 486; round C =408; =408",
                "missed INVITE 486 a/B callee busy; missed INVITE 408 a/ gateway timeout; failed INVITE 408 a/ gateway timeout",
            ),
            (
                "parallel branches make one record: the best answer",
                "m0",
                "INVITE; round B 404 C *486 D =408; 486 C",
                "missed INVITE 486 a/C callee busy",
            ),
            ("a filtered best answer hides the round", "m0", "INVITE; round B 486 C *407; 407 C", ""),
            (
                "a refused re-INVITE is not missed",
                "a0 m0",
                "INVITE; 200 b; INVITE caller; round B 488; 488",
                "start INVITE 200 a/b",
            ),
            ("other methods are not missed", "a0 m0 f0", "MESSAGE; round B 486; 486 B", ""),
        ],
    );
    let branches = Settings { missed_branches: true, ..settings() };
    hold(
        &branches,
        &[(
            "each branch, if set",
            "m0",
            "INVITE; round B 404 C *486 D 407; 486 C",
            "missed INVITE 404 a/B callee refused; missed INVITE 486 a/C callee busy",
        )],
    );
}

#[test]
fn alternatives_are_one_callee() {
    let fields = templates(&[("tried", "$(attempt(uri)[*])"), ("why", "$(attempt(cause)[*])")]);
    let leg_fields = templates(&[("src", "$avp(src)"), ("dst", "$leg(dst)"), ("why", "$leg(cause)")]);
    let al = "sip:al@a.example";
    let rows = [
        (
            "a trunk failed and the next one answered: no missed call, the caller's leg, the trunk as an attempt",
            "a0 m0 f0",
            "INVITE; round B 503; 200 c; +8; BYE caller c; 200",
            "start INVITE 200 a/c [AL sip:winner -] tried=B why=unreachable; \
             stop BYE 200 a/c caller bye 8s [AL sip:winner -] tried=B why=unreachable",
        ),
        (
            "all failed: one missed call, what the caller got, and both legs are the caller's",
            "a0 m0 f0",
            "INVITE; round B =408; round C 486; 486 C",
            "missed INVITE 486 a/C callee busy [AL sip:winner busy] tried=B, C why=timeout, busy; \
             failed INVITE 486 a/C callee busy [AL sip:winner busy] tried=B, C why=timeout, busy",
        ),
        (
            "each with a record of its own, if set",
            "a0 m0 f0 +",
            "INVITE; round B 503; round C 486; 486 C",
            "missed INVITE 503 a/B callee unreachable [AL B unreachable] tried=- why=-; \
             missed INVITE 486 a/C callee busy [AL C busy] tried=B why=unreachable; \
             failed INVITE 486 a/C callee busy [AL sip:winner busy] tried=B, C why=unreachable, busy",
        ),
        (
            "the answered call too, then",
            "a0 m0 +",
            "INVITE; round B 503; 200 c",
            "missed INVITE 503 a/B callee unreachable [AL B unreachable] tried=- why=-; \
             start INVITE 200 a/c [AL sip:winner -] tried=B why=unreachable",
        ),
        (
            "given up at the second",
            "a0 m0 f0",
            "INVITE; round B =503; CANCEL; round C 487; 487 C",
            "missed INVITE 487 a/C caller cancelled [AL sip:winner cancelled] tried=B, C why=unreachable, cancelled",
        ),
        (
            "no way to any of them: the caller gets 500 and the records say why",
            "a0 m0 f0",
            "INVITE; round B =503; round C =503; =500",
            "missed INVITE 503 a/ gateway unreachable [AL C unreachable] tried=B, C why=unreachable, unreachable; \
             failed INVITE 500 a/ gateway unreachable [AL C unreachable] tried=B, C why=unreachable, unreachable",
        ),
        (
            "the 503 of a trunk that the caller gets as 500 is the trunk's",
            "a0 f0",
            "INVITE; round B 503; =500",
            "failed INVITE 500 a/ callee unreachable [AL B unreachable] tried=B why=unreachable",
        ),
        (
            "who redirects a call forwards it",
            "a0 m0 f0",
            "INVITE; round B >302; 200 c",
            "start INVITE 200 a/c [AL B redirected] [B sip:winner -] tried=B why=redirected",
        ),
        (
            "and where it went is his leg when it fails",
            "a0 f0",
            "INVITE; round B >302; round C 404; 404 C",
            "failed INVITE 404 a/C callee refused [AL B redirected] [B sip:winner refused] tried=B, C why=redirected, refused",
        ),
    ];
    for (name, marked, steps, want) in rows {
        let (marked, missed_branches) = (marked.trim_end_matches('+'), marked.ends_with('+'));
        let (fields, leg_fields) = (fields.clone(), leg_fields.clone());
        let settings = Settings { fields, leg_fields, missed_branches, ..settings() };
        hold(&settings, &[(name, marked, steps, &want.replace("AL", al))]);
    }
}

#[test]
fn a_forwarded_call_has_a_leg_for_each_target() {
    let legs = Settings {
        leg_fields: templates(&[("src", "$avp(src)"), ("dst", "$leg(dst)"), ("code", "$leg(code)")]),
        ..settings()
    };
    hold(
        &legs,
        &[
            ("one target, one leg", "a0", "INVITE; 200 b", "start INVITE 200 a/b [sip:al@a.example sip:winner 200]"),
            (
                "busy, then answered: A to B, B to C",
                "a0 m0",
                "forward; INVITE; round B 486; 200 c; +1; BYE callee c; 200",
                "missed INVITE 486 a/B callee busy [sip:al@a.example B 486]; \
             start INVITE 200 a/c [sip:al@a.example B 486] [B sip:winner 200]; \
             stop BYE 200 a/c callee bye 1s [sip:al@a.example B 486] [B sip:winner 200]",
            ),
            (
                "busy, then no answer",
                "a0 m0 f0",
                "forward; INVITE; round B 486; round C =408; =408",
                "missed INVITE 486 a/B callee busy [sip:al@a.example B 486]; \
             missed INVITE 408 a/ gateway timeout [sip:al@a.example B 486] [B C 408]; \
             failed INVITE 408 a/ gateway timeout [sip:al@a.example B 486] [B C 408]",
            ),
            (
                "each of two answers has its own last leg",
                "a0",
                "forward; INVITE; round B 486; 200 c; 200 d",
                "start INVITE 200 a/c [sip:al@a.example B 486] [B sip:winner 200]; \
             start INVITE 200 a/d [sip:al@a.example B 486] [B sip:winner 200]",
            ),
            (
                "a parallel round has the leg of its best answer",
                "m0",
                "forward; INVITE; round B 404 C *486; 486 C",
                "missed INVITE 486 a/C callee busy [sip:al@a.example C 486]",
            ),
            ("nothing was forwarded: no leg", "a0 f0", "INVITE; =404", "failed INVITE 404 a/ gateway refused"),
            (
                "a re-INVITE and the one record at the end have the legs of the call",
                "a0 a2",
                "forward; INVITE; round B 486; 200 c; INVITE caller c; 200; BYE caller c; 200",
                "start INVITE 200 a/c [sip:al@a.example B 486] [B sip:winner 200]; \
             interim INVITE 200 a/c 0s [sip:al@a.example B 486] [B sip:winner 200]; \
             stop BYE 200 a/c caller bye 0s [sip:al@a.example B 486] [B sip:winner 200]; \
             cdr INVITE 200 a/c caller bye 0s [sip:al@a.example B 486] [B sip:winner 200] [2]",
            ),
        ],
    );
    let newest = Settings { leg_order: LegOrder::NewestFirst, ..legs.clone() };
    hold(
        &newest,
        &[(
            "newest first, if set",
            "a0",
            "forward; INVITE; round B 486; 200 c; BYE caller c; 200",
            "start INVITE 200 a/c [B sip:winner 200] [sip:al@a.example B 486]; \
             stop BYE 200 a/c caller bye 0s [B sip:winner 200] [sip:al@a.example B 486]",
        )],
    );
    let branches = Settings { missed_branches: true, ..legs };
    hold(
        &branches,
        &[(
            "each branch with its own leg, the call with the best one",
            "a0 m0",
            "forward; INVITE; round B 404 C *486; 200 d",
            "missed INVITE 404 a/B callee refused [sip:al@a.example B 404]; \
             missed INVITE 486 a/C callee busy [sip:al@a.example C 486]; \
             start INVITE 200 a/d [sip:al@a.example C 486] [C sip:winner 200]",
        )],
    );
}

#[test]
fn a_route_says_which_legs_come_first() {
    let leg_fields =
        templates(&[("src", "$leg(src)"), ("dst", "$avp(dst)"), ("acc", "$avp(acc)"), ("code", "$leg(code)")]);
    let fields = templates(&[("all", "$(avp(dst)[*])")]);
    let avp = |name: &str, values: &[&str]| Avp {
        name: name.into(),
        values: values.iter().map(|text| Template::parse(text).ok()).collect(),
    };
    for (name, avps, steps, want) in [
        (
            "who forwards all calls is a leg, as with the lists of an acc module",
            vec![avp("src", &["$fu", "$ou"]), avp("dst", &["$ou", "sip:carol@c"])],
            "INVITE; 200 c",
            "start INVITE 200 a/c [AL BO - -] [BO sip:carol@c - 200] all=sip:carol@c, BO",
        ),
        (
            "what a list leaves out is the leg's own",
            vec![avp("dst", &["$ou", ""]), avp("acc", &["bob", "carol"])],
            "INVITE; 200 c",
            "start INVITE 200 a/c [AL BO bob -] [BO sip:winner carol 200] all=BO",
        ),
        (
            "a single value is for all legs",
            vec![avp("dst", &["$ou", ""]), avp("acc", &["x"])],
            "INVITE; 200 c",
            "start INVITE 200 a/c [AL BO x -] [BO sip:winner x 200] all=BO",
        ),
        (
            "a call that fails has them too, and those who forward it further follow",
            vec![avp("dst", &["$ou", ""])],
            "forward; INVITE; round C 486; 200 d",
            "missed INVITE 486 a/C callee busy [AL BO - -] [BO C - 486] all=BO; \
             start INVITE 200 a/d [AL BO - -] [BO C - 486] [C sip:winner - 200] all=BO",
        ),
        (
            "and one that was given up before any target",
            vec![avp("dst", &["$ou", "", ""])],
            "INVITE; CANCEL; =487",
            "missed INVITE 487 a/ caller cancelled [AL BO - -] [BO BO - -] all=BO",
        ),
    ] {
        let settings = Settings { fields: fields.clone(), leg_fields: leg_fields.clone(), ..settings() };
        let mut bench = Bench::new(settings, "a0 m0");
        bench.avps = avps;
        bench.play(steps);
        let want = want.replace("AL", "sip:al@a.example").replace("BO", "sip:bo@gw.example");
        assert_eq!(bench.records(), want, "{name}");
    }
}

#[test]
fn a_failure_has_its_instants() {
    let mut bench = Bench::new(settings(), "a0 m0 f0");
    bench.play("forward; INVITE; +5; round B 486; +20; round C =408; =408");
    let spans: Vec<_> = bench.made.iter().map(|made| made.record.times.setup.map(|span| span.as_secs())).collect();
    assert_eq!(spans, [Some(5), Some(25), Some(25)], "from the INVITE to the end of the attempt");
    assert!(bench.made.iter().all(|made| made.record.times.ended == Some(made.record.times.event)));
    assert!(bench.made.iter().all(|made| made.record.times.answered.is_none()));
}
