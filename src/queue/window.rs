//! Leasing for one sink: the records read ahead and those that are fresh, in memory only.
//!
//! Records of one call form a chain; only its first one is lent, so that they leave in order. Different calls overtake
//! each other freely. After a restart everything unsettled is read again.
//!
//! Ready records wait in two rows: the backlog's, and that of fresh records, which gets three of four leases. A record
//! that was not lent while it was fresh changes over to the backlog's row.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use bytes::Bytes;
use foldhash::fast::FixedState;

use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, RecordId, Seq};

use super::Lease;
use super::schedule::Schedule;
use super::unread::Unread;

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
    /// When it was appended, while it goes ahead of the backlog.
    fresh: Option<Instant>,
}

#[derive(Clone, Copy, Debug)]
struct Chain {
    first: u64,
    last: u64,
}

/// What fresh records take of the window.
#[derive(Clone, Copy, Debug, Default)]
struct Share {
    records: usize,
    bytes: usize,
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
    /// Leases to fresh records since the last one to the backlog.
    fresh_in_turn: u32,
    unread: Unread,
    schedule: Schedule,
    bytes: usize,
    fresh: Share,
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
            ready: BTreeSet::new(),
            ready_fresh: VecDeque::new(),
            fresh_in_turn: 0,
            unread: Unread::default(),
            schedule: Schedule::default(),
            bytes: 0,
            fresh: Share::default(),
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

    /// Whether another record of the backlog may be read.
    pub fn has_room(&self) -> bool {
        self.slots.len() - self.fresh.records < self.records_max && self.bytes - self.fresh.bytes < self.bytes_max
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
            && self.slots.len() < self.records_max + records
            && self.fresh.bytes < bytes
            && self.bytes < self.bytes_max + bytes
    }

    /// Somebody leases from now on: what was appended before place `next` and not yet read is not known.
    pub fn begin(&mut self, next: u64) {
        self.unread.forget(self.cursor..next.max(self.cursor));
    }

    /// The first place of which is not known whose call it is.
    pub fn unknown_from(&self) -> Option<u64> {
        self.unread.unknown_from(self.cursor)
    }

    /// States that the places before `seq` are known.
    pub fn known_to(&mut self, seq: u64) {
        self.unread.known_to(seq);
    }

    /// States that a record of a call stays on disk until the reading comes to it.
    pub fn leave_unread(&mut self, call: CallHash, seq: u64) {
        self.unread.note(call, seq);
    }

    /// Offers a record that was just appended at the highest place: it goes ahead of the backlog, joins it, or stays on
    /// disk.
    pub fn offer(&mut self, seq: u64, id: RecordId, call: CallHash, body: &Bytes, now: Instant) {
        let at_head = self.cursor == seq;
        if at_head {
            self.unread.clear(seq);
        }
        if self.has_fresh_room() && !self.unread.blocks(call, self.cursor) {
            self.insert(seq, id, call, body.clone(), Some(now));
        } else if at_head && self.has_room() {
            self.insert(seq, id, call, body.clone(), None);
        } else {
            self.unread.note(call, seq);
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

    /// Takes in a record that was read; places come in rising order.
    pub fn push(&mut self, seq: u64, id: RecordId, call: CallHash, body: Bytes) {
        self.unread.read(call, seq);
        self.insert(seq, id, call, body, None);
        self.cursor = self.cursor.max(seq + 1);
    }

    fn insert(&mut self, seq: u64, id: RecordId, call: CallHash, body: Bytes, fresh: Option<Instant>) {
        self.bytes += body.len();
        if fresh.is_some() {
            self.fresh.records += 1;
            self.fresh.bytes += body.len();
        }
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
                if fresh.is_some() {
                    self.ready_fresh.push_back(seq);
                } else {
                    self.ready.insert(seq);
                }
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
            fresh,
        };
        self.slots.insert(seq, slot);
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
            if self.fresh_in_turn >= FRESH_IN_TURN && !self.ready.is_empty() {
                break;
            }
            self.fresh_in_turn += 1;
            return self.ready_fresh.pop_front();
        }
        self.fresh_in_turn = 0;
        self.ready.pop_first()
    }

    /// A record is fresh no more: it counts to the backlog.
    fn age(&mut self, seq: u64) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        if slot.fresh.take().is_some() {
            self.fresh.records -= 1;
            self.fresh.bytes -= slot.body.len();
        }
    }

    /// Lends up to `max` records.
    pub fn lease(&mut self, max: usize, now: Now, out: &mut Vec<Lease>) -> usize {
        self.wake(now.mono);
        let before = out.len();
        while out.len() - before < max {
            let Some(seq) = self.next_ready(now.mono) else { break };
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

    /// Takes a record out; the next one of its call may be lent.
    pub fn remove(&mut self, seq: u64) -> Option<Slot> {
        self.age(seq);
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

    fn make_ready(&mut self, seq: u64) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        slot.state = State::Ready;
        slot.due = None;
        if slot.fresh.is_some() {
            self.ready_fresh.push_back(seq);
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

/// Fresh records have this part of the room that the backlog has, above it.
const FRESH_PART: usize = 2;

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

    /// Offers records (place, call) at a time in microseconds.
    fn offer(window: &mut Window, records: &[(u64, u64)], at: u64) {
        for (seq, call) in records {
            window.offer(*seq, RecordId(1), CallHash(*call), &Bytes::from_static(b"0123456789"), Instant(at));
        }
    }

    #[test]
    fn fresh_records_get_three_of_four_leases() {
        let mut window = window(&[(1, 1), (2, 2), (3, 3)]);
        window.begin(100);
        window.known_to(100);
        offer(&mut window, &[(100, 10), (101, 11), (102, 12), (103, 13), (104, 14)], 0);
        assert_eq!(lent(&mut window, 0), [100, 101, 102, 1, 103, 104, 2, 3]);
        assert_eq!(window.cursor(), 4, "the reading goes on where it was");
    }

    #[test]
    fn a_record_is_fresh_for_half_a_second_only() {
        let mut window = window(&[(1, 1)]);
        window.begin(100);
        window.known_to(100);
        offer(&mut window, &[(100, 10)], 0);
        offer(&mut window, &[(101, 11)], 400_000);
        assert_eq!(lent(&mut window, 500_001), [101, 1, 100]);
        for seq in [1, 100, 101] {
            window.remove(seq);
        }
        assert_eq!((window.fresh.records, window.fresh.bytes, window.bytes), (0, 0, 0));
    }

    #[test]
    fn a_fresh_record_waits_for_the_earlier_ones_of_its_call() {
        for (name, call, leases) in [
            ("another call's goes ahead", 8, &[100, 1][..]),
            ("one in the window is in front of it", 1, &[1]),
            ("one on disk keeps it on disk", 7, &[1]),
        ] {
            let mut window = window(&[(1, 1)]);
            window.begin(100);
            window.leave_unread(CallHash(7), 50);
            window.known_to(100);
            offer(&mut window, &[(100, call)], 0);
            assert_eq!(lent(&mut window, 0), leases, "{name}");
            assert_eq!(window.slot(100).is_some(), call != 7, "{name}");
        }
        let mut window = window(&[(1, 1)]);
        window.begin(100);
        offer(&mut window, &[(100, 8)], 0);
        assert!(window.slot(100).is_none(), "nobody knows yet what is on disk");
    }

    #[test]
    fn fresh_records_have_a_room_of_their_own() {
        let mut window = Window::new(1, 4, 1000);
        window.begin(1);
        offer(&mut window, &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 8)], 0);
        assert_eq!((window.slots.len(), window.fresh.records, window.cursor()), (6, 2, 7));
        assert!(!window.has_room());
        assert_eq!(lent(&mut window, 600_000), [1, 2, 3, 4, 5, 6], "none of them is fresh any more");
        window.remove(3);
        offer(&mut window, &[(9, 9)], 600_000);
        assert_eq!((window.slots.len(), window.fresh.records), (6, 1));
        offer(&mut window, &[(10, 7)], 600_000);
        assert_eq!(window.slots.len(), 6, "its call has a record on disk");
    }

    #[test]
    fn an_id_tells_when_its_record_was_made() {
        assert_eq!(made(RecordId(1_700_000_000_123 << 80 | 5)), Timestamp(1_700_000_000_123_000));
    }
}
