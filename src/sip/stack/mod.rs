//! One shard's SIP machine: a transaction-stateful, record-routing proxy (RFC 3261 §16, RFC 6026) without sockets,
//! clocks or threads.
//!
//! A request that may be forwarded gets a server transaction and is shown to the driver by [`Output::Request`]; the
//! [`Treatment`] says where it goes. Each target becomes a branch with a client transaction. Responses 101 to 199 go
//! upstream at once; a final response is told by [`Event::Final`] and held until [`Input::Release`], so that its record
//! can be written first. Repeated messages are absorbed and never told twice.
//!
//! The driver owes an [`Input::Decide`] to each `Request`, an [`Input::Proceed`] to each `RoundFailed` and an
//! [`Input::Release`] to each response that is held: their transactions wait for it without limit. Everything else ends by
//! its own timers.
//!
//! It is made of parts that own their state: `tables` (transactions, timers, held responses), `wire` (what goes out: listeners,
//! keys, octets), `admission` (what one source or call may take) and `outages`. [`Stack`] directs them.
//!
//! Decisions where the RFCs leave a choice:
//! * A response without a client transaction is dropped, a 2xx too (RFC 6026 §7.3): no response passes that no record was
//!   written for. A 2xx to a branch of an earlier process is shown by [`Output::Orphan`], for the driver may know better.
//! * A refused request (syntax, source, hops, loop, load) is answered without a transaction (§16.3 allows it); the ACK
//!   is known by our To tag and ends here.
//! * A branch over its ring timeout counts as 408 at once, and the next group starts while it is being cancelled, if
//!   the Max-Breadth suffices for both; else after its final response. A 2xx that crosses the CANCEL still goes upstream.
//! * A request other than INVITE without a response in time gets none (RFC 4320 §4.2); the `Final` with 408 still tells.
//! * Timer C, too, counts a branch as 408 at once and cancels it (§16.8).
//! * A local failure after the caller's CANCEL counts as 487.
//! * A 503 from a branch, and one for a branch that cannot be reached, goes upstream as 500 (§16.7 step 6).
//! * A destination that left several requests in a row without a response is left out while another is up, see `outage`.
//! * A parallel group wider than the request's Max-Breadth (RFC 5393 §5) is tried in parts, one after the other.

mod admission;
mod calls;
mod client;
mod event;
mod hashes;
mod intake;
mod mend;
mod network;
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
mod unknown;
mod wire;

#[cfg(test)]
pub(crate) mod tests;

use std::collections::HashMap;
use std::rc::Rc;

use bytes::Bytes;

use crate::clock::{Instant, Now};
use crate::sip::dialog::{Dialogs, RouteKeys};
use crate::sip::message::Message;
use crate::sip::transaction;
use crate::sip::transaction::slab::Key;

pub use crate::sip::transaction::key::RequestKey;
pub use crate::timers::bucket::TokenBucket;
pub use event::{Event, FinalResponse, Round, Stages};
pub use hashes::Tagger;
pub(crate) use hashes::push_hex;
pub use network::Network;
pub use next::{BadCodes, NextOn};
pub use origin::{by_q, q_of};
pub use outage::Outage;
pub use reason::Withdrawal;
pub use settings::{Preloaded, Settings, Strangers, source_of};
pub use types::{
    Condition, Destination, Edits, Hop, Ignored, Input, Listener, ListenerId, Onward, Output, Peer, Plan, QueryId,
    Redirects, RequestView, ResponseId, ServerId, Sizes, Target, Transport, Treatment, Way, Ways,
};

use admission::Admission;
use outage::Outages;
use standing::Standing;
use tables::{Alarm, Origin, Tables};
use wire::Wire;

/// One shard's SIP machine. See the module. Its methods direct the parts: what goes on between two of them is decided here.
#[derive(Debug)]
pub struct Stack {
    settings: Rc<Settings>,
    tables: Tables,
    wire: Wire,
    admission: Admission,
    outages: Outages,
    queries: Queries,
    /// What a machine wants done.
    effects: Vec<transaction::Output>,
    due: Vec<Alarm>,
}

/// Names that are looked up, and what waits for it.
#[derive(Debug, Default)]
struct Queries {
    open: HashMap<QueryId, Query>,
    next: u64,
}

impl Queries {
    /// Notes a question to the resolver.
    fn ask(&mut self, query: Query) -> QueryId {
        let id = QueryId(self.next);
        self.next += 1;
        self.open.insert(id, query);
        id
    }

    /// Who asked it.
    fn take(&mut self, id: QueryId) -> Option<Query> {
        self.open.remove(&id)
    }

    fn len(&self) -> usize {
        self.open.len()
    }
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

impl Stack {
    /// A stack without transactions.
    #[must_use]
    pub fn new(mut settings: Settings) -> Self {
        settings.timer_c = settings.timer_c.max(settings::TIMER_C_MIN);
        let settings = Rc::new(settings);
        Self {
            tables: Tables::new(),
            wire: Wire::new(Rc::clone(&settings)),
            admission: Admission::new(&settings),
            outages: Outages::new(settings.failures_max, &settings.incarnation),
            queries: Queries::default(),
            effects: Vec::new(),
            due: Vec::new(),
            settings,
        }
    }

    /// Takes new settings for all that happens from now on. Listeners, secrets and its place among the shards stay: what
    /// is in progress was made with them.
    pub fn configure(&mut self, new: Settings) {
        self.admission.configure(&new);
        self.outages.configure(new.failures_max);
        let old = &self.settings;
        self.settings = Rc::new(Settings {
            listeners: old.listeners.clone(),
            key: old.key,
            route_keys: old.route_keys.clone(),
            incarnation: old.incarnation,
            shard: old.shard,
            timer_c: new.timer_c.max(settings::TIMER_C_MIN),
            ..new
        });
        self.wire.configure(Rc::clone(&self.settings));
    }

    /// Takes other keys for signing; what the last one has signed stays good.
    pub fn renew_keys(&mut self, keys: RouteKeys) {
        self.wire.renew_keys(keys);
    }

    /// The settings it runs with.
    #[must_use]
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Takes an input and appends what follows from it. `dialogs` tells of the dialogs that requests name.
    pub fn handle(&mut self, now: Now, input: Input, dialogs: &dyn Dialogs, out: &mut Vec<Output>) {
        self.wire.set_time(now.wall);
        match input {
            Input::Received { peer, message } => self.received(now, (peer, now), message, dialogs, out),
            Input::Held { peer, message, arrived } => self.received(now, (peer, arrived), Ok(message), dialogs, out),
            Input::Decide { transaction, treatment } => match Key::from_u64(transaction.0) {
                Some(id) => self.decide(now, id, treatment, out),
                None => out.push(Output::Ignored { why: Ignored::Outdated }),
            },
            Input::Proceed { transaction, onward } => match Key::from_u64(transaction.0) {
                Some(id) => self.proceed(now, id, onward, out),
                None => out.push(Output::Ignored { why: Ignored::Outdated }),
            },
            Input::Release { transaction, response } => match Key::from_u64(transaction.0) {
                Some(id) => {
                    self.remember(id, response, dialogs);
                    self.release(now, id, response, out);
                }
                None => out.push(Output::Ignored { why: Ignored::Outdated }),
            },
            Input::Resolved { query, destinations } => self.resolved(now, query, destinations, out),
            // What is sent from here on goes by another connection, and has not failed with the one that has ended. Of
            // datagrams the kernel may report each one: that waits for the next tick.
            Input::Unreachable { peer } if self.is_stream(peer) => self.unreachable(now, peer, out),
            Input::Unreachable { peer } => self.outages.unreached(peer),
        }
    }

    fn is_stream(&self, peer: Peer) -> bool {
        let listener = self.settings.listeners.get(usize::from(peer.listener.0));
        listener.is_some_and(|own| own.transport.is_reliable())
    }

    /// Does what is due: retransmissions, time-outs, and what follows from peers that cannot be reached.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Output>) {
        self.wire.set_time(now.wall);
        for peer in self.outages.take_unreached() {
            self.unreachable(now, peer, out);
        }
        let mut due = std::mem::take(&mut self.due);
        self.tables.expire(now.mono, &mut due);
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
        [self.tables.deadline(), self.outages.deadline()].into_iter().flatten().min()
    }

    /// The request of a transaction, until its last held final response is released.
    #[must_use]
    pub fn request(&self, transaction: ServerId) -> Option<&RequestView> {
        self.tables.view(Key::from_u64(transaction.0)?)
    }

    /// The same of a request that came in; `None` for those of the gateway itself.
    #[must_use]
    pub fn request_of_peer(&self, transaction: ServerId) -> Option<&RequestView> {
        let server = self.tables.server(Key::from_u64(transaction.0)?)?;
        server.view.as_deref().filter(|_| !matches!(server.origin, Origin::Gateway | Origin::Probe))
    }

    /// Whether a request waits for its final response. Absorbing transactions do not count.
    #[must_use]
    pub fn is_busy(&self) -> bool {
        self.tables.is_busy()
    }

    /// How full the tables are.
    #[must_use]
    pub fn sizes(&self) -> Sizes {
        let [server, client, held, timers] = self.tables.sizes();
        let [sources, calls] = self.admission.sizes();
        let (queries, down) = (self.queries.len(), self.outages.len());
        Sizes { server, client, held, timers, queries, sources, down, calls }
    }
}
