//! Final responses to requests inside a dialog: what the table of [`finding`] says of them is done here.

use std::time::Duration;

use super::doubt::{CREDENTIALS_WAIT, Doubt};
use super::ending::Stop;
use super::ends::Whence;
use super::engine::{Engine, session_expires};
use super::finding::{Finding, Respondent, Way, finding};
use super::flags::{self, is_success};
use super::session::{Key, Session};
use super::stored;
use super::stray::Stray;
use super::transaction::{Response, Transaction};
use super::{Outcome, facts};
use crate::clock::Now;
use crate::ids::SinkMask;
use crate::record::{CallChange, Cause, End, Kind, Party, Record};
use crate::sip::stack::ServerId;

impl Engine {
    /// A BYE got its final response, or none.
    pub(super) fn bye_answered(
        &mut self,
        now: Now,
        id: ServerId,
        transaction: &Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        // A call may also have begun while its BYE was on the way.
        let begun = || self.calls.find(transaction.request()).map(|(key, _)| key);
        let Some(key) = transaction.session.or_else(begun) else {
            return self.stray_bye_answered(now, transaction, response, out);
        };
        // Another BYE, or a timer, may have been faster: one Stop is enough. An early dialog ends with its INVITE.
        let is_open = self.calls.get(key).is_some_and(|session| !session.is_early());
        if !is_open {
            return;
        }
        match transaction.finding(response) {
            Finding::Ended => {
                let Some(session) = self.calls.remove(key) else { return };
                let (at, by) =
                    session.ending.map_or((transaction.view.arrived, transaction.sender), |own| (own.at, own.by));
                let cause = if is_success(response.code) { Cause::Bye } else { Cause::FailedBye };
                let record = self.maker.of_transaction(now, Kind::Stop, transaction, response, Some(&session));
                return self.stop(now, Stop { key, session, at, end: End { by, cause } }, record, out);
            }
            Finding::Doubt => self.doubt_bye(now, key, transaction, response, Duration::ZERO, out),
            Finding::Challenged => self.doubt_bye(now, key, transaction, response, CREDENTIALS_WAIT, out),
            Finding::Refused => self.event(now, transaction, response, out),
            Finding::Agreed | Finding::Nothing => {}
        }
        self.calls.change(key, |session| session.ending.take_if(|ending| ending.transaction == id));
    }

    /// A re-INVITE got its final response, or none.
    pub(super) fn reinvite_answered(
        &mut self,
        now: Now,
        transaction: &Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        let request = transaction.request();
        let Some(key) = transaction.session.filter(|key| self.calls.get(*key).is_some()) else {
            // After its Stop nothing follows; of a call that nobody keeps a signed Route is the only witness.
            let has_ended = transaction.session.is_some() || self.calls.find_ended(request).is_some();
            if !has_ended && transaction.view.direction.is_some() {
                self.stray_reinvite_answered(now, transaction, response, out);
            }
            return;
        };
        let finding = transaction.finding(response);
        match finding {
            Finding::Agreed => {
                let Some(session) = self.calls.get(key) else { return };
                let record = self.maker.of_transaction(now, Kind::Interim, transaction, response, Some(session));
                let sinks = self.maker.modes().live(transaction.marks.accounting);
                self.push_numbered(key, record, sinks, out);
                let cseq = request.cseq().0;
                self.calls.change(key, |session| session.unacknowledged = Some((cseq, response.code)));
            }
            Finding::Nothing => return,
            Finding::Ended | Finding::Doubt | Finding::Challenged | Finding::Refused => {
                let session = self.calls.get(key);
                let sinks =
                    self.maker.modes().live(flags::failed(self.maker.settings(), transaction.marks, response.code));
                let mut record = self.maker.of_transaction(now, Kind::Failed, transaction, response, session);
                let end = transaction.failure(response);
                record.end = Some(end);
                record.shortened |= facts::refused(&mut record.facts, transaction, response, end);
                out.push(record, request.call(), sinks);
            }
        }
        self.change_answered(now, key, transaction, response, finding, out);
    }

    fn stray_reinvite_answered(
        &mut self,
        now: Now,
        transaction: &Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        let call = transaction.request().call();
        let marks = transaction.marks;
        if is_success(response.code) {
            let record = self.maker.of_transaction(now, Kind::Interim, transaction, response, None);
            out.push(record, call, self.maker.modes().live(marks.accounting));
        } else {
            let sinks = self.maker.modes().live(flags::failed(self.maker.settings(), marks, response.code));
            let mut record = self.maker.of_transaction(now, Kind::Failed, transaction, response, None);
            let end = transaction.failure(response);
            record.end = Some(end);
            record.shortened |= facts::refused(&mut record.facts, transaction, response, end);
            out.push(record, call, sinks);
        }
    }

    /// Any other request got its final response, or none.
    pub(super) fn other_answered(
        &mut self,
        now: Now,
        transaction: &Transaction,
        response: &Response<'_>,
        out: &mut Outcome,
    ) {
        if self.records_method(transaction.request().method_text()) {
            self.event(now, transaction, response, out);
        }
        if let Some(key) = transaction.session.filter(|key| self.calls.get(*key).is_some()) {
            self.change_answered(now, key, transaction, response, transaction.finding(response), out);
        }
    }

    /// What the response to a re-INVITE or an UPDATE says about its call.
    fn change_answered(
        &mut self,
        now: Now,
        key: Key,
        transaction: &Transaction,
        response: &Response<'_>,
        finding: Finding,
        out: &mut Outcome,
    ) {
        let at = transaction.view.arrived;
        match finding {
            Finding::Agreed => {
                self.refreshed(now, key, transaction, response);
                self.retarget(now, key, transaction, response);
                let settles = |session: &Session| {
                    session.doubt.as_deref().is_some_and(|doubt| doubt.ask == transaction.sender.other())
                };
                if self.calls.get(key).is_some_and(settles) {
                    self.goes_on(now, key, out);
                }
            }
            Finding::Ended => self.end_at(now, key, at, Cause::Unreachable, out),
            Finding::Doubt => {
                let end = End { by: Party::Gateway, cause: Cause::Unreachable };
                let ask = transaction.sender.other();
                self.doubt(now, key, Doubt { at, end, ask, code: response.code, bye: None }, Duration::ZERO, out);
            }
            Finding::Challenged | Finding::Refused | Finding::Nothing => {}
        }
    }

    /// The Event of a request, for whoever wants it.
    fn event(&mut self, now: Now, transaction: &Transaction, response: &Response<'_>, out: &mut Outcome) {
        let sinks = self.maker.modes().event(self.maker.settings(), transaction.marks, response.code);
        if !sinks.is_empty() {
            let session = transaction.session.and_then(|key| self.calls.get(key));
            let record = self.maker.of_transaction(now, Kind::Event, transaction, response, session);
            out.push(record, transaction.request().call(), sinks);
        }
    }

    /// A BYE of a call that nobody knows. Only a 2xx to one that has a signed Route tells of a call that was: by anything
    /// else a sender could make Stops of calls that never were.
    fn stray_bye_answered(&mut self, now: Now, transaction: &Transaction, response: &Response<'_>, out: &mut Outcome) {
        let request = transaction.request();
        let is_told = is_success(response.code) && response.message.is_some() && transaction.view.direction.is_some();
        // A BYE may also end an early dialog (RFC 3261 §15), which is no call yet: its INVITE tells.
        if !is_told || transaction.is_early || self.calls.find_ended(request).is_some() {
            return;
        }
        let accounting = transaction.marks.accounting;
        if self.maker.modes().live(accounting).is_empty() && self.maker.modes().cdr(accounting).is_empty() {
            return;
        }
        // The signed Route says who sent it, and with that which of both names is the call's.
        let key = Key::candidates(request).find(|(_, sender)| *sender == transaction.sender).map(|(key, _)| key);
        let key = key.unwrap_or_else(|| Key::of_caller(request, request.to_tag()));
        let end = End { by: transaction.sender, cause: Cause::Bye };
        let at = transaction.view.arrived.wall;
        let mut record = self.maker.of_transaction(now, Kind::Stop, transaction, response, None);
        record.times.event = at;
        record.times.ended = Some(at);
        record.end = Some(end);
        record.shortened |= facts::settled(&mut record.facts, end, record.code);
        // As if its Start had been the record before it.
        record.number = Some(1);
        if self.may_be_elsewhere() {
            return self.keep_stray(now, key, Stray { record, end, at, accounting }, out);
        }
        self.push_stray(now, key, record, accounting, out);
        self.store_end(now, key, end, None, out);
    }

    /// Adds a record of a session that goes on under its next number; the number after it is stored with the record, so
    /// that it is not used twice.
    pub(super) fn push_numbered(&mut self, key: Key, mut record: Record, sinks: SinkMask, out: &mut Outcome) {
        if sinks.is_empty() {
            return;
        }
        record.number = self.calls.touch(key, Session::take_number).flatten();
        if record.number.is_some()
            && let Some(session) = self.calls.get(key)
        {
            out.calls.push(CallChange::Put { key: key.to_bytes(), value: stored::encode(session) });
        }
        out.push(record, key.call(), sinks);
    }

    /// A refresh of the session timer: the 2xx says how long it runs now (RFC 4028 §8.1, §9).
    fn refreshed(&mut self, now: Now, key: Key, transaction: &Transaction, response: &Response<'_>) {
        let timer_s = session_expires(response.message);
        let expiry = self.maker.expiry(now, timer_s);
        // Who may not be an end of the call cannot make it end sooner.
        let set = self.calls.get(key).and_then(|session| session.alarms.expiry);
        let is_sooner = expiry.is_some_and(|expiry| set.is_none_or(|set| expiry < set));
        if transaction.whence != Whence::Sender && is_sooner {
            return;
        }
        let was = self.calls.change(key, |session| {
            session.alarms.expiry = expiry;
            std::mem::replace(&mut session.timer_s, timer_s)
        });
        if was.is_some_and(|was| was != timer_s) {
            self.calls.store_later(key, now.mono);
        }
    }
}

impl Transaction {
    /// Who gave this final response.
    fn answered_by(&self, response: &Response<'_>) -> Respondent {
        match response.message {
            Some(_) => Respondent::Peer,
            None => self.respondent.unwrap_or(Respondent::Gateway),
        }
    }

    /// What this final response says about the call.
    fn finding(&self, response: &Response<'_>) -> Finding {
        let way = Way::of(self.view.course, self.whence, self.is_to_moved);
        finding(self.method(), way, self.answered_by(response), response.code)
    }
}
