//! Lines, rows and attributes against what the systems wrote themselves, as far as no other test has them.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use super::*;
use crate::clock::Timestamp;
use crate::dictionary::{Builder, builtin};
use crate::record::{MANUAL, Value};
use crate::sinks::mapping::Round;
use crate::sinks::radius::{FieldMapping, Renderer, Settings};
use crate::sinks::syslog::line::{Escape, Layout};
use crate::sinks::tests::record;

const I_URI: &str = "sip:bob@biloxi.example";
const O_URI: &str = "sip:bob@127.0.0.1:24201";

fn text(name: &str, value: &str) -> (String, Value) {
    (name.to_owned(), Value::Text(value.as_bytes().to_vec()))
}

/// A record of the flows: alice calls bob.
fn of(kind: Kind, method: &str, code: u16, reason: &str) -> Record {
    let fields = vec![
        text("acc.i-uri", I_URI),
        text("acc.o-uri", O_URI),
        text("acc.from", "\"Alice\" <sip:alice@atlanta.example>;tag=ft-07"),
        text("acc.from-uri", "sip:alice@atlanta.example"),
        text("acc.from-user", "alice"),
        text("acc.from-host", "atlanta.example"),
        text("acc.to", "<sip:bob@biloxi.example>"),
        text("acc.reply-to", "<sip:bob@biloxi.example>;tag=tt-bob"),
        text("acc.to-uri", I_URI),
        text("acc.account", "alice@atlanta.example"),
    ];
    Record {
        fields,
        from_tag: b"ft-07".to_vec(),
        to_tag: b"tt-bob".to_vec(),
        call_id: b"acc-07@atlanta.example".to_vec(),
        method: method.as_bytes().to_vec(),
        code,
        reason: reason.as_bytes().to_vec(),
        ..record(kind)
    }
}

fn manual(code: u16, reason: &str) -> Record {
    let mut own = of(Kind::Event, "INVITE", code, reason);
    own.fields.push((MANUAL.to_owned(), Value::Number(1)));
    own.to_tag.clear();
    own
}

fn layout(profile: Profile) -> Layout {
    Layout {
        profile,
        escape: Escape::None,
        level: 5,
        fields: Vec::new(),
        leg_fields: Vec::new(),
        leg_order: profile.system().leg_order,
        round: Round::Up,
        id_label: None,
        rows: profile.system().lines.rows(0),
        time: 0,
        clock: Clock::new(jiff::tz::TimeZone::UTC),
        cdr_start: From::Answered,
    }
}

fn line(layout: &Layout, record: &Record) -> String {
    layout.lines(record, 8000).iter().map(|line| String::from_utf8_lossy(line).into_owned()).collect()
}

#[test]
fn lines_of_ser_are_its_own_octet_for_octet() {
    let middle = "i-uri=sip:bob@biloxi.example, o-uri=sip:bob@127.0.0.1:24201, call_id=acc-07@atlanta.example, \
                  from=\"Alice\" <sip:alice@atlanta.example>;tag=ft-07";
    for (name, own, want) in [
        ("an answered call", of(Kind::Start, "INVITE", 200, "OK"), ("transaction answered: method=INVITE", "200")),
        (
            "a missed one has its reason",
            of(Kind::Missed, "INVITE", 486, "Busy Here"),
            ("call missed: method=INVITE", "486 Busy Here"),
        ),
        (
            "a failed one has none",
            of(Kind::Failed, "INVITE", 408, "Request Timeout"),
            ("transaction answered: method=INVITE", "408"),
        ),
        ("an ACK", of(Kind::Event, "ACK", 200, "OK"), ("request acknowledged: method=ACK", "200")),
        ("a BYE", of(Kind::Stop, "BYE", 200, "OK"), ("transaction answered: method=BYE", "200")),
        (
            "what a script says",
            manual(403, "Destination not allowed"),
            ("request accounted: method=INVITE", "403 Destination not allowed"),
        ),
        (
            "without a code",
            manual(0, "Destination not allowed"),
            ("request accounted: method=INVITE", "Destination not allowed"),
        ),
    ] {
        for profile in [Profile::Ser, Profile::Openser11] {
            let (head, status) = want;
            let want = format!("ACC: {head}, {middle}, code={status}");
            assert_eq!(line(&layout(profile), &own), want, "{name}, {}", profile.name());
        }
    }
}

#[test]
fn legs_and_absent_values_of_openser_1_1_are_as_it_wrote_them() {
    let mut layout = layout(Profile::Openser11);
    layout.leg_fields = ["src", "dst"].map(|leg| (leg.to_owned(), format!("{leg}_leg"))).to_vec();
    layout.rows = layout.profile.system().lines.by_letters("mdu").expect("letters that are there");
    let mut own = of(Kind::Start, "INVITE", 200, "OK");
    own.legs = vec![vec![text("src", "alice"), text("dst", "bob")], vec![text("src", "bob"), text("dst", "carol")]];
    let begin = "ACC: transaction answered: method=INVITE, totag=tt-bob, uid=n/a";
    assert_eq!(
        line(&layout, &own),
        format!("{begin}, src_leg=bob, dst_leg=carol, src_leg=alice, dst_leg=bob"),
        "newest first"
    );
    own.legs.clear();
    assert_eq!(line(&layout, &own), format!("{begin}, src_leg=n/a, dst_leg=n/a"));
    assert_eq!(layout.profile.system().lines.by_letters("mz").expect_err("there is none"), 'z');
}

#[test]
fn a_manual_entry_is_told_from_a_response_in_every_system() {
    for profile in &Profile::ALL[1..] {
        for (own, want) in [
            (manual(403, "Destination not allowed"), "ACC: request accounted: "),
            (manual(200, "fine"), "ACC: request accounted: "),
            (manual(0, "no code"), "ACC: request accounted: "),
            (of(Kind::Event, "MESSAGE", 200, "OK"), "ACC: transaction answered: "),
            (of(Kind::Event, "ACK", 200, "OK"), "ACC: request acknowledged: "),
        ] {
            let line = line(&layout(*profile), &own);
            assert!(line.contains(want), "{}: {line}", profile.name());
        }
    }
}

#[test]
fn kamailio_has_its_time_in_five_forms() {
    let mut own = of(Kind::Missed, "INVITE", 486, "Busy Here");
    own.times.event = Timestamp(1_700_000_000_007_250);
    let mut layout = layout(Profile::Kamailio);
    for (mode, place, more) in [
        (0, 287, ""),
        (1, 261, ";time_exten=7250"),
        (2, 268, ";time_attr=1700000000.007"),
        (3, 281, ";time_attr=2023-11-15 00:13:20"),
        (4, 281, ";time_attr=2023-11-14 22:13:20"),
    ] {
        layout.rows = layout.profile.system().lines.rows(mode);
        layout.time = mode;
        layout.clock.zone = jiff::tz::TimeZone::fixed(jiff::tz::offset(2));
        let want = format!(
            "NOTICE: acc [acc.c:{place}]: acc_log_request(): ACC: call missed: timestamp=1700000000{more};method=INVITE"
        );
        let line = line(&layout, &own);
        assert!(line.starts_with(&want), "time_mode {mode}: {line}");
    }
}

#[test]
fn a_call_of_kamailio_begins_where_it_is_told() {
    let mut own = of(Kind::Cdr, "INVITE", 200, "OK");
    own.times.acknowledged = Some(Timestamp(1_700_000_005_500_000));
    let mut failed = of(Kind::Cdr, "INVITE", 486, "Busy Here");
    (failed.times.answered, failed.times.duration) = (None, None);
    failed.times.ended = Some(Timestamp(1_700_000_004_000_000));
    let mut layout = layout(Profile::Kamailio);
    for (from, answered, refused) in [
        (
            From::Answered,
            "start_time=1700000004.000; end_time=1700000065.500; duration=61.500",
            "start_time=1700000000.000; end_time=1700000004.000; duration=0.000",
        ),
        (
            From::Created,
            "start_time=1700000000.000; end_time=1700000065.500; duration=65.500",
            "start_time=1700000000.000; end_time=1700000004.000; duration=4.000",
        ),
        (
            From::Acknowledged,
            "start_time=1700000005.500; end_time=1700000065.500; duration=60.000",
            "start_time=1700000000.000; end_time=1700000004.000; duration=0.000",
        ),
    ] {
        layout.cdr_start = from;
        for (own, want) in [(&own, answered), (&failed, refused)] {
            let line = line(&layout, own);
            assert_eq!(line.rsplit("(): ").next(), Some(want), "{from:?}");
        }
    }
}

/// The numbers of the attributes of a record in the order of the system, as far as that itself sends them.
fn numbers(profile: Profile, own: &Record) -> Vec<u8> {
    let mut numbers = all_numbers(profile, own, Settings::exact);
    let end = numbers.iter().position(|number| *number == 4).expect("NAS-IP-Address is the last of theirs");
    numbers.truncate(end + 1);
    numbers
}

/// The numbers of all attributes of a record.
fn all_numbers(profile: Profile, own: &Record, change: fn(Settings) -> Settings) -> Vec<u8> {
    let attributes = profile.system().attributes.as_ref().expect("it has some");
    let mut builder = Builder::with_builtin();
    let text = builtin::profile(attributes.dictionary).expect("it has a dictionary");
    builder.text(attributes.dictionary, text.as_bytes());
    builder.text("operator", b"ATTRIBUTE X-Extra 241 string\nATTRIBUTE X-Leg 250 string\n");
    let mut settings = change(Settings::of_profile(profile, Arc::new(builder.finish().expect("it loads"))));
    settings.fields = vec![FieldMapping::new("x", "X-Extra")];
    settings.leg_fields = vec![FieldMapping::new("src", "X-Leg")];
    let mut renderer = Renderer::new(&settings, Ipv4Addr::LOCALHOST.into()).expect("attributes that are there");
    let (mut rest, mut numbers) = (renderer.render(own).0, Vec::new());
    while let [number, length, ..] = rest {
        numbers.push(*number);
        rest = &rest[usize::from(*length)..];
    }
    numbers
}

#[test]
fn without_exact_the_attributes_have_another_order_and_two_sorts_come_besides() {
    for profile in &Profile::ALL[1..] {
        for kind in [Kind::Start, Kind::Stop, Kind::Missed, Kind::Cdr] {
            let mut own = of(kind, "INVITE", 200, "OK");
            own.fields.push(text("x", "n1"));
            own.legs = vec![vec![text("src", "alice")], vec![text("src", "bob")]];
            let mut exact = all_numbers(*profile, &own, Settings::exact);
            let mut plain = all_numbers(*profile, &own, |settings| Settings { is_exact: false, ..settings });
            assert_ne!(exact, plain, "{} {kind:?}: the orders", profile.name());
            // Sip-Call-Duration, -Setuptime and -MSDuration, which the systems send of whole calls; and Sip-CSeq.
            let is_more = |number: &u8| match number {
                227 | 228 | 230 => kind != Kind::Cdr,
                103 => *profile == Profile::Openser,
                _ => false,
            };
            assert!(!exact.iter().any(is_more), "{} {kind:?}: {exact:?}", profile.name());
            plain.retain(|number| !is_more(number));
            exact.sort_unstable();
            plain.sort_unstable();
            assert_eq!(exact, plain, "{} {kind:?}: the attributes", profile.name());
        }
    }
}

#[test]
fn attributes_stand_in_the_order_of_the_system() {
    let with = |mut own: Record| {
        own.fields.push(text("x", "n1"));
        own.legs = vec![vec![text("src", "alice")]];
        own
    };
    let start = with(of(Kind::Start, "INVITE", 200, "OK"));
    let whole = with(of(Kind::Cdr, "INVITE", 200, "OK"));
    for (name, profile, own, want) in [
        ("a start", Profile::Kamailio, &start, &[40, 6, 102, 101, 55, 105, 104, 44, 241, 250, 5, 4][..]),
        ("a start", Profile::Openser, &start, &[40, 6, 102, 101, 55, 105, 104, 44, 241, 250, 5, 4]),
        ("a start", Profile::Opensips22, &start, &[40, 6, 102, 101, 55, 105, 104, 44, 241, 250, 5, 4]),
        (
            "a whole call",
            Profile::Opensips22,
            &whole,
            &[40, 6, 102, 101, 55, 105, 104, 44, 241, 227, 230, 228, 250, 5, 4],
        ),
        (
            "a whole call",
            Profile::Opensips,
            &whole,
            &[40, 6, 205, 204, 55, 206, 207, 44, 227, 228, 229, 230, 241, 250, 5, 4],
        ),
        (
            "a start",
            Profile::Openser11,
            &start,
            &[40, 6, 102, 101, 1, 31, 30, 107, 44, 104, 105, 103, 241, 250, 55, 5, 4],
        ),
        ("a start", Profile::Ser, &start, &[40, 6, 102, 101, 1, 31, 30, 107, 44, 104, 105, 103, 241, 250, 55, 5, 4]),
    ] {
        assert_eq!(numbers(profile, own), want, "{name}, {}", profile.name());
    }
}

#[test]
fn every_table_names_fields_and_attributes_that_are_there() {
    for profile in Profile::ALL {
        let system = profile.system();
        let columns = [system.columns.acc, system.columns.missed, system.columns.cdr];
        let rows = columns.into_iter().flatten().copied().flatten();
        let letters = system.lines.letters.iter().map(|(_, row)| row);
        let rows = rows.chain(system.lines.line).chain(system.lines.call).chain(letters);
        for (label, value, _) in rows {
            if let Val::Field(names) = value {
                assert_eq!(value.fields().count(), names.len(), "{}: {label}", profile.name());
            }
        }
        for (name, template) in value::FIELDS {
            crate::vars::Template::parse(template).unwrap_or_else(|error| panic!("{name}: {}", error.what));
        }
        let Some(attributes) = &system.attributes else { continue };
        for step in attributes.order {
            let Step::Value(name) = step else { continue };
            let mut all = attributes.needed.iter().chain(attributes.known);
            assert!(all.any(|(own, ..)| own == name), "{}: {name}", profile.name());
        }
    }
}

#[test]
fn the_time_of_an_event_is_the_same_at_every_backend() {
    use crate::sinks::file::line;
    use crate::sinks::mapping::Source;
    use crate::sinks::{event, sql};
    for profile in &Profile::ALL[1..] {
        let mut own = of(Kind::Missed, "INVITE", 486, "Busy Here");
        own.times.event = Timestamp(1_700_000_007_999_999);
        let rows = sql::render(&sql::Settings::new("sqlite:a", *profile))(&own).expect("rows").expect("of a call");
        let column = rows.described().into_iter().find(|(column, _)| column == "time").map(|(_, at)| at);
        assert_eq!(column.as_deref(), Some("2023-11-14T22:13:27.999999Z"), "{}", profile.name());
        if profile.system().lines.letters.is_empty() {
            let line = line(&layout(*profile), &own);
            assert!(line.contains("timestamp=1700000007;"), "{line}");
        }
        assert_eq!(event_timestamp(*profile, &own), 1_700_000_007, "{}", profile.name());
        if let Some(body) = event::Body::of(*profile, "/test") {
            let events = event::Body { envelope: event::Envelope::None, ..body }.events(&own).expect("an event");
            let event = String::from_utf8_lossy(&events[0].body).into_owned();
            assert!(event.contains("\"time\":1700000007"), "{event}");
        }
        let times = profile.system().columns.missed.iter().copied().flatten().filter(|(name, ..)| *name == "time");
        let columns = times.map(|(name, value, form)| line::Column {
            name: (*name).to_owned(),
            source: Some(Source::Value(*value, *form)),
        });
        let layout = line::Layout { columns: columns.collect(), ..line::Layout::default() };
        let written = String::from_utf8_lossy(&layout.lines(&own)).into_owned();
        assert_eq!(written, "2023-11-14T22:13:27.999999Z\r\n", "{}", profile.name());
    }
}

/// What Event-Timestamp says.
fn event_timestamp(profile: Profile, own: &Record) -> u32 {
    let attributes = profile.system().attributes.as_ref().expect("it has some");
    let mut builder = Builder::with_builtin();
    let text = builtin::profile(attributes.dictionary).expect("it has a dictionary");
    builder.text(attributes.dictionary, text.as_bytes());
    let settings = Settings::of_profile(profile, Arc::new(builder.finish().expect("it loads")));
    let mut renderer = Renderer::new(&settings, Ipv4Addr::LOCALHOST.into()).expect("attributes that are there");
    let mut rest = renderer.render(own).0;
    while let [number, length, ..] = rest {
        if *number == 55 {
            return u32::from_be_bytes(rest[2..6].try_into().expect("four octets"));
        }
        rest = &rest[usize::from(*length)..];
    }
    panic!("no Event-Timestamp")
}

#[test]
fn a_status_of_ser_has_what_is_there() {
    for (own, want) in [
        (manual(403, ""), "403"),
        (manual(0, ""), ""),
        (of(Kind::Missed, "INVITE", 480, ""), "480"),
        (of(Kind::Cdr, "INVITE", 200, "OK"), "200"),
    ] {
        assert_eq!(value::status(&own), want.as_bytes());
    }
    let spans = of(Kind::Cdr, "INVITE", 200, "OK");
    assert_eq!(From::Created.lasted(&spans), Duration::from_millis(65_500));
}
