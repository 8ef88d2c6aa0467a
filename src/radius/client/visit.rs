//! A visit: one record at one server, from its first transmission to an answer or the last run-out (RFC 5080 §2.2.1).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::lane::LaneId;
use super::{Submission, Turn};
use crate::clock::{Instant, Timestamp};
use crate::ids::{CallHash, Seq};
use crate::radius::number;
use crate::radius::packet::{Attributes, HEADER_OCTETS};

/// Stale timers kept beside the live ones before they are swept out.
const STALE_TIMERS_MAX: usize = 4096;

/// Shortest wait for an answer, whatever the settings say.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// A record while this machine has it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Task {
    pub(super) key: Seq,
    pub(super) part: u16,
    pub(super) since: Timestamp,
    pub(super) attempts: u32,
    pub(super) call: CallHash,
    /// Servers visited, one bit each.
    pub(super) tried: u64,
    /// Whether it carries a User-Name.
    pub(super) is_named: bool,
}

impl Task {
    pub(super) fn new(submission: &Submission<'_>) -> Self {
        let Submission { key, part, attributes, since, attempts, call } = *submission;
        let is_named = Attributes::of(attributes).any(|attribute| attribute.number == number::USER_NAME);
        Self { key, part, since, attempts, call, tried: 0, is_named }
    }
}

#[derive(Debug)]
pub(super) struct Visit {
    pub(super) task: Task,
    pub(super) server: usize,
    /// Identifiers outstanding for it; more than one only when every datagram gets its own.
    pub(super) identifiers: SmallVec<[(LaneId, u8); 1]>,
    pub(super) datagram: Bytes,
    pub(super) attribute_octets: usize,
    pub(super) started: Instant,
    pub(super) wait: Duration,
    /// When its timer runs out.
    pub(super) due: Instant,
    pub(super) transmissions: u32,
    /// Waits for an answer that have begun; on a connection there is one transmission to all of them.
    pub(super) waits: u32,
    /// Sent again after its connection was lost, which is done once.
    pub(super) is_resent: bool,
    /// Waits to go alone; it does not count as outstanding.
    pub(super) is_in_line: bool,
}

impl Visit {
    /// Whether it waits for a connection.
    pub(super) fn is_unsent(&self) -> bool {
        self.identifiers.is_empty()
    }

    /// The attributes of its record.
    pub(super) fn attributes(&self) -> Bytes {
        self.datagram.slice(HEADER_OCTETS..).slice(..self.attribute_octets)
    }
}

/// Wait after the first transmission.
pub(super) fn first_wait(turn: &mut Turn<'_>) -> Duration {
    turn.random.jitter(turn.settings.initial_timeout).max(WAIT_MIN)
}

/// Wait after a further transmission.
pub(super) fn next_wait(turn: &mut Turn<'_>, previous: Duration) -> Duration {
    let wait = turn.random.vary(previous * 2, previous / 10);
    let longest = turn.settings.max_timeout;
    let wait = if wait > longest { turn.random.jitter(longest) } else { wait };
    wait.max(WAIT_MIN)
}

/// Visits by slot; a slot that is used again has another generation.
#[derive(Debug, Default)]
pub(super) struct Visits {
    slots: Vec<(u32, Option<Visit>)>,
    free: Vec<u32>,
    timers: BinaryHeap<Reverse<(Instant, u32, u32)>>,
}

impl Visits {
    pub(super) fn insert(&mut self, visit: Visit) -> u32 {
        if let Some(slot) = self.free.pop() {
            self.slots[slot as usize].1 = Some(visit);
            return slot;
        }
        self.slots.push((0, Some(visit)));
        u32::try_from(self.slots.len() - 1).expect("at most 65 535 lanes of 256 identifiers are outstanding")
    }

    pub(super) fn get(&self, slot: u32) -> Option<&Visit> {
        self.slots.get(slot as usize)?.1.as_ref()
    }

    /// Whether no visit has a slot this high.
    #[cfg(test)]
    pub(super) fn is_past(&self, slot: u32) -> bool {
        slot as usize >= self.slots.len()
    }

    pub(super) fn get_mut(&mut self, slot: u32) -> Option<&mut Visit> {
        self.slots.get_mut(slot as usize)?.1.as_mut()
    }

    pub(super) fn remove(&mut self, slot: u32) -> Option<Visit> {
        let (generation, visit) = self.slots.get_mut(slot as usize)?;
        let visit = visit.take()?;
        *generation = generation.wrapping_add(1);
        self.free.push(slot);
        Some(visit)
    }

    /// The visit of a record, if it has one.
    pub(super) fn of(&self, key: Seq) -> Option<u32> {
        let is_of = |(_, (_, visit)): &(u32, &(u32, Option<Visit>))| visit.as_ref().is_some_and(|v| v.task.key == key);
        (0u32..).zip(&self.slots).find(is_of).map(|(slot, _)| slot)
    }

    /// Slots of the visits at a server.
    pub(super) fn at(&self, server: usize) -> Vec<u32> {
        (0u32..)
            .zip(&self.slots)
            .filter(|(_, (_, visit))| visit.as_ref().is_some_and(|v| v.server == server))
            .map(|(slot, _)| slot)
            .collect()
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Sets the timer of a visit, in place of one set before.
    pub(super) fn arm(&mut self, slot: u32, at: Instant) {
        let Some((generation, Some(visit))) = self.slots.get_mut(slot as usize) else { return };
        *generation = generation.wrapping_add(1);
        visit.due = at;
        let generation = *generation;
        self.timers.push(Reverse((at, slot, generation)));
        if self.timers.len() > STALE_TIMERS_MAX + 4 * self.len() {
            let slots = &self.slots;
            self.timers.retain(|Reverse((_, slot, generation))| slots[*slot as usize].0 == *generation);
        }
    }

    /// The next visit whose timer has run out.
    pub(super) fn expired(&mut self, now: Instant) -> Option<u32> {
        while let Some(&Reverse((at, slot, generation))) = self.timers.peek() {
            if at > now {
                return None;
            }
            self.timers.pop();
            if self.slots[slot as usize].0 == generation {
                return Some(slot);
            }
        }
        None
    }

    /// When the next timer runs out. Timers of visits that ended are swept out on the way.
    pub(super) fn deadline(&mut self) -> Option<Instant> {
        while let Some(&Reverse((at, slot, generation))) = self.timers.peek() {
            if self.slots[slot as usize].0 == generation {
                return Some(at);
            }
            self.timers.pop();
        }
        None
    }
}
