//! Which records of a deliverer's queue may go to their sinks: those of partitions whose lease it holds at that very moment.
//!
//! The queue of a deliverer is what it has taken out of the stream. A record goes to its sink only while the lease of its
//! partition is held by the clock of this machine: not by what a server says, which may be old. Without it the record waits.
//! A partition that is given back takes its records along: they are withdrawn.

use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use foldhash::fast::FixedState;

use crate::clock::{self, Instant};
use crate::ids::{RecordId, SinkNumber};
use crate::queue::{Lease, Settlement};
use crate::sinks::worker::Gate;

/// How long a record waits when the lease of its partition has run out.
pub const UNHELD_WAIT: Duration = Duration::from_millis(250);

/// What is to become of a record that was taken out of the stream.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Fate {
    /// It goes to its sink.
    Go {
        /// Whether another process may have delivered it.
        may_be_there: bool,
    },
    /// It was parked by another process, and is parked again.
    Park {
        /// Why, for the operator.
        reason: String,
        /// The backend's result code, 0 for none.
        code: u32,
    },
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Hold {
    /// It is not ours.
    Free,
    /// Until then.
    Until(Instant),
    /// It is about to be given back: nothing of it goes any more.
    Leaving,
}

/// A record of a sink, by its name.
pub type Named = (SinkNumber, RecordId);

/// A record of a sink, by its place in the queue of this process.
pub type Placed = (SinkNumber, u64);

/// Says which records go. Shared by the thread that holds the leases and the one that delivers.
#[derive(Debug)]
pub struct Admission {
    inner: Mutex<Inner>,
    now: fn() -> Instant,
}

#[derive(Debug)]
struct Inner {
    holds: Vec<Hold>,
    /// Records in the queue, or on their way there.
    notes: HashMap<Named, (u16, Fate), FixedState>,
    /// Records that the queue still has of partitions that were given back.
    stale: HashSet<Placed, FixedState>,
    /// Records that their sinks have, and their partitions.
    out: HashMap<Placed, u16, FixedState>,
}

impl Admission {
    /// No partition is held.
    #[must_use]
    pub fn new(partitions: u16) -> Self {
        Self::by(partitions, clock::mono)
    }

    fn by(partitions: u16, now: fn() -> Instant) -> Self {
        let inner = Inner {
            holds: vec![Hold::Free; usize::from(partitions)],
            notes: HashMap::default(),
            stale: HashSet::default(),
            out: HashMap::default(),
        };
        Self { inner: Mutex::new(inner), now }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        // What it holds is whole at every step.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, partition: u16, hold: Hold) {
        if let Some(place) = self.inner().holds.get_mut(usize::from(partition)) {
            *place = hold;
        }
    }

    /// The lease of a partition is held until then.
    pub fn hold(&self, partition: u16, until: Instant) {
        self.set(partition, Hold::Until(until));
    }

    /// Nothing of a partition goes any more, for it is to be given back.
    pub fn leave(&self, partition: u16) {
        self.set(partition, Hold::Leaving);
    }

    /// A partition is not ours any more.
    pub fn free(&self, partition: u16) {
        self.set(partition, Hold::Free);
    }

    /// Whether the sinks have records of a partition.
    #[must_use]
    pub fn is_out(&self, partition: u16) -> bool {
        self.inner().out.values().any(|of| *of == partition)
    }

    /// A record of a partition comes into the queue.
    pub fn note(&self, record: Named, partition: u16, fate: Fate) {
        self.inner().notes.insert(record, (partition, fate));
    }

    /// A record is needed no more, or not by us.
    pub fn forget(&self, record: Named) {
        self.inner().notes.remove(&record);
    }

    /// The record at that place is of a partition that is not ours any more.
    pub fn withdraw(&self, at: Placed) {
        self.inner().stale.insert(at);
    }

    /// A record has another place: what was to be withdrawn still is.
    pub fn moved(&self, from: Placed, to: Placed) {
        let mut inner = self.inner();
        if inner.stale.remove(&from) {
            inner.stale.insert(to);
        }
    }

    /// The sink has the record at that place no more: it has left the queue, or is back in it.
    pub fn back(&self, at: Placed) {
        self.inner().out.remove(&at);
    }
}

impl Gate for Admission {
    fn instead(&self, sink: SinkNumber, lease: &mut Lease) -> Option<Settlement> {
        let mut inner = self.inner();
        let at = (sink, lease.seq.0);
        inner.out.remove(&at);
        if inner.stale.remove(&at) {
            return Some(Settlement::Withdrawn);
        }
        let Inner { holds, notes, out, .. } = &mut *inner;
        // What did not come out of the stream was put into the queue by the operator.
        let (partition, fate) = notes.get_mut(&(sink, lease.id))?;
        let may_be_there = match fate {
            Fate::Go { may_be_there } => *may_be_there,
            Fate::Park { reason, code } => {
                let settlement = Settlement::Park { reason: std::mem::take(reason), code: *code };
                // An operator who has it tried again finds it free.
                *fate = Fate::Go { may_be_there: true };
                return Some(settlement);
            }
        };
        match holds.get(usize::from(*partition)) {
            Some(Hold::Until(until)) if (self.now)() < *until => {
                if may_be_there && lease.first_tried.is_none() {
                    lease.first_tried = Some(lease.appended);
                }
                out.insert(at, *partition);
                None
            }
            Some(Hold::Leaving) => Some(waits("its partition is about to go to another deliverer")),
            _ => Some(waits("the lease of its partition has run out: NATS does not answer")),
        }
    }
}

fn waits(reason: &str) -> Settlement {
    Settlement::Defer { after: UNHELD_WAIT, reason: reason.to_owned() }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::clock::Timestamp;
    use crate::ids::{CallHash, Seq};

    const SINK: SinkNumber = SinkNumber(2);
    const ID: RecordId = RecordId(7);
    const AT: Placed = (SINK, 1);

    fn lease() -> Lease {
        let (call, appended) = (CallHash(0), Timestamp(5));
        Lease { seq: Seq(1), id: ID, call, attempts: 0, first_tried: None, appended, body: Bytes::new() }
    }

    /// With a record of partition 3, at an instant of 1 000.
    fn admission() -> Admission {
        let admission = Admission::by(4, || Instant(1_000));
        admission.note((SINK, ID), 3, Fate::Go { may_be_there: false });
        admission
    }

    fn asked(admission: &Admission) -> Option<Settlement> {
        admission.instead(SINK, &mut lease())
    }

    #[test]
    fn a_record_goes_while_the_lease_of_its_partition_is_held_and_waits_otherwise() {
        let admission = admission();
        assert!(matches!(asked(&admission), Some(Settlement::Defer { .. })), "nobody holds it");
        admission.hold(3, Instant(1_001));
        assert_eq!(asked(&admission), None);
        admission.hold(3, Instant(1_000));
        assert!(matches!(asked(&admission), Some(Settlement::Defer { .. })), "it has run out");
        admission.hold(2, Instant(9_000));
        assert!(matches!(asked(&admission), Some(Settlement::Defer { .. })), "another one is held");
    }

    #[test]
    fn a_partition_that_leaves_sends_nothing_more_and_tells_what_its_sinks_have() {
        let admission = admission();
        admission.hold(3, Instant(2_000));
        assert_eq!((asked(&admission), admission.is_out(3), admission.is_out(2)), (None, true, false));
        admission.leave(3);
        assert!(admission.is_out(3), "the sink has it");
        assert!(matches!(asked(&admission), Some(Settlement::Defer { .. })), "it came back, and goes no more");
        assert!(!admission.is_out(3));
    }

    #[test]
    fn a_record_that_was_delivered_is_out_no_more() {
        let admission = admission();
        admission.hold(3, Instant(2_000));
        assert_eq!(asked(&admission), None);
        admission.back(AT);
        assert!(!admission.is_out(3));
    }

    #[test]
    fn of_two_copies_of_a_record_the_one_of_an_earlier_tenure_is_withdrawn() {
        let admission = admission();
        admission.hold(3, Instant(2_000));
        admission.withdraw(AT);
        assert_eq!(asked(&admission), Some(Settlement::Withdrawn));
        let mut second = Lease { seq: Seq(2), ..lease() };
        assert_eq!(admission.instead(SINK, &mut second), None);
    }

    #[test]
    fn a_record_that_another_process_has_parked_is_parked_once_and_then_free() {
        let admission = admission();
        admission.hold(3, Instant(2_000));
        admission.note((SINK, ID), 3, Fate::Park { reason: "refused".to_owned(), code: 5 });
        assert_eq!(asked(&admission), Some(Settlement::Park { reason: "refused".to_owned(), code: 5 }));
        let mut again = lease();
        assert_eq!(admission.instead(SINK, &mut again), None);
        assert_eq!(again.first_tried, Some(Timestamp(5)), "that process may have sent it");
    }

    #[test]
    fn a_record_that_is_forgotten_is_one_of_the_operator_s_when_it_comes_again() {
        let admission = admission();
        admission.forget((SINK, ID));
        assert_eq!(asked(&admission), None, "no lease is asked for");
    }

    #[test]
    fn what_another_process_may_have_delivered_goes_as_a_repeat() {
        let admission = admission();
        admission.hold(3, Instant(2_000));
        admission.note((SINK, ID), 3, Fate::Go { may_be_there: true });
        let mut lease = lease();
        assert_eq!(admission.instead(SINK, &mut lease), None);
        assert_eq!(lease.first_tried, Some(Timestamp(5)));
    }

    #[test]
    fn what_an_operator_has_put_into_the_queue_goes() {
        let admission = Admission::by(4, || Instant(1_000));
        assert_eq!(asked(&admission), None);
    }
}
