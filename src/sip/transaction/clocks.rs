//! The two times a transaction waits for at once: the next retransmission and the end of its state.

use std::time::Duration;

use crate::clock::Instant;

const NEVER: Instant = Instant(u64::MAX);

/// What is due.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    Nothing,
    /// The retransmission timer fired and was set again.
    Again,
    /// The state's own timer fired; both are stopped.
    End,
}

/// A retransmission timer (A, E or G) and the one that ends the state. 24 octets.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clocks {
    again_at: Instant,
    end_at: Instant,
    /// What the retransmission timer was last set to, in microseconds; at most 71 minutes.
    interval_us: u32,
}

impl Clocks {
    pub(super) const STOPPED: Self = Self { again_at: NEVER, end_at: NEVER, interval_us: 0 };

    /// Both timers set.
    pub(super) fn start(now: Instant, again: Duration, end: Duration) -> Self {
        Self { again_at: now + again, end_at: now + end, interval_us: micros(again) }
    }

    /// Only the state's own timer set.
    pub(super) fn until(now: Instant, end: Duration) -> Self {
        Self { end_at: now + end, ..Self::STOPPED }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        let first = self.again_at.min(self.end_at);
        (first != NEVER).then_some(first)
    }

    /// What is due by `now`. The retransmission timer is set again to what `next` makes of its last interval, counted
    /// from when it was due; after a standstill from now, so that none is made up for.
    pub(super) fn fire(&mut self, now: Instant, next: impl FnOnce(Duration) -> Duration) -> Due {
        if self.end_at <= now && self.end_at != NEVER {
            *self = Self::STOPPED;
            Due::End
        } else if self.again_at <= now && self.again_at != NEVER {
            let interval = next(Duration::from_micros(u64::from(self.interval_us))).max(Duration::from_micros(1));
            let planned = self.again_at + interval;
            self.again_at = if planned > now { planned } else { now + interval };
            self.interval_us = micros(interval);
            Due::Again
        } else {
            Due::Nothing
        }
    }
}

fn micros(span: Duration) -> u32 {
    u32::try_from(span.as_micros()).unwrap_or(u32::MAX)
}
