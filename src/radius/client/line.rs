//! Records that go alone: connections broke while they were under way, and one of them may be what breaks them.
//!
//! A server may close the connection on a record that it does not understand, and takes with it whatever else is under way
//! on it. After the second such break all of those are suspects: they wait while others go first, and then go one at a
//! time, with nothing else under way at their server. Those that are innocent are acknowledged, and the one that was alone
//! at the break is known.

use std::collections::VecDeque;

use bytes::Bytes;

use super::sending::Fault;
use super::{Delivery, Reason, Turn};
use crate::clock::Instant;
use crate::radius::packet::HEADER_OCTETS;

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

    fn push(&mut self, slot: u32, hold_until: Instant) {
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

impl Delivery {
    /// A suspect waits for its turn.
    pub(super) fn stand_in_line(&mut self, turn: &mut Turn<'_>, slot: u32, attributes: &[u8]) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let mut datagram = Vec::with_capacity(HEADER_OCTETS + attributes.len());
        datagram.resize(HEADER_OCTETS, 0);
        datagram.extend_from_slice(attributes);
        (visit.datagram, visit.transmissions, visit.is_in_line) = (Bytes::from(datagram), 0, true);
        let server = visit.server;
        self.servers[server].line.push(slot, turn.now.mono + turn.settings.response_window);
        self.send_alone(turn, server);
    }

    /// Sends the next suspect if nothing else is under way.
    pub(super) fn send_alone(&mut self, turn: &mut Turn<'_>, server: usize) {
        loop {
            let there = &mut self.servers[server];
            if there.outstanding > 0 || there.line.alone.is_some() {
                return;
            }
            let Some(&slot) = there.line.waiting.front() else { return };
            if there.pick_lane().is_none() {
                self.wake_lane(turn, server);
                return;
            }
            there.line.waiting.pop_front();
            let Some(visit) = self.visits.get_mut(slot) else { continue };
            visit.is_in_line = false;
            let attributes = visit.attributes();
            let there = &mut self.servers[server];
            there.outstanding += 1;
            there.counters.requests += 1;
            match self.sign(turn, slot, &attributes) {
                Ok(lane) => {
                    let there = &mut self.servers[server];
                    there.line.alone = Some(slot);
                    there.line.hold_until = Some(turn.now.mono + turn.settings.response_window);
                    self.send_late(turn, slot, lane);
                    return;
                }
                Err(reason) => {
                    let Some(visit) = self.end_visit(turn, slot, None) else { continue };
                    turn.turn_away(visit.task.key, reason);
                }
            }
        }
    }

    /// The server ended a connection while these were under way on it.
    pub(super) fn note_break(&mut self, turn: &mut Turn<'_>, server: usize, visits: &[u32]) {
        for slot in visits {
            let Some(visit) = self.visits.get(*slot) else { continue };
            debug_assert_eq!(visit.server, server);
            let (task, started) = (visit.task, visit.started);
            if let Some(doubt) = self.doubts.note(turn.now.mono, &task, started) {
                doubt.breaks = doubt.breaks.saturating_add(1);
            }
        }
    }

    /// The connection of a suspect was lost; it was `alone` on it.
    pub(super) fn suspect_lost(&mut self, turn: &mut Turn<'_>, slot: u32, alone: bool) {
        let Some(visit) = self.end_visit(turn, slot, None) else { return };
        let there = &self.servers[visit.server];
        let (server, why, was_alone) = (there.address(), there.why(), alone && there.outstanding == 0);
        let charged = if was_alone { self.charge(turn, &visit) } else { None };
        if let Some((other, charges)) = charged {
            let reason = Reason::BreaksConnection { server, breaks: charges, at: other.wall, why };
            self.go_on(turn, &visit, Fault::Record { charges }, reason);
            return;
        }
        let breaks = self.doubts.note(turn.now.mono, &visit.task, visit.started).map_or(0, |doubt| doubt.breaks);
        let fault = Fault::Suspect { breaks: breaks.saturating_sub(super::doubt::BREAKS_TO_SUSPECT) };
        self.go_on(turn, &visit, fault, Reason::ConnectionLost { server, why });
    }
}
