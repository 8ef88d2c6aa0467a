//! Events against what OpenSIPS sent, envelopes, and values that are no JSON.

use std::time::Duration;

use serde_json::{Value as Json, json};

use super::{Body, Envelope, Legs};
use crate::clock::Timestamp;
use crate::record::{Kind, LegOrder, MANUAL, Record, Value};
use crate::sinks::profile::Profile;
use crate::sinks::tests::record;

/// Datagrams of OpenSIPS, by flow.
const GOLDEN: &str = include_str!("../../../tests/vectors/events/opensips.tsv");

/// Fields that the flows have, in their order.
const FIELDS: &[&str] = &["ua", "via", "hist", "hist1", "none", "odd", "empty", "from", "rc", "big", "note"];
const LEG_FIELDS: &[&str] = &["src", "dst"];

fn body(profile: &str, envelope: Envelope, fields: &[&str], leg_fields: &[&str]) -> Body {
    let profile =
        Profile::ALL.iter().find(|own| own.name() == profile).unwrap_or_else(|| panic!("no profile {profile}"));
    let own = |names: &[&str]| names.iter().map(|name| ((*name).to_owned(), (*name).to_owned())).collect();
    let body = Body::of(*profile, "/tollgate/gw1").expect("it has events");
    Body { envelope, fields: own(fields), leg_fields: own(leg_fields), ..body }
}

fn text(value: &Json) -> Vec<u8> {
    value.as_str().unwrap_or_default().as_bytes().to_vec()
}

/// A datagram with the instants of [`record`] in place of the run's, and with the values where OpenSIPS knew none.
fn dated(line: &str) -> String {
    let at = if line.contains("E_ACC_CDR") { 1_700_000_004 } else { 1_700_000_007 };
    let known = |faulty: &str, line: &str| line.replace(faulty, "\"setuptime\":4,\"created\":1700000000");
    let line = known("\"setuptime\":<T>,\"created\":0", &known("\"setuptime\":0,\"created\":0", line));
    line.replace("\"time\":<T>", &format!("\"time\":{at}")).replace("<T>", "1700000000")
}

/// The record that a datagram of a flow is of, with its fields and leg fields.
fn recorded(flow: &str, datagram: &Json) -> (Record, Vec<&'static str>, Vec<&'static str>) {
    let params = &datagram["params"];
    let is_manual = flow.contains("-manual-");
    let kind = match datagram["method"].as_str() {
        _ if is_manual => Kind::Event,
        Some("E_ACC_CDR") => Kind::Cdr,
        Some("E_ACC_MISSED_EVENT") => Kind::Missed,
        _ => Kind::Event,
    };
    let names = |all: &[&'static str]| all.iter().copied().filter(|name| params.get(name).is_some()).collect();
    let (fields, leg_fields): (Vec<_>, Vec<_>) = (names(FIELDS), names(LEG_FIELDS));
    let value = |name: &&str| {
        let value = if params[name].is_null() { Value::Absent } else { Value::Text(text(&params[name])) };
        ((*name).to_owned(), value)
    };
    let leg: Vec<_> = leg_fields.iter().map(value).collect();
    let has_legs = leg.iter().any(|(_, value)| *value != Value::Absent);
    let mut own = Record {
        method: text(&params["method"]),
        from_tag: text(&params["from_tag"]),
        to_tag: text(&params["to_tag"]),
        call_id: text(&params["callid"]),
        code: params["sip_code"].as_str().map_or(0, |code| code.parse().expect("a code")),
        reason: text(&params["sip_reason"]),
        fields: fields.iter().map(value).collect(),
        legs: if has_legs { vec![leg] } else { Vec::new() },
        ..record(kind)
    };
    if is_manual {
        own.fields.push((MANUAL.to_owned(), Value::Number(1)));
    }
    own.times.event = Timestamp(1_700_000_007_000_000);
    own.times.duration = params["ms_duration"].as_u64().map(Duration::from_millis);
    own.times.setup = params["setuptime"].as_u64().map(Duration::from_secs);
    (own, fields, leg_fields)
}

#[test]
fn events_are_those_of_opensips_parameter_for_parameter() {
    let lines: Vec<_> = GOLDEN.lines().filter(|line| !line.starts_with('#')).collect();
    let (mut at, mut events_seen, mut legs_seen) = (0, 0, 0);
    while let Some(line) = lines.get(at) {
        let (flow, first) = line.split_once('\t').expect("a flow and a datagram");
        let first = dated(first);
        let datagram: Json = serde_json::from_str(&first).unwrap_or_else(|error| panic!("{flow}: {error}"));
        let (mut own, fields, leg_fields) = recorded(flow, &datagram);
        // Further legs of the same record follow at once.
        let mut want = vec![first];
        while !own.legs.is_empty()
            && let Some(next) = lines.get(at + want.len()).and_then(|line| line.strip_prefix(&format!("{flow}\t")))
            && let next = dated(next)
            && let Ok(further) = serde_json::from_str::<Json>(&next)
            && let (record, ..) = recorded(flow, &further)
            && (record.kind, &record.method, record.legs.len()) == (own.kind, &own.method, 1)
        {
            own.legs.extend(record.legs);
            want.push(next);
        }
        let events = body("opensips", Envelope::JsonRpc, &fields, &leg_fields).events(&own).expect("events");
        let got: Vec<_> = events.iter().map(|event| String::from_utf8_lossy(&event.body).into_owned()).collect();
        assert_eq!(got, want, "{flow}");
        at += want.len();
        events_seen += want.len();
        legs_seen += own.legs.len();
    }
    assert_eq!((events_seen, legs_seen), (lines.len(), 4), "both flows with legs have two");
    assert!(events_seen > 60, "{events_seen} only");
}

#[test]
fn envelopes_hold_the_same_values() {
    let mut own = record(Kind::Stop);
    own.fields.push(("policy.route".to_owned(), Value::Number(1)));
    let body = |envelope| {
        let events = body("own", envelope, &["src_ip"], &["src"]).events(&own).expect("an event");
        let [event] = &events[..] else { panic!("{events:?}") };
        assert_eq!(event.id, own.id.to_string());
        String::from_utf8_lossy(&event.body).into_owned()
    };
    let bare: Json = serde_json::from_str(&body(Envelope::None)).expect("JSON");
    let mut shown = own.to_json();
    shown["fields"].as_object_mut().expect("fields").remove("policy.route");
    assert_eq!(bare, shown, "as in `queue show`, without what is internal");
    let data = body(Envelope::None);
    let head = format!(
        "{{\"specversion\":\"1.0\",\"id\":\"{}\",\"source\":\"/tollgate/gw1\",\"type\":\"tollgate.record.stop\",\
         \"time\":\"2023-11-14T22:14:25.500000Z\",\"subject\":\"call-1@192.0.2.7\",\
         \"datacontenttype\":\"application/json\",\"data\":",
        own.id
    );
    assert_eq!(body(Envelope::CloudEvents), format!("{head}{data}}}"));
    let head = "{\"jsonrpc\":\"2.0\",\"method\":\"E_ACC_EVENT\",\"params\":";
    assert_eq!(body(Envelope::JsonRpc), format!("{head}{data}}}"));
}

#[test]
fn legs_are_an_array_or_events() {
    let mut own = record(Kind::Start);
    let leg = |who: &str| vec![("src".to_owned(), Value::Text(who.as_bytes().to_vec()))];
    own.legs = vec![leg("alice"), leg("bob"), leg("carol")];
    let events = |profile, legs, leg_order| {
        let body = Body { legs, leg_order, ..body(profile, Envelope::None, &[], &["src"]) };
        let events = body.events(&own).expect("events").into_iter();
        let told = |event: super::Event| {
            let value: Json = serde_json::from_slice(&event.body).expect("JSON");
            let legs = if value["src"].is_null() { value["legs"].clone() } else { value["src"].clone() };
            (event.id.replace(&own.id.to_string(), "ID"), legs)
        };
        events.map(told).collect::<Vec<_>>()
    };
    let src = |names: &[&str]| json!(names.iter().map(|name| json!({ "src": name })).collect::<Vec<_>>());
    use LegOrder::{NewestFirst, OldestFirst};
    for (what, profile, legs, order, want) in [
        ("an array, oldest first", "own", Legs::Array, OldestFirst, vec![("ID", src(&["alice", "bob", "carol"]))]),
        ("newest first", "opensips", Legs::Array, NewestFirst, vec![("ID", src(&["carol", "bob", "alice"]))]),
        (
            "events, each with its leg",
            "own",
            Legs::Events,
            OldestFirst,
            vec![("ID-1", src(&["alice"])), ("ID-2", src(&["bob"])), ("ID-3", src(&["carol"]))],
        ),
        (
            "a leg keeps its number in any order",
            "opensips",
            Legs::Events,
            NewestFirst,
            vec![("ID-3", json!("carol")), ("ID-2", json!("bob")), ("ID-1", json!("alice"))],
        ),
    ] {
        let want: Vec<_> = want.into_iter().map(|(id, legs)| (id.to_owned(), legs)).collect();
        assert_eq!(events(profile, legs, order), want, "{what}");
    }
}

#[test]
fn whatever_came_over_the_wire_becomes_json() {
    let mut own = record(Kind::Start);
    own.call_id = b"caf\xe9@x".to_vec();
    own.reason = b"a\"b\\c\x00\x1f\n\xf0\x9f\x98\x80".to_vec();
    own.fields = vec![
        ("raw".to_owned(), Value::Text(b"\xff".to_vec())),
        ("none".to_owned(), Value::Absent),
        ("many".to_owned(), Value::List(vec![b"x".to_vec(), b"\xfe".to_vec()])),
        ("number".to_owned(), Value::Number(-7)),
    ];
    let fields = ["raw", "none", "many", "number"];
    let read = |profile, envelope| -> Json {
        let events = body(profile, envelope, &fields, &[]).events(&own).expect("an event");
        serde_json::from_slice(&events[0].body).expect("JSON")
    };
    let event = read("own", Envelope::CloudEvents);
    assert_eq!(event["subject"], "caf\u{fffd}@x");
    assert_eq!(event["data"]["reason"], "a\"b\\c\u{0}\u{1f}\n\u{1f600}");
    assert_eq!(event["data"]["fields"], json!({ "raw": "\u{fffd}", "many": ["x", "\u{fffd}"], "number": -7 }));
    assert_eq!(event["data"]["not_utf8"], json!(["call_id", "fields.raw", "fields.many[1]"]));
    let event = read("opensips", Envelope::None);
    let want = json!(["\u{fffd}", null, "x, \u{fffd}", -7]);
    assert_eq!(json!(fields.map(|name| event[name].clone())), want, "flat");
    for kind in [Kind::On, Kind::Off] {
        let events = body("own", Envelope::None, &[], &[]).events(&record(kind)).expect("none");
        assert!(events.is_empty(), "{kind:?} is of no call");
    }
}
