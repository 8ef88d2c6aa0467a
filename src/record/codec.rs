//! Versioned, checked bytes of a record, as the queue keeps them.
//!
//! Version 1: `version u8, kind u8, flags u16, id 16, event i64, created i64`, then what the flags name, CSeq, code,
//! texts, fields, legs and facts as [`super::bytes`] writes them, and last a CRC-32C of all before it. Fixed numbers are
//! little-endian.
//!
//! A record stays below [`RECORD_BYTES_MAX`]: texts longer than their limit are cut and the record says so
//! ([`Record::shortened`]); it is never refused. What is cut is cut in the same way every time.

use std::time::Duration;

use super::bytes::{Reader, Unreadable, put_number, put_text};
use super::{Cause, End, Facts, Fields, Kind, Party, Record, Times, Value};
use crate::clock::Timestamp;
use crate::ids::RecordId;

/// Most octets of an encoded record: below the 64 KiB that the queue takes in parts of 4 KiB.
pub const RECORD_BYTES_MAX: usize = 60 * 1024;
/// Most octets of a method.
pub const METHOD_BYTES_MAX: usize = 64;
/// Most octets of a From or To tag.
pub const TAG_BYTES_MAX: usize = 1024;
/// Most octets of a Call-ID.
pub const CALL_ID_BYTES_MAX: usize = 2048;
/// Most octets of a reason phrase.
pub const REASON_BYTES_MAX: usize = 1024;
/// Most octets of a session name.
pub const SESSION_BYTES_MAX: usize = 64;
/// Most octets of a table name.
pub const TABLE_BYTES_MAX: usize = 255;
/// Most octets of a field's name.
pub const NAME_BYTES_MAX: usize = 255;
/// Most octets of one value; of a list: of all its items together.
pub const VALUE_BYTES_MAX: usize = 4096;
/// Most items of a list.
pub const LIST_ITEMS_MAX: usize = 256;
/// Most fields in the record and in each leg.
pub const FIELDS_MAX: usize = 256;
/// Most legs of a record; further ones are dropped, and the record says that it was shortened.
pub const LEGS_MAX: usize = 64;
/// Most octets of all fields and legs, names and lengths included.
pub const FIELDS_BYTES_MAX: usize = 48 * 1024;

/// First octet of every record that is written; what was written under a lower one stays readable.
pub const VERSION: u8 = 1;

/// Bytes are no record.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum DecodeError {
    /// Written by a newer release.
    #[error("record of version {found}, this release reads up to {VERSION}")]
    Newer {
        /// First octet of the record, above [`VERSION`].
        found: u8,
    },
    /// The checksum does not fit: damaged.
    #[error("checksum of the record is wrong")]
    Checksum,
    /// The checksum fits but the contents do not.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

// Numbers on disk: a new kind, party or cause goes to the end of its list.

const IN_DIALOG: u16 = 1;
const SHORTENED: u16 = 1 << 1;
pub(super) const ANSWERED: u16 = 1 << 2;
pub(super) const ACKNOWLEDGED: u16 = 1 << 3;
pub(super) const ENDED: u16 = 1 << 4;
pub(super) const SETUP: u16 = 1 << 5;
pub(super) const DURATION: u16 = 1 << 6;
pub(super) const END: u16 = 1 << 7;
pub(super) const TABLE: u16 = 1 << 8;
pub(super) const NUMBERED: u16 = 1 << 9;
pub(super) const FACTS: u16 = 1 << 10;
const KNOWN: u16 = (1 << 11) - 1;

/// Octets that most records fit in.
const RECORD_BYTES: usize = 640;

/// Place of the flags in the bytes.
const FLAGS_AT: usize = 2;

/// The record as bytes.
#[must_use]
pub fn encode(record: &Record) -> Vec<u8> {
    let times = &record.times;
    let mut flags = 0;
    for (is_set, flag) in [
        (record.in_dialog, IN_DIALOG),
        (record.shortened, SHORTENED),
        (times.answered.is_some(), ANSWERED),
        (times.acknowledged.is_some(), ACKNOWLEDGED),
        (times.ended.is_some(), ENDED),
        (times.setup.is_some(), SETUP),
        (times.duration.is_some(), DURATION),
        (record.end.is_some(), END),
        (record.table.is_some(), TABLE),
        (record.number.is_some(), NUMBERED),
        (!record.facts.is_empty(), FACTS),
    ] {
        if is_set {
            flags |= flag;
        }
    }
    let mut writer = Writer { out: Vec::with_capacity(RECORD_BYTES), is_shortened: false };
    writer.out.extend_from_slice(&[VERSION, record.kind as u8]);
    writer.out.extend_from_slice(&flags.to_le_bytes());
    writer.out.extend_from_slice(&record.id.to_bytes());
    for instant in
        [Some(times.event), Some(times.created), times.answered, times.acknowledged, times.ended].into_iter().flatten()
    {
        writer.out.extend_from_slice(&instant.0.to_le_bytes());
    }
    for span in [times.setup, times.duration].into_iter().flatten() {
        put_number(span.as_secs(), &mut writer.out);
        put_number(span.subsec_nanos().into(), &mut writer.out);
    }
    if let Some(end) = record.end {
        writer.out.extend_from_slice(&end.to_octets());
    }
    put_number(record.cseq.into(), &mut writer.out);
    put_number(record.code.into(), &mut writer.out);
    writer.text(&record.method, METHOD_BYTES_MAX);
    writer.text(&record.from_tag, TAG_BYTES_MAX);
    writer.text(&record.to_tag, TAG_BYTES_MAX);
    writer.text(&record.call_id, CALL_ID_BYTES_MAX);
    writer.text(&record.reason, REASON_BYTES_MAX);
    writer.string(&record.session, SESSION_BYTES_MAX);
    writer.string(&record.multi_session, SESSION_BYTES_MAX);
    if let Some(table) = &record.table {
        writer.string(table, TABLE_BYTES_MAX);
    }
    if let Some(number) = record.number {
        put_number(number.into(), &mut writer.out);
    }
    writer.values(record);
    if !record.facts.is_empty() {
        put_text(record.facts.bytes(), &mut writer.out);
    }
    if writer.is_shortened {
        writer.out[FLAGS_AT..FLAGS_AT + 2].copy_from_slice(&(flags | SHORTENED).to_le_bytes());
    }
    let check = crc32c::crc32c(&writer.out);
    writer.out.extend_from_slice(&check.to_le_bytes());
    debug_assert!(writer.out.len() <= RECORD_BYTES_MAX, "the limits add up to less");
    writer.out
}

/// What [`peek`] sees of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Glimpse<'a> {
    /// The fact that the record states.
    pub kind: Kind,
    /// Name of its session; empty for none.
    pub session: &'a [u8],
    /// Its number within the session, if it has one.
    pub number: Option<u32>,
}

/// Kind, session and number of an encoded record, without reading the rest; the checksum is not looked at.
///
/// `None` when the bytes are none of ours.
#[must_use]
pub fn peek(bytes: &[u8]) -> Option<Glimpse<'_>> {
    let mut reader = Reader::new(bytes);
    if reader.octet("version").ok()? != VERSION {
        return None;
    }
    let kind = *Kind::ALL.get(usize::from(reader.octet("kind").ok()?))?;
    let flags = u16::from_le_bytes(reader.array("flags").ok()?);
    let has = |flag: u16| usize::from(flags & flag != 0);
    // Id, event, created, then what the flags name.
    let instants = 2 + has(ANSWERED) + has(ACKNOWLEDGED) + has(ENDED);
    reader.take(16 + 8 * instants, "instants").ok()?;
    for _ in 0..2 * (has(SETUP) + has(DURATION)) {
        reader.number::<u64>("span").ok()?;
    }
    reader.take(2 * has(END), "end").ok()?;
    reader.number::<u64>("CSeq").ok()?;
    reader.number::<u64>("code").ok()?;
    for _ in 0..5 {
        reader.text("text").ok()?;
    }
    let session = reader.text("session").ok()?;
    for _ in 0..1 + has(TABLE) {
        reader.text("text").ok()?;
    }
    let number = if flags & NUMBERED == 0 { None } else { Some(reader.number("number").ok()?) };
    Some(Glimpse { kind, session, number })
}

/// Appends texts cut at their limits.
struct Writer {
    out: Vec<u8>,
    is_shortened: bool,
}

impl Writer {
    fn text(&mut self, text: &[u8], limit: usize) {
        self.is_shortened |= text.len() > limit;
        put_text(&text[..text.len().min(limit)], &mut self.out);
    }

    fn string(&mut self, text: &str, limit: usize) {
        let end = (0..=text.len().min(limit)).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        self.is_shortened |= end < text.len();
        put_text(&text.as_bytes()[..end], &mut self.out);
    }

    fn values(&mut self, record: &Record) {
        let end = self.out.len() + FIELDS_BYTES_MAX;
        self.fields(&record.fields, end);
        let legs = record.legs.len().min(LEGS_MAX);
        self.is_shortened |= legs < record.legs.len();
        put_number(legs as u64, &mut self.out);
        for leg in &record.legs[..legs] {
            self.fields(leg, end);
        }
    }

    /// Writes fields as long as they fit below `end`; a value that does not fit whole is cut, the rest left out.
    fn fields(&mut self, fields: &Fields, end: usize) {
        // Room for the counts of all legs is set aside, so that they can be written in any case.
        let end = end.saturating_sub(COUNT_BYTES_MAX * (LEGS_MAX + 2));
        let count_at = self.out.len();
        self.out.extend_from_slice(&[0; COUNT_BYTES_MAX]);
        let mut count = 0_u16;
        for (name, value) in fields.iter().take(FIELDS_MAX) {
            let need = name.len().min(NAME_BYTES_MAX) + FIELD_BYTES_LEAST;
            if self.out.len() + need > end {
                break;
            }
            self.string(name, NAME_BYTES_MAX);
            self.value(value, (end - self.out.len() - VALUE_HEAD_BYTES_MAX).min(VALUE_BYTES_MAX));
            count += 1;
        }
        self.is_shortened |= usize::from(count) < fields.len();
        self.out[count_at..count_at + COUNT_BYTES_MAX].copy_from_slice(&count.to_le_bytes());
    }

    fn value(&mut self, value: &Value, limit: usize) {
        match value {
            Value::Absent => self.out.push(ABSENT),
            Value::Text(text) => {
                self.out.push(TEXT);
                self.text(text, limit);
            }
            Value::Number(number) => {
                self.out.push(NUMBER);
                self.out.extend_from_slice(&number.to_le_bytes());
            }
            Value::List(items) => self.list(items, limit),
        }
    }

    fn list(&mut self, items: &[Vec<u8>], limit: usize) {
        self.out.push(LIST);
        // How many items fit, each with the most octets a length takes.
        let mut left = limit;
        let mut count = 0;
        for item in items.iter().take(LIST_ITEMS_MAX) {
            if left < LENGTH_BYTES_MAX {
                break;
            }
            left -= LENGTH_BYTES_MAX + item.len().min(left - LENGTH_BYTES_MAX);
            count += 1;
        }
        self.is_shortened |= count < items.len();
        put_number(count as u64, &mut self.out);
        let mut left = limit;
        for item in &items[..count] {
            left -= LENGTH_BYTES_MAX;
            self.text(item, left);
            left -= item.len().min(left);
        }
    }
}

/// Octets of the number of fields of a set.
const COUNT_BYTES_MAX: usize = 2;
/// Most octets of the length of a text within a record.
const LENGTH_BYTES_MAX: usize = 3;
/// Octets in front of a value's text: its kind and length, or the count of a list; a number fits in too.
const VALUE_HEAD_BYTES_MAX: usize = 9;
/// Octets a field takes besides its name: lengths, and a value of no or few octets.
const FIELD_BYTES_LEAST: usize = LENGTH_BYTES_MAX + VALUE_HEAD_BYTES_MAX;

pub(super) const ABSENT: u8 = 0;
pub(super) const TEXT: u8 = 1;
pub(super) const LIST: u8 = 2;
pub(super) const NUMBER: u8 = 3;

/// The record from its bytes. Never panics, whatever they are.
///
/// # Errors
/// The bytes are of a newer release, damaged, or mean nothing.
pub fn decode(bytes: &[u8]) -> Result<Record, DecodeError> {
    match bytes.first() {
        Some(&found) if found > VERSION => return Err(DecodeError::Newer { found }),
        Some(&VERSION) => {}
        _ => return Err(Unreadable { what: "version", at: 0 }.into()),
    }
    let Some((body, check)) = bytes.split_last_chunk::<4>() else { return Err(DecodeError::Checksum) };
    if crc32c::crc32c(body) != u32::from_le_bytes(*check) {
        return Err(DecodeError::Checksum);
    }
    let mut reader = Reader::new(&body[1..]);
    let record = read(&mut reader).map_err(|error| Unreadable { at: error.at + 1, ..error })?;
    if reader.left() > 0 {
        return Err(Unreadable { what: "end of the record", at: body.len() - reader.left() }.into());
    }
    Ok(record)
}

fn read(reader: &mut Reader<'_>) -> Result<Record, Unreadable> {
    let kind = one_of(reader, &Kind::ALL, "kind")?;
    let bad_flags = reader.unreadable("flags");
    let flags = u16::from_le_bytes(reader.array("flags")?);
    if flags & !KNOWN != 0 {
        return Err(bad_flags);
    }
    let id = RecordId::from_bytes(reader.array("record id")?);
    let has = |flag: u16| flags & flag != 0;
    let times = read_times(reader, has)?;
    let end = if has(END) {
        Some(End { by: one_of(reader, &PARTIES, "party")?, cause: one_of(reader, &CAUSES, "cause")? })
    } else {
        None
    };
    let cseq = reader.number("CSeq")?;
    let code = reader.number("code")?;
    Ok(Record {
        id,
        kind,
        method: reader.text("method")?.to_vec(),
        from_tag: reader.text("From tag")?.to_vec(),
        to_tag: reader.text("To tag")?.to_vec(),
        call_id: reader.text("Call-ID")?.to_vec(),
        cseq,
        code,
        reason: reader.text("reason")?.to_vec(),
        in_dialog: has(IN_DIALOG),
        session: reader.string("session")?.to_owned(),
        multi_session: reader.string("multi-session")?.to_owned(),
        times,
        end,
        table: if has(TABLE) { Some(reader.string("table")?.to_owned()) } else { None },
        number: if has(NUMBERED) { Some(reader.number("number")?) } else { None },
        fields: read_fields(reader)?,
        legs: read_legs(reader)?,
        shortened: has(SHORTENED),
        facts: if has(FACTS) { Facts::from_bytes(reader.text("facts")?)? } else { Facts::new() },
    })
}

fn read_times(reader: &mut Reader<'_>, has: impl Fn(u16) -> bool) -> Result<Times, Unreadable> {
    let instant = |reader: &mut Reader<'_>| reader.array("instant").map(|octets| Timestamp(i64::from_le_bytes(octets)));
    let mut times = Times { event: instant(reader)?, created: instant(reader)?, ..Times::default() };
    for (flag, place) in
        [(ANSWERED, &mut times.answered), (ACKNOWLEDGED, &mut times.acknowledged), (ENDED, &mut times.ended)]
    {
        if has(flag) {
            *place = Some(instant(reader)?);
        }
    }
    for (flag, place) in [(SETUP, &mut times.setup), (DURATION, &mut times.duration)] {
        if has(flag) {
            let start = reader.unreadable("span");
            let (secs, nanos) = (reader.number("span")?, reader.number::<u32>("span")?);
            if nanos >= 1_000_000_000 {
                return Err(start);
            }
            *place = Some(Duration::new(secs, nanos));
        }
    }
    Ok(times)
}

const PARTIES: [Party; 3] = [Party::Caller, Party::Callee, Party::Gateway];
pub(super) const CAUSES: [Cause; 17] = [
    Cause::Bye,
    Cause::FailedBye,
    Cause::SessionTimer,
    Cause::Lifetime,
    Cause::Administrator,
    Cause::Restart,
    Cause::Cancelled,
    Cause::Timeout,
    Cause::Refused,
    Cause::Unreachable,
    Cause::Elsewhere,
    Cause::NoAck,
    Cause::Busy,
    Cause::NoAnswer,
    Cause::Redirected,
    Cause::Forbidden,
    Cause::Offline,
];

impl End {
    /// As it stands in records, for others who write ends down.
    #[must_use]
    pub const fn to_octets(self) -> [u8; 2] {
        [self.by as u8, self.cause as u8]
    }

    /// What [`End::to_octets`] gave; `None` for what is no end.
    #[must_use]
    pub fn from_octets([by, cause]: [u8; 2]) -> Option<Self> {
        Some(Self { by: *PARTIES.get(usize::from(by))?, cause: *CAUSES.get(usize::from(cause))? })
    }
}

fn one_of<T: Copy>(reader: &mut Reader<'_>, all: &[T], what: &'static str) -> Result<T, Unreadable> {
    let start = reader.unreadable(what);
    all.get(usize::from(reader.octet(what)?)).copied().ok_or(start)
}

/// Appends one set of fields, cut at the limits of a record and at about `limit` octets; whether something was cut.
#[must_use]
pub fn put_fields(fields: &Fields, limit: usize, out: &mut Vec<u8>) -> bool {
    let mut writer = Writer { out: std::mem::take(out), is_shortened: false };
    let end = writer.out.len() + limit.min(FIELDS_BYTES_MAX);
    writer.fields(fields, end);
    *out = writer.out;
    writer.is_shortened
}

/// Reads one set of fields.
///
/// # Errors
/// The bytes mean no fields.
pub fn read_fields(reader: &mut Reader<'_>) -> Result<Fields, Unreadable> {
    let start = reader.unreadable("number of fields");
    let count = usize::from(u16::from_le_bytes(reader.array("number of fields")?));
    if count > FIELDS_MAX {
        return Err(start);
    }
    let mut fields = Fields::with_capacity(count.min(reader.left()));
    for _ in 0..count {
        fields.push((reader.string("field name")?.to_owned(), read_value(reader)?));
    }
    Ok(fields)
}

fn read_legs(reader: &mut Reader<'_>) -> Result<Vec<Fields>, Unreadable> {
    let start = reader.unreadable("number of legs");
    let count: usize = reader.number("number of legs")?;
    if count > LEGS_MAX {
        return Err(start);
    }
    (0..count).map(|_| read_fields(reader)).collect()
}

fn read_value(reader: &mut Reader<'_>) -> Result<Value, Unreadable> {
    let start = reader.unreadable("value");
    match reader.octet("value")? {
        ABSENT => Ok(Value::Absent),
        TEXT => Ok(Value::Text(reader.text("value")?.to_vec())),
        NUMBER => Ok(Value::Number(i64::from_le_bytes(reader.array("value")?))),
        LIST => {
            let count: usize = reader.number("number of items")?;
            if count > LIST_ITEMS_MAX {
                return Err(start);
            }
            (0..count).map(|_| reader.text("item").map(<[u8]>::to_vec)).collect::<Result<_, _>>().map(Value::List)
        }
        _ => Err(start),
    }
}

#[cfg(test)]
pub(super) mod tests;
