//! A small accounting server on a UDP socket: for the demo, for load tests, for a look at what is sent.

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::UdpSocket;

use crate::dictionary::{Decoded, Dictionary};
use crate::radius::Secret;
use crate::radius::collector::{Rejected, Request, receive};
use crate::radius::packet::{HEADER_OCTETS, PACKET_OCTETS_MAX};

/// Requests remembered to recognise a retransmission.
const RECENT_MAX: usize = 1024;

/// An accounting request that came in and was answered.
#[derive(Clone, Debug)]
pub struct Collected {
    /// Where it came from.
    pub from: SocketAddr,
    /// Its attributes in their order; `to_string` of one gives `Name = value`.
    pub attributes: Vec<Decoded>,
    /// Whether it came before: same source, identifier and authenticator.
    pub is_repeat: bool,
}

/// The server.
#[derive(Debug)]
pub struct Collector {
    socket: UdpSocket,
    secret: Secret,
    dictionary: Arc<Dictionary>,
    recent: VecDeque<(SocketAddr, [u8; HEADER_OCTETS])>,
    buffer: Box<[u8; PACKET_OCTETS_MAX + 1]>,
}

impl Collector {
    /// Listens on `address`; port 0 takes a free one.
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub async fn bind(address: SocketAddr, secret: Secret, dictionary: Arc<Dictionary>) -> io::Result<Self> {
        let socket = UdpSocket::bind(address).await?;
        let buffer = Box::new([0; PACKET_OCTETS_MAX + 1]);
        Ok(Self { socket, secret, dictionary, recent: VecDeque::new(), buffer })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Waits for the next accounting request and answers it. Probes are answered on the way, everything else is ignored.
    ///
    /// The future may be dropped while it waits.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn next(&mut self) -> io::Result<Collected> {
        loop {
            let (octets, from) = self.socket.recv_from(&mut self.buffer[..]).await?;
            let datagram = &self.buffer[..octets];
            match receive(datagram, &self.secret, &self.dictionary) {
                Ok((request, answer)) => {
                    let is_repeat = self.is_repeat(from, octets);
                    // An answer that is lost is asked for again.
                    let _sent = self.socket.try_send_to(&answer, from);
                    if let Request::Accounting(attributes) = request {
                        return Ok(Collected { from, attributes, is_repeat });
                    }
                }
                Err(error @ Rejected::Malformed(_)) => tracing::debug!(%from, %error, "datagram ignored"),
                Err(error) => tracing::warn!(%from, %error, "request ignored"),
            }
        }
    }

    fn is_repeat(&mut self, from: SocketAddr, octets: usize) -> bool {
        let Some(head) = self.buffer[..octets].first_chunk::<HEADER_OCTETS>() else { return false };
        let name = (from, *head);
        if self.recent.contains(&name) {
            return true;
        }
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(name);
        false
    }
}
