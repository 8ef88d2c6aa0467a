//! The calls in progress, Class values of their sessions, and the notes of ended calls: what of them is on disk and what
//! a commit changes.
//!
//! Calls and Class values have names and are numbered here: a key in their trees is the number, so that those of one time
//! lie together and a key is short. The notes of all calls that end with one commit share a value, which goes as a whole
//! when the last of them has served.

use std::collections::{HashMap, VecDeque};

use foldhash::fast::FixedState;

use crate::clock::Instant;
use crate::ids::SinkNumber;
use crate::record::{CallChange, NOTES_KEPT};

use super::batch::Batch;
use super::database::{Database, Pair};
use super::error::StoreError;
use super::frame::{self, CallPart, Frame, Notes};
use super::layout::{self, Tree};

/// Calls and Class values, as they will be when all commits taken are on disk.
#[derive(Debug, Default)]
pub struct Calls {
    calls: HashMap<Vec<u8>, Kept, FixedState>,
    classes: HashMap<Vec<u8>, Kept, FixedState>,
    /// Values with notes, oldest first: since when, and their number.
    notes: VecDeque<(Instant, u64)>,
    /// Whether forgotten calls leave a mark, because calls of an earlier spool are still to be copied.
    marks_forgotten: bool,
}

/// A call's name, and its value or note.
type Named = (Vec<u8>, Vec<u8>);

/// A Class value: sink, session, octets.
pub type Class = (SinkNumber, u64, Vec<u8>);

/// Where a call or Class value is on disk.
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
    tree: Tree,
    key: Vec<u8>,
    number: u64,
    revision: u64,
    /// `None`: it is forgotten.
    value: Option<Vec<u8>>,
    /// Parts its value had before.
    parts_before: u8,
}

impl Calls {
    /// Calls and Class values kept.
    pub fn len(&self) -> usize {
        self.calls.len() + self.classes.len()
    }

    fn tree(&mut self, tree: Tree) -> &mut HashMap<Vec<u8>, Kept, FixedState> {
        match tree {
            Tree::Calls => &mut self.calls,
            Tree::Classes => &mut self.classes,
        }
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
            CallChange::Put { key, value } => self.put(Tree::Calls, key, value, revision, into),
            CallChange::Remove { key } => self.forget(Tree::Calls, key, revision, into),
            CallChange::End { key, note } => {
                self.forget(Tree::Calls, key.clone(), revision, into);
                into.ended.push((key, note));
            }
            CallChange::Class { sink, session, value } => {
                let key = [&[sink.0][..], &session.to_be_bytes()].concat();
                match value {
                    Some(value) => self.put(Tree::Classes, key, value, revision, into),
                    None => self.forget(Tree::Classes, key, revision, into),
                }
            }
        }
    }

    fn put(&mut self, tree: Tree, key: Vec<u8>, value: Vec<u8>, revision: u64, into: &mut Changes) {
        let parts = frame::parts_of(value.len()) as u8;
        let fresh = Kept { number: revision, parts: 0 };
        let known = self.tree(tree);
        let kept = match known.get_mut(&key) {
            Some(kept) => kept,
            None => known.entry(key.clone()).or_insert(fresh),
        };
        let (number, parts_before) = (kept.number, std::mem::replace(&mut kept.parts, parts));
        into.calls.push(Change { tree, key, number, revision, value: Some(value), parts_before });
    }

    fn forget(&mut self, tree: Tree, key: Vec<u8>, revision: u64, into: &mut Changes) {
        let unknown = Kept { number: revision, parts: 0 };
        let marks = self.marks_forgotten;
        let kept = self.tree(tree).remove(&key).or(marks.then_some(unknown));
        if let Some(Kept { number, parts }) = kept {
            into.calls.push(Change { tree, key, number, revision, value: None, parts_before: parts });
        }
    }

    /// Adds the removal of notes that have served their time; gives how many values those are.
    pub fn encode_expired(&self, now: Instant, batch: &mut Batch) -> usize {
        let old = |&&(since, _): &&(Instant, u64)| now.since(since) >= NOTES_KEPT;
        let mut count = 0;
        for (_, number) in self.notes.iter().take_while(old).take(EXPIRED_PER_COMMIT_MAX) {
            batch.remove(layout::notes_key(*number));
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

    /// Takes up what a spool holds, at opening. Class values among the calls go to their own tree with the next commit.
    pub fn restore(&mut self, now: Instant, stored: &Stored, revision: &mut u64, into: &mut Changes) {
        for StoredCall { tree, key, value, number, parts, is_among_calls } in &stored.kept {
            let (number, parts, key) = (*number, *parts, key.clone());
            if *is_among_calls {
                *revision += 1;
                let (tree, revision) = (Tree::Calls, *revision);
                into.calls.push(Change { tree, key: key.clone(), number, revision, value: None, parts_before: parts });
                self.put(Tree::Classes, key, value.clone(), revision, into);
            } else {
                self.tree(*tree).insert(key, Kept { number, parts });
            }
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
    pub fn encode(&self, mark: bool, batch: &mut Batch) {
        let mut out = Vec::new();
        for Change { tree, key, number, revision, value, parts_before } in &self.calls {
            let parts = match value {
                Some(value) => {
                    let parts = frame::parts_of(value.len()) as u8;
                    for part in 0..parts {
                        let begin = usize::from(part) * frame::PART_BYTES;
                        let value = &value[begin..value.len().min(begin + frame::PART_BYTES)];
                        frame::put_call(&mut out, &CallPart { revision: *revision, part, parts, key, value });
                        batch.insert(layout::kept_key(*tree, *number, part), out.as_slice());
                    }
                    parts
                }
                None if mark => {
                    frame::put_call(&mut out, &CallPart { revision: *revision, part: 0, parts: 0, key, value: b"" });
                    batch.insert(layout::kept_key(*tree, *number, 0), out.as_slice());
                    1
                }
                None => 0,
            };
            for part in parts..*parts_before {
                batch.remove(layout::kept_key(*tree, *number, part));
            }
        }
        let mut entries = Vec::new();
        for (number, group) in self.note_groups() {
            entries.clear();
            group.iter().for_each(|(key, note)| frame::push_note(&mut entries, key, note));
            frame::put_notes(&mut out, &Notes { revision: number, entries: &entries });
            batch.insert(layout::notes_key(number), out.as_slice());
        }
    }
}

/// What a spool holds about calls.
#[derive(Debug, Default)]
pub struct Stored {
    /// Calls in progress, then Class values, by name.
    kept: Vec<StoredCall>,
    /// Ended calls, name and note, by the number of the value they are in.
    notes: Vec<(u64, Vec<Named>)>,
}

/// A call in progress, or a Class value.
#[derive(Debug)]
struct StoredCall {
    tree: Tree,
    key: Vec<u8>,
    value: Vec<u8>,
    number: u64,
    parts: u8,
    is_among_calls: bool,
}

/// A part of one, as it is found.
#[derive(Clone, Copy, Debug)]
pub struct FoundPart<'a> {
    /// Whose tree it belongs to.
    pub tree: Tree,
    number: u64,
    /// Whether it is a Class value in the tree of calls, where earlier releases kept them.
    is_among_calls: bool,
    /// With its name in its tree.
    pub part: CallPart<'a>,
}

impl<'a> FoundPart<'a> {
    /// The part with this key; `None` for what is no whole part.
    pub fn read(key: &[u8], value: &'a [u8]) -> Option<Self> {
        let (tree, number) = layout::kept_of(key)?;
        let Ok(Frame::Call(part)) = frame::read(value) else { return None };
        let name = part.key.strip_prefix(CLASS_AMONG_CALLS).filter(|name| name.len() == CLASS_NAME_BYTES);
        Some(match name.filter(|_| tree == Tree::Calls) {
            None => Self { tree, number, is_among_calls: false, part },
            Some(key) => Self { tree: Tree::Classes, number, is_among_calls: true, part: CallPart { key, ..part } },
        })
    }
}

/// What the name of a Class value began with in the tree of calls: calls of the gateway have longer ones.
const CLASS_AMONG_CALLS: &[u8] = b"class";
/// Octets of the name of a Class value: sink and session.
const CLASS_NAME_BYTES: usize = 9;

impl Stored {
    /// Reads what a spool holds.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read(database: &Database) -> Result<Self, StoreError> {
        let mut pairs: Vec<Pair> = Vec::new();
        database.range(layout::KEPT, usize::MAX, &mut pairs)?;
        let mut parts: Vec<FoundPart<'_>> = pairs
            .iter()
            .filter_map(|(key, value)| FoundPart::read(key, value))
            .filter(|found| found.part.parts > 0)
            .collect();
        // Those that are to move come last: an earlier release that ran in between has written them.
        parts.sort_by_key(|one| (one.is_among_calls, one.tree, one.part.key, one.number, one.part.part));
        let mut kept = Vec::new();
        let is_same =
            |a: &FoundPart<'_>, b: &FoundPart<'_>| (a.tree, a.part.key, a.number) == (b.tree, b.part.key, b.number);
        for group in parts.chunk_by(is_same) {
            let FoundPart { tree, number, is_among_calls, part: first } = group[0];
            // Parts of an earlier, longer value may follow.
            if let Some(group) = group.get(..usize::from(first.parts)) {
                let value = group.iter().flat_map(|found| found.part.value).copied().collect();
                kept.push(StoredCall {
                    tree,
                    key: first.key.to_vec(),
                    value,
                    number,
                    parts: first.parts,
                    is_among_calls,
                });
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
        Ok(Self { kept, notes })
    }

    /// Name and value of each call: ended ones first, for one of the same name may be in progress again; and the Class
    /// values.
    pub fn split(self) -> (Vec<Named>, Vec<Class>) {
        let mut calls: Vec<Named> = self.notes.into_iter().flat_map(|(_, notes)| notes).collect();
        let mut classes = Vec::new();
        for StoredCall { tree, key, value, .. } in self.kept {
            match (tree, key.split_first()) {
                (Tree::Classes, Some((sink, session))) => {
                    // An odd name is nobody's.
                    classes.extend(
                        session.try_into().map(|octets| (SinkNumber(*sink), u64::from_be_bytes(octets), value)),
                    );
                }
                _ => calls.push((key, value)),
            }
        }
        (calls, classes)
    }
}

/// Octets of a note around its name and text.
const NOTE_FRAME_BYTES: usize = 4;

/// Values with notes removed by one commit.
const EXPIRED_PER_COMMIT_MAX: usize = 256;
