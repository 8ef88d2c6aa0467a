//! Lanes of datagrams: connected UDP, so that the kernel filters by source and tells when nobody listens.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use tokio::io::Interest;
use tokio::net::UdpSocket;

use crate::net::socket::Local;
use crate::radius::client::{Input, LaneId, ServerIndex};
use crate::radius::packet::PACKET_OCTETS_MAX;

/// Octets the kernel may keep for a lane in each direction; it grants what `net.core.*mem_max` allows.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// Datagrams taken from one lane before the next gets its turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// A socket, and the wait for an error on it: an ICMP message makes it neither readable nor writable.
pub(super) struct Datagrams {
    socket: Arc<UdpSocket>,
    trouble: Pin<Box<dyn Future<Output = ()>>>,
}

impl Datagrams {
    /// A socket connected to a server.
    pub(super) fn open(address: SocketAddr, local: &Local) -> io::Result<Self> {
        let socket = local.datagrams(address)?;
        // The kernel grants less where its limits are lower.
        let _granted = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _granted = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        Ok(Self { trouble: trouble(&socket), socket })
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

    /// Sends without waiting; `WouldBlock` when the kernel has no room.
    pub(super) fn send(&self, datagram: &[u8]) -> io::Result<()> {
        let mut sent = self.socket.try_send(datagram);
        if sent.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused) {
            // That error belongs to an earlier datagram, sent perhaps before the server came back; this one has not left.
            // If nobody listens still, there will be another.
            sent = self.socket.try_send(datagram);
        }
        sent.map(|_| ())
    }

    /// Sends once there is room. A refusal comes again with the retransmission.
    pub(super) fn poll_send(&self, cx: &mut Context<'_>, datagram: &[u8]) -> Poll<()> {
        self.socket.poll_send(cx, datagram).map(drop)
    }

    /// Takes what has come; wakes the task when more comes.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        buffer: &mut [u8],
        (server, lane): (ServerIndex, LaneId),
        each: &mut impl FnMut(Input<'_>),
    ) {
        if self.is_refused(cx) {
            each(Input::Refused { server, lane });
        }
        // One octet more than a packet has, so that a longer one is seen to be longer.
        let buffer = &mut buffer[..=PACKET_OCTETS_MAX];
        let mut taken = 0;
        while self.socket.poll_recv_ready(cx).is_ready() {
            match self.socket.try_recv(buffer) {
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
}

fn trouble(socket: &Arc<UdpSocket>) -> Pin<Box<dyn Future<Output = ()>>> {
    let socket = Arc::clone(socket);
    Box::pin(async move {
        let _ready = socket.ready(Interest::ERROR).await;
    })
}
