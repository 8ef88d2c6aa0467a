//! The client side: branches are started, answered, cancelled and given up (RFC 3261 §16.6 to §16.9).

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use smallvec::SmallVec;

use super::server::usual;
use super::tables::{Alarm, Cancel, Cancelled, Client, Content, Counted, Progress, Stage};
use super::types::{Attempt, Hop, Ignored, Output, Peer, QueryId, ServerId, Target, Transport};
use super::{Query, Stack, WaitingAck};
use crate::clock::{Instant, Now};
use crate::sip::message::{self, Message, Method, Name, Uri};
use crate::sip::proxy::{self, Ending, Refusal};
use crate::sip::transaction::slab::Key;
use crate::sip::transaction::{self, Class, ClientInput, InviteClient, NonInviteClient, State};

/// What the machine of a client transaction told.
#[derive(Clone, Copy, Debug, Default)]
struct Told {
    deliver: bool,
    acknowledge: bool,
    /// Nothing came in time, or it could not be sent: the code this counts as.
    failed: Option<u16>,
}

impl Stack {
    /// Starts the next round; `false` when there is none.
    pub(super) fn start_round(&mut self, now: Now, id: Key, out: &mut Vec<Output>) -> bool {
        let Some(forwarding) = self.servers.get_mut(id).and_then(|server| server.forwarding.as_deref_mut()) else {
            return false;
        };
        let Some(group) = forwarding.context.next_round() else { return false };
        forwarding.branches = vec![None; group.len()];
        let (round, transport) = (forwarding.context.round(), forwarding.transport);
        for (branch, target) in (0_u16..).zip(group) {
            self.start_branch(now, id, (round, branch), target, transport, out);
        }
        true
    }

    fn start_branch(
        &mut self,
        now: Now,
        server: Key,
        (round, branch): (u16, u16),
        target: Target,
        transport: Option<Transport>,
        out: &mut Vec<Output>,
    ) {
        let by_uri = || Uri::parse(&target.uri).map_or(Transport::Udp, |uri| proxy::transport_of(&uri));
        let mut progress = Progress {
            started: now,
            transport: transport.unwrap_or_else(by_uri),
            further: VecDeque::new(),
            ring_until: target.ring_timeout.map(|span| now.mono + span),
            limit: None,
            counted: Counted::No,
        };
        let mut client = Client {
            server,
            branch,
            round,
            // Filled in when the branch is sent.
            peer: Peer { listener: super::ListenerId(0), addr: SocketAddr::from(([0, 0, 0, 0], 0)) },
            uri: target.uri,
            machine: None,
            cancel: Cancel::None,
            alarm: None,
            progress: None,
            answers: SmallVec::new(),
        };
        if let Some(server) = self.servers.get_mut(server) {
            server.running += 1;
        }
        match target.hop {
            Hop::Addr(addr) => {
                progress.further.push_back(addr);
                client.progress = Some(Box::new(progress));
                let key = self.clients.insert(client);
                self.send_branch(now, key, out);
            }
            Hop::Name { host, port } => {
                progress.limit = Some(now.mono + self.settings.transaction.timeout());
                client.progress = Some(Box::new(progress));
                let key = self.clients.insert(client);
                self.note_branch(key);
                self.settle_client(key);
                let query = self.ask(Query::Branch(key));
                out.push(Output::Resolve { query, host, port });
            }
        }
    }

    /// Notes the client transaction of a branch with its server transaction.
    fn note_branch(&mut self, key: Key) {
        let Some(client) = self.clients.get(key) else { return };
        let forwarding = self.servers.get_mut(client.server).and_then(|server| server.forwarding.as_deref_mut());
        let place = forwarding.and_then(|own| own.branches.get_mut(usize::from(client.branch)));
        if let Some(place) = place {
            *place = Some(key);
        }
    }

    /// Sends a branch that has not been sent to the next address of its target.
    fn send_branch(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get(key) else { return };
        let server = self.servers.get(client.server);
        let Some((view, forwarding)) = server.and_then(|own| Some((own.view.as_deref()?, own.forwarding.as_deref()?)))
        else {
            return self.branch_gave_up(now, key, 503, out);
        };
        let (strict_uri, came_by) = (forwarding.strict_uri.as_ref(), view.peer.listener);
        let mut scratch = std::mem::take(&mut self.scratch);
        let sent = client.progress.as_deref().and_then(|progress| {
            let mut further = progress.further.clone();
            let to = std::iter::from_fn(|| further.pop_front()).find_map(|addr| {
                Some(Peer { listener: self.listener_for(progress.transport, addr, came_by)?, addr })
            })?;
            let bytes = self.print_forward(view, to, Some(key), &client.uri, strict_uri, &mut scratch);
            Some((to, further, bytes))
        });
        self.scratch = scratch;
        let is_invite = view.message.method() == Method::Invite;
        let Some((to, further, bytes)) = sent else {
            out.push(Output::Ignored { why: Ignored::NoListener });
            return self.branch_gave_up(now, key, 503, out);
        };
        let (reliability, times) = (self.reliability(to.listener), &self.settings.transaction);
        let Some(client) = self.clients.get_mut(key) else { return };
        client.peer = to;
        if let Some(progress) = client.progress.as_deref_mut() {
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
        self.note_branch(key);
        self.perform_client(key, out);
        self.settle_client(key);
    }

    /// Addresses of a name.
    pub(super) fn resolved(&mut self, now: Now, query: QueryId, addresses: Vec<SocketAddr>, out: &mut Vec<Output>) {
        match self.queries.remove(&query) {
            Some(Query::Branch(key)) => {
                let waiting = self.clients.get_mut(key).filter(|client| client.machine.is_none());
                let Some(progress) = waiting.and_then(|client| client.progress.as_deref_mut()) else {
                    return out.push(Output::Ignored { why: Ignored::Outdated });
                };
                progress.further = addresses.into();
                self.send_branch(now, key, out);
            }
            Some(Query::Ack(ack)) => {
                let WaitingAck { peer, message, routing, strict_uri, transport } = *ack;
                match addresses.first() {
                    Some(addr) => self.forward_ack(peer, message, &routing, strict_uri, transport, *addr, out),
                    None => out.push(Output::Ignored { why: Ignored::AckStray }),
                }
            }
            None => out.push(Output::Ignored { why: Ignored::Outdated }),
        }
    }

    /// Sends what the machine of a client transaction wants sent; tells the rest.
    fn perform_client(&mut self, key: Key, out: &mut Vec<Output>) -> Told {
        let mut told = Told::default();
        let peer = self.clients.get(key).map(|client| client.peer);
        for effect in self.effects.drain(..) {
            match (effect, peer) {
                (transaction::Output::Send(bytes), Some(peer)) => out.push(Output::Send { peer, bytes }),
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

    /// Sets the timer of a client transaction to its next deadline, or takes the transaction out when it has ended.
    fn settle_client(&mut self, key: Key) {
        let Some(client) = self.clients.get_mut(key) else { return };
        if client.state() == Some(State::Terminated) {
            return self.remove_client(key);
        }
        let deadline = client.deadline();
        self.wheel.set(&mut client.alarm, deadline, Alarm::Client(key));
    }

    fn remove_client(&mut self, key: Key) {
        if let Some(alarm) = self.clients.remove(key).and_then(|client| client.alarm) {
            self.wheel.cancel(alarm);
        }
    }

    /// Takes an answer that came in.
    pub(super) fn received_answer(&mut self, now: Now, message: Rc<Message>, out: &mut Vec<Output>) {
        let via = message.top_via();
        let key = via.and_then(|via| self.hashes.read_branch(&via, &message)).and_then(|branch| branch.client);
        let Some((key, client)) = key.and_then(|key| Some((key, self.clients.get(key)?))) else {
            return out.push(Output::Ignored { why: Ignored::AnswerStray });
        };
        let Some(machine) = &client.machine else {
            return out.push(Output::Ignored { why: Ignored::AnswerStray });
        };
        let is_invite = matches!(machine, transaction::Client::Invite(_));
        let is_cancel = is_invite && message.method() == Method::Cancel;
        let is_fitting = is_cancel
            || (is_invite == (message.method() == Method::Invite) && message.values(Name::Via).nth(1).is_some());
        if !is_fitting || message.check().is_err() {
            return out.push(Output::Ignored { why: Ignored::AnswerMalformed });
        }
        let Some(class) = Class::of(message.code()) else { return };
        if is_cancel {
            return self.cancel_answered(now, key, class, out);
        }
        let Some(machine) = self.clients.get_mut(key).and_then(|client| client.machine.as_mut()) else { return };
        machine.handle(now.mono, ClientInput::Answer(class), &self.settings.transaction, &mut self.effects);
        let told = self.perform_client(key, out);
        if told.acknowledge {
            self.acknowledge(now, key, &message, out);
        }
        if told.deliver {
            match class {
                Class::Provisional => self.branch_provisional(now, key, &message, out),
                Class::Success => self.branch_succeeded(now, key, message, out),
                Class::Refusal => self.branch_refused(now, key, message, out),
            }
        }
        self.settle_client(key);
    }

    /// The ACK for a refusal, hop by hop (RFC 3261 §17.1.1.3).
    fn acknowledge(&mut self, now: Now, key: Key, answer: &Message, out: &mut Vec<Output>) {
        let Some(machine) = self.clients.get_mut(key).and_then(|client| client.machine.as_mut()) else { return };
        let Some(sent) = machine.request().and_then(|sent| Message::parse(sent.to_vec()).ok()) else { return };
        self.scratch.clear();
        message::ack_for(&sent, answer, &mut self.scratch);
        let ack = ClientInput::Ack(Bytes::copy_from_slice(&self.scratch));
        machine.handle(now.mono, ack, &self.settings.transaction, &mut self.effects);
        self.perform_client(key, out);
    }

    fn branch_provisional(&mut self, now: Now, key: Key, answer: &Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let (server, branch) = (client.server, client.branch);
        let Some(progress) = client.progress.as_deref_mut() else { return };
        if answer.code() > 100 && progress.limit.is_some() && matches!(client.cancel, Cancel::None) {
            progress.limit = Some(now.mono + self.settings.timer_c);
        }
        let is_counted = progress.counted == Counted::Yes;
        if matches!(client.cancel, Cancel::Wanted) {
            self.send_cancel(now, key, out);
        }
        if answer.code() == 100 {
            return;
        }
        if is_counted {
            return out.push(Output::Ignored { why: Ignored::ProvisionalLate });
        }
        self.provisional_upstream(now, server, branch, answer, out);
    }

    /// A 2xx: upstream, each one (RFC 3261 §16.7 steps 5 and 10); the other branches are cancelled.
    fn branch_succeeded(&mut self, now: Now, key: Key, answer: Rc<Message>, out: &mut Vec<Output>) {
        let tag = self.hashes.tag_hash(answer.to_tag());
        let Some(client) = self.clients.get_mut(key) else { return };
        let server = client.server;
        if let Some((_, held)) = client.answers.iter().find(|(seen, _)| *seen == tag) {
            let held = *held;
            return self.repeat_upstream(server, held, &answer, out);
        }
        if client.answers.len() >= self.settings.answers_held_max {
            return out.push(Output::Ignored { why: Ignored::AnswersTooMany });
        }
        let (uri, was_running) = (client.uri.clone(), client.progress.take().is_some());
        let Some(own) = self.servers.get_mut(server) else {
            return out.push(Output::Ignored { why: Ignored::AnswerStray });
        };
        own.running -= u16::from(was_running);
        if let Some(forwarding) = own.forwarding.as_deref_mut() {
            forwarding.context.end(Ending::Won);
        }
        let (code, reason) = (answer.code(), Bytes::copy_from_slice(answer.reason()));
        let content = Content::Forwarded { message: answer, challenges: Vec::new() };
        if let Some(held) = self.hold(server, code, reason, content, uri, out)
            && let Some(client) = self.clients.get_mut(key)
        {
            client.answers.push((tag, held));
        }
        self.cancel_branches(now, server, Some(key), out);
    }

    fn branch_refused(&mut self, now: Now, key: Key, answer: Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let Some(progress) = client.progress.take() else { return };
        let uri = std::mem::take(&mut client.uri);
        let (code, hop) = (answer.code(), Some(client.peer.addr));
        let reason = Bytes::copy_from_slice(answer.reason());
        let place = (client.server, client.round, client.branch);
        self.branch_over(
            now,
            place,
            progress,
            uri,
            |uri, started| Attempt { uri, hop, code, reason, message: Some(answer), started },
            out,
        );
    }

    /// The branch has no answer and gets none: 408 for silence, 503 when it could not be sent, 487 when it was
    /// cancelled before it was sent. Its transaction, if it goes on at all, is no matter any more.
    fn branch_gave_up(&mut self, now: Now, key: Key, code: u16, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        let progress = client.progress.take();
        let (uri, addr) = (std::mem::take(&mut client.uri), client.peer.addr);
        let hop = client.machine.is_some().then_some(addr);
        let place = (client.server, client.round, client.branch);
        self.remove_client(key);
        let Some(progress) = progress else { return };
        let is_cancelled = self.servers.get(place.0).is_some_and(|server| server.cancelled == Cancelled::Yes);
        let code = if is_cancelled { 487 } else { code };
        let attempt = |uri, started| Attempt { uri, hop, code, reason: usual(code), message: None, started };
        self.branch_over(now, place, progress, uri, attempt, out);
    }

    /// A branch is over without a 2xx: another address of its target is tried (RFC 3263 §4.3), or it has failed.
    fn branch_over(
        &mut self,
        now: Now,
        (server, round, branch): (Key, u16, u16),
        mut progress: Box<Progress>,
        uri: Bytes,
        attempt: impl FnOnce(Bytes, Now) -> Attempt,
        out: &mut Vec<Output>,
    ) {
        let Some(own) = self.servers.get_mut(server) else { return };
        let is_open = own.stage == Stage::Forwarding && own.cancelled == Cancelled::No;
        let mut attempt = attempt(uri, progress.started);
        let is_dead = attempt.code == 503 || (attempt.code == 408 && attempt.message.is_none());
        if is_open && is_dead && progress.counted == Counted::No && !progress.further.is_empty() {
            progress.limit = None;
            let client = Client {
                server,
                branch,
                round,
                peer: Peer { listener: super::ListenerId(0), addr: SocketAddr::from(([0, 0, 0, 0], 0)) },
                uri: attempt.uri,
                machine: None,
                cancel: Cancel::None,
                alarm: None,
                progress: Some(progress),
                answers: SmallVec::new(),
            };
            let key = self.clients.insert(client);
            return self.send_branch(now, key, out);
        }
        own.running -= 1;
        if progress.counted == Counted::No {
            if attempt.uri.is_empty()
                && let Some(view) = own.view.as_deref()
            {
                attempt.uri = Bytes::copy_from_slice(view.request_uri());
            }
            self.branch_failed(now, server, round, branch, attempt, out);
        }
        self.settle_server(server, out);
    }

    /// Tells the response context of a failed branch, and does what follows.
    fn branch_failed(&mut self, now: Now, id: Key, round: u16, branch: u16, attempt: Attempt, out: &mut Vec<Output>) {
        let Some(forwarding) = self.servers.get_mut(id).and_then(|server| server.forwarding.as_deref_mut()) else {
            return;
        };
        if forwarding.context.round() != round {
            return;
        }
        match forwarding.context.failed(branch, attempt) {
            proxy::Progress::Waiting => {}
            proxy::Progress::CancelOthers => self.cancel_branches(now, id, None, out),
            proxy::Progress::RoundOver { .. } if forwarding.context.ending() == Ending::Won => {}
            proxy::Progress::RoundOver { attempts, best, more } => {
                out.push(Output::RoundFailed { transaction: ServerId(id.to_u64()), attempts, best, more });
                if !self.start_round(now, id, out) {
                    self.answer_best(id, out);
                }
            }
        }
    }

    /// All rounds have failed: the best answer is the caller's (RFC 3261 §16.7 step 6).
    fn answer_best(&mut self, id: Key, out: &mut Vec<Output>) {
        let forwarding = self.servers.get(id).and_then(|server| server.forwarding.as_deref());
        let Some((best, challenges)) = forwarding.and_then(|forwarding| forwarding.context.best()) else {
            return self.hold_local(id, Refusal::new(500), Bytes::new(), out);
        };
        let (code, uri) = (best.code, best.uri.clone());
        match &best.message {
            Some(message) if code != 503 => {
                let (message, reason) = (Rc::clone(message), best.reason.clone());
                self.hold(id, code, reason, Content::Forwarded { message, challenges }, uri, out);
            }
            _ => self.hold_local(id, Refusal::new(if code == 503 { 500 } else { code }), uri, out),
        }
    }

    /// Cancels the running branches of a round, all but one.
    pub(super) fn cancel_branches(&mut self, now: Now, id: Key, except: Option<Key>, out: &mut Vec<Output>) {
        let forwarding = self.servers.get(id).and_then(|server| server.forwarding.as_deref());
        let Some(forwarding) = forwarding else { return };
        let keys: SmallVec<[Key; 8]> = forwarding.branches.iter().flatten().copied().collect();
        for key in keys.into_iter().filter(|key| Some(*key) != except) {
            self.cancel_branch(now, key, out);
        }
    }

    fn cancel_branch(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key).filter(|client| client.progress.is_some()) else { return };
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

    /// Sends the CANCEL of a branch where its INVITE went (RFC 3261 §9.1).
    fn send_cancel(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get(key) else { return };
        let sent = client.machine.as_ref().and_then(transaction::Client::request);
        let Some(sent) = sent.and_then(|sent| Message::parse(sent.to_vec()).ok()) else { return };
        let reliability = self.reliability(client.peer.listener);
        self.scratch.clear();
        message::cancel_for(&sent, &mut self.scratch);
        let bytes = Bytes::copy_from_slice(&self.scratch);
        let times = &self.settings.transaction;
        let machine = NonInviteClient::start(now.mono, bytes, reliability, times, &mut self.effects);
        let limit = now.mono + times.timeout();
        if let Some(client) = self.clients.get_mut(key) {
            client.cancel = Cancel::Running(Box::new(transaction::Client::NonInvite(machine)));
            if let Some(progress) = client.progress.as_deref_mut() {
                progress.limit = Some(limit);
            }
        }
        self.perform_client(key, out);
        self.settle_client(key);
    }

    fn cancel_answered(&mut self, now: Now, key: Key, class: Class, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        match &mut client.cancel {
            Cancel::Running(machine) => {
                machine.handle(now.mono, ClientInput::Answer(class), &self.settings.transaction, &mut self.effects);
                if class != Class::Provisional {
                    client.cancel = Cancel::Done;
                }
                self.effects.clear();
            }
            Cancel::None | Cancel::Wanted | Cancel::Done => {
                out.push(Output::Ignored { why: Ignored::AnswerRepeated });
            }
        }
        self.settle_client(key);
    }

    pub(super) fn client_alarm(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key) else { return };
        client.alarm = None;
        if let Cancel::Running(machine) = &mut client.cancel {
            machine.tick(now.mono, &self.settings.transaction, &mut self.effects);
            if machine.state() == State::Terminated {
                client.cancel = Cancel::Done;
            }
            self.perform_client(key, out);
        }
        let Some(client) = self.clients.get_mut(key) else { return };
        if let Some(machine) = &mut client.machine {
            machine.tick(now.mono, &self.settings.transaction, &mut self.effects);
            if let Some(code) = self.perform_client(key, out).failed {
                return self.branch_gave_up(now, key, code, out);
            }
        }
        self.check_limits(now, key, out);
        self.settle_client(key);
    }

    /// The ring timeout of a branch, Timer C, and the end of the wait for a cancelled one or for the resolver.
    fn check_limits(&mut self, now: Now, key: Key, out: &mut Vec<Output>) {
        let Some(client) = self.clients.get_mut(key) else { return };
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
        (progress.ring_until, progress.limit) = (None, None);
        if !is_sent {
            return self.branch_gave_up(now, key, 408, out);
        }
        // Given up: counted as 408 at once, cancelled, and kept until its transaction ends.
        let was_counted = std::mem::replace(&mut progress.counted, Counted::Yes);
        let started = progress.started;
        let (server, round, branch) = (client.server, client.round, client.branch);
        let (uri, hop) = (client.uri.clone(), Some(client.peer.addr));
        self.cancel_branch(now, key, out);
        if was_counted == Counted::No {
            let is_cancelled = self.servers.get(server).is_some_and(|own| own.cancelled == Cancelled::Yes);
            let code = if is_cancelled { 487 } else { 408 };
            let attempt = Attempt { uri, hop, code, reason: usual(code), message: None, started };
            self.branch_failed(now, server, round, branch, attempt, out);
            self.settle_server(server, out);
        }
    }

    /// A datagram to `peer` came back: branches that have had no answer from there have failed.
    pub(super) fn unreachable(&mut self, now: Now, peer: Peer, out: &mut Vec<Output>) {
        let waits =
            |client: &Client| client.peer == peer && matches!(client.state(), Some(State::Calling | State::Trying));
        let keys: Vec<Key> = self.clients.iter().filter(|(_, client)| waits(client)).map(|(key, _)| key).collect();
        for key in keys {
            let Some(machine) = self.clients.get_mut(key).and_then(|client| client.machine.as_mut()) else { continue };
            machine.handle(now.mono, ClientInput::Unreachable, &self.settings.transaction, &mut self.effects);
            if let Some(code) = self.perform_client(key, out).failed {
                self.branch_gave_up(now, key, code, out);
            }
        }
    }
}
