//! Datagrams in batches: one system call takes many, one sends many, and neither waits.

#![allow(unsafe_code, reason = "the system calls recvmmsg and sendmmsg")]

use std::io;
use std::mem;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, RawFd};

use socket2::{SockAddr, Socket};
use tokio::io::Interest;
use tokio::net::UdpSocket;

/// Datagrams taken by one system call.
pub const BATCH_DATAGRAMS: usize = 16;
/// Datagrams sent by one system call.
pub const SEND_DATAGRAMS: usize = 32;
/// Datagrams that one send is cut into at most: `UDP_MAX_SEGMENTS` of Linux before 6.9.
const CUT_DATAGRAMS: usize = 64;
/// The longest of them, in octets: what a frame of Ethernet carries over UDP and IPv6.
const CUT_BYTES_MAX: usize = 1452;
/// Octets of one send at most, a little less than UDP can carry over IPv4.
const SEND_BYTES_MAX: usize = 65_000;
/// What a shorter datagram is filled up with.
const PADDING: [u8; CUT_BYTES_MAX / 2] = [0; CUT_BYTES_MAX / 2];

/// A batch of received datagrams, reused from one system call to the next.
pub struct Batch {
    buffers: Vec<Box<[u8]>>,
    names: Vec<libc::sockaddr_storage>,
    lengths: [usize; BATCH_DATAGRAMS],
    filled: usize,
}

impl Batch {
    /// An empty batch with room for datagrams of so many octets, the rest of longer ones is lost: that much address space
    /// for each, of which only what arrives becomes memory.
    #[must_use]
    pub fn new(datagram_bytes_max: usize) -> Self {
        Self {
            buffers: (0..BATCH_DATAGRAMS).map(|_| vec![0; datagram_bytes_max].into_boxed_slice()).collect(),
            // SAFETY: all-zero octets are a valid sockaddr_storage (family unspecified).
            names: vec![unsafe { mem::zeroed() }; BATCH_DATAGRAMS],
            lengths: [0; BATCH_DATAGRAMS],
            filled: 0,
        }
    }

    /// The datagrams of the last call.
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.filled).map(|i| &self.buffers[i][..self.lengths[i]])
    }

    /// The datagrams of the last call with their sources; one whose source is no IP address is left out.
    pub fn with_sources(&self) -> impl Iterator<Item = (SocketAddr, &[u8])> {
        self.datagrams().zip(&self.names).filter_map(|(octets, name)| Some((address(name)?, octets)))
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
            parts[i].iov_len = self.buffers[i].len();
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

/// Sends datagrams in their order without waiting, [`SEND_DATAGRAMS`] at most; returns how many left. A target is named
/// unless the socket is connected.
///
/// # Errors
/// What the kernel says to the first of them, when none left: `WouldBlock` when it has no room, or the error an earlier
/// datagram met.
pub fn send<'d>(
    socket: &UdpSocket,
    datagrams: impl Iterator<Item = (Option<SocketAddr>, &'d [u8])>,
) -> io::Result<usize> {
    // SAFETY: all-zero octets are valid for these plain C structures.
    let (mut parts, mut headers): ([libc::iovec; SEND_DATAGRAMS], [libc::mmsghdr; SEND_DATAGRAMS]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut names: [mem::MaybeUninit<SockAddr>; SEND_DATAGRAMS] =
        [const { mem::MaybeUninit::uninit() }; SEND_DATAGRAMS];
    let mut count = 0;
    for (i, (target, octets)) in datagrams.take(SEND_DATAGRAMS).enumerate() {
        parts[i].iov_base = octets.as_ptr().cast_mut().cast();
        parts[i].iov_len = octets.len();
        headers[i].msg_hdr.msg_iov = &raw mut parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        if let Some(target) = target {
            let name = names[i].write(SockAddr::from(target));
            headers[i].msg_hdr.msg_name = name.as_ptr().cast_mut().cast();
            headers[i].msg_hdr.msg_namelen = name.len();
        }
        count = i + 1;
    }
    socket.try_io(Interest::WRITABLE, || {
        // SAFETY: every pointer above is into memory that lives until the call returns and that it only reads.
        let sent = unsafe {
            libc::sendmmsg(socket.as_raw_fd(), headers.as_mut_ptr(), count as libc::c_uint, libc::MSG_DONTWAIT)
        };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    })
}

/// Whether the kernel cuts a send into datagrams (`UDP_SEGMENT`, Linux 4.18). An older one would send all of them as one.
///
/// # Errors
/// What the kernel says.
pub fn can_cut(socket: &Socket) -> io::Result<()> {
    let none: libc::c_int = 0;
    let length = size_of_val(&none) as libc::socklen_t;
    // SAFETY: the descriptor is open, the value is an int of the given length that outlives the call.
    let done = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_UDP, libc::UDP_SEGMENT, (&raw const none).cast(), length)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// How many of the first datagrams one send can carry that is cut into parts of one length, and that length. A datagram
/// joins as long as none of them is padding by more than half.
pub fn alike<'d>(datagrams: impl Iterator<Item = &'d [u8]>) -> (usize, usize) {
    let (mut count, mut shortest, mut longest) = (0, usize::MAX, 0);
    for octets in datagrams.take(CUT_DATAGRAMS) {
        let (least, most) = (shortest.min(octets.len()), longest.max(octets.len()));
        let fits = most <= CUT_BYTES_MAX && most <= least * 2 && (count + 1) * most <= SEND_BYTES_MAX;
        if !fits && count > 0 {
            break;
        }
        (count, shortest, longest) = (count + 1, least, most);
        if !fits {
            break;
        }
    }
    (count, longest)
}

/// Sends `count` datagrams to the peer of a connected socket in one piece, without waiting, for the kernel or the network
/// card to cut into parts of `octets` each: those that are shorter are filled up with zeros, but for the last. All of them
/// leave, or none. As [`alike`] tells.
///
/// # Errors
/// What the kernel says: also EINVAL, when the path takes no parts of that length, and EIO, when the way out has no
/// checksums of its own.
pub fn send_to_be_cut<'d>(
    socket: &UdpSocket,
    datagrams: impl Iterator<Item = &'d [u8]>,
    (count, octets): (usize, usize),
) -> io::Result<usize> {
    let count = count.min(CUT_DATAGRAMS);
    // SAFETY: all-zero octets are valid for these plain C structures.
    let (mut parts, mut header): ([libc::iovec; 2 * CUT_DATAGRAMS], libc::msghdr) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    let mut used = 0;
    let mut add = |octets: &[u8]| {
        parts[used] = libc::iovec { iov_base: octets.as_ptr().cast_mut().cast(), iov_len: octets.len() };
        used += 1;
    };
    for (i, datagram) in datagrams.take(count).enumerate() {
        add(datagram);
        let padding = octets.saturating_sub(datagram.len()).min(PADDING.len());
        if padding > 0 && i + 1 < count {
            add(&PADDING[..padding]);
        }
    }
    let mut control = [0_u64; 8];
    let length = size_of::<u16>() as libc::c_uint;
    header.msg_iov = parts.as_mut_ptr();
    header.msg_iovlen = used;
    header.msg_control = control.as_mut_ptr().cast();
    // SAFETY: the macros compute lengths; `control` is aligned and longer than CMSG_SPACE(2), which is 24.
    unsafe {
        header.msg_controllen = libc::CMSG_SPACE(length) as usize;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_UDP;
        (*first).cmsg_type = libc::UDP_SEGMENT;
        (*first).cmsg_len = libc::CMSG_LEN(length) as usize;
        libc::CMSG_DATA(first).cast::<u16>().write_unaligned(octets as u16);
    }
    socket.try_io(Interest::WRITABLE, || {
        // SAFETY: every pointer in `header` is into memory that lives until the call returns and that it only reads.
        let sent = unsafe { libc::sendmsg(socket.as_raw_fd(), &raw const header, libc::MSG_DONTWAIT) };
        if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(count) }
    })
}

/// Reads a socket address of the kernel; `None` for other families.
pub fn address(name: &libc::sockaddr_storage) -> Option<SocketAddr> {
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
    use std::os::fd::AsFd as _;
    use std::time::Duration;

    use super::*;

    async fn socket(local: &str) -> (UdpSocket, SocketAddr) {
        let socket = UdpSocket::bind(local).await.unwrap();
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
            let (mut batch, mut seen) = (Batch::new(64), Vec::new());
            while seen.len() < 40 {
                tokio::time::timeout(Duration::from_secs(5), b.readable()).await.unwrap().unwrap();
                if batch.receive(&b).is_ok() {
                    seen.extend(batch.with_sources().map(|(source, octets)| (source, octets.to_vec())));
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
            let all: Vec<_> = (0..40_u8).map(|i| vec![i; usize::from(i) + 1]).collect();
            let connected = UdpSocket::bind(local).await.unwrap();
            connected.connect(to).await.unwrap();
            for (socket, target) in [(a, Some(to)), (connected, None)] {
                socket.writable().await.unwrap();
                let from = |first: usize| all[first..].iter().map(|octets| (target, &octets[..]));
                assert_eq!(send(&socket, from(0)).unwrap(), SEND_DATAGRAMS, "{local}");
                assert_eq!(send(&socket, from(SEND_DATAGRAMS)).unwrap(), 8, "{local}");
                let mut buffer = [0; 64];
                for want in &all {
                    let (length, _) = b.recv_from(&mut buffer).await.unwrap();
                    assert_eq!(&buffer[..length], &want[..]);
                }
            }
        }
    }

    #[test]
    fn datagrams_that_are_alike_go_together() {
        for (name, lengths, want) in [
            ("none", vec![], (0, 0)),
            ("one", vec![600], (1, 600)),
            ("of one length", vec![500; 10], (10, 500)),
            ("of about one length", vec![500, 620, 480, 600], (4, 620)),
            ("one of more than twice the length waits", vec![500, 620, 1001, 500], (2, 620)),
            ("one of less than half the length waits", vec![500, 620, 309, 500], (2, 620)),
            ("one longer than a frame goes alone", vec![1453, 1452, 1452], (1, 1453)),
            ("and waits for those before it", vec![1452, 1452, 1453], (2, 1452)),
            ("64 at most", vec![100; 100], (64, 100)),
            ("65,000 octets at most", vec![1452; 64], (44, 1452)),
        ] {
            let all: Vec<Vec<u8>> = lengths.into_iter().map(|octets: usize| vec![0; octets]).collect();
            assert_eq!(alike(all.iter().map(|one| &one[..])), want, "{name}");
        }
    }

    #[tokio::test]
    async fn a_send_is_cut_into_its_datagrams_all_padded_but_the_last() {
        for local in ["127.0.0.1:0", "[::1]:0"] {
            let (a, _) = socket(local).await;
            let (b, to) = socket(local).await;
            a.connect(to).await.unwrap();
            if let Err(error) = can_cut(&Socket::from(a.as_fd().try_clone_to_owned().unwrap())) {
                eprintln!("skipped: this kernel cuts nothing: {error}");
                return;
            }
            let all: Vec<_> = [700_usize, 500, 650, 400].into_iter().map(|octets| vec![octets as u8; octets]).collect();
            a.writable().await.unwrap();
            let datagrams = || all.iter().map(|one| &one[..]);
            assert_eq!(send_to_be_cut(&a, datagrams(), alike(datagrams())).unwrap(), 4, "{local}");
            let mut buffer = [0; 2048];
            for (want, octets) in all.iter().zip([700, 700, 700, 400]) {
                let (length, _) = b.recv_from(&mut buffer).await.unwrap();
                assert_eq!((&buffer[..want.len()], length), (&want[..], octets), "{local}");
                assert!(buffer[want.len()..length].iter().all(|padding| *padding == 0), "{local}");
            }
        }
    }
}
