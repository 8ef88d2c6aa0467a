//! Receiving: which visit an answer belongs to, whether it is authentic, and what follows from it.

use super::answer::{Answer, CAUSE_UNSUPPORTED_EXTENSION, classify, is_permanent};
use super::lane::Resting;
use super::sending::Fault;
use super::server::Server;
use super::{Alarm, Delivery, Health, LaneId, Output, Reason, Transport, Turn, index, probe};
use crate::radius::authenticator::{self, MessageCheck};
use crate::radius::packet::{Code, Packet};

/// The request that an answer belongs to.
pub(super) struct Request {
    /// The visit that still waits for it.
    pub(super) visit: Option<u32>,
    /// What it was, if it was given up.
    pub(super) resting: Option<Resting>,
    /// Whether both authenticators verify.
    pub(super) is_authentic: bool,
}

/// Finds the request of an answer by its identifier; counts and passes over an answer to none.
pub(super) fn request_of(server: &mut Server, lane: LaneId, packet: &Packet<'_>) -> Option<Request> {
    let identifier = packet.identifier();
    let there = server.lane(lane)?;
    let (visit, Some(authenticator)) = (there.visit(identifier), there.authenticator(identifier)) else {
        server.counters.unknown += 1;
        return None;
    };
    let may_be_signed_twice = there.connection.is_some() && packet.code() == Code::PROTOCOL_ERROR;
    let secret = &server.settings.secret;
    let is_signed = authenticator::is_response_authentic(packet, &authenticator, secret)
        || may_be_signed_twice && authenticator::is_response_signed_twice(packet, &authenticator, secret);
    let is_authentic =
        is_signed && authenticator::check_response_message(packet, &authenticator, secret) != MessageCheck::Bad;
    let resting = if is_authentic { server.lane(lane).and_then(|lane| lane.take_resting(identifier)) } else { None };
    Some(Request { visit, resting, is_authentic })
}

impl Delivery {
    pub(super) fn received(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId, datagram: &[u8]) {
        let Some(there) = self.servers.get_mut(server) else { return };
        let Ok(packet) = Packet::parse(datagram) else {
            there.counters.malformed += 1;
            return;
        };
        let Some(request) = request_of(there, lane_id, &packet) else { return };
        match (request.visit, request.is_authentic) {
            (Some(slot), true) => {
                self.heard(turn, server);
                self.answered(turn, slot, (lane_id, packet.identifier()), classify(&packet));
            }
            (None, true) => {
                self.heard(turn, server);
                self.answered_late(turn, server, request.resting, classify(&packet));
            }
            (Some(_), false) => {
                if there.heard_bad(Transport::Datagram) {
                    turn.out.push(Output::Alarm { server: index(server), alarm: Alarm::SecretMismatch });
                }
            }
            // Also the second answer to an identifier that was used again since.
            (None, false) => there.counters.late += 1,
        }
    }

    pub(super) fn heard(&mut self, turn: &mut Turn<'_>, server: usize) {
        let how = self.servers[server].heard(turn.now.mono);
        self.come_back(turn, server, how);
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, slot: u32, by: (LaneId, u8), answer: Answer) {
        let Some(visit) = self.end_visit(turn, slot, Some(by)) else { return };
        let there = &mut self.servers[visit.server];
        let (server, address, key) = (index(visit.server), there.address(), visit.task.key);
        match answer {
            Answer::Stored => {
                there.told_wrong_code = false;
                let round_trip = (visit.transmissions == 1).then(|| turn.now.mono.since(visit.started));
                there.window.measured(turn.now.mono, visit.started);
                there.acknowledged(turn.now, &visit.task);
                self.doubts.forget(key);
                turn.out.push(Output::Delivered { key, part: visit.task.part, server, round_trip });
            }
            Answer::Refused { cause } => {
                there.counters.refused += 1;
                let never_stored = there.counters.stored == 0;
                let reason = Reason::Refused { server: address, cause };
                if is_permanent(cause) {
                    self.doubts.forget(key);
                    turn.out.push(Output::Park { key, reason });
                } else if cause == CAUSE_UNSUPPORTED_EXTENSION && never_stored {
                    self.refuse_accounting(turn, visit.server);
                    self.go_on(turn, &visit, Fault::Outage, reason);
                } else {
                    let fault = self.fault(turn, &visit);
                    self.go_on(turn, &visit, fault, reason);
                }
            }
            Answer::WrongCode { code } => {
                there.counters.wrong_code += 1;
                let tell = !std::mem::replace(&mut there.told_wrong_code, true);
                if tell {
                    turn.out.push(Output::Alarm { server, alarm: Alarm::WrongCode { code } });
                }
                self.go_on(turn, &visit, Fault::Setup, Reason::WrongCode { server: address, code });
            }
        }
    }

    /// An authentic answer to a request that was given up: if it acknowledges a record that waits for its next visit, or has
    /// begun one, the record has ended.
    pub(super) fn answered_late(
        &mut self,
        turn: &mut Turn<'_>,
        server: usize,
        resting: Option<Resting>,
        answer: Answer,
    ) {
        let there = &mut self.servers[server];
        let resting = resting.filter(|resting| answer == Answer::Stored && self.doubts.is_open(&resting.task));
        let Some(Resting { task, sent }) = resting else {
            there.counters.late += 1;
            return;
        };
        there.counters.stored_late += 1;
        there.window.measured(turn.now.mono, sent);
        there.acknowledged(turn.now, &task);
        if let Some(slot) = self.visits.of(task.key) {
            self.end_visit(turn, slot, None);
        }
        self.parking.retain(|(_, key, _)| *key != task.key);
        self.doubts.forget(task.key);
        turn.out.push(Output::Delivered { key: task.key, part: task.part, server: index(server), round_trip: None });
    }

    /// The server says that it does no accounting, and nothing it did before speaks against that.
    fn refuse_accounting(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        if there.health != Health::Refusing {
            there.enter(turn.now.mono, Health::Refusing);
            turn.out.push(Output::Health { server: index(server), health: Health::Refusing });
            turn.out.push(Output::Alarm { server: index(server), alarm: Alarm::RefusesAccounting });
        }
    }

    pub(super) fn probe_received(&mut self, turn: &mut Turn<'_>, server: usize, datagram: &[u8]) {
        let Some(there) = self.servers.get_mut(server) else { return };
        let Ok(packet) = Packet::parse(datagram) else {
            there.counters.malformed += 1;
            return;
        };
        match &there.probe {
            Some(pending) if probe::is_answer(&packet, pending, &there.settings.secret) => {
                let how = there.probe_answered(turn.now.mono);
                self.come_back(turn, server, how);
            }
            Some(pending) if packet.identifier() == pending.identifier && packet.code() != Code::ACCESS_REJECT => {
                if there.heard_bad(Transport::Datagram) {
                    turn.out.push(Output::Alarm { server: index(server), alarm: Alarm::SecretMismatch });
                }
            }
            _ => there.counters.late += 1,
        }
    }
}
