//! What is to be committed next, and how records lie on disk.

use bytes::Bytes;

use super::batch::Batch;
use super::calls::Changes;
use super::frame::{self, RecordPart};
use super::layout;
use crate::ids::{CallHash, RecordId, SinkMask, SinkNumber};
use crate::record::Entry;

/// What is to be committed next. Kept until it is on disk, so that another spool can take it.
#[derive(Debug, Default)]
pub(super) struct Building {
    records: Vec<Fresh>,
    calls: Changes,
    after: Vec<After>,
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
    Again {
        /// The place.
        was: u64,
    },
    /// It was put back, by the operator or from a damaged file: the queue counts it as new.
    Back,
}

impl Origin {
    /// Whether it counts as appended.
    pub const fn is_counted(self) -> bool {
        matches!(self, Self::New | Self::Back)
    }
}

/// What follows a commit.
#[derive(Debug)]
pub(super) enum After {
    /// The record was copied from here: it is settled at its old place.
    Moved { seq: u64, sinks: SinkMask },
    /// The record was parked: it leaves there.
    Unparked { sink: SinkNumber, id: RecordId },
}

impl Building {
    /// Adds a record.
    pub fn push(&mut self, record: Fresh) {
        self.records.push(record);
    }

    /// Adds what is to follow the commit.
    pub fn then(&mut self, after: After) {
        self.after.push(after);
    }

    /// The records.
    pub fn records(&self) -> &[Fresh] {
        &self.records
    }

    /// The changes to the calls in progress.
    pub fn calls(&mut self) -> &mut Changes {
        &mut self.calls
    }

    /// Whether there is nothing to commit.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty() && self.calls.is_empty()
    }

    /// What is to follow the commit, now that it is on disk.
    pub fn follow(&mut self) -> std::vec::Drain<'_, After> {
        self.after.drain(..)
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.records.clear();
        self.calls.clear();
    }

    /// The new records; those that the queue has at another place are no loss there.
    pub fn unwritten(&self) -> Vec<Entry> {
        let new = self.records.iter().filter(|record| record.origin.is_counted());
        let entry = |Fresh { id, call, sinks, body, .. }: &Fresh| Entry {
            id: *id,
            call: *call,
            sinks: *sinks,
            body: body.to_vec(),
        };
        new.map(entry).collect()
    }

    /// Adds the gathered records, which take places from `next` on.
    ///
    /// Short ones share a value: what a record costs in sled is mostly the number of values.
    pub fn encode_records(&self, (next, mut total): (u64, u64), batch: &mut Batch) {
        let mut out = Vec::with_capacity(frame::FRAME_BYTES_MAX);
        let mut group = Group::new(next);
        for (seq, record) in (next..).zip(&self.records) {
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
            for (part, body) in (0..).zip(record.body.chunks(frame::PART_BYTES)) {
                let Fresh { id, call, sinks, .. } = *record;
                let framed = RecordPart { seq, part, parts, total, id, call, sinks, body };
                out.clear();
                frame::push_record(&mut out, &framed);
                batch.insert(layout::record_key(seq, part), out.as_slice());
            }
        }
        group.end(next, batch);
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
    fn end(&mut self, seq: u64, batch: &mut Batch) {
        if !self.value.is_empty() {
            batch.insert(layout::record_key(self.first, 0), self.value.as_slice());
            self.value.clear();
        }
        self.first = seq;
    }
}
