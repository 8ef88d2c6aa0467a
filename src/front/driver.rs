//! One shard's thread: a tokio `current_thread` runtime that drains the shard's sockets and mailbox, lets the pure
//! [`Shard`] work, and performs what it asks. It awaits nothing but those and its timer.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use tokio::net::UdpSocket;
use tokio::sync::mpsc;
use tokio::time::Sleep;

use super::datagrams::{send, watch_errors};
use super::mailbox::{Datagram, Inbox, Mail, Mailbox, owner_of};
use super::memory;
use super::metrics::Meters;
use super::stream::{Arrived, Outgoing};
use super::turned_away::{Dropped, Reason, ToldOnce, TurnedAway};
use super::udp;
use crate::accounting::{Absence, Key, Notice, Noticed};
use crate::clock::{self, Instant, Now};
use crate::net::datagrams::{BATCH_DATAGRAMS, Batch};
use crate::queue::{self, AppendFailed, Full, Producer};
use crate::record::Commit;
use crate::shard::adopting::Said;
use crate::shard::{Count, Health, Input, Output, Shard, Ticket};
use crate::sip::message::{Malformed, Message};
use crate::sip::stack::{Condition, Ignored, ListenerId, Peer, QueryId, Ways};
use crate::timers::pace::{Pace, Step};

/// Batches taken from one socket, and mails from the mailbox, before the others get their turn.
const BATCHES_PER_TURN: usize = 4;
/// Mails handled in one turn.
const MAILS_PER_TURN: usize = 64;
/// A shard turns at least this often, so that the watchdog sees that it lives.
const BEAT: Duration = Duration::from_secs(1);
/// Shortest wait for a timer: the wheel's granularity, so that one wake serves all timers of a tick.
const TIMER_STEP: Duration = Duration::from_millis(10);
/// Rests of a shard by its datagrams a second: a datagram waits that long at most, at each pass through the gateway.
const RESTS: &[Step] = &[
    Step { per_second: 1_000, rest: Duration::from_micros(500) },
    Step { per_second: 4_000, rest: Duration::from_millis(1) },
];
/// Commits that wait because the queue's channel is full, beyond which new calls are refused whatever `queue.on_trouble`
/// says: only the ends of calls in progress are still held in memory.
const APPENDS_WAITING_MAX: usize = 65_536;

/// A name to be resolved for a shard.
#[derive(Debug)]
pub struct Question {
    /// Which shard asks.
    pub shard: usize,
    /// Its name for the question.
    pub query: QueryId,
    /// Host.
    pub host: String,
    /// Port, if given.
    pub port: Option<u16>,
    /// By which transports.
    pub ways: Ways,
}

/// What a shard's thread is made of.
pub struct Parts {
    /// Its number.
    pub number: usize,
    /// One bound socket for each listener, in the order of [`ListenerId`]; `None` for those of connections.
    pub sockets: Vec<Option<socket2::Socket>>,
    /// The way to the connections; `None` when there are none.
    pub streams: Option<mpsc::Sender<Vec<Outgoing>>>,
    /// Its inbox.
    pub inbox: Inbox,
    /// The mailboxes of all shards, its own included.
    pub mailboxes: Vec<Mailbox>,
    /// The queue, whose troubles concern it.
    pub queue: queue::Handle,
    /// Set while a backend demands that no new call is served; it counts as trouble of the queue.
    pub demand: Arc<AtomicBool>,
    /// Its way into the queue.
    pub producer: Producer,
    /// Where names are resolved.
    pub resolver: mpsc::Sender<Question>,
    /// Where the calls of other gateways are looked for, by the names that one may have; `None` without a cluster.
    pub adopter: Option<mpsc::Sender<[Key; 2]>>,
    /// Memory of the process, in octets, beyond which new calls are refused; 0: no limit.
    pub memory_max: u64,
    /// The logic.
    pub shard: Box<dyn FnOnce() -> Shard + Send>,
}

/// Runs a shard until it has drained.
///
/// # Errors
/// When the runtime or a socket cannot be set up.
pub fn run(parts: Parts) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut driver = Driver::new(parts)?;
        driver.turn_until_drained().await;
        Ok(())
    })
}

struct Driver {
    number: usize,
    sockets: Vec<Option<Arc<UdpSocket>>>,
    streams: Option<mpsc::Sender<Vec<Outgoing>>>,
    /// Messages for connections, sent on at the end of a turn.
    by_stream: Vec<Outgoing>,
    inbox: Inbox,
    mailboxes: Vec<Mailbox>,
    queue: queue::Handle,
    demand: Arc<AtomicBool>,
    producer: Producer,
    resolver: mpsc::Sender<Question>,
    adopter: Option<mpsc::Sender<[Key; 2]>>,
    /// Memory of the process, in octets, beyond which new calls are refused; 0: no limit.
    memory_max: u64,
    shard: Shard,
    batch: Batch,
    /// The datagrams of one batch with their sources, reused.
    taken: Vec<(SocketAddr, Vec<u8>)>,
    /// Datagrams for other shards, sent on at the end of a turn.
    outbound: Vec<Vec<Datagram>>,
    outputs: Vec<Output>,
    /// Datagrams of this turn by listener.
    sends: Vec<Vec<(SocketAddr, Bytes)>>,
    /// Commits the full channel gave back, oldest first.
    unsent: VecDeque<(Ticket, Commit)>,
    /// Records of these commits.
    unsent_records: u64,
    /// When the memory of the process is looked at next.
    memory_due: Instant,
    receipts: Vec<(u64, Result<(), AppendFailed>)>,
    draining: bool,
    /// Datagrams of this turn.
    handled: usize,
    pace: Pace,
    meters: Meters,
    strangers: Dropped,
    refused: TurnedAway,
    unrouted: TurnedAway,
    mended: ToldOnce,
}

impl Driver {
    fn new(parts: Parts) -> io::Result<Self> {
        let mut sockets = Vec::new();
        for (index, socket) in parts.sockets.into_iter().enumerate() {
            let Some(socket) = socket else {
                sockets.push(None);
                continue;
            };
            let socket = Arc::new(UdpSocket::from_std(socket.into())?);
            let listener = ListenerId(u16::try_from(index).map_err(io::Error::other)?);
            tokio::spawn(watch_errors(socket.clone(), listener, parts.mailboxes[parts.number].clone()));
            sockets.push(Some(socket));
        }
        Ok(Self {
            number: parts.number,
            streams: parts.streams,
            by_stream: Vec::new(),
            inbox: parts.inbox,
            outbound: parts.mailboxes.iter().map(|_| Vec::new()).collect(),
            mailboxes: parts.mailboxes,
            queue: parts.queue,
            demand: parts.demand,
            producer: parts.producer,
            resolver: parts.resolver,
            adopter: parts.adopter,
            shard: (parts.shard)(),
            batch: Batch::new(udp::DATAGRAM_BYTES_MAX),
            taken: Vec::new(),
            outputs: Vec::new(),
            sends: sockets.iter().map(|_| Vec::new()).collect(),
            sockets,
            unsent: VecDeque::new(),
            unsent_records: 0,
            memory_due: Instant(0),
            memory_max: parts.memory_max,
            receipts: Vec::new(),
            draining: false,
            handled: 0,
            pace: Pace::new(RESTS, clock::mono()),
            meters: Meters::of_shard(parts.number),
            strangers: Dropped::default(),
            refused: TurnedAway::new(Reason::Stranger),
            unrouted: TurnedAway::new(Reason::NoRoute),
            mended: ToldOnce::default(),
        })
    }

    async fn turn_until_drained(&mut self) {
        let mut timer = pin!(tokio::time::sleep(BEAT));
        let mut armed = clock::mono() + BEAT;
        while !(self.draining && self.shard.is_idle()) {
            self.wait(timer.as_mut()).await;
            let now = clock::now();
            self.turn(now);
            self.inbox.beat(now.mono, &self.shard);
            self.pace.note(std::mem::take(&mut self.handled), now.mono);
            if let Some(rest) = self.pace.rest() {
                // The thread has nothing else to do: resting it whole is cheaper than a timer of the runtime.
                std::thread::sleep(rest);
            }
            let due = self.due(now.mono);
            // The timer moves only when it fired or something is due earlier: most turns leave it alone.
            if due < armed || armed <= now.mono {
                timer.set(tokio::time::sleep(due.since(now.mono)));
                armed = due;
            }
        }
    }

    fn due(&self, now: Instant) -> Instant {
        let soonest = now + TIMER_STEP;
        let latest = now + BEAT;
        self.shard.deadline().unwrap_or(latest).clamp(soonest, latest)
    }

    /// Waits until a socket is readable, somebody woke the shard, or the timer is due.
    async fn wait(&self, mut timer: std::pin::Pin<&mut Sleep>) {
        let mut woken = pin!(self.inbox.woken());
        std::future::poll_fn(|context| {
            let mut ready = woken.as_mut().poll(context).is_ready() | timer.as_mut().poll(context).is_ready();
            for socket in self.sockets.iter().flatten() {
                ready |= socket.poll_recv_ready(context).is_ready();
            }
            if ready { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
    }

    /// Takes what is there, lets the shard work on it, performs what it asks.
    fn turn(&mut self, now: Now) {
        self.take_receipts(now);
        self.look_at_memory(now);
        self.take_mails(now);
        self.take_datagrams(now);
        if self.shard.deadline().is_some_and(|due| due <= now.mono) {
            self.shard.tick(now, &mut self.outputs);
        }
        self.shard.flush(now, &mut self.outputs);
        self.perform();
        self.hand_over();
        self.hand_to_streams(now);
        self.shard.rest();
        self.meters.state(&self.shard);
    }

    /// Once a second, as all shards see the same.
    fn look_at_memory(&mut self, now: Now) {
        if now.mono < self.memory_due {
            return;
        }
        self.memory_due = now.mono + BEAT;
        let health = if self.memory_max > 0 && memory::resident_bytes() > self.memory_max {
            Health::Trouble
        } else {
            Health::Well
        };
        self.shard.handle(now, Input::Memory(health), &mut self.outputs);
    }

    fn take_receipts(&mut self, now: Now) {
        self.receipts.clear();
        self.producer.receipts(&mut self.receipts);
        // One receipt covers all tickets before it, as long as none of them was refused.
        let mut receipts = self.receipts.iter().peekable();
        while let Some((ticket, result)) = receipts.next() {
            let input = match result {
                Err(error) => {
                    self.meters.commits_lost.increment(1);
                    tracing::error!(shard = self.number, ticket, %error, "records lost; `tollgate queue status` counts them");
                    Input::Refused(Ticket(*ticket))
                }
                Ok(()) if receipts.peek().is_some_and(|(_, next)| next.is_ok()) => continue,
                Ok(()) => Input::Committed(Ticket(*ticket)),
            };
            self.shard.handle(now, input, &mut self.outputs);
        }
        while let Some((ticket, commit)) = self.unsent.pop_front() {
            let records = commit.entries.len() as u64;
            if let Err(Full(commit)) = self.producer.append(ticket.0, commit) {
                self.unsent.push_front((ticket, commit));
                break;
            }
            self.unsent_records -= records;
        }
        self.producer.hold(self.unsent_records);
        let is_troubled = self.queue.trouble() || !self.unsent.is_empty() || self.demand.load(Ordering::Relaxed);
        let health = match is_troubled {
            _ if self.unsent.len() > APPENDS_WAITING_MAX => Health::Full,
            true => Health::Trouble,
            false => Health::Well,
        };
        self.shard.handle(now, Input::Queue(health), &mut self.outputs);
    }

    fn take_mails(&mut self, now: Now) {
        for _ in 0..MAILS_PER_TURN {
            let Some(mail) = self.inbox.take() else { return };
            let input = match mail {
                Mail::Datagrams(datagrams) => {
                    for Datagram { listener, source, octets } in datagrams {
                        self.receive(now, Peer { listener, addr: source }, octets);
                    }
                    continue;
                }
                Mail::Messages(messages) => {
                    for message in messages {
                        self.receive_by_stream(now, message);
                    }
                    continue;
                }
                Mail::Resolved { query, destinations } => Input::Resolved { query, destinations },
                Mail::Unreachable { listener, target } => Input::Unreachable(Peer { listener, addr: target }),
                Mail::Policy(recipe) => Input::Policy(recipe),
                Mail::Tuning { tuning, memory_max } => {
                    self.memory_max = memory_max;
                    self.memory_due = now.mono;
                    Input::Tuning(tuning)
                }
                Mail::Keys(keys) => Input::Keys(keys),
                Mail::Said(said) => Input::Said(said),
                Mail::Interim { key, every } => Input::Interim { key, every },
                Mail::Look(look) => {
                    look.answer(&self.shard);
                    continue;
                }
                Mail::Close { closing, answer } => {
                    let _gone = answer.try_send(self.shard.close(now, &closing, &mut self.outputs));
                    continue;
                }
                Mail::Drain => {
                    self.draining = true;
                    Input::Drain
                }
            };
            self.shard.handle(now, input, &mut self.outputs);
        }
        // More may lie there: come back without waiting.
        self.mailboxes[self.number].wake();
    }

    fn take_datagrams(&mut self, now: Now) {
        for index in 0..self.sockets.len() {
            for _ in 0..BATCHES_PER_TURN {
                let Some(socket) = self.sockets[index].clone() else { break };
                match self.batch.receive(&socket) {
                    Ok(0) => break,
                    Ok(count) => {
                        self.sort_batch(now, index);
                        if count < BATCH_DATAGRAMS {
                            break;
                        }
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    // An ICMP error that waited in the socket: read from its error queue by `watch_errors`.
                    Err(_) => self.meters.receive_errors.increment(1),
                }
            }
        }
    }

    /// Gives each datagram of the batch to the shard that owns its call.
    fn sort_batch(&mut self, now: Now, index: usize) {
        let listener = ListenerId(u16::try_from(index).unwrap_or(u16::MAX));
        let mut taken = std::mem::take(&mut self.taken);
        let settings = self.shard.settings_of_stack();
        let (mut received, mut dropped) = (0, 0);
        for (source, octets) in self.batch.with_sources() {
            received += 1;
            // A flood of strangers costs no more than this look.
            if settings.drops(listener, source.ip(), octets) {
                dropped += 1;
                self.strangers.note(source);
                continue;
            }
            taken.push((source, octets.to_vec()));
        }
        self.meters.received.increment(received);
        if dropped > 0 {
            self.meters.strangers.increment(dropped);
            self.inbox.turned_away(Reason::Stranger, dropped);
            self.strangers.tell(now.mono, self.number);
        }
        for (source, octets) in taken.drain(..) {
            let (key, shards) = (self.shard.settings_of_stack().key, self.mailboxes.len());
            let owner = owner_of(&octets, &key, shards).unwrap_or(self.number);
            if owner == self.number {
                self.receive(now, Peer { listener, addr: source }, octets);
            } else {
                self.outbound[owner].push(Datagram { listener, source, octets });
            }
        }
        self.taken = taken;
    }

    fn receive(&mut self, now: Now, peer: Peer, octets: Vec<u8>) {
        self.handled += 1;
        // Keep-alives of CR LF or NUL octets (RFC 5626 §3.5.1 and older phones) ask for nothing over UDP.
        if octets.iter().all(|octet| matches!(octet, b'\r' | b'\n' | 0)) {
            return;
        }
        let message = Message::parse(octets);
        self.hand_in(now, peer, message);
    }

    /// Gives a message to the shard, and notes when its request was turned away.
    fn hand_in(&mut self, now: Now, peer: Peer, message: Result<Message, Malformed>) {
        let before = self.outputs.len();
        self.shard.handle(now, Input::Received { peer, message }, &mut self.outputs);
        for output in &self.outputs[before..] {
            let Output::Count(count) = output else { continue };
            let (turned_away, counted) = match count {
                Count::Ignored(Ignored::Forbidden) => (&mut self.refused, Reason::Stranger),
                Count::NoRoute => (&mut self.unrouted, Reason::NoRoute),
                _ => continue,
            };
            turned_away.note(now.mono, peer.addr.ip());
            self.inbox.turned_away(counted, 1);
        }
    }

    /// A message that came by a connection. One whose end cannot be told is refused with the reason for it.
    fn receive_by_stream(&mut self, now: Now, arrived: Arrived) {
        self.handled += 1;
        let Arrived { peer, octets, fault } = arrived;
        let message = Message::parse(octets);
        let message = match fault {
            None => message,
            Some(reason) => {
                let partial = match message {
                    Ok(message) => message.is_request().then(|| Box::new(message)),
                    Err(malformed) => malformed.partial,
                };
                Err(Malformed { reason, partial })
            }
        };
        self.hand_in(now, peer, message);
    }

    fn perform(&mut self) {
        let mut outputs = std::mem::take(&mut self.outputs);
        for output in outputs.drain(..) {
            match output {
                Output::Send { peer, bytes, authority } => self.send(peer, bytes, authority),
                Output::Append { ticket, commit } => self.append(ticket, commit),
                Output::Resolve { query, host, port, ways } => {
                    let question = Question { shard: self.number, query, host, port, ways };
                    if self.resolver.try_send(question).is_err() {
                        // The resolver is flooded: it leads nowhere, at once.
                        let nothing = Mail::Resolved { query, destinations: Vec::new() };
                        let _full = self.mailboxes[self.number].put(nothing);
                    }
                }
                Output::Adopt { names } => self.ask_for(names),
                Output::Unreadable(error) => tracing::error!(%error, "a call of another gateway cannot be taken up"),
                Output::Turned { peer, condition } => self.tell_turned(peer, condition),
                Output::Notice(notice) => self.tell_notice(&notice),
                Output::Count(count) => {
                    if let Count::Ignored(Ignored::RouteMissing(peer)) = count {
                        self.mended.note(peer);
                    }
                    self.inbox.count(&count);
                    self.meters.count(count);
                }
            }
        }
        self.outputs = outputs;
        for (socket, sends) in self.sockets.iter().zip(&mut self.sends) {
            if let Some(socket) = socket {
                send(socket, sends, &self.meters);
            }
            sends.clear();
        }
    }

    /// Has a call looked for that another gateway may have. Where too many are, nobody has it.
    fn ask_for(&self, names: [Key; 2]) {
        if self.adopter.as_ref().is_none_or(|adopter| adopter.try_send(names).is_err()) {
            for key in names {
                let said = Said::NotAdopted { key, why: Absence::Unsaid };
                let _full = self.mailboxes[self.number].put(Mail::Said(said));
            }
        }
    }

    fn tell_notice(&self, notice: &Notice) {
        self.meters.notice(notice.what);
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        let (call_id, from_tag, to_tag) = (text(&notice.call_id), text(&notice.from_tag), text(&notice.to_tag));
        let session = &notice.session;
        match notice.what {
            Noticed::Unacknowledged => {
                tracing::warn!(call_id, from_tag, to_tag, session, "no ACK came for the 2xx of a call: it is over");
            }
            Noticed::Revived => {
                tracing::error!(call_id, from_tag, to_tag, session, "a call goes on after its end in the records");
            }
        }
    }

    fn tell_turned(&self, peer: Peer, condition: Condition) {
        let listeners = &self.shard.settings_of_stack().listeners;
        let transport = listeners.get(usize::from(peer.listener.0)).map(|own| own.transport.via_token());
        let (shard, destination, transport) = (self.number, peer.addr, transport.unwrap_or_default());
        match condition {
            Condition::Down => tracing::warn!(shard, %destination, transport, "destination is down"),
            Condition::Up => tracing::info!(shard, %destination, transport, "destination is up again"),
        }
    }

    fn append(&mut self, ticket: Ticket, commit: Commit) {
        let held = if self.unsent.is_empty() {
            match self.producer.append(ticket.0, commit) {
                Ok(()) => return,
                Err(Full(commit)) => commit,
            }
        } else {
            commit
        };
        self.unsent_records += held.entries.len() as u64;
        self.producer.hold(self.unsent_records);
        self.unsent.push_back((ticket, held));
    }

    /// Puts a message where it leaves at the end of the turn.
    fn send(&mut self, peer: Peer, bytes: Bytes, name: Option<Arc<str>>) {
        let place = usize::from(peer.listener.0);
        if matches!(self.sockets.get(place), Some(Some(_))) {
            self.sends[place].push((peer.addr, bytes));
            return;
        }
        self.by_stream.push(Outgoing { shard: self.number, peer, bytes, name, is_again: false });
    }

    /// Hands what is to leave by connections to their thread. What finds no room has failed like a returned datagram.
    fn hand_to_streams(&mut self, now: Now) {
        if self.by_stream.is_empty() {
            return;
        }
        let batch = std::mem::take(&mut self.by_stream);
        let refused = match &self.streams {
            Some(streams) => streams.try_send(batch).err().map(mpsc::error::TrySendError::into_inner),
            None => Some(batch),
        };
        for message in refused.into_iter().flatten() {
            self.meters.send_dropped.increment(1);
            if message.is_request() {
                self.shard.handle(now, Input::Unreachable(message.peer), &mut self.outputs);
            }
        }
    }

    fn hand_over(&mut self) {
        for (owner, datagrams) in self.outbound.iter_mut().enumerate() {
            if datagrams.is_empty() {
                continue;
            }
            let batch = std::mem::take(datagrams);
            let count = batch.len() as u64;
            if self.mailboxes[owner].put(Mail::Datagrams(batch)).is_err() {
                self.meters.handover_dropped.increment(count);
            }
        }
    }
}
