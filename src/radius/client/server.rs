//! One server: where it is, what is under way to it, and its parts: how it stands, its lanes, its window, the line of
//! suspects, and what a person was told of it.

use std::net::SocketAddr;

use bytes::Bytes;

use super::connection::{Bark, Connection};
use super::counters::Counters;
use super::doubt::Acknowledged;
use super::lane::{End, LaneId, Lanes, Release, Resting, WATCHDOG_IDENTIFIER};
use super::line::Line;
use super::probe::Probe;
use super::signing;
use super::standing::{Standing, Suspicion};
use super::told::Told;
use super::visit::{Task, Visit};
use super::window::Window;
use super::{
    Alarm, Closing, Health, Idle, Output, Reason, ServerIndex, ServerSettings, ServerStatus, Settings, Transport, Turn,
};
use crate::clock::Instant;
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

/// What came back to a Status-Server on a connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Echo {
    /// None was under way.
    Stale,
    /// What cannot be verified.
    Forged,
    /// Its answer.
    Authentic,
}

#[derive(Debug)]
pub(super) struct Server {
    pub(super) index: ServerIndex,
    pub(super) settings: ServerSettings,
    pub(super) standing: Standing,
    pub(super) lanes: Lanes,
    pub(super) line: Line,
    pub(super) window: Window,
    pub(super) acknowledged: Acknowledged,
    pub(super) told: Told,
    pub(super) counters: Counters,
}

impl Server {
    pub(super) fn new(now: Instant, index: ServerIndex, settings: ServerSettings, common: &Settings) -> Self {
        Self {
            index,
            standing: Standing::new(now, index, is_address(settings.address), common.probing),
            settings,
            lanes: Lanes::new(index),
            line: Line::default(),
            window: Window::new(now, common),
            acknowledged: Acknowledged::default(),
            told: Told::default(),
            counters: Counters::default(),
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.settings.address
    }

    pub(super) fn status(&self) -> ServerStatus {
        ServerStatus {
            address: self.address(),
            health: self.standing.health(),
            since: self.standing.since(),
            outstanding: self.window.outstanding(),
            window: self.window.size(),
            lanes: self.lanes.open().count(),
            round_trip: self.window.round_trip(),
            counters: self.counters,
        }
    }

    /// Records that may go here now.
    pub(super) fn room(&self) -> usize {
        if self.line.holds() {
            return 0;
        }
        let limit = self.standing.limit(self.window.size(), self.window.outstanding());
        limit.saturating_sub(self.window.outstanding()).min(self.lanes.room())
    }

    /// When something is due here, visits aside.
    pub(super) fn deadline(&self, settings: &Settings) -> Option<Instant> {
        let is_no_room = self.standing.is_usable() && self.room() == 0;
        let lanes = self.lanes.deadline(is_no_room, self.standing.knows_probes().is_none());
        let first = (self.lanes.is_empty() && is_address(self.address())).then_some(Instant(0));
        [self.standing.deadline(settings), self.line.deadline(), lanes, first].into_iter().flatten().min()
    }

    /// It is at another address now, where nothing is known of it yet: it begins anew, while the lanes to the old address
    /// drain. Connections that are there are good as they are; further ones lead to the new address.
    pub(super) fn moved(&mut self, turn: &mut Turn<'_>, address: SocketAddr) {
        let had_address = is_address(std::mem::replace(&mut self.settings.address, address));
        if turn.settings.transport == Transport::Datagram || !had_address {
            self.standing.moved(turn, is_address(address));
            self.lanes.drain();
            self.line = Line::default();
            self.window.moved(turn.now.mono, turn.settings);
            self.acknowledged = Acknowledged::default();
            self.told = Told::default();
        }
        self.tend_lanes(turn);
    }

    // What goes out.

    /// Builds and signs a request in `octets` under a fresh identifier.
    pub(super) fn sign(
        &mut self,
        turn: &Turn<'_>,
        (slot, task): (u32, &Task),
        attributes: &[u8],
        octets: &mut Vec<u8>,
    ) -> Result<(LaneId, u8), Reason> {
        let id = self.lanes.pick().ok_or(Reason::NoRoom)?;
        let lane = self.lanes.get(id).ok_or(Reason::NoRoom)?;
        signing::build(turn, &self.settings, task.since, attributes, octets)?;
        let identifier = lane.take(slot).ok_or(Reason::NoRoom)?;
        lane.sent(identifier, signing::sign(&self.settings, identifier, octets));
        Ok((id, identifier))
    }

    /// A visit begins that waits for its turn to be sent, or was sent just now.
    pub(super) fn begins(&mut self) {
        self.window.begins();
        self.counters.requests += 1;
    }

    /// A visit waits for a connection, which is opened unless one is.
    pub(super) fn wait(&mut self, turn: &mut Turn<'_>, slot: u32) {
        self.begins();
        self.lanes.wait(slot);
        self.lanes.wake(turn);
    }

    /// Sends a request; a connection winds its watchdog.
    pub(super) fn transmit(&mut self, turn: &mut Turn<'_>, lane: LaneId, datagram: Bytes) {
        turn.out.push(Output::Transmit { server: self.index, lane, datagram });
        if let Some(connection) = self.lanes.connection(lane) {
            connection.sent(turn.now.mono, turn.settings.watchdog, turn.random);
        }
    }

    /// A request that waited for its answer is sent again.
    pub(super) fn retransmits(&mut self, now: Instant) {
        self.counters.retransmissions += 1;
        self.standing.transmitted(now);
    }

    /// The wait for an answer ran out, the `first` one of its visit perhaps.
    pub(super) fn ran_out(&mut self, turn: &Turn<'_>, first: bool) {
        self.standing.ran_out();
        if first {
            self.window.ran_out(turn.now.mono, turn.settings);
        }
    }

    /// A visit has ended: its identifiers come free, the one answered, if any, at once.
    pub(super) fn visit_ended(&mut self, turn: &Turn<'_>, slot: u32, visit: &Visit, answered: Option<(LaneId, u8)>) {
        if visit.is_in_line() {
            self.line.remove(slot);
            return;
        }
        self.window.ended();
        self.line.ended(slot, turn.now.mono + turn.settings.response_window);
        if visit.is_unsent() {
            self.lanes.waits_no_more(slot);
        }
        for &(lane, identifier) in visit.identifiers() {
            let how = match answered {
                Some(there) if there != (lane, identifier) => Release::Abandoned,
                Some(_) if visit.transmissions() > 1 => Release::Doubled,
                Some(_) => Release::Answered,
                None => Release::Abandoned,
            };
            if let Some(lane) = self.lanes.get(lane) {
                lane.release(turn.now.mono, identifier, how);
                if answered.is_none() {
                    lane.rest(identifier, Resting { task: *visit.task(), sent: visit.started() });
                }
            }
        }
    }

    // What comes in.

    /// The packet in these octets; counts what is none.
    pub(super) fn parse<'p>(&mut self, octets: &'p [u8]) -> Option<Packet<'p>> {
        let packet = Packet::parse(octets).ok();
        self.counters.malformed += u64::from(packet.is_none());
        packet
    }

    /// Finds the request of an answer by its identifier; counts and passes over an answer to none.
    pub(super) fn request_of(&mut self, id: LaneId, packet: &Packet<'_>) -> Option<Request> {
        let identifier = packet.identifier();
        let lane = self.lanes.get(id)?;
        let (visit, Some(authenticator)) = (lane.visit(identifier), lane.authenticator(identifier)) else {
            self.counters.unknown += 1;
            return None;
        };
        let is_authentic = signing::is_authentic(packet, &authenticator, &self.settings.secret, lane.is_connection());
        let resting = if is_authentic { lane.take_resting(identifier) } else { None };
        Some(Request { visit, resting, is_authentic })
    }

    /// An authentic answer to a record came. Returns whether its health is another now.
    pub(super) fn heard(&mut self, turn: &mut Turn<'_>) -> bool {
        self.told.heard();
        let health = self.standing.heard(turn.now.mono);
        self.come_back(turn, health)
    }

    /// A Status-Server was answered. Returns whether its health is another now.
    fn probe_answered(&mut self, turn: &mut Turn<'_>) -> bool {
        self.counters.probe_answers += 1;
        self.told.heard();
        let health = self.standing.probe_answered(turn.now.mono);
        self.come_back(turn, health)
    }

    fn come_back(&mut self, turn: &mut Turn<'_>, health: Option<Health>) -> bool {
        let Some(health) = health else { return false };
        let was_dead = self.standing.is(Health::Dead);
        self.standing.come_back(turn, health);
        if was_dead {
            self.window.slow_start(true);
        } else if health == Health::Alive {
            self.window.regrow();
        }
        true
    }

    /// An answer that cannot be verified.
    pub(super) fn heard_bad(&mut self, turn: &mut Turn<'_>) {
        self.counters.bad_authenticator += 1;
        let alarm = self.told.heard_bad(turn.settings.transport);
        self.tell(turn, alarm);
    }

    /// It has stored a record that was sent at `sent`.
    pub(super) fn stored(&mut self, turn: &Turn<'_>, task: &Task, sent: Instant) {
        self.told.stored();
        self.acknowledges(turn, task, sent);
    }

    /// The same, told after the visit.
    pub(super) fn stored_late(&mut self, turn: &Turn<'_>, resting: &Resting) {
        self.counters.stored_late += 1;
        self.acknowledges(turn, &resting.task, resting.sent);
    }

    fn acknowledges(&mut self, turn: &Turn<'_>, task: &Task, sent: Instant) {
        self.window.measured(turn.now.mono, sent);
        self.counters.stored += 1;
        self.acknowledged.note(turn.now, task);
        self.window.grow(turn.now.mono);
    }

    /// It has refused a record. Returns whether it has ever stored one.
    pub(super) fn refused_record(&mut self) -> bool {
        self.counters.refused += 1;
        self.counters.stored > 0
    }

    /// It says that it does no accounting, and nothing it did before speaks against that.
    pub(super) fn refuses_accounting(&mut self, turn: &mut Turn<'_>) {
        if !self.standing.is(Health::Refusing) {
            self.standing.enter(turn, Health::Refusing);
            self.tell(turn, Some(Alarm::RefusesAccounting));
        }
    }

    /// It has answered with a code that is no accounting.
    pub(super) fn answered_otherwise(&mut self, turn: &mut Turn<'_>, code: Code) {
        self.counters.wrong_code += 1;
        let alarm = self.told.wrong_code(code);
        self.tell(turn, alarm);
    }

    fn tell(&self, turn: &mut Turn<'_>, alarm: Option<Alarm>) {
        turn.out.extend(alarm.map(|alarm| Output::Alarm { server: self.index, alarm }));
    }

    /// Something came on the socket for Status-Server. Returns whether its health is another now.
    pub(super) fn probe_received(&mut self, turn: &mut Turn<'_>, datagram: &[u8]) -> bool {
        let Some(packet) = self.parse(datagram) else { return false };
        match self.standing.probe() {
            Some(probe) if probe.is_answered_by(&packet, &self.settings.secret) => return self.probe_answered(turn),
            Some(probe) if packet.identifier() == probe.identifier() && packet.code() != Code::ACCESS_REJECT => {
                self.heard_bad(turn);
            }
            _ => self.counters.late += 1,
        }
        false
    }

    // Sockets and health.

    /// The socket of a lane is there.
    pub(super) fn lane_opened(&mut self, id: LaneId) {
        if id == LaneId::PROBE {
            self.standing.link_opened();
        } else if let Some(lane) = self.lanes.get(id) {
            lane.opened();
        }
    }

    /// The socket of a lane cannot be had, or was lost. Returns whether there is none left.
    pub(super) fn lane_failed(&mut self, turn: &Turn<'_>, id: LaneId) -> bool {
        if id == LaneId::PROBE {
            self.standing.link_failed(turn.now.mono);
        } else if let Some(lane) = self.lanes.get(id) {
            lane.failed(turn.now.mono);
        }
        self.lanes.are_closed()
    }

    /// Nobody listens there.
    pub(super) fn unreachable(&mut self, lane: LaneId) {
        self.counters.unreachable += 1;
        if lane == LaneId::PROBE {
            self.standing.probe_missed();
        }
    }

    /// Opens lanes that are wanted and those whose time to try again has come.
    pub(super) fn tend_lanes(&mut self, turn: &mut Turn<'_>) {
        self.ask_for_lane(turn);
        self.lanes.tend(turn);
    }

    /// Asks for one lane more when identifiers run short.
    pub(super) fn ask_for_lane(&mut self, turn: &mut Turn<'_>) {
        self.lanes.ask(turn, is_address(self.settings.address));
    }

    /// Suspects, buries and revives. Returns whether it has died: its visits end.
    pub(super) fn tend_health(&mut self, turn: &mut Turn<'_>) -> bool {
        self.standing.tend_trial(turn.now.mono);
        self.line.tend(turn.now.mono);
        if self.standing.is_silent(turn) {
            self.standing.suspect(turn, Suspicion::Silent);
        } else if self.standing.is_gone(turn) {
            self.standing.die(turn);
            return true;
        } else if self.standing.rises(turn.now.mono) {
            match turn.settings.transport {
                Transport::Datagram => self.revive(turn),
                // Those that stand get a record to find out; one that is opened later does anyway.
                Transport::Stream => {
                    self.lanes.open().collect::<Vec<_>>().into_iter().for_each(|id| self.trust(turn, id));
                }
            }
        }
        false
    }

    /// It is used again, with a small window, though nothing proves that it lives.
    fn revive(&mut self, turn: &mut Turn<'_>) {
        self.standing.enter(turn, Health::Alive);
        self.window.slow_start(false);
    }

    /// Sends a Status-Server when it is time, from a socket of its own.
    pub(super) fn probe(&mut self, turn: &mut Turn<'_>) {
        if let Some(probe) = self.standing.next_probe(turn) {
            let datagram = probe.datagram(&self.settings.secret);
            self.counters.probes += 1;
            turn.out.push(Output::Transmit { server: self.index, lane: LaneId::PROBE, datagram });
        }
    }

    // Connections.

    /// A connection is there. Returns whether records may go out on it.
    pub(super) fn connected(&mut self, turn: &mut Turn<'_>, id: LaneId) -> bool {
        let may_prove = self.standing.knows_probes() != Some(false);
        let is_dead = self.standing.is(Health::Dead);
        let Some(lane) = self.lanes.get(id) else { return false };
        let Some((connection, on_probation)) = lane.connected(turn.now.mono, may_prove, is_dead) else { return false };
        if on_probation {
            self.ask_status(turn, id);
            return false;
        }
        if turn.settings.idle == Idle::KeptAlive {
            connection.wind(turn.now.mono, turn.settings.watchdog, turn.random);
        }
        self.trust(turn, id);
        true
    }

    /// Lets a connection carry records without proof; a server that is not used gets one to find out.
    fn trust(&mut self, turn: &mut Turn<'_>, lane: LaneId) {
        if let Some(connection) = self.lanes.connection(lane) {
            connection.trust();
        }
        if matches!(self.standing.health(), Health::Suspect | Health::Dead) {
            self.revive(turn);
        }
    }

    /// A connection ended, or could not be made. Returns the visits whose requests were lost with it; `None` when it was idle or
    /// had ended before.
    pub(super) fn closed(&mut self, turn: &mut Turn<'_>, lane: LaneId, how: Closing<'_>) -> Option<Vec<u32>> {
        self.counters.malformed += u64::from(matches!(how, Closing::Malformed { .. }));
        match self.lanes.closed(turn, lane, how)? {
            End::Idle => {
                self.wake_for_waiting(turn);
                None
            }
            End::Lost { visits, why } => {
                self.counters.unreachable += 1;
                self.standing.lost();
                turn.out.push(Output::Lost { server: self.index, why });
                if self.lanes.open().next().is_none() {
                    self.standing.suspect(turn, Suspicion::Gone);
                }
                Some(visits)
            }
        }
    }

    /// Opens a connection that was closed for idleness when visits wait for one.
    pub(super) fn wake_for_waiting(&mut self, turn: &mut Turn<'_>) {
        if !self.lanes.waiting().is_empty() {
            self.lanes.wake(turn);
        }
    }

    /// Sends a Status-Server on a connection, unless one is under way: each is a new packet (RFC 5997 §4.3).
    pub(super) fn ask_status(&mut self, turn: &mut Turn<'_>, lane: LaneId) {
        let probe = Probe::new(WATCHDOG_IDENTIFIER, turn.random);
        let connection = self.lanes.connection(lane).filter(|connection| connection.probe().is_none());
        let Some(connection) = connection else { return };
        connection.probed(turn.now.mono, probe);
        self.counters.probes += 1;
        self.transmit(turn, lane, probe.datagram(&self.settings.secret));
    }

    /// Asks for its status on each connection that stands, unless it has answered that before.
    pub(super) fn ask_all(&mut self, turn: &mut Turn<'_>) {
        if self.counters.probe_answers == 0 {
            self.lanes.ids().for_each(|lane| self.ask_status(turn, lane));
        }
    }

    /// The answer to a Status-Server on a connection.
    pub(super) fn status_received(&mut self, turn: &mut Turn<'_>, lane: LaneId, packet: &Packet<'_>) -> Echo {
        let Some(probe) = self.lanes.connection(lane).and_then(|connection| connection.probe()) else {
            self.counters.late += 1;
            return Echo::Stale;
        };
        if !probe.is_answered_by(packet, &self.settings.secret) {
            return Echo::Forged;
        }
        self.probe_answered(turn);
        let asks_again = self.lanes.connection(lane).is_some_and(Connection::probe_answered);
        self.heard_on(turn, lane);
        if asks_again || self.standing.is(Health::Dead) {
            self.ask_status(turn, lane);
        }
        Echo::Authentic
    }

    fn heard_on(&mut self, turn: &mut Turn<'_>, lane: LaneId) {
        if let Some(lane) = self.lanes.get(lane) {
            lane.heard(turn);
        }
    }

    /// A record was answered on a connection. If a Status-Server that went out long before was not, it answers none.
    pub(super) fn record_answered_on(&mut self, turn: &mut Turn<'_>, lane: LaneId) {
        let is_unknown = self.standing.knows_probes().is_none();
        let Some(connection) = self.lanes.connection(lane) else { return };
        if is_unknown && connection.gives_up_probe(turn.now.mono) {
            self.standing.knows_no_probes();
        }
        self.heard_on(turn, lane);
    }

    /// Looks at the watchdog of a connection. Returns whether the connection is to be closed.
    pub(super) fn watch(&mut self, turn: &mut Turn<'_>, lane: LaneId) -> bool {
        let connection = self.lanes.connection(lane);
        let bark = connection.and_then(|there| there.watch(turn.now.mono, turn.settings.watchdog, turn.random));
        match bark {
            None => return false,
            Some(Bark::Ask) => self.ask_status(turn, lane),
            Some(Bark::Close) => {
                if self.standing.is_mute() {
                    let alarm = self.told.mute();
                    self.tell(turn, alarm);
                }
                return true;
            }
        }
        false
    }

    /// The patience with a server that may not know Status-Server has ended: records may go out on this connection.
    pub(super) fn loses_patience(&mut self, turn: &mut Turn<'_>, lane: LaneId) -> bool {
        let is_unknown = self.standing.knows_probes().is_none();
        let patience = self.lanes.connection(lane).and_then(|connection| connection.patience_until());
        let is_over = is_unknown && patience.is_some_and(|until| until <= turn.now.mono);
        if is_over {
            self.trust(turn, lane);
        }
        is_over
    }

    /// Asks a server that went silent on all its connections, when it is time; one that has closed them for idleness gets one.
    pub(super) fn probe_connections(&mut self, turn: &mut Turn<'_>) {
        if self.standing.is_doubtful() && self.lanes.are_dormant() {
            self.lanes.wake(turn);
        }
        if self.standing.probes_connections(turn, self.lanes.has_probe()) {
            self.lanes.ids().for_each(|lane| self.ask_status(turn, lane));
        }
    }

    // Suspects.

    /// The next suspect, when nothing else is under way.
    pub(super) fn next_suspect(&mut self, turn: &mut Turn<'_>) -> Option<u32> {
        if self.window.outstanding() > 0 || !self.line.may_go() {
            return None;
        }
        if self.lanes.pick().is_none() {
            self.lanes.wake(turn);
            return None;
        }
        self.line.pop()
    }
}

fn is_address(address: SocketAddr) -> bool {
    !address.ip().is_unspecified()
}
