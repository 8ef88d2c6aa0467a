//! One connection: what waits to be written to it, what it is known to be, and the two loops that read and write it.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Poll, ready};
use std::time::Duration;

use bytes::{Buf, BytesMut};
use rustls::pki_types::CertificateDer;
use smallvec::SmallVec;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf, ReadHalf, WriteHalf};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use super::framing::{Frame, Framer, with_length};
use super::hub::Hub;
use super::{Arrived, Outgoing};
use crate::clock::{self, Instant};
use crate::front::mailbox::owner_of;
use crate::net::stream::Wire;
use crate::net::tls::is_valid_for;
use crate::sip::stack::{Peer, Transport};

/// Longest wait for a peer to take what is written.
const WRITE_WAIT: Duration = Duration::from_secs(20);
/// Longest life of a connection that has never brought a whole message.
const UNPROVEN_IDLE_MAX: Duration = Duration::from_secs(60);
/// How long the last responses may take to be written when the other side has closed or cannot be followed.
const FAREWELL: Duration = Duration::from_secs(1);
/// Octets that are read and thrown away after such a response, so that the kernel does not take it back with a reset.
const LINGER_BYTES_MAX: usize = 1 << 20;
/// Octets joined for one write.
const WRITE_BYTES: usize = 32 * 1024;
/// The response to a keep-alive (RFC 5626 §3.5.1).
const PONG: &[u8] = b"\r\n";

/// Who opened it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Direction {
    Inbound,
    Outbound,
}

/// Why a connection ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum End {
    /// The other side closed it.
    Closed,
    /// The kernel or TLS reports an error.
    Failed,
    /// Nothing came or went for too long.
    Idle,
    /// A message took too long.
    Slow,
    /// The other side does not read.
    Stalled,
    /// A message whose end cannot be told, or too large a one.
    Broken,
    /// It never stood: refused, or no way there.
    Refused,
    /// It never stood: no response in time.
    TimedOut,
    /// It never stood: TLS failed.
    Handshake,
    /// The gateway stops.
    Stopped,
}

impl End {
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Failed => "failed",
            Self::Idle => "idle",
            Self::Slow => "slow",
            Self::Stalled => "stalled",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::TimedOut => "timed_out",
            Self::Handshake => "handshake",
            Self::Stopped => "stopped",
        }
    }
}

/// How far it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// Being made.
    Opening,
    /// It stands.
    Open,
    /// Only responses still go out.
    Ending,
}

/// What is to be written.
#[derive(Debug)]
pub(super) enum Item {
    Message(Outgoing),
    Pong,
}

impl Item {
    fn len(&self) -> usize {
        match self {
            Self::Message(message) => message.bytes.len(),
            Self::Pong => PONG.len(),
        }
    }
}

#[derive(Debug, Default)]
struct Outbox {
    items: VecDeque<Item>,
    bytes: usize,
}

/// One connection, shared by its task and the table.
#[derive(Debug)]
pub(super) struct Connection {
    /// The listener whose address the other side knows us by, and the other end.
    pub peer: Peer,
    pub transport: Transport,
    pub direction: Direction,
    pub stage: Cell<Stage>,
    /// The certificate of the other end, its chain checked.
    certificate: RefCell<Option<CertificateDer<'static>>>,
    /// Names its certificate is, or will be, checked for.
    names: RefCell<SmallVec<[Arc<str>; 1]>>,
    /// Further addresses requests to which go here (RFC 5923).
    pub aliases: RefCell<SmallVec<[Peer; 1]>>,
    /// Where requests written here were for, and which shards wrote them: told when it fails.
    pub asked: RefCell<SmallVec<[(Peer, u64); 1]>>,
    outbox: RefCell<Outbox>,
    changed: Notify,
    killed: Cell<Option<End>>,
    kill: Notify,
    /// Last time something whole came or went.
    used: Cell<Instant>,
    /// Whether a whole message has come.
    is_proven: Cell<bool>,
}

impl Connection {
    pub fn new(peer: Peer, transport: Transport, direction: Direction, name: Option<Arc<str>>) -> Rc<Self> {
        Rc::new(Self {
            peer,
            transport,
            direction,
            stage: Cell::new(Stage::Opening),
            certificate: RefCell::new(None),
            names: RefCell::new(name.into_iter().collect()),
            aliases: RefCell::default(),
            asked: RefCell::default(),
            outbox: RefCell::default(),
            changed: Notify::new(),
            killed: Cell::new(None),
            kill: Notify::new(),
            used: Cell::new(clock::mono()),
            is_proven: Cell::new(direction == Direction::Outbound),
        })
    }

    /// Notes the chain the other end has shown, which TLS has checked.
    pub fn show(&self, chain: Option<&[CertificateDer<'_>]>) {
        let own = chain.and_then(|chain| chain.first());
        self.certificate.replace(own.map(|own| own.clone().into_owned()));
    }

    /// The name it is made for.
    pub fn name(&self) -> Option<Arc<str>> {
        self.names.borrow().first().cloned()
    }

    /// Whether requests for this name may go here.
    pub fn is_for(&self, name: &str) -> bool {
        if self.names.borrow().iter().any(|own| **own == *name) {
            return true;
        }
        let is_valid = self.certificate.borrow().as_ref().is_some_and(|own| is_valid_for(own, name));
        if is_valid {
            self.names.borrow_mut().push(Arc::from(name));
        }
        is_valid
    }

    /// Whether it takes requests, or, ending, only responses.
    pub fn takes(&self, is_request: bool) -> bool {
        self.killed.get().is_none() && !(is_request && self.stage.get() == Stage::Ending)
    }

    /// Puts something to be written behind the rest.
    ///
    /// # Errors
    /// Gives it back when too much waits already.
    pub fn put(&self, item: Item, backlog_bytes_max: usize) -> Result<(), Item> {
        let mut outbox = self.outbox.borrow_mut();
        if outbox.bytes + item.len() > backlog_bytes_max {
            return Err(item);
        }
        outbox.bytes += item.len();
        outbox.items.push_back(item);
        self.changed.notify_one();
        Ok(())
    }

    /// Ends it from outside.
    pub fn end(&self, end: End) {
        self.killed.set(Some(end));
        self.kill.notify_one();
    }

    /// Completes when it was ended from outside.
    pub async fn ended_from_outside(&self) -> End {
        loop {
            if let Some(end) = self.killed.get() {
                return end;
            }
            self.kill.notified().await;
        }
    }

    /// What was not written.
    pub fn take_unsent(&self) -> Vec<Outgoing> {
        let items = std::mem::take(&mut *self.outbox.borrow_mut()).items;
        let messages = items.into_iter().filter_map(|item| match item {
            Item::Message(message) => Some(message),
            Item::Pong => None,
        });
        messages.collect()
    }

    /// Notes that a request went, or was to go, here.
    pub fn note_asked(&self, message: &Outgoing) {
        let mut asked = self.asked.borrow_mut();
        let bit = 1 << (message.shard % 64);
        match asked.iter_mut().find(|(peer, _)| *peer == message.peer) {
            Some((_, shards)) => *shards |= bit,
            None => asked.push((message.peer, bit)),
        }
    }

    /// When it is closed, as things stand.
    fn due(&self, hub: &Hub, message_since: Option<Instant>) -> (Instant, End) {
        match message_since {
            Some(since) => (since + hub.settings().message_time, End::Slow),
            None if self.is_proven.get() => (self.used.get() + hub.settings().idle, End::Idle),
            None => (self.used.get() + hub.settings().idle.min(UNPROVEN_IDLE_MAX), End::Idle),
        }
    }
}

/// Reads and writes a connection that stands until it ends.
pub(super) async fn serve(hub: &Rc<Hub>, own: &Rc<Connection>, wire: Wire) -> End {
    own.stage.set(Stage::Open);
    own.used.set(clock::mono());
    hub.meters.opened(own);
    let (mut reading, writing) = tokio::io::split(wire);
    let mut writer = Writer { half: writing, pending: BytesMut::new(), has_refused: false };
    let end = tokio::select! {
        end = read_until_end(hub, own, &mut reading) => end,
        end = writer.write_until_end(hub, own) => end,
        end = own.ended_from_outside() => end,
    };
    own.stage.set(Stage::Ending);
    match end {
        End::Closed | End::Idle | End::Stopped => {
            let _late = timeout(FAREWELL, writer.finish(hub, own)).await;
        }
        End::Broken => {
            let _late = timeout(FAREWELL, writer.refuse(hub, own)).await;
            let _late = timeout(FAREWELL, discard(hub, &mut reading)).await;
        }
        End::Failed | End::Slow | End::Stalled | End::Refused | End::TimedOut | End::Handshake => {}
    }
    end
}

/// Reads until the connection ends: messages go to the shards of their calls.
async fn read_until_end(hub: &Rc<Hub>, own: &Rc<Connection>, half: &mut ReadHalf<Wire>) -> End {
    let mut framer = Framer::new(hub.settings().message);
    let mut batches: Vec<Vec<Arrived>> = (0..hub.mailboxes.len()).map(|_| Vec::new()).collect();
    let mut message_since = None;
    let mut armed = own.due(hub, None).0;
    let mut timer = pin!(sleep(armed.since(clock::mono())));
    loop {
        tokio::select! {
            biased;
            read = read_into(hub, half, &mut framer) => match read {
                Ok(0) => return End::Closed,
                Ok(_) => {}
                Err(_) => return End::Failed,
            },
            () = &mut timer => {}
        }
        let is_broken = sort_frames(hub, own, &mut framer, &mut batches);
        for (owner, batch) in batches.iter_mut().enumerate().filter(|(_, batch)| !batch.is_empty()) {
            hub.deliver(owner, std::mem::take(batch)).await;
        }
        if is_broken {
            return End::Broken;
        }
        let now = clock::mono();
        message_since = framer.is_within().then(|| message_since.unwrap_or(now));
        let (due, end) = own.due(hub, message_since);
        if due <= now {
            return end;
        }
        // Most reads leave the timer alone: it moves when it has fired or something is due earlier.
        if due < armed || armed <= now {
            timer.set(sleep(due.since(now)));
            armed = due;
        }
    }
}

/// Reads what is there into the buffer all connections share, so that an idle one holds none.
async fn read_into(hub: &Hub, half: &mut ReadHalf<Wire>, framer: &mut Framer) -> io::Result<usize> {
    poll_fn(|context| {
        let mut scratch = hub.scratch.borrow_mut();
        let mut buffer = ReadBuf::new(&mut scratch);
        ready!(Pin::new(&mut *half).poll_read(context, &mut buffer))?;
        framer.push(buffer.filled());
        Poll::Ready(Ok(buffer.filled().len()))
    })
    .await
}

/// Takes the frames out; whether nothing can follow.
fn sort_frames(hub: &Rc<Hub>, own: &Rc<Connection>, framer: &mut Framer, batches: &mut [Vec<Arrived>]) -> bool {
    while let Some(frame) = framer.next() {
        own.used.set(clock::mono());
        let (octets, fault) = match frame {
            Frame::Ping => {
                // Whoever asks faster than it reads gets none.
                let _full = own.put(Item::Pong, hub.settings().backlog_bytes_max);
                continue;
            }
            Frame::Message(octets) => (octets, None),
            Frame::Broken { octets, reason } => (octets, Some(reason)),
        };
        hub.meters.received.increment(1);
        if fault.is_none() {
            own.is_proven.set(true);
            hub.note_alias(own, &octets);
        }
        let owner = owner_of(&octets, &hub.shard_key, batches.len()).unwrap_or(0);
        batches[owner].push(Arrived { peer: own.peer, octets, fault });
        if fault.is_some() {
            return true;
        }
    }
    false
}

/// Reads what still comes and throws it away.
async fn discard(hub: &Hub, half: &mut ReadHalf<Wire>) {
    let mut left = LINGER_BYTES_MAX;
    while left > 0 {
        let read = poll_fn(|context| {
            let mut scratch = hub.scratch.borrow_mut();
            let mut buffer = ReadBuf::new(&mut scratch);
            ready!(Pin::new(&mut *half).poll_read(context, &mut buffer))?;
            Poll::Ready(Ok::<_, io::Error>(buffer.filled().len()))
        });
        match read.await {
            Ok(0) | Err(_) => return,
            Ok(count) => left = left.saturating_sub(count),
        }
    }
}

/// The writing end. What it has begun to write it ends, also when it is interrupted in between.
struct Writer {
    half: WriteHalf<Wire>,
    pending: BytesMut,
    /// Whether a refusal of a malformed message was among what was written.
    has_refused: bool,
}

impl Writer {
    async fn write_until_end(&mut self, hub: &Hub, own: &Connection) -> End {
        loop {
            match timeout(WRITE_WAIT, self.flush(hub, own)).await {
                Err(_) => return End::Stalled,
                Ok(Err(_)) => return End::Failed,
                Ok(Ok(())) => own.changed.notified().await,
            }
        }
    }

    /// Writes all that waits.
    async fn flush(&mut self, hub: &Hub, own: &Connection) -> io::Result<()> {
        loop {
            if self.pending.is_empty() {
                self.fill(hub, own);
            }
            if self.pending.is_empty() {
                return self.half.flush().await;
            }
            while !self.pending.is_empty() {
                let written = self.half.write(&self.pending).await?;
                if written == 0 {
                    return Err(io::ErrorKind::WriteZero.into());
                }
                self.pending.advance(written);
            }
            own.used.set(clock::mono());
        }
    }

    /// Joins what waits for one write.
    fn fill(&mut self, hub: &Hub, own: &Connection) {
        let mut outbox = own.outbox.borrow_mut();
        while self.pending.len() < WRITE_BYTES
            && let Some(item) = outbox.items.pop_front()
        {
            outbox.bytes -= item.len();
            match item {
                Item::Pong => self.pending.extend_from_slice(PONG),
                Item::Message(message) => {
                    if message.is_request() {
                        own.note_asked(&message);
                    }
                    hub.meters.sent.increment(1);
                    self.has_refused |= message.is_refusal();
                    self.pending.extend_from_slice(&with_length(message.bytes));
                }
            }
        }
    }

    /// Writes what waits and says that nothing follows.
    async fn finish(&mut self, hub: &Hub, own: &Connection) -> io::Result<()> {
        self.flush(hub, own).await?;
        self.half.shutdown().await
    }

    /// Waits for the response to a malformed message, then as [`Self::finish`].
    async fn refuse(&mut self, hub: &Hub, own: &Connection) -> io::Result<()> {
        loop {
            self.flush(hub, own).await?;
            if self.has_refused {
                return self.half.shutdown().await;
            }
            own.changed.notified().await;
        }
    }
}
