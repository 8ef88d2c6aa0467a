//! Records put away: they wait for their time, or behind one that does, and their octets are left to the disk.
//!
//! They keep their place, their tries and their time. However many records are never answered, what comes behind them
//! finds room.

use std::time::Duration;

use bytes::Bytes;

use super::super::order::Order;
use super::Window;
use super::slot::{Share, Slot, State};
use crate::clock::Instant;

impl Window {
    /// Puts records away that wait for their time, and those of their sessions behind them, the last to come first, if
    /// that makes room worth the search. They keep their place, their tries and their time.
    pub fn make_room(&mut self) {
        let away = self.away();
        let most = (self.records_max * AWAY_TIMES).saturating_sub(away).min((self.records_max / 2).max(1));
        if self.backing_off_here == 0 || self.backing_off_here * ROOM_PART < self.here.records || most == 0 {
            return;
        }
        let waits = |slot: &Slot| slot.state == State::BackOff && slot.body.is_some();
        let mut waiting: Vec<_> =
            self.slots.iter().filter(|(_, slot)| waits(slot)).map(|(seq, slot)| (slot.due, *seq)).collect();
        waiting.sort_unstable();
        while self.away() < away + most
            && let Some((_, first)) = waiting.pop()
        {
            let mut next = Some(first);
            while let Some(seq) = next {
                self.put_away(seq);
                next = self.slots.get(&seq).and_then(|slot| slot.behind);
            }
        }
    }

    /// Records put away.
    fn away(&self) -> usize {
        self.slots.len() - self.here.records
    }

    pub(super) fn put_away(&mut self, seq: u64) {
        self.age(seq);
        self.rest_again(seq);
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        if slot.body.take().is_some() {
            self.here.remove(slot.bytes);
            self.backing_off_here -= usize::from(slot.state == State::BackOff);
        }
    }

    /// A record that was put away and came back does not count as such any more.
    pub(super) fn rest_again(&mut self, seq: u64) {
        let Some(slot) = self.slots.get_mut(&seq) else { return };
        if std::mem::take(&mut slot.again) {
            self.again.remove(slot.bytes);
        }
    }

    /// The next record put away whose octets are wanted, if there is room for it.
    pub fn next_wanted(&mut self) -> Option<u64> {
        let Share { records, bytes } = self.again;
        if records > 0 && (records >= self.records_max / AGAIN_PART || bytes >= self.bytes_max / AGAIN_PART) {
            return None;
        }
        loop {
            let next = self.wanted.range(self.wanted_from..).next().or_else(|| self.wanted.first()).copied()?;
            if self.slots.get(&next).is_some_and(|slot| slot.state == State::Away) {
                return Some(next);
            }
            self.wanted.remove(&next);
        }
    }

    /// The octets of a record put away are here again: it may be lent.
    pub fn bring_back(&mut self, seq: u64, body: Bytes) {
        self.wanted.remove(&seq);
        self.wanted_from = seq + 1;
        let Some(slot) = self.slots.get_mut(&seq).filter(|slot| slot.state == State::Away) else { return };
        slot.bytes = body.len();
        slot.body = Some(body);
        slot.again = true;
        self.here.add(slot.bytes);
        self.again.add(slot.bytes);
        self.make_ready(seq);
    }

    /// The octets of a record put away cannot be read now: it waits.
    pub fn stays_away(&mut self, seq: u64, now: Instant, after: Duration) {
        self.wanted.remove(&seq);
        if let Some(reason) = self.slots.get(&seq).map(|slot| slot.reason.clone()) {
            self.back_off(seq, now, after, reason);
        }
    }

    /// A record came behind others of its session: if the one they wait for is put away, or was and will be again, this
    /// one is, too.
    pub(super) fn follow_away(&mut self, seq: u64, order: Order) {
        let Order::Within(name, _) = order else { return };
        let first = self.chains.get(&name).and_then(|chain| self.slots.get(&chain.first));
        let is_away = first.is_some_and(|first| first.body.is_none() || first.again);
        if is_away && self.away() < self.records_max * AWAY_TIMES {
            self.put_away(seq);
        }
    }
}

/// Records that were put away and are here again have this part of it, above it.
const AGAIN_PART: usize = 4;

/// This part of what is here has to wait for its time before it is searched for what can be put away.
const ROOM_PART: usize = 64;

/// So many times the room of the backlog can be put away: some 300 octets of memory a record.
const AWAY_TIMES: usize = 16;
