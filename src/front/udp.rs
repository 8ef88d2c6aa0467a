//! One shard's UDP socket, and the errors ICMP brings (RFC 3261 §18.4).
//!
//! Every shard binds the same address with `SO_REUSEPORT`; the kernel spreads peers over the shards, and a datagram that
//! belongs to another shard is handed over by the driver. `IP_RECVERR` is on, so that a port unreachable names the
//! target that refused, and the transaction fails at once instead of after 32 s.

#![allow(unsafe_code, reason = "the system calls recvmsg and setsockopt")]

use std::io;
use std::mem;
use std::net::SocketAddr;
use std::os::fd::AsRawFd;

use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::UdpSocket;

use crate::net::datagrams::address;

/// The longest datagram taken, in octets: the longest UDP can carry.
pub const DATAGRAM_BYTES_MAX: usize = 65_535;
/// Receive and send buffer asked of the kernel, in octets; it grants what `net.core.rmem_max` allows.
pub const SOCKET_BUFFER_BYTES: usize = 4 << 20;
/// ICMP errors read from one socket before datagrams get their turn again.
const ERRORS_BATCH_MAX: usize = 32;

/// Binds one shard's socket.
///
/// # Errors
/// Whatever the kernel says to the address: in use without `SO_REUSEPORT`, not ours, not permitted.
pub fn bind(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    if local.is_ipv6() {
        // Both families stay apart, so that a listener on 0.0.0.0 and one on [::] can stand side by side.
        socket.set_only_v6(true)?;
    }
    // Less than asked for is no reason not to start.
    let _granted =
        socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES).and(socket.set_send_buffer_size(SOCKET_BUFFER_BYTES));
    report_errors(&socket, local)?;
    socket.bind(&SockAddr::from(local))?;
    Ok(socket)
}

fn report_errors(socket: &Socket, local: SocketAddr) -> io::Result<()> {
    let on: libc::c_int = 1;
    let (level, name) =
        if local.is_ipv4() { (libc::IPPROTO_IP, libc::IP_RECVERR) } else { (libc::IPPROTO_IPV6, libc::IPV6_RECVERR) };
    // SAFETY: `on` lives during the call and its size is given.
    let result = unsafe {
        libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const on).cast(), size_of_val(&on) as libc::socklen_t)
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Takes the targets that ICMP reported as unreachable since the last call.
pub fn unreachable(socket: &UdpSocket, out: &mut Vec<SocketAddr>) {
    for _ in 0..ERRORS_BATCH_MAX {
        // SAFETY: all-zero octets are valid for these plain C structures.
        let (mut name, mut header): (libc::sockaddr_storage, libc::msghdr) = unsafe { (mem::zeroed(), mem::zeroed()) };
        let mut control = [0_u8; 512];
        header.msg_name = (&raw mut name).cast();
        header.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = control.len();
        // SAFETY: every pointer in `header` is into memory that lives until the call returns.
        let result =
            unsafe { libc::recvmsg(socket.as_raw_fd(), &raw mut header, libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT) };
        if result < 0 {
            return;
        }
        out.extend(address(&name));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::io::Interest;

    use super::*;

    async fn socket(local: &str) -> (UdpSocket, SocketAddr) {
        let socket = bind(local.parse().unwrap()).unwrap();
        let socket = UdpSocket::from_std(socket.into()).unwrap();
        let local = socket.local_addr().unwrap();
        (socket, local)
    }

    #[tokio::test]
    async fn a_closed_port_is_reported_by_its_address() {
        let (gone, dead) = socket("127.0.0.1:0").await;
        drop(gone);
        let (a, _) = socket("127.0.0.1:0").await;
        a.send_to(b"x", dead).await.unwrap();
        let mut found = Vec::new();
        while found.is_empty() {
            tokio::time::timeout(Duration::from_secs(5), a.ready(Interest::READABLE | Interest::ERROR))
                .await
                .unwrap()
                .unwrap();
            unreachable(&a, &mut found);
            let _cleared = a.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        assert_eq!(found, [dead]);
    }
}
