//! The initial INVITE: failed rounds, early media, the responses that open sessions, the refusal.

use std::num::NonZeroU32;
use std::time::Duration;

use bytes::Bytes;

use super::ends::Ends;
use super::engine::Engine;
use super::finding::Respondent;
use super::flags;
use super::forwarding::Forwarded;
use super::session::{Key, Opening, Session, hash};
use super::stored;
use super::transaction::{PROVISIONALS_MAX, Response, Transaction};
use super::{Outcome, facts, fields, session};
use crate::clock::Now;
use crate::ids::SinkMask;
use crate::policy::Targets;
use crate::record::codec::LEGS_MAX;
use crate::record::{CallChange, Cause, End, Kind, Party, Record};
use crate::sip::dialog::Course;
use crate::sip::message::{Message, Method, Name};
use crate::sip::stack::{FinalResponse, Round, ServerId};
use crate::vars::Tried;

impl Engine {
    /// A round of branches has failed. Where one callee follows the other, or sends the call elsewhere, that is a leg;
    /// who missed the call is told at once only if the response of another target cannot change it.
    pub(super) fn round_failed(&mut self, now: Now, id: ServerId, round: &Round, out: &mut Outcome) {
        let Some(mut transaction) = self.transactions.take(id) else { return };
        let best = round.best.min(round.attempts.len().saturating_sub(1));
        transaction.respondent = round.attempts.get(best).map(Respondent::of_attempt).or(transaction.respondent);
        if transaction.is_initial_invite() && !round.attempts.is_empty() {
            let reported = match transaction.targets() {
                _ if self.maker.settings().missed_branches => &round.attempts[..],
                Targets::Forward => &round.attempts[best..=best],
                Targets::Alternatives => &[],
            };
            for attempt in reported {
                self.missed_attempt(now, &mut transaction, attempt, out);
            }
            for attempt in &round.attempts {
                transaction.note(attempt);
            }
            let best = &round.attempts[best];
            if transaction.targets() == Targets::Forward || round.redirected {
                transaction.is_cut |= self.add_leg(now, &mut transaction, &Response::of_attempt(best));
                transaction.forwarder = best.uri.clone();
            }
            transaction.is_sent_on = round.redirected;
            if best.code == 503 {
                transaction.unavailable = Some(Box::new(best.clone()));
            }
            transaction.is_tried = true;
        }
        self.transactions.put_back(id, transaction);
    }

    /// The Missed record of one target, with its leg.
    fn missed_attempt(&mut self, now: Now, transaction: &mut Transaction, attempt: &FinalResponse, out: &mut Outcome) {
        let response = Response::of_attempt(attempt);
        self.with_leg(now, transaction, &response, |engine, transaction| {
            engine.missed(now, transaction, &response, out);
        });
    }

    /// Makes something of a request as if it had the leg of this response, which is none that sends the call on.
    fn with_leg<T>(
        &mut self,
        now: Now,
        transaction: &mut Transaction,
        response: &Response<'_>,
        make: impl FnOnce(&mut Self, &mut Transaction) -> T,
    ) -> T {
        let (legs, was_cut) = (transaction.legs.len(), transaction.is_cut);
        transaction.is_cut |= self.add_leg(now, transaction, response);
        let made = make(self, transaction);
        transaction.legs.truncate(legs);
        transaction.is_cut = was_cut;
        made
    }

    /// Branches have lost to one that was answered. They are attempts of an answered call, and missed calls only where
    /// each branch is one.
    pub(super) fn lost(
        &mut self,
        now: Now,
        id: ServerId,
        attempts: &[FinalResponse],
        given_up: &[FinalResponse],
        out: &mut Outcome,
    ) {
        let Some(mut transaction) = self.transactions.take(id) else { return };
        if transaction.is_initial_invite() {
            for attempt in attempts {
                if self.maker.settings().missed_branches {
                    self.missed_attempt(now, &mut transaction, attempt, out);
                }
                // The records of the answered call were made without what ends later.
                if !transaction.is_won {
                    transaction.note(attempt);
                }
            }
            let room = LEGS_MAX.saturating_sub(transaction.attempts.len());
            let tried = given_up.iter().take(room).map(|attempt| Tried::of(attempt, Cause::Elsewhere));
            transaction.attempts.extend(tried);
            transaction.is_won = true;
        }
        self.transactions.put_back(id, transaction);
    }

    /// The legs of those who forwarded the call before it came here, if that is set.
    pub(super) fn add_legs_of_forwarding(&self, now: Now, transaction: &mut Transaction) {
        let of_route = transaction.account.as_deref().and_then(|account| account.forwarding_legs);
        let settings = self.maker.settings();
        if !of_route.unwrap_or(settings.forwarding_legs) || settings.leg_fields.is_empty() {
            return;
        }
        let forwarders: Vec<_> =
            Forwarded::of(transaction.request()).by.iter().map(|uri| Bytes::copy_from_slice(uri)).collect();
        for uri in forwarders {
            let response = Response { uri: &uri, ..Response::local(0, b"") };
            transaction.is_cut |= self.add_leg(now, transaction, &response);
            transaction.forwarder = uri.clone();
        }
    }

    /// The legs that the route says are there before those of its targets: a call that it forwards without trying anybody.
    pub(super) fn add_legs_of_route(&self, now: Now, transaction: &mut Transaction) {
        let values = transaction.leg_values.iter().map(|list| list.values.len()).max().unwrap_or(0);
        for leg in 1..values {
            transaction.is_cut |= self.add_leg(now, transaction, &Response::local(0, b""));
            if let Some(dst) = transaction.leg_value("dst", leg - 1) {
                transaction.forwarder = Bytes::copy_from_slice(dst);
            }
        }
    }

    /// Adds the leg of a branch; whether it was cut.
    fn add_leg(&self, now: Now, transaction: &mut Transaction, response: &Response<'_>) -> bool {
        if self.maker.settings().leg_fields.is_empty() {
            return false;
        }
        let (leg, is_cut) = self.maker.leg(now, transaction, response);
        fields::push_leg(&mut transaction.legs, leg) || is_cut
    }

    /// The record of one failed attempt.
    fn missed(&mut self, now: Now, transaction: &mut Transaction, response: &Response<'_>, out: &mut Outcome) {
        let sinks = flags::missed(self.maker.settings(), transaction.marks, response.code);
        if sinks.is_empty() {
            return;
        }
        let cause = transaction.failure(response).cause;
        if cause == Cause::Elsewhere && !transaction.is_won && !self.maker.settings().missed_elsewhere {
            return;
        }
        let record = self.failure(now, Kind::Missed, transaction, response);
        if matches!(cause, Cause::Cancelled | Cause::Elsewhere) {
            transaction.told = transaction.told.or(sinks);
        }
        out.push(record, transaction.request().call(), sinks);
    }

    fn failure(&mut self, now: Now, kind: Kind, transaction: &Transaction, response: &Response<'_>) -> Record {
        let mut record = self.maker.of_transaction(now, kind, transaction, response, None);
        record.times.ended = Some(now.wall);
        record.times.setup = Some(now.mono.since(transaction.view.arrived.mono));
        let end = transaction.failure(response);
        record.end = Some(end);
        record.shortened |= facts::refused(&mut record.facts, transaction, response, end);
        record
    }

    /// The caller gets a final response of 300 or more.
    pub(super) fn refused(
        &mut self,
        now: Now,
        transaction: &mut Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        let behind = transaction.behind(response).cloned();
        let decisive = behind.as_ref().map_or(*response, Response::of_attempt);
        let is_leg_due =
            transaction.is_tried && !transaction.is_sent_on && transaction.targets() == Targets::Alternatives;
        if is_leg_due {
            transaction.is_cut |= self.add_leg(now, transaction, &decisive);
        }
        // Targets that forward the call have their records; alternatives are one callee, who has missed it now. What the
        // gateway refuses itself has none yet.
        let is_told = transaction.targets() == Targets::Forward || self.maker.settings().missed_branches;
        if !transaction.is_tried || !is_told {
            self.missed(now, transaction, &decisive, out);
        }
        self.end_early(now, transaction, response, out);
        let failed = flags::failed(self.maker.settings(), transaction.marks, response.code);
        let sinks = SinkMask(failed.0 & !transaction.told.0);
        if !sinks.is_empty() {
            let record = self.failure(now, Kind::Failed, transaction, response);
            out.push(record, transaction.request().call(), sinks);
        }
        self.came_to_nothing(now, transaction, response, out);
    }

    /// The one record of a call that nobody has answered.
    fn came_to_nothing(&mut self, now: Now, transaction: &Transaction, response: &Response<'_>, out: &mut Outcome) {
        let settings = self.maker.settings();
        if !settings.cdr_on_failed || settings.failed_filter.contains(&response.code) {
            return;
        }
        let sinks = self.maker.modes().cdr(transaction.marks.accounting);
        if !sinks.is_empty() {
            let mut record = self.failure(now, Kind::Cdr, transaction, response);
            record.times.duration = Some(Duration::ZERO);
            out.push(record, transaction.request().call(), sinks);
        }
    }

    /// A 2xx to an initial INVITE: opens a session, or answers one that early media has opened.
    pub(super) fn started(
        &mut self,
        now: Now,
        transaction: &mut Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        let key = key_of(transaction, response);
        let accounting = transaction.marks.accounting;
        if accounting.is_empty() {
            self.not_accounted(now, response);
            return;
        }
        let cseq = transaction.request().cseq().0;
        let kind = match self.calls.get(key) {
            // It has ended before the response came, or came again.
            None if transaction.opened.contains(&key) => return,
            None => Kind::Start,
            Some(session) if session.is_early() && transaction.opened.contains(&key) => Kind::Interim,
            // Sent again by a caller that never saw the response, because the gateway was restarted.
            Some(session) if session.cseq == cseq => return,
            // A re-INVITE of a peer without tags (RFC 2543), answered from where the call is.
            Some(session) if !session.is_early() && session.is_without_tags(response) => {
                return self.untagged_reinvite_answered(now, key, transaction, response, out);
            }
            // Another INVITE outside of the dialog, answered with its tags: its callee could take the call over.
            Some(_) => return,
        };
        let mut record = self.with_leg(now, transaction, response, |engine, transaction| {
            engine.maker.of_transaction(now, kind, transaction, response, None)
        });
        let mut session = self.opened(now, key, (transaction, response), &record);
        record.number = if kind == Kind::Start { Some(0) } else { session.take_number() };
        record.times.answered = session.answered.map(|answered| answered.wall);
        record.times.setup = session.setup();
        record.times.duration = if kind == Kind::Interim { session.lasted(now, self.maker.boot()) } else { None };
        record.session = session::hex(session.name);
        transaction.opened.push(key);
        out.push(record, key.call(), self.maker.modes().live(accounting));
        self.store(key, session, out);
    }

    /// A re-INVITE without a To tag makes an Interim and changes nothing else.
    fn untagged_reinvite_answered(
        &mut self,
        now: Now,
        key: Key,
        transaction: &Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        let session = self.calls.get(key);
        let record = self.maker.of_transaction(now, Kind::Interim, transaction, response, session);
        let sinks = self.maker.modes().live(transaction.marks.accounting);
        self.push_numbered(key, record, sinks, out);
    }

    /// The session that an answered INVITE opens, or goes on with.
    fn opened(
        &self,
        now: Now,
        key: Key,
        (transaction, response): (&Transaction, &Response<'_>),
        record: &Record,
    ) -> Box<Session> {
        let mut session = self.opening(transaction, response, record);
        session.answered = Some(now);
        if let Some(before) = self.calls.get(key) {
            session.boot = before.boot;
            session.created = before.created;
            session.name = before.name;
            session.answered = before.answered.or(Some(now));
            session.acknowledged = before.acknowledged;
            session.ending = before.ending;
            session.next_number = before.next_number;
        }
        session.alive = now;
        session.unacknowledged = Some((session.cseq, response.code));
        session.timer_s = super::engine::session_expires(response.message);
        session.alarms = self.maker.alarms(now, &session);
        session.alarms.settle = Some(now.mono + self.maker.settings().ack_wait + ACK_GRACE);
        session.ends = Ends::of(transaction, response, now.wall);
        session.alarms.ping = session.ends.as_ref().and_then(|_| self.first_ping(now, key));
        session
    }

    fn opening(&self, transaction: &Transaction, response: &Response<'_>, record: &Record) -> Box<Session> {
        let request = transaction.request();
        // Back to the order of creation.
        let legs = fields::ordered(self.maker.settings(), record.legs.clone());
        Box::new(Session::open(&Opening {
            call_id: request.call_id(),
            from_tag: request.from_tag(),
            to_tag: response.to_tag(),
            reason: response.reason,
            table: transaction.table(),
            fields: &record.fields,
            own_fields: transaction.fields().map_or(0, |fields| fields.own),
            legs: &legs,
            facts: &record.facts,
            is_cut: record.shortened,
            marks: transaction.marks,
            boot: self.maker.boot(),
            created: transaction.view.arrived,
            cseq: request.cseq().0,
            code: response.code,
        }))
    }

    /// Whether a session may be kept.
    fn has_room(&self, key: Key) -> bool {
        self.calls.len() < self.maker.settings().calls_max || self.calls.get(key).is_some()
    }

    /// Keeps a session, here and in the queue. Without room for it, its BYE makes a Stop without session time.
    pub(super) fn store(&mut self, key: Key, session: Box<Session>, out: &mut Outcome) {
        if !self.has_room(key) {
            return;
        }
        out.calls.push(CallChange::Put { key: key.to_bytes(), value: stored::encode(&session) });
        self.calls.insert(key, session);
    }

    /// A provisional response: early media, if it has a body and is recorded.
    pub(super) fn provisional(&mut self, now: Now, id: ServerId, message: &Message, out: &mut Outcome) {
        if !self.maker.settings().early_media || message.body().is_empty() {
            return;
        }
        let Some(mut transaction) = self.transactions.take(id) else { return };
        let accounting = transaction.marks.accounting;
        if transaction.method() == Method::Invite && !accounting.is_empty() && is_new(&mut transaction, message) {
            let response = Response {
                code: message.code(),
                reason: message.reason(),
                message: Some(message),
                ..Response::local(0, b"")
            };
            if transaction.is_initial_invite() {
                self.early(now, &mut transaction, &response, out);
            } else if transaction.view.course == Course::Dialog
                && let Some(key) = transaction.session.filter(|key| self.calls.get(*key).is_some())
            {
                let record =
                    self.maker.of_transaction(now, Kind::Interim, &transaction, &response, self.calls.get(key));
                self.push_numbered(key, record, self.maker.modes().live(accounting), out);
            }
        }
        self.transactions.put_back(id, transaction);
    }

    fn early(&mut self, now: Now, transaction: &mut Transaction, response: &Response<'_>, out: &mut Outcome) {
        let key = key_of(transaction, response);
        let sinks = self.maker.modes().live(transaction.marks.accounting);
        // Who takes one record at the end is not told of early media; and what cannot be kept could not be ended.
        if sinks.is_empty() || !self.has_room(key) {
            return;
        }
        let is_known = self.calls.get(key).is_some();
        if !is_known && transaction.opened.contains(&key) {
            return; // It has ended already.
        }
        let kind = if is_known { Kind::Interim } else { Kind::Start };
        let mut record = self.with_leg(now, transaction, response, |engine, transaction| {
            engine.maker.of_transaction(now, kind, transaction, response, None)
        });
        if is_known {
            return self.push_numbered(key, record, sinks, out);
        }
        record.number = Some(0);
        let session = self.opening(transaction, response, &record);
        transaction.opened.push(key);
        self.store(key, session, out);
        out.push(record, key.call(), sinks);
    }

    /// Ends the sessions that early media has opened and no 2xx has answered.
    pub(super) fn end_early(
        &mut self,
        now: Now,
        transaction: &mut Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        for key in std::mem::take(&mut transaction.opened) {
            if !self.calls.get(key).is_some_and(Session::is_early) {
                continue;
            }
            let Some(session) = self.calls.remove(key) else { continue };
            // Without a refusal another branch has won, and the gateway has given this one up.
            let lost = End { by: Party::Gateway, cause: Cause::Elsewhere };
            let end = if response.code == 0 { lost } else { transaction.failure(response) };
            let mut record = self.maker.of_session(now, Kind::Stop, &session);
            record.code = response.code;
            record.reason = response.reason.to_vec();
            record.times.ended = Some(now.wall);
            record.end = Some(end);
            record.shortened |= facts::refused(&mut record.facts, transaction, response, end);
            record.number = session.next_number.map(NonZeroU32::get);
            out.push(record, key.call(), self.maker.modes().live(session.marks.accounting));
            self.store_end(now, key, end, None, out);
        }
    }
}

/// A callee that gets no ACK ends the call itself when its time is over (RFC 3261 §13.3.1.4): its BYE may be on the way.
const ACK_GRACE: Duration = Duration::from_secs(1);

/// The dialog of a response to an initial INVITE.
fn key_of(transaction: &Transaction, response: &Response<'_>) -> Key {
    Key::of_caller(transaction.request(), response.to_tag())
}

/// Whether a provisional response has not been seen yet: one sent again has the same tag, code, RSeq and body.
fn is_new(transaction: &mut Transaction, message: &Message) -> bool {
    let seen = hash(&[
        message.to_tag(),
        &message.code().to_le_bytes(),
        message.header(Name::RSeq).unwrap_or_default(),
        message.body(),
    ]);
    let is_new = !transaction.provisionals.contains(&seen) && transaction.provisionals.len() < PROVISIONALS_MAX;
    if is_new {
        transaction.provisionals.push(seen);
    }
    is_new
}
