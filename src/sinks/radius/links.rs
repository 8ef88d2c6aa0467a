//! The lanes to all servers, sockets for datagrams or connections.
//!
//! Nothing here blocks: a connection is made by a future that is polled with the sink's other work.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use tokio::io::AsyncWrite as _;

use super::net::Datagrams;
use super::settings::Carrier;
use super::stream::{CONNECT_TIME_MAX, Connection, End, Turn, connect};
use crate::causes::chain_text;
use crate::clock::{self, Instant};
use crate::net::socket::Local;
use crate::net::stream::Wire;
use crate::net::tls::server_address;
use crate::radius::client::{Closing, Input, LaneId, ServerIndex};

/// Datagrams that wait for room in the kernel; the machine sends the ones beyond it again by itself.
const UNSENT_MAX: usize = 4096;
/// Longest time for the farewell of TLS to leave.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);
/// Octets read at once.
const READ_OCTETS: usize = 16 * 1024;

/// The lanes of all servers.
pub(super) struct Links {
    servers: Vec<Server>,
    local: Local,
    carrier: Carrier,
    unsent: VecDeque<(ServerIndex, LaneId, Bytes)>,
    buffer: Box<[u8; READ_OCTETS]>,
    /// Connections whose farewell is on its way; not after that instant.
    leaving: Vec<(Instant, Wire)>,
    /// A connection was asked for and not looked at since.
    has_fresh: bool,
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
    pub(super) fn new(addresses: Vec<SocketAddr>, local: Local, carrier: Carrier) -> Self {
        Self {
            servers: addresses.into_iter().map(|address| Server { address, lanes: Vec::new() }).collect(),
            local,
            carrier,
            unsent: VecDeque::new(),
            buffer: Box::new([0; READ_OCTETS]),
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
            None => (Lane::Datagrams(Datagrams::open(there.address, &self.local)?), Opening::Done),
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

    /// Sends a datagram without waiting, or a packet as soon as those before it on the connection have left.
    ///
    /// # Errors
    /// When the network refuses a datagram; a connection tells it in [`Self::receive`].
    pub(super) fn send(&mut self, server: ServerIndex, lane: LaneId, packet: Bytes) -> io::Result<()> {
        match self.lane(server, lane) {
            Some(Some(Lane::Datagrams(socket))) => match socket.send(&packet) {
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    if self.unsent.len() < UNSENT_MAX {
                        self.unsent.push_back((server, lane, packet));
                    }
                    Ok(())
                }
                sent => sent,
            },
            Some(Some(Lane::Open(connection))) => {
                connection.send(packet);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Sends what waits for room; wakes the task when there is room again, or news for [`Self::receive`].
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        self.say_farewell(cx);
        while let Some((server, lane, datagram)) = self.unsent.pop_front() {
            if let Some(Some(Lane::Datagrams(socket))) = self.lane(server, lane)
                && socket.poll_send(cx, &datagram).is_pending()
            {
                self.unsent.push_front((server, lane, datagram));
                break;
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
        let buffer = &mut self.buffer[..];
        let mut ended = Vec::new();
        for (server, there) in (0_u16..).zip(&mut self.servers) {
            for (lane, place) in (0_u16..).zip(&mut there.lanes) {
                let (server, lane) = (ServerIndex(server), LaneId(lane));
                let Some(turn) = place.as_mut().map(|there| there.turn(cx, buffer, server, lane, &mut each)) else {
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
        buffer: &mut [u8],
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
            Self::Open(connection) => {
                connection.turn(cx, buffer, |packet| each(Input::Received { server, lane, datagram: packet }))
            }
            Self::Datagrams(socket) => {
                socket.receive(cx, buffer, (server, lane), each);
                Turn::Idle
            }
            Self::Connecting(_) => Turn::Idle,
        }
    }
}
