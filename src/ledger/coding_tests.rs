//! Rows come back from their octets, and other octets mean nothing or something else.

use proptest::collection::vec;
use proptest::prelude::{Just, Strategy, any, prop_assert_eq, prop_oneof, proptest};

use super::*;
use crate::record::{Cause, Party};

/// A row that owns its texts.
#[derive(Clone, Debug)]
enum Own {
    Made { numbers: (u64, u128, i64, u16), kind: usize, is_ended: bool, duration: Option<u64>, texts: [Vec<u8>; 4] },
    Ended { seq: u64, sink: u8, fate: usize, at: i64, attempts: u32, who: Vec<u8>, reason: Vec<u8>, code: u32 },
    Other(usize, u64, i64, Vec<u8>),
}

impl Own {
    fn row(&self) -> Row<'_> {
        match self {
            Self::Made { numbers: (seq, id, event, code), kind, is_ended, duration, texts } => Row::Made(Made {
                seq: *seq,
                id: RecordId(*id),
                event: Timestamp(event * 1000),
                kind: Kind::ALL[*kind],
                code: *code,
                end: is_ended.then_some(End { by: Party::Callee, cause: Cause::Bye }),
                duration_ms: *duration,
                legs: seq % 3,
                sinks: seq & 7,
                is_back: *is_ended,
                call_id: &texts[0],
                session: &texts[1],
                caller: &texts[2],
                callee: &texts[3],
            }),
            Self::Ended { seq, sink, fate, at, attempts, who, reason, code } => Row::Ended(Ended {
                seq: *seq,
                sink: *sink,
                fate: Fate::ALL[*fate],
                at: Timestamp(at * 1000),
                attempts: *attempts,
                who,
                reason,
                code: if reason.is_empty() { 0 } else { *code },
            }),
            Self::Other(which, number, at, text) => {
                let at = Timestamp(at * 1000);
                match which {
                    0 => Row::Again { seq: *number, was: number / 2, sinks: number % 8, at },
                    1 => Row::Gap { from: at, to: at, records: *number, fates: number / 3, reason: text },
                    2 => Row::Began { at, is_clean: number % 2 == 0, version: text },
                    3 => Row::Gone { from: *number, to: number.saturating_add(5), at },
                    _ => Row::Counted { at, what: text, count: *number },
                }
            }
        }
    }
}

/// Milliseconds far from the bounds of a timestamp.
const MILLIS: std::ops::Range<i64> = -1_000_000_000_000..100_000_000_000_000;

fn rows() -> impl Strategy<Value = Own> {
    let text = || vec(any::<u8>(), 0..40);
    let id = (0_u128..1 << 47, any::<u64>()).prop_map(|(ms, random)| ms << 80 | u128::from(random));
    let session = prop_oneof![Just(Vec::new()), vec(any::<u8>(), 1..16), vec(any::<u8>(), 17..32)];
    let made = ((any::<u64>(), id, MILLIS, any::<u16>()), 0..Kind::ALL.len(), any::<bool>(), any::<Option<u64>>());
    let made = (made, (text(), session, text(), text())).prop_map(|((numbers, kind, is_ended, duration), texts)| {
        Own::Made { numbers, kind, is_ended, duration, texts: texts.into() }
    });
    let ended = (any::<u64>(), 0..64_u8, 0..Fate::ALL.len(), MILLIS, any::<u32>(), text(), text(), any::<u32>());
    let ended = ended.prop_map(|(seq, sink, fate, at, attempts, who, reason, code)| Own::Ended {
        seq,
        sink,
        fate,
        at,
        attempts,
        who,
        reason,
        code,
    });
    let other = (0..5_usize, any::<u64>(), MILLIS, text());
    prop_oneof![made, ended, other.prop_map(|(which, number, at, text)| Own::Other(which, number, at, text))]
}

proptest! {
    #[test]
    fn rows_come_back_as_they_were_put(own in vec(rows(), 0..60)) {
        let mut rows = Rows::default();
        own.iter().for_each(|own| rows.put(&own.row()));
        let octets = rows.take();
        let (_, mut reader) = read(&octets).expect("sinks");
        for own in &own {
            let found = reader.next_row().expect("a row");
            prop_assert_eq!(found, Some(own.row()));
        }
        prop_assert_eq!(reader.next_row().expect("the end"), None);
    }

    #[test]
    fn other_octets_are_refused_or_mean_something_and_never_panic(octets in vec(any::<u8>(), 0..200)) {
        if let Ok((_, mut reader)) = read(&octets) {
            while let Ok(Some(_)) = reader.next_row() {}
        }
    }
}

#[test]
fn sinks_have_running_numbers_from_block_to_block() {
    let (a, b): (Arc<str>, Arc<str>) = ("a".into(), "b".into());
    let mut running = Running::default();
    let made = |sinks, is_back| Made {
        seq: 1,
        id: RecordId(0),
        event: Timestamp(0),
        kind: Kind::Start,
        code: 200,
        end: None,
        duration_ms: None,
        legs: 0,
        sinks,
        is_back,
        call_id: b"c",
        session: b"",
        caller: b"",
        callee: b"",
    };
    let names = |number: usize| ["a", "b"].get(number).copied();
    for (sinks, is_back) in [(3, false), (1, false), (1, true), (2, false)] {
        running.count(&made(sinks, is_back), names);
    }
    assert_eq!((running.of("a"), running.of("b"), running.of("c")), (2, 2, 0), "one that is back has its number");
    let mut rows = Rows::default();
    assert_eq!((rows.sink(&b, &running), rows.sink(&a, &running), rows.sink(&b, &running)), (0, 1, 0));
    let octets = rows.take();
    let (sinks, _) = read(&octets).unwrap();
    assert_eq!(sinks, [BlockSink { name: "b", before: 2 }, BlockSink { name: "a", before: 2 }]);
    let mut reader = Running::default();
    reader.count(&made(1, false), names);
    assert_eq!(reader.meet(&sinks), [("b".into(), 2), ("a".into(), 1)], "what is missing before it shows");
    assert!(reader.meet(&sinks).is_empty());
}

#[test]
fn a_row_is_short() {
    let mut rows = Rows::default();
    let names: [Arc<str>; 3] = ["billing".into(), "cdf".into(), "rows".into()];
    let running = Running::default();
    let mask = names.iter().fold(0, |mask, name| mask | 1 << rows.sink(name, &running));
    for number in 0..1000_u64 {
        let id = RecordId(u128::from(1_796_000_000_000 + number * 3) << 80 | 0x1234_5678_9abc_def0_1234);
        let session = format!("{:032x}", u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835));
        rows.put(&Row::Made(Made {
            seq: number,
            id,
            event: Timestamp((1_796_000_000_000 + i64::try_from(number).unwrap() * 3 - 2) * 1000),
            kind: Kind::Stop,
            code: 200,
            end: Some(End { by: Party::Caller, cause: Cause::Bye }),
            duration_ms: Some(61_234),
            legs: 0,
            sinks: mask,
            is_back: false,
            call_id: b"3848276298220188511@192.0.2.17",
            session: session.as_bytes(),
            caller: b"+4930123456",
            callee: b"+40211234567",
        }));
        for sink in 0..3 {
            let at = Timestamp((1_796_000_000_000 + i64::try_from(number).unwrap() * 3 + 40) * 1000);
            let (who, reason) = (&b"192.0.2.1:1813"[..], &b""[..]);
            rows.put(&Row::Ended(Ended {
                seq: number,
                sink,
                fate: Fate::Delivered,
                at,
                attempts: 1,
                who,
                reason,
                code: 0,
            }));
        }
    }
    let octets = rows.take().len();
    assert!(octets < 120 * 1000, "{octets} octets, three sinks, not packed");
}
