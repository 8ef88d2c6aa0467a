//! The table of connections: who may open one, which one a message goes by, and what becomes of messages when one ends.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;

use memchr::memmem;
use smallvec::SmallVec;
use tokio::time::sleep;

use super::connection::{Connection, Direction, End, Item, Stage};
use super::metrics::Meters;
use super::settings::Settings;
use super::{Arrived, Credentials, Outgoing, Place, dial};
use crate::clock::{self, Instant};
use crate::front::mailbox::{MAILS_MAX, Mail, Mailbox};
use crate::net::tls::{ClientTls, ServerTls};
use crate::sip::message::{Message, Params};
use crate::sip::stack::{self, ListenerId, Peer, Transport, source_of};

/// Octets read at once.
const READ_BYTES: usize = 64 * 1024;
/// How long an address that did not answer in time is left alone: what is for it fails at once, so that the next target
/// is tried without the wait.
const UNANSWERED: Duration = Duration::from_secs(10);
/// Such addresses remembered at most.
const UNANSWERED_MAX: usize = 1_024;
/// Pause before a full mailbox is tried again: meanwhile the connection is not read, and its sender has to wait.
const MAILBOX_PAUSE: Duration = Duration::from_millis(2);
/// Mails in a mailbox beyond which connections wait: the rest is for datagrams, which are dropped when it is full.
const MAILBOX_SHARE: usize = MAILS_MAX / 4;
/// Tries for one mail. A shard that takes nothing for so long has ended.
const MAILBOX_TRIES: usize = 5_000;
/// Part of the connections that sources outside `sip.allow` may have: one in so many.
const STRANGERS_SHARE: usize = 4;

/// What all tasks of the thread share.
pub(super) struct Hub {
    settings: Cell<Settings>,
    pub mailboxes: Vec<Mailbox>,
    /// What each listener speaks and binds, in the order of [`ListenerId`].
    pub places: Vec<Place>,
    pub servers: RefCell<HashMap<ListenerId, ServerTls>>,
    pub client: RefCell<Option<ClientTls>>,
    pub scratch: RefCell<Box<[u8]>>,
    pub meters: Meters,
    /// Says who is no stranger.
    sip: RefCell<stack::Settings>,
    /// Decides which shard owns a call. It stays for as long as the process runs.
    pub shard_key: [u8; 16],
    table: RefCell<Table>,
}

#[derive(Default)]
struct Table {
    by_peer: HashMap<Peer, SmallVec<[Rc<Connection>; 1]>>,
    inbound: usize,
    outbound: usize,
    strangers: usize,
    sources: HashMap<IpAddr, usize>,
    unanswered: HashMap<Peer, Instant>,
}

/// A place among the connections that came in; given back when dropped.
pub(super) struct Slot {
    hub: Rc<Hub>,
    source: IpAddr,
    is_stranger: bool,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut table = self.hub.table.borrow_mut();
        table.inbound -= 1;
        table.strangers -= usize::from(self.is_stranger);
        if let Some(count) = table.sources.get_mut(&self.source) {
            *count -= 1;
            if *count == 0 {
                table.sources.remove(&self.source);
            }
        }
    }
}

impl Hub {
    pub fn new(settings: Settings, places: Vec<Place>, sip: stack::Settings, mailboxes: Vec<Mailbox>) -> Rc<Self> {
        Rc::new(Self {
            settings: Cell::new(settings),
            mailboxes,
            places,
            servers: RefCell::default(),
            client: RefCell::default(),
            scratch: RefCell::new(vec![0; READ_BYTES].into()),
            meters: Meters::new(),
            shard_key: sip.key,
            sip: RefCell::new(sip),
            table: RefCell::default(),
        })
    }

    /// Takes certificates for connections from here on.
    pub fn renew(&self, credentials: Credentials) {
        self.servers.replace(credentials.servers.into_iter().collect());
        self.client.replace(credentials.client);
    }

    /// Takes limits from here on.
    pub fn limit(&self, settings: Settings, sip: stack::Settings) {
        self.settings.set(settings);
        self.sip.replace(sip);
    }

    /// The limits as they are now.
    pub fn settings(&self) -> Settings {
        self.settings.get()
    }

    fn is_allowed(&self, by: ListenerId, ip: IpAddr) -> bool {
        self.sip.borrow().allows(by, ip)
    }

    /// A place for a connection from there to a listener.
    ///
    /// # Errors
    /// The limit that is reached.
    pub fn admit(self: &Rc<Self>, by: ListenerId, source: IpAddr) -> Result<Slot, &'static str> {
        let is_stranger = !self.is_allowed(by, source);
        let source = source_of(source);
        let (most, per_source) = (self.settings().connections_max, self.settings().connections_per_source_max);
        let mut table = self.table.borrow_mut();
        if table.inbound >= most {
            return Err("all");
        }
        if is_stranger && table.strangers >= most.div_ceil(STRANGERS_SHARE) {
            return Err("strangers");
        }
        let count = table.sources.entry(source).or_default();
        if *count >= per_source {
            return Err("source");
        }
        *count += 1;
        table.inbound += 1;
        table.strangers += usize::from(is_stranger);
        Ok(Slot { hub: self.clone(), source, is_stranger })
    }

    /// Enters a connection into the table.
    pub fn enter(&self, own: &Rc<Connection>) {
        let mut table = self.table.borrow_mut();
        table.outbound += usize::from(own.direction == Direction::Outbound);
        table.by_peer.entry(own.peer).or_default().push(own.clone());
    }

    /// All connections.
    pub fn all(&self) -> Vec<Rc<Connection>> {
        let table = self.table.borrow();
        let all = table.by_peer.iter().flat_map(|(peer, list)| list.iter().filter(|own| own.peer == *peer));
        all.cloned().collect()
    }

    /// Shows how many there are, and forgets what has passed.
    pub fn look_after(&self) {
        let now = clock::mono();
        let mut table = self.table.borrow_mut();
        table.unanswered.retain(|_, until| *until > now);
        self.meters.standing(table.inbound, table.outbound);
    }

    /// The connection a message goes by: the newest to this peer that takes it, and, for a name, whose other end has
    /// shown to be that name.
    fn find(&self, peer: Peer, name: Option<&str>, is_request: bool) -> Option<Rc<Connection>> {
        let table = self.table.borrow();
        let list = table.by_peer.get(&peer)?;
        let fits = |own: &&Rc<Connection>| own.takes(is_request) && name.is_none_or(|name| own.is_for(name));
        list.iter().rev().find(fits).cloned()
    }

    /// Sends a message: by the connection that is there (RFC 3261 §18.1.1, §18.2.2, RFC 5923), else by a new one.
    pub fn send(self: &Rc<Self>, message: Outgoing) {
        let is_request = message.is_request();
        if let Some(own) = self.find(message.peer, message.name.as_deref(), is_request) {
            return self.put(&own, message);
        }
        if is_request {
            let peer = message.peer;
            return self.open(peer, message);
        }
        // The connection of the request is gone (RFC 3261 §18.2.2).
        let Some(peer) = sent_by(&message) else { return self.meters.responses_lost.increment(1) };
        match self.find(peer, None, is_request) {
            Some(own) => self.put(&own, message),
            None => self.open(peer, message),
        }
    }

    fn put(&self, own: &Connection, message: Outgoing) {
        if let Err(Item::Message(message)) = own.put(Item::Message(message), self.settings().backlog_bytes_max) {
            tracing::warn!(peer = %own.peer.addr, "connection closed: its peer does not read");
            own.end(End::Stalled);
            self.lose(message);
        }
    }

    /// Opens a connection for a message.
    fn open(self: &Rc<Self>, peer: Peer, message: Outgoing) {
        let place = self.places.get(usize::from(peer.listener.0)).filter(|place| place.transport.is_reliable());
        let now = clock::mono();
        let is_possible = {
            let table = self.table.borrow();
            table.outbound < self.settings().connections_max
                && table.unanswered.get(&peer).is_none_or(|until| *until <= now)
        };
        let Some(place) = place.filter(|_| is_possible) else { return self.lose(message) };
        let own = Connection::new(peer, place.transport, Direction::Outbound, message.name.clone());
        self.enter(&own);
        self.put(&own, message);
        tokio::task::spawn_local(dial::dial(self.clone(), own));
    }

    /// Takes an ended connection out, and cares for what it leaves: messages that were not written go by another one,
    /// once; requests that were written, or cannot be, have failed.
    pub fn ended(self: &Rc<Self>, own: &Rc<Connection>, end: End) {
        let has_stood = own.stage.replace(Stage::Ending) != Stage::Opening;
        tracing::debug!(peer = %own.peer.addr, reason = end.reason(), "connection ended");
        self.meters.ended(end);
        self.forget(own, end);
        let may_again = has_stood && matches!(end, End::Closed | End::Failed | End::Idle);
        for mut message in own.take_unsent() {
            if may_again && !message.is_again {
                message.is_again = true;
                self.send(message);
            } else if message.is_request() {
                self.meters.requests_lost.increment(1);
                own.note_asked(&message);
            } else {
                self.meters.responses_lost.increment(1);
            }
        }
        if end != End::Idle {
            for (peer, shards) in own.asked.take() {
                self.report(peer, shards);
            }
        }
    }

    fn forget(&self, own: &Rc<Connection>, end: End) {
        let mut table = self.table.borrow_mut();
        table.outbound -= usize::from(own.direction == Direction::Outbound);
        for peer in own.aliases.borrow().iter().chain([&own.peer]) {
            if let Some(list) = table.by_peer.get_mut(peer) {
                list.retain(|other| !Rc::ptr_eq(other, own));
                if list.is_empty() {
                    table.by_peer.remove(peer);
                }
            }
        }
        if end == End::TimedOut && table.unanswered.len() < UNANSWERED_MAX {
            table.unanswered.insert(own.peer, clock::mono() + UNANSWERED);
        }
    }

    /// A message that cannot be sent.
    fn lose(&self, message: Outgoing) {
        if message.is_request() {
            self.meters.requests_lost.increment(1);
            self.report(message.peer, 1 << (message.shard % 64));
        } else {
            self.meters.responses_lost.increment(1);
        }
    }

    /// Tells shards that requests to this peer have failed (RFC 3261 §8.1.3.1, §18.4).
    fn report(&self, peer: Peer, shards: u64) {
        for (number, mailbox) in
            self.mailboxes.iter().enumerate().filter(|(number, _)| shards >> (number % 64) & 1 == 1)
        {
            let mailbox = mailbox.clone();
            tokio::task::spawn_local(async move {
                let mail = Mail::Unreachable { listener: peer.listener, target: peer.addr };
                if !put(&mailbox, mail).await {
                    tracing::debug!(shard = number, "a failure could not be told");
                }
            });
        }
    }

    /// Hands messages to a shard. While its mailbox is full the caller waits: nothing that came by a stream comes again.
    pub async fn deliver(&self, owner: usize, messages: Vec<Arrived>) {
        let count = messages.len() as u64;
        let Some(mailbox) = self.mailboxes.get(owner) else { return };
        if !put(mailbox, Mail::Messages(messages)).await {
            self.meters.received_lost.increment(count);
        }
    }

    /// Notes the address that a request's Via offers for requests in the other direction (RFC 5923 §4). Over TCP only
    /// from allowed sources, over TLS only if the client's certificate is valid for the Via's host; never for another
    /// address than that the connection comes from.
    pub fn note_alias(&self, own: &Rc<Connection>, octets: &[u8]) {
        let is_new = own.direction == Direction::Inbound && own.aliases.borrow().is_empty();
        if !is_new || memmem::find(octets, b"alias").is_none() {
            return;
        }
        let Ok(message) = Message::parse(octets.to_vec()) else { return };
        let Some(via) = message.top_via().filter(|_| message.is_request()) else { return };
        if Params::of(via.params).value(b"alias").is_none() {
            return;
        }
        let ip = own.peer.addr.ip();
        let host = String::from_utf8_lossy(via.host);
        let may = match own.transport {
            Transport::Tls => own.is_for(host.trim_matches(['[', ']'])),
            Transport::Tcp | Transport::Udp => self.is_allowed(own.peer.listener, ip),
        };
        let peer = Peer { addr: SocketAddr::new(ip, via.port_or_default()), ..own.peer };
        if may && peer != own.peer {
            own.aliases.borrow_mut().push(peer);
            self.table.borrow_mut().by_peer.entry(peer).or_default().push(own.clone());
        }
    }
}

/// Puts a mail in, and tries for a while when the box is full; whether it went in.
async fn put(mailbox: &Mailbox, mut mail: Mail) -> bool {
    for _ in 0..MAILBOX_TRIES {
        if mailbox.waiting() < MAILBOX_SHARE {
            match mailbox.put(mail) {
                Ok(()) => return true,
                Err(back) => mail = back,
            }
        }
        sleep(MAILBOX_PAUSE).await;
    }
    false
}

/// Where a response goes whose connection is gone: the address the request came from, at the port of its Via.
fn sent_by(response: &Outgoing) -> Option<Peer> {
    let message = Message::parse(response.bytes.to_vec()).ok()?;
    let port = message.top_via()?.port_or_default();
    let addr = SocketAddr::new(response.peer.addr.ip(), port);
    (port != 0).then_some(Peer { addr, ..response.peer })
}
