//! What carries the packets of a sink: datagrams or connections, behind one face.

use std::io;
use std::net::SocketAddr;
use std::task::{Context, Poll};

use bytes::Bytes;

use super::net::Sockets;
use super::settings::Carrier;
use super::stream::Streams;
use crate::net::socket::Local;
use crate::radius::client::{Input, LaneId, ServerIndex};

/// The lanes of all servers.
pub(super) enum Links {
    /// UDP.
    Datagrams(Sockets),
    /// TCP or TLS.
    Streams(Streams),
}

/// Whether a lane that was asked for is there.
pub(super) enum Opening {
    /// It is.
    Done,
    /// [`Links::receive`] will tell.
    UnderWay,
}

impl Links {
    pub(super) fn new(addresses: Vec<SocketAddr>, local: Local, carrier: &Carrier) -> Self {
        match carrier {
            Carrier::Udp => Self::Datagrams(Sockets::new(addresses, local)),
            Carrier::Tcp => Self::Streams(Streams::new(&addresses, local, None)),
            Carrier::Tls(tls) => Self::Streams(Streams::new(&addresses, local, Some(tls))),
        }
    }

    pub(super) fn address(&self, server: ServerIndex) -> SocketAddr {
        match self {
            Self::Datagrams(sockets) => sockets.address(server),
            Self::Streams(streams) => streams.address(server),
        }
    }

    /// Lanes opened from now on lead there.
    pub(super) fn move_to(&mut self, server: ServerIndex, address: SocketAddr) {
        match self {
            Self::Datagrams(sockets) => sockets.move_to(server, address),
            Self::Streams(streams) => streams.move_to(server, address),
        }
    }

    /// Opens a lane.
    ///
    /// # Errors
    /// When there can be no socket.
    pub(super) fn open(&mut self, server: ServerIndex, lane: LaneId) -> io::Result<Opening> {
        match self {
            Self::Datagrams(sockets) => sockets.open(server, lane).map(|()| Opening::Done),
            Self::Streams(streams) => {
                streams.open(server, lane);
                Ok(Opening::UnderWay)
            }
        }
    }

    /// Closes a lane; sockets for datagrams stay.
    pub(super) fn close(&mut self, server: ServerIndex, lane: LaneId) {
        if let Self::Streams(streams) = self {
            streams.close(server, lane);
        }
    }

    /// Closes all connections; done when their farewells have left.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        match self {
            Self::Datagrams(_) => Poll::Ready(()),
            Self::Streams(streams) => streams.poll_close(cx),
        }
    }

    /// Sends without waiting.
    ///
    /// # Errors
    /// When the network refuses a datagram; a connection tells it in [`Self::receive`].
    pub(super) fn send(&mut self, server: ServerIndex, lane: LaneId, packet: Bytes) -> io::Result<()> {
        match self {
            Self::Datagrams(sockets) => sockets.send(server, lane, packet),
            Self::Streams(streams) => {
                streams.send(server, lane, packet);
                Ok(())
            }
        }
    }

    /// Sends what waits for room; wakes the task when there is room again.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        match self {
            Self::Datagrams(sockets) => sockets.flush(cx),
            Self::Streams(streams) => streams.flush(cx),
        }
    }

    /// Takes what has come on all lanes; wakes the task when more comes.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, each: impl FnMut(Input<'_>)) {
        match self {
            Self::Datagrams(sockets) => sockets.receive(cx, each),
            Self::Streams(streams) => streams.receive(cx, each),
        }
    }
}
