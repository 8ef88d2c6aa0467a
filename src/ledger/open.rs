//! What of a queue's records waits for a sink, as the rows of the ledger tell.
//!
//! Parked records are none of it: whoever puts them back or gives them up is in the ledger for sure.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use foldhash::fast::FixedState;

use super::day::Day;
use super::row::{Fate, Row};
use super::running::BlockSink;

/// Records of one queue that wait for a sink, by day and place.
#[derive(Debug, Default)]
pub struct Open {
    /// For each record the sinks, bits by the place of the name.
    days: BTreeMap<Day, HashMap<u64, u64, FixedState>>,
    names: Vec<Arc<str>>,
}

impl Open {
    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.days.values().all(HashMap::is_empty)
    }

    /// What waits, by day and place, and for which sink.
    pub fn waiting(&self) -> impl Iterator<Item = (Day, u64, &Arc<str>)> {
        let records = self.days.iter().flat_map(|(day, records)| {
            let mut records: Vec<(u64, u64)> = records.iter().map(|(seq, mask)| (*seq, *mask)).collect();
            records.sort_unstable();
            records.into_iter().map(|(seq, mask)| (*day, seq, mask))
        });
        records.flat_map(|(day, seq, mask)| {
            let names = self.names.iter().enumerate().filter(move |(place, _)| mask & 1 << place != 0);
            names.map(move |(_, name)| (day, seq, name))
        })
    }

    /// Takes note of a row of a day's file.
    pub fn see(&mut self, day: Day, sinks: &[BlockSink<'_>], row: &Row<'_>) {
        match row {
            Row::Made(made) => {
                let mask = self.mask(sinks, made.sinks);
                *self.days.entry(day).or_default().entry(made.seq).or_default() |= mask;
            }
            Row::Again { seq, was, sinks: bits, .. } => {
                let mask = self.mask(sinks, *bits);
                self.leave(day, *was, mask);
                *self.days.entry(day).or_default().entry(*seq).or_default() |= mask;
            }
            Row::Ended(ended) if ended.fate != Fate::Retried => {
                let mask = self.mask(sinks, 1 << (ended.sink & 63));
                self.leave(day, ended.seq, mask);
            }
            Row::Gone { from, to, .. } => {
                if let Some(open) = self.days.get_mut(&day) {
                    open.retain(|seq, _| !(*from..=*to).contains(seq));
                }
            }
            Row::Ended(_) | Row::Gap { .. } | Row::Began { .. } | Row::Counted { .. } => {}
        }
    }

    fn leave(&mut self, day: Day, seq: u64, mask: u64) {
        let Some(open) = self.days.get_mut(&day) else { return };
        let Some(waiting) = open.get_mut(&seq) else { return };
        *waiting &= !mask;
        if *waiting == 0 {
            open.remove(&seq);
        }
    }

    fn mask(&mut self, sinks: &[BlockSink<'_>], bits: u64) -> u64 {
        let named = sinks.iter().enumerate().filter(|(number, _)| bits & 1 << number != 0);
        named.fold(0, |mask, (_, sink)| mask | self.bit(sink.name))
    }

    fn bit(&mut self, name: &str) -> u64 {
        let place = self.names.iter().position(|own| **own == *name).unwrap_or_else(|| {
            self.names.push(Arc::from(name));
            self.names.len() - 1
        });
        // A queue has no more sinks than bits; one that was renamed often enough to have more is not looked after here.
        1_u64.checked_shl(u32::try_from(place).unwrap_or(u32::MAX)).unwrap_or(0)
    }
}
