//! A mirror's thread: a tokio `current_thread` runtime that takes packets of HEP from a socket or from connections, lets the
//! pure [`Mirror`] work, and hands what it makes to the queue. Nobody waits for it, and it sends nothing.

mod meters;
mod receiving;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use subtle::ConstantTimeEq as _;
use tokio::sync::{Notify, mpsc};

use self::meters::Counters;
pub use self::meters::METRICS;
use self::receiving::Received;
use super::udp;
use crate::accounting::{self, Outcome};
use crate::clock::{self, Instant, Now};
use crate::hep;
use crate::mirror::{Hop, Mirror, Settings, Sight};
use crate::policy::Marks;
use crate::queue::{self, Full, Producer};
use crate::record::Commit;
use crate::sip::stack::{Network, Transport};

/// Packets that wait for the thread; beyond, connections wait and datagrams stay in the kernel's buffer.
const PACKETS_MAX: usize = 1_024;
/// Packets of one turn.
const PACKETS_PER_TURN: usize = 256;
/// A mirror turns at least this often, so that the watchdog sees that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Commits that wait because the queue's channel is full; beyond, records are given up, counted and told.
const APPENDS_WAITING_MAX: usize = 65_536;
/// How long the thread waits at its end for the queue to take what is left.
const END_WAIT: Duration = Duration::from_secs(2);

/// What a mirror's thread is made of.
pub struct Parts {
    /// The mirror's settings.
    pub settings: Settings,
    /// The socket, bound: of datagrams or listening.
    pub socket: socket2::Socket,
    /// What it is.
    pub transport: Transport,
    /// Who may send packets.
    pub allow: Vec<Network>,
    /// What they have to show; empty: nothing.
    pub key: Vec<u8>,
    /// The queue.
    pub queue: queue::Handle,
    /// Calls in progress, as the queue has kept them.
    pub calls: Vec<(Vec<u8>, Vec<u8>)>,
    /// Random octets.
    pub seed: u128,
}

/// A running mirror.
#[derive(Debug)]
pub struct Running {
    name: String,
    orders: mpsc::UnboundedSender<Order>,
    beat: Arc<AtomicU64>,
    thread: JoinHandle<io::Result<()>>,
}

#[derive(Debug)]
enum Order {
    Accounting(Box<accounting::Settings>, Option<Marks>),
    Stop,
}

/// Binds the socket of a mirror.
///
/// # Errors
/// Whatever the kernel says to the address.
pub fn bind(transport: Transport, local: SocketAddr) -> io::Result<socket2::Socket> {
    match transport {
        Transport::Udp => udp::bind(local),
        Transport::Tcp | Transport::Tls => super::stream::bind(local),
    }
}

impl Running {
    /// Starts the thread.
    ///
    /// # Errors
    /// The kernel gives no thread.
    pub fn start(parts: Parts) -> io::Result<Self> {
        let name = parts.settings.name.clone();
        let (orders, ordered) = mpsc::unbounded_channel();
        let beat = Arc::new(AtomicU64::new(clock::mono().0));
        let of_thread = Arc::clone(&beat);
        let thread = std::thread::Builder::new().name(format!("mirror-{name}")).spawn(move || {
            run(parts, ordered, &of_thread).inspect_err(|error| tracing::error!(%error, "a mirror ended"))
        })?;
        Ok(Self { name, orders, beat, thread })
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// When it turned last, for the watchdog.
    pub fn beat(&self) -> impl Fn() -> Instant + Send + use<> {
        let beat = Arc::clone(&self.beat);
        move || Instant(beat.load(Ordering::Relaxed))
    }

    /// Other settings of accounting from here on, and other marks; `None`: the same.
    pub fn configure(&self, settings: accounting::Settings, marks: Option<Marks>) {
        let _ended = self.orders.send(Order::Accounting(Box::new(settings), marks));
    }

    /// Whether it has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Ends it; what it has made is handed to the queue before.
    pub fn stop(self) {
        let _ended = self.orders.send(Order::Stop);
        if self.thread.join().is_err() {
            tracing::error!(mirror = self.name, "the thread of a mirror panicked");
        }
    }
}

fn run(parts: Parts, ordered: mpsc::UnboundedReceiver<Order>, beat: &AtomicU64) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let (given, packets) = mpsc::channel(PACKETS_MAX);
        let meters = Counters::new(&parts.settings.name);
        receiving::start(parts.socket, parts.transport, parts.allow, given, &meters)?;
        let woken = Arc::new(Notify::new());
        let waker = Arc::clone(&woken);
        let ahead_max = parts.settings.reorder;
        let mut mirror = Mirror::new(parts.settings, parts.seed);
        let now = clock::now();
        for (key, value) in parts.calls {
            if let Err(error) = mirror.restore(now, &key, &value) {
                tracing::error!(%error, "a call in progress of a mirror cannot be restored");
            }
        }
        let mut driver = Driver {
            mirror,
            key: parts.key,
            ahead_max,
            producer: parts.queue.producer(Arc::new(move || waker.notify_one())),
            out: Outcome::default(),
            unsent: VecDeque::new(),
            ticket: 0,
            meters,
        };
        driver.turn_until_stopped(packets, ordered, &woken, beat).await;
        Ok(())
    })
}

struct Driver {
    mirror: Mirror,
    key: Vec<u8>,
    /// How far the time of a packet may be ahead of the clock: what is further is of a wrong clock, and counts as of now. As
    /// far as copies overtake each other: the mirror's clock follows the newest packet, and further ahead it would make all
    /// others late.
    ahead_max: Duration,
    producer: Producer,
    out: Outcome,
    /// Commits that the full channel gave back, oldest first.
    unsent: VecDeque<Commit>,
    ticket: u64,
    meters: Counters,
}

impl Driver {
    async fn turn_until_stopped(
        &mut self,
        mut packets: mpsc::Receiver<Received>,
        mut ordered: mpsc::UnboundedReceiver<Order>,
        woken: &Notify,
        beat: &AtomicU64,
    ) {
        loop {
            let now = clock::mono();
            beat.store(now.0, Ordering::Relaxed);
            let wait = self.mirror.deadline().map_or(BEAT, |due| due.since(now).min(BEAT));
            tokio::select! {
                packet = packets.recv() => if let Some(packet) = packet {
                    let now = clock::now();
                    self.take(now, packet);
                    for _ in 1..PACKETS_PER_TURN {
                        let Ok(packet) = packets.try_recv() else { break };
                        self.take(now, packet);
                    }
                },
                order = ordered.recv() => match order {
                    Some(Order::Accounting(settings, marks)) => self.mirror.configure(*settings, marks),
                    Some(Order::Stop) | None => break,
                },
                () = woken.notified() => {}
                () = tokio::time::sleep(wait) => {}
            }
            self.turn(clock::now());
        }
        self.end(woken).await;
    }

    /// Lets time pass, and hands over what was made.
    fn turn(&mut self, now: Now) {
        self.mirror.tick(now, &mut self.out);
        self.hand_over();
        for notice in self.mirror.take_notices() {
            let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
            let (call_id, session) = (text(&notice.call_id), notice.session);
            tracing::warn!(call_id, session, "a mirrored call goes on after its end in the records");
        }
        self.meters.state(now.mono, &self.mirror);
    }

    fn take(&mut self, now: Now, received: Received) {
        let packet = match hep::decode(&received.octets) {
            Ok(packet) => packet,
            Err(error) => return self.meters.bad(now.mono, received.source, &error),
        };
        if !self.key.is_empty() && !bool::from(packet.key.ct_eq(&self.key)) {
            return self.meters.refused(now.mono, received.source);
        }
        if packet.protocol != hep::SIP {
            return self.meters.other();
        }
        let transport = match packet.carrier {
            6 => Transport::Tcp,
            22 => Transport::Tls,
            _ => Transport::Udp,
        };
        let at = packet.at.unwrap_or(now.wall);
        let ahead = Some(at.since(now.wall)).filter(|ahead| *ahead > self.ahead_max);
        let sight = Sight {
            at: if ahead.is_some() { now.wall } else { at },
            hop: Hop { from: packet.from, to: packet.to },
            transport,
        };
        self.meters.taken(now.mono, received.source, ahead);
        self.mirror.hear(now, sight, packet.payload.to_vec(), &mut self.out);
    }

    fn hand_over(&mut self) {
        self.producer.receipts(&mut Vec::new());
        if !self.out.is_empty() {
            self.unsent.push_back(std::mem::take(&mut self.out).into_commit());
        }
        while let Some(commit) = self.unsent.pop_front() {
            self.ticket += 1;
            if let Err(Full(commit)) = self.producer.append(self.ticket, commit) {
                self.unsent.push_front(commit);
                break;
            }
        }
        while self.unsent.len() > APPENDS_WAITING_MAX {
            let records = self.unsent.pop_front().map_or(0, |commit| commit.entries.len());
            self.meters.lost(records);
        }
        self.producer.hold(self.unsent.iter().map(|commit| commit.entries.len() as u64).sum());
    }

    /// Hands over what is left, for as long as that may take.
    async fn end(&mut self, woken: &Notify) {
        let limit = clock::mono() + END_WAIT;
        self.turn(clock::now());
        while !self.unsent.is_empty() || self.producer.outstanding() > 0 {
            let left = limit.since(clock::mono());
            if left.is_zero() {
                tracing::error!(commits = self.unsent.len(), "the queue has not taken all that a mirror has made");
                return;
            }
            let _late = tokio::time::timeout(left, woken.notified()).await;
            self.hand_over();
        }
    }
}
