//! Receiving: which visit an answer belongs to, and what follows from what it says.

use super::answer::{Answer, CAUSE_UNSUPPORTED_EXTENSION, classify, is_permanent};
use super::delivery::Delivery;
use super::lane::{LaneId, Resting};
use super::sending::Fault;
use super::{Output, Reason, Turn, index};

impl Delivery {
    pub(super) fn received(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId, datagram: &[u8]) {
        let Some(there) = self.servers.get_mut(server) else { return };
        let Some(packet) = there.parse(datagram) else { return };
        let Some(request) = there.request_of(lane, &packet) else { return };
        match (request.visit, request.is_authentic) {
            (Some(slot), true) => {
                self.heard(turn, server);
                self.answered(turn, slot, (lane, packet.identifier()), classify(&packet));
            }
            (None, true) => {
                self.heard(turn, server);
                self.answered_late(turn, server, request.resting, classify(&packet));
            }
            (Some(_), false) => there.heard_bad(turn),
            // Also the second answer to an identifier that was used again since.
            (None, false) => there.counters.late += 1,
        }
    }

    fn heard(&mut self, turn: &mut Turn<'_>, server: usize) {
        if self.servers[server].heard(turn) {
            self.visits.hasten(turn, server);
        }
    }

    pub(super) fn answered(&mut self, turn: &mut Turn<'_>, slot: u32, by: (LaneId, u8), answer: Answer) {
        let Some(visit) = self.end_visit(turn, slot, Some(by)) else { return };
        let there = &mut self.servers[visit.server()];
        let (server, key) = (there.address(), visit.task().key);
        match answer {
            Answer::Stored => {
                let round_trip = (visit.transmissions() == 1).then(|| turn.now.mono.since(visit.started()));
                there.stored(turn, visit.task(), visit.started());
                self.doubts.forget(key);
                let server = index(visit.server());
                turn.out.push(Output::Delivered { key, part: visit.task().part, server, round_trip });
            }
            Answer::Refused { cause } => {
                let has_stored = there.refused_record();
                let reason = Reason::Refused { server, cause };
                if is_permanent(cause) {
                    self.doubts.forget(key);
                    turn.out.push(Output::Park { key, reason });
                } else if cause == CAUSE_UNSUPPORTED_EXTENSION && !has_stored {
                    there.refuses_accounting(turn);
                    self.go_on(turn, &visit, Fault::Outage, reason);
                } else {
                    let fault = self.fault(turn, &visit);
                    self.go_on(turn, &visit, fault, reason);
                }
            }
            Answer::WrongCode { code } => {
                there.answered_otherwise(turn, code);
                self.go_on(turn, &visit, Fault::Setup, Reason::WrongCode { server, code });
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
        let Some(resting) = resting else {
            there.counters.late += 1;
            return;
        };
        there.stored_late(turn, &resting);
        let (key, part) = (resting.task.key, resting.task.part);
        if let Some(slot) = self.visits.of(key) {
            self.end_visit(turn, slot, None);
        }
        self.doubts.acquit(key);
        turn.out.push(Output::Delivered { key, part, server: index(server), round_trip: None });
    }

    pub(super) fn probe_received(&mut self, turn: &mut Turn<'_>, server: usize, datagram: &[u8]) {
        if self.servers.get_mut(server).is_some_and(|there| there.probe_received(turn, datagram)) {
            self.visits.hasten(turn, server);
        }
    }
}
