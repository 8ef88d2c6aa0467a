//! End-to-End ids that a restart computes again (RFC 6733 §3).
//!
//! The first id of a message is `salt + place` in the lower half of the 32 bits, where `place` is the record's place in
//! the queue (times [`PARTS_MAX`] plus the part, for records that make several messages). Nothing is written for it.
//!
//! After an answer 4xxx or 5012 a message needs a new id, because a server repeats its first answer for one it knows.
//! Those come from the upper half: a counter that starts at the wall clock's milliseconds and never falls behind the
//! ones given out, so that also after a restart an id does not come again before the half is through, 24 days later.

use crate::clock::Timestamp;
use crate::ids::Seq;

/// Messages one record makes at most: START and STOP of a whole call for each of 64 legs, and one more each.
pub const PARTS_MAX: usize = 130;

const HALF: u32 = 1 << 31;

/// The source of End-to-End ids.
#[derive(Clone, Debug)]
pub struct Identifiers {
    salt: u32,
    fresh: u64,
}

impl Identifiers {
    /// Ids that count from `salt`.
    #[must_use]
    pub const fn new(salt: u32) -> Self {
        Self { salt, fresh: 0 }
    }

    /// The first id of a message, the same in every process.
    #[must_use]
    pub fn first(&self, seq: Seq, part: usize, parts: usize) -> u32 {
        let place = if parts > 1 { seq.0.wrapping_mul(PARTS_MAX as u64).wrapping_add(part as u64) } else { seq.0 };
        self.salt.wrapping_add(place as u32) & (HALF - 1)
    }

    /// A new id.
    pub fn fresh(&mut self, now: Timestamp) -> u32 {
        let clock = u64::try_from(now.0 / 1000).unwrap_or(0);
        self.fresh = clock.max(self.fresh + 1);
        HALF | (self.fresh as u32 & (HALF - 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_ids_are_the_same_in_every_process_and_differ_between_records() {
        let (before, after) = (Identifiers::new(0xfedc_ba98), Identifiers::new(0xfedc_ba98));
        let mut seen = std::collections::HashSet::new();
        for seq in 1..10_000 {
            assert_eq!(before.first(Seq(seq), 0, 1), after.first(Seq(seq), 0, 1));
            assert!(seen.insert(before.first(Seq(seq), 0, 1)), "{seq}");
            assert!(before.first(Seq(seq), 0, 1) < HALF);
        }
        assert_eq!(before.first(Seq(5), 0, 1), before.first(Seq(5 + (1 << 31)), 0, 1), "after 2^31 records");
        let parts: std::collections::HashSet<_> = (0..64).map(|part| before.first(Seq(7), part, 64)).collect();
        assert_eq!(parts.len(), 64);
    }

    #[test]
    fn new_ids_never_meet_first_ones_nor_those_of_an_earlier_process() {
        let mut ids = Identifiers::new(0);
        let now = Timestamp(1_700_000_000_000_000);
        let given: Vec<u32> = (0..5).map(|_| ids.fresh(now)).collect();
        assert!(given.iter().all(|id| id & HALF != 0));
        assert!(given.windows(2).all(|pair| pair[1] == pair[0] + 1));
        let mut restarted = Identifiers::new(0);
        assert!(!given.contains(&restarted.fresh(Timestamp(now.0 + 1_000_000))), "a second later");
    }
}
