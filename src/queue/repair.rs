//! Reads a database file raw: looks for magics, checks lengths and checksums, needs no tree.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use bytes::Bytes;

use crate::ids::{SinkMask, SinkNumber};

use super::bitmap::Stored;
use super::frame::{self, FRAME_BYTES_MAX, Frame, MAGIC};
use super::journal::{DAMAGED, JOURNAL};
use super::layout::{CHUNK_RECORDS, chunk_of};
use super::registry::read_sinks;
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
pub fn read_what_can_be(file: &File, buffer: &mut [u8], offset: u64) {
    if file.read_exact_at(buffer, offset).is_ok() {
        return;
    }
    for (index, sector) in buffer.chunks_mut(SECTOR_BYTES).enumerate() {
        if file.read_exact_at(sector, offset + (index * SECTOR_BYTES) as u64).is_err() {
            sector.fill(0);
        }
    }
}

/// Files of a database that may hold records. What was found in a later one counts: while the queue runs, commits are
/// written over the journal and sled may write over what lies in `db`.
const FILES: [&str; 4] = [JOURNAL, DB, COPY, DAMAGED];

/// Name of sled's own file.
const DB: &str = "db";

/// Name of the copy of `db` that is kept while sled opens it: sled takes damage for a torn end of its log, and frees or
/// cuts off what comes after it.
pub const COPY: &str = "before";

/// Name of the file beside `db` that holds a spool's first place, in decimal. `db` has it too, but may lose it together
/// with the records at its beginning, which then nobody would miss.
pub const FIRST: &str = "first";

/// What a damaged database tells: which records lie where, and who is done with them.
#[derive(Debug, Default)]
pub struct Inventory {
    /// Sorted by place and part, each once.
    records: Vec<Found>,
    bitmaps: Stored,
    /// Sinks with any bitmap.
    sinks: SinkMask,
    low: u64,
    /// Newest copy of each named value.
    metas: BTreeMap<Vec<u8>, (u64, Vec<u8>)>,
    /// The place that stands in the file [`FIRST`].
    first: Option<u64>,
    files: Vec<File>,
}

/// A part of a record somewhere in the files.
#[derive(Clone, Copy, Debug)]
struct Found {
    seq: u64,
    part: u8,
    parts: u8,
    file: u8,
    sinks: SinkMask,
    offset: u64,
}

/// A record to be salvaged.
#[derive(Clone, Debug)]
pub struct Find {
    /// Its place.
    pub seq: u64,
    /// Sinks that want it and have not settled it, as far as the file tells.
    pub sinks: SinkMask,
    /// Whether a bitmap of a sink that wants it was not found: it may be a repeat.
    pub doubtful: bool,
    parts: Vec<Found>,
}

impl Inventory {
    /// The newest copy of each named value, with its revision.
    pub fn into_metas(self) -> BTreeMap<Vec<u8>, (u64, Vec<u8>)> {
        self.metas
    }

    /// Reads the files of the database in `path`.
    ///
    /// # Errors
    /// When there is none, or one cannot be opened.
    pub fn read(path: &Path) -> io::Result<Self> {
        let first = fs::read_to_string(path.join(FIRST)).ok();
        let mut all = Self { first: first.and_then(|text| text.trim().parse().ok()), ..Self::default() };
        for name in FILES {
            let file = path.join(name);
            if !file.exists() && name != DB {
                continue;
            }
            let number = u8::try_from(all.files.len()).unwrap_or(u8::MAX);
            scan(&file, |offset, frame| all.add(number, offset, frame))?;
            all.files.push(File::open(&file)?);
        }
        // The same record of the last file first.
        all.records.sort_unstable_by_key(|found| (found.seq, found.part, Reverse(found.file), found.offset));
        all.records.dedup_by_key(|found| (found.seq, found.part));
        Ok(all)
    }

    fn add(&mut self, file: u8, offset: u64, frame: Frame<'_>) {
        match frame {
            Frame::Record(frame::RecordPart { seq, part, parts, sinks, .. }) => {
                self.records.push(Found { seq, part, parts, file, sinks, offset });
            }
            Frame::Bitmap(bitmap) => {
                self.sinks = self.sinks.with(bitmap.sink);
                let bits = self.bitmaps.entry((bitmap.sink, bitmap.chunk)).or_insert([0; 16]);
                for (all, one) in bits.iter_mut().zip(bitmap.bits) {
                    *all |= one;
                }
            }
            Frame::Meta(meta) => {
                if meta.name == b"low" {
                    let low = meta.value.try_into().map_or(0, u64::from_be_bytes);
                    self.low = self.low.max(low.saturating_mul(CHUNK_RECORDS));
                }
                let newest = self.metas.entry(meta.name.to_vec()).or_default();
                if newest.0 <= meta.revision {
                    *newest = (meta.revision, meta.value.to_vec());
                }
            }
            Frame::Call(_) | Frame::Notes(_) | Frame::Parked(_) => {}
        }
    }

    /// Highest place found; `None` when there is no record.
    pub fn highest(&self) -> Option<u64> {
        self.records.last().map(|found| found.seq)
    }

    /// The whole records that a sink still wants, in order.
    pub fn wanted(&self) -> Vec<Find> {
        let mut finds: Vec<Find> = Vec::new();
        for group in self.records.chunk_by(|a, b| a.seq == b.seq) {
            let Found { seq, parts, sinks: wanted, .. } = group[0];
            let whole = group.len() == usize::from(parts) && (0..parts).zip(group).all(|(n, found)| found.part == n);
            let sinks = self.open_sinks(seq, wanted);
            if whole && seq >= self.low && !sinks.is_empty() {
                let doubtful = sinks.iter().any(|sink| self.is_unsure(sink, chunk_of(seq)));
                finds.push(Find { seq, sinks, doubtful, parts: group.to_vec() });
            }
        }
        finds
    }

    /// Those of `wanted` that have not settled `seq`, as far as the file tells.
    pub fn open_sinks(&self, seq: u64, wanted: SinkMask) -> SinkMask {
        let open = |sink: &SinkNumber| !self.is_set(*sink, seq);
        wanted.iter().filter(open).fold(SinkMask::NONE, SinkMask::with)
    }

    /// Ranges of places from `first` to `end` that are neither there nor settled by anybody. Where `first` is not known,
    /// the files may tell it, for the records at the beginning may be gone; else the lowest one there is has to do.
    pub fn gaps(&self, first: Option<u64>, end: u64) -> Vec<(u64, u64)> {
        let named = self.metas.get(&b"first"[..]).and_then(|(_, first)| first.as_slice().try_into().ok());
        let lowest = self.records.first().map(|found| found.seq);
        let first = first.or(self.first).or(named.map(u64::from_be_bytes)).or(lowest);
        let begin = first.unwrap_or(end).max(self.low);
        let mut gaps: Vec<(u64, u64)> = Vec::new();
        let mut wanted: BTreeMap<u32, SinkMask> = BTreeMap::new();
        for found in &self.records {
            let all = wanted.entry(chunk_of(found.seq)).or_default();
            *all = all.or(found.sinks);
        }
        let mut present = self.records.iter().map(|found| found.seq).peekable();
        for seq in begin..end {
            while present.next_if(|found| *found < seq).is_some() {}
            let here = present.peek() == Some(&seq);
            if here || self.seems_settled(seq, wanted.get(&chunk_of(seq)).copied()) {
                continue;
            }
            match gaps.last_mut() {
                Some((_, last)) if *last + 1 == seq => *last = seq,
                _ => gaps.push((seq, seq)),
            }
        }
        gaps
    }

    /// Whether all sinks that want records of a place's chunk have settled it. Where no record of it is left, all sinks
    /// there were: the bit of one that did not want the record is set too.
    fn seems_settled(&self, seq: u64, wanted: Option<SinkMask>) -> bool {
        let sinks = wanted.unwrap_or_else(|| {
            let table = self.metas.get(&b"sinks"[..]).map_or(&[][..], |(_, table)| table);
            let there = read_sinks(table).into_iter().filter(|(_, since)| since.seq <= seq);
            // Without the table those with a bitmap have to do.
            let there = there.fold(SinkMask::NONE, |all, (_, since)| all.with(since.sink));
            if table.is_empty() { self.sinks } else { there }
        });
        !sinks.is_empty() && self.open_sinks(seq, sinks).is_empty()
    }

    /// Whether a chunk's bitmap was not found though the sink was further on.
    fn is_unsure(&self, sink: SinkNumber, chunk: u32) -> bool {
        !self.bitmaps.contains_key(&(sink, chunk))
            && self.bitmaps.range((sink, chunk)..=(sink, u32::MAX)).next().is_some()
    }

    /// Reads a record found; `None` when the file has changed or cannot be read any more.
    pub fn fetch(&self, find: &Find) -> Option<StoredRecord> {
        let mut buffer = vec![0; FRAME_BYTES_MAX];
        let mut record: Option<StoredRecord> = None;
        let mut body = Vec::new();
        for found in &find.parts {
            let file = self.files.get(usize::from(found.file))?;
            let mut filled = 0;
            while filled < buffer.len() {
                match file.read_at(&mut buffer[filled..], found.offset + filled as u64) {
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

    fn is_set(&self, sink: SinkNumber, seq: u64) -> bool {
        let bits = self.bitmaps.get(&(sink, chunk_of(seq)));
        bits.is_some_and(|bits| bits[(seq % CHUNK_RECORDS / 64) as usize] & 1 << (seq % 64) != 0)
    }
}

const WINDOW_BYTES: usize = 4 << 20;
const SECTOR_BYTES: usize = 4096;

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of which the records are gone: a table of the sinks 0 and 1, the second since place 20, and bitmaps in
    /// which these places are settled.
    fn inventory(settled: [&[u64]; 2]) -> Inventory {
        let table: Vec<u8> = [(0, 1), (1, 20_u64)]
            .iter()
            .flat_map(|(sink, since)| [&[*sink], &since.to_be_bytes()[..], &[1, b'a' + *sink]].concat())
            .collect();
        let mut all = Inventory::default();
        all.add(0, 0, Frame::Meta(frame::Meta { revision: 1, name: b"sinks", value: &table }));
        for (sink, places) in (0..).map(SinkNumber).zip(settled).filter(|(_, places)| !places.is_empty()) {
            let mut bits = [0; 16];
            places.iter().for_each(|place| bits[(place / 64) as usize] |= 1 << (place % 64));
            all.add(0, 0, Frame::Bitmap(frame::Bitmap { spool: 1, sink, chunk: 0, bits }));
        }
        all
    }

    #[test]
    fn a_place_is_lost_unless_every_sink_there_was_has_settled_it() {
        let mut begun = inventory([&[20, 21], &[20, 21]]);
        begun.add(0, 0, Frame::Meta(frame::Meta { revision: 1, name: b"first", value: &20_u64.to_be_bytes() }));
        assert_eq!(begun.gaps(None, 24), [(22, 23)], "the database tells where it begins, though no record is there");
        let begun = Inventory { first: Some(20), ..inventory([&[20, 21], &[20, 21]]) };
        assert_eq!(begun.gaps(None, 24), [(22, 23)], "the file beside it tells");
        for (name, settled, lost) in [
            ("nobody settled any", [&[][..], &[]], vec![(18, 23)]),
            ("one sink did, the other is not to be seen", [&[18, 21], &[]], vec![(19, 23)]),
            ("the other one was not there yet", [&[18, 19], &[]], vec![(20, 23)]),
            ("both did", [&[18, 19, 20, 22], &[20, 22, 23]], vec![(21, 21), (23, 23)]),
        ] {
            assert_eq!(inventory(settled).gaps(Some(18), 24), lost, "{name}");
        }
    }
}
