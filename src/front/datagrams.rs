//! What a shard sends by its UDP sockets, and what becomes of it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::mailbox::{Mail, Mailbox};
use super::metrics::Meters;
use super::udp;
use crate::net::datagrams;
use crate::sip::stack::ListenerId;

/// Sends all; what the kernel does not take is dropped.
pub(super) fn send(socket: &UdpSocket, mut waiting: &[(SocketAddr, Bytes)], meters: &Meters) {
    let mut failed = 0;
    while !waiting.is_empty() {
        match datagrams::send(socket, waiting.iter().map(|(target, octets)| (Some(*target), &octets[..]))) {
            Ok(sent) => {
                meters.sent.increment(sent as u64);
                waiting = &waiting[sent..];
                failed = 0;
            }
            // The error of an earlier datagram comes back on the next call: this one was not sent yet.
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && failed == 0 => failed += 1,
            Err(error) => {
                // As if lost on the way: retransmission mends it.
                let full = error.kind() == io::ErrorKind::WouldBlock;
                let dropped = if full { waiting.len() } else { 1 };
                meters.send_dropped.increment(dropped as u64);
                waiting = &waiting[dropped..];
                failed = 0;
            }
        }
    }
}

/// Tells the shard what ICMP says about its targets.
pub(super) async fn watch_errors(socket: Arc<UdpSocket>, listener: ListenerId, mailbox: Mailbox) {
    let mut targets: Vec<SocketAddr> = Vec::new();
    while socket.ready(Interest::ERROR).await.is_ok() {
        udp::unreachable(&socket, &mut targets);
        for target in targets.drain(..) {
            let _full = mailbox.put(Mail::Unreachable { listener, target });
        }
        let _cleared = socket.try_io(Interest::ERROR, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
    }
}
