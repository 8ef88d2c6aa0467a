//! The lanes to all servers, sockets for datagrams or connections.
//!
//! Nothing here blocks: a connection is made by a future that is polled with the sink's other work.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::net::Datagrams;
use super::offload::Offload;
use super::outgoing::Left;
use super::settings::Carrier;
use super::stream::{CONNECT_TIME_MAX, Connection, End, Turn, connect};
use crate::causes::chain_text;
use crate::clock::{self, Instant};
use crate::net::datagrams::{Batch, SEND_DATAGRAMS};
use crate::net::socket::Local;
use crate::net::stream::Wire;
use crate::net::tls::server_address;
use crate::radius::client::{Closing, Input, LaneId, ServerIndex};
use crate::radius::packet::PACKET_OCTETS_MAX;

/// Longest time for the farewell of TLS to leave.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);
/// Octets read at once.
const READ_OCTETS: usize = 16 * 1024;

/// The lanes of all servers.
pub(super) struct Links {
    servers: Vec<Server>,
    local: Local,
    carrier: Carrier,
    offload: Offload,
    /// Lanes with datagrams that have not left.
    unsent: Vec<(ServerIndex, LaneId)>,
    /// Datagrams since the last sending.
    pushed: usize,
    /// The last sending found the host short of memory.
    is_short: bool,
    buffers: Buffers,
    /// Connections whose farewell is on its way; not after that instant.
    leaving: Vec<(Instant, Wire)>,
    /// A connection was asked for and not looked at since.
    has_fresh: bool,
}

/// What is read into, for all lanes.
struct Buffers {
    stream: Box<[u8; READ_OCTETS]>,
    datagrams: Batch,
}

/// One server with its lanes by number.
struct Server {
    address: SocketAddr,
    lanes: Vec<Option<Lane>>,
}

enum Lane {
    Datagrams(Datagrams),
    Connecting(Pin<Box<dyn Future<Output = io::Result<Wire>>>>),
    Open(Box<Connection>),
}

/// Whether a lane that was asked for is there.
pub(super) enum Opening {
    /// It is.
    Done,
    /// [`Links::receive`] will tell.
    UnderWay,
}

impl Links {
    pub(super) fn new(addresses: Vec<SocketAddr>, local: Local, carrier: Carrier, offload: Offload) -> Self {
        Self {
            servers: addresses.into_iter().map(|address| Server { address, lanes: Vec::new() }).collect(),
            local,
            carrier,
            offload,
            unsent: Vec::new(),
            pushed: 0,
            is_short: false,
            buffers: Buffers {
                stream: Box::new([0; READ_OCTETS]),
                // One octet more than a packet has, so that a longer one is seen to be longer.
                datagrams: Batch::new(PACKET_OCTETS_MAX + 1),
            },
            leaving: Vec::new(),
            has_fresh: false,
        }
    }

    pub(super) fn address(&self, server: ServerIndex) -> SocketAddr {
        self.servers[usize::from(server.0)].address
    }

    /// Lanes opened from now on lead there; those that are open stay as they are.
    pub(super) fn move_to(&mut self, server: ServerIndex, address: SocketAddr) {
        self.servers[usize::from(server.0)].address = address;
    }

    /// Opens a lane.
    ///
    /// # Errors
    /// When there can be no socket.
    pub(super) fn open(&mut self, server: ServerIndex, lane: LaneId) -> io::Result<Opening> {
        let (index, place) = (usize::from(server.0), usize::from(lane.0));
        let there = &mut self.servers[index];
        let tls = match &self.carrier {
            Carrier::Udp => None,
            Carrier::Tcp => Some(None),
            // Without a name of its own a server has to prove its address.
            Carrier::Tls(tls) => {
                let name = tls.names.get(index).cloned().unwrap_or_else(|| server_address(there.address.ip()));
                Some(Some((tls.config.clone(), name)))
            }
        };
        let (lane, opening) = match tls {
            None => (Lane::Datagrams(Datagrams::open(there.address, &self.local, &mut self.offload)?), Opening::Done),
            Some(tls) => {
                let connecting = connect(self.local.clone(), there.address, tls, CONNECT_TIME_MAX);
                self.has_fresh = true;
                (Lane::Connecting(Box::pin(connecting)), Opening::UnderWay)
            }
        };
        if there.lanes.len() <= place {
            there.lanes.resize_with(place + 1, || None);
        }
        there.lanes[place] = Some(lane);
        Ok(opening)
    }

    fn lane(&mut self, server: ServerIndex, lane: LaneId) -> Option<&mut Option<Lane>> {
        self.servers.get_mut(usize::from(server.0))?.lanes.get_mut(usize::from(lane.0))
    }

    /// Closes a connection, or gives up making it; sockets for datagrams stay.
    pub(super) fn close(&mut self, server: ServerIndex, lane: LaneId) {
        if let Some(lane) = self.lane(server, lane)
            && !matches!(lane, Some(Lane::Datagrams(_)))
        {
            let gone = lane.take();
            self.leave(gone);
        }
    }

    /// Closes all lanes; done when the farewells of connections have left, or their time is over.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lanes = self.servers.iter_mut().flat_map(|server| std::mem::take(&mut server.lanes)).collect::<Vec<_>>();
        lanes.into_iter().for_each(|lane| self.leave(lane));
        self.say_farewell(cx);
        if self.leaving.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends TLS with close_notify (RFC 8446 §6.1): without it the peer takes the end for a cut.
    fn leave(&mut self, lane: Option<Lane>) {
        if let Some(Lane::Open(connection)) = lane
            && let Some(wire) = connection.leaving()
        {
            self.leaving.push((clock::mono() + FAREWELL_TIME_MAX, wire));
            self.say_farewell(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn say_farewell(&mut self, cx: &mut Context<'_>) {
        if !self.leaving.is_empty() {
            let now = clock::mono();
            self.leaving.retain_mut(|(until, wire)| *until > now && Pin::new(wire).poll_shutdown(cx).is_pending());
        }
    }

    /// Takes a packet: a datagram leaves with [`Self::send`], on a connection it goes as soon as those before it have left.
    pub(super) fn push(&mut self, server: ServerIndex, lane: LaneId, packet: Bytes) {
        match self.lane(server, lane) {
            Some(Some(Lane::Datagrams(socket))) => {
                let is_first = socket.push(packet);
                self.unsent.extend(is_first.then_some((server, lane)));
                self.pushed += 1;
            }
            Some(Some(Lane::Open(connection))) => connection.send(packet),
            _ => {}
        }
    }

    /// Whether as many datagrams wait as one system call sends: the server has work while more are made.
    pub(super) fn has_batch(&self) -> bool {
        self.pushed >= SEND_DATAGRAMS
    }

    /// Sends the datagrams of all lanes without waiting; those that the network refuses go to `each`. A connection tells
    /// that in [`Self::receive`].
    pub(super) fn send(&mut self, mut each: impl FnMut(Input<'_>)) {
        (self.pushed, self.is_short) = (0, false);
        for (server, lane) in std::mem::take(&mut self.unsent) {
            let mut refused = 0;
            let there = self.servers[usize::from(server.0)].lanes.get_mut(usize::from(lane.0));
            let Some(Some(Lane::Datagrams(socket))) = there else { continue };
            let left = socket.send(&mut refused, &mut self.offload);
            if left != Left::Nothing {
                self.unsent.push((server, lane));
            }
            self.is_short |= left == Left::NoMemory;
            (0..refused).for_each(|_| each(Input::Refused { server, lane }));
        }
    }

    /// Why the kernel refused segmentation offload, once.
    pub(super) fn take_offload_refusal(&mut self) -> Option<io::Error> {
        self.offload.take_refusal()
    }

    /// Whether datagrams wait of which nobody will tell that they can be sent.
    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Sends what waits for room; wakes the task when there is room again, or news for [`Self::receive`].
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        self.say_farewell(cx);
        for at in 0..self.unsent.len() {
            let (server, lane) = self.unsent[at];
            let has_room = match self.lane(server, lane) {
                Some(Some(Lane::Datagrams(socket))) => socket.has_room(cx),
                _ => false,
            };
            // Room in the socket is no memory of the host.
            if has_room && !self.is_short {
                cx.waker().wake_by_ref();
            }
        }
        let mut has_news = std::mem::take(&mut self.has_fresh);
        for lane in self.servers.iter_mut().flat_map(|server| server.lanes.iter_mut().flatten()) {
            if let Lane::Open(connection) = lane {
                has_news |= connection.flush(cx);
            }
        }
        if has_news {
            cx.waker().wake_by_ref();
        }
    }

    /// Takes what has come on all lanes; wakes the task when more comes.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, mut each: impl FnMut(Input<'_>)) {
        let buffers = &mut self.buffers;
        let mut ended = Vec::new();
        for (server, there) in (0_u16..).zip(&mut self.servers) {
            for (lane, place) in (0_u16..).zip(&mut there.lanes) {
                let (server, lane) = (ServerIndex(server), LaneId(lane));
                let Some(turn) = place.as_mut().map(|there| there.turn(cx, buffers, server, lane, &mut each)) else {
                    continue;
                };
                match turn {
                    Turn::Idle => {}
                    Turn::More => cx.waker().wake_by_ref(),
                    Turn::Over(end) => {
                        let gone = place.take();
                        if matches!(end, End::Ended) {
                            ended.push(gone);
                        }
                        let how = match &end {
                            End::Failed(why) => Closing::Failed { why },
                            End::Ended => Closing::Ended,
                            End::Broken(why) => Closing::Broken { why },
                            End::Malformed(why) => Closing::Malformed { why },
                        };
                        each(Input::LaneClosed { server, lane, how });
                    }
                }
            }
        }
        ended.into_iter().for_each(|lane| self.leave(lane));
    }
}

impl Lane {
    /// Goes on with the lane; what comes out of it goes to `each`.
    fn turn(
        &mut self,
        cx: &mut Context<'_>,
        buffers: &mut Buffers,
        server: ServerIndex,
        lane: LaneId,
        each: &mut impl FnMut(Input<'_>),
    ) -> Turn {
        if let Self::Connecting(connecting) = self {
            match connecting.as_mut().poll(cx) {
                Poll::Pending => return Turn::Idle,
                Poll::Ready(Err(error)) => return Turn::Over(End::Failed(chain_text(&error))),
                Poll::Ready(Ok(wire)) => {
                    *self = Self::Open(Box::new(Connection::new(wire)));
                    each(Input::LaneOpened { server, lane });
                }
            }
        }
        match self {
            Self::Open(connection) => connection
                .turn(cx, &mut buffers.stream[..], |packet| each(Input::Received { server, lane, datagram: packet })),
            Self::Datagrams(socket) => {
                socket.receive(cx, &mut buffers.datagrams, (server, lane), each);
                Turn::Idle
            }
            Self::Connecting(_) => Turn::Idle,
        }
    }
}
