//! How many records may wait for the answer of one server at once.
//!
//! The window begins with 8, grows by one for each answer until the first loss, then by one for each window of answers; a
//! first transmission that runs out halves it, once in a round, to 8 at least. Several in one round are a full socket
//! rather than a record the server cannot store: above three quarters of that window it then grows by one a second only,
//! for each record lost so waits for its retransmission. Before that it is held where requests wait in the server's queue
//! no longer than they should; see `delay`. Whole visits that pass without an answer bring it down to one record.

use std::time::Duration;

use super::Settings;
use super::delay::Delay;
use super::lane::IDENTIFIERS;
use crate::clock::Instant;

/// Records outstanding after a start or a revival.
pub const WINDOW_MIN: usize = 8;
/// Transmissions lost in one round that are no single records which the server cannot store.
const LOSSES_MANY: u32 = 3;
/// Time between two steps of a window that is near where many were lost.
const CREEP: Duration = Duration::from_secs(1);

/// The window of one server, and the time its answers take.
#[derive(Debug)]
pub(super) struct Window {
    /// Records that wait for their answer.
    outstanding: usize,
    size: usize,
    most: usize,
    /// The least it is halved to: one record when whole visits pass without an answer.
    floor: usize,
    growing: bool,
    delay: Delay,
    answers: usize,
    halved_at: Option<Instant>,
    /// The window when it was halved last, and what was lost in that round.
    before_loss: usize,
    losses: u32,
    /// Above it the window only creeps.
    ceiling: usize,
    crept_at: Instant,
    round_trip: Option<Duration>,
}

impl Window {
    pub(super) fn new(now: Instant, common: &Settings) -> Self {
        let most = common.window.min(usize::from(common.lanes_max) * IDENTIFIERS).max(1);
        Self {
            outstanding: 0,
            size: WINDOW_MIN.min(common.window),
            most,
            floor: WINDOW_MIN.min(most),
            growing: true,
            delay: Delay::default(),
            answers: 0,
            halved_at: None,
            before_loss: 0,
            losses: 0,
            ceiling: usize::MAX,
            crept_at: now,
            round_trip: None,
        }
    }

    /// The server is at another address: of the time it takes nothing is known.
    pub(super) fn moved(&mut self, now: Instant, common: &Settings) {
        *self = Self { outstanding: self.outstanding, ..Self::new(now, common) };
    }

    pub(super) fn outstanding(&self) -> usize {
        self.outstanding
    }

    /// A record is on its way, or waits to be.
    pub(super) fn begins(&mut self) {
        self.outstanding += 1;
    }

    /// It is answered or given up.
    pub(super) fn ended(&mut self) {
        self.outstanding = self.outstanding.saturating_sub(1);
    }

    pub(super) fn size(&self) -> usize {
        self.size
    }

    /// Smoothed time to the answer.
    pub(super) fn round_trip(&self) -> Option<Duration> {
        self.round_trip
    }

    /// What it begins with.
    fn least(&self) -> usize {
        WINDOW_MIN.min(self.most)
    }

    /// A first transmission ran out of time.
    pub(super) fn ran_out(&mut self, now: Instant, common: &Settings) {
        if self.halved_at.is_none_or(|at| now.since(at) >= common.initial_timeout) {
            self.halved_at = Some(now);
            (self.before_loss, self.losses) = (self.size, 0);
            self.size = (self.size / 2).max(self.floor);
            self.growing = false;
        }
        self.losses += 1;
        if self.losses == LOSSES_MANY {
            self.ceiling = (self.before_loss * 3 / 4).max(WINDOW_MIN);
        }
    }

    /// A whole visit passed without an answer: fewer records at once, one in the end, unless the record is at fault because
    /// `others` are acknowledged, and soon.
    pub(super) fn visit_lost(&mut self, others: bool, common: &Settings) {
        let is_quick = self.round_trip.is_some_and(|round_trip| round_trip < common.initial_timeout / 2);
        if others && is_quick {
            return;
        }
        (self.size, self.floor, self.growing) = ((self.size / 2).max(1), 1, false);
        self.answers = 0;
    }

    /// A record was acknowledged.
    pub(super) fn grow(&mut self, now: Instant) {
        if self.size >= self.most || !self.delay.may_grow() {
            return;
        }
        self.answers += 1;
        if self.size >= self.ceiling {
            if now.since(self.crept_at) >= CREEP {
                self.crept_at = now;
                self.size += 1;
                self.ceiling = self.size;
            }
        } else if self.size < self.floor {
            self.size = self.floor;
        } else if self.growing || self.answers >= self.size {
            self.answers = 0;
            self.size += 1;
            if self.size >= self.least() {
                self.floor = self.least();
            }
        }
    }

    /// Back from the dead: a small window, of one record when nothing proves that it lives.
    pub(super) fn slow_start(&mut self, proven: bool) {
        self.floor = self.least();
        self.size = if proven { self.floor } else { 1 };
        self.growing = true;
        self.delay = Delay::default();
        self.ceiling = usize::MAX;
        self.answers = 0;
    }

    /// It answers again after whole visits had passed in silence: that was no sign of slowness.
    pub(super) fn regrow(&mut self) {
        if self.floor < self.least() {
            self.slow_start(false);
        }
    }

    /// A record that was sent at `sent` was acknowledged. If it was sent again since, which of the two was answered is not
    /// known; with a slow server it is the first.
    pub(super) fn measured(&mut self, now: Instant, sent: Instant) {
        let round_trip = now.since(sent);
        if let Some(size) = self.delay.answered(now, sent, self.size, self.floor) {
            self.size = size;
            self.answers = 0;
        }
        // The first queue ends the rapid growth.
        self.growing &= self.delay.may_grow();
        self.round_trip = Some(self.round_trip.map_or(round_trip, |smooth| (smooth * 7 + round_trip) / 8));
    }
}
