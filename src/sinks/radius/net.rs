//! Sockets of the lanes: connected UDP, so that the kernel filters by source and tells when nobody listens.

use std::collections::VecDeque;
use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use socket2::Socket;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::net::socket::Local;
use crate::radius::client::{Input, LaneId, ServerIndex};
use crate::radius::packet::PACKET_OCTETS_MAX;

/// Octets the kernel may keep for a lane in each direction; it grants what `net.core.*mem_max` allows.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// Datagrams that wait for room in the kernel; the machine sends the ones beyond it again by itself.
const UNSENT_MAX: usize = 4096;
/// Datagrams taken from one lane before the next gets its turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// The lanes of one server, by number.
struct Lanes {
    address: SocketAddr,
    sockets: Vec<Option<Lane>>,
}

/// A socket, and the wait for an error on it: an ICMP message makes it neither readable nor writable.
struct Lane {
    socket: Arc<UdpSocket>,
    trouble: Pin<Box<dyn Future<Output = ()>>>,
}

impl Lane {
    fn new(socket: UdpSocket) -> Self {
        let socket = Arc::new(socket);
        Self { trouble: trouble(&socket), socket }
    }

    /// Whether the kernel has told that nobody listens.
    fn is_refused(&mut self, cx: &mut Context<'_>) -> bool {
        if self.trouble.as_mut().poll(cx).is_pending() {
            return false;
        }
        let found = self.socket.take_error();
        // Forgets the readiness that is now used up.
        let _used = self.socket.try_io(Interest::ERROR, || Err::<(), _>(ErrorKind::WouldBlock.into()));
        self.trouble = trouble(&self.socket);
        // Registers the new wait.
        if self.trouble.as_mut().poll(cx).is_ready() {
            cx.waker().wake_by_ref();
        }
        matches!(found, Ok(Some(_)))
    }
}

fn trouble(socket: &Arc<UdpSocket>) -> Pin<Box<dyn Future<Output = ()>>> {
    let socket = Arc::clone(socket);
    Box::pin(async move {
        let _ready = socket.ready(Interest::ERROR).await;
    })
}

/// The lanes of all servers.
pub(super) struct Sockets {
    servers: Vec<Lanes>,
    local: Local,
    unsent: VecDeque<(ServerIndex, LaneId, Bytes)>,
    buffer: Box<[u8; PACKET_OCTETS_MAX + 1]>,
}

impl Sockets {
    pub(super) fn new(addresses: Vec<SocketAddr>, local: Local) -> Self {
        Self {
            servers: addresses.into_iter().map(|address| Lanes { address, sockets: Vec::new() }).collect(),
            local,
            unsent: VecDeque::new(),
            buffer: Box::new([0; PACKET_OCTETS_MAX + 1]),
        }
    }

    pub(super) fn address(&self, server: ServerIndex) -> SocketAddr {
        self.servers[usize::from(server.0)].address
    }

    /// Lanes opened from now on lead there; those that are open stay as they are.
    pub(super) fn move_to(&mut self, server: ServerIndex, address: SocketAddr) {
        self.servers[usize::from(server.0)].address = address;
    }

    pub(super) fn open(&mut self, server: ServerIndex, lane: LaneId) -> io::Result<()> {
        let lanes = &mut self.servers[usize::from(server.0)];
        let socket = UdpSocket::from_std(connect(lanes.address, &self.local)?.into())?;
        let place = usize::from(lane.0);
        if lanes.sockets.len() <= place {
            lanes.sockets.resize_with(place + 1, || None);
        }
        lanes.sockets[place] = Some(Lane::new(socket));
        Ok(())
    }

    fn socket(&self, server: ServerIndex, lane: LaneId) -> Option<&UdpSocket> {
        Some(&*self.servers.get(usize::from(server.0))?.sockets.get(usize::from(lane.0))?.as_ref()?.socket)
    }

    /// Sends without waiting. What the kernel has no room for waits; what it refuses is an error.
    pub(super) fn send(&mut self, server: ServerIndex, lane: LaneId, datagram: Bytes) -> io::Result<()> {
        let Some(socket) = self.socket(server, lane) else { return Ok(()) };
        let mut sent = socket.try_send(&datagram);
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            // That error belongs to an earlier datagram, sent perhaps before the server came back; this one has not left.
            // If nobody listens still, there will be another.
            sent = socket.try_send(&datagram);
        }
        match sent {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                if self.unsent.len() < UNSENT_MAX {
                    self.unsent.push_back((server, lane, datagram));
                }
                Ok(())
            }
            sent => sent.map(|_| ()),
        }
    }

    /// Sends what waits for room; wakes the task when there is room again.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) {
        while let Some((server, lane, datagram)) = self.unsent.pop_front() {
            let Some(socket) = self.socket(server, lane) else { continue };
            match socket.poll_send(cx, &datagram) {
                Poll::Pending => {
                    self.unsent.push_front((server, lane, datagram));
                    return;
                }
                // A refusal comes again with the retransmission.
                Poll::Ready(_) => {}
            }
        }
    }

    /// Takes what has come on all lanes; wakes the task when more comes.
    pub(super) fn receive(&mut self, cx: &mut Context<'_>, mut each: impl FnMut(Input<'_>)) {
        let buffer = &mut *self.buffer;
        for (server, lanes) in (0_u16..).zip(&mut self.servers) {
            for (lane, there) in (0_u16..).zip(&mut lanes.sockets) {
                let Some(there) = there else { continue };
                let (server, lane) = (ServerIndex(server), LaneId(lane));
                if there.is_refused(cx) {
                    each(Input::Refused { server, lane });
                }
                receive_on(&there.socket, cx, buffer, server, lane, &mut each);
            }
        }
    }
}

fn receive_on(
    socket: &UdpSocket,
    cx: &mut Context<'_>,
    buffer: &mut [u8],
    server: ServerIndex,
    lane: LaneId,
    each: &mut impl FnMut(Input<'_>),
) {
    let mut taken = 0;
    while socket.poll_recv_ready(cx).is_ready() {
        match socket.try_recv(buffer) {
            Ok(octets) => each(Input::Received { server, lane, datagram: &buffer[..octets] }),
            // The readiness was stale: ask again, which waits.
            Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
            Err(_) => each(Input::Refused { server, lane }),
        }
        taken += 1;
        if taken >= DATAGRAMS_PER_TURN {
            cx.waker().wake_by_ref();
            return;
        }
    }
}

/// A socket connected to a server.
fn connect(address: SocketAddr, local: &Local) -> io::Result<Socket> {
    let socket = local.datagrams(address)?;
    // The kernel grants less where its limits are lower.
    let _granted = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
    let _granted = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
    Ok(socket)
}
