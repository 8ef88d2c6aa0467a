//! What must hold at every instant.

use std::collections::HashMap;

use tollgate::cluster::progress::Progress;

use super::records::{Fact, What};

/// What was seen so far.
#[derive(Debug, Default)]
pub(crate) struct Checks {
    /// Number of the tenure and floor last written, by partition.
    progress: HashMap<usize, (u64, u64)>,
    /// Records of each call in the order of their first arrival at the backend.
    pub(crate) arrived: HashMap<usize, Vec<Fact>>,
    /// Partitions just taken, and by whom.
    pub(crate) taken: Vec<(usize, usize)>,
    pub(crate) repeats: u64,
    pub(crate) adopted: u64,
    pub(crate) inherited: u64,
    pub(crate) forgotten: u64,
}

/// What is written down of a partition: the number of the tenure, and how far it is delivered.
pub(crate) fn written(epoch: u64, progress: &Progress) -> Vec<u8> {
    [&epoch.to_be_bytes()[..], &progress.to_bytes()].concat()
}

/// Reads it.
pub(crate) fn read_written(octets: &[u8]) -> (u64, Progress) {
    let (epoch, progress) = octets.split_first_chunk::<8>().expect("it begins with the number");
    (u64::from_be_bytes(*epoch), Progress::resume(progress).expect("it was written by one of ours"))
}

impl Checks {
    /// A deliverer has written how far it is.
    pub(crate) fn progress(&mut self, partition: usize, value: &[u8]) {
        let (epoch, progress) = read_written(value);
        let floor = progress.begin();
        let last = self.progress.entry(partition).or_default();
        assert!(floor >= last.1, "progress of {partition} went back from {} to {floor}", last.1);
        assert!(epoch >= last.0, "an owner before the last one wrote the progress of {partition}");
        *last = (epoch, floor);
    }

    /// A record has come to the backend.
    pub(crate) fn arrived(&mut self, fact: Fact) {
        let records = self.arrived.entry(fact.call).or_default();
        if records.iter().any(|record| record.id() == fact.id()) {
            self.repeats += 1;
            return;
        }
        if fact.what == What::Start {
            assert!(records.is_empty(), "the Start of {} came behind {records:?}", fact.call);
        } else {
            assert!(!records.is_empty(), "{fact:?} came before the Start");
        }
        // A former owner that was cut off may still have had an interim record in its queue.
        let last = records.iter().rev().find(|record| record.by == fact.by);
        assert!(
            last.is_none_or(|last| last.what != What::Stop && last.number < fact.number),
            "{fact:?} behind {last:?}"
        );
        records.push(fact);
    }
}
