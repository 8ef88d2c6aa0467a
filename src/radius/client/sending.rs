//! Sending: choice of the server, visits, retransmission, what happens after a failed visit.

use std::time::Duration;

use super::delivery::Delivery;
use super::lane::{ABANDONED_HOLD, LaneId};
use super::server::Server;
use super::suspect::suspect;
use super::visit::{Task, Visit};
use super::{DelayTime, Output, Reason, Selection, Submission, Transport, Turn};

/// Longest back-off of a record of which is not known why it is not answered: it must not wait long for a server that is
/// back.
const UNKNOWN_RETRY_MAX: Duration = Duration::from_secs(60);

/// The smoothed time of answers lags behind while a queue grows at a slow server.
const PATIENCE_FACTOR: u32 = 4;

/// Whose fault a failed visit is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Fault {
    /// The server's or the network's: the record waits a moment.
    Outage,
    /// The record's: back-off, parked in the end.
    Record {
        /// Its failed visits so far.
        charges: u32,
    },
    /// Whose, cannot be told: a back-off by attempts that stays short, never parked.
    Unknown,
    /// The configuration's: back-off by attempts, never parked.
    Setup,
    /// Perhaps the record's: others go first.
    Suspect {
        /// Connections broken with it under way, above those that make it one.
        breaks: u32,
    },
}

impl Delivery {
    pub(super) fn submit(&mut self, turn: &mut Turn<'_>, submission: &Submission<'_>) {
        let task = Task::new(submission);
        match self.choose(turn.settings.selection, &task) {
            Some(server) => self.begin(turn, task, server, submission.attributes),
            None => {
                let is_usable = self.servers.iter().any(|server| server.standing.is_usable());
                turn.turn_away(task.key, if is_usable { Reason::NoRoom } else { Reason::NoServer });
            }
        }
    }

    /// The server a record goes to next: not tried before, alive if any is, with room.
    fn choose(&self, selection: Selection, task: &Task) -> Option<usize> {
        let count = self.servers.len();
        let first = match selection {
            Selection::ByCall if count > 0 => usize::try_from(task.call.0 % count as u64).unwrap_or(0),
            Selection::ByCall | Selection::Failover => 0,
        };
        let order = || (0..count).map(move |step| (first + step) % count);
        let fits = |server: &usize| task.tried & 1 << server == 0 && self.servers[*server].room() > 0;
        let preferred = order().find(|server| fits(server) && self.servers[*server].standing.is_preferred());
        preferred.or_else(|| order().find(fits))
    }

    fn begin(&mut self, turn: &mut Turn<'_>, mut task: Task, server: usize, attributes: &[u8]) {
        task.tried |= 1 << server;
        self.servers[server].standing.tries(turn);
        let visit = Visit::new(turn, task, server, attributes.len());
        let due = visit.due();
        let slot = self.visits.insert(visit);
        if turn.settings.transport == Transport::Stream && self.doubts.is_suspect(task.key) {
            self.stand_in_line(turn, slot, attributes);
            return;
        }
        match self.sign(turn, slot, attributes) {
            Ok(lane) => {
                self.servers[server].begins();
                self.servers[server].standing.transmitted(turn.now.mono);
                self.visits.arm(slot, due);
                self.transmit(turn, slot, lane);
                self.servers[server].ask_for_lane(turn);
            }
            Err(Reason::NoRoom) if self.servers[server].room() > 0 => {
                // There is a connection that has to be opened first.
                if let Some(visit) = self.visits.get_mut(slot) {
                    visit.put_off(attributes);
                }
                self.visits.arm(slot, due);
                self.servers[server].wait(turn, slot);
            }
            Err(reason) => {
                self.visits.remove(slot);
                turn.turn_away(task.key, reason);
            }
        }
    }

    /// Builds and signs the visit's datagram under a fresh identifier.
    pub(super) fn sign(&mut self, turn: &Turn<'_>, slot: u32, attributes: &[u8]) -> Result<LaneId, Reason> {
        let visit = self.visits.get_mut(slot).ok_or(Reason::NoRoom)?;
        let server = &mut self.servers[visit.server()];
        let by = server.sign(turn, (slot, visit.task()), attributes, &mut self.scratch)?;
        visit.signed(by, &self.scratch);
        Ok(by.0)
    }

    pub(super) fn transmit(&mut self, turn: &mut Turn<'_>, slot: u32, lane: LaneId) {
        if let Some(visit) = self.visits.get(slot) {
            self.servers[visit.server()].transmit(turn, lane, visit.datagram().clone());
        }
    }

    /// The timer of a visit ran out.
    pub(super) fn ran_out(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let (first, is_unsent) = (visit.is_first_wait(), visit.is_unsent());
        let again = visit.waits_again(turn);
        let attributes = visit.attributes();
        let last_lane = visit.identifiers().last().map(|(lane, _)| *lane);
        let server = &mut self.servers[visit.server()];
        let is_sent_again = again.is_some() && turn.settings.transport == Transport::Datagram;
        if !is_unsent {
            server.ran_out(turn, first);
            if is_sent_again || again.is_none() {
                server.counters.timeouts += 1;
            }
        }
        let Some(wait) = again else {
            self.finish_unanswered(turn, slot);
            return;
        };
        if !is_sent_again {
            self.visits.arm(slot, turn.now.mono + wait);
            return;
        }
        server.retransmits(turn.now.mono);
        let fresh = match turn.settings.delay_time {
            // Other octets need another identifier; when there is none, the old ones go out once more.
            DelayTime::Always => self.sign(turn, slot, &attributes).ok(),
            DelayTime::Cycle | DelayTime::Never => None,
        };
        self.visits.arm(slot, turn.now.mono + wait);
        if let Some(lane) = fresh.or(last_lane) {
            self.transmit(turn, slot, lane);
        }
    }

    /// Ends a visit and frees its identifiers; the one answered, if any, comes free at once.
    pub(super) fn end_visit(&mut self, turn: &Turn<'_>, slot: u32, answered: Option<(LaneId, u8)>) -> Option<Visit> {
        let visit = self.visits.remove(slot)?;
        self.servers[visit.server()].visit_ended(turn, slot, &visit, answered);
        Some(visit)
    }

    /// A visit ended in silence: the next server, or back to the queue.
    pub(super) fn finish_unanswered(&mut self, turn: &mut Turn<'_>, slot: u32) {
        let Some(visit) = self.end_visit(turn, slot, None) else { return };
        let (fault, reason) = self.why_unanswered(turn, &visit);
        self.go_on(turn, &visit, fault, reason);
    }

    fn why_unanswered(&mut self, turn: &Turn<'_>, visit: &Visit) -> (Fault, Reason) {
        let there = &mut self.servers[visit.server()];
        let (server, transmissions) = (there.address(), visit.transmissions());
        if visit.is_unsent() {
            return (Fault::Outage, Reason::NoConnection { server, why: there.lanes.why() });
        }
        let charged = self.doubts.charge(turn.now.mono, visit, &there.acknowledged);
        there.window.visit_lost(charged.is_some(), turn.settings);
        if let Some((other, charges)) = charged {
            let suspect = suspect(&visit.attributes());
            return (
                Fault::Record { charges },
                Reason::Ignored { server, transmissions, charges, at: other.wall(), suspect },
            );
        }
        if there.acknowledged.has_any(visit.task(), visit.started()) {
            (Fault::Unknown, Reason::NamelessOnly { server, transmissions })
        } else if there.standing.has_answered_probe_since(visit.started()) {
            (Fault::Unknown, Reason::ProbesOnly { server, transmissions })
        } else if !there.standing.is_mute() {
            (Fault::Outage, Reason::Silent { server, transmissions })
        } else if turn.settings.transport == Transport::Stream {
            (Fault::Outage, Reason::Mute { server })
        } else {
            (Fault::Outage, Reason::NeverHeard { server, transmissions })
        }
    }

    /// Another server that lives and has room for the record.
    pub(super) fn alternative(&self, turn: &Turn<'_>, task: &Task) -> Option<usize> {
        self.choose(turn.settings.selection, task).filter(|server| self.servers[*server].standing.is_preferred())
    }

    /// To the next server if one has room, else back to the queue.
    pub(super) fn go_on(&mut self, turn: &mut Turn<'_>, visit: &Visit, fault: Fault, reason: Reason) {
        let task = *visit.task();
        if !visit.is_unsent() {
            self.doubts.note(turn.now.mono, visit);
        }
        if let Some(server) = self.alternative(turn, &task) {
            if matches!(fault, Fault::Record { .. }) {
                self.doubts.blame(task.key, &reason);
            }
            self.begin(turn, task, server, &visit.attributes());
            return;
        }
        let (fault, reason) = self.after_last(visit, fault, reason);
        let old_enough = turn.now.wall.since(task.since) >= turn.settings.park_age_min;
        let after = match fault {
            Fault::Outage => turn.settings.outage_retry,
            Fault::Setup => turn.back_off(task.attempts),
            Fault::Suspect { breaks } => turn.back_off(breaks),
            Fault::Unknown => turn.back_off(task.attempts).min(UNKNOWN_RETRY_MAX),
            Fault::Record { charges } if charges >= turn.settings.attempts_max && old_enough => {
                if matches!(reason, Reason::Ignored { .. }) {
                    // As long as its identifier rests, its answer may come.
                    self.doubts.condemn(turn.now.mono + turn.settings.last_answer_wait, task.key, reason);
                } else {
                    self.doubts.forget(task.key);
                    turn.out.push(Output::Park { key: task.key, reason });
                }
                return;
            }
            Fault::Record { charges } => turn.back_off(charges.saturating_sub(1)),
        };
        // As long as answers take: the one to this visit may still come.
        let after = after.max(patience(&self.servers[visit.server()], turn));
        // Others go first: those that found no room when the connection broke are back by then.
        let is_suspect = turn.settings.transport == Transport::Stream && self.doubts.is_suspect(task.key);
        let after = if is_suspect { after.max(2 * turn.settings.outage_retry) } else { after };
        turn.out.push(Output::Retry { key: task.key, after, reason });
    }

    /// What is to be made of a record after its last server: one server may know that it is the record's fault while the
    /// next, which gets no other records, cannot tell.
    fn after_last(&mut self, visit: &Visit, fault: Fault, reason: Reason) -> (Fault, Reason) {
        let key = visit.task().key;
        match fault {
            Fault::Record { .. } => {
                self.doubts.blame(key, &reason);
                (fault, reason)
            }
            Fault::Outage | Fault::Unknown | Fault::Suspect { .. } if visit.transmissions() > 0 => {
                match self.doubts.blamed(key) {
                    Some((charges, why)) => (Fault::Record { charges }, why),
                    None => (fault, reason),
                }
            }
            Fault::Outage | Fault::Unknown | Fault::Suspect { .. } | Fault::Setup => (fault, reason),
        }
    }

    /// Whose fault an answer is that does not acknowledge the record: its own only if others are acknowledged.
    pub(super) fn fault(&mut self, turn: &Turn<'_>, visit: &Visit) -> Fault {
        let charged = self.doubts.charge(turn.now.mono, visit, &self.servers[visit.server()].acknowledged);
        charged.map_or(Fault::Setup, |(_, charges)| Fault::Record { charges })
    }
}

/// How long answers of a server take that is slower than a visit.
fn patience(server: &Server, turn: &Turn<'_>) -> Duration {
    let round_trip = server.window.round_trip().unwrap_or_default();
    let is_slow = round_trip >= turn.settings.initial_timeout;
    if is_slow { (round_trip * PATIENCE_FACTOR).min(ABANDONED_HOLD) } else { Duration::ZERO }
}
