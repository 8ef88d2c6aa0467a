//! Messages in the order in which they were seen: copies come over a network, and the probe's clock says when each was seen.
//!
//! A message waits until the mirror's clock is so much later than its own time that no earlier one is to be expected. That
//! clock follows the newest message, and runs on between two of them: a capture of last year has the time of last year.
//!
//! A proxy of several processes may note what one of them has sent after what another one has got back: a request that
//! opens something stands before what was seen up to [`REQUEST_AHEAD`] before it.

use std::collections::BTreeMap;
use std::time::Duration;

use super::Seen;
use crate::clock::{Instant, Timestamp};
use crate::sip::message::Method;

#[derive(Debug)]
pub(super) struct Order {
    wait: Duration,
    max: usize,
    /// By time, and then as they came.
    waiting: BTreeMap<(Timestamp, u64), Seen>,
    number: u64,
    /// The latest time of a message, and when that was.
    clock: Option<(Timestamp, Instant)>,
}

impl Order {
    pub(super) const fn new(wait: Duration, max: usize) -> Self {
        Self { wait, max, waiting: BTreeMap::new(), number: 0, clock: None }
    }

    pub(super) fn put(&mut self, heard: Instant, seen: Seen) {
        let clock = self.clock(heard).map_or(seen.at, |clock| clock.max(seen.at));
        self.clock = Some((clock, heard));
        self.number += 1;
        let is_first = seen.message.is_request() && seen.message.to_tag().is_empty();
        let is_opening = is_first && !matches!(seen.message.method(), Method::Ack | Method::Cancel);
        let at = if is_opening { seen.at - REQUEST_AHEAD } else { seen.at };
        self.waiting.insert((at, self.number), seen);
    }

    /// The mirror's time; `None` before anything was heard.
    pub(super) fn clock(&self, now: Instant) -> Option<Timestamp> {
        self.clock.map(|(at, heard)| after(at, now.since(heard)))
    }

    /// The mirror's clock goes on by so much.
    pub(super) fn pass(&mut self, span: Duration) {
        if let Some((at, _)) = &mut self.clock {
            *at = after(*at, span);
        }
    }

    /// The next message whose time has come, or that there is no room for.
    pub(super) fn pop(&mut self, now: Instant) -> Option<Seen> {
        let clock = self.clock(now)?;
        let (at, _) = *self.waiting.first_key_value()?.0;
        let is_due = after(at, self.wait) <= clock || self.waiting.len() > self.max;
        is_due.then(|| self.waiting.pop_first().map(|(_, seen)| seen)).flatten()
    }

    /// When the next one is due.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let (at, _) = *self.waiting.first_key_value()?.0;
        self.instant_of(after(at, self.wait))
    }

    /// When the mirror's clock will show this.
    pub(super) fn instant_of(&self, at: Timestamp) -> Option<Instant> {
        self.clock.map(|(clock, heard)| heard + at.since(clock))
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }
}

pub(super) fn after(at: Timestamp, span: Duration) -> Timestamp {
    Timestamp(at.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
}

/// By how much a request may have been noted too late.
pub(super) const REQUEST_AHEAD: Duration = Duration::from_millis(50);
