//! The watchdog of RFC 3539 §3.4.1, with the validation of a new connection back to back.
//!
//! The RFC spaces the three watchdogs of its state REOPEN by Tw and skips them on a first connection. Here every new
//! connection is validated, one exchange right after the other: a server that lost our previous connection without a
//! goodbye throws answers away until its own three watchdogs are through.

use crate::clock::Instant;
use crate::timers::random::Random;

use super::settings::{VALIDATIONS, WATCHDOG_JITTER};
use std::time::Duration;

/// What an expiry of the timer asks for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Due {
    /// Send a Device-Watchdog-Request.
    Ask,
    /// The first one went unanswered: fail over.
    Suspect,
    /// Close the connection.
    Close,
    /// Wait once more (REOPEN only).
    Wait,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Phase {
    /// Watchdogs answered so far; `None` after the first unanswered one (NumDWA = −1).
    Reopen(Option<u8>),
    Okay,
    Suspect,
}

/// The watchdog of one connection.
#[derive(Clone, Debug)]
pub(super) struct Watchdog {
    interval: Duration,
    phase: Phase,
    is_pending: bool,
    due: Instant,
}

impl Watchdog {
    /// Of a new connection, on which a watchdog is sent at once.
    pub fn reopen(now: Instant, interval: Duration, random: &mut Random) -> Self {
        let mut new = Self { interval, phase: Phase::Reopen(Some(0)), is_pending: true, due: now };
        new.set(now, random);
        new
    }

    pub fn due(&self) -> Instant {
        self.due
    }

    fn set(&mut self, now: Instant, random: &mut Random) {
        self.due = now + random.vary(self.interval, WATCHDOG_JITTER);
    }

    /// The timer ran out.
    pub fn expired(&mut self, now: Instant, random: &mut Random) -> Due {
        self.set(now, random);
        match (self.phase, self.is_pending) {
            (Phase::Okay | Phase::Reopen(_), false) => {
                self.is_pending = true;
                Due::Ask
            }
            (Phase::Okay, true) => {
                self.phase = Phase::Suspect;
                Due::Suspect
            }
            (Phase::Reopen(Some(_)), true) => {
                self.phase = Phase::Reopen(None);
                Due::Wait
            }
            (Phase::Suspect, _) | (Phase::Reopen(None), true) => Due::Close,
        }
    }

    /// A Device-Watchdog-Answer came. Whether another one is to be sent at once, to validate the connection.
    pub fn answered(&mut self, now: Instant, random: &mut Random) -> bool {
        self.is_pending = false;
        match self.phase {
            Phase::Reopen(count) => {
                let count = count.map_or(0, |count| count + 1);
                let is_valid = count >= VALIDATIONS;
                self.phase = if is_valid { Phase::Okay } else { Phase::Reopen(Some(count)) };
                self.is_pending = !is_valid;
                self.set(now, random);
                !is_valid
            }
            Phase::Okay | Phase::Suspect => {
                self.heard(now, random);
                false
            }
        }
    }

    /// Something came. A connection that is not yet valid takes only watchdogs as a sign of life, so that a peer that
    /// floods us with its own cannot hold it for ever.
    pub fn heard(&mut self, now: Instant, random: &mut Random) {
        if matches!(self.phase, Phase::Reopen(_)) {
            return;
        }
        self.phase = Phase::Okay;
        self.set(now, random);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn watchdog(random: &mut Random) -> Watchdog {
        Watchdog::reopen(Instant(0), Duration::from_secs(30), random)
    }

    /// RFC 3539 appendix A, row by row.
    #[test]
    fn the_rows_of_the_transition_table() {
        let mut random = Random::new([1, 1]);
        let now = Instant(1_000_000);
        for (name, phase, is_pending, want, then, pending_then) in [
            ("OKAY, timer, nothing pending", Phase::Okay, false, Due::Ask, Phase::Okay, true),
            ("OKAY, timer, pending", Phase::Okay, true, Due::Suspect, Phase::Suspect, true),
            ("SUSPECT, timer", Phase::Suspect, true, Due::Close, Phase::Suspect, true),
            ("REOPEN, timer, nothing pending", Phase::Reopen(Some(1)), false, Due::Ask, Phase::Reopen(Some(1)), true),
            ("REOPEN, timer, pending", Phase::Reopen(Some(2)), true, Due::Wait, Phase::Reopen(None), true),
            ("REOPEN, timer, pending again", Phase::Reopen(None), true, Due::Close, Phase::Reopen(None), true),
        ] {
            let mut watchdog = Watchdog { phase, is_pending, ..watchdog(&mut random) };
            assert_eq!(watchdog.expired(now, &mut random), want, "{name}");
            assert_eq!((watchdog.phase, watchdog.is_pending), (then, pending_then), "{name}");
        }
        for (name, phase, then, again) in [
            ("REOPEN, first DWA", Phase::Reopen(Some(0)), Phase::Reopen(Some(1)), true),
            ("REOPEN, second DWA", Phase::Reopen(Some(1)), Phase::Reopen(Some(2)), true),
            ("REOPEN, third DWA", Phase::Reopen(Some(2)), Phase::Okay, false),
            ("REOPEN, DWA after silence counts anew", Phase::Reopen(None), Phase::Reopen(Some(0)), true),
            ("OKAY, DWA", Phase::Okay, Phase::Okay, false),
            ("SUSPECT, DWA", Phase::Suspect, Phase::Okay, false),
        ] {
            let mut watchdog = Watchdog { phase, is_pending: true, ..watchdog(&mut random) };
            assert_eq!(watchdog.answered(now, &mut random), again, "{name}");
            assert_eq!((watchdog.phase, watchdog.is_pending), (then, again), "{name}");
        }
        for (name, phase, then, resets) in [
            ("OKAY, anything", Phase::Okay, Phase::Okay, true),
            ("SUSPECT, anything", Phase::Suspect, Phase::Okay, true),
            ("REOPEN, no DWA", Phase::Reopen(Some(1)), Phase::Reopen(Some(1)), false),
        ] {
            let mut watchdog = Watchdog { phase, is_pending: true, ..watchdog(&mut random) };
            let due = watchdog.due;
            watchdog.heard(now, &mut random);
            assert_eq!((watchdog.phase, watchdog.is_pending), (then, true), "{name}: a request stays pending");
            assert_eq!(watchdog.due > due, resets, "{name}");
        }
    }

    #[test]
    fn the_timer_is_drawn_anew_within_two_seconds_of_twinit() {
        let mut random = Random::new([9, 9]);
        let mut watchdog = Watchdog { phase: Phase::Okay, is_pending: false, ..watchdog(&mut random) };
        let mut seen = Vec::new();
        for _ in 0..200 {
            watchdog.heard(Instant(0), &mut random);
            seen.push(watchdog.due.0);
        }
        assert!(seen.iter().all(|due| (28_000_000..=32_000_000).contains(due)));
        seen.dedup();
        assert!(seen.len() > 150, "drawn anew each time");
    }
}
