//! What a message says of the request that it belongs to, told to the engine as the SIP machine of a gateway would tell it.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;

use super::exchanges::{ANSWERS_MAX, BRANCHES_MAX, Branch, Exchange, Key, Phase};
use super::hops::Side;
use super::order::{REQUEST_AHEAD, after};
use super::{Count, INVITE_WAIT, Mirror, REFUSAL_WAIT, REQUEST_WAIT, Seen, virtual_now};
use crate::accounting::{Input, Outcome, Purpose, Sign};
use crate::clock::{Now, Timestamp};
use crate::sip::dialog::Course;
use crate::sip::message::{Message, Method, Name};
use crate::sip::stack::{Event, FinalResponse, Listener, ListenerId, Peer, RequestView, Round, Stages, Withdrawal};

impl Mirror {
    /// Takes one message, in the order of their times.
    pub(super) fn take(&mut self, seen: &Seen, out: &mut Outcome) {
        if after(seen.at, REQUEST_AHEAD) < self.taken {
            self.count(Count::Late);
        }
        self.pass(seen.at, out);
        self.taken = self.taken.max(seen.at);
        let side = Side::of(seen.hop, &self.settings.proxy);
        match side {
            Side::Received | Side::Unsaid => self.count(Count::Received),
            Side::Sent => self.count(Count::Sent),
            Side::Inside => return self.count(Count::Inside),
            Side::Elsewhere => return self.count(Count::Elsewhere),
        }
        let key = Key::of(&seen.message);
        match seen.message.method() {
            _ if !seen.message.is_request() => self.responded(seen, side, key, out),
            Method::Ack => self.acknowledged(seen, side, key, out),
            Method::Cancel => self.cancelled(seen, side, key, out),
            _ => self.requested(seen, side, key, out),
        }
    }

    /// Lets the time of the messages pass.
    pub(super) fn pass(&mut self, clock: Timestamp, out: &mut Outcome) {
        while let Some((key, exchange)) = self.exchanges.pop_due(clock) {
            self.expired(key, exchange, out);
        }
        let now = virtual_now(clock);
        if self.engine.deadline().is_some_and(|due| due <= now.mono) {
            self.engine.tick(now, out);
            self.answer_questions(now, Sign::Silent, out);
        }
    }

    fn requested(&mut self, seen: &Seen, side: Side, key: Key, out: &mut Outcome) {
        if let Some(exchange) = self.exchanges.take(key) {
            return self.seen_again(seen, side, key, exchange, out);
        }
        let method = seen.message.method();
        let is_followed = matches!(method, Method::Invite | Method::Bye | Method::Update);
        if !is_followed && !self.engine.records_method(seen.message.method_text()) {
            return self.count(Count::Unwanted);
        }
        if self.exchanges.len() >= self.settings.requests_max {
            return self.count(Count::Full);
        }
        let mut peer = self.peer(seen);
        if side == Side::Sent {
            self.count(Count::OneSided);
            // Who the proxy had it from stands below its own Via.
            let via = seen.message.second_via();
            let from = via.and_then(|via| Some((via.received_ip().or_else(|| via.ip())?, via.port_or_default())));
            peer.addr = from.map_or(peer.addr, Into::into);
        }
        let now = virtual_now(seen.at);
        let view = RequestView::of(Rc::clone(&seen.message), peer, now);
        let course = if view.in_dialog { Course::Dialog } else { Course::Outside };
        let view = RequestView { course, ..view };
        let id = self.exchanges.id();
        let exchange = Exchange {
            id,
            hop: seen.hop,
            phase: Phase::Open,
            branches: Vec::new(),
            round: 0,
            tags: Default::default(),
            is_cancelled: false,
            refusal: None,
            early: None,
            due: after(seen.at, wait_of(method)),
            view,
        };
        let request = Input::Request {
            transaction: id,
            view: &exchange.view,
            marks: self.settings.marks,
            account: None,
            values: None,
        };
        self.tell(now, request, Sign::Alive, out);
        let mut exchange = Box::new(exchange);
        if side == Side::Sent {
            add_branch(&mut exchange, seen);
        }
        self.exchanges.put(key, exchange);
    }

    /// A copy of a request that is followed: the same, or what the proxy sends of it.
    fn seen_again(&mut self, seen: &Seen, side: Side, key: Key, mut exchange: Box<Exchange>, out: &mut Outcome) {
        let is_sent = match side {
            Side::Unsaid => seen.hop.from.ip() == exchange.hop.to.ip() && !exchange.hop.is_same(seen.hop),
            side => side == Side::Sent,
        };
        let via = branch_value(&seen.message);
        if !is_sent || exchange.branches.iter().any(|own| *own.via == *via) {
            self.count(Count::Repeated);
        } else if exchange.phase == Phase::Open {
            if exchange.is_round_over() {
                self.round_failed(seen.at, &mut exchange, None, out);
            }
            add_branch(&mut exchange, seen);
            exchange.refusal = None;
        }
        if exchange.phase == Phase::Open {
            exchange.due = exchange.due.max(after(seen.at, wait_of(exchange.view.message.method())));
        }
        self.exchanges.put(key, exchange);
    }

    fn responded(&mut self, seen: &Seen, side: Side, key: Key, out: &mut Outcome) {
        let Some(mut exchange) = self.exchanges.take(key) else {
            // One to a CANCEL is nobody's.
            let is_followed = !self.is_unwanted(&seen.message);
            return self.count(if is_followed { Count::Stray } else { Count::Unwanted });
        };
        if seen.message.cseq().1 == b"CANCEL" {
            return self.exchanges.put(key, exchange);
        }
        let is_to_caller = match side {
            Side::Unsaid => exchange.hop.is_back(seen.hop),
            side => side == Side::Sent,
        };
        if exchange.phase == Phase::Open {
            exchange.due = exchange.due.max(after(seen.at, wait_of(exchange.view.message.method())));
        }
        match seen.message.code() {
            ..=100 => {}
            101..=199 => self.provisional(seen, is_to_caller, &mut exchange, out),
            200..=299 => self.succeeded(seen, is_to_caller, &mut exchange, out),
            300.. => self.refused(seen, is_to_caller, &mut exchange, out),
        }
        let call = exchange.view.message.call();
        let has_started = exchange.phase == Phase::Answered;
        self.exchanges.put(key, exchange);
        if has_started {
            self.hang_up_early(seen.at, call, out);
        }
    }

    /// Whether nobody has recorded the request of a response.
    fn is_unwanted(&self, response: &Message) -> bool {
        let is_followed = matches!(response.method(), Method::Invite | Method::Bye | Method::Update);
        !is_followed && !self.engine.records_method(response.cseq().1)
    }

    fn provisional(&mut self, seen: &Seen, is_to_caller: bool, exchange: &mut Exchange, out: &mut Outcome) {
        if exchange.phase != Phase::Open {
            return self.count(Count::Repeated);
        }
        if !is_to_caller {
            let ms = exchange.ms(seen.at);
            if let Some(branch) = exchange.branch_of(branch_value(&seen.message))
                && (180..=189).contains(&seen.message.code())
            {
                branch.stages.rang_ms.get_or_insert(ms);
            }
            // Another target has been tried.
            exchange.refusal = None;
        }
        let event = Event::Provisional { transaction: exchange.id, response: Rc::clone(&seen.message), target: 0 };
        self.tell(virtual_now(seen.at), Input::Event(&event), Sign::Alive, out);
    }

    fn succeeded(&mut self, seen: &Seen, is_to_caller: bool, exchange: &mut Exchange, out: &mut Outcome) {
        let is_invite = exchange.view.message.method() == Method::Invite;
        let is_told = exchange.tags.iter().any(|tag| **tag == *seen.message.to_tag());
        let has_room = exchange.tags.is_empty() || (is_invite && exchange.tags.len() < ANSWERS_MAX);
        if exchange.phase == Phase::Over || is_told || !has_room {
            return self.count(Count::Repeated);
        }
        let response = self.final_response(seen, is_to_caller, exchange);
        self.answer(seen.at, exchange, response, out);
    }

    /// Tells a 2xx.
    fn answer(&mut self, at: Timestamp, exchange: &mut Exchange, response: FinalResponse, out: &mut Outcome) {
        let tag = response.message.as_ref().map_or(&b""[..], |message| message.to_tag());
        exchange.tags.push(tag.into());
        let method = exchange.view.message.method();
        if method == Method::Invite && exchange.phase == Phase::Open {
            let running = exchange.branches.iter().skip(exchange.round).filter(|own| own.refusal.is_none());
            let won = (&response.uri, response.hop);
            let given_up: Vec<_> = running.map(Branch::outcome).filter(|own| (&own.uri, own.hop) != won).collect();
            let attempts = exchange.refused();
            if !attempts.is_empty() || !given_up.is_empty() {
                let lost = Event::Lost { transaction: exchange.id, attempts, given_up };
                self.tell(virtual_now(at), Input::Event(&lost), Sign::Alive, out);
            }
        }
        exchange.phase = if method == Method::Invite { Phase::Answered } else { Phase::Over };
        exchange.due = after(at, REFUSAL_WAIT);
        self.finish_with(at, exchange, response, out);
    }

    fn refused(&mut self, seen: &Seen, is_to_caller: bool, exchange: &mut Exchange, out: &mut Outcome) {
        if exchange.phase != Phase::Open {
            return self.count(Count::Repeated);
        }
        let response = self.final_response(seen, is_to_caller, exchange);
        if is_to_caller {
            return self.refuse(seen.at, exchange, response, out);
        }
        let (ms, message) = (exchange.ms(seen.at), Rc::clone(&seen.message));
        if let Some(branch) = exchange.branch_of(branch_value(&seen.message)) {
            branch.stages.ended_ms = ms;
            branch.refusal.get_or_insert(message);
        }
        // The lower code counts, but for 6xx (RFC 3261 §16.7).
        let rank = |code: u16| if code >= 600 { 0 } else { code };
        if exchange.refusal.as_ref().is_none_or(|own| rank(response.code) < rank(own.code)) {
            exchange.refusal = Some(response);
        }
        exchange.due = after(seen.at, REFUSAL_WAIT);
    }

    /// Tells a final response of 300 and more.
    fn refuse(&mut self, at: Timestamp, exchange: &mut Exchange, response: FinalResponse, out: &mut Outcome) {
        let of_branch = exchange.refused().into_iter().find(|own| own.code == response.code);
        self.round_failed(at, exchange, Some(response.code), out);
        exchange.phase = Phase::Over;
        exchange.refusal = None;
        exchange.due = after(at, REFUSAL_WAIT);
        let response = of_branch.unwrap_or(response);
        self.finish_with(at, exchange, response, out);
    }

    /// Tells that nobody has heard a final response: what the SIP machine makes of a target that gives none.
    fn unanswered(&mut self, at: Timestamp, exchange: &mut Exchange, out: &mut Outcome) {
        let nothing = FinalResponse {
            uri: Bytes::new(),
            hop: None,
            code: 408,
            reason: Bytes::from_static(b"No final response was heard"),
            message: None,
            stages: Stages { ended_ms: exchange.ms(at), ..Stages::default() },
        };
        let branch = exchange.branches.iter().skip(exchange.round).find(|own| own.refusal.is_none());
        let attempt = match branch {
            Some(own) => FinalResponse {
                uri: own.uri.clone(),
                hop: Some(own.to),
                stages: Stages { ended_ms: nothing.stages.ended_ms, ..own.stages },
                ..nothing.clone()
            },
            None => nothing.clone(),
        };
        let round = Round { attempts: vec![attempt], best: 0, more: false, redirected: false };
        let event = Event::RoundFailed { transaction: exchange.id, round };
        self.tell(virtual_now(at), Input::Event(&event), Sign::Alive, out);
        self.refuse(at, exchange, nothing, out);
    }

    /// Tells a final response, and notes a BYE that has ended no call.
    fn finish_with(&mut self, at: Timestamp, exchange: &mut Exchange, response: FinalResponse, out: &mut Outcome) {
        let before = out.len();
        let is_bye = exchange.view.message.method() == Method::Bye;
        let sign = if is_bye { Sign::Silent } else { Sign::Alive };
        let event = Event::Final { transaction: exchange.id, response };
        self.tell(virtual_now(at), Input::Event(&event), sign, out);
        if let Event::Final { response, .. } = event
            && is_bye
            && out.len() == before
        {
            exchange.early = Some(response);
        }
    }

    /// A round of an initial INVITE has failed: with `code` the caller gets that, else another round follows.
    fn round_failed(&mut self, at: Timestamp, exchange: &mut Exchange, code: Option<u16>, out: &mut Outcome) {
        let attempts = exchange.refused();
        exchange.round = exchange.branches.len();
        if attempts.is_empty() || exchange.view.message.method() != Method::Invite {
            return;
        }
        let lowest = (0..attempts.len()).min_by_key(|at| attempts[*at].code).unwrap_or(0);
        let best = attempts.iter().position(|own| Some(own.code) == code).unwrap_or(lowest);
        let redirected = code.is_none() && (300..=399).contains(&attempts[best].code);
        let round = Round { attempts, best, more: code.is_none(), redirected };
        let event = Event::RoundFailed { transaction: exchange.id, round };
        self.tell(virtual_now(at), Input::Event(&event), Sign::Alive, out);
    }

    /// The response of a message, with the target that it is from.
    fn final_response(&self, seen: &Seen, is_to_caller: bool, exchange: &mut Exchange) -> FinalResponse {
        let ended_ms = exchange.ms(seen.at);
        let (reason, message) = (Bytes::copy_from_slice(seen.message.reason()), Some(Rc::clone(&seen.message)));
        let code = seen.message.code();
        // A 2xx that goes to the caller is of the only target there is; a refusal may be the proxy's own.
        let via = if is_to_caller { b"" } else { branch_value(&seen.message) };
        let branch = exchange.branch_of(via).filter(|_| !is_to_caller || code < 300);
        let (uri, hop, stages) = match branch {
            Some(own) => (own.uri.clone(), Some(own.to), own.stages),
            None => (Bytes::new(), None, Stages::default()),
        };
        let hop = if is_to_caller { hop } else { Some(seen.hop.from) };
        FinalResponse { uri, hop, code, reason, message, stages: Stages { ended_ms, ..stages } }
    }

    fn acknowledged(&mut self, seen: &Seen, side: Side, key: Key, out: &mut Outcome) {
        let ack = &seen.message;
        let now = virtual_now(seen.at);
        let mut call = None;
        if let Some(mut exchange) = self.exchanges.take(key) {
            let is_of_refusal = exchange.is_refusal_acknowledged(ack, side);
            match exchange.refusal.take_if(|_| is_of_refusal && side != Side::Sent) {
                Some(refusal) => {
                    self.count(Count::OneSided);
                    self.refuse(seen.at, &mut exchange, refusal, out);
                }
                None if exchange.phase == Phase::Open && !is_of_refusal => {
                    if let Some(response) = inferred(&exchange, ack) {
                        self.count(Count::Inferred);
                        self.answer(seen.at, &mut exchange, response, out);
                        call = Some(exchange.view.message.call());
                    }
                }
                None => {}
            }
            let is_told = exchange.phase != Phase::Answered || is_of_refusal;
            self.exchanges.put(key, exchange);
            if is_told {
                return;
            }
        }
        if let Some(call) = call {
            self.hang_up_early(seen.at, call, out);
        }
        let event = Event::Acknowledged { message: Rc::clone(ack), peer: self.peer(seen) };
        self.tell(now, Input::Event(&event), Sign::Alive, out);
    }

    fn cancelled(&mut self, seen: &Seen, side: Side, key: Key, out: &mut Outcome) {
        let Some(mut exchange) = self.exchanges.take(key) else { return self.count(Count::Stray) };
        // What the proxy sends by itself to those who lost is none of the caller's.
        let is_of_caller = match side {
            Side::Unsaid => exchange.hop.is_same(seen.hop),
            side => side == Side::Received,
        };
        if !is_of_caller || exchange.is_cancelled || exchange.phase != Phase::Open {
            self.exchanges.put(key, exchange);
            return;
        }
        exchange.is_cancelled = true;
        let event = Event::Cancelled {
            transaction: exchange.id,
            why: Withdrawal::of(&seen.message),
            reasons: seen.message.headers(Name::Reason).map(Into::into).collect(),
            from: seen.hop.from,
        };
        self.exchanges.put(key, exchange);
        self.tell(virtual_now(seen.at), Input::Event(&event), Sign::Alive, out);
    }

    /// A call has begun whose BYE was heard before: it ends then.
    fn hang_up_early(&mut self, at: Timestamp, call: crate::ids::CallHash, out: &mut Outcome) {
        let Some(key) = self.exchanges.take_early(call) else { return };
        let Some(mut exchange) = self.exchanges.take(key) else { return };
        if let Some(response) = exchange.early.take() {
            exchange.id = self.exchanges.id();
            let now = virtual_now(at);
            let (transaction, view) = (exchange.id, &exchange.view);
            let request = Input::Request { transaction, view, marks: self.settings.marks, account: None, values: None };
            self.tell(now, request, Sign::Silent, out);
            self.finish_with(at, &mut exchange, response, out);
        }
        self.exchanges.put(key, exchange);
    }

    /// Nothing has come for a request for so long that nothing more is to be expected.
    fn expired(&mut self, key: Key, mut exchange: Box<Exchange>, out: &mut Outcome) {
        let at = exchange.due;
        if exchange.phase == Phase::Open {
            match exchange.refusal.take() {
                Some(refusal) => {
                    self.count(Count::OneSided);
                    self.refuse(at, &mut exchange, refusal, out);
                }
                None => {
                    self.count(Count::Unanswered);
                    // Of what goes on anyway nothing follows from silence.
                    let is_change = exchange.view.in_dialog && exchange.view.message.method() != Method::Bye;
                    if !is_change {
                        self.unanswered(at, &mut exchange, out);
                    }
                    exchange.phase = Phase::Over;
                    exchange.due = after(at, REFUSAL_WAIT);
                }
            }
            return self.exchanges.put(key, exchange);
        }
        if exchange.early.is_some() {
            self.count(Count::Unknown);
        }
        let event = Event::Terminated { transaction: exchange.id };
        self.tell(virtual_now(at), Input::Event(&event), Sign::Alive, out);
    }

    fn tell(&mut self, now: Now, input: Input<'_>, sign: Sign, out: &mut Outcome) {
        self.engine.handle(now, input, out);
        self.answer_questions(now, sign, out);
    }

    /// What the engine would ask the ends of calls is answered here, for nobody is asked.
    fn answer_questions(&mut self, now: Now, sign: Sign, out: &mut Outcome) {
        while self.engine.has_outgoing() {
            for outgoing in self.engine.take_outgoing() {
                if outgoing.purpose == Purpose::Probe {
                    self.engine.handle(now, Input::Probed { key: outgoing.key, to: outgoing.to, sign }, out);
                }
            }
        }
    }

    /// Who sent a message, and where the proxy has it from.
    fn peer(&mut self, seen: &Seen) -> Peer {
        let listener = Listener { transport: seen.transport, local: seen.hop.to };
        let known = self.places.iter().position(|own| *own == listener);
        let place = known.or_else(|| {
            (self.places.len() < PLACES_MAX).then(|| {
                self.places.push(listener);
                self.settings.accounting.listeners.clone_from(&self.places);
                self.engine.configure(self.settings.accounting.clone());
                self.places.len() - 1
            })
        });
        let listener = place.and_then(|place| u16::try_from(place).ok()).map_or(ListenerId(u16::MAX), ListenerId);
        Peer { listener, addr: seen.hop.from }
    }
}

fn add_branch(exchange: &mut Exchange, seen: &Seen) {
    if exchange.branches.len() < BRANCHES_MAX {
        exchange.branches.push(Branch {
            via: branch_value(&seen.message).into(),
            uri: Bytes::copy_from_slice(seen.message.request_uri()),
            to: seen.hop.to,
            stages: Stages { tried_ms: exchange.ms(seen.at), ..Stages::default() },
            refusal: None,
        });
    }
}

/// How long a request may be without a message.
const fn wait_of(method: Method) -> Duration {
    match method {
        Method::Invite => INVITE_WAIT,
        _ => REQUEST_WAIT,
    }
}

/// The branch of the top Via; empty without one.
pub(super) fn branch_value(message: &Message) -> &[u8] {
    message.top_via().and_then(|via| via.branch).unwrap_or_default()
}

/// The 2xx that an ACK shows, with what both messages say of it; `None` where it may be the ACK to a refusal.
fn inferred(exchange: &Exchange, ack: &Message) -> Option<FinalResponse> {
    let is_refused = |own: &Branch| own.refusal.as_ref().is_some_and(|own| own.to_tag() == ack.to_tag());
    if ack.to_tag().is_empty() || exchange.branches.iter().any(is_refused) {
        return None;
    }
    let invite = &exchange.view.message;
    let mut octets = b"SIP/2.0 200 Answer was not heard\r\n".to_vec();
    let lines = invite.headers(Name::Via).map(|via| ("Via", via));
    let lines = lines.chain([("From", invite.header(Name::From)?), ("To", ack.header(Name::To)?)]);
    for (name, value) in lines.chain([("Call-ID", invite.call_id())]) {
        octets.extend_from_slice(name.as_bytes());
        octets.extend([b": ", value, b"\r\n"].concat());
    }
    octets.extend(format!("CSeq: {} INVITE\r\n\r\n", invite.cseq().0).into_bytes());
    let message = Rc::new(Message::parse(octets).ok()?);
    let reason = Bytes::copy_from_slice(message.reason());
    Some(FinalResponse {
        uri: Bytes::new(),
        hop: None,
        code: 200,
        reason,
        message: Some(message),
        stages: Stages::default(),
    })
}

/// Addresses at which the proxy receives that are told apart, for `$Ri`, `$Rp` and `$proto`.
const PLACES_MAX: usize = 64;
