//! Parked records: those no repetition helps, kept for the operator in a database of their own, so that they outlive
//! the spool they came from.

use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, SINKS_MAX, SinkNumber};

use super::database::Database;
use super::disk::{Counter, Place};
use super::error::StoreError;
use super::frame::{self, BadFrame, Frame, ParkedPart, Reader};
use super::layout;
use super::repair;

/// A record set aside for the operator.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Parked {
    /// Who could not deliver it.
    pub sink: SinkNumber,
    /// Its name.
    pub id: RecordId,
    /// Its place when it was parked.
    pub seq: u64,
    /// Hash of its Call-ID.
    pub call: CallHash,
    /// Result code of the backend, 0 for none.
    pub code: u32,
    /// How often it was tried.
    pub attempts: u32,
    /// When it was tried first.
    pub first_tried: Option<Timestamp>,
    /// When it was parked.
    pub parked: Timestamp,
    /// Why.
    pub reason: String,
    /// The encoded record.
    pub body: Bytes,
}

impl Parked {
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64 + self.reason.len() + self.body.len());
        out.extend_from_slice(&self.code.to_be_bytes());
        out.extend_from_slice(&self.attempts.to_be_bytes());
        out.extend_from_slice(&self.first_tried.map_or(i64::MIN, |time| time.0).to_be_bytes());
        out.extend_from_slice(&self.parked.0.to_be_bytes());
        out.extend_from_slice(&self.seq.to_be_bytes());
        out.extend_from_slice(&self.call.0.to_be_bytes());
        let reason = shortened(&self.reason, REASON_BYTES_MAX);
        out.push(u8::try_from(reason.len()).unwrap_or(0));
        out.extend_from_slice(reason.as_bytes());
        out.extend_from_slice(&self.body);
        out
    }

    fn from_bytes(sink: SinkNumber, id: RecordId, bytes: &[u8]) -> Result<Self, BadFrame> {
        let mut from = Reader(bytes);
        let (code, attempts) = (from.u32()?, from.u32()?);
        let first_tried = Some(i64::from_be_bytes(from.array()?)).filter(|time| *time != i64::MIN).map(Timestamp);
        let parked = Timestamp(i64::from_be_bytes(from.array()?));
        let (seq, call) = (from.u64()?, CallHash(from.u64()?));
        let length = from.u8()?;
        let reason = String::from_utf8_lossy(from.slice(usize::from(length))?).into_owned();
        let body = Bytes::copy_from_slice(from.0);
        Ok(Self { sink, id, seq, call, code, attempts, first_tried, parked, reason, body })
    }
}

/// The longest reason kept, in octets.
pub const REASON_BYTES_MAX: usize = 255;

/// At most the first `max` octets of a text, cut between characters.
pub fn shortened(text: &str, max: usize) -> &str {
    let end = (0..=max.min(text.len())).rev().find(|end| text.is_char_boundary(*end));
    &text[..end.unwrap_or(0)]
}

/// The database of parked records. It is made when the first one comes.
#[derive(Debug)]
pub struct ParkedStore {
    path: PathBuf,
    cache_bytes: u64,
    database: Option<Database>,
    counts: [u64; SINKS_MAX],
    /// Changes made durable so far; also in the database and, as a lower bound, in `head`.
    changes: u64,
    head: PathBuf,
}

/// An open store, and what opening found.
#[derive(Debug)]
pub struct OpenParked {
    /// The store.
    pub store: ParkedStore,
    /// Whether its snapshot was damaged and moved away.
    pub snapshot_moved: bool,
    /// Records that sled had dropped and a look at the file brought back; some may have left before.
    pub recovered: u64,
}

/// Place behind which a page of parked records begins.
pub type Key = (SinkNumber, RecordId);

impl ParkedStore {
    /// Opens the database if there is one.
    ///
    /// # Errors
    /// When it does not open.
    pub fn open(place: &Place, cache_bytes: u64) -> Result<OpenParked, StoreError> {
        let mut store = Self::empty(place, cache_bytes);
        let mut opened = OpenParked { store: Self::empty(place, cache_bytes), snapshot_moved: false, recovered: 0 };
        if !store.path.is_dir() {
            return Ok(opened);
        }
        // sled takes a damaged last commit for a torn one and drops it: so look before it opens.
        let found = Rejoined::scan(&store.path).map_err(StoreError::Io)?;
        let (database, moved) = Database::open(&store.path, cache_bytes)?;
        opened.snapshot_moved = moved;
        let changes = database.read(&CHANGES_KEY)?;
        store.changes = changes.and_then(|value| value.as_ref().try_into().ok()).map_or(0, u64::from_be_bytes);
        store.database = Some(database);
        store.count()?;
        let known = Counter::open(&store.head).map_or(0, |head| head.read());
        if store.changes < known {
            let missing: Vec<Parked> = found.records();
            let mut back = Vec::new();
            for record in missing {
                if store.page_key(record.sink, record.id)?.is_none() {
                    back.push(record);
                }
            }
            opened.recovered = back.len() as u64;
            store.changes = known;
            for some in back.chunks(PARKED_AT_ONCE) {
                store.put(some)?;
            }
        }
        opened.store = store;
        Ok(opened)
    }

    fn page_key(&self, sink: SinkNumber, id: RecordId) -> Result<Option<sled::IVec>, StoreError> {
        let database = self.database.as_ref().ok_or(StoreError::Closed)?;
        database.read(&layout::parked_key(sink, id, 0))
    }

    /// A store with nothing in it.
    pub fn empty(place: &Place, cache_bytes: u64) -> Self {
        let head = place.path().join("parked.head");
        Self {
            path: Self::path_in(place),
            cache_bytes,
            database: None,
            counts: [0; SINKS_MAX],
            changes: Counter::open(&head).map_or(0, |head| head.read()),
            head,
        }
    }

    /// Where the database of a queue's parked records is.
    pub fn path_in(place: &Place) -> PathBuf {
        place.path().join("parked")
    }

    /// How many records of a sink are parked.
    pub fn parked(&self, sink: SinkNumber) -> u64 {
        self.counts.get(usize::from(sink.0)).copied().unwrap_or(0)
    }

    /// Stores records durably.
    ///
    /// # Errors
    /// When they could not be made durable. The database is then opened anew at the next call.
    pub fn put(&mut self, records: &[Parked]) -> Result<(), StoreError> {
        let database = self.ready()?;
        let mut batch = sled::Batch::default();
        let mut fresh = Vec::with_capacity(records.len());
        let mut out = Vec::new();
        for record in records {
            if database.read(&layout::parked_key(record.sink, record.id, 0))?.is_none() {
                fresh.push(record.sink);
            }
            let data = record.to_bytes();
            let parts = u8::try_from(frame::parts_of(data.len())).unwrap_or(u8::MAX);
            for (part, data) in (0..).zip(data.chunks(frame::PART_BYTES)) {
                frame::put_parked(&mut out, &ParkedPart { sink: record.sink, id: record.id, part, parts, data });
                batch.insert(&layout::parked_key(record.sink, record.id, part), out.as_slice());
            }
        }
        self.change(batch)?;
        for sink in fresh {
            self.counts[usize::from(sink.0 & 63)] += 1;
        }
        Ok(())
    }

    /// Removes records durably; those that are not there are passed over.
    ///
    /// # Errors
    /// When the removal could not be made durable.
    pub fn remove(&mut self, keys: &[Key]) -> Result<u64, StoreError> {
        if self.database.is_none() {
            return Ok(0);
        }
        let database = self.ready()?;
        let mut batch = sled::Batch::default();
        let mut gone = Vec::new();
        for (sink, id) in keys {
            let Some(value) = database.read(&layout::parked_key(*sink, *id, 0))? else { continue };
            let parts = match frame::read(&value) {
                Ok(Frame::Parked(part)) => part.parts,
                _ => PARKED_PARTS_MAX,
            };
            for part in 0..parts {
                batch.remove(&layout::parked_key(*sink, *id, part));
            }
            gone.push(*sink);
        }
        if gone.is_empty() {
            return Ok(0);
        }
        self.change(batch)?;
        for sink in &gone {
            let count = &mut self.counts[usize::from(sink.0 & 63)];
            *count = count.saturating_sub(1);
        }
        Ok(gone.len() as u64)
    }

    /// Up to `max` records behind `after`, in order of sink and id.
    ///
    /// # Errors
    /// When they cannot be read. A single damaged record is passed over.
    pub fn page(&self, after: Option<Key>, max: usize) -> Result<Vec<Parked>, StoreError> {
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        let begin = after.map_or([0; 19], |(sink, id)| layout::parked_key(sink, id, u8::MAX));
        let mut pairs = Vec::new();
        let limit = max.saturating_mul(usize::from(PARKED_PARTS_MAX));
        database.range(begin..[u8::MAX; 19], limit, &mut pairs)?;
        let mut found = Vec::new();
        let mut at = 0;
        while at < pairs.len() && found.len() < max {
            let key = layout::parked_of(&pairs[at].0);
            let count = pairs[at..].iter().take_while(|pair| same(&pair.0, key)).count().max(1);
            if let Some((sink, id, _)) = key {
                let mut data = Vec::new();
                for (_, value) in &pairs[at..at + count] {
                    if let Ok(Frame::Parked(part)) = frame::read(value) {
                        data.extend_from_slice(part.data);
                    }
                }
                found.extend(Parked::from_bytes(sink, id, &data));
            }
            at += count;
        }
        Ok(found)
    }

    /// Closes the database, flushed.
    pub fn close(&mut self) {
        self.database = None;
    }

    fn change(&mut self, mut batch: sled::Batch) -> Result<(), StoreError> {
        let changes = self.changes + 1;
        batch.insert(&CHANGES_KEY, &changes.to_be_bytes());
        let database = self.ready()?;
        database.apply(batch)?;
        database.flush()?;
        self.changes = changes;
        // Only a hint for the next start.
        drop(Counter::open(&self.head).and_then(|head| head.write(changes)));
        Ok(())
    }

    /// The database: made if there is none, opened anew after a failure.
    fn ready(&mut self) -> Result<&mut Database, StoreError> {
        if self.database.as_ref().is_some_and(Database::has_failed) {
            self.database = None;
        }
        if self.database.is_none() {
            let fresh = !self.path.is_dir();
            let (database, _) = Database::open(&self.path, self.cache_bytes)?;
            if fresh {
                database.sync_files().map_err(StoreError::Io)?;
            }
            self.database = Some(database);
        }
        self.database.as_mut().ok_or(StoreError::Closed)
    }

    fn count(&mut self) -> Result<(), StoreError> {
        let Some(database) = &self.database else { return Ok(()) };
        self.counts = [0; SINKS_MAX];
        let mut begin = [0; 19];
        loop {
            let mut pairs = Vec::new();
            database.range(begin..[u8::MAX; 19], COUNT_KEYS, &mut pairs)?;
            for (key, _) in &pairs {
                if let Some((sink, _, 0)) = layout::parked_of(key) {
                    self.counts[usize::from(sink.0 & 63)] += 1;
                }
            }
            let Some((sink, id, part)) = pairs.last().and_then(|(key, _)| layout::parked_of(key)) else { break };
            begin = layout::parked_key(sink, id, part + 1);
        }
        Ok(())
    }
}

/// Puts parked records together that were found part by part in a damaged file; the last copy of a part counts.
#[derive(Debug, Default)]
pub struct Rejoined {
    parts: std::collections::BTreeMap<(u8, u128), Vec<Option<Vec<u8>>>>,
}

impl Rejoined {
    /// Reads a database's file raw.
    ///
    /// # Errors
    /// When there is a file that cannot be opened.
    pub fn scan(database: &Path) -> io::Result<Self> {
        let mut found = Self::default();
        let file = database.join("db");
        if file.exists() {
            repair::scan(&file, |_, frame| {
                if let Frame::Parked(part) = frame {
                    found.add(&part);
                }
            })?;
        }
        Ok(found)
    }

    /// Takes in a part.
    pub fn add(&mut self, part: &ParkedPart<'_>) {
        let parts = self.parts.entry((part.sink.0, part.id.0)).or_default();
        parts.resize(parts.len().max(usize::from(part.parts)), None);
        if let Some(place) = parts.get_mut(usize::from(part.part)) {
            *place = Some(part.data.to_vec());
        }
    }

    /// All whole records.
    pub fn records(self) -> Vec<Parked> {
        let whole = |((sink, id), parts): ((u8, u128), Vec<Option<Vec<u8>>>)| {
            let data: Option<Vec<Vec<u8>>> = parts.into_iter().collect();
            Parked::from_bytes(SinkNumber(sink), RecordId(id), &data?.concat()).ok()
        };
        self.parts.into_iter().filter_map(whole).collect()
    }
}

fn same(key: &[u8], as_this: Option<(SinkNumber, RecordId, u8)>) -> bool {
    let pair = |it: Option<(SinkNumber, RecordId, u8)>| it.map(|(sink, id, _)| (sink, id));
    pair(layout::parked_of(key)) == pair(as_this)
}

/// A body of 16 parts and what is written before it need 17.
const PARKED_PARTS_MAX: u8 = 17;

/// Key of the number of changes: behind all records.
const CHANGES_KEY: [u8; 20] = [u8::MAX; 20];

/// Records written at once when they are salvaged.
pub const PARKED_AT_ONCE: usize = 256;

const COUNT_KEYS: usize = 4096;
