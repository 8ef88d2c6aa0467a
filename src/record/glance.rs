//! What the ledger keeps of a record, read from its octets without making the whole of it.

use std::time::Duration;

use super::bytes::Reader;
use super::codec::{
    ABSENT, ACKNOWLEDGED, ANSWERED, DURATION, END, ENDED, FACTS, LIST, NUMBER, NUMBERED, SETUP, TABLE, TEXT, VERSION,
};
use super::facts::Fact;
use super::{End, Kind};
use crate::clock::Timestamp;

/// Some of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Glance<'a> {
    /// The fact that the record states.
    pub kind: Kind,
    /// When that happened.
    pub event: Timestamp,
    /// Status code, 0 for none.
    pub code: u16,
    /// How it ended.
    pub end: Option<End>,
    /// How long the call has lasted.
    pub duration: Option<Duration>,
    /// How many legs it names.
    pub legs: u64,
    /// The Call-ID.
    pub call_id: &'a [u8],
    /// Name of the session; empty for none.
    pub session: &'a [u8],
    /// Number of the caller; empty where none is known.
    pub caller: &'a [u8],
    /// Number that the call was routed to, else that was dialled; empty where none is known.
    pub callee: &'a [u8],
}

impl Default for Glance<'_> {
    /// What is said of octets that are no record.
    fn default() -> Self {
        Self {
            kind: Kind::Event,
            event: Timestamp::default(),
            code: 0,
            end: None,
            duration: None,
            legs: 0,
            call_id: b"",
            session: b"",
            caller: b"",
            callee: b"",
        }
    }
}

/// Looks at the octets of a record; the checksum is not looked at. `None` when they are none of ours.
#[must_use]
pub fn glance(bytes: &[u8]) -> Option<Glance<'_>> {
    let mut reader = Reader::new(bytes);
    if reader.octet("version").ok()? != VERSION {
        return None;
    }
    let kind = *Kind::ALL.get(usize::from(reader.octet("kind").ok()?))?;
    let flags = u16::from_le_bytes(reader.array("flags").ok()?);
    let has = |flag: u16| flags & flag != 0;
    let count = |flag: u16| usize::from(has(flag));
    reader.take(16, "record id").ok()?;
    let event = Timestamp(i64::from_le_bytes(reader.array("event").ok()?));
    reader.take(8 * (1 + count(ANSWERED) + count(ACKNOWLEDGED) + count(ENDED)), "instants").ok()?;
    let mut span = |flag: u16| -> Option<Option<Duration>> {
        if !has(flag) {
            return Some(None);
        }
        let (secs, nanos) = (reader.number("span").ok()?, reader.number::<u32>("span").ok()?);
        (nanos < 1_000_000_000).then(|| Some(Duration::new(secs, nanos)))
    };
    span(SETUP)?;
    let duration = span(DURATION)?;
    let end = if has(END) { End::from_octets(reader.array("end").ok()?) } else { None };
    reader.number::<u32>("CSeq").ok()?;
    let code = reader.number("code").ok()?;
    for _ in 0..3 {
        reader.text("method and tags").ok()?;
    }
    let call_id = reader.text("Call-ID").ok()?;
    reader.text("reason").ok()?;
    let session = reader.text("session").ok()?;
    for _ in 0..1 + count(TABLE) {
        reader.text("multi-session and table").ok()?;
    }
    if has(NUMBERED) {
        reader.number::<u32>("number").ok()?;
    }
    pass_fields(&mut reader)?;
    let legs: u64 = reader.number("number of legs").ok()?;
    for _ in 0..legs {
        pass_fields(&mut reader)?;
    }
    let mut own = Glance { kind, event, code, end, duration, legs, call_id, session, ..Glance::default() };
    if has(FACTS) {
        take_facts(Reader::new(reader.text("facts").ok()?), &mut own);
    }
    Some(own)
}

/// Goes behind a set of fields.
fn pass_fields(reader: &mut Reader<'_>) -> Option<()> {
    let count = u16::from_le_bytes(reader.array("number of fields").ok()?);
    for _ in 0..count {
        reader.text("field name").ok()?;
        match reader.octet("value").ok()? {
            ABSENT => {}
            TEXT => drop(reader.text("value").ok()?),
            NUMBER => drop(reader.take(8, "value").ok()?),
            LIST => {
                for _ in 0..reader.number::<u64>("number of items").ok()? {
                    reader.text("item").ok()?;
                }
            }
            _ => return None,
        }
    }
    Some(())
}

fn take_facts<'a>(mut reader: Reader<'a>, into: &mut Glance<'a>) {
    while let (Ok(number), Ok(value)) = (reader.octet("fact"), reader.text("fact")) {
        if number == Fact::Caller as u8 {
            into.caller = value;
        } else if number == Fact::Called as u8 || (number == Fact::Dialled as u8 && into.callee.is_empty()) {
            into.callee = value;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::codec::{encode, tests::record};
    use crate::record::{Fields, Record, Value};

    #[test]
    fn a_glance_sees_what_the_whole_record_says() {
        let mut whole = Record { table: Some("cdr".into()), number: Some(3), ..record() };
        whole.times.answered = Some(Timestamp(1));
        whole.times.setup = Some(Duration::from_millis(7));
        whole.times.duration = Some(Duration::from_millis(61_500));
        whole.facts = crate::record::facts::tests::all();
        let values =
            [Value::Absent, Value::Text(b"x".to_vec()), Value::Number(-1), Value::List(vec![b"a".to_vec(); 3])];
        let fields: Fields = values.into_iter().map(|value| ("f".to_owned(), value)).collect();
        (whole.fields, whole.legs) = (fields.clone(), vec![fields; 2]);
        for record in [record(), whole] {
            let bytes = encode(&record);
            let glance = glance(&bytes).expect("a record");
            assert_eq!((glance.kind, glance.event, glance.code), (record.kind, record.times.event, record.code));
            assert_eq!((glance.end, glance.duration), (record.end, record.times.duration));
            assert_eq!((glance.call_id, glance.session), (&record.call_id[..], record.session.as_bytes()));
            assert_eq!(glance.legs, record.legs.len() as u64);
            let text = |fact| record.facts.text(fact).unwrap_or_default();
            assert_eq!((glance.caller, glance.callee), (text(Fact::Caller), text(Fact::Called)));
        }
    }

    #[test]
    fn octets_that_are_no_record_are_none_however_they_are_cut() {
        let bytes = encode(&record());
        for end in 0..bytes.len() - 4 {
            assert_eq!(glance(&bytes[..end]).map(|_| end), None);
        }
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= 0xff;
            let _no_panic = glance(&other);
        }
    }
}
