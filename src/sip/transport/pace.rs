//! When a shard rests between two turns, so that one wake serves several datagrams.
//!
//! A wake costs more than the work on a datagram: at some thousand datagrams a second most of a shard's time would go
//! into falling asleep and being woken. Above [`BUSY_PER_SECOND`] a shard rests for [`REST`] after each turn and then
//! takes what has come meanwhile, as network cards do with their interrupts. Below it every datagram is handled at once.

use std::time::Duration;

use crate::clock::Instant;

/// Datagrams a second of one shard from which on it rests.
pub const BUSY_PER_SECOND: u64 = 1_000;
/// Its rest: what a datagram waits longer at most, at each pass through the gateway.
pub const REST: Duration = Duration::from_micros(500);
/// How long the rate remembers, in microseconds.
const MEMORY_MICROS: u64 = 200_000;

/// The rate of a shard's datagrams, smoothed.
#[derive(Debug)]
pub struct Pace {
    per_second: u64,
    last: Instant,
}

impl Pace {
    /// A pace of zero.
    #[must_use]
    pub const fn new(now: Instant) -> Self {
        Self { per_second: 0, last: now }
    }

    /// Counts the datagrams of a turn.
    pub fn note(&mut self, datagrams: usize, now: Instant) {
        let micros = u64::try_from(now.since(self.last).as_micros()).unwrap_or(u64::MAX).clamp(1, MEMORY_MICROS);
        self.last = now;
        let rate = (datagrams as u64).saturating_mul(1_000_000) / micros;
        // Weighted by time, so that a burst counts for no more than it is.
        self.per_second = (self.per_second * (MEMORY_MICROS - micros) + rate * micros) / MEMORY_MICROS;
    }

    /// How long to rest before the next turn.
    #[must_use]
    pub const fn rest(&self) -> Option<Duration> {
        if self.per_second >= BUSY_PER_SECOND { Some(REST) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shard_rests_only_while_it_is_busy() {
        for (name, each_micros, datagrams, turns, rests) in [
            ("a call now and then", 20_000, 1, 500, false),
            ("900 datagrams a second", 10_000, 9, 500, false),
            ("7,000 a second one by one", 143, 1, 20_000, true),
            ("7,000 a second in batches", 1_430, 10, 2_000, true),
            ("one burst after silence", 100, 16, 1, false),
        ] {
            let mut pace = Pace::new(Instant(0));
            for turn in 1..=turns {
                pace.note(datagrams, Instant(turn * each_micros));
            }
            assert_eq!(pace.rest().is_some(), rests, "{name}");
        }
    }

    #[test]
    fn it_stops_resting_when_the_load_has_gone() {
        let mut pace = Pace::new(Instant(0));
        for turn in 1..=2_000 {
            pace.note(10, Instant(turn * 1_430));
        }
        pace.note(0, Instant(2_000 * 1_430 + 1_000_000));
        assert_eq!(pace.rest(), None);
    }
}
