//! The server side of a request: its transaction, what the policy decides of it, and the responses that go upstream.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use smallvec::SmallVec;

use super::tables::{CancelReason, Cancelled, Content, Forwarding, Held, Origin, Server, Stage};
use super::types::{Edits, Ignored, Output, Peer, Plan, RequestView, ResponseId, ServerId, Target, Treatment, Way};
use super::{Event, FinalResponse, NextOn, Settings, Stack, Stages, Withdrawal};
use crate::clock::{Instant, Now};
use crate::sip::message::{Message, Method, Name};
use crate::sip::proxy::{Context, Refusal};
use crate::sip::transaction::key::RequestKey;
use crate::sip::transaction::slab::Key;
use crate::sip::transaction::{self, Class, InviteServer, NonInviteServer, Reliability, ServerInput, State};

impl Server {
    pub(super) fn new(
        view: RequestView,
        key: RequestKey,
        peer: Peer,
        now: Instant,
        settings: &Settings,
        reliability: Reliability,
    ) -> Self {
        let method = view.message.method();
        let times = &settings.transaction;
        let (machine, wait_until) = if method == Method::Invite {
            (transaction::Server::Invite(InviteServer::start(now, reliability, times)), None)
        } else {
            (transaction::Server::NonInvite(NonInviteServer::start(reliability)), Some(now + trying_after(times)))
        };
        Self {
            peer,
            origin: Origin::Peer,
            cancel_reason: CancelReason::None,
            machine,
            key: Some(key),
            method,
            stage: Stage::Deciding,
            cancelled: Cancelled::No,
            wait_until,
            alarm: None,
            next_response: 0,
            running: 0,
            absorbs: false,
            held: SmallVec::new(),
            call: None,
            answered: SmallVec::new(),
            view: Some(Box::new(view)),
            forwarding: None,
        }
    }

    /// Ends the transaction without a response; for a while it still absorbs the request when it comes again.
    fn abandon(&mut self, now: Instant, settings: &Settings) {
        self.stage = Stage::Abandoned;
        self.wait_until = Some(now + settings.transaction.timeout());
        self.view = None;
        self.forwarding = None;
    }

    /// Whether its requests are looked up no more.
    pub(super) fn is_over(&self) -> bool {
        match self.stage {
            Stage::Abandoned => self.wait_until.is_none(),
            Stage::Deciding | Stage::Forwarding | Stage::Answered => self.machine.state() == State::Terminated,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        [self.machine.deadline(), self.wait_until].into_iter().flatten().min()
    }
}

impl Stack {
    /// Sets the timer of a server transaction, or tells that it has ended.
    pub(super) fn settle_server(&mut self, id: Key, out: &mut Vec<Output>) {
        if self.tables.settle_server(id, &mut self.admission) {
            out.push(Event::Terminated { transaction: ServerId(id.to_u64()) }.into());
        }
    }

    pub(super) fn server_alarm(&mut self, now: Now, id: Key, out: &mut Vec<Output>) {
        let Some(server) = self.tables.server_mut(id) else { return };
        server.alarm = None;
        if server.wait_until.is_some_and(|at| at <= now.mono) {
            server.wait_until = None;
            if matches!(server.machine, transaction::Server::NonInvite(_)) {
                self.send_trying(now, id, out);
            }
        }
        let Some(server) = self.tables.server_mut(id) else { return };
        server.machine.tick(now.mono, &self.settings.transaction, &mut self.effects);
        if self.perform(id, out) == Seen::Trying {
            self.send_trying(now, id, out);
        }
        self.settle_server(id, out);
    }

    /// Gives an input to the machine of a server transaction.
    fn feed(&mut self, now: Now, id: Key, input: ServerInput, out: &mut Vec<Output>) -> Seen {
        let Some(server) = self.tables.server_mut(id) else { return Seen::Nothing };
        server.machine.handle(now.mono, input, &self.settings.transaction, &mut self.effects);
        self.perform(id, out)
    }

    /// Does what the machine of a server transaction asks for; what is left to do.
    fn perform(&mut self, id: Key, out: &mut Vec<Output>) -> Seen {
        let mut seen = Seen::Nothing;
        let Some(server) = self.tables.server(id) else { return seen };
        for effect in self.effects.drain(..) {
            match effect {
                transaction::Output::Send(_) if matches!(server.origin, Origin::Gateway | Origin::Probe) => {}
                transaction::Output::Send(bytes) => {
                    out.push(Output::Send { peer: server.peer, bytes, authority: None });
                }
                transaction::Output::Trying => seen = Seen::Trying,
                transaction::Output::Deliver => seen = Seen::Delivered,
                transaction::Output::Absorbed { .. } => seen = Seen::Absorbed,
                // A refusal that nobody acknowledged has done its work; the slot goes by the machine's state.
                transaction::Output::TimedOut(_)
                | transaction::Output::Failed
                | transaction::Output::Acknowledge
                | transaction::Output::Terminated => {}
            }
        }
        seen
    }

    /// The 100 of a request that waits (RFC 3261 §17.2.1; RFC 4320 §4.1 for a non-INVITE one).
    fn send_trying(&mut self, now: Now, id: Key, out: &mut Vec<Output>) {
        let Some(view) = self.tables.view(id) else { return };
        let (message, peer) = (Rc::clone(&view.message), view.peer);
        let bytes = self.wire.print_local(&message, peer, &Refusal::new(100));
        self.send_upstream(now, id, 100, bytes, out);
    }

    /// Sends a response through the machine of its transaction; a 2xx beside a refusal passes without it.
    fn send_upstream(&mut self, now: Now, id: Key, code: u16, bytes: Bytes, out: &mut Vec<Output>) {
        let (Some(server), Some(class)) = (self.tables.server_mut(id), Class::of(code)) else { return };
        server.wait_until = None;
        let peer = server.peer;
        let is_late = class == Class::Success
            && matches!(server.machine, transaction::Server::Invite(_))
            && !matches!(server.machine.state(), State::Proceeding | State::Accepted);
        if is_late {
            // RFC 3261 §16.7 step 5: every 2xx to an INVITE goes upstream, a refusal before it or not. The entry stays
            // for as long as the 2xx may come again.
            server.wait_until = Some(now.mono + self.settings.transaction.timeout());
            out.push(Output::Send { peer, bytes, authority: None });
        } else {
            self.feed(now, id, ServerInput::Respond(class, bytes), out);
        }
    }

    /// A request that came again.
    pub(super) fn repeated(&mut self, now: Now, id: Key, out: &mut Vec<Output>) {
        self.feed(now, id, ServerInput::Repeated, out);
        out.push(Output::Ignored { why: Ignored::RequestRepeated });
    }

    /// An ACK with the branch of an INVITE: whether it belongs to a refusal and ends here. After a 2xx such an ACK is
    /// one of RFC 2543 or of an end that reuses its branch, and goes on.
    pub(super) fn acknowledged_refusal(&mut self, now: Now, id: Key, out: &mut Vec<Output>) -> bool {
        if self.feed(now, id, ServerInput::Ack, out) == Seen::Delivered {
            return false;
        }
        self.settle_server(id, out);
        true
    }

    /// Makes the transaction of a CANCEL, which holds its 200.
    pub(super) fn hold_cancel(
        &mut self,
        now: Now,
        peer: Peer,
        message: &Rc<Message>,
        key: RequestKey,
    ) -> (ServerId, ResponseId) {
        let view = RequestView::of(Rc::clone(message), peer, now);
        let reliability = self.wire.reliability(peer.listener);
        let mut server =
            Server::new(view, key, self.wire.reply_to(peer, message), now.mono, &self.settings, reliability);
        server.stage = Stage::Answered;
        // It is answered sooner than that.
        server.wait_until = None;
        let response = ResponseId(0);
        server.held.push(Box::new(Held { response, code: 200, content: Content::Local(Refusal::new(200)) }));
        let id = self.tables.add_server(server);
        (ServerId(id.to_u64()), response)
    }

    /// The caller has sent CANCEL: no further target is tried, and running branches are cancelled, with the Reason it
    /// gives (RFC 3326 §2). A second one, or one that comes too late, changes nothing, and its 200 leaves at once.
    pub(super) fn cancel_by_caller(
        &mut self,
        now: Now,
        id: Key,
        (cancel, from): (&Message, SocketAddr),
        held: Option<(ServerId, ResponseId)>,
        out: &mut Vec<Output>,
    ) {
        let server = self.tables.server_mut(id);
        let server = server.filter(|own| own.stage != Stage::Answered && own.cancelled == Cancelled::No);
        let Some(server) = server else {
            if let Some((transaction, response)) = held
                && let Some(id) = Key::from_u64(transaction.0)
            {
                self.release(now, id, response, out);
            }
            return;
        };
        server.cancelled = Cancelled::Yes;
        let reasons: Rc<[Box<[u8]>]> = cancel.headers(Name::Reason).take(REASONS_MAX).map(Box::from).collect();
        if !reasons.is_empty() {
            server.cancel_reason = CancelReason::Given(Rc::clone(&reasons));
        }
        let (transaction, why) = (ServerId(id.to_u64()), Withdrawal::of(cancel));
        let event = Event::Cancelled { transaction, why, reasons, from };
        out.push(Output::Event { event, held });
        let Some(forwarding) = server.forwarding.as_deref_mut() else { return };
        forwarding.context.end(crate::sip::proxy::Ending::Cancelled);
        if self.waits_for_breadth(id) {
            return self.hold_local(id, Refusal::new(487), Bytes::new(), out);
        }
        self.cancel_branches(now, id, None, out);
    }

    pub(super) fn decide(&mut self, now: Now, id: Key, treatment: Treatment, out: &mut Vec<Output>) {
        let Some(server) = self.tables.server_mut(id).filter(|server| server.stage == Stage::Deciding) else {
            return out.push(Output::Ignored { why: Ignored::Outdated });
        };
        let cancelled = server.cancelled == Cancelled::Yes;
        match treatment {
            Treatment::Ignore => {
                server.abandon(now.mono, &self.settings);
                self.settle_server(id, out);
            }
            Treatment::Respond { code, reason, retry_after_s, contacts } => {
                let code = if (200..700).contains(&code) { code } else { 500 };
                let mut refusal = Refusal::new(code);
                if !reason.is_empty() {
                    refusal.reason = reason;
                }
                if let Some(seconds) = retry_after_s {
                    refusal = refusal.with("Retry-After", seconds.to_string());
                }
                for contact in contacts {
                    refusal = refusal.with("Contact", contact.to_vec());
                }
                self.hold_local(id, refusal, Bytes::new(), out);
            }
            // The CANCEL came before the decision: there is nothing to forward any more.
            Treatment::Forward(_) | Treatment::FollowRoute { .. } if cancelled => {
                self.hold_local(id, Refusal::new(487), Bytes::new(), out);
            }
            Treatment::Forward(plan) => self.forward(now, id, plan, None, None, out),
            // Nothing leaves by its own word that has no dialog here.
            Treatment::FollowRoute { .. } if server.view.as_deref().is_none_or(|view| view.way == Way::Table) => {
                self.hold_local(id, Refusal::new(404), Bytes::new(), out);
            }
            Treatment::FollowRoute { edits } => self.follow_route(now, id, edits, out),
        }
    }

    pub(super) fn follow_route(&mut self, now: Now, id: Key, edits: Option<Arc<Edits>>, out: &mut Vec<Output>) {
        let Some(view) = self.tables.view(id) else { return };
        let routing = crate::sip::proxy::Routing {
            own_routes: view.own_routes,
            repaired_uri: view.repaired_uri.clone(),
            direction: view.direction,
            word: view.word,
            begun: view.begun,
            side: view.side,
            restored: match &view.way {
                Way::Dialog(routes) => Some(routes.clone()),
                Way::Table | Way::Route => None,
            },
        };
        match self.wire.own().next_hop(&view.message, &routing) {
            Ok(next) => {
                let (hop, transport, next_on) = (next.hop, next.transport, NextOn::default());
                let target = Target { uri: Bytes::new(), hop, transport, ring_timeout: None, next_on, edits };
                let plan = Plan { groups: vec![vec![target]], ..Plan::default() };
                self.forward(now, id, plan, next.strict_uri, next.transport, out);
            }
            Err(none) => self.hold_local(id, Refusal::new(none.code), Bytes::new(), out),
        }
    }

    fn forward(
        &mut self,
        now: Now,
        id: Key,
        mut plan: Plan,
        strict_uri: Option<Bytes>,
        transport: Option<crate::sip::stack::Transport>,
        out: &mut Vec<Output>,
    ) {
        let view = self.tables.view(id);
        if view.is_some_and(|view| crate::sip::proxy::max_breadth(&view.message) == 0) {
            return self.hold_local(id, Refusal::new(440), Bytes::new(), out);
        }
        self.leave_out_down(now, id, &mut plan, transport);
        let context = Context::new(plan, self.settings.branches_max);
        let Some(server) = self.tables.server_mut(id) else { return };
        server.stage = Stage::Forwarding;
        server.forwarding = Some(Box::new(Forwarding {
            context,
            is_asked: false,
            branches: Vec::new(),
            leaving: SmallVec::new(),
            early: SmallVec::new(),
            strict_uri,
            transport,
        }));
        if !self.start_round(now, id, out) {
            // A plan without targets.
            self.hold_local(id, Refusal::new(404), Bytes::new(), out);
        }
    }

    /// A response 101 to 199 of a branch.
    pub(super) fn provisional_upstream(
        &mut self,
        now: Now,
        id: Key,
        branch: u16,
        response: &Rc<Message>,
        out: &mut Vec<Output>,
    ) {
        let Some(server) = self.tables.server(id).filter(|server| server.stage == Stage::Forwarding) else {
            return out.push(Output::Ignored { why: Ignored::ProvisionalLate });
        };
        let target = server.forwarding.as_ref().map_or(0, |forwarding| forwarding.context.target(branch));
        let by = server.peer.listener;
        let bytes = self.wire.print_response(by, response, &[]);
        self.send_upstream(now, id, response.code(), bytes, out);
        self.settle_server(id, out);
        let (transaction, response) = (ServerId(id.to_u64()), Rc::clone(response));
        out.push(Event::Provisional { transaction, response, target }.into());
    }

    /// Holds a response the gateway makes.
    pub(super) fn hold_local(&mut self, id: Key, refusal: Refusal, uri: Bytes, out: &mut Vec<Output>) {
        let (code, reason) = (refusal.code, Bytes::copy_from_slice(refusal.reason.as_bytes()));
        let is_invite = self.tables.server(id).is_some_and(|server| server.method == Method::Invite);
        let content = if code == 408 && !is_invite { Content::Silence } else { Content::Local(refusal) };
        self.hold(
            id,
            FinalResponse { uri, hop: None, code, reason, message: None, stages: Stages::default() },
            content,
            out,
        );
    }

    /// Holds a final response and tells of it. `None` when the transaction is gone or holds too many.
    pub(super) fn hold(
        &mut self,
        id: Key,
        mut response: FinalResponse,
        content: Content,
        out: &mut Vec<Output>,
    ) -> Option<ResponseId> {
        let server = self.tables.server_mut(id).filter(|server| server.stage != Stage::Abandoned)?;
        if server.held.len() >= self.settings.responses_held_max {
            out.push(Output::Ignored { why: Ignored::AnswersTooMany });
            return None;
        }
        let held = ResponseId(server.next_response);
        server.next_response = server.next_response.wrapping_add(1);
        server.stage = Stage::Answered;
        if let Some(view) = server.view.as_deref().filter(|_| response.uri.is_empty()) {
            response.uri = Bytes::copy_from_slice(view.request_uri());
        }
        self.tables.hold(id, Held { response: held, code: response.code, content });
        let transaction = ServerId(id.to_u64());
        out.push(Output::Event { event: Event::Final { transaction, response }, held: Some((transaction, held)) });
        Some(held)
    }

    /// Lets a held response go.
    pub(super) fn release(&mut self, now: Now, id: Key, response: ResponseId, out: &mut Vec<Output>) {
        let Some(held) = self.tables.release(id, response) else {
            return out.push(Output::Ignored { why: Ignored::Outdated });
        };
        let bytes = match &held.content {
            Content::Forwarded { message, challenges } => {
                let by = self.tables.server(id).map(|server| server.peer.listener).unwrap_or_default();
                Some(self.wire.print_response(by, message, challenges))
            }
            Content::Local(refusal) => {
                let view = self.tables.view(id);
                let request = view.map(|view| (Rc::clone(&view.message), view.peer));
                request.map(|(message, peer)| self.wire.print_local(&message, peer, refusal))
            }
            Content::Silence => None,
        };
        match bytes {
            Some(bytes) => self.send_upstream(now, id, held.code, bytes, out),
            None => {
                if let Some(server) = self.tables.server_mut(id) {
                    server.abandon(now.mono, &self.settings);
                }
            }
        }
        if let Some(server) = self.tables.server_mut(id).filter(|server| server.held.is_empty()) {
            server.view = None;
            server.forwarding = None;
        }
        self.settle_server(id, out);
    }

    /// A 2xx that came again: forwarded once its first copy was released.
    pub(super) fn repeat_upstream(&mut self, id: Key, response: ResponseId, message: &Message, out: &mut Vec<Output>) {
        let Some(server) = self.tables.server(id) else {
            return out.push(Output::Ignored { why: Ignored::AnswerStray });
        };
        if server.held.iter().any(|held| held.response == response) {
            return out.push(Output::Ignored { why: Ignored::AnswerRepeated });
        }
        let peer = server.peer;
        out.push(Output::Send { peer, bytes: self.wire.print_response(peer.listener, message, &[]), authority: None });
    }
}

/// Reason lines of a CANCEL that are passed on.
const REASONS_MAX: usize = 8;

/// What the machine of a server transaction left to do.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Seen {
    Nothing,
    Trying,
    Delivered,
    Absorbed,
}

/// When a request other than INVITE gets its 100 (RFC 4320 §4.1): when the pauses of the other side's Timer E have
/// grown to T2, 3.5 s by default.
fn trying_after(times: &transaction::Settings) -> Duration {
    let (mut pause, mut after) = (times.t1.max(Duration::from_millis(1)), Duration::ZERO);
    while pause < times.t2 {
        after += pause;
        pause *= 2;
    }
    after.max(times.t1)
}
