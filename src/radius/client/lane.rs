//! Lanes: each one connected socket with its 256 identifiers, one of them kept for the watchdog on a connection.
//!
//! Identifiers are taken least recently used first (RFC 5080 §2.2.2). One whose request was abandoned is held back:
//! a server still working on that request would drop it for a new one with the same identifier.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::connection::Connection;
use super::visit::Task;
use super::{Closing, Idle, LANE_RETRY, Output, ServerIndex, Transport, Turn};
use crate::clock::Instant;

/// Identifiers of one lane.
pub const IDENTIFIERS: usize = 256;
/// How long the identifier of an abandoned request is held: FreeRADIUS works on a request for 30 s at most.
pub const ABANDONED_HOLD: Duration = Duration::from_secs(30);
/// How long the identifier of a request that was answered after a retransmission is held, for the second answer.
pub const DOUBLED_HOLD: Duration = Duration::from_secs(2);

/// Number of a lane of one server; 0 carries only Status-Server, and is not used on connections.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LaneId(pub u16);

impl LaneId {
    /// The lane for Status-Server: its own socket, so that probe and data cannot be confused.
    pub const PROBE: Self = Self(0);

    /// The number of the data lane in this place.
    fn of(place: usize) -> Self {
        Self(u16::try_from(place + 1).unwrap_or(u16::MAX))
    }
}

/// Whether the driver has the lane's socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Link {
    /// Asked for.
    Opening,
    /// There.
    Open,
    /// The server closed it because nobody used it; to be asked for again when somebody does.
    Dormant,
    /// Failed; to be asked for again then.
    Closed { retry_at: Instant },
    /// Its server has moved: what waits for an answer on it ends there, nothing new begins.
    Draining,
}

/// An abandoned request whose answer may still come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Resting {
    pub(super) task: Task,
    /// When it was sent first.
    pub(super) sent: Instant,
}

/// What an identifier stands for.
#[derive(Clone, Copy, Debug)]
struct Slot {
    /// The visit that waits for its answer.
    visit: Option<u32>,
    /// Authenticator of the last request under this identifier; kept to tell a late answer from a forged one.
    authenticator: Option<[u8; 16]>,
    /// The abandoned request under this identifier; kept until it is used again.
    resting: Option<Resting>,
}

impl Slot {
    const EMPTY: Self = Self { visit: None, authenticator: None, resting: None };
}

/// How the request under an identifier ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Release {
    /// One request, one answer.
    Answered,
    /// Answered after more than one transmission.
    Doubled,
    /// Given up without an answer.
    Abandoned,
}

#[derive(Debug)]
pub(super) struct Lane {
    link: Link,
    slots: Box<[Slot; IDENTIFIERS]>,
    free: VecDeque<u8>,
    /// Sorted by time within each queue.
    held_long: VecDeque<(Instant, u8)>,
    held_short: VecDeque<(Instant, u8)>,
    /// Requests under way.
    taken: usize,
    /// `None` for datagrams.
    connection: Option<Connection>,
}

/// Identifier of Status-Server on a connection (RFC 6613 §2.6.5).
pub(super) const WATCHDOG_IDENTIFIER: u8 = 0;

impl Lane {
    fn new(transport: Transport) -> Self {
        let is_stream = transport == Transport::Stream;
        Self {
            link: Link::Opening,
            slots: Box::new([Slot::EMPTY; IDENTIFIERS]),
            free: (u8::from(is_stream)..=u8::MAX).collect(),
            held_long: VecDeque::new(),
            held_short: VecDeque::new(),
            taken: 0,
            connection: is_stream.then(Connection::default),
        }
    }

    /// Identifiers that can be taken.
    fn room(&self) -> usize {
        if self.is_usable() { self.free.len() } else { 0 }
    }

    /// Whether requests may go out on it.
    fn is_usable(&self) -> bool {
        self.link == Link::Open && self.connection.as_ref().is_none_or(Connection::is_trusted)
    }

    /// Whether it will be opened for requests that wait for it.
    fn is_promised(&self) -> bool {
        match self.link {
            Link::Dormant => true,
            Link::Opening => self.connection.as_ref().is_some_and(Connection::is_promised),
            Link::Open | Link::Closed { .. } | Link::Draining => false,
        }
    }

    /// Its connection, while that is open.
    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        self.connection.as_mut().filter(|_| self.link == Link::Open)
    }

    /// Whether it is a connection, which has identifiers of its own.
    pub(super) fn is_connection(&self) -> bool {
        self.connection.is_some()
    }

    /// The socket is there; one to an earlier address is not wanted any more.
    pub(super) fn opened(&mut self) {
        if self.is_current() {
            self.link = Link::Open;
        }
    }

    /// The socket cannot be had, or was lost.
    pub(super) fn failed(&mut self, now: Instant) {
        if self.is_current() {
            self.link = Link::Closed { retry_at: now + LANE_RETRY };
        }
    }

    /// The connection it asked for is there. Returns it with whether it is on probation, as one that was lost is, or that
    /// of a server that `is_dead`, when Status-Server may be known.
    pub(super) fn connected(
        &mut self,
        now: Instant,
        may_prove: bool,
        is_dead: bool,
    ) -> Option<(&mut Connection, bool)> {
        if self.link != Link::Opening {
            return None;
        }
        let connection = self.connection.as_mut()?;
        let on_probation = may_prove && (connection.was_lost() || is_dead);
        connection.opened(now, on_probation);
        self.link = Link::Open;
        Some((connection, on_probation))
    }

    /// The connection ended, or could not be made. `None` when there was none to end.
    pub(super) fn closed(&mut self, turn: &mut Turn<'_>, how: Closing<'_>) -> Option<End> {
        let was_open = match self.link {
            Link::Open => true,
            Link::Opening => false,
            Link::Dormant | Link::Closed { .. } | Link::Draining => return None,
        };
        let visits = self.clear();
        let connection = self.connection.as_mut()?;
        if was_open && how.may_be_idle() && visits.is_empty() && connection.ends_idle(turn.now.mono) {
            connection.rest();
            self.link = Link::Dormant;
            return Some(End::Idle);
        }
        let why = how.why(connection.is_proven()).into();
        self.link = Link::Closed { retry_at: turn.now.mono + connection.lost(turn.random) };
        Some(End::Lost { visits, why })
    }

    /// An authentic answer came on a connection: its watchdog is wound as long as something is awaited on it.
    pub(super) fn heard(&mut self, turn: &mut Turn<'_>) {
        let is_busy = self.taken > 0;
        if let Some(connection) = self.connection() {
            let is_awaited = is_busy || connection.probe().is_some() || turn.settings.idle == Idle::KeptAlive;
            connection.heard(turn.now.mono, is_awaited, turn.settings.watchdog, turn.random);
        }
    }

    /// When its watchdog runs out, or the patience with a server that `may_know_no_probes`.
    fn watch_deadline(&self, may_know_no_probes: bool) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|_| self.link == Link::Open)?;
        let patience = connection.patience_until().filter(|_| may_know_no_probes);
        [connection.watched_until(), patience].into_iter().flatten().min()
    }

    /// Forgets all identifiers, those of an ended connection. Returns the visits that waited for an answer on it.
    fn clear(&mut self) -> Vec<u32> {
        let visits = self.slots.iter().filter_map(|slot| slot.visit).collect();
        let connection = self.connection.take();
        *self = Self { link: self.link, connection, ..Self::new(Transport::Stream) };
        visits
    }

    /// Whether nothing waits for an answer on it.
    fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.visit.is_none())
    }

    /// Whether it is, or will be, a lane to where the server is now.
    fn is_current(&self) -> bool {
        self.link != Link::Draining
    }

    /// Takes the identifier that was free the longest.
    pub(super) fn take(&mut self, visit: u32) -> Option<u8> {
        let identifier = if self.is_usable() { self.free.pop_front()? } else { return None };
        self.slots[usize::from(identifier)] = Slot { visit: Some(visit), ..Slot::EMPTY };
        self.taken += 1;
        Some(identifier)
    }

    /// Notes the authenticator of the request sent under an identifier.
    pub(super) fn sent(&mut self, identifier: u8, authenticator: [u8; 16]) {
        self.slots[usize::from(identifier)].authenticator = Some(authenticator);
    }

    pub(super) fn visit(&self, identifier: u8) -> Option<u32> {
        self.slots[usize::from(identifier)].visit
    }

    pub(super) fn authenticator(&self, identifier: u8) -> Option<[u8; 16]> {
        self.slots[usize::from(identifier)].authenticator
    }

    /// The request under this identifier was given up; its answer may still come.
    pub(super) fn rest(&mut self, identifier: u8, resting: Resting) {
        self.slots[usize::from(identifier)].resting = Some(resting);
    }

    /// The abandoned request under this identifier, once.
    pub(super) fn take_resting(&mut self, identifier: u8) -> Option<Resting> {
        self.slots[usize::from(identifier)].resting.take()
    }

    pub(super) fn release(&mut self, now: Instant, identifier: u8, how: Release) {
        if self.slots[usize::from(identifier)].visit.take().is_none() {
            return;
        }
        self.taken -= 1;
        match how {
            Release::Answered => self.free.push_back(identifier),
            Release::Doubled => self.held_short.push_back((now + DOUBLED_HOLD, identifier)),
            Release::Abandoned => self.held_long.push_back((now + ABANDONED_HOLD, identifier)),
        }
    }

    /// Frees identifiers whose hold is over.
    fn collect(&mut self, now: Instant) {
        for held in [&mut self.held_short, &mut self.held_long] {
            while let Some(&(until, identifier)) = held.front()
                && until <= now
            {
                held.pop_front();
                self.free.push_back(identifier);
            }
        }
    }

    /// When the next held identifier comes free.
    fn next_free(&self) -> Option<Instant> {
        [&self.held_short, &self.held_long].iter().filter_map(|held| held.front()).map(|(until, _)| *until).min()
    }
}

/// How a connection ended.
#[derive(Debug)]
pub(super) enum End {
    /// Nobody needed it.
    Idle,
    /// It failed or was lost, and with it the requests of these visits.
    Lost { visits: Vec<u32>, why: Arc<str> },
}

/// The lanes to one server, and the visits that wait for one.
#[derive(Debug)]
pub(super) struct Lanes {
    server: ServerIndex,
    all: Vec<Lane>,
    /// Visits that wait for a connection, first come first.
    waiting: VecDeque<u32>,
    /// How the last connection failed or ended.
    trouble: Option<Arc<str>>,
}

impl Lanes {
    pub(super) fn new(server: ServerIndex) -> Self {
        Self { server, all: Vec::new(), waiting: VecDeque::new(), trouble: None }
    }

    /// Data lane by number.
    pub(super) fn get(&mut self, lane: LaneId) -> Option<&mut Lane> {
        self.all.get_mut(usize::from(lane.0).checked_sub(1)?)
    }

    /// The connection of a lane, while it is open.
    pub(super) fn connection(&mut self, lane: LaneId) -> Option<&mut Connection> {
        self.get(lane)?.connection()
    }

    /// The numbers of all of them.
    pub(super) fn ids(&self) -> impl Iterator<Item = LaneId> + use<> {
        (0..self.all.len()).map(LaneId::of)
    }

    /// Those that are open.
    pub(super) fn open(&self) -> impl Iterator<Item = LaneId> {
        self.all.iter().enumerate().filter(|(_, lane)| lane.link == Link::Open).map(|(place, _)| LaneId::of(place))
    }

    /// Requests that can be sent or that a connection will be opened for, those spoken for left out.
    pub(super) fn room(&self) -> usize {
        let promised = self.all.iter().filter(|lane| lane.is_promised()).count();
        self.free() + (promised * (IDENTIFIERS - 1)).saturating_sub(self.waiting.len())
    }

    /// Identifiers that can be taken now.
    fn free(&self) -> usize {
        self.all.iter().map(Lane::room).sum()
    }

    /// Whether there is a lane that requests can go out on, or one that will be opened for them.
    pub(super) fn has_path(&self) -> bool {
        self.all.iter().any(|lane| lane.is_usable() || lane.is_promised())
    }

    /// Frees identifiers whose hold is over.
    pub(super) fn collect(&mut self, now: Instant) {
        self.all.iter_mut().for_each(|lane| lane.collect(now));
    }

    fn usable(&self) -> usize {
        self.all.iter().filter(|lane| lane.is_usable()).count()
    }

    /// Identifiers on the lanes that requests go out on run short: three quarters are taken.
    fn runs_short(&self) -> bool {
        let usable = self.usable();
        usable > 0 && self.free() * 4 <= usable * IDENTIFIERS
    }

    /// Whether another lane should be opened: identifiers run short, or there is no lane. While one is being opened or is on
    /// probation it is waited for.
    fn wants_another(&self, lanes_max: u16) -> bool {
        let current = self.all.iter().filter(|lane| lane.is_current()).count();
        current < usize::from(lanes_max) && self.usable() == current && (current == 0 || self.runs_short())
    }

    /// Asks for one lane more when identifiers run short; not to a server without an address.
    pub(super) fn ask(&mut self, turn: &mut Turn<'_>, has_address: bool) {
        if has_address && self.wants_another(turn.settings.lanes_max) {
            let lane = self.add(turn.settings.transport);
            turn.out.push(Output::OpenLane { server: self.server, lane });
        } else if self.runs_short() {
            self.wake(turn);
        }
    }

    /// A new lane; the place of one to an earlier address is taken when nothing waits on it any more.
    fn add(&mut self, transport: Transport) -> LaneId {
        let idle = self.all.iter().position(|lane| !lane.is_current() && lane.is_idle());
        let place = idle.unwrap_or(self.all.len());
        match self.all.get_mut(place) {
            Some(lane) => *lane = Lane::new(transport),
            None => self.all.push(Lane::new(transport)),
        }
        LaneId::of(place)
    }

    /// Opens a connection that was closed for idleness, unless one is being opened.
    pub(super) fn wake(&mut self, turn: &mut Turn<'_>) {
        if self.all.iter().any(|lane| lane.link == Link::Opening) {
            return;
        }
        let Some(place) = self.all.iter().position(|lane| lane.link == Link::Dormant) else { return };
        let lane = &mut self.all[place];
        lane.link = Link::Opening;
        if let Some(connection) = &mut lane.connection {
            connection.promise();
        }
        turn.out.push(Output::OpenLane { server: self.server, lane: LaneId::of(place) });
    }

    /// Opens those whose time to try again has come.
    pub(super) fn tend(&mut self, turn: &mut Turn<'_>) {
        let now = turn.now.mono;
        for (place, lane) in self.all.iter_mut().enumerate() {
            lane.collect(now);
            if matches!(lane.link, Link::Closed { retry_at } if retry_at <= now) {
                lane.link = Link::Opening;
                turn.out.push(Output::OpenLane { server: self.server, lane: LaneId::of(place) });
            }
        }
    }

    /// The server is at another address: they drain, and nothing waits for one of them.
    pub(super) fn drain(&mut self) {
        self.all.iter_mut().for_each(|lane| lane.link = Link::Draining);
        self.waiting.clear();
        self.trouble = None;
    }

    /// How the last connection failed or ended.
    pub(super) fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// The same, in words for a record that waits.
    pub(super) fn why(&self) -> Arc<str> {
        self.trouble.clone().unwrap_or_else(|| "it is still being opened".into())
    }

    /// A connection ended, or could not be made. `None` when there was none to end.
    pub(super) fn closed(&mut self, turn: &mut Turn<'_>, lane: LaneId, how: Closing<'_>) -> Option<End> {
        let end = self.get(lane)?.closed(turn, how)?;
        if let End::Lost { why, .. } = &end {
            self.trouble = Some(Arc::clone(why));
        }
        Some(end)
    }

    /// Whether there is none to where the server is now.
    pub(super) fn is_empty(&self) -> bool {
        !self.all.iter().any(Lane::is_current)
    }

    /// Whether none to where the server is now has a socket or waits for one.
    pub(super) fn are_closed(&self) -> bool {
        self.all.iter().filter(|lane| lane.is_current()).all(|lane| matches!(lane.link, Link::Closed { .. }))
    }

    /// Whether all are connections that were closed for idleness.
    pub(super) fn are_dormant(&self) -> bool {
        self.all.iter().all(|lane| lane.link == Link::Dormant)
    }

    /// Whether a Status-Server is under way on one.
    pub(super) fn has_probe(&self) -> bool {
        self.all.iter().any(|lane| lane.connection.as_ref().is_some_and(|connection| connection.probe().is_some()))
    }

    /// The first lane with a quarter of its identifiers free, else the one with the most; few sockets stay busy.
    pub(super) fn pick(&self) -> Option<LaneId> {
        let first = self.all.iter().position(|lane| lane.room() * 4 > IDENTIFIERS);
        let most = || (0..self.all.len()).max_by_key(|&place| self.all[place].room());
        first.or_else(most).filter(|&place| self.all[place].room() > 0).map(LaneId::of)
    }

    /// A visit waits for a connection.
    pub(super) fn wait(&mut self, slot: u32) {
        self.waiting.push_back(slot);
    }

    /// The visit that waits the longest, when there is a lane for it.
    pub(super) fn next_waiting(&mut self) -> Option<u32> {
        self.pick().and_then(|_| self.waiting.pop_front())
    }

    /// It could not be sent: it goes on waiting before all others.
    pub(super) fn wait_again(&mut self, slot: u32) {
        self.waiting.push_front(slot);
    }

    /// Its visit ended.
    pub(super) fn waits_no_more(&mut self, slot: u32) {
        self.waiting.retain(|waiting| *waiting != slot);
    }

    /// The visits that wait.
    pub(super) fn waiting(&self) -> &VecDeque<u32> {
        &self.waiting
    }

    /// When something is due on one; a held identifier matters only while there `is_no_room`.
    pub(super) fn deadline(&self, is_no_room: bool, may_know_no_probes: bool) -> Option<Instant> {
        let sockets = self.all.iter().filter_map(|lane| match lane.link {
            Link::Closed { retry_at } => Some(retry_at),
            Link::Open if is_no_room => lane.next_free(),
            Link::Open | Link::Opening | Link::Dormant | Link::Draining => None,
        });
        sockets.chain(self.all.iter().filter_map(|lane| lane.watch_deadline(may_know_no_probes))).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open() -> Lane {
        opened(Transport::Datagram)
    }

    fn opened(transport: Transport) -> Lane {
        let mut lane = Lane::new(transport);
        lane.link = Link::Open;
        lane
    }

    #[test]
    fn identifiers_are_taken_least_recently_used_first() {
        let mut lane = open();
        let first: Vec<u8> = (0..3).filter_map(|visit| lane.take(visit)).collect();
        assert_eq!(first, [0, 1, 2]);
        lane.release(Instant(0), 1, Release::Answered);
        let rest: Vec<u8> = (0..254).filter_map(|visit| lane.take(visit)).collect();
        assert_eq!((rest.len(), rest[0], rest[253]), (254, 3, 1));
        assert_eq!(lane.take(0), None, "256 are outstanding");
    }

    #[test]
    fn an_identifier_is_held_after_its_request_was_abandoned() {
        for (how, seconds) in [(Release::Abandoned, 30), (Release::Doubled, 2)] {
            let mut lane = open();
            for visit in 0..256 {
                lane.take(visit);
            }
            lane.release(Instant(0), 7, how);
            lane.release(Instant(0), 7, Release::Answered);
            let end = Instant(seconds * 1_000_000);
            assert_eq!(lane.next_free(), Some(end));
            lane.collect(Instant(end.0 - 1));
            assert_eq!(lane.room(), 0, "{how:?} too early");
            lane.collect(end);
            assert_eq!(lane.take(1), Some(7), "{how:?}");
        }
    }

    #[test]
    fn a_lane_without_a_socket_has_no_room() {
        let mut lane = Lane::new(Transport::Datagram);
        assert_eq!((lane.room(), lane.take(0)), (0, None));
    }

    #[test]
    fn a_connection_keeps_one_identifier_back_and_forgets_all_when_it_ends() {
        let mut lane = opened(Transport::Stream);
        let all: Vec<u8> = (0..300).filter_map(|visit| lane.take(visit)).collect();
        assert_eq!((all.len(), all[0], lane.taken), (255, 1, 255), "0 is the watchdog's");
        lane.release(Instant(0), 9, Release::Abandoned);
        let visits = lane.clear();
        assert_eq!((visits.len(), lane.room(), lane.taken, lane.next_free()), (254, 255, 0, None));
    }
}
