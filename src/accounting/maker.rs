//! Makes records: of a transaction and its response, or of a session alone.

use super::flags::Modes;
use super::session::{self, Session, Text};
use super::settings::Settings;
use super::transaction::{Response, Transaction};
use super::{Made, Outcome, facts, fields};
use crate::clock::{Now, Timestamp};
use crate::ids::{CallHash, RecordId, RecordIds, SinkMask};
use crate::record::codec::LEGS_MAX;
use crate::record::{Fields, Kind, Party, Record, Times};
use crate::sip::message::{Message, Method};
use crate::sip::stack::{Peer, RequestView};
use crate::vars::{Arrival, Avps, Context, Leg, Parties, Template};

#[derive(Debug)]
pub(super) struct Maker {
    settings: Settings,
    modes: Modes,
    boot: u64,
    ids: RecordIds,
}

impl Maker {
    pub(super) fn new(settings: Settings, seed: u128) -> Self {
        let (modes, boot) = (Modes::new(&settings.sinks), session::boot(&settings.boot_id));
        Self { settings, modes, boot, ids: RecordIds::new(seed) }
    }

    /// Goes on with other settings.
    pub(super) fn configure(&mut self, settings: Settings) {
        self.modes = Modes::new(&settings.sinks);
        self.boot = session::boot(&settings.boot_id);
        self.settings = settings;
    }

    pub(super) const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The sinks of each mode.
    pub(super) const fn modes(&self) -> &Modes {
        &self.modes
    }

    /// The running boot as a number; 0 for an unknown one.
    pub(super) const fn boot(&self) -> u64 {
        self.boot
    }

    /// The id of a record that is made now.
    pub(super) fn id(&mut self, now: Now) -> RecordId {
        self.ids.next(u64::try_from(now.wall.0 / 1000).unwrap_or(0))
    }

    /// A record of a transaction; with the instants of its session, if it belongs to one.
    pub(super) fn of_transaction(
        &mut self,
        now: Now,
        kind: Kind,
        transaction: &Transaction,
        response: &Response<'_>,
        session: Option<&Session>,
    ) -> Record {
        let request = transaction.request();
        let context = self.context(now, transaction, response);
        let templates = transaction.fields().map_or(&self.settings.fields[..], |fields| &fields.all);
        let (own, mut is_cut) = fields::evaluate(templates, &context);
        let is_later = matches!(kind, Kind::Interim | Kind::Stop);
        let fields = match session {
            None => own,
            Some(session) if is_later => fields::by_source(&self.settings.in_dialog_fields, own, session.fields()),
            Some(session) => fields::merge(own, session.fields()),
        };
        let mut fields = fields::frozen(fields, &self.settings.frozen_fields, session);
        let (own_legs, is_leg_cut) = legs_of_policy(&self.settings.leg_fields, LegsBy::Both, &context, transaction);
        is_cut |= is_leg_cut | fields::overlay(&mut fields, transaction.values.as_deref());
        let mut legs = all_legs(session, transaction, own_legs);
        if matches!(kind, Kind::Stop | Kind::Cdr) && transaction.method() == Method::Bye {
            is_cut |= self.of_bye(&context, transaction, &mut fields, &mut legs);
        }
        is_cut |= transaction.is_cut || session.is_some_and(|session| session.is_cut);
        let (facts, is_fact_cut) = facts::of(transaction, response, session, self.settings.identity.as_deref());
        is_cut |= is_fact_cut;
        let (mut from_tag, mut to_tag) = (request.from_tag(), response.to_tag());
        if to_tag.is_empty() {
            to_tag = request.to_tag();
        }
        let created = session.map_or_else(|| begun(transaction), |session| session.created.wall);
        let unnamed = || names(transaction, (from_tag, to_tag), created);
        let (name, multi) = session.map_or_else(unnamed, |session| (session.name, session.multi));
        if transaction.parties == Parties::Exchanged {
            std::mem::swap(&mut from_tag, &mut to_tag);
        }
        let mut to_tag = to_tag.to_vec();
        if to_tag.is_empty() && response.is_local_final() {
            to_tag = transaction.view.local_tag().into_bytes();
        }
        Record {
            id: self.id(now),
            kind,
            method: request.method_text().to_vec(),
            from_tag: from_tag.to_vec(),
            to_tag,
            call_id: request.call_id().to_vec(),
            cseq: request.cseq().0,
            code: response.code,
            reason: response.reason.to_vec(),
            in_dialog: transaction.view.in_dialog,
            session: session::hex(name),
            multi_session: session::hex(multi),
            times: session.map_or_else(|| times(now, created), |session| session_times(now, session, self.boot)),
            end: None,
            fields,
            legs: fields::ordered(&self.settings, legs),
            table: table(kind, transaction, session),
            number: None,
            shortened: is_cut,
            facts,
        }
    }

    /// Adds what is read from a BYE alone; whether something had to be cut.
    ///
    /// Leg fields that read `$avp(name)` say something of each leg of the call, as `multi_leg_bye_info` did: the newest value
    /// belongs to the newest leg, and values that no leg is left for make older ones. Others make one leg more.
    fn of_bye(
        &self,
        context: &Context<'_>,
        transaction: &Transaction,
        fields: &mut Fields,
        legs: &mut Vec<Fields>,
    ) -> bool {
        let Settings { bye_fields, bye_leg_fields, .. } = &self.settings;
        let (own, mut is_cut) = fields::evaluate(bye_fields, context);
        fields.extend(own);
        if bye_leg_fields.iter().any(|(_, template)| template.avps().next().is_some()) {
            let (own, is_leg_cut) = legs_of_policy(bye_leg_fields, LegsBy::Values, context, transaction);
            return is_cut | is_leg_cut | fields::lay_beside(legs, own);
        }
        if !bye_leg_fields.is_empty() {
            let (leg, is_leg_cut) = fields::evaluate(bye_leg_fields, context);
            is_cut |= fields::push_leg(legs, leg) || is_leg_cut;
        }
        is_cut
    }

    /// A record of a session that no message makes, or of the session as a whole: its INVITE's values.
    pub(super) fn of_session(&mut self, now: Now, kind: Kind, session: &Session) -> Record {
        Record {
            id: self.id(now),
            kind,
            method: b"INVITE".to_vec(),
            from_tag: session.text(Text::FromTag).to_vec(),
            to_tag: session.text(Text::ToTag).to_vec(),
            call_id: session.text(Text::CallId).to_vec(),
            cseq: session.cseq,
            code: session.code,
            reason: session.text(Text::Reason).to_vec(),
            in_dialog: false,
            session: session::hex(session.name),
            multi_session: session::hex(session.multi),
            times: session_times(now, session, self.boot),
            end: None,
            fields: session.fields(),
            legs: fields::ordered(&self.settings, session.legs()),
            table: session.table(),
            number: None,
            shortened: session.is_cut,
            facts: session.facts(),
        }
    }

    /// The fields of one leg, from the party that sent the call on to the target of `response`; whether one was cut.
    pub(super) fn leg(&self, now: Now, transaction: &Transaction, response: &Response<'_>) -> (Fields, bool) {
        let request = transaction.request();
        let caller = request.from().map_or(&b""[..], |from| from.uri);
        let before = if transaction.forwarder.is_empty() { caller } else { &transaction.forwarder };
        // It is not among them yet.
        let leg = transaction.legs.len();
        let src = transaction.leg_value("src", leg).unwrap_or(before);
        let dst = transaction.leg_value("dst", leg).unwrap_or_else(|| target(request, response));
        let avps = (!transaction.leg_values.is_empty()).then(|| transaction.avps_of_leg(leg));
        let mut context = self.context(now, transaction, response);
        if let Some(avps) = &avps {
            context.avps = avps;
        }
        let cause = (response.code >= 300).then(|| transaction.failure(response).cause);
        context.leg = Some(Leg { src, dst, code: response.code, cause });
        fields::evaluate(&self.settings.leg_fields, &context)
    }

    fn context<'a>(&self, now: Now, transaction: &'a Transaction, response: &Response<'a>) -> Context<'a> {
        let reply_arrival = response.source.map(|source| Arrival { source, local: None, transport: None });
        Context {
            arrival: Some(self.arrival(transaction.view.peer)),
            sent_uri: (!response.uri.is_empty()).then_some(response.uri),
            reply: response.message,
            reply_arrival,
            code: response.code,
            reason: response.reason,
            attempts: &transaction.attempts,
            parties: transaction.parties,
            ..Context::new(transaction.request(), &transaction.avps, now.wall)
        }
    }

    /// A context of a request before it is answered.
    pub(super) fn request_context<'a>(&self, now: Timestamp, view: &'a RequestView, avps: &'a Avps) -> Context<'a> {
        Context { arrival: Some(self.arrival(view.peer)), ..Context::new(&view.message, avps, now) }
    }

    pub(super) fn arrival(&self, peer: Peer) -> Arrival {
        let listener = self.settings.listeners.get(usize::from(peer.listener.0));
        Arrival {
            source: peer.addr,
            local: listener.map(|listener| listener.local),
            transport: listener.map(|listener| listener.transport),
        }
    }
}

/// When a call began of which there is no session: its signed Route may tell, and then its session has the same name
/// everywhere.
fn begun(transaction: &Transaction) -> Timestamp {
    let told = transaction.view.begun.filter(|_| transaction.view.direction.is_some());
    told.unwrap_or(transaction.view.arrived.wall)
}

/// The names of a session, and of the whole call, that is not here. The tags are those of the request.
fn names(transaction: &Transaction, (from, to): (&[u8], &[u8]), created: Timestamp) -> (u128, u128) {
    let call_id = transaction.request().call_id();
    let (caller, callee) = match transaction.sender {
        Party::Callee => (to, from),
        Party::Caller | Party::Gateway => (from, to),
    };
    (session::name(call_id, caller, callee, created), session::multi_name(call_id, caller))
}

/// What makes legs of a policy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum LegsBy {
    /// Values that the templates read.
    Values,
    /// These, and the legs that it has made.
    Both,
}

/// The legs that the policy has set, in the order of their creation; whether one was cut or left out.
///
/// Values of several names belong together as the originals' stacks do, counted from the newest: one that is missing is
/// missing in the oldest leg.
fn legs_of_policy(
    templates: &[(String, Template)],
    by: LegsBy,
    context: &Context<'_>,
    transaction: &Transaction,
) -> (Vec<Fields>, bool) {
    let Some(values) = transaction.values.as_deref().filter(|_| !templates.is_empty()) else {
        return (Vec::new(), false);
    };
    let names: Vec<&str> = templates.iter().flat_map(|(_, template)| template.avps()).collect();
    let stacked = names.iter().map(|name| values.avps.values(name).count()).max().unwrap_or(0);
    let legs = if by == LegsBy::Both { &values.legs[..] } else { &[] };
    let count = stacked.max(legs.len());
    let mut is_cut = count > LEGS_MAX;
    let caller = transaction.request().from().map_or(&b""[..], |from| from.uri);
    let dst = context.sent_uri.unwrap_or_else(|| context.request.request_uri());
    let mut made = Vec::new();
    for leg in 0..count.min(LEGS_MAX) {
        let mut avps = values.avps.clone();
        for name in &names {
            avps.remove(name);
            if let Some(value) = values.avps.values(name).nth(count - 1 - leg) {
                avps.add(name, value);
            }
        }
        let (code, cause) = (context.code, None);
        let leg_context = Context { avps: &avps, leg: Some(Leg { src: caller, dst, code, cause }), ..context.clone() };
        let (mut fields, is_leg_cut) = fields::evaluate(templates, &leg_context);
        is_cut |= is_leg_cut | fields::put(&mut fields, legs.get(leg).map_or(&[], Vec::as_slice));
        made.push(fields);
    }
    (made, is_cut)
}

/// What a response's branch was sent to: the leg's target.
pub(super) fn target<'a>(request: &'a Message, response: &Response<'a>) -> &'a [u8] {
    if response.uri.is_empty() { request.request_uri() } else { response.uri }
}

/// The table that takes a record: the one named for the call, but missed calls have one of their own.
fn table(kind: Kind, transaction: &Transaction, session: Option<&Session>) -> Option<String> {
    let named = transaction.table().map(str::to_owned).or_else(|| session.and_then(Session::table));
    named.filter(|_| kind != Kind::Missed)
}

fn times(now: Now, created: Timestamp) -> Times {
    Times { event: now.wall, created, ..Times::default() }
}

/// The legs of the call, and those that the policy has set; without either those of the targets.
fn all_legs(session: Option<&Session>, transaction: &Transaction, own: Vec<Fields>) -> Vec<Fields> {
    match session {
        Some(session) => session.legs().into_iter().chain(own).collect(),
        None if own.is_empty() => transaction.legs.clone(),
        None => own,
    }
}

/// With the time the call has lasted so far: what some servers are told as an interim record has it too.
fn session_times(now: Now, session: &Session, boot: u64) -> Times {
    Times {
        event: now.wall,
        created: session.created.wall,
        answered: session.answered.map(|answered| answered.wall),
        acknowledged: session.acknowledged,
        ended: None,
        setup: session.setup(),
        duration: session.lasted(now, boot),
    }
}

impl Outcome {
    /// Adds a record, if anybody wants it. `call` is the hash of the whole Call-ID.
    pub(super) fn push(&mut self, record: Record, call: CallHash, sinks: SinkMask) {
        if !sinks.is_empty() {
            self.records.push(Made { record, call, sinks });
        }
    }
}
