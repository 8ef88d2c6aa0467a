//! When a peer is tried again: 1, 2, 5, 10, 30 s with a fifth of jitter, at most Tc.

use std::time::Duration;

use super::settings::{RECONNECT_MIN, STEADY, Timing};
use crate::clock::Instant;
use crate::timers::random::Random;

/// Seconds before the tries.
const STEPS: [u64; 5] = [1, 2, 5, 10, 30];

/// The waits between the connections to one peer.
#[derive(Clone, Debug, Default)]
pub(super) struct BackOff {
    step: usize,
    usable_since: Option<Instant>,
    /// The connection did what it is for, or its end is not the peer's fault.
    is_excused: bool,
}

impl BackOff {
    /// The connection is usable from now on.
    pub fn usable(&mut self, now: Instant) {
        self.usable_since.get_or_insert(now);
    }

    /// The next loss begins the back-off anew.
    pub const fn excuse(&mut self) {
        self.is_excused = true;
    }

    /// Time until the next try. `is_refusal`: only an operator can help, so the longest wait applies at once.
    pub fn after_loss(&mut self, now: Instant, is_refusal: bool, timing: &Timing, random: &mut Random) -> Duration {
        if self.usable_since.take().is_some_and(|since| now.since(since) >= STEADY) {
            self.step = 0;
        }
        if std::mem::take(&mut self.is_excused) {
            self.step = 0;
        }
        let wait = if is_refusal { timing.reconnect_max } else { Duration::from_secs(STEPS[self.step]) };
        self.step = (self.step + 1).min(STEPS.len() - 1);
        let wait = wait.min(timing.reconnect_max);
        random.vary(wait, wait / 5).max(RECONNECT_MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_grows_by_its_steps_and_falls_back_after_a_steady_connection() {
        let (timing, mut random) = (Timing::default(), Random::new([3, 4]));
        let mut back_off = BackOff::default();
        let mut now = Instant(0);
        let within = |wait: Duration, secs: u64| {
            let (low, high) = (Duration::from_millis(secs * 800), Duration::from_millis(secs * 1200));
            assert!((low..=high).contains(&wait), "{wait:?} is not {secs} s ± 20 %");
        };
        for secs in [1, 2, 5, 10, 30, 30] {
            within(back_off.after_loss(now, false, &timing, &mut random), secs);
        }
        back_off.usable(now);
        now = now + STEADY;
        within(back_off.after_loss(now, false, &timing, &mut random), 1);
        back_off.usable(now);
        now = now + STEADY / 2;
        within(back_off.after_loss(now, false, &timing, &mut random), 2);
        within(back_off.after_loss(now, true, &timing, &mut random), 30);
        let short = Timing { reconnect_max: Duration::from_millis(100), ..timing };
        assert_eq!(back_off.after_loss(now, false, &short, &mut random), RECONNECT_MIN, "never at once");
    }
}
