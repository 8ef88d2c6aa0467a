//! Records that go alone: connections broke while they were under way, and one of them may be what breaks them.
//!
//! A server may close the connection on a record that it does not understand, and takes with it whatever else is under way
//! on it. After the second such break all of those are suspects: they wait while others go first, and then go one at a
//! time, with nothing else under way at their server. Those that are innocent are acknowledged, and the one that was alone
//! at the break is known.

use std::collections::VecDeque;

use crate::clock::Instant;

/// The suspects at one server.
#[derive(Debug, Default)]
pub(super) struct Line {
    waiting: VecDeque<u32>,
    /// The one under way.
    alone: Option<u32>,
    /// Until then nothing new is sent, so that what is under way ends and the next suspect can go, or has gone.
    hold_until: Option<Instant>,
}

impl Line {
    /// Whether others have to wait.
    pub(super) fn holds(&self) -> bool {
        self.hold_until.is_some()
    }

    /// Whether one may go now.
    pub(super) fn may_go(&self) -> bool {
        self.alone.is_none() && !self.waiting.is_empty()
    }

    /// The next one.
    pub(super) fn pop(&mut self) -> Option<u32> {
        self.waiting.pop_front()
    }

    /// It went, alone.
    pub(super) fn went(&mut self, slot: u32, hold_until: Instant) {
        (self.alone, self.hold_until) = (Some(slot), Some(hold_until));
    }

    /// One more waits for its turn.
    pub(super) fn push(&mut self, slot: u32, hold_until: Instant) {
        self.waiting.push_back(slot);
        self.hold_until.get_or_insert(hold_until);
    }

    /// A visit that waited for its turn ended.
    pub(super) fn remove(&mut self, slot: u32) {
        self.waiting.retain(|waiting| *waiting != slot);
        if self.waiting.is_empty() && self.alone.is_none() {
            self.hold_until = None;
        }
    }

    /// A visit ended: perhaps the one that was alone, perhaps what the line waits for.
    pub(super) fn ended(&mut self, slot: u32, hold_until: Instant) {
        self.alone.take_if(|alone| *alone == slot);
        if self.alone.is_none() {
            self.hold_until = (!self.waiting.is_empty()).then_some(hold_until);
        }
    }

    /// A server that is silent to the one under way does not keep the others waiting.
    pub(super) fn tend(&mut self, now: Instant) {
        self.hold_until.take_if(|until| *until <= now);
    }

    /// When [`Self::tend`] is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.hold_until
    }
}
