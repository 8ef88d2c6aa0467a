//! What records say of how a call ended, who was tried, and whom it was for.

use serde_json::Value as Json;

use super::bench::Bench;
use super::settings;
use crate::accounting::{Made, Settings};

/// What a row looks at.
const KEYS: [&str; 13] = [
    "ended_by",
    "cause",
    "ended_from",
    "reasons",
    "q850",
    "sip_cause",
    "pdd_s",
    "ring_s",
    "dialled",
    "called",
    "sent",
    "attempt_count",
    "attempts",
];

fn text(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Array(items) => format!("[{}]", items.iter().map(text).collect::<Vec<_>>().join(", ")),
        Json::Object(map) => {
            let parts = ["uri", "address", "code", "cause", "ring_s"].iter().filter_map(|key| map.get(*key));
            parts.map(text).collect::<Vec<_>>().join(" ")
        }
        other => other.to_string(),
    }
}

/// `kind key=value …` of those among `keys` that the record has.
pub(super) fn told(made: &Made, keys: &[&str]) -> String {
    let json = made.record.to_json();
    let parts = keys.iter().filter_map(|key| Some(format!("{key}={}", text(json.get(*key)?))));
    std::iter::once(made.record.kind.name().to_owned()).chain(parts).collect::<Vec<_>>().join(" ")
}

/// Plays rows of a name, header lines of requests, steps, and what the last record says.
fn hold(settings: &Settings, keys: &[&str], rows: &[(&str, &str, &str, &str)]) {
    for (name, lines, steps, want) in rows {
        let mut bench = Bench::new(settings.clone(), "a0 m0 f0");
        (bench.lines, bench.has_places) = (lines.replace('|', "\r\n"), true);
        bench.play(steps);
        let last = bench.made.last().unwrap_or_else(|| panic!("{name}: no record"));
        assert_eq!(told(last, keys), want.split_whitespace().collect::<Vec<_>>().join(" "), "{name}");
    }
}

#[test]
fn an_end_says_who_and_why_and_from_where() {
    let says = |lines: &'static str, steps: &'static str, want: &'static str| (lines, steps, want);
    let rows = [
        (
            "the caller hangs up",
            says(
                "",
                "INVITE; 200 b; BYE caller; 200",
                "stop ended_by=caller cause=bye ended_from=192.0.2.1:5060 q850=16",
            ),
        ),
        (
            "the callee does, and its gateway says why",
            says(
                "Reason: Q.850;cause=31;text=\"a, b\"|",
                "INVITE; 200 b; BYE callee; 200",
                "stop ended_by=callee cause=bye ended_from=192.0.2.2:5060 reasons=[Q.850;cause=31;text=\"a, b\"] q850=31 \
                 sip_cause=480",
            ),
        ),
        (
            "two protocols in one line, and two reasons of one protocol (RFC 9366)",
            says(
                "Reason: SIP ;cause=503 , q.850;cause=\"41\"|Reason: Q.850;cause=16|",
                "INVITE; 200 b; BYE caller; 200",
                "stop ended_by=caller cause=bye ended_from=192.0.2.1:5060 \
                 reasons=[SIP ;cause=503, q.850;cause=\"41\", Q.850;cause=16] q850=41 sip_cause=503",
            ),
        ),
        (
            "what means nothing is kept as it came",
            says(
                "Reason: |Reason: ;;=,\"x|Reason: Q.850;cause=300, SIP;cause=99999999999|",
                "INVITE; 200 b; BYE caller; 200",
                "stop ended_by=caller cause=bye ended_from=192.0.2.1:5060 \
                 reasons=[;;=, \"x, Q.850;cause=300, SIP;cause=99999999999] q850=16",
            ),
        ),
        (
            "the caller gives up",
            says(
                "",
                "INVITE; 180 b; CANCEL Q.850&cause=16; round B 487; 487 B",
                "missed ended_by=caller cause=cancelled ended_from=192.0.2.1:5060 reasons=[Q.850;cause=16] q850=16",
            ),
        ),
        (
            "a busy callee",
            says(
                "",
                "INVITE; round B 486; 486 B",
                "failed ended_by=callee cause=busy ended_from=192.0.2.2:5060 q850=17",
            ),
        ),
        (
            "nobody is there",
            says(
                "",
                "INVITE; round B 480; 480 B",
                "failed ended_by=callee cause=offline ended_from=192.0.2.2:5060 q850=18",
            ),
        ),
        (
            "nobody answers, as the callee's side says",
            says("", "INVITE; round B 480~9; =480", "failed ended_by=gateway cause=no-answer q850=19"),
        ),
        (
            "nobody answers in time",
            says("", "INVITE; round B =408~9; =408", "failed ended_by=gateway cause=no-answer q850=19"),
        ),
        ("silence", says("", "INVITE; round B =408; =408", "failed ended_by=gateway cause=timeout q850=102")),
        ("no way there", says("", "INVITE; round B =503; =500", "failed ended_by=gateway cause=unreachable q850=27")),
        (
            "who may not call",
            says(
                "",
                "INVITE; round B 403; 403 B",
                "failed ended_by=callee cause=forbidden ended_from=192.0.2.2:5060 q850=21",
            ),
        ),
        (
            "who is somewhere else",
            says(
                "",
                "INVITE; round B 302; 302 B",
                "failed ended_by=callee cause=redirected ended_from=192.0.2.2:5060 q850=23",
            ),
        ),
        ("the operator ends it", says("", "INVITE; 200 b; close", "stop ended_by=gateway cause=administrator q850=31")),
    ];
    let rows: Vec<_> = rows.iter().map(|(name, (lines, steps, want))| (*name, *lines, *steps, *want)).collect();
    hold(&settings(), &KEYS[..6], &rows);
}

#[test]
fn each_target_that_was_tried_is_named() {
    hold(
        &settings(),
        &KEYS[6..],
        &[
            (
                "one that answers",
                "",
                "INVITE; 200 b",
                "start dialled=bo called=bo sent=bo attempt_count=1 attempts=[sip:winner 192.0.2.2:5060 200]",
            ),
            (
                "a trunk that was busy, one that sent the call on, and who answered",
                "",
                "INVITE; +3; round sip:B@b 486~2000 sip:C@c *302; 200 b",
                "start pdd_s=2.0 ring_s=1.0 dialled=bo called=B sent=B attempt_count=3 attempts=[\
                 sip:B@b 10.0.0.9:5060 486 busy 1.0, sip:C@c 10.0.0.9:5060 302 redirected, sip:winner 192.0.2.2:5060 200]",
            ),
            (
                "nobody answered: the last one tried is named",
                "",
                "INVITE; +3; round sip:+492@b =408~1000; +4; round sip:+493@c 480; 480 x",
                "failed pdd_s=1.0 ring_s=6.0 dialled=bo called=+492 sent=+493 attempt_count=2 attempts=[\
                 sip:+492@b 10.0.0.9:5060 408 no-answer 2.0, sip:+493@c 10.0.0.9:5060 480 offline]",
            ),
            (
                "a missed call has the target that has just failed, once",
                "",
                "forward; INVITE; round sip:B@b 486; CANCEL; round sip:C@c 487; 487 c",
                "missed dialled=bo called=B sent=C attempt_count=2 attempts=[\
                 sip:B@b 10.0.0.9:5060 486 busy, sip:C@c 10.0.0.9:5060 487 cancelled]",
            ),
            (
                "branches that lost to one that was answered",
                "",
                "INVITE; lost sip:B@b 486 sip:C@c rings; 200 b",
                "start dialled=bo called=B sent=B attempt_count=3 attempts=[\
                 sip:B@b 10.0.0.9:5060 486 busy, sip:C@c 10.0.0.9:5060 elsewhere, sip:winner 192.0.2.2:5060 200]",
            ),
        ],
    );
}

#[test]
fn of_many_targets_the_last_ones_are_named_and_all_are_counted() {
    let mut bench = Bench::new(settings(), "a0 f0");
    let rounds: String = (0..40).map(|number| format!("round sip:{number}@b 486; ")).collect();
    bench.play(&format!("INVITE; {rounds} 486 B"));
    let json = bench.made[0].record.to_json();
    let attempts = json["attempts"].as_array().expect("attempts");
    assert_eq!((attempts.len(), &json["attempt_count"]), (16, &Json::from(40)));
    assert_eq!(attempts[15]["uri"], "sip:39@b");
    assert_eq!((&json["target"], &json["called"], &json["sent"]), (&"sip:39@b".into(), &"0".into(), &"39".into()));
}

#[test]
fn the_facts_of_a_call_are_those_of_its_start_until_its_end_and_over_a_restart() {
    let mut bench = Bench::new(settings(), "a0 a2");
    bench.play("INVITE; +3; round sip:B@b 486~2000; 200 b; ACK; restart; BYE callee; 200");
    let all: Vec<_> = bench.made.iter().map(|made| told(made, &KEYS[6..])).collect();
    let rest = |kind: &str| all.iter().find_map(|line| line.strip_prefix(kind)).expect("a record").to_owned();
    assert_eq!(rest("stop"), rest("start"));
    assert_eq!(rest("cdr"), rest("start"));
    assert!(rest("cdr").contains("sip:B@b 10.0.0.9:5060 486 busy 1.0"), "{all:?}");
}

/// Bytes of a plain call: what it grows by is the number dialled, the target, and the cause of its end.
#[test]
fn a_plain_call_stays_small() {
    let mut bench = Bench::new(settings(), "a0");
    bench.has_places = true;
    bench.play("INVITE; 200 b; ACK; BYE caller; 200");
    let sizes: Vec<_> = bench.made.iter().map(|made| made.record.facts.bytes().len()).collect();
    assert!(sizes.iter().all(|size| *size <= 64), "{sizes:?}");
}

#[test]
fn two_calls_at_once_do_not_mix() {
    let mut bench = Bench::new(settings(), "a0 f0");
    bench.lines = "Reason: SIP;cause=600\r\n".to_owned();
    bench.play("INVITE");
    bench.lines.clear();
    bench.play("INVITE; +2; 1:round sip:B@b 486~500; round sip:C@c 480; 1:486 B; 480 C");
    let all: Vec<_> = bench.made.iter().map(|made| told(made, &["cause", "reasons", "pdd_s", "attempts"])).collect();
    assert_eq!(
        all,
        [
            "failed cause=busy pdd_s=0.5 attempts=[sip:B@b 10.0.0.9:5060 486 busy 1.5]",
            "failed cause=offline attempts=[sip:C@c 10.0.0.9:5060 480 offline]"
        ]
    );
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn any_reasons_are_taken(octets in proptest::collection::vec(proptest::sample::select(b"SIPQ.850;=\"\\, cause16\t(".to_vec()), 0..3_000), times in 1_usize..4) {
        let mut bench = Bench::new(settings(), "a0");
        let value = String::from_utf8(octets).expect("they are ASCII");
        bench.lines = format!("Reason: {value}\r\n").repeat(times);
        bench.is_lossless = true;
        bench.play("INVITE; 200 b; BYE caller; 200");
        let stop = bench.made.last().expect("a Stop");
        proptest::prop_assert_eq!(&stop.record.to_json()["cause"], "bye");
        proptest::prop_assert!(stop.record.facts.bytes().len() <= crate::record::facts::FACTS_BYTES_MAX);
    }
}

/// What the next rows look at.
const NAMES: [&str; 11] = [
    "redirecting",
    "forward_reason",
    "forwarded_by",
    "billed",
    "session_id",
    "icid",
    "rtp_stat",
    "rtp_lost",
    "rtp_jitter_ms",
    "claimed_attest",
    "claimed_verstat",
];

#[test]
fn headers_that_say_more_of_a_call_are_read_by_themselves() {
    hold(
        &settings(),
        &NAMES,
        &[
            ("none of them", "", "INVITE; 200 b", "start"),
            (
                "forwarded twice, and somebody else pays",
                "Diversion: <sip:+492@x>;reason=user-busy, <sip:+491@x>;reason=unconditional|\
                 P-Charge-Info: <sip:+499;npi=1@x;user=phone>;noa=2|",
                "INVITE; 200 b",
                "start redirecting=+492 forward_reason=user-busy forwarded_by=[sip:+491@x, sip:+492@x] billed=+499",
            ),
            (
                "names at others, which the Stop has as well",
                "Session-ID: ab30317f1a784dc48ff824d0d3715d86;remote=00000000000000000000000000000000|\
                 P-Charging-Vector: icid-value=\"a;b\";orig-ioi=x|Identity: a.e30.b|",
                "INVITE; 200 b; BYE callee; 200",
                "stop session_id=ab30317f1a784dc48ff824d0d3715d86 icid=a;b",
            ),
            (
                "the media, as the BYE says",
                "P-RTP-Stat: PS=1,PL=4,JI=9|X-RTP-Stat: CS=0;PL=1,2|",
                "INVITE; 200 b; BYE caller; 200",
                "stop rtp_stat=[PS=1,PL=4,JI=9, CS=0;PL=1,2] rtp_lost=4 rtp_jitter_ms=9",
            ),
            (
                "what is no UUID, and a vector without an icid",
                "Session-ID: x|P-Charging-Vector: orig-ioi=x|P-Charge-Info: <|",
                "INVITE; round B 486; 486 B",
                "failed",
            ),
        ],
    );
}

#[test]
fn who_forwarded_a_call_is_a_leg_where_that_is_set() {
    let leg_fields = super::bench::templates(&[("src", "$leg(src)"), ("dst", "$leg(dst)")]);
    let diversion = "Diversion: <sip:c@x>;reason=no-answer, <sip:b@x>\r\n";
    for (name, forwarding_legs, of_route, lines, want) in [
        ("not by itself", false, None, diversion, "start INVITE 200 a/b [sip:al@a.example sip:winner]"),
        (
            "each in turn",
            true,
            None,
            diversion,
            "start INVITE 200 a/b [sip:al@a.example sip:b@x] [sip:b@x sip:c@x] [sip:c@x sip:winner]",
        ),
        ("not for this route", true, Some(false), diversion, "start INVITE 200 a/b [sip:al@a.example sip:winner]"),
        (
            "for this route alone",
            false,
            Some(true),
            "History-Info: <sip:b@x>;index=1, <sip:c@x;cause=302>;index=1.1\r\n",
            "start INVITE 200 a/b [sip:al@a.example sip:b@x] [sip:b@x sip:winner]",
        ),
        ("nobody did", true, None, "", "start INVITE 200 a/b [sip:al@a.example sip:winner]"),
    ] {
        let settings = Settings { forwarding_legs, leg_fields: leg_fields.clone(), ..settings() };
        let mut bench = Bench::new(settings, "a0");
        (bench.lines, bench.forwarding_legs) = (lines.to_owned(), of_route);
        bench.play("INVITE; 200 b");
        assert_eq!(bench.records(), want, "{name}");
    }
}
