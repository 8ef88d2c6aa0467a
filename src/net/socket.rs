//! How sockets towards servers are made: local address, network namespace, choice of the source address.

#![allow(unsafe_code, reason = "the system calls setns, setsockopt and getsockopt")]

use std::fs::File;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use socket2::{Domain, Protocol, Socket, Type};

/// `IPV6_ADDR_PREFERENCES` of `linux/in6.h` (RFC 5014 §3).
const IPV6_ADDR_PREFERENCES: libc::c_int = 72;
/// `IPV6_PREFER_SRC_PUBLIC`: rather a public address than a temporary one.
const IPV6_PREFER_SRC_PUBLIC: libc::c_int = 0x0002;

/// Which of several own IPv6 addresses is preferred.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum SourceAddress {
    /// The kernel's choice.
    #[default]
    Kernel,
    /// A public one rather than a temporary one (RFC 5014).
    Public,
}

/// The near end of all sockets of a sink.
#[derive(Clone, Debug, Default)]
pub struct Local {
    /// Local address; `None` leaves it to the kernel.
    pub bind: Option<IpAddr>,
    /// File of the network namespace; `None` is that of the process.
    pub namespace: Option<PathBuf>,
    /// Which of several own IPv6 addresses is preferred.
    pub source: SourceAddress,
}

impl Local {
    /// A socket towards `remote` that never blocks, bound where a local address is configured.
    ///
    /// A namespace is entered by a thread of its own, which ends with that: no other thread ever changes its own.
    ///
    /// # Errors
    /// What the kernel says; for a namespace with its name.
    pub fn socket(&self, remote: SocketAddr, kind: Type, protocol: Protocol) -> io::Result<Socket> {
        let make = || Socket::new(Domain::for_address(remote), kind.cloexec().nonblocking(), Some(protocol));
        let socket = match &self.namespace {
            None => make()?,
            Some(path) => inside(path, make)?,
        };
        if remote.is_ipv6() && self.source == SourceAddress::Public {
            prefer_public(&socket)?;
        }
        if let Some(local) = self.bind {
            socket.bind(&SocketAddr::new(local, 0).into())?;
        }
        Ok(socket)
    }

    /// A datagram socket connected to `remote`.
    ///
    /// # Errors
    /// As [`Self::socket`]; also when there is no route.
    pub fn datagrams(&self, remote: SocketAddr) -> io::Result<Socket> {
        let socket = self.socket(remote, Type::DGRAM, Protocol::UDP)?;
        socket.connect(&remote.into())?;
        Ok(socket)
    }

    /// The address this host sends from to a server; the loopback address when there is no route yet.
    pub fn address_towards(&self, server: SocketAddr) -> IpAddr {
        let socket = self.datagrams(server).and_then(|socket| socket.local_addr());
        match (socket.ok().and_then(|local| local.as_socket()), server) {
            (Some(local), _) => local.ip(),
            (None, SocketAddr::V4(_)) => Ipv4Addr::LOCALHOST.into(),
            (None, SocketAddr::V6(_)) => Ipv6Addr::LOCALHOST.into(),
        }
    }
}

/// Runs `make` in a thread that has entered the namespace of this file.
fn inside<T: Send>(path: &Path, make: impl FnOnce() -> io::Result<T> + Send) -> io::Result<T> {
    let failed = |error: io::Error| {
        io::Error::new(error.kind(), format!("cannot enter the network namespace `{}`: {error}", path.display()))
    };
    let file = File::open(path).map_err(failed)?;
    let work = || {
        // SAFETY: the descriptor is open; the call changes this thread only, which ends below.
        if unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) } != 0 {
            return Err(failed(io::Error::last_os_error()));
        }
        make()
    };
    std::thread::scope(|scope| match std::thread::Builder::new().spawn_scoped(scope, work) {
        Ok(thread) => thread.join().unwrap_or_else(|_| Err(io::Error::other("the thread that makes sockets died"))),
        Err(error) => Err(error),
    })
}

fn prefer_public(socket: &Socket) -> io::Result<()> {
    let choice = IPV6_PREFER_SRC_PUBLIC;
    let length = libc::socklen_t::try_from(size_of_val(&choice)).unwrap_or(0);
    let (level, name) = (libc::IPPROTO_IPV6, IPV6_ADDR_PREFERENCES);
    // SAFETY: the descriptor is open, the value is an int of the given length that outlives the call.
    let done = unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const choice).cast(), length) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    fn any(local: &Local, remote: &str) -> io::Result<Socket> {
        local.datagrams(remote.parse().unwrap())
    }

    #[test]
    fn a_socket_is_bound_where_it_is_told() {
        let local = Local { bind: Some([127, 0, 0, 7].into()), ..Local::default() };
        let socket = any(&local, "127.0.0.1:1813").unwrap();
        assert_eq!(socket.local_addr().unwrap().as_socket().unwrap().ip(), IpAddr::from([127, 0, 0, 7]));
        let foreign = Local { bind: Some([192, 0, 2, 1].into()), ..Local::default() };
        assert!(any(&foreign, "127.0.0.1:1813").is_err(), "not an address of this host");
    }

    #[test]
    fn a_public_source_address_is_asked_for_where_wanted() {
        for (source, want) in [(SourceAddress::Kernel, 0), (SourceAddress::Public, IPV6_PREFER_SRC_PUBLIC)] {
            let local = Local { source, ..Local::default() };
            let remote = "[::1]:1813".parse().unwrap();
            let Ok(socket) = local.socket(remote, Type::DGRAM, Protocol::UDP) else {
                eprintln!("skipped: no IPv6 here");
                return;
            };
            let mut found: libc::c_int = 0;
            let mut length = libc::socklen_t::try_from(size_of_val(&found)).unwrap();
            let (place, size) = ((&raw mut found).cast(), &raw mut length);
            // SAFETY: the descriptor is open, value and length outlive the call.
            let done =
                unsafe { libc::getsockopt(socket.as_raw_fd(), libc::IPPROTO_IPV6, IPV6_ADDR_PREFERENCES, place, size) };
            assert_eq!(done, 0);
            assert_eq!(found & IPV6_PREFER_SRC_PUBLIC, want, "{source:?}");
        }
    }

    #[test]
    fn a_namespace_that_is_not_there_is_named() {
        let local = Local { namespace: Some("/run/netns/tollgate-none".into()), ..Local::default() };
        let error = any(&local, "127.0.0.1:1813").unwrap_err().to_string();
        assert!(error.contains("cannot enter the network namespace `/run/netns/tollgate-none`"), "{error}");
    }

    /// Needs the right to make a namespace; says so where there is none.
    #[test]
    fn a_socket_of_a_namespace_belongs_to_it_and_no_thread_stays_there() {
        let (tell, told) = mpsc::channel();
        let (done, until) = mpsc::channel::<()>();
        let holder = std::thread::spawn(move || {
            // SAFETY: the call changes this thread only, which ends with the test; gettid has no conditions.
            let thread = unsafe { (libc::unshare(libc::CLONE_NEWNET) == 0).then(|| libc::gettid()) };
            tell.send(thread).unwrap();
            let _end = until.recv();
        });
        let Some(thread) = told.recv().unwrap() else {
            eprintln!("skipped: a network namespace cannot be made here");
            return;
        };
        let namespace = Some(PathBuf::from(format!("/proc/self/task/{thread}/ns/net")));
        let inside = Local { namespace, ..Local::default() };
        // Loopback is down in a new namespace.
        assert!(any(&inside, "127.0.0.1:1813").is_err());
        assert!(any(&Local::default(), "127.0.0.1:1813").is_ok());
        assert_eq!(inside.address_towards("127.0.0.1:1813".parse().unwrap()), IpAddr::from([127, 0, 0, 1]));
        drop(done);
        holder.join().unwrap();
    }
}
