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
//!
//! [`Client`] hands each input, with the time and a place for outputs, to its `delivery`, which directs the parts: `server` (how it
//! stands, its lanes of identifiers, its window, the line of suspects), `visit` with the timers, and `doubt`.

mod answer;
mod connection;
mod counters;
mod delay;
mod delivery;
mod doubt;
mod lane;
mod line;
mod probe;
mod reason;
mod receiving;
mod sending;
mod server;
mod settings;
mod signing;
mod standing;
mod streams;
mod suspect;
mod told;
mod visit;
mod window;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use self::delivery::Delivery;
use self::server::Server;
use crate::clock::{Instant, Now, Timestamp};
use crate::ids::{CallHash, Seq};
use crate::timers::random::{Random, doubled};

pub use self::counters::Counters;
pub use self::lane::LaneId;
pub use self::reason::{Alarm, Reason};
pub use self::settings::{
    DelayTime, Idle, MessageAuthenticator, Probing, STREAM_LANES_MAX, Selection, ServerSettings, Settings, Transport,
};
pub use self::standing::Health;
pub use self::streams::Closing;
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
    random: Random,
    delivery: Delivery,
}

/// What every part needs to act on one input.
struct Turn<'a> {
    now: Now,
    settings: &'a Settings,
    random: &'a mut Random,
    out: &'a mut Vec<Output>,
}

impl Turn<'_> {
    /// A record that cannot be sent now: one that no packet can carry is parked, any other comes back soon.
    fn turn_away(&mut self, key: Seq, reason: Reason) {
        self.out.push(match reason {
            Reason::TooLong { .. } => Output::Park { key, reason },
            _ => Output::Retry { key, after: self.settings.outage_retry, reason },
        });
    }

    /// `retry_first` doubled `times`, at most `retry_max`, ± 10 %.
    fn back_off(&mut self, times: u32) -> Duration {
        self.random.jitter(doubled(self.settings.retry_first, times, self.settings.retry_max))
    }
}

impl Client {
    /// A client; servers after the 64th are left out. `seed` must not be known to others.
    #[must_use]
    pub fn new(now: Instant, mut settings: Settings, seed: [u64; 2]) -> Self {
        if settings.transport == Transport::Stream {
            settings.lanes_max = settings.lanes_max.min(STREAM_LANES_MAX);
        }
        Self { delivery: Delivery::new(now, &settings), settings, random: Random::new(seed) }
    }

    /// How many records may be submitted now.
    pub fn capacity(&mut self, now: Instant) -> usize {
        self.delivery.capacity(now, self.settings.selection)
    }

    /// Records that have been submitted and have not ended.
    #[must_use]
    #[cfg(test)]
    pub fn in_flight(&self) -> usize {
        self.delivery.in_flight()
    }

    /// Lets the machine work on what happened.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Vec<Output>) {
        let Self { settings, random, delivery } = self;
        delivery.handle(&mut Turn { now, settings, random, out }, input);
    }

    /// Does what is due: opens lanes, retransmits, probes, revives.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        let Self { settings, random, delivery } = self;
        delivery.tick(&mut Turn { now, settings, random, out });
    }

    /// Takes every server for gone until it answers, so that each is asked with Status-Server.
    pub fn doubt_all(&mut self, now: Now, out: &mut Vec<Output>) {
        let Self { settings, random, delivery } = self;
        delivery.doubt_all(&mut Turn { now, settings, random, out });
    }

    /// Asks every server that has not answered Status-Server yet, on each connection that stands.
    pub fn ask_all(&mut self, now: Now, out: &mut Vec<Output>) {
        let Self { settings, random, delivery } = self;
        delivery.ask_all(&mut Turn { now, settings, random, out });
    }

    /// How the last connection of each server failed or ended, over TCP and TLS.
    pub fn troubles(&self) -> impl Iterator<Item = Option<&str>> {
        self.delivery.servers().iter().map(|server| server.lanes.trouble())
    }

    /// When [`Self::tick`] is due next.
    pub fn deadline(&mut self) -> Option<Instant> {
        self.delivery.deadline(&self.settings)
    }

    /// All servers in order.
    pub fn status(&self) -> impl Iterator<Item = ServerStatus> {
        self.delivery.servers().iter().map(Server::status)
    }
}

fn index(server: usize) -> ServerIndex {
    ServerIndex(u16::try_from(server).unwrap_or(u16::MAX))
}

#[cfg(test)]
mod tests;
