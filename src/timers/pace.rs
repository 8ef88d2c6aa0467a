//! When a thread rests between two turns, so that one wake serves several events.
//!
//! A wake costs more than the work on a datagram: at some thousand datagrams a second most of a thread's time would go
//! into falling asleep and being woken. Above a rate the thread rests after each turn and then takes what has come
//! meanwhile, as network cards do with their interrupts. Below it every event is handled at once.

use std::time::Duration;

use crate::clock::Instant;

/// How long the rate remembers, in microseconds.
const MEMORY_MICROS: u64 = 200_000;

/// From which rate on a thread rests how long.
#[derive(Clone, Copy, Debug)]
pub struct Step {
    /// Events a second.
    pub per_second: u64,
    /// The rest: what an event waits longer at most.
    pub rest: Duration,
}

/// The rate of a thread's events, smoothed.
#[derive(Debug)]
pub struct Pace {
    steps: &'static [Step],
    per_second: u64,
    last: Instant,
}

impl Pace {
    /// A pace of zero. `steps` rise.
    #[must_use]
    pub const fn new(steps: &'static [Step], now: Instant) -> Self {
        Self { steps, per_second: 0, last: now }
    }

    /// Counts the events of a turn.
    pub fn note(&mut self, events: usize, now: Instant) {
        let micros = u64::try_from(now.since(self.last).as_micros()).unwrap_or(u64::MAX).clamp(1, MEMORY_MICROS);
        self.last = now;
        let rate = (events as u64).saturating_mul(1_000_000) / micros;
        // Weighted by time, so that a burst counts for no more than it is.
        self.per_second = (self.per_second * (MEMORY_MICROS - micros) + rate * micros) / MEMORY_MICROS;
    }

    /// How long to rest before the next turn.
    #[must_use]
    pub fn rest(&self) -> Option<Duration> {
        self.steps.iter().rev().find(|step| self.per_second >= step.per_second).map(|step| step.rest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_micros(500);
    const LONG: Duration = Duration::from_millis(1);
    const STEPS: &[Step] = &[Step { per_second: 1_000, rest: SHORT }, Step { per_second: 4_000, rest: LONG }];

    #[test]
    fn a_thread_rests_only_while_it_is_busy() {
        for (name, each_micros, events, turns, rest) in [
            ("a call now and then", 20_000, 1, 500, None),
            ("900 datagrams a second", 10_000, 9, 500, None),
            ("2,000 a second", 10_000, 20, 500, Some(SHORT)),
            ("7,000 a second one by one", 143, 1, 20_000, Some(LONG)),
            ("7,000 a second in batches", 1_430, 10, 2_000, Some(LONG)),
            ("one burst after silence", 100, 16, 1, None),
        ] {
            let mut pace = Pace::new(STEPS, Instant(0));
            for turn in 1..=turns {
                pace.note(events, Instant(turn * each_micros));
            }
            assert_eq!(pace.rest(), rest, "{name}");
        }
    }

    #[test]
    fn it_stops_resting_when_the_load_has_gone() {
        let mut pace = Pace::new(STEPS, Instant(0));
        for turn in 1..=2_000 {
            pace.note(10, Instant(turn * 1_430));
        }
        pace.note(0, Instant(2_000 * 1_430 + 1_000_000));
        assert_eq!(pace.rest(), None);
    }
}
