//! Lanes over TCP (RFC 6613) and TLS (RFC 6614): connections with their handshakes, packets in and out of the stream.
//!
//! A packet is one write of its own, and over TLS one record: FreeRADIUS closes a connection on which a record holds
//! anything else. The next is written when the one before has left. What comes is cut by [`frame`].
//!
//! Nothing here blocks: a connection is made by a future that is polled with the sink's other work, within
//! [`CONNECT_TIME_MAX`].

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use socket2::TcpKeepalive;
use tokio::io::AsyncWrite as _;

use super::settings::TlsSettings;
use crate::clock::{self, Instant};
use crate::net::dial::{self, Upkeep};
use crate::net::socket::Local;
use crate::net::stream::{Packets, Wire};
use crate::net::tls::{ClientTls, server_address};
use crate::radius::client::{Closing, Input, LaneId, ServerIndex};
use crate::radius::frame::frame;
use crate::sinks::chain;

/// Longest time for a connection, its TLS handshake included.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// After a minute of silence TCP asks whether the peer is there.
const UPKEEP: Upkeep =
    Upkeep { probes: Some(TcpKeepalive::new().with_time(Duration::from_secs(60))), unacknowledged_max: None };
/// Longest time for the farewell of TLS to leave.
const FAREWELL_TIME_MAX: Duration = Duration::from_secs(1);
/// Octets read at once.
const READ_OCTETS: usize = 16 * 1024;
/// Reads from one lane before the next gets its turn.
const READS_PER_TURN: usize = 64;

/// The connections to all servers.
pub(super) struct Streams {
    servers: Vec<Server>,
    local: Local,
    tls: Option<ClientTls>,
    buffer: Box<[u8; READ_OCTETS]>,
    /// Connections whose farewell is on its way; not after that instant.
    leaving: Vec<(Instant, Wire)>,
    /// A connection was asked for and not looked at since.
    has_fresh: bool,
}

/// One server with its connections by number of the lane.
struct Server {
    address: SocketAddr,
    /// What its certificate has to prove.
    name: Option<ServerName<'static>>,
    lanes: Vec<Option<Lane>>,
}

enum Lane {
    Connecting(Pin<Box<dyn Future<Output = io::Result<Wire>>>>),
    Open(Box<Connection>),
}

/// What a lane's turn gave.
enum Turn {
    /// All that was there was taken.
    Idle,
    /// There may be more.
    More,
    /// The connection is over.
    Over(End),
}

/// How a connection ended.
enum End {
    Failed(String),
    Ended,
    Broken(String),
    Malformed(String),
}

impl Streams {
    pub(super) fn new(addresses: &[SocketAddr], local: Local, tls: Option<&TlsSettings>) -> Self {
        let names = tls.map(|tls| tls.names.as_slice()).unwrap_or_default();
        let name = |place: usize| names.get(place).cloned();
        let server = |(place, address): (usize, &SocketAddr)| Server {
            address: *address,
            // Without a name of its own a server has to prove its address.
            name: tls.map(|_| name(place).unwrap_or_else(|| server_address(address.ip()))),
            lanes: Vec::new(),
        };
        Self {
            servers: addresses.iter().enumerate().map(server).collect(),
            local,
            tls: tls.map(|tls| tls.config.clone()),
            buffer: Box::new([0; READ_OCTETS]),
            leaving: Vec::new(),
            has_fresh: false,
        }
    }

    pub(super) fn address(&self, server: ServerIndex) -> SocketAddr {
        self.servers[usize::from(server.0)].address
    }

    /// Connections made from now on lead there; those that are there stay as they are.
    pub(super) fn move_to(&mut self, server: ServerIndex, address: SocketAddr) {
        self.servers[usize::from(server.0)].address = address;
    }

    /// Begins a connection; [`Self::receive`] tells what became of it.
    pub(super) fn open(&mut self, server: ServerIndex, lane: LaneId) {
        let there = &mut self.servers[usize::from(server.0)];
        let tls = self.tls.clone().zip(there.name.clone());
        let connecting = Box::pin(connect(self.local.clone(), there.address, tls, CONNECT_TIME_MAX));
        let place = usize::from(lane.0);
        if there.lanes.len() <= place {
            there.lanes.resize_with(place + 1, || None);
        }
        there.lanes[place] = Some(Lane::Connecting(connecting));
        self.has_fresh = true;
    }

    /// Closes a connection, or gives up making it.
    pub(super) fn close(&mut self, server: ServerIndex, lane: LaneId) {
        if let Some(lane) = self.lane(server, lane) {
            let gone = lane.take();
            self.leave(gone);
        }
    }

    /// Closes all connections; done when their farewells have left, or their time is over.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let lanes = self.servers.iter_mut().flat_map(|server| std::mem::take(&mut server.lanes)).collect::<Vec<_>>();
        lanes.into_iter().for_each(|lane| self.leave(lane));
        self.say_farewell(cx);
        if self.leaving.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    }

    /// Ends TLS with close_notify (RFC 8446 §6.1): without it the peer takes the end for a cut.
    fn leave(&mut self, lane: Option<Lane>) {
        if let Some(Lane::Open(connection)) = lane
            && connection.wire.is_tls()
            && connection.broken.is_none()
        {
            self.leaving.push((clock::mono() + FAREWELL_TIME_MAX, connection.wire));
            self.say_farewell(&mut Context::from_waker(Waker::noop()));
        }
    }

    fn say_farewell(&mut self, cx: &mut Context<'_>) {
        if !self.leaving.is_empty() {
            let now = clock::mono();
            self.leaving.retain_mut(|(until, wire)| *until > now && Pin::new(wire).poll_shutdown(cx).is_pending());
        }
    }

    fn lane(&mut self, server: ServerIndex, lane: LaneId) -> Option<&mut Option<Lane>> {
        self.servers.get_mut(usize::from(server.0))?.lanes.get_mut(usize::from(lane.0))
    }

    /// Sends a packet as soon as those before it have left. A connection that fails tells so in [`Self::receive`].
    pub(super) fn send(&mut self, server: ServerIndex, lane: LaneId, packet: Bytes) {
        if let Some(Some(Lane::Open(connection))) = self.lane(server, lane) {
            connection.unsent.push_back(packet);
            // What has to wait is written, and waited for, by the next `flush`.
            connection.flush(&mut Context::from_waker(Waker::noop()));
        }
    }

    /// Sends what waits for room; wakes the task when there is room again, or news for [`Self::receive`].
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        self.say_farewell(cx);
        let mut has_news = std::mem::take(&mut self.has_fresh);
        for lane in self.servers.iter_mut().flat_map(|server| server.lanes.iter_mut().flatten()) {
            if let Lane::Open(connection) = lane {
                connection.flush(cx);
                has_news |= connection.broken.is_some();
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
    /// Goes on with the connection; what comes out of it goes to `each`.
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
                Poll::Ready(Err(error)) => return Turn::Over(End::Failed(chain(&error).to_string())),
                Poll::Ready(Ok(wire)) => {
                    *self = Self::Open(Box::new(Connection::new(wire)));
                    each(Input::LaneOpened { server, lane });
                }
            }
        }
        let Self::Open(connection) = self else { return Turn::Idle };
        let turn = connection.read(cx, buffer, |packet| each(Input::Received { server, lane, datagram: packet }));
        // What the server said last tells more than why nothing can be sent to it.
        match (turn, connection.broken.take()) {
            (Turn::Idle, Some(why)) => Turn::Over(End::Broken(why)),
            (turn, _) => turn,
        }
    }
}

/// An open connection.
struct Connection {
    wire: Wire,
    packets: Packets,
    /// At most one packet for each identifier.
    unsent: VecDeque<Bytes>,
    /// Octets of the first of them that have left.
    sent: usize,
    /// Why nothing can be sent any more.
    broken: Option<String>,
}

impl Connection {
    fn new(wire: Wire) -> Self {
        Self { wire, packets: Packets::default(), unsent: VecDeque::new(), sent: 0, broken: None }
    }

    fn flush(&mut self, cx: &mut Context<'_>) {
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            self.unsent.clear();
            self.broken = Some(format!("cannot send: {}", chain(&error)));
        }
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            // The packet before has left: the next has the buffer of TLS for itself and becomes one record.
            ready!(Pin::new(&mut self.wire).poll_flush(cx))?;
            let Some(packet) = self.unsent.front() else { return Poll::Ready(Ok(())) };
            let octets = ready!(Pin::new(&mut self.wire).poll_write(cx, &packet[self.sent..]))?;
            if octets == 0 {
                return Poll::Ready(Err(ErrorKind::WriteZero.into()));
            }
            self.sent += octets;
            if self.sent == packet.len() {
                self.unsent.pop_front();
                self.sent = 0;
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], mut each: impl FnMut(&[u8])) -> Turn {
        for _ in 0..READS_PER_TURN {
            match self.wire.poll_packets(cx, buffer, &mut self.packets) {
                Poll::Pending => return Turn::Idle,
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::UnexpectedEof => return Turn::Over(End::Ended),
                Poll::Ready(Err(error)) => return Turn::Over(End::Broken(chain(&error).to_string())),
                Poll::Ready(Ok(0)) => return Turn::Over(End::Ended),
                Poll::Ready(Ok(_)) => {}
            }
            loop {
                match self.packets.take(frame) {
                    Ok(Some(packet)) => each(packet),
                    Ok(None) => break,
                    Err(error) => return Turn::Over(End::Malformed(error.to_string())),
                }
            }
        }
        Turn::More
    }
}

/// Makes a connection, with its handshake.
async fn connect(
    local: Local,
    address: SocketAddr,
    tls: Option<(ClientTls, ServerName<'static>)>,
    limit: Duration,
) -> io::Result<Wire> {
    let work = async {
        let stream = dial::connect(&local, address, &UPKEEP).await?;
        Ok(match tls {
            None => Wire::Tcp(stream),
            Some((tls, name)) => Wire::tls(tls.connect(name, stream).await?),
        })
    };
    match tokio::time::timeout(limit, work).await {
        Ok(made) => made,
        Err(_) => {
            let what = format!("no connection within {} s", limit.as_secs_f32());
            Err(io::Error::new(ErrorKind::TimedOut, what))
        }
    }
}

#[cfg(test)]
mod tests;
