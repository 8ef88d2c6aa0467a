//! Reads a database file raw: looks for magics, checks lengths and checksums, needs no tree.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use crate::ids::{CallHash, RecordId, SinkMask, SinkNumber};

use super::bitmap::{Bits, Stored};
use super::frame::{self, FRAME_BYTES_MAX, Frame, MAGIC};
use super::layout::{CHUNK_RECORDS, chunk_of};
use super::spool::StoredRecord;

/// Calls `visit` with each sound frame of a file and its place; sectors that cannot be read are passed over.
///
/// # Errors
/// When the file cannot be opened, or its length is not known.
pub fn scan(path: &Path, mut visit: impl FnMut(u64, Frame<'_>)) -> io::Result<()> {
    let file = File::open(path)?;
    let length = file.metadata()?.len();
    let finder = memchr::memmem::Finder::new(MAGIC);
    let mut buffer = vec![0; WINDOW_BYTES + FRAME_BYTES_MAX];
    let mut offset = 0;
    while offset < length {
        let wanted = usize::try_from(length - offset).unwrap_or(usize::MAX).min(buffer.len());
        read_what_can_be(&file, &mut buffer[..wanted], offset);
        // A frame that begins in the overlap is found whole by the next window.
        let last = wanted == buffer.len() && offset + (wanted as u64) < length;
        let end = if last { WINDOW_BYTES } else { wanted };
        let mut at = 0;
        while let Some(found) = finder.find(&buffer[at..wanted]) {
            at += found;
            if at >= end {
                break;
            }
            if let Ok(frame) = frame::read(&buffer[at..wanted]) {
                visit(offset + at as u64, frame);
            }
            at += 1;
        }
        offset += end as u64;
    }
    Ok(())
}

/// Fills `buffer` from the file, with zeros where a sector cannot be read.
fn read_what_can_be(file: &File, buffer: &mut [u8], offset: u64) {
    if file.read_exact_at(buffer, offset).is_ok() {
        return;
    }
    for (index, sector) in buffer.chunks_mut(SECTOR_BYTES).enumerate() {
        if file.read_exact_at(sector, offset + (index * SECTOR_BYTES) as u64).is_err() {
            sector.fill(0);
        }
    }
}

/// The newest records of a file.
#[derive(Debug, Default)]
pub struct Tail {
    parts: BTreeMap<u64, Vec<Part>>,
    /// Highest place of any record found, whole or not; 0 for none.
    pub highest: u64,
    /// Newest copy of each named value.
    pub metas: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
}

#[derive(Clone, Debug)]
struct Part {
    part: u8,
    parts: u8,
    id: RecordId,
    call: CallHash,
    sinks: SinkMask,
    total: u64,
    body: Vec<u8>,
}

impl Tail {
    /// Reads the file, keeping the last [`TAIL_RECORDS`] by place.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut tail = Self::default();
        scan(path, |_, frame| match frame {
            Frame::Record(record) => tail.add(&record),
            Frame::Meta(meta) => {
                let newest = tail.metas.entry(meta.name.to_vec()).or_default();
                if newest.0 <= meta.revision {
                    *newest = (meta.revision, meta.value.to_vec());
                }
            }
            Frame::Bitmap(_) | Frame::Call(_) | Frame::Parked(_) => {}
        })?;
        Ok(tail)
    }

    fn add(&mut self, record: &frame::RecordPart<'_>) {
        self.highest = self.highest.max(record.seq);
        if self.parts.len() >= TAIL_RECORDS && self.parts.first_key_value().is_some_and(|(seq, _)| *seq > record.seq) {
            return;
        }
        let parts = self.parts.entry(record.seq).or_default();
        if parts.iter().all(|part| part.part != record.part) {
            parts.push(Part {
                part: record.part,
                parts: record.parts,
                id: record.id,
                call: record.call,
                sinks: record.sinks,
                total: record.total,
                body: record.body.to_vec(),
            });
        }
        if self.parts.len() > TAIL_RECORDS {
            self.parts.pop_first();
        }
    }

    /// The whole records from a place on, in order.
    pub fn records_from(&self, seq: u64) -> Vec<StoredRecord> {
        let whole = |(seq, parts): (&u64, &Vec<Part>)| {
            let mut parts: Vec<&Part> = parts.iter().collect();
            parts.sort_by_key(|part| part.part);
            let first = *parts.first()?;
            if parts.len() != usize::from(first.parts) {
                return None;
            }
            Some(StoredRecord {
                seq: *seq,
                id: first.id,
                call: first.call,
                sinks: first.sinks,
                total: first.total,
                body: parts.iter().flat_map(|part| &part.body).copied().collect::<Vec<u8>>().into(),
            })
        };
        self.parts.range(seq..).filter_map(whole).collect()
    }
}

/// What a damaged file tells: which records lie where, and who is done with them.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Place, part, parts, wish list, offset in the file; sorted.
    records: Vec<(u64, u8, u8, SinkMask, u64)>,
    bitmaps: Stored,
    low: u64,
}

/// A record to be salvaged.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Find {
    /// Its place.
    pub seq: u64,
    /// Sinks that want it and have not settled it, as far as the file tells.
    pub sinks: SinkMask,
    /// Whether a bitmap of a sink that wants it was not found: it may be a repeat.
    pub doubtful: bool,
    offsets: Vec<u64>,
}

impl Inventory {
    /// Reads the file.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn read(path: &Path) -> io::Result<Self> {
        let mut all = Self::default();
        scan(path, |offset, frame| match frame {
            Frame::Record(record) => all.records.push((record.seq, record.part, record.parts, record.sinks, offset)),
            Frame::Bitmap(bitmap) => {
                let bits = all.bitmaps.entry((bitmap.sink, bitmap.chunk)).or_insert([0; 16]);
                for (all, one) in bits.iter_mut().zip(bitmap.bits) {
                    *all |= one;
                }
            }
            Frame::Meta(meta) if meta.name == b"low" => {
                let low = meta.value.try_into().map_or(0, u64::from_be_bytes);
                all.low = all.low.max(low.saturating_mul(CHUNK_RECORDS));
            }
            Frame::Meta(_) | Frame::Call(_) | Frame::Parked(_) => {}
        })?;
        all.records.sort_unstable_by_key(|(seq, part, .., offset)| (*seq, *part, *offset));
        all.records.dedup_by_key(|(seq, part, ..)| (*seq, *part));
        Ok(all)
    }

    /// Highest place found; `None` when there is no record.
    pub fn highest(&self) -> Option<u64> {
        self.records.last().map(|(seq, ..)| *seq)
    }

    /// The whole records that a sink still wants, in order.
    pub fn wanted(&self) -> Vec<Find> {
        let mut finds: Vec<Find> = Vec::new();
        for group in self.records.chunk_by(|a, b| a.0 == b.0) {
            let (seq, _, parts, wanted, _) = group[0];
            let whole = group.len() == usize::from(parts) && (0..parts).zip(group).all(|(n, part)| part.1 == n);
            if seq < self.low || !whole {
                continue;
            }
            let open = |sink: &SinkNumber| !self.is_set(*sink, seq);
            let sinks = wanted.iter().filter(open).fold(SinkMask::NONE, SinkMask::with);
            if !sinks.is_empty() {
                let doubtful = sinks.iter().any(|sink| !self.bitmaps.contains_key(&(sink, chunk_of(seq))));
                finds.push(Find { seq, sinks, doubtful, offsets: group.iter().map(|part| part.4).collect() });
            }
        }
        finds
    }

    /// Ranges of places from the lowest known one to `end` that are neither there nor settled by anybody.
    pub fn gaps(&self, first: Option<u64>, end: u64) -> Vec<(u64, u64)> {
        let begin = first.or(self.records.first().map(|(seq, ..)| *seq)).unwrap_or(end).max(self.low);
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let mut sinks: Vec<SinkNumber> = self.bitmaps.keys().map(|(sink, _)| *sink).collect();
        sinks.dedup();
        let mut present = self.records.iter().map(|(seq, ..)| *seq).peekable();
        for seq in begin..end {
            while present.next_if(|found| *found < seq).is_some() {}
            let settled = |bits: &Bits| bits[(seq % CHUNK_RECORDS / 64) as usize] & 1 << (seq % 64) != 0;
            let done = || {
                let of_chunk = sinks.iter().filter_map(|sink| self.bitmaps.get(&(*sink, chunk_of(seq))));
                of_chunk.map(settled).reduce(|all, one| all && one).unwrap_or(false)
            };
            if present.peek() == Some(&seq) || done() {
                continue;
            }
            match gaps.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => gaps.push((seq, seq)),
            }
        }
        gaps
    }

    fn is_set(&self, sink: SinkNumber, seq: u64) -> bool {
        let bits = self.bitmaps.get(&(sink, chunk_of(seq)));
        bits.is_some_and(|bits| bits[(seq % CHUNK_RECORDS / 64) as usize] & 1 << (seq % 64) != 0)
    }
}

/// Reads a record that the inventory found; `None` when the file has changed or cannot be read any more.
pub fn fetch(file: &File, find: &Find) -> Option<StoredRecord> {
    let mut buffer = vec![0; FRAME_BYTES_MAX];
    let mut record: Option<StoredRecord> = None;
    let mut body = Vec::new();
    for offset in &find.offsets {
        let mut filled = 0;
        while filled < buffer.len() {
            match file.read_at(&mut buffer[filled..], offset + filled as u64) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        let part = frame::record(&buffer[..filled]).ok().filter(|part| part.seq == find.seq)?;
        body.extend_from_slice(part.body);
        record.get_or_insert(StoredRecord {
            seq: part.seq,
            id: part.id,
            call: part.call,
            sinks: find.sinks,
            total: part.total,
            body: Bytes::new(),
        });
    }
    record.map(|record| StoredRecord { body: Bytes::from(body), ..record })
}

/// Records a scan keeps: more than one commit holds.
pub const TAIL_RECORDS: usize = 4096;

const WINDOW_BYTES: usize = 4 << 20;
const SECTOR_BYTES: usize = 4096;
