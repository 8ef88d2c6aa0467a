//! Which sessions have records on disk that a window has not read yet: what tells a fresh record whether it may go ahead.
//!
//! A fresh record may overtake the backlog only if no earlier record of its session is in it. For each session the highest
//! place left to the reading is kept, while there is a backlog: about 20 octets a session, 40 at worst.
//!
//! What was appended before somebody leased for the sink is not known at first. At a start the files are looked through
//! for it, before anything is served; what that leaves, and what a sink left that came later, is read through in slices
//! between the commits, and until then every fresh record counts as one with an earlier one.

use std::collections::HashMap;
use std::time::Duration;

use foldhash::fast::FixedState;

use super::chain::Chain;
use super::frame::Frame;
use super::order::Order;
use super::repair;
use super::sinks::Sinks;
use super::spool::read_records;
use crate::clock::Instant;
use crate::ids::CallHash;

/// The unread records of one sink, by session.
#[derive(Debug, Default)]
pub struct Unread {
    /// Highest unread place of a session, counted from `base`.
    last: HashMap<CallHash, u32, FixedState>,
    base: u64,
    /// Places of which nothing is known yet.
    unknown: std::ops::Range<u64>,
}

impl Unread {
    /// States that nothing is known of the places in `unknown`, and that none was noted before.
    pub fn forget(&mut self, unknown: std::ops::Range<u64>) {
        *self = Self { last: HashMap::default(), base: unknown.start, unknown };
    }

    /// Notes a record that is left to the reading.
    pub fn note(&mut self, order: Order, seq: u64) {
        let Order::Within(name, _) = order else { return };
        let place = self.place(seq);
        let last = self.last.entry(name).or_insert(place);
        *last = place.max(*last);
    }

    /// States that the record at `seq` was read, and all before it.
    pub fn read(&mut self, order: Order, seq: u64) {
        if let Order::Within(name, _) = order
            && !self.last.is_empty()
            && self.last.get(&name) == Some(&self.place(seq))
        {
            self.last.remove(&name);
        }
    }

    /// Whether a record that `order` has to wait for may be unread when all places before `cursor` were read.
    ///
    /// What was found in a file in parts may be noted under its call: its beginning did not tell its session.
    pub fn blocks(&self, order: Order, call: CallHash, cursor: u64) -> bool {
        let Order::Within(name, _) = order else { return false };
        let is_known = self.unknown.end <= cursor.max(self.unknown.start);
        let waits = |name| self.last.get(name).is_some_and(|last| *last >= self.place(cursor));
        !is_known || !self.last.is_empty() && (waits(&name) || waits(&call))
    }

    /// States that everything was read: the memory comes free.
    pub fn clear(&mut self, cursor: u64) {
        if !self.last.is_empty() {
            self.last = HashMap::default();
        }
        self.base = cursor;
    }

    /// The places of which nothing is known, when all before `cursor` were read; `None` for none.
    pub fn unknown(&self, cursor: u64) -> Option<std::ops::Range<u64>> {
        let from = self.unknown.start.max(cursor);
        (from < self.unknown.end).then_some(from..self.unknown.end)
    }

    /// States that the places before `seq` are known now.
    pub fn known_to(&mut self, seq: u64) {
        self.unknown.start = self.unknown.start.max(seq).min(self.unknown.end);
    }

    /// A place as a distance, the greatest for one too far: it then counts as unread until everything is.
    fn place(&self, seq: u64) -> u32 {
        u32::try_from(seq.saturating_sub(self.base)).unwrap_or(u32::MAX)
    }
}

/// The reading of the backlog for sinks that do not know whose calls it holds.
#[derive(Debug, Default)]
pub struct Backlog {
    /// After a failure, no reading before.
    pause: Option<Instant>,
}

impl Backlog {
    /// Where it goes on now, if there is something to read.
    pub fn from(&self, sinks: &Sinks, now: Instant) -> Option<u64> {
        sinks.unknown_from().filter(|_| self.pause.is_none_or(|until| now >= until))
    }

    /// Reads some of the backlog for all sinks that do not know it.
    pub fn step(&mut self, sinks: &mut Sinks, chain: &mut Chain, now: Instant) {
        let Some(from) = self.from(sinks, now) else { return };
        let Some(spool) = chain.index_from(from) else { return sinks.known_to(chain.next()) };
        let bits = &chain.spool(spool).bits;
        let end = bits.next();
        let unknowing = sinks.attached().filter(|sink| sink.window().unknown().is_some());
        let first = unknowing.filter_map(|sink| bits.next_open(sink.since(), from)).min();
        let Some(first) = first.filter(|_| !chain.spool(spool).is_set_aside()) else {
            // What is left of a spool set aside comes back at the head, by the salvage.
            return sinks.known_to(end);
        };
        match chain.database(spool) {
            Ok(database) => {
                let batch = read_records(database, first, end, SLICE_RECORDS);
                let bits = &chain.spool(spool).bits;
                sinks.attached().for_each(|sink| sink.take_calls(&batch.records, bits));
                sinks.known_to(batch.next);
            }
            Err(error) => {
                // The reading of the backlog comes here too, and decides what becomes of the spool.
                self.pause = Some(now + PAUSE);
                chain.failed("read the calls of the backlog", &error);
            }
        }
    }
}

/// Looks through the files for the calls whose records wait for the sinks that are attached, before anything is served: some
/// tenths of a second and hardly any memory for a million records. `step` is called between spools.
///
/// What was overwritten or settled lies in the files too: at worst a record waits that need not.
pub fn look_through(sinks: &mut Sinks, chain: &mut Chain, step: &mut dyn FnMut()) {
    for index in 0..chain.spools().len() {
        if sinks.unknown_from().is_none() {
            return;
        }
        let there = chain.spool(index);
        let (end, bits) = (there.bits.next(), &there.bits);
        let looked = if there.is_set_aside() {
            Ok(())
        } else {
            repair::scan(&there.path.join("db"), |_, frame| {
                let Frame::Record(record) = frame else { return };
                if record.part > 0 {
                    return;
                }
                let order = Order::of(record.call, record.body);
                for sink in sinks.attached() {
                    let wants =
                        record.sinks.has(sink.number()) && record.seq < end && record.seq >= sink.window().cursor();
                    if wants && bits.waits(sink.since(), record.seq) {
                        sink.window_mut().leave_unread(order, record.seq);
                    }
                }
            })
        };
        if let Err(error) = looked {
            // It is read through later.
            return chain.failed("look for the calls of the backlog", &error);
        }
        sinks.known_to(end);
        step();
    }
    sinks.known_to(chain.next());
}

/// Records read at once: 1 to 2 ms between two commits.
const SLICE_RECORDS: usize = 512;

/// Pause after a spool that could not be read.
const PAUSE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::super::order::Rank;
    use super::*;

    const CALL: Order = Order::Within(CallHash(0x1234_5678_9abc_def0), Rank(None));
    const OTHER: Order = Order::Within(CallHash(7), Rank(None));
    /// The call of both.
    const BOTH: CallHash = CallHash(5);

    #[test]
    fn a_call_is_blocked_until_its_last_unread_record_is_read() {
        let mut unread = Unread::default();
        unread.forget(10..10);
        assert!(!unread.blocks(CALL, BOTH, 10));
        unread.note(CALL, 12);
        unread.note(CALL, 15);
        assert!(unread.blocks(CALL, BOTH, 12) && !unread.blocks(OTHER, BOTH, 12));
        unread.read(CALL, 12);
        assert!(unread.blocks(CALL, BOTH, 13), "15 is still unread");
        unread.read(CALL, 15);
        assert!(!unread.blocks(CALL, BOTH, 16));
    }

    #[test]
    fn a_record_that_vanished_unread_blocks_until_the_reading_has_passed_it() {
        let mut unread = Unread::default();
        unread.forget(1..1);
        unread.note(CALL, 5);
        assert!(unread.blocks(CALL, BOTH, 5));
        assert!(!unread.blocks(CALL, BOTH, 6), "an operator dropped it, so that nobody reads it");
        unread.note(OTHER, 9);
        unread.clear(10);
        assert!(!unread.blocks(OTHER, BOTH, 10) && unread.last.capacity() == 0);
    }

    #[test]
    fn what_is_not_known_blocks_every_call() {
        let mut unread = Unread::default();
        unread.forget(100..200);
        assert_eq!((unread.blocks(CALL, BOTH, 100), unread.unknown(100)), (true, Some(100..200)));
        unread.note(CALL, 150);
        unread.known_to(160);
        assert_eq!((unread.blocks(OTHER, BOTH, 120), unread.unknown(170)), (true, Some(170..200)));
        unread.known_to(200);
        assert_eq!(
            (unread.blocks(CALL, BOTH, 120), unread.blocks(OTHER, BOTH, 120), unread.unknown(120)),
            (true, false, None)
        );
        unread.forget(100..200);
        assert!(!unread.blocks(CALL, BOTH, 200), "or all of it was read meanwhile");
    }

    #[test]
    fn a_place_too_far_away_counts_as_unread() {
        let mut unread = Unread::default();
        unread.forget(0..0);
        unread.note(OTHER, 1);
        unread.note(CALL, 1 << 40);
        assert!(unread.blocks(CALL, BOTH, 1 << 39));
    }

    #[test]
    fn what_is_noted_by_its_call_blocks_all_its_sessions_and_nothing_blocks_what_is_free() {
        let mut unread = Unread::default();
        unread.forget(1..1);
        unread.note(Order::Within(BOTH, Rank(None)), 5);
        unread.note(Order::Free, 6);
        assert!(unread.blocks(CALL, BOTH, 2) && !unread.blocks(CALL, CallHash(6), 2));
        assert!(!unread.blocks(Order::Free, BOTH, 2));
        unread.forget(1..9);
        assert!(unread.blocks(CALL, BOTH, 2) && !unread.blocks(Order::Free, BOTH, 2));
    }
}
