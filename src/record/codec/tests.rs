//! Tests of the record's bytes.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert, prop_assert_eq, prop_oneof, proptest};

use super::*;

/// A small Stop.
pub(in crate::record) fn record() -> Record {
    Record {
        id: RecordId(1 << 100),
        kind: Kind::Stop,
        method: b"BYE".to_vec(),
        from_tag: b"a".to_vec(),
        to_tag: b"b".to_vec(),
        call_id: b"call@example".to_vec(),
        cseq: 2,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: true,
        session: "0".repeat(32),
        multi_session: "1".repeat(32),
        times: Times::default(),
        end: Some(End { by: Party::Caller, cause: Cause::Bye }),
        fields: Fields::new(),
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: Facts::new(),
    }
}

fn value(longest: usize) -> impl Strategy<Value = Value> {
    prop_oneof![
        Just(Value::Absent),
        vec(any::<u8>(), 0..longest).prop_map(Value::Text),
        vec(vec(any::<u8>(), 0..longest / 4), 0..6).prop_map(Value::List),
        any::<i64>().prop_map(Value::Number),
    ]
}

fn fields(longest: usize) -> impl Strategy<Value = Fields> {
    vec((".{0,20}", value(longest)), 0..8)
}

fn times() -> impl Strategy<Value = Times> {
    let instant = any::<i64>().prop_map(Timestamp);
    let maybe = proptest::option::of(any::<i64>().prop_map(Timestamp));
    let span = proptest::option::of((any::<u64>(), 0_u32..1_000_000_000).prop_map(|(s, n)| Duration::new(s, n)));
    (instant.clone(), instant, maybe.clone(), maybe.clone(), maybe, span.clone(), span).prop_map(
        |(event, created, answered, acknowledged, ended, setup, duration)| Times {
            event,
            created,
            answered,
            acknowledged,
            ended,
            setup,
            duration,
        },
    )
}

fn records(longest: usize) -> impl Strategy<Value = Record> {
    let text = move || vec(any::<u8>(), 0..longest);
    let end = proptest::option::of((0..PARTIES.len(), 0..CAUSES.len()))
        .prop_map(|end| end.map(|(by, cause)| End { by: PARTIES[by], cause: CAUSES[cause] }));
    let texts = (text(), text(), text(), text(), text(), ".{0,16}", proptest::option::of(".{0,60}"));
    let cseq = (any::<u32>(), proptest::option::of(any::<u32>()));
    let heads = (any::<u128>(), 0..Kind::ALL.len(), cseq, any::<u16>(), any::<bool>(), any::<bool>());
    (heads, texts, times(), end, fields(longest * 4), vec(fields(longest), 0..5)).prop_map(
        |((id, kind, (cseq, number), code, in_dialog, shortened), texts, times, end, fields, legs)| {
            let (method, from_tag, to_tag, call_id, reason, session, table) = texts;
            Record {
                id: RecordId(id),
                kind: Kind::ALL[kind],
                method,
                from_tag,
                to_tag,
                call_id,
                cseq,
                code,
                reason,
                in_dialog,
                multi_session: session.clone(),
                session,
                times,
                end,
                fields,
                legs,
                table,
                number,
                shortened,
                facts: Facts::new(),
            }
        },
    )
}

proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    #[test]
    fn a_record_within_the_limits_comes_back_whole(record in records(64)) {
        prop_assert_eq!(decode(&encode(&record)), Ok(record));
    }

    #[test]
    fn a_record_of_any_size_fits_and_is_cut_once(record in records(9_000)) {
        let bytes = encode(&record);
        prop_assert!(bytes.len() <= RECORD_BYTES_MAX);
        let cut = decode(&bytes).expect("what was written is read");
        prop_assert_eq!(cut.id, record.id);
        prop_assert_eq!(cut.shortened, record.shortened || Record { shortened: false, ..cut.clone() } != Record { shortened: false, ..record });
        prop_assert_eq!(encode(&cut), bytes);
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in vec(any::<u8>(), 0..400)) {
        let _ = decode(&bytes);
    }

    #[test]
    fn any_contents_under_a_right_checksum_are_read_or_refused(
        record in records(16), at in any::<proptest::sample::Index>(), octet in any::<u8>(), end in any::<proptest::sample::Index>()
    ) {
        let mut bytes = encode(&record);
        bytes.truncate(bytes.len() - 4);
        let at = at.index(bytes.len());
        bytes[at] = octet;
        bytes.truncate(end.index(bytes.len() + 1));
        bytes.extend_from_slice(&crc32c::crc32c(&bytes).to_le_bytes());
        if let Ok(record) = decode(&bytes) {
            prop_assert_eq!(decode(&encode(&record)), Ok(record));
        }
    }
}

#[test]
fn over_long_values_are_cut_and_marked() {
    let text = |length: usize| Value::Text(vec![b'x'; length]);
    let filled = |change: &dyn Fn(&mut Record)| {
        let mut record = record();
        change(&mut record);
        let bytes = encode(&record);
        assert!(bytes.len() <= RECORD_BYTES_MAX, "{} octets", bytes.len());
        decode(&bytes).expect("what was written is read")
    };
    for (name, change, want) in [
        ("nothing over-long", &(|_: &mut Record| {}) as &dyn Fn(&mut Record), false),
        ("a Call-ID of 60 000 octets", &|r| r.call_id = vec![b'x'; 60_000], true),
        ("a tag at its limit", &|r| r.to_tag = vec![b'x'; TAG_BYTES_MAX], false),
        ("a tag over its limit", &|r| r.to_tag = vec![b'x'; TAG_BYTES_MAX + 1], true),
        ("a value at its limit", &|r| r.fields = vec![("f".into(), text(VALUE_BYTES_MAX))], false),
        ("a value over its limit", &|r| r.fields = vec![("f".into(), text(VALUE_BYTES_MAX + 1))], true),
        ("a list of 1000", &|r| r.fields = vec![("f".into(), Value::List(vec![b"x".to_vec(); 1000]))], true),
        ("300 fields", &|r| r.fields = vec![("f".into(), Value::Absent); 300], true),
        ("65 legs", &|r| r.legs = vec![Fields::new(); 65], true),
        (
            "all at once",
            &|r| {
                r.fields = vec![("n".repeat(300), text(60_000)); 256];
                r.legs = vec![r.fields.clone(); 64];
            },
            true,
        ),
        ("a table name cut within a character", &|r| r.table = Some("\u{20ac}".repeat(100)), true),
    ] {
        assert_eq!(filled(change).shortened, want, "{name}");
    }
    let cut = filled(&|r| r.call_id = vec![b'x'; 60_000]);
    assert_eq!(cut.call_id.len(), CALL_ID_BYTES_MAX, "the beginning stays");
}

#[test]
fn bytes_that_are_no_record_say_why() {
    let good = encode(&record());
    let mut damaged = good.clone();
    damaged[30] ^= 1;
    let mut newer = good.clone();
    newer[0] = 9;
    for (name, bytes, want) in [
        ("nothing", &[][..], "version at octet 0 cannot be read"),
        ("zeros", &[0; 64], "version at octet 0 cannot be read"),
        ("a newer release", &newer, "record of version 9, this release reads up to 1"),
        ("one bit flipped", &damaged, "checksum of the record is wrong"),
        ("cut off", &good[..good.len() - 1], "checksum of the record is wrong"),
        ("a version alone", &[1], "checksum of the record is wrong"),
    ] {
        assert_eq!(decode(bytes).map_err(|error| error.to_string()), Err(want.to_owned()), "{name}");
    }
}

#[test]
fn the_bytes_of_version_1_stay_readable() {
    // Records wait on disk across releases: this one was written by the first.
    let hex: String = encode(&record()).iter().map(|octet| format!("{octet:02x}")).collect();
    assert_eq!(hex, VERSION_1);
}

/// [`record`] as written by the first release.
const VERSION_1: &str = concat!(
    "010281000000001000000000000000000000000000000000000000000000000000000000000002c80103425945016101",
    "620c63616c6c406578616d706c65024f4b20303030303030303030303030303030303030303030303030303030303030",
    "303020313131313131313131313131313131313131313131313131313131313131313100000065c22b97",
);
