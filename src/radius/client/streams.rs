//! Lanes on TCP and TLS connections: opening, probation, watchdog, loss, and what happens to requests under way
//! (RFC 6613 §2.6, RFC 6614, RFC 3539 §3.4).
//!
//! A connection that ends while nothing is outstanding on it was idle: it is opened again when a record needs it. Any
//! other end is a loss: its requests go to another server that lives, or once more to this one on another connection,
//! and it is opened again with back-off.

use super::answer::classify;
use super::delivery::Delivery;
use super::lane::{LaneId, WATCHDOG_IDENTIFIER};
use super::sending::Fault;
use super::server::Echo;
use super::standing::Health;
use super::visit::Visit;
use super::{Output, Reason, Turn, index};
use crate::radius::packet::Packet;

/// How a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Closing<'a> {
    /// It could not be made (refused, too slow, the TLS handshake failed), or the watchdog gave it up.
    Failed {
        /// What went wrong.
        why: &'a str,
    },
    /// The server ended it, with or without a farewell of TLS.
    Ended,
    /// It was reset, or an alert of TLS ended it.
    Broken {
        /// What went wrong.
        why: &'a str,
    },
    /// What came on it is no RADIUS.
    Malformed {
        /// What is wrong with it.
        why: &'a str,
    },
}

impl Closing<'_> {
    pub(super) fn why(&self, is_proven: bool) -> &str {
        match self {
            Self::Failed { why } | Self::Broken { why } | Self::Malformed { why } => why,
            Self::Ended if is_proven => "the server closed it",
            Self::Ended => "the server closed it before any answer; with TLS it may not like the client certificate",
        }
    }

    /// Whether it may have ended because nobody used it.
    pub(super) fn may_be_idle(&self) -> bool {
        matches!(self, Self::Ended | Self::Broken { .. })
    }
}

impl Delivery {
    /// A connection is there.
    pub(super) fn connected(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        if self.servers[server].connected(turn, lane) {
            self.send_waiting(turn, server);
        }
    }

    pub(super) fn packet_received(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId, octets: &[u8]) {
        let Some(there) = self.servers.get_mut(server) else { return };
        if there.lanes.connection(lane).is_none() {
            return;
        }
        let packet = match Packet::parse(octets) {
            Ok(packet) => packet,
            Err(error) => {
                let why = error.to_string();
                let identifier = octets.get(1).copied().unwrap_or(WATCHDOG_IDENTIFIER);
                let visit = there.lanes.get(lane).and_then(|lane| lane.visit(identifier));
                self.blame(turn, visit);
                self.close(turn, server, lane, Closing::Malformed { why: &why });
                return;
            }
        };
        if packet.identifier() == WATCHDOG_IDENTIFIER {
            match there.status_received(turn, lane, &packet) {
                Echo::Stale => {}
                Echo::Forged => self.unauthentic(turn, server, lane),
                Echo::Authentic => self.send_waiting(turn, server),
            }
            return;
        }
        let Some(request) = there.request_of(lane, &packet) else { return };
        if !request.is_authentic {
            self.blame(turn, request.visit);
            self.unauthentic(turn, server, lane);
            return;
        }
        there.heard(turn);
        match request.visit {
            Some(slot) => self.answered(turn, slot, (lane, packet.identifier()), classify(&packet)),
            None => self.answered_late(turn, server, request.resting, classify(&packet)),
        }
        self.servers[server].record_answered_on(turn, lane);
        self.send_waiting(turn, server);
    }

    /// An answer that cannot be verified: the connection cannot be trusted any more (RFC 6613 §2.6.4).
    fn unauthentic(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        self.servers[server].heard_bad(turn);
        self.close(turn, server, lane, Closing::Malformed { why: "an answer could not be verified" });
    }

    /// An answer nobody can use ends the connection: the record that gets it is to do so ever more seldom.
    fn blame(&mut self, turn: &mut Turn<'_>, visit: Option<u32>) {
        let Some(visit) = visit.and_then(|slot| self.end_visit(turn, slot, None)) else { return };
        let fault = self.fault(turn, &visit);
        let reason = Reason::Unusable { server: self.servers[visit.server()].address() };
        self.go_on(turn, &visit, fault, reason);
    }

    /// Closes a connection from this side.
    fn close(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId, how: Closing<'_>) {
        turn.out.push(Output::CloseLane { server: index(server), lane });
        self.closed(turn, server, lane, how);
    }

    /// A connection ended, or could not be made.
    pub(super) fn closed(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId, how: Closing<'_>) {
        let Some(there) = self.servers.get_mut(server) else { return };
        let Some(visits) = there.closed(turn, lane, how) else { return };
        if matches!(how, Closing::Ended | Closing::Broken { .. }) {
            for visit in visits.iter().filter_map(|slot| self.visits.get(*slot)) {
                self.doubts.note_break(turn.now.mono, visit);
            }
        }
        self.move_requests(turn, server, &visits);
        self.servers[server].wake_for_waiting(turn);
        self.send_waiting(turn, server);
    }

    /// Requests of a lost connection, and those that wait for one, go to a server that lives when this one does not; else
    /// they go out again, each once.
    fn move_requests(&mut self, turn: &mut Turn<'_>, server: usize, lost: &[u32]) {
        let is_alive = self.servers[server].standing.is(Health::Alive);
        let waiting: Vec<u32> = self.servers[server].lanes.waiting().iter().copied().collect();
        for slot in waiting {
            let Some(visit) = self.visits.get(slot) else { continue };
            let may_stay = is_alive || self.alternative(turn, visit.task()).is_none();
            if !may_stay {
                let is_lost = visit.is_resent();
                self.move_request(turn, slot, is_lost);
            }
        }
        for &slot in lost {
            let Some(visit) = self.visits.get_mut(slot) else { continue };
            let (was_resent, task) = (visit.lost(), *visit.task());
            if self.doubts.is_suspect(task.key) {
                self.suspect_lost(turn, slot, lost.len() == 1);
            } else if !was_resent && (is_alive || self.alternative(turn, &task).is_none()) {
                self.servers[server].lanes.wait(slot);
            } else {
                self.move_request(turn, slot, true);
            }
        }
    }

    /// A request whose connection was lost, or has not come, goes to another server, or back to the queue.
    fn move_request(&mut self, turn: &mut Turn<'_>, slot: u32, is_lost: bool) {
        let Some(visit) = self.end_visit(turn, slot, None) else { return };
        let there = &self.servers[visit.server()];
        let (server, why) = (there.address(), there.lanes.why());
        let reason = match is_lost {
            true => Reason::ConnectionLost { server, why },
            false => Reason::NoConnection { server, why },
        };
        self.go_on(turn, &visit, Fault::Outage, reason);
    }

    /// Sends what waited for a connection.
    fn send_waiting(&mut self, turn: &mut Turn<'_>, server: usize) {
        while let Some(slot) = self.servers[server].lanes.next_waiting() {
            let Some(attributes) = self.visits.get(slot).map(Visit::attributes) else { continue };
            match self.sign(turn, slot, &attributes) {
                Ok(lane) => self.send_late(turn, slot, lane),
                Err(reason @ Reason::TooLong { .. }) => {
                    if let Some(visit) = self.end_visit(turn, slot, None) {
                        turn.turn_away(visit.task().key, reason);
                    }
                }
                Err(_) => {
                    self.servers[server].lanes.wait_again(slot);
                    break;
                }
            }
        }
        self.send_alone(turn, server);
    }

    /// The first transmission of a visit on the connection it waited for.
    fn send_late(&mut self, turn: &mut Turn<'_>, slot: u32, lane: LaneId) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let wait = visit.goes_late(turn);
        let there = &mut self.servers[visit.server()];
        match visit.transmissions() {
            1 => there.standing.transmitted(turn.now.mono),
            _ => there.retransmits(turn.now.mono),
        }
        self.visits.arm(slot, turn.now.mono + wait);
        self.transmit(turn, slot, lane);
    }

    /// Watchdogs, patience, and Status-Server to a server that went silent.
    pub(super) fn tend_connections(&mut self, turn: &mut Turn<'_>, server: usize) {
        for lane in self.servers[server].lanes.ids() {
            if self.servers[server].watch(turn, lane) {
                let why = "nothing came for two periods of the watchdog";
                self.close(turn, server, lane, Closing::Failed { why });
            }
            if self.servers[server].loses_patience(turn, lane) {
                self.send_waiting(turn, server);
            }
        }
        self.servers[server].probe_connections(turn);
        self.send_alone(turn, server);
    }

    /// A suspect waits for its turn.
    pub(super) fn stand_in_line(&mut self, turn: &mut Turn<'_>, slot: u32, attributes: &[u8]) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.stands_in_line(attributes);
        let server = visit.server();
        self.servers[server].line.push(slot, turn.now.mono + turn.settings.response_window);
        self.send_alone(turn, server);
    }

    /// Sends the next suspect if nothing else is under way.
    fn send_alone(&mut self, turn: &mut Turn<'_>, server: usize) {
        while let Some(slot) = self.servers[server].next_suspect(turn) {
            let Some(attributes) = self.visits.get_mut(slot).map(Visit::leaves_line) else { continue };
            self.servers[server].begins();
            match self.sign(turn, slot, &attributes) {
                Ok(lane) => {
                    self.servers[server].line.went(slot, turn.now.mono + turn.settings.response_window);
                    self.send_late(turn, slot, lane);
                }
                Err(reason) => {
                    if let Some(visit) = self.end_visit(turn, slot, None) {
                        turn.turn_away(visit.task().key, reason);
                    }
                }
            }
        }
    }

    /// The connection of a suspect was lost; it was `alone` on it.
    fn suspect_lost(&mut self, turn: &mut Turn<'_>, slot: u32, alone: bool) {
        let Some(visit) = self.end_visit(turn, slot, None) else { return };
        let there = &self.servers[visit.server()];
        let (server, why, was_alone) = (there.address(), there.lanes.why(), alone && there.window.outstanding() == 0);
        let charged = if was_alone { self.doubts.charge(turn.now.mono, &visit, &there.acknowledged) } else { None };
        if let Some((other, charges)) = charged {
            let reason = Reason::BreaksConnection { server, breaks: charges, at: other.wall(), why };
            self.go_on(turn, &visit, Fault::Record { charges }, reason);
            return;
        }
        let breaks = self.doubts.breaks(turn.now.mono, &visit);
        self.go_on(turn, &visit, Fault::Suspect { breaks }, Reason::ConnectionLost { server, why });
    }
}
