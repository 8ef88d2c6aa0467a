//! Records whose legs travel apart: a request for each leg, one after the other; the record is delivered when the last of
//! them is acknowledged.
//!
//! What is acknowledged already is remembered while the record waits in the queue for another try. After a restart or a
//! change of settings it begins again with its first leg, whose request has the same record id as before.

use std::collections::{BTreeMap, HashMap};

use crate::ids::Seq;
use crate::queue::Lease;
use crate::record::Record;

/// Records whose acknowledged legs are remembered while they wait; beyond it the oldest begins with its first leg again.
pub const REMEMBERED_MAX: usize = 4_096;

/// A record under way.
#[derive(Debug)]
pub(super) struct Trip {
    pub(super) lease: Lease,
    pub(super) record: Record,
    /// Which leg is under way, counted from 0 in the order of legs.
    pub(super) step: usize,
}

/// The records under way, and how far those have come that wait.
#[derive(Debug, Default)]
pub(super) struct Apart {
    trips: HashMap<Seq, Trip>,
    waiting: BTreeMap<Seq, usize>,
}

impl Apart {
    /// A record sets out, from where it has come to.
    pub(super) fn begin(&mut self, lease: &Lease, record: &Record) {
        let last = record.legs.len().saturating_sub(1);
        let step = self.waiting.remove(&lease.seq).unwrap_or(0).min(last);
        self.trips.insert(lease.seq, Trip { lease: lease.clone(), record: record.clone(), step });
    }

    /// The record under way with this place in the queue.
    pub(super) fn trip(&self, key: Seq) -> Option<&Trip> {
        self.trips.get(&key)
    }

    /// A request was acknowledged; whether another leg follows.
    pub(super) fn acknowledged(&mut self, key: Seq) -> bool {
        let Some(trip) = self.trips.get_mut(&key) else { return false };
        trip.step += 1;
        let goes_on = trip.step < trip.record.legs.len();
        if !goes_on {
            self.trips.remove(&key);
        }
        goes_on
    }

    /// The record goes back to the queue; gives the reason with the leg it is about.
    pub(super) fn failed(&mut self, key: Seq, reason: String) -> String {
        let Some(trip) = self.trips.remove(&key) else { return reason };
        if self.waiting.len() == REMEMBERED_MAX {
            self.waiting.pop_first();
        }
        self.waiting.insert(key, trip.step);
        trip.about(&reason)
    }

    /// The record is parked; gives the reason with the leg it is about.
    pub(super) fn parked(&mut self, key: Seq, reason: String) -> String {
        let Some(trip) = self.trips.remove(&key) else { return reason };
        trip.about(&reason)
    }
}

impl Trip {
    fn about(&self, reason: &str) -> String {
        format!("leg {} of {}: {reason}", self.step + 1, self.record.legs.len())
    }
}

#[cfg(test)]
mod tests {
    use super::super::render::tests::record;
    use super::super::tests::lease;
    use super::*;
    use crate::record::Kind;

    fn of_legs(count: usize) -> Record {
        Record { legs: vec![Vec::new(); count], ..record(Kind::Start) }
    }

    fn step(apart: &Apart, seq: u64) -> Option<usize> {
        apart.trip(Seq(seq)).map(|trip| trip.step)
    }

    #[test]
    fn a_record_ends_with_its_last_leg_and_goes_on_where_it_failed() {
        let mut apart = Apart::default();
        assert!(!apart.acknowledged(Seq(1)), "a record whose legs travel together has ended");
        apart.begin(&lease(1), &of_legs(3));
        assert!(apart.acknowledged(Seq(1)), "the second leg follows");
        assert_eq!(apart.failed(Seq(1), "no answer".into()), "leg 2 of 3: no answer");
        assert_eq!(step(&apart, 1), None);
        apart.begin(&lease(1), &of_legs(3));
        assert_eq!(step(&apart, 1), Some(1), "the first is not sent again");
        assert!(apart.acknowledged(Seq(1)));
        assert!(!apart.acknowledged(Seq(1)), "the third was the last");
        assert_eq!(apart.parked(Seq(1), "of another".into()), "of another");
    }

    #[test]
    fn a_parked_record_begins_anew_and_memory_has_a_limit() {
        let mut apart = Apart::default();
        apart.begin(&lease(1), &of_legs(2));
        apart.acknowledged(Seq(1));
        assert_eq!(apart.parked(Seq(1), "refused".into()), "leg 2 of 2: refused");
        apart.begin(&lease(1), &of_legs(2));
        assert_eq!(step(&apart, 1), Some(0));
        for seq in 0..=REMEMBERED_MAX as u64 {
            apart.begin(&lease(seq), &of_legs(2));
            apart.acknowledged(Seq(seq));
            apart.failed(Seq(seq), String::new());
        }
        assert_eq!(apart.waiting.len(), REMEMBERED_MAX);
        apart.begin(&lease(0), &of_legs(2));
        apart.begin(&lease(1), &of_legs(2));
        assert_eq!((step(&apart, 0), step(&apart, 1)), (Some(0), Some(1)), "the oldest is forgotten");
    }
}
