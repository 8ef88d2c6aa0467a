//! A lane: one connected socket with its 256 identifiers, one of them kept for the watchdog on a connection.
//!
//! Identifiers are taken least recently used first (RFC 5080 §2.2.2). One whose request was abandoned is held back:
//! a server still working on that request would drop it for a new one with the same identifier.

use std::collections::VecDeque;
use std::time::Duration;

use super::Transport;
use super::connection::Connection;
use super::visit::Task;
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
    pub(super) link: Link,
    slots: Box<[Slot; IDENTIFIERS]>,
    free: VecDeque<u8>,
    /// Sorted by time within each queue.
    held_long: VecDeque<(Instant, u8)>,
    held_short: VecDeque<(Instant, u8)>,
    /// Requests under way.
    taken: usize,
    /// `None` for datagrams.
    pub(super) connection: Option<Connection>,
}

/// Identifier of Status-Server on a connection (RFC 6613 §2.6.5).
pub(super) const WATCHDOG_IDENTIFIER: u8 = 0;

impl Lane {
    pub(super) fn new(transport: Transport) -> Self {
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
    pub(super) fn room(&self) -> usize {
        if self.is_usable() { self.free.len() } else { 0 }
    }

    /// Whether requests may go out on it.
    pub(super) fn is_usable(&self) -> bool {
        self.link == Link::Open && self.connection.as_ref().is_none_or(Connection::is_trusted)
    }

    /// Whether it will be opened for requests that wait for it.
    pub(super) fn is_promised(&self) -> bool {
        match self.link {
            Link::Dormant => true,
            Link::Opening => self.connection.as_ref().is_some_and(|connection| connection.is_promised),
            Link::Open | Link::Closed { .. } | Link::Draining => false,
        }
    }

    /// Requests under way.
    pub(super) fn taken(&self) -> usize {
        self.taken
    }

    /// When its watchdog runs out, or the patience with a server that `may_know_no_probes`.
    pub(super) fn watch_deadline(&self, may_know_no_probes: bool) -> Option<Instant> {
        let connection = self.connection.as_ref().filter(|_| self.link == Link::Open)?;
        let patience = connection.patience_until().filter(|_| may_know_no_probes);
        [connection.watch_at, patience].into_iter().flatten().min()
    }

    /// Forgets all identifiers, those of an ended connection. Returns the visits that waited for an answer on it.
    pub(super) fn clear(&mut self) -> Vec<u32> {
        let visits = self.slots.iter().filter_map(|slot| slot.visit).collect();
        let connection = self.connection.take();
        *self = Self { link: self.link, connection, ..Self::new(Transport::Stream) };
        visits
    }

    /// Whether nothing waits for an answer on it.
    pub(super) fn is_idle(&self) -> bool {
        self.slots.iter().all(|slot| slot.visit.is_none())
    }

    /// Whether it is, or will be, a lane to where the server is now.
    pub(super) fn is_current(&self) -> bool {
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
    pub(super) fn collect(&mut self, now: Instant) {
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
    pub(super) fn next_free(&self) -> Option<Instant> {
        [&self.held_short, &self.held_long].iter().filter_map(|held| held.front()).map(|(until, _)| *until).min()
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
        assert_eq!((all.len(), all[0], lane.taken()), (255, 1, 255), "0 is the watchdog's");
        lane.release(Instant(0), 9, Release::Abandoned);
        let visits = lane.clear();
        assert_eq!((visits.len(), lane.room(), lane.taken(), lane.next_free()), (254, 255, 0, None));
    }
}
