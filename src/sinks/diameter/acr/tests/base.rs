//! Base accounting.

use super::super::{Application, CdrRecord, Echo, Profile, RealmFrom, Renderer, Style, Trigger, Unfit, Unmapped};
use super::*;
use crate::diameter::avp::Writer;

#[test]
fn a_start_begins_as_routers_want_it() {
    let lines = lines(&settings(), &record(Kind::Start));
    assert_eq!(
        lines[..11],
        [
            "Session-Id = \"gw.example.net;19088743;2309737967;call-1@192.0.2.7\"",
            "Origin-Host = \"gw.example.net\"",
            "Origin-Realm = \"example.net\"",
            "Destination-Realm = \"billing.example.net\"",
            "Accounting-Record-Type = START_RECORD (2)",
            "Accounting-Record-Number = 0",
            "Acct-Application-Id = 3",
            "Event-Timestamp = 2023-11-14T22:13:24Z",
            "Acct-Session-Id = \"call-1@192.0.2.7\"",
            "Acct-Multi-Session-Id = \"gw.example.net;fedcba9876543210fedcba9876543210\"",
            "Tollgate-Record-Id = \"01HF7YAT000000000000000001\"",
        ]
    );
    for (name, want) in [
        ("Tollgate-Record-Kind", Some("\"Start\"")),
        ("Tollgate-Method", Some("\"INVITE\"")),
        ("Tollgate-Response-Code", Some("200")),
        ("Tollgate-From-Tag", Some("\"alice-tag\"")),
        ("Tollgate-To-Tag", Some("\"bob-tag\"")),
        ("Tollgate-Created", Some("\"2023-11-14T22:13:20.000Z\"")),
        ("Tollgate-Answered", Some("\"2023-11-14T22:13:24.000Z\"")),
        ("Tollgate-Setup-Time-Ms", Some("4000")),
        ("Tollgate-Field", Some("\"caller=sip:alice@atlanta.example\"")),
        ("Termination-Cause", None),
        ("Acct-Session-Time", None),
        ("Acct-Status-Type", None),
        ("Accounting-Sub-Session-Id", None),
    ] {
        assert_eq!(value(&lines, name), want, "{name}");
    }
}

#[test]
fn a_stop_says_how_long_and_why() {
    let lines = lines(&settings(), &record(Kind::Stop));
    for (name, want) in [
        ("Accounting-Record-Type", "STOP_RECORD (4)"),
        ("Event-Timestamp", "2023-11-14T22:14:25Z"),
        ("Termination-Cause", "LOGOUT (1)"),
        ("Acct-Session-Time", "62"),
        ("Tollgate-Ended-By", "\"callee\""),
        ("Tollgate-End-Cause", "\"bye\""),
        ("Tollgate-Duration-Ms", "61500"),
    ] {
        assert_eq!(value(&lines, name), Some(want), "{name}");
    }
    assert_eq!(lines[0], "Session-Id = \"gw.example.net;19088743;2309737967;call-1@192.0.2.7\"", "that of its Start");
}

#[test]
fn options_change_what_they_say() {
    let plain = settings();
    for (name, settings, kind, avp, want) in [
        (
            "a fixed server",
            Settings { destination_host: Some("cdf".to_owned()), ..plain.clone() },
            Kind::Start,
            "Destination-Host",
            Some("\"cdf\""),
        ),
        (
            "Origin-State-Id",
            Settings { origin_state: Some(7), ..plain.clone() },
            Kind::Start,
            "Origin-State-Id",
            Some("7"),
        ),
        (
            "Service-Type",
            Settings { service_type: Some(15), ..plain.clone() },
            Kind::Start,
            "Service-Type",
            Some("Sip-Session (15)"),
        ),
        (
            "no record id",
            Settings { record_id: String::new(), ..plain.clone() },
            Kind::Start,
            "Tollgate-Record-Id",
            None,
        ),
        (
            "spans cut",
            Settings { style: Style { round: super::super::Round::Truncate, ..plain.style }, ..plain.clone() },
            Kind::Stop,
            "Acct-Session-Time",
            Some("61"),
        ),
        (
            "a cluster's identity",
            Settings { session_identity: Some("cluster".to_owned()), ..plain.clone() },
            Kind::Start,
            "Session-Id",
            Some("\"cluster;19088743;2309737967;call-1@192.0.2.7\""),
        ),
        (
            "no profile",
            Settings {
                profile: Profile::None,
                style: Style { unmapped: Unmapped::Omit, ..plain.style },
                ..plain.clone()
            },
            Kind::Start,
            "Tollgate-Method",
            None,
        ),
        (
            "fields left out",
            Settings { style: Style { unmapped: Unmapped::Omit, ..plain.style }, ..plain.clone() },
            Kind::Start,
            "Tollgate-Field",
            None,
        ),
        ("a CDR is the only record", plain.clone(), Kind::Cdr, "Accounting-Record-Type", Some("EVENT_RECORD (1)")),
        (
            "a CDR as STOP",
            Settings { cdr_record: CdrRecord::Stop, ..plain.clone() },
            Kind::Cdr,
            "Accounting-Record-Number",
            Some("1"),
        ),
    ] {
        assert_eq!(value(&lines(&settings, &record(kind)), avp), want, "{name}");
    }
}

#[test]
fn a_cdr_may_be_two_messages() {
    let settings = Settings { cdr_record: CdrRecord::StartStop, ..settings() };
    let messages = messages(&settings, &record(Kind::Cdr));
    let [start, stop] = messages.as_slice() else { panic!("{} messages", messages.len()) };
    let (start, stop) = (lines_of(&settings, start), lines_of(&settings, stop));
    assert_eq!(start[0], stop[0], "one session");
    assert_eq!(value(&start, "Event-Timestamp"), Some("2023-11-14T22:13:24Z"));
    assert_eq!(value(&stop, "Event-Timestamp"), Some("2023-11-14T22:14:25Z"));
    assert_eq!((value(&start, "Termination-Cause"), value(&stop, "Termination-Cause")), (None, Some("LOGOUT (1)")));
}

#[test]
fn fields_go_where_they_are_mapped() {
    let mut settings = settings();
    settings.fields = mapped(&[
        ("caller", "Calling-Station-Id"),
        ("caller", "2345"),
        ("user", "User-Name"),
        ("port", "Tollgate-Src-Port"),
    ]);
    let mut record = record(Kind::Start);
    record.fields.push(("user".to_owned(), Value::Text(b"alice@atlanta.example".to_vec())));
    record.fields.push(("port".to_owned(), Value::Number(5060)));
    record.fields.push(("ua".to_owned(), Value::List(vec![b"a".to_vec(), b"b".to_vec()])));
    record.fields.push(("gone".to_owned(), Value::Absent));
    let lines = lines(&settings, &record);
    assert_eq!(lines[7], "User-Name = \"alice@atlanta.example\"", "with the AVPs of the session");
    for (name, want) in [
        ("Calling-Station-Id", "\"sip:alice@atlanta.example\""),
        ("AVP-2345", "\"sip:alice@atlanta.example\""),
        ("Tollgate-Src-Port", "5060"),
        ("Tollgate-Field", "\"ua=a, b\""),
    ] {
        assert_eq!(value(&lines, name), Some(want), "{name}");
    }
    assert_eq!(lines.iter().filter(|line| line.starts_with("User-Name")).count(), 1);
}

#[test]
fn the_realm_may_come_from_the_user() {
    let mut settings = Settings { realm_from: RealmFrom::User, ..settings() };
    settings.fields = mapped(&[("user", "User-Name")]);
    for (user, want) in [
        ("sip:alice@Atlanta.example;transport=tcp", "\"Atlanta.example\""),
        ("alice@atlanta.example:5060", "\"atlanta.example\""),
        ("<sip:alice@atlanta.example>", "\"atlanta.example\""),
        ("alice", "\"billing.example.net\""),
        ("alice@", "\"billing.example.net\""),
        ("alice@[2001:db8::1]", "\"billing.example.net\""),
    ] {
        let mut record = record(Kind::Start);
        record.fields = vec![("user".to_owned(), Value::Text(user.as_bytes().to_vec()))];
        assert_eq!(value(&lines(&settings, &record), "Destination-Realm"), Some(want), "{user}");
    }
}

#[test]
fn a_profile_has_the_numbers_of_its_proxy() {
    let mut builder = Builder::with_builtin();
    builder.text("opensips", crate::dictionary::builtin::profile("opensips").expect("there").as_bytes());
    let dictionary = Arc::new(builder.finish().unwrap_or_else(|error| panic!("{error}")));
    let settings = Settings {
        dictionary,
        profile: Profile::Opensips,
        style: Style { unmapped: Unmapped::Omit, ..Style::default() },
        ..settings()
    };
    let message = messages(&settings, &record(Kind::Start)).remove(0);
    let (_, avps) = header::split(&message).expect("a message");
    for (code, want) in [(204, None), (205, Some(200)), (206, None), (207, None)] {
        let avp = Avps::new(avps).find(code, 0).unwrap_or_else(|| panic!("no {code}"));
        assert!(!avp.is_mandatory(), "{code}");
        if want.is_some() {
            assert_eq!(avp.u32(), want, "{code}");
        }
    }
    assert!(value(&lines(&settings, &record(Kind::Start)), "Tollgate-Method").is_none());
}

#[test]
fn the_flag_m_can_be_set_and_cleared() {
    let mut settings = with_dictionary("VENDOR Acme 9999\nATTRIBUTE Acme-Caller 1 UTF8String Acme\n");
    settings.fields = mapped(&[("caller", "Acme-Caller"), ("caller", "Calling-Station-Id")]);
    let flags = |settings: &Settings| {
        let message = messages(settings, &record(Kind::Start)).remove(0);
        let (_, avps) = header::split(&message).expect("a message");
        [(1, 9999), (31, 0)].map(|(code, vendor)| Avps::new(avps).find(code, vendor).expect("there").flags)
    };
    assert_eq!(flags(&settings), [0x80, 0x00], "as the grammar of the ACR says");
    settings.mandatory = vec!["Acme-Caller".to_owned(), "31".to_owned()];
    assert_eq!(flags(&settings), [0xC0, 0x40], "as the configuration says");
    settings.optional = vec!["31".to_owned()];
    assert_eq!(flags(&settings), [0xC0, 0x00], "the latter wins");
}

#[test]
fn what_does_not_fit_is_left_out_and_told() {
    let mut settings = settings();
    settings.fields = mapped(&[("caller", "Tollgate-Src-IP"), ("port", "Tollgate-Src-Port")]);
    let mut record = record(Kind::Start);
    record.fields.push(("port".to_owned(), Value::Number(-1)));
    let mut renderer = renderer(&settings);
    let mut out = Vec::new();
    let rendered = renderer.render(&record, Echo::default(), &mut out).expect("it fits");
    assert_eq!((rendered.messages, rendered.misfits), (1, 2));
    let told: Vec<_> = renderer.misfits().iter().map(|misfit| (misfit.field.as_str(), misfit.avp.as_str())).collect();
    assert_eq!(told, [("caller", "Tollgate-Src-IP"), ("port", "Tollgate-Src-Port")]);
    assert!(renderer.misfits()[0].why.contains("is no Address"), "{:?}", renderer.misfits());
    assert!(value(&lines_of(&settings, &out), "Tollgate-Src-IP").is_none());
}

#[test]
fn a_record_that_is_too_large_never_fits() {
    let settings = Settings { message_octets_max: 5_000, ..settings() };
    let mut record = record(Kind::Start);
    record.fields = (0..9).map(|n| (format!("f{n}"), Value::Text(vec![b'x'; 1_000]))).collect();
    let mut out = vec![1, 2, 3];
    let unfit = renderer(&settings).render(&record, Echo::default(), &mut out);
    assert!(matches!(unfit, Err(Unfit::TooLong { octets: 9_000.., max: 5_000 })), "{unfit:?}");
    assert_eq!(out, [1, 2, 3], "nothing of it stays");
}

#[test]
fn events_can_be_switched_off() {
    for (trigger, kind, method) in [
        (Trigger::Session, Kind::Start, "INVITE"),
        (Trigger::Session, Kind::Stop, "BYE"),
        (Trigger::Interim, Kind::Interim, "INVITE"),
        (Trigger::Unsuccessful, Kind::Failed, "INVITE"),
        (Trigger::Missed, Kind::Missed, "INVITE"),
        (Trigger::Cancel, Kind::Event, "CANCEL"),
        (Trigger::Unrelated, Kind::Event, "MESSAGE"),
    ] {
        let mut record = record(kind);
        record.method = method.as_bytes().to_vec();
        for off in Trigger::ALL {
            let settings = Settings { without: vec![off], ..settings() };
            let want = usize::from(off != trigger);
            assert_eq!(messages(&settings, &record).len(), want, "{trigger:?} without {off:?}");
        }
    }
}

#[test]
fn classes_go_back_unchanged() {
    let classes = [b"one".to_vec(), vec![0, 255]];
    let mut out = Vec::new();
    renderer(&settings()).render(&record(Kind::Stop), Echo { classes: &classes }, &mut out).expect("it fits");
    let (_, avps) = header::split(&out).expect("a message");
    let found: Vec<_> =
        Avps::new(avps).filter_map(Result::ok).filter(|avp| avp.code == 25).map(|avp| avp.value.to_vec()).collect();
    assert_eq!(found, classes);
}

#[test]
fn every_attempt_sends_the_same_octets() {
    let (settings, record) = (settings(), record(Kind::Stop));
    assert_eq!(messages(&settings, &record), messages(&settings, &record));
}

#[test]
fn the_avp_a_server_objects_to_is_named() {
    let mut settings = settings();
    settings.fields = mapped(&[("caller", "Calling-Station-Id")]);
    settings.leg_fields = mapped(&[("src", "Tollgate-Leg-Src")]);
    let renderer = renderer(&settings);
    let failed = |fill: &dyn Fn(&mut Writer<'_>)| {
        let mut out = Vec::new();
        fill(&mut Writer::new(&mut out));
        renderer.name_failed(Avps::new(&out))
    };
    for (name, found, want) in [
        ("a field", failed(&|out| out.avp(31, 0, 0x40, b"x")), Some("Calling-Station-Id (31), field `caller`")),
        ("a leg's", failed(&|out| out.avp(21, 32_473, 0, b"")), Some("Tollgate-Leg-Src (32473:21), leg field `src`")),
        ("ours", failed(&|out| out.u32(485, 0, 0x40, 0)), Some("Accounting-Record-Number (485)")),
        ("unknown", failed(&|out| out.avp(7777, 9999, 0, b"")), Some("AVP-9999:7777 (9999:7777)")),
        (
            "inside a group",
            failed(&|out| out.group(70, 32_473, 0, |out| out.avp(21, 32_473, 0, b""))),
            Some("Tollgate-Leg-Src (32473:21), leg field `src`"),
        ),
        ("nothing", failed(&|_| {}), None),
        ("rubbish", failed(&|out| out.ready(&[0, 0, 0, 1])), None),
    ] {
        assert_eq!(found.first().map(String::as_str), want, "{name}");
        assert!(found.len() < 2, "{name}");
    }
}

#[test]
fn all_avps_that_a_server_objects_to_are_named_once_each() {
    let renderer = renderer(&settings());
    let mut out = Vec::new();
    let mut failed = Writer::new(&mut out);
    failed.u32(295, 0, 0x40, 1);
    failed.u32(46, 0, 0x40, 62);
    failed.u32(295, 0, 0x40, 1);
    assert_eq!(renderer.name_failed(Avps::new(&out)), ["Termination-Cause (295)", "Acct-Session-Time (46)"]);
    (46..100).for_each(|code| Writer::new(&mut out).u32(code, 0, 0x40, 0));
    assert_eq!(renderer.name_failed(Avps::new(&out)).len(), 8, "the first ones");
}

/// RFC 6733 §9.7.1: what its grammar names; all else would be refused with 5001 by who reads it strictly.
#[test]
fn in_base_accounting_only_the_grammar_of_the_acr_has_m() {
    const NAMED: [u32; 17] = [263, 264, 296, 283, 480, 485, 259, 260, 1, 293, 287, 44, 50, 85, 483, 278, 55];
    let mut base = settings();
    (base.service_type, base.origin_state) = (Some(15), Some(1));
    base.destination_host = Some("cdf.example.net".to_owned());
    base.fields = mapped(&[("caller", "Calling-Station-Id"), ("user", "User-Name"), ("nas", "NAS-Identifier")]);
    for kind in Kind::ALL {
        let mut record = record(kind);
        record.end = Some(End { by: Party::Callee, cause: Cause::Bye });
        record.fields = leg(&[("caller", "sip:a@x"), ("user", "a@x"), ("nas", "gw")]);
        let mut out = Vec::new();
        renderer(&base).render(&record, Echo { classes: &[b"gold".to_vec()] }, &mut out).expect("it fits");
        let (_, avps) = header::split(&out).expect("a message");
        for avp in Avps::new(avps).flatten() {
            let is_named = avp.vendor == 0 && NAMED.contains(&avp.code);
            assert_eq!(avp.is_mandatory(), is_named, "{}:{} in {kind:?}", avp.vendor, avp.code);
        }
    }
}

#[test]
fn mandatory_and_optional_work_on_every_avp_or_are_refused() {
    let flags = |settings: &Settings, code: u32| {
        let mut record = record(Kind::Stop);
        record.end = Some(End { by: Party::Callee, cause: Cause::Bye });
        record.fields = leg(&[("user", "a@x")]);
        let mut out = Vec::new();
        renderer(settings).render(&record, Echo { classes: &[b"gold".to_vec()] }, &mut out).expect("it fits");
        let (_, avps) = header::split(&out).expect("a message");
        Avps::new(avps).find(code, 0).map(|avp| avp.is_mandatory())
    };
    let with = |mandatory: &[&str], optional: &[&str]| {
        let mut settings = settings();
        settings.fields = mapped(&[("user", "User-Name")]);
        settings.mandatory = mandatory.iter().map(|label| (*label).to_owned()).collect();
        settings.optional = optional.iter().map(|label| (*label).to_owned()).collect();
        settings
    };
    for (label, code) in [("Termination-Cause", 295), ("Acct-Session-Time", 46), ("Class", 25)] {
        assert_eq!(flags(&with(&[], &[]), code), Some(false), "{label}");
        assert_eq!(flags(&with(&[label], &[]), code), Some(true), "{label}");
        assert_eq!(flags(&with(&[], &[label]), code), Some(false), "{label}");
    }
    for (label, code) in
        [("User-Name", 1), ("Acct-Session-Id", 44), ("Acct-Multi-Session-Id", 50), ("Event-Timestamp", 55)]
    {
        assert_eq!(flags(&with(&[], &[]), code), Some(true), "{label}");
        assert_eq!(flags(&with(&[], &[label]), code), Some(false), "{label}");
    }
    for label in ["Session-Id", "Origin-Host", "Accounting-Record-Type", "Acct-Application-Id"] {
        let why = Renderer::new(&with(&[], &[label])).expect_err("needed").to_string();
        assert!(why.contains(label) && why.contains("needs it with M"), "{why}");
        assert!(Renderer::new(&with(&[label], &[])).is_ok(), "{label} has it anyway");
    }
    for (mandatory, optional) in [(&["Framed-IP-Address"][..], &[][..]), (&[], &["Framed-IP-Address"])] {
        let why = Renderer::new(&with(mandatory, optional)).expect_err("not sent").to_string();
        assert!(why.contains("`Framed-IP-Address`") && why.contains("no such AVP"), "{why}");
    }
}

#[test]
fn all_that_is_wrong_with_the_settings_is_told_at_once() {
    let mut settings = settings();
    settings.fields = mapped(&[("a", "Calling-Station-Idd"), ("b", "Session-Id"), ("c", "Service-Information")]);
    settings.mandatory = vec!["Nobody:Thing".to_owned()];
    settings.record_id = "Acct-Status-Type".to_owned();
    let wrong = Renderer::new(&settings).expect_err("mistakes").0;
    assert_eq!(wrong.len(), 5, "{wrong:?}");
    settings = Settings { application: Application::Rf, legs: super::super::Legs::SubSessions, ..super::settings() };
    assert!(Renderer::new(&settings).is_err(), "TS 32.299 has no sub-sessions");
}
