//! The accounting client as a machine: lanes and identifiers, RFC 5080 retransmission, the meaning of answers, health of
//! servers, failover (RFC 2866 §4.1, RFC 5080 §2.2, RFC 5997).
//!
//! A record is handed in as encoded attributes with its key; it ends in exactly one of [`Output::Delivered`],
//! [`Output::Retry`] and [`Output::Park`]. An answer that comes after the visit still counts, as long as its identifier was
//! not used again: then [`Output::Delivered`] follows an [`Output::Retry`]. One stay at one server is a *visit*; a failed visit goes on to the next
//! server that lives, and after the last the record goes back to the queue. Nothing is dropped here.
//!
//! Over TCP and TLS ([`Transport::Stream`], RFC 6613, RFC 6614) a lane is a connection. A request is sent once on it, and
//! once more on another connection when the first is lost before the answer; see `streams`.

mod answer;
mod connection;
mod delay;
mod doubt;
mod health;
mod lane;
mod line;
mod probe;
mod reason;
mod receiving;
mod sending;
mod server;
mod settings;
mod streams;
mod suspect;
mod visit;
mod window;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::doubt::Doubts;
use self::lane::Link;
use self::server::{Server, Suspicion};
use self::visit::Visits;
use super::packet;
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, Seq};
use crate::timers::random::Random;

pub use self::answer::{Answer, cause_name, classify, is_permanent};
pub use self::delay::{BASE_AGE, QUEUE_TARGET};
pub use self::lane::{ABANDONED_HOLD, DOUBLED_HOLD, IDENTIFIERS, LaneId};
pub use self::reason::{Alarm, Reason};
pub use self::server::{Counters, Health};
pub use self::settings::{
    DelayTime, Idle, MessageAuthenticator, Probing, STREAM_LANES_MAX, Selection, ServerSettings, Settings, Transport,
};
pub use self::streams::Closing;
pub use self::suspect::Suspect;
pub use self::window::WINDOW_MIN;

/// Most servers of one client.
pub const SERVERS_MAX: usize = 64;
/// Wait before a lane that failed is asked for again.
const LANE_RETRY: Duration = Duration::from_secs(1);

/// Number of a server: its place in [`Settings::servers`].
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ServerIndex(pub u16);

/// A record to be delivered.
#[derive(Clone, Copy, Debug)]
pub struct Submission<'a> {
    /// Names it in the outputs.
    pub key: Seq,
    /// Which request of the record it is, when it takes several, one after the other; 0 for the only one.
    pub part: u16,
    /// Its encoded attributes, the same octets at every attempt; at most
    /// [`ATTRIBUTE_OCTETS_MAX`](super::attribute::ATTRIBUTE_OCTETS_MAX).
    pub attributes: &'a [u8],
    /// When it came into the queue: Acct-Delay-Time and its age count from there.
    pub since: Timestamp,
    /// Earlier deliveries that failed, for the back-off.
    pub attempts: u32,
    /// Its call, for servers chosen by call.
    pub call: CallHash,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
pub enum Input<'a> {
    /// A record to deliver. Only as many as [`Client::capacity`] says; a further one comes back at once.
    Submit(Submission<'a>),
    /// A datagram came in on a lane, or a packet on a connection.
    Received {
        /// The lane's server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
        /// The datagram.
        datagram: &'a [u8],
    },
    /// The lane's socket is there.
    LaneOpened {
        /// The lane's server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
    },
    /// The lane's socket cannot be had, or was lost.
    LaneFailed {
        /// The lane's server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
    },
    /// The name of a server has another address now.
    Moved {
        /// The server.
        server: ServerIndex,
        /// Where it is.
        address: SocketAddr,
    },
    /// The lane's connection ended, or could not be made. Only with [`Transport::Stream`].
    LaneClosed {
        /// The lane's server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
        /// How.
        how: Closing<'a>,
    },
    /// The host or the network says that nobody listens: ECONNREFUSED and its like.
    Refused {
        /// The lane's server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
    },
}

/// What to do.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Output {
    /// Open a socket to the server; answer with [`Input::LaneOpened`] or [`Input::LaneFailed`].
    OpenLane {
        /// The server.
        server: ServerIndex,
        /// The new lane.
        lane: LaneId,
    },
    /// Close the lane's connection; nothing is to be answered. Only with [`Transport::Stream`].
    CloseLane {
        /// The server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
    },
    /// Send a datagram; on TLS as one record.
    Transmit {
        /// The lane's server.
        server: ServerIndex,
        /// The lane.
        lane: LaneId,
        /// The datagram.
        datagram: Bytes,
    },
    /// The record is stored by a server.
    Delivered {
        /// The record. It may have gone back to the queue before, with [`Output::Retry`]: the answer came late.
        key: Seq,
        /// Which request of it.
        part: u16,
        /// The server.
        server: ServerIndex,
        /// Time to the answer, if there was one transmission only.
        round_trip: Option<Duration>,
    },
    /// Try the record again later.
    Retry {
        /// The record.
        key: Seq,
        /// After this time.
        after: Duration,
        /// Why it was not delivered.
        reason: Reason,
    },
    /// Set the record aside for the operator.
    Park {
        /// The record.
        key: Seq,
        /// Why.
        reason: Reason,
    },
    /// A connection failed or was lost otherwise than by idleness; it will be opened again.
    Lost {
        /// The server.
        server: ServerIndex,
        /// What happened.
        why: Arc<str>,
    },
    /// A server's health changed.
    Health {
        /// The server.
        server: ServerIndex,
        /// What it is now.
        health: Health,
    },
    /// A person should look at a server. Told once until it works again.
    Alarm {
        /// The server.
        server: ServerIndex,
        /// What is wrong.
        alarm: Alarm,
    },
}

/// One server as a status command shows it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct ServerStatus {
    /// Its address.
    pub address: SocketAddr,
    /// Its health.
    pub health: Health,
    /// Since when it has it.
    pub since: Instant,
    /// Records waiting for its answer.
    pub outstanding: usize,
    /// Records that may wait for its answer.
    pub window: usize,
    /// Open lanes.
    pub lanes: usize,
    /// Smoothed round-trip time of requests that were sent once.
    pub round_trip: Option<Duration>,
    /// Counts since the start.
    pub counters: Counters,
}

/// The client of one sink.
#[derive(Debug)]
pub struct Client {
    settings: Settings,
    servers: Vec<Server>,
    visits: Visits,
    /// Records whose visits have failed.
    doubts: Doubts,
    /// Records to be parked as soon as no answer to them can come any more.
    parking: VecDeque<(Instant, Seq, Reason)>,
    random: Random,
    scratch: Vec<u8>,
}

impl Client {
    /// A client; servers after the 64th are left out. `seed` must not be known to others.
    #[must_use]
    pub fn new(now: Instant, mut settings: Settings, seed: [u64; 2]) -> Self {
        if settings.transport == Transport::Stream {
            settings.lanes_max = settings.lanes_max.min(STREAM_LANES_MAX);
        }
        let servers = settings.servers.iter().take(SERVERS_MAX).cloned();
        Self {
            servers: servers.map(|server| Server::new(now, server, &settings)).collect(),
            settings,
            visits: Visits::default(),
            doubts: Doubts::default(),
            parking: VecDeque::new(),
            random: Random::new(seed),
            scratch: Vec::with_capacity(packet::PACKET_OCTETS_MAX),
        }
    }

    /// How many records may be submitted now.
    pub fn capacity(&mut self, now: Instant) -> usize {
        for server in &mut self.servers {
            server.lanes.iter_mut().for_each(|lane| lane.collect(now));
        }
        let mut usable = self.servers.iter().filter(|server| server.is_usable());
        match self.settings.selection {
            Selection::Failover => {
                let is_first = |server: &&Server| server.health == Health::Alive && server.has_path();
                let best = usable.clone().find(is_first).or_else(|| usable.find(|server| server.room() > 0));
                best.map_or(0, Server::room)
            }
            Selection::ByCall => usable.map(Server::room).sum(),
        }
    }

    /// Records that have been submitted and have not ended.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.visits.len() + self.parking.len()
    }

    /// Lets the machine work on what happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        match input {
            Input::Submit(submission) => self.submit(now, &submission, out),
            Input::Received { server, lane, datagram } if self.settings.transport == Transport::Stream => {
                self.stream_received(now, usize::from(server.0), lane, datagram, out);
            }
            Input::Received { server, lane: LaneId::PROBE, datagram } => {
                self.probe_received(now, usize::from(server.0), datagram, out);
            }
            Input::Received { server, lane, datagram } => {
                self.received(now, usize::from(server.0), lane, datagram, out);
            }
            Input::LaneOpened { server, lane } => self.lane_opened(now, usize::from(server.0), lane, out),
            Input::LaneFailed { server, lane } => self.lane_failed(now, usize::from(server.0), lane, out),
            Input::Moved { server, address } => self.moved(now, usize::from(server.0), address, out),
            Input::LaneClosed { server, lane, how } => {
                self.stream_closed(now, usize::from(server.0), lane, how, out);
            }
            Input::Refused { server, lane } => self.refused(now, usize::from(server.0), lane, out),
        }
    }

    /// Does what is due: opens lanes, retransmits, probes, revives.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        while let Some(slot) = self.visits.expired(now.mono) {
            self.ran_out(now, slot, out);
        }
        while let Some((_, key, reason)) = self.parking.pop_front_if(|(due, ..)| *due <= now.mono) {
            self.doubts.forget(key);
            out.push(Output::Park { key, reason });
        }
        for server in 0..self.servers.len() {
            self.tend_lanes(now.mono, server, out);
            self.tend_health(now, server, out);
        }
    }

    /// Takes every server for gone until it answers, so that each is asked with Status-Server.
    pub fn doubt_all(&mut self, now: Now, out: &mut Vec<Output>) {
        for server in 0..self.servers.len() {
            self.suspect(now.mono, server, Suspicion::Gone, out);
        }
        self.tick(now, out);
    }

    /// How the last connection of each server failed or ended, over TCP and TLS.
    pub fn troubles(&self) -> impl Iterator<Item = Option<&str>> {
        self.servers.iter().map(|server| server.trouble.as_deref())
    }

    /// When [`Self::tick`] is due next.
    pub fn deadline(&mut self) -> Option<Instant> {
        let visits = self.visits.deadline();
        let parking = self.parking.front().map(|(due, ..)| *due);
        self.servers.iter().filter_map(|server| self.server_deadline(server)).chain(visits).chain(parking).min()
    }

    /// All servers in order.
    pub fn status(&self) -> impl Iterator<Item = ServerStatus> {
        self.servers.iter().map(|server| ServerStatus {
            address: server.address(),
            health: server.health,
            since: server.since,
            outstanding: server.outstanding,
            window: server.window.size(),
            lanes: server.lanes.iter().filter(|lane| lane.link == Link::Open).count(),
            round_trip: server.window.round_trip(),
            counters: server.counters,
        })
    }
}

fn index(server: usize) -> ServerIndex {
    ServerIndex(u16::try_from(server).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
