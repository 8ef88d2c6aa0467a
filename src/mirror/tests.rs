//! Calls of a proxy by copies of its messages, in virtual time, and any octets.
//!
//! A row's script has one message a word: the hop, then a method or a code. The caller is 10.0.0.1, the proxy 10.0.0.5, the
//! targets are 10.0.1.1 and on. `c` is from the caller to the proxy and `u` back, `p` from the proxy to a target and `b`
//! back; `p2` is the second target. A response is to the last request, or to the one behind its `/`; `=c` is another To
//! tag, `#3` another CSeq, `ACK!` to a refusal, `^-0.5` seen half a second before. `+9` lets nine seconds pass.

use std::fmt::Write as _;

use proptest::collection::vec;
use proptest::prelude::{ProptestConfig, any, prop_assert, prop_assert_eq, proptest};

use super::*;
use crate::accounting::SinkMode;
use crate::ids::{SinkMask, SinkNumber};
use crate::record::Record;

const BEGIN: i64 = 1_600_000_000_000_000;

struct Bench {
    mirror: Mirror,
    out: Outcome,
    /// Since the beginning, microseconds: of what is heard, and of what was seen.
    passed: i64,
    /// Sender, method, CSeq of the last request.
    last: (bool, String, u32),
}

impl Bench {
    fn new(proxy: &str) -> Self {
        let sink = SinkMask::NONE.with(SinkNumber(0));
        let settings = Settings {
            name: "east".into(),
            proxy: proxy.split_whitespace().map(|own| own.parse().expect("an address")).collect(),
            marks: Marks { accounting: sink, missed: sink, failed: sink },
            accounting: accounting::Settings { sinks: vec![SinkMode::Sessions], ..accounting::Settings::default() },
            reorder: Settings::REORDER,
            requests_max: 1_000,
        };
        Self { mirror: Mirror::new(settings, 7), out: Outcome::default(), passed: 0, last: (true, "INVITE".into(), 1) }
    }

    /// It is another year at the gateway.
    fn now(&self) -> Now {
        Now { mono: Instant(1_000 + self.passed.cast_unsigned()), wall: Timestamp(1_700_000_000_000_000 + self.passed) }
    }

    fn word(&mut self, word: &str) {
        if let Some(seconds) = word.strip_prefix('+') {
            let seconds: f64 = seconds.parse().expect("seconds");
            self.pass((seconds * 1e6) as i64);
            return;
        }
        let (word, offset) =
            word.split_once('^').map_or((word, 0.0), |(word, by)| (word, by.parse().expect("seconds")));
        let (at, hop, text) = self.message(word);
        let at = Timestamp(BEGIN + at + (offset * 1e6) as i64);
        self.mirror.hear(self.now(), Sight { at, hop, transport: Transport::Udp }, text.into_bytes(), &mut self.out);
        self.pass(10_000);
    }

    fn pass(&mut self, micros: i64) {
        let until = self.passed + micros;
        while let Some(due) = self.mirror.deadline() {
            let due = i64::try_from(due.0).expect("an instant") - 1_000;
            if due > until {
                break;
            }
            self.passed = due.max(self.passed);
            let before = self.mirror.deadline();
            self.mirror.tick(self.now(), &mut self.out);
            assert_ne!(self.mirror.deadline(), before, "a timer that is due goes off");
        }
        self.passed = until;
    }

    fn message(&mut self, word: &str) -> (i64, Hop, String) {
        let mut rest = word;
        let mut take = |sign: char| {
            let (before, value) = rest.rsplit_once(sign)?;
            rest = before;
            Some(value.to_owned())
        };
        let (cseq, tag, of) = (take('#'), take('='), take('/'));
        let is_refusal = rest.ends_with('!');
        let rest = rest.trim_end_matches('!');
        let hop = rest.chars().next().expect("a hop");
        let what = &rest[1..];
        let digits = what.chars().take_while(char::is_ascii_digit).count();
        // A target is one digit, a code three.
        let (target, what) = if digits == 1 || digits == 4 { what.split_at(1) } else { ("1", what) };
        let is_request = what.starts_with(|sign: char| sign.is_ascii_uppercase());
        if is_request {
            let is_of_caller = matches!(hop, 'c' | 'p');
            let usual = match what {
                "BYE" => 2,
                "ACK" | "CANCEL" => self.last.2,
                _ => 1,
            };
            let cseq = cseq.as_ref().map_or(usual, |cseq| cseq.parse().expect("a number"));
            if what != "ACK" {
                self.last = (is_of_caller, what.to_owned(), cseq);
            }
        } else if let Some(of) = of {
            let (method, cseq) = (of.clone(), if of == "BYE" { 2 } else { 1 });
            self.last = (matches!(hop, 'b' | 'u'), method, cseq);
        }
        let (is_of_caller, method, number) = self.last.clone();
        let method = if is_request { what.to_owned() } else { method };
        let number = cseq.map_or(number, |cseq| cseq.parse().expect("a number"));
        let tag = tag.unwrap_or_else(|| "b".to_owned());
        let is_first = matches!(&*method, "INVITE" | "CANCEL" | "MESSAGE") && is_request && number == 1;
        let (from, to) = match (is_of_caller, is_first) {
            (true, true) => (";tag=a".to_owned(), String::new()),
            (true, false) => (";tag=a".to_owned(), format!(";tag={tag}")),
            (false, _) => (format!(";tag={tag}"), ";tag=a".to_owned()),
        };
        let callee = format!("10.0.1.{target}:5060");
        let (caller, proxy) = ("10.0.0.1:5060", "10.0.0.5:5060");
        let (source, destination) = match hop {
            'c' => (caller, proxy),
            'u' => (proxy, caller),
            'p' => (proxy, &*callee),
            'b' => (&*callee, proxy),
            'x' => ("10.9.9.9:5060", "10.8.8.8:5060"),
            other => panic!("{other} is no hop"),
        };
        // An ACK to a 2xx has a branch of its own.
        let own = if method == "ACK" && !is_refusal { "ack" } else { "" };
        let outer = format!("Via: SIP/2.0/UDP {caller};branch=z9hG4bKa{own}{number}\r\n");
        let inner = format!("Via: SIP/2.0/UDP {proxy};branch=z9hG4bKp{own}{number}{target}\r\n");
        let is_inner = matches!(hop, 'p' | 'b') == is_of_caller;
        let via = if is_inner { inner + &outer } else { outer };
        let start = match is_request {
            true if matches!(hop, 'p') => format!("{what} sip:t{target}@{callee} SIP/2.0"),
            true => format!("{what} sip:7@proxy SIP/2.0"),
            false => format!("SIP/2.0 {what} Whatever"),
        };
        let contact = if is_of_caller == is_request { "<sip:a@10.0.0.1>" } else { "<sip:b@10.0.1.1>" };
        let text = format!(
            "{start}\r\n{via}From: <sip:a@x>{from}\r\nTo: <sip:b@x>{to}\r\nCall-ID: c1\r\nCSeq: {number} {method}\r\n\
             Contact: {contact}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        );
        let parse = |text: &str| text.parse().expect("an address");
        (self.passed, Hop { from: parse(source), to: parse(destination) }, text)
    }

    fn counted(&self) -> String {
        let passing = [Count::Received, Count::Sent, Count::Repeated];
        let counts = self.mirror.counts().filter(|(count, number)| *number > 0 && !passing.contains(count));
        counts.fold(String::new(), |mut text, (count, number)| {
            write!(text, " {}={number}", count.name()).expect("a string takes all");
            text
        })
    }
}

/// `kind method code from/to [by cause] [seconds]`
fn shown(record: &Record) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let mut line = format!(
        "{} {} {} {}/{}",
        record.kind.name(),
        text(&record.method),
        record.code,
        text(&record.from_tag),
        text(&record.to_tag)
    );
    if let Some(end) = record.end {
        write!(line, " {} {}", end.by.name(), end.cause.name()).expect("a string takes all");
    }
    if let Some(duration) = record.times.duration {
        write!(line, " {}s", duration.as_secs_f64().round()).expect("a string takes all");
    }
    line
}

/// What a script makes: the records, and behind a bar what was counted.
fn made(proxy: &str, script: &str) -> String {
    let mut bench = Bench::new(proxy);
    script.split_whitespace().for_each(|word| bench.word(word));
    bench.pass(300_000_000);
    let lines: Vec<_> = bench.out.records.iter().map(|made| shown(&made.record)).collect();
    let counted = bench.counted();
    let bar = if counted.is_empty() { "" } else { " |" };
    (lines.join("; ") + bar + &counted).trim_start().to_owned()
}

fn hold(proxy: &str, rows: &[(&str, &str, &str)]) {
    for (name, script, want) in rows {
        assert_eq!(made(proxy, script), *want, "{name}");
    }
}

const PROXY: &str = "10.0.0.5";
const START: &str = "cINVITE pINVITE b180 u180 b200 u200 cACK pACK";

#[test]
fn a_call_makes_the_records_of_a_gateway_in_its_path() {
    let with = |rest: &str| format!("{START} {rest}");
    hold(
        PROXY,
        &[
            (
                "ringing makes nothing until it has rung too long",
                "cINVITE pINVITE b180 u180",
                "missed INVITE 408 a/ gateway no-answer; failed INVITE 408 a/ gateway no-answer | unanswered=1",
            ),
            (
                "the caller hangs up",
                &with("+60 cBYE pBYE b200 u200"),
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 60s",
            ),
            (
                "the callee hangs up",
                &with("+60 bBYE uBYE c200 p200"),
                "start INVITE 200 a/b; stop BYE 200 a/b callee bye 60s",
            ),
            (
                "a re-INVITE between",
                &with("+9 cINVITE#3 pINVITE#3 b200#3 u200#3 cACK#3 pACK#3 +9 cBYE#4 pBYE#4 b200#4 u200#4"),
                "start INVITE 200 a/b; interim INVITE 200 a/b 9s; stop BYE 200 a/b caller bye 18s",
            ),
            (
                "a busy callee",
                "cINVITE pINVITE b486 pACK! u486 cACK!",
                "missed INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy",
            ),
            (
                "the second target answers",
                "cINVITE pINVITE b486=b p2INVITE b2180=c u180=c b2200=c u200=c cACK=c p2ACK=c +5 cBYE=c p2BYE=c b2200=c u200=c",
                "start INVITE 200 a/c; stop BYE 200 a/c caller bye 5s",
            ),
            (
                "none of two answers",
                "cINVITE pINVITE b486=b p2INVITE b2404=c u486=b",
                "missed INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy",
            ),
            (
                "the caller gives up",
                "cINVITE pINVITE b180 u180 cCANCEL u200 pCANCEL b200 b487/INVITE u487/INVITE",
                "missed INVITE 487 a/b caller cancelled",
            ),
            (
                "a fork answered twice is two calls",
                "cINVITE pINVITE p2INVITE b200=b u200=b b2200=c u200=c +5 cBYE=b pBYE=b b200=b u200=b cBYE=c#3 p2BYE=c#3 b2200=c#3 u200=c#3",
                "start INVITE 200 a/b; start INVITE 200 a/c; stop BYE 200 a/b caller bye 5s; stop BYE 200 a/c caller bye 5s",
            ),
            ("the caller is asked for credentials first", "cINVITE u407 cACK! cINVITE#9 pINVITE#9", "| unanswered=1"),
        ],
    );
}

#[test]
fn loss_doubles_and_reorder_are_borne() {
    let with = |rest: &str| format!("{START} {rest}");
    let twice: String = START.split(' ').flat_map(|word| [word, " ", word, " "]).collect();
    hold(
        PROXY,
        &[
            (
                "every message twice",
                &format!("{twice} +5 cBYE cBYE pBYE pBYE b200 b200 u200 u200"),
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 5s",
            ),
            (
                "the BYE heard before the 2xx that was seen before it",
                "cINVITE pINVITE cBYE^0.4 b200/BYE^0.5 u200/BYE^0.5 b200/INVITE^0.1 u200/INVITE^0.1 cACK#1^0.2",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 0s",
            ),
            (
                "the same, later than copies overtake each other",
                "cINVITE pINVITE b180 u180 +5 cBYE pBYE b200 u200 +3 b200/INVITE^-5 +3",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 2s | late=1",
            ),
            (
                "what the proxy sent, noted by one process after another has noted the response",
                "cINVITE pINVITE^0.04 b486^0.02 u486^0.03",
                "missed INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy",
            ),
            (
                "no INVITE as the proxy received it",
                "pINVITE b180 u180 b200 u200 cACK pACK +5 cBYE pBYE b200 u200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 5s | one_sided=1",
            ),
            (
                "no 2xx to the INVITE, but its ACK",
                "cINVITE pINVITE b180 u180 cACK pACK +5 cBYE pBYE b200 u200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 5s | inferred=1",
            ),
            (
                "no ACK",
                "cINVITE pINVITE b200 u200 +90 cBYE pBYE b200 u200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 90s",
            ),
            (
                "no response to the BYE",
                &with("+5 cBYE pBYE"),
                "start INVITE 200 a/b; stop BYE 408 a/b caller failed-bye 5s | unanswered=1",
            ),
            ("no response to a re-INVITE", &with("+5 cINVITE#3 pINVITE#3"), "start INVITE 200 a/b | unanswered=1"),
            ("no beginning", "cBYE pBYE b200 u200", "| unknown=1"),
            ("a response alone", "b200 u200", "| stray=2"),
            (
                "an ACK of the proxy to a refusal, and neither that nor what it sent",
                "cINVITE pACK!",
                "missed INVITE 408 a/ gateway timeout; failed INVITE 408 a/ gateway timeout | unanswered=1",
            ),
            ("nor its response", "cBYE pBYE", "| unanswered=1 unknown=1"),
            (
                "no refusal to the caller, but its ACK",
                "cINVITE pINVITE b486 cACK!",
                "missed INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy | one_sided=1",
            ),
        ],
    );
}

#[test]
fn one_direction_is_enough_for_most() {
    hold(
        PROXY,
        &[
            (
                "only what the proxy receives",
                "cINVITE b180 b200 cACK +60 cBYE b200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 60s",
            ),
            (
                "only what it receives, and the call is refused",
                "cINVITE b180 b486",
                "missed INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy | one_sided=1",
            ),
            (
                "only what it sends",
                "pINVITE u180 u200 pACK +60 pBYE u200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 60s | one_sided=2",
            ),
            ("others talk", "xINVITE xBYE", "| elsewhere=2"),
        ],
    );
    let mut bench = Bench::new(PROXY);
    (0..60).for_each(|_| bench.word("cINVITE"));
    bench.pass(5_000_000);
    assert_eq!(bench.mirror.silent_side(), Some("sent by"));
    bench.word("pINVITE");
    bench.pass(5_000_000);
    assert_eq!(bench.mirror.silent_side(), None);
}

#[test]
fn without_an_address_of_the_proxy_the_first_hop_counts() {
    hold(
        "",
        &[
            (
                "a call",
                &format!("{START} +60 cBYE pBYE b200 u200"),
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 60s",
            ),
            (
                "the refusal of the second hop is no other one",
                "cINVITE pINVITE b486 u486",
                "missed INVITE 486 a/b callee busy; failed INVITE 486 a/b callee busy",
            ),
            (
                "two ends without a proxy between them",
                "cINVITE u180 u200 cACK +9 cBYE u200",
                "start INVITE 200 a/b; stop BYE 200 a/b caller bye 9s",
            ),
        ],
    );
}

#[test]
fn records_have_the_time_of_the_messages_and_ids_of_now() {
    let mut bench = Bench::new(PROXY);
    format!("{START} +60 cBYE pBYE b200 u200 +5").split(' ').for_each(|word| bench.word(word));
    for made in &bench.out.records {
        let record = &made.record;
        assert_eq!(record.facts.text(Fact::Mirror), Some(&b"east"[..]));
        assert_eq!((record.id.0 >> 80) / 1_000_000, 1_700_000, "{record:?}");
        assert_eq!(record.times.event.secs() / 1_000, 1_600_000, "{record:?}");
    }
    let keys: Vec<_> = bench
        .out
        .calls
        .iter()
        .filter_map(|change| match change {
            CallChange::Put { key, .. } | CallChange::Remove { key } | CallChange::End { key, .. } => mirrored(key),
            CallChange::Class { .. } => None,
        })
        .collect();
    assert!(!keys.is_empty() && keys.iter().all(|(name, key)| *name == b"east" && key.len() == accounting::Key::BYTES));
    assert_eq!(mirrored(&[0; accounting::Key::BYTES]), None, "a call of a shard");
}

#[test]
fn a_target_is_known_though_what_went_there_was_noted_late() {
    let mut bench = Bench::new(PROXY);
    "cINVITE pINVITE^0.04 b486^0.02 u486^0.03 +3".split(' ').for_each(|word| bench.word(word));
    for made in &bench.out.records {
        let attempts: Vec<_> = made.record.facts.attempts().map(|own| (own.uri.to_vec(), own.code)).collect();
        assert_eq!(attempts, [(b"sip:t1@10.0.1.1:5060".to_vec(), 486)], "{made:?}");
    }
}

#[test]
fn a_call_without_a_bye_ends_by_its_longest_time() {
    let mut bench = Bench::new(PROXY);
    START.split(' ').for_each(|word| bench.word(word));
    bench.pass(11 * 3_600 * 1_000_000);
    assert_eq!((bench.mirror.calls(), bench.out.records.len()), (1, 1));
    bench.pass(2 * 3_600 * 1_000_000);
    let last = shown(&bench.out.records[1].record);
    assert_eq!((bench.mirror.calls(), &*last), (0, "stop BYE 0 a/b gateway lifetime 43200s"));
    assert_eq!(bench.mirror.sizes(), (0, 0), "nothing is left");
}

#[test]
fn a_call_goes_on_after_a_restart() {
    let mut before = Bench::new(PROXY);
    format!("{START} +9").split(' ').for_each(|word| before.word(word));
    let mut after = Bench::new(PROXY);
    after.passed = before.passed + 60_000_000;
    for change in &before.out.calls {
        if let CallChange::Put { key, value } = change {
            let (_, key) = mirrored(key).expect("a mirror's");
            after
                .mirror
                .restore(Now { wall: Timestamp(BEGIN + after.passed), ..after.now() }, key, value)
                .expect("its own");
        }
    }
    "cBYE pBYE b200 u200 +5".split(' ').for_each(|word| after.word(word));
    let lines: Vec<_> = after.out.records.iter().map(|made| shown(&made.record)).collect();
    assert_eq!(lines, ["stop BYE 200 a/b caller bye 69s"]);
}

#[test]
fn requests_beyond_the_limit_are_not_followed() {
    let mut bench = Bench::new(PROXY);
    bench.mirror.settings.requests_max = 1;
    "cINVITE cINVITE#2 +3".split(' ').for_each(|word| bench.word(word));
    assert_eq!(bench.counted(), " full=1");
    assert_eq!(bench.mirror.sizes(), (1, 0));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Whatever is lost, doubled or late: each call ends once at most, and only if it began.
    #[test]
    fn a_call_starts_and_ends_once_whatever_is_heard(
        picked in vec((0_usize..12, -2.0..2.0_f64), 0..60),
        garbage in vec(any::<u8>(), 0..200),
    ) {
        let words = ["cINVITE", "pINVITE", "b180/INVITE", "b200/INVITE", "u200/INVITE", "cACK#1", "cBYE", "pBYE", "b200/BYE",
            "u200/BYE", "u486/INVITE", "cCANCEL#1"];
        let mut bench = Bench::new(PROXY);
        for (word, late) in picked {
            bench.word(&format!("{}^{late}", words[word]));
        }
        let hop = Hop { from: "10.0.0.1:1".parse().expect("one"), to: "10.0.0.5:1".parse().expect("one") };
        let sight = Sight { at: Timestamp(BEGIN), hop, transport: Transport::Udp };
        bench.mirror.hear(bench.now(), sight, garbage, &mut bench.out);
        bench.pass(13 * 3_600 * 1_000_000);
        let of = |kind: &str| bench.out.records.iter().filter(|made| made.record.kind.name() == kind).count();
        prop_assert!(of("start") <= 1 && of("stop") == of("start"), "{} starts, {} stops", of("start"), of("stop"));
        prop_assert_eq!(bench.mirror.calls(), 0);
        prop_assert_eq!(bench.mirror.sizes(), (0, 0));
    }
}
