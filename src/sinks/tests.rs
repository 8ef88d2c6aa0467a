//! What the tests of sinks share.

use std::time::Duration;

use crate::clock::Timestamp;
use crate::ids::RecordId;
use crate::record::{Cause, End, Kind, Party, Record, Times, Value};

/// A record as the engine makes it: created at 1 700 000 000, answered 4 s later, ended 61.5 s after that.
pub(super) fn record(kind: Kind) -> Record {
    let at = |millis: i64| Timestamp(1_700_000_000_000_000 + millis * 1000);
    let is_end = matches!(kind, Kind::Stop | Kind::Cdr);
    Record {
        id: RecordId(0x018b_cfe5_6800_0000_0000_0000_0000_0001),
        kind,
        method: if kind == Kind::Stop { b"BYE".to_vec() } else { b"INVITE".to_vec() },
        from_tag: b"alice-tag".to_vec(),
        to_tag: b"bob-tag".to_vec(),
        call_id: b"call-1@192.0.2.7".to_vec(),
        cseq: 1,
        code: 200,
        reason: b"OK".to_vec(),
        in_dialog: is_end,
        session: "0123456789abcdef0123456789abcdef".to_owned(),
        multi_session: "fedcba9876543210fedcba9876543210".to_owned(),
        times: Times {
            event: if is_end { at(65_500) } else { at(4_000) },
            created: at(0),
            answered: Some(at(4_000)),
            acknowledged: None,
            ended: is_end.then(|| at(65_500)),
            setup: Some(Duration::from_millis(4_000)),
            duration: is_end.then(|| Duration::from_millis(61_500)),
        },
        end: is_end.then_some(End { by: Party::Callee, cause: Cause::Bye }),
        fields: vec![("src_ip".to_owned(), Value::Text(b"192.0.2.7".to_vec()))],
        legs: Vec::new(),
        table: None,
        number: None,
        shortened: false,
        facts: crate::record::Facts::new(),
    }
}
