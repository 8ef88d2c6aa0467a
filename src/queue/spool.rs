//! A spool: one database of the chain, with the bitmaps of what it holds.

use std::path::PathBuf;

use bytes::Bytes;

use crate::ids::{CallHash, RecordId, SinkMask};

use super::bitmap::{Bitmaps, Since, Stored};
use super::database::{Database, Pair};
use super::error::StoreError;
use super::frame::{self, Frame};
use super::layout::{self, CHUNK_RECORDS};

/// Newest layout this release reads and writes. In the first one there was no journal.
pub const SCHEMA: u32 = 2;

/// A record read from disk.
#[derive(Clone, Debug)]
pub struct StoredRecord {
    /// Place in the queue.
    pub seq: u64,
    /// Its name.
    pub id: RecordId,
    /// Hash of its Call-ID.
    pub call: CallHash,
    /// Who wanted it.
    pub sinks: SinkMask,
    /// Sum of body octets up to this one.
    pub total: u64,
    /// The encoded record.
    pub body: Bytes,
}

/// One database of the chain.
#[derive(Debug)]
pub struct Spool {
    /// Rises from spool to spool.
    pub number: u32,
    /// Its directory.
    pub path: PathBuf,
    /// `None` while it is closed.
    pub database: Option<Database>,
    /// What each sink has settled.
    pub bits: Bitmaps,
    /// When it was last read, by the chain's count.
    pub used: u64,
    /// Whether it was found damaged: it is not opened any more, and a salvage reads its file.
    pub damaged: bool,
}

impl Spool {
    /// Whether its files were set aside, so that only a salvage reads them.
    pub fn is_set_aside(&self) -> bool {
        self.damaged
    }
}

/// What a read gave.
#[derive(Debug, Default)]
pub struct Batch {
    /// Records, in order of their places.
    pub records: Vec<StoredRecord>,
    /// The place to go on from.
    pub next: u64,
    /// Why something between could not be read.
    pub unreadable: Option<String>,
}

/// Reads up to `max` records from place `from` on, up to place `end`; goes on behind what cannot be read.
pub fn read_records(database: &Database, from: u64, end: u64, max: usize) -> Batch {
    let mut batch = Batch { next: from, ..Batch::default() };
    let mut pairs = Vec::new();
    let mut errors = 0;
    while batch.next < end && batch.records.len() < max && errors < READ_ERRORS_MAX {
        pairs.clear();
        let range = layout::record_key(group_of(database, batch.next), 0)..layout::record_key(end, 0);
        let result = database.range(range, READ_VALUES, &mut pairs);
        let whole = result.is_ok() && pairs.len() < READ_VALUES;
        let reached = assemble(&pairs, &mut batch, max);
        // A group may reach beyond the end.
        while batch.records.pop_if(|record| record.seq >= end).is_some() {}
        match result {
            Ok(()) if whole && batch.records.len() < max => batch.next = end,
            Ok(()) => batch.next = reached.unwrap_or(batch.next + 1),
            Err(error) => {
                // sled repeats the error for ever at a damaged leaf: try behind it.
                batch.unreadable.get_or_insert(error.to_string());
                batch.next = reached.filter(|reached| *reached > batch.next).unwrap_or(batch.next + 1);
                errors += 1;
            }
        }
    }
    batch
}

/// The first place of the value that holds the record at `seq`; `seq` itself when that cannot be told.
fn group_of(database: &Database, seq: u64) -> u64 {
    let begin = seq - seq % CHUNK_RECORDS;
    let range = layout::record_key(begin, 0)..=layout::record_key(seq, 0);
    let found = database.last(range).ok().flatten();
    found.and_then(|(key, _)| layout::seq_of(&key)).map_or(seq, |(first, _)| first)
}

/// Takes the records of values from `batch.next` on, until there are `max`; gives the place behind the last one.
fn assemble(pairs: &[Pair], batch: &mut Batch, max: usize) -> Option<u64> {
    let mut reached = None;
    let mut at = 0;
    while at < pairs.len() && batch.records.len() < max {
        let Some((seq, _)) = layout::seq_of(&pairs[at].0) else { break };
        let same = |pair: &&Pair| layout::seq_of(&pair.0).is_some_and(|(other, _)| other == seq);
        let count = pairs[at..].iter().take_while(same).count();
        let behind = match join(seq, &pairs[at..at + count], batch, max) {
            Ok(behind) => behind,
            // The rest of a long record may only be cut off by the end of this read.
            Err(Unjoined::Short) if at + count == pairs.len() && at > 0 => break,
            Err(Unjoined::Short | Unjoined::Bad) => {
                batch.unreadable.get_or_insert_with(|| format!("record {seq} is damaged"));
                seq + 1
            }
        };
        reached = Some(behind.max(batch.next));
        at += count;
    }
    reached
}

enum Unjoined {
    Short,
    Bad,
}

/// Takes the records of one place: those of a group, or one whose parts these are. Gives the place behind them.
fn join(seq: u64, pairs: &[Pair], batch: &mut Batch, max: usize) -> Result<u64, Unjoined> {
    let (_, value) = pairs.first().ok_or(Unjoined::Bad)?;
    let first = frame::record(value).map_err(|_| Unjoined::Bad)?;
    if first.seq != seq || first.part != 0 {
        return Err(Unjoined::Bad);
    }
    if first.parts == 1 {
        return Ok(take_group(seq, value, batch, max));
    }
    if pairs.len() < usize::from(first.parts) {
        return Err(Unjoined::Short);
    }
    let mut body = Vec::with_capacity(pairs.len() * frame::PART_BYTES);
    for ((_, value), part) in pairs.iter().zip(0..first.parts) {
        match frame::record(value) {
            Ok(record) if record.part == part && record.seq == seq => body.extend_from_slice(record.body),
            _ => return Err(Unjoined::Bad),
        }
    }
    if seq >= batch.next {
        batch.records.push(stored(&first, Bytes::from(body)));
    }
    Ok(seq + 1)
}

/// Takes the records of a group that are not before `batch.next`. Behind a damaged one only a salvage finds the others.
fn take_group(first: u64, value: &[u8], batch: &mut Batch, max: usize) -> u64 {
    for (seq, record) in (first..).zip(frame::records(value)) {
        if batch.records.len() == max {
            return seq;
        }
        match record {
            Ok(record) if record.seq == seq && record.parts == 1 => {
                if seq >= batch.next {
                    batch.records.push(stored(&record, Bytes::copy_from_slice(record.body)));
                }
            }
            _ => {
                batch.unreadable.get_or_insert_with(|| format!("record {seq} is damaged"));
                return seq + 1;
            }
        }
    }
    first + frame::records(value).count() as u64
}

fn stored(record: &frame::RecordPart<'_>, body: Bytes) -> StoredRecord {
    StoredRecord { seq: record.seq, id: record.id, call: record.call, sinks: record.sinks, total: record.total, body }
}

/// A named value of a spool; `None` when there is none or it is damaged.
///
/// # Errors
/// When it cannot be read.
pub fn read_meta(database: &Database, name: &[u8]) -> Result<Option<(u64, Vec<u8>)>, StoreError> {
    let value = database.read(&layout::meta_key(name))?;
    Ok(value.and_then(|value| match frame::read(&value) {
        Ok(Frame::Meta(meta)) => Some((meta.revision, meta.value.to_vec())),
        _ => None,
    }))
}

/// A number kept as a named value.
///
/// # Errors
/// When it cannot be read.
pub fn read_number(database: &Database, name: &[u8]) -> Result<Option<u64>, StoreError> {
    let value = read_meta(database, name)?;
    Ok(value.and_then(|(_, bytes)| bytes.try_into().ok().map(u64::from_be_bytes)))
}

/// Reads what a spool holds: its bitmaps, and the sum of body octets at its end (`None` when it holds no record).
///
/// # Errors
/// When something of it cannot be read.
pub fn read_bitmaps(
    database: &Database,
    number: u32,
    first: u64,
    sinks: &[Since],
) -> Result<(Bitmaps, Option<u64>), StoreError> {
    let low = read_number(database, b"low")?.unwrap_or(0);
    let mut stored = Stored::new();
    let mut highest = 0;
    let mut pairs = Vec::new();
    database.range(layout::BITMAPS, usize::MAX, &mut pairs)?;
    for (_, value) in &pairs {
        let Ok(Frame::Bitmap(bitmap)) = frame::read(value) else { continue };
        if bitmap.spool == number {
            if let Some(word) = bitmap.bits.iter().rposition(|word| *word != 0) {
                let bit = 63 - u64::from(bitmap.bits[word].leading_zeros());
                highest = highest.max(u64::from(bitmap.chunk) * CHUNK_RECORDS + word as u64 * 64 + bit + 1);
            }
            stored.insert((bitmap.sink, bitmap.chunk), bitmap.bits);
        }
    }
    let low = u32::try_from(low).unwrap_or(u32::MAX);
    let mut next = first.max(highest).max(u64::from(low) * CHUNK_RECORDS);
    let mut total = None;
    let records = layout::record_key(0, 0)..=layout::record_key(u64::MAX, u8::MAX);
    if let Some((key, value)) = database.last(records)? {
        next = next.max(layout::seq_of(&key).map_or(0, |(seq, _)| seq + 1));
        if let Some(last) = frame::records(&value).filter_map(Result::ok).last() {
            next = next.max(last.seq + 1);
            total = Some(last.total);
        }
    }
    let mut bits = Bitmaps::restore(first, next, low, sinks, &stored);
    for chunk in bits.chunk_numbers() {
        let begin = (u64::from(chunk) * CHUNK_RECORDS).max(first);
        let end = (u64::from(chunk) + 1) * CHUNK_RECORDS;
        let before = total_before(database, begin, end);
        bits.set_total_before(chunk, before.or(total).unwrap_or(0));
    }
    Ok((bits, total))
}

/// Sum of body octets before the first record from place `begin` on. Reads one value where that is enough: at opening this
/// is asked for every chunk, and what sled has read stays in memory for a while.
fn total_before(database: &Database, begin: u64, end: u64) -> Option<u64> {
    let mut pairs = Vec::new();
    let range = layout::record_key(begin, 0)..layout::record_key(end, 0);
    let _readable = database.range(range, 1, &mut pairs);
    let first = pairs.first().and_then(|(_, value)| frame::records(value).next()?.ok());
    match first {
        Some(first) if first.parts == 1 => Some(first.total.saturating_sub(first.body.len() as u64)),
        _ => {
            let first = read_records(database, begin, end, 1).records.pop()?;
            Some(first.total.saturating_sub(first.body.len() as u64))
        }
    }
}

/// Errors after which one read gives up and leaves the rest to the next.
const READ_ERRORS_MAX: usize = 64;

/// Values read at once: a few dozen records, and more than a record has parts.
const READ_VALUES: usize = 64;
const _: () = assert!(READ_VALUES > frame::PARTS_MAX);
