//! What is done with a request before it has a transaction: who may send it, whether it can be forwarded, and the
//! responses without a transaction (RFC 3261 §16.3, §16.11).

use std::rc::Rc;

use super::hashes::Meant;
use super::settings::Strangers;
use super::sources::Class;
use super::standing::{Denied, Source, Standing};
use super::tables::Server;
use super::types::{Destination, Hop, Ignored, Output, Peer, Way, Ways};
use super::wire::Onwards;
use super::{Event, Query, Stack};
use crate::clock::Now;
use crate::sip::dialog::Dialogs;
use crate::sip::message::{Malformed, Message, Method, Name};
use crate::sip::proxy::{self, Refusal, Routing};
use crate::sip::transaction::Reliability;
use crate::sip::transaction::key::RequestKey;

impl Stack {
    /// Takes a message that came in, from there and then.
    pub(super) fn received(
        &mut self,
        now: Now,
        (peer, arrived): (Peer, Now),
        message: Result<Message, Malformed>,
        dialogs: &dyn Dialogs,
        out: &mut Vec<Output>,
    ) {
        let message = match message {
            Ok(message) => Rc::new(message),
            Err(malformed) => return self.received_malformed(now, peer, &malformed, out),
        };
        if !message.is_request() {
            return self.received_response(now, peer, message, out);
        }
        match message.method() {
            Method::Ack => self.received_ack(now, peer, message, dialogs, out),
            Method::Cancel => self.received_cancel(now, peer, &message, out),
            _ => {
                let key = self.wire.hashes().request_key(&message, Meant::Itself);
                match self.tables.find(&key) {
                    Some(server) => self.repeated(now, server, out),
                    None => self.received_new(now, (peer, arrived), message, key, dialogs, out),
                }
            }
        }
    }

    fn received_malformed(&mut self, now: Now, peer: Peer, malformed: &Malformed, out: &mut Vec<Output>) {
        let request = malformed.partial.as_deref().filter(|partial| partial.is_request());
        match request.filter(|request| request.method() != Method::Ack && request.top_via().is_some()) {
            Some(request) => {
                let reason = malformed.reason;
                let refusal = Refusal { reason: reason.reason.into(), ..Refusal::new(reason.code) };
                self.respond_stateless(now, peer, request, &refusal, out);
            }
            None => out.push(Output::Ignored { why: Ignored::Malformed }),
        }
    }

    fn received_new(
        &mut self,
        now: Now,
        (peer, arrived): (Peer, Now),
        message: Rc<Message>,
        key: RequestKey,
        dialogs: &dyn Dialogs,
        out: &mut Vec<Output>,
    ) {
        let in_dialog = !message.to_tag().is_empty();
        let source = self.source(peer);
        let mut standing = match self.admit(source, &message, dialogs) {
            Ok(standing) => standing,
            Err(denied) => return self.deny(now, peer, &message, &denied, out),
        };
        let class = if standing.is_of_a_call() { Class::Inside } else { Class::New };
        let call = self.wire.hashes().call(message.call_id());
        let inside = (class == Class::Inside).then(|| peer.addr.ip());
        let origin = match self.admission.open(now.mono, (peer.addr.ip(), class), (call, message.method())) {
            Ok(origin) => origin,
            Err(limit) => return self.deny(now, peer, &message, &self.overloaded(limit), out),
        };
        if standing.way == Way::Table {
            // It goes where the table says, and no further than that.
            let all = message.values(Name::Route).count() - usize::from(standing.routing.repaired_uri.is_some());
            standing.routing.own_routes = u16::try_from(all).unwrap_or(u16::MAX);
        }
        let responses_to = self.wire.reply_to(peer, &message);
        let invite = (message.method() == Method::Invite && !in_dialog).then_some(());
        let bye = inside.filter(|_| message.method() == Method::Bye);
        let view = standing.view(message, peer, arrived, self.wire.hashes().tagger());
        let reliability = self.wire.reliability(peer.listener);
        let mut server = Server::new(view, key, responses_to, now.mono, &self.settings, reliability);
        server.origin = origin;
        server.call = Some(call);
        let id = self.tables.add_server(server);
        self.admission.opened(call, invite.map(|()| id), bye);
        self.settle_server(id, out);
        out.push(Output::Request { transaction: super::ServerId(id.to_u64()) });
    }

    /// The rules of RFC 3261 §16.3, and who may come in.
    fn admit(&self, source: Source, message: &Message, dialogs: &dyn Dialogs) -> Result<Standing, Denied> {
        let is_sound =
            || message.check().map_err(|reject| Refusal { reason: reject.reason.into(), ..Refusal::new(reject.code) });
        // What is no request is told so before its dialog is looked for (RFC 3261 §16.3); a stranger is not told.
        if source != Source::Stranger {
            is_sound()?;
        }
        let routing = self.wire.own().routing(message);
        let standing = self.standing(source, message, routing, dialogs)?;
        if source == Source::Stranger {
            is_sound()?;
        }
        proxy::check(message, &self.settings.supported)?;
        if self.wire.hashes().is_loop(message) {
            return Err(Refusal::new(482).into());
        }
        if message.method() == Method::Options && self.is_for_gateway(message, &standing.routing) {
            return Err(proxy::capabilities().into());
        }
        let most = if standing.is_of_a_call() {
            self.settings.transactions_in_dialog_max
        } else {
            self.settings.transactions_max
        };
        if self.tables.is_full(most) {
            return Err(self.overloaded(Ignored::AnsweredStateless(503)));
        }
        Ok(standing)
    }

    /// 503 with the time after which to come again (RFC 3261 §21.5.4).
    fn overloaded(&self, why: Ignored) -> Denied {
        let refusal = Refusal::new(503).with("Retry-After", self.settings.retry_after_s.to_string());
        Denied { refusal, why }
    }

    /// Whoever is in `allow` may send; anybody else only inside a dialog that was record-routed here, and only to the
    /// other end of it. A request that would make a new call needs an allowed source even with a signed Route: that is
    /// no secret to the ends of its call.
    pub(super) fn is_allowed(&self, peer: Peer) -> bool {
        self.source(peer) != Source::Stranger
    }

    /// Whether a request ends here: its Request-URI is ours without a user part, and no Route leads on.
    fn is_for_gateway(&self, message: &Message, routing: &Routing) -> bool {
        routing.repaired_uri.is_none()
            && routing.rest(message).next().is_none()
            && message.uri().is_some_and(|uri| uri.user.is_none() && self.wire.own().is_own(&uri))
    }

    /// Answers without keeping anything. Strangers share one rate limit, and so do those in `allow`, whose addresses may
    /// be forged.
    pub(super) fn respond_stateless(
        &mut self,
        now: Now,
        peer: Peer,
        request: &Message,
        refusal: &Refusal,
        out: &mut Vec<Output>,
    ) {
        let why = Ignored::AnsweredStateless(refusal.code);
        self.deny(now, peer, request, &Denied { refusal: refusal.clone(), why }, out);
    }

    /// The same for a request that may not pass.
    fn deny(&mut self, now: Now, peer: Peer, request: &Message, denied: &Denied, out: &mut Vec<Output>) {
        if self.is_silent(peer, request) {
            return out.push(Output::Ignored { why: Ignored::Forbidden });
        }
        if !self.admission.may_respond(now.mono, self.is_allowed(peer)) {
            return out.push(Output::Ignored { why: Ignored::RateLimited });
        }
        let bytes = self.wire.print_local(request, peer, &denied.refusal);
        out.push(Output::Send { peer: self.wire.reply_to(peer, request), bytes, authority: None });
        out.push(Output::Ignored { why: denied.why });
    }

    /// Whether a stranger learns nothing from here: by datagrams, unless a signed Route value shows that it has a call.
    fn is_silent(&self, peer: Peer, request: &Message) -> bool {
        self.settings.strangers == Strangers::Drop
            && self.wire.reliability(peer.listener) == Reliability::Unreliable
            && !self.is_allowed(peer)
            && self.wire.own().routing(request).direction.is_none()
    }

    /// ACK (RFC 3261 §17.2.1 for a refusal, §16.11 for a 2xx): never answered.
    fn received_ack(
        &mut self,
        now: Now,
        peer: Peer,
        message: Rc<Message>,
        dialogs: &dyn Dialogs,
        out: &mut Vec<Output>,
    ) {
        let key = self.wire.hashes().request_key(&message, Meant::Invite);
        if let Some(server) = self.tables.find(&key)
            && self.acknowledged_refusal(now, server, out)
        {
            return;
        }
        // For a response that was given without a transaction.
        let is_ours = message.to_tag() == self.wire.hashes().local_tag(&message).as_bytes();
        let routing = self.wire.own().routing(&message);
        let standing = self.standing(self.source(peer), &message, routing, dialogs).ok();
        // Without a To tag there is nothing it acknowledges.
        let standing = standing.filter(|own| own.is_of_a_call() && !is_ours && message.check().is_ok());
        let passes = proxy::max_forwards(&message) > 0 && !self.wire.hashes().is_loop(&message);
        let next = standing.filter(|_| passes).and_then(|standing| {
            let next = self.wire.own().next_hop(&message, &standing.routing).ok()?;
            Some((standing, next))
        });
        let Some((standing, next)) = next else { return out.push(Output::Ignored { why: Ignored::AckStray }) };
        let by = next.transport.map_or(Ways::Any, Ways::Only);
        let ways = if proxy::is_sips(standing.routing.target(&message)) { Ways::Secure } else { by };
        let (strict_uri, authority) = (next.strict_uri, proxy::authority_of(&next.hop));
        let ack = super::WaitingAck { peer, message, standing, strict_uri, authority };
        match next.hop {
            Hop::Addr(addr) => self.forward_ack(ack, Destination { addr, transport: next.transport }, out),
            Hop::Name { .. } if self.queries.len() >= self.settings.queries_max => {
                out.push(Output::Ignored { why: Ignored::AckStray });
            }
            Hop::Name { host, port } => {
                let query = self.queries.ask(Query::Ack(Box::new(ack)));
                out.push(Output::Resolve { query, host, port, ways });
            }
        }
    }

    /// Sends the ACK for a 2xx on, without state.
    pub(super) fn forward_ack(&mut self, ack: super::WaitingAck, to: Destination, out: &mut Vec<Output>) {
        let super::WaitingAck { peer, message, standing, strict_uri, authority } = ack;
        let Some(to) = self.wire.usual_peer(to, peer.listener) else {
            return out.push(Output::Ignored { why: Ignored::NoListener });
        };
        let view = standing.view(Rc::clone(&message), peer, Now::default(), self.wire.hashes().tagger());
        let bytes =
            self.wire.print_forward(&view, to, &Onwards { strict_uri: strict_uri.as_ref(), ..Onwards::default() });
        out.push(Output::Send { peer: to, bytes, authority: self.wire.authority_at(to, authority) });
        out.push(Event::Acknowledged { message, peer }.into());
    }

    /// CANCEL (RFC 3261 §9.2, §16.10): answered here, and the branches of its INVITE are cancelled.
    fn received_cancel(&mut self, now: Now, peer: Peer, message: &Rc<Message>, out: &mut Vec<Output>) {
        let own_key = self.wire.hashes().request_key(message, Meant::Itself);
        if let Some(server) = self.tables.find(&own_key) {
            return self.repeated(now, server, out);
        }
        let invite = self.tables.find(&self.wire.hashes().request_key(message, Meant::Invite));
        let is_same_source = |server: &Server| server.peer.addr.ip() == peer.addr.ip();
        let invite = invite.filter(|id| self.tables.server(*id).is_some_and(is_same_source));
        if invite.is_none() && !self.is_allowed(peer) {
            let denied = Denied { refusal: Refusal::new(403), why: Ignored::Forbidden };
            return self.deny(now, peer, message, &denied, out);
        }
        if let Err(reject) = message.check() {
            let refusal = Refusal { reason: reject.reason.into(), ..Refusal::new(reject.code) };
            return self.respond_stateless(now, peer, message, &refusal, out);
        }
        let Some(invite) = invite else {
            return self.respond_stateless(now, peer, message, &Refusal::new(481), out);
        };
        let held = if self.tables.is_full(self.settings.transactions_in_dialog_max) {
            self.respond_stateless(now, peer, message, &Refusal::new(200), out);
            None
        } else {
            Some(self.hold_cancel(now, peer, message, own_key))
        };
        self.cancel_by_caller(now, invite, (message, peer.addr), held, out);
    }
}
