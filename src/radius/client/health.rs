//! Health of servers over time: lanes, suspicion, probes, death and revival.

use std::net::SocketAddr;

use super::lane::{Lane, Link};
use super::sending::Fault;
use super::server::{Comeback, Probe, Server, Suspicion};
use super::{Closing, Delivery, Health, LANE_RETRY, LaneId, Output, Reason, Settings, Transport, Turn, index, probe};
use crate::clock::Instant;

impl Delivery {
    pub(super) fn lane_opened(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let Some(there) = self.servers.get_mut(server) else { return };
        if turn.settings.transport == Transport::Stream {
            self.stream_opened(turn, server, lane);
        } else if lane == LaneId::PROBE {
            there.probe_link = Some(Link::Open);
            self.tend_health(turn, server);
        } else if let Some(lane) = there.lane(lane).filter(|lane| lane.is_current()) {
            lane.link = Link::Open;
        }
    }

    pub(super) fn lane_failed(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let Some(there) = self.servers.get_mut(server) else { return };
        if turn.settings.transport == Transport::Stream {
            let closing = Closing::Failed { why: "it cannot be opened" };
            self.stream_closed(turn, server, lane, closing);
            return;
        }
        let closed = Link::Closed { retry_at: turn.now.mono + LANE_RETRY };
        if lane == LaneId::PROBE {
            there.probe_link = Some(closed);
            there.probe_missed();
        } else if let Some(lane) = there.lane(lane).filter(|lane| lane.is_current()) {
            lane.link = closed;
        }
        if there.lanes.iter().filter(|lane| lane.is_current()).all(|lane| matches!(lane.link, Link::Closed { .. })) {
            self.suspect(turn, server, Suspicion::Gone);
            self.move_visits(turn, server);
        }
    }

    pub(super) fn refused(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        if turn.settings.transport == Transport::Stream {
            self.stream_closed(turn, server, lane, Closing::Failed { why: "it was refused" });
            return;
        }
        let Some(there) = self.servers.get_mut(server) else { return };
        there.counters.unreachable += 1;
        if lane == LaneId::PROBE {
            there.probe_missed();
        }
        self.suspect(turn, server, Suspicion::Gone);
        self.move_visits(turn, server);
    }

    /// The server is at another address from now on.
    pub(super) fn moved(&mut self, turn: &mut Turn<'_>, server: usize, address: SocketAddr) {
        let Some(there) = self.servers.get_mut(server).filter(|there| there.address() != address) else { return };
        let was = there.health;
        there.moved(turn.now.mono, address, turn.settings);
        if was != Health::Alive && self.servers[server].health == Health::Alive {
            turn.out.push(Output::Health { server: index(server), health: Health::Alive });
        }
        self.tend_lanes(turn, server);
    }

    /// Visits at a server that is gone go to one that lives; without one they stay and retransmit.
    fn move_visits(&mut self, turn: &mut Turn<'_>, server: usize) {
        if self.servers[server].outstanding == 0 {
            return;
        }
        for slot in self.visits.at(server) {
            let Some(visit) = self.visits.get(slot) else { continue };
            if self.has_alternative(turn, &visit.task).is_none() {
                return;
            }
            if let Some(visit) = self.end_visit(turn, slot, None) {
                let reason = Reason::Unreachable { server: self.servers[server].address() };
                self.go_on(turn, &visit, Fault::Outage, reason);
            }
        }
    }

    /// The server went silent or is gone.
    pub(super) fn suspect(&mut self, turn: &mut Turn<'_>, server: usize, suspicion: Suspicion) {
        let there = &mut self.servers[server];
        if matches!(there.health, Health::Alive | Health::ProbesOnly) {
            there.suspect(turn.now.mono, suspicion);
            turn.out.push(Output::Health { server: index(server), health: Health::Suspect });
        }
    }

    /// What an answer of the server changes.
    pub(super) fn come_back(&mut self, turn: &mut Turn<'_>, server: usize, how: Comeback) {
        let health = match how {
            Comeback::None => return,
            Comeback::Alive => Health::Alive,
            Comeback::ProbesOnly => Health::ProbesOnly,
        };
        let revive_at = turn.now.mono + turn.random.jitter(turn.settings.revival);
        let there = &mut self.servers[server];
        let was = there.health;
        there.enter(turn.now.mono, health);
        if was == Health::Dead {
            there.window.slow_start(true);
        } else if health == Health::Alive {
            there.window.regrow();
        }
        there.revive_at = (health == Health::ProbesOnly).then_some(revive_at);
        turn.out.push(Output::Health { server: index(server), health });
        if turn.settings.transport == Transport::Stream {
            return;
        }
        // Long waits were for a silent server. One more first wait leaves it the time to answer what it has.
        for slot in self.visits.at(server) {
            let soon = turn.now.mono + turn.random.jitter(turn.settings.initial_timeout);
            if self.visits.get(slot).is_some_and(|visit| visit.due > soon) {
                self.visits.arm(slot, soon);
            }
        }
    }

    /// Nothing came for too long: its visits end.
    fn die(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        there.enter(turn.now.mono, Health::Dead);
        if there.needs_revival_timer() {
            there.revive_at = Some(turn.now.mono + turn.random.jitter(turn.settings.revival));
        }
        turn.out.push(Output::Health { server: index(server), health: Health::Dead });
        for slot in self.visits.at(server) {
            self.finish_unanswered(turn, slot);
        }
    }

    /// Opens lanes that are wanted and those whose time to try again has come.
    pub(super) fn tend_lanes(&mut self, turn: &mut Turn<'_>, server: usize) {
        self.ask_for_lane(turn, server);
        let there = &mut self.servers[server];
        for (number, lane) in (1_u16..).zip(&mut there.lanes) {
            lane.collect(turn.now.mono);
            if is_due(lane.link, turn.now.mono) {
                lane.link = Link::Opening;
                turn.out.push(Output::OpenLane { server: index(server), lane: LaneId(number) });
            }
        }
    }

    /// Asks for one lane more when identifiers run short.
    pub(super) fn ask_for_lane(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        if there.wants_lane(turn.settings.lanes_max) {
            let lane = there.add_lane(turn.settings.transport);
            turn.out.push(Output::OpenLane { server: index(server), lane });
        } else if there.runs_short() {
            self.wake_lane(turn, server);
        }
    }

    /// Probes, buries and revives.
    pub(super) fn tend_health(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        there.tend_trial(turn.now.mono);
        there.line.tend(turn.now.mono);
        if there.silent_at(turn.settings).is_some_and(|at| at <= turn.now.mono) || there.is_wholly_silent() {
            self.suspect(turn, server, Suspicion::Silent);
        } else if there.health == Health::Suspect && turn.now.mono >= there.since + turn.settings.zombie_period {
            self.die(turn, server);
        } else if there.revive_at.is_some_and(|at| at <= turn.now.mono) && turn.settings.transport == Transport::Stream
        {
            there.revive_at = None;
            self.revive_connections(turn, server);
        } else if there.revive_at.is_some_and(|at| at <= turn.now.mono) {
            there.enter(turn.now.mono, Health::Alive);
            there.window.slow_start(false);
            turn.out.push(Output::Health { server: index(server), health: Health::Alive });
        }
        match turn.settings.transport {
            Transport::Datagram => self.probe(turn, server),
            Transport::Stream => {
                self.tend_connections(turn, server);
                self.send_alone(turn, server);
            }
        }
    }

    fn probe(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        if !there.probes() {
            there.next_probe = None;
        }
        if there.next_probe.is_none_or(|at| at > turn.now.mono) {
            return;
        }
        match there.probe_link {
            Some(Link::Open) => {
                there.probe_missed();
                there.next_probe = None;
                if !there.probes() {
                    return;
                }
                if there.is_wholly_silent() {
                    self.suspect(turn, server, Suspicion::Silent);
                }
                let there = &mut self.servers[server];
                there.next_probe = Some(turn.now.mono + turn.random.jitter(turn.settings.probe_interval));
                let identifier = there.next_identifier();
                let probe = Probe { identifier, authenticator: turn.random.octets() };
                let datagram = probe::datagram(&probe, &there.settings.secret);
                there.probe = Some(probe);
                there.counters.probes += 1;
                turn.out.push(Output::Transmit { server: index(server), lane: LaneId::PROBE, datagram });
            }
            Some(Link::Opening | Link::Dormant | Link::Draining) => {}
            Some(Link::Closed { retry_at }) if retry_at > turn.now.mono => there.next_probe = Some(retry_at),
            None | Some(Link::Closed { .. }) => {
                there.probe_link = Some(Link::Opening);
                turn.out.push(Output::OpenLane { server: index(server), lane: LaneId::PROBE });
            }
        }
    }

    /// When something is due at a server, visits aside.
    pub(super) fn server_deadline(settings: &Settings, server: &Server) -> Option<Instant> {
        let silent = server.silent_at(settings);
        let zombie = (server.health == Health::Suspect).then(|| server.since + settings.zombie_period);
        let probe = server.next_probe.filter(|_| server.probe_link != Some(Link::Opening));
        let lanes = server.lanes.iter().filter_map(|lane| match lane.link {
            Link::Closed { retry_at } => Some(retry_at),
            Link::Open if server.is_usable() && server.room() == 0 => lane.next_free(),
            Link::Open | Link::Opening | Link::Dormant | Link::Draining => None,
        });
        let may_know_no_probes = server.knows_probes().is_none();
        let connections = server.lanes.iter().filter_map(|lane| lane.watch_deadline(may_know_no_probes));
        let trial = server.trial_deadline().into_iter().chain(server.line.deadline()).min();
        let has_lane = server.lanes.iter().any(Lane::is_current);
        let first = (!has_lane && server.has_address()).then_some(Instant(0));
        [silent, zombie, probe, server.revive_at, trial, first]
            .into_iter()
            .flatten()
            .chain(lanes)
            .chain(connections)
            .min()
    }
}

fn is_due(link: Link, now: Instant) -> bool {
    matches!(link, Link::Closed { retry_at } if retry_at <= now)
}
