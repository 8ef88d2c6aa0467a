//! Where the packets of a mirror come in: datagrams, or connections with one packet behind the other.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use metrics::Counter;
use tokio::io::AsyncReadExt as _;
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::{Semaphore, mpsc};

use super::meters::Counters;
use crate::hep::{self, Frame};
use crate::sip::stack::{Network, Transport};

/// Connections of one mirror; beyond, new ones wait.
const CONNECTIONS_MAX: usize = 256;
/// How long a packet may take to come whole.
const PACKET_WAIT: Duration = Duration::from_secs(30);
/// Rest after an accept that failed, as when there are no descriptors left.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// What came in.
#[derive(Debug)]
pub(super) struct Received {
    pub source: SocketAddr,
    pub octets: Vec<u8>,
}

/// Who may send, and where what they send goes.
struct Door {
    allow: Vec<Network>,
    given: mpsc::Sender<Received>,
    strangers: Counter,
    lost: Counter,
}

impl Door {
    fn lets_in(&self, source: SocketAddr) -> bool {
        let is_allowed = self.allow.iter().any(|block| block.contains(source.ip()));
        if !is_allowed {
            self.strangers.increment(1);
        }
        is_allowed
    }
}

/// Starts to take packets from a bound socket.
pub(super) fn start(
    socket: socket2::Socket,
    transport: Transport,
    allow: Vec<Network>,
    given: mpsc::Sender<Received>,
    meters: &Counters,
) -> io::Result<()> {
    let door = Arc::new(Door { allow, given, strangers: meters.strangers(), lost: meters.lost_streams() });
    match transport {
        Transport::Udp => tokio::spawn(datagrams(UdpSocket::from_std(socket.into())?, door)),
        Transport::Tcp | Transport::Tls => tokio::spawn(connections(TcpListener::from_std(socket.into())?, door)),
    };
    Ok(())
}

async fn datagrams(socket: UdpSocket, door: Arc<Door>) {
    let mut buffer = vec![0; hep::PACKET_BYTES_MAX];
    loop {
        // An error is of a datagram that is gone.
        let Ok((length, source)) = socket.recv_from(&mut buffer).await else { continue };
        if !door.lets_in(source) {
            continue;
        }
        if door.given.send(Received { source, octets: buffer[..length].to_vec() }).await.is_err() {
            return;
        }
    }
}

async fn connections(listener: TcpListener, door: Arc<Door>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, source)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_REST).await;
            continue;
        };
        if !door.lets_in(source) {
            continue;
        }
        let door = Arc::clone(&door);
        tokio::spawn(async move {
            packets(stream, source, &door).await;
            drop(place);
        });
    }
}

/// Takes the packets of a connection until it ends, or until what follows is none: then nobody knows where the next begins,
/// and the connection is closed.
async fn packets(mut stream: TcpStream, source: SocketAddr, door: &Door) {
    let mut buffer = Vec::new();
    loop {
        let read = match buffer.is_empty() {
            // It may be silent between packets for as long as it wants.
            true => stream.read_buf(&mut buffer).await,
            false => match tokio::time::timeout(PACKET_WAIT, stream.read_buf(&mut buffer)).await {
                Ok(read) => read,
                Err(_) => Err(io::ErrorKind::TimedOut.into()),
            },
        };
        let is_over = !matches!(read, Ok(1..));
        let mut taken = 0;
        loop {
            match hep::frame(&buffer[taken..]) {
                Frame::Packet(length) if buffer.len() >= taken + length => {
                    let octets = buffer[taken..taken + length].to_vec();
                    taken += length;
                    if door.given.send(Received { source, octets }).await.is_err() {
                        return;
                    }
                }
                Frame::Packet(_) | Frame::Unknown => break,
                Frame::Lost => {
                    door.lost.increment(1);
                    tracing::warn!(%source, "a connection of a mirror was closed: what follows is no packet of HEP");
                    return;
                }
            }
        }
        buffer.drain(..taken);
        if is_over {
            if !buffer.is_empty() {
                door.lost.increment(1);
                tracing::warn!(%source, octets = buffer.len(), "a connection of a mirror ended within a packet");
            }
            return;
        }
    }
}
