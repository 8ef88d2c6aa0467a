//! Leasing for one sink: the records read ahead and those that are fresh, in memory only.
//!
//! Records of one session form a chain; only its first one is lent, so that they leave in order. Different sessions, and
//! what is no part of one ([`Order`]), overtake each other freely. After a restart everything unsettled is read again.
//!
//! Ready records wait in two rows: the backlog's, and that of fresh records, which gets three of four leases. A record
//! that was not lent while it was fresh changes over to the backlog's row.
//!
//! Records that wait for their time, and those of their sessions behind them, take no room from others: when room is
//! short their octets are [put away](Window::make_room), and read again when their time has come. Those have a row of
//! their own then, which gets every fourth lease of the backlog: however many records are never answered, what comes
//! behind them is reached.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, RecordId, Seq};

use super::Lease;
use super::order::{Order, Rank};
use super::schedule::Schedule;
use super::unread::Unread;
pub use slot::Slot;
use slot::{Chain, Share, State};

/// A fresh record of which is not known yet whether it may go ahead.
#[derive(Debug)]
struct Held {
    seq: u64,
    id: RecordId,
    call: CallHash,
    order: Order,
    body: Bytes,
}

/// The window of one sink.
#[derive(Debug)]
pub struct Window {
    slots: HashMap<u64, Slot, FixedState>,
    chains: HashMap<CallHash, Chain, FixedState>,
    /// The backlog's row, oldest first: it waited longest.
    ready: BTreeSet<u64>,
    /// The row of fresh records.
    ready_fresh: VecDeque<u64>,
    /// The row of records that were put away and are here again.
    ready_again: VecDeque<u64>,
    /// Leases to fresh records since the last one to the backlog.
    fresh_in_turn: u32,
    /// Leases of the backlog since the last one to those.
    first_in_turn: u32,
    /// Records put away whose turn has come: their octets are wanted.
    wanted: BTreeSet<u64>,
    /// Where the reading of those goes on: round and round, so that each gets its turn.
    wanted_from: u64,
    unread: Unread,
    /// Fresh records that came before it was known which sessions have unread ones.
    held: VecDeque<Held>,
    held_bytes: usize,
    schedule: Schedule,
    /// Of all records but those put away.
    here: Share,
    fresh: Share,
    again: Share,
    out: u64,
    backing_off: u64,
    /// Those of them that are not put away.
    backing_off_here: usize,
    cursor: u64,
    records_max: usize,
    bytes_max: usize,
}

impl Window {
    /// An empty window that reads from `cursor` on.
    pub fn new(cursor: u64, records_max: usize, bytes_max: usize) -> Self {
        Self {
            slots: HashMap::default(),
            chains: HashMap::default(),
            ready: BTreeSet::new(),
            ready_fresh: VecDeque::new(),
            ready_again: VecDeque::new(),
            fresh_in_turn: 0,
            first_in_turn: 0,
            wanted: BTreeSet::new(),
            wanted_from: 0,
            unread: Unread::default(),
            held: VecDeque::new(),
            held_bytes: 0,
            schedule: Schedule::default(),
            here: Share::default(),
            fresh: Share::default(),
            again: Share::default(),
            out: 0,
            backing_off: 0,
            backing_off_here: 0,
            cursor,
            records_max,
            bytes_max,
        }
    }

    /// The next place to be read.
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// States that all places before `cursor` were read.
    pub fn advance(&mut self, cursor: u64) {
        self.cursor = self.cursor.max(cursor);
    }

    /// Whether another record of the backlog may be read.
    pub fn has_room(&self) -> bool {
        let (fresh, again) = (self.fresh, self.again);
        self.here.records - fresh.records - again.records < self.records_max
            && self.here.bytes - fresh.bytes - again.bytes < self.bytes_max
    }

    /// Whether no record of the backlog is ready to be lent.
    pub fn is_short(&self) -> bool {
        self.ready.is_empty()
    }

    /// Whether another fresh record may come: they have a room of their own, half as large as the backlog's. Those that
    /// changed over to the backlog fill both.
    fn has_fresh_room(&self) -> bool {
        let (records, bytes) = (self.records_max / FRESH_PART, self.bytes_max / FRESH_PART);
        self.fresh.records < records
            && self.here.records - self.again.records < self.records_max + records
            && self.fresh.bytes < bytes
            && self.here.bytes - self.again.bytes < self.bytes_max + bytes
    }

    /// Somebody leases from now on: what was appended before place `next` and not yet read is not known.
    pub fn begin(&mut self, next: u64) {
        self.unread.forget(self.cursor..next.max(self.cursor));
    }

    /// The places of which is not known whose sessions they are.
    pub fn unknown(&self) -> Option<std::ops::Range<u64>> {
        self.unread.unknown(self.cursor)
    }

    /// States that the places before `seq` are known.
    pub fn known_to(&mut self, seq: u64) {
        self.unread.known_to(seq);
    }

    /// States that a record stays on disk until the reading comes to it.
    pub fn leave_unread(&mut self, order: Order, seq: u64) {
        self.unread.note(order, seq);
    }

    /// Offers a record that was just appended at the highest place: it goes ahead of the backlog, joins it, or stays on
    /// disk.
    pub fn offer(&mut self, seq: u64, id: RecordId, call: CallHash, body: &Bytes, now: Instant) {
        let at_head = self.cursor == seq;
        if at_head {
            self.unread.clear(seq);
        }
        let order = Order::of(call, body);
        let holds = order.is_of_session()
            && self.held.len() < self.records_max / FRESH_PART
            && self.held_bytes < self.bytes_max / FRESH_PART;
        if holds && self.unknown().is_some() {
            self.held_bytes += body.len();
            self.held.push_back(Held { seq, id, call, order, body: body.clone() });
            return;
        }
        if !self.has_fresh_room() {
            self.make_room();
        }
        if self.has_fresh_room() && !self.unread.blocks(order, call, self.cursor) {
            self.insert(seq, id, (call, order), body.clone(), Some(now));
        } else if at_head && self.has_room() {
            self.insert(seq, id, (call, order), body.clone(), None);
        } else {
            self.unread.note(order, seq);
            return;
        }
        if at_head {
            self.cursor = seq + 1;
        }
    }

    /// Records lent.
    pub fn out(&self) -> u64 {
        self.out
    }

    /// Records that wait for their time.
    pub fn backing_off(&self) -> u64 {
        self.backing_off
    }

    /// The record at `seq`, if it is in the window.
    pub fn slot(&self, seq: u64) -> Option<&Slot> {
        self.slots.get(&seq)
    }

    /// Now that the backlog is known: takes in those of the held records that may go ahead, the others stay on disk.
    fn admit_held(&mut self, now: Instant) {
        if self.held.is_empty() || self.unknown().is_some() {
            return;
        }
        self.held_bytes = 0;
        for Held { seq, id, call, order, body } in std::mem::take(&mut self.held) {
            if seq < self.cursor {
                // The reading was there first.
                continue;
            }
            if self.has_fresh_room() && !self.unread.blocks(order, call, self.cursor) {
                self.insert(seq, id, (call, order), body, Some(now));
            } else {
                self.unread.note(order, seq);
            }
        }
    }

    /// Takes in a record that was read; places come in rising order.
    pub fn push(&mut self, seq: u64, id: RecordId, call: CallHash, body: Bytes) {
        let order = Order::of(call, &body);
        self.unread.read(order, seq);
        self.insert(seq, id, (call, order), body, None);
        self.cursor = self.cursor.max(seq + 1);
    }

    /// Whether a record of a session before place `seq` is here, or on disk before it.
    pub fn has_session_before(&self, seq: u64) -> bool {
        self.slots.iter().any(|(other, slot)| *other < seq && slot.order.is_of_session())
            || self.held.iter().any(|held| held.seq < seq)
    }

    fn insert(
        &mut self,
        seq: u64,
        id: RecordId,
        (call, order): (CallHash, Order),
        body: Bytes,
        fresh: Option<Instant>,
    ) {
        self.here.add(body.len());
        if fresh.is_some() {
            self.fresh.add(body.len());
        }
        let (state, behind) = self.chain(seq, order);
        if state == State::Ready {
            if fresh.is_some() {
                self.ready_fresh.push_back(seq);
            } else {
                self.ready.insert(seq);
            }
        }
        let slot = Slot {
            id,
            call,
            bytes: body.len(),
            body: Some(body),
            attempts: 0,
            first_tried: None,
            reason: String::new(),
            due: None,
            order,
            state,
            turn: 0,
            behind,
            fresh,
            again: false,
        };
        self.slots.insert(seq, slot);
        if state == State::Behind {
            self.follow_away(seq, order);
        }
    }

    /// Puts a record into the chain of its session: its state there, and the record behind it. Almost always it is the
    /// last one; a record the operator puts back goes ahead of those that were made after it, but for one that is lent.
    fn chain(&mut self, seq: u64, order: Order) -> (State, Option<u64>) {
        let Order::Within(name, rank) = order else { return (State::Ready, None) };
        let Some(mut chain) = self.chains.get(&name).copied() else {
            self.chains.insert(name, Chain { first: seq, last: seq });
            return (State::Ready, None);
        };
        let rank_of = |window: &Self, seq: u64| match window.slots.get(&seq).map(|slot| slot.order) {
            Some(Order::Within(_, rank)) => rank,
            Some(Order::Free) | None => Rank(None),
        };
        let is_last = !rank.is_before(rank_of(self, chain.last));
        if !is_last && !self.is_busy(chain.first) && rank.is_before(rank_of(self, chain.first)) {
            let after = chain.first;
            if let Some(slot) = self.slots.get_mut(&after) {
                let (before, is_here) = (std::mem::replace(&mut slot.state, State::Behind), slot.body.is_some());
                slot.due = None;
                self.leave(before, is_here);
            }
            chain.first = seq;
            self.chains.insert(name, chain);
            return (State::Ready, Some(after));
        }
        let mut at = if is_last { chain.last } else { chain.first };
        while let Some(next) = self.slots.get(&at).and_then(|slot| slot.behind) {
            if rank.is_before(rank_of(self, next)) {
                break;
            }
            at = next;
        }
        let behind = self.slots.get_mut(&at).and_then(|slot| slot.behind.replace(seq));
        if behind.is_none() {
            chain.last = seq;
            self.chains.insert(name, chain);
        }
        (State::Behind, behind)
    }

    /// Whether records of the session may be on disk that were not read yet.
    pub fn may_be_unread(&self, order: Order, call: CallHash) -> bool {
        self.unread.blocks(order, call, self.cursor)
    }

    /// The record to be lent next.
    fn next_ready(&mut self, now: Instant) -> Option<u64> {
        while let Some(seq) = self.ready_fresh.front().copied() {
            let Some(slot) = self.slots.get_mut(&seq).filter(|slot| slot.state == State::Ready) else {
                self.ready_fresh.pop_front();
                continue;
            };
            if slot.fresh.is_none_or(|since| now.since(since) > FRESH_FOR) {
                self.ready_fresh.pop_front();
                self.age(seq);
                self.make_ready(seq);
                continue;
            }
            let others = !self.ready.is_empty() || !self.ready_again.is_empty();
            if self.fresh_in_turn >= FRESH_IN_TURN && others {
                break;
            }
            self.fresh_in_turn += 1;
            return self.ready_fresh.pop_front();
        }
        self.fresh_in_turn = 0;
        if self.first_in_turn < FIRST_IN_TURN {
            self.first_in_turn += 1;
            self.ready.pop_first().or_else(|| self.ready_again.pop_front())
        } else {
            self.first_in_turn = 0;
            self.ready_again.pop_front().or_else(|| self.ready.pop_first())
        }
    }

    /// A record is fresh no more: it counts to the backlog.
    fn age(&mut self, seq: u64) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        if slot.fresh.take().is_some() {
            self.fresh.remove(slot.bytes);
        }
    }

    /// Lends up to `max` records.
    pub fn lease(&mut self, max: usize, now: Now, out: &mut Vec<Lease>) -> usize {
        self.wake(now.mono);
        self.admit_held(now.mono);
        let before = out.len();
        while out.len() - before < max {
            let Some(seq) = self.next_ready(now.mono) else { break };
            let Some(slot) = self.slots.get_mut(&seq) else { continue };
            let Some(body) = slot.body.clone().filter(|_| slot.state == State::Ready) else { continue };
            out.push(Lease {
                seq: Seq(seq),
                id: slot.id,
                call: slot.call,
                attempts: slot.attempts,
                first_tried: slot.first_tried,
                appended: made(slot.id),
                body,
            });
            slot.state = State::Out;
            slot.attempts = slot.attempts.saturating_add(1);
            slot.first_tried = slot.first_tried.or(Some(now.wall));
            self.out += 1;
        }
        out.len() - before
    }

    /// Whether the record at `seq` is lent.
    pub fn is_out(&self, seq: u64) -> bool {
        self.slots.get(&seq).is_some_and(|slot| slot.state == State::Out)
    }

    /// Whether the record at `seq` was lent, came back, and was not lent again.
    pub fn is_back(&self, seq: u64) -> bool {
        let is_back = |slot: &Slot| {
            slot.first_tried.is_some() && matches!(slot.state, State::BackOff | State::Away | State::Ready)
        };
        self.slots.get(&seq).is_some_and(is_back)
    }

    /// Whether the record at `seq` is lent or being parked.
    pub fn is_busy(&self, seq: u64) -> bool {
        self.slots.get(&seq).is_some_and(|slot| matches!(slot.state, State::Out | State::Parking))
    }

    /// Takes back a record that was lent and has not left: it was not tried.
    pub fn take_back(&mut self, seq: u64, now: Instant, after: Duration) {
        if let Some(slot) = self.slots.get_mut(&seq) {
            slot.attempts = slot.attempts.saturating_sub(1);
            if slot.attempts == 0 {
                slot.first_tried = None;
            }
        }
        self.back_off(seq, now, after, "waits for the records before it".to_owned());
    }

    /// What a lent record went through is no try of it. It keeps the instant of its first one: it may have been sent.
    pub fn uncount(&mut self, seq: u64) {
        if let Some(slot) = self.slots.get_mut(&seq) {
            slot.attempts = slot.attempts.saturating_sub(1);
        }
    }

    /// Takes a record out; the next one of its session may be lent.
    pub fn remove(&mut self, seq: u64) -> Option<Slot> {
        // They came in the order of their places.
        if let Ok(at) = self.held.binary_search_by_key(&seq, |held| held.seq)
            && let Some(gone) = self.held.remove(at)
        {
            self.held_bytes -= gone.body.len();
        }
        self.age(seq);
        self.rest_again(seq);
        let slot = self.slots.remove(&seq)?;
        if slot.body.is_some() {
            self.here.remove(slot.bytes);
        }
        self.leave(slot.state, slot.body.is_some());
        let Order::Within(name, _) = slot.order else { return Some(slot) };
        let chain = *self.chains.get(&name)?;
        if chain.first == seq {
            match slot.behind {
                Some(next) => {
                    self.chains.insert(name, Chain { first: next, ..chain });
                    self.make_ready(next);
                }
                None => {
                    self.chains.remove(&name);
                }
            }
            return Some(slot);
        }
        let mut before = chain.first;
        while let Some(other) = self.slots.get_mut(&before) {
            match other.behind {
                Some(next) if next == seq => {
                    other.behind = slot.behind;
                    if chain.last == seq {
                        self.chains.insert(name, Chain { last: before, ..chain });
                    }
                    break;
                }
                Some(next) => before = next,
                None => break,
            }
        }
        Some(slot)
    }

    /// Has a lent record wait for `after` before it is lent again.
    pub fn back_off(&mut self, seq: u64, now: Instant, after: Duration, reason: String) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        let before = std::mem::replace(&mut slot.state, State::BackOff);
        slot.turn = slot.turn.wrapping_add(1);
        slot.reason = reason;
        slot.due = Some(now + after);
        self.schedule.add(now + after, seq, slot.turn);
        let (was_away, is_here) = (slot.again, slot.body.is_some());
        self.leave(before, is_here);
        self.backing_off += 1;
        self.backing_off_here += usize::from(is_here);
        if was_away {
            self.put_away(seq);
        }
    }

    /// Marks a record as being parked: it is not lent, and its session waits behind it.
    pub fn hold(&mut self, seq: u64) {
        if let Some(slot) = self.slots.get_mut(&seq) {
            let (before, is_here) = (std::mem::replace(&mut slot.state, State::Parking), slot.body.is_some());
            self.leave(before, is_here);
        }
    }

    /// Lends a record that waits for its time as soon as possible; `false` when it does not wait.
    pub fn hurry(&mut self, seq: u64) -> bool {
        let Some(slot) = self.slots.get(&seq).filter(|slot| slot.state == State::BackOff) else { return false };
        self.leave(State::BackOff, slot.body.is_some());
        self.make_ready(seq);
        true
    }

    /// When the next record's time comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.schedule.deadline()
    }

    /// Makes those ready whose time has come; gives how many.
    pub fn wake(&mut self, now: Instant) -> usize {
        let mut woken = 0;
        while let Some((seq, turn)) = self.schedule.due(now) {
            let waits = |slot: &&Slot| slot.state == State::BackOff && slot.turn == turn;
            if let Some(slot) = self.slots.get(&seq).filter(waits) {
                self.leave(State::BackOff, slot.body.is_some());
                self.make_ready(seq);
                woken += 1;
            }
        }
        woken
    }

    fn leave(&mut self, state: State, is_here: bool) {
        match state {
            State::Out => self.out -= 1,
            State::BackOff => {
                self.backing_off -= 1;
                self.backing_off_here -= usize::from(is_here);
            }
            State::Ready | State::Behind | State::Away | State::Parking => {}
        }
    }

    fn make_ready(&mut self, seq: u64) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        slot.due = None;
        if slot.body.is_none() {
            slot.state = State::Away;
            self.wanted.insert(seq);
            return;
        }
        slot.state = State::Ready;
        if slot.fresh.is_some() {
            self.ready_fresh.push_back(seq);
        } else if slot.again {
            self.ready_again.push_back(seq);
        } else {
            self.ready.insert(seq);
        }
    }
}

/// When a record was made: its id tells the millisecond.
pub fn made(id: RecordId) -> Timestamp {
    Timestamp(i64::try_from(id.0 >> 80).unwrap_or(0).saturating_mul(1000))
}

/// How long a record goes ahead of the backlog: what waits longer is not held up by the backlog, but by a sink that takes
/// less than comes.
pub const FRESH_FOR: Duration = Duration::from_millis(500);

/// Leases to fresh records before one goes to the backlog.
pub const FRESH_IN_TURN: u32 = 3;

/// Leases of the backlog before one goes to a record that was put away.
const FIRST_IN_TURN: u32 = 3;

/// Fresh records have this part of the room that the backlog has, above it.
const FRESH_PART: usize = 2;

mod away;
mod slot;
#[cfg(test)]
mod tests;
