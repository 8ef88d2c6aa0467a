//! What responses mean for their branch, and branches for the whole: provisional responses and 2xx go upstream, refusals and
//! silence fail the branch, the last failure of a round starts the next one or gives the caller the best response (RFC 3261
//! §16.7).

use std::rc::Rc;

use bytes::Bytes;

use super::Stack;
use super::event::{Event, FinalResponse};
use super::tables::{Cancel, Cancelled, Client, Content, Counted, Origin, Place, Progress, Stage};
use super::types::{Ignored, Onward, Output, Peer, Plan, ServerId};
use crate::clock::Now;
use crate::sip::message::{Message, Method, Name};
use crate::sip::proxy::{self, Ending, Refusal};
use crate::sip::transaction::slab::Key;
use crate::sip::transaction::{self, Class, ClientInput};

impl Stack {
    /// Takes a response that came in.
    pub(super) fn received_response(&mut self, now: Now, peer: Peer, mut message: Rc<Message>, out: &mut Vec<Output>) {
        let via = message.top_via();
        let key = via.and_then(|via| self.wire.hashes().read_branch(&via, &message)).and_then(|branch| branch.client);
        let Some((key, client)) = key.and_then(|key| Some((key, self.tables.client(key)?))) else {
            return self.stray(message, out);
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
        let asked = client.peer;
        self.note_response(asked, out);
        if is_cancel {
            return self.cancel_answered(now, key, class, out);
        }
        if class != Class::Refusal {
            self.mend_routes(key, &mut message, out);
        }
        let Some(machine) = self.tables.client_mut(key).and_then(|client| client.machine.as_mut()) else { return };
        machine.handle(now.mono, ClientInput::Response(class), &self.settings.transaction, &mut self.effects);
        let told = self.perform_client(key, out);
        if told.acknowledge {
            self.acknowledge(now, key, &message, out);
        }
        if told.deliver {
            match class {
                Class::Provisional => self.branch_provisional(now, key, &message, out),
                Class::Success => self.branch_succeeded(now, key, peer, message, out),
                Class::Refusal => self.branch_refused(now, key, message, out),
            }
        }
        self.tables.settle_client(key);
    }

    /// The ACK for a refusal, hop by hop (RFC 3261 §17.1.1.3).
    fn acknowledge(&mut self, now: Now, key: Key, response: &Message, out: &mut Vec<Output>) {
        let Some(machine) = self.tables.client_mut(key).and_then(|client| client.machine.as_mut()) else { return };
        let Some(sent) = machine.request().and_then(|sent| Message::parse(sent.to_vec()).ok()) else { return };
        let ack = ClientInput::Ack(self.wire.print_ack(&sent, response));
        machine.handle(now.mono, ack, &self.settings.transaction, &mut self.effects);
        self.perform_client(key, out);
    }

    fn branch_provisional(&mut self, now: Now, key: Key, response: &Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        let Place { server, branch, .. } = client.place;
        let Some(progress) = client.progress.as_deref_mut() else { return };
        if response.code() > 100 && progress.limit.is_some() && matches!(client.cancel, Cancel::None) {
            progress.limit = Some(now.mono + self.settings.timer_c);
        }
        if (180..190).contains(&response.code()) {
            progress.times.rang.get_or_insert(now.mono);
        }
        let is_counted = progress.counted == Counted::Yes;
        if matches!(client.cancel, Cancel::Wanted) {
            self.send_cancel(now, key, out);
        }
        if response.code() == 100 {
            return;
        }
        self.note_early(server, response);
        if is_counted {
            return out.push(Output::Ignored { why: Ignored::ProvisionalLate });
        }
        self.provisional_upstream(now, server, branch, response, out);
    }

    /// A 1xx with a To tag makes an early dialog (RFC 3261 §12.1).
    fn note_early(&mut self, server: Key, response: &Message) {
        let (tag, most) = (response.to_tag(), self.settings.responses_held_max);
        if tag.is_empty() {
            return;
        }
        let tag = self.wire.hashes().tag_hash(tag);
        let forwarding = self.tables.forwarding_mut(server);
        if let Some(early) = forwarding.map(|own| &mut own.early).filter(|early| !early.contains(&tag))
            && early.len() < most
        {
            early.push(tag);
        }
    }

    /// A 2xx: upstream, each one (RFC 3261 §16.7 steps 5 and 10); the other branches are cancelled.
    fn branch_succeeded(&mut self, now: Now, key: Key, peer: Peer, response: Rc<Message>, out: &mut Vec<Output>) {
        let tag = self.wire.hashes().tag_hash(response.to_tag());
        let Some(client) = self.tables.client_mut(key) else { return };
        let server = client.place.server;
        if let Some((_, held)) = client.responses.iter().find(|(seen, _)| *seen == tag) {
            let held = *held;
            return self.repeat_upstream(server, held, &response, out);
        }
        if client.responses.len() >= self.settings.responses_held_max {
            return out.push(Output::Ignored { why: Ignored::AnswersTooMany });
        }
        let (uri, progress) = (client.uri.clone(), client.progress.take());
        let Some((attempts, given_up)) = self.tables.won(now.mono, server, key, progress.is_some()) else {
            return out.push(Output::Ignored { why: Ignored::AnswerStray });
        };
        if !attempts.is_empty() || !given_up.is_empty() {
            out.push(Event::Lost { transaction: ServerId(server.to_u64()), attempts, given_up }.into());
        }
        let stages = progress.map(|own| own.times.stages(now.mono)).unwrap_or_default();
        let attempt = FinalResponse::of(uri, Some(peer.addr), Rc::clone(&response), stages);
        let content = Content::Forwarded { message: response, challenges: Vec::new() };
        if let Some(held) = self.hold(server, attempt, content, out)
            && let Some(client) = self.tables.client_mut(key)
        {
            client.responses.push((tag, held));
        }
        self.cancel_branches(now, server, Some(key), out);
    }

    fn branch_refused(&mut self, now: Now, key: Key, response: Rc<Message>, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        let Some(mut progress) = client.progress.take() else { return };
        progress.answered();
        let hop = client.peer.map(|peer| peer.addr);
        let stages = progress.times.stages(now.mono);
        let attempt = FinalResponse::of(std::mem::take(&mut client.uri), hop, response, stages);
        let (place, by) = (client.place, client.peer.map(|peer| peer.listener).unwrap_or_default());
        self.follow_redirect(place, by, &attempt);
        self.branch_over(now, place, progress, attempt, out);
    }

    /// The branch has no response and gets none: 408 for silence, 503 when it could not be sent, 487 when it was
    /// cancelled before it was sent. Its transaction, if it goes on at all, is no matter any more.
    pub(super) fn branch_gave_up(&mut self, now: Now, key: Key, code: u16, out: &mut Vec<Output>) {
        let Some(client) = self.tables.client_mut(key) else { return };
        let (place, progress, peer) = (client.place, client.progress.take(), client.peer);
        let uri = std::mem::take(&mut client.uri);
        self.tables.remove_client(key);
        let Some(progress) = progress else { return };
        let is_cancelled = self.tables.is_cancelled(place.server);
        let code = if is_cancelled { 487 } else { code };
        let stages = progress.times.stages(now.mono);
        let attempt = FinalResponse::instead(uri, peer.map(|peer| peer.addr), code, stages);
        self.branch_over(now, place, progress, attempt, out);
    }

    /// A branch is over without a 2xx: another address of its target is tried (RFC 3263 §4.3), or it has failed.
    fn branch_over(
        &mut self,
        now: Now,
        place: Place,
        mut progress: Box<Progress>,
        mut attempt: FinalResponse,
        out: &mut Vec<Output>,
    ) {
        let Some(own) = self.tables.server_mut(place.server) else { return };
        let is_open = own.stage == Stage::Forwarding && own.cancelled == Cancelled::No;
        let is_dead = attempt.code == 503 || (attempt.code == 408 && attempt.message.is_none());
        // Whoever sent a request other than INVITE has given it up when its time is over (RFC 4320 §4.2).
        let arrived = own.view.as_deref().map_or(now.mono, |view| view.arrived.mono);
        let is_open =
            is_open && (own.method == Method::Invite || now.mono.since(arrived) < self.settings.transaction.timeout());
        if is_open && is_dead && progress.counted == Counted::No && !progress.further.is_empty() {
            progress.limit = None;
            let key = self.tables.add_client(Client::new(place, attempt.uri, progress));
            return self.send_branch(now, key, out);
        }
        own.running -= 1;
        if progress.counted == Counted::No {
            if attempt.uri.is_empty()
                && let Some(view) = own.view.as_deref()
            {
                attempt.uri = Bytes::copy_from_slice(view.request_uri());
            }
            self.branch_failed(now, place, attempt, out);
        } else {
            self.resume_rounds(now, place.server, out);
        }
        self.settle_server(place.server, out);
    }

    /// A branch that was given up has ended: a round that waited for its share of the Max-Breadth starts.
    fn resume_rounds(&mut self, now: Now, id: Key, out: &mut Vec<Output>) {
        if self.waits_for_breadth(id) {
            self.next_round(now, id, out);
        }
    }

    /// Whether a round is to start as soon as there is Max-Breadth for it.
    pub(super) fn waits_for_breadth(&self, id: Key) -> bool {
        let server = self.tables.server(id).filter(|server| server.stage == Stage::Forwarding);
        server.and_then(|own| own.forwarding.as_deref()).is_some_and(|own| own.context.is_round_over() && !own.is_asked)
    }

    /// Tells the response context of a failed branch, and does what follows.
    pub(super) fn branch_failed(&mut self, now: Now, place: Place, attempt: FinalResponse, out: &mut Vec<Output>) {
        let id = place.server;
        let Some(server) = self.tables.server_mut(id) else { return };
        if server.stage == Stage::Answered {
            // A round that fails is over before it is answered: this is one that has lost to a 2xx.
            if server.method == Method::Invite {
                let transaction = ServerId(id.to_u64());
                out.push(Event::Lost { transaction, attempts: vec![attempt], given_up: Vec::new() }.into());
            }
            return;
        }
        let is_own = matches!(server.origin, Origin::Gateway | Origin::Probe);
        let Some(forwarding) = server.forwarding.as_deref_mut() else { return };
        if forwarding.context.round() != place.round {
            return;
        }
        match forwarding.context.failed(place.branch, attempt) {
            proxy::Progress::Waiting => {}
            proxy::Progress::CancelOthers => self.cancel_branches(now, id, None, out),
            proxy::Progress::RoundOver(_) if forwarding.context.ending() == Ending::Won => {}
            proxy::Progress::RoundOver(_) if is_own => self.next_round(now, id, out),
            proxy::Progress::RoundOver(round) => {
                forwarding.is_asked = true;
                out.push(Event::RoundFailed { transaction: ServerId(id.to_u64()), round }.into());
            }
        }
    }

    /// The driver says how a request goes on whose round has failed.
    pub(super) fn proceed(&mut self, now: Now, id: Key, onward: Onward, out: &mut Vec<Output>) {
        let server = self.tables.server_mut(id).filter(|server| server.stage == Stage::Forwarding);
        let forwarding = server.and_then(|server| server.forwarding.as_deref_mut());
        if !forwarding.is_some_and(|own| std::mem::take(&mut own.is_asked)) {
            return out.push(Output::Ignored { why: Ignored::Outdated });
        }
        match onward {
            Onward::AsPlanned => {}
            Onward::Nowhere => self.replan(id, Plan::default()),
            Onward::Respond { code, reason } => {
                let forwarding = self.tables.forwarding(id);
                if forwarding.is_some_and(|forwarding| forwarding.context.may_go_on()) {
                    let mut refusal = Refusal::new(if (300..700).contains(&code) { code } else { 500 });
                    if !reason.is_empty() {
                        refusal.reason = reason;
                    }
                    self.replan(id, Plan::default());
                    self.hold_local(id, refusal, Bytes::new(), out);
                    return self.settle_server(id, out);
                }
            }
            Onward::To(mut plan) => {
                self.leave_out_down(now, id, &mut plan, None);
                self.replan(id, plan);
            }
        }
        self.next_round(now, id, out);
        self.settle_server(id, out);
    }

    /// Other targets take the place of those that are left; they are reached as the table says, not by Route.
    fn replan(&mut self, id: Key, plan: Plan) {
        if let Some(forwarding) = self.tables.forwarding_mut(id) {
            forwarding.context.replace(plan);
            (forwarding.strict_uri, forwarding.transport) = (None, None);
        }
    }

    /// The next round starts, or the best response becomes the caller's if there is none.
    fn next_round(&mut self, now: Now, id: Key, out: &mut Vec<Output>) {
        if !self.start_round(now, id, out) {
            self.respond_best(id, out);
        }
    }

    /// All rounds have failed: the best response is the caller's (RFC 3261 §16.7 step 6).
    pub(super) fn respond_best(&mut self, id: Key, out: &mut Vec<Output>) {
        let forwarding = self.tables.forwarding(id);
        let Some((best, challenges)) = forwarding.and_then(|forwarding| forwarding.context.best()) else {
            return self.hold_local(id, Refusal::new(500), Bytes::new(), out);
        };
        let best = best.clone();
        match &best.message {
            Some(message) if best.code != 503 => {
                let content = Content::Forwarded { message: Rc::clone(message), challenges };
                self.hold(id, best, content, out);
            }
            _ => self.hold_local(id, Refusal::new(if best.code == 503 { 500 } else { best.code }), best.uri, out),
        }
    }
}
