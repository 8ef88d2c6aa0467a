//! A record between its submission and its end, and what is remembered of one that went back to the queue.

use std::collections::BTreeMap;

use bytes::Bytes;
use smallvec::SmallVec;

use super::Kind;
use super::settings::{PAST_MAX, SUSPECT_BREAKS};
use crate::clock::{Instant, Timestamp};
use crate::ids::Seq;
use crate::timers;

/// One transmission whose answer would count.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Copy {
    pub peer: usize,
    pub hop_by_hop: u32,
    /// Another copy went out instead; its answer still counts.
    pub is_abandoned: bool,
}

/// A submitted record.
#[derive(Debug)]
pub(super) struct Flight {
    /// Its messages, each with its End-to-End id; they go out one after the other.
    pub parts: SmallVec<[Bytes; 1]>,
    /// The one that is out.
    pub part: usize,
    pub since: Timestamp,
    pub kind: Kind,
    /// Names its session in the table of Class.
    pub session: u64,
    pub ends_session: bool,
    /// Destination-Realm, if not all peers serve all.
    pub realm: Option<Box<str>>,
    /// Peers tried since its submission.
    pub tried: u64,
    pub copies: SmallVec<[Copy; 2]>,
    /// An earlier transmission of this End-to-End id has no answer: flag T.
    pub is_doubtful: bool,
    pub transmissions: u32,
    pub redirects: u8,
    /// The peer a redirect leads to.
    pub pinned: Option<usize>,
    pub sent: Instant,
    /// When it was handed in.
    pub taken: Instant,
    pub wait: std::time::Duration,
    pub timer: Option<timers::Handle>,
    pub past: Past,
}

impl Flight {
    /// Whether it may be the reason why connections break.
    pub fn is_suspect(&self) -> bool {
        self.past.breaks >= SUSPECT_BREAKS
    }

    /// Copies whose answer is waited for.
    pub fn pending(&self) -> usize {
        self.copies.iter().filter(|copy| !copy.is_abandoned).count()
    }
}

/// What is remembered of a record that went back to the queue.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(super) struct Past {
    /// Times it was refused for now.
    pub refusals: u32,
    /// Answers 5012.
    pub unable: u32,
    /// Breaks in a row it was unanswered at; an answer of any kind ends the suspicion.
    pub breaks: u32,
    /// Those at which no other record waited on the connection.
    pub breaks_alone: u32,
    /// End-to-End ids of its messages, where they are not the first ones.
    pub ids: SmallVec<[u32; 1]>,
    /// Parts that a server has, of how many.
    pub done: usize,
    pub parts: usize,
    /// Whether an earlier transmission has no answer.
    pub is_doubtful: bool,
    /// The peer a redirect leads to.
    pub pinned: Option<usize>,
    pub redirects: u8,
    /// The answer came after all.
    pub is_delivered: bool,
}

impl Past {
    /// The late answer to a part says that a server has it.
    pub fn settle(&mut self, part: usize) {
        if part == self.done {
            self.done += 1;
            self.is_delivered = self.done >= self.parts;
        }
    }
}

/// The records that went back, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct Pasts {
    kept: BTreeMap<Seq, Past>,
    /// Up to here some were forgotten.
    forgotten: Option<Seq>,
}

impl Pasts {
    pub fn take(&mut self, key: Seq) -> Option<Past> {
        self.kept.remove(&key)
    }

    pub fn get_mut(&mut self, key: Seq) -> Option<&mut Past> {
        self.kept.get_mut(&key)
    }

    pub fn keep(&mut self, key: Seq, past: Past) {
        self.kept.insert(key, past);
        if self.kept.len() > PAST_MAX
            && let Some((oldest, _)) = self.kept.pop_first()
        {
            self.forgotten = self.forgotten.max(Some(oldest));
        }
    }

    /// Whether what was known of this record may have been forgotten.
    pub fn has_forgotten(&self, key: Seq) -> bool {
        self.forgotten.is_some_and(|last| key <= last)
    }

    pub fn len(&self) -> usize {
        self.kept.len()
    }
}
