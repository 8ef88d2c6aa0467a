//! The synchronous core of the queue: append, commit, lease, settle.

use std::time::Duration;

use bytes::Bytes;

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, RecordId, SINKS_MAX, SinkMask, SinkNumber};
use crate::record::{BODY_BYTES_MAX, CALL_KEY_BYTES_MAX, CallChange, Commit, Entry, NOTE_BYTES_MAX};

use super::balance::{Balance, Loss, Stats};
use super::bitmap::Since;
use super::calls::{Calls, Changes};
use super::chain::{Chain, add_dirty, put_meta};
use super::error::{AppendFailed, StoreError};
use super::frame::{self, RecordPart};
use super::layout::{self, CHUNK_RECORDS};
use super::limits::{Trouble, Verdict};
use super::notice::{Notice, chain_text};
use super::parked::{Parked, ParkedStore};
use super::salvage::Salvage;
use super::switch::Switch;
use super::totals;
use super::window::Window;

/// The most records of one batch.
pub const BATCH_RECORDS_MAX: usize = 4096;

/// The queue, as one thread uses it.
///
/// Everything a method does to the disk it does before it returns; what must be durable is, or the method says no.
#[derive(Debug)]
pub struct Queue {
    pub(super) chain: Chain,
    pub(super) sinks: Vec<Sink>,
    pub(super) by_number: [Option<u8>; SINKS_MAX],
    pub(super) known: SinkMask,
    pub(super) next: u64,
    pub(super) total: u64,
    pub(super) building: Building,
    pub(super) calls: Calls,
    pub(super) parked: ParkedStore,
    pub(super) parking: Vec<Parked>,
    pub(super) overtaken: super::overtaken::Pending,
    pub(super) switch: Switch,
    pub(super) salvage: Salvage,
    pub(super) removal: Option<Removal>,
    pub(super) stats: Stats,
    pub(super) verdict: Verdict,
    pub(super) timing: Timing,
}

/// One sink of the queue.
#[derive(Debug)]
pub(super) struct Sink {
    pub name: String,
    pub since: Since,
    pub configured: bool,
    pub window: Window,
    pub balance: Balance,
    pub waiting_bytes: u64,
    /// Sessions whose newest Interim is known.
    pub interims: super::collapse::Sessions,
    pub retries: u64,
    /// Age of its oldest waiting record when it was looked at last.
    pub oldest: Duration,
    /// When its oldest waiting record was made, as far as is known.
    pub oldest_made: Option<Timestamp>,
    /// Whether somebody leases; without that nothing is kept in memory for it.
    pub attached: bool,
}

/// What is to be committed next. Kept until it is on disk, so that another spool can take it.
#[derive(Debug, Default)]
pub(super) struct Building {
    pub records: Vec<Fresh>,
    pub calls: Changes,
    pub after: Vec<After>,
}

/// A record to be appended.
#[derive(Debug)]
pub(super) struct Fresh {
    pub id: RecordId,
    pub call: CallHash,
    pub sinks: SinkMask,
    pub body: Bytes,
    pub origin: Origin,
}

/// Where a record to be appended comes from: each is counted once.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// It is new.
    New,
    /// The queue had it already, at another place.
    Again,
}

/// What follows a commit.
#[derive(Debug)]
pub(super) enum After {
    /// The record was copied from here: it is settled at its old place.
    Moved { seq: u64, sinks: SinkMask },
    /// The record was parked: it leaves there.
    Unparked { sink: SinkNumber, id: RecordId },
}

/// Bodies of a finished chunk on their way out.
#[derive(Debug)]
pub(super) struct Removal {
    pub spool: u32,
    pub chunk: u32,
    pub keys: Vec<[u8; 10]>,
}

/// When something was done last.
#[derive(Debug, Default)]
pub(super) struct Timing {
    pub settled_since: u32,
    pub sealed_dirty: Option<Instant>,
    pub active_dirty: Option<Instant>,
    pub looked: Option<Instant>,
    pub stuck_until: Option<Instant>,
    /// After a failure, no reading through the backlog before.
    pub unread_pause: Option<Instant>,
    pub committed: Option<Instant>,
    /// Whether the reserve was given up and is not there again.
    pub reserve_spent: bool,
    /// No reserve is made before.
    pub reserve_pause: Option<Instant>,
    /// Octets appended when the active file was measured last; `None` to measure it again.
    pub sized_at: Option<u64>,
}

impl Queue {
    /// Takes a commit into the next batch; it is on disk after [`Queue::finish`].
    ///
    /// No limit refuses it: a call that was accepted can be ended whatever is full.
    ///
    /// # Errors
    /// When something in it is longer than the queue stores. That alone is left out, and counted as lost.
    pub fn add(&mut self, commit: Commit) -> Result<(), AppendFailed> {
        let mut too_long = 0;
        let mut result = Ok(());
        for entry in commit.entries {
            if entry.body.len() > BODY_BYTES_MAX {
                too_long += 1;
                continue;
            }
            let sinks = entry.sinks.and(self.known);
            if !sinks.is_empty() {
                self.building.records.push(Fresh {
                    id: entry.id,
                    call: entry.call,
                    sinks,
                    body: Bytes::from(entry.body),
                    origin: Origin::New,
                });
            }
        }
        for change in commit.calls {
            let change = match change {
                CallChange::Put { key, value } if key.len() > CALL_KEY_BYTES_MAX || value.len() > BODY_BYTES_MAX => {
                    result = Err(AppendFailed::TooLong);
                    continue;
                }
                // The call has ended all the same.
                CallChange::End { key, note } if key.len() > CALL_KEY_BYTES_MAX || note.len() > NOTE_BYTES_MAX => {
                    result = Err(AppendFailed::TooLong);
                    CallChange::Remove { key }
                }
                change => change,
            };
            self.calls.take(change, &mut self.chain.revision, &mut self.building.calls);
        }
        if too_long > 0 {
            self.lose(Loss::TooLong, too_long);
            result = Err(AppendFailed::TooLong);
        }
        result
    }

    /// Counts records as lost, for good: the count survives whatever the disk still takes.
    pub(super) fn lose(&mut self, why: Loss, records: u64) {
        if records == 0 {
            return;
        }
        self.stats.losses.add(why, records);
        if why != Loss::Missing {
            self.chain.notices.push(Notice::Losing { why, records });
        }
        if let Err(error) = self.chain.place.keep_losses(&self.stats.losses) {
            self.chain.notices.push(Notice::Failed { action: "write `lost`", why: error.to_string() });
        }
    }

    /// The new records of the next batch; those that the queue has at another place are no loss there.
    #[must_use]
    pub(super) fn unwritten(&self) -> Vec<Entry> {
        let new = self.building.records.iter().filter(|record| record.origin == Origin::New);
        let entry = |Fresh { id, call, sinks, body, .. }: &Fresh| Entry {
            id: *id,
            call: *call,
            sinks: *sinks,
            body: body.to_vec(),
        };
        new.map(entry).collect()
    }

    /// Records in the next batch.
    #[must_use]
    pub fn gathered(&self) -> usize {
        self.building.records.len()
    }

    /// Commits what was added, with the settlements so far: one batch, one flush. All of it is durable afterwards.
    ///
    /// `clock` is read before and after, to measure the commit.
    ///
    /// # Errors
    /// When neither the active spool nor a new one took it. What was added is kept: call again.
    pub fn finish(&mut self, clock: fn() -> Now) -> Result<(), StoreError> {
        let begin = clock();
        if self.timing.stuck_until.is_some_and(|until| begin.mono < until) {
            return Err(StoreError::Closed);
        }
        let result = self.write_active(begin.mono).or_else(|error| self.rescue(error, begin));
        let end = clock();
        self.measure(begin.mono, end.mono, result.is_ok());
        if let Err(error) = result {
            self.timing.stuck_until = Some(end.mono + STUCK_PAUSE);
            let why = chain_text(&error);
            if self.stats.store_error != why {
                // Once for each reason: it is tried again every second.
                self.chain.notices.push(Notice::Stuck { why: why.clone() });
            }
            self.stats.store_error = why;
            return Err(error);
        }
        self.stats.store_error.clear();
        self.timing.stuck_until = None;
        self.timing.committed = Some(end.mono);
        self.timing.active_dirty = None;
        self.committed(end);
        Ok(())
    }

    /// One batch on the active spool, durable.
    fn write_active(&mut self, now: Instant) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        self.encode_records(&mut batch);
        self.stage();
        self.building.calls.number_notes(&mut self.chain.revision);
        self.building.calls.encode(self.calls.marks_forgotten, &mut batch);
        let expired = self.calls.encode_expired(now, &mut batch);
        let active = self.chain.active();
        add_dirty(&mut batch, active);
        let removed = self.encode_removal(&mut batch);
        let totals = self.totals();
        if self.chain.metas.get(totals::NAME) != Some(&totals) {
            self.chain.revision += 1;
            put_meta(&mut batch, self.chain.revision, totals::NAME, &totals);
            // A new spool that has to take this batch gets it too.
            self.chain.metas.insert(totals::NAME.to_vec(), totals);
        }
        if self.stats.troubles.has(Trouble::Slow) {
            // Something to write, so that a commit shows whether the disk is quick again.
            self.chain.revision += 1;
            put_meta(&mut batch, self.chain.revision, b"probe", &self.next.to_be_bytes());
        }
        let database = self.chain.active().database.as_mut().ok_or(StoreError::Closed);
        let written = database.and_then(|database| {
            database.apply(batch)?;
            database.flush()
        });
        if let Err(error) = written {
            self.unstage();
            self.chain.active().bits.all_dirty();
            return Err(error);
        }
        if removed {
            self.removal = None;
        }
        self.calls.forget_expired(expired);
        Ok(())
    }

    /// Adds the gathered records, which take places from `self.next` on.
    ///
    /// Short ones share a value: what a record costs in sled is mostly the number of values.
    pub(super) fn encode_records(&self, batch: &mut sled::Batch) {
        let mut out = Vec::with_capacity(frame::FRAME_BYTES_MAX);
        let mut total = self.total;
        let mut group = Group::new(self.next);
        for (seq, record) in (self.next..).zip(&self.building.records) {
            total += record.body.len() as u64;
            if group.has_room(seq, record.body.len()) {
                group.push(seq, total, record);
                continue;
            }
            group.end(seq, batch);
            if record.body.len() <= frame::PART_BYTES {
                group.push(seq, total, record);
                continue;
            }
            group.first = seq + 1;
            let parts = u8::try_from(frame::parts_of(record.body.len())).expect("bodies are limited to 16 parts");
            for part in 0..parts {
                let begin = usize::from(part) * frame::PART_BYTES;
                let end = record.body.len().min(begin + frame::PART_BYTES);
                let framed = RecordPart {
                    seq,
                    part,
                    parts,
                    total,
                    id: record.id,
                    call: record.call,
                    sinks: record.sinks,
                    body: &record.body[begin..end],
                };
                out.clear();
                frame::push_record(&mut out, &framed);
                batch.insert(&layout::record_key(seq, part), out.as_slice());
            }
        }
        group.end(self.next, batch);
    }

    /// Takes the places of the gathered records in the active spool's bitmaps.
    pub(super) fn stage(&mut self) {
        let (known, mut total) = (self.known, self.total);
        let bits = &mut self.chain.spools.back_mut().expect("opening ends with an active spool").bits;
        for record in &self.building.records {
            bits.append(total, record.sinks, known);
            total += record.body.len() as u64;
        }
    }

    fn unstage(&mut self) {
        let known = self.known;
        let bits = &mut self.chain.spools.back_mut().expect("opening ends with an active spool").bits;
        for record in self.building.records.iter().rev() {
            bits.retract(record.sinks, known);
        }
    }

    /// Adds the removal of some bodies of finished chunks; whether that ends a chunk.
    fn encode_removal(&mut self, batch: &mut sled::Batch) -> bool {
        let number = self.chain.active().number;
        if self.removal.as_ref().is_some_and(|removal| removal.spool != number) {
            self.removal = None;
        }
        if self.removal.is_none() {
            self.removal = self.next_removal(number);
        }
        let Some(removal) = &mut self.removal else { return false };
        let keep = removal.keys.len().saturating_sub(REMOVALS_PER_COMMIT_MAX);
        for key in removal.keys.drain(keep..) {
            batch.remove(&key);
        }
        if keep > 0 {
            return false;
        }
        let chunk = removal.chunk;
        let active = self.chain.active();
        let gone = active.bits.emptied(chunk);
        if !gone.is_empty() {
            for chunk in gone.clone() {
                for sink in self.known.iter() {
                    batch.remove(&layout::bitmap_key(sink, chunk));
                }
            }
            self.chain.revision += 1;
            put_meta(batch, self.chain.revision, b"low", &u64::from(gone.end).to_be_bytes());
        }
        true
    }

    fn next_removal(&mut self, spool: u32) -> Option<Removal> {
        let chunk = self.chain.active().bits.take_finished()?;
        let begin = (u64::from(chunk) * CHUNK_RECORDS).max(self.chain.active().bits.first());
        let end = (u64::from(chunk) + 1) * CHUNK_RECORDS;
        let mut pairs = Vec::new();
        let range = layout::record_key(begin, 0)..layout::record_key(end, 0);
        let database = self.chain.active().database.as_ref()?;
        if let Err(error) = database.range(range, usize::MAX, &mut pairs) {
            self.chain.notices.push(Notice::Failed { action: "remove bodies", why: chain_text(&error) });
        }
        let keys = pairs.iter().filter_map(|(key, _)| <[u8; 10]>::try_from(key.as_ref()).ok()).collect();
        Some(Removal { spool, chunk, keys })
    }

    /// What a durable commit changes in memory.
    fn committed(&mut self, now: Now) {
        let mut building = std::mem::take(&mut self.building);
        for (seq, record) in (self.next..).zip(&building.records) {
            self.total += record.body.len() as u64;
            self.stats.appended += 1;
            self.stats.appended_bytes += record.body.len() as u64;
            for sink in &mut self.sinks {
                sink.appended(seq, record, now.mono);
            }
        }
        let first = self.next;
        self.next += building.records.len() as u64;
        self.collapse_appended(first, &building.records, now);
        self.stats.calls = self.calls.len() as u64;
        self.mirror_calls(&building.calls);
        self.calls.noted(now.mono, &building.calls);
        if !building.records.is_empty()
            && let Err(error) = self.chain.place.head().write(self.next - 1)
        {
            self.chain.notices.push(Notice::Failed { action: "write `head`", why: error.to_string() });
        }
        let mut unparked = Vec::new();
        for after in building.after.drain(..) {
            match after {
                After::Moved { seq, sinks } => self.moved(seq, sinks, now.mono),
                After::Unparked { sink, id } => unparked.push((sink, id)),
            }
        }
        if !unparked.is_empty()
            && let Err(error) = self.parked.remove(&unparked)
        {
            self.chain.notices.push(Notice::Failed { action: "remove parked records", why: chain_text(&error) });
            // They are there twice from now on.
            for (sink, _) in unparked {
                self.with_sink(sink, |sink| sink.balance.appended += 1);
            }
        }
        building.records.clear();
        building.calls.clear();
        self.building = building;
    }

    /// A salvaged record has a new place; at the old one it is not waited for any more.
    fn moved(&mut self, seq: u64, sinks: SinkMask, now: Instant) {
        for sink in sinks.iter() {
            let waited = self.mark_done(sink, seq, now);
            self.with_sink(sink, |sink| {
                // It was put away.
                sink.window.remove(seq);
                if waited {
                    sink.balance.waiting -= 1;
                } else {
                    // It has ended there meanwhile: the copy is one more.
                    sink.balance.appended += 1;
                }
            });
        }
    }

    fn measure(&mut self, begin: Instant, end: Instant, done: bool) {
        let took = end.since(begin);
        let stats = &mut self.stats;
        if !done {
            stats.commits_failed += 1;
            self.set_trouble(Trouble::Store, true);
            return;
        }
        stats.commits += 1;
        stats.commit_last = took;
        stats.commit_sum += took;
        stats.commit_longest = stats.commit_longest.max(took);
        let slow = took > self.chain.settings.commit_wait_max;
        if slow {
            self.chain.notices.push(Notice::SlowCommit { took });
        }
        self.set_trouble(Trouble::Store, false);
        self.set_trouble(Trouble::Slow, slow);
    }

    pub(super) fn index(&self, sink: SinkNumber) -> Option<usize> {
        self.by_number.get(usize::from(sink.0)).copied().flatten().map(usize::from)
    }

    pub(super) fn with_sink(&mut self, sink: SinkNumber, act: impl FnOnce(&mut Sink)) {
        if let Some(index) = self.index(sink) {
            act(&mut self.sinks[index]);
        }
    }
}

impl Sink {
    /// Counts an appended record, and offers it to the window.
    fn appended(&mut self, seq: u64, record: &Fresh, now: Instant) {
        let wants = record.sinks.has(self.since.sink);
        if wants {
            self.balance.appended += u64::from(record.origin == Origin::New);
            self.balance.waiting += 1;
            self.waiting_bytes += record.body.len() as u64;
        }
        if wants && self.attached {
            self.window.offer(seq, record.id, record.call, &record.body, now);
        } else if !wants && self.window.cursor() == seq {
            self.window.advance(seq + 1);
        }
    }
}

/// Short records, one after the other in one value.
struct Group {
    /// Place of the first one.
    first: u64,
    value: Vec<u8>,
}

impl Group {
    fn new(first: u64) -> Self {
        Self { first, value: Vec::with_capacity(frame::GROUP_BYTES) }
    }

    /// Whether the record at `seq` may join: no group spans two chunks.
    fn has_room(&self, seq: u64, body_bytes: usize) -> bool {
        let same_chunk = layout::chunk_of(self.first) == layout::chunk_of(seq);
        same_chunk && self.value.len() + frame::RECORD_FRAME_BYTES + body_bytes <= frame::GROUP_BYTES
    }

    fn push(&mut self, seq: u64, total: u64, record: &Fresh) {
        let Fresh { id, call, sinks, body, origin: _ } = record;
        let framed = RecordPart { seq, part: 0, parts: 1, total, id: *id, call: *call, sinks: *sinks, body };
        frame::push_record(&mut self.value, &framed);
    }

    /// Adds the group to the batch; the next one begins at `seq`.
    fn end(&mut self, seq: u64, batch: &mut sled::Batch) {
        if !self.value.is_empty() {
            batch.insert(&layout::record_key(self.first, 0), self.value.as_slice());
            self.value.clear();
        }
        self.first = seq;
    }
}

/// Pause after a commit that no spool took.
const STUCK_PAUSE: Duration = Duration::from_secs(1);

/// Bodies of finished chunks removed by one commit: a chunk is spread over several.
const REMOVALS_PER_COMMIT_MAX: usize = 256;
