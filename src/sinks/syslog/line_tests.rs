//! Lines against what the systems wrote themselves, and what becomes of values that no receiver takes.

use std::time::Duration;

use super::OCTETS_MAX;
use super::line::{Escape, Layout};
use super::words::{facility, level};
use crate::clock::Timestamp;
use crate::record::{Kind, LegOrder, Record, Value};
use crate::sinks::mapping::Round;
use crate::sinks::profile::{Absent, Clock, From, Profile};
use crate::sinks::tests::record;

/// What stands behind the identity, by profile and flow.
const GOLDEN: &str = include_str!("../../../tests/vectors/syslog/golden.tsv");

pub(super) fn profile(name: &str) -> Profile {
    Profile::ALL.iter().copied().find(|profile| profile.name() == name).unwrap_or_else(|| panic!("no profile {name}"))
}

pub(super) fn layout(profile: Profile, fields: &[&str], leg_fields: &[&str]) -> Layout {
    let own = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
    Layout {
        profile,
        escape: Escape::None,
        level: 5,
        fields: own(fields),
        leg_fields: own(leg_fields),
        leg_order: profile.system().leg_order,
        round: Round::Up,
        id_label: None,
        rows: profile.system().lines.rows(0),
        time: 0,
        clock: Clock::new(jiff::tz::TimeZone::UTC),
        cdr_start: From::Answered,
    }
}

fn text(value: &str) -> Value {
    if value.is_empty() { Value::Absent } else { Value::Text(value.as_bytes().to_vec()) }
}

/// Labels of fields that the flows have, in their order.
const FIELDS: &[&str] =
    &["ua", "via", "hist", "hist1", "none", "odd", "empty", "from", "rc", "callid", "x1", "x2", "note"];

/// The pairs of a line, in order: a value ends where a label that is known begins.
fn pairs<'l>(mut rest: &'l str, between: &str) -> Vec<(&'l str, &'l str)> {
    const CORE: &[&str] = &[
        "timestamp",
        "created",
        "setuptime",
        "method",
        "from_tag",
        "to_tag",
        "call_id",
        "code",
        "reason",
        "call_start_time",
        "start_time",
        "end_time",
        "duration",
        "ms_duration",
        "src",
        "dst",
    ];
    let mut found = Vec::new();
    while let Some((label, behind)) = rest.split_once('=') {
        let ends = CORE.iter().chain(FIELDS).filter_map(|known| behind.find(&format!("{between}{known}=")));
        let end = ends.min().unwrap_or(behind.len());
        found.push((label, &behind[..end]));
        rest = behind[end..].strip_prefix(between).unwrap_or_default();
    }
    found
}

/// The record that a line of a golden output is of.
fn recorded(line: &str, profile: Profile) -> (Record, Vec<&'static str>, bool) {
    let (prefix, body) = match line.find("timestamp=").or(line.find("created=")).or(line.find("start_time=")) {
        Some(at) => line.split_at(at),
        None => panic!("no values in {line}"),
    };
    let kind = match prefix {
        missed if missed.ends_with("missed: ") => Kind::Missed,
        ended if ended.ends_with("ended: ") || ended.ends_with("log_write_cdr(): ") => Kind::Cdr,
        accounted if accounted.ends_with("accounted: ") || accounted.ends_with("acknowledged: ") => Kind::Event,
        _ => Kind::Start,
    };
    let mut own = Record { kind, code: 0, reason: Vec::new(), ..record(Kind::Stop) };
    let at = Timestamp(1_700_000_000_000_000);
    (own.times.event, own.times.created, own.times.answered, own.times.ended) = (at, at, Some(at), Some(at));
    (own.times.setup, own.times.duration) = (Some(Duration::from_millis(900)), None);
    let (mut fields, mut has_legs) = (Vec::new(), false);
    let between = if kind == Kind::Cdr { profile.system().lines.between[1] } else { profile.system().lines.between[0] };
    for (label, value) in pairs(body, between) {
        let octets = value.as_bytes().to_vec();
        match label {
            "method" => own.method = octets,
            "from_tag" => own.from_tag = octets,
            "to_tag" => own.to_tag = octets,
            "call_id" => own.call_id = octets,
            "reason" => own.reason = octets,
            "code" => own.code = value.parse().unwrap_or(0),
            "duration" if !value.contains('.') && kind == Kind::Cdr && profile.name() == "kamailio" => {
                own.times.duration = Some(Duration::ZERO);
            }
            "duration" if value.contains('.') => own.times.duration = Some(seconds(value)),
            "ms_duration" => own.times.duration = Some(Duration::from_millis(value.parse().expect("a number"))),
            "src" | "dst" => {
                has_legs = true;
                if label == "src" && !value.is_empty() {
                    own.legs.push(Vec::new());
                }
                if let Some(leg) = own.legs.last_mut() {
                    leg.push((label.to_owned(), text(value)));
                }
            }
            "hist" if value == "one,two, three" || value == "one, two, three" => {
                let items = ["one", "two, three"].map(|item| item.as_bytes().to_vec()).to_vec();
                own.fields.push((label.to_owned(), Value::List(items)));
                fields.push("hist");
            }
            other => {
                if let Some(known) = FIELDS.iter().find(|known| **known == other) {
                    own.fields.push((other.to_owned(), text(value)));
                    fields.push(*known);
                }
            }
        }
    }
    if profile.system().leg_order == LegOrder::NewestFirst {
        own.legs.reverse();
    }
    (own, fields, has_legs)
}

fn seconds(text: &str) -> Duration {
    let (secs, millis) = text.split_once('.').expect("it has a fraction");
    Duration::new(secs.parse().expect("a number"), 1_000_000 * millis.parse::<u32>().expect("a number"))
}

/// A line with what differs from run to run masked, and the faults that are not copied taken out.
fn masked(line: &str) -> String {
    let line = line.replace("created=0;setuptime=<T>", "created=<T>;setuptime=1");
    let line = line.replace("1700000000.000", "<T.frac>").replace("1700000000", "<T>");
    // Rounded up here; a difference of whole seconds there.
    let Some(at) = line.find(";duration=").filter(|_| line.contains("ms_duration")) else { return line };
    let end = line[at + 1..].find(';').map_or(line.len(), |end| at + 1 + end);
    format!("{};duration=<s>{}", &line[..at], &line[end..])
}

#[test]
fn lines_are_those_of_the_systems_octet_for_octet() {
    let mut count = 0;
    for row in GOLDEN.lines().filter(|row| !row.starts_with('#')) {
        let mut cells = row.splitn(3, '\t');
        let [Some(name), Some(flow), Some(want)] = [cells.next(), cells.next(), cells.next()] else {
            panic!("three cells: {row}")
        };
        let profile = profile(name);
        let (own, fields, has_legs) = recorded(want, profile);
        let legs: &[&str] = if has_legs { &["src", "dst"] } else { &[] };
        let lines = layout(profile, &fields, legs).lines(&own, OCTETS_MAX);
        let lines: Vec<_> = lines.iter().map(|line| masked(&String::from_utf8_lossy(line))).collect();
        assert_eq!(lines, [masked(want)], "{name} {flow}");
        count += 1;
    }
    assert!(count > 100, "{count} lines");
}

#[test]
fn what_says_nothing_is_left_out_of_our_own_lines() {
    let mut own = record(Kind::Start);
    own.fields.push(("none".to_owned(), Value::Absent));
    let lines = layout(profile("own"), &["src_ip", "none"], &["src"]).lines(&own, OCTETS_MAX);
    let want = format!(
        "record_id={};kind=start;event=2023-11-14T22:13:24.000000Z;method=INVITE;code=200;reason=OK;\
         call_id=call-1@192.0.2.7;from_tag=alice-tag;to_tag=bob-tag;session=0123456789abcdef0123456789abcdef;\
         created=2023-11-14T22:13:20.000000Z;answered=2023-11-14T22:13:24.000000Z;setup_s=4.000;src_ip=192.0.2.7",
        own.id
    );
    assert_eq!(lines, [want.into_bytes()]);
    assert_eq!(profile("own").system().absent, Absent::Omitted);
    for kind in [Kind::On, Kind::Off] {
        assert!(layout(profile("own"), &[], &[]).lines(&record(kind), OCTETS_MAX).is_empty(), "{kind:?}");
    }
}

#[test]
fn special_characters_are_escaped_by_a_rule() {
    for (name, value, none, percent) in [
        ("plain", &b"sip:a@b"[..], &b"sip:a@b"[..], "sip:a@b"),
        ("what separates", b"a;b=c", b"a;b=c", "a%3Bb%3Dc"),
        ("per cent", b"50%", b"50%", "50%25"),
        ("line ends and NUL", b"a\r\n\0b", b"a#015#012#000b", "a%0D%0A%00b"),
        ("tab and DEL", b"\t\x7f", b"#011#177", "%09%7F"),
        ("UTF-8", "é".as_bytes(), "é".as_bytes(), "é"),
        ("no UTF-8", b"\xe9", b"\xe9", "%E9"),
    ] {
        let mut own = layout(profile("kamailio"), &[], &[]);
        assert_eq!(own.escaped(value), none, "{name}");
        own.escape = Escape::Percent;
        assert_eq!(own.escaped(value), percent.as_bytes(), "{name}");
    }
}

#[test]
fn no_line_is_too_long_and_legs_go_on_in_numbered_lines() {
    let leg = |number: usize| {
        let value = |name: &str| Value::Text(format!("sip:{name}{number}@{}", "x".repeat(80)).into_bytes());
        vec![("src".to_owned(), value("from")), ("dst".to_owned(), value("to"))]
    };
    let mut own = Record { legs: (0..64).map(leg).collect(), ..record(Kind::Stop) };
    for (name, field, id_label) in [
        ("legs alone", "short".to_owned(), None),
        ("with the id on every line", "short".to_owned(), Some("id".to_owned())),
        ("a field that alone is too long", "é".repeat(9000), None),
        ("a field full of escapes", ";".repeat(9000), None),
    ] {
        own.fields = vec![("ua".to_owned(), Value::Text(field.into_bytes()))];
        for escape in [Escape::None, Escape::Percent] {
            let layout =
                Layout { escape, id_label: id_label.clone(), ..layout(profile("kamailio"), &["ua"], &["src", "dst"]) };
            let lines = layout.lines(&own, 2000);
            assert!(lines.len() > 5, "{name}: {}", lines.len());
            let texts: Vec<_> =
                lines.iter().map(|line| std::str::from_utf8(line).expect("cut at a character")).collect();
            let head = &texts[0][..texts[0].find(";ua=").expect("it is first")];
            for (number, line) in texts.iter().enumerate() {
                assert!(line.len() <= 2000, "{name}: {}", line.len());
                assert!(line.starts_with(head), "{name}: {line}");
                assert!(line.ends_with(&format!(";part={}/{}", number + 1, lines.len())), "{name}: {line}");
                assert_eq!(line.contains(";id="), id_label.is_some(), "{name}");
            }
            let whole = texts.concat();
            let places: Vec<_> = (0..64).filter_map(|number| whole.find(&format!(";src=sip:from{number}@"))).collect();
            assert_eq!(places.len(), 64, "{name}: each leg is there");
            assert!(places.is_sorted_by(|a, b| a > b), "{name}: newest first");
            assert_eq!(texts[0].contains("[cut]"), name.starts_with("a field"), "{name}");
        }
    }
    own = Record { legs: Vec::new(), call_id: vec![b'c'; 20_000], from_tag: vec![b'f'; 20_000], ..own };
    let lines = layout(profile("kamailio"), &[], &[]).lines(&own, 2000);
    assert!(lines.iter().all(|line| line.len() <= 2000), "values of every line are cut too");
}

#[test]
fn names_of_both_worlds_are_known() {
    for (word, want) in [
        ("notice", Some(5)),
        ("LOG_NOTICE", Some(5)),
        ("L_NOTICE", Some(5)),
        ("L_INFO", Some(6)),
        ("l_dbg", Some(7)),
        ("L_BUG", Some(2)),
        ("L_WARN", Some(4)),
        ("err", Some(3)),
        ("LOG_ERR", Some(3)),
        ("loud", None),
        ("", None),
    ] {
        assert_eq!(level(word), want, "{word}");
    }
    for (word, want) in [
        ("daemon", Some(3)),
        ("LOG_DAEMON", Some(3)),
        ("log_local0", Some(16)),
        ("LOCAL7", Some(23)),
        ("local8", None),
        ("LOG_", None),
    ] {
        assert_eq!(facility(word), want, "{word}");
    }
}
