//! Any record renders to whole messages, whatever its values are.

use proptest::prelude::*;

use super::super::{Application, Legs};
use super::*;

fn texts() -> impl Strategy<Value = Vec<u8>> {
    proptest::collection::vec(any::<u8>(), 0..60)
}

fn values() -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Absent),
        texts().prop_map(Value::Text),
        any::<i64>().prop_map(Value::Number),
        proptest::collection::vec(texts(), 0..4).prop_map(Value::List),
    ]
}

fn fields() -> impl Strategy<Value = Fields> {
    proptest::collection::vec((proptest::sample::select(vec!["caller", "ip", "user", "n", "other"]), values()), 0..6)
        .prop_map(|list| list.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
}

fn records() -> impl Strategy<Value = Record> {
    let texts = (texts(), texts(), texts(), texts(), ".{0,40}");
    let times = (any::<i64>(), any::<i64>(), any::<u64>(), any::<u64>());
    let rest = (
        proptest::sample::select(Kind::ALL.to_vec()),
        any::<u16>(),
        fields(),
        proptest::collection::vec(fields(), 0..4),
    );
    (texts, times, rest).prop_map(
        |((method, tag, call_id, reason, session), (event, created, setup, duration), rest)| {
            let (kind, code, fields, legs) = rest;
            let mut record = record(kind);
            (record.method, record.from_tag, record.call_id, record.reason) = (method, tag, call_id, reason);
            (record.code, record.fields, record.legs, record.session) = (code, fields, legs, session);
            (record.times.event, record.times.created) = (Timestamp(event), Timestamp(created));
            record.times.setup = Some(Duration::from_micros(setup));
            record.times.duration = Some(Duration::from_micros(duration));
            record
        },
    )
}

thread_local! {
    static SETTINGS: Vec<Settings> = [
        (Application::Base, Legs::Flat), (Application::Base, Legs::Grouped), (Application::Base, Legs::SubSessions),
        (Application::Rf, Legs::Flat),
    ].map(|(application, legs)| Settings {
        application,
        legs,
        fields: mapped(&[("caller", "Calling-Station-Id"), ("ip", "Tollgate-Src-IP"), ("user", "User-Name"), ("n", "Cause-Code")]),
        leg_fields: mapped(&[("caller", "Tollgate-Leg-Src"), ("ip", "Tollgate-Leg-Dst")]),
        ..settings()
    }).to_vec();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn any_record_is_whole_messages(record in records()) {
        SETTINGS.with(|all| -> Result<(), TestCaseError> {
            for settings in all {
                for message in messages(settings, &record) {
                    let (head, avps) = header::split(&message).expect("a header");
                    prop_assert_eq!((head.flags, head.command, head.application), (0xC0, 271, 3));
                    let first = Avps::new(avps).next().expect("one").expect("whole");
                    prop_assert_eq!(first.code, 263, "Session-Id is the first");
                    prop_assert!(first.utf8().is_some());
                    for code in [264, 296, 283, 480, 485, 259, 55] {
                        let count = Avps::new(avps).filter_map(Result::ok).filter(|avp| (avp.vendor, avp.code) == (0, code)).count();
                        prop_assert_eq!(count, 1, "AVP {} in {:?}", code, head);
                    }
                    walk(Avps::new(avps), GROUPS, &mut |avp| {
                        let definition = settings.dictionary.coded(avp.vendor, avp.code);
                        let is_group = definition.kind() == crate::dictionary::diameter::Type::Grouped;
                        assert!(is_group || definition.print(avp.value).is_some(), "{definition:?} {:?}", avp.value);
                        if definition.kind() == crate::dictionary::diameter::Type::Utf8String {
                            assert!(avp.utf8().is_some_and(|text| !text.contains(char::is_control)), "{definition:?}");
                        }
                    });
                }
            }
            Ok(())
        })?;
    }
}
