//! Leasing for one sink: the records read ahead, in memory only.
//!
//! Records of one call form a chain; only its first one is lent, so that they leave in order. Different calls overtake
//! each other freely. After a restart everything unsettled is read again.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, RecordId, Seq};

use super::Lease;
use super::schedule::Schedule;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum State {
    /// May be lent.
    Ready,
    /// An earlier record of its call is in front of it.
    Behind,
    /// Lent.
    Out,
    /// Waits for its time.
    BackOff,
    /// Is being parked.
    Parking,
}

/// A record in the window.
#[derive(Debug)]
pub struct Slot {
    /// Its name.
    pub id: RecordId,
    /// Its call.
    pub call: CallHash,
    /// The encoded record.
    pub body: Bytes,
    /// How often it was lent.
    pub attempts: u32,
    /// When it was lent first.
    pub first_tried: Option<Timestamp>,
    /// Why its last delivery failed.
    pub reason: String,
    /// When it is lent again.
    pub due: Option<Instant>,
    state: State,
    turn: u32,
    behind: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u64,
    last: u64,
}

/// The window of one sink.
#[derive(Debug)]
pub struct Window {
    slots: HashMap<u64, Slot, FixedState>,
    chains: HashMap<CallHash, Chain, FixedState>,
    ready: VecDeque<u64>,
    schedule: Schedule,
    bytes: usize,
    out: u64,
    backing_off: u64,
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
            ready: VecDeque::new(),
            schedule: Schedule::default(),
            bytes: 0,
            out: 0,
            backing_off: 0,
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

    /// Whether another record may be read.
    pub fn has_room(&self) -> bool {
        self.slots.len() < self.records_max && self.bytes < self.bytes_max
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

    /// Takes in a record; places come in rising order.
    pub fn push(&mut self, seq: u64, id: RecordId, call: CallHash, body: Bytes) {
        self.bytes += body.len();
        let mut state = State::Behind;
        match self.chains.get_mut(&call) {
            Some(chain) => {
                if let Some(before) = self.slots.get_mut(&chain.last) {
                    before.behind = Some(seq);
                }
                chain.last = seq;
            }
            None => {
                self.chains.insert(call, Chain { first: seq, last: seq });
                self.ready.push_back(seq);
                state = State::Ready;
            }
        }
        let slot = Slot {
            id,
            call,
            body,
            attempts: 0,
            first_tried: None,
            reason: String::new(),
            due: None,
            state,
            turn: 0,
            behind: None,
        };
        self.slots.insert(seq, slot);
        self.cursor = self.cursor.max(seq + 1);
    }

    /// Lends up to `max` records.
    pub fn lease(&mut self, max: usize, now: Now, out: &mut Vec<Lease>) -> usize {
        self.wake(now.mono);
        let before = out.len();
        while out.len() - before < max {
            let Some(seq) = self.ready.pop_front() else { break };
            let Some(slot) = self.slots.get_mut(&seq) else { continue };
            if slot.state != State::Ready {
                continue;
            }
            out.push(Lease {
                seq: Seq(seq),
                id: slot.id,
                call: slot.call,
                attempts: slot.attempts,
                first_tried: slot.first_tried,
                appended: made(slot.id),
                body: slot.body.clone(),
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

    /// Takes a record out; the next one of its call may be lent.
    pub fn remove(&mut self, seq: u64) -> Option<Slot> {
        let slot = self.slots.remove(&seq)?;
        self.bytes -= slot.body.len();
        self.leave(slot.state);
        let chain = *self.chains.get(&slot.call)?;
        if chain.first == seq {
            match slot.behind {
                Some(next) => {
                    self.chains.insert(slot.call, Chain { first: next, ..chain });
                    self.make_ready(next);
                }
                None => {
                    self.chains.remove(&slot.call);
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
                        self.chains.insert(slot.call, Chain { last: before, ..chain });
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
        self.leave(before);
        self.backing_off += 1;
    }

    /// Marks a record as being parked: it is not lent, and its call waits behind it.
    pub fn hold(&mut self, seq: u64) {
        if let Some(slot) = self.slots.get_mut(&seq) {
            let before = std::mem::replace(&mut slot.state, State::Parking);
            self.leave(before);
        }
    }

    /// Lends a record that waits for its time as soon as possible; `false` when it does not wait.
    pub fn hurry(&mut self, seq: u64) -> bool {
        let waits = self.slots.get(&seq).is_some_and(|slot| slot.state == State::BackOff);
        if waits {
            self.backing_off -= 1;
            self.make_ready(seq);
        }
        waits
    }

    /// When the next record's time comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.schedule.deadline()
    }

    /// Makes those ready whose time has come; gives how many.
    pub fn wake(&mut self, now: Instant) -> usize {
        let mut woken = 0;
        while let Some((seq, turn)) = self.schedule.due(now) {
            let waits = |slot: &Slot| slot.state == State::BackOff && slot.turn == turn;
            if self.slots.get(&seq).is_some_and(waits) {
                self.backing_off -= 1;
                self.make_ready(seq);
                woken += 1;
            }
        }
        woken
    }

    fn leave(&mut self, state: State) {
        match state {
            State::Out => self.out -= 1,
            State::BackOff => self.backing_off -= 1,
            State::Ready | State::Behind | State::Parking => {}
        }
    }

    /// The oldest goes first: it waited longest.
    fn make_ready(&mut self, seq: u64) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        slot.state = State::Ready;
        slot.due = None;
        if self.ready.front().is_none_or(|first| *first > seq) {
            self.ready.push_front(seq);
        } else {
            self.ready.push_back(seq);
        }
    }
}

/// When a record was made: its id tells the millisecond.
pub fn made(id: RecordId) -> Timestamp {
    Timestamp(i64::try_from(id.0 >> 80).unwrap_or(0).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn window(records: &[(u64, u64)]) -> Window {
        let mut window = Window::new(1, 100, 10_000);
        for (seq, call) in records {
            window.push(*seq, RecordId(u128::from(*seq)), CallHash(*call), Bytes::from_static(b"0123456789"));
        }
        window
    }

    fn lent(window: &mut Window, now: u64) -> Vec<u64> {
        let mut out = Vec::new();
        let now = Now { mono: Instant(now), wall: Timestamp(0) };
        window.lease(100, now, &mut out);
        out.iter().map(|lease| lease.seq.0).collect()
    }

    #[test]
    fn one_record_of_a_call_is_out_at_a_time() {
        let mut window = window(&[(1, 7), (2, 8), (3, 7), (4, 7)]);
        assert_eq!(lent(&mut window, 0), [1, 2]);
        assert_eq!(lent(&mut window, 0), [0_u64; 0], "the call's later records wait");
        window.remove(1);
        assert_eq!(lent(&mut window, 0), [3]);
        window.remove(2);
        window.remove(3);
        assert_eq!(lent(&mut window, 0), [4]);
        window.remove(4);
        assert!(window.slots.is_empty() && window.chains.is_empty() && window.out() == 0 && window.bytes == 0);
    }

    #[test]
    fn a_record_that_backs_off_holds_its_call_only() {
        let mut window = window(&[(1, 7), (2, 7), (3, 8)]);
        assert_eq!(lent(&mut window, 0), [1, 3]);
        window.back_off(1, Instant(0), Duration::from_micros(50), "down".into());
        assert_eq!(window.deadline(), Some(Instant(50)));
        assert_eq!(lent(&mut window, 49), [0_u64; 0]);
        assert_eq!(lent(&mut window, 50), [1]);
        assert_eq!(window.slot(1).unwrap().attempts, 2);
        window.remove(1);
        assert_eq!(lent(&mut window, 50), [2]);
    }

    #[test]
    fn a_record_from_the_middle_of_a_call_leaves_the_rest_in_order() {
        for (gone, rest) in [(1, [2, 3]), (2, [1, 3]), (3, [1, 2])] {
            let mut window = window(&[(1, 7), (2, 7), (3, 7)]);
            window.remove(gone);
            window.push(4, RecordId(4), CallHash(7), Bytes::new());
            let mut order = Vec::new();
            while let [seq] = lent(&mut window, 0)[..] {
                order.push(seq);
                window.remove(seq);
            }
            assert_eq!(order, [rest[0], rest[1], 4], "{gone} taken out");
        }
    }

    #[test]
    fn a_hurried_record_does_not_come_a_second_time() {
        let mut window = window(&[(1, 7)]);
        assert_eq!(lent(&mut window, 0), [1]);
        assert!(!window.hurry(1), "it is lent");
        window.back_off(1, Instant(0), Duration::from_micros(50), String::new());
        assert!(window.hurry(1));
        assert_eq!(lent(&mut window, 1), [1]);
        assert_eq!(lent(&mut window, 60), [0_u64; 0], "its old time means nothing");
        window.back_off(1, Instant(60), Duration::from_micros(50), String::new());
        assert_eq!(lent(&mut window, 109), [0_u64; 0]);
        assert_eq!(lent(&mut window, 110), [1]);
    }

    #[test]
    fn a_full_window_takes_no_more() {
        let mut window = Window::new(1, 2, 100);
        assert!(window.has_room());
        window.push(1, RecordId(1), CallHash(1), Bytes::from(vec![0; 99]));
        assert!(window.has_room());
        window.push(2, RecordId(2), CallHash(2), Bytes::new());
        assert!(!window.has_room(), "by count");
        window.remove(2);
        window.push(3, RecordId(3), CallHash(2), Bytes::from_static(b"x"));
        window.remove(1);
        window.push(4, RecordId(4), CallHash(2), Bytes::from(vec![0; 99]));
        assert!(!window.has_room(), "by octets");
    }

    #[test]
    fn an_id_tells_when_its_record_was_made() {
        assert_eq!(made(RecordId(1_700_000_000_123 << 80 | 5)), Timestamp(1_700_000_000_123_000));
    }
}
