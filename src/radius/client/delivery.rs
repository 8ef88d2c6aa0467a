//! The parts of the client and who is told of what: servers, visits, and what is held against records.

use std::collections::VecDeque;

use super::doubt::Doubts;
use super::server::{Server, Suspicion};
use super::visit::Visits;
use super::{Health, Input, LaneId, Output, Reason, SERVERS_MAX, Selection, Settings, Transport, Turn};
use crate::clock::Instant;
use crate::ids::Seq;
use crate::radius::packet;

/// What works on the client's inputs.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) servers: Vec<Server>,
    pub(super) visits: Visits,
    /// Records whose visits have failed.
    pub(super) doubts: Doubts,
    /// Records to be parked as soon as no answer to them can come any more.
    pub(super) parking: VecDeque<(Instant, Seq, Reason)>,
    pub(super) scratch: Vec<u8>,
}

impl Delivery {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        let servers = settings.servers.iter().take(SERVERS_MAX).cloned();
        Self {
            servers: servers.map(|server| Server::new(now, server, settings)).collect(),
            visits: Visits::default(),
            doubts: Doubts::default(),
            parking: VecDeque::new(),
            scratch: Vec::with_capacity(packet::PACKET_OCTETS_MAX),
        }
    }

    pub(super) fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// How many records may be submitted now.
    pub(super) fn capacity(&mut self, now: Instant, selection: Selection) -> usize {
        for server in &mut self.servers {
            server.lanes.iter_mut().for_each(|lane| lane.collect(now));
        }
        let mut usable = self.servers.iter().filter(|server| server.is_usable());
        match selection {
            Selection::Failover => {
                let is_first = |server: &&Server| server.health == Health::Alive && server.has_path();
                let best = usable.clone().find(is_first).or_else(|| usable.find(|server| server.room() > 0));
                best.map_or(0, Server::room)
            }
            Selection::ByCall => usable.map(Server::room).sum(),
        }
    }

    /// Records that have been submitted and have not ended.
    pub(super) fn in_flight(&self) -> usize {
        self.visits.len() + self.parking.len()
    }

    pub(super) fn handle(&mut self, turn: &mut Turn<'_>, input: Input<'_>) {
        match input {
            Input::Submit(submission) => self.submit(turn, &submission),
            Input::Received { server, lane, datagram } if turn.settings.transport == Transport::Stream => {
                self.stream_received(turn, usize::from(server.0), lane, datagram);
            }
            Input::Received { server, lane: LaneId::PROBE, datagram } => {
                self.probe_received(turn, usize::from(server.0), datagram);
            }
            Input::Received { server, lane, datagram } => self.received(turn, usize::from(server.0), lane, datagram),
            Input::LaneOpened { server, lane } => self.lane_opened(turn, usize::from(server.0), lane),
            Input::LaneFailed { server, lane } => self.lane_failed(turn, usize::from(server.0), lane),
            Input::Moved { server, address } => self.moved(turn, usize::from(server.0), address),
            Input::LaneClosed { server, lane, how } => self.stream_closed(turn, usize::from(server.0), lane, how),
            Input::Refused { server, lane } => self.refused(turn, usize::from(server.0), lane),
        }
    }

    pub(super) fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some(slot) = self.visits.expired(turn.now.mono) {
            self.ran_out(turn, slot);
        }
        while let Some((_, key, reason)) = self.parking.pop_front_if(|(due, ..)| *due <= turn.now.mono) {
            self.doubts.forget(key);
            turn.out.push(Output::Park { key, reason });
        }
        for server in 0..self.servers.len() {
            self.tend_lanes(turn, server);
            self.tend_health(turn, server);
        }
    }

    /// Takes every server for gone until it answers.
    pub(super) fn doubt_all(&mut self, turn: &mut Turn<'_>) {
        for server in 0..self.servers.len() {
            self.suspect(turn, server, Suspicion::Gone);
        }
        self.tick(turn);
    }

    /// When [`Self::tick`] is due next.
    pub(super) fn deadline(&mut self, settings: &Settings) -> Option<Instant> {
        let visits = self.visits.deadline();
        let parking = self.parking.front().map(|(due, ..)| *due);
        let servers = self.servers.iter().filter_map(|server| Self::server_deadline(settings, server));
        servers.chain(visits).chain(parking).min()
    }
}
