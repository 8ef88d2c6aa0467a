//! Records as ACRs: tables of what stands where, and what never does.

mod base;
mod legs;
mod numbers;
mod property;
mod rf;
mod target;

use std::sync::Arc;
use std::time::Duration;

use super::{Echo, FieldMapping, Renderer, Settings};
use crate::clock::Timestamp;
use crate::diameter::avp::{Avp, Avps};
use crate::diameter::{header, print};
use crate::dictionary::diameter::Builder;
use crate::ids::RecordId;
use crate::record::{Cause, End, Fields, Kind, Party, Record, Times, Value};

/// A record of a call, answered after 4 s and ended by the callee after 61.5 s more.
pub(super) fn record(kind: Kind) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let is_end = matches!(kind, Kind::Stop | Kind::Cdr);
    let is_answered = matches!(kind, Kind::Start | Kind::Interim | Kind::Stop | Kind::Cdr);
    Record {
        id: RecordId(0x018b_cfe5_6800_0000_0000_0000_0000_0001),
        kind,
        method: if kind == Kind::Stop { b"BYE".to_vec() } else { b"INVITE".to_vec() },
        from_tag: b"alice-tag".to_vec(),
        to_tag: b"bob-tag".to_vec(),
        call_id: b"call-1@192.0.2.7".to_vec(),
        cseq: 1,
        code: if is_answered { 200 } else { 486 },
        reason: if is_answered { b"OK".to_vec() } else { b"Busy Here".to_vec() },
        in_dialog: is_end,
        session: "0123456789abcdef0123456789abcdef".to_owned(),
        multi_session: "fedcba9876543210fedcba9876543210".to_owned(),
        times: Times {
            event: if is_end { at(65_500) } else { at(4_000) },
            created: at(0),
            answered: is_answered.then(|| at(4_000)),
            acknowledged: None,
            ended: is_end.then(|| at(65_500)),
            setup: Some(Duration::from_millis(4_000)),
            duration: is_end.then(|| Duration::from_millis(61_500)),
        },
        end: match kind {
            Kind::Failed | Kind::Missed => Some(End { by: Party::Callee, cause: Cause::Refused }),
            _ => is_end.then_some(End { by: Party::Callee, cause: Cause::Bye }),
        },
        fields: vec![("caller".to_owned(), Value::Text(b"sip:alice@atlanta.example".to_vec()))],
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: crate::record::Facts::new(),
    }
}

pub(super) fn leg(pairs: &[(&str, &str)]) -> Fields {
    let value = |text: &str| if text.is_empty() { Value::Absent } else { Value::Text(text.as_bytes().to_vec()) };
    pairs.iter().map(|(name, text)| ((*name).to_owned(), value(text))).collect()
}

fn settings() -> Settings {
    Settings::new("gw.example.net", "example.net", "billing.example.net")
}

fn mapped(pairs: &[(&str, &str)]) -> Vec<FieldMapping> {
    pairs.iter().map(|(field, avp)| FieldMapping::new(field, avp)).collect()
}

/// Settings with more in their dictionary.
fn with_dictionary(text: &str) -> Settings {
    let mut builder = Builder::with_builtin();
    builder.text("site", text.as_bytes());
    let dictionary = builder.finish().unwrap_or_else(|error| panic!("{error}"));
    Settings { dictionary: Arc::new(dictionary), ..settings() }
}

fn renderer(settings: &Settings) -> Renderer {
    Renderer::new(settings).unwrap_or_else(|error| panic!("{error}"))
}

/// The messages of a record.
fn messages(settings: &Settings, record: &Record) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    let rendered = renderer(settings).render(record, Echo::default(), &mut out).expect("it fits");
    let mut found = Vec::new();
    let mut rest = out.as_slice();
    while let Some(octets) = header::frame(rest, usize::MAX).expect("messages") {
        found.push(rest[..octets].to_vec());
        rest = &rest[octets..];
    }
    assert!(rest.is_empty() && found.len() == rendered.messages);
    found
}

/// The AVPs of the one message of a record, as `Name = value`, members of groups indented.
fn lines(settings: &Settings, record: &Record) -> Vec<String> {
    let messages = messages(settings, record);
    let [message] = messages.as_slice() else { panic!("{} messages", messages.len()) };
    lines_of(settings, message)
}

fn lines_of(settings: &Settings, message: &[u8]) -> Vec<String> {
    let (head, avps) = header::split(message).expect("a message");
    let text = print::text(&settings.dictionary, &head, Avps::new(avps));
    // `Name (code) flags = value` without code and flags.
    let line = |line: &str| {
        let (name, rest) = line.split_once(" (").expect("a name and a number");
        match rest.split_once(" = ") {
            Some((_, value)) => format!("{name} = {value}"),
            None => name.to_owned(),
        }
    };
    text.lines().skip(1).map(|text| line(text.strip_prefix("  ").unwrap_or(text))).collect()
}

/// The value of an AVP among lines.
fn value<'a>(lines: &'a [String], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.trim_start().strip_prefix(name)?.strip_prefix(" = "))
}

/// Groups of the built-in dictionaries that the tests meet, by vendor and code.
const GROUPS: &[(u32, u32)] = &[
    (0, 443),
    (10_415, 823),
    (10_415, 833),
    (10_415, 838),
    (10_415, 873),
    (10_415, 876),
    (10_415, 1249),
    (32_473, 70),
];

/// Walks all AVPs, those in groups too.
fn walk<'a>(avps: Avps<'a>, groups: &[(u32, u32)], each: &mut dyn FnMut(Avp<'a>)) {
    for avp in avps {
        let avp = avp.expect("whole");
        each(avp);
        if groups.contains(&(avp.vendor, avp.code)) {
            walk(avp.grouped().expect("not deep"), groups, each);
        }
    }
}
