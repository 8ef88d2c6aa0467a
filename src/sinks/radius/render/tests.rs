//! Tests of rendering, read back through the dictionary.

use std::sync::Arc;

use proptest::prelude::*;

use super::super::settings::{Columns, FieldMapping, Legs, SessionId, Settings};
use super::*;
use crate::dictionary::{Builder, Dictionary};
use crate::record::{LegOrder, Value};
use crate::sinks::profile::Profile;
use crate::sinks::tests::record;

const NAS: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));

fn dictionary(profile: &str, text: &str) -> Arc<Dictionary> {
    let mut builder = Builder::with_builtin();
    if let Some(profile_text) = crate::dictionary::builtin::profile(profile) {
        builder.text(profile, profile_text.as_bytes());
    }
    builder.text("operator", text.as_bytes());
    Arc::new(builder.finish().unwrap())
}

fn lines(settings: &Settings, record: &Record) -> Vec<String> {
    let mut renderer = Renderer::new(settings, NAS).unwrap();
    let (attributes, _) = renderer.render(record);
    settings.dictionary.decode(attributes).iter().map(ToString::to_string).collect()
}

#[test]
fn a_stop_of_the_own_profile_says_everything() {
    let settings = Settings { nas_identifier: Some("gw1".to_owned()), ..Settings::default() };
    let want = [
        "Acct-Status-Type = Stop",
        "Acct-Session-Id = \"0123456789abcdef0123456789abcdef\"",
        "Acct-Multi-Session-Id = \"fedcba9876543210fedcba9876543210\"",
        "Service-Type = Sip-Session",
        "Event-Timestamp = \"Nov 14 2023 22:14:25 UTC\"",
        "Acct-Session-Time = 62",
        "Acct-Terminate-Cause = Host-Request",
        "Tollgate-Record-Id = \"01HF7YAT000000000000000001\"",
        "Tollgate-Record-Kind = \"Stop\"",
        "Tollgate-Call-Id = \"call-1@192.0.2.7\"",
        "Tollgate-Method = \"BYE\"",
        "Tollgate-Reason = \"OK\"",
        "Tollgate-From-Tag = \"alice-tag\"",
        "Tollgate-To-Tag = \"bob-tag\"",
        "Tollgate-Ended-By = \"callee\"",
        "Tollgate-End-Cause = \"bye\"",
        "Tollgate-Response-Code = 200",
        "Tollgate-CSeq = 1",
        "Tollgate-Created = \"2023-11-14T22:13:20.000Z\"",
        "Tollgate-Answered = \"2023-11-14T22:13:24.000Z\"",
        "Tollgate-Ended = \"2023-11-14T22:14:25.500Z\"",
        "Tollgate-Setup-Time-Ms = 4000",
        "Tollgate-Duration-Ms = 61500",
        "Tollgate-Field = \"src_ip=192.0.2.7\"",
        "NAS-Identifier = \"gw1\"",
        "NAS-IP-Address = 192.0.2.1",
        "NAS-Port-Type = Virtual",
    ];
    assert_eq!(lines(&settings, &record(Kind::Stop)), want);
}

#[test]
fn the_own_profile_sends_each_fact_and_what_cisco_calls_the_cause() {
    use crate::record::Facts;
    use crate::record::facts::{Attempt, Fact};
    let cisco = "VENDOR Cisco 9\nBEGIN-VENDOR Cisco\nATTRIBUTE h323-disconnect-cause 30 string\nEND-VENDOR Cisco\n";
    let mut facts = Facts::new();
    let address = "192.0.2.9:5060".parse().unwrap();
    let attempt = |uri, code| {
        let cause = (code >= 300).then_some(crate::record::Cause::Busy);
        Attempt { uri, address: Some(address), code, cause, tried_ms: 500, rang_ms: Some(100), ended_ms: 3_500 }
    };
    let mut is_cut = facts.put_attempt(&attempt(b"sip:b@x", 486)) | facts.put_attempt(&attempt(b"sip:c@x", 200));
    is_cut |= facts.put_number(Fact::Q850, 31) | facts.put_number(Fact::PostDialDelay, 600);
    for (fact, text) in
        [(Fact::Reason, &b"Q.850;cause=31"[..]), (Fact::Reason, b"SIP;cause=480"), (Fact::Dialled, b"b")]
    {
        is_cut |= facts.put_text(fact, text);
    }
    assert!(!is_cut);
    let record = Record { facts, ..record(Kind::Stop) };
    let own = Settings { dictionary: dictionary("own", cisco), ..Settings::default() };
    let more = lines(&own, &record);
    let classic = Settings::of_profile(Profile::Opensips, dictionary("opensips", cisco));
    assert_eq!(lines(&classic, &record), lines(&classic, &crate::sinks::tests::record(Kind::Stop)), "they know none");
    let plain = lines(&own, &crate::sinks::tests::record(Kind::Stop));
    let new: Vec<_> = more.iter().filter(|line| !plain.contains(line)).map(String::as_str).collect();
    assert_eq!(
        new,
        [
            "Tollgate-Reason-Header = \"Q.850;cause=31\"",
            "Tollgate-Reason-Header = \"SIP;cause=480\"",
            "Tollgate-Q850-Cause = 31",
            "Tollgate-Post-Dial-Delay-Ms = 600",
            "Tollgate-Ring-Time-Ms = 3400",
            "Tollgate-Dialled-Number = \"b\"",
            "Tollgate-Called-Number = \"b\"",
            "Tollgate-Sent-Number = \"b\"",
            "Tollgate-Target = \"sip:c@x\"",
            "Tollgate-Target-Address = \"192.0.2.9:5060\"",
            "Tollgate-Attempt-Count = 2",
            "Tollgate-Attempt = \"at=2023-11-14T22:13:20.500000Z address=192.0.2.9:5060 code=486 cause=busy ring_ms=3400 uri=sip:b@x\"",
            "Tollgate-Attempt = \"at=2023-11-14T22:13:20.500000Z address=192.0.2.9:5060 code=200 ring_ms=3400 uri=sip:c@x\"",
            "h323-disconnect-cause = \"h323-disconnect-cause=1f\"",
        ]
    );
}

#[test]
fn a_start_of_the_profile_opensips_looks_like_the_proxy() {
    let mut settings = Settings::of_profile(Profile::Opensips, dictionary("opensips", ""));
    settings.record_id_attribute.clear();
    settings.fields = vec![FieldMapping::new("src_ip", "SIP-AVP")];
    let want = [
        "Acct-Status-Type = Start",
        "Acct-Session-Id = \"call-1@192.0.2.7\"",
        "Acct-Multi-Session-Id = \"fedcba9876543210fedcba9876543210\"",
        "Service-Type = Sip-Session",
        "Event-Timestamp = \"Nov 14 2023 22:13:24 UTC\"",
        "Sip-From-Tag = \"alice-tag\"",
        "Sip-To-Tag = \"bob-tag\"",
        "Sip-Method = Invite",
        "Sip-Response-Code = 200",
        "Sip-Call-Created = 1700000000",
        "SIP-AVP = \"192.0.2.7\"",
        "NAS-IP-Address = 192.0.2.1",
        "NAS-Port = 5060",
        "NAS-Port-Type = Virtual",
    ];
    assert_eq!(lines(&settings, &record(Kind::Start)), want);
    let stop = lines(&settings, &record(Kind::Stop));
    for line in ["Sip-Call-Duration = 62", "Sip-Call-Setuptime = 4", "Sip-Call-MSDuration = 61500", "Sip-Method = Bye"]
    {
        assert!(stop.iter().any(|found| found == line), "{line} in {stop:?}");
    }
}

#[test]
fn a_method_is_sent_as_the_dictionary_has_it() {
    let text = "ATTRIBUTE Sip-Method 101 string\n";
    for (name, profile, more, method, want) in [
        ("a known one", "openser", "", "BYE", Some("Sip-Method = Bye")),
        ("any case", "openser", "", "bye", Some("Sip-Method = Bye")),
        ("an unknown one is Other", "openser", "", "PING", Some("Sip-Method = Other")),
        ("a string is the method itself", "openser", text, "PING", Some("Sip-Method = \"PING\"")),
        ("Kamailio's numbers", "kamailio", "", "PUBLISH", Some("Sip-Method = Publish")),
    ] {
        let of = if profile == "openser" { Profile::Openser } else { Profile::Kamailio };
        let mut settings = Settings::of_profile(of, dictionary(profile, more));
        settings.record_id_attribute.clear();
        let record = Record { method: method.as_bytes().to_vec(), ..record(Kind::Event) };
        let lines = lines(&settings, &record);
        assert_eq!(lines.iter().find(|line| line.starts_with("Sip-Method")).map(String::as_str), want, "{name}");
    }
}

#[test]
fn the_session_id_is_what_was_chosen_and_never_missing() {
    let mut long = record(Kind::Start);
    long.call_id = vec![b'c'; 300];
    let mut bare = record(Kind::Event);
    (bare.session, bare.call_id) = (String::new(), Vec::new());
    for (name, mode, record, want) in [
        ("short", SessionId::Short, record(Kind::Start), "0123456789abcdef0123456789abcdef"),
        ("the Call-ID", SessionId::CallId, record(Kind::Start), "call-1@192.0.2.7"),
        ("with the To tag", SessionId::CallIdAndTag, record(Kind::Start), "call-1@192.0.2.7;bob-tag"),
        ("a long one ends in a digest", SessionId::CallId, long, "c#"),
        ("the record id stands in", SessionId::Short, bare.clone(), "01HF7YAT000000000000000001"),
        ("the record id stands in for a Call-ID", SessionId::CallId, bare, "01HF7YAT000000000000000001"),
    ] {
        let settings = Settings { session_id: mode, ..Settings::default() };
        let lines = lines(&settings, &record);
        let found = lines.iter().filter(|line| line.starts_with("Acct-Session-Id")).collect::<Vec<_>>();
        assert!(found.len() == 1 && found[0].contains(want), "{name}: {found:?}");
    }
}

#[test]
fn odd_values_never_lose_the_record() {
    let text = |octets: &[u8]| Value::Text(octets.to_vec());
    let mut settings = Settings {
        fields: vec![
            FieldMapping::new("port", "Tollgate-Src-Port"),
            FieldMapping { max_octets: Some(50), ..FieldMapping::new("callee", "Called-Station-Id") },
        ],
        ..Settings::default()
    };
    settings.fields.push(FieldMapping { oversize: Oversize::Split, ..FieldMapping::new("via", "Tollgate-Field") });
    let mut odd = record(Kind::Stop);
    odd.reason = b"O\0K\r\nInjected = 1".to_vec();
    odd.from_tag = vec![0xff; 300];
    odd.to_tag = Vec::new();
    odd.fields = vec![
        ("port".to_owned(), text(b"not a number")),
        ("callee".to_owned(), text(b"sip:a-rather-long-user-name@a-rather-long-domain.example;user=phone")),
        ("via".to_owned(), text(&[b'v'; 600])),
        ("empty".to_owned(), text(b"")),
        ("nothing".to_owned(), Value::Absent),
        ("list".to_owned(), Value::List(vec![b"a".to_vec(), b"b".to_vec()])),
        ("number".to_owned(), Value::Number(-5)),
    ];
    let mut renderer = Renderer::new(&settings, NAS).unwrap();
    let (_, losses) = renderer.render(&odd);
    assert_eq!(losses, Losses { shortened: 4, dropped: 0 });
    let lines = lines(&settings, &odd);
    for want in [
        "Tollgate-Reason = \"OKInjected = 1\"",
        "Called-Station-Id = \"sip:a-rather-long-user-name@a-rather-long-domain.e\"",
        "Tollgate-Field = \"list=a, b\"",
        "Tollgate-Field = \"number=-5\"",
        "Tollgate-Shortened = \"reason,from_tag,port,callee\"",
    ] {
        assert!(lines.iter().any(|line| line == want), "{want} in {lines:#?}");
    }
    assert_eq!(lines.iter().filter(|line| line.contains("vvv")).count(), 3, "split into 247 + 247 + 106");
    assert!(!lines.iter().any(|line| line.contains("empty") || line.contains("nothing") || line.contains("To-Tag")));
}

#[test]
fn a_user_name_without_a_realm_gets_the_default_one() {
    for (name, realm, user, want) in [
        ("appended", Some("example.org"), "alice", "User-Name = \"alice@example.org\""),
        ("not to one that has a realm", Some("example.org"), "bob@b.example", "User-Name = \"bob@b.example\""),
        ("an empty realm is none", Some(""), "alice", "User-Name = \"alice\""),
        ("no realm", None, "alice", "User-Name = \"alice\""),
    ] {
        let settings = Settings {
            default_realm: realm.map(str::to_owned),
            fields: vec![FieldMapping::new("user", "User-Name"), FieldMapping::new("user", "Calling-Station-Id")],
            ..Settings::default()
        };
        let mut record = record(Kind::Start);
        record.fields = vec![("user".to_owned(), Value::Text(user.as_bytes().to_vec()))];
        let lines = lines(&settings, &record);
        assert!(lines.iter().any(|line| line == want), "{name}: {lines:?}");
        assert!(lines.contains(&format!("Calling-Station-Id = \"{user}\"")), "only User-Name: {lines:?}");
    }
}

#[test]
fn columns_of_the_server_are_kept_and_long_values_travel_whole_beside() {
    let long = format!("sip:{}@example.org;user=phone", "9".repeat(300));
    let text = "ATTRIBUTE Long-Callee 245.1 string\n";
    let settings = Settings {
        columns: Columns::FreeradiusSql,
        session_id: SessionId::CallId,
        fields: vec![
            FieldMapping { long: Some("Long-Callee".to_owned()), ..FieldMapping::new("callee", "Called-Station-Id") },
            FieldMapping::new("caller", "Calling-Station-Id"),
            FieldMapping { max_octets: Some(20), ..FieldMapping::new("user", "User-Name") },
        ],
        dictionary: dictionary("own", text),
        ..Settings::default()
    };
    let mut record = record(Kind::Start);
    record.call_id = vec![b'='; 60];
    record.fields =
        ["callee", "caller", "user"].map(|name| (name.to_owned(), Value::Text(long.clone().into_bytes()))).to_vec();
    let lines = lines(&settings, &record);
    for want in [
        format!("Called-Station-Id = \"sip:{}\"", "9".repeat(46)),
        format!("Calling-Station-Id = \"sip:{}\"", "9".repeat(46)),
        format!("User-Name = \"sip:{}\"", "9".repeat(16)),
        format!("Long-Callee = \"{long}\""),
        "Tollgate-Shortened = \"session_id,caller,user\"".to_owned(),
    ] {
        assert!(lines.contains(&want), "{want} in {lines:#?}");
    }
    let session = lines.iter().find_map(|line| line.strip_prefix("Acct-Session-Id = \"")).unwrap();
    assert!(session.starts_with("=========#") && session.len() == 9 + 33 + 1, "27 columns and a digest: {session}");
}

#[test]
fn accounting_on_tells_of_no_call() {
    let mut on = record(Kind::On);
    on.fields.clear();
    (on.session, on.multi_session, on.call_id) = (String::new(), String::new(), Vec::new());
    for profile in [Profile::Own, Profile::Opensips] {
        let settings = Settings::of_profile(profile, dictionary(profile.name(), ""));
        let told = lines(&settings, &on);
        for want in [
            "Acct-Status-Type = Accounting-On",
            "NAS-IP-Address = 192.0.2.1",
            "Acct-Session-Id = \"01HF7YAT000000000000000001\"",
        ] {
            assert!(told.iter().any(|line| line == want), "{want} in {told:#?}");
        }
        let tells =
            |line: &String| line.starts_with("Sip-") || line.contains("Method") || line.starts_with("User-Name");
        assert!(!told.iter().any(tells), "{told:#?}");
        let settings = Settings { on_user_name: Some("gateway@example.com".into()), ..settings };
        let name = "User-Name = \"gateway@example.com\"".to_owned();
        assert!(lines(&settings, &on).contains(&name), "for proxies that route by it");
        assert!(!lines(&settings, &record(Kind::Start)).contains(&name), "of nothing else");
    }
}

#[test]
fn legs_travel_mapped_or_together() {
    let leg = |src: &str, dst: &str| {
        let value = |text: &str| Value::Text(text.as_bytes().to_vec());
        vec![("src".to_owned(), value(src)), ("dst".to_owned(), value(dst))]
    };
    let mut forwarded = record(Kind::Start);
    forwarded.legs = vec![leg("A", "B"), leg("B", "C")];
    let of = |settings: &Settings| -> Vec<String> {
        lines(settings, &forwarded).into_iter().filter(|line| line.starts_with("Tollgate-Leg")).collect()
    };
    let mut settings = Settings::default();
    assert_eq!(of(&settings), ["Tollgate-Leg = \"1 src=A;dst=B\"", "Tollgate-Leg = \"2 src=B;dst=C\""]);
    settings.leg_fields =
        vec![FieldMapping::new("src", "Tollgate-Leg-Src"), FieldMapping::new("dst", "Tollgate-Leg-Dst")];
    settings.style.leg_order = LegOrder::NewestFirst;
    let want = ["Leg-Src = \"B\"", "Leg-Dst = \"C\"", "Leg-Src = \"A\"", "Leg-Dst = \"B\""];
    assert_eq!(of(&settings), want.map(|line| format!("Tollgate-{line}")));
    settings.leg_fields.truncate(1);
    settings.style.unmapped = Unmapped::Omit;
    assert_eq!(of(&settings), ["Tollgate-Leg-Src = \"B\"", "Tollgate-Leg-Src = \"A\""]);
}

#[test]
fn three_hundred_legs_fit_into_a_packet_and_are_marked() {
    let mut many = record(Kind::Stop);
    many.legs = (0..300).map(|leg| vec![("src".to_owned(), Value::Text(format!("leg-{leg}").into_bytes()))]).collect();
    let settings = Settings { legs: Legs::Together, ..Settings::default() };
    let mut renderer = Renderer::new(&settings, NAS).unwrap();
    let (attributes, losses) = renderer.render(&many);
    assert!(attributes.len() <= crate::radius::attribute::ATTRIBUTE_OCTETS_MAX && losses.dropped > 100, "{losses:?}");
    let lines = lines(&settings, &many);
    assert!(lines.len() <= 180);
    for want in ["Tollgate-Shortened = \"packet\"", "Tollgate-Leg = \"1 src=leg-0\"", "NAS-IP-Address = 192.0.2.1"] {
        assert!(lines.iter().any(|line| line == want), "{want} in {lines:#?}");
    }
}

#[test]
fn legs_travel_apart_when_they_do_not_fit_or_are_to() {
    let leg = |octets: usize| vec![("src".to_owned(), Value::Text(vec![b's'; octets]))];
    for (name, legs, mode, apart) in [
        ("few legs fit together", vec![leg(20); 3], Legs::Auto, false),
        ("many that do not fit travel apart", vec![leg(200); 30], Legs::Auto, true),
        ("unless they are to travel together", vec![leg(200); 30], Legs::Together, false),
        ("few travel apart when they are to", vec![leg(20); 2], Legs::Apart, true),
        ("one leg is always together", vec![leg(20)], Legs::Apart, false),
    ] {
        let settings = Settings { legs: mode, ..Settings::default() };
        let forwarded = Record { legs, ..record(Kind::Start) };
        assert_eq!(Renderer::new(&settings, NAS).unwrap().render_whole(&forwarded).is_none(), apart, "{name}");
    }
    let classic = Settings::of_profile(Profile::Opensips, dictionary("opensips", ""));
    assert_eq!(classic.legs, Legs::Together, "as the proxies do");
}

#[test]
fn a_leg_apart_has_all_values_of_the_call_a_number_and_an_id_of_its_own() {
    let mut settings = Settings { legs: Legs::Apart, ..Settings::default() };
    settings.style.leg_order = LegOrder::NewestFirst;
    settings.leg_fields = vec![FieldMapping::new("src", "Tollgate-Leg-Src")];
    let mut forwarded = record(Kind::Stop);
    let together = lines(&settings, &forwarded);
    forwarded.legs = ["A", "B"].map(|src| vec![("src".to_owned(), Value::Text(src.into()))]).to_vec();
    let mut renderer = Renderer::new(&settings, NAS).unwrap();
    for (step, number, src) in [(0, 2, "B"), (1, 1, "A")] {
        let (attributes, losses) = renderer.render_leg(&forwarded, step);
        assert_eq!(losses, Losses::default());
        let lines: Vec<_> = settings.dictionary.decode(attributes).iter().map(ToString::to_string).collect();
        let (own, shared): (Vec<_>, Vec<_>) = lines.into_iter().partition(|line| !together.contains(line));
        let id = format!("Tollgate-Record-Id = \"{}.{number}\"", forwarded.id);
        let number = format!("Tollgate-Leg-Number = {number}");
        let src = format!("Tollgate-Leg-Src = \"{src}\"");
        assert_eq!(own, [number, "Tollgate-Leg-Count = 2".to_owned(), id, src], "step {step}");
        assert_eq!(shared.len(), together.len() - 1, "all but the record id");
    }
}

#[test]
fn an_ipv6_nas_sends_its_own_attribute() {
    let settings = Settings { nas_address: Some("2001:db8::1".parse().unwrap()), ..Settings::default() };
    let lines = lines(&settings, &record(Kind::Start));
    assert!(lines.iter().any(|line| line == "NAS-IPv6-Address = 2001:db8::1"), "{lines:?}");
    assert!(!lines.iter().any(|line| line.starts_with("NAS-IP-Address")));
}

#[test]
fn a_setup_names_every_attribute_that_cannot_be_used() {
    let mut settings = Settings::of_profile(Profile::Opensips, Arc::new(Dictionary::builtin()));
    settings.fields = vec![
        FieldMapping::new("who", "Calling-Station-Idd"),
        FieldMapping::new("password", "User-Password"),
        FieldMapping::new("ok", "User-Name"),
    ];
    let errors = Renderer::new(&settings, NAS).unwrap_err();
    let texts: Vec<String> = errors.0.iter().map(ToString::to_string).collect();
    assert_eq!(texts.len(), 6, "four of the profile, two fields: {texts:#?}");
    assert!(texts[4].contains("`Calling-Station-Idd` for field `who`") && texts[4].contains("only the built-in ones"));
    assert!(texts[4].ends_with("did you mean `Calling-Station-Id`?"), "{}", texts[4]);
    assert!(texts[5].contains("`User-Password` cannot carry field `password`"), "{}", texts[5]);
}

#[test]
fn the_same_record_always_gives_the_same_octets() {
    let settings = Settings::default();
    let (stop, start) = (record(Kind::Stop), record(Kind::Start));
    let mut renderer = Renderer::new(&settings, NAS).unwrap();
    let first = renderer.render(&stop).0.to_vec();
    renderer.render(&start);
    assert_eq!(renderer.render(&stop).0, first);
    assert_eq!(Renderer::new(&settings, NAS).unwrap().render(&stop).0, first);
}

fn odd_fields() -> impl Strategy<Value = Fields> {
    let value = prop_oneof![
        1 => Just(Value::Absent),
        1 => any::<i64>().prop_map(Value::Number),
        4 => prop::collection::vec(any::<u8>(), 0..40).prop_map(Value::Text),
        1 => (0_usize..12_000).prop_map(|octets| Value::Text(vec![b';'; octets])),
    ];
    let name = prop::sample::select(vec!["user", "callee", "port", "other", "src"]);
    prop::collection::vec((name.prop_map(str::to_owned), value), 0..24)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn whatever_a_record_holds_its_requests_keep_the_rules(
        fields in odd_fields(),
        legs in prop::collection::vec(odd_fields(), 0..64),
        call_id in prop::collection::vec(any::<u8>(), 0..400),
        oversize in prop::sample::select(vec![Oversize::Truncate, Oversize::Split, Oversize::Hash, Oversize::Omit]),
        session_id in prop::sample::select(vec![SessionId::Short, SessionId::CallId, SessionId::CallIdAndTag]),
    ) {
        let mut settings = Settings { session_id, ..Settings::default() };
        settings.fields = vec![
            FieldMapping::new("user", "User-Name"),
            FieldMapping { oversize, ..FieldMapping::new("callee", "Called-Station-Id") },
            FieldMapping::new("port", "Tollgate-Src-Port"),
        ];
        settings.leg_fields = vec![FieldMapping { oversize, ..FieldMapping::new("src", "Tollgate-Leg-Src") }];
        let odd = Record { fields, legs, call_id, ..record(Kind::Stop) };
        let mut renderer = Renderer::new(&settings, NAS).unwrap();
        for leg in std::iter::once(None).chain((0..odd.legs.len()).map(Some)) {
            let (octets, _) = match leg {
                None => renderer.render(&odd),
                Some(step) => renderer.render_leg(&odd, step),
            };
            prop_assert!(octets.len() <= crate::radius::attribute::ATTRIBUTE_OCTETS_MAX);
            let (mut at, mut numbers) = (0, Vec::new());
            while at < octets.len() {
                let length = usize::from(octets[at + 1]);
                prop_assert!(length > 2, "attribute {} of {length} octets", octets[at]);
                numbers.push(octets[at]);
                at += length;
            }
            prop_assert_eq!(at, octets.len(), "the attributes fill the packet");
            prop_assert!(numbers.len() <= crate::radius::attribute::ATTRIBUTES_MAX);
            for once in [number::ACCT_STATUS_TYPE, number::ACCT_SESSION_ID, number::NAS_IP_ADDRESS] {
                let count = numbers.iter().filter(|number| **number == once).count();
                prop_assert_eq!(count, 1, "attribute {}", once);
            }
        }
    }
}
