//! One shard's UDP socket: batched receive and send without waiting, and the errors ICMP brings (RFC 3261 §18.4).
//!
//! Every shard binds the same address with `SO_REUSEPORT`; the kernel spreads peers over the shards, and a datagram that
//! belongs to another shard is handed over by the driver. `IP_RECVERR` is on, so that a port unreachable names the
//! target that refused, and the transaction fails at once instead of after 32 s.

#![allow(unsafe_code, reason = "the system calls recvmmsg, sendmmsg, recvmsg and setsockopt")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams taken by one system call.
pub const BATCH_DATAGRAMS: usize = 16;
/// Datagrams sent by one system call.
pub const SEND_DATAGRAMS: usize = 32;
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

/// A batch of received datagrams, reused from one system call to the next.
pub struct Batch {
    buffers: Vec<Box<[u8]>>,
    names: Vec<libc::sockaddr_storage>,
    lengths: [usize; BATCH_DATAGRAMS],
    filled: usize,
}

impl Batch {
    /// An empty batch: 1 MiB of address space, of which only what arrives becomes memory.
    #[must_use]
    #[allow(clippy::new_without_default, reason = "too large to be made in passing")]
    pub fn new() -> Self {
        Self {
            buffers: (0..BATCH_DATAGRAMS).map(|_| vec![0; DATAGRAM_BYTES_MAX].into_boxed_slice()).collect(),
            // SAFETY: all-zero octets are a valid sockaddr_storage (family unspecified).
            names: vec![unsafe { mem::zeroed() }; BATCH_DATAGRAMS],
            lengths: [0; BATCH_DATAGRAMS],
            filled: 0,
        }
    }

    /// The datagrams of the last call with their sources; one whose source is no IP address is left out.
    pub fn datagrams(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        (0..self.filled).filter_map(|i| Some((address(&self.names[i])?, &self.buffers[i][..self.lengths[i]])))
    }

    /// Takes what waits in the socket, [`BATCH_DATAGRAMS`] at most; returns how many.
    ///
    /// # Errors
    /// `WouldBlock` when nothing waits, and any error of the socket.
    pub fn receive(&mut self, socket: &UdpSocket) -> io::Result<usize> {
        self.filled = 0;
        let filled = socket.try_io(Interest::READABLE, || self.receive_now(socket.as_raw_fd()))?;
        self.filled = filled;
        if filled < BATCH_DATAGRAMS {
            // The socket is empty: say so to the runtime without a system call that would only find it out again.
            let _empty = socket.try_io(Interest::READABLE, || Err::<(), _>(io::ErrorKind::WouldBlock.into()));
        }
        Ok(filled)
    }

    fn receive_now(&mut self, socket: RawFd) -> io::Result<usize> {
        // SAFETY: all-zero octets are valid for these plain C structures.
        let (mut parts, mut headers): ([libc::iovec; BATCH_DATAGRAMS], [libc::mmsghdr; BATCH_DATAGRAMS]) =
            unsafe { (mem::zeroed(), mem::zeroed()) };
        for i in 0..BATCH_DATAGRAMS {
            parts[i].iov_base = self.buffers[i].as_mut_ptr().cast();
            parts[i].iov_len = DATAGRAM_BYTES_MAX;
            headers[i].msg_hdr.msg_iov = &raw mut parts[i];
            headers[i].msg_hdr.msg_iovlen = 1;
            headers[i].msg_hdr.msg_name = (&raw mut self.names[i]).cast();
            headers[i].msg_hdr.msg_namelen = size_of::<libc::sockaddr_storage>() as libc::socklen_t;
        }
        // SAFETY: every pointer above is into memory that lives until the call returns.
        let count = unsafe {
            libc::recvmmsg(
                socket,
                headers.as_mut_ptr(),
                BATCH_DATAGRAMS as libc::c_uint,
                libc::MSG_DONTWAIT,
                std::ptr::null_mut(),
            )
        };
        let count = usize::try_from(count).map_err(|_| io::Error::last_os_error())?;
        for (length, header) in self.lengths.iter_mut().zip(&headers[..count]) {
            *length = header.msg_len as usize;
        }
        Ok(count)
    }
}

/// Sends datagrams in their order without waiting, [`SEND_DATAGRAMS`] at most; returns how many left.
///
/// # Errors
/// What the kernel says to the first of them, when none left: `WouldBlock` when it has no room, or the error an earlier
/// datagram met.
pub fn send(socket: &UdpSocket, datagrams: &[(SocketAddr, Bytes)]) -> io::Result<usize> {
    let count = datagrams.len().min(SEND_DATAGRAMS);
    // SAFETY: all-zero octets are valid for these plain C structures.
    let (mut parts, mut headers): ([libc::iovec; SEND_DATAGRAMS], [libc::mmsghdr; SEND_DATAGRAMS]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut names: [mem::MaybeUninit<SockAddr>; SEND_DATAGRAMS] =
        [const { mem::MaybeUninit::uninit() }; SEND_DATAGRAMS];
    for (i, (target, octets)) in datagrams[..count].iter().enumerate() {
        let name = names[i].write(SockAddr::from(*target));
        parts[i].iov_base = octets.as_ptr().cast_mut().cast();
        parts[i].iov_len = octets.len();
        headers[i].msg_hdr.msg_iov = &raw mut parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        headers[i].msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
        headers[i].msg_hdr.msg_namelen = name.len();
    }
    socket.try_io(Interest::WRITABLE, || {
        // SAFETY: every pointer above is into memory that lives until the call returns and that it only reads.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    })
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

/// Reads a socket address of the kernel; `None` for other families.
fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
    match libc::c_int::from(name.ss_family) {
        libc::AF_INET => {
            // SAFETY: the family says that the storage holds a sockaddr_in.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in>() };
            let ip = Ipv4Addr::from(u32::from_be(name.sin_addr.s_addr));
            Some(SocketAddr::new(IpAddr::V4(ip), u16::from_be(name.sin_port)))
        }
        libc::AF_INET6 => {
            // SAFETY: the family says that the storage holds a sockaddr_in6.
            let name = unsafe { &*(&raw const *name).cast::<libc::sockaddr_in6>() };
            let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
            Some(SocketAddr::V6(SocketAddrV6::new(ip, u16::from_be(name.sin6_port), 0, name.sin6_scope_id)))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    async fn socket(local: &str) -> (UdpSocket, SocketAddr) {
        let socket = bind(local.parse().unwrap()).unwrap();
        let socket = UdpSocket::from_std(socket.into()).unwrap();
        let local = socket.local_addr().unwrap();
        (socket, local)
    }

    #[tokio::test]
    async fn a_batch_brings_every_datagram_with_its_source() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (a, from) = socket(local).await;
            let (b, to) = socket(local).await;
            for i in 0..40_u8 {
                a.send_to(&vec![i; usize::from(i) + 1], to).await.unwrap();
            }
            let (mut batch, mut seen) = (Batch::new(), Vec::new());
            while seen.len() < 40 {
                tokio::time::timeout(Duration::from_secs(5), b.readable()).await.unwrap().unwrap();
                if batch.receive(&b).is_ok() {
                    seen.extend(batch.datagrams().map(|(source, octets)| (source, octets.to_vec())));
                }
            }
            let want: Vec<_> = (0..40_u8).map(|i| (from, vec![i; usize::from(i) + 1])).collect();
            assert_eq!(seen, want, "{local}");
        }
    }

    #[tokio::test]
    async fn a_batch_is_sent_in_its_order() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (a, _) = socket(local).await;
            let (b, to) = socket(local).await;
            let all: Vec<_> = (0..40_u8).map(|i| (to, Bytes::from(vec![i; usize::from(i) + 1]))).collect();
            a.writable().await.unwrap();
            assert_eq!(send(&a, &all).unwrap(), SEND_DATAGRAMS, "{local}");
            assert_eq!(send(&a, &all[SEND_DATAGRAMS..]).unwrap(), 8, "{local}");
            let mut buffer = [0; 64];
            for (_, want) in &all {
                let (length, _) = b.recv_from(&mut buffer).await.unwrap();
                assert_eq!(&buffer[..length], &want[..]);
            }
        }
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
