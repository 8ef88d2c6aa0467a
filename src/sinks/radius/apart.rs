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

/// Which request of a record is the only one.
pub(super) const WHOLE: u16 = 0;

/// Which request of a record carries the leg at a place.
pub(super) fn part(step: usize) -> u16 {
    u16::try_from(step + 1).unwrap_or(u16::MAX)
}

/// What follows when a request is acknowledged.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Next {
    /// The next leg is to be sent: the one before was acknowledged.
    Leg,
    /// The record has ended.
    End,
    /// The record waits in the queue and goes on from there.
    Wait,
}

/// The records under way, and how far those have come that wait: how many legs of how many are acknowledged.
#[derive(Debug, Default)]
pub(super) struct Apart {
    trips: HashMap<Seq, Trip>,
    waiting: BTreeMap<Seq, (usize, usize)>,
}

impl Apart {
    /// A record sets out, from where it has come to.
    pub(super) fn begin(&mut self, lease: &Lease, record: &Record) {
        let last = record.legs.len().saturating_sub(1);
        let step = self.waiting.remove(&lease.seq).map_or(0, |(step, _)| step).min(last);
        self.trips.insert(lease.seq, Trip { lease: lease.clone(), record: record.clone(), step });
    }

    /// The record under way with this place in the queue.
    pub(super) fn trip(&self, key: Seq) -> Option<&Trip> {
        self.trips.get(&key)
    }

    /// A request was acknowledged, perhaps after its record went back to the queue.
    pub(super) fn acknowledged(&mut self, key: Seq, acknowledged: u16) -> Next {
        if acknowledged == WHOLE {
            return Next::End;
        }
        if let Some(trip) = self.trips.get_mut(&key).filter(|trip| part(trip.step) == acknowledged) {
            trip.step += 1;
            if trip.step < trip.record.legs.len() {
                return Next::Leg;
            }
            self.trips.remove(&key);
            return Next::End;
        }
        match self.waiting.get_mut(&key) {
            Some((step, legs)) if part(*step) == acknowledged => {
                *step += 1;
                if step < legs {
                    return Next::Wait;
                }
                self.waiting.remove(&key);
                Next::End
            }
            // Forgotten meanwhile: it begins again.
            _ => Next::Wait,
        }
    }

    /// The record goes back to the queue; gives the reason with the leg it is about.
    pub(super) fn failed(&mut self, key: Seq, reason: String) -> String {
        let Some(trip) = self.trips.remove(&key) else { return reason };
        if self.waiting.len() == REMEMBERED_MAX {
            self.waiting.pop_first();
        }
        self.waiting.insert(key, (trip.step, trip.record.legs.len()));
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
    use super::super::tests::lease;
    use super::*;
    use crate::record::Kind;
    use crate::sinks::tests::record;

    fn of_legs(count: usize) -> Record {
        Record { legs: vec![Vec::new(); count], ..record(Kind::Start) }
    }

    fn step(apart: &Apart, seq: u64) -> Option<usize> {
        apart.trip(Seq(seq)).map(|trip| trip.step)
    }

    #[test]
    fn a_record_ends_with_its_last_leg_and_goes_on_where_it_failed() {
        let mut apart = Apart::default();
        assert_eq!(apart.acknowledged(Seq(1), WHOLE), Next::End, "a record whose legs travel together has ended");
        apart.begin(&lease(1), &of_legs(3));
        assert_eq!(apart.acknowledged(Seq(1), 1), Next::Leg, "the second leg follows");
        assert_eq!(apart.acknowledged(Seq(1), 1), Next::Wait, "the first is acknowledged once");
        assert_eq!(apart.failed(Seq(1), "no answer".into()), "leg 2 of 3: no answer");
        assert_eq!(step(&apart, 1), None);
        apart.begin(&lease(1), &of_legs(3));
        assert_eq!(step(&apart, 1), Some(1), "the first is not sent again");
        assert_eq!(apart.acknowledged(Seq(1), 2), Next::Leg);
        assert_eq!(apart.acknowledged(Seq(1), 3), Next::End, "the third was the last");
        assert_eq!(apart.parked(Seq(1), "of another".into()), "of another");
    }

    #[test]
    fn a_leg_acknowledged_after_its_record_went_back_counts() {
        let mut apart = Apart::default();
        apart.begin(&lease(1), &of_legs(3));
        assert_eq!(apart.acknowledged(Seq(1), 1), Next::Leg);
        apart.failed(Seq(1), String::new());
        assert_eq!(apart.acknowledged(Seq(1), 1), Next::Wait, "not the first once more");
        assert_eq!(apart.acknowledged(Seq(1), 2), Next::Wait, "the third is left");
        apart.begin(&lease(1), &of_legs(3));
        assert_eq!(step(&apart, 1), Some(2));
        apart.failed(Seq(1), String::new());
        assert_eq!(apart.acknowledged(Seq(1), 3), Next::End, "it ends in the queue");
        assert_eq!(apart.acknowledged(Seq(9), 2), Next::Wait, "of a record that was forgotten");
    }

    #[test]
    fn a_parked_record_begins_anew_and_memory_has_a_limit() {
        let mut apart = Apart::default();
        apart.begin(&lease(1), &of_legs(2));
        apart.acknowledged(Seq(1), 1);
        assert_eq!(apart.parked(Seq(1), "refused".into()), "leg 2 of 2: refused");
        apart.begin(&lease(1), &of_legs(2));
        assert_eq!(step(&apart, 1), Some(0));
        for seq in 0..=REMEMBERED_MAX as u64 {
            apart.begin(&lease(seq), &of_legs(2));
            apart.acknowledged(Seq(seq), 1);
            apart.failed(Seq(seq), String::new());
        }
        assert_eq!(apart.waiting.len(), REMEMBERED_MAX);
        apart.begin(&lease(0), &of_legs(2));
        apart.begin(&lease(1), &of_legs(2));
        assert_eq!((step(&apart, 0), step(&apart, 1)), (Some(0), Some(1)), "the oldest is forgotten");
    }
}
