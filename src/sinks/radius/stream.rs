//! Connections over TCP (RFC 6613) and TLS (RFC 6614): their handshakes, packets in and out of the stream.
//!
//! A packet is one write of its own, and over TLS one record: FreeRADIUS closes a connection on which a record holds
//! anything else. The next is written when the one before has left. What comes is cut by [`frame`].

use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::Bytes;
use rustls::pki_types::ServerName;
use socket2::TcpKeepalive;
use tokio::io::AsyncWrite as _;

use crate::causes::chain_text;
use crate::net::dial::{self, Upkeep};
use crate::net::socket::Local;
use crate::net::stream::{Packets, Wire};
use crate::net::tls::ClientTls;
use crate::radius::frame::frame;

/// Longest time for a connection, its TLS handshake included.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// After a minute of silence TCP asks whether the peer is there.
const UPKEEP: Upkeep =
    Upkeep { probes: Some(TcpKeepalive::new().with_time(Duration::from_secs(60))), unacknowledged_max: None };
/// Reads from one lane before the next gets its turn.
const READS_PER_TURN: usize = 64;

/// What a lane's turn gave.
pub(super) enum Turn {
    /// All that was there was taken.
    Idle,
    /// There may be more.
    More,
    /// The connection is over.
    Over(End),
}

/// How a connection ended.
pub(super) enum End {
    Failed(String),
    Ended,
    Broken(String),
    Malformed(String),
}

/// An open connection.
pub(super) struct Connection {
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
    pub(super) fn new(wire: Wire) -> Self {
        Self { wire, packets: Packets::default(), unsent: VecDeque::new(), sent: 0, broken: None }
    }

    /// Sends a packet as soon as those before it have left. One that fails tells so at its next turn.
    pub(super) fn send(&mut self, packet: Bytes) {
        self.unsent.push_back(packet);
        // What has to wait is written, and waited for, by the next `flush`.
        self.flush(&mut Context::from_waker(Waker::noop()));
    }

    /// Sends what waits for room; whether nothing can be sent any more.
    pub(super) fn flush(&mut self, cx: &mut Context<'_>) -> bool {
        if let Poll::Ready(Err(error)) = self.poll_flush(cx) {
            self.unsent.clear();
            self.broken = Some(format!("cannot send: {}", chain_text(&error)));
        }
        self.broken.is_some()
    }

    /// What has still to say farewell: TLS over which something can be sent.
    pub(super) fn leaving(self) -> Option<Wire> {
        (self.wire.is_tls() && self.broken.is_none()).then_some(self.wire)
    }

    /// Takes what has come, then tells whether the connection is over.
    pub(super) fn turn(&mut self, cx: &mut Context<'_>, buffer: &mut [u8], each: impl FnMut(&[u8])) -> Turn {
        // What the server said last tells more than why nothing can be sent to it.
        match (self.read(cx, buffer, each), self.broken.take()) {
            (Turn::Idle, Some(why)) => Turn::Over(End::Broken(why)),
            (turn, _) => turn,
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
                Poll::Ready(Err(error)) => return Turn::Over(End::Broken(chain_text(&error))),
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
pub(super) async fn connect(
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
