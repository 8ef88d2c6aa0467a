//! Back-off: when a record whose delivery failed is lent again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use crate::clock::Instant;
use crate::timers::random::doubled;

/// Waiting times between the deliveries of one record: each twice the one before, up to the longest.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct BackOff {
    /// After the first failure.
    pub shortest: Duration,
    /// Never more than this.
    pub longest: Duration,
}

impl BackOff {
    /// Time to wait after `attempts` failures, at least one, shortened by up to a fifth as `random` says, so that
    /// records that failed together do not return together.
    #[must_use]
    pub fn after(&self, attempts: u32, random: u32) -> Duration {
        let doubled = doubled(self.shortest, attempts.saturating_sub(1), self.longest);
        doubled - doubled / 5 * (random & 0xffff) / 0xffff
    }
}

impl Default for BackOff {
    fn default() -> Self {
        Self { shortest: Duration::from_secs(1), longest: Duration::from_secs(300) }
    }
}

/// Records that wait for their time, earliest first.
#[derive(Debug, Default)]
pub struct Schedule {
    heap: BinaryHeap<Reverse<(Instant, u64, u32)>>,
}

impl Schedule {
    /// Has the record at `seq` wait until `due`; `turn` tells this wait from earlier ones of the same record.
    pub fn add(&mut self, due: Instant, seq: u64, turn: u32) {
        self.heap.push(Reverse((due, seq, turn)));
    }

    /// The next record whose time has come, with its turn.
    pub fn due(&mut self, now: Instant) -> Option<(u64, u32)> {
        let Reverse((due, seq, turn)) = *self.heap.peek()?;
        if due > now {
            return None;
        }
        self.heap.pop();
        Some((seq, turn))
    }

    /// When the next record's time comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse((due, ..))| *due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_back_off_doubles_up_to_its_limit() {
        let back_off = BackOff { shortest: Duration::from_secs(1), longest: Duration::from_secs(10) };
        for (attempts, secs) in [(0, 1), (1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (u32::MAX, 10)] {
            assert_eq!(back_off.after(attempts, 0), Duration::from_secs(secs), "{attempts} attempts");
        }
        assert_eq!(back_off.after(5, 0xffff), Duration::from_secs(8));
    }

    #[test]
    fn records_come_back_in_order_of_their_time() {
        let mut schedule = Schedule::default();
        schedule.add(Instant(30), 1, 0);
        schedule.add(Instant(10), 2, 0);
        schedule.add(Instant(20), 3, 5);
        assert_eq!(schedule.deadline(), Some(Instant(10)));
        assert_eq!(schedule.due(Instant(9)), None);
        assert_eq!(schedule.due(Instant(25)), Some((2, 0)));
        assert_eq!(schedule.due(Instant(25)), Some((3, 5)));
        assert_eq!(schedule.due(Instant(25)), None);
    }
}
