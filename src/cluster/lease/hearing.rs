//! When reads of a key were answered, and whether they are of the key as it is.

use std::time::Duration;

use crate::clock::Instant;

/// What is known of the reads.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Hearing {
    last: Option<Instant>,
    calm: Instant,
    is_deaf: bool,
    /// Since when reads show revisions before the known one.
    behind: Option<Instant>,
}

impl Hearing {
    /// A read was answered. Gives for how long all answers have been older than what is known.
    pub fn heard(&mut self, now: Instant, patience: Duration, is_behind: bool) -> Duration {
        if !self.is_recent(now, patience) {
            self.calm = now;
        }
        self.last = Some(now);
        self.is_deaf = false;
        self.behind = is_behind.then(|| self.behind.unwrap_or(now));
        self.behind.map_or(Duration::ZERO, |since| now.since(since))
    }

    /// What was read is what is known.
    pub fn caught_up(&mut self) {
        self.behind = None;
    }

    /// Whether the last answer is not older than `patience`.
    pub fn is_recent(&self, now: Instant, patience: Duration) -> bool {
        self.last.is_some_and(|last| now.since(last) <= patience)
    }

    /// Since when reads are answered without a gap.
    pub fn calm(&self) -> Instant {
        self.calm
    }

    /// A take-over was due and the last answer too old for it: nothing is due until the next one.
    pub fn wait(&mut self) {
        self.is_deaf = true;
    }

    /// Whether it is waited for the next answer.
    pub fn is_deaf(&self) -> bool {
        self.is_deaf
    }
}
