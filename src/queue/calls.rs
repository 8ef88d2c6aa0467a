//! The calls in progress, and the notes of ended ones: what of them is on disk and what a commit changes.
//!
//! A call is named by its caller and numbered here: its key in the tree is the number, so that calls of one time lie
//! together and a key is short. The notes of all calls that end with one commit share a value, which goes as a whole
//! when the last of them has served.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::clock::Instant;
use crate::record::{CallChange, NOTES_KEPT};

use super::database::{Database, Pair};
use super::error::StoreError;
use super::frame::{self, CallPart, Frame, Notes};
use super::layout;

/// The calls in progress, as they will be when all commits taken are on disk.
#[derive(Debug, Default)]
pub struct Calls {
    kept: HashMap<Vec<u8>, Kept, FixedState>,
    /// Values with notes, oldest first: since when, and their number.
    notes: VecDeque<(Instant, u64)>,
    /// Whether forgotten calls leave a mark, because calls of an earlier spool are still to be copied.
    marks_forgotten: bool,
}

/// A call's name, and its value or note.
type Named = (Vec<u8>, Vec<u8>);

/// Where a call is on disk.
#[derive(Clone, Copy, Debug)]
struct Kept {
    number: u64,
    parts: u8,
}

/// What the next commit changes.
#[derive(Debug, Default)]
pub struct Changes {
    calls: Vec<Change>,
    /// Name and note of each call that ends.
    ended: Vec<Named>,
    /// Number of the first value with notes; the others follow.
    notes_from: u64,
    /// Where in `ended` each value ends.
    note_ends: Vec<usize>,
}

#[derive(Debug)]
struct Change {
    key: Vec<u8>,
    number: u64,
    revision: u64,
    /// `None`: it is forgotten.
    value: Option<Vec<u8>>,
    /// Parts its value had before.
    parts_before: u8,
}

impl Calls {
    /// Calls kept.
    pub fn len(&self) -> usize {
        self.kept.len()
    }

    /// Whether forgotten calls leave a mark, because calls of an earlier spool are still to be copied.
    pub fn marks_forgotten(&self) -> bool {
        self.marks_forgotten
    }

    /// States whether they do.
    pub fn mark_forgotten(&mut self, marks: bool) {
        self.marks_forgotten = marks;
    }

    /// Takes a change into the next commit. `revision` rises with every number given.
    pub fn take(&mut self, change: CallChange, revision: &mut u64, into: &mut Changes) {
        *revision += 1;
        let revision = *revision;
        match change {
            CallChange::Put { key, value } => {
                let parts = frame::parts_of(value.len()) as u8;
                let fresh = Kept { number: revision, parts: 0 };
                let kept = match self.kept.get_mut(&key) {
                    Some(kept) => kept,
                    None => self.kept.entry(key.clone()).or_insert(fresh),
                };
                let (number, parts_before) = (kept.number, std::mem::replace(&mut kept.parts, parts));
                into.calls.push(Change { key, number, revision, value: Some(value), parts_before });
            }
            CallChange::Remove { key } => self.forget(key, revision, into),
            CallChange::End { key, note } => {
                self.forget(key.clone(), revision, into);
                into.ended.push((key, note));
            }
        }
    }

    fn forget(&mut self, key: Vec<u8>, revision: u64, into: &mut Changes) {
        let unknown = Kept { number: revision, parts: 0 };
        let kept = self.kept.remove(&key).or(self.marks_forgotten.then_some(unknown));
        if let Some(Kept { number, parts }) = kept {
            into.calls.push(Change { key, number, revision, value: None, parts_before: parts });
        }
    }

    /// Adds the removal of notes that have served their time; gives how many values those are.
    pub fn encode_expired(&self, now: Instant, batch: &mut sled::Batch) -> usize {
        let old = |&&(since, _): &&(Instant, u64)| now.since(since) >= NOTES_KEPT;
        let mut count = 0;
        for (_, number) in self.notes.iter().take_while(old).take(EXPIRED_PER_COMMIT_MAX) {
            batch.remove(&layout::notes_key(*number));
            count += 1;
        }
        count
    }

    /// States that the removal of that many values is on disk.
    pub fn forget_expired(&mut self, count: usize) {
        self.notes.drain(..count);
    }

    /// States that the notes of these changes are on disk.
    pub fn noted(&mut self, now: Instant, changes: &Changes) {
        self.notes.extend(changes.note_groups().map(|(number, _)| (now, number)));
    }

    /// Takes up what a spool holds, at opening.
    pub fn restore(&mut self, now: Instant, stored: &Stored) {
        for call in &stored.calls {
            self.kept.insert(call.key.clone(), Kept { number: call.number, parts: call.parts });
        }
        self.notes.extend(stored.notes.iter().map(|(number, _)| (now, *number)));
    }
}

impl Changes {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty() && self.ended.is_empty()
    }

    /// Forgets all, keeping the memory.
    pub fn clear(&mut self) {
        self.calls.clear();
        self.ended.clear();
        self.note_ends.clear();
    }

    /// Spreads the notes over values, and gives these their numbers.
    pub fn number_notes(&mut self, revision: &mut u64) {
        self.notes_from = *revision + 1;
        self.note_ends.clear();
        let mut bytes = 0;
        for (place, (key, note)) in self.ended.iter().enumerate() {
            let more = key.len() + note.len() + NOTE_FRAME_BYTES;
            if bytes > 0 && bytes + more > frame::GROUP_BYTES {
                self.note_ends.push(place);
                bytes = 0;
            }
            bytes += more;
        }
        if bytes > 0 {
            self.note_ends.push(self.ended.len());
        }
        *revision += self.note_ends.len() as u64;
    }

    /// The calls that end, as many at a time as one value holds, with the number of that value.
    fn note_groups(&self) -> impl Iterator<Item = (u64, &[Named])> {
        let mut begin = 0;
        (self.notes_from..).zip(&self.note_ends).map(move |(number, end)| {
            let group = &self.ended[begin..*end];
            begin = *end;
            (number, group)
        })
    }

    /// Adds the changes to a batch.
    ///
    /// With `mark` a forgotten call leaves a mark, so that a copy from an earlier spool does not bring it back.
    pub fn encode(&self, mark: bool, batch: &mut sled::Batch) {
        let mut out = Vec::new();
        for Change { key, number, revision, value, parts_before } in &self.calls {
            let parts = match value {
                Some(value) => {
                    let parts = frame::parts_of(value.len()) as u8;
                    for part in 0..parts {
                        let begin = usize::from(part) * frame::PART_BYTES;
                        let value = &value[begin..value.len().min(begin + frame::PART_BYTES)];
                        frame::put_call(&mut out, &CallPart { revision: *revision, part, parts, key, value });
                        batch.insert(&layout::call_key(*number, part), out.as_slice());
                    }
                    parts
                }
                None if mark => {
                    frame::put_call(&mut out, &CallPart { revision: *revision, part: 0, parts: 0, key, value: b"" });
                    batch.insert(&layout::call_key(*number, 0), out.as_slice());
                    1
                }
                None => 0,
            };
            for part in parts..*parts_before {
                batch.remove(&layout::call_key(*number, part));
            }
        }
        let mut entries = Vec::new();
        for (number, group) in self.note_groups() {
            entries.clear();
            group.iter().for_each(|(key, note)| frame::push_note(&mut entries, key, note));
            frame::put_notes(&mut out, &Notes { revision: number, entries: &entries });
            batch.insert(&layout::notes_key(number), out.as_slice());
        }
    }
}

/// What a spool holds about calls.
#[derive(Debug, Default)]
pub struct Stored {
    /// Calls in progress, by name.
    pub calls: Vec<StoredCall>,
    /// Ended calls, name and note, by the number of the value they are in.
    pub notes: Vec<(u64, Vec<Named>)>,
}

/// A call in progress.
#[derive(Debug)]
pub struct StoredCall {
    key: Vec<u8>,
    value: Vec<u8>,
    number: u64,
    parts: u8,
}

impl Stored {
    /// Reads what a spool holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(database: &Database) -> Result<Self, StoreError> {
        let mut pairs: Vec<Pair> = Vec::new();
        database.range(layout::CALLS, usize::MAX, &mut pairs)?;
        let mut parts: Vec<(u64, CallPart<'_>)> = pairs
            .iter()
            .filter_map(|(key, value)| match (layout::call_of(key)?, frame::read(value)) {
                (number, Ok(Frame::Call(part))) if part.parts > 0 => Some((number, part)),
                _ => None,
            })
            .collect();
        parts.sort_by_key(|(number, part)| (part.key, *number, part.part));
        let mut calls = Vec::new();
        for group in parts.chunk_by(|(n, a), (m, b)| a.key == b.key && n == m) {
            let (number, first) = group[0];
            // Parts of an earlier, longer value may follow.
            if let Some(group) = group.get(..usize::from(first.parts)) {
                let value = group.iter().flat_map(|(_, part)| part.value).copied().collect();
                calls.push(StoredCall { key: first.key.to_vec(), value, number, parts: first.parts });
            }
        }
        let mut pairs: Vec<Pair> = Vec::new();
        database.range(layout::NOTES, usize::MAX, &mut pairs)?;
        let notes = pairs
            .iter()
            .filter_map(|(key, value)| match (layout::notes_of(key)?, frame::read(value)) {
                (number, Ok(Frame::Notes(notes))) => {
                    Some((number, notes.iter().map(|(key, note)| (key.to_vec(), note.to_vec())).collect()))
                }
                _ => None,
            })
            .collect();
        Ok(Self { calls, notes })
    }

    /// Name and value of each call: ended ones first, for one of the same name may be in progress again.
    pub fn into_calls(self) -> Vec<Named> {
        let ended = self.notes.into_iter().flat_map(|(_, notes)| notes);
        ended.chain(self.calls.into_iter().map(|call| (call.key, call.value))).collect()
    }
}

/// Octets of a note around its name and text.
const NOTE_FRAME_BYTES: usize = 4;

/// Values with notes removed by one commit.
const EXPIRED_PER_COMMIT_MAX: usize = 256;
