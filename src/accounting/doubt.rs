//! Calls that may have ended: the end that would know is asked by OPTIONS inside the dialog, once.
//!
//! Silence and 481 end the call at the instant the doubt is about, any other response lets it go on. A doubt is stored
//! with its call, so that a restart asks again.

use super::Outcome;
use super::ending::Stop;
use super::ends::Whence;
use super::engine::Engine;
use super::flags::is_success;
use super::session::Key;
use super::stored;
use super::transaction::{Response, Transaction};
use super::watch::Sign;
use crate::clock::Now;
use crate::ids::SinkMask;
use crate::record::{CallChange, Cause, End, Kind, Party, Record};
use std::time::Duration;

/// How long a challenged BYE may take to come again with credentials.
pub(super) const CREDENTIALS_WAIT: Duration = Duration::from_secs(5);
/// When an end is asked again that could not be asked, because the gateway was too busy.
const ASK_AGAIN: Duration = Duration::from_secs(5);

/// A call that may have ended.
#[derive(Debug)]
pub(super) struct Doubt {
    /// When it has, if it has.
    pub(super) at: Now,
    /// How it has ended then.
    pub(super) end: End,
    /// The end that gets the OPTIONS: the one the request was meant for, or whom its tags name as sender.
    pub(super) ask: Party,
    /// Code of the response that made the doubt.
    pub(super) code: u16,
    /// The Stop a BYE makes, and the sinks of the Event in its place if the call goes on. A restart forgets both, and
    /// then the Stop has the values of the call.
    pub(super) bye: Option<Box<(Record, SinkMask)>>,
}

impl Engine {
    /// A BYE has not shown that its call has ended, nor that it goes on.
    pub(super) fn doubt_bye(
        &mut self,
        now: Now,
        key: Key,
        transaction: &Transaction,
        response: &Response<'_>,
        wait: Duration,
        out: &mut Outcome,
    ) {
        let Some(session) = self.calls.get(key) else { return };
        let mut record = self.maker.of_transaction(now, Kind::Stop, transaction, response, Some(session));
        let refusal = match is_success(response.code) {
            // It ended nothing and was not refused either: there is nothing to tell.
            true => SinkMask::NONE,
            false => self.maker.modes().event(self.maker.settings(), transaction.marks, response.code),
        };
        record.end = None;
        let doubt = Doubt {
            at: transaction.view.arrived,
            end: End { by: transaction.sender, cause: Cause::FailedBye },
            // One end may speak for the other to itself: then only that other one knows.
            ask: match transaction.whence {
                Whence::Sender => transaction.sender.other(),
                Whence::Other | Whence::Elsewhere => transaction.sender,
            },
            code: response.code,
            bye: Some(Box::new((record, refusal))),
        };
        self.doubt(now, key, doubt, wait, out);
    }

    /// Takes a doubt up, to be settled by asking after `wait`. The first one stays until it is.
    pub(super) fn doubt(&mut self, now: Now, key: Key, doubt: Doubt, wait: Duration, out: &mut Outcome) {
        let is_new = self.calls.change(key, |session| {
            let is_new = session.doubt.is_none();
            if is_new {
                session.doubt = Some(Box::new(doubt));
                session.alarms.settle = Some(now.mono + wait);
            }
            is_new
        });
        if is_new != Some(true) {
            return;
        }
        if let Some(session) = self.calls.get(key) {
            out.calls.push(CallChange::Put { key: key.to_bytes(), value: stored::encode(session) });
        }
        if wait.is_zero() {
            self.ask(now, key, out);
        }
    }

    /// Asks the end that knows whether the call goes on; without a way to it what is known decides.
    pub(super) fn ask(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let Some(session) = self.calls.get(key) else { return };
        let Some(to) = session.doubt.as_deref().map(|doubt| doubt.ask) else { return };
        let is_asked = session.ends.as_ref().is_some_and(|ends| ends.is_asked(to));
        if is_asked && session.ends.as_ref().is_some_and(|ends| ends.is_moved(to)) {
            // That goes to where it may have moved to.
            self.calls.change(key, |session| session.alarms.settle = Some(now.mono + ASK_AGAIN));
            return;
        }
        let probe =
            if is_asked { None } else { session.ends.as_ref().and_then(|ends| ends.options(key, to, session, true)) };
        if !is_asked && probe.is_none() {
            return self.settled_unasked(now, key, out);
        }
        self.calls.change(key, |session| {
            session.alarms.settle = None;
            if let Some(ends) = &mut session.ends {
                ends.ask(to);
            }
        });
        self.outbox.send(probe);
    }

    /// Nobody can be asked, for the end has named no Contact, or the call is of a release that did not keep it. As long as
    /// the BYE was not just challenged it ends the call: there is no better witness.
    fn settled_unasked(&mut self, now: Now, key: Key, out: &mut Outcome) {
        self.calls.change(key, |session| {
            let doubt = session.doubt.as_deref_mut().filter(|doubt| doubt.end.cause == Cause::FailedBye);
            if let Some(doubt) = doubt.filter(|doubt| is_success(doubt.code)) {
                doubt.end.cause = Cause::Bye;
            }
        });
        let doubt = self.calls.get(key).and_then(|session| session.doubt.as_deref());
        let is_challenged = doubt.is_some_and(|doubt| matches!(doubt.code, 401 | 407));
        if doubt.is_some_and(|doubt| matches!(doubt.end.cause, Cause::Bye | Cause::FailedBye)) && !is_challenged {
            self.end_doubted(now, key, out);
        } else {
            self.goes_on(now, key, out);
        }
    }

    /// The end that was asked has answered, or has not. Whether that settled a doubt.
    pub(super) fn settle(&mut self, now: Now, key: Key, to: Party, sign: Sign, out: &mut Outcome) -> bool {
        let Some(session) = self.calls.get(key) else { return false };
        let is_waiting = session.alarms.settle.is_some();
        // Not the word of one that only may be that end.
        let is_heard = sign == Sign::Unknown && !session.ends.as_ref().is_some_and(|ends| ends.is_moved(to));
        if session.doubt.as_deref().is_none_or(|doubt| doubt.ask != to) || (is_waiting && !is_heard) {
            return false;
        }
        match sign {
            Sign::Alive => self.goes_on(now, key, out),
            Sign::Unknown | Sign::Silent => self.end_doubted(now, key, out),
            Sign::Unasked => {
                self.calls.change(key, |session| session.alarms.settle = Some(now.mono + ASK_AGAIN));
            }
        }
        true
    }

    /// The call goes on: a BYE that was refused makes an Event, where that is marked.
    pub(super) fn goes_on(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let doubt = self.calls.change(key, |session| {
            session.alarms.settle = None;
            session.doubt.take()
        });
        let Some(doubt) = doubt.flatten() else { return };
        self.calls.store_later(key, now.mono);
        let Some((mut record, sinks)) = doubt.bye.map(|bye| *bye) else { return };
        record.id = self.maker.id(now);
        record.kind = Kind::Event;
        record.times.duration = self.calls.get(key).and_then(|session| session.lasted(doubt.at, self.maker.boot()));
        out.push(record, key.call(), sinks);
    }

    /// The call has ended when the doubt says.
    fn end_doubted(&mut self, now: Now, key: Key, out: &mut Outcome) {
        let Some(mut session) = self.calls.remove(key) else { return };
        let Some(doubt) = session.doubt.take() else { return };
        let Doubt { at, end, code, bye, .. } = *doubt;
        let mut record = match bye {
            Some(bye) => bye.0,
            None => self.without_response(now, &session, end.cause),
        };
        record.id = self.maker.id(now);
        if matches!(end.cause, Cause::Bye | Cause::FailedBye) {
            record.code = code;
        }
        self.stop(now, Stop { key, session, at, end }, record, out);
    }
}
