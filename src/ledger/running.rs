//! Running numbers: how many records of a day each sink has had, by which a receiver and whoever reads a day's file see what
//! is missing.

use std::sync::Arc;

use super::row::Made;

/// How many records of a day each sink has had: the running numbers, by which a receiver and whoever reads the file see
/// what is missing. A record that was put back counts no second time.
#[derive(Clone, Debug, Default)]
pub struct Running(Vec<(Arc<str>, u64)>);

impl Running {
    /// The count of a sink.
    #[must_use]
    pub fn of(&self, name: &str) -> u64 {
        self.0.iter().find(|(own, _)| **own == *name).map_or(0, |(_, count)| *count)
    }

    /// Counts a record, whose sinks have these names.
    pub fn count<'n>(&mut self, made: &Made<'_>, name: impl Fn(usize) -> Option<&'n str>) {
        if made.is_back {
            return;
        }
        let mut left = made.sinks;
        while left != 0 {
            let number = left.trailing_zeros() as usize;
            left &= left - 1;
            if let Some(name) = name(number) {
                *self.place(name) += 1;
            }
        }
    }

    /// Takes note of a block's head; how many records of its sinks are missing before it.
    pub fn meet(&mut self, sinks: &[BlockSink<'_>]) -> Vec<(Arc<str>, u64)> {
        let mut missing = Vec::new();
        for sink in sinks {
            let known = self.of(sink.name);
            if sink.before > known {
                *self.place(sink.name) = sink.before;
                missing.push((Arc::from(sink.name), sink.before - known));
            }
        }
        missing
    }

    fn place(&mut self, name: &str) -> &mut u64 {
        let place = self.0.iter().position(|(own, _)| **own == *name).unwrap_or_else(|| {
            self.0.push((Arc::from(name), 0));
            self.0.len() - 1
        });
        &mut self.0[place].1
    }
}

/// A sink in the head of a block.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct BlockSink<'a> {
    /// Its name.
    pub name: &'a str,
    /// How many of its records the blocks before have: the running number of its first one here, less one.
    pub before: u64,
}
