//! Parked records: those no repetition helps, kept for the operator in a database of their own, so that they outlive
//! the spool they came from.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::clock::Timestamp;
use crate::ids::{CallHash, RecordId, SINKS_MAX, SinkNumber};
use crate::record::Kind;

use super::batch::Batch;
use super::collapse::{Made, fact};
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
    /// When it was known that its sink had delivered a later record of its session; `None` when none is known.
    pub overtaken: Option<Timestamp>,
}

/// A parked Start or Interim of a session.
#[derive(Clone, Copy, Debug)]
pub(super) struct Older {
    pub id: RecordId,
    pub kind: Kind,
    pub made: Made,
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
        Ok(Self { sink, id, seq, call, code, attempts, first_tried, parked, reason, body, overtaken: None })
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
    /// What a later record of the same session could make wrong, by sink and session.
    older: HashMap<(u8, u64), Vec<Older>, FixedState>,
    /// Sessions in `older`, by sink.
    sessions: [u32; SINKS_MAX],
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
        let (database, found_there) = Database::open(&store.path, cache_bytes)?;
        opened.snapshot_moved = found_there.snapshot_moved;
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
            older: HashMap::default(),
            sessions: [0; SINKS_MAX],
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

    /// Whether a sink has a parked record that a later one of its session could make wrong.
    pub fn has_sessions(&self, sink: SinkNumber) -> bool {
        self.sessions[usize::from(sink.0 & 63)] > 0
    }

    /// Forgets those parked records of a session for which `wanted` says so.
    pub(super) fn take_older(&mut self, sink: SinkNumber, session: u64, mut wanted: impl FnMut(&Older) -> bool) {
        let Some(all) = self.older.get_mut(&(sink.0, session)) else { return };
        all.retain(|older| !wanted(older));
        if all.is_empty() {
            self.older.remove(&(sink.0, session));
            self.sessions[usize::from(sink.0 & 63)] -= 1;
        }
    }

    fn note_older(&mut self, sink: SinkNumber, id: RecordId, body: &[u8]) {
        let Some((kind @ (Kind::Start | Kind::Interim), session, made)) = fact(id, body) else { return };
        if self.older.len() >= SESSIONS_MAX {
            return;
        }
        let all = self.older.entry((sink.0, session)).or_default();
        if all.is_empty() {
            self.sessions[usize::from(sink.0 & 63)] += 1;
        }
        if all.iter().all(|older| older.id != id) {
            all.push(Older { id, kind, made });
        }
    }

    /// States, durably, that a later record of the session of each of these was delivered.
    ///
    /// # Errors
    /// When that could not be made durable.
    pub fn mark_overtaken(&mut self, keys: &[Key], when: Timestamp) -> Result<(), StoreError> {
        let mut batch = Batch::default();
        let mut out = Vec::new();
        for (sink, id) in keys {
            let data = when.0.to_be_bytes();
            frame::put_parked(&mut out, &ParkedPart { sink: *sink, id: *id, part: MARK_PART, parts: 1, data: &data });
            batch.insert(layout::parked_key(*sink, *id, MARK_PART), out.as_slice());
        }
        self.change(batch)
    }

    /// Stores records durably. Says of each whether it was not there before.
    ///
    /// # Errors
    /// When they could not be made durable. The database is then opened anew at the next call.
    pub fn put(&mut self, records: &[Parked]) -> Result<Vec<bool>, StoreError> {
        let database = self.ready()?;
        let mut batch = Batch::default();
        let mut fresh = Vec::with_capacity(records.len());
        let mut out = Vec::new();
        for record in records {
            fresh.push(database.read(&layout::parked_key(record.sink, record.id, 0))?.is_none());
            let data = record.to_bytes();
            let parts = u8::try_from(frame::parts_of(data.len())).unwrap_or(u8::MAX);
            for (part, data) in (0..).zip(data.chunks(frame::PART_BYTES)) {
                frame::put_parked(&mut out, &ParkedPart { sink: record.sink, id: record.id, part, parts, data });
                batch.insert(layout::parked_key(record.sink, record.id, part), out.as_slice());
            }
        }
        self.change(batch)?;
        for (record, fresh) in records.iter().zip(&fresh) {
            self.counts[usize::from(record.sink.0 & 63)] += u64::from(*fresh);
            self.note_older(record.sink, record.id, &record.body);
        }
        Ok(fresh)
    }

    /// Removes records durably; those that are not there are passed over. Gives those that were, with the places they had
    /// when they were parked.
    ///
    /// # Errors
    /// When the removal could not be made durable.
    pub fn remove(&mut self, keys: &[Key]) -> Result<Vec<(SinkNumber, RecordId, u64)>, StoreError> {
        if self.database.is_none() {
            return Ok(Vec::new());
        }
        let database = self.ready()?;
        let mut batch = Batch::default();
        let (mut gone, mut sessions) = (Vec::new(), Vec::new());
        for (sink, id) in keys {
            let Some(value) = database.read(&layout::parked_key(*sink, *id, 0))? else { continue };
            let (parts, seq) = match frame::read(&value) {
                Ok(Frame::Parked(part)) => {
                    let parked = Parked::from_bytes(*sink, *id, part.data).ok();
                    let session = parked.as_ref().and_then(|parked| Some(fact(*id, &parked.body)?.1));
                    sessions.extend(session.map(|session| (*sink, *id, session)));
                    (part.parts, parked.map_or(0, |parked| parked.seq))
                }
                _ => (PARKED_PARTS_MAX, 0),
            };
            for part in (0..parts).chain([MARK_PART]) {
                batch.remove(layout::parked_key(*sink, *id, part));
            }
            gone.push((*sink, *id, seq));
        }
        if gone.is_empty() {
            return Ok(gone);
        }
        self.change(batch)?;
        for (sink, id, session) in sessions {
            self.take_older(sink, session, |older| older.id == id);
        }
        for (sink, ..) in &gone {
            let count = &mut self.counts[usize::from(sink.0 & 63)];
            *count = count.saturating_sub(1);
        }
        Ok(gone)
    }

    /// Up to `max` records behind `after`, in order of sink and id.
    ///
    /// # Errors
    /// When they cannot be read. A single damaged record is passed over.
    pub fn page(&self, after: Option<Key>, max: usize) -> Result<Vec<Parked>, StoreError> {
        let Some(database) = &self.database else { return Ok(Vec::new()) };
        let begin = after.map_or([0; 19], |(sink, id)| layout::parked_key(sink, id, u8::MAX));
        let mut pairs = Vec::new();
        let limit = max.saturating_mul(usize::from(PARKED_PARTS_MAX) + 1);
        database.range(begin..[u8::MAX; 19], limit, &mut pairs)?;
        let mut found = Vec::new();
        let mut at = 0;
        while at < pairs.len() && found.len() < max {
            let key = layout::parked_of(&pairs[at].0);
            let count = pairs[at..].iter().take_while(|pair| same(&pair.0, key)).count().max(1);
            if let Some((sink, id, _)) = key {
                let (mut data, mut overtaken) = (Vec::new(), None);
                for (_, value) in &pairs[at..at + count] {
                    match frame::read(value) {
                        Ok(Frame::Parked(part)) if part.part == MARK_PART => {
                            overtaken = part.data.try_into().ok().map(|data| Timestamp(i64::from_be_bytes(data)));
                        }
                        Ok(Frame::Parked(part)) => data.extend_from_slice(part.data),
                        _ => {}
                    }
                }
                found.extend(Parked::from_bytes(sink, id, &data).map(|parked| Parked { overtaken, ..parked }));
            }
            at += count;
        }
        Ok(found)
    }

    /// Closes the database, flushed.
    pub fn close(&mut self) {
        self.database = None;
    }

    fn change(&mut self, mut batch: Batch) -> Result<(), StoreError> {
        let changes = self.changes + 1;
        batch.insert(CHANGES_KEY, changes.to_be_bytes());
        let database = self.ready()?;
        database.apply(&batch)?;
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
        self.counts = [0; SINKS_MAX];
        let mut begin = [0; 19];
        let mut last = None;
        loop {
            let Some(database) = &self.database else { return Ok(()) };
            let mut pairs = Vec::new();
            database.range(begin..[u8::MAX; 19], COUNT_KEYS, &mut pairs)?;
            for (key, value) in &pairs {
                match (layout::parked_of(key), frame::read(value)) {
                    (Some((sink, id, 0)), part) => {
                        self.counts[usize::from(sink.0 & 63)] += 1;
                        let Ok(Frame::Parked(part)) = part else { continue };
                        last = Parked::from_bytes(sink, id, part.data).ok();
                        if let Some(parked) = &last {
                            self.note_older(sink, id, &parked.body);
                        }
                    }
                    // What is marked needs no mark.
                    (Some((sink, id, MARK_PART)), _) => {
                        let own = last.as_ref().filter(|parked| parked.id == id && parked.sink == sink);
                        if let Some((_, session, _)) = own.and_then(|parked| fact(id, &parked.body)) {
                            self.take_older(sink, session, |older| older.id == id);
                        }
                    }
                    _ => {}
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

/// The part behind all parts of a record: it states when a later record of its session was delivered.
const MARK_PART: u8 = 0xf0;

/// Sessions with parked records that are remembered; a later record of a further one marks nothing.
const SESSIONS_MAX: usize = 1 << 18;

/// Key of the number of changes: behind all records.
const CHANGES_KEY: [u8; 20] = [u8::MAX; 20];

/// Records written at once when they are salvaged.
pub const PARKED_AT_ONCE: usize = 256;

const COUNT_KEYS: usize = 4096;
