//! The client side: branches are started, answered, cancelled and given up (RFC 3261 §16.6 to §16.9).

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;

use smallvec::SmallVec;

use super::event::FinalResponse;
use super::tables::{BranchTimes, Cancel, CancelReason, Client, Counted, Origin, Place, Progress};
use super::types::{
    Destination, Hop, Ignored, ListenerId, Output, Peer, QueryId, RequestView, Target, Transport, Ways,
};
use super::wire::{Onwards, makes_dialog};
use super::{Query, Stack};
use crate::clock::{Instant, Now};
use crate::sip::dialog::Word;
use crate::sip::message::{Message, Method, Uri};
use crate::sip::proxy;
use crate::sip::transaction::slab::Key;
use crate::sip::transaction::{self, Class, ClientInput, InviteClient, NonInviteClient, State};

/// Reason of the CANCEL for a branch that lost (RFC 3326 §2): phones show no missed call then.
const ELSEWHERE: &[u8] = b"SIP;cause=200;text=\"Call completed elsewhere\"";

/// What the machine of a client transaction told.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Told {
    pub deliver: bool,
    pub acknowledge: bool,
    /// Nothing came in time, or it could not be sent: the code this counts as.
    pub failed: Option<u16>,
}

impl Stack {
    /// Starts the next round, at once or when a branch that was given up has left some of the Max-Breadth for it;
    /// `false` when there is none.
    pub(super) fn start_round(&mut self, now: Now, id: Key, out: &mut Vec<Output>) -> bool {
        let Some((forwarding, free)) = self.tables.for_round(id) else { return false };
        if free == 0 {
            return forwarding.context.has_more();
        }
        let Some(group) = forwarding.context.next_round(free) else { return false };
        let count = u32::try_from(group.len()).unwrap_or(u32::MAX);
        let left = u32::try_from(forwarding.context.left()).unwrap_or(u32::MAX);
        // Who may be given up while it rings leaves the others their part, so that they need not wait for its end.
        let breadth = match group.iter().any(|target| target.ring_timeout.is_some()) {
            true => (free * count / count.saturating_add(left)).max(count),
            false => free,
        };
        forwarding.branches = vec![None; group.len()];
        let (round, transport) = (forwarding.context.round(), forwarding.transport);
        for (branch, target) in (0_u16..).zip(group) {
            let share = proxy::breadth_share(breadth, branch.into(), count);
            self.start_branch(now, Place { server: id, round, branch }, target, (transport, share), out);
        }
        true
    }

    fn start_branch(
        &mut self,
        now: Now,
        place: Place,
        target: Target,
        (transport, breadth): (Option<Transport>, u32),
        out: &mut Vec<Output>,
    ) {
        let ways = self.ways_to(place.server, &target, transport);
        let arrived = self.tables.view(place.server).map_or(now.mono, |view| view.arrived.mono);
        let mut progress = Box::new(Progress {
            authority: proxy::authority_of(&target.hop),
            datagrams_to: None,
            further: VecDeque::new(),
            ring_until: target.ring_timeout.map(|span| now.mono + span),
            limit: None,
            edits: target.edits,
            breadth,
            counted: Counted::No,
            times: BranchTimes { arrived, tried: now.mono, rang: None },
        });
        if let Some(server) = self.tables.server_mut(place.server) {
            server.running += 1;
        }
        match target.hop {
            Hop::Addr(addr) => {
                let to = Destination { addr, transport: ways.transport() };
                progress.authority = self.name_of_probed(place.server, to);
                progress.further.push_back(to);
                let key = self.tables.add_client(Client::new(place, target.uri, progress));
                self.send_branch(now, key, out);
            }
            Hop::Name { host, port } => {
                progress.limit = Some(now.mono + self.settings.transaction.timeout());
                let key = self.tables.add_client(Client::new(place, target.uri, progress));
                self.tables.note_branch(key);
                self.tables.settle_client(key);
                let query = self.queries.ask(Query::Branch(key));
                out.push(Output::Resolve { query, host, port, ways });
            }
        }
    }

    /// The name that the certificate of a place must be valid for that is asked whether it is back.
    fn name_of_probed(&self, server: Key, to: Destination) -> Option<Arc<str>> {
        let own = self.tables.server(server).filter(|own| own.origin == Origin::Probe)?;
        self.outages.name_of(self.wire.usual_peer(to, own.view.as_deref()?.peer.listener)?)
    }

    /// The transport of a target: TLS for a SIPS Request-URI (RFC 3261 §26.2.2), else what the target, its URI or the
    /// Route names.
    pub(super) fn ways_to(&self, server: Key, target: &Target, by_route: Option<Transport>) -> Ways {
        let view = self.tables.view(server);
        let received = view.map_or(&b""[..], RequestView::request_uri);
        if proxy::is_sips(if target.uri.is_empty() { received } else { &target.uri }) {
            return Ways::Secure;
        }
        // Most have no parameter that could name one.
        let by_uri = || {
            memchr::memchr(b';', &target.uri)?;
            Uri::parse(&target.uri).and_then(|uri| proxy::transport_named_by(&uri))
        };
        target.transport.or_else(by_uri).or(by_route).map_or(Ways::Any, Ways::Only)
    }

    /// Sends a branch that has not been sent to the next address of its target.
    pub(super) fn send_branch(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client(key) else { return };
        let server = self.tables.server(client.place.server);
        let Some((view, forwarding)) = server.and_then(|own| Some((own.view.as_deref()?, own.forwarding.as_deref()?)))
        else {
            return self.branch_gave_up(now, key, 503, out);
        };
        let (strict_uri, came_by) = (forwarding.strict_uri.as_ref(), view.peer.listener);
        let sent = client.progress.as_deref().and_then(|progress| {
            let branch = Some((key, progress.breadth));
            let mut further = progress.further.clone();
            let mut left = std::iter::from_fn(|| further.pop_front());
            let edits = progress.edits.as_deref();
            let way = |next| self.wire.peer_by(next, came_by, edits.and_then(|edits| edits.listener));
            let (next, to) = left.find_map(|next| Some((next, way(next)?)))?;
            let how = Onwards { branch, uri: &client.uri, strict_uri, edits };
            let bytes = self.wire.print_forward(view, to, &how);
            let by_stream = self.wire.stream_instead(progress, next, to, bytes.len());
            let Some(by_stream) = by_stream.filter(|by_stream| !self.outages.is_down(*by_stream)) else {
                return Some((to, further, bytes));
            };
            // Should the connection fail, the same address is tried next, by UDP.
            further.push_front(next);
            let bytes = self.wire.print_forward(view, by_stream, &how);
            Some((by_stream, further, bytes))
        });
        let is_invite = view.message.method() == Method::Invite;
        let makes_dialog = makes_dialog(&view.message);
        let Some((to, further, bytes)) = sent else {
            // None of its addresses can be sent to.
            if let Some(progress) = self.tables.progress_mut(key) {
                progress.further.clear();
            }
            out.push(Output::Ignored { why: Ignored::NoListener });
            return self.branch_gave_up(now, key, 503, out);
        };
        let (reliability, times) = (self.wire.reliability(to.listener), &self.settings.transaction);
        let Some(client) = self.tables.client(key) else { return };
        let name = client.progress.as_deref().and_then(|progress| progress.authority.clone());
        let authority = self.wire.authority_at(to, name);
        let Some(client) = self.tables.client_mut(key) else { return };
        client.peer = Some(to);
        let edits = client.progress.as_deref().and_then(|progress| progress.edits.as_deref());
        let is_off = edits.is_some_and(|edits| edits.off_route);
        client.recorded = (makes_dialog && !is_off).then(|| edits.map_or(Word::NONE, |edits| edits.word));
        if let Some(progress) = client.progress.as_deref_mut() {
            progress.datagrams_to = further.front().map(|next| next.addr).filter(|next| *next == to.addr);
            progress.further = further;
            progress.limit = is_invite.then(|| now.mono + self.settings.timer_c);
        }
        client.machine = Some(if is_invite {
            let machine = InviteClient::start(now.mono, bytes, reliability, times, &mut self.effects);
            transaction::Client::Invite(machine)
        } else {
            let machine = NonInviteClient::start(now.mono, bytes, reliability, times, &mut self.effects);
            transaction::Client::NonInvite(machine)
        });
        self.tables.note_branch(key);
        self.perform_named(key, authority, out);
        self.tables.settle_client(key);
    }

    /// Where a name leads.
    pub(super) fn resolved(&mut self, now: Now, query: QueryId, destinations: Vec<Destination>, out: &mut Vec<Output>) {
        match self.queries.take(query) {
            Some(Query::Branch(key)) => {
                let waiting = self.tables.client_mut(key).filter(|client| client.machine.is_none());
                if waiting.is_none_or(|client| client.progress.is_none()) {
                    return out.push(Output::Ignored { why: Ignored::Outdated });
                }
                let came_by = self.came_by(key);
                let further = self.up_first(now, destinations, came_by);
                let client = self.tables.client_mut(key);
                if let Some(progress) = client.and_then(|client| client.progress.as_deref_mut()) {
                    progress.further = further;
                }
                self.send_branch(now, key, out);
            }
            Some(Query::Ack(ack)) => match self.up_first(now, destinations, ack.peer.listener).pop_front() {
                Some(to) => self.forward_ack(*ack, to, out),
                None => out.push(Output::Ignored { why: Ignored::AckStray }),
            },
            None => out.push(Output::Ignored { why: Ignored::Outdated }),
        }
    }

    /// Sends what the machine of a client transaction wants sent; tells the rest.
    pub(super) fn perform_client(&mut self, key: Key, out: &mut Vec<Output>) -> Told {
        self.perform_named(key, None, out)
    }

    /// The same, to a peer whose certificate must be valid for `authority`.
    fn perform_named(&mut self, key: Key, mut authority: Option<Arc<str>>, out: &mut Vec<Output>) -> Told {
        let mut told = Told::default();
        let peer = self.tables.client(key).and_then(|client| client.peer);
        for effect in self.effects.drain(..) {
            match (effect, peer) {
                (transaction::Output::Send(bytes), Some(peer)) => {
                    out.push(Output::Send { peer, bytes, authority: authority.take() });
                }
                (transaction::Output::Deliver, _) => told.deliver = true,
                (transaction::Output::Acknowledge, _) => told.acknowledge = true,
                (transaction::Output::TimedOut(_), _) => told.failed = Some(408),
                (transaction::Output::Failed, _) => told.failed = Some(503),
                (transaction::Output::Absorbed { .. }, _) => {
                    out.push(Output::Ignored { why: Ignored::AnswerRepeated });
                }
                (transaction::Output::Send(_) | transaction::Output::Trying | transaction::Output::Terminated, _) => {}
            }
        }
        told
    }

    /// Cancels the running branches of a round, all but one.
    pub(super) fn cancel_branches(&mut self, now: Now, id: Key, except: Option<Key>, out: &mut Vec<Output>) {
        let forwarding = self.tables.forwarding(id);
        let Some(forwarding) = forwarding else { return };
        let keys: SmallVec<[Key; 8]> = forwarding.branches.iter().flatten().copied().collect();
        for key in keys.into_iter().filter(|key| Some(*key) != except) {
            self.cancel_branch(now, key, out);
        }
    }

    pub(super) fn cancel_branch(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key).filter(|client| client.progress.is_some()) else { return };
        match (client.state(), &client.cancel) {
            (None, _) => self.branch_gave_up(now, key, 487, out),
            (Some(State::Calling), Cancel::None) => client.cancel = Cancel::Wanted,
            (Some(State::Proceeding), Cancel::None)
                if matches!(client.machine, Some(transaction::Client::Invite(_))) =>
            {
                self.send_cancel(now, key, out);
            }
            _ => {}
        }
    }

    /// Sends the CANCEL of a branch where its INVITE went (RFC 3261 §9.1), and limits the wait for its final response.
    pub(super) fn send_cancel(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        let times = &self.settings.transaction;
        if let Some(progress) = client.progress.as_deref_mut() {
            progress.limit = Some(now.mono + times.timeout());
        }
        client.cancel = Cancel::Done;
        let place = client.place;
        let sent = client.machine.as_ref().and_then(transaction::Client::request);
        let sent = sent.and_then(|sent| Message::parse(sent.to_vec()).ok());
        if let (Some(sent), Some(peer)) = (sent, client.peer) {
            let bytes = self.wire.print_cancel(&sent, &self.cancel_reasons(place.server));
            let reliability = self.wire.reliability(peer.listener);
            let times = &self.settings.transaction;
            let machine = NonInviteClient::start(now.mono, bytes, reliability, times, &mut self.effects);
            if let Some(client) = self.tables.client_mut(key) {
                client.cancel = Cancel::Running(Box::new(transaction::Client::NonInvite(machine)));
            }
            self.perform_client(key, out);
        }
        self.tables.settle_client(key);
    }

    /// The values of Reason lines that the CANCELs of a request get (RFC 3326).
    fn cancel_reasons(&self, id: Key) -> Rc<[Box<[u8]>]> {
        match self.tables.server(id).map(|server| &server.cancel_reason) {
            Some(CancelReason::Given(reasons)) => Rc::clone(reasons),
            Some(CancelReason::Elsewhere) => Rc::new([Box::from(ELSEWHERE)]),
            Some(CancelReason::None) | None => Rc::new([]),
        }
    }

    pub(super) fn cancel_answered(&mut self, now: Now, key: Key, class: Class, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        match &mut client.cancel {
            Cancel::Running(machine) => {
                machine.handle(now.mono, ClientInput::Response(class), &self.settings.transaction, &mut self.effects);
                if class != Class::Provisional {
                    client.cancel = Cancel::Done;
                }
                self.effects.clear();
            }
            Cancel::None | Cancel::Wanted | Cancel::Done => {
                out.push(Output::Ignored { why: Ignored::AnswerRepeated });
            }
        }
        self.tables.settle_client(key);
    }

    pub(super) fn client_alarm(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        client.alarm = None;
        if let Cancel::Running(machine) = &mut client.cancel {
            machine.tick(now.mono, &self.settings.transaction, &mut self.effects);
            if machine.state() == State::Terminated {
                client.cancel = Cancel::Done;
            }
            self.perform_client(key, out);
        }
        let Some(client) = self.tables.client_mut(key) else { return };
        if let Some(machine) = &mut client.machine {
            machine.tick(now.mono, &self.settings.transaction, &mut self.effects);
            if let Some(code) = self.perform_client(key, out).failed {
                self.note_failure(now, key, out);
                return self.branch_gave_up(now, key, code, out);
            }
        }
        self.check_limits(now, key, out);
        self.tables.settle_client(key);
    }

    /// The ring timeout of a branch, Timer C, and the end of the wait for a cancelled one or for the resolver.
    fn check_limits(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        let is_sent = client.machine.is_some();
        let is_cancelled = matches!(client.cancel, Cancel::Running(_) | Cancel::Done);
        let Some(progress) = client.progress.as_deref_mut() else { return };
        let is_due = |limit: Option<Instant>| limit.is_some_and(|limit| limit <= now.mono);
        if is_due(progress.limit) && (is_cancelled || !is_sent) {
            return self.branch_gave_up(now, key, if is_sent { 408 } else { 503 }, out);
        }
        if !is_due(progress.limit) && !is_due(progress.ring_until) {
            return;
        }
        progress.ring_until = None;
        if is_cancelled {
            return;
        }
        progress.limit = None;
        if !is_sent {
            return self.branch_gave_up(now, key, 408, out);
        }
        // Given up: counted as 408 at once, cancelled, and kept until its transaction ends.
        let was_counted = std::mem::replace(&mut progress.counted, Counted::Yes);
        let place = client.place;
        let (uri, hop) = (client.uri.clone(), client.peer.map(|peer| peer.addr));
        let stages = progress.times.stages(now.mono);
        // Silence is a 408 (RFC 3261 §16.8), but one that rings is to answer its CANCEL.
        let has_answered = client.state() == Some(State::Proceeding);
        self.cancel_branch(now, key, out);
        if was_counted == Counted::No {
            if has_answered {
                self.tables.note_leaving(key);
            }
            let is_cancelled = self.tables.is_cancelled(place.server);
            let code = if is_cancelled { 487 } else { 408 };
            let attempt = FinalResponse::instead(uri, hop, code, stages);
            self.branch_failed(now, place, attempt, out);
            self.settle_server(place.server, out);
        }
    }

    /// A datagram to `peer` came back: branches that have had no response from there have failed.
    pub(super) fn unreachable(&mut self, now: Now, peer: Peer, out: &mut Vec<Output>) {
        let waits = |client: &Client| {
            client.peer == Some(peer) && matches!(client.state(), Some(State::Calling | State::Trying))
        };
        for key in self.tables.clients(waits) {
            let Some(machine) = self.tables.client_mut(key).and_then(|client| client.machine.as_mut()) else {
                continue;
            };
            machine.handle(now.mono, ClientInput::Unreachable, &self.settings.transaction, &mut self.effects);
            if let Some(code) = self.perform_client(key, out).failed {
                self.note_failure(now, key, out);
                self.branch_gave_up(now, key, code, out);
            }
        }
    }

    /// The listener that the request of a branch came in by.
    fn came_by(&self, key: Key) -> ListenerId {
        let server = self.tables.client(key).and_then(|client| self.tables.server(client.place.server));
        server.and_then(|own| own.view.as_deref()).map_or_else(ListenerId::default, |view| view.peer.listener)
    }
}
