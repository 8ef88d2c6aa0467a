//! A visit: one record at one server, from its first transmission to an answer or the last run-out (RFC 5080 §2.2.1).

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::lane::LaneId;
use super::{Submission, Transport, Turn};
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
    task: Task,
    server: usize,
    /// Identifiers outstanding for it; more than one only when every datagram gets its own.
    identifiers: SmallVec<[(LaneId, u8); 1]>,
    datagram: Bytes,
    attribute_octets: usize,
    started: Instant,
    wait: Duration,
    /// When its timer runs out.
    due: Instant,
    transmissions: u32,
    /// Waits for an answer that have begun; on a connection there is one transmission to all of them.
    waits: u32,
    /// Sent again after its connection was lost, which is done once.
    is_resent: bool,
    /// Waits to go alone; it does not count as outstanding.
    is_in_line: bool,
}

impl Visit {
    /// A visit that begins now.
    pub(super) fn new(turn: &mut Turn<'_>, task: Task, server: usize, attribute_octets: usize) -> Self {
        let wait = first_wait(turn);
        Self {
            task,
            server,
            identifiers: SmallVec::new(),
            datagram: Bytes::new(),
            attribute_octets,
            started: turn.now.mono,
            wait,
            due: turn.now.mono + wait,
            transmissions: 1,
            waits: 1,
            is_resent: false,
            is_in_line: false,
        }
    }

    pub(super) fn task(&self) -> &Task {
        &self.task
    }

    pub(super) fn server(&self) -> usize {
        self.server
    }

    /// When its timer runs out.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    pub(super) fn started(&self) -> Instant {
        self.started
    }

    pub(super) fn transmissions(&self) -> u32 {
        self.transmissions
    }

    pub(super) fn identifiers(&self) -> &[(LaneId, u8)] {
        &self.identifiers
    }

    pub(super) fn datagram(&self) -> &Bytes {
        &self.datagram
    }

    pub(super) fn is_in_line(&self) -> bool {
        self.is_in_line
    }

    /// Whether no wait for an answer has run out.
    pub(super) fn is_first_wait(&self) -> bool {
        self.waits == 1
    }

    /// Its request is signed, under this identifier.
    pub(super) fn signed(&mut self, by: (LaneId, u8), octets: &[u8]) {
        self.identifiers.push(by);
        self.datagram = Bytes::copy_from_slice(octets);
    }

    /// It cannot be sent before there is a connection: its attributes are kept until then.
    pub(super) fn put_off(&mut self, attributes: &[u8]) {
        let mut datagram = Vec::with_capacity(HEADER_OCTETS + attributes.len());
        datagram.resize(HEADER_OCTETS, 0);
        datagram.extend_from_slice(attributes);
        (self.datagram, self.transmissions) = (Bytes::from(datagram), 0);
    }

    /// It waits for its turn to go alone.
    pub(super) fn stands_in_line(&mut self, attributes: &[u8]) {
        self.put_off(attributes);
        self.is_in_line = true;
    }

    /// Its turn has come. Returns its attributes.
    pub(super) fn leaves_line(&mut self) -> Bytes {
        self.is_in_line = false;
        self.attributes()
    }

    /// The connection was lost before its answer came. Returns whether that is the second time.
    pub(super) fn lost(&mut self) -> bool {
        self.identifiers.clear();
        std::mem::replace(&mut self.is_resent, true)
    }

    /// Whether it is sent again because a connection was lost.
    pub(super) fn is_resent(&self) -> bool {
        self.is_resent
    }

    /// Its request goes out on the connection it waited for: its waits begin anew. Returns the first.
    pub(super) fn goes_late(&mut self, turn: &mut Turn<'_>) -> Duration {
        self.transmissions += 1;
        (self.wait, self.waits) = (first_wait(turn), 1);
        if self.transmissions == 1 {
            self.started = turn.now.mono;
        }
        self.wait
    }

    /// A wait ran out. Returns the next one, if there is one more.
    pub(super) fn waits_again(&mut self, turn: &mut Turn<'_>) -> Option<Duration> {
        if self.waits >= turn.settings.transmissions {
            return None;
        }
        self.waits += 1;
        // A connection loses nothing: silence there only raises suspicion (RFC 6613 §2.6.1).
        self.transmissions += u32::from(turn.settings.transport == Transport::Datagram);
        self.wait = next_wait(turn, self.wait);
        Some(self.wait)
    }

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
fn first_wait(turn: &mut Turn<'_>) -> Duration {
    turn.random.jitter(turn.settings.initial_timeout).max(WAIT_MIN)
}

/// Wait after a further transmission.
fn next_wait(turn: &mut Turn<'_>, previous: Duration) -> Duration {
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

    /// A server that was silent answers. Long waits were for a silent one; one more first wait leaves it the time to answer
    /// what it has.
    pub(super) fn hasten(&mut self, turn: &mut Turn<'_>, server: usize) {
        if turn.settings.transport == Transport::Stream {
            return;
        }
        for slot in self.at(server) {
            let soon = turn.now.mono + turn.random.jitter(turn.settings.initial_timeout);
            if self.get(slot).is_some_and(|visit| visit.due > soon) {
                self.arm(slot, soon);
            }
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
