//! When a record whose delivery failed is lent again.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use crate::clock::Instant;

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
