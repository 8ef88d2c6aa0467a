//! Records that may be the reason why connections break: who is sent when.
//!
//! A server that closes the connection at one record (at an AVP that it does not know, say) takes all others that are
//! under way with it. A record that was unanswered at two breaks waits here: others go first, then it is sent while
//! nothing else is under way. An answer clears it; one that was alone at several breaks in a row is parked.

use super::settings::{SUSPECT_GAP, SUSPECT_QUIET, SUSPECT_WAIT_MAX};
use super::{Client, Output, Reason};
use crate::clock::{Instant, Now};
use crate::ids::Seq;

/// The suspects of a route.
#[derive(Debug, Default)]
pub(super) struct Quarantine {
    held: Vec<Seq>,
    /// The one that is out.
    alone: Option<Seq>,
    /// Before this instant none goes.
    not_before: Instant,
    /// Since when others have had precedence.
    yields_since: Instant,
}

impl Quarantine {
    fn hold(&mut self, now: Instant, key: Seq) {
        if self.held.is_empty() {
            self.yields_since = now;
        }
        if !self.held.contains(&key) {
            self.held.push(key);
        }
    }

    /// The record has ended, or goes back to the queue.
    pub fn leave(&mut self, now: Instant, key: Seq) {
        if self.alone == Some(key) {
            self.alone = None;
            (self.not_before, self.yields_since) = (now + SUSPECT_GAP, now);
        }
        if !self.held.is_empty() {
            self.held.retain(|held| *held != key);
        }
    }

    /// Another record goes: the suspects wait on.
    pub fn yield_to(&mut self, now: Instant, key: Seq) {
        if self.alone != Some(key) && !self.held.is_empty() {
            self.not_before = now + SUSPECT_QUIET;
        }
    }

    /// Whether nothing else may go: a suspect is out, or has to get its turn.
    pub fn is_closed(&self, now: Instant) -> bool {
        self.alone.is_some() || (!self.held.is_empty() && self.yields_since + SUSPECT_WAIT_MAX <= now)
    }

    /// Whether another record than this one is out and must not be disturbed.
    pub fn is_alone_other(&self, key: Seq) -> bool {
        self.alone.is_some_and(|alone| alone != key)
    }

    pub fn is_alone(&self, key: Seq) -> bool {
        self.alone == Some(key)
    }

    /// When the next one may go, if nothing else is under way.
    fn due(&self, now: Instant) -> Option<Instant> {
        if self.held.is_empty() || self.alone.is_some() {
            return None;
        }
        Some(if self.is_closed(now) { now } else { self.not_before.min(self.yields_since + SUSPECT_WAIT_MAX) })
    }
}

impl Client {
    /// The record waits until it may go alone.
    pub(super) fn hold(&mut self, now: Now, key: Seq) {
        self.quarantine.hold(now.mono, key);
    }

    /// When a suspect may go, or others have to make room for it.
    pub(super) fn quarantine_deadline(&self, now: Instant) -> Option<Instant> {
        let due = self.quarantine.due(now)?;
        let is_quiet = self.slots.iter().all(|slot| slot.outstanding == 0);
        let opens = self.quarantine.yields_since + SUSPECT_WAIT_MAX;
        // With others under way their answers lead on; the end of their precedence has to be noticed all the same.
        if is_quiet { self.has_usable().then_some(due) } else { (opens > now).then_some(opens) }
    }

    /// Sends the next suspect if nothing else is under way.
    pub(super) fn tend_quarantine(&mut self, now: Now, out: &mut Vec<Output>) {
        if self.quarantine.due(now.mono).is_none_or(|due| due > now.mono)
            || self.stopping_until.is_some()
            || self.slots.iter().any(|slot| slot.outstanding > 0)
        {
            return;
        }
        // Who was alone at the fewest breaks goes first: the others are cleared before the culprit breaks it again.
        let rank = |key: &Seq| {
            let past = self.flights.get(key).map(|flight| (flight.past.breaks_alone, flight.past.breaks));
            (past.unwrap_or_default(), *key)
        };
        let Some(key) = self.quarantine.held.iter().copied().min_by_key(rank) else { return };
        let Some(mut flight) = self.flights.remove(&key) else { return self.quarantine.leave(now.mono, key) };
        flight.tried = 0;
        let chosen = self.choose(now.mono, &flight);
        self.flights.insert(key, flight);
        match chosen {
            Some(index) => {
                self.quarantine.leave(now.mono, key);
                self.quarantine.alone = Some(key);
                self.transmit(now, key, index, out);
            }
            // Peers rest, or none serves its realm.
            None => self.give_back(now, key, self.settings.outage_retry, Reason::NoRoom, out),
        }
    }

    /// No peer is usable any more, or we stop: those that wait for their turn wait in the queue like all others.
    pub(super) fn release_quarantine(&mut self, now: Now, reason: &Reason, out: &mut Vec<Output>) {
        for key in std::mem::take(&mut self.quarantine.held) {
            self.give_back(now, key, self.settings.outage_retry, reason.clone(), out);
        }
    }

    /// A connection broke at which this record was unanswered, the only one or not. Whether it has ended by it.
    pub(super) fn suspect(&mut self, now: Now, key: Seq, is_only_one: bool, out: &mut Vec<Output>) -> bool {
        let Some(flight) = self.flights.get_mut(&key) else { return false };
        flight.past.breaks += 1;
        flight.past.breaks_alone += u32::from(is_only_one);
        let (times, is_pending) = (flight.past.breaks_alone, flight.pending() > 0);
        self.quarantine.leave(now.mono, key);
        if is_pending || !is_only_one || times < self.settings.breaks_max {
            return false;
        }
        self.broke_always(now, key, times, out);
        true
    }

    /// An answer of any kind: it was not the reason.
    pub(super) fn clear_suspicion(&mut self, now: Instant, key: Seq) {
        if let Some(flight) = self.flights.get_mut(&key) {
            (flight.past.breaks, flight.past.breaks_alone) = (0, 0);
        }
        self.quarantine.leave(now, key);
    }
}
