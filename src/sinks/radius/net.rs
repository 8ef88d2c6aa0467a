//! Lanes of datagrams: connected UDP, so that the kernel filters by source and tells when nobody listens.

use std::future::Future;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Context;

use bytes::Bytes;
use tokio::io::Interest;
use tokio::net::UdpSocket;

use super::offload::Offload;
use super::outgoing::{Left, Outgoing};
use crate::net::datagrams::{self, Batch};
use crate::net::socket::Local;
use crate::radius::client::{Input, LaneId, ServerIndex};

/// Octets the kernel may keep for a lane in each direction; it grants what `net.core.*mem_max` allows.
const SOCKET_BUFFER_BYTES: usize = 1 << 20;
/// Datagrams taken from one lane before the next gets its turn.
const DATAGRAMS_PER_TURN: usize = 256;

/// A socket with what it has to send, and the wait for an error on it: an ICMP message makes it neither readable nor
/// writable.
pub(super) struct Datagrams {
    socket: Arc<UdpSocket>,
    trouble: Pin<Box<dyn Future<Output = ()>>>,
    outgoing: Outgoing,
}

impl Datagrams {
    /// A socket connected to a server.
    pub(super) fn open(address: SocketAddr, local: &Local, offload: &mut Offload) -> io::Result<Self> {
        let socket = local.datagrams(address)?;
        if offload.is_on()
            && let Err(why) = datagrams::can_cut(&socket)
        {
            offload.refuse(why);
        }
        // The kernel grants less where its limits are lower.
        let _granted = socket.set_recv_buffer_size(SOCKET_BUFFER_BYTES);
        let _granted = socket.set_send_buffer_size(SOCKET_BUFFER_BYTES);
        let socket = Arc::new(UdpSocket::from_std(socket.into())?);
        Ok(Self { trouble: trouble(&socket), socket, outgoing: Outgoing::default() })
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

    /// Takes a datagram, to be sent by [`Self::send`]. Returns whether it is the only one that waits.
    pub(super) fn push(&mut self, datagram: Bytes) -> bool {
        let was_empty = self.outgoing.is_empty();
        self.outgoing.push(datagram);
        was_empty
    }

    /// Sends what waits, many datagrams with one system call and none twice; `refused` counts those that the network does
    /// not take.
    pub(super) fn send(&mut self, refused: &mut usize, offload: &mut Offload) -> Left {
        let socket = &self.socket;
        self.outgoing.send(refused, |waiting| {
            let each = || waiting.iter().map(|one| &one[..]);
            let together = if offload.is_on() { datagrams::alike(each()) } else { (1, 0) };
            if together.0 > 1
                && let Some(sent) = offload.judge(datagrams::send_to_be_cut(socket, each(), together))
            {
                return sent;
            }
            datagrams::send(socket, each().map(|one| (None, one)))
        })
    }

    /// Whether there is room in the socket; wakes the task when there is.
    pub(super) fn has_room(&self, cx: &mut Context<'_>) -> bool {
        self.socket.poll_send_ready(cx).is_ready()
    }

    /// Takes what has come, many datagrams with one system call; wakes the task when more comes.
    pub(super) fn receive(
        &mut self,
        cx: &mut Context<'_>,
        batch: &mut Batch,
        (server, lane): (ServerIndex, LaneId),
        each: &mut impl FnMut(Input<'_>),
    ) {
        if self.is_refused(cx) {
            each(Input::Refused { server, lane });
        }
        let mut taken = 0;
        while self.socket.poll_recv_ready(cx).is_ready() {
            match batch.receive(&self.socket) {
                Ok(count) => {
                    batch.datagrams().for_each(|datagram| each(Input::Received { server, lane, datagram }));
                    taken += count;
                }
                // The readiness was stale: ask again, which waits.
                Err(error) if error.kind() == ErrorKind::WouldBlock => continue,
                Err(_) => {
                    each(Input::Refused { server, lane });
                    taken += 1;
                }
            }
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

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::os::fd::AsRawFd as _;
    use std::task::Poll;
    use std::time::Duration;

    use super::*;
    use crate::radius::packet::PACKET_OCTETS_MAX;
    use crate::sinks::radius::Settings;

    const LANE: (ServerIndex, LaneId) = (ServerIndex(0), LaneId(1));

    async fn in_time<T>(work: impl Future<Output = T>) -> T {
        tokio::time::timeout(Duration::from_secs(10), work).await.expect("in time")
    }

    fn lane(server: &std::net::UdpSocket) -> Datagrams {
        Datagrams::open(server.local_addr().unwrap(), &Local::default(), &mut Offload::default()).unwrap()
    }

    /// Sends numbered datagrams until none waits; gives how many were refused.
    async fn send(lane: &mut Datagrams, numbers: std::ops::Range<u32>) -> usize {
        send_by(lane, numbers, &mut Offload::default()).await
    }

    async fn send_by(lane: &mut Datagrams, numbers: std::ops::Range<u32>, offload: &mut Offload) -> usize {
        let mut refused = 0;
        for number in numbers {
            lane.push(Bytes::copy_from_slice(&number.to_be_bytes()));
        }
        let all_left = poll_fn(|cx| {
            while lane.send(&mut refused, offload) != Left::Nothing {
                if !lane.has_room(cx) {
                    return Poll::Pending;
                }
            }
            Poll::Ready(())
        });
        in_time(all_left).await;
        refused
    }

    /// What a lane brings until there is something: the datagrams' numbers, and how often the server was not there.
    async fn receive(lane: &mut Datagrams) -> (Vec<u32>, usize) {
        let (mut batch, mut came, mut refusals) = (Batch::new(PACKET_OCTETS_MAX + 1), Vec::new(), 0);
        in_time(poll_fn(|cx| {
            lane.receive(cx, &mut batch, LANE, &mut |input| match input {
                Input::Received { datagram, .. } => came.push(number(datagram)),
                Input::Refused { .. } => refusals += 1,
                other => panic!("{other:?}"),
            });
            if came.is_empty() && refusals == 0 { Poll::Pending } else { Poll::Ready(()) }
        }))
        .await;
        (came, refusals)
    }

    fn number(datagram: &[u8]) -> u32 {
        u32::from_be_bytes(datagram.try_into().unwrap())
    }

    /// What lies in a socket.
    fn arrived(server: &std::net::UdpSocket) -> Vec<u32> {
        server.set_nonblocking(true).unwrap();
        let mut buffer = [0; 64];
        let next = || {
            let octets = server.recv(&mut buffer).ok()?;
            Some(number(&buffer[..octets]))
        };
        std::iter::from_fn(next).collect()
    }

    #[tokio::test]
    async fn a_batch_to_a_port_that_was_closed_is_told_and_the_next_one_arrives_whole_once_somebody_listens() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let (mut lane, address) = (lane(&server), server.local_addr().unwrap());
        assert_eq!(send(&mut lane, 0..100).await, 0);
        assert_eq!(arrived(&server), (0..100).collect::<Vec<_>>());
        drop(server);
        send(&mut lane, 100..200).await;
        let (came, refusals) = receive(&mut lane).await;
        assert!(came.is_empty() && refusals > 0, "the machine hears that nobody listens");
        // The error of the last datagram may wait in the socket still.
        send(&mut lane, 200..201).await;
        let server = std::net::UdpSocket::bind(address).unwrap();
        assert_eq!(send(&mut lane, 201..301).await, 0);
        assert_eq!(arrived(&server), (201..301).collect::<Vec<_>>(), "none lost, none twice, in their order");
    }

    #[tokio::test]
    async fn what_comes_is_taken_in_batches_each_datagram_once() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut lane = lane(&server);
        let to = lane.socket.local_addr().unwrap();
        let mut came = Vec::new();
        for number in 0..300_u32 {
            server.send_to(&number.to_be_bytes(), to).unwrap();
        }
        while came.len() < 300 {
            let (more, refusals) = receive(&mut lane).await;
            assert_eq!(refusals, 0);
            came.extend(more);
        }
        assert_eq!(came, (0..300).collect::<Vec<_>>());
    }

    #[tokio::test]
    async fn what_the_kernel_does_not_cut_leaves_as_it_is_and_that_is_told_once() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut lane = lane(&server);
        let mut offload = Offload::of(&Settings { segmentation_offload: true, ..Settings::default() });
        assert_eq!(send_by(&mut lane, 0..100, &mut offload).await, 0);
        assert_eq!(arrived(&server), (0..100).collect::<Vec<_>>());
        if offload.take_refusal().is_some() {
            eprintln!("skipped: this kernel cuts nothing");
            return;
        }
        // Without checksums there is nothing that could be cut: EINVAL.
        let on: libc::c_int = 1;
        #[expect(unsafe_code, reason = "the system call setsockopt")]
        // SAFETY: the descriptor is open, the value is an int of the given length that outlives the call.
        let done = unsafe {
            let (socket, length) = (lane.socket.as_raw_fd(), size_of_val(&on).try_into().unwrap());
            libc::setsockopt(socket, libc::SOL_SOCKET, libc::SO_NO_CHECK, (&raw const on).cast(), length)
        };
        assert_eq!(done, 0);
        assert_eq!(send_by(&mut lane, 100..200, &mut offload).await, 0);
        assert_eq!(arrived(&server), (100..200).collect::<Vec<_>>(), "none lost, none twice");
        assert!(offload.take_refusal().is_some() && offload.take_refusal().is_none() && !offload.is_on());
    }
}
