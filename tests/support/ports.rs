//! Ports that no other test has: each process of tests takes blocks of them for itself.
//!
//! A port that was bound for a moment and let go may be somebody else's when the program it is meant for binds it: another
//! test's, or an outgoing connection's. These lie below the range from which Linux takes the ports of connections.

use std::net::{TcpListener, UdpSocket};
use std::ops::Range;
use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::{SocketAddr, UnixListener};
use std::sync::{Mutex, PoisonError};

use super::start::none_starts;
use super::wait_for;

/// Ports of a block, and the first port of the first one.
const BLOCK: u16 = 128;
const FIRST: u16 = 10_240;
/// Every fourth is given out: sipp takes the second port after that for media too.
const STEP: u16 = 4;
/// Blocks there are: up to 32767, the last port that is below Linux's own range.
const BLOCKS: u16 = (32_768 - FIRST) / BLOCK;

/// What is left of the block in hand, and the names that keep all blocks of this process.
static TAKEN: Mutex<(Range<u16>, Vec<UnixListener>)> = Mutex::new((0..0, Vec::new()));

/// Ports of 127.0.0.1 that are free, by UDP and TCP, and stay this process's own.
///
/// # Panics
/// When none is left.
pub fn free_ports<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| std::iter::repeat_with(next).find(|port| is_free(*port)).expect("there is no end of them"))
}

/// As [`free_ports`], one.
pub fn free_port() -> u16 {
    let [port] = free_ports();
    port
}

fn next() -> u16 {
    let mut taken = TAKEN.lock().unwrap_or_else(PoisonError::into_inner);
    let (left, kept) = &mut *taken;
    if left.start >= left.end {
        let (first, name) = block();
        kept.push(name);
        *left = first..first + BLOCK;
    }
    let port = left.start;
    left.start += STEP;
    port
}

/// Waits until no other process of tests has what `name` stands for, such as addresses that a fixture holds; it is this
/// one's until the value is dropped.
pub fn alone(name: &str) -> UnixListener {
    let name = SocketAddr::from_abstract_name(format!("tollgate-tests-{name}")).expect("a short name");
    wait_for("another run of the same test", || UnixListener::bind_addr(&name).ok())
}

/// A block of nobody's, and the name that makes it ours until this process ends.
fn block() -> (u16, UnixListener) {
    // Processes begin at different places, so that they seldom meet.
    let begin = u16::try_from(std::process::id() % u32::from(BLOCKS)).expect("it is smaller than BLOCKS");
    let all = (0..BLOCKS).map(|number| FIRST + (begin + number) % BLOCKS * BLOCK);
    let take = |first: u16| {
        let name = SocketAddr::from_abstract_name(format!("tollgate-tests-{first}")).expect("a short name");
        Some((first, UnixListener::bind_addr(&name).ok()?))
    };
    all.into_iter().find_map(take).expect("a machine does not run so many tests at once")
}

/// Whether nobody has it now: something else of this machine may.
fn is_free(port: u16) -> bool {
    // No child may have a copy of these sockets when they are closed.
    let _none = none_starts();
    let udp = UdpSocket::bind(("127.0.0.1", port));
    udp.is_ok() && TcpListener::bind(("127.0.0.1", port)).is_ok()
}
