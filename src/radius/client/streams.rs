//! Lanes on TCP and TLS connections: opening, probation, watchdog, loss, and what happens to requests under way
//! (RFC 6613 §2.6, RFC 6614, RFC 3539 §3.4).
//!
//! A connection that ends while nothing is outstanding on it was idle: it is opened again when a record needs it. Any
//! other end is a loss: its requests go to another server that lives, or once more to this one on another connection,
//! and it is opened again with back-off.

use std::sync::Arc;

use bytes::Bytes;

use super::connection::{Bark, Connection, PROBATION_PATIENCE, Stage};
use super::lane::{Lane, Link, WATCHDOG_IDENTIFIER};
use super::receiving::request_of;
use super::sending::Fault;
use super::server::{Probe, Suspicion};
use super::visit::first_wait;
use super::{Alarm, Delivery, Health, Idle, LaneId, Output, Reason, Transport, Turn, classify, index, probe};
use crate::clock::Instant;
use crate::radius::packet::{HEADER_OCTETS, Packet};

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
    fn why(&self, is_proven: bool) -> &str {
        match self {
            Self::Failed { why } | Self::Broken { why } | Self::Malformed { why } => why,
            Self::Ended if is_proven => "the server closed it",
            Self::Ended => "the server closed it before any answer; with TLS it may not like the client certificate",
        }
    }

    /// Whether it may have ended because nobody used it.
    fn may_be_idle(&self) -> bool {
        matches!(self, Self::Ended | Self::Broken { .. })
    }
}

impl Delivery {
    pub(super) fn stream_opened(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId) {
        let there = &mut self.servers[server];
        let (knows_probes, is_dead) = (there.knows_probes(), there.health == Health::Dead);
        let is_doubtful = matches!(there.health, Health::Suspect | Health::Dead);
        let Some(lane) = there.lane(lane_id).filter(|lane| lane.link == Link::Opening) else { return };
        let Some(connection) = &mut lane.connection else { return };
        let on_probation = knows_probes != Some(false) && (connection.was_lost() || is_dead);
        connection.opened(turn.now.mono, on_probation);
        lane.link = Link::Open;
        if on_probation {
            self.ask_status(turn, server, lane_id);
            return;
        }
        if turn.settings.idle == Idle::KeptAlive {
            connection.wind(turn.now.mono, turn.settings.watchdog, turn.random);
        }
        if is_doubtful {
            self.trust(turn, server, lane_id);
        }
        self.send_waiting(turn, server);
    }

    pub(super) fn stream_received(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId, octets: &[u8]) {
        let Some(there) = self.servers.get_mut(server) else { return };
        if there.lane(lane_id).is_none_or(|lane| lane.link != Link::Open) {
            return;
        }
        let packet = match Packet::parse(octets) {
            Ok(packet) => packet,
            Err(error) => {
                let why = error.to_string();
                let identifier = octets.get(1).copied().unwrap_or(WATCHDOG_IDENTIFIER);
                let visit = there.lane(lane_id).and_then(|lane| lane.visit(identifier));
                self.blame(turn, visit);
                self.close_lane(turn, server, lane_id, Closing::Malformed { why: &why });
                return;
            }
        };
        if packet.identifier() == WATCHDOG_IDENTIFIER {
            self.status_received(turn, server, lane_id, &packet);
            return;
        }
        let Some(request) = request_of(there, lane_id, &packet) else { return };
        if !request.is_authentic {
            self.blame(turn, request.visit);
            self.unauthentic(turn, server, lane_id);
            return;
        }
        self.heard(turn, server);
        match request.visit {
            Some(slot) => self.answered(turn, slot, (lane_id, packet.identifier()), classify(&packet)),
            None => self.answered_late(turn, server, request.resting, classify(&packet)),
        }
        self.overdue_probe(turn, server, lane_id);
        self.lane_heard(turn, server, lane_id);
        self.send_waiting(turn, server);
    }

    fn status_received(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId, packet: &Packet<'_>) {
        let there = &mut self.servers[server];
        let pending = there.lane(lane_id).and_then(|lane| lane.connection.as_ref()?.probe);
        let Some((pending, _)) = pending else {
            there.counters.late += 1;
            return;
        };
        if !probe::is_answer(packet, &pending, &there.settings.secret) {
            self.unauthentic(turn, server, lane_id);
            return;
        }
        let how = there.probe_answered(turn.now.mono);
        self.come_back(turn, server, how);
        let there = &mut self.servers[server];
        let is_dead = there.health == Health::Dead;
        let connection = there.lane(lane_id).and_then(|lane| lane.connection.as_mut());
        let asks_again = connection.is_some_and(Connection::probe_answered);
        self.lane_heard(turn, server, lane_id);
        if asks_again || is_dead {
            self.ask_status(turn, server, lane_id);
        }
        self.send_waiting(turn, server);
    }

    /// An answer that cannot be verified: the connection cannot be trusted any more (RFC 6613 §2.6.4).
    fn unauthentic(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId) {
        if self.servers[server].heard_bad(Transport::Stream) {
            turn.out.push(Output::Alarm { server: index(server), alarm: Alarm::SecretMismatch });
        }
        self.close_lane(turn, server, lane_id, Closing::Malformed { why: "an answer could not be verified" });
    }

    /// An answer nobody can use ends the connection: the record that gets it is to do so ever more seldom.
    fn blame(&mut self, turn: &mut Turn<'_>, visit: Option<u32>) {
        let Some(visit) = visit.and_then(|slot| self.end_visit(turn, slot, None)) else { return };
        let fault = self.fault(turn, &visit);
        let reason = Reason::Unusable { server: self.servers[visit.server].address() };
        self.go_on(turn, &visit, fault, reason);
    }

    /// Closes a connection from this side.
    fn close_lane(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId, how: Closing<'_>) {
        turn.out.push(Output::CloseLane { server: index(server), lane });
        self.stream_closed(turn, server, lane, how);
    }

    pub(super) fn stream_closed(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId, how: Closing<'_>) {
        let Some(there) = self.servers.get_mut(server) else { return };
        there.counters.malformed += u64::from(matches!(how, Closing::Malformed { .. }));
        let Some(lane) = there.lane(lane_id) else { return };
        let is_break = matches!(how, Closing::Ended | Closing::Broken { .. });
        let was_open = match lane.link {
            Link::Open => true,
            Link::Opening => false,
            Link::Dormant | Link::Closed { .. } | Link::Draining => return,
        };
        let visits = lane.clear();
        let Some(connection) = &mut lane.connection else { return };
        if was_open && how.may_be_idle() && visits.is_empty() && connection.ends_idle(turn.now.mono) {
            connection.rest();
            lane.link = Link::Dormant;
            if !self.servers[server].waiting.is_empty() {
                self.wake_lane(turn, server);
            }
            return;
        }
        let why: Arc<str> = how.why(connection.is_proven()).into();
        lane.link = Link::Closed { retry_at: turn.now.mono + connection.lost(turn.random) };
        there.counters.unreachable += 1;
        there.trouble = Some(Arc::clone(&why));
        there.lost();
        turn.out.push(Output::Lost { server: index(server), why });
        if !there.lanes.iter().any(|lane| lane.link == Link::Open) {
            self.suspect(turn, server, Suspicion::Gone);
        }
        if is_break {
            self.note_break(turn, server, &visits);
        }
        self.move_requests(turn, server, &visits);
        if !self.servers[server].waiting.is_empty() {
            self.wake_lane(turn, server);
        }
        self.send_waiting(turn, server);
    }

    /// Requests of a lost connection, and those that wait for one, go to a server that lives when this one does not; else
    /// they go out again, each once.
    fn move_requests(&mut self, turn: &mut Turn<'_>, server: usize, lost: &[u32]) {
        let is_alive = self.servers[server].health == Health::Alive;
        let waiting: Vec<u32> = self.servers[server].waiting.iter().copied().collect();
        for (slot, is_lost) in
            waiting.into_iter().map(|slot| (slot, false)).chain(lost.iter().map(|slot| (*slot, true)))
        {
            let Some(visit) = self.visits.get_mut(slot) else { continue };
            let task = visit.task;
            if is_lost {
                visit.identifiers.clear();
            }
            let was_resent = visit.is_resent;
            visit.is_resent |= is_lost;
            if is_lost && self.doubts.is_suspect(task.key) {
                self.suspect_lost(turn, slot, lost.len() == 1);
                continue;
            }
            let may_stay = is_alive || self.has_alternative(turn, &task).is_none();
            if may_stay && !(is_lost && was_resent) {
                if is_lost {
                    self.servers[server].waiting.push_back(slot);
                }
            } else if let Some(visit) = self.end_visit(turn, slot, None) {
                let (there, is_lost) = (&self.servers[server], was_resent || is_lost);
                let (address, why) = (there.address(), there.why());
                let reason = match is_lost {
                    true => Reason::ConnectionLost { server: address, why },
                    false => Reason::NoConnection { server: address, why },
                };
                self.go_on(turn, &visit, Fault::Outage, reason);
            }
        }
    }

    /// A record for a connection that has to be opened first.
    pub(super) fn wait_for_lane(&mut self, turn: &mut Turn<'_>, slot: u32, attributes: &[u8]) {
        let Some(visit) = self.visits.get_mut(slot) else { return };
        let mut datagram = Vec::with_capacity(HEADER_OCTETS + attributes.len());
        datagram.resize(HEADER_OCTETS, 0);
        datagram.extend_from_slice(attributes);
        (visit.datagram, visit.transmissions) = (Bytes::from(datagram), 0);
        let (server, due) = (visit.server, visit.due);
        let there = &mut self.servers[server];
        there.outstanding += 1;
        there.counters.requests += 1;
        there.waiting.push_back(slot);
        self.visits.arm(slot, due.max(turn.now.mono));
        self.wake_lane(turn, server);
    }

    /// Opens a connection that was closed for idleness, unless one is being opened.
    pub(super) fn wake_lane(&mut self, turn: &mut Turn<'_>, server: usize) {
        let there = &mut self.servers[server];
        if there.lanes.iter().any(|lane| lane.link == Link::Opening) {
            return;
        }
        let Some(place) = there.lanes.iter().position(|lane| lane.link == Link::Dormant) else { return };
        let lane = &mut there.lanes[place];
        lane.link = Link::Opening;
        if let Some(connection) = &mut lane.connection {
            connection.is_promised = true;
        }
        let lane = LaneId(u16::try_from(place + 1).unwrap_or(u16::MAX));
        turn.out.push(Output::OpenLane { server: index(server), lane });
    }

    /// Sends what waited for a connection.
    pub(super) fn send_waiting(&mut self, turn: &mut Turn<'_>, server: usize) {
        self.send_all_waiting(turn, server);
        self.send_alone(turn, server);
    }

    fn send_all_waiting(&mut self, turn: &mut Turn<'_>, server: usize) {
        while self.servers[server].pick_lane().is_some()
            && let Some(slot) = self.servers[server].waiting.pop_front()
        {
            let Some(attributes) = self.visits.get(slot).map(super::visit::Visit::attributes) else { continue };
            match self.sign(turn, slot, &attributes) {
                Ok(lane) => self.send_late(turn, slot, lane),
                Err(Reason::TooLong { octets }) => {
                    if let Some(visit) = self.end_visit(turn, slot, None) {
                        turn.out.push(Output::Park { key: visit.task.key, reason: Reason::TooLong { octets } });
                    }
                }
                Err(_) => {
                    self.servers[server].waiting.push_front(slot);
                    return;
                }
            }
        }
    }

    /// The first transmission of a visit on the connection it waited for: its waits begin anew.
    pub(super) fn send_late(&mut self, turn: &mut Turn<'_>, slot: u32, lane: LaneId) {
        let wait = first_wait(turn);
        let Some(visit) = self.visits.get_mut(slot) else { return };
        visit.transmissions += 1;
        (visit.wait, visit.waits) = (wait, 1);
        if visit.transmissions == 1 {
            visit.started = turn.now.mono;
        }
        let there = &mut self.servers[visit.server];
        there.counters.retransmissions += u64::from(visit.transmissions > 1);
        there.transmitted(turn.now.mono);
        self.visits.arm(slot, turn.now.mono + wait);
        self.transmit(turn, slot, lane);
    }

    /// Something was sent: on a connection the watchdog is wound.
    pub(super) fn note_sent(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let lane = self.servers.get_mut(server).and_then(|there| there.lane(lane));
        if let Some(connection) = lane.and_then(|lane| lane.connection.as_mut()) {
            connection.sent(turn.now.mono, turn.settings.watchdog, turn.random);
        }
    }

    fn lane_heard(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        if let Some(lane) = self.servers[server].lane(lane) {
            heard(lane, turn);
        }
    }

    /// Sends a Status-Server on a connection, unless one is under way: each is a new packet (RFC 5997 §4.3).
    fn ask_status(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId) {
        let authenticator = turn.random.octets();
        let there = &mut self.servers[server];
        let Some(lane) = there.lane(lane_id).filter(|lane| lane.link == Link::Open) else { return };
        let Some(connection) = lane.connection.as_mut().filter(|connection| connection.probe.is_none()) else { return };
        let probe = Probe { identifier: WATCHDOG_IDENTIFIER, authenticator };
        connection.probe = Some((probe, turn.now.mono));
        there.counters.probes += 1;
        let datagram = probe::datagram(&probe, &there.settings.secret);
        turn.out.push(Output::Transmit { server: index(server), lane: lane_id, datagram });
        self.note_sent(turn, server, lane_id);
    }

    /// Asks every server that has not answered Status-Server yet, on each connection that stands.
    pub(super) fn ask_all(&mut self, turn: &mut Turn<'_>) {
        for server in 0..self.servers.len() {
            let there = &self.servers[server];
            let lanes = if there.counters.probe_answers > 0 { 0 } else { there.lanes.len() };
            for place in 1..=lanes {
                self.ask_status(turn, server, LaneId(u16::try_from(place).unwrap_or(u16::MAX)));
            }
        }
    }

    /// A record was answered, and a Status-Server that went out long before was not: this server answers none.
    fn overdue_probe(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let there = &mut self.servers[server];
        let is_unknown = there.knows_probes().is_none();
        let Some(connection) = there.lane(lane).and_then(|lane| lane.connection.as_mut()) else { return };
        let overdue = |sent: Instant| turn.now.mono >= sent + PROBATION_PATIENCE;
        if is_unknown && connection.probe.is_some_and(|(_, sent)| overdue(sent)) {
            connection.probe = None;
            there.knows_no_probes();
        }
    }

    /// Lets a connection carry records without proof; a server that is not used gets one to find out.
    fn trust(&mut self, turn: &mut Turn<'_>, server: usize, lane: LaneId) {
        let there = &mut self.servers[server];
        if let Some(connection) = there.lane(lane).and_then(|lane| lane.connection.as_mut()) {
            connection.stage = Stage::Trusted;
        }
        if matches!(there.health, Health::Suspect | Health::Dead) {
            there.enter(turn.now.mono, Health::Alive);
            there.window.slow_start(false);
            turn.out.push(Output::Health { server: index(server), health: Health::Alive });
        }
    }

    /// The revival timer ran out: open connections get a record to find out; one that is opened later does anyway.
    pub(super) fn revive_connections(&mut self, turn: &mut Turn<'_>, server: usize) {
        let is_open = |lane: &Lane| lane.link == Link::Open;
        let lanes = (1_u16..).map(LaneId).zip(&self.servers[server].lanes);
        let open: Vec<LaneId> = lanes.filter(|(_, lane)| is_open(lane)).map(|(number, _)| number).collect();
        for lane_id in open {
            self.trust(turn, server, lane_id);
        }
    }

    /// Watchdogs, patience, and Status-Server to a server that went silent.
    pub(super) fn tend_connections(&mut self, turn: &mut Turn<'_>, server: usize) {
        let lanes = (1..=u16::try_from(self.servers[server].lanes.len()).unwrap_or(u16::MAX)).map(LaneId);
        for lane_id in lanes.clone() {
            self.tend_watchdog(turn, server, lane_id);
            let there = &mut self.servers[server];
            let is_unknown = there.knows_probes().is_none();
            let patience = there.lane(lane_id).and_then(|lane| lane.connection.as_ref()?.patience_until());
            if is_unknown && patience.is_some_and(|until| until <= turn.now.mono) {
                self.trust(turn, server, lane_id);
                self.send_waiting(turn, server);
            }
        }
        let there = &mut self.servers[server];
        let is_doubtful = matches!(there.health, Health::Suspect | Health::ProbesOnly | Health::Dead);
        if is_doubtful && there.lanes.iter().all(|lane| lane.link == Link::Dormant) {
            self.wake_lane(turn, server);
        }
        let there = &mut self.servers[server];
        if there.next_probe.is_none_or(|at| at > turn.now.mono) {
            return;
        }
        if there.lanes.iter().any(|lane| lane.connection.as_ref().is_some_and(|there| there.probe.is_some())) {
            there.misses_probe();
        }
        there.tried();
        let goes_on = there.probes();
        there.next_probe = goes_on.then(|| turn.now.mono + turn.random.jitter(turn.settings.probe_interval));
        for lane_id in lanes {
            self.ask_status(turn, server, lane_id);
        }
    }

    fn tend_watchdog(&mut self, turn: &mut Turn<'_>, server: usize, lane_id: LaneId) {
        let there = &mut self.servers[server];
        let Some(lane) = there.lane(lane_id).filter(|lane| lane.link == Link::Open) else { return };
        let Some(connection) = lane.connection.as_mut() else { return };
        if connection.watch_at.is_none_or(|at| at > turn.now.mono) {
            return;
        }
        match connection.expired(turn.now.mono, turn.settings.watchdog, turn.random) {
            Bark::Ask => self.ask_status(turn, server, lane_id),
            Bark::Close => {
                let is_mute = there.last_authentic.is_none();
                if is_mute && !std::mem::replace(&mut there.told_mute, true) {
                    turn.out.push(Output::Alarm { server: index(server), alarm: Alarm::Mute });
                }
                let why = "nothing came for two periods of the watchdog";
                self.close_lane(turn, server, lane_id, Closing::Failed { why });
            }
        }
    }
}

/// Winds the watchdog of a lane as long as something is awaited on it.
fn heard(lane: &mut Lane, turn: &mut Turn<'_>) {
    let taken = lane.taken();
    if let Some(connection) = &mut lane.connection {
        let is_awaited = taken > 0 || connection.probe.is_some() || turn.settings.idle == Idle::KeptAlive;
        connection.heard(turn.now.mono, is_awaited, turn.settings.watchdog, turn.random);
    }
}
