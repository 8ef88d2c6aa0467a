//! The machine: takes what happened, dispatches by method.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::calls::{CallView, Calls, ENDED_KEPT};
use super::ends::Whence;
use super::flags::is_success;
use super::maker::Maker;
use super::outbox::Outbox;
use super::restore::Resent;
use super::revival;
use super::session::{Ending, Key, Session};
use super::settings::Settings;
use super::stray::Strays;
use super::transaction::{LegValues, Response, Transaction, Withdrawn};
use super::transactions::Transactions;
use super::{Input, Outcome};
use crate::clock::{Instant, Now};
use crate::policy::{Account, Avp, Marks, Values};
use crate::record::{Fields, Kind, Party, Value};
use crate::sip::dialog::{Course, Dialogs, Known};
use crate::sip::message::{Message, Method, Name};
use crate::sip::stack::{Event, Peer, RequestView, ServerId, Withdrawal};
use crate::vars::{Avps, Parties, Template};

/// The shortest interval of interim records that a server may ask for.
pub const INTERIM_MIN: Duration = Duration::from_secs(10);

/// Makes the records of one shard.
#[derive(Debug)]
pub struct Engine {
    pub(super) maker: Maker,
    pub(super) calls: Calls,
    pub(super) transactions: Transactions,
    pub(super) outbox: Outbox,
    pub(super) resent: Resent,
    pub(super) strays: Strays,
}

/// The dialogs of the calls in progress, as far as both ends have named a Contact.
impl Dialogs for Engine {
    fn find(&self, request: &Message) -> Option<Known<'_>> {
        let (key, sender) = self.calls.find(request).or_else(|| self.calls.find_ended(request))?;
        let session = self.calls.get(key).or_else(|| self.calls.remains(key))?;
        session.ends.as_ref()?.known(sender)
    }
}

impl Engine {
    /// An engine without calls. `seed` is random and differs from every other engine's: it makes record ids unique.
    #[must_use]
    pub fn new(settings: Settings, seed: u128) -> Self {
        Self {
            maker: Maker::new(settings, seed),
            calls: Calls::default(),
            transactions: Transactions::default(),
            outbox: Outbox::default(),
            resent: Resent::default(),
            strays: Strays::default(),
        }
    }

    /// Handles one input. What is to be committed is appended to `out`.
    pub fn handle(&mut self, now: Now, input: Input<'_>, out: &mut Outcome) {
        let before = out.len();
        match input {
            Input::Request { transaction, view, marks, account, values } => {
                self.request(now, transaction, view, marks, Recorded { account, values });
            }
            Input::Marked { transaction, view, marks, values } => self.marked(now, transaction, view, marks, values),
            Input::Manual { transaction, view, manual, values } => {
                self.manual(now, transaction, view, manual, values, out);
            }
            Input::Event(event) => self.happened(now, event, out),
            Input::Probed { key, to, sign } => self.probed(now, key, to, sign, out),
        }
        if out.len() > before {
            self.calls.drain_later(now.mono, &mut out.calls);
        }
    }

    fn happened(&mut self, now: Now, event: &Event, out: &mut Outcome) {
        match event {
            Event::Provisional { transaction, response, target: _ } => {
                self.provisional(now, *transaction, response, out);
            }
            Event::RoundFailed { transaction, round } => self.round_failed(now, *transaction, round, out),
            Event::Lost { transaction, attempts, given_up } => self.lost(now, *transaction, attempts, given_up, out),
            Event::Final { transaction, response } => {
                self.answered(now, *transaction, &Response::of_final(response), out);
            }
            Event::Acknowledged { message, peer } => self.acknowledged(now, message, *peer, out),
            Event::Cancelled { transaction, why, reasons, from } => {
                self.cancelled(now, *transaction, *why, Withdrawn { from: *from, reasons: Rc::clone(reasons) }, out);
            }
            Event::Terminated { transaction } => self.terminated(now, *transaction, out),
        }
    }

    /// Lets time pass: interim records, session timers, lifetimes.
    pub fn tick(&mut self, now: Now, out: &mut Outcome) {
        while let Some(key) = self.calls.pop_due(now.mono) {
            self.due(now, key, out);
        }
        if self.calls.is_later_due(now.mono) {
            self.calls.drain_later(now.mono, &mut out.calls);
        }
        self.resent.expire(now);
        self.tick_strays(now, out);
    }

    /// When [`tick`](Self::tick) is due; `None`: never, as things stand.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        [self.calls.deadline(), self.strays.deadline()].into_iter().flatten().min()
    }

    /// An accounting server wants the interim records of a session `every` so often from now on (RFC 6733 §9.8.2), at
    /// least `INTERIM_MIN`; zero: none. A restart forgets it until the next response says so again.
    pub fn interim_every(&mut self, now: Now, key: Key, every: Duration) {
        let every = if every.is_zero() { every } else { every.max(INTERIM_MIN) };
        let is_new = self.calls.change(key, |session| {
            let is_new = session.alarms.interim_step != Some(every) && !session.is_early();
            if is_new {
                session.alarms.interim_step = Some(every);
                session.alarms.interim = (!every.is_zero()).then(|| now.mono + every);
            }
            is_new
        });
        if is_new == Some(true) {
            self.calls.store_later(key, now.mono);
        }
    }

    /// Takes new settings for all that happens from now on. Limits of running calls stay as they are.
    pub fn configure(&mut self, settings: Settings) {
        self.maker.configure(settings);
    }

    /// How many calls are in progress: those with a Start and no Stop.
    #[must_use]
    pub fn calls(&self) -> usize {
        self.calls.len()
    }

    /// The fields of the calls in progress, in no order.
    pub fn fields_of_calls(&self) -> impl Iterator<Item = Fields> {
        self.calls.fields()
    }

    /// The calls in progress, in no order.
    pub fn views(&self) -> impl Iterator<Item = CallView> {
        self.calls.views()
    }

    /// Memory of the calls in progress and of the memory of ended ones, in octets; allocator overhead not counted.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.calls.memory()
    }

    fn request(&mut self, now: Now, id: ServerId, view: &RequestView, marks: Marks, how: Recorded) {
        let Recorded { account, values } = how;
        let request = &*view.message;
        let method = request.method();
        if matches!(method, Method::Ack | Method::Cancel) {
            return;
        }
        let in_question = view.in_dialog || method == Method::Bye;
        let found = if in_question { self.calls.find(request) } else { None };
        let goes_there = view.course == Course::Dialog;
        let ends = found.and_then(|(key, sender)| Some((self.calls.get(key)?.ends.as_ref()?, sender)));
        let whence = ends.map_or(Whence::Sender, |(ends, sender)| ends.whence(sender, view.peer.addr));
        let is_to_moved = ends.is_some_and(|(ends, sender)| ends.is_moved(sender.other()));
        if let Some((key, sender)) = found.filter(|_| goes_there && whence != Whence::Other) {
            self.passes(now, key, sender, request);
        }
        // What belongs to a known call is recorded as its INVITE was marked.
        let of_call = found.and_then(|(key, _)| self.calls.get(key)).map(|session| session.marks);
        let marks = of_call.unwrap_or(marks);
        let is_wanted = match method {
            Method::Invite | Method::Bye => found.is_some() || !marks.is_empty(),
            Method::Update if found.is_some() => true,
            _ => !marks.accounting.is_empty() && self.records_method(request.method_text()),
        };
        let ended = if found.is_none() && in_question { self.calls.find_ended(request) } else { None };
        if let (Method::Bye, Some((key, _))) = (method, ended) {
            self.calls.shorten_ended(key, now.mono + ENDED_KEPT);
        }
        if method == Method::Bye {
            self.transactions.hung_up(request);
        }
        let is_late = goes_there && ended.is_some() && revival::is_sign_of_life(request);
        if !is_wanted && !is_late {
            return;
        }
        let (sender, parties) = self.sides(view, found);
        let session = found.map(|(key, _)| key);
        if method == Method::Bye
            && goes_there
            && whence == Whence::Sender
            && let Some(key) = session
        {
            let ending = Ending { at: view.arrived, by: sender, transaction: id };
            self.calls.change(key, |session| session.ending.get_or_insert(ending).at);
        }
        let (avps, leg_values) = self.avps(now, view, account.as_deref().map_or(&[], |account| &account.avps));
        let mut transaction = Transaction {
            marks,
            avps,
            leg_values,
            account,
            session,
            whence,
            is_to_moved,
            parties,
            ..Transaction::new(view.clone(), sender)
        };
        if let Some(values) = values {
            transaction.set(values);
        }
        let call = request.call();
        transaction.is_early = session.is_none() && self.transactions.has_open(call);
        transaction.is_open = transaction.is_initial_invite();
        transaction.is_late = is_late;
        if transaction.is_open {
            self.add_legs_of_forwarding(now, &mut transaction);
            self.add_legs_of_route(now, &mut transaction);
        }
        self.transactions.insert(id, call, Box::new(transaction));
    }

    /// Who sent a request, by the call it was found in or its signed Route, and how its From and To are read.
    pub(super) fn sides(&self, view: &RequestView, found: Option<(Key, Party)>) -> (Party, Parties) {
        let by_route = if view.is_upstream() { Party::Callee } else { Party::Caller };
        let sender = found.map_or(by_route, |(_, party)| party);
        (sender, self.parties(sender))
    }

    fn parties(&self, sender: Party) -> Parties {
        let is_exchanged = sender == Party::Callee && self.maker.settings().detect_direction;
        if is_exchanged { Parties::Exchanged } else { Parties::AsWritten }
    }

    fn marked(&mut self, now: Now, id: ServerId, view: &RequestView, marks: Option<Marks>, values: Option<Rc<Values>>) {
        match (self.transactions.get_mut(id), marks) {
            (Some(transaction), marks) => {
                // What belongs to a known call is recorded as its INVITE was marked.
                if let Some(marks) = marks.filter(|_| transaction.session.is_none()) {
                    transaction.marks = marks;
                }
                if let Some(values) = values {
                    transaction.set(values);
                }
            }
            (None, Some(marks)) => self.request(now, id, view, marks, Recorded { account: None, values }),
            // Nothing is recorded of it.
            (None, None) => {}
        }
    }

    /// The values of the route, and those of its lists by leg.
    fn avps(&self, now: Now, view: &RequestView, wanted: &[Avp]) -> (Avps, Vec<LegValues>) {
        let (mut avps, mut lists) = (Avps::new(), Vec::new());
        for avp in wanted {
            let mut of_legs = Vec::new();
            for template in &avp.values {
                let eval = |own: &Template| own.eval(&self.maker.request_context(now.wall, view, &avps));
                let value = template.as_ref().map_or(Value::Absent, eval);
                let value = value.text().map(Cow::into_owned);
                if let Some(value) = &value {
                    avps.add(&avp.name, value);
                }
                // An empty one holds the place of a leg that has none.
                of_legs.push(value.unwrap_or_default());
            }
            if of_legs.len() > 1 {
                lists.push(LegValues { name: avp.name.as_str().into(), values: of_legs });
            }
        }
        (avps, lists)
    }

    /// Whether requests of this method may make an Event.
    #[must_use]
    pub fn records_method(&self, method: &[u8]) -> bool {
        self.maker.settings().methods.iter().any(|wanted| wanted == "*" || wanted.as_bytes() == method)
    }

    fn answered(&mut self, now: Now, id: ServerId, response: &Response<'_>, out: &mut Outcome) {
        let Some(mut transaction) = self.transactions.take(id) else {
            self.not_accounted(now, response);
            return;
        };
        self.transactions.close(id, &mut transaction);
        if transaction.is_late {
            self.came_back(now, &transaction, response, out);
            if matches!(transaction.method(), Method::Invite | Method::Update) {
                return;
            }
        }
        match transaction.method() {
            Method::Invite if transaction.is_initial_invite() && is_success(response.code) => {
                self.started(now, &mut transaction, response, out);
                // Another branch may bring a further 2xx.
                self.transactions.put_back(id, transaction);
            }
            Method::Invite if transaction.is_initial_invite() => self.refused(now, &mut transaction, response, out),
            Method::Invite => self.reinvite_answered(now, &transaction, response, out),
            Method::Bye => self.bye_answered(now, id, &transaction, response, out),
            _ => self.other_answered(now, &transaction, response, out),
        }
    }

    fn acknowledged(&mut self, now: Now, ack: &Rc<Message>, peer: Peer, out: &mut Outcome) {
        let Some((key, sender)) = self.calls.find(ack) else { return };
        self.alive(now, key);
        let cseq = ack.cseq().0;
        let code = self.calls.change(key, |session| {
            let awaited = match session.unacknowledged.take_if(|(number, _)| *number == cseq) {
                Some((_, code)) => Some(code),
                // After a restart nobody remembers whose ACK is to come.
                None if session.acknowledged.is_none() && session.cseq == cseq => Some(session.code),
                None => None,
            };
            if awaited.is_some() && session.acknowledged.is_none() && session.cseq == cseq {
                session.acknowledged = Some(now.wall);
                session.alarms.save = Some(now.mono + SAVE_AFTER);
                session.alarms.settle.take_if(|_| session.doubt.is_none());
            }
            awaited
        });
        let Some(code) = code.flatten() else { return };
        if !self.maker.settings().report_ack {
            return;
        }
        let Some(session) = self.calls.get(key) else { return };
        let parties = self.parties(sender);
        let view = RequestView::of(Rc::clone(ack), peer, now);
        let transaction = Transaction { session: Some(key), parties, ..Transaction::new(view, sender) };
        let response = Response::local(code, success_phrase(code));
        let record = self.maker.of_transaction(now, Kind::Event, &transaction, &response, Some(session));
        out.push(record, key.call(), self.maker.modes().live(session.marks.accounting));
    }

    fn cancelled(&mut self, now: Now, id: ServerId, why: Withdrawal, withdrawn: Withdrawn, out: &mut Outcome) {
        let Some(transaction) = self.transactions.get_mut(id) else { return };
        transaction.withdrawal = why;
        transaction.withdrawn.get_or_insert_with(|| Box::new(withdrawn));
        if std::mem::replace(&mut transaction.is_cancelled, true) || !self.maker.settings().report_cancels {
            return;
        }
        let sinks = self.maker.modes().live(transaction.marks.accounting);
        let response = Response::local(200, b"OK");
        let mut record = self.maker.of_transaction(now, Kind::Event, transaction, &response, None);
        record.method = b"CANCEL".to_vec();
        if !transaction.view.in_dialog {
            // The response to the INVITE has not gone yet.
            record.to_tag.clear();
        }
        out.push(record, transaction.request().call(), sinks);
    }

    fn terminated(&mut self, now: Now, id: ServerId, out: &mut Outcome) {
        let Some(mut transaction) = self.transactions.take(id) else { return };
        self.transactions.close(id, &mut transaction);
        if transaction.method() == Method::Bye
            && let Some(key) = transaction.session
        {
            // The BYE was never answered and never will be: the call goes on.
            self.calls.change(key, |session| session.ending.take_if(|ending| ending.transaction == id));
        }
        self.end_early(now, &mut transaction, &Response::local(0, b""), out);
    }

    /// Remembers that a call is not accounted, so that its BYE makes no Stop.
    pub(super) fn not_accounted(&mut self, now: Now, response: &Response<'_>) {
        let Some(message) = response.message else { return };
        if message.method() != Method::Invite || !is_success(response.code) {
            return;
        }
        if self.calls.find(message).is_some() || self.calls.find_ended(message).is_some() {
            return;
        }
        let key = Key::of_caller(message, message.to_tag());
        self.remember(key, now.mono + self.maker.long_kept(), Storage::Memory, None);
    }

    /// Remembers that a call makes no Stop any more; whether there was room to.
    pub(super) fn remember(
        &mut self,
        key: Key,
        until: Instant,
        storage: Storage,
        remains: Option<Box<Session>>,
    ) -> bool {
        let has_room = self.calls.ended_len() < self.maker.settings().ended_max;
        if has_room {
            self.calls.remember_ended(key, until, storage, remains);
        }
        has_room
    }
}

/// The usual phrase of a 2xx (RFC 3261 §21.2, RFC 5839 §7.1, RFC 6665 §8.3.1).
const fn success_phrase(code: u16) -> &'static [u8] {
    match code {
        202 => b"Accepted",
        204 => b"No Notification",
        _ => b"OK",
    }
}

/// Where it is remembered that a call has ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Storage {
    /// Nobody else knows: it was not recorded here.
    Memory,
    /// The queue has a note, which it forgets by itself.
    Note,
    Queue,
}

/// How a request is recorded, as the policy says.
struct Recorded {
    account: Option<Arc<Account>>,
    values: Option<Rc<Values>>,
}

/// A call that lasts this long has the instant of its ACK stored: not every short call pays for it.
const SAVE_AFTER: Duration = Duration::from_secs(5);

/// Delta-seconds of Session-Expires (RFC 4028 §4); 0 without.
pub(super) fn session_expires(message: Option<&Message>) -> u32 {
    let value = message.and_then(|message| message.header(Name::SessionExpires)).unwrap_or_default();
    let digits = value.iter().position(|octet| !octet.is_ascii_digit()).unwrap_or(value.len());
    std::str::from_utf8(&value[..digits]).ok().and_then(|digits| digits.parse().ok()).unwrap_or(0)
}
