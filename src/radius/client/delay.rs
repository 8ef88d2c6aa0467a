//! How long requests wait at a server: its queue shows in the time to the answer long before it shows in losses.
//!
//! The least round trip is what the network and one record take (the base); what is above it is a queue, of our own
//! making while a backlog drains, and the records of live calls stand at its end. As in RFC 6817 the window is therefore
//! held where that queue is [`QUEUE_TARGET`] long:
//!
//! ```text
//! Watching --(a round shows a queue above the target)--> a window as much smaller
//! Watching --(above half of it)--> the window stays
//! Watching --(either, and the base is older than BASE_AGE)--> Asking, with the smallest window
//! Asking   --(a round of it)--> Watching, with the least round trip of that round as the base
//! ```
//!
//! A round lasts until requests that were sent in it are answered, and its least round trip counts: one slow record
//! among quick ones is no queue.

use std::time::Duration;

use crate::clock::Instant;

/// How long requests may wait in the queue of a server that has a backlog of ours.
pub const QUEUE_TARGET: Duration = Duration::from_millis(100);
/// Age of the base beyond which a queue may be a base that has risen: the server is asked with a small window.
pub const BASE_AGE: Duration = Duration::from_secs(10);
/// A round trip this near the base confirms it.
const BASE_SLACK: Duration = Duration::from_millis(10);
/// Answers that make a round, fewer with a smaller window.
const ROUND_ANSWERS: usize = 8;

/// What a round says of the window.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Advice {
    /// There is no queue to speak of.
    Grow,
    /// The queue is as long as it may be.
    Stay,
    /// It is to be this large.
    Become(usize),
}

/// The round trips of one server.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delay {
    /// The least round trip, and when it was confirmed last.
    base: Option<(Duration, Instant)>,
    /// Only requests sent since then count.
    round: Instant,
    least: Duration,
    answers: usize,
    /// While the base is asked for: the window before, and the least round trip with it.
    asking: Option<(usize, Duration)>,
    advice: Advice,
}

impl Default for Delay {
    fn default() -> Self {
        Self { base: None, round: Instant(0), least: Duration::MAX, answers: 0, asking: None, advice: Advice::Grow }
    }
}

impl Delay {
    /// Whether the window may grow.
    pub(super) fn may_grow(&self) -> bool {
        self.advice == Advice::Grow && self.asking.is_none()
    }

    /// A request sent at `sent`, once, was answered. `window` is how many may be out, `least` the fewest; returns another
    /// window if there should be one.
    pub(super) fn answered(&mut self, now: Instant, sent: Instant, window: usize, least: usize) -> Option<usize> {
        let round_trip = now.since(sent);
        match &mut self.base {
            Some((base, at)) if round_trip <= *base + BASE_SLACK => (*base, *at) = (round_trip.min(*base), now),
            Some(_) => {}
            None => self.base = Some((round_trip, now)),
        }
        if sent < self.round {
            return None;
        }
        self.least = self.least.min(round_trip);
        self.answers += 1;
        if self.answers < ROUND_ANSWERS.min(window) {
            return None;
        }
        self.advice = self.judge(now, window, least);
        (self.round, self.least, self.answers) = (now, Duration::MAX, 0);
        match self.advice {
            Advice::Become(other) => Some(other),
            Advice::Grow | Advice::Stay => None,
        }
    }

    /// What a whole round says.
    fn judge(&mut self, now: Instant, window: usize, least: usize) -> Advice {
        if let Some((before, was)) = self.asking.take() {
            self.base = Some((self.least, now));
            return Advice::Become(scaled(before, self.least, was).clamp(least, before.max(least)));
        }
        let Some((base, confirmed)) = self.base else { return Advice::Grow };
        let queue = self.least.saturating_sub(base);
        if queue <= QUEUE_TARGET / 2 {
            return Advice::Grow;
        }
        if window > least && now.since(confirmed) >= BASE_AGE {
            self.asking = Some((window, self.least));
            return Advice::Become(least);
        }
        match queue > QUEUE_TARGET {
            // At most to the half at once: what is out was sent with the larger one.
            true => Advice::Become(scaled(window, base, self.least).max(window / 2).max(least)),
            false => Advice::Stay,
        }
    }
}

/// The window with which a round trip is the base and the target, when it is `round_trip` with `window`.
fn scaled(window: usize, base: Duration, round_trip: Duration) -> usize {
    let share = (base + QUEUE_TARGET).as_secs_f64() / round_trip.as_secs_f64().max(f64::EPSILON);
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small count"
    )]
    let scaled = (window as f64 * share.min(1.0)) as usize;
    scaled
}
