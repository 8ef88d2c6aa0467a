//! A model of JetStream: two buckets with compare-and-set, and the stream of records with its duplicate window.
//!
//! What is done is done at one instant and never undone; what the network makes of requests and answers is the world's.

use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;

use tollgate::cluster::calls::CallKey;
use tollgate::cluster::lease::Answer;

use super::records::{Fact, What};

/// A key of one of the buckets.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub(crate) enum Key {
    /// Lease of a gateway's name.
    Gateway(usize),
    /// Lease of a deliverer's name.
    Member(usize),
    /// Lease of a partition.
    Partition(usize),
    /// How far a partition is delivered.
    Progress(usize),
    /// A call.
    Call(CallKey),
}

/// What a key holds; an absent value was removed.
#[derive(Clone, Debug)]
pub(crate) struct Version {
    since: u64,
    pub(crate) revision: u64,
    pub(crate) value: Option<Rc<[u8]>>,
}

/// A message of the stream.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Message {
    pub(crate) seq: u64,
    pub(crate) partition: usize,
    pub(crate) fact: Fact,
}

/// All servers as one.
#[derive(Debug, Default)]
pub(crate) struct JetStream {
    keys: BTreeMap<Key, Vec<Version>>,
    revision: u64,
    pub(crate) messages: Vec<Message>,
    ids: HashMap<u128, u64>,
    /// When the Stop of each call was stored.
    pub(crate) stops: HashMap<usize, u64>,
    /// Messages that the duplicate window kept away.
    pub(crate) duplicates: u64,
}

impl JetStream {
    /// What a key holds; as it was at `stale`, if that is told.
    pub(crate) fn read(&self, key: Key, stale: Option<u64>) -> Option<&Version> {
        let versions = self.keys.get(&key)?;
        let version = versions.iter().rev().find(|version| stale.is_none_or(|at| version.since <= at))?;
        version.value.as_ref().map(|_| version)
    }

    /// All keys within bounds that hold something.
    pub(crate) fn scan(&self, from: Key, to: Key, stale: Option<u64>) -> Vec<(Key, Version)> {
        let keys = self.keys.range(from..=to).map(|(key, _)| *key);
        keys.filter_map(|key| self.read(key, stale).map(|version| (key, version.clone()))).collect()
    }

    fn last(&self, key: Key) -> u64 {
        self.read(key, None).map_or(0, |version| version.revision)
    }

    fn set(&mut self, now: u64, key: Key, value: Option<Rc<[u8]>>) -> Answer {
        self.revision += 1;
        self.keys.entry(key).or_default().push(Version { since: now, revision: self.revision, value });
        Answer::Stored(self.revision)
    }

    pub(crate) fn update(&mut self, now: u64, key: Key, expected: u64, value: &Rc<[u8]>) -> Answer {
        if self.last(key) == expected { self.set(now, key, Some(Rc::clone(value))) } else { Answer::Conflict }
    }

    /// Removes one message: the last of its key, or there is none of that number any more.
    pub(crate) fn remove(&mut self, now: u64, key: Key, revision: u64) -> Answer {
        if revision > 0 && self.last(key) == revision { self.set(now, key, None) } else { Answer::Conflict }
    }

    pub(crate) fn publish(&mut self, now: u64, partition: usize, fact: Fact) -> u64 {
        if let Some(seq) = self.ids.get(&fact.id()) {
            self.duplicates += 1;
            return *seq;
        }
        let seq = self.messages.len() as u64 + 1;
        self.messages.push(Message { seq, partition, fact });
        self.ids.insert(fact.id(), seq);
        if fact.what == What::Stop {
            self.stops.insert(fact.call, now);
        }
        seq
    }

    /// The next messages of a partition behind a place in the stream.
    pub(crate) fn fetch(&self, partition: usize, after: u64, most: usize) -> Vec<Message> {
        let behind = self.messages.iter().skip(usize::try_from(after).unwrap_or(usize::MAX));
        behind.filter(|message| message.partition == partition).take(most).copied().collect()
    }
}
