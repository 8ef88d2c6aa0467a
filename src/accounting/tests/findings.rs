//! The table of `finding`: each final code, by each respondent, to a BYE and a re-INVITE of each side, on each way, from
//! each place.

use std::ops::RangeInclusive;

use super::bench::{Bench, hold};
use super::{secs, settings};
use crate::accounting::{Noticed, Purpose, Revival, Settings};
use crate::record::Kind;

/// Method, way, who answered, codes, what becomes of the call; the first row that fits decides.
type Row = (&'static str, &'static str, &'static str, &'static [RangeInclusive<u16>], Effect);

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Effect {
    /// It ends at the instant of the request.
    Ends,
    /// Its other end is asked.
    Asks,
    /// Its other end is asked some seconds later.
    Waits,
    /// It goes on with an Interim.
    Agrees,
    /// It goes on with the record of a refusal.
    Refused,
    /// Nothing.
    Nothing,
}

const ALL: RangeInclusive<u16> = 200..=699;
const GONE: &[RangeInclusive<u16>] = &[481..=481, 410..=410, 604..=604];

const TABLE: &[Row] = &[
    ("BYE", "any", "gateway", &[ALL], Effect::Nothing),
    ("BYE", "any", "nobody", &[ALL], Effect::Asks),
    ("BYE", "dialog", "peer", &[200..=299], Effect::Ends),
    ("BYE", "dialog", "peer", GONE, Effect::Ends),
    ("BYE", "aside", "peer", &[200..=299], Effect::Asks),
    ("BYE", "aside", "peer", GONE, Effect::Asks),
    ("BYE", "any", "peer", &[401..=401, 407..=407], Effect::Waits),
    ("BYE", "any", "peer", &[408..=408], Effect::Asks),
    ("BYE", "any", "peer", &[ALL], Effect::Refused),
    ("INVITE", "any", "gateway", &[ALL], Effect::Nothing),
    ("INVITE", "aside", "any", &[ALL], Effect::Nothing),
    ("INVITE", "dialog", "nobody", &[ALL], Effect::Asks),
    ("INVITE", "dialog", "peer", &[200..=299], Effect::Agrees),
    ("INVITE", "dialog", "peer", GONE, Effect::Ends),
    ("INVITE", "dialog", "peer", &[408..=408], Effect::Asks),
    ("INVITE", "dialog", "peer", &[ALL], Effect::Refused),
    ("UPDATE", "any", "gateway", &[ALL], Effect::Nothing),
    ("UPDATE", "aside", "any", &[ALL], Effect::Nothing),
    ("UPDATE", "dialog", "nobody", &[ALL], Effect::Asks),
    ("UPDATE", "dialog", "peer", GONE, Effect::Ends),
    ("UPDATE", "dialog", "peer", &[408..=408], Effect::Asks),
    ("UPDATE", "dialog", "peer", &[ALL], Effect::Nothing),
    ("INFO", "any", "any", &[ALL], Effect::Nothing),
];

fn row(table: &[Row], method: &str, way: &str, by: &str, code: u16) -> Effect {
    let fits = |row: &&Row| {
        [method, "any"].contains(&row.0)
            && [way, "any"].contains(&row.1)
            && [by, "any"].contains(&row.2)
            && row.3.iter().any(|codes| codes.contains(&code))
    };
    table.iter().find(fits).unwrap_or_else(|| panic!("no row for {method} {way} {by} {code}")).4
}

fn wanted(method: &str, way: &str, by: &str, code: u16) -> Effect {
    row(TABLE, method, way, by, code)
}

/// A call of nine seconds with this request and its response.
fn steps(method: &str, sender: &str, way: &str, by: &str, code: u16) -> String {
    let answer = match by {
        "peer" => code.to_string(),
        "nobody" => format!("round X ={code}; ={code}"),
        _ => format!("={code}"),
    };
    format!("INVITE; 200 b; ACK; +9; {method} {sender} b {way}; {answer}")
}

fn played(method: &str, sender: &str, way: &str, by: &str, code: u16) -> Bench {
    let mut bench = Bench::new(settings(), "a0 f0");
    bench.play(&steps(method, sender, way, by, code));
    bench
}

/// The call goes on: nothing has ended it, and its BYE makes one Stop with the right time.
fn goes_on(bench: &mut Bench, name: &str) {
    assert_eq!(bench.engine.calls(), 1, "{name}: {}", bench.records());
    let before = bench.made.len();
    bench.play("+11; BYE callee; 200; +600; asks nobody");
    let stops: Vec<_> = bench.made[before..].iter().filter(|made| made.record.kind == Kind::Stop).collect();
    let ends: Vec<_> = stops.iter().map(|made| made.record.times.duration.map(|span| span.as_secs())).collect();
    let length = bench.now.mono.since(crate::clock::Instant(1_000_000_000)).as_secs() - 600;
    assert_eq!(ends, [Some(length)], "{name}: {}", bench.records());
}

fn has_ended_at_nine(bench: &Bench, name: &str) {
    let stops: Vec<_> = bench.made.iter().filter(|made| made.record.kind == Kind::Stop).collect();
    let ends: Vec<_> = stops.iter().map(|made| made.record.times.duration).collect();
    assert_eq!((ends, bench.engine.calls()), (vec![Some(secs(9))], 0), "{name}: {}", bench.records());
}

fn check(method: &str, sender: &str, way: &str, by: &str, code: u16) {
    let name = format!("{method} of the {sender}, {way}, answered {code} by {by}");
    let other = if sender == "caller" { "callee" } else { "caller" };
    let mut bench = played(method, sender, way, by, code);
    let made: Vec<_> = bench.made[1..].iter().map(|made| made.record.kind).collect();
    let refusal = match method {
        _ if matches!(code, 200..=299 | 401 | 407 | 422) => None,
        "BYE" => Some(Kind::Event),
        "INVITE" => Some(Kind::Failed),
        _ => None,
    };
    match wanted(method, way, by, code) {
        Effect::Ends => has_ended_at_nine(&bench, &name),
        Effect::Nothing => {
            assert_eq!(made, [], "{name}");
            goes_on(bench.play("asks nobody"), &name);
        }
        Effect::Agrees => {
            assert_eq!(made, [Kind::Interim], "{name}");
            goes_on(bench.play("asks nobody"), &name);
        }
        Effect::Refused => {
            assert_eq!(made, Vec::from_iter(refusal), "{name}");
            goes_on(bench.play("asks nobody"), &name);
        }
        effect @ (Effect::Asks | Effect::Waits) => {
            let wait = if effect == Effect::Waits { "asks nobody; +5" } else { "+0" };
            for (sign, ends) in [("481", true), ("silent", true), ("200", false), ("500", false)] {
                let mut bench = played(method, sender, way, by, code);
                bench.play(&format!("{wait}; asks {other} {sign}"));
                if ends {
                    has_ended_at_nine(&bench, &name);
                } else {
                    let made: Vec<_> = bench.made[1..].iter().map(|made| made.record.kind).collect();
                    assert_eq!(made, Vec::from_iter(refusal), "{name}");
                    goes_on(&mut bench, &name);
                }
            }
        }
    }
}

#[test]
fn a_call_ends_only_when_its_other_end_says_so() {
    for code in ALL {
        for method in ["BYE", "INVITE", "UPDATE", "INFO"] {
            for sender in ["caller", "callee"] {
                for way in ["dialog", "aside"] {
                    for by in ["peer", "nobody", "gateway"] {
                        if by == "nobody" && code < 300 {
                            continue;
                        }
                        check(method, sender, way, by, code);
                    }
                }
            }
        }
    }
}

/// Method, place, who answered, codes, what becomes of the call, where the ends have addresses of their own and the request
/// goes along the dialog, but does not come from its sender.
const FROM_OTHERS: &[Row] = &[
    ("any", "any", "gateway", &[ALL], Effect::Nothing),
    ("BYE", "any", "nobody", &[ALL], Effect::Asks),
    ("BYE", "any", "peer", &[200..=299], Effect::Asks),
    ("BYE", "any", "peer", GONE, Effect::Asks),
    ("BYE", "any", "peer", &[401..=401, 407..=407], Effect::Waits),
    ("BYE", "any", "peer", &[408..=408], Effect::Asks),
    ("BYE", "any", "peer", &[ALL], Effect::Refused),
    ("INVITE", "elsewhere", "peer", &[200..=299], Effect::Agrees),
    ("any", "any", "any", &[ALL], Effect::Nothing),
];

/// A request that did not come from its sender ends no call, whoever answers it what: the end it names is asked.
#[test]
fn who_speaks_for_another_ends_nothing() {
    let cases = ["BYE", "INVITE", "UPDATE", "INFO"].into_iter().flat_map(|method| {
        ["elsewhere", "behind"]
            .into_iter()
            .flat_map(move |place| ["peer", "nobody", "gateway"].into_iter().map(move |by| (method, place, by)))
    });
    for ((method, place, by), code) in cases.flat_map(|case| ALL.map(move |code| (case, code))) {
        for sender in ["caller", "callee"] {
            let name = format!("{method} of the {sender} from {place}, answered {code} by {by}");
            if by == "nobody" && code < 300 {
                continue;
            }
            let play = || {
                let mut bench = Bench::new(settings(), "a0");
                bench.has_places = true;
                bench.play(&steps(method, sender, place, by, code));
                bench
            };
            let mut bench = play();
            let kinds = |bench: &Bench| bench.made[1..].iter().map(|made| made.record.kind).collect::<Vec<_>>();
            match row(FROM_OTHERS, method, place, by, code) {
                Effect::Asks | Effect::Waits => {
                    let wait = if [401, 407].contains(&code) && by == "peer" { "asks nobody; +5" } else { "+0" };
                    bench.play(&format!("{wait}; asks {sender} 200; asks nobody"));
                    assert_eq!((kinds(&bench), bench.engine.calls()), (vec![], 1), "{name}: {}", bench.records());
                    let mut bench = play();
                    bench.play(&format!("{wait}; asks {sender} 481"));
                    has_ended_at_nine(&bench, &name);
                }
                effect => {
                    let made = if effect == Effect::Agrees { vec![Kind::Interim] } else { vec![] };
                    bench.play("asks nobody; +600; asks nobody");
                    assert_eq!((kinds(&bench), bench.engine.calls()), (made, 1), "{name}: {}", bench.records());
                }
            }
        }
    }
}

#[test]
fn doubt_is_settled_by_asking() {
    hold(
        &settings(),
        &[
            (
                "a BYE that comes again with credentials does not wait",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE caller; 401; +2; BYE caller; 200; +60; asks nobody",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 11s",
            ),
            (
                "a BYE that does not: its end is asked",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE caller; 407; +4; asks nobody; +1; asks callee 481; +60; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 407 a/b caller failed-bye 9s",
            ),
            (
                "an end that cannot be asked now is asked soon",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE callee b aside; 200; asks caller busy; asks nobody; +5; asks caller silent",
                "start INVITE 200 a/b; stop BYE 200 a/b callee failed-bye 9s",
            ),
            (
                "a restart asks again, and nothing is forgotten",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE caller; round X =408; =408; restart; +5; asks callee 481",
                "start INVITE 200 a/b; stop BYE 408 a/b caller failed-bye 9s",
            ),
            (
                "no Interim is longer than the call may have been",
                "a0",
                "INVITE; 200 b; ACK; +9; every 10; INVITE caller; round X =408; =408; +60; asks callee 200; +10; BYE caller; 200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 79s; stop BYE 200 a/b caller bye 79s",
            ),
            (
                "the other end's 2xx to a later request settles it too",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE caller; round X =408; =408; INVITE caller; 200; asks callee silent; +1; BYE callee; 200",
                "start INVITE 200 a/b; interim INVITE 200 a/b 9s; stop BYE 200 a/b callee bye 10s",
            ),
            (
                "one doubt at a time",
                "a0",
                "INVITE; 200 b; ACK; +9; BYE caller b aside; 200; BYE caller b aside; 481; asks callee 200; asks nobody",
                "start INVITE 200 a/b",
            ),
        ],
    );
}

#[test]
fn another_invite_with_the_tags_of_a_call_does_not_take_it_over() {
    // An INVITE outside of the dialog leads by the table of routes, perhaps to an accomplice, who answers with the To tag
    // of the call.
    hold(
        &settings(),
        &[(
            "its session stays as it was",
            "a0",
            "INVITE; 200 b; ACK; +9; INVITE; 200 b; +9; BYE caller; 200",
            "start INVITE 200 a/b; stop BYE 200 a/b caller bye 18s",
        )],
    );
}

#[test]
fn an_end_without_contact_cannot_be_asked() {
    for (name, steps, want) in [
        (
            "its BYE is believed, for there is no better witness",
            "INVITE; 200 b; ACK; +9; BYE callee b aside; 200",
            "start INVITE 200 a/b; stop BYE 200 a/b callee bye 9s",
        ),
        (
            "its challenge is not",
            "INVITE; 200 b; ACK; +9; BYE callee b aside; 401; +30; BYE caller; 200",
            "start INVITE 200 a/b; stop BYE 200 a/b caller bye 39s",
        ),
    ] {
        let mut bench = Bench::new(settings(), "a0");
        bench.has_contact = false;
        bench.play(steps);
        assert_eq!(bench.records(), want, "{name}");
    }
}

#[test]
fn rfc3261_12_2_2_no_number_of_an_end_is_used_up() {
    for (name, steps, to, want) in [
        ("to a caller whose callee has sent nothing", "", "caller", "CSeq: 0 OPTIONS"),
        ("to a callee: the INVITE's", "", "callee", "CSeq: 1 OPTIONS"),
        ("to a caller: the callee's last", "INFO callee; 200; INFO callee; 200", "caller", "CSeq: 3 OPTIONS"),
        ("to a callee: the caller's last", "INFO caller; 200", "callee", "CSeq: 2 OPTIONS"),
        ("what went elsewhere was not seen", "INFO caller b aside; 200", "callee", "CSeq: 1 OPTIONS"),
        ("after a restart", "INFO callee; 200; +601; INFO callee; 200; +6; restart", "caller", "CSeq: 3 OPTIONS"),
    ] {
        let mut bench = Bench::new(Settings { lifetime_max: Some(secs(10_000)), ..settings() }, "a0");
        bench.play("INVITE; 200 b; ACK").play(steps);
        let sender = if to == "caller" { "callee" } else { "caller" };
        bench.play(&format!("BYE {sender} b aside; 200"));
        let asked = bench.outgoing.pop_front().expect(name).request("x");
        let asked = String::from_utf8(asked).expect("text");
        assert!(asked.contains(want), "{name}: {asked}");
    }
}

#[test]
fn a_2xx_that_nobody_acknowledges_is_no_call() {
    let strict = Settings { ack_wait: secs(32), ..settings() };
    hold(
        &strict,
        &[
            (
                "no ACK: it was over when it began",
                "a0 a2",
                "INVITE; +2; 200 b; +40",
                "start INVITE 200 a/b; stop BYE 0 a/b gateway no-ack 0s; cdr INVITE 200 a/b gateway no-ack 0s [2]",
            ),
            ("an ACK in time", "a0", "INVITE; 200 b; +31; ACK; +40", "start INVITE 200 a/b"),
            (
                "a caller who sends requests has got it",
                "a0",
                "INVITE; 200 b; INFO caller; 200; +40; BYE caller; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 40s",
            ),
            (
                "the callee ends it, and the caller does not know it",
                "a0",
                "INVITE; 200 b; +32; BYE callee; +0.5; 481",
                "start INVITE 200 a/b; stop BYE 481 a/b gateway no-ack 0s",
            ),
            (
                "the callee ends it, and the caller is gone",
                "a0",
                "INVITE; 200 b; +32; BYE callee; +32; round X =408; =408; asks caller silent",
                "start INVITE 200 a/b; stop BYE 408 a/b gateway no-ack 0s",
            ),
            (
                "the callee ends it, and the caller does know it",
                "a0",
                "INVITE; 200 b; +32; BYE callee; 200",
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 32s",
            ),
            ("after a restart nobody can tell", "a0", "INVITE; 200 b; +5; restart; +60", "start INVITE 200 a/b"),
        ],
    );
    let mut bench = Bench::new(strict, "a0");
    bench.play("INVITE; 200 b; +40");
    let told: Vec<_> = bench.notices.iter().map(|notice| (notice.what, notice.call_id.as_slice())).collect();
    assert_eq!(told, [(Noticed::Unacknowledged, &b"call1"[..])]);
}

#[test]
fn a_call_that_the_gateway_ends_does_not_go_on_unrecorded() {
    use crate::record::Cause::{Lifetime, NoAck, SessionTimer, Unreachable};
    for (name, hang_up, steps, want) in [
        ("at its longest time", vec![Lifetime], "INVITE; 200 b; ACK; INFO callee; 200; +4000", 2),
        ("unless that is only recorded", vec![NoAck], "INVITE; 200 b; ACK; +4000", 0),
        ("at its session timer, if set", vec![SessionTimer], "INVITE; 200 b se=90; ACK; +200", 2),
        ("when nobody acknowledges it", vec![NoAck], "INVITE; 200 b; +40", 2),
        ("when an end does not know it", vec![Unreachable], "INVITE; 200 b; ACK; INVITE caller; 481", 2),
        ("not when they hang up themselves", vec![Lifetime], "INVITE; 200 b; ACK; BYE caller; 200", 0),
        ("nor by the operator", vec![Lifetime], "INVITE; 200 b; ACK; close", 0),
    ] {
        let settings = Settings { hang_up, ack_wait: secs(32), lifetime_max: Some(secs(3600)), ..settings() };
        let mut bench = Bench::new(settings, "a0");
        bench.play(steps);
        let byes: Vec<_> = bench.outgoing.iter().filter(|own| own.purpose == Purpose::Bye).collect();
        assert_eq!(byes.len(), want, "{name}: {:?}", bench.outgoing);
        for bye in byes {
            let text = String::from_utf8(bye.request("x")).expect("text");
            let number = text.split("CSeq: ").nth(1).and_then(|rest| rest.split(' ').next()?.parse::<u32>().ok());
            assert!(number.is_some_and(|number| number > 2), "{name}: above all that was used: {text}");
            assert!(text.starts_with("BYE sip:") && text.contains(";tag=a"), "{name}: {text}");
        }
    }
}

#[test]
fn a_call_that_goes_on_after_its_stop_is_told_once() {
    for (name, steps, told) in [
        ("a re-INVITE that is answered", "INVITE caller; 200", 1),
        ("an INFO, and another", "INFO callee; 200; OPTIONS caller; 200", 1),
        ("one that is refused", "INVITE caller; 481; INFO callee; 500", 0),
        ("one that went elsewhere", "INVITE caller b aside; 200", 0),
        ("one that the gateway answers", "OPTIONS caller; =200", 0),
        ("a BYE", "BYE callee; 200", 0),
        ("much later it is forgotten", "+70; INFO caller; 200", 0),
    ] {
        let mut bench = Bench::new(settings(), "a0");
        bench.play("INVITE; 200 b; ACK; +9; BYE caller; 200; +1").play(steps);
        let found: Vec<_> = bench.notices.iter().map(|notice| notice.what).collect();
        assert_eq!(found, vec![Noticed::Revived; told], "{name}");
        assert_eq!(bench.records(), "start INVITE 200 a/b; stop BYE 200 a/b caller bye 9s", "{name}");
    }
    let mut bench = Bench::new(settings(), "a0");
    bench.lines = "Content-Type: application/vq-rtcpxr\r\n".to_owned();
    bench.play("INVITE; 200 b; ACK; +9; BYE caller; 200; +1; INFO callee; 200");
    assert_eq!(bench.notices, [], "a report on the media is no sign of life");
}

#[test]
fn a_call_that_goes_on_is_a_new_session_if_set() {
    let recorded = Settings { revival: Revival::Recorded, ..settings() };
    let mut bench = Bench::new(recorded, "a0 a2");
    bench.play("INVITE; 200 b; ACK; +9; BYE caller; 481; +11; INVITE caller; 200; +10; restart; BYE callee; 200");
    let kinds: Vec<_> = bench.made.iter().map(|made| (made.record.kind, made.record.times.duration)).collect();
    let (stop, cdr) = (Kind::Stop, Kind::Cdr);
    assert_eq!(
        kinds,
        [
            (Kind::Start, None),
            (stop, Some(secs(9))),
            (cdr, Some(secs(9))),
            (Kind::Start, None),
            (stop, Some(secs(21))),
            (cdr, Some(secs(21)))
        ],
        "it begins where the first one ended"
    );
    let [first, _, _, second, last, _] = &bench.made[..] else { panic!("{}", bench.records()) };
    assert_ne!(first.record.session, second.record.session);
    assert_eq!(second.record.session, last.record.session);
    let continues =
        second.record.fields.iter().find(|(name, _)| name == "continues").and_then(|(_, value)| value.text());
    assert_eq!(continues.as_deref(), Some(first.record.session.as_bytes()));
}

#[test]
fn a_call_without_a_bye_lasts_until_its_last_sign_of_life_if_set() {
    let settings = Settings { billed_to: crate::accounting::BilledTo::LastAlive, ..settings() };
    hold(
        &settings,
        &[
            (
                "its session timer ran out",
                "a0",
                "INVITE; 200 b se=90; ACK; +60; INVITE caller; 200 b se=90; +600",
                "start INVITE 200 a/b; interim INVITE 200 a/b 60s; stop BYE 0 a/b gateway session-timer 60s",
            ),
            (
                "over a restart",
                "a0",
                "INVITE; 200 b se=90; ACK; +60; INVITE caller; 200 b se=90; +1; restart; +600",
                "start INVITE 200 a/b; interim INVITE 200 a/b 60s; stop BYE 0 a/b gateway session-timer 60s",
            ),
            (
                "the longest time is no doubt",
                "a0",
                "INVITE; 200 b; ACK; +50000",
                "start INVITE 200 a/b; stop BYE 0 a/b gateway lifetime 43200s",
            ),
        ],
    );
}
