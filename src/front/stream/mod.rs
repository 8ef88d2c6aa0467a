//! SIP over TCP and TLS (RFC 3261 §18): one thread that owns all listeners and connections.
//!
//! * **One thread, not the shards.** A TLS handshake takes as long as a hundred messages, and a shard that serves UDP must
//!   not wait for it; connections are shared by all calls to a peer, whose shards would have to lock them. So all
//!   connections live on one thread of their own: a tokio `current_thread` runtime with two loops for each connection.
//! * **In:** a connection's octets are cut into messages ([`framing`]); each goes to the shard that owns its call by
//!   hash(Call-ID), as a datagram does, in one mail for all that one read brought. While a shard's mailbox is full the
//!   connection is not read: TCP passes the delay on to the sender, and no message is lost.
//! * **Out:** a shard hands over what one turn wants sent as one batch through a bounded channel and never waits; what
//!   finds no room has failed like a datagram that ICMP returns. A response goes by the connection of its request, or, when that is gone, by a new one
//!   to the address of the request at the port of its Via (§18.2.2). A request goes by any connection to its address, ours,
//!   theirs, or one they offered for it (RFC 5923), else by a new one.
//! * **Failures** (no connection, TLS, reset, a peer that does not read) are told to the shards whose requests they hit,
//!   and the stack treats them as it does ICMP errors: 503, next target.
//! * **Limits** are [`Settings`]: connections in all and of one source, handshakes, idle time, time and size of a message,
//!   octets that wait for a slow reader.

mod connection;
mod dial;
pub mod framing;
mod hub;
pub mod metrics;
mod settings;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use bytes::Bytes;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio::time::{MissedTickBehavior, interval, sleep};

pub use settings::Settings;

use super::mailbox::Mailbox;
use crate::clock::{self, Instant};
use crate::net::tls::{ClientTls, ServerTls};
use crate::sip::message::Reject;
use crate::sip::stack::{self, ListenerId, Peer, Transport};
use connection::End;
use hub::Hub;

/// Batches that wait for the thread at most; a batch is what one turn of a shard wants sent.
pub const BATCHES_MAX: usize = 4_096;
/// Orders that wait for it at most.
const ORDERS_MAX: usize = 8;
/// Connections the kernel holds for a listener until they are taken.
const BACKLOG: i32 = 1_024;
/// How often the thread says that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Longest wait for what is still to be written when the thread ends.
const LAST_WRITES: Duration = Duration::from_secs(2);

/// A message that came by a connection.
#[derive(Debug)]
pub struct Arrived {
    /// The listener it came in on, or that of the connection's own address; and the other end.
    pub peer: Peer,
    /// The message.
    pub octets: Vec<u8>,
    /// Why the connection ends after it; a request gets this as its response.
    pub fault: Option<Reject>,
}

/// A message that is to leave by a connection.
#[derive(Clone, Debug)]
pub struct Outgoing {
    /// The shard it comes from, which is told when it fails.
    pub shard: usize,
    /// To whom.
    pub peer: Peer,
    /// One message.
    pub bytes: Bytes,
    /// The name the other end's certificate must be valid for; `None`: its address, or any connection to it.
    pub name: Option<Arc<str>>,
    /// Whether a connection ended before it could be written.
    pub is_again: bool,
}

impl Outgoing {
    /// Whether it is a request.
    #[must_use]
    pub fn is_request(&self) -> bool {
        !self.bytes.starts_with(b"SIP/2.0 ")
    }

    /// Whether it is the response to a message that could not be read.
    fn is_refusal(&self) -> bool {
        [b"SIP/2.0 400", b"SIP/2.0 513", b"SIP/2.0 505"].iter().any(|start| self.bytes.starts_with(*start))
    }
}

/// What a listener speaks, and what it binds.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Place {
    /// Its transport.
    pub transport: Transport,
    /// Its address: connections of the gateway come from it too.
    pub bind: SocketAddr,
}

/// TLS as it is configured now.
#[derive(Clone, Debug, Default)]
pub struct Credentials {
    /// What each TLS listener presents and asks for.
    pub servers: Vec<(ListenerId, ServerTls)>,
    /// For connections the gateway opens.
    pub client: Option<ClientTls>,
}

/// What the thread is made of.
pub struct Parts {
    /// Its limits.
    pub settings: Settings,
    /// All listeners in the order of [`ListenerId`], those of UDP included.
    pub places: Vec<Place>,
    /// The bound sockets of those it serves.
    pub sockets: Vec<(ListenerId, Socket)>,
    /// TLS.
    pub credentials: Credentials,
    /// Says who is no stranger.
    pub sip: stack::Settings,
    /// The mailboxes of all shards.
    pub mailboxes: Vec<Mailbox>,
}

enum Order {
    Credentials(Credentials),
    /// New limits; the settings of the SIP machine say who is no stranger.
    Limits(Settings, Box<stack::Settings>),
    Stop,
}

/// The running thread.
#[derive(Debug)]
pub struct Streams {
    sender: mpsc::Sender<Vec<Outgoing>>,
    orders: mpsc::Sender<Order>,
    beat: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

impl Streams {
    /// Starts the thread.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let (sender, batches) = mpsc::channel(BATCHES_MAX);
        let (orders, ordered) = mpsc::channel(ORDERS_MAX);
        let beat = Arc::new(AtomicU64::new(clock::mono().0));
        let own_beat = beat.clone();
        let thread = std::thread::Builder::new()
            .name("streams".to_owned())
            .spawn(move || run(parts, batches, ordered, &own_beat))?;
        Ok(Self { sender, orders, beat, thread })
    }

    /// The shards' way to it.
    #[must_use]
    pub fn sender(&self) -> mpsc::Sender<Vec<Outgoing>> {
        self.sender.clone()
    }

    /// New certificates, for connections from here on.
    pub fn renew(&self, credentials: Credentials) {
        let _ended = self.orders.try_send(Order::Credentials(credentials));
    }

    /// New limits and another `sip.allow`, for connections and messages from here on.
    pub fn limit(&self, settings: Settings, sip: stack::Settings) {
        let _ended = self.orders.try_send(Order::Limits(settings, Box::new(sip)));
    }

    /// When it last turned, for the watchdog.
    pub fn beat(&self) -> impl Fn() -> Instant + Send + use<> {
        let beat = self.beat.clone();
        move || Instant(beat.load(Ordering::Relaxed))
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Writes what is still to be written, closes all connections, and ends.
    pub fn stop(self) {
        let _ended = self.orders.try_send(Order::Stop);
        match self.thread.join() {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the thread of the connections failed"),
            Err(_) => tracing::error!("the thread of the connections panicked"),
        }
    }
}

/// Binds a listener.
///
/// # Errors
/// Whatever the kernel says to the address.
pub fn bind(local: SocketAddr) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(local), Type::STREAM, Some(Protocol::TCP))?;
    // Connections of an earlier process that linger do not keep the address.
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    if local.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&SockAddr::from(local))?;
    socket.listen(BACKLOG)?;
    Ok(socket)
}

fn run(
    parts: Parts,
    batches: mpsc::Receiver<Vec<Outgoing>>,
    orders: mpsc::Receiver<Order>,
    beat: &AtomicU64,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let local = LocalSet::new();
    local.block_on(&runtime, turn(parts, batches, orders, beat))
}

async fn turn(
    parts: Parts,
    mut batches: mpsc::Receiver<Vec<Outgoing>>,
    mut orders: mpsc::Receiver<Order>,
    beat: &AtomicU64,
) -> io::Result<()> {
    let Parts { settings, places, sockets, credentials, sip, mailboxes } = parts;
    let hub = Hub::new(settings, places, sip, mailboxes);
    hub.renew(credentials);
    for (id, socket) in sockets {
        let listener = TcpListener::from_std(socket.into())?;
        let transport = hub.places.get(usize::from(id.0)).map_or(Transport::Tcp, |place| place.transport);
        tokio::task::spawn_local(dial::accept(hub.clone(), id, transport, listener));
    }
    let mut ticks = interval(BEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            batch = batches.recv() => match batch {
                Some(batch) => batch.into_iter().for_each(|message| hub.send(message)),
                None => break,
            },
            order = orders.recv() => match order {
                Some(Order::Credentials(credentials)) => hub.renew(credentials),
                Some(Order::Limits(settings, sip)) => hub.limit(settings, *sip),
                Some(Order::Stop) | None => break,
            },
            _ = ticks.tick() => {
                beat.store(clock::mono().0, Ordering::Relaxed);
                hub.look_after();
            }
        }
    }
    while let Ok(batch) = batches.try_recv() {
        batch.into_iter().for_each(|message| hub.send(message));
    }
    close(&hub).await;
    Ok(())
}

/// Ends all connections, each with what it still has to write.
async fn close(hub: &Hub) {
    let until = clock::mono() + LAST_WRITES;
    for own in hub.all() {
        own.end(End::Stopped);
    }
    while !hub.all().is_empty() && clock::mono() < until {
        sleep(Duration::from_millis(5)).await;
    }
}
