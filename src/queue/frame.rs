//! Framing of values: each is checked when it is read, and can be found in a damaged file without its tree.
//!
//! ```text
//! magic  4   "TGr1" record, "TGa1" bitmap, "TGc1" call, "TGe1" ended calls, "TGm1" meta, "TGp1" parked (kind and codec
//!            version)
//! length u32 of what follows the checksum
//! crc32c u32 over what follows it
//! record: seq u64, part u8, parts u8, total u64, id 16, call hash u64, sinks u64, body part
//! bitmap: spool u32, sink u16, chunk u32, 128 octets
//! call:   revision u64, part u8, parts u8 (0 = forgotten), key length u16, key, value part
//! ended:  revision u64, then for each call: key length u16, key, note length u16, note
//! meta:   revision u64, name length u8, name, value
//! parked: sink u16, id 16, part u8, parts u8, part of the parked record
//! ```
//!
//! Numbers are big-endian. A value is one frame, or several records that have one part each.

use crate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use crate::record::BODY_BYTES_MAX;

/// Octets of a body in one part; keeps tree leaves under sled's threshold for blob files, which it never syncs.
pub const PART_BYTES: usize = 4096;

/// The most octets of the frames of several records in one value: no more than a part takes.
pub const GROUP_BYTES: usize = PART_BYTES;

/// The most parts of a body.
pub const PARTS_MAX: usize = 16;
const _: () = assert!(PARTS_MAX * PART_BYTES == BODY_BYTES_MAX, "a record's body fits, and no more");

/// The most parts of a parked record: what is known about its failure stands before the body.
const PARKED_PARTS_MAX: usize = 17;

/// Octets before the checked part of a frame.
pub const HEAD_BYTES: usize = 12;

/// The longest frame: no reader looks further for the end of one.
pub const FRAME_BYTES_MAX: usize = 8192;

/// What the first two octets of every frame are.
pub const MAGIC: &[u8; 2] = b"TG";

/// A part of a record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordPart<'a> {
    /// Place in the queue.
    pub seq: u64,
    /// Which part, from 0.
    pub part: u8,
    /// How many parts, 1 to 16.
    pub parts: u8,
    /// Sum of the body octets of all records up to this one, itself included.
    pub total: u64,
    /// Name of the record.
    pub id: RecordId,
    /// Hash of its Call-ID.
    pub call: CallHash,
    /// Who wants it.
    pub sinks: SinkMask,
    /// This part of the body.
    pub body: &'a [u8],
}

/// The settled records of a chunk for one sink.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Bitmap {
    /// Number of the spool that holds it.
    pub spool: u32,
    /// Whose it is.
    pub sink: SinkNumber,
    /// Number of the chunk: seq / 1,024.
    pub chunk: u32,
    /// Bit n of word w is record 64 w + n of the chunk.
    pub bits: [u64; 16],
}

/// A part of a call in progress.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct CallPart<'a> {
    /// Rises with every change of any call.
    pub revision: u64,
    /// Which part, from 0.
    pub part: u8,
    /// How many parts; 0 states that the call is over.
    pub parts: u8,
    /// Name of the call.
    pub key: &'a [u8],
    /// This part of its value.
    pub value: &'a [u8],
}

/// Notes of calls that ended with one commit.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Notes<'a> {
    /// Rises with every commit.
    pub revision: u64,
    /// The calls and their notes, as [`push_note`] writes them.
    pub entries: &'a [u8],
}

impl<'a> Notes<'a> {
    /// Name and note of each call.
    pub fn iter(&self) -> impl Iterator<Item = (&'a [u8], &'a [u8])> + use<'a> {
        let mut rest = Reader(self.entries);
        std::iter::from_fn(move || Some((rest.counted().ok()?, rest.counted().ok()?)))
    }
}

/// A named value about the spool or the queue.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Meta<'a> {
    /// Rises with every change of any of them.
    pub revision: u64,
    /// Its name.
    pub name: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// A part of a parked record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ParkedPart<'a> {
    /// Who could not deliver it.
    pub sink: SinkNumber,
    /// Name of the record.
    pub id: RecordId,
    /// Which part, from 0.
    pub part: u8,
    /// How many parts.
    pub parts: u8,
    /// This part of it.
    pub data: &'a [u8],
}

/// Any frame.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Frame<'a> {
    /// `TGr1`
    Record(RecordPart<'a>),
    /// `TGa1`
    Bitmap(Bitmap),
    /// `TGc1`
    Call(CallPart<'a>),
    /// `TGe1`
    Notes(Notes<'a>),
    /// `TGm1`
    Meta(Meta<'a>),
    /// `TGp1`
    Parked(ParkedPart<'a>),
}

/// The octets are no whole, undamaged frame of a version this release reads.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("no frame, or a damaged one")]
pub struct BadFrame;

fn begin(out: &mut Vec<u8>, magic: &[u8; 4]) {
    out.clear();
    out.extend_from_slice(magic);
    out.extend_from_slice(&[0; 8]);
}

fn finish(out: &mut [u8]) {
    let length = u32::try_from(out.len() - HEAD_BYTES).expect("bodies are cut into parts of 4 KiB");
    let sum = crc32c::crc32c(&out[HEAD_BYTES..]);
    out[4..8].copy_from_slice(&length.to_be_bytes());
    out[8..12].copy_from_slice(&sum.to_be_bytes());
}

/// Octets of a record's frame around its body.
pub const RECORD_FRAME_BYTES: usize = HEAD_BYTES + 50;

/// Writes a record's part behind what `out` holds.
pub fn push_record(out: &mut Vec<u8>, record: &RecordPart<'_>) {
    let start = out.len();
    out.extend_from_slice(b"TGr1");
    out.extend_from_slice(&[0; 8]);
    out.extend_from_slice(&record.seq.to_be_bytes());
    out.extend_from_slice(&[record.part, record.parts]);
    out.extend_from_slice(&record.total.to_be_bytes());
    out.extend_from_slice(&record.id.to_bytes());
    out.extend_from_slice(&record.call.0.to_be_bytes());
    out.extend_from_slice(&record.sinks.0.to_be_bytes());
    out.extend_from_slice(record.body);
    finish(&mut out[start..]);
}

/// Writes a bitmap over `out`.
pub fn put_bitmap(out: &mut Vec<u8>, bitmap: &Bitmap) {
    begin(out, b"TGa1");
    out.extend_from_slice(&bitmap.spool.to_be_bytes());
    out.extend_from_slice(&u16::from(bitmap.sink.0).to_be_bytes());
    out.extend_from_slice(&bitmap.chunk.to_be_bytes());
    for word in bitmap.bits {
        out.extend_from_slice(&word.to_be_bytes());
    }
    finish(out);
}

/// Writes a call's part over `out`; `key` has at most 1,024 octets.
pub fn put_call(out: &mut Vec<u8>, call: &CallPart<'_>) {
    begin(out, b"TGc1");
    out.extend_from_slice(&call.revision.to_be_bytes());
    out.extend_from_slice(&[call.part, call.parts]);
    let length = u16::try_from(call.key.len()).expect("call keys are limited to 1,024 octets");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(call.key);
    out.extend_from_slice(call.value);
    finish(out);
}

/// Writes one call's entry of [`Notes`] behind what `out` holds.
pub fn push_note(out: &mut Vec<u8>, key: &[u8], note: &[u8]) {
    for text in [key, note] {
        let length = u16::try_from(text.len()).expect("call keys and notes are limited");
        out.extend_from_slice(&length.to_be_bytes());
        out.extend_from_slice(text);
    }
}

/// Writes notes over `out`.
pub fn put_notes(out: &mut Vec<u8>, notes: &Notes<'_>) {
    begin(out, b"TGe1");
    out.extend_from_slice(&notes.revision.to_be_bytes());
    out.extend_from_slice(notes.entries);
    finish(out);
}

/// Writes a meta value over `out`; `name` has at most 255 octets.
pub fn put_meta(out: &mut Vec<u8>, meta: &Meta<'_>) {
    out.reserve(HEAD_BYTES + 9 + meta.name.len() + meta.value.len());
    begin(out, b"TGm1");
    out.extend_from_slice(&meta.revision.to_be_bytes());
    out.push(u8::try_from(meta.name.len()).expect("meta names are limited to 255 octets"));
    out.extend_from_slice(meta.name);
    out.extend_from_slice(meta.value);
    finish(out);
}

/// Writes a part of a parked record over `out`.
pub fn put_parked(out: &mut Vec<u8>, parked: &ParkedPart<'_>) {
    begin(out, b"TGp1");
    out.extend_from_slice(&u16::from(parked.sink.0).to_be_bytes());
    out.extend_from_slice(&parked.id.to_bytes());
    out.extend_from_slice(&[parked.part, parked.parts]);
    out.extend_from_slice(parked.data);
    finish(out);
}

/// Reads the frame at the start of `bytes`; what follows it is not looked at.
///
/// # Errors
/// When there is no whole, undamaged frame.
pub fn read(bytes: &[u8]) -> Result<Frame<'_>, BadFrame> {
    split(bytes).map(|(frame, _)| frame)
}

/// The records of a value, one after the other; an error ends them.
pub fn records(mut value: &[u8]) -> impl Iterator<Item = Result<RecordPart<'_>, BadFrame>> {
    std::iter::from_fn(move || {
        if value.is_empty() {
            return None;
        }
        match split(value) {
            Ok((Frame::Record(record), rest)) => {
                value = rest;
                Some(Ok(record))
            }
            _ => {
                value = b"";
                Some(Err(BadFrame))
            }
        }
    })
}

/// Reads the frame at the start of `bytes`; gives what follows it too.
fn split(bytes: &[u8]) -> Result<(Frame<'_>, &[u8]), BadFrame> {
    let mut head = Reader(bytes);
    let magic = head.array::<4>()?;
    let length = head.u32()? as usize;
    let sum = head.u32()?;
    if !magic.starts_with(MAGIC) || length > FRAME_BYTES_MAX - HEAD_BYTES {
        return Err(BadFrame);
    }
    let content = head.slice(length)?;
    if crc32c::crc32c(content) != sum {
        return Err(BadFrame);
    }
    Ok((read_content(&magic, Reader(content))?, head.0))
}

fn read_content<'a>(magic: &[u8; 4], mut from: Reader<'a>) -> Result<Frame<'a>, BadFrame> {
    match magic {
        b"TGr1" => Ok(Frame::Record(RecordPart {
            seq: from.u64()?,
            part: from.u8()?,
            parts: from.parts(PARTS_MAX)?,
            total: from.u64()?,
            id: RecordId::from_bytes(from.array()?),
            call: CallHash(from.u64()?),
            sinks: SinkMask(from.u64()?),
            body: from.0,
        })),
        b"TGa1" => {
            let mut bitmap = Bitmap { spool: from.u32()?, sink: from.sink()?, chunk: from.u32()?, bits: [0; 16] };
            for word in &mut bitmap.bits {
                *word = from.u64()?;
            }
            Ok(Frame::Bitmap(bitmap))
        }
        b"TGc1" => {
            let (revision, part, parts) = (from.u64()?, from.u8()?, from.u8()?);
            if usize::from(parts) > PARTS_MAX {
                return Err(BadFrame);
            }
            Ok(Frame::Call(CallPart { revision, part, parts, key: from.counted()?, value: from.0 }))
        }
        b"TGe1" => Ok(Frame::Notes(Notes { revision: from.u64()?, entries: from.0 })),
        b"TGm1" => {
            let revision = from.u64()?;
            let length = from.u8()?;
            Ok(Frame::Meta(Meta { revision, name: from.slice(usize::from(length))?, value: from.0 }))
        }
        b"TGp1" => Ok(Frame::Parked(ParkedPart {
            sink: from.sink()?,
            id: RecordId::from_bytes(from.array()?),
            part: from.u8()?,
            parts: from.parts(PARKED_PARTS_MAX)?,
            data: from.0,
        })),
        _ => Err(BadFrame),
    }
}

/// Reads the frame of a record's part.
///
/// # Errors
/// When it is damaged or something else.
pub fn record(bytes: &[u8]) -> Result<RecordPart<'_>, BadFrame> {
    match read(bytes)? {
        Frame::Record(record) => Ok(record),
        _ => Err(BadFrame),
    }
}

/// Reads numbers and slices off the front of octets.
pub struct Reader<'a>(pub &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `count` octets.
    pub fn slice(&mut self, count: usize) -> Result<&'a [u8], BadFrame> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(BadFrame)?;
        self.0 = rest;
        Ok(front)
    }

    /// The next `N` octets.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], BadFrame> {
        let (front, rest) = self.0.split_first_chunk().ok_or(BadFrame)?;
        self.0 = rest;
        Ok(*front)
    }

    /// Octets behind a count of two octets.
    fn counted(&mut self) -> Result<&'a [u8], BadFrame> {
        let length = u16::from_be_bytes(self.array()?);
        self.slice(usize::from(length))
    }

    /// The next octet.
    pub fn u8(&mut self) -> Result<u8, BadFrame> {
        self.array::<1>().map(|[octet]| octet)
    }

    /// The next four octets.
    pub fn u32(&mut self) -> Result<u32, BadFrame> {
        self.array().map(u32::from_be_bytes)
    }

    /// The next eight octets.
    pub fn u64(&mut self) -> Result<u64, BadFrame> {
        self.array().map(u64::from_be_bytes)
    }

    fn parts(&mut self, max: usize) -> Result<u8, BadFrame> {
        match self.u8()? {
            parts if (1..=max).contains(&usize::from(parts)) => Ok(parts),
            _ => Err(BadFrame),
        }
    }

    fn sink(&mut self) -> Result<SinkNumber, BadFrame> {
        let number = u16::from_be_bytes(self.array()?);
        u8::try_from(number).ok().filter(|n| *n < 64).map(SinkNumber).ok_or(BadFrame)
    }
}

/// How many parts a body of `length` octets has; at least one.
pub fn parts_of(length: usize) -> usize {
    length.div_ceil(PART_BYTES).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples() -> Vec<(&'static str, Vec<u8>)> {
        let mut out = Vec::new();
        let mut samples = Vec::new();
        let record = RecordPart {
            seq: 7,
            part: 1,
            parts: 2,
            total: 99,
            id: RecordId(5),
            call: CallHash(6),
            sinks: SinkMask(3),
            body: b"body",
        };
        push_record(&mut out, &record);
        samples.push(("record", out.clone()));
        put_bitmap(&mut out, &Bitmap { spool: 1, sink: SinkNumber(2), chunk: 3, bits: [u64::MAX; 16] });
        samples.push(("bitmap", out.clone()));
        put_call(&mut out, &CallPart { revision: 4, part: 0, parts: 1, key: b"key", value: b"value" });
        samples.push(("call", out.clone()));
        let mut entries = Vec::new();
        push_note(&mut entries, b"key", b"note");
        push_note(&mut entries, b"", b"");
        put_notes(&mut out, &Notes { revision: 4, entries: &entries });
        samples.push(("notes", out.clone()));
        put_meta(&mut out, &Meta { revision: 4, name: b"name", value: b"value" });
        samples.push(("meta", out.clone()));
        put_parked(&mut out, &ParkedPart { sink: SinkNumber(9), id: RecordId(1), part: 0, parts: 1, data: b"data" });
        samples.push(("parked", out.clone()));
        samples
    }

    #[test]
    fn every_kind_of_frame_survives_writing_and_reading() {
        for (name, bytes) in samples() {
            let again = match read(&bytes).unwrap() {
                Frame::Record(it) => ("record", written(|out| push_record(out, &it))),
                Frame::Bitmap(it) => ("bitmap", written(|out| put_bitmap(out, &it))),
                Frame::Call(it) => ("call", written(|out| put_call(out, &it))),
                Frame::Notes(it) => {
                    assert_eq!(it.iter().collect::<Vec<_>>(), [(&b"key"[..], &b"note"[..]), (b"", b"")]);
                    ("notes", written(|out| put_notes(out, &it)))
                }
                Frame::Meta(it) => ("meta", written(|out| put_meta(out, &it))),
                Frame::Parked(it) => ("parked", written(|out| put_parked(out, &it))),
            };
            assert_eq!(again, (name, bytes));
        }
    }

    fn written(put: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
        let mut out = Vec::new();
        put(&mut out);
        out
    }

    #[test]
    fn a_frame_with_any_octet_changed_or_missing_is_refused() {
        for (name, bytes) in samples() {
            for place in 0..bytes.len() {
                let mut changed = bytes.clone();
                changed[place] ^= 0x10;
                assert_eq!(read(&changed), Err(BadFrame), "{name}, octet {place} changed");
                assert_eq!(read(&bytes[..place]), Err(BadFrame), "{name}, cut at {place}");
            }
        }
    }

    #[test]
    fn what_follows_a_frame_does_not_matter() {
        for (name, mut bytes) in samples() {
            let alone = written(|out| out.extend_from_slice(&bytes));
            bytes.extend_from_slice(b"TGr1 and more");
            assert_eq!(read(&bytes), read(&alone), "{name}");
        }
    }
}
