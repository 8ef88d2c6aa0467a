//! What the stack remembers: one entry for each server and client transaction.
//!
//! What only a running transaction needs (the request, the plan, the copy sent) hangs in boxes that are dropped as soon
//! as the final response has left; an absorbing transaction is the bare entry.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::admission::Admission;
use super::event::{FinalResponse, Stages};
use super::mend::PutBack;
use super::settings::ABSORBING_FOR_EACH;
use super::sources::Class;
use super::types::{Destination, Edits, Peer, RequestView, ResponseId};
use crate::clock::Instant;
use crate::sip::dialog::Word;
use crate::sip::message::{Message, Method};
use crate::sip::proxy::{self, Context, Ending, MAX_BREADTH_DEFAULT, Refusal};
use crate::sip::stack::Transport;
use crate::sip::transaction::key::RequestKey;
use crate::sip::transaction::slab::{Key, Slab};
use crate::sip::transaction::{self, State};
use crate::timers::{Handle, Wheel};

/// Which timer fired.
#[derive(Clone, Copy, Debug)]
pub(super) enum Alarm {
    /// A server transaction's next deadline.
    Server(Key),
    /// A client transaction's next deadline.
    Client(Key),
}

/// The transactions, their timers, and the responses that wait in them.
#[derive(Debug)]
pub(super) struct Tables {
    servers: Slab<Server>,
    clients: Slab<Client>,
    by_key: HashMap<RequestKey, Key, foldhash::fast::FixedState>,
    wheel: Wheel<Alarm>,
    /// Server transactions that have their response and only absorb what is repeated.
    absorbing: usize,
    /// Final responses that wait for their release, over all transactions.
    held: usize,
}

impl Tables {
    pub(super) fn new() -> Self {
        Self {
            servers: Slab::new(),
            clients: Slab::new(),
            by_key: HashMap::default(),
            wheel: Wheel::new(),
            absorbing: 0,
            held: 0,
        }
    }

    pub(super) fn server(&self, id: Key) -> Option<&Server> {
        self.servers.get(id)
    }

    pub(super) fn server_mut(&mut self, id: Key) -> Option<&mut Server> {
        self.servers.get_mut(id)
    }

    /// The request of a server transaction, until its last held final response is released.
    pub(super) fn view(&self, id: Key) -> Option<&RequestView> {
        self.servers.get(id)?.view.as_deref()
    }

    /// What it needs while branches run.
    pub(super) fn forwarding(&self, id: Key) -> Option<&Forwarding> {
        self.servers.get(id)?.forwarding.as_deref()
    }

    pub(super) fn forwarding_mut(&mut self, id: Key) -> Option<&mut Forwarding> {
        self.servers.get_mut(id)?.forwarding.as_deref_mut()
    }

    /// What a request needs while branches run, and what of its Max-Breadth is free for a round: branches that were given up
    /// keep their share.
    pub(super) fn for_round(&mut self, id: Key) -> Option<(&mut Forwarding, u32)> {
        let Self { servers, clients, .. } = self;
        let server = servers.get_mut(id)?;
        let most = server.view.as_deref().map_or(MAX_BREADTH_DEFAULT, |view| proxy::max_breadth(&view.message));
        let forwarding = server.forwarding.as_deref_mut()?;
        let share_of = |key: &Key| Some(clients.get(*key)?.progress.as_deref()?.breadth);
        let free = most.saturating_sub(forwarding.leaving.iter().filter_map(share_of).sum());
        Some((forwarding, free))
    }

    /// Notes the client transaction of a branch with its server transaction.
    pub(super) fn note_branch(&mut self, key: Key) {
        let Some(Place { server, branch, .. }) = self.clients.get(key).map(|client| client.place) else { return };
        let forwarding = self.forwarding_mut(server);
        if let Some(place) = forwarding.and_then(|own| own.branches.get_mut(usize::from(branch))) {
            *place = Some(key);
        }
    }

    /// A branch was given up and keeps its share of the Max-Breadth.
    pub(super) fn note_leaving(&mut self, key: Key) {
        let Self { servers, clients, .. } = self;
        let server = clients.get(key).and_then(|client| servers.get_mut(client.place.server));
        if let Some(forwarding) = server.and_then(|server| server.forwarding.as_deref_mut()) {
            forwarding.leaving.retain(|own| clients.get(*own).is_some_and(|own| own.progress.is_some()));
            forwarding.leaving.push(key);
        }
    }

    /// A branch, which `was_running` until then, has a 2xx: no further round starts. If it is the first one of an INVITE, gives
    /// the failures so far, and the branches that still ran. `None` when nobody waits for it any more.
    pub(super) fn won(
        &mut self,
        now: Instant,
        id: Key,
        key: Key,
        was_running: bool,
    ) -> Option<(Vec<FinalResponse>, Vec<FinalResponse>)> {
        let server = self.servers.get_mut(id)?;
        server.running -= u16::from(was_running);
        if matches!(server.cancel_reason, CancelReason::None) {
            server.cancel_reason = CancelReason::Elsewhere;
        }
        let Some(forwarding) = server.forwarding.as_deref_mut() else { return Some(Default::default()) };
        let is_first = server.method == Method::Invite && forwarding.context.ending() != Ending::Won;
        forwarding.context.end(Ending::Won);
        if !is_first {
            return Some(Default::default());
        }
        let running = forwarding.branches.iter().flatten().filter(|other| **other != key).filter_map(|other| {
            let other = self.clients.get(*other)?;
            let progress = other.progress.as_deref().filter(|own| own.counted == Counted::No)?;
            let (hop, stages) = (other.peer.map(|peer| peer.addr), progress.times.stages(now));
            Some(FinalResponse::instead(other.uri.clone(), hop, 0, stages))
        });
        Some((forwarding.context.failures().cloned().collect(), running.collect()))
    }

    /// Whether the caller has sent CANCEL.
    pub(super) fn is_cancelled(&self, id: Key) -> bool {
        self.servers.get(id).is_some_and(|server| server.cancelled == Cancelled::Yes)
    }

    pub(super) fn client(&self, key: Key) -> Option<&Client> {
        self.clients.get(key)
    }

    pub(super) fn client_mut(&mut self, key: Key) -> Option<&mut Client> {
        self.clients.get_mut(key)
    }

    /// What a branch needs until its final response.
    pub(super) fn progress_mut(&mut self, key: Key) -> Option<&mut Progress> {
        self.clients.get_mut(key)?.progress.as_deref_mut()
    }

    /// The client transactions for which `wanted` says so.
    pub(super) fn clients(&self, wanted: impl Fn(&Client) -> bool) -> Vec<Key> {
        self.clients.iter().filter(|(_, client)| wanted(client)).map(|(key, _)| key).collect()
    }

    /// The server transaction of a request.
    pub(super) fn find(&self, key: &RequestKey) -> Option<Key> {
        self.by_key.get(key).copied()
    }

    pub(super) fn add_server(&mut self, server: Server) -> Key {
        self.held += server.held.len();
        let key = server.key;
        let id = self.servers.insert(server);
        if let Some(key) = key {
            self.by_key.insert(key, id);
        }
        id
    }

    pub(super) fn add_client(&mut self, client: Client) -> Key {
        self.clients.insert(client)
    }

    /// Whether there are so many transactions in progress, or [`ABSORBING_FOR_EACH`] times as many in all.
    pub(super) fn is_full(&self, most: usize) -> bool {
        let all = self.servers.len();
        all - self.absorbing >= most || all >= most.saturating_mul(ABSORBING_FOR_EACH)
    }

    /// Whether a request waits for its final response. Absorbing transactions do not count.
    pub(super) fn is_busy(&self) -> bool {
        self.held > 0 || self.servers.iter().any(|(_, server)| server.view.is_some() && server.origin != Origin::Probe)
    }

    /// Holds a final response of a transaction.
    pub(super) fn hold(&mut self, id: Key, held: Held) {
        if let Some(server) = self.servers.get_mut(id) {
            server.held.push(Box::new(held));
            self.held += 1;
        }
    }

    /// Takes a held response out.
    pub(super) fn release(&mut self, id: Key, response: ResponseId) -> Option<Box<Held>> {
        let server = self.servers.get_mut(id)?;
        let place = server.held.iter().position(|held| held.response == response)?;
        self.held -= 1;
        Some(server.held.remove(place))
    }

    /// Sets the timer of a client transaction to its next deadline, or takes the transaction out when it has ended.
    pub(super) fn settle_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.state() == Some(State::Terminated) {
            return self.remove_client(key);
        }
        let deadline = client.deadline();
        self.wheel.set(&mut client.alarm, deadline, Alarm::Client(key));
    }

    pub(super) fn remove_client(&mut self, key: Key) {
        if let Some(alarm) = self.clients.remove(key).and_then(|client| client.alarm) {
            self.wheel.cancel(alarm);
        }
    }

    /// Sets the timer of a server transaction to its next deadline, or takes the transaction out when it has ended; whether it
    /// has.
    pub(super) fn settle_server(&mut self, id: Key, admission: &mut Admission) -> bool {
        let Some(server) = self.servers.get_mut(id) else { return false };
        if server.view.is_none() && !server.absorbs {
            server.absorbs = true;
            self.absorbing += 1;
            admission.answered(server);
        }
        if server.is_over() {
            if let Some(key) = server.key.take() {
                self.by_key.remove(&key);
                // After a burst its memory goes back; rarely enough not to cost anything.
                let (used, room) = (self.by_key.len(), self.by_key.capacity());
                if room > TABLE_ROOM_MIN && used < room / 8 {
                    self.by_key.shrink_to(used * 2);
                }
            }
            if server.running == 0 && server.held.is_empty() && server.wait_until.is_none() {
                let alarm = server.alarm.take();
                self.absorbing -= usize::from(server.absorbs);
                admission.closed(id, server);
                self.servers.remove(id);
                alarm.map(|alarm| self.wheel.cancel(alarm));
                return true;
            }
        }
        let deadline = server.deadline();
        self.wheel.set(&mut server.alarm, deadline, Alarm::Server(id));
        false
    }

    /// The timers that have run out.
    pub(super) fn expire(&mut self, now: Instant, due: &mut Vec<Alarm>) {
        self.wheel.expire(now, due);
    }

    /// When the next one does.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wheel.deadline()
    }

    /// Server transactions, client transactions, held responses, timers.
    pub(super) fn sizes(&self) -> [usize; 4] {
        [self.servers.len(), self.clients.len(), self.held, self.wheel.len()]
    }
}

/// Places of the table of requests that are kept when it is empty.
const TABLE_ROOM_MIN: usize = 1024;

/// How far a server transaction has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Stage {
    /// The policy has not decided yet.
    Deciding,
    /// Branches run.
    Forwarding,
    /// A final response is held or has left; nothing provisional goes upstream any more.
    Answered,
    /// Ends without a response.
    Abandoned,
}

/// A server transaction.
#[derive(Debug)]
pub(super) struct Server {
    /// Where the caller's responses go.
    pub peer: Peer,
    pub origin: Origin,
    /// Why branches are cancelled, for the Reason of their CANCEL.
    pub cancel_reason: CancelReason,
    pub machine: transaction::Server,
    /// Its place in the table of requests; `None` once its machine has ended.
    pub key: Option<RequestKey>,
    pub method: Method,
    pub stage: Stage,
    /// The caller has sent CANCEL.
    pub cancelled: Cancelled,
    /// When the 100 of a request other than INVITE is due, `None` once any response has left; of an abandoned transaction
    /// and of one with a 2xx behind a refusal, when it may go.
    pub wait_until: Option<Instant>,
    pub alarm: Option<Handle>,
    pub next_response: u32,
    /// Branches without a final response, those given up included.
    pub running: u16,
    /// It has its response and only absorbs what is repeated; counted as such.
    pub absorbs: bool,
    pub held: SmallVec<[Box<Held>; 1]>,
    /// Hash of its Call-ID, where it is counted with the other transactions of that.
    pub call: Option<u64>,
    /// The dialogs that its 2xx have made and that nobody else keeps.
    pub answered: SmallVec<[Box<Answered>; 1]>,
    pub view: Option<Box<RequestView>>,
    pub forwarding: Option<Box<Forwarding>>,
}

/// Whose request it is.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Origin {
    /// A request that came in.
    Peer,
    /// One that came in and is counted for its source.
    Counted(Class),
    /// The gateway's own: its responses go nowhere.
    Gateway,
    /// One that asks whether a destination is back: it keeps nobody waiting.
    Probe,
}

/// Why branches are cancelled (RFC 3326).
#[derive(Clone, Debug)]
pub(super) enum CancelReason {
    /// Nothing is said.
    None,
    /// Another branch was answered.
    Elsewhere,
    /// What the caller's CANCEL says: the values of its Reason lines.
    Given(Rc<[Box<[u8]>]>),
}

/// Whether a CANCEL has come.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Cancelled {
    No,
    Yes,
}

/// What a server transaction needs while branches run.
#[derive(Debug)]
pub(super) struct Forwarding {
    pub context: Context,
    /// A round has failed, and the driver is to say how the request goes on.
    pub is_asked: bool,
    /// Branches of the running round, in the order of the plan; `None` for one that could not be started.
    pub branches: Vec<Option<Key>>,
    /// Branches that were given up and cancelled: each keeps its share of the Max-Breadth until its final response.
    pub leaving: SmallVec<[Key; 2]>,
    /// Hashes of the To tags of 1xx: the early dialogs.
    pub early: SmallVec<[u64; 2]>,
    /// The next hop is a strict router: its Request-URI (RFC 3261 §16.6 step 6).
    pub strict_uri: Option<Bytes>,
    /// The transport a Route or `sips` asks for; `None`: by the target.
    pub transport: Option<Transport>,
}

/// A final response that waits for its release.
#[derive(Debug)]
pub(super) struct Held {
    pub response: ResponseId,
    pub code: u16,
    pub content: Content,
}

/// The callee's side of a dialog that a 2xx has made.
#[derive(Debug)]
pub(super) struct Answered {
    pub from_tag: Box<[u8]>,
    pub to_tag: Box<[u8]>,
    /// The remote target for the caller.
    pub target: Box<[u8]>,
    /// The route set beyond the gateway, joined by commas.
    pub routes: Box<[u8]>,
}

/// What a held response consists of.
#[derive(Debug)]
pub(super) enum Content {
    /// A branch's response, with the challenges of others.
    Forwarded { message: Rc<Message>, challenges: Vec<Rc<Message>> },
    /// A response the gateway makes.
    Local(Refusal),
    /// Nothing is sent: a non-INVITE request without a response in time (RFC 4320 §4.2).
    Silence,
}

/// Whether and how a branch is being cancelled.
#[derive(Debug, Default)]
pub(super) enum Cancel {
    /// It is not.
    #[default]
    None,
    /// As soon as a provisional response allows it (RFC 3261 §9.1).
    Wanted,
    /// CANCEL was sent; its transaction runs.
    Running(Box<transaction::Client>),
    /// CANCEL was sent and answered.
    Done,
}

/// Where a branch belongs.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub server: Key,
    /// The round, from 1.
    pub round: u16,
    /// Place in the round's plan, from 0.
    pub branch: u16,
}

/// A client transaction: one branch at one address.
#[derive(Debug)]
pub(super) struct Client {
    pub place: Place,
    /// Where it was sent; `None` while its target's name is looked up.
    pub peer: Option<Peer>,
    /// The target's Request-URI; empty when the one received was left.
    pub uri: Bytes,
    /// `None` until it is sent. An INVITE's keeps the request as sent.
    pub machine: Option<transaction::Client>,
    pub cancel: Cancel,
    pub alarm: Option<Handle>,
    /// Dropped with the final response.
    pub progress: Option<Box<Progress>>,
    /// The word of our Record-Route value that it went out with; `None`: it has none.
    pub recorded: Option<Word>,
    /// Record-Route values that were put back into its responses.
    pub put_back: Option<Box<PutBack>>,
    /// 2xx responses seen: hash of the To tag, and their name.
    pub responses: SmallVec<[(u64, ResponseId); 1]>,
}

impl Client {
    /// A branch that has not been sent.
    pub(super) fn new(place: Place, uri: Bytes, progress: Box<Progress>) -> Self {
        Self {
            place,
            peer: None,
            uri,
            machine: None,
            cancel: Cancel::None,
            alarm: None,
            progress: Some(progress),
            recorded: None,
            put_back: None,
            responses: SmallVec::new(),
        }
    }

    /// Where its machine stands; `None` while its name is looked up.
    pub(super) fn state(&self) -> Option<State> {
        self.machine.as_ref().map(transaction::Client::state)
    }

    /// When something is to be done next.
    pub(super) fn deadline(&self) -> Option<Instant> {
        let machine = self.machine.as_ref().and_then(transaction::Client::deadline);
        let cancel = match &self.cancel {
            Cancel::Running(machine) => machine.deadline(),
            Cancel::None | Cancel::Wanted | Cancel::Done => None,
        };
        let (ring, limit) = self.progress.as_ref().map_or((None, None), |own| (own.ring_until, own.limit));
        [machine, cancel, ring, limit].into_iter().flatten().min()
    }
}

/// What a branch needs until its final response.
#[derive(Debug)]
pub(super) struct Progress {
    /// The name a certificate must be valid for, should it go by TLS.
    pub authority: Option<Arc<str>>,
    /// The address that took no TCP, so that a long request goes there by UDP after all.
    pub datagrams_to: Option<SocketAddr>,
    /// Further places its target leads to (RFC 3263 §4.3).
    pub further: VecDeque<Destination>,
    /// When the branch is given up for its target's ring timeout.
    pub ring_until: Option<Instant>,
    /// Timer C (RFC 3261 §16.6 step 11), INVITE only; or the end of the wait for a cancelled branch (§9.1), or for
    /// the resolver.
    pub limit: Option<Instant>,
    /// How the request leaves by it.
    pub edits: Option<Arc<Edits>>,
    /// Its share of the Max-Breadth (RFC 5393 §5.3.3).
    pub breadth: u32,
    /// Whether its failure has been told to the response context already.
    pub counted: Counted,
    pub times: BranchTimes,
}

/// When what happened to a branch so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct BranchTimes {
    /// When its request came in.
    pub arrived: Instant,
    pub tried: Instant,
    /// Its first response of 180 to 189.
    pub rang: Option<Instant>,
}

impl BranchTimes {
    /// Of a branch that ends now.
    pub(super) fn stages(&self, now: Instant) -> Stages {
        let since = |at: Instant| u32::try_from(at.since(self.arrived).as_millis()).unwrap_or(u32::MAX);
        Stages { tried_ms: since(self.tried), rang_ms: self.rang.map(since), ended_ms: since(now) }
    }
}

impl Progress {
    /// A response has come: the same address is not tried again by UDP.
    pub(super) fn answered(&mut self) {
        if self.datagrams_to.take().is_some_and(|addr| self.further.front().is_some_and(|next| next.addr == addr)) {
            self.further.pop_front();
        }
    }
}

/// Whether a branch's failure has been told to the response context.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Counted {
    /// It may still decide something.
    No,
    /// It was given up, and waits only for its transaction to end.
    Yes,
}
