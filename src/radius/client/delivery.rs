//! The parts of the client and who is told of what: servers, visits, and what is held against records.

use std::net::SocketAddr;

use super::doubt::Doubts;
use super::lane::LaneId;
use super::sending::Fault;
use super::server::Server;
use super::standing::{Health, Suspicion};
use super::visit::Visits;
use super::{Closing, Input, Output, Reason, SERVERS_MAX, Selection, Settings, Transport, Turn, index};
use crate::clock::Instant;
use crate::radius::packet;

/// What works on the client's inputs.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) servers: Vec<Server>,
    pub(super) visits: Visits,
    /// What is held against records whose visits have failed.
    pub(super) doubts: Doubts,
    pub(super) scratch: Vec<u8>,
}

impl Delivery {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        let servers = settings.servers.iter().take(SERVERS_MAX).cloned();
        Self {
            servers: servers.enumerate().map(|(own, server)| Server::new(now, index(own), server, settings)).collect(),
            visits: Visits::default(),
            doubts: Doubts::default(),
            scratch: Vec::with_capacity(packet::PACKET_OCTETS_MAX),
        }
    }

    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// How many records may be submitted now.
    pub(super) fn capacity(&mut self, now: Instant, selection: Selection) -> usize {
        self.servers.iter_mut().for_each(|server| server.lanes.collect(now));
        let mut usable = self.servers.iter().filter(|server| server.standing.is_usable());
        match selection {
            Selection::Failover => {
                let is_first = |server: &&Server| server.standing.is(Health::Alive) && server.lanes.has_path();
                let best = usable.clone().find(is_first).or_else(|| usable.find(|server| server.room() > 0));
                best.map_or(0, Server::room)
            }
            Selection::ByCall => usable.map(Server::room).sum(),
        }
    }

    /// Records that have been submitted and have not ended.
    #[cfg(test)]
    pub(super) fn in_flight(&self) -> usize {
        self.visits.len() + self.doubts.condemned()
    }

    pub(super) fn handle(&mut self, turn: &mut Turn<'_>, input: Input<'_>) {
        match input {
            Input::Submit(submission) => self.submit(turn, &submission),
            Input::Received { server, lane, datagram } if turn.settings.transport == Transport::Stream => {
                self.packet_received(turn, usize::from(server.0), lane, datagram);
            }
            Input::Received { server, lane: LaneId::PROBE, datagram } => {
                self.probe_received(turn, usize::from(server.0), datagram);
            }
            Input::Received { server, lane, datagram } => self.received(turn, usize::from(server.0), lane, datagram),
            Input::LaneOpened { server, lane } => self.lane_opened(turn, usize::from(server.0), lane),
            Input::LaneFailed { server, lane } => self.lane_failed(turn, usize::from(server.0), lane),
            Input::Moved { server, address } => self.moved(turn, usize::from(server.0), address),
            Input::LaneClosed { server, lane, how } => self.closed(turn, usize::from(server.0), lane, how),
            Input::Refused { server, lane } => self.refused(turn, usize::from(server.0), lane),
        }
    }

    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(slot) = self.visits.expired(turn.now.mono) {
            self.ran_out(turn, slot);
        }
        while let Some((key, reason)) = self.doubts.next_condemned(turn.now.mono) {
            turn.out.push(Output::Park { key, reason });
        }
        for server in 0..self.servers.len() {
            self.servers[server].tend_lanes(turn);
            self.tend_health(turn, server);
        }
    }

    /// Takes every server for gone until it answers.
    pub(super) fn doubt_all(&mut self, turn: &mut Turn<'_>) {
        self.servers.iter_mut().for_each(|server| server.standing.suspect(turn, Suspicion::Gone));
        self.tick(turn);
    }

    /// Asks every server that has not answered Status-Server yet, on each connection that stands.
    pub(super) fn ask_all(&mut self, turn: &mut Turn<'_>) {
        self.servers.iter_mut().for_each(|server| server.ask_all(turn));
    }

    /// When [`Self::tick`] is due next.
    pub(super) fn deadline(&mut self, settings: &Settings) -> Option<Instant> {
        let servers = self.servers.iter().filter_map(|server| server.deadline(settings));
        servers.chain(self.visits.deadline()).chain(self.doubts.deadline()).min()
    }

    fn lane_opened(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let Some(there) = self.servers.get_mut(server) else { return };
        if turn.settings.transport == Transport::Stream {
            self.connected(turn, server, lane);
            return;
        }
        there.lane_opened(lane);
        if lane == LaneId::PROBE {
            self.tend_health(turn, server);
        }
    }

    fn lane_failed(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let Some(there) = self.servers.get_mut(server) else { return };
        if turn.settings.transport == Transport::Stream {
            self.closed(turn, server, lane, Closing::Failed { why: "it cannot be opened" });
        } else if there.lane_failed(turn, lane) {
            self.gone(turn, server);
        }
    }

    fn refused(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        if turn.settings.transport == Transport::Stream {
            self.closed(turn, server, lane, Closing::Failed { why: "it was refused" });
            return;
        }
        let Some(there) = self.servers.get_mut(server) else { return };
        there.unreachable(lane);
        self.gone(turn, server);
    }

    /// Nobody is there: the visits go to a server that lives; without one they stay and retransmit.
    fn gone(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        there.standing.suspect(turn, Suspicion::Gone);
        if there.window.outstanding() == 0 {
            return;
        }
        let address = there.address();
        for slot in self.visits.at(server) {
            let Some(visit) = self.visits.get(slot) else { continue };
            if self.alternative(turn, visit.task()).is_none() {
                return;
            }
            if let Some(visit) = self.end_visit(turn, slot, None) {
                self.go_on(turn, &visit, Fault::Outage, Reason::Unreachable { server: address });
            }
        }
    }

    /// The server is at another address from now on.
    fn moved(&mut self, turn: &mut Turn<'_>, server: usize, address: SocketAddr) {
        if let Some(there) = self.servers.get_mut(server).filter(|there| there.address() != address) {
            there.moved(turn, address);
        }
    }

    /// Probes, buries and revives.
    fn tend_health(&mut self, turn: &mut Turn<'_>, server: usize) {
        if self.servers[server].tend_health(turn) {
            for slot in self.visits.at(server) {
                self.finish_unanswered(turn, slot);
            }
        }
        match turn.settings.transport {
            Transport::Datagram => self.servers[server].probe(turn),
            Transport::Stream => self.tend_connections(turn, server),
        }
    }
}
