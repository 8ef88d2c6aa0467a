//! One shard's SIP machine: a transaction-stateful, record-routing proxy (RFC 3261 §16, RFC 6026) without sockets,
//! clocks or threads.
//!
//! A request that may be forwarded gets a server transaction and is shown to the driver by [`Output::Request`]; the
//! [`Verdict`] says where it goes. Each target becomes a branch with a client transaction. Answers 101 to 199 go
//! upstream at once; a final answer is told by [`Event::Final`] and held until [`Input::Release`], so that its record
//! can be written first. Repeated messages are absorbed and never told twice.
//!
//! The driver owes an [`Input::Decide`] to each `Request`, an [`Input::Proceed`] to each `RoundFailed` and an
//! [`Input::Release`] to each response that is held: their transactions wait for it without limit. Everything else ends by
//! its own timers.
//!
//! Decisions where the RFCs leave a choice:
//! * An answer without a client transaction is dropped, a 2xx too (RFC 6026 §7.3): no answer passes that no record was
//!   written for. A 2xx to a branch of an earlier process is shown by [`Output::Orphan`], for the driver may know better.
//! * A refused request (syntax, source, hops, loop, load) is answered without a transaction (§16.3 allows it); the ACK
//!   is known by our To tag and ends here.
//! * A branch over its ring timeout counts as 408 at once, and the next group starts while it is being cancelled, if
//!   the Max-Breadth suffices for both; else after its final answer. A 2xx that crosses the CANCEL still goes upstream.
//! * A request other than INVITE without an answer in time gets none (RFC 4320 §4.2); the `Final` with 408 still tells.
//! * Timer C, too, counts a branch as 408 at once and cancels it (§16.8).
//! * A local failure after the caller's CANCEL counts as 487.
//! * A 503 from a branch, and one for a branch that cannot be reached, goes upstream as 500 (§16.7 step 6).
//! * A destination that left several requests in a row without an answer is left out while another is up, see `outage`.
//! * A parallel group wider than the request's Max-Breadth (RFC 5393 §5) is tried in parts, one after the other.

mod calls;
mod client;
mod event;
mod forward;
mod hashes;
mod intake;
mod mend;
mod next;
mod origin;
mod outage;
mod outcome;
mod reason;
mod server;
mod settings;
mod sources;
mod standing;
mod tables;
mod types;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::clock::{Instant, Now};
use crate::sip::dialog::{Dialogs, RouteKeys, Signer};
use crate::sip::message::Message;
use crate::sip::transaction;
use crate::sip::transaction::key::RequestKey;
use crate::sip::transaction::slab::{Key, Slab};
use crate::timers::Wheel;
use crate::timers::bucket::Bucket;

pub use crate::timers::bucket::TokenBucket;
pub use event::{Attempt, Event, FinalResponse, Round};
pub(crate) use hashes::push_hex;
pub use next::{BadCodes, NextOn};
pub use origin::{by_q, q_of};
pub use outage::Outage;
pub use reason::Withdrawal;
pub use settings::{Network, Preloaded, Settings, Strangers, source_of};
pub use types::{
    AnswerId, Condition, Destination, Hop, Ignored, Input, Listener, ListenerId, Onward, Output, Peer, Plan, QueryId,
    Redirects, RequestView, ServerId, Sizes, Target, Transport, Verdict, Way, Ways,
};

use calls::Calls;
use hashes::Hashes;
use outage::Outages;
use sources::Sources;
use standing::Standing;
use tables::{Alarm, Client, Origin, Server};

/// One shard's SIP machine. See the module.
#[derive(Debug)]
pub struct Stack {
    settings: Settings,
    /// Host and port of each listener as they are written.
    places: Vec<Box<[u8]>>,
    hashes: Hashes,
    signer: Signer,
    servers: Slab<Server>,
    /// Server transactions that have their answer and only absorb what is repeated.
    absorbing: usize,
    clients: Slab<Client>,
    by_key: HashMap<RequestKey, Key, foldhash::fast::FixedState>,
    wheel: Wheel<Alarm>,
    queries: HashMap<QueryId, Query>,
    next_query: u64,
    /// Answers without a transaction, to strangers and to those in `allow`.
    buckets: [Bucket; 2],
    sources: Sources,
    calls: Calls,
    outages: Outages,
    /// Peers that datagrams came back from, once each; looked at by the next tick.
    unreached: Vec<Peer>,
    /// Final answers that wait for their release, over all transactions.
    held: usize,
    /// Messages are printed here.
    scratch: Vec<u8>,
    /// What a machine wants done.
    effects: Vec<transaction::Output>,
    due: Vec<Alarm>,
}

/// Who asked for addresses.
#[derive(Debug)]
enum Query {
    /// A branch that waits to be sent.
    Branch(Key),
    /// An ACK for a 2xx.
    Ack(Box<WaitingAck>),
}

/// An ACK whose next hop is a name.
#[derive(Debug)]
struct WaitingAck {
    peer: Peer,
    message: Rc<Message>,
    standing: Standing,
    strict_uri: Option<Bytes>,
    /// The name of the next hop, for its certificate.
    authority: Option<std::sync::Arc<str>>,
}

/// Peers remembered as unreachable between two ticks; further ones are left to their timers.
const UNREACHED_MAX: usize = 64;

impl Stack {
    /// A stack without transactions.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        settings.timer_c = settings.timer_c.max(settings::TIMER_C_MIN);
        Self {
            places: settings.listeners.iter().map(|own| own.local.to_string().into_bytes().into()).collect(),
            hashes: Hashes::new(settings.key, settings.incarnation),
            signer: Signer::new(settings.route_keys.clone()),
            servers: Slab::new(),
            absorbing: 0,
            clients: Slab::new(),
            by_key: HashMap::default(),
            wheel: Wheel::new(),
            queries: HashMap::new(),
            next_query: 0,
            buckets: [settings.stateless_answers, settings.stateless_answers_allowed].map(Bucket::new),
            sources: Sources::new(&settings),
            calls: Calls::new(&settings),
            outages: Outages::new(settings.failures_max, &settings.incarnation),
            unreached: Vec::new(),
            held: 0,
            scratch: Vec::new(),
            effects: Vec::new(),
            due: Vec::new(),
            settings,
        }
    }

    /// Takes new settings for all that happens from now on. Listeners, secrets and its place among the shards stay: what
    /// is in progress was made with them.
    pub fn configure(&mut self, new: Settings) {
        let old = std::mem::take(&mut self.settings);
        for (bucket, rate) in self.buckets.iter_mut().zip([new.stateless_answers, new.stateless_answers_allowed]) {
            bucket.configure(rate);
        }
        self.sources.configure(&new);
        self.calls.configure(&new);
        self.outages.configure(new.failures_max);
        self.settings = Settings {
            listeners: old.listeners,
            key: old.key,
            route_keys: old.route_keys,
            incarnation: old.incarnation,
            shard: old.shard,
            timer_c: new.timer_c.max(settings::TIMER_C_MIN),
            ..new
        };
    }

    /// Takes other keys for signing; what the last one has signed stays good.
    pub fn renew_keys(&mut self, keys: RouteKeys) {
        self.signer.renew(keys);
    }

    /// The settings it runs with.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes an input and appends what follows from it. `dialogs` tells of the dialogs that requests name.
    pub fn handle(&mut self, now: Now, input: Input, dialogs: &dyn Dialogs, out: &mut Vec<Output>) {
        self.signer.set_time(now.wall);
        match input {
            Input::Received { peer, message } => self.received(now, peer, message, dialogs, out),
            Input::Decide { transaction, verdict } => match Key::from_u64(transaction.0) {
                Some(id) => self.decide(now, id, verdict, out),
                None => out.push(Output::Ignored { why: Ignored::Outdated }),
            },
            Input::Proceed { transaction, onward } => match Key::from_u64(transaction.0) {
                Some(id) => self.proceed(now, id, onward, out),
                None => out.push(Output::Ignored { why: Ignored::Outdated }),
            },
            Input::Release { transaction, answer } => match Key::from_u64(transaction.0) {
                Some(id) => {
                    self.remember(id, answer, dialogs);
                    self.release(now, id, answer, out);
                }
                None => out.push(Output::Ignored { why: Ignored::Outdated }),
            },
            Input::Resolved { query, destinations } => self.resolved(now, query, destinations, out),
            Input::Unreachable { peer } => {
                if !self.unreached.contains(&peer) && self.unreached.len() < UNREACHED_MAX {
                    self.unreached.push(peer);
                }
            }
        }
    }

    /// Does what is due: retransmissions, time-outs, and what follows from peers that cannot be reached.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.signer.set_time(now.wall);
        for peer in std::mem::take(&mut self.unreached) {
            self.unreachable(now, peer, out);
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.expire(now.mono, &mut due);
        for alarm in due.drain(..) {
            match alarm {
                Alarm::Server(id) => self.server_alarm(now, id, out),
                Alarm::Client(id) => self.client_alarm(now, id, out),
            }
        }
        self.due = due;
        self.probe(now, out);
    }

    /// When [`Self::tick`] is to be called next; `None` while nothing waits.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        if !self.unreached.is_empty() {
            return Some(Instant(0));
        }
        [self.wheel.deadline(), self.outages.deadline()].into_iter().flatten().min()
    }

    /// The request of a transaction, until its last held final answer is released.
    #[must_use]
    pub fn request(&self, transaction: ServerId) -> Option<&RequestView> {
        self.servers.get(Key::from_u64(transaction.0)?)?.view.as_deref()
    }

    /// The same of a request that came in; `None` for those of the gateway itself.
    #[must_use]
    pub fn request_of_peer(&self, transaction: ServerId) -> Option<&RequestView> {
        let server = self.servers.get(Key::from_u64(transaction.0)?)?;
        server.view.as_deref().filter(|_| !matches!(server.origin, Origin::Gateway | Origin::Probe))
    }

    /// Whether a request waits for its final answer. Absorbing transactions do not count.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.held > 0 || self.servers.iter().any(|(_, server)| server.view.is_some() && server.origin != Origin::Probe)
    }

    /// How full the tables are.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        Sizes {
            server: self.servers.len(),
            client: self.clients.len(),
            held: self.held,
            timers: self.wheel.len(),
            queries: self.queries.len(),
            sources: self.sources.len(),
            down: self.outages.len(),
            calls: self.calls.len(),
        }
    }

    /// Notes a question to the resolver.
    fn ask(&mut self, query: Query) -> QueryId {
        let id = QueryId(self.next_query);
        self.next_query += 1;
        self.queries.insert(id, query);
        id
    }
}
